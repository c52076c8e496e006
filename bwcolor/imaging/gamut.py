"""Chroma at a photo's size, fitted to its luma, strip by strip: as a JPEG stores it, or as RGB.

Fitted means pulled towards neutral where RGB would leave its range (color.chroma_limit), which mostly few pixels need.
Which they are is first narrowed down in whole numbers, by how far chroma can reach anywhere near; the rest is exact.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from bwcolor.imaging.arrays import Pixels
from bwcolor.imaging.color import CB_SCALE, CB_TO_G, CR_SCALE, CR_TO_G, Array, chroma_limit, compose, unit
from bwcolor.imaging.resizing import CUBIC, enlarged_strips, reduced_to
from bwcolor.options import Sampling

STRIP_ROWS = 64
TO_RGB = np.array([[0, CR_SCALE], [-CB_TO_G, -CR_TO_G], [CB_SCALE, 0]], np.float32)  # what Cb and Cr add to luma
# How far cubic interpolation overshoots at most, times the difference of largest and smallest value among the 4 x 4
# that it takes: the negative weights are at most n = -CUBIC / 4 along a line, so 2 n (1 + n) over a plane.
OVERSHOOT = 2 * (-CUBIC / 4) * (1 - CUBIC / 4)
NEAR = 5  # values in each direction, centred on the nearest one, among which are those that interpolation takes
FEW = 0.25  # of a strip's pixels; where more have to be fitted, all are, which is faster
CACHED_ROWS = 8  # that are fitted at once where all are: their values stay in a core's own memory


class Outside(NamedTuple):
    """Pixels of a strip that may need a limit, counted row by row: nowhere, one array of some, or slices that are the
    whole strip."""

    parts: Sequence[NDArray[np.intp] | slice]
    everywhere: bool


def chroma_strips(luma: Pixels, chroma: Array, sampling: Sampling) -> Iterator[NDArray[np.uint8]]:
    """Cb and Cr as a JPEG stores them, in strips (2, rows, w) of STRIP_ROWS rows, the last one shorter.

    luma: (height, width), uint8. chroma: (h, w, 2), Cb and Cr, of any size; limited to -0.5..0.5. Rows and columns are
    luma's, or with 420 half of them, rounded up. Decoders spread a 420 sample over up to 4 x 4 pixels, with 444 over
    one. It is fitted to the darkest and to the lightest of them, so that no decoded pixel leaves the gamut and shows
    another brightness.
    """
    step = 2 if sampling == "420" else 1
    height, width = -(-luma.shape[0] // step), -(-luma.shape[1] // step)
    chroma = reduced_to(chroma, height, width)
    reach = Reach(chroma, height, width, luma.dtype)
    for rows, strip in enlarged_strips(chroma, height, width, STRIP_ROWS):
        darkest, lightest = _extremes(luma, rows) if step == 2 else (luma[rows], luma[rows])
        outside = reach.outside(rows, darkest, lightest)
        levels = np.empty(strip.shape, np.uint8) if outside.everywhere else _levels(strip)
        for at in outside.parts:
            wanted = _taken(strip, at)
            limit = chroma_limit(unit(darkest.reshape(-1)[at]), wanted.T, unit(lightest.reshape(-1)[at]))
            for plane, fitted in zip(levels, _levels(wanted * limit), strict=True):
                plane.reshape(-1)[at] = fitted
        yield levels


def composed_strips(luma: Pixels, alpha: Pixels | None, chroma: Array, every: int = 1) -> Iterator[Pixels]:
    """RGB, or RGBA where there is alpha, in strips (rows, width, 3 or 4) of STRIP_ROWS rows, the last one shorter.

    luma, alpha: (height, width), uint8 or uint16, the depth of the result. chroma: (h, w, 2), Cb and Cr, limited to
    -0.5..0.5, at most as large as luma. every: 2 gives every second strip, and so on.
    """
    height, width = luma.shape
    reach = Reach(chroma, height, width, luma.dtype)
    top = np.iinfo(luma.dtype).max
    for rows, strip in enlarged_strips(chroma, height, width, STRIP_ROWS, every):
        y = np.ascontiguousarray(luma[rows])
        outside = reach.outside(rows, y, y)
        if outside.everywhere:
            pixels: Pixels = np.empty((*y.shape, 3 if alpha is None else 4), luma.dtype)
            if alpha is not None:
                pixels[..., 3] = alpha[rows]
        else:
            pixels = np.asarray(cv2.merge(_added(y, strip) + ([] if alpha is None else [alpha[rows]])), luma.dtype)
        for at in outside.parts:
            rgb = compose(unit(y.reshape(-1)[at]), _taken(strip, at).T)
            pixels.reshape(-1, pixels.shape[2])[at, :3] = np.rint(rgb * np.float32(top))
        yield pixels


def compose_pixels(luma: Pixels, alpha: Pixels | None, chroma: Array) -> Pixels:
    """All strips of `composed_strips` in one picture, (height, width, 3 or 4)."""
    pixels: Pixels = np.empty((*luma.shape, 3 if alpha is None else 4), luma.dtype)
    top = 0
    for strip in composed_strips(luma, alpha, chroma):
        pixels[top : top + len(strip)] = strip
        top += len(strip)
    return pixels


def _added(y: Pixels, strip: Array) -> list[Pixels]:
    """Red, green and blue of luma (rows, w) and chroma (2, rows, w), in luma's depth and cut off at its ends."""
    top, depth = np.iinfo(y.dtype).max, cv2.CV_8U if y.dtype == np.uint8 else cv2.CV_16U
    cb, cr = strip
    red = cv2.addWeighted(cr, CR_SCALE * top, y, 1, 0, dtype=depth)
    green = cv2.addWeighted(cb, -CB_TO_G * top, cr, -CR_TO_G * top, 0)
    blue = cv2.addWeighted(cb, CB_SCALE * top, y, 1, 0, dtype=depth)
    return [np.asarray(channel, y.dtype) for channel in (red, cv2.add(green, y, dtype=depth), blue)]


