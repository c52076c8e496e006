"""A hot folder, with a clock of its own: each photo is taken once it has stopped growing."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bwcolor.batch.discovery import LeftOut
from bwcolor.batch.hot_folder import PAUSE, SETTLED, arrivals, remembered
from bwcolor.batch.plan import Job, Looked, Plan, find_jobs
from bwcolor.errors import FolderError
from bwcolor.photo.formats.known import Header

START = 1_000_000_000.0  # seconds since 1970: when the watch begins


class Enough(Exception):
    """The watch was asked to stop."""


class Hot:
    """A folder in which something happens at each pause, and a clock that goes on only there."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.out, self.now = root, root.with_name("out"), START
        self.left_out: list[LeftOut] = []
        self.looks = 0
        self.said: list[str] = []
        self.trouble: Exception | None = None
        root.mkdir()
        monkeypatch.setattr("bwcolor.batch.hot_folder.time.time", lambda: self.now)

    def put(self, name: str, content: bytes = b"x", age: float = 0.0) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (self.now - age, self.now - age))

    def find(self) -> Plan:
        self.looks += 1
        if self.trouble is not None:
            raise self.trouble
        jobs = [Job(path, self.out / path.name) for path in sorted(self.root.iterdir())]
        return Plan(jobs, list(self.left_out), self.out, self.root, self.out)

    def taken(self, *happenings: Callable[[], None]) -> list[list[str]]:
        """What was taken by the look after each happening, the first one before the first look."""
        rest, plans = iter(happenings), list[list[str]]()

        def pause(seconds: float) -> None:
            assert seconds == PAUSE
            self.now += seconds
            following = next(rest, None)
            if following is None:
                raise Enough
            following()
            plans.append([])

        next(rest)()
        plans.append([])
        try:
            for plan in arrivals(self.find, pause, self.said.append):
                plans[-1] += [job.source.name for job in plan.jobs] + [left.reason for left in plan.left_out]
        except Enough:
            return plans
        raise AssertionError("it watches for ever")


def nothing() -> None:
    pass


@pytest.fixture
def hot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hot:
    return Hot(tmp_path / "in", monkeypatch)


def test_old_photos_are_taken_at_first_sight_and_once(hot: Hot) -> None:
    def begin() -> None:
        hot.put("old.jpg", age=SETTLED + 1)
        hot.put("new.jpg", age=SETTLED - 1)

    assert hot.taken(begin, nothing, nothing, nothing) == [["old.jpg"], ["new.jpg"], [], []]
    assert hot.looks == 4


def test_a_growing_photo_is_taken_when_it_has_stopped(hot: Hot) -> None:
    sizes = iter(range(1, 100))

    def grow() -> None:
        hot.put("a.jpg", b"x" * next(sizes))

    assert hot.taken(grow, grow, grow, nothing, nothing) == [[], [], [], ["a.jpg"], []]


def test_a_photo_that_grows_and_keeps_its_time(hot: Hot) -> None:
    """A copy that gets the original's time at once is taken too early, and again when it is whole."""
    sizes = iter(range(1, 100))

    def grow() -> None:
        hot.put("a.jpg", b"x" * next(sizes), age=hot.now - START + 1000)

    assert hot.taken(grow, grow, nothing, nothing) == [["a.jpg"], ["a.jpg"], [], []]


def test_a_clock_that_is_ahead(hot: Hot) -> None:
    """Of another computer, which writes into the folder."""
    assert hot.taken(lambda: hot.put("a.jpg", age=-3600), nothing, nothing) == [[], ["a.jpg"], []]


def test_a_replaced_photo_is_taken_again(hot: Hot) -> None:
    happenings = [lambda: hot.put("a.jpg", b"one"), nothing, lambda: hot.put("a.jpg", b"two"), nothing, nothing]
    assert hot.taken(*happenings) == [[], ["a.jpg"], [], ["a.jpg"], []]


def test_a_photo_that_is_gone_may_come_again(hot: Hot) -> None:
    again = hot.now

    def put() -> None:
        hot.put("a.jpg", age=hot.now - again)  # with the same size and time

    def away() -> None:
        (hot.root / "a.jpg").unlink()

    assert hot.taken(put, nothing, away, nothing, put, nothing, nothing) == [[], ["a.jpg"], [], [], [], ["a.jpg"], []]


