"""What became of each photo, and of the run."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bwcolor.batch.ledger import NO_FILE, Fingerprint, Making, State
from bwcolor.batch.plan import Job

EXISTS = "a file of this name exists that no record knows; --overwrite replaces it"
ADOPTED = "done already, as its label says"
ADOPTED_STALE = "made with {}, as its label says; --overwrite replaces it"
COLOUR = "in color already"
OURS = "made by bwcolor already"
COPIED = "in colour already: copied as they are"

DoneAs = Literal["colorized", "copied", "bilevel", "text", "halftone"]  # see material.Material
LeftAlone = Literal["in color", "made by bwcolor"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One photo's end. reason: why it was skipped or failed. notes: what its output lacks. unexpected: whether a
    skipped photo is worth a line of its own. lasting: whether a failure will come again as long as photo, model and
    settings stay the same. adopted: whether an output without a record was taken over by its label. path: the
    file that was written or found. input, output: their fingerprints, as far as anybody looked. made_by: the model
    that coloured it and the settings, where one did. doubt: how unsure its colours are, see chroma.Prediction; of its
    most doubtful page. left_alone: why a skipped photo keeps the colors that it has; None of all others. sidecars:
    copies of the photo's sidecars beside its output. new_sidecars: how many of them this run made. done_as: what an
    output shows, or that it is a copy."""

    job: Job
    state: State
    reason: str = ""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    unexpected: bool = False
    lasting: bool = False
    adopted: bool = False
    path: Path | None = None
    input: Fingerprint = NO_FILE
    output: Fingerprint = NO_FILE
    made_by: Making | None = None
    doubt: float | None = None
    left_alone: LeftAlone | None = None
    sidecars: tuple[Path, ...] = ()
    new_sidecars: int = 0
    done_as: DoneAs = "colorized"


@dataclass(slots=True)
class Report:
    """Counts over a run: how many photos ended how, why they were skipped or left alone, how often each note was made,
    what outputs show, and how many sidecars were copied."""

    states: Counter[State] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    left_alone: Counter[LeftAlone] = field(default_factory=Counter)
    done_as: Counter[DoneAs] = field(default_factory=Counter)
    sidecars: int = 0

    def add(self, outcome: Outcome) -> None:
        self.states[outcome.state] += 1
        self.notes.update(outcome.notes)
        self.sidecars += outcome.new_sidecars
        self.done_as[outcome.done_as] += outcome.state == "done"
        if outcome.state == "skipped":
            self.skipped[outcome.reason] += 1
        if outcome.left_alone is not None:
            self.left_alone[outcome.left_alone] += 1

    @property
    def only_outputs(self) -> bool:
        """Whether the photos are a folder of outputs: bwcolor made them, or some of them and copied the others."""
        return self.left_alone["made by bwcolor"] > 0 and self.left_alone.total() == self.states.total()
