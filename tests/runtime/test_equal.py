"""Colorized photos at equal colorfulness: the factor is found, luma stays, and harm is counted."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from bwcolor.color import luma
from bwcolor.equal import (
    FACTORS,
    HARM,
    EqualScores,
    colorfulness_by_factor,
    factor_for,
    score_at,
    summarize_equal,
    with_chroma_times,
)
from bwcolor.metrics import colourfulness, psnr

Picture = NDArray[np.uint8]


def photo(seed: int, deviation: float, side: int = 64) -> Picture:
    rng = np.random.default_rng(seed)
    colors = rng.normal((140, 120, 110), deviation, (side, side, 3))
    return np.asarray(np.clip(colors, 0, 255), np.uint8)


def test_chroma_is_multiplied_and_luma_kept() -> None:
    before = photo(0, 15)
    for factor in (0.0, 0.5, 1.0, 1.7):
        after = with_chroma_times(before, factor)
        assert_allclose(luma(after.astype(np.float32)), luma(before.astype(np.float32)), atol=1.01)
        assert colourfulness(after) == pytest.approx(factor * colourfulness(before), rel=0.03, abs=0.8)
    assert_array_equal(with_chroma_times(before, 1.0), before)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.9])
@pytest.mark.parametrize("deviation", [6.0, 20.0, 60.0])
def test_the_factor_gives_the_colorfulness_that_was_asked_for(share: float, deviation: float) -> None:
    outputs, truths = [photo(seed, deviation) for seed in range(4)], [photo(seed, 20) for seed in range(9, 13)]
    wanted = [colourfulness(truth) for truth in truths]
    factor = factor_for(share, [colorfulness_by_factor(output) for output in outputs], wanted)
    assert factor is not None
    scores = [score_at(factor, *pair, gray_de00=0.0) for pair in zip(outputs, truths, strict=True)]
    assert summarize_equal(share, factor, scores, wanted).reached == pytest.approx(share, abs=0.005)


def test_no_factor_helps_where_there_is_no_color() -> None:
    gray = np.full((32, 32, 3), 90, np.uint8)
    curve = colorfulness_by_factor(gray)
    assert len(curve) == len(FACTORS)
    assert factor_for(0.7, [curve], [30.0]) is None
    assert factor_for(0.7, [colorfulness_by_factor(photo(0, 1))], [90.0]) is None, "too weak"
    assert factor_for(0.7, [colorfulness_by_factor(photo(0, 20))], [0.0]) is None, "a truth without colors"


def test_colorfulness_of_a_large_photo_is_that_of_a_sample() -> None:
    large = np.repeat(np.repeat(photo(0, 25, 200), 4, 0), 4, 1)
    assert_allclose(colorfulness_by_factor(large)[4], colourfulness(large), rtol=0.02)
    assert len(colorfulness_by_factor(photo(0, 20, 3000)[:1])) == len(FACTORS), "of one row"


def test_harm_is_being_more_than_so_much_worse_than_gray() -> None:
    output, truth = photo(0, 30), photo(1, 5)
    de00 = score_at(1.0, output, truth, 0.0).de00
    assert score_at(1.0, output, truth, de00 - HARM - 0.01).harmed
    assert not score_at(1.0, output, truth, de00 - HARM + 0.01).harmed


def test_means_and_the_best_psnr() -> None:
    truth = photo(0, 20)
    perfect = score_at(1.0, truth, truth, 9.0)
    assert perfect.psnr == float("inf")
    scores = [perfect, EqualScores(20.0, 10.0, 30.0, harmed=True)]
    summary = summarize_equal(0.7, 1.0, scores, [40.0, 50.0])
    assert (summary.psnr, summary.harmed) == (60.0, 0.5)
    assert summary.de00 == pytest.approx((perfect.de00 + 10) / 2)
    assert summary.reached == pytest.approx((perfect.colorfulness + 30) / 90)
    assert psnr(truth, truth) == perfect.psnr