def test_one_that_is_gone_between_walk_and_look_is_left(hot: Hot) -> None:
    def find() -> Plan:
        plan = Hot.find(hot)
        for path in hot.root.iterdir():
            path.unlink()
        return plan

    hot.find = find  # type: ignore[method-assign]
    assert hot.taken(lambda: hot.put("a.jpg", age=100), nothing) == [[], []]


def test_many_at_once_keep_their_order(hot: Hot) -> None:
    def many() -> None:
        for number in range(300):
            hot.put(f"{number:03}.jpg")

    names = [f"{number:03}.jpg" for number in range(300)]
    assert hot.taken(many, lambda: hot.put("zz.jpg"), nothing, nothing) == [[], names, ["zz.jpg"], []]


def test_what_is_left_out_is_named_once(hot: Hot) -> None:
    def left(reason: str) -> Callable[[], None]:
        return lambda: hot.left_out.append(LeftOut(hot.root / "a.psd", reason))

    assert hot.taken(left("is a link"), nothing, left("has grown"), nothing) == [["is a link"], [], ["has grown"], []]


def test_work_that_takes_long_makes_nothing_late(hot: Hot) -> None:
    """While photos are made others come; they have not been seen twice, but may be old enough by then."""
    hot.put("a.jpg", age=100)
    plans: Iterator[Plan] = arrivals(hot.find, nothing_for, hot.said.append)
    assert [job.source.name for job in next(plans).jobs] == ["a.jpg"]
    hot.put("b.jpg")
    hot.now += SETTLED + 1
    assert [job.source.name for job in next(plans).jobs] == ["b.jpg"]


def nothing_for(seconds: float) -> None:
    pass


def test_with_a_real_folder(hot: Hot) -> None:
    def find() -> Plan:
        return find_jobs(hot.root, hot.out, may_be_empty=True)

    hot.find = find  # type: ignore[method-assign]
    happenings = [nothing, lambda: hot.put("sub/a.jpg"), lambda: hot.put("b.psd"), nothing,
                  lambda: hot.put("sub/a.jpg", b"more"), nothing]  # fmt: skip
    reason = "is an image editor's own file, which can't be read; export it as TIFF or PNG"
    assert hot.taken(*happenings) == [[], [], ["a.jpg", reason], [], [], ["a.jpg"]]


def test_headers_are_read_again_only_when_a_photo_has_changed(hot: Hot) -> None:
    asked: list[list[str]] = []

    def look(jobs: list[Job]) -> Iterator[Looked]:
        asked.append([job.source.name for job in jobs])
        for job in reversed(jobs):
            yield job, Header("jpeg", len(job.source.read_bytes()), 1) if job.source.exists() else "gone"

    def found() -> dict[str, int]:
        return {job.source.name: header.width for job, header in looks(hot.find().jobs) if isinstance(header, Header)}

    looks = remembered(look)
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        hot.put(name)
    assert found() == found() == {"a.jpg": 1, "b.jpg": 1, "c.jpg": 1}
    hot.put("b.jpg", b"more")
    (hot.root / "c.jpg").unlink()
    assert found() == {"a.jpg": 1, "b.jpg": 4}
    hot.put("c.jpg")
    assert found() == {"a.jpg": 1, "b.jpg": 4, "c.jpg": 1}
    assert asked == [["a.jpg", "b.jpg", "c.jpg"], [], ["b.jpg"], ["c.jpg"]]
    nowhere = Job(hot.root / "none.jpg", hot.out / "none.jpg")
    assert [header for _ in range(2) for _, header in looks([nowhere])] == ["gone", "gone"]
    assert asked[-2:] == [["none.jpg"]] * 2, "what was not there may be by now"


def test_a_folder_that_is_away_is_waited_for(hot: Hot) -> None:
    hot.put("a.jpg", age=100)

    def away() -> None:
        hot.trouble = FolderError("photos: no such file or folder.")

    def back() -> None:
        hot.trouble = None
        hot.put("b.jpg", age=100)

    assert hot.taken(nothing, away, nothing, back, nothing) == [["a.jpg"], [], [], ["b.jpg"], []]
    assert hot.said == ["waiting: photos: no such file or folder."], "once"
