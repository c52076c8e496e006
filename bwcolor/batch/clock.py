"""Time as far as it counts."""

import time

TICK = 1.0  # seconds between two looks at the clock; after longer ones this process itself stood still


class Clock:
    """Seconds in which another process could have been heard: without those in which this one was stopped itself, as by
    Ctrl-Z or in a container that was paused."""

    def __init__(self) -> None:
        self._seconds, self._seen = 0.0, time.monotonic()

    def now(self) -> float:
        """To be asked for at least once a TICK."""
        now = time.monotonic()
        passed, self._seen = now - self._seen, now
        self._seconds += passed if passed <= TICK else 0.0
        return self._seconds
