"""Folders and files that nobody means when they say "my photos": hidden ones, trash, thumbnails, and backups."""

import os
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bwcolor.photo.formats.signatures import has_photo_name

# Names of folders, in lower case, that do not begin with a dot and still are hidden where they come from.
SYSTEM_FOLDERS = frozenset({
    "$recycle.bin", "recycler", "recycled", "system volume information",  # Windows, on every disk
    "lost+found",  # fsck of ext2 to ext4
    "__macosx", "network trash folder", "temporary items",  # macOS: in archives, on shares
    "@eadir", "@tmp", "#recycle", "#snapshot",  # Synology
    "@recycle", "@recently-snapshot",  # QNAP
    "~snapshot",  # NetApp
    "thumbs", "thumbnails",  # of galleries and scan programs
})  # fmt: skip
# What programs put behind the name of a photo when they keep it as it was, and change it: exiftool, editors, people.
BACKUPS = ("_original", "~", ".bak", ".orig", ".old")
TAKE_THEM = "--hidden takes them too"
NAME_THEM = "to take one of them, name it"
NAMED = 3  # folders that are named in a sentence


@dataclass(frozen=True, slots=True)
class Hidden:
    """What a walk left alone. folders: name of each that it did not enter. photos: number of hidden ones
    and backups elsewhere."""

    folders: tuple[str, ...] = ()
    photos: int = 0

    def __bool__(self) -> bool:
        return bool(self.folders or self.photos)

    @property
    def count(self) -> int:
        """Of folders and photos together."""
        return len(self.folders) + self.photos

    def in_words(self) -> str:
        """How many there are, and which option takes them."""
        return f"{self.without_advice()}; {TAKE_THEM}"

    def without_advice(self) -> str:
        """How many there are."""
        parts = []
        if self.folders:
            names = list(dict.fromkeys(self.folders))
            told = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
            one = len(self.folders) == 1
            parts.append(f"{len(self.folders)} hidden, trash, or thumbnail folder{'' if one else 's'} ({told})")
        if self.photos:
            parts.append(f"{self.photos} hidden or backup photo{'' if self.photos == 1 else 's'}")
        return f"{' and '.join(parts)} left out"


NOTHING = Hidden()


def together(parts: Iterable[Hidden]) -> Hidden:
    """What several walks, or parts of one, left alone."""
    folders: list[str] = []
    photos = 0
    for part in parts:
        folders.extend(part.folders)
        photos += part.photos
    return Hidden(tuple(folders), photos)


def is_hidden(path: Path, folder: bool) -> bool:
    """Whether a folder or a file is hidden: by its name, as a known folder of trash or thumbnails, as a backup, or by
    its disk."""
    if path.name.startswith(".") or (folder and path.name.casefold() in SYSTEM_FOLDERS):
        return True
    return (not folder and is_backup(path)) or _is_marked(path)


def is_backup(path: Path) -> bool:
    """Whether a file is an earlier state of a photo that lies beside it, by its name."""
    names = (path.name.removesuffix(ending) for ending in BACKUPS if path.name.endswith(ending))
    photos = (path.with_name(name) for name in names if name)
    return any(has_photo_name(photo) and os.path.lexists(photo) for photo in photos)


def _is_marked(path: Path) -> bool:
    """Whether a file's attributes hide it, where there are such (Windows, macOS)."""
    try:
        if sys.platform == "win32":
            return bool(path.lstat().st_file_attributes & stat.FILE_ATTRIBUTE_HIDDEN)
        if sys.platform == "darwin":
            return bool(os.lstat(path).st_flags & stat.UF_HIDDEN)
    except OSError:  # whoever opens it will tell
        return False
    return False
