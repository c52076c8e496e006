"""The run: every photo ends one way, inputs stay untouched, and one bad photo stops nothing."""

import errno
import os
import stat
import threading
import time
from collections import Counter
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest
from photo.pictures import FakeModel, flat, scene
from PIL import Image

from bwcolor.batch.memory_budget import PixelBudget
from bwcolor.batch.outcome import ADOPTED, EXISTS, Outcome, Report
from bwcolor.batch.plan import find_jobs
from bwcolor.batch.process_photo import TIME_LOST
from bwcolor.batch.thread_pool import in_threads, run
from bwcolor.errors import FolderError, ModelError
from bwcolor.imaging.color import Array, rgb_to_chroma
from bwcolor.options import ColorizeOptions

SOON, AT_ONCE = 10.0, 0.1  # seconds to wait for what must happen, and for what must not
GOOD = ("a.png", "b.jpg", "sub/c.tif", "sub/d.webp", "sub/deep/e.bmp")
BAD = {
    "empty.jpg": b"",
    "text.png": b"no photo",
    "half.jpg": b"\xff\xd8\xff\xe0\0\x10JFIF\0",
}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five good photos of every format."""
    folder = tmp_path / "photos"
    for seed, name in enumerate(GOOD):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = scene(60, 80, seed)
        Image.fromarray(np.stack([pixels] * 3, -1) if path.suffix == ".webp" else pixels).save(path)
    return folder


def colorize(
    photos: Path, out: Path, options: ColorizeOptions | None = None, model: FakeModel | None = None
) -> list[Outcome]:
    model = model or FakeModel(flat(-0.1, 0.08))
    return list(run(find_jobs(photos, out).jobs, model, options or ColorizeOptions(jobs=2)))


def files_in(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Name -> bytes, time of change and mode, of everything below a folder."""
    return {
        str(path.relative_to(folder)): (
            path.read_bytes() if path.is_file() else b"folder",
            path.stat().st_mtime_ns,
            stat.S_IMODE(path.stat().st_mode),
        )
        for path in folder.rglob("*")
    }


def names(outcomes: list[Outcome], state: str) -> set[str]:
    return {outcome.job.source.name for outcome in outcomes if outcome.state == state}


def test_bad_files_stop_nothing_and_every_photo_ends_once(photos: Path, tmp_path: Path) -> None:
    for name, content in BAD.items():
        (photos / name).write_bytes(content)
    outcomes = colorize(photos, tmp_path / "out")
    assert Counter(outcome.state for outcome in outcomes) == {"done": len(GOOD), "failed": len(BAD)}
    assert sorted(outcome.job.source for outcome in outcomes) == sorted(
        job.source for job in find_jobs(photos, None).jobs
    )
    assert names(outcomes, "failed") == set(BAD)
    assert all(outcome.reason for outcome in outcomes if outcome.state == "failed")
    written = {name for name, (content, *_) in files_in(tmp_path / "out").items() if content != b"folder"}
    assert written == set(GOOD)
    report = Report()
    for outcome in outcomes:
        report.add(outcome)
    assert report.states.total() == len(GOOD) + len(BAD)


def test_inputs_are_never_touched(photos: Path, tmp_path: Path) -> None:
    for number, path in enumerate(sorted(path for path in photos.rglob("*") if path.is_file())):
        os.utime(path, ns=(10**18 + number, 10**18 + number))
        path.chmod(0o440)
    before = files_in(photos)
    colorize(photos, tmp_path / "out")
    colorize(photos, tmp_path / "out", ColorizeOptions(overwrite=True))
    assert files_in(photos) == before


