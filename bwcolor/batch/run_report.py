"""The report of a run as a file: a line for each photo as it ends, what the ledger has of others, one for the run."""

import contextlib
import csv
import datetime
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from bwcolor.batch.discovery import LeftOut, refuse_photo
from bwcolor.batch.ledger import NO_FILE, Record
from bwcolor.batch.outcome import Outcome
from bwcolor.errors import FolderError, UsageError
from bwcolor.system.filesystem import OWN_FOLDER
from bwcolor.system.text import printable

FILE = "bwcolor-report.jsonl"  # in the output folder
COLUMNS = (
    "record", "source", "output", "state", "reason", "notes", "seconds", "doubt", "pixels", "bytes",
    "source_sha256", "output_sha256", "model_sha256", "model", "ended", "this_run", "sidecars",
)  # fmt: skip
KEPT = "reports"  # in our own folder of an output folder: its earlier reports
# What a line of a run's own work holds; inside a JSON string its quotation marks would have backslashes before them.
WORK, MARKED = b'"this_run": true', b'"this_run": '
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


def photo_record(outcome: Outcome, known: Record | None = None) -> dict[str, Any]:
    """Says what became of a photo. Times in seconds; doubt in levels of 255; hashes are of whole files, empty where
    nobody read them.

    known: what the ledger has of a photo that this run had no work with, which tells how its output was made.
    """
    path, output, source = outcome.path, outcome.output, outcome.input.sha256
    if known is not None:
        there = known.output != NO_FILE
        path, output = path or (known.path if there else None), output if output.sha256 else known.output
        source = source or known.input.sha256
    job, done = outcome.job, outcome.state != "failed"
    return {
        "record": "photo", "source": str(job.source), "output": str(path or "") if done else "",
        "state": outcome.state, "reason": outcome.reason, **_making(known or outcome), "pixels": job.pixels,
        "bytes": job.bytes, "source_sha256": source, "output_sha256": output.sha256 if done else "",
        "notes": [*(known.notes if known else ()), *outcome.notes], "this_run": known is None,
        "sidecars": [str(path) for path in outcome.sidecars],
    }  # fmt: skip


def earlier_record(known: Record) -> dict[str, Any]:
    """Says what the ledger has of a photo that this run did not meet."""
    there = known.output != NO_FILE and known.state != "failed"
    return {
        "record": "photo", "source": str(known.root / known.source), "output": str(known.path) if there else "",
        "state": known.state, "reason": known.reason, **_making(known), "pixels": known.pixels,
        "bytes": known.input.size, "source_sha256": known.input.sha256,
        "output_sha256": known.output.sha256 if there else "", "this_run": False,
    }  # fmt: skip


def _making(of: Outcome | Record) -> dict[str, Any]:
    """Says how an output was made, and when."""
    by = of.making if isinstance(of, Record) else of.made_by
    return {
        "notes": list(of.notes), "seconds": round(of.seconds, 3),
        "doubt": None if of.doubt is None else round(of.doubt, 2), "model": by.label if by else "",
        "model_sha256": by.model if by else "", "ended": _utc(of.at if isinstance(of, Record) else time.time()),
    }  # fmt: skip


def left_out_record(left: LeftOut) -> dict[str, Any]:
    """Something that the run did not open, and why."""
    return {
        "record": "left out", "source": str(left.path), "state": "failed" if left.failed else "left out",
        "reason": left.reason,
    }  # fmt: skip


def now() -> str:
    """The time, UTC, as ISO 8601 has it."""
    return _utc(time.time())


def _utc(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")


@contextlib.contextmanager
def opened_records(path: Path | None) -> Iterator[Records | None]:
    """A report to write; None where none is wanted.

    An older one that tells of work gets another name first, see `_keep`; one of a run that found nothing to do is
    replaced, for the new one says the same. Raises FolderError when it can't be written, UsageError when a file of that
    name is no report.
    """
    if path is None:
        yield None
        return
    refuse_photo("--report", path, ".jsonl or .csv")
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise UsageError(f"--report {path}: is no file. Choose another name.")
    with _told(path):
        if not _may_be_replaced(path):
            raise UsageError(f"--report {path}: exists, and is no report of bwcolor. Choose another name.")
        if _tells_of_work(path):
            _keep(path)
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


def _tells_of_work(path: Path) -> bool:
    """Whether a report has a line about work of its own run, or is of a version that did not tell."""
    if not path.exists():
        return False
    if path.suffix.lower() == ".csv":
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            return any(row.get("this_run") != "False" for row in csv.DictReader(file))
    with path.open("rb") as lines:
        return any(WORK in line or (b'"record": "photo"' in line and MARKED not in line) for line in lines)


def _keep(path: Path) -> None:
    """Renames a report after the time of its last line: into our own folder of an output folder, or else beside it."""
    own = path.parent / OWN_FOLDER
    folder = own / KEPT if path.name == FILE and own.is_dir() else path.parent
    if own in folder.parents and (own.is_symlink() or folder.is_symlink()):
        raise UsageError(f"{folder}: is reached through a link. Remove that, or choose another --report.")
    folder.mkdir(exist_ok=True)
    ended = min(max(path.stat().st_mtime, 0.0), time.time())  # a disk may hold times that no calendar has
    stem = f"{path.stem}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(ended))}"
    for number in itertools.count():
        kept = folder / f"{stem}{f'-{number}' if number else ''}{path.suffix}"
        if not os.path.lexists(kept):
            path.rename(kept)
            return


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
