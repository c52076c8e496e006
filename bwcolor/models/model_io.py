"""The kinds of models: how lumas become a network's input, and its output chroma. The only place that knows them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bwcolor.imaging.color import LAB_EPSILON, LAB_KAPPA, RGB_TO_XYZ, WHITE, Array, luma, rgb_to_chroma
from bwcolor.models.spec import ModelSpec, Range

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # of R, G, B in 0..1; torchvision and fastai agree
IMAGENET_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
AB_END = 128.0  # |a*| and |b*| that the ends of an output range stand for
LUMA_STEPS = 2  # corrections of L*: true a*b* of 24 photos give 48.2 dB with two, 46.1 with none, 47.9 with three
XYZ_TO_RGB = np.linalg.inv(RGB_TO_XYZ).astype(np.float32)
WHITE_POINT = WHITE.astype(np.float32)


@dataclass(frozen=True, slots=True)
class InputKind:
    """channels fed, and the function that makes them: lumas (N, H, W) in 0..1, range -> (N, channels, H, W)."""

    channels: int
    feed: Callable[[Array, Range], Array]


@dataclass(frozen=True, slots=True)
class OutputKind:
    """channels given, and what they mean: output (N, channels, H, W), lumas (N, H, W), range -> Cb, Cr (N, H, W, 2)."""

    channels: int
    chroma: Callable[[Array, Array, Range], Array]


def network_input(lumas: Array, spec: ModelSpec) -> Array:
    """Lumas (N, H, W) in 0..1 as the model wants them: (N, channels, H, W), float32."""
    return np.ascontiguousarray(INPUTS[spec.input_kind].feed(lumas, spec.input_range), np.float32)


def network_chroma(output: Array, lumas: Array, spec: ModelSpec) -> Array:
    """What the model gave, as Cb and Cr in -0.5..0.5: (N, h, w, 2), float32.

    output: (N, channels, h, w). lumas: (N, H, W) in 0..1, what it was fed; h and w may be smaller. A
    colour beyond the range is pulled towards neutral, so it keeps its hue.
    """
    height, width = output.shape[2:]
    if lumas.shape[1:] != (height, width):
        lumas = np.stack([cv2.resize(one, (width, height), interpolation=cv2.INTER_AREA) for one in lumas])
    chroma = OUTPUTS[spec.output_kind].chroma(output, lumas, spec.output_range)
    largest = np.abs(chroma).max(-1, keepdims=True)
    return np.asarray(chroma * (0.5 / np.maximum(largest, 0.5)), np.float32)


def output_bounds(spec: ModelSpec) -> tuple[float, float]:
    """Smallest and largest value that the model may give, as its contract says."""
    if isinstance(spec.output_range, str):
        black, white = -IMAGENET_MEAN / IMAGENET_DEVIATION, (1 - IMAGENET_MEAN) / IMAGENET_DEVIATION
        return float(black.min()), float(white.max())
    return spec.output_range


def output_rgb(output: Array, spec: ModelSpec) -> Array:
    """RGB that a model of output kind "rgb" gave, (N, 3, H, W), as (N, H, W, 3) in about 0..1."""
    return _unit(output, spec.output_range)


def lightness(y: Array) -> Array:
    """L* of CIELAB, 0..100, of gray that is gamma-encoded sRGB in 0..1; same shape, float32."""
    linear = np.where(y <= 0.04045, y / 12.92, ((np.maximum(y, 0) + 0.055) / 1.055) ** 2.4)
    lab = np.where(linear > LAB_EPSILON, 116 * np.cbrt(linear) - 16, LAB_KAPPA * linear)
    return np.asarray(lab, np.float32)


def lab_to_rgb(lightnesses: Array, ab: Array) -> Array:
    """CIELAB -> gamma-encoded sRGB: L* (...) 0..100 and a*, b* (..., 2) -> (..., 3), 0..1 where sRGB has the colour.

    A colour that sRGB lacks gives values beyond 0..1: the curve goes on below 0 as its mirror image.
    """
    y = (lightnesses + 16) / 116
    f = np.stack([y + ab[..., 0] / 500, y, y - ab[..., 1] / 200], -1)
    xyz = np.where(f**3 > LAB_EPSILON, f**3, (116 * f - 16) / LAB_KAPPA).astype(np.float32) * WHITE_POINT
    linear = xyz @ XYZ_TO_RGB.T
    size = np.abs(linear)
    encoded = np.where(size <= 0.0031308, 12.92 * size, 1.055 * size ** (1 / 2.4) - 0.055)
    return np.asarray(np.copysign(encoded, linear), np.float32)


def ab_to_chroma(ab: Array, y: Array) -> Array:
    """Cb, Cr (..., 2) of the colour that has these a*, b* (..., 2) and this BT.601 luma (...) in 0..1.

    Saturated colours have another luma than gray of their L*, so L* is moved until the luma is right;
    else they would change when the chroma is put on the photo's own luma.
    """
    target = lightness(y)
    moved = target
    for _ in range(LUMA_STEPS):
        reached = luma(lab_to_rgb(moved, ab))
        moved = np.clip(moved + target - lightness(np.clip(reached, 0, 1)), 0, 100)
    return rgb_to_chroma(lab_to_rgb(moved, ab))


def _onto(unit: NDArray[Any], ends: Range) -> Array:
    """(N, channels, H, W) in 0..1 mapped linearly onto a range."""
    if isinstance(ends, str):
        return np.asarray((unit - IMAGENET_MEAN[:, None, None]) / IMAGENET_DEVIATION[:, None, None], np.float32)
    low, high = ends
    return np.asarray(np.float32(low) + np.float32(high - low) * unit, np.float32)


def _unit(output: Array, ends: Range) -> Array:
    """(N, channels, H, W) in a range mapped linearly onto 0..1, as (N, H, W, channels)."""
    values = output.transpose(0, 2, 3, 1)
    if isinstance(ends, str):
        return np.asarray(values * IMAGENET_DEVIATION + IMAGENET_MEAN, np.float32)
    low, high = ends
    return np.asarray((values - np.float32(low)) / np.float32(high - low), np.float32)


def _feed_luma(lumas: Array, ends: Range) -> Array:
    return _onto(lumas[:, None], ends)


def _feed_lightness(lumas: Array, ends: Range) -> Array:
    return _onto(lightness(lumas[:, None]) / 100, ends)


def _feed_gray_rgb(lumas: Array, ends: Range) -> Array:
    return _onto(np.repeat(lumas[:, None], 3, 1), ends)


def _chroma_of_cbcr(output: Array, lumas: Array, ends: Range) -> Array:
    return _unit(output, ends) - np.float32(0.5)


def _chroma_of_ab(output: Array, lumas: Array, ends: Range) -> Array:
    ab = 2 * AB_END * (_unit(output, ends) - np.float32(0.5))
    return ab_to_chroma(np.clip(ab, -AB_END, AB_END), lumas)


def _chroma_of_rgb(output: Array, lumas: Array, ends: Range) -> Array:
    return rgb_to_chroma(np.clip(_unit(output, ends), 0, 1))


INPUTS = {
    "luma": InputKind(1, _feed_luma),
    "l": InputKind(1, _feed_lightness),
    "gray-rgb": InputKind(3, _feed_gray_rgb),
}
OUTPUTS = {
    "cbcr": OutputKind(2, _chroma_of_cbcr),
    "ab": OutputKind(2, _chroma_of_ab),
    "rgb": OutputKind(3, _chroma_of_rgb),
}
