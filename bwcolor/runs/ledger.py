"""What is done already, and from which input, with which model and settings: a small database in the output folder."""

import hashlib
import itertools
import os
import shutil
import sqlite3
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from bwcolor import __version__
from bwcolor.errors import BusyError, FolderError
from bwcolor.options import ColorizeOptions
from bwcolor.runs.places import on_network
from bwcolor.walk import OWN_FOLDER

FILE = "ledger.sqlite"
APPLICATION = 0x62776331  # SQLite's application_id, "bwc1"
SCHEMA = 2  # SQLite's user_version
WITHOUT_DOUBT = 1  # the same of ledgers that lack the last column
MAGIC, ID_AT = b"SQLite format 3\0", 68  # how SQLite's files begin, and where they have application_id
JOURNALS = ("-wal", "-journal")  # endings of the files beside it that hold what it lacks yet
WAIT = 10.0  # seconds for another reader of the file
NOT_OURS = "is not a ledger of bwcolor"
ELSEWHERE = "Move it away, or choose another file with --ledger."

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
        return "other settings" if self.settings != now.settings else ""


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
    mend. doubt: how unsure its colours are, see report.Outcome."""

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


NO_FILE = Fingerprint(-1, 0)
COLUMNS = (
    "target BLOB PRIMARY KEY", "path BLOB", "source BLOB", "root BLOB", "input_size INTEGER", "input_mtime_ns INTEGER",
    "input_sha256 TEXT", "output_size INTEGER", "output_mtime_ns INTEGER", "output_sha256 TEXT", "model TEXT",
    "label TEXT", "settings TEXT", "state TEXT", "reason TEXT", "lasting INTEGER", "seconds REAL", "at REAL",
    "version TEXT", "doubt REAL",
)  # fmt: skip
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
                database = _connected(path)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                if chosen and not _begins_as_ours(path):
                    raise FolderError(f"{path}: {NOT_OURS}. {ELSEWHERE}") from error
                damaged = _put_aside(path)
                database = _connected(path)
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
            return cls(_in_memory(path), out, path)
        except (sqlite3.Error, OSError, FolderError):
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
        return (*names, *files, *end, record.doubt)


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


def _record(row: tuple[object, ...]) -> Record:
    cells = dict(zip((column.split()[0] for column in COLUMNS), row, strict=True))
    path = {name: Path(os.fsdecode(cells.pop(name))) for name in ("target", "path", "source", "root")}  # type: ignore[arg-type]
    files = {
        kind: Fingerprint(*(cells.pop(f"{kind}_{part.name}") for part in fields(Fingerprint)))  # type: ignore[arg-type]
        for kind in ("input", "output")
    }
    making = Making(*(str(cells.pop(part.name)) for part in fields(Making)))
    cells["lasting"] = bool(cells["lasting"])
    return Record(**path, **files, making=making, **cells)  # type: ignore[arg-type]


def _connected(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=WAIT, isolation_level=None)
    try:
        (tables,), (application,) = (
            database.execute(words).fetchone()
            for words in ("SELECT count(*) FROM sqlite_master", "PRAGMA application_id")
        )
        if not tables and not application:
            _make_tables(database)
        _check(database, path)  # before anything is changed in what may be another program's
        _upgrade(database)
        # A write-ahead log needs memory that processes share, which network disks don't have.
        journal = "DELETE" if on_network(path.parent) else "WAL"
        database.execute(f"PRAGMA journal_mode = {journal}")
        # With the log, power loss may cost the last records, never the file; their outputs are known by their labels.
        database.execute(f"PRAGMA synchronous = {'NORMAL' if journal == 'WAL' else 'FULL'}")
    except BaseException:
        database.close()
        raise
    return database


def _make_tables(database: sqlite3.Connection) -> None:
    columns = ", ".join(COLUMNS)
    with database:
        database.execute("BEGIN IMMEDIATE")
        for table in ("photos", "intents"):
            database.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns}) WITHOUT ROWID")
        database.execute(f"PRAGMA application_id = {APPLICATION}")
        database.execute(f"PRAGMA user_version = {SCHEMA}")


def _upgrade(database: sqlite3.Connection) -> None:
    """Gives a ledger of an earlier version what it lacks."""
    if database.execute("PRAGMA user_version").fetchone() != (WITHOUT_DOUBT,):
        return
    with database:
        database.execute("BEGIN IMMEDIATE")
        for table in ("photos", "intents"):
            database.execute(f"ALTER TABLE {table} ADD COLUMN {COLUMNS[-1]}")
        database.execute(f"PRAGMA user_version = {SCHEMA}")


def _check(database: sqlite3.Connection, path: Path) -> None:
    """Raises FolderError for another program's database or a newer one, sqlite3.DatabaseError for a damaged one."""
    (application,), (version,) = (
        database.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
    )
    if application != APPLICATION:
        raise FolderError(f"{path}: {NOT_OURS}. {ELSEWHERE}")
    if version not in (WITHOUT_DOUBT, SCHEMA):
        raise FolderError(
            f"{path}: was written by another version of bwcolor. Update bwcolor, or choose another --out."
        )
    (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(found)


def _begins_as_ours(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(ID_AT + 4)
    return start.startswith(MAGIC) and start[ID_AT:] == APPLICATION.to_bytes(4, "big")


def _in_memory(path: Path) -> sqlite3.Connection:
    """A copy of the database, with what its log holds: SQLite itself would write beside a file that it reads."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, FILE)
        for ending in ("", *JOURNALS):
            beside = path.with_name(path.name + ending)
            if beside.is_file():
                shutil.copyfile(beside, copy.with_name(copy.name + ending))
        with closing(sqlite3.connect(copy)) as database:
            _check(database, path)
            database.execute("PRAGMA journal_mode = DELETE")  # what memory can have
            memory = sqlite3.connect(":memory:", isolation_level=None)
            database.backup(memory)
        _upgrade(memory)
    return memory


def _put_aside(path: Path) -> Path:
    """Gives a damaged ledger, and what belongs to it, another name."""
    name = f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    names = (path.with_name(name + (f"-{number}" if number else "")) for number in itertools.count())
    aside = next(path for path in names if not os.path.lexists(path))
    for ending in ("", *JOURNALS):
        with suppress(FileNotFoundError):
            path.with_name(path.name + ending).rename(aside.with_name(aside.name + ending))
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    return aside


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turns what SQLite and the disk say into a sentence."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
            raise BusyError(f"{path}: another process holds the ledger. Wait for it, or stop it.") from error
        words = error.strerror if isinstance(error, OSError) else str(error)
        raise FolderError(
            f"{path}: the ledger can't be written ({words}). Free some space, or keep it elsewhere with --ledger FILE,"
            " and run the same command again: what is done is skipped."
        ) from error
