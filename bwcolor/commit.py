"""Files that appear under their final name at once, complete, never over another file."""

import contextlib
import errno
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bwcolor.errors import FolderError, PassingError

if sys.platform != "win32":
    import fcntl

# What disks answer to a call that they do not know: hard links, flushing a folder.
NOT_SUPPORTED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
BAD_NAME = frozenset({errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ})
TEMPORARY_PREFIX, TEMPORARY_SUFFIX = ".bwcolor-", ".part"


def commit(content: bytes, target: Path, overwrite: bool) -> None:
    """Makes `content` a file under its final name; see `committed`."""
    with committed(target, overwrite) as out:
        out.write(content)


@contextlib.contextmanager
def committed(
    target: Path, overwrite: bool, times: tuple[int, int] | None = None, mode: int = 0o777
) -> Iterator[BinaryIO]:
    """A new file to write and to read, which becomes `target` when the block ends well, and vanishes otherwise.

    Written to a temporary sibling, flushed to disk, then linked to its name. With `overwrite` it
    replaces what is there. times: of last access and change in nanoseconds, for the file to have as far as its disk
    can hold them. mode: the
    original's permission bits, which nobody gets more of; the owner may always read and write. Raises PassingError
    when the name is taken or what has it can't be replaced, FolderError when the folder can't be written or the disk is
    full. An OSError of the block counts as one of writing: what reads files there must raise PhotoError.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _temporary(target.parent) as part:
            with part.open("x+b") as out:
                with contextlib.suppress(OSError):  # a disk without locks
                    _claim(out)
                _restrict(part, mode)
                yield out
                out.flush()
                os.fsync(out.fileno())
            if times is not None:
                with contextlib.suppress(
                    OSError, OverflowError
                ):  # the disk can't hold them; who cares looks at the file
                    os.utime(part, ns=times)
            _put_in_place(part, target, overwrite)
        sync_folder(target.parent)
    except FileExistsError as error:
        if not target.parent.is_dir():
            raise FolderError(f"{target.parent} is a file where a folder must be. Choose another --out.") from error
        raise PassingError(f"{target} exists already; --overwrite replaces it") from error
    except IsADirectoryError as error:
        raise PassingError(f"{target} is a folder; move it away or choose another --out") from error
    except OSError as error:
        if error.errno in BAD_NAME:
            raise PassingError(f"the output folder's disk does not take its name ({error.strerror})") from error
        raise FolderError(
            f"{target.parent}: can't be written ({error.strerror}). Choose another folder with --out,"
            " or free some space, and run the same command again: what is done is skipped."
        ) from error


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    part = folder / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> int:
    """Removes unfinished files of runs that were killed, not those that somebody is writing; returns how many."""
    removed = 0
    with contextlib.suppress(OSError):  # no such folder, or not ours to change
        for entry in os.scandir(folder):
            if not entry.name.startswith(TEMPORARY_PREFIX) or not entry.name.endswith(TEMPORARY_SUFFIX):
                continue
            part = Path(entry.path)
            with contextlib.suppress(OSError):  # in work, or gone
                if entry.is_file(follow_symlinks=False):
                    with part.open("r+b") as left:
                        _claim(left)
                    part.unlink()
                    removed += 1
    return removed


def _claim(file: BinaryIO) -> None:
    """Marks an open file as somebody's until it is closed; OSError when it is somebody else's. Windows lets nobody
    remove an open file anyway."""
    if sys.platform != "win32":
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def _restrict(part: Path, mode: int) -> None:
    """Takes the permissions away that `mode` does not have."""
    if os.name == "nt":
        return
    current = stat.S_IMODE(part.stat().st_mode)
    wanted = current & mode | stat.S_IRUSR | stat.S_IWUSR
    if wanted != current:
        try:
            part.chmod(wanted)
        except OSError as error:  # a disk without permissions, such as FAT
            if error.errno not in {*NOT_SUPPORTED, errno.EPERM}:
                raise


def _put_in_place(part: Path, target: Path, overwrite: bool) -> None:
    try:
        if overwrite:
            part.replace(target)
        else:
            _link(part, target)
    except PermissionError as error:
        if target.is_dir() or not os.access(target.parent, os.W_OK):
            raise
        # The folder took the new file, so that it is what lies there: on Windows, read-only or open elsewhere.
        raise PassingError(
            f"{target} can't be replaced ({error.strerror}): it may be read-only or open in another program"
        ) from error


def _link(part: Path, target: Path) -> None:
    """Gives the file its name unless the name is taken, in one step where the disk can do that."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in {*NOT_SUPPORTED, errno.EPERM, errno.EMLINK}:
            raise
        if os.path.lexists(target):  # a disk without hard links, such as FAT: the check and the move are two steps
            raise FileExistsError(target) from error
        part.replace(target)


def sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # Windows can't open a folder
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # network disks may refuse to flush a folder; the file itself is flushed
        if error.errno not in NOT_SUPPORTED:
            raise
    finally:
        os.close(descriptor)
