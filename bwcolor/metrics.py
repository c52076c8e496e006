"""How close a colorized photo is to the truth, and how colourful it is: numpy only.

All photos are uint8 or float arrays (height, width, 3), sRGB; uint8 counts 0..255, float 0..1.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bwcolor.color import rgb_to_lab

Floats = NDArray[np.float64]


def _unit(rgb: NDArray[Any]) -> Floats:
    return np.asarray(rgb, np.float64) / (255.0 if rgb.dtype == np.uint8 else 1.0)


def psnr(output: NDArray[Any], truth: NDArray[Any]) -> float:
    """Peak signal-to-noise ratio over all three channels, dB; infinite for equal photos."""
    error = float(np.mean((_unit(output) - _unit(truth)) ** 2))
    return float("inf") if error == 0 else -10 * float(np.log10(error))


def colourfulness(rgb: NDArray[Any]) -> float:
    """Hasler and Suesstrunk 2003, "Measuring colourfulness in natural images": M3, 8-bit scale.

    0 for gray; about 38 for the mean ImageNet photo.
    """
    r, g, b = np.moveaxis(255 * _unit(rgb), -1, 0)
    rg, yb = r - g, (r + g) / 2 - b
    deviation = np.hypot(rg.std(), yb.std())
    mean = np.hypot(rg.mean(), yb.mean())
    return float(deviation + 0.3 * mean)


def ciede2000(lab1: Floats, lab2: Floats) -> Floats:
    """Colour difference dE00 per pixel of two L*a*b* arrays (..., 3) -> (...).

    CIE 142-2001; formulas as in Sharma, Wu, Dalal 2005, "The CIEDE2000 color-difference formula:
    implementation notes", whose test data the tests use. Weighting factors are 1.
    """
    l1, a1, b1 = np.moveaxis(lab1, -1, 0)
    l2, a2, b2 = np.moveaxis(lab2, -1, 0)
    c_mean = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    g = 0.5 * (1 - np.sqrt(c_mean**7 / (c_mean**7 + 25.0**7)))
    a1, a2 = a1 * (1 + g), a2 * (1 + g)
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.arctan2(b1, a1), np.arctan2(b2, a2)  # radians; of gray any will do, since d_h below is 0

    dh = h2 - h1
    dh = dh - 2 * np.pi * np.round(dh / (2 * np.pi))  # into -pi..pi
    h_sum = h1 % (2 * np.pi) + h2 % (2 * np.pi)
    apart = np.abs(h1 % (2 * np.pi) - h2 % (2 * np.pi)) > np.pi
    h_mean = np.where(apart, np.where(h_sum < 2 * np.pi, h_sum + 2 * np.pi, h_sum - 2 * np.pi), h_sum) / 2

    l_mean, c_mean = (l1 + l2) / 2, (c1 + c2) / 2
    t = (
        1
        - 0.17 * np.cos(h_mean - np.pi / 6)
        + 0.24 * np.cos(2 * h_mean)
        + 0.32 * np.cos(3 * h_mean + np.pi / 30)
        - 0.20 * np.cos(4 * h_mean - 63 * np.pi / 180)
    )
    s_l = 1 + 0.015 * (l_mean - 50) ** 2 / np.sqrt(20 + (l_mean - 50) ** 2)
    s_c = 1 + 0.045 * c_mean
    s_h = 1 + 0.015 * c_mean * t
    d_theta = np.pi / 6 * np.exp(-(((np.degrees(h_mean) - 275) / 25) ** 2))
    r_t = -np.sin(2 * d_theta) * 2 * np.sqrt(c_mean**7 / (c_mean**7 + 25.0**7))
    d_l = (l2 - l1) / s_l
    d_c = (c2 - c1) / s_c
    d_h = 2 * np.sqrt(c1 * c2) * np.sin(dh / 2) / s_h
    squared: Floats = d_l**2 + d_c**2 + d_h**2 + r_t * d_c * d_h
    return np.sqrt(np.maximum(squared, 0))


@dataclass(frozen=True, slots=True)
class Scores:
    """Figures of one photo. psnr in dB; de00 is the mean CIEDE2000; colourfulness of both sides."""

    psnr: float
    de00: float
    colourfulness: float
    colourfulness_truth: float


def score(output: NDArray[Any], truth: NDArray[Any]) -> Scores:
    """Compares one colorized photo with its truth; both (height, width, 3)."""
    de00 = float(ciede2000(rgb_to_lab(_unit(output)), rgb_to_lab(_unit(truth))).mean())
    return Scores(psnr(output, truth), de00, colourfulness(output), colourfulness(truth))


@dataclass(frozen=True, slots=True)
class Summary:
    """Means over photos. colourfulness_ratio is mean(output) / mean(truth)."""

    photos: int
    psnr: float
    de00: float
    colourfulness: float
    colourfulness_truth: float
    colourfulness_ratio: float


def summarize(scores: list[Scores]) -> Summary:
    """Averages per-photo figures; a photo reproduced without any error counts as 100 dB."""
    output = float(np.mean([s.colourfulness for s in scores]))
    truth = float(np.mean([s.colourfulness_truth for s in scores]))
    return Summary(
        photos=len(scores),
        psnr=float(np.mean([min(s.psnr, 100.0) for s in scores])),
        de00=float(np.mean([s.de00 for s in scores])),
        colourfulness=output,
        colourfulness_truth=truth,
        colourfulness_ratio=output / truth if truth else 0.0,
    )
