"""The walk: which files below a folder are photos, and which of them are wanted."""

import codecs
import fnmatch
import functools
import os
import stat
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from bwcolor.errors import FolderError, UsageError
from bwcolor.photo.formats.signatures import ending, has_photo_name
from bwcolor.photo.hidden import NOTHING, Hidden, is_backup, is_hidden, together
from bwcolor.photo.recognize import Reason, has_picture_name, placeholder, recognized
from bwcolor.system.disk import Disk, mode_of, same_name
from bwcolor.system.filesystem import OWN_FOLDER

RESOURCE_FORK = "._"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that is not opened, and why. failed: whether that counts as a failure of the run."""

    path: Path
    reason: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """Which photos of a folder are wanted. include, exclude: shell patterns, which heed upper and lower case; one
    without a slash is held against the names of the file and of all folders above it, one with a slash against their
    whole paths below the folder, and its * stands for slashes too. One that ends with a slash fits folders only. A
    photo is wanted when one of `include` fits, or there is none, and none of `exclude`. listed: only these, by paths
    that start at the folder or are absolute; None for no list. hidden: whether hidden photos, and those in folders that
    are hidden or hold trash or thumbnails, are wanted too; those that a list or an include names always are."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    listed: tuple[Path, ...] | None = None
    hidden: bool = False

    def wants(self, name: PurePosixPath) -> bool:
        """Whether a photo of this path below the folder is wanted."""
        included = not self.include or any(_fits(name, pattern) for pattern in self.include)
        return included and not self.excludes(name)

    def excludes(self, name: PurePosixPath) -> bool:
        """Whether one of the patterns in `exclude` fits."""
        return any(_fits(name, pattern) for pattern in self.exclude)

    def names(self, name: str) -> bool:
        """Whether one of the patterns in `include` has just this name, of a file or a folder, in its path."""
        return any(name in pattern.split("/") for pattern in self.include)


EVERYTHING = Choice()


def _fits(name: PurePosixPath, pattern: str) -> bool:
    bare = pattern.removeprefix("./").removesuffix("/")
    paths = (name, *name.parents)[bool(pattern.endswith("/")) : -1]  # without the folder itself
    whole = "/" in bare
    return any(fnmatch.fnmatchcase(str(path) if whole else path.name, bare.removeprefix("/")) for path in paths)


def read_list(name: str, null: bool) -> tuple[Path, ...]:
    """The paths that a file lists, one a line; "-" is standard input. null: names end with NUL instead of lines.

    Lines may end as on Windows, with CR and LF, and the first may begin with UTF-8's mark; a name that really ends with
    CR needs `null`. Raises FolderError when it can't be read, UsageError when it is no list of lines.
    """
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise FolderError(f"--from-file {name}: can't be read ({error.strerror}).") from error
    if b"\0" in content and not null:
        raise UsageError(
            f"--from-file {name}: holds NUL bytes. Add --null if names end with them; else save the list as UTF-8."
        )
    lines = (line.removesuffix(b"\r") for line in content.removeprefix(codecs.BOM_UTF8).split(b"\n"))
    names = content.split(b"\0") if null else lines
    return tuple(Path(os.fsdecode(one)) for one in names if one)


@dataclass(frozen=True, slots=True)
class Found:
    """What the walk of a folder found. others: photos that were not chosen. hidden: what was not looked into. passed:
    how many files are no pictures, by the endings of their names."""

    photos: list[Path]
    left_out: list[LeftOut]
    others: list[Path] = field(default_factory=list)
    hidden: Hidden = NOTHING
    passed: Counter[str] = field(default_factory=Counter)

    @property
    def unwanted(self) -> int:
        """Number of photos that were not chosen."""
        return len(self.others)


def refuse_photo(option: str, path: Path, endings: str) -> None:
    """Raises UsageError where a file that is to be written has the name of a photo, which an empty one may be too."""
    if has_picture_name(path):
        raise UsageError(f"{option} {path}: has the name of a photo. Choose one that ends in {endings}.")


def walk(root: Path, out: Path, choice: Choice = EVERYTHING) -> Found:
    """The photos below a folder, in the order of their names or of the list.

    `out`, links, and what is hidden below the folder (see Choice) are not entered; the folder itself always is.

    Raises FolderError when the folder can't be listed.
    """
    entries = _listed(root, out, choice.listed) if choice.listed is not None else _entries(root, out, choice)
    found = Found([], [])
    hidden: list[Hidden] = []
    for entry in entries:
        if isinstance(entry, Path) and not choice.wants(_below(root, entry)):
            found.others.extend([entry] if has_photo_name(entry) else [])
            continue
        one = _looked_at(entry, choice) if isinstance(entry, Path) else entry
        if isinstance(one, Hidden):
            hidden.append(one)
        elif isinstance(one, LeftOut):
            found.left_out.extend([] if choice.excludes(_below(root, one.path)) else [one])
        elif isinstance(one, Path):
            found.photos.append(one)
        elif one != RESOURCE_FORK:
            found.passed[one] += 1
    return replace(found, hidden=together(hidden))


