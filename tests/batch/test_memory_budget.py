"""How many photos, and how many of their pixels, are in work at once."""

import pytest

from bwcolor.batch import memory_budget
from bwcolor.system.machine import Cores, Memory

GB = 10**9


@pytest.mark.parametrize(
    ("cores", "jobs", "expected"),
    [
        (Cores(8, 8, None), 0, 8),
        (Cores(8, 3, None), 0, 3),
        (Cores(8, 8, 1.5), 0, 2),
        (Cores(8, 8, 0.2), 0, 1),
        (Cores(128, 128, None), 0, 16),
        (Cores(2, 2, None), 30, 30),
    ],
)
def test_photos_at_once(cores: Cores, jobs: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_budget, "cores", lambda: cores)
    assert memory_budget.threads_for(jobs) == expected


@pytest.mark.parametrize(
    ("jobs", "memory", "expected"),
    [
        (2, Memory(64 * GB, None, None), 60_000_000),
        (16, Memory(64 * GB, None, None), 240_000_000),
        (16, Memory(64 * GB, None, 16 * GB), 160_000_000),
        (16, Memory(4 * GB, None, None), 60_000_000),
        (16, Memory(None, None, None), 60_000_000),
    ],
)
def test_pixels_at_once(jobs: int, memory: Memory, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_budget, "memory", lambda: memory)
    assert memory_budget.pixels_at_once(jobs) == expected


def test_max_memory_counts_as_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_budget, "memory", lambda: Memory(64 * GB, None, None))
    assert memory_budget.pixels_at_once(16, 8 * GB) == 80_000_000
