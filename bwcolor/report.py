"""What became of each photo, and of the run."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from bwcolor.plan import Job

State = Literal["done", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One photo's end. reason: why it was skipped or failed. notes: what its output lacks. unexpected: whether a
    skipped photo is worth a line of its own."""

    job: Job
    state: State
    reason: str = ""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    unexpected: bool = False


@dataclass(slots=True)
class Report:
    """Counts over a run: how many photos ended how, why they were skipped, and how often each note was made."""

    states: Counter[State] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        self.states[outcome.state] += 1
        self.notes.update(outcome.notes)
        if outcome.state == "skipped":
            self.skipped[outcome.reason] += 1
