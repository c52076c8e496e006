"""Colour maths against published values, against PIL and OpenCV, and by property."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from PIL import Image

from bwcolor.imaging.color import Array, chroma_limit, compose, luma, rgb_to_chroma, rgb_to_lab, srgb_to_linear

N = 8  # pixels per example
properties = settings(max_examples=100, deadline=None)
units = arrays(np.float32, N, elements=st.floats(0, 1, width=32))
inner_units = arrays(np.float32, N, elements=st.floats(1 / 64, 63 / 64, width=32))
chromas = arrays(np.float32, (N, 2), elements=st.floats(-0.5, 0.5, width=32))
photos = arrays(np.float32, (2, N, 3), elements=st.floats(0, 1, width=32))

RED, GREEN, BLUE = (1, 0, 0), (0, 1, 0), (0, 0, 1)
CYAN, MAGENTA, YELLOW = (0, 1, 1), (1, 0, 1), (1, 1, 0)
WHITE = (1, 1, 1)


def f32(values: object) -> Array:
    return np.asarray(values, np.float32)


def random_bytes(seed: int) -> NDArray[np.uint8]:
    """A noise photo of 4096 colours: (64, 64, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)


def unclipped_rgb(y: Array, chroma: Array) -> NDArray[np.float64]:
    """The decoder equations as JFIF 1.02 prints them, with no regard for the gamut."""
    ycc = np.concatenate([y[..., None], chroma], -1, dtype=np.float64)
    rgb: NDArray[np.float64] = ycc @ np.array([[1, 1, 1], [0, -0.34414, 1.772], [1.402, -0.71414, 0]])
    return rgb


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        (RED, (0.2990, -0.1687, 0.5)),
        (GREEN, (0.5870, -0.3313, -0.4187)),
        (BLUE, (0.1140, 0.5, -0.0813)),
        (CYAN, (0.7010, 0.1687, -0.5)),
        (MAGENTA, (0.4130, 0.3313, 0.4187)),
        (YELLOW, (0.8860, -0.5, 0.0813)),
        (WHITE, (1, 0, 0)),
    ],
)
def test_ycbcr_of_primaries_is_jfif(rgb: tuple[int, ...], expected: tuple[float, ...]) -> None:
    """Fails for swapped Cb and Cr, for BGR input and for BT.709 weights."""
    assert_allclose([luma(f32(rgb)), *rgb_to_chroma(f32(rgb))], expected, atol=5.1e-5)


def test_ycbcr_agrees_with_pil() -> None:
    """PIL cuts fractions off instead of rounding them: up to 1 count, and a little for its tables."""
    rgb = random_bytes(1)
    ours = np.dstack([luma(f32(rgb / 255)), rgb_to_chroma(f32(rgb / 255))]) * 255 + (0, 128, 128)
    assert_allclose(ours, np.asarray(Image.fromarray(rgb).convert("YCbCr")), atol=1.1)


def test_compose_agrees_with_pil_within_the_gamut() -> None:
    ycc = np.asarray(Image.fromarray(random_bytes(2)).convert("YCbCr"))
    y, chroma = f32(ycc[..., 0] / 255), f32((ycc[..., 1:] - 128.0) / 255)
    fits = chroma_limit(y, chroma) == 1
    assert fits.mean() > 0.9
    pil = np.asarray(Image.fromarray(ycc, "YCbCr").convert("RGB"))
    assert_allclose(255 * compose(y, chroma)[fits], pil[fits], atol=1)


@pytest.mark.parametrize(
    ("chroma", "rgb"),
    [((0.1, 0), (0.5, 0.465586, 0.6772)), ((0, 0.1), (0.6402, 0.428586, 0.5))],
)
def test_compose_of_one_chroma_axis(chroma: tuple[float, float], rgb: tuple[float, ...]) -> None:
    """Cb alone leaves red as it is, and Cr alone leaves blue: fails if the two are swapped."""
    assert_allclose(compose(f32(0.5), f32(chroma)), rgb, atol=1e-6)


@properties
@given(units, chromas)
def test_compose_keeps_luma(y: Array, chroma: Array) -> None:
    """Fails where channels are clipped one by one."""
    assert_allclose(luma(compose(y, chroma)), y, rtol=0, atol=1e-5)


