"""Quality figures against published or hand-computed values."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from bwcolor.metrics import Floats, Scores, ciede2000, colourfulness, psnr, score, summarize

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
    summary = summarize([Scores(math.inf, 0, 10, 20), Scores(20, 8, 60, 40)])
    assert summary.photos == 2
    assert summary.psnr == 60
    assert summary.de00 == 4
    assert summary.colourfulness == 35
    assert summary.colourfulness_truth == 30
    assert summary.colourfulness_ratio == pytest.approx(35 / 30)


def test_summary_of_gray_truth_has_ratio_zero() -> None:
    assert summarize([Scores(30, 5, 12, 0)]).colourfulness_ratio == 0
