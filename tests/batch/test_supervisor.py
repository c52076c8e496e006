"""What a photo does to the process that reads it costs that photo, and nothing else (promise P9)."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from batch.processes import (
    LONG,
    WORKER,
    children,
    ends,
    files,
    in_colour,
    jobs_for,
    leftovers,
    photo,
    photos,
    supervisor,
    until,
)
from tiny_model import tiny_onnx, zhang_onnx

from bwcolor.batch.outcome import Outcome
from bwcolor.batch.plan import Job
from bwcolor.errors import DeviceError, FolderError, ModelError
from bwcolor.models.modelfile import read_model_file
from bwcolor.models.sidecar import Contract, contract_content, contract_path, read_contract
from bwcolor.models.third_party import Told, foreign_spec

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux shows them")


@pytest.fixture(scope="session")
def reference(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The outputs of six good photos by a run without any trouble."""
    folder = tmp_path_factory.mktemp("reference")
    with supervisor(tiny_model) as worker:
        ends(worker, jobs_for(photos(folder / "in", 6), folder / "out"))
        assert worker.troubles == []
    return files(folder / "out")


@pytest.fixture
def undisturbed(reference: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The same, and the photos lie in `in`."""
    photos(tmp_path / "in", 6)
    return reference


@pytest.mark.parametrize(
    ("troubles", "words"),
    [
        (["segv"], "ended by SIGSEGV"),
        (["exit"], "ended with code 3"),
        (["abort", "segv", "exit"], "ended "),
        (["kill"], "ended by SIGKILL"),
    ],
)
def test_a_decoder_that_ends_the_process_costs_its_photo(
    troubles: list[str], words: str, undisturbed: dict[str, str], tiny_model: Path, tmp_path: Path
) -> None:
    good = sorted((tmp_path / "in").iterdir())
    bad = [photo(tmp_path / "in" / f"bad {number}.png", trouble) for number, trouble in enumerate(troubles)]
    mixed = [*good[:2], *bad[:1], *good[2:4], *bad[1:], *good[4:]]
    with supervisor(tiny_model, jobs=4) as worker:
        ended = ends(worker, jobs_for(mixed, tmp_path / "out"))
        assert any(words in trouble and "begun anew" in trouble for trouble in worker.troubles)
    assert files(tmp_path / "out") == undisturbed
    for path in bad:
        outcome = ended[path.name]
        assert outcome.state == "failed"
        assert outcome.reason.startswith("made the process that reads photos end: it ended ")
        assert words in outcome.reason
        assert outcome.input.size == path.stat().st_size, "or the ledger would not know it again"
        assert outcome.lasting == (troubles != ["kill"])
    assert all(ended[path.name].state == "done" for path in good)
    assert leftovers(tmp_path) == []


def test_photos_in_work_beside_a_crash_are_not_blamed(
    undisturbed: dict[str, str], tiny_model: Path, tmp_path: Path
) -> None:
    slow = [photo(path, "nap", int(path.stem)) for path in sorted((tmp_path / "in").iterdir())[:3]]
    bad = photo(tmp_path / "in" / "bad.png", "segv")
    with supervisor(tiny_model, jobs=4) as worker:
        ended = ends(worker, jobs_for([*slow, bad], tmp_path / "out"))
    assert {name: outcome.state for name, outcome in ended.items() if outcome.state != "done"} == {"bad.png": "failed"}
    assert sorted(files(tmp_path / "out")) == [path.name for path in slow]


def test_a_crash_while_a_header_is_read(tiny_model: Path, tmp_path: Path) -> None:
    good = photos(tmp_path / "in", 5)
    bad = photo(tmp_path / "in" / "bad.png", "look-segv")
    with supervisor(tiny_model) as worker:
        seen = dict(worker.look(jobs_for([*good[:2], bad, *good[2:]], tmp_path / "out")))
    found = {job.source: header for job, header in seen.items()}
    assert len(found) == 6
    assert found[bad] == "made the process that reads photos end: it ended by SIGSEGV"
    assert not any(isinstance(found[path], str) for path in good)


def test_a_hang_is_given_up_after_the_timeout(undisturbed: dict[str, str], tiny_model: Path, tmp_path: Path) -> None:
    good = sorted((tmp_path / "in").iterdir())
    bad = [photo(tmp_path / "in" / f"{trouble}.png", trouble) for trouble in ("sleep", "clutch")]
    os.mkfifo(tmp_path / "in" / "pipe.png")  # put there after the walk: to open it waits for ever
    bad.append(tmp_path / "in" / "pipe.png")
    begun = time.monotonic()
    with supervisor(tiny_model, timeout=1.5, jobs=3) as worker:
        ended = ends(worker, jobs_for([*bad, *good], tmp_path / "out"))
    assert time.monotonic() - begun < 30
    assert {ended[path.name].reason for path in bad} == {"took longer than 1.5 s (--timeout)"}
    assert all(ended[path.name].lasting for path in bad)
    assert files(tmp_path / "out") == undisturbed
    assert any("took longer than 1.5 s" in trouble for trouble in worker.troubles)


def test_endless_memory_costs_one_photo(undisturbed: dict[str, str], tiny_model: Path, tmp_path: Path) -> None:
    good = sorted((tmp_path / "in").iterdir())
    bad, beside = photo(tmp_path / "bad.png", "eat"), photo(tmp_path / "beside.png", "need")
    with supervisor(tiny_model, jobs=3, memory=1_500_000_000) as worker:
        ended = ends(worker, jobs_for([*good[:3], bad, beside, *good[3:]], tmp_path / "out"))
    assert ended["beside.png"].state == "done", "the other had taken its memory"
    (tmp_path / "out" / "beside.png").unlink()
    assert "not enough memory" in ended["bad.png"].reason
    assert not ended["bad.png"].lasting, "another day there may be more"
    assert files(tmp_path / "out") == undisturbed


def test_memory_is_limited_while_headers_are_read(tmp_path: Path) -> None:
    """Without a model, as in a dry run."""
    good, bad = photo(tmp_path / "good.png"), photo(tmp_path / "bad.png", "look-eat")
    with supervisor("", memory=1_500_000_000) as worker:
        seen = {job.source: header for job, header in worker.look(jobs_for([bad, good], tmp_path))}
    assert seen[bad] == "not enough memory"
    assert not isinstance(seen[good], str)


def test_what_codecs_print_does_not_come_between_the_messages(
    tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    loud = photos(tmp_path / "in", 4, "chatter")
    with supervisor(tiny_model) as worker:
        ended = ends(worker, jobs_for(loud, tmp_path / "out"))
        assert worker.troubles == []
    assert {outcome.state for outcome in ended.values()} == {"done"}
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_a_model_that_can_not_be_opened(content: bytes | None, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    if content is not None:
        model.write_bytes(content)
    with supervisor(model) as worker, pytest.raises(ModelError, match=r"model\.onnx"):
        worker.ready()


def test_a_bug_while_the_model_is_opened(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BWCOLOR_TROUBLE", "model")
    with supervisor(tiny_model) as worker, pytest.raises(ModelError, match=r"can't be opened \(ZeroDivisionError"):
        worker.ready()


@pytest.mark.parametrize("script", ["raise SystemExit(7)", "import os; os.kill(os.getpid(), 9)", "print('no message')"])
def test_a_worker_that_dies_at_its_start(script: str, tiny_model: Path, tmp_path: Path) -> None:
    command = (sys.executable, "-c", script)
    with supervisor(tiny_model, command=command) as worker, pytest.raises(DeviceError, match="again and again"):
        worker.ready()
    job = Job(photo(tmp_path / "a.png"), tmp_path / "out" / "a.png", "png")
    with supervisor(tiny_model, command=command) as worker, pytest.raises(DeviceError, match="again and again"):
        list(worker.look([job]))
    with supervisor(tiny_model, command=command) as worker, pytest.raises(DeviceError, match="again and again"):
        worker.rest(LONG)


def test_a_worker_that_can_not_be_begun(tiny_model: Path) -> None:
    with pytest.raises(DeviceError, match="can't be begun"), supervisor(tiny_model, command=("/nowhere",)):
        pass


def test_a_worker_that_says_nothing(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bwcolor.batch.supervisor.START", 0.3)
    command = (sys.executable, "-c", "import time; time.sleep(1000)")
    with supervisor(tiny_model, command=command) as worker, pytest.raises(DeviceError, match="did not answer"):
        worker.ready()
    jobs = jobs_for(photos(tmp_path / "in", 30), tmp_path / "out")
    with supervisor(tiny_model, command=command) as worker, pytest.raises(DeviceError, match="did not answer"):
        ends(worker, jobs)


def test_a_worker_killed_before_its_model_is_open(tiny_model: Path, tmp_path: Path) -> None:
    job = Job(photo(tmp_path / "a.png"), tmp_path / "out" / "a.png", "png")
    with supervisor(tiny_model) as worker:
        (pid,) = children(os.getpid())
        os.kill(pid, signal.SIGKILL)
        assert worker.ready().label.startswith("tiny 1 ")
        assert ends(worker, [job])["a.png"].state == "done"


def test_a_worker_killed_while_nothing_is_to_be_done(tiny_model: Path, tmp_path: Path) -> None:
    """As a run that watches a folder does nothing for most of the time."""
    job = Job(photo(tmp_path / "a.png"), tmp_path / "out" / "a.png", "png")
    with supervisor(tiny_model) as worker:
        worker.ready()
        for _ in range(3):
            (pid,) = children(os.getpid())
            os.kill(pid, signal.SIGKILL)
            while children(os.getpid()) in ([], [pid]):
                worker.rest(0.1)
            while worker._deaths:  # until the new one has opened its model
                worker.rest(0.1)
        assert ends(worker, [job])["a.png"].state == "done"


def other_model(path: Path) -> None:
    path.write_bytes(tiny_onnx(bias=(0.1, -0.1)))


def other_contract(path: Path) -> None:
    """The same network, fed and read in another way."""
    read = read_contract(path)
    assert read is not None
    spec = replace(read.spec, output_range=(-100.0, 100.0))
    contract_path(path).write_bytes(contract_content(replace(read, spec=spec)))


@pytest.mark.parametrize("change", [other_model, other_contract])
@pytest.mark.parametrize("working", [True, False])
def test_a_model_that_is_replaced_during_the_run_never_colors_the_rest(
    change: Callable[[Path], None], working: bool, tmp_path: Path
) -> None:
    """A new worker, after a crash, would open whatever is there by then."""
    model = tmp_path / "mine.onnx"
    if change is other_model:
        model.write_bytes(tiny_onnx())
    else:
        model.write_bytes(zhang_onnx())
        file = read_model_file(model)
        spec = foreign_spec(Told("l-to-ab", "mine"), file.onnx)
        contract_path(model).write_bytes(contract_content(Contract(file.sha256, spec)))
    sources = [photo(tmp_path / "in" / "a.png", "segv"), *photos(tmp_path / "in", 12)]
    with supervisor(model, jobs=1) as worker:
        worker.ready()
        change(model)
        if working:
            with pytest.raises(ModelError, match=r"mine\.onnx: was replaced while the run went on\. Put the first"):
                list(worker.colorize(jobs_for(sources, tmp_path / "out"), lambda _: None))
        else:
            pid = worker._process.pid if worker._process else 0
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(ModelError, match="was replaced while the run went on"):
                worker.rest(LONG)
    assert leftovers(tmp_path) == []


def test_a_worker_that_finds_the_same_model_again_goes_on(tmp_path: Path) -> None:
    model = tmp_path / "mine.onnx"
    model.write_bytes(tiny_onnx())
    sources = [photo(tmp_path / "in" / "a.png", "segv"), *photos(tmp_path / "in", 3)]
    with supervisor(model, jobs=1) as worker:
        worker.ready()
        model.unlink()
        model.write_bytes(tiny_onnx())
        ended = ends(worker, jobs_for(sources, tmp_path / "out"))
    assert [ended[source.name].state for source in sources] == ["failed", "done", "done", "done"]


def test_a_bug_on_one_photo_is_a_failed_photo(undisturbed: dict[str, str], tiny_model: Path, tmp_path: Path) -> None:
    good = sorted((tmp_path / "in").iterdir())
    bad = photo(tmp_path / "in" / "bad.png", "bug")
    with supervisor(tiny_model) as worker:
        ended = ends(worker, jobs_for([bad, *good], tmp_path / "out"))
        assert worker.troubles == []
    assert ended["bad.png"].state == "failed"
    assert ended["bad.png"].reason.startswith("an error inside bwcolor (ZeroDivisionError: a\x1b[31mb); please report")
    assert files(tmp_path / "out") == undisturbed


@pytest.mark.parametrize("moment", ["before-name", "after-name"])
def test_a_worker_killed_around_the_naming_of_an_output(
    moment: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BWCOLOR_TROUBLE_FLAG", str(tmp_path / "flag"))
    source = photo(tmp_path / "in" / f"{moment}.png")
    job = Job(source, tmp_path / "out" / source.name, "png")
    intents: list[Outcome] = []
    with supervisor(tiny_model, jobs=1) as worker:
        (outcome,) = worker.colorize([job], intents.append)
        assert worker.troubles == ["the worker process ended by SIGKILL and was begun anew"]
    assert (tmp_path / "flag").exists()
    assert outcome.state == "done"
    assert len(intents) == (2 if moment == "before-name" else 1), "done twice, or not at all"
    assert files(tmp_path / "out") == {source.name: outcome.output.sha256}
    assert in_colour(job.target)


def test_a_photo_that_was_in_work_when_somebody_killed_the_worker(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BWCOLOR_TROUBLE_FLAG", str(tmp_path / "flag"))
    sources = [photo(tmp_path / "in" / "a.png", "once"), *photos(tmp_path / "in", 3)]
    with supervisor(tiny_model) as worker:
        ended = ends(worker, jobs_for(sources, tmp_path / "out"))
    assert {outcome.state for outcome in ended.values()} == {"done"}


def test_waiting_for_memory_that_others_use_does_not_count(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BWCOLOR_TROUBLE", "one-at-a-time")
    slow = photos(tmp_path / "in", 4, "nap")
    with supervisor(tiny_model, timeout=1.6, jobs=4) as worker:
        ended = ends(worker, jobs_for(slow, tmp_path / "out"))
    assert {outcome.reason for outcome in ended.values()} == {""}
    assert max(outcome.seconds for outcome in ended.values()) > 2, "the last one waited longer than the timeout"


def test_time_that_the_caller_takes_does_not_count(tiny_model: Path, tmp_path: Path) -> None:
    """Such as a terminal whose output is held back: meanwhile the worker waits to be allowed to name its outputs."""
    sources = photos(tmp_path / "in", 8)
    with supervisor(tiny_model, timeout=1, jobs=2) as worker:
        states = []
        for outcome in worker.colorize(jobs_for(sources, tmp_path / "out"), lambda _: None):
            states.append(outcome.state)
            if len(states) == 1:
                time.sleep(2.5)
        assert worker.troubles == []
    assert states == ["done"] * 8


def test_a_full_disk_ends_the_run_at_once(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even when fewer photos are left than there are threads, which then wait for more."""
    monkeypatch.setenv("BWCOLOR_TROUBLE", "full")
    jobs = jobs_for(photos(tmp_path / "in", 1), tmp_path / "out")
    begun = time.monotonic()
    with supervisor(tiny_model, jobs=4) as worker, pytest.raises(FolderError, match="No space left on device"):
        ends(worker, jobs)
    assert time.monotonic() - begun < 20
    assert files(tmp_path / "out") == {}


def test_nothing_is_left_of_a_supervisor(tiny_model: Path, tmp_path: Path) -> None:
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    threads = threading.active_count()
    before = children(os.getpid())
    for command in (WORKER, (sys.executable, "-c", "import time; time.sleep(1000)")):
        with supervisor(tiny_model, command=command) as worker:
            if command == WORKER:
                ends(worker, jobs_for(photos(tmp_path / "in", 2), tmp_path / "out"))
    until(lambda: threading.active_count() <= threads)
    assert children(os.getpid()) == before
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors


def test_numpys_libraries_get_one_thread_in_the_worker(tiny_model: Path, tmp_path: Path) -> None:
    """With one for each core they take three times the processor time, since the photos share the cores."""
    told = tmp_path / "told"
    code = f"import os; open({str(told)!r}, 'w').write(os.environ['OPENBLAS_NUM_THREADS'])"
    command = (sys.executable, "-c", code)
    with supervisor(tiny_model, command=command) as worker, pytest.raises(DeviceError):
        worker.ready()
    assert told.read_text() == "1"
