"""Quality figures against published or hand-computed values."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from bwcolor.imaging.color import rgb_to_lab
from bwcolor.imaging.metrics import (
    HUES,
    SSIM_WINDOW,
    Floats,
    Scores,
    ab_histogram,
    blotches,
    calibrate,
    ciede2000,
    colourfulness,
    hue_shares,
    psnr,
    score,
    ssim,
    summarize,
)

properties = settings(max_examples=100, deadline=None)
components = st.floats(-128, 128)
labs = arrays(np.float64, (8, 3), elements=components)
grays = arrays(np.uint8, (4, 4, 1))

# Sharma, Wu, Dalal 2005, table 1: L1, a1, b1, L2, a2, b2, dE00. All 34 pairs.
SHARMA = np.array(
    [
        (50.0, 2.6772, -79.7751, 50.0, 0.0, -82.7485, 2.0425),
        (50.0, 3.1571, -77.2803, 50.0, 0.0, -82.7485, 2.8615),
        (50.0, 2.8361, -74.0200, 50.0, 0.0, -82.7485, 3.4412),
        (50.0, -1.3802, -84.2814, 50.0, 0.0, -82.7485, 1.0000),
        (50.0, -1.1848, -84.8006, 50.0, 0.0, -82.7485, 1.0000),
        (50.0, -0.9009, -85.5211, 50.0, 0.0, -82.7485, 1.0000),
        (50.0, 0.0, 0.0, 50.0, -1.0, 2.0, 2.3669),
        (50.0, -1.0, 2.0, 50.0, 0.0, 0.0, 2.3669),
        (50.0, 2.4900, -0.0010, 50.0, -2.4900, 0.0009, 7.1792),
        (50.0, 2.4900, -0.0010, 50.0, -2.4900, 0.0010, 7.1792),
        (50.0, 2.4900, -0.0010, 50.0, -2.4900, 0.0011, 7.2195),
        (50.0, 2.4900, -0.0010, 50.0, -2.4900, 0.0012, 7.2195),
        (50.0, -0.0010, 2.4900, 50.0, 0.0009, -2.4900, 4.8045),
        (50.0, -0.0010, 2.4900, 50.0, 0.0010, -2.4900, 4.8045),
        (50.0, -0.0010, 2.4900, 50.0, 0.0011, -2.4900, 4.7461),
        (50.0, 2.5, 0.0, 50.0, 0.0, -2.5, 4.3065),
        (50.0, 2.5, 0.0, 73.0, 25.0, -18.0, 27.1492),
        (50.0, 2.5, 0.0, 61.0, -5.0, 29.0, 22.8977),
        (50.0, 2.5, 0.0, 56.0, -27.0, -3.0, 31.9030),
        (50.0, 2.5, 0.0, 58.0, 24.0, 15.0, 19.4535),
        (50.0, 2.5, 0.0, 50.0, 3.1736, 0.5854, 1.0000),
        (50.0, 2.5, 0.0, 50.0, 3.2972, 0.0, 1.0000),
        (50.0, 2.5, 0.0, 50.0, 1.8634, 0.5757, 1.0000),
        (50.0, 2.5, 0.0, 50.0, 3.2592, 0.3350, 1.0000),
        (60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644),
        (63.0109, -31.0961, -5.8663, 62.8187, -29.7946, -4.0864, 1.2630),
        (61.2901, 3.7196, -5.3901, 61.4292, 2.2480, -4.9620, 1.8731),
        (35.0831, -44.1164, 3.7933, 35.0232, -40.0716, 1.5901, 1.8645),
        (22.7233, 20.0904, -46.6940, 23.0331, 14.9730, -42.5619, 2.0373),
        (36.4612, 47.8580, 18.3852, 36.2715, 50.5065, 21.2231, 1.4146),
        (90.8027, -2.0831, 1.4410, 91.1528, -1.6435, 0.0447, 1.4441),
        (90.9257, -0.5406, -0.9208, 88.6381, -0.8985, -0.7239, 1.5381),
        (6.7747, -0.2908, -2.4247, 5.8714, -0.0985, -2.2286, 0.6377),
        (2.0776, 0.0795, -1.1350, 0.9033, -0.0636, -0.5514, 0.9082),
    ]
)


def photo(*colours: tuple[float, float, float]) -> NDArray[np.uint8]:
    """One row of 8-bit pixels."""
    return np.array([colours], np.uint8)


def lch(lightness: float, chroma: float, degrees: float) -> Floats:
    """L*a*b* of a colour given by lightness, chroma and hue."""
    hue = math.radians(degrees)
    return np.array([lightness, chroma * math.cos(hue), chroma * math.sin(hue)])


def test_ciede2000_of_published_pairs() -> None:
    assert_allclose(ciede2000(SHARMA[:, :3], SHARMA[:, 3:6]), SHARMA[:, 6], rtol=0, atol=6e-5)


@pytest.mark.parametrize(("hue1", "hue2"), [(0, 10), (0, -10), (340, 180)])
def test_ciede2000_does_not_jump_where_a_hue_wraps(hue1: float, hue2: float) -> None:
    """The mean of hues 359.999 and 9.999 is 4.999, not 184.999; the step from 340 to 180 is -160, not 200."""
    before, after = (ciede2000(lch(50, 40, hue1 + turn), lch(50, 80, hue2 + turn)) for turn in (-1e-3, 1e-3))
    assert_allclose(before, after, atol=0.01)


@properties
@given(labs, labs)
def test_ciede2000_is_symmetric(lab1: Floats, lab2: Floats) -> None:
    assert_allclose(ciede2000(lab1, lab2), ciede2000(lab2, lab1), rtol=1e-9, atol=1e-9)


@properties
@given(labs)
def test_ciede2000_of_equal_colours_is_zero(lab: Floats) -> None:
    assert np.array_equal(ciede2000(lab, lab), np.zeros(len(lab)))


def test_psnr_of_one_count_everywhere() -> None:
    black = np.zeros((4, 5, 3), np.uint8)
    assert psnr(black + np.uint8(1), black) == pytest.approx(20 * math.log10(255))


def test_psnr_averages_over_channels() -> None:
    """0.1 off in one channel of three."""
    assert psnr(np.full((2, 2, 3), (0.6, 0.5, 0.5)), np.full((2, 2, 3), 0.5)) == pytest.approx(24.771213)


def test_psnr_of_black_against_white_is_zero() -> None:
    """Fails if 8-bit differences wrap: 0 - 255 would be 1."""
    assert psnr(photo((0, 0, 0)), photo((255, 255, 255))) == pytest.approx(0, abs=1e-12)


def test_psnr_of_equal_photos_is_infinite() -> None:
    assert psnr(photo((1, 2, 3)), photo((1, 2, 3))) == math.inf


@properties
@given(grays)
def test_gray_has_no_colourfulness(gray: NDArray[np.uint8]) -> None:
    assert colourfulness(np.repeat(gray, 3, -1)) == 0


def test_colourfulness_by_hand() -> None:
    """R - G is 90 and 30, (R + G) / 2 - B is 120 and 40: deviations 30 and 40, means 60 and 80.

    Fails for BGR input (75), for the sample deviation and for weights on the wrong terms.
    """
    two = photo((190, 100, 25), (130, 100, 75))
    assert colourfulness(two) == pytest.approx(50 + 0.3 * 100)
    assert colourfulness(two / 255) == pytest.approx(80)


def test_score_tells_output_from_truth() -> None:
    output, truth = photo((255, 0, 0)), photo((128, 128, 128))
    result = score(output, truth)
    assert result.psnr == pytest.approx(psnr(output, truth))
    assert result.colourfulness == pytest.approx(0.3 * math.hypot(255, 127.5))
    assert result.colourfulness_truth == 0


def test_score_takes_bytes_and_floats_alike() -> None:
    output, truth = photo((190, 100, 25), (10, 20, 30)), photo((130, 100, 75), (9, 90, 200))
    assert score(output, truth) == score(output / 255, truth / 255)


def test_score_averages_ciede2000_over_pixels() -> None:
    """Black against white is 100 by CIEDE2000; the other pixel is right."""
    output, truth = photo((0, 0, 0), (9, 99, 199)), photo((255, 255, 255), (9, 99, 199))
    assert score(output, truth).de00 == pytest.approx(50)


def test_summary_averages_photos() -> None:
    """The ratio is 35 / 30, not the mean 1.0 of the ratios; a perfect photo counts as 100 dB."""
    summary = summarize([
        Scores(math.inf, 0, 1.0, 10, 20, blotches=1, blotches_truth=3), Scores(20, 8, 0.5, 60, 40, 2, 5)
    ])  # fmt: skip
    assert summary.photos == 2
    assert summary.psnr == 60
    assert summary.de00 == 4
    assert summary.colourfulness == 35
    assert summary.colourfulness_truth == 30
    assert summary.colourfulness_ratio == pytest.approx(35 / 30)
    assert summary.difference_of_means == 5
    assert summary.mean_difference == 15
    assert (summary.ssim, summary.blotches, summary.blotches_truth) == (0.75, 1.5, 4)
    assert (summary.de00_median, summary.de00_worst) == (4, 8)


def test_the_worst_tenth_of_photos_is_averaged() -> None:
    scores = [Scores(30, de00, 1, 1, 1, 0, 0) for de00 in range(20)]
    summary = summarize(scores)
    assert summary.de00_worst == pytest.approx((18 + 19) / 2)
    assert summary.de00_median == pytest.approx(9.5)


def test_summary_of_gray_truth_has_ratio_zero() -> None:
    assert summarize([Scores(30, 5, 1, 12, 0, 0, 0)]).colourfulness_ratio == 0


def ssim_at(x: Floats, y: Floats, row: int, column: int) -> float:
    """The definition of Wang et al. 2004, at the window whose upper left corner is given; one channel."""
    offsets = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    weights = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    weights /= weights.sum()
    a, b = (p[row : row + SSIM_WINDOW, column : column + SSIM_WINDOW] for p in (x, y))
    mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
    variance_a, variance_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
    covariance = (weights * (a - mean_a) * (b - mean_b)).sum()
    c1, c2 = 0.01**2, 0.03**2
    return float(
        (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
        / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))
    )  # fmt: skip


def test_ssim_is_the_mean_over_windows_and_channels() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.random((13, 14, 3)), rng.random((13, 14, 3))
    expected = np.mean([ssim_at(x[..., c], y[..., c], r, k) for c in range(3) for r in range(3) for k in range(4)])
    assert ssim(x, y) == pytest.approx(expected, abs=1e-12)
    assert ssim(x, x) == pytest.approx(1)
    assert ssim(x, y) == pytest.approx(ssim(y, x))
    noisy = np.clip(x + 0.05 * rng.standard_normal(x.shape), 0, 1)
    assert ssim(x, y) < ssim(x, noisy) < 1


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 9, 3), (4, 50, 3), (11, 11, 3)])
def test_ssim_of_small_photos(shape: tuple[int, ...]) -> None:
    black, white = np.zeros(shape), np.ones(shape)
    assert ssim(white, white) == pytest.approx(1)
    assert ssim(black, white) == pytest.approx(0.01**2 / (1 + 0.01**2)), "only the constants are left"


def test_blotches_are_jumps_of_colour_that_nothing_in_the_photo_explains() -> None:
    lab = np.zeros((40, 40, 3))
    lab[..., 0] = 50
    assert blotches(lab) == 0
    lab[:, 20:, 1] = 12  # an edge in a* and b* alone: 5, 12 and 13 are a triangle
    lab[:, 20:, 2] = 5
    assert blotches(lab) == pytest.approx(13)
    lab[:, 20:, 0] = 52  # now the photo has that edge too
    assert blotches(lab) == 0
    assert blotches(np.zeros((1, 1, 3))) == 0


@pytest.mark.parametrize(
    ("rgb", "hue"),
    [
        ((128, 128, 128), "neutral"), ((255, 0, 0), "red"), ((200, 120, 40), "orange"), ((240, 230, 30), "yellow"),
        ((30, 160, 40), "green"), ((0, 200, 200), "cyan"), ((90, 150, 220), "blue"), ((130, 30, 190), "purple"),
        ((240, 60, 150), "pink"), ((224, 172, 145), "orange"),
    ],
)  # fmt: skip
def test_hues_have_the_names_that_people_give_them(rgb: tuple[int, int, int], hue: str) -> None:
    shares = dict(zip(HUES, hue_shares(rgb_to_lab(np.full((3, 5, 3), rgb) / 255)), strict=True))
    assert shares == {name: float(name == hue) for name in HUES}


def test_histogram_of_colours() -> None:
    lab = np.array([[(50, 0, 0), (20, 9.9, 0), (20, -0.1, 25), (90, 500, -500)]], float)
    histogram = ab_histogram(lab)
    assert histogram.sum() == pytest.approx(1)
    assert histogram[11, 11] == 0.5
    assert histogram[10, 13] == 0.25
    assert histogram[21, 0] == 0.25, "the last squares take what lies beyond"


def test_calibration_of_doubts() -> None:
    doubts = list(range(20))
    assert calibrate(doubts[:9], doubts[:9]) is None, "too few photos"
    same = calibrate(doubts, [2 * doubt for doubt in doubts])
    assert same is not None
    assert same.correlation == pytest.approx(1)
    assert same.doubts == (1.5, 5.5, 9.5, 13.5, 17.5)
    assert same.errors == (3, 11, 19, 27, 35)
    opposite = calibrate(doubts, [np.exp(-doubt) for doubt in doubts])
    assert opposite is not None
    assert opposite.correlation == pytest.approx(-1), "ranks only"
    constant = calibrate([1] * 20, doubts)
    assert constant is not None
    assert np.isnan(constant.correlation)


def test_rank_correlation_with_ties_is_that_of_the_book() -> None:
    """Computed by hand: ranks 0, 1.5, 1.5, 3 twice over and mirrored."""
    doubts, errors = [1, 2, 2, 9, 1, 2, 2, 9, 1, 2, 2, 9], [1, 3, 3, 4, 1, 3, 3, 4, 4, 3, 3, 1]
    found = calibrate(doubts, errors)
    assert found is not None
    ranks = ([1, 5.5, 5.5, 10], [1.0, 5.5, 5.5, 10])
    first = np.array(ranks[0] * 3)
    second = np.array(ranks[1] * 2 + ranks[1][::-1])
    assert found.correlation == pytest.approx(np.corrcoef(first, second)[0, 1])
