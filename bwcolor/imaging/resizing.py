"""Pictures made smaller or larger: luma and chroma at the sizes that the network, the tiles and the photo need."""

import math
from collections.abc import Iterator
from typing import Any, TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from bwcolor.imaging.color import Array

Resized = TypeVar("Resized", bound=NDArray[Any])

MAX_STRETCH = 4  # the longer side fed to the network is at most this many times the network's size
HALVED_FROM = 8  # times its new size, from which a picture is first halved: at most a quarter of a new pixel is cut off
CUBIC = -0.75  # the kernel's free parameter (Keys 1981), as in OpenCV's INTER_CUBIC


def scaled_size(height: int, width: int, size: float) -> tuple[int, int]:
    """Height and width whose geometric mean is at most `size`; aspect kept, never enlarged."""
    scale = min(1.0, size / math.sqrt(height * width), MAX_STRETCH * size / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def resized(array: Resized, height: int, width: int) -> Resized:
    """Area average when the picture shrinks, cubic when it grows."""
    if array.shape[:2] == (height, width):
        return array
    while min(array.shape[0] / height, array.shape[1] / width) >= HALVED_FROM:
        array = _halved(array)
    shrinks = height * width < array.shape[0] * array.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cast(Resized, cv2.resize(np.ascontiguousarray(array), (width, height), interpolation=how))


def reduced_to(picture: Resized, height: int, width: int) -> Resized:
    """Luma (h, w) or chroma (h, w, 2), area-averaged where it has more rows or columns than this."""
    return resized(picture, min(height, picture.shape[0]), min(width, picture.shape[1]))


def enlarged_strips(chroma: Array, height: int, width: int, rows: int, every: int = 1) -> Iterator[tuple[slice, Array]]:
    """Chroma at a photo's size, in strips of at most `rows` rows, so that memory stays small.

    chroma: (h, w, 2) with h <= height, w <= width. every: 2 gives every second strip, and so on. Yields the rows'
    slice and Cb and Cr, (2, rows, width), limited to -0.5..0.5; cubic interpolation, the same values as for the whole
    photo at once.
    """
    planes = np.ascontiguousarray(resized(chroma, chroma.shape[0], width).transpose(2, 0, 1))
    strongest = float(np.abs(planes).max(initial=0))
    for top in range(0, height, every * rows):
        bottom = min(top + rows, height)
        first, weights = _cubic_rows(chroma.shape[0], height, top, bottom)
        strip = weights @ planes[:, first : first + weights.shape[1]]
        if strongest * float(np.abs(weights).sum(1).max()) > 0.5:  # cubic enlargement overshoots
            np.clip(strip, -0.5, 0.5, out=strip)
        yield slice(top, bottom), strip


def _cubic_rows(source: int, target: int, top: int, bottom: int) -> tuple[int, Array]:
    """First source row and weights (bottom - top, source rows used) of cubic interpolation."""
    position = (np.arange(top, bottom) + 0.5) * source / target - 0.5
    base = np.floor(position).astype(np.int64)
    first = max(0, int(base[0]) - 1)
    last = min(source - 1, int(base[-1]) + 2)
    weights = np.zeros((bottom - top, last - first + 1), np.float32)
    for offset in (-1, 0, 1, 2):
        distance = np.abs(position - (base + offset))
        near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance**2 + 1
        far = ((CUBIC * distance - 5 * CUBIC) * distance + 8 * CUBIC) * distance - 4 * CUBIC
        columns = np.clip(base + offset, 0, source - 1) - first  # rows beyond the edge repeat it
        np.add.at(weights, (np.arange(bottom - top), columns), np.where(distance <= 1, near, far))
    return first, weights


def _halved(array: Resized) -> Resized:
    """Means of 2 x 2 pixels, which OpenCV makes many times faster than other areas; a last odd row or column goes."""
    height, width = (side // 2 for side in array.shape[:2])
    even = array[: 2 * height, : 2 * width]  # a view: of a large photo of odd width a copy would be as large
    return cast(Resized, cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA))
