"""How good the colours are: colour photos made gray, colorized, compared with themselves."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bwcolor.budget import PixelBudget
from bwcolor.chroma import predict
from bwcolor.color import luma, rgb_to_lab
from bwcolor.errors import ModelError, PhotoError
from bwcolor.fitting import compose_pixels
from bwcolor.formats.header import read_header
from bwcolor.metrics import Calibration, Floats, Scores, ab_histogram, calibrate, hue_shares, score_lab
from bwcolor.options import ColorizeOptions
from bwcolor.photo import read_rgb
from bwcolor.pipeline import in_threads
from bwcolor.session import Model

Picture = NDArray[np.uint8]

DECODING = 30  # times less memory than measuring takes for each pixel
PIXELS_AT_ONCE = 6_000_000  # measured at once, over all photos in work: each takes about 350 bytes


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """One photo under one protocol, colorized by the model, and left gray.

    hues, histogram: what colours the output has, as metrics.hue_shares and ab_histogram say; the truth's after them.
    doubt: as of chroma.Prediction.
    """

    path: Path
    model: Scores
    gray: Scores
    hues: Floats
    hues_truth: Floats
    histogram: Floats
    histogram_truth: Floats
    doubt: float | None


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a photo is prepared. words: with {size}. prepare: RGB (H, W, 3) and size in px -> RGB."""

    words: str
    prepare: Callable[[Picture, int], Picture]


def square(rgb: Picture, size: int) -> Picture:
    """Centre crop to a square, then area resize to size x size; (H, W, 3) uint8."""
    height, width = rgb.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return squashed(rgb[top : top + side, left : left + side], size)


def squashed(rgb: Picture, size: int) -> Picture:
    """Area resize to size x size, whatever the aspect; (H, W, 3) uint8."""
    return cv2.resize(rgb, (size, size), interpolation=cv2.INTER_AREA).astype(np.uint8)


def untouched(rgb: Picture, size: int) -> Picture:
    """The photo itself; size does not matter."""
    return rgb


PROTOCOLS = {
    "crop": Protocol("centre crop to a square, area resize to {size} px", square),
    "resize": Protocol("area resize to {size} x {size} px, aspect not kept", squashed),
    "native": Protocol("whole photos at their own size", untouched),
}


def evaluate_photos(
    paths: list[Path], model: Model, options: ColorizeOptions, names: list[str], size: int
) -> Iterator[tuple[Path, list[Evaluation] | PhotoError | ModelError]]:
    """Each photo with its evaluations, or with what went wrong, as it ends; see evaluate_photo."""
    budget = PixelBudget(PIXELS_AT_ONCE)

    def work(path: Path) -> tuple[Path, list[Evaluation] | PhotoError | ModelError]:
        try:
            pixels = read_header(path).pixels
            with budget.hold(pixels if "native" in names else pixels // DECODING):
                return path, evaluate_photo(path, model, options, names, size)
        except MemoryError:
            return path, PhotoError("not enough memory")
        except (PhotoError, ModelError) as error:
            return path, error

    return in_threads(work, paths, options.jobs, budget)


def evaluate_photo(path: Path, model: Model, options: ColorizeOptions, names: list[str], size: int) -> list[Evaluation]:
    """Colorizes the BT.601 gray version of a colour photo and scores both against the truth.

    names: of PROTOCOLS; the result has one evaluation for each. size: px, of those that have one. Raises PhotoError
    for a photo that can't be read.
    """
    photo = read_rgb(path, options.max_pixels)
    return [_evaluate(path, PROTOCOLS[name].prepare(photo, size), model, options) for name in names]


def calibration(results: Sequence[Evaluation]) -> Calibration | None:
    """What doubt says about the errors (CIEDE2000) of these photos; None where too few have any."""
    known = [(one.doubt, one.model.de00) for one in results if one.doubt is not None]
    return calibrate([doubt for doubt, _ in known], [error for _, error in known])


def _evaluate(path: Path, truth: Picture, model: Model, options: ColorizeOptions) -> Evaluation:
    y = np.round(luma(truth.astype(np.float32))).astype(np.uint8)
    prediction = predict(y, 1, model, options.detail)
    output = compose_pixels(y, None, prediction.chroma * options.strength)
    gray = np.repeat(y[..., None], 3, -1)
    lab, lab_truth = rgb_to_lab(output / 255), rgb_to_lab(truth / 255)
    return Evaluation(
        path, score_lab(output, lab, truth, lab_truth), score_lab(gray, rgb_to_lab(gray / 255), truth, lab_truth),
        hue_shares(lab), hue_shares(lab_truth), ab_histogram(lab),
        ab_histogram(lab_truth), prediction.doubt,
    )  # fmt: skip
