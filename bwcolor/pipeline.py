"""The run: every photo read, colorized, written; one bad photo never stops the others."""

import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import cv2

from bwcolor import __version__
from bwcolor.chroma import predict_chroma
from bwcolor.commit import committed
from bwcolor.errors import ModelError, PhotoError
from bwcolor.formats.xmp import Label
from bwcolor.mark import marked
from bwcolor.metadata import has_preview, in_colour, read_metadata
from bwcolor.options import ColorizeOptions
from bwcolor.output import Coding, Page, encode, output_format, rounded_to_eight_bits, small_picture
from bwcolor.photo import Photo, Scan, open_scan
from bwcolor.plan import Job
from bwcolor.report import Outcome
from bwcolor.session import Model

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_JOBS = 4  # photos at once by default: more rarely pays and costs memory
EXISTS = "output exists; --overwrite replaces it"
COLOUR = "in colour already; --color-input recolor colorizes them anew, copy copies them"
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
        return Outcome(job, "skipped", EXISTS)
    try:
        with open_scan(job.source, options.max_pixels) as scan, budget.hold(scan.header.pixels):
            first = scan.photo()
            own_colours = set() if options.color_input == "recolor" else _pages_in_colour(scan, first)
            if len(own_colours) == scan.header.pages:
                return _left_alone(job, scan, options)
            form = job.format or output_format(scan.header, options.format, options.eight_bit)
            pages = _pages(scan, first, own_colours, model, options)
            coding = Coding(form, options.sampling, options.chroma_quality)
            with committed(job.target, options.overwrite, scan.times, _mode(scan)) as out:
                notes = encode(scan, pages, coding, out)
                scan.must_be_unchanged()
    except MemoryError:
        return Outcome(job, "failed", "not enough memory", seconds=time.monotonic() - started)
    except (PhotoError, ModelError) as error:
        return Outcome(job, "failed", str(error), seconds=time.monotonic() - started)
    if own_colours:
        notes = (*notes, "pages that are in colour already keep their colours (--color-input recolor)")
    return Outcome(job, "done", notes=notes, seconds=time.monotonic() - started)


def _pages_in_colour(scan: Scan, first: Photo) -> set[int]:
    kinds = [first.kind, *(scan.photo(number).kind for number in range(1, scan.header.pages))]
    return {number for number, kind in enumerate(kinds) if kind == "colour"}


def _left_alone(job: Job, scan: Scan, options: ColorizeOptions) -> Outcome:
    """What becomes of a photo that is in colour already, under color_input skip and copy."""
    if options.color_input == "skip":
        return Outcome(job, "skipped", COLOUR, unexpected=True)
    target = job.copy
    if target.exists() and target.samefile(job.source):
        raise PhotoError(f"in colour already; a copy as {target.name} would replace the photo itself")
    if not options.overwrite and os.path.lexists(target):
        return Outcome(job, "skipped", EXISTS)
    with committed(target, options.overwrite, scan.times, _mode(scan)) as out:
        out.write(scan.read())
        scan.must_be_unchanged()
    return Outcome(job, "done", notes=("in colour already: copied as they are",))


def _pages(scan: Scan, first: Photo, own_colours: set[int], model: Model, options: ColorizeOptions) -> Iterator[Page]:
    """Each page with its colours and what describes it."""
    label = _label(scan, model, options) if options.label != "none" else None
    described = read_metadata(scan)
    for number in range(scan.header.pages):
        photo = first if number == 0 else scan.photo(number)
        photo = _in_eight_bits(photo) if options.eight_bit else photo
        metadata = described[min(number, len(described) - 1)]
        if number in own_colours:
            yield Page(photo, None, in_colour(metadata, None, None))
            continue
        amount = options.strength * options.saturation
        chroma = amount * predict_chroma(photo.luma, photo.orientation, model, options.detail)
        if options.label == "visible":
            chroma = marked(chroma, photo.luma, photo.orientation)
        preview = small_picture(photo, chroma) if has_preview(metadata) else None
        yield Page(photo, chroma, in_colour(metadata, label, preview))


def _mode(scan: Scan) -> int:
    return os.fstat(scan.file.fileno()).st_mode


def _in_eight_bits(photo: Photo) -> Photo:
    alpha = None if photo.alpha is None else rounded_to_eight_bits(photo.alpha)
    return replace(photo, luma=rounded_to_eight_bits(photo.luma), alpha=alpha)


def _label(scan: Scan, model: Model, options: ColorizeOptions) -> Label:
    return Label(f"bwcolor {__version__}", model.label, model.sha256, options.in_words(), scan.sha256())


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
