"""XMP and JSON sidecars: small files beside a photo that describe it, copied beside its output under its name."""

import bisect
import contextlib
import functools
import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bwcolor.batch.outcome import Outcome
from bwcolor.batch.plan import Job, Plan
from bwcolor.errors import PassingError
from bwcolor.photo.recognize import is_away
from bwcolor.system.atomic import THROUGH_LINK, committed, link_above

LARGEST = 64_000_000  # bytes; a description has a few thousand
TAKEOUT = ".supplemental-metadata"  # what Google Takeout puts between a photo's name and .json, since 2024
TAKEOUT_ROOM = 46  # characters to which it cuts both, before .json
NUMBERED = re.compile(r"(.+)(\(\d+\))(\.[^.]*)")  # a(1).jpg, whose description is a.jpg(1).json
TAKEN = "sidecar not copied: another file has its name in the output folder"
LINK = "sidecar not copied: it is a link or no file"
AWAY = "sidecar not copied: it is only a placeholder for a file that lies in a cloud; download it first"
TOO_LARGE = f"sidecar not copied: it has more than {LARGEST // 1_000_000} MB"
BAD_NAME = "sidecar not copied: its name can't be used on the output's disk"
UNREADABLE = "sidecar not copied: it can't be read ({})"


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A file that describes a photo.

    Attributes:
        path: where it is.
        tail: what the copy's name has behind the output's.
        stem: whether that is behind the output's name without its ending, as in a.xmp of a.jpg.
    """

    path: Path
    tail: str
    stem: bool = False


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of one folder.

    Attributes:
        sidecars: names that end in .xmp or .json, by what is before that and the ending in lower case.
        others: all other names, sorted.
    """

    sidecars: dict[tuple[str, str], list[str]]
    others: list[str]

    def is_start_of_one(self, start: str) -> bool:
        """Tell whether exactly one of the other names begins like this."""
        at = bisect.bisect_left(self.others, start)
        return [name.startswith(start) for name in self.others[at : at + 2]] in ([True], [True, False])


def _listed(folder: Path) -> Folder:
    sidecars: dict[tuple[str, str], list[str]] = defaultdict(list)
    others = []
    try:
        with os.scandir(folder) as listing:
            names = sorted(entry.name for entry in listing)
    except OSError:  # gone since the walk
        names = []
    for name in names:
        before, last = Path(name).stem, Path(name).suffix.lower()
        if last in (".xmp", ".json"):
            sidecars[before, last].append(name)
        else:
            others.append(name)
    return Folder(dict(sidecars), others)


def _takeout_stems(photo: str) -> Iterator[tuple[str, str]]:
    """All that may stand before .json in the name of a photo's description, and the copy's tail."""
    numbered = NUMBERED.fullmatch(photo)
    for name, number in [(photo, ""), *([(numbered[1] + numbered[3], numbered[2])] if numbered else [])]:
        yield name + number, ".json"
        for length in range(len(name) + 1, len(name) + len(TAKEOUT) + 1):
            yield (name + TAKEOUT)[:length] + number, f"{TAKEOUT}.json"


def sidecars_of(photo: Path, folder: Folder) -> list[Sidecar]:
    """Find the sidecars of a photo among the files of its folder."""
    wanted = [(photo.name, ".xmp", ".xmp", False), (photo.stem, ".xmp", ".xmp", True)]
    wanted += [(before, ".json", tail, False) for before, tail in _takeout_stems(photo.name)]
    cut = photo.name[:TAKEOUT_ROOM]
    if cut != photo.name and folder.is_start_of_one(cut):  # else nobody knows whose it is
        wanted.append((cut, ".json", ".json", False))
    found = [
        Sidecar(photo.with_name(name), tail, stem)
        for before, last, tail, stem in wanted
        for name in folder.sidecars.get((before, last), ())
    ]
    return list({one.path: one for one in reversed(found)}.values())[::-1]  # each once: a photo may have no ending


