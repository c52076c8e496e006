"""The ledger's file: its tables and their columns, what counts as damage, and what happens to a damaged one."""

import itertools
import json
import math
import os
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from bwcolor.errors import FolderError
from bwcolor.system.filesystem import on_network

FILE = "ledger.sqlite"
APPLICATION = 0x62776331  # SQLite's application_id, "bwc1"
SCHEMA = 3  # SQLite's user_version
WIDTHS = {1: 19, 2: 20, SCHEMA: 22}  # columns of each version: the first so many of COLUMNS
TABLES = ("photos", "intents")
MAGIC, ID_AT = b"SQLite format 3\0", 68  # how SQLite's files begin, and where they have application_id
VERSIONS_AT, KNOWN_VERSIONS = (
    slice(18, 20),
    frozenset({1, 2}),
)  # of the format, to write and to read; above, it is read-only
JOURNALS = ("-wal", "-journal")  # endings of the files beside it that hold what it lacks yet
WAIT = 10.0  # seconds for another reader of the file
LAST_TIME = 2.0**37  # seconds since 1970: the year 6325; a later `at` is damage, and no calendar of ours can show it
# What SQLite answers when a file is not as it should be. All else (full, read-only, busy) is about the disk.
DAMAGE = frozenset({
    sqlite3.SQLITE_ERROR, sqlite3.SQLITE_INTERNAL, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_RANGE,
    sqlite3.SQLITE_NOTADB,
})  # fmt: skip
HEX = re.compile(r"[0-9a-f]*")

Cell = bytes | int | float | str | None


class DamagedLedgerError(sqlite3.DatabaseError):
    """The file is an SQLite database, and not a ledger as we write it."""


def _is_path(cell: Any) -> bool:
    return isinstance(cell, bytes) and bool(cell) and b"\0" not in cell


def _is_whole(cell: Any) -> bool:
    """A whole number; as digits where SQLite's 64 bits are too few, which for nanoseconds end in 1677 and 2262."""
    return isinstance(cell, int) or (isinstance(cell, bytes) and re.fullmatch(rb"-?\d{19,40}", cell) is not None)


def _is_text(cell: Any) -> bool:
    return isinstance(cell, str)


def _is_hash(cell: Any) -> bool:
    return isinstance(cell, str) and HEX.fullmatch(cell) is not None


def _is_number(cell: Any) -> bool:
    return isinstance(cell, int | float) and math.isfinite(cell)


def _is_notes(cell: Any) -> bool:
    if cell is None:
        return True
    try:
        notes = json.loads(cell)
    except (TypeError, ValueError):
        return False
    return isinstance(notes, list) and all(isinstance(note, str) for note in notes)


# Each column: how SQLite declares it, and what its cells must be.
COLUMNS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "target": ("BLOB PRIMARY KEY", _is_path), "path": ("BLOB", _is_path), "source": ("BLOB", _is_path),
    "root": ("BLOB", _is_path), "input_size": ("INTEGER", _is_whole),
    "input_mtime_ns": ("INTEGER", _is_whole), "input_sha256": ("TEXT", _is_hash),
    "output_size": ("INTEGER", _is_whole), "output_mtime_ns": ("INTEGER", _is_whole),
    "output_sha256": ("TEXT", _is_hash), "model": ("TEXT", _is_text), "label": ("TEXT", _is_text),
    "settings": ("TEXT", _is_text), "state": ("TEXT", lambda cell: cell in ("done", "skipped", "failed")),
    "reason": ("TEXT", _is_text), "lasting": ("INTEGER", lambda cell: cell in (0, 1)),
    "seconds": ("REAL", _is_number), "at": ("REAL", lambda cell: _is_number(cell) and 0 <= cell < LAST_TIME),
    "version": ("TEXT", _is_text), "doubt": ("REAL", lambda cell: cell is None or _is_number(cell)),
    "notes": ("TEXT", _is_notes), "pixels": ("INTEGER", lambda cell: cell is None or _is_whole(cell)),
}  # fmt: skip


def cells_of(row: tuple[Cell, ...]) -> dict[str, Any]:
    """Names the cells of a row; raises DamagedLedgerError when one is not what its column holds."""
    if len(row) != len(COLUMNS):
        raise DamagedLedgerError(f"a row of {len(row)} cells")
    for cell, (name, (_, fits)) in zip(row, COLUMNS.items(), strict=True):
        if not fits(cell):
            raise DamagedLedgerError(f"a cell that can't be {name}")
    return dict(zip(COLUMNS, row, strict=True))


def is_damage(error: Exception) -> bool:
    """Whether an error of SQLite's says that the file is damaged, or no database; not that the disk is full, say."""
    code = getattr(error, "sqlite_errorcode", None)  # none where Python can't make sense of what it reads
    return isinstance(error, sqlite3.Error | UnicodeDecodeError) and (code is None or code & 0xFF in DAMAGE)


