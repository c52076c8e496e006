"""Colorized photos at equal colorfulness: the factor is found, luma stays, and harm is counted."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from bwcolor.checks.equal_colorfulness import (
    FACTORS,
    HARM,
    EqualScores,
    colorfulness_by_factor,
    factor_for,
    score_equal,
    summarize_equal,
)
from bwcolor.imaging.color import compose, luma, rgb_to_chroma
from bwcolor.imaging.metrics import colourfulness, psnr

Picture = NDArray[np.uint8]


def photo(seed: int, deviation: float, side: int = 64) -> Picture:
    rng = np.random.default_rng(seed)
    colors = rng.normal((140, 120, 110), deviation, (side, side, 3))
    return np.asarray(np.clip(colors, 0, 255), np.uint8)


def painter(colors: Picture) -> Callable[[float], Picture]:
    """Paints a photo with its own colors, times a factor."""
    unit = colors.astype(np.float32) / np.float32(255)
    y, chroma = luma(unit), rgb_to_chroma(unit)
    return lambda factor: np.asarray(np.round(255 * compose(y, np.float32(factor) * chroma)), np.uint8)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.9])
@pytest.mark.parametrize("deviation", [6.0, 20.0, 60.0])
def test_the_factor_gives_the_colorfulness_that_was_asked_for(share: float, deviation: float) -> None:
    paints, truths = [painter(photo(seed, deviation)) for seed in range(4)], [photo(seed, 20) for seed in range(9, 13)]
    wanted = [colourfulness(truth) for truth in truths]
    factor = factor_for(share, [colorfulness_by_factor(paint) for paint in paints], wanted)
    assert factor is not None
    scores = [score_equal(paint(factor), truth, 0.0) for paint, truth in zip(paints, truths, strict=True)]
    assert summarize_equal(share, factor, scores, wanted).reached == pytest.approx(share, abs=0.003)


def test_no_factor_helps_where_there_is_no_color() -> None:
    curve = colorfulness_by_factor(painter(np.full((32, 32, 3), 90, np.uint8)))
    assert len(curve) == len(FACTORS)
    assert factor_for(0.7, [curve], [30.0]) is None
    assert factor_for(0.7, [colorfulness_by_factor(painter(photo(0, 1)))], [90.0]) is None, "too weak"
    assert factor_for(0.7, [colorfulness_by_factor(painter(photo(0, 20)))], [0.0]) is None, "a truth without colors"


def test_colorfulness_of_a_large_photo_is_that_of_a_sample() -> None:
    large = np.repeat(np.repeat(photo(0, 25, 200), 4, 0), 4, 1)
    sizes = []

    def paint(factor: float) -> Picture:
        sizes.append(factor)
        return large

    assert_allclose(colorfulness_by_factor(paint), colourfulness(large), rtol=0.02)
    assert sizes == list(FACTORS)
    assert len(colorfulness_by_factor(lambda _: photo(0, 20, 3000)[:1])) == len(FACTORS), "of one row"


def test_harm_is_being_more_than_so_much_worse_than_gray() -> None:
    output, truth = photo(0, 30), photo(1, 5)
    de00 = score_equal(output, truth, 0.0).de00
    assert score_equal(output, truth, de00 - HARM - 0.01).harmed
    assert not score_equal(output, truth, de00 - HARM + 0.01).harmed


def test_means_and_the_best_psnr() -> None:
    truth = photo(0, 20)
    perfect = score_equal(truth, truth, 9.0)
    assert perfect.psnr == float("inf")
    scores = [perfect, EqualScores(20.0, 10.0, 30.0, harmed=True)]
    summary = summarize_equal(0.7, 1.0, scores, [40.0, 50.0])
    assert (summary.psnr, summary.harmed) == (60.0, 0.5)
    assert summary.de00 == pytest.approx((perfect.de00 + 10) / 2)
    assert summary.reached == pytest.approx((perfect.colorfulness + 30) / 90)
    assert psnr(truth, truth) == perfect.psnr
