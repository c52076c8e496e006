"""What of a set of photos is trained on: split, weighed, cropped to batches."""

from collections.abc import Iterator, Mapping

import cv2
import numpy as np
from bwcolor_training.data.photo_sets import Numbers, PhotoSet
from bwcolor_training.errors import TrainingInputError
from numpy.typing import NDArray

from bwcolor.imaging.metrics import colourfulness

COLORFULNESS_SIDE = 64  # pixels along the short side that are looked at
NAMED_FOLDERS = 50  # that an error lists


def split(photos: PhotoSet, share: float, weights: NDArray[np.float64] | None = None) -> tuple[Numbers, Numbers]:
    """Numbers of the photos to train on and to validate on; those with weight 0 are in neither.

    A photo's hash decides, so adding photos never moves one from one side to the other. Those to
    validate on come in the order of their hashes: the first of them are a fair sample.
    """
    values = np.array([int(h[:8], 16) / 2**32 for h in photos.hashes])
    order = np.argsort(values, kind="stable")
    taken = np.ones(len(photos), np.bool_) if weights is None else weights > 0
    order = order[taken[order]]
    return np.flatnonzero(taken & (values >= share)), order[values[order] < share]


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


def batches(photos: PhotoSet, numbers: Numbers, size: int, batch: int, min_scale: float, seed: int, first_step: int,
            weights: NDArray[np.float64] | None = None) -> Iterator[NDArray[np.uint8]]:  # fmt: skip
    """Endless batches (batch, size, size, 3) uint8 RGB of the photos `numbers`.

    The step and the seed alone decide each, so a resumed run sees the same batches as one that was never stopped.
    weights: how likely each photo of the set is taken, on any scale, 0 for never; None: all alike.
    """
    chances, several = None, len(numbers)
    if weights is not None:
        chances = _chances(weights[numbers])
        several = int(np.count_nonzero(chances))
    step = first_step
    while True:
        rng = np.random.default_rng([seed, step])
        chosen = rng.choice(numbers, batch, replace=several < batch, p=chances)
        yield np.stack([crop(photos.photo(int(n)), size, min_scale, rng) for n in chosen])
        step += 1


def large_enough(photos: PhotoSet, numbers: Numbers, size: int, max_enlargement: float) -> Numbers:
    """Those of `numbers` from which a crop of `size` px can be made by enlarging the photo at most so many times.

    max_enlargement: 0 for any. Raises TrainingInputError when no photo is left.
    """
    if not max_enlargement:
        return numbers
    chosen = numbers[photos.short_sides()[numbers] * max_enlargement >= size]
    if not len(chosen):
        largest = int(photos.short_sides()[numbers].max(initial=0))
        raise TrainingInputError(
            f"No photo is large enough for crops of {size} px: the largest short side is {largest} px, and"
            f" max_enlargement is {max_enlargement:g}. Use smaller sizes, or raise short_side or max_enlargement."
        )
    return chosen


def photo_weights(photos: PhotoSet, folders: Mapping[str, float],
                  min_colorfulness: Mapping[str, float]) -> NDArray[np.float64] | None:  # fmt: skip
    """How likely each photo is taken, by its sub-folder and its colorfulness; None where all are alike.

    folders: weights by path below the photos' folder. min_colorfulness: least colorfulness (Hasler and Suesstrunk 2003)
    by path, below which a photo has weight 0. In both the longest path that fits counts, and "" stands for all.
    Raises TrainingInputError for a folder without photos.
    """
    if not folders and not min_colorfulness:
        return None
    weights = _by_folder(photos, folders, 1.0, "folders")
    least = _by_folder(photos, min_colorfulness, 0.0, "min_colorfulness")
    for number in np.flatnonzero((weights > 0) & (least > 0)):
        if _colorfulness(photos.photo(int(number))) < least[number]:
            weights[number] = 0
    return weights


def _by_folder(photos: PhotoSet, values: Mapping[str, float], otherwise: float, setting: str) -> NDArray[np.float64]:
    """Each photo's value, (N,): that of the longest path in `values` that it lies below, or `otherwise`."""
    found = np.full(len(photos), otherwise)
    for folder in sorted(values, key=len):
        prefix = f"{folder.strip('/')}/" if folder.strip("/") else ""
        inside = np.array([name.startswith(prefix) for name in photos.names])
        if not inside.any():
            known = ", ".join(sorted({name.partition("/")[0] for name in photos.names if "/" in name})[:NAMED_FOLDERS])
            raise TrainingInputError(
                f"--set {setting}: no photos are in {folder!r}. Sub-folders with photos: {known or 'none'}."
            )
        found[inside] = values[folder]
    return found


def _colorfulness(rgb: NDArray[np.uint8]) -> float:
    """Colorfulness of a photo (height, width, 3), RGB, from at most about 64 x 64 of its pixels."""
    every = max(1, min(rgb.shape[:2]) // COLORFULNESS_SIDE)
    return colourfulness(rgb[::every, ::every])


def _chances(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise TrainingInputError("The weights of photos must be 0 or more, and not all 0.")
    return np.asarray(weights / weights.sum(), np.float64)
