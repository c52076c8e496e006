"""How close a colorized photo is to the truth, how colourful and how even it is: no torch, no onnxruntime.

All photos are uint8 or float arrays (height, width, 3), sRGB; uint8 counts 0..255, float 0..1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bwcolor.imaging.color import rgb_to_lab

Floats = NDArray[np.float64]

SSIM_WINDOW, SSIM_DEVIATION = 11, 1.5  # px
SMOOTH = 1.0  # L* between neighbours, below which nothing in the photo explains another colour
NEUTRAL = 8.0  # chroma in a*b* below which a colour has no hue
# Names for the others, and the angle in the a*b* plane, in degrees, from which on they have it.
ANGLES = {
    "red": 0.0, "orange": 45.0, "yellow": 80.0, "green": 110.0, "cyan": 180.0, "blue": 220.0,
    "purple": 300.0, "pink": 340.0,
}  # fmt: skip
HUES = ("neutral", *ANGLES)
CALIBRATED_FROM = 10  # photos; a fifth of fewer says nothing


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


def ssim(output: NDArray[Any], truth: NDArray[Any]) -> float:
    """Structural similarity, mean over pixels and the three channels; at most 1, for equal photos.

    Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity": Gaussian window
    of 11 x 11 px with a deviation of 1.5, K1 = 0.01, K2 = 0.03, where the window lies inside the photo. Sides
    below 11 px get the largest odd window that fits.
    """
    x, y = _unit(output), _unit(truth)
    window = min(SSIM_WINDOW, *((side - 1) // 2 * 2 + 1 for side in x.shape[:2]))
    mean_x, mean_y = _smoothed(x, window), _smoothed(y, window)
    variance_x, variance_y = _smoothed(x * x, window) - mean_x**2, _smoothed(y * y, window) - mean_y**2
    covariance = _smoothed(x * y, window) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float(np.mean(similarity / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))))


def _smoothed(values: Floats, window: int) -> Floats:
    """Gaussian mean over a square window, only where it lies inside: (H, W, C) -> (H - window + 1, ...)."""
    rows, columns = values.shape[:2]
    half = window // 2
    blurred = cv2.GaussianBlur(values, (window, window), SSIM_DEVIATION)
    return np.asarray(blurred, np.float64)[half : rows - half, half : columns - half]


def blotches(lab: Floats) -> float:
    """99.9th percentile of the jumps of a*b* between neighbours where lightness is smooth, a*b* units.

    lab: (H, W, 3). Smooth: L* differs by less than 1. 0 where nothing is smooth. Colour that leaves its object, or
    changes where nothing in the photo does, makes it rise above the truth's.
    """
    jumps = []
    for axis in (0, 1):
        step = np.diff(lab, axis=axis)
        smooth = np.abs(step[..., 0]) < SMOOTH
        jumps.append(np.hypot(step[..., 1], step[..., 2])[smooth])
    found = np.concatenate(jumps)
    return float(np.percentile(found, 99.9)) if found.size else 0.0


def hue_shares(lab: Floats) -> Floats:
    """The part of all pixels that each of HUES has: (len(HUES),), sum 1."""
    a, b = lab[..., 1], lab[..., 2]
    angle = np.degrees(np.arctan2(b, a)) % 360
    hue = np.searchsorted(list(ANGLES.values()), angle, side="right")
    kinds = np.where(np.hypot(a, b) < NEUTRAL, 0, hue)
    return np.bincount(kinds.ravel(), minlength=len(HUES)) / kinds.size


def ab_histogram(lab: Floats) -> Floats:
    """The part of all pixels in each square of 10 a*b* units: (22, 22), a* by rows, -110..110; sum 1."""
    cells = np.clip((lab[..., 1:] + 110) // 10, 0, 21).astype(np.int64)
    counts = np.bincount((22 * cells[..., 0] + cells[..., 1]).ravel(), minlength=22 * 22)
    return np.asarray(counts.reshape(22, 22) / cells[..., 0].size, np.float64)


@dataclass(frozen=True, slots=True)
class Scores:
    """Figures of one photo. psnr in dB; de00 is the mean CIEDE2000; colourfulness and blotches of both sides."""

    psnr: float
    de00: float
    ssim: float
    colourfulness: float
    colourfulness_truth: float
    blotches: float
    blotches_truth: float


def score(output: NDArray[Any], truth: NDArray[Any]) -> Scores:
    """Compares one colorized photo with its truth; both (height, width, 3)."""
    return score_lab(output, rgb_to_lab(_unit(output)), truth, rgb_to_lab(_unit(truth)))


def score_lab(output: NDArray[Any], lab: Floats, truth: NDArray[Any], lab_truth: Floats) -> Scores:
    """As score, where L*a*b* of both is known already."""
    return Scores(
        psnr(output, truth), float(ciede2000(lab, lab_truth).mean()), ssim(output, truth), colourfulness(output),
        colourfulness(truth), blotches(lab), blotches(lab_truth),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Summary:
    """Means over photos.

    de00_median, de00_worst: over photos, and mean of the worst tenth of them. colourfulness_ratio is mean(output) /
    mean(truth). Both differences in colourfulness that are published: difference_of_means, |mean(output) -
    mean(truth)|, and mean_difference, mean(|output - truth|).
    """

    photos: int
    psnr: float
    de00: float
    de00_median: float
    de00_worst: float
    ssim: float
    colourfulness: float
    colourfulness_truth: float
    colourfulness_ratio: float
    difference_of_means: float
    mean_difference: float
    blotches: float
    blotches_truth: float


def summarize(scores: list[Scores]) -> Summary:
    """Averages per-photo figures; a photo reproduced without any error counts as 100 dB."""
    of = {name: np.array([getattr(one, name) for one in scores]) for name in Scores.__slots__}
    output, truth = float(of["colourfulness"].mean()), float(of["colourfulness_truth"].mean())
    worst = np.sort(of["de00"])[-max(1, round(len(scores) / 10)) :]
    return Summary(
        photos=len(scores),
        psnr=float(np.minimum(of["psnr"], 100).mean()),
        de00=float(of["de00"].mean()),
        de00_median=float(np.median(of["de00"])),
        de00_worst=float(worst.mean()),
        ssim=float(of["ssim"].mean()),
        colourfulness=output,
        colourfulness_truth=truth,
        colourfulness_ratio=output / truth if truth else 0.0,
        difference_of_means=abs(output - truth),
        mean_difference=float(np.abs(of["colourfulness"] - of["colourfulness_truth"]).mean()),
        blotches=float(of["blotches"].mean()),
        blotches_truth=float(of["blotches_truth"].mean()),
    )


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a doubt says about errors. correlation: of their ranks (Spearman 1904), -1..1; NaN where all doubts, or all
    errors, are the same. doubts, errors: means over each fifth of the photos, the least doubtful first."""

    correlation: float
    doubts: tuple[float, ...]
    errors: tuple[float, ...]


def calibrate(doubts: Sequence[float], errors: Sequence[float]) -> Calibration | None:
    """Of each photo's doubt and mean error; None for fewer than CALIBRATED_FROM photos."""
    if len(doubts) < CALIBRATED_FROM:
        return None
    doubt, error = np.array(doubts), np.array(errors)
    ranks = np.stack([_ranks(doubt), _ranks(error)])
    spread = ranks.std(1).prod()
    covariance = float(((ranks[0] - ranks[0].mean()) * (ranks[1] - ranks[1].mean())).mean())
    fifths = np.array_split(np.argsort(doubt, kind="stable"), 5)
    return Calibration(
        covariance / float(spread) if spread else math.nan,
        tuple(float(doubt[fifth].mean()) for fifth in fifths),
        tuple(float(error[fifth].mean()) for fifth in fifths),
    )


def _ranks(values: Floats) -> Floats:
    """From 0 on; equal values share the mean of their ranks."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts + 1) / 2)[group], np.float64)
