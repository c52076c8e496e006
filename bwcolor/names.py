"""What outputs are called: one name each, whatever the photos are called."""

import hashlib
import itertools
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bwcolor.errors import UsageError
from bwcolor.formats.signatures import BLANKS
from bwcolor.runs.places import kind_of_disk

LONGEST = 255  # bytes of a file's name, on nearly all disks
MARKS = (8, 16, 64)  # hexadecimal digits that tell names apart; more where fewer do not
IGNORING_CASE = frozenset({"vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk", "cifs", "smb3", "hfsplus", "apfs"})
SEEN = 100  # files of a folder that are looked at


@dataclass(frozen=True, slots=True)
class Naming:
    """How outputs are called. flat: without the folders of the input. suffix: put before the ending."""

    flat: bool = False
    suffix: str = ""

    def __post_init__(self) -> None:
        if any(char in self.suffix for char in "/\\\0"):
            raise UsageError(f"--suffix {self.suffix}: is a part of a name, without slashes.")

    def target(self, out: Path, name: Path) -> Path:
        """The output of the photo with this path below the input folder."""
        called = name.with_name(f"{name.stem}{self.suffix}{name.suffix.rstrip(BLANKS)}")
        return out / (called.name if self.flat else called)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The names that one photo's output may get, below the output folder, and the photo's own path below the input."""

    names: tuple[Path, ...]
    source: Path


def told_apart(wanted: Sequence[Wanted], flat: bool, fold: Callable[[str], str]) -> list[tuple[Path, ...]]:
    """The names with those changed that another photo's output has, that a folder has, or that are too long.

    fold: what makes names the same that the disk takes for the same. All photos that want a name lose it, so that
    the order in which they are found does not matter: flat outputs get their folders' names (roll1_01.jpg), others a
    mark made of their path (01~3fa09c1b.jpg). A photo whose name nobody else wants keeps it, even if it looks like a
    mark. Only photos of the same path, from two folders that are called the same, go by their order.
    """
    names = [one.names for one in wanted]
    losers = clashing = _clashing(names, fold)
    if flat:
        for number in losers:
            folders = "_".join(wanted[number].source.parent.parts)
            if folders:
                names[number] = tuple(path.with_name(f"{folders}_{path.name}") for path in names[number])
        clashing = sorted(set(losers).intersection(_clashing(names, fold)))
    paths = _told_by_number([one.source for one in wanted])
    for turn in itertools.count():
        if not clashing:
            break
        for number in clashing:
            mark = hashlib.sha256(paths[number] + (b"/%d" % turn if turn >= len(MARKS) else b"")).hexdigest()
            mark = mark[: MARKS[min(turn, len(MARKS) - 1)]]
            names[number] = tuple(_marked(path, mark) for path in wanted[number].names)
        clashing = sorted(set(losers).intersection(_clashing(names, fold)))
    return names


def _told_by_number(sources: Iterable[Path]) -> list[bytes]:
    """The paths as bytes that are no two times the same."""
    seen: Counter[Path] = Counter()
    told = []
    for source in sources:
        told.append(os.fsencode(source) + (b"//%d" % seen[source] if seen[source] else b""))
        seen[source] += 1
    return told


def _clashing(names: Iterable[tuple[Path, ...]], fold: Callable[[str], str]) -> list[int]:
    """Numbers of the photos of which a name is another's too, or a folder's, or too long."""
    folded = [{fold(path.as_posix()) for path in paths} for paths in names]
    count = Counter(name for all_of_one in folded for name in all_of_one)
    parents = {path.parent for paths in names for path in paths}
    folders = {fold(folder.as_posix()) for parent in parents for folder in (parent, *parent.parents)}
    return [
        number
        for number, (all_of_one, paths) in enumerate(zip(folded, names, strict=True))
        if any(count[name] > 1 or name in folders for name in all_of_one)
        or any(len(os.fsencode(path.name)) > LONGEST for path in paths)
    ]


def _marked(path: Path, mark: str) -> Path:
    """A name with the mark before its ending, cut where it would be too long."""
    ending = f"~{mark}{path.suffix}"
    stem, room = path.stem, LONGEST - len(os.fsencode(ending))
    while stem and len(os.fsencode(stem)) > room:
        stem = stem[:-1]
    return path.with_name(stem + ending)


def folding(out: Path) -> Callable[[str], str]:
    """What makes names the same that the disk of `out` takes for the same, or may: composed letters, and case."""
    if _ignores_case(out):
        return lambda name: unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    return lambda name: unicodedata.normalize("NFC", name)


def _ignores_case(out: Path) -> bool:
    """Whether the disk of `out`, or of the nearest folder above it that exists, ignores upper and lower case.

    A file that is there in either case tells; else the kind of disk may; else the folder's own name.
    """
    folder = next((path for path in (out, *out.parents) if path.is_dir()), Path())  # else a drive that is not there
    for known in _with_letters(folder):
        return _is_swapped(known)
    if kind_of_disk(folder) in IGNORING_CASE:
        return True
    return not os.path.ismount(folder) and folder.name != folder.name.swapcase() and _is_swapped(folder)


def _with_letters(folder: Path) -> Iterator[Path]:
    """Some of what lies in a folder and has letters in its name."""
    try:
        with os.scandir(folder) as listing:
            for entry in itertools.islice(listing, SEEN):
                if entry.name.isascii() and entry.name != entry.name.swapcase():
                    yield Path(entry.path)
    except OSError:
        return


def _is_swapped(path: Path) -> bool:
    """Whether a name in the other case is that of the same file."""
    try:
        return os.path.samestat(path.lstat(), path.with_name(path.name.swapcase()).lstat())
    except OSError:
        return False
