"""What faded, dark and clipped scans look like, made from good photos the same way each time, to measure on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bwcolor.imaging.color import Array

Picture = NDArray[np.uint8]

# Levels of 255. A quarter of 97 scans of old photos have a range as narrow as "faded" or "dark", or narrower.
FADED, VERY_FADED, DARK = (110.0, 0.45), (170.0, 0.25), (0.0, 0.3)  # what is added, and what is left of the contrast
CLIPPED = (64.0, 2.0)  # mid-gray keeps its level, the darkest and the lightest quarter of all levels are lost
VEIL, VEIL_SHARE = 235.0, (0.8, 0.1)  # tone of fog, and its share at the top and at the bottom of a photo


@dataclass(frozen=True, slots=True)
class Damage:
    """A kind of damage. words: what happens to a level v of 255. apply: RGB (H, W, 3) as floats 0..255 -> the same.

    All channels are treated alike, so that what is damaged still has a true color: gray made of it is the damaged gray.
    """

    words: str
    apply: Callable[[Array], Array]


def damaged(rgb: Picture, name: str) -> Picture:
    """Damages a photo (H, W, 3); name: of DAMAGES."""
    return np.asarray(np.clip(np.round(DAMAGES[name].apply(rgb.astype(np.float32))), 0, 255), np.uint8)


def _line(base: float, contrast: float) -> Damage:
    return Damage(f"{base:g} + {contrast:g} v", lambda rgb: np.float32(base) + np.float32(contrast) * rgb)


def _clip(rgb: Array) -> Array:
    base, contrast = CLIPPED
    return np.asarray((rgb - np.float32(base)) * np.float32(contrast), np.float32)


def _veil(rgb: Array) -> Array:
    """Mixes in fog, which is thick far away, at the top, and thin in front."""
    share = np.linspace(*VEIL_SHARE, len(rgb), dtype=np.float32)[:, None, None]
    return np.asarray(rgb + share * (np.float32(VEIL) - rgb), np.float32)


DAMAGES = {
    "faded": _line(*FADED),
    "very-faded": _line(*VERY_FADED),
    "dark": _line(*DARK),
    "clipped": Damage("{1:g} (v - {0:g})".format(*CLIPPED), _clip),
    "fog": Damage("{1:.0%} to {2:.0%} of {0:g}".format(VEIL, *VEIL_SHARE), _veil),
}
