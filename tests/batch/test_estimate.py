"""What a plan is likely to take, and how that is said."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pytest

from bwcolor.batch.estimate import BASE, COSTS, EACH, NETWORK, SEEN, START, Needs, needs, size_in_words, time_in_words
from bwcolor.batch.ledger import Fingerprint, Ledger, Making, Record
from bwcolor.batch.memory_budget import LEAST_PIXELS
from bwcolor.batch.outcome import Outcome
from bwcolor.batch.plan import Job
from bwcolor.batch.run_report import opened_records, photo_record
from bwcolor.options import ColorizeOptions, Detail, OutputFormat
from bwcolor.photo.formats.known import Format
from bwcolor.system.machine import Cores


def jobs(*photos: tuple[Format | None, int, int], pages: int = 1) -> list[Job]:
    """Of formats, pixels and bytes."""
    return [
        Job(Path(f"/in/{number}"), Path(f"/out/{number}"), form, pixels=pixels, bytes=size, pages=pages)
        for number, (form, pixels, size) in enumerate(photos)
    ]


def eight(form: Format, pixels: int) -> list[Job]:
    return jobs(*[(form, pixels, 1) for _ in range(8)])


def estimate(photos: Sequence[Job], threads: int = 1, cores: int = 4) -> Needs:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bwcolor.batch.memory_budget.cores", lambda: Cores(cores, cores, None))
        return needs(photos, Path("/"), threads)


def test_nothing_to_do_takes_nothing() -> None:
    nothing = estimate([])
    assert (nothing.photos, nothing.pixels, nothing.read, nothing.seconds, nothing.disk) == (0, 0, 0, 0, 0)
    assert nothing.memory == BASE
    assert nothing.free > 0
    assert nothing.in_words().startswith("0 photos (0 megapixels, 0 bytes); takes about 1 s, 250 MB of")


def test_sums() -> None:
    found = estimate(jobs(("jpeg", 12_000_000, 3_000_000), ("tiff", 2_000_000, 1), ("png", 1_000_000, 9_000_000)))
    assert (found.photos, found.pixels, found.read) == (3, 15_000_000, 12_000_001)
    seconds = (
        START
        + 3 * (EACH + NETWORK["auto"])
        + 12 * COSTS["jpeg"].seconds
        + 2 * COSTS["tiff"].seconds
        + COSTS["png"].seconds
    )
    assert found.seconds == pytest.approx(seconds)
    assert found.disk == 3_000_000 + int(2e6 * COSTS["tiff"].disk) + 9_000_000, "an output is no smaller than its photo"
    assert found.memory == BASE + 12_000_000 * COSTS["jpeg"].memory, "one at a time: the largest"


def test_cores_share_the_work_and_add_up_in_memory() -> None:
    photos = eight("jpeg", 1_000_000)
    one, four, many = (estimate(photos, threads) for threads in (1, 4, 16))
    assert four.seconds - START == pytest.approx((one.seconds - START) / 4)
    assert many.seconds == pytest.approx(four.seconds), "there are four cores"
    assert four.memory - BASE == 4 * (one.memory - BASE)
    two = estimate(photos, 0, cores=2)
    assert two.seconds - START == pytest.approx((one.seconds - START) / 2), "by default, one photo a core"


def test_large_photos_go_alone() -> None:
    large = estimate(eight("tiff", 10 * LEAST_PIXELS), 4)
    assert large.memory == BASE + int(10 * LEAST_PIXELS * COSTS["tiff"].memory)
    many = estimate(eight("tiff", LEAST_PIXELS - 1), 4)
    assert many.memory <= BASE + int(LEAST_PIXELS * COSTS["tiff"].memory)


def test_pages_are_worked_on_one_by_one() -> None:
    found = estimate(jobs(("tiff", 100_000_000, 1), pages=100))
    assert found.memory == BASE + int(1_000_000 * COSTS["tiff"].memory)
    assert found.seconds > 100 * COSTS["tiff"].seconds


def test_photos_that_nobody_can_look_into_are_counted() -> None:
    found = estimate(jobs((None, 0, 5_000), ("jpeg", 1_000_000, 1)))
    assert (found.photos, found.read) == (2, 5_001)
    assert found.seconds == pytest.approx(START + EACH + NETWORK["auto"] + COSTS["jpeg"].seconds)


def test_the_network_costs_every_page_the_same_but_tiny_ones() -> None:
    def network(photos: list[Job], detail: Detail) -> float:
        each = EACH + photos[0].pixels / 1e6 * COSTS["tiff"].seconds
        return needs(photos, Path("/"), 1, detail).seconds - START - each

    assert network(jobs(("tiff", 9_000_000, 1)), "fast") == pytest.approx(NETWORK["fast"])
    assert network(jobs(("tiff", 9_000_000, 1), pages=3), "max") == pytest.approx(3 * NETWORK["max"])
    assert network(jobs(("tiff", SEEN // 2, 1)), "auto") == pytest.approx(NETWORK["auto"] / 2)


def test_every_output_format_has_its_costs() -> None:
    assert set(COSTS) == set(get_args(OutputFormat))
    for cost in COSTS.values():
        assert 0 < cost.seconds < 10
        assert 1 <= cost.memory < 50
        assert 0.1 < cost.disk < 9


@pytest.mark.parametrize("count", [1, 20, 300])
def test_ledger_its_log_and_report_are_foreseen(count: int, tmp_path: Path) -> None:
    """As they are just before the run ends, when the log has not been emptied."""
    photos = [Job(Path("/in", f"{number:04}.jpg"), tmp_path / f"{number:04}.jpg", "jpeg") for number in range(count)]
    assert needs([], tmp_path, 1, records=True).disk == 0
    foreseen = needs(photos, tmp_path, 1, records=True).disk - needs(photos, tmp_path, 1).disk
    print_ = Fingerprint(10**6, 10**18, "a" * 64)
    making = Making("b" * 64, "default 3 int8 (SHA-256 a8d00265b8f0…)", ColorizeOptions().as_json())
    with Ledger.open(tmp_path) as ledger, opened_records(tmp_path / "bwcolor-report.jsonl") as report:
        assert report is not None
        for job in photos:
            outcome = Outcome(job, "done", path=job.target, input=print_, output=print_, made_by=making)
            known = Record(job.target, job.target, job.name, Path("/in"), print_, print_, making, "done")
            ledger.intend(known)
            ledger.write(known)
            report.write(photo_record(outcome))
        taken = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert taken / 1.5 < foreseen < 1.5 * taken


def test_free_space_is_that_of_the_disk_that_takes_the_outputs(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    assert needs([], tmp_path / "not" / "there" / "yet", 1).free == pytest.approx(free, rel=0.1)
    (tmp_path / "a.jpg").touch()
    assert needs([], tmp_path / "a.jpg", 1).free == pytest.approx(free, rel=0.1), "one photo's output"


def test_few_megapixels_have_decimals() -> None:
    assert "1 photo (0.6 megapixels, " in estimate(jobs(("jpeg", 585_000, 1))).in_words()


def test_in_words() -> None:
    words = Needs(
        1234, 15_600_000_000, 5_400_000_000, 7_500.0, 1_300_000_000, 20_000_000_000, 999_950_000_000
    ).in_words()
    assert words == (
        "1,234 photos (15,600 megapixels, 5.4 GB); takes about 2 h 5 min, 1.3 GB of memory, and 20.0 GB of disk space"
        " (1,000.0 GB free)"
    )


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (1, "1 bytes"), (999, "999 bytes"), (1000, "1 kB"), (999_499, "999 kB"), (999_999, "1 MB"),
     (12_000_000, "12 MB"), (999_999_999, "1.0 GB"), (5.6e12, "5,600.0 GB")],
)  # fmt: skip
def test_sizes(size: float, words: str) -> None:
    assert size_in_words(size) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "1 s"), (0.2, "1 s"), (59.4, "59 s"), (59.6, "1 min"), (60, "1 min"), (3_569, "59 min"), (3_575, "1 h 0 min"),
     (3_600, "1 h 0 min"), (7_190, "2 h 0 min"), (7_500, "2 h 5 min"), (3_600_000, "1,000 h 0 min")],
)  # fmt: skip
def test_times(seconds: float, words: str) -> None:
    assert time_in_words(seconds) == words
