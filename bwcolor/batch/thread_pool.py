"""Many photos at once, in threads of this process; one bad photo never stops the others."""

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TypeVar

import cv2

from bwcolor.batch.memory_budget import PixelBudget, pixels_at_once, threads_for
from bwcolor.batch.outcome import Outcome
from bwcolor.batch.plan import Job
from bwcolor.batch.process_photo import colorize_photo
from bwcolor.inference.session import Model
from bwcolor.options import ColorizeOptions

Item = TypeVar("Item")
Result = TypeVar("Result")


def run(jobs: Iterable[Job], model: Model, options: ColorizeOptions) -> Iterator[Outcome]:
    """Colorizes the photos in threads; yields an Outcome as each one ends.

    Only what ends the whole run is raised: FolderError (disk full) and bugs.
    """
    budget = PixelBudget(pixels_at_once(options.jobs))
    return in_threads(lambda job: colorize_photo(job, model, options, budget), jobs, options.jobs, budget)


@dataclass(frozen=True, slots=True)
class _Raised:
    error: BaseException


def in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int, budget: PixelBudget
) -> Iterator[Result]:
    """What `work` makes of each item, as it ends, in any order. threads: see threads_for.

    items: asked for one by one as threads are free; they may wait for more to come. budget: what `work` waits for; it
    is closed when nobody wants more results, so that only photos in hand are finished. Reading, the network, measuring
    and encoding all release Python's lock, so threads use all cores.
    """
    cv2.setNumThreads(1)  # the photos share the cores; each one's own loops must not
    # What a damaged file makes a codec print is said by our own line, with the file's name.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    remaining, next_one, wanted = iter(items), threading.Lock(), threading.Event()
    wanted.set()
    ended: SimpleQueue[tuple[Result] | _Raised | None] = SimpleQueue()  # None when a thread ends

    def labour() -> None:
        try:
            while wanted.is_set():
                with next_one:
                    found = list(itertools.islice(remaining, 1))
                if not found:
                    return
                ended.put((work(found[0]),))
        except BaseException as error:
            ended.put(_Raised(error))
        finally:
            ended.put(None)

    crew = [threading.Thread(target=labour, daemon=True) for _ in range(threads_for(threads))]
    for thread in crew:
        thread.start()
    try:
        working = len(crew)
        while working:
            result = ended.get()
            if isinstance(result, _Raised):
                raise result.error
            if result is None:
                working -= 1
            else:
                yield result[0]
    finally:
        wanted.clear()
        budget.close()
        for thread in crew:
            thread.join()
