"""What the supervising process and the worker say to each other."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from bwcolor.batch.outcome import Outcome
from bwcolor.batch.plan import Job
from bwcolor.errors import BwcolorError
from bwcolor.options import ColorizeOptions
from bwcolor.photo.formats.known import Header

if TYPE_CHECKING:
    from bwcolor.models.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Setup:
    """The first message to the worker. model: as the user wrote it; empty when only headers are to be read. memory:
    bytes that the process may take; 0 for four fifths of the machine's. debug: failures come with their tracebacks."""

    model: str
    device: str
    options: ColorizeOptions
    memory: int = 0
    debug: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """To the worker: look into a photo's header, or colorize it."""

    number: int
    kind: Literal["look", "colorize"]
    job: Job


@dataclass(frozen=True, slots=True)
class Go:
    """To the worker: the output of this task may get its name."""

    number: int


@dataclass(frozen=True, slots=True)
class NoMore:
    """To the worker: begin nothing new, finish what is in hand, and end."""


@dataclass(frozen=True, slots=True)
class Ready:
    """From the worker: the model is open. summary: lines for everybody. lines: exactly what was loaded, and why.
    files: by path, the SHA-256 and the contract of each file that was opened."""

    summary: tuple[str, ...]
    lines: tuple[str, ...]
    label: str
    sha256: str
    files: dict[str, tuple[str, "ModelSpec"]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Beat:
    """From the worker: work on a task has begun, or has come to the next page. waiting: for memory that others use."""

    number: int
    waiting: bool = False


@dataclass(frozen=True, slots=True)
class Pulse:
    """From the worker, all the time: its threads can run."""


@dataclass(frozen=True, slots=True)
class Intent:
    """From the worker: this output is complete and waits for Go."""

    number: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Ended:
    """From the worker: what became of a task: for "look" the header, or why it can't be read. troubles: what happened
    to the device since the worker began, in sentences."""

    number: int
    result: Outcome | Header | str
    troubles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Broken:
    """From the worker: the run can't go on."""

    error: BwcolorError


Order = Task | Go | NoMore
Answer = Ready | Beat | Pulse | Intent | Ended | Broken
