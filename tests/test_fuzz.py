"""Damaged files: each ends as an output or as a PhotoError, never as anything else; see fuzz/fuzz_target.py."""

import contextlib
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fuzz import fuzz as watch
from fuzz.fuzz import Report, fuzz
from fuzz.fuzz_target import journey
from fuzz.mutate import DAMAGE, mutated, pieces
from fuzz.seeds import SEEDS

from bwcolor.errors import PhotoError
from bwcolor.photo.scan import open_scan

COUNT, WORKERS = 10_000, 2  # inputs, and processes that try them
SECONDS = 118.0  # that they may take; 30 s of processor time
SEED = 20261121
LEAST_OUTPUTS = 0.1  # of the inputs: else most of the way is not looked at
FOUND = Path(__file__).parent / "fuzz" / "found"  # files that once ended otherwise
KNOWN_ENDS = {
    "jpeg-unknown-jfif-revision": "refused",  # its revision is harmless, but a restart interval has 74 bytes too many
    "jpeg-progressive-that-pillow-refuses": "output",
    "png-16-bit-cut": "refused",
    "png-ends-in-zeros": "refused",
    "j2k-16-bit-ends-in-zeros": "refused",
    "tiff-jpeg-2000-ends-in-zeros": "refused",
}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does it")


def test_damaged_files_end_as_outputs_or_photo_errors(tmp_path: Path) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        reports = list(pool.map(lambda number: fuzz(
            str(SEED + number), COUNT // WORKERS, SECONDS, tmp_path / str(number)), range(WORKERS)))  # fmt: skip
    for report in reports:
        assert not report.findings, report.in_words()
        assert report.kinds()["output"] > LEAST_OUTPUTS * report.inputs
        assert report.kinds()["refused"] > LEAST_OUTPUTS * report.inputs
    assert sum(report.inputs for report in reports) == COUNT


def test_files_that_once_ended_otherwise(tmp_path: Path) -> None:
    report = fuzz(str(FOUND), 10**6, SECONDS, tmp_path / "found")
    assert not report.findings, report.in_words()
    assert report.inputs >= 6 * len(list(FOUND.iterdir())) > 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(KNOWN_ENDS))
def test_what_once_ended_otherwise_ends_as_it_should(name: str, tmp_path: Path) -> None:
    assert journey(FOUND / name, tmp_path / "target", None, None).kind == KNOWN_ENDS[name]


@pytest.mark.parametrize("name", ["tiff-fax-private-tag", "tiff-fax-of-8-bits", "tiff-many-samples"])
def test_libtiff_is_not_shown_what_it_would_print(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(PhotoError), open_scan(FOUND / name, 10**6) as scan:
        scan.photo()
    assert capfd.readouterr() == ("", "")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SEEDS)
def test_undamaged_files_have_outputs(name: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(SEEDS[name]())
    assert journey(source, tmp_path / "target", None, None).kind == "output"


def test_there_are_enough_of_them_and_their_structure_is_known() -> None:
    assert len(SEEDS) >= 50
    for name, make in SEEDS.items():
        assert len(pieces(make())) >= 2, name


def test_a_number_names_an_input_for_ever() -> None:
    seeds = {name: SEEDS[name]() for name in ("png", "gif", "bmp")}
    inputs = [mutated(seeds, 1, number) for number in range(300)]
    assert inputs == [mutated(seeds, 1, number) for number in range(300)]
    assert inputs != [mutated(seeds, 2, number) for number in range(300)]
    assert {how for one in inputs for how in one.how.split(", ")} == {*DAMAGE, "cut", "cut and closed", "ends in zeros"}


FAKE = """
import json, os, sys, time
from pathlib import Path
first = int(sys.argv[3])
print("ready", json.dumps([first, "output", "", 0.1, ""]), sep="\\n", flush=True)
if first == 0:
    Path(sys.argv[1], "source").write_text("damaged")
    {}
"""


def with_worker(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    """What is made of a worker that has input 0 as an output, and then does this with input 1."""
    path = tmp_path / "worker" / "worker.py"
    path.parent.mkdir()
    path.write_text(FAKE.format(program))
    monkeypatch.setattr(watch, "WORKER", path)
    return fuzz("1", 3, 30.0, tmp_path / "kept")


@pytest.mark.parametrize(
    ("program", "kind"),
    [("os.kill(os.getpid(), 11)", "crash"), ("os._exit(3)", "crash"), ("time.sleep(60)", "hang")],
)
def test_crashes_and_hangs_are_found_and_kept(
    program: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "HANG", 2.0)
    report = with_worker(program, tmp_path, monkeypatch)
    assert [(one.number, one.kind) for one in report.findings] == [(1, kind)]
    assert (tmp_path / "kept" / f"1 {kind}").read_text() == "damaged"
    assert report.kinds() == {"output": 2, kind: 1}


def test_a_mistake_in_the_worker_is_no_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = "Path(sys.argv[1], 'noise').write_text('ours'); sys.exit(1)"
    with pytest.raises(RuntimeError, match="ours"):
        with_worker(noise, tmp_path, monkeypatch)
