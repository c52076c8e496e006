"""What outputs are called: one name each, whatever the photos are called."""

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

LONGEST = 255  # bytes of a file's name, on nearly all disks
MARKS = (8, 16, 64)  # hexadecimal digits that tell names apart; more where fewer do not


@dataclass(frozen=True, slots=True)
class Naming:
    """How outputs are called. flat: without the folders of the input. suffix: put before the ending."""

    flat: bool = False
    suffix: str = ""

    def target(self, out: Path, name: Path) -> Path:
        """The output of the photo with this path below the input folder."""
        called = name.with_name(f"{name.stem}{self.suffix}{name.suffix}")
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
    mark made of their path (01~3fa09c1b.jpg).
    """
    names = [one.names for one in wanted]
    if flat:
        for number in _clashing(names, fold):
            folders = "_".join(wanted[number].source.parent.parts)
            names[number] = tuple(path.with_name(f"{folders}_{path.name}") for path in names[number] if folders)
            names[number] = names[number] or wanted[number].names
    for digits in MARKS:
        for number in _clashing(names, fold):
            mark = hashlib.sha256(os.fsencode(wanted[number].source)).hexdigest()[:digits]
            names[number] = tuple(_marked(path, mark) for path in wanted[number].names)
    return names


def _clashing(names: Iterable[tuple[Path, ...]], fold: Callable[[str], str]) -> list[int]:
    """Numbers of the photos of which a name is another's too, or a folder's, or too long."""
    folded = [{fold(path.as_posix()) for path in paths} for paths in names]
    count = Counter(name for all_of_one in folded for name in all_of_one)
    folders = {fold(folder.as_posix()) for paths in names for path in paths for folder in path.parents}
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
    while len(os.fsencode(stem)) > room:
        stem = stem[:-1]
    return path.with_name(stem + ending)


def folding(out: Path) -> Callable[[str], str]:
    """What makes names the same that the disk of `out` takes for the same, or may: composed letters, and case."""
    if _ignores_case(out):
        return lambda name: unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    return lambda name: unicodedata.normalize("NFC", name)


def _ignores_case(out: Path) -> bool:
    """Whether the disk of `out`, or of the nearest folder above it that exists, ignores upper and lower case."""
    folder = next(path for path in (out, *out.parents) if path.exists())
    other = folder.with_name(folder.name.swapcase())
    try:
        return other != folder and other.samefile(folder)
    except OSError:
        return False
