"""How good the colours are: colour photos made gray, colorized, compared with themselves."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bwcolor.chroma import predict_chroma
from bwcolor.color import luma
from bwcolor.metrics import Scores, score
from bwcolor.options import ColorizeOptions
from bwcolor.output import compose_pixels
from bwcolor.photo import read_rgb
from bwcolor.session import Model


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores of one photo, colorized by the model, and left gray."""

    path: Path
    model: Scores
    gray: Scores


def evaluate_photo(path: Path, model: Model, options: ColorizeOptions, size: int) -> Evaluation:
    """Colorizes the BT.601 gray version of a colour photo and scores both against the truth.

    size: px; the photo is cropped to its centre square and area-resized to it first; 0 keeps the
    photo as it is. Raises PhotoError for a photo that can't be read.
    """
    truth = read_rgb(path, options.max_pixels)
    if size:
        truth = square(truth, size)
    y = np.round(luma(truth.astype(np.float32))).astype(np.uint8)
    chroma = predict_chroma(y, 1, model, options.detail) * options.strength
    output = compose_pixels(y, None, chroma)
    gray = np.repeat(y[..., None], 3, -1)
    return Evaluation(path, score(output, truth), score(gray, truth))


def square(rgb: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Centre crop to a square, then area resize to size x size; (H, W, 3) uint8."""
    height, width = rgb.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    piece = rgb[top : top + side, left : left + side]
    return cv2.resize(piece, (size, size), interpolation=cv2.INTER_AREA).astype(np.uint8)
