"""Photos to train on: found, and decoded once into a memory-mapped file."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from bwcolor_training.data import manifest
from bwcolor_training.errors import TrainingInputError
from numpy.typing import NDArray

from bwcolor.errors import PhotoError
from bwcolor.photo.formats.known import EXTENSIONS
from bwcolor.photo.hidden import NAME_THEM, NOTHING, Hidden, is_hidden, together
from bwcolor.photo.scan import decode_rgb, read_bytes

GRAY_CHROMA = 3.0  # mean |Cb| + |Cr| in 8-bit levels below which a photo counts as gray
MAX_ASPECT = 2.0  # longer photos are cropped in the middle: their ends would be seen too rarely
FORMAT = 2  # of the decoded files; counted up when what is in them changes
AT_ONCE = 256  # photos that are decoded between two looks at what came out: bounds memory, and Ctrl-C is heard
ABANDONED = 24 * 3600  # seconds after which a half-written file belongs to a process that was killed

Numbers = NDArray[np.int64]  # (N,) of photos in a PhotoSet
Decoded = tuple[NDArray[np.uint8], str]  # a photo (height, width, 3), RGB, and the SHA-256 of its file, hex


@dataclass(frozen=True, slots=True, eq=False)
class PhotoSet:
    """Decoded photos of one or several sources, one after the other.

    pixels: flat uint8 of each source, photo after photo, each height x width x 3, RGB. index: int64 (N, 4) of source,
    offset, height, width. hashes: SHA-256 of each file's bytes, hex. names: of the files below their folder, "/"
    between parts.

    The pixels of files lie in a memory map. As long as memory is free, the system keeps all of it there (shared by
    all processes that train on it, and by the next run); when it is not, pages are read again as they are needed.
    """

    pixels: tuple[NDArray[np.uint8], ...]
    index: NDArray[np.int64]
    hashes: list[str]
    names: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.index)

    def photo(self, number: int) -> NDArray[np.uint8]:
        """One photo, height x width x 3, uint8 RGB; a view, not a copy."""
        source, offset, height, width = (int(v) for v in self.index[number])
        return self.pixels[source][offset : offset + height * width * 3].reshape(height, width, 3)

    def short_sides(self) -> NDArray[np.int64]:
        """The shorter side of each photo, px: (N,)."""
        return np.asarray(self.index[:, 2:].min(1), np.int64)


def one_source(pixels: NDArray[np.uint8], index: NDArray[np.int64], hashes: list[str],
               names: list[str]) -> PhotoSet:  # fmt: skip
    """A PhotoSet of flat pixels and of (N, 3) offsets, heights and widths."""
    return PhotoSet((pixels,), np.insert(index, 0, 0, axis=1), hashes, names)


def joined(sets: Mapping[str, PhotoSet]) -> PhotoSet:
    """Several sets as one; the names of photos begin with the names that the sets are given under."""
    pixels: list[NDArray[np.uint8]] = []
    rows, hashes, names = [], [], []
    for name, photos in sets.items():
        rows.append(photos.index + np.array([len(pixels), 0, 0, 0]))
        pixels += photos.pixels
        hashes += photos.hashes
        names += [f"{name}/{photo}" for photo in photos.names]
    return PhotoSet(tuple(pixels), np.concatenate(rows), hashes, names)


@dataclass(frozen=True, slots=True)
class Rejected:
    """What was left out of a PhotoSet: unreadable files and folders by name, the others by count.

    gray: photos without colour. unfit: photos that the manifest does not clear for training. hidden: see Hidden.
    """

    broken: list[str]
    gray: int
    unfit: int = 0
    hidden: Hidden = NOTHING


def load_photos(folder: Path, short_side: int, cache: Path, fit: frozenset[str] | None = None,
                manifests: Sequence[Path] = (), progress: Callable[[int, int], None] | None = None,
                ) -> tuple[PhotoSet, Rejected]:  # fmt: skip
    """Decodes every photo below `folder` once, reduced to `short_side` px, into files in `cache`.

    Files made from the same photos (names, sizes, times) are used again, also by other runs. fit: take only photos
    whose row in one of `manifests` (by default the one that belongs to the folder) has one of these values in its
    column fit_for_training. progress: is told how many photos are decoded, of how many. Raises TrainingInputError.
    """
    files, broken, hidden = _find(folder)
    if not files:
        unreadable = f" Can't be listed: {', '.join(broken[:3])}." if broken else ""
        unreadable += f" {hidden.without_advice()}; {NAME_THEM}." if hidden else ""
        raise TrainingInputError(f"{folder}: no photos ({', '.join(sorted(EXTENSIONS))}) found there.{unreadable}")
    chosen = files if fit is None else manifest.cleared(files, folder, fit, manifests)
    target = _Target.of(folder, chosen, short_side, fit, cache)
    loaded = target.load()
    if loaded is None:
        try:
            _decode_all(chosen, folder, short_side, target, progress)
        except OSError as error:
            raise TrainingInputError(
                f"{cache}: decoded photos can't be kept there ({error.strerror}); free some space,"
                " or name another folder in the environment variable BWCOLOR_CACHE."
            ) from error
        loaded = target.load()
        if loaded is None:
            raise TrainingInputError(f"{target.data}: was removed or cut off while it was made; run again.")
        target.remove_older()
    photos, rejected = loaded
    rejected = Rejected(broken + rejected.broken, rejected.gray, len(files) - len(chosen), hidden)
    if not len(photos):
        raise TrainingInputError(
            f"{folder}: none of {len(chosen)} files is a readable colour photo"
            f" ({rejected.gray} are gray, {len(rejected.broken)} can't be read)."
        )
    return photos, rejected


def _find(folder: Path) -> tuple[list[Path], list[str], Hidden]:
    """Photos below `folder` in an order that is the same everywhere, folders that can't be listed, and what is hidden,
    which is left alone."""
    unreadable: list[str] = []

    def note(error: OSError) -> None:
        place = Path(os.fsdecode(error.filename))
        if place != folder:
            unreadable.append(place.relative_to(folder).as_posix() + "/")
        elif not isinstance(error, FileNotFoundError):
            raise TrainingInputError(f"{folder}: can't be listed ({error.strerror}).") from error

    files, hidden = [], []
    for place, folders, names in os.walk(folder, onerror=note):
        passed_over = [name for name in folders if is_hidden(Path(place, name), folder=True)]
        hidden.append(Hidden(tuple(passed_over)))
        folders[:] = [name for name in folders if name not in passed_over]
        for name in names:
            path = Path(place, name)
            # "._x.jpg" is the resource fork of x.jpg, as macOS leaves it beside it and in archives.
            if path.suffix.lower() not in EXTENSIONS or name.startswith("._") or not path.is_file():
                continue
            if is_hidden(path, folder=False):
                hidden.append(Hidden(photos=1))
            else:
                files.append(path)
    return sorted(files, key=lambda path: path.parts), sorted(unreadable), together(hidden)


@dataclass(frozen=True, slots=True)
class _Target:
    """Where the photos of a folder go once decoded: their pixels, and what describes them."""

    data: Path
    header: Path

    @staticmethod
    def of(folder: Path, files: list[Path], short_side: int, fit: frozenset[str] | None, cache: Path) -> "_Target":
        """Names made of a part for what is decoded and one for its present state."""
        what = [str(folder.resolve()), short_side, None if fit is None else sorted(fit)]
        state = [FORMAT, GRAY_CHROMA, MAX_ASPECT, [_state(path, folder) for path in files]]
        name = f"photos-{_digest(what)[:12]}-{_digest(state)[:16]}"
        return _Target(cache / f"{name}.u8", cache / f"{name}.json")

    def load(self) -> tuple[PhotoSet, Rejected] | None:
        """None when there is nothing yet, or only a part that a crash has left."""
        try:
            meta = json.loads(self.header.read_text(encoding="utf-8"))
            if self.data.stat().st_size != meta["bytes"]:
                return None
            pixels = np.memmap(self.data, np.uint8, "r") if meta["bytes"] else np.zeros(0, np.uint8)
        except (FileNotFoundError, NotADirectoryError, ValueError):  # perhaps removed just now by another process
            return None
        except OSError as error:
            raise TrainingInputError(f"{self.data}: can't be read ({error.strerror}).") from error
        index = np.array(meta["index"], np.int64).reshape(-1, 3)
        photos = one_source(pixels.view(np.ndarray), index, meta["hashes"], meta["names"])
        return photos, Rejected(meta["broken"], meta["gray"])

    def remove_older(self) -> None:
        """Removes what was decoded from earlier states of the same photos. A process that still has it mapped keeps
        it: POSIX frees the space when the last one ends, and Windows refuses to remove it until a later run."""
        group = self.data.stem.rpartition("-")[0]
        for path in self.data.parent.glob(f"{group}-*"):
            with contextlib.suppress(OSError):
                if ".part" not in path.suffix:
                    outdated = path.stem != self.data.stem
                else:
                    outdated = time.time() - path.stat().st_mtime > ABANDONED
                if outdated:
                    path.unlink()


def _state(path: Path, folder: Path) -> tuple[str, int, int]:
    try:
        status = path.stat()
    except OSError:  # gone since it was listed: decoding will name it
        return path.relative_to(folder).as_posix(), 0, 0
    return path.relative_to(folder).as_posix(), status.st_size, status.st_mtime_ns


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _decode_all(files: list[Path], root: Path, short_side: int, target: _Target,
                progress: Callable[[int, int], None] | None) -> None:  # fmt: skip
    """Processes that decode the same folder at once write files of their own; the last one's stay."""
    target.data.parent.mkdir(parents=True, exist_ok=True)
    index: list[tuple[int, int, int]] = []
    hashes: list[str] = []
    names: list[str] = []
    broken: list[str] = []
    gray, offset = 0, 0
    with _whole(target.data) as part, part.open("wb") as out, ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(files), AT_ONCE):
            some = files[start : start + AT_ONCE]
            for path, result in zip(some, pool.map(lambda p: _decode(p, short_side), some), strict=True):
                name = path.relative_to(root).as_posix()
                if isinstance(result, PhotoError):
                    broken.append(name)
                    continue
                pixels, digest = result
                if is_gray(pixels):
                    gray += 1
                    continue
                out.write(pixels.tobytes())
                index.append((offset, pixels.shape[0], pixels.shape[1]))
                hashes.append(digest)
                names.append(name)
                offset += pixels.size
            if progress is not None:
                progress(start + len(some), len(files))
        out.flush()
        os.fsync(out.fileno())
    meta = {"bytes": offset, "index": index, "hashes": hashes, "names": names, "broken": broken, "gray": gray}
    with _whole(target.header) as part:
        part.write_text(json.dumps(meta), encoding="utf-8")


