"""Enough contrast for the network's copy of a photo: faded and dark scans look to it like the photos it learned from.

The photo's own brightness is never touched. The network sees base + contrast x luma, and the chroma that comes back is
divided by that contrast, so that a faded scan gets the colors of a faded color photo.

Measured on 2026-11-28 with default-int8, 86 photos kept out of training (modern, and color film of 1905 to 1975),
damaged, one look, cosine between the chroma found and the true one: faded (110 + 0.45 v) 0.413 as it is, 0.518
stretched; very faded (170 + 0.25 v) 0.287 and 0.501; dark (0.3 v) 0.365 and 0.509; 60 + 0.65 v 0.468 and 0.483.
"""

from dataclasses import dataclass

import numpy as np

from bwcolor.imaging.color import Array

PERCENTILES = (0.5, 99.5)  # of the photo's pixels: their tones are its black and white, whatever specks there are
# Of 0..1, luma: the tones that black and white get at least; what reaches further is left as it is. Wider ones, up to
# 0 and 1, do not help damaged photos more, and take colors from good ones that have few tones by nature: of 140 in
# fog, at night or in high key the cosine falls from 0.437 to 0.42, with 0.1 and 0.9 to 0.394.
BLACK, WHITE = 0.15, 0.7
NARROWEST = 0.05  # of 0..1: a narrower range is stretched no more than this one; 0.1 loses with 13 levels of 255
INSIDE = 0.5  # of border_weight, from which a pixel belongs to the photo


@dataclass(frozen=True, slots=True)
class Stretch:
    """A straight line through tones of 0..1: base + contrast x luma. contrast: 1 or more."""

    contrast: float
    base: float

    def tones(self, luma: Array) -> Array:
        """Makes the network's copy of luma, any shape, float32 in 0..1 -> the same; what lies beyond is cut off."""
        if self == AS_IS:
            return luma
        stretched = np.float32(self.contrast) * luma + np.float32(self.base)
        return np.clip(stretched, 0, 1, out=stretched)

    def chroma(self, seen: Array) -> Array:
        """Weakens the chroma (..., 2) of the network's copy to what fits the photo's own contrast."""
        return np.asarray(seen / np.float32(self.contrast), np.float32)


AS_IS = Stretch(1.0, 0.0)


def full_tones(luma: Array, weight: Array) -> Stretch:
    """Finds the stretch that gives a photo enough contrast.

    luma: (h, w), float32 in 0..1, the whole photo at the network's scale. weight: (h, w), 0..1, see
    borders.border_weight; margins are left out. A pure function that changes little where luma changes little, but
    for margins, which are found or not. A range below NARROWEST stays as light or dark among all tones as it was.
    """
    inside = luma[weight > INSIDE]
    low, high = (float(tone) for tone in np.percentile(inside if inside.size else luma, PERCENTILES))
    black, white = min(BLACK, low), max(WHITE, high)
    full, span = white - black, high - low
    contrast = full / max(span, NARROWEST)
    left = full - contrast * span  # not filled; shared out below and above as it was
    return Stretch(contrast, black + left * (low - black) / max(full - span, 1e-6) - contrast * low)
