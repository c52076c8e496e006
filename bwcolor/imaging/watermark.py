"""A mark that people see, for those who ask for it: words written in colour alone, so that brightness stays."""

import cv2
import numpy as np

from bwcolor.imaging.arrays import Pixels
from bwcolor.imaging.color import Array
from bwcolor.imaging.orientation import as_stored, upright

TEXT = "AI colour"
LONG_SIDE = 1024  # px, at least, of the chroma that letters are drawn into, unless the photo is smaller
HEIGHT = 0.04  # of the shorter side, of the letters
LETTERS, GROUND = (-0.25, 0.2), (0.25, -0.12)  # Cb, Cr: orange on blue
ENOUGH_ROOM = 0.12  # of 0..1, below or above the brightness: less, and colours are faint
STEPS = 9  # along each side, of the places that are tried where no corner has it
FONT, FONT_HEIGHT = cv2.FONT_HERSHEY_SIMPLEX, 22  # px of capitals at scale 1


def marked(chroma: Array, luma: Pixels, orientation: int) -> Array:
    """Chroma with TEXT in the corner whose brightness has most room for colour, or elsewhere where none has enough.

    chroma: (h, w, 2), Cb and Cr, and luma (height, width), both as stored. Returns chroma that is large enough for
    letters, at most the photo's size, as stored. A photo that is black and white all over has no place for a mark.
    """
    height, width = luma.shape
    scale = min(1.0, LONG_SIDE / max(height, width))
    rows, columns = max(chroma.shape[0], round(height * scale)), max(chroma.shape[1], round(width * scale))
    size = (min(columns, width), min(rows, height))
    large = upright(cv2.resize(chroma, size, interpolation=cv2.INTER_CUBIC), orientation)
    gray = upright(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), orientation)
    factor = max(0.3, HEIGHT * min(large.shape[:2]) / FONT_HEIGHT)
    thickness = max(1, round(1.5 * factor))
    (wide, tall), below = cv2.getTextSize(TEXT, FONT, factor, thickness)
    edge = tall // 2
    box = (tall + below + edge, wide + edge)
    top, left = _best_place(gray / np.float32(np.iinfo(luma.dtype).max), box, edge)
    place = large[top : top + box[0], left : left + box[1]]
    place[:] = GROUND
    letters = np.zeros(place.shape[:2], np.uint8)
    cv2.putText(letters, TEXT, (edge // 2, tall + edge // 2), FONT, factor, 255, thickness, cv2.LINE_AA)
    share = (letters / np.float32(255))[..., None]
    place[:] = place * (1 - share) + np.array(LETTERS, np.float32) * share
    return as_stored(np.asarray(large, np.float32), orientation)


def _best_place(gray: Array, box: tuple[int, int], edge: int) -> tuple[int, int]:
    """Top and left of the box: a corner, the lower ones first, or elsewhere where no corner has room for colour."""
    height, width = gray.shape
    low, right = max(0, height - box[0] - edge), max(0, width - box[1] - edge)
    corners = [(top, left) for top in (low, min(edge, height - 1)) for left in (right, edge)]
    steps = np.linspace(0, 1, STEPS)
    grid = [(round(low * down), round(right * across)) for down in steps for across in steps]

    def room(place: tuple[int, int]) -> float:
        y = gray[place[0] : place[0] + box[0], place[1] : place[1] + box[1]]
        return float(np.minimum(y, 1 - y).mean()) if y.size else 0.0

    best = max(corners, key=room)
    return best if room(best) >= ENOUGH_ROOM else max([best, *grid], key=room)
