"""Photos to train on: found, decoded once into memory or a cache file, split, cropped to batches."""

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bwcolor.errors import PhotoError
from bwcolor.photo import EXTENSIONS, read_rgb
from bwcolor_training.errors import TrainingInputError

GRAY_CHROMA = 3.0  # mean |Cb| + |Cr| in 8-bit levels below which a photo counts as gray
MAX_ASPECT = 2.0  # longer photos are cropped in the middle: their ends would be seen too rarely


@dataclass(frozen=True, slots=True, eq=False)
class PhotoSet:
    """Decoded photos in one flat memory map.

    pixels: uint8, photo after photo, each height x width x 3, RGB. index: int64 (N, 3) of offset,
    height, width. hashes: SHA-256 of each file's bytes, hex.
    """

    pixels: NDArray[np.uint8]
    index: NDArray[np.int64]
    hashes: list[str]

    def __len__(self) -> int:
        return len(self.index)

    def photo(self, number: int) -> NDArray[np.uint8]:
        """One photo, height x width x 3, uint8 RGB; a view, not a copy."""
        offset, height, width = (int(v) for v in self.index[number])
        return self.pixels[offset : offset + height * width * 3].reshape(height, width, 3)


@dataclass(frozen=True, slots=True)
class Rejected:
    """How many files were left out of a PhotoSet: unreadable ones by name, gray ones by count."""

    broken: list[str]
    gray: int


def load_photos(folder: Path, short_side: int, cache: Path) -> tuple[PhotoSet, Rejected]:
    """Decodes every photo below `folder` once, reduced to `short_side` px, into files at `cache`.

    A cache made from the same files (names, sizes, times) is used again. Raises TrainingInputError
    when no colour photo is found.
    """
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file())
    if not files:
        raise TrainingInputError(f"{folder}: no photos ({', '.join(sorted(EXTENSIONS))}) found there.")
    state = [(str(p.relative_to(folder)), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    key = hashlib.sha256(json.dumps([short_side, GRAY_CHROMA, state]).encode()).hexdigest()
    header = cache / f"photos-{key[:16]}.json"
    data = cache / f"photos-{key[:16]}.u8"
    if not (header.exists() and data.exists()):
        try:
            _decode_all(files, folder, short_side, header, data)
        except OSError as error:
            raise TrainingInputError(
                f"{cache}: decoded photos can't be kept there ({error.strerror}); free some space or change --out."
            ) from error
    meta = json.loads(header.read_text(encoding="utf-8"))
    rejected = Rejected(meta["broken"], meta["gray"])
    if not meta["index"]:
        raise TrainingInputError(
            f"{folder}: none of {len(files)} files is a readable colour photo"
            f" ({rejected.gray} are gray, {len(rejected.broken)} can't be read)."
        )
    pixels = np.memmap(data, np.uint8, "r")
    return PhotoSet(pixels, np.array(meta["index"], np.int64), meta["hashes"]), rejected


def _decode_all(files: list[Path], root: Path, short_side: int, header: Path, data: Path) -> None:
    header.parent.mkdir(parents=True, exist_ok=True)
    index: list[tuple[int, int, int]] = []
    hashes: list[str] = []
    broken: list[str] = []
    gray, offset = 0, 0
    part = data.with_suffix(f".part{os.getpid()}")
    try:
        with part.open("wb") as out, ThreadPoolExecutor(os.cpu_count()) as pool:
            for path, result in zip(files, pool.map(lambda p: _decode(p, short_side), files), strict=True):
                if isinstance(result, PhotoError):
                    broken.append(str(path.relative_to(root)))
                    continue
                pixels, digest = result
                if _is_gray(pixels):
                    gray += 1
                    continue
                out.write(pixels.tobytes())
                index.append((offset, pixels.shape[0], pixels.shape[1]))
                hashes.append(digest)
                offset += pixels.size
        part.replace(data)
    finally:
        part.unlink(missing_ok=True)  # when the disk is full
    meta = {"index": index, "hashes": hashes, "broken": broken, "gray": gray}
    part = header.with_suffix(f".part{os.getpid()}")
    part.write_text(json.dumps(meta), encoding="utf-8")
    part.replace(header)


def _decode(path: Path, short_side: int) -> tuple[NDArray[np.uint8], str] | PhotoError:
    try:
        rgb = read_rgb(path)
    except PhotoError as error:
        return error
    height, width = rgb.shape[:2]
    keep_h, keep_w = min(height, int(width * MAX_ASPECT)), min(width, int(height * MAX_ASPECT))
    top, left = (height - keep_h) // 2, (width - keep_w) // 2
    rgb = rgb[top : top + keep_h, left : left + keep_w]
    scale = short_side / min(keep_h, keep_w)
    if scale < 1:
        size = (max(1, round(keep_w * scale)), max(1, round(keep_h * scale)))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    return np.ascontiguousarray(rgb), hashlib.sha256(path.read_bytes()).hexdigest()


def _is_gray(rgb: NDArray[np.uint8]) -> bool:
    small = rgb[:: max(1, rgb.shape[0] // 64), :: max(1, rgb.shape[1] // 64)]
    chroma = cv2.cvtColor(np.ascontiguousarray(small), cv2.COLOR_RGB2YCrCb)[..., 1:].astype(np.float32) - 128
    return float(np.abs(chroma).sum(-1).mean()) < GRAY_CHROMA


def split(photos: PhotoSet, share: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the photos to train on and to validate on.

    A photo's hash decides, so adding photos never moves one from one side to the other. Those to
    validate on come in the order of their hashes: the first of them are a fair sample.
    """
    values = np.array([int(h[:8], 16) / 2**32 for h in photos.hashes])
    order = np.argsort(values, kind="stable")
    return np.flatnonzero(values >= share), order[values[order] < share]


def crop(rgb: NDArray[np.uint8], size: int, min_scale: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A random square crop, size x size x 3, mirrored half of the time.

    Its side is `min_scale` to 1 times the photo's short side. Smaller photos are enlarged.
    """
    height, width = rgb.shape[:2]
    side = max(1, round(min(height, width) * rng.uniform(min_scale, 1)))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    piece = rgb[top : top + side, left : left + side]
    how = cv2.INTER_AREA if side >= size else cv2.INTER_LINEAR
    piece = cv2.resize(piece, (size, size), interpolation=how).astype(np.uint8)
    return piece[:, ::-1] if rng.random() < 0.5 else piece


def batches(photos: PhotoSet, numbers: NDArray[np.int64], size: int, batch: int, min_scale: float,
            seed: int, first_step: int) -> Iterator[NDArray[np.uint8]]:  # fmt: skip
    """Endless batches (batch, size, size, 3) uint8 RGB; the step and the seed alone decide each.

    So a resumed run sees the same batches as one that was never stopped.
    """
    step = first_step
    while True:
        rng = np.random.default_rng([seed, step])
        chosen = rng.choice(numbers, batch, replace=len(numbers) < batch)
        yield np.stack([crop(photos.photo(int(n)), size, min_scale, rng) for n in chosen])
        step += 1
