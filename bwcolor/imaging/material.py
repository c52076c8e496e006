"""What a scan shows besides photographs: pure black and white, pages of text and drawings, halftone prints.

The first has no tones that could take color; on the others colors say little. A run names them for what they are.

Measured on 2026-11-28: of 459 photos, 97 of them scans of old prints, one was called text, and that is a page of text;
none was called a halftone print (the strongest screen had 12, PEAK is 25). Made-up screens with dots of 2.6 to 14 px,
blurred and with noise, had 34 to 1,500; made-up pages of text in five sizes were all found. 5 ms of a core for a photo
of 12 megapixels.
"""

from functools import cache
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from bwcolor.imaging.color import Array, unit
from bwcolor.imaging.resizing import reduced_to, scaled_size

Material = Literal["photo", "bilevel", "text", "halftone"]
Luma = NDArray[np.unsignedinteger[Any]]

TONES = 16  # of a coarse histogram
LOOKED_AT = 1 << 16  # px at least, of a grid over the photo, whose tones are looked at
NO_TONES = 0.01  # of 0..1, mean distance of pixels from the nearer of black and white: what is nearer has no room

PAGE_SIDE = 512  # px, mean side at which text is looked for
STROKE = 15  # px of it, that no stroke of text is as wide as
INK = 0.08  # of 0..1: what is darker than the paper around it by more is ink
PAPER = 0.04  # what is nearer to the paper's tone is paper
PAPER_SHARE = 0.6  # of a page at least
INK_SHARE = (0.01, 0.4)  # of a page
EVEN = 0.1  # of 0..1: paper's tone varies by less, over 90 % of a page
BRIGHT = 0.45  # of 0..1: paper is at least as light

PATCH = 128  # px, side of the squares in which a screen is looked for
PATCHES = 3  # along each side of the photo
PERIODS = (2.5, 16)  # px, of a screen's dots; finer ones are not resolved, of larger ones each is a picture
DIAGONAL = (22, 68)  # degrees: black-and-white screens lie at 45; fabrics, bricks and JPEG's blocks mostly do not
STRAIGHT = 8  # degrees from the photo's sides, where rows and columns show
LATTICE = 10  # times stronger than a screen are the rows and columns of brickwork; of a screen's own, at most twice
PEAK = 25  # times the usual power (geometric mean) at like frequencies, both ways across: dots


def material_of(luma: Luma) -> Material:
    """What a picture is. luma: (h, w), uint8 or uint16, full range."""
    step = max(1, int((luma.size / LOOKED_AT) ** 0.5))
    tones = unit(np.ascontiguousarray(luma[::step, ::step]))
    if np.minimum(tones, 1 - tones).mean() < NO_TONES:
        return "bilevel"
    if _is_mostly_paper(tones) and _is_text(luma):
        return "text"
    return "halftone" if screen_strength(luma) > PEAK else "photo"


def _is_mostly_paper(tones: Array) -> bool:
    """Whether one light tone takes at least half of the pixels; else nobody need look closer."""
    counts = np.bincount((tones * (TONES - 1)).astype(np.intp).ravel(), minlength=TONES)
    near = counts + np.append(counts[1:], 0) + np.append(0, counts[:-1])
    return bool(near.max() >= tones.size / 2 and near.argmax() >= BRIGHT * TONES)


def _is_text(luma: Luma) -> bool:
    """Whether it is paper of one tone with thin strokes, as print, handwriting and line drawings are."""
    small = unit(reduced_to(luma, *scaled_size(luma.shape[0], luma.shape[1], PAGE_SIDE)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (STROKE, STROKE))
    paper = np.asarray(cv2.morphologyEx(small, cv2.MORPH_CLOSE, kernel), np.float32)
    low, middle, high = np.quantile(paper, (0.05, 0.5, 0.95))
    if middle < BRIGHT or high - low > EVEN:
        return False
    darker = paper - small
    ink = float((darker > INK).mean())
    return float((darker < PAPER).mean()) > PAPER_SHARE and INK_SHARE[0] < ink < INK_SHARE[1]


def screen_strength(luma: Luma) -> float:
    """How much a diagonal screen of dots stands out: its power by what is usual at like frequencies."""
    height, width = luma.shape
    if min(height, width) < 2 * PATCH:
        return 0.0
    tops, lefts = (np.linspace(0, side - PATCH, PATCHES).astype(int) for side in (height, width))
    patches = np.stack([unit(luma[top : top + PATCH, left : left + PATCH]) for top in tops for left in lefts])
    ring, diagonal, straight, window = _geometry()
    power: NDArray[Any] = np.zeros((PATCH, PATCH))
    for patch in patches:
        spectrum = cv2.dft((patch - patch.mean()) * window, flags=cv2.DFT_COMPLEX_OUTPUT)
        one = np.square(spectrum).sum(-1)
        power += one / max(float(one.sum()), 1e-9)  # each patch counts alike
    power = np.asarray(cv2.blur(power, (3, 3), borderType=cv2.BORDER_REFLECT_101))
    usual = np.exp(np.bincount(ring.ravel(), np.log(np.maximum(power, 1e-12)).ravel()) / np.bincount(ring.ravel()))
    flat = power / usual[ring]
    dots = np.minimum(flat, flat[(-np.arange(PATCH)) % PATCH].T)  # the same a quarter turn on
    strength = float(dots[diagonal].max())
    return strength if LATTICE * strength > flat[straight].max() else 0.0


@cache
def _geometry() -> tuple[NDArray[np.intp], NDArray[np.bool_], NDArray[np.bool_], Array]:
    """Of a spectrum (PATCH, PATCH): which frequencies are alike, by number; where a screen's can lie; where those of
    rows and columns do. And a window."""
    frequency = np.fft.fftfreq(PATCH)
    down, across = np.meshgrid(frequency, frequency, indexing="ij")
    radius, angle = np.hypot(down, across), np.degrees(np.arctan2(np.abs(down), np.abs(across)))
    wanted = (radius > 1 / PERIODS[1]) & (radius < 1 / PERIODS[0])
    diagonal = wanted & (angle > DIAGONAL[0]) & (angle < DIAGONAL[1])
    straight = wanted & ((angle < STRAIGHT) | (angle > 90 - STRAIGHT))
    window = np.hanning(PATCH)[:, None] * np.hanning(PATCH)
    return (radius * PATCH / 2).astype(np.intp), diagonal, straight, np.asarray(window, np.float32)