def connect(path: Path) -> sqlite3.Connection:
    """Opens a ledger, or makes one where there is none or an empty file.

    Raises what `is_damage` knows when it is damaged, FolderError for a newer bwcolor's.
    """
    _check_header(path)
    database = sqlite3.connect(path, timeout=WAIT, isolation_level=None)
    database.text_factory = bytes.decode  # strictly UTF-8, with an error that tells damage from all else
    try:
        (tables,), (application,) = (
            database.execute(words).fetchone()
            for words in ("SELECT count(*) FROM sqlite_master", "PRAGMA application_id")
        )
        if not tables and not application:
            _make_tables(database)
        _check(database, path)  # before anything is changed in what may be another program's
        _upgrade(database)
        _check_rows(database)
        # A write-ahead log needs memory that processes share, which network disks don't have.
        journal = "DELETE" if on_network(path.parent) else "WAL"
        database.execute(f"PRAGMA journal_mode = {journal}")
        # With the log, power loss may cost the last records, never the file; their outputs are known by their labels.
        database.execute(f"PRAGMA synchronous = {'NORMAL' if journal == 'WAL' else 'FULL'}")
    except BaseException:
        database.close()
        raise
    return database


def begins_as_ours(path: Path) -> bool:
    """Whether the file is a ledger by its first bytes, in whatever state the rest is."""
    with path.open("rb") as file:
        start = file.read(ID_AT + 4)
    return start.startswith(MAGIC) and start[ID_AT:] == APPLICATION.to_bytes(4, "big")


def in_memory(path: Path) -> sqlite3.Connection:
    """Copies the database, with what its log holds: SQLite itself would write beside a file that it reads."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, FILE)
        for ending in ("", *JOURNALS):
            beside = path.with_name(path.name + ending)
            if beside.is_file():
                shutil.copyfile(beside, copy.with_name(copy.name + ending))
        with closing(sqlite3.connect(copy)) as database:
            database.text_factory = bytes.decode
            _check(database, path)
            database.execute("PRAGMA journal_mode = DELETE")  # what memory can have
            memory = sqlite3.connect(":memory:", isolation_level=None)
            memory.text_factory = bytes.decode
            database.backup(memory)
    try:
        _upgrade(memory)
        _check_rows(memory)
    except BaseException:
        memory.close()
        raise
    return memory


def put_aside(path: Path) -> Path:
    """Gives a damaged ledger, and what belongs to it, another name."""
    name = f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    names = (path.with_name(name + (f"-{number}" if number else "")) for number in itertools.count())
    aside = next(path for path in names if not os.path.lexists(path))
    for ending in ("", *JOURNALS):
        with suppress(FileNotFoundError):
            path.with_name(path.name + ending).rename(aside.with_name(aside.name + ending))
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    return aside


def _check_header(path: Path) -> None:
    """Raises DamagedLedgerError for a version of the file format that SQLite would take for read-only, or refuse."""
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(VERSIONS_AT.stop)
        if start.startswith(MAGIC) and not KNOWN_VERSIONS.issuperset(start[VERSIONS_AT]):
            raise DamagedLedgerError("a format of another version")


def _make_tables(database: sqlite3.Connection) -> None:
    columns = ", ".join(f"{name} {declared}" for name, (declared, _) in COLUMNS.items())
    with database:
        database.execute("BEGIN IMMEDIATE")
        for table in TABLES:
            database.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns}) WITHOUT ROWID")
        database.execute(f"PRAGMA application_id = {APPLICATION}")
        database.execute(f"PRAGMA user_version = {SCHEMA}")


def _upgrade(database: sqlite3.Connection) -> None:
    """Gives a ledger of an earlier version the columns that it lacks."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version == SCHEMA:
        return
    with database:
        database.execute("BEGIN IMMEDIATE")
        for table, name in itertools.product(TABLES, list(COLUMNS)[WIDTHS[version] :]):
            database.execute(f"ALTER TABLE {table} ADD COLUMN {name} {COLUMNS[name][0]}")
        database.execute(f"PRAGMA user_version = {SCHEMA}")


def _check(database: sqlite3.Connection, path: Path) -> None:
    """Raises FolderError for a newer ledger, DamagedLedgerError for what is none, or damaged as far as SQLite knows."""
    (application,), (version,) = (
        database.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
    )
    if application != APPLICATION:
        raise DamagedLedgerError("another program's database")
    if version > SCHEMA:
        raise FolderError(f"{path}: was written by a newer version of bwcolor. Update bwcolor, or move that file away.")
    if version not in WIDTHS:
        raise DamagedLedgerError("no version of ours")
    (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise DamagedLedgerError(found)
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()
    if tables != len(TABLES):
        raise DamagedLedgerError("other tables")
    for table in TABLES:
        names = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
        if names != list(COLUMNS)[: WIDTHS[version]]:
            raise DamagedLedgerError(f"other columns in {table}")


def _check_rows(database: sqlite3.Connection) -> None:
    """Raises DamagedLedgerError for a cell that can't be what its column holds, which SQLite itself never minds."""
    for table in TABLES:
        for row in database.execute(f"SELECT * FROM {table}"):
            cells_of(row)
