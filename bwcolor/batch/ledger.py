"""What is done already, and from which input, with which model and settings: a small database in the output folder."""

import hashlib
import json
import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from bwcolor import __version__
from bwcolor.batch.ledger_file import (
    COLUMNS,
    FILE,
    Cell,
    begins_as_ours,
    cells_of,
    connect,
    in_memory,
    is_damage,
    put_aside,
)
from bwcolor.errors import BusyError, FolderError
from bwcolor.options import ColorizeOptions
from bwcolor.system.filesystem import OWN_FOLDER

NOT_OURS = "is not a ledger of bwcolor"
HUGE = 2**63  # what SQLite's whole numbers stay below
ELSEWHERE = "Move it away, or choose another file with --ledger."

FIRST_COLOR_PATH = 1  # of settings recorded before they had a version, see options.COLOR_PATH
OTHER_COLORS = "another bwcolor version, which colors differently"

State = Literal["done", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A file's identity. size: bytes. mtime_ns: of its last change. sha256: of its bytes, hex; empty if nobody read
    them."""

    size: int
    mtime_ns: int
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Making:
    """What an output depends on besides its photo. model: SHA-256, hex. label: of the model, in words. settings: JSON
    of what changes outputs."""

    model: str
    label: str
    settings: str

    def differs_from(self, now: "Making") -> str:
        """What, in words; empty where nothing does."""
        if self.model != now.model:
            return f"model {self.label}"
        paths = _color_path(self.settings), _color_path(now.settings)
        if None not in paths and paths[0] != paths[1]:
            return OTHER_COLORS
        return "other settings" if self.settings != now.settings else ""


def _color_path(settings: str) -> object:
    """Reads the color path's version from a Making's settings; None where they are not known."""
    try:
        return json.loads(settings).get("color_path", FIRST_COLOR_PATH)
    except (ValueError, AttributeError, RecursionError):
        return None


class Maker(Protocol):
    """A model, or what is told of one."""

    @property
    def label(self) -> str: ...

    @property
    def sha256(self) -> str: ...


def making(maker: Maker, options: ColorizeOptions) -> Making:
    """What outputs depend on besides their photos."""
    return Making(maker.sha256, maker.label, options.as_json())


@dataclass(frozen=True, slots=True)
class Record:
    """A photo's end. target: the planned output, by its path below the output folder, which is the key. path: what
    was really written (a copy may be called otherwise). source: the photo's path below the input folder; root: that
    folder. input, output: fingerprints; sizes are -1 where there is none. lasting: of a failure that trying again won't
    mend. doubt: how unsure its colours are, see report.Outcome. notes: what its output lacks. pixels: of its photo, see
    plan.Job; 0 where nobody knows."""

    target: Path
    path: Path
    source: Path
    root: Path
    input: Fingerprint
    output: Fingerprint
    making: Making
    state: State
    reason: str = ""
    lasting: bool = False
    seconds: float = 0.0
    at: float = 0.0  # seconds since 1970
    version: str = __version__
    doubt: float | None = None
    notes: tuple[str, ...] = ()
    pixels: int = 0


NO_FILE = Fingerprint(-1, 0)
PLACES = ", ".join("?" * len(COLUMNS))


class Ledger:
    """The database of one output folder. Paths are stored as the bytes of their names; times are UTC.

    `photos` has a row for each photo's end, `intents` one for each output that is about to get its name: written
    before, taken away after, so that after a kill at any moment it can be told which outputs are ours. One process at
    a time writes it (see places.held). A lost ledger costs time: outputs are then known by their labels.
    """

    def __init__(self, database: sqlite3.Connection, out: Path, path: Path) -> None:
        self._database = database
        self.out = out
        self.path = path
        self.damaged: Path | None = None  # where a ledger that could not be read was put

    @classmethod
    def open(cls, out: Path, path: Path | None = None) -> Self:
        """The ledger of an output folder, made where there is none.

        path: of the file; by default OUT/.bwcolor/ledger.sqlite. A damaged one is put aside and begun anew. Raises
        FolderError when the disk is full or takes no files, when the file is a link or not ours, and BusyError when
        another process holds it.
        """
        chosen, path = path is not None, path or out / OWN_FOLDER / FILE
        damaged = None
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_symlink() or (path.parent.is_symlink() and not chosen):
                raise FolderError(
                    f"{path}: is reached through a link. Remove that, or keep it elsewhere with --ledger."
                )
            if path.exists() and not path.is_file():
                raise FolderError(f"{path}: is no file. {ELSEWHERE}")
            try:
                database = connect(path)
            except (sqlite3.Error, UnicodeDecodeError) as error:
                if not is_damage(error):
                    raise
                if chosen and not begins_as_ours(path):
                    raise FolderError(f"{path}: {NOT_OURS}. {ELSEWHERE}") from error
                damaged = put_aside(path)
                database = connect(path)
        ledger = cls(database, out, path)
        ledger.damaged = damaged
        try:
            with _told(path):
                ledger._settle_intents()
        except BaseException:
            database.close()
            raise
        return ledger

    @classmethod
    def peek(cls, out: Path, path: Path | None = None) -> Self | None:
        """A copy of it in memory; what is written there is lost. None where there is none that can be read."""
        path = path or out / OWN_FOLDER / FILE
        if not path.is_file():
            return None
        try:
            return cls(in_memory(path), out, path)
        except (sqlite3.Error, UnicodeDecodeError, OSError, FolderError):
            return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; what was written stays."""
        self._database.close()

    def find(self, target: Path) -> Record | None:
        """What is known of the photo whose output is planned at `target`."""
        with _told(self.path):
            row = self._database.execute("SELECT * FROM photos WHERE target = ?", (self._name(target),)).fetchone()
        return _record(row) if row else None

    def find_all(self, targets: Sequence[Path]) -> list[Record]:
        """The same of several photos, of those that are known."""
        wanted = [self._name(target) for target in targets]
        places = ", ".join("?" * len(wanted))
        with _told(self.path):
            rows = self._database.execute(f"SELECT * FROM photos WHERE target IN ({places})", wanted).fetchall()
        return [_record(row) for row in rows]

    def forget(self, target: Path) -> None:
        """Removes what is known of a photo's output."""
        with _told(self.path):
            self._database.execute("DELETE FROM photos WHERE target = ?", (self._name(target),))

    def records(self) -> Iterator[Record]:
        """All that is known, in the order of the targets."""
        with _told(self.path):
            for row in self._database.execute("SELECT * FROM photos ORDER BY target"):
                yield _record(row)

    def intend(self, record: Record) -> None:
        """Notes that the record's output is about to get its name."""
        with _told(self.path):
            self._database.execute(f"INSERT OR REPLACE INTO intents VALUES ({PLACES})", self._row(record))

    def write(self, record: Record) -> None:
        """Notes a photo's end."""
        with _told(self.path), self._database:  # which ends the transaction, however the block ends
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute(f"INSERT OR REPLACE INTO photos VALUES ({PLACES})", self._row(record))
            self._database.execute("DELETE FROM intents WHERE target = ?", (self._name(record.target),))

    def _settle_intents(self) -> None:
        """After a kill: an output that has its name and the bytes that were meant for it is done."""
        for row in self._database.execute("SELECT * FROM intents").fetchall():
            record = _record(row)
            if record.output.sha256 and fingerprint(self.out / record.path, read=True).sha256 == record.output.sha256:
                self.write(record)
        self._database.execute("DELETE FROM intents")

    def _name(self, target: Path) -> bytes:
        below = target.relative_to(self.out) if target.is_absolute() else target
        return os.fsencode(below.as_posix())

    def _row(self, record: Record) -> tuple[object, ...]:
        files = (*astuple(record.input), *astuple(record.output), *astuple(record.making))
        places = (os.fsencode(path.as_posix()) for path in (record.source, record.root))
        names = (self._name(record.target), self._name(record.path), *places)
        end = (record.state, record.reason, record.lasting, record.seconds, record.at or time.time(), record.version)
        story = (record.doubt, json.dumps(record.notes), record.pixels)
        return (*names, *map(_storable, (*files, *end, *story)))


def fingerprint(path: Path, read: bool = False) -> Fingerprint:
    """Of a file; NO_FILE where there is none. read: its bytes too, where it is a regular file and can be read."""
    try:
        status = path.lstat()
        sha256 = ""
        if read and stat.S_ISREG(status.st_mode):
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return Fingerprint(status.st_size, status.st_mtime_ns, sha256)
    except OSError:
        return NO_FILE


def _record(row: tuple[Cell, ...]) -> Record:
    cells = cells_of(row)
    for name in ("target", "path", "source", "root"):
        cells[name] = Path(os.fsdecode(cells[name]))
    for kind in ("input", "output"):
        size, time_, sha256 = (cells.pop(f"{kind}_{part.name}") for part in fields(Fingerprint))
        cells[kind] = Fingerprint(int(size), int(time_), sha256)
    cells["making"] = Making(*(cells.pop(part.name) for part in fields(Making)))
    cells["lasting"] = bool(cells["lasting"])
    cells["notes"] = tuple(json.loads(cells["notes"] or "[]"))
    cells["pixels"] = int(cells["pixels"] or 0)
    return Record(**cells)


def _storable(value: object) -> object:
    """A value as SQLite can hold it: it takes neither numbers of more than 64 bits nor half a surrogate pair, which
    stands for a byte of a file's name that is not UTF-8."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return str(value).encode() if isinstance(value, int) and not -HUGE <= value < HUGE else value


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turns what SQLite and the disk say into a sentence."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError, OSError) as error:
        if is_damage(error):
            raise FolderError(
                f"{path}: the ledger was damaged during the run. Run the same command again: it is then put aside and"
                " begun again, and what is done is skipped."
            ) from error
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
            raise BusyError(f"{path}: another process holds the ledger. Wait for it, or stop it.") from error
        words = error.strerror if isinstance(error, OSError) else str(error)
        raise FolderError(
            f"{path}: the ledger can't be written ({words}). Free some space, or keep it elsewhere with --ledger FILE,"
            " and run the same command again: what is done is skipped."
        ) from error
