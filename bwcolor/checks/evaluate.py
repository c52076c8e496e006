"""How good the colours are: colour photos made gray, colorized, compared with themselves."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bwcolor.batch.memory_budget import PixelBudget
from bwcolor.batch.thread_pool import in_threads
from bwcolor.checks.damage import damaged
from bwcolor.checks.equal_colorfulness import (
    SHARES,
    EqualScores,
    Factors,
    colorfulness_by_factor,
    factor_for,
    score_equal,
)
from bwcolor.errors import ModelError, PhotoError
from bwcolor.imaging.color import luma, rgb_to_lab
from bwcolor.imaging.gamut import compose_pixels
from bwcolor.imaging.metrics import Calibration, Floats, Scores, ab_histogram, calibrate, hue_shares, score_lab
from bwcolor.inference.predict import predict
from bwcolor.inference.session import Model
from bwcolor.options import ColorizeOptions
from bwcolor.photo.formats.header import read_header
from bwcolor.photo.scan import read_rgb

Picture = NDArray[np.uint8]
Paint = Callable[[float], Picture]  # a factor for chroma -> the colorized photo (H, W, 3)

DECODING = 30  # times less memory than measuring takes for each pixel
PIXELS_AT_ONCE = 6_000_000  # measured at once, over all photos in work: each takes about 350 bytes


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """One photo under one protocol, colorized by the model, and left gray.

    hues, histogram: what colours the output has, as metrics.hue_shares and ab_histogram say; the truth's after them.
    doubt: as of chroma.Prediction. curve: colorfulness of the output by factor of its chroma, see equal. equal: scores
    at each of equal.SHARES, None where no factor reaches it; empty until the second round.
    """

    path: Path
    model: Scores
    gray: Scores
    hues: Floats
    hues_truth: Floats
    histogram: Floats
    histogram_truth: Floats
    doubt: float | None
    curve: Floats
    equal: tuple[EqualScores | None, ...] = ()


Found = list[Evaluation] | PhotoError | ModelError


@dataclass(frozen=True, slots=True)
class Measure:
    """What is measured, and how. names: of PROTOCOLS. size: px, of those that have one. damage: of damage.DAMAGES, what
    is done to each photo first; None for nothing."""

    model: Model
    options: ColorizeOptions
    names: list[str]
    size: int
    damage: str | None = None


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


def evaluate_photos(paths: Sequence[Path], measure: Measure) -> Iterator[tuple[Path, Found]]:
    """Each photo with its evaluations, or with what went wrong, as it ends; see evaluate_photo."""
    return _each(paths, measure, lambda path: evaluate_photo(path, measure))


def evaluate_photo(path: Path, measure: Measure) -> list[Evaluation]:
    """Colorizes the BT.601 gray version of a color photo and scores both against the truth.

    The result has one evaluation for each protocol. Raises PhotoError for a photo that can't be read.
    """
    return [_evaluate(path, truth, measure) for truth in _truths(path, measure)]


def equal_factors(results: Sequence[Sequence[Evaluation]]) -> list[Factors]:
    """For each protocol the factors of chroma at which the outputs are as colorful as each of equal.SHARES asks.

    results: of the first round, for each photo one evaluation for each protocol.
    """
    columns = list(zip(*results, strict=True))
    return [
        tuple(
            factor_for(share, [one.curve for one in column], [one.model.colourfulness_truth for one in column])
            for share in SHARES
        )
        for column in columns
    ]


def evaluate_equal(
    found: dict[Path, list[Evaluation]], factors: Sequence[Factors], measure: Measure
) -> Iterator[tuple[Path, Found]]:
    """The second round: each photo with its evaluations, and their scores at equal colorfulness, as it ends.

    It colorizes all photos again, since outputs at full size are too large to be kept. factors: see equal_factors.
    """

    def again(path: Path) -> list[Evaluation]:
        truths, before = _truths(path, measure), found[path]
        return [_with_equal(*one, measure) for one in zip(truths, before, factors, strict=True)]

    return _each(list(found), measure, again)


def calibration(results: Sequence[Evaluation]) -> Calibration | None:
    """What doubt says about the errors (CIEDE2000) of these photos; None where too few have any."""
    known = [(one.doubt, one.model.de00) for one in results if one.doubt is not None]
    return calibrate([doubt for doubt, _ in known], [error for _, error in known])


def _each(
    paths: Sequence[Path], measure: Measure, evaluate: Callable[[Path], list[Evaluation]]
) -> Iterator[tuple[Path, Found]]:
    budget = PixelBudget(PIXELS_AT_ONCE)

    def work(path: Path) -> tuple[Path, Found]:
        try:
            pixels = read_header(path).pixels
            with budget.hold(pixels if "native" in measure.names else pixels // DECODING):
                return path, evaluate(path)
        except MemoryError:
            return path, PhotoError("not enough memory")
        except (PhotoError, ModelError) as error:
            return path, error

    return in_threads(work, paths, measure.options.jobs, budget)


def _truths(path: Path, measure: Measure) -> list[Picture]:
    """The photo as each protocol wants it."""
    photo = read_rgb(path, measure.options.max_pixels)
    prepared = [PROTOCOLS[name].prepare(photo, measure.size) for name in measure.names]
    return prepared if measure.damage is None else [damaged(one, measure.damage) for one in prepared]


def _colorized(truth: Picture, measure: Measure) -> tuple[Picture, Paint, float | None]:
    """The gray version (H, W) of a photo (H, W, 3), what paints it, and how doubtful its colors are."""
    y = np.round(luma(truth.astype(np.float32))).astype(np.uint8)
    options = measure.options
    prediction = predict(y, 1, measure.model, options.detail, options.tones)

    def paint(factor: float) -> Picture:
        return np.asarray(compose_pixels(y, None, prediction.chroma * np.float32(options.strength * factor)), np.uint8)

    return y, paint, prediction.doubt


def _evaluate(path: Path, truth: Picture, measure: Measure) -> Evaluation:
    y, paint, doubt = _colorized(truth, measure)
    output = paint(1.0)
    gray = np.repeat(y[..., None], 3, -1)
    lab, lab_truth = rgb_to_lab(output / 255), rgb_to_lab(truth / 255)
    return Evaluation(
        path, score_lab(output, lab, truth, lab_truth), score_lab(gray, rgb_to_lab(gray / 255), truth, lab_truth),
        hue_shares(lab), hue_shares(lab_truth), ab_histogram(lab),
        ab_histogram(lab_truth), doubt, colorfulness_by_factor(paint),
    )  # fmt: skip


def _with_equal(truth: Picture, before: Evaluation, factors: Factors, measure: Measure) -> Evaluation:
    if all(factor is None for factor in factors):
        return replace(before, equal=(None,) * len(factors))
    _, paint, _ = _colorized(truth, measure)
    gray = before.gray.de00
    scores = (None if factor is None else score_equal(paint(factor), truth, gray) for factor in factors)
    return replace(before, equal=tuple(scores))