class Sidecars:
    """The sidecars of a plan's photos, and their copies."""

    def __init__(self, plan: Plan) -> None:
        self._listed = functools.cache(_listed)
        owners: dict[Path, set[Path]] = defaultdict(set)
        for job in plan.jobs:
            owners[_stem(job.target)].add(job.source.with_suffix(""))
        self._contested = {stem for stem, sources in owners.items() if len(sources) > 1}

    def copies(self, source: Path, output: Path) -> list[tuple[Path, Path]]:
        """Name the sidecars of a photo and what their copies beside this output are called, each copy once.

        Where outputs of several photos have one stem, its sidecar is called after the whole name of the output.
        """
        named: dict[Path, Path] = {}
        for one in sidecars_of(source, self._listed(source.parent)):
            by_stem = one.stem and _stem(output) not in self._contested
            target = output.with_name((output.stem if by_stem else output.name) + one.tail)
            named.setdefault(target, one.path)
        return [(path, target) for target, path in named.items()]

    def count(self, jobs: Iterable[Job]) -> int:
        """Count the copies that the outputs of these jobs would get."""
        return sum(len(self.copies(job.source, job.target)) for job in jobs)

    def copied(self, outcome: Outcome) -> Outcome:
        """Copy what the photo's output lacks; notes say what can't be copied, and nothing is replaced.

        Raises FolderError when the disk is full.
        """
        if outcome.state == "failed" or outcome.path is None:
            return outcome
        there, notes, new = [], list[str](), 0
        for path, target in self.copies(outcome.job.source, outcome.path):
            result = _copy(path, target, outcome.job.out)
            if isinstance(result, str):
                notes.append(result)
            else:
                there.append(target)
                new += result
        return replace(outcome, sidecars=tuple(there), new_sidecars=new, notes=(*outcome.notes, *dict.fromkeys(notes)))

    def remove_copies(self, outcome: Outcome, replaced: Iterable[Path]) -> None:
        """Remove the copies beside earlier outputs of a photo that its new one has replaced.

        Those that the new output has too stay, and so do those that are no exact copies any more.
        """
        for path, target in {pair for output in replaced for pair in self.copies(outcome.job.source, output)}:
            out = outcome.job.out
            if target in outcome.sidecars or (out is not None and link_above(target.parent, out)):
                continue
            with contextlib.suppress(OSError):  # not there, or not ours to change
                if _is_copy(path, target):
                    target.unlink()


def _stem(path: Path) -> Path:
    """A name without its ending, in one case, since disks may take both for the same."""
    return path.with_name(path.stem.casefold())


def _copy(path: Path, target: Path, out: Path | None) -> bool | str:
    """Copy one file, with its times; False where that was done before, or a sentence when it can't be.

    out: the output folder, below which nothing is written through links.
    """
    if out is not None and (link := link_above(target.parent, out)) is not None:
        return THROUGH_LINK.format(link)
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            return LINK
        if is_away(status):
            return AWAY
        if status.st_size > LARGEST:
            return TOO_LARGE
        if os.path.lexists(target) and (same := _looks_the_same(status, target)) is not None:
            return False if same else TAKEN
        content = path.read_bytes()
        if os.path.lexists(target):
            return False if _holds(target, content) else TAKEN
    except OSError as error:
        return UNREADABLE.format(error.strerror)
    try:
        with committed(target, False, (status.st_atime_ns, status.st_mtime_ns), status.st_mode, out) as file:
            file.write(content)
    except PassingError:
        return TAKEN if os.path.lexists(target) else BAD_NAME
    return True


def _looks_the_same(status: os.stat_result, target: Path) -> bool | None:
    """Tell by size and time whether a file is the copy; None where its bytes must be compared."""
    there = target.lstat()
    if not stat.S_ISREG(there.st_mode) or there.st_size != status.st_size:
        return False
    return True if there.st_mtime_ns == status.st_mtime_ns else None


def _is_copy(path: Path, target: Path) -> bool:
    """Tell by its bytes whether a file is the copy of a sidecar; raises OSError where one can't be read."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or is_away(status) or status.st_size > LARGEST:
        return False
    return _looks_the_same(status, target) is not False and _holds(target, path.read_bytes())


def _holds(target: Path, content: bytes) -> bool:
    return not target.is_symlink() and target.is_file() and target.read_bytes() == content
