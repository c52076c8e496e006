"""The limit on photos that a run works on (--limit)."""

from collections import deque
from collections.abc import Iterable

from bwcolor.batch.plan import Job


class Quota:
    """Hands out jobs until as many as the limit allows are worked on.

    Whether a photo is work shows only when it has been opened: one that is in color already is skipped, and another
    takes its place. So the iteration pauses while everything that may be worked on is in work, and goes on when a job
    is given back.
    """

    def __init__(self, jobs: Iterable[Job], limit: int | None) -> None:
        self._jobs = deque(jobs)
        self._free = len(self._jobs) if limit is None else limit

    def __iter__(self) -> "Quota":
        return self

    def __next__(self) -> Job:
        if not self.ready:
            raise StopIteration
        self._free -= 1
        return self._jobs.popleft()

    @property
    def ready(self) -> int:
        """Counts the jobs that may be handed out now."""
        return min(self._free, len(self._jobs))

    @property
    def left(self) -> int:
        """Counts the jobs that were not handed out."""
        return len(self._jobs)

    def give_back(self) -> None:
        """Notes that a job that was handed out needed no work."""
        self._free += 1