def test_a_file_time_that_the_disk_can_not_hold_is_told(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in photos.rglob("*.*"):
        os.utime(path, (10**9, 10**9))
    assert not any(TIME_LOST in outcome.notes for outcome in colorize(photos, tmp_path / "out"))
    monkeypatch.setattr("bwcolor.system.atomic.os.utime", lambda *_, **__: None)
    for outcome in colorize(photos, tmp_path / "other"):
        assert TIME_LOST in outcome.notes
        assert outcome.path is not None
        assert outcome.output.mtime_ns == outcome.path.stat().st_mtime_ns, "the ledger has what is there"


def test_existing_outputs_are_skipped_and_overwrite_replaces_them(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    colorize(photos, out)
    (out / "a.png").write_bytes(b"edited by hand")
    before = files_in(out)
    again = colorize(photos, out)
    assert {outcome.state for outcome in again} == {"skipped"}
    reasons = {outcome.job.source.name: outcome.reason for outcome in again}
    unlabelled = {"a.png", "e.bmp"}  # edited, and of a format without a place for a label
    assert reasons == {Path(name).name: EXISTS if Path(name).name in unlabelled else ADOPTED for name in GOOD}
    assert files_in(out) == before
    stronger = FakeModel(flat(0.1, -0.1))
    replaced = colorize(photos, out, ColorizeOptions(overwrite=True), stronger)
    assert {outcome.state for outcome in replaced} == {"done"}
    after = files_in(out)
    assert after.keys() == before.keys(), "nothing is left over"
    assert all(after[name][0] != before[name][0] for name in GOOD)


def test_a_broken_link_in_the_output_folder_is_not_written_through(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").symlink_to(tmp_path / "elsewhere.png")
    assert "a.png" in names(colorize(photos, tmp_path / "out"), "skipped")
    assert not (tmp_path / "elsewhere.png").exists()


def mean_chroma(path: Path) -> Array:
    with Image.open(path) as image:
        rgb = np.asarray(image.convert("RGB"), np.float32) / np.float32(255)
    return np.asarray(rgb_to_chroma(rgb).mean((0, 1)), np.float32)


def test_strength_scales_colour_down_to_the_untouched_gray(photos: Path, tmp_path: Path) -> None:
    model = FakeModel(flat(-0.04, 0.03))
    for strength in (0.0, 0.5, 1.0):
        colorize(photos, tmp_path / f"{strength}", ColorizeOptions(strength=strength), model)
    with Image.open(tmp_path / "0.0" / "a.png") as image:
        gray = np.asarray(image)
    assert gray.shape == (60, 80, 3)
    assert (gray == scene(60, 80, 0)[..., None]).all()
    assert mean_chroma(tmp_path / "1.0" / "a.png") == pytest.approx([-0.04, 0.03], abs=0.004)
    assert mean_chroma(tmp_path / "0.5" / "a.png") == pytest.approx([-0.02, 0.015], abs=0.002)


def test_a_model_that_fails_on_one_photo_fails_that_photo(photos: Path, tmp_path: Path) -> None:
    Image.new("L", (64, 64), 255).save(photos / "white.png")

    def picky(batch: Array) -> Array:
        if batch.min() == 1:
            raise ModelError("the model gave values that are not numbers")
        return flat(0, 0)(batch)

    outcomes = colorize(photos, tmp_path / "out", model=FakeModel(picky))
    assert names(outcomes, "failed") == {"white.png"}
    assert names(outcomes, "done") == {Path(name).name for name in GOOD}
    assert [outcome.reason for outcome in outcomes if outcome.state == "failed"] == [
        "the model gave values that are not numbers"
    ]


def test_memory_that_runs_out_fails_that_photo(photos: Path, tmp_path: Path) -> None:
    def hungry(_: Array) -> Array:
        raise MemoryError

    outcomes = colorize(photos, tmp_path / "out", model=FakeModel(hungry))
    assert {(outcome.state, outcome.reason) for outcome in outcomes} == {("failed", "not enough memory")}


def test_a_bug_is_not_hidden_as_a_failed_photo(photos: Path, tmp_path: Path) -> None:
    def buggy(_: Array) -> Array:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        colorize(photos, tmp_path / "out", model=FakeModel(buggy))


def test_a_full_disk_ends_the_run(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FolderError, match="No space left on device"):
        colorize(photos, tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_too_large_a_photo_is_refused_and_named(photos: Path, tmp_path: Path) -> None:
    Image.new("L", (100, 100)).save(photos / "large.png")
    outcomes = colorize(photos, tmp_path / "out", ColorizeOptions(max_pixels=60 * 80))
    assert names(outcomes, "failed") == {"large.png"}


def test_a_run_that_is_given_up_starts_no_more_photos_and_leaves_complete_outputs(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first, go_on = threading.Lock(), threading.Event()

    def slow_after_the_first(batch: Array) -> Array:
        if not first.acquire(blocking=False):
            go_on.wait(SOON)
        return flat(0, 0)(batch)

    model = FakeModel(slow_after_the_first)
    outcomes = run(find_jobs(photos, out).jobs, model, ColorizeOptions(jobs=2, detail="fast"))
    assert next(outcomes).state == "done"
    until = time.monotonic() + SOON
    while len(model.inputs) < 3 and time.monotonic() < until:  # the one that ended and the two in work
        time.sleep(0.01)
    threading.Timer(2 * AT_ONCE, go_on.set).start()
    outcomes.close()  # type: ignore[attr-defined]
    written = [path for path in out.rglob("*") if path.is_file()]
    assert len(written) == 3, "the one that ended and the two in work; not the fourth, which waited"
    rest = colorize(photos, out)
    assert Counter(outcome.state for outcome in rest) == {"skipped": 3, "done": 2}


class Holder(threading.Thread):
    """A thread that asks a budget for pixels and keeps them until told."""

    def __init__(self, budget: PixelBudget, pixels: int) -> None:
        super().__init__(daemon=True)
        self.inside, self.let_go = threading.Event(), threading.Event()
        self._budget, self._pixels = budget, pixels
        self.start()

    def run(self) -> None:
        with self._budget.hold(self._pixels):
            self.inside.set()
            self.let_go.wait(SOON)

    def release(self) -> None:
        self.let_go.set()
        self.join(SOON)


def test_the_budget_lets_in_what_fits_and_blocks_the_rest() -> None:
    budget = PixelBudget(100)
    first, second = Holder(budget, 50), Holder(budget, 30)
    assert first.inside.wait(SOON)
    assert second.inside.wait(SOON)
    third = Holder(budget, 51)
    assert not third.inside.wait(AT_ONCE)
    second.release()
    assert third.inside.wait(SOON), "counts as half, as all larger ones do"
    first.release()
    assert third.inside.wait(SOON)
    third.release()


@pytest.mark.parametrize("pixels", [51, 100, 10**12])
def test_other_photos_go_on_beside_a_huge_one(pixels: int) -> None:
    budget = PixelBudget(100)
    huge = Holder(budget, pixels)
    assert huge.inside.wait(SOON)
    others = [Holder(budget, share) for share in (1, 19, 30)]
    assert all(other.inside.wait(SOON) for other in others)
    for one in (*others, huge):
        one.release()


def test_huge_photos_go_one_at_a_time_and_leave_others_their_half() -> None:
    budget = PixelBudget(100)
    first = Holder(budget, 1000)
    assert first.inside.wait(SOON)
    second, small = Holder(budget, 51), Holder(budget, 1)
    assert small.inside.wait(SOON)
    assert not second.inside.wait(AT_ONCE)
    first.release()
    assert second.inside.wait(SOON)
    too_many = Holder(budget, 50)
    assert not too_many.inside.wait(AT_ONCE), "half is taken, and 1"
    for one in (small, second, too_many):
        one.release()


def test_the_budget_is_given_back_after_an_error() -> None:
    budget = PixelBudget(100)
    with pytest.raises(ZeroDivisionError), budget.hold(100):
        raise ZeroDivisionError
    after = Holder(budget, 100)
    assert after.inside.wait(SOON)
    after.release()


def test_photos_in_work_stay_within_the_budget(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bwcolor.batch.thread_pool.pixels_at_once", lambda jobs: 60 * 80)
    at_once, most, lock = 0, 0, threading.Lock()

    def counting(batch: Array) -> Array:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        threading.Event().wait(0.01)
        with lock:
            at_once -= 1
        return flat(0, 0)(batch)

    outcomes = colorize(photos, tmp_path / "out", ColorizeOptions(jobs=4), FakeModel(counting))
    assert names(outcomes, "failed") == set()
    assert most == 1


def test_a_closed_budget_lets_nobody_in() -> None:
    budget = PixelBudget(100)
    started, outcome = threading.Event(), []

    def wait() -> None:
        started.set()
        try:
            with budget.hold(60):
                outcome.append("in")
        except CancelledError:
            outcome.append("cancelled")

    with budget.hold(60):
        waiting = threading.Thread(target=wait)
        waiting.start()
        started.wait()
        budget.close()
        waiting.join(10)
    assert outcome == ["cancelled"]
    with pytest.raises(CancelledError), budget.hold(1):
        pass


def test_whoever_stops_reading_results_ends_the_work() -> None:
    done: list[int] = []

    def work(number: int) -> int:
        with budget.hold(100):
            done.append(number)
            time.sleep(0.05)
        return number

    budget = PixelBudget(100)
    results = in_threads(work, range(100), 4, budget)
    first = next(results)
    results.close()  # type: ignore[attr-defined]
    assert first in done
    assert len(done) <= 6


def test_nothing_is_an_item_too() -> None:
    assert sorted(in_threads(lambda item: str(item), [None, 1, None], 2, PixelBudget(1))) == ["1", "None", "None"]