@contextlib.contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A path to write to, which becomes `target` when all went well and disappears when not."""
    part = target.with_suffix(f"{target.suffix}.part{os.getpid()}")
    try:
        yield part
        try:
            part.replace(target)
        except PermissionError:  # Windows: another process was faster and has it mapped; the same is in it
            if not target.exists():
                raise
    finally:
        part.unlink(missing_ok=True)


def _decode(path: Path, short_side: int) -> Decoded | PhotoError:
    try:
        source = read_bytes(path)
        return reduce_photo(decode_rgb(source), short_side), hashlib.sha256(source).hexdigest()
    except PhotoError as error:
        return error


def reduce_photo(rgb: NDArray[np.uint8], short_side: int) -> NDArray[np.uint8]:
    """A photo (height, width, 3), RGB, cut to an aspect of at most 2 and reduced to `short_side` px; never enlarged."""
    height, width = rgb.shape[:2]
    keep_h, keep_w = min(height, int(width * MAX_ASPECT)), min(width, int(height * MAX_ASPECT))
    top, left = (height - keep_h) // 2, (width - keep_w) // 2
    rgb = rgb[top : top + keep_h, left : left + keep_w]
    scale = short_side / min(keep_h, keep_w)
    if scale < 1:
        size = (max(1, round(keep_w * scale)), max(1, round(keep_h * scale)))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    return np.ascontiguousarray(rgb)


def is_gray(rgb: NDArray[np.uint8]) -> bool:
    """Whether a photo (height, width, 3), RGB, has next to no colour."""
    small = rgb[:: max(1, rgb.shape[0] // 64), :: max(1, rgb.shape[1] // 64)]
    chroma = cv2.cvtColor(np.ascontiguousarray(small), cv2.COLOR_RGB2YCrCb)[..., 1:].astype(np.float32) - 128
    return float(np.abs(chroma).sum(-1).mean()) < GRAY_CHROMA


def check_held_out(photos: PhotoSet, folders: Sequence[Path]) -> None:
    """Raises TrainingInputError when one of the photos is also in a folder that was to be kept out, by its content."""
    known = dict(zip(photos.hashes, photos.names, strict=True))
    for folder in folders:
        if not folder.is_dir():
            raise TrainingInputError(f"{folder}: no such folder to hold out.")
        for path in _find(folder)[0]:
            name = known.get(hashlib.sha256(read_bytes(path)).hexdigest())
            if name is not None:
                raise TrainingInputError(
                    f"{path} is held out, but {name} in the photos to train on is the same picture: name other folders,"
                    " or remove it from one of them."
                )
