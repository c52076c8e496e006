"""The disk of an output folder: which names it takes for the same, and which it does not take."""

import contextlib
import errno
import functools
import os
import secrets
import string
import time
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISLNK

from bwcolor.system.filesystem import OWN_FOLDER, kind_of_disk

LONGEST = 255  # bytes of a file's name, on nearly all disks
IGNORING_CASE = frozenset({"vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk", "cifs", "smb3", "hfsplus", "apfs"})
PLAIN = frozenset(string.ascii_letters + string.digits + " !#$%&'()+,-.;=@[]^_`{}~")  # what every disk takes in names
CUT_OFF = frozenset(". ")  # what Windows, and Linux on FAT and exFAT, take away from the end of a name
# What disks answer when they don't take a name: exFAT through FUSE says that it does not exist.
REFUSALS = frozenset({
    errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG, errno.ENOENT, errno.EPERM, errno.EACCES,
})  # fmt: skip
TRIAL = "trial-"  # begins the names of folders for trial files
LEFT_OVER = 3600.0  # seconds after which nobody uses one any more
TOGETHER = 40  # characters tried in one name, which stays below 255 bytes


@dataclass(frozen=True, slots=True)
class Rules:
    """What a disk makes of names. fold: what makes names the same that it takes for the same. accepted: a name with
    what it refuses replaced. longest: bytes of a name."""

    fold: Callable[[str], str]
    accepted: Callable[[str], str] = str
    longest: int = LONGEST

    def takes(self, name: str) -> bool:
        """Whether a file or a folder may be called so."""
        return self.accepted(name) == name and len(os.fsencode(name)) <= self.longest


class Disk:
    """What the disk of an output folder makes of names, found out when it matters and then remembered.

    may_write: whether it is found out by writing and listing trial files in OUT/.bwcolor. Nothing of them stays. Else
    it is guessed from what lies on the disk and from its kind, and every character counts as taken.
    """

    def __init__(self, out: Path, may_write: bool = False) -> None:
        self._out, self._may_write = out, may_write
        self._inside: dict[str, bool] = {}  # characters, and whether a name may have them
        self._at_end: dict[str, bool] = {}  # and whether it may end with them

    @functools.cached_property
    def ignores_case(self) -> bool:
        """Whether names that differ in upper and lower case alone are the same."""
        if self._may_write:
            with _trial_folder(self._out) as folder:
                found = _tried_case(folder) if folder else None
                if found is not None:
                    return found
        return _seems_to_ignore_case(self._out)

    def rules(self, paths: Iterable[Path]) -> Rules:
        """What the disk makes of these names of outputs, which start at the output folder."""
        names = set(paths)
        folders = {folder for parent in {path.parent for path in names} for folder in (parent, *parent.parents)}
        apart = {composed(path.as_posix()) for path in names | folders}
        case_matters = len({any_case(name) for name in apart}) < len(apart)
        if self._may_write:
            self._try({part for path in names for part in path.parts})
        refused = frozenset(char for char, taken in self._inside.items() if not taken)
        refused_ends = frozenset(char for char, taken in self._at_end.items() if not taken)
        fold = any_case if case_matters and self.ignores_case else composed
        return Rules(fold, functools.partial(_without, refused, refused_ends), _longest(self._out))

    def _try(self, parts: Collection[str]) -> None:
        """Finds out which characters of these names of files and folders the disk takes."""
        inside = sorted({char for part in parts for char in part} - PLAIN - self._inside.keys())
        at_end = sorted({part[-1] for part in parts} & CUT_OFF - self._at_end.keys())
        if not inside and not at_end:
            return
        with _trial_folder(self._out) as folder:
            if folder is not None:
                for at in range(0, len(inside), TOGETHER):
                    self._inside |= _tried_inside(folder, inside[at : at + TOGETHER])
                self._at_end |= {char: _takes(folder, f"a{char}") for char in at_end}


def mode_of(path: Path, follow_links: bool = True) -> int:
    """Kind and permissions as st_mode has them; 0 where there is nothing, or a name that the disk does not take."""
    try:
        return path.stat(follow_symlinks=follow_links).st_mode
    except OSError:
        return 0


def composed(name: str) -> str:
    """The name with composed letters, as all disks may take it."""
    return unicodedata.normalize("NFC", name)


def any_case(name: str) -> str:
    """What is the same for all names that a disk which ignores case may take for the same."""
    return composed(composed(name).upper().casefold())


