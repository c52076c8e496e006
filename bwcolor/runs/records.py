"""The report of a run as a file: a line for each photo, as it ends, and one for the run."""

import contextlib
import csv
import datetime
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from bwcolor.errors import FolderError, UsageError
from bwcolor.formats.known import EXTENSIONS
from bwcolor.printable import printable
from bwcolor.report import Outcome
from bwcolor.walk import LeftOut

FILE = "bwcolor-report.jsonl"  # in the output folder
COLUMNS = (
    "record", "source", "output", "state", "reason", "notes", "seconds", "doubt", "pixels", "bytes",
    "source_sha256", "output_sha256", "model_sha256",
)  # fmt: skip
# What makes a spreadsheet calculate instead of show (OWASP, CSV injection); tabs and line ends are masked before.
FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
OURS = (b'{"record": ', COLUMNS[0].encode() + b"," + COLUMNS[1].encode())  # how reports begin


class Records:
    """Writes records to a file, each at once. A file name that ends in .csv gets a table, without the run's record.

    Values are data: JSON in ASCII, with names that are not UTF-8 as lone surrogates (as Python's os.fsdecode gives
    them). In a table, which is for people, control characters are masked as on the terminal, and a cell that a
    spreadsheet would calculate begins with an apostrophe.
    """

    def __init__(self, file: TextIO, path: Path) -> None:
        self._file, self._path = file, path
        self._table = csv.DictWriter(file, COLUMNS, extrasaction="ignore") if path.suffix.lower() == ".csv" else None
        if self._table:
            self._table.writeheader()

    def write(self, record: dict[str, Any]) -> None:
        """One line. Raises FolderError when the disk is full."""
        with _told(self._path):
            if self._table is None:
                self._file.write(json.dumps(record) + "\n")
            elif record["record"] != "run":
                self._table.writerow({name: _cell(value) for name, value in record.items()})
            self._file.flush()


def photo_record(outcome: Outcome) -> dict[str, Any]:
    """What became of a photo. Times in seconds; doubt in levels of 255; hashes are of whole files, empty where nobody
    read them."""
    return {
        "record": "photo",
        "source": str(outcome.job.source),
        "output": str(outcome.path or "") if outcome.state != "failed" else "",
        "state": outcome.state,
        "reason": outcome.reason,
        "notes": list(outcome.notes),
        "seconds": round(outcome.seconds, 3),
        "doubt": None if outcome.doubt is None else round(outcome.doubt, 2),
        "pixels": outcome.job.pixels,
        "bytes": outcome.job.bytes,
        "source_sha256": outcome.input.sha256,
        "output_sha256": outcome.output.sha256 if outcome.state != "failed" else "",
        "model_sha256": outcome.made_by.model if outcome.made_by else "",
    }


def left_out_record(left: LeftOut) -> dict[str, Any]:
    """Something that the run did not open, and why."""
    return {
        "record": "left out", "source": str(left.path), "state": "failed" if left.failed else "left out",
        "reason": left.reason,
    }  # fmt: skip


def now() -> str:
    """The time, UTC, as ISO 8601 has it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@contextlib.contextmanager
def opened_records(path: Path | None) -> Iterator[Records | None]:
    """A report to write, in place of an older one; None where none is wanted.

    Raises FolderError when it can't be written, UsageError when a file of that name is no report.
    """
    if path is None:
        yield None
        return
    if path.suffix.lower() in EXTENSIONS:
        raise UsageError(f"--report {path}: has the name of a photo. Choose one that ends in .jsonl or .csv.")
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise UsageError(f"--report {path}: is no file. Choose another name.")
    with _told(path):
        if not _may_be_replaced(path):
            raise UsageError(f"--report {path}: exists, and is no report of bwcolor. Choose another name.")
        file = open(path, "w", encoding="utf-8", newline="", opener=_no_link)  # noqa: SIM115 - closed below
    try:
        with _told(path):
            records = Records(file, path)
            file.flush()
        yield records
    finally:
        with contextlib.suppress(OSError):  # what the disk had no room for has been told
            file.close()


def _may_be_replaced(path: Path) -> bool:
    if not path.exists():
        return True
    with path.open("rb") as file:
        start = file.read(max(map(len, OURS)))
    return not start or start.startswith(OURS)


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FolderError(
            f"{path}: the report can't be written ({error.strerror}). Free some space, or choose another --report."
        ) from error


def _cell(value: object) -> str:
    text = printable("; ".join(map(str, value)) if isinstance(value, list) else "" if value is None else value)
    return f"'{text}" if text.startswith(FORMULA) and not isinstance(value, int | float) else text


def on_stdout(wanted: bool) -> Records | None:
    """The same records on standard output, for another program to read."""
    # It is None where the shell has closed it.
    return Records(sys.stdout, Path("standard output")) if wanted and sys.stdout is not None else None


def report_path(wanted: str | None, folder: Path | None) -> Path | None:
    """Where the report goes. wanted: as the user said, "none" for none; by default a file in the output folder."""
    if wanted is not None:
        return None if wanted == "none" else Path(os.path.abspath(wanted))
    return folder / FILE if folder else None
