"""What the further pages of a scan are: scanners put masks, previews and infrared planes behind the photo."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bwcolor.imaging.borders import border_weight
from bwcolor.imaging.color import unit
from bwcolor.imaging.resizing import reduced_to, scaled_size
from bwcolor.photo.formats.tifftags import MASK, REDUCED

# blank: of one tone, such as the infrared plane of a color film, which shows dust and scratches alone.
Role = Literal["picture", "preview", "mask", "blank"]

SEEN_SIDE = 256  # px, mean side at which a page is looked at: grain and dust are averaged
SHARE = (0.02, 0.98)  # of the pixels inside plain margins, between which
ONE_TONE = 0.1  # of 0..1, at most lies: dust and shading. 97 old scans span 0.44 and more; faded to a quarter, 0.11


def role_of(kind: int, luma: NDArray[np.unsignedinteger[Any]]) -> Role:
    """What a page behind the first is. kind: its NewSubfileType. luma: (h, w), uint8 or uint16, full range."""
    if kind & MASK:
        return "mask"
    if _is_blank(luma):
        return "blank"
    return "preview" if kind & REDUCED else "picture"


def _is_blank(luma: NDArray[np.unsignedinteger[Any]]) -> bool:
    small = unit(reduced_to(luma, *scaled_size(luma.shape[0], luma.shape[1], SEEN_SIDE)))
    inside = small[border_weight(small) == 1]
    low, high = np.quantile(inside if inside.size else small, SHARE)
    return bool(high - low < ONE_TONE)