def same_name(first: Path, second: Path, disk: Disk) -> bool:
    """Whether two paths, without links, are those of one file on that disk."""
    one, other = composed(str(first)), composed(str(second))
    return one == other or (any_case(one) == any_case(other) and disk.ignores_case)


def _without(refused: frozenset[str], refused_ends: frozenset[str], name: str) -> str:
    """The name of a file or folder with a line in place of each character that is refused."""
    if not refused and not refused_ends:
        return name
    name = "".join("_" if char in refused else char for char in name)
    return f"{name[:-1]}_" if name[-1:] in refused_ends else name


@contextlib.contextmanager
def _trial_folder(out: Path) -> Iterator[Path | None]:
    """A folder for trial files in an output folder, which is there as long as the block lasts; None where none can be.

    Folders above it that were missing vanish again too.
    """
    folder = out / OWN_FOLDER / f"{TRIAL}{secrets.token_hex(8)}"
    made = [one for one in (folder, *folder.parents) if not os.path.lexists(one)]
    try:
        if S_ISLNK(mode_of(folder.parent, follow_links=False)):  # nothing is written through links
            raise NotADirectoryError(folder.parent)
        _remove_left_over(folder.parent)
        folder.mkdir(parents=True)
        usable: Path | None = folder
    except OSError:  # the run itself will tell
        usable = None
    try:
        yield usable
    finally:
        if usable is not None:
            _empty(usable)
        for one in made:
            with contextlib.suppress(OSError):
                one.rmdir()


def _remove_left_over(own: Path) -> None:
    """Removes trial folders of runs that were killed; younger ones may be another run's."""
    with contextlib.suppress(OSError):
        for left in own.glob(f"{TRIAL}*"):
            if time.time() - left.stat(follow_symlinks=False).st_mtime > LEFT_OVER:
                _empty(left)
                left.rmdir()


def _empty(folder: Path) -> None:
    """Removes the trial files of a folder, whatever the disk has called them."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            path.unlink()


def _tried_case(folder: Path) -> bool | None:
    """Whether "a" and "A" are one file there; None where no files can be made."""
    try:
        (folder / "a").open("xb").close()
        try:
            (folder / "A").open("xb").close()
        except FileExistsError:
            return True
        return len(_listed(folder)) < 2
    except OSError:
        return None
    finally:
        _empty(folder)


def _tried_inside(folder: Path, chars: list[str]) -> dict[str, bool]:
    """Which of some characters the disk takes; all are tried together first."""
    taken = _takes(folder, "a" + "".join(f"{char}a" for char in chars))
    if taken or len(chars) == 1:
        return dict.fromkeys(chars, taken)
    middle = len(chars) // 2
    return _tried_inside(folder, chars[:middle]) | _tried_inside(folder, chars[middle:])


def _takes(folder: Path, name: str) -> bool:
    """Whether a file of this name can be made and is then listed so. A disk that is full tells nothing: True."""
    try:
        (folder / name).open("xb").close()
        return composed(name) in map(composed, _listed(folder))
    except OSError as error:
        return error.errno not in REFUSALS
    finally:
        _empty(folder)


def _longest(out: Path) -> int:
    """Bytes of a name on the disk."""
    if os.name == "nt":
        return LONGEST
    try:
        return min(LONGEST, os.statvfs(_existing(out)).f_namemax or LONGEST)
    except OSError:
        return LONGEST


def _existing(out: Path) -> Path:
    """The folder itself, or the nearest one above it that exists; none does where a drive is gone."""
    return next((path for path in (out, *out.parents) if S_ISDIR(mode_of(path))), Path())


def _seems_to_ignore_case(out: Path) -> bool:
    """The same without writing: a name that is there in either case tells; else the kind of disk may; else the folder's
    own name."""
    folder = _existing(out)
    for name in _listed(folder):
        if (told := _is_there_in_other_case(folder / name)) is not None:
            return told
    if kind_of_disk(folder) in IGNORING_CASE:
        return True
    return not os.path.ismount(folder) and bool(_is_there_in_other_case(folder))


def _is_there_in_other_case(path: Path) -> bool | None:
    """Whether the disk finds a file under its name in the other case too; None for a name that can't tell.

    Where both are listed they are two files. Whether they are one by their numbers proves nothing: exFAT through FUSE
    gives each spelling a number of its own.
    """
    other = path.name.swapcase()
    if not path.name.isascii() or path.name == other:
        return None
    return os.path.lexists(path.with_name(other)) and other not in _listed(path.parent)


def _listed(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []
