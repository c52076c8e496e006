"""Colorized photos compared at equal colorfulness: a dull model gains PSNR and CIEDE2000, a vivid one loses both.

One factor for the chroma of all photos brings the mean colorfulness of the outputs to a share of the truth's, as
--saturation would; only then are the photos scored.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bwcolor.imaging.color import rgb_to_lab
from bwcolor.imaging.metrics import Floats, ciede2000, colourfulness, psnr

Picture = NDArray[np.uint8]

SHARES = (0.7, 0.9)  # of the truth's mean colorfulness
# At which colorfulness is known; straight lines lie between.
FACTORS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0)
SAMPLE = 65_536  # pixels at about which colorfulness is looked up for each factor; all of a square of 256 px
HARM = 3.0  # CIEDE2000: a photo that is worse than its gray version by more is harmed
MOST_PSNR = 100.0  # dB, of a photo reproduced without any error

Factors = tuple[float | None, ...]  # of chroma, for each of SHARES; None where no factor reaches it


@dataclass(frozen=True, slots=True)
class EqualScores:
    """Figures of one photo at a factor. psnr in dB; de00 is the mean CIEDE2000."""

    psnr: float
    de00: float
    colorfulness: float
    harmed: bool


@dataclass(frozen=True, slots=True)
class EqualSummary:
    """Means over photos. share: of the truth's colorfulness that was asked for. factor: for the chroma of all outputs.
    reached: the share that this factor gave. harmed: part of the photos."""

    share: float
    factor: float
    reached: float
    psnr: float
    de00: float
    harmed: float


def colorfulness_by_factor(paint: Callable[[float], Picture]) -> Floats:
    """Looks up how colorful a photo is with its chroma times each of FACTORS; paint: factor -> photo (H, W, 3)."""
    return np.array([colourfulness(_sample(paint(factor))) for factor in FACTORS])


def _sample(photo: Picture) -> Picture:
    height, width = photo.shape[:2]
    step = max(1, round((height * width / SAMPLE) ** 0.5))
    return photo[step // 2 :: step, step // 2 :: step] if step < min(height, width) else photo


def factor_for(share: float, curves: Sequence[Floats], truths: Sequence[float]) -> float | None:
    """The factor at which the mean colorfulness of outputs is `share` of the truths'; None where no factor gives it.

    curves: colorfulness_by_factor of each output. truths: colorfulness of each truth.
    """
    mean, wanted = np.mean(curves, 0), share * float(np.mean(truths))
    above = np.flatnonzero(mean >= wanted)
    if wanted <= 0 or not len(above) or above[0] == 0:
        return None
    last = int(above[0])
    return float(np.interp(wanted, mean[last - 1 : last + 1], FACTORS[last - 1 : last + 1]))


def score_equal(output: Picture, truth: Picture, gray_de00: float) -> EqualScores:
    """Scores a photo painted at the factor. gray_de00: mean CIEDE2000 of the photo left gray."""
    de00 = float(ciede2000(rgb_to_lab(output / 255), rgb_to_lab(truth / 255)).mean())
    return EqualScores(psnr(output, truth), de00, colourfulness(output), de00 > gray_de00 + HARM)


def summarize_equal(
    share: float, factor: float, scores: Sequence[EqualScores], truths: Sequence[float]
) -> EqualSummary:
    """Averages per-photo figures. truths: colorfulness of each truth."""
    return EqualSummary(
        share,
        factor,
        float(np.mean([one.colorfulness for one in scores]) / np.mean(truths)),
        float(np.mean([min(one.psnr, MOST_PSNR) for one in scores])),
        float(np.mean([one.de00 for one in scores])),
        float(np.mean([one.harmed for one in scores])),
    )