class Reach:
    """How far channels may be above and below luma, (2, height, width), in luma's whole numbers and rounded up.

    chroma: (h, w, 2), enlarged cubically to height and width. Kept at the chroma's own rows.
    """

    def __init__(self, chroma: Array, height: int, width: int, depth: np.dtype[Any]) -> None:
        channels = cv2.transform(chroma, TO_RGB)
        window = np.ones((NEAR, NEAR), np.uint8)
        most, least = cv2.dilate(channels, window), cv2.erode(channels, window)
        beyond = OVERSHOOT * (most - least)
        top = np.iinfo(depth).max
        reach = np.stack([(most + beyond).max(-1), (beyond - least).max(-1)])
        levels = np.minimum(np.ceil(top * reach), top).astype(depth)
        self._levels = np.take(levels, _nearest(chroma.shape[1], width), axis=2)
        self._rows = _nearest(chroma.shape[0], height)

    def of(self, rows: slice) -> NDArray[np.unsignedinteger[Any]]:
        """(2, rows, width): above luma, and below it."""
        return np.take(self._levels, self._rows[rows], axis=1)

    def outside(self, rows: slice, darkest: Pixels, lightest: Pixels) -> Outside:
        """Which pixels of a strip may need a limit.

        darkest, lightest: (rows, width), of the pixels that one value of chroma serves.
        """
        above, below = self.of(rows)
        found = cv2.bitwise_or(
            cv2.compare(above, cv2.bitwise_not(lightest), cv2.CMP_GT), cv2.compare(below, darkest, cv2.CMP_GT)
        )
        count = cv2.countNonZero(found)
        if count < FEW * found.size:
            return Outside([np.flatnonzero(found != 0)] if count else [], False)
        size, step = found.size, CACHED_ROWS * found.shape[1]
        return Outside([slice(first, min(first + step, size)) for first in range(0, size, step)], True)


def _taken(strip: Array, at: NDArray[np.intp] | slice) -> Array:
    """Of Cb and Cr (2, rows, width) the values at these pixels, (2, n)."""
    planes = strip.reshape(2, -1)
    return planes[:, at] if isinstance(at, slice) else np.take(planes, at, axis=1)


def _nearest(source: int, target: int) -> NDArray[np.intp]:
    return np.asarray((2 * np.arange(target) + 1) * source // (2 * target), np.intp)


def _levels(chroma: Array) -> NDArray[np.uint8]:
    """Chroma in -0.5..0.5, (2, ...), as JPEG stores it: 128 for none."""
    return np.asarray(cv2.convertScaleAbs(chroma.reshape(2, -1), alpha=255, beta=128), np.uint8).reshape(chroma.shape)


def _extremes(luma: Pixels, rows: slice) -> tuple[Pixels, Pixels]:
    """The darkest and the lightest pixel under each sample of half the resolution, for these rows of samples."""
    first = max(0, 2 * rows.start - 1)
    covered, window = luma[first : 2 * rows.stop + 1], np.ones((4, 4), np.uint8)
    count = min(rows.stop, -(-luma.shape[0] // 2)) - rows.start
    darkest, lightest = (
        np.ascontiguousarray(extreme(covered, window, anchor=(1, 1))[2 * rows.start - first :: 2, ::2][:count])
        for extreme in (cv2.erode, cv2.dilate)
    )
    return np.asarray(darkest, luma.dtype), np.asarray(lightest, luma.dtype)
