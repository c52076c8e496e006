"""Which files are photos: by their names, else by their first bytes. Nothing is decoded here."""

import functools
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from bwcolor.photo.formats.signatures import LOOK, UNREADABLE, ending, format_in, has_photo_name, unreadable_in
from bwcolor.system.filesystem import on_network

# What cloud programs put in a photo's place, with this behind its name, until somebody downloads it.
PLACEHOLDERS = frozenset({".icloud", ".nextcloud", ".owncloud"})
UNFINISHED = frozenset({".part", ".partial", ".filepart", ".crdownload", ".download", ".opdownload"})
# Bits of Windows' file attributes (winnt.h: OFFLINE, RECALL_ON_OPEN, RECALL_ON_DATA_ACCESS) and of macOS's flags
# (sys/stat.h: SF_DATALESS): the file's content is elsewhere, and reading it would download it.
AWAY_ON_WINDOWS = 0x1000 | 0x40000 | 0x400000
AWAY_ON_MACOS = 0x40000000
ONLINE_ONLY = "is only a placeholder for a photo that lies in a cloud; download it first"
INCOMPLETE = "is an unfinished download; finish it, or give it its photo's name"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a picture is not opened. missing: whether it is a photo that should be there, so that the run has failed."""

    words: str
    missing: bool = False


@functools.lru_cache(maxsize=1024)
def _lies_on_network(folder: Path, device: int) -> bool:
    return on_network(folder)


def is_away(status: os.stat_result) -> bool:
    """Tell whether the system says that a file's content is not on this computer."""
    on_windows, on_macos = getattr(status, "st_file_attributes", 0), getattr(status, "st_flags", 0)
    return bool(on_windows & AWAY_ON_WINDOWS or on_macos & AWAY_ON_MACOS)


def may_be_looked_into(path: Path, status: os.stat_result, named: bool = False) -> bool:
    """Tell whether reading a file's first bytes costs nothing: its content is known to be on this computer.

    named: whether the user named the very file, so that one on another computer is meant too. Disks that keep files
    elsewhere, such as tapes, show them without blocks.
    """
    if not stat.S_ISREG(status.st_mode) or not status.st_size or is_away(status):
        return False
    return named or (getattr(status, "st_blocks", 1) > 0 and not _lies_on_network(path.parent, status.st_dev))


def first_bytes(path: Path) -> bytes:
    """Read at most LOOK bytes of a file; none of what can't be read, or is no file any more."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError:
        return b""
    try:
        return os.read(descriptor, LOOK) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def has_picture_name(path: Path) -> bool:
    """Tell whether a name is that of a picture, be it one that can be read or not."""
    return has_photo_name(path) or ending(path) in UNREADABLE


def placeholder(path: Path) -> Reason | None:
    """Say why a file that stands for a photo, by its name, is none; None for all other files."""
    last, bare = ending(path), path.with_suffix("")
    if last not in PLACEHOLDERS | UNFINISHED or not has_picture_name(bare):
        return None
    return Reason(ONLINE_ONLY if last in PLACEHOLDERS else INCOMPLETE, missing=True)


def recognized(path: Path, status: os.stat_result, named: bool = False) -> Reason | bool:
    """Tell whether a regular file is a photo (True), a picture that is not opened, and why, or neither (False).

    A name like `a.jpg` is believed: what is in the file is looked at when it is opened. named: see may_be_looked_into.
    """
    if reason := placeholder(path):
        return reason
    if has_photo_name(path):
        return Reason(ONLINE_ONLY, missing=True) if is_away(status) else True
    by_name = UNREADABLE.get(ending(path))
    start = first_bytes(path) if by_name is None and may_be_looked_into(path, status, named) else b""
    kind = by_name or unreadable_in(start)
    return Reason(str(kind)) if kind else format_in(start) is not None


def why_no_photo(path: Path) -> str | None:
    """Say why a file that the user named can't be read as a photo; None where it can."""
    real = Path(os.path.realpath(path))
    verdict = recognized(path if has_picture_name(path) else real, real.stat(), named=True)
    if isinstance(verdict, Reason):
        return verdict.words
    return None if verdict else "is not a picture of a kind that can be read"