def _hides(choice: Choice, path: Path, folder: bool) -> bool:
    named = choice.listed is not None or choice.names(path.name)
    return not choice.hidden and not named and is_hidden(path, folder)


def _below(root: Path, path: Path) -> PurePosixPath:
    return PurePosixPath((path.relative_to(root) if path.is_relative_to(root) else path).as_posix())


def _entries(root: Path, out: Path, choice: Choice) -> Iterator[Path | LeftOut | Hidden]:
    """Everything below a folder that is no folder, and what is not entered."""
    pending, is_out = [root], functools.partial(_is_out, out, Path(os.path.realpath(out)), Disk(out))
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            if folder == root:
                raise FolderError(f"{root}: can't be listed ({error.strerror}).") from error
            yield LeftOut(folder, f"folder can't be listed ({error.strerror})", failed=True)
            continue
        folders = []
        for entry in entries:
            path = folder / entry.name
            try:
                if not entry.is_dir(follow_symlinks=False):
                    yield path
                elif is_out(path):
                    yield LeftOut(path, "is the output folder")
                elif entry.name == OWN_FOLDER:
                    continue
                elif _hides(choice, path, folder=True):
                    yield Hidden(() if choice.excludes(_below(root, path)) else (entry.name,))
                else:
                    folders.append(path)
            except OSError as error:
                yield LeftOut(path, f"can't be looked at ({error.strerror})", failed=True)
        pending.extend(reversed(folders))


def _is_out(out: Path, real: Path, disk: Disk, path: Path) -> bool:
    """Whether a folder is the output folder. A link may lead to either, and exFAT through FUSE numbers each spelling of
    a name anew. real: `out` without links."""
    if path == out or same_name(path, real, disk):
        return True
    return bool(mode_of(out)) and path.samefile(out)


def _listed(root: Path, out: Path, names: tuple[Path, ...]) -> Iterator[Path | LeftOut]:
    """The files of a list, each once, without following links."""
    resolved = functools.cache(lambda folder: Path(os.path.realpath(folder)))
    real, real_out = resolved(root), resolved(out)
    seen: set[Path] = set()
    for name in names:
        path = Path(os.path.normpath(root / name))
        if path in seen:
            continue
        seen.add(path)
        if not path.is_relative_to(root) or path == root:
            yield LeftOut(path, f"is on the list, but not below {root}", failed=True)
        elif resolved(path.parent) != real / path.relative_to(root).parent:
            yield LeftOut(path, "is reached through a link, and links are not followed", failed=True)
        elif resolved(path.parent).is_relative_to(real_out) or OWN_FOLDER in path.relative_to(root).parts:
            yield LeftOut(path, "is on the list, and lies in the output folder", failed=True)
        elif not os.path.lexists(path):
            yield LeftOut(path, f"is on the list, and does not exist; paths start at {root}", failed=True)
        else:
            yield path


def _looked_at(path: Path, choice: Choice) -> Path | LeftOut | Hidden | str:
    """What a file turns out to be: a photo, something that is named and not opened, or no picture: then its ending."""
    if path.name.startswith("._"):  # macOS puts a file's resource fork beside it under this name
        return RESOURCE_FORK
    try:
        status = path.lstat()
        leads_to_photos = stat.S_ISLNK(status.st_mode) and (has_photo_name(path) or path.is_dir())
    except OSError as error:
        return LeftOut(path, f"can't be looked at ({error.strerror})", failed=True)
    hides, listed = _hides(choice, path, folder=False), choice.listed is not None
    if hides and (has_picture_name(path) or is_backup(path)):
        return Hidden(photos=1)
    if leads_to_photos:
        return LeftOut(path, "is a link, and links are not followed")
    if not stat.S_ISREG(status.st_mode):
        verdict: Reason | bool = Reason("is not a regular file") if has_photo_name(path) else False
    else:
        verdict = (placeholder(path) or False) if hides else recognized(path, status, named=listed)
    if isinstance(verdict, Reason):
        return LeftOut(path, verdict.words, verdict.missing)
    if not verdict and listed:
        return LeftOut(path, "is on the list, and not a kind of photo that can be read", failed=True)
    return path if verdict else ending(path)