@properties
@given(units, chromas)
def test_compose_keeps_hue(y: Array, chroma: Array) -> None:
    """What comes out is the chroma that went in times a factor in 0..1."""
    fitted = rgb_to_chroma(compose(y, chroma))
    cross = fitted[:, 0] * chroma[:, 1] - fitted[:, 1] * chroma[:, 0]
    assert_allclose(cross, 0, atol=1e-6)
    assert np.all((fitted * chroma).sum(1) >= -1e-6)
    assert np.all(np.hypot(*fitted.T) <= np.hypot(*chroma.T) + 1e-6)


@properties
@given(units, chromas)
def test_compose_stays_in_range(y: Array, chroma: Array) -> None:
    rgb = compose(y, chroma)
    assert rgb.dtype == np.float32
    assert rgb.shape == (N, 3)
    assert rgb.min() >= 0
    assert rgb.max() <= 1


@properties
@given(photos)
def test_colour_in_gamut_round_trips(rgb: Array) -> None:
    """Luma and chroma of a photo give the photo back, whatever its shape."""
    assert_allclose(compose(luma(rgb), rgb_to_chroma(rgb)), rgb, rtol=0, atol=2e-6)


@properties
@given(units)
def test_zero_chroma_is_gray(y: Array) -> None:
    assert np.array_equal(compose(y, np.zeros((N, 2), np.float32)), np.stack([y, y, y], -1))


@pytest.mark.parametrize("y", [0, 1])
def test_black_and_white_take_no_colour(y: int) -> None:
    corners = f32([(-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5)])
    assert_allclose(compose(np.full(4, y, np.float32), corners), y, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("y", "chroma", "expected"),
    [
        (0.5, (0, 0.25), 1),  # red 0.8505: fits
        (0.5, (0, 0.5), 0.5 / 0.701),  # red at 1
        (0.25, (-0.5, 0), 0.25 / 0.886),  # blue at 0
        (0.125, (0, 0.5), 0.125 / 0.35707),  # green at 0
    ],
)
def test_chroma_limit_by_hand(y: float, chroma: tuple[float, float], expected: float) -> None:
    assert_allclose(chroma_limit(f32(y), f32(chroma)), expected, rtol=1e-5)


@properties
@given(inner_units, chromas)
def test_chroma_limit_is_maximal(y: Array, chroma: Array) -> None:
    """At the limit the colour is inside the gamut; 0.1 % above a limit less than 1 it is outside."""
    limit = chroma_limit(y, chroma)
    assert np.all((limit > 0) & (limit <= 1))
    inside = unclipped_rgb(y, limit[:, None] * chroma)
    above = unclipped_rgb(y, 1.001 * limit[:, None] * chroma)
    assert_allclose(inside, np.clip(inside, 0, 1), rtol=0, atol=5e-6)
    leaves = ((above < 0) | (above > 1)).any(1)
    assert np.all(leaves | (limit == 1))


@pytest.mark.parametrize(
    ("encoded", "linear"),
    [(0, 0), (0.04045, 0.0031308), (0.5, 0.2140411), (1, 1)],
)
def test_srgb_decoding(encoded: float, linear: float) -> None:
    assert_allclose(srgb_to_linear(f32(encoded)), linear, atol=1e-7)


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        (RED, (53.24, 80.09, 67.20)),
        (GREEN, (87.73, -86.18, 83.18)),
        (BLUE, (32.30, 79.19, -107.86)),
        (WHITE, (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((0.5, 0.5, 0.5), (53.39, 0, 0)),
        ((1 / 255, 1 / 255, 1 / 255), (0.2742, 0, 0)),  # on the straight part of both curves
    ],
)
def test_lab_of_srgb(rgb: tuple[float, ...], lab: tuple[float, ...]) -> None:
    """Fails for BGR input, for linear light left out and for a white point other than D65."""
    assert_allclose(rgb_to_lab(f32(rgb)), lab, atol=0.02)


def test_lab_agrees_with_opencv() -> None:
    """The tolerance is OpenCV's: it interpolates in coarse tables."""
    rgb = f32(random_bytes(3) / 255)
    error = np.abs(rgb_to_lab(rgb) - cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB))
    assert error.max() < 0.6
    assert error.mean() < 0.1
