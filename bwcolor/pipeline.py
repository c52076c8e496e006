"""The run: every photo read, colorized, written; one bad photo never stops the others."""

import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

import cv2

from bwcolor.chroma import predict_chroma
from bwcolor.errors import ModelError, PhotoError
from bwcolor.metadata import lost_metadata
from bwcolor.options import ColorizeOptions
from bwcolor.output import commit, encode
from bwcolor.photo import photo_pixels, read_photo
from bwcolor.plan import Job
from bwcolor.report import Outcome
from bwcolor.session import Model

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_JOBS = 4  # photos at once by default: more rarely pays and costs memory
PIXELS_AT_ONCE = 60_000_000  # over all photos in work; a larger photo is worked on alone


def run(jobs: list[Job], model: Model, options: ColorizeOptions) -> Iterator[Outcome]:
    """Colorizes the photos in threads; yields an Outcome as each one ends.

    Only what ends the whole run is raised: FolderError (disk full) and bugs.
    """
    budget = PixelBudget(PIXELS_AT_ONCE)
    return in_threads(lambda job: colorize_photo(job, model, options, budget), jobs, options.jobs, budget)


def in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int, budget: "PixelBudget"
) -> Iterator[Result]:
    """What `work` makes of each item, as it ends, in any order. threads: 0 for one a core, at most MAX_JOBS.

    budget: what work waits for; it is closed when nobody wants more results, so that only photos in hand are finished.
    Reading, the network, measuring and encoding all release Python's lock, so threads use all cores.
    """
    cv2.setNumThreads(1)  # the photos share the cores; each one's own loops must not
    # What a damaged file makes a codec print is said by our own line, with the file's name.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    workers = threads or min(MAX_JOBS, os.cpu_count() or 1)
    remaining = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        waiting: set[Future[Result]] = set()
        try:
            while True:
                wanted = itertools.islice(remaining, 2 * workers - len(waiting))
                waiting |= {pool.submit(work, item) for item in wanted}
                if not waiting:
                    return
                finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
        finally:
            budget.close()
            pool.shutdown(wait=True, cancel_futures=True)


def colorize_photo(job: Job, model: Model, options: ColorizeOptions, budget: "PixelBudget") -> Outcome:
    """One photo from file to file. A photo that can't be done becomes an Outcome with the reason."""
    started = time.monotonic()
    if not options.overwrite and os.path.lexists(job.target):
        return Outcome(job, "skipped", "its output exists already")
    try:
        with budget.hold(photo_pixels(job.source)):
            photo = read_photo(job.source, options.max_pixels)
            chroma = predict_chroma(photo.luma, photo.orientation, model, options.detail)
            content = encode(photo, chroma * options.strength)
            notes = tuple(lost_metadata(photo))
            commit(content, job.target, options.overwrite)
    except MemoryError:
        return Outcome(job, "failed", "not enough memory", seconds=time.monotonic() - started)
    except (PhotoError, ModelError) as error:
        return Outcome(job, "failed", str(error), seconds=time.monotonic() - started)
    return Outcome(job, "done", notes=notes, seconds=time.monotonic() - started)


class PixelBudget:
    """Lets photos in while their pixels together stay below a limit; a larger one goes alone."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._closed = False
        self._changed = threading.Condition()

    def close(self) -> None:
        """Whoever waits, or comes later, gets CancelledError."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        share = min(pixels, self._limit)
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._held + share <= self._limit)
            if self._closed:
                raise CancelledError
            self._held += share
        try:
            yield
        finally:
            with self._changed:
                self._held -= share
                self._changed.notify_all()
