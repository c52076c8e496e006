"""Disks of other systems: real ones where this machine can mount them, and what stands in for them elsewhere."""

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

MAKERS = {"vfat": "mkfs.vfat", "exfat": "mkfs.exfat", "ntfs": "mkntfs"}
SIZE = 16 << 20  # bytes
SECONDS = 30


def _output(*command: object) -> str:
    return subprocess.run(
        [str(word) for word in command], check=True, capture_output=True, text=True, timeout=SECONDS
    ).stdout


def _format(kind: str, image: Path) -> None:
    with image.open("wb") as file:
        file.truncate(SIZE)
    _output(MAKERS[kind], *(("-F", "-Q") if kind == "ntfs" else ()), image)


def _mount(kind: str, image: Path, folder: Path) -> str:
    """Mounts by the kernel or, where it does not know the disk, by a program; returns the loop device."""
    loop = _output("losetup", "-f", "--show", image).strip()
    try:
        program = {"exfat": "mount.exfat-fuse", "ntfs": "ntfs-3g"}.get(kind)
        try:
            _output("mount", "-i", "-t", kind, loop, folder)
        except subprocess.SubprocessError:
            if program is None:
                raise
            _output(program, loop, folder)
    except BaseException:
        _output("losetup", "-d", loop)
        raise
    return loop


@contextlib.contextmanager
def mounted(kind: str, base: Path) -> Iterator[Path]:
    """An empty disk of this kind, mounted; skips the test where this machine can't."""
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which(MAKERS[kind]):
        pytest.skip(f"needs Linux, root, and {MAKERS[kind]}")
    image, folder = base / f"{kind}.img", base / kind
    folder.mkdir()
    try:
        _format(kind, image)
        loop = _mount(kind, image, folder)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"{kind} can't be mounted here: {error}")
    try:
        yield folder
    finally:
        _output("umount", "-l", folder)
        with contextlib.suppress(subprocess.SubprocessError):  # let go by itself where the program did
            _output("losetup", "-d", loop)


class Refusing:
    """Makes `Path.open` and `Path.mkdir` answer as a disk that takes no names with some characters or endings, and
    tells names apart or not by case."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refused: str = "", ends: str = "", cases: bool = True) -> None:
        self._refused, self._ends, self._cases = refused, ends, cases
        self.opened = 0
        self._open, self._mkdir = Path.open, Path.mkdir
        monkeypatch.setattr(Path, "open", lambda path, mode="r", *rest, **more: self.open(path, mode, *rest, **more))
        monkeypatch.setattr(Path, "mkdir", lambda path, *rest, **more: self.mkdir(path, *rest, **more))

    def open(self, path: Path, mode: str = "r", *rest: object, **more: object) -> object:
        """As Path.open."""
        if "x" in mode:
            self.opened += 1
            self._check(path)
            others = [one.name.casefold() for one in path.parent.iterdir()] if not self._cases else []
            if path.name.casefold() in others:
                raise FileExistsError(errno.EEXIST, "File exists", str(path))
            path = path.with_name(path.name.rstrip(self._ends) or path.name)
        return self._open(path, mode, *rest, **more)  # type: ignore[call-overload]

    def mkdir(self, path: Path, *rest: object, **more: object) -> None:
        """As Path.mkdir."""
        self._check(path)
        self._mkdir(path, *rest, **more)  # type: ignore[arg-type]

    def _check(self, path: Path) -> None:
        if set(path.name) & set(self._refused):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
