"""How many photos, and how many pixels, may be in work at once."""

import math
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager

from bwcolor.system.machine import cores, memory

MAX_JOBS = 16  # photos at once by default: of gray JPEGs more than 5 hardly pay, of PNGs all do
LEAST_PIXELS = 60_000_000  # over all photos in work, on any machine; of larger ones, see PixelBudget
PIXELS_A_JOB = 15_000_000  # on machines with more cores, as memory allows
BYTES_A_PIXEL = 25  # at most, of a PNG with 16 bits (benchmarks/memory.py)
SHARE = 0.25  # of the memory, that photos in work may take together


def threads_for(jobs: int) -> int:
    """Photos at once. jobs: as the user said; 0 for one a core that may be used, at most MAX_JOBS."""
    found = cores()
    return jobs or min(MAX_JOBS, found.usable, max(1, math.ceil(found.limit or MAX_JOBS)))


def pixels_at_once(jobs: int, most: int = 0) -> int:
    """Over all photos in work. jobs: as of threads_for. most: bytes of memory that may be used, 0 for the machine's."""
    room = most or memory().most or 0
    return max(LEAST_PIXELS, min(PIXELS_A_JOB * threads_for(jobs), int(SHARE * room / BYTES_A_PIXEL)))


class PixelBudget:
    """Lets photos in while their pixels together stay below a limit.

    Photos of more than half of it go one at a time and count as half, however large they are: the other half is kept
    for the other photos, which need not wait for a huge one.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._large = False  # whether one of more than half the limit is in
        self._closed = False
        self._changed = threading.Condition()

    def close(self) -> None:
        """Whoever waits, or comes later, gets CancelledError."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Waits until there is room for a photo of so many pixels, and keeps it while the block lasts."""
        half = self._limit // 2
        share, large = min(pixels, half), pixels > half

        def fits() -> bool:
            return self._held + share <= self._limit and not (large and self._large)

        with self._changed:
            self._changed.wait_for(lambda: self._closed or fits())
            if self._closed:
                raise CancelledError
            self._held += share
            self._large |= large
        try:
            yield
        finally:
            with self._changed:
                self._held -= share
                self._large &= not large
                self._changed.notify_all()
