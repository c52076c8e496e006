"""Where tiles lie and how they are blended: pure geometry."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Tile:
    """A square of the working image: its top-left corner, px. It may reach beyond a small image."""

    top: int
    left: int


def plan_tiles(height: int, width: int, size: int, overlap: int) -> list[Tile]:
    """Covers height x width px with squares of `size` px, evenly spread, neighbours overlapping.

    Neighbours share at least `overlap` px. Raises ValueError unless 0 <= overlap < size.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"overlap {overlap} must be in 0..{size - 1}")
    return [Tile(top, left) for top in _starts(height, size, overlap) for left in _starts(width, size, overlap)]


def _starts(length: int, size: int, overlap: int) -> list[int]:
    if length <= size:
        return [0]
    count = -(-(length - overlap) // (size - overlap))
    return [round(i * (length - size) / (count - 1)) for i in range(count)]


def feather(size: int, overlap: int) -> NDArray[np.float32]:
    """Blending weights of a tile, size x size, in 0..1: highest inside, falling over `overlap` px.

    Weights are never zero, so dividing by their sum is safe everywhere.
    """
    ramp = np.minimum(np.arange(size) + 0.5, size - np.arange(size) - 0.5) / max(overlap, 1)
    line = np.sin(np.minimum(ramp, 1) * np.pi / 2) ** 2
    return np.maximum(np.outer(line, line), 1e-6).astype(np.float32)
