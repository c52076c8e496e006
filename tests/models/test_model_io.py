"""Kinds of models: what each is fed, and what chroma its output means."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from tiny_model import TINY_SPEC

from bwcolor.imaging.color import Array, compose, luma, rgb_to_chroma, rgb_to_lab
from bwcolor.models.model_io import (
    INPUTS,
    OUTPUTS,
    ab_to_chroma,
    lab_to_rgb,
    lightness,
    network_chroma,
    network_input,
    output_bounds,
)
from bwcolor.models.spec import IMAGENET, INPUT_KINDS, OUTPUT_KINDS, ModelSpec, Range

COLOURS = np.stack(np.meshgrid(*[np.linspace(0, 1, 8)] * 3), -1).reshape(-1, 3).astype(np.float32)
LUMAS = np.array([[[0, 0.25], [0.5, 1]]], np.float32)


def spec(input_kind: str = "luma", output_kind: str = "cbcr", fed: Range = (0, 1), given: Range = (0, 1)) -> ModelSpec:
    return dataclasses.replace(
        TINY_SPEC, input_kind=input_kind, output_kind=output_kind, input_range=fed, output_range=given
    )


def planes(*values: float) -> Array:
    """An output of 1 x len(values) x 2 x 2 that is the same everywhere."""
    return np.broadcast_to(np.array(values, np.float32)[None, :, None, None], (1, len(values), 2, 2)).copy()


def test_every_kind_of_the_spec_has_its_functions() -> None:
    assert tuple(INPUTS) == INPUT_KINDS
    assert tuple(OUTPUTS) == OUTPUT_KINDS


@pytest.mark.parametrize(
    ("kind", "ends", "expected"),
    [
        ("luma", (0, 1), [[0, 0.25, 0.5, 1]]),
        ("luma", (-1, 1), [[-1, -0.5, 0, 1]]),
        # L* of sRGB gray at 0, 63.75, 127.5 and 255 levels, from CIE 15 and IEC 61966-2-1 by hand
        ("l", (0, 100), [[0, 26.9829, 53.3890, 100]]),
        ("l", (-50, 50), [[-50, -23.0171, 3.3890, 50]]),
        ("gray-rgb", (0, 255), [[0, 63.75, 127.5, 255]] * 3),
        (
            "gray-rgb",
            IMAGENET,
            [[(v - m) / s for v in (0, 0.25, 0.5, 1)] for m, s in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))],
        ),
    ],
)
def test_what_a_model_is_fed(kind: str, ends: Range, expected: list[list[float]]) -> None:
    fed = network_input(LUMAS, spec(kind, fed=ends))
    assert fed.dtype == np.float32
    assert fed.shape == (1, INPUTS[kind].channels, 2, 2)
    assert_allclose(fed[0].reshape(len(expected), -1), expected, atol=0.001 if kind == "l" else 1e-4)


@pytest.mark.parametrize("ends", [(-0.5, 0.5), (-1.0, 1.0), (0.0, 255.0)])
def test_chroma_of_cbcr(ends: tuple[float, float]) -> None:
    low, high = ends
    output = planes(low + 0.75 * (high - low), low + 0.1 * (high - low))
    assert_allclose(network_chroma(output, LUMAS, spec(given=ends))[0, 1, 1], [0.25, -0.4], atol=1e-5)


@pytest.mark.parametrize(("ends", "unit"), [((-128, 128), 1.0), ((-1, 1), 1 / 128), ((-128 / 110, 128 / 110), 1 / 110)])
def test_chroma_of_ab_has_these_a_and_b(ends: Range, unit: float) -> None:
    chroma = network_chroma(planes(20 * unit, -30 * unit), LUMAS, spec("l", "ab", (0, 100), ends))
    lab = rgb_to_lab(compose(LUMAS, chroma))
    assert_allclose(lab[0, 1, 0, 1:], [20, -30], atol=0.1)  # luma 0.5
    assert_allclose(lab[0, 0, 1, 1:], [20, -30], atol=0.3)  # luma 0.25


def test_ab_counted_from_zero() -> None:
    """a* + 128, as 8-bit Lab has it: -128 is 0 and 128 would be 256."""
    chroma = network_chroma(planes(148, 98), LUMAS, spec("l", "ab", (0, 100), (0, 256)))
    assert_allclose(rgb_to_lab(compose(LUMAS, chroma))[0, 1, 0, 1:], [20, -30], atol=0.1)


@pytest.mark.parametrize("ends", [(0, 1), (0, 255), (-1, 1), IMAGENET])
def test_chroma_of_rgb_whatever_its_brightness(ends: Range) -> None:
    colour = np.array([0.7, 0.5, 0.4], np.float32)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    values = (colour - mean) / deviation if isinstance(ends, str) else ends[0] + (ends[1] - ends[0]) * colour
    chroma = network_chroma(planes(*values), LUMAS, spec("gray-rgb", "rgb", (0, 1), ends))
    assert_allclose(chroma[0], np.broadcast_to(rgb_to_chroma(colour), (2, 2, 2)), atol=1e-5)


def test_an_output_smaller_than_the_input_is_taken_as_it_is() -> None:
    lumas = np.linspace(0.2, 0.6, 64, dtype=np.float32).reshape(1, 8, 8)
    output = np.broadcast_to(np.array([10, 15], np.float32)[None, :, None, None], (1, 2, 2, 2))
    chroma = network_chroma(output, lumas, spec("l", "ab", (0, 100), (-128, 128)))
    assert chroma.shape == (1, 2, 2, 2)
    y = lumas.reshape(1, 2, 4, 2, 4).mean((2, 4))
    assert_allclose(rgb_to_lab(compose(y, chroma))[..., 1:], np.broadcast_to([10, 15], (1, 2, 2, 2)), atol=0.1)


def test_chroma_beyond_the_gamut_keeps_its_hue() -> None:
    chroma = network_chroma(planes(3, 2.0), LUMAS, spec(given=(-0.5, 0.5)))
    assert_allclose(chroma[0, 0, 0], [0.5, 0.5 * 2 / 3], atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(a=st.floats(-128, 128), b=st.floats(-128, 128), y=st.floats(0, 1))
def test_any_a_and_b_give_chroma_that_can_be_shown(a: float, b: float, y: float) -> None:
    chroma = network_chroma(planes(a, b), np.full((1, 2, 2), y, np.float32), spec("l", "ab", (0, 100), (-128, 128)))
    assert np.isfinite(chroma).all()
    assert np.abs(chroma).max() <= 0.5
    assert_allclose(luma(compose(np.full((1, 2, 2), y, np.float32), chroma)), y, atol=1e-5)


def test_lightness_is_that_of_gray() -> None:
    gray = np.linspace(0, 1, 257, dtype=np.float32)
    assert_allclose(lightness(gray), rgb_to_lab(np.stack([gray] * 3, -1))[..., 0], atol=1e-3)


def test_lab_to_rgb_is_the_way_back() -> None:
    lab = rgb_to_lab(COLOURS).astype(np.float32)
    assert_allclose(lab_to_rgb(lab[:, 0], lab[:, 1:]), COLOURS, atol=2e-4)


def test_true_a_and_b_on_the_true_luma_give_the_true_chroma_back() -> None:
    """Without the correction of L* the mean error is 0.005, the worst 0.09."""
    soft = COLOURS[np.ptp(COLOURS, 1) < 0.6]
    chroma = ab_to_chroma(rgb_to_lab(soft)[:, 1:].astype(np.float32), luma(soft))
    error = np.abs(chroma - rgb_to_chroma(soft))
    assert error.mean() < 0.0015
    assert error.max() < 0.03


def test_the_bounds_of_an_output() -> None:
    assert output_bounds(spec(given=(-1, 1))) == (-1, 1)
    low, high = output_bounds(spec("gray-rgb", "rgb", IMAGENET, IMAGENET))
    assert low == pytest.approx(-0.485 / 0.229)
    assert high == pytest.approx((1 - 0.406) / 0.225)
