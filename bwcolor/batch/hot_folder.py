"""A hot folder: photos are taken when they have stopped growing."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from bwcolor.batch.plan import Job, Looked, Plan
from bwcolor.errors import FolderError, UsageError
from bwcolor.photo.formats.known import Header

PAUSE = 2.0  # seconds between two looks, at least
CALM = 3.0  # times as long as a look takes is waited before the next
SETTLED = 30.0  # seconds since its last change after which a photo is taken at first sight

Look = tuple[int, int]  # bytes, and time of the last change in ns


def arrivals(find: Callable[[], Plan], pause: Callable[[float], None], warn: Callable[[str], None]) -> Iterator[Plan]:
    """What is there, and from then on what is new or has changed, for ever.

    find: walks the folders. pause: waits some seconds, and raises when all is to end. warn: is told what keeps the
    folders from being walked for the moment, each cause once. A photo is taken when two looks
    at its size and time are the same, or when its last change is long ago.
    """
    taken: dict[Path, Look] = {}
    before: dict[Path, Look] = {}
    named: set[tuple[Path, str]] = set()
    told: set[str] = set()
    while True:
        started = time.monotonic()
        try:
            plan = find()
        except (FolderError, UsageError) as error:  # a share that is away, a photo where an output would fall
            if str(error) not in told:
                warn(f"waiting: {error}")
            told.add(str(error))
            pause(PAUSE)
            continue
        seen = {job.source: found for job in plan.jobs if (found := _look(job.source))}
        new = [
            job
            for job in plan.jobs
            if (found := seen.get(job.source)) and taken.get(job.source) != found
            and (before.get(job.source) == found or time.time() - found[1] / 1e9 > SETTLED)
        ]  # fmt: skip
        left_out = [left for left in plan.left_out if (left.path, left.reason) not in named]
        named |= {(left.path, left.reason) for left in left_out}
        taken |= {job.source: seen[job.source] for job in new}
        taken = {path: found for path, found in taken.items() if path in seen}  # gone ones may come again
        before = seen
        if new or left_out:
            yield replace(plan, jobs=new, left_out=left_out)
        pause(max(PAUSE, CALM * (time.monotonic() - started)))


def remembered(look: Callable[[list[Job]], Iterable[Looked]]) -> Callable[[list[Job]], Iterator[Looked]]:
    """As `look`, which reads headers, but each photo is read again only when its size or time has changed.

    A hot folder is walked every few seconds, and most of what lies there has been read before.
    """
    known: dict[Path, tuple[Look, Header | str]] = {}

    def remembering(jobs: list[Job]) -> Iterator[Looked]:
        seen = {job.source: _look(job.source) for job in jobs}
        for path in set(known) - set(seen):
            del known[path]
        asked = []
        for job in jobs:
            if job.source in known and known[job.source][0] == seen[job.source]:
                yield job, known[job.source][1]
            else:
                asked.append(job)
        for job, header in look(asked):
            if (found := seen[job.source]) is not None:
                known[job.source] = found, header
            yield job, header

    return remembering


def _look(path: Path) -> Look | None:
    try:
        status = path.lstat()
    except OSError:  # gone since the walk
        return None
    return status.st_size, status.st_mtime_ns
