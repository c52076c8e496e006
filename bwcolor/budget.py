"""How many photos, and how many pixels, may be in work at once."""

import math
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager

from bwcolor.machine import cores

MAX_JOBS = 4  # photos at once by default: more rarely pays and costs memory
PIXELS_AT_ONCE = 60_000_000  # over all photos in work; a larger photo is worked on alone


def threads_for(jobs: int) -> int:
    """Photos at once. jobs: as the user said; 0 for one a core that may be used, at most MAX_JOBS."""
    found = cores()
    return jobs or min(MAX_JOBS, found.usable, max(1, math.ceil(found.limit or MAX_JOBS)))


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
