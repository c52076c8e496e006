"""What kind of disk a folder lies on, and locks on it."""

import contextlib
import errno
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from bwcolor.errors import BusyError, FolderError

OWN_FOLDER = ".bwcolor"  # in an output folder: the ledger and its lock
MOUNTS = Path("/proc/self/mountinfo")
NETWORK = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|9p|virtiofs|vboxsf|vmhgfs|prl_fs|afs|ceph|glusterfs|lustre|gpfs|beegfs|davfs2?"
    r"|fuse\.(sshfs|rclone|s3fs|glusterfs|ceph\S*|davfs\S*|gcsfuse|vmhgfs\S*)"
)
NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})


def on_network(folder: Path) -> bool:
    """Whether a folder is known to lie on a disk of another machine; False where that can't be told."""
    if os.name == "nt":
        return str(folder.absolute()).startswith("\\\\")
    return bool(NETWORK.fullmatch(kind_of_disk(folder)))


def kind_of_disk(folder: Path, mounts: Path = MOUNTS) -> str:
    """The file system's name as Linux gives it (proc(5), mountinfo), such as ext4; empty where that can't be told."""
    real = Path(os.path.realpath(folder))
    kind, longest = "", -1
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except OSError:
        return ""
    for line in lines:
        before, _, after = line.partition(" - ")
        parts = before.split(" ")  # other blanks than these may be part of a name
        if len(parts) > 4 and after:
            point = Path(re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), parts[4]))
            if real.is_relative_to(point) and len(point.parts) >= longest:
                kind, longest = after.split(" ")[0], len(point.parts)
    return kind


@contextlib.contextmanager
def held(lock: Path) -> Iterator[None]:
    """Holds a lock file for the block; the system frees it when the process dies.

    Raises BusyError when another process holds it, FolderError when the folder can't be written or has no locks, or
    when one of the two is a link: nothing is written through those.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        if lock.parent.is_symlink() or lock.is_symlink():
            raise FolderError(f"{lock}: is reached through a link. Remove that, or choose another --out.")
        file = open(lock, "r+b", buffering=0, opener=_create)  # noqa: SIM115 - closed below
    except OSError as error:
        raise FolderError(f"{lock.parent}: can't be written ({error.strerror}). Choose another --out.") from error
    with file:
        try:
            _lock(file.fileno())
        except OSError as error:
            if error.errno in NO_LOCKS:
                raise FolderError(
                    f"{lock.parent}: this disk has no locks, which keep two runs apart. Choose another --out."
                ) from error
            file.seek(0)
            number = file.read(20).decode("ascii", "replace").strip()
            raise BusyError(
                f"{lock.parent.parent}: another run of bwcolor is writing there (process {number or 'unknown'})."
                " Wait for it, stop it, or choose another --out."
            ) from error
        with contextlib.suppress(OSError):  # on a full disk the next one won't know our number
            file.truncate(0)
            file.seek(0)
            file.write(str(os.getpid()).encode())
        yield


def _create(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # far behind the number, which others may read
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
