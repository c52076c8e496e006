"""What outputs are called: one name each, whatever the photos are called."""

import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bwcolor.errors import UsageError
from bwcolor.photo.formats.signatures import BLANKS
from bwcolor.system.disk import Rules

MARKS = (8, 16, 64)  # hexadecimal digits that tell names apart; more where fewer do not


@dataclass(frozen=True, slots=True)
class Naming:
    """How outputs are called. flat: all in one folder, with the names of their folders in front. suffix: put before the
    ending."""

    flat: bool = False
    suffix: str = ""

    def __post_init__(self) -> None:
        if any(char in self.suffix for char in "/\\\0"):
            raise UsageError(f"--suffix {self.suffix}: is a part of a name, without slashes.")

    def target(self, out: Path, name: Path) -> Path:
        """The output of the photo with this path below the input folder."""
        called = name.with_name(f"{name.stem}{self.suffix}{name.suffix.rstrip(BLANKS)}")
        return out / ("_".join(called.parts) if self.flat else called)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The names that one photo's output may get, below the output folder, and the photo's own path below the input."""

    names: tuple[Path, ...]
    source: Path


def told_apart(wanted: Sequence[Wanted], rules: Rules) -> list[tuple[Path, ...]]:
    """The names with those changed that another photo's output has, that a folder has, or that the disk refuses.

    All photos that want a name lose it, so that the order in which they are found does not matter: they get a mark made
    of their path (01~3fa09c1b.jpg). A photo whose name nobody else wants keeps it, even if it looks like a mark. Only
    photos of the same path, from two folders that are called the same, go by their order. A folder whose name the disk
    refuses gets a mark too.
    """
    folders: dict[Path, Path] = {}
    bare = [tuple(_folder(path.parent, rules, folders) / path.name for path in one.names) for one in wanted]
    names = list(bare)
    losers = clashing = _clashing(names, rules)
    paths = _told_by_number([one.source for one in wanted])
    for turn in itertools.count():
        if not clashing:
            break
        for number in clashing:
            mark = hashlib.sha256(paths[number] + (b"/%d" % turn if turn >= len(MARKS) else b"")).hexdigest()
            mark = mark[: MARKS[min(turn, len(MARKS) - 1)]]
            names[number] = tuple(_marked(path, mark, rules) for path in bare[number])
        clashing = sorted(set(losers).intersection(_clashing(names, rules)))
    return names


def _folder(folder: Path, rules: Rules, known: dict[Path, Path]) -> Path:
    """The folder that a disk has in place of one whose name, or whose folder's, it may refuse. known: of the same."""
    if folder not in known:
        above = _folder(folder.parent, rules, known) if folder.name else Path()
        own = Path(folder.name)
        if not rules.takes(folder.name):
            mark = hashlib.sha256(os.fsencode(folder)).hexdigest()[: MARKS[0]]
            own = Path(_cut(rules.accepted(folder.name), f"~{mark}", rules))
        known[folder] = above / own
    return known[folder]


def _told_by_number(sources: Iterable[Path]) -> list[bytes]:
    """The paths as bytes that are no two times the same."""
    seen: Counter[Path] = Counter()
    told = []
    for source in sources:
        told.append(os.fsencode(source) + (b"//%d" % seen[source] if seen[source] else b""))
        seen[source] += 1
    return told


def _clashing(names: Iterable[tuple[Path, ...]], rules: Rules) -> list[int]:
    """Numbers of the photos of which a name is another's too, or a folder's, or one that the disk refuses."""
    folded = [{rules.fold(path.as_posix()) for path in paths} for paths in names]
    count = Counter(name for all_of_one in folded for name in all_of_one)
    parents = {path.parent for paths in names for path in paths}
    folders = {rules.fold(folder.as_posix()) for parent in parents for folder in (parent, *parent.parents)}
    return [
        number
        for number, (all_of_one, paths) in enumerate(zip(folded, names, strict=True))
        if any(count[name] > 1 or name in folders for name in all_of_one)
        or not all(rules.takes(path.name) for path in paths)
    ]


def _marked(path: Path, mark: str, rules: Rules) -> Path:
    """A name that the disk takes, with the mark before its ending, cut where it would be too long."""
    accepted = Path(rules.accepted(path.name))
    return path.with_name(_cut(accepted.stem, f"~{mark}{accepted.suffix}", rules))


def _cut(stem: str, ending: str, rules: Rules) -> str:
    room = rules.longest - len(os.fsencode(ending))
    while stem and len(os.fsencode(stem)) > room:
        stem = stem[:-1]
    return stem + ending


def marks_in_words(renamed: int) -> str:
    """How many outputs are not called as their photos are, and why."""
    outputs, have = ("output has", "a mark in its name") if renamed == 1 else ("outputs have", "a mark in their names")
    return f"{renamed} {outputs} {have} (01~3fa09c1b.jpg): another has the same name, or the disk doesn't take it"
