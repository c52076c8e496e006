"""Files that appear under their final name at once, complete, never over another file."""

import contextlib
import ctypes
import errno
import itertools
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bwcolor.errors import FolderError, PassingError
from bwcolor.system.disk import mode_of

if sys.platform != "win32":
    import fcntl

# What disks answer to a call that they do not know: hard links, flushing a folder.
NOT_SUPPORTED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
NO_LINKS = NOT_SUPPORTED | {errno.EPERM, errno.EMLINK, errno.EXDEV}  # the last of disks that join several
# What disks answer to a name that they don't take, in a folder that exists: the last is exFAT's through FUSE.
BAD_NAME = frozenset({errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ENOENT})
AT_FDCWD, RENAME_NOREPLACE = -100, 1  # Linux: fcntl.h, renameat2(2)
RENAME_EXCL = 4  # macOS: sys/stdio.h
REFUSED = "the output folder's disk does not take {} ({})"
PLACEHOLDER = b"bwcolor is writing this file\n"
THROUGH_LINK = "{} is a link, and nothing is written through links; remove it, or choose another --out"
TEMPORARY_PREFIX, TEMPORARY_SUFFIX = ".bwcolor-", ".part"


def link_above(folder: Path, out: Path) -> Path | None:
    """The first link on the way from the output folder, which may be one itself, down to a folder in it."""
    above = [one for one in (folder, *folder.parents) if one != out and one.is_relative_to(out)]
    return next((one for one in reversed(above) if stat.S_ISLNK(mode_of(one, follow_links=False))), None)


def commit(content: bytes, target: Path, overwrite: bool) -> None:
    """Makes `content` a file under its final name; see `committed`."""
    with committed(target, overwrite) as out:
        out.write(content)


@contextlib.contextmanager
def committed(
    target: Path, overwrite: bool, times: tuple[int, int] | None = None, mode: int = 0o777, out: Path | None = None
) -> Iterator[BinaryIO]:
    """A new file to write and to read, which becomes `target` when the block ends well, and vanishes otherwise.

    Written to a temporary sibling, flushed to disk, then linked or moved to its name. With `overwrite` it
    replaces what is there. times: of last access and change in nanoseconds, for the file to have as far as its disk
    can hold them. mode: the original's permission bits, which nobody gets more of; the owner may always read and write.
    out: the output folder, below which nothing is written through links. Raises PassingError when the name is taken,
    when what has it can't be replaced, or when there is such a link, FolderError when the folder can't be written or
    the disk is full. An OSError of the block counts as one of writing: what reads files there must raise PhotoError.
    """
    try:
        _refuse_links(target.parent, out)
        _make_folder(target.parent)
        with _temporary(target.parent) as part:
            with part.open("x+b") as file:
                with contextlib.suppress(OSError):  # a disk without locks
                    _claim(file)
                _restrict(part, mode)
                yield file
                file.flush()
                os.fsync(file.fileno())
            if times is not None:
                with contextlib.suppress(OSError, OverflowError):  # the disk can't hold them; _in_place notes that
                    os.utime(part, ns=times)
            _refuse_links(target.parent, out)  # a folder may have been moved elsewhere, and a link left in its place
            _put_in_place(part, target, overwrite)
        sync_folder(target.parent)
    except FileExistsError as error:
        if not target.parent.is_dir():
            raise FolderError(f"{target.parent} is a file where a folder must be. Choose another --out.") from error
        raise PassingError(f"{target} exists already; --overwrite replaces it") from error
    except IsADirectoryError as error:
        raise PassingError(f"{target} is a folder; move it away or choose another --out") from error
    except OSError as error:
        raise FolderError(
            f"{target.parent}: can't be written ({error.strerror}). Choose another folder with --out,"
            " or free some space, and run the same command again: what is done is skipped."
        ) from error


def _make_folder(folder: Path) -> None:
    """Makes a folder with all above it. Raises PassingError when the disk does not take the name of one."""
    missing = itertools.takewhile(lambda one: not stat.S_ISDIR(mode_of(one)), (folder, *folder.parents))
    for one in reversed(list(missing)):
        try:
            one.mkdir(exist_ok=True)
        except OSError as error:
            if error.errno in BAD_NAME:
                raise PassingError(REFUSED.format(f"the name of its folder {one.name}", error.strerror)) from error
            raise


def _refuse_links(folder: Path, out: Path | None) -> None:
    if out is not None and (link := link_above(folder, out)) is not None:
        raise PassingError(THROUGH_LINK.format(link))


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    """A name for an unfinished file, which is gone afterwards; also from a folder that was moved meanwhile."""
    part = folder / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
    descriptor = os.open(folder, os.O_RDONLY) if os.unlink in os.supports_dir_fd else None
    try:
        yield part
    finally:
        if descriptor is None:
            part.unlink(missing_ok=True)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part.name, dir_fd=descriptor)
            os.close(descriptor)


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
            _put_under_free_name(part, target)
    except PermissionError as error:
        if target.is_dir() or not os.access(target.parent, os.W_OK):
            raise
        # The folder took the new file, so that it is what lies there: on Windows, read-only or open elsewhere.
        raise PassingError(
            f"{target} can't be replaced ({error.strerror}): it may be read-only or open in another program"
        ) from error
    except OSError as error:
        if error.errno in BAD_NAME and part.exists():  # the folder took another name
            raise PassingError(REFUSED.format("its name", error.strerror)) from error
        raise


def _put_under_free_name(part: Path, target: Path) -> None:
    """Gives the file its name unless the name is taken, in one step where the disk can do that: by a hard link, or by
    a move that replaces nothing. Else the name is taken by a placeholder, which the file then replaces."""
    for in_one_step in (os.link, _move_to_free_name):
        try:
            in_one_step(part, target)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
        else:
            return
    with target.open("xb") as placeholder:
        placeholder.write(PLACEHOLDER)
    try:
        if not is_placeholder(target):
            raise FileExistsError(target)  # somebody was so quick as to replace it
        part.replace(target)
    except BaseException:
        remove_placeholder(target)
        raise


def is_placeholder(path: Path) -> bool:
    """Whether a file only keeps the name free for an output: where a run was killed it stays."""
    try:
        if path.stat(follow_symlinks=False).st_size != len(PLACEHOLDER):
            return False
        return path.read_bytes() == PLACEHOLDER
    except OSError:
        return False


def remove_placeholder(path: Path) -> None:
    """Frees the name of an output that a run was killed just before it gave it."""
    if is_placeholder(path):
        with contextlib.suppress(OSError):  # then the name stays taken, which will be told
            path.unlink()


def _move_to_free_name(part: Path, target: Path) -> None:
    """Renames a file unless the name is taken. Raises OSError with EINVAL or ENOSYS where the system or the disk has no
    such call."""
    if sys.platform == "win32":
        part.rename(target)  # which replaces nothing there
        return
    code = _rename(part, target)
    if code:
        raise OSError(code, os.strerror(code), str(part), None, str(target))


def _rename(part: Path, target: Path) -> int:
    """Linux's renameat2 or macOS's renamex_np, which Python lacks; the error's number, 0 for none."""
    system = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(part), os.fsencode(target)
    ctypes.set_errno(0)
    if hasattr(system, "renameat2"):
        failed = system.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_NOREPLACE)
    elif hasattr(system, "renamex_np"):
        failed = system.renamex_np(*names, RENAME_EXCL)
    else:
        return errno.ENOSYS
    return ctypes.get_errno() or errno.EIO if failed else 0


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
