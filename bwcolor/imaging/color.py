"""Pure colour maths on numpy arrays. Every function states space, range and layout.

Luma and chroma are those that a JPEG file stores: full-range YCbCr with BT.601 weights
(ITU-T T.871, "JFIF"). CIE Lab is D65 from sRGB (IEC 61966-2-1).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

LUMA_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R BT.601-7, 2.5.1
CB_SCALE = 1.772  # 2 (1 - 0.114): B = Y + 1.772 Cb
CR_SCALE = 1.402  # 2 (1 - 0.299): R = Y + 1.402 Cr
CB_TO_G = 0.114 * CB_SCALE / 0.587
CR_TO_G = 0.299 * CR_SCALE / 0.587

# Linear sRGB -> XYZ (IEC 61966-2-1) and its white point, which is D65.
RGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = RGB_TO_XYZ.sum(1)
LAB_EPSILON = 216 / 24389  # CIE 15:2004, 8.2.1.1
LAB_KAPPA = 24389 / 27


def unit(levels: NDArray[np.unsignedinteger[Any]]) -> Array:
    """Whole levels of 8 or 16 bits, any shape -> 0..1."""
    return levels.astype(np.float32) / np.float32(np.iinfo(levels.dtype).max)


def luma(rgb: Array) -> Array:
    """BT.601 luma of gamma-encoded RGB: (..., 3) in any range -> (...) in the same range."""
    r, g, b = LUMA_WEIGHTS
    return np.asarray(r * rgb[..., 0] + g * rgb[..., 1] + b * rgb[..., 2], np.float32)


def rgb_to_chroma(rgb: Array) -> Array:
    """Cb and Cr of gamma-encoded RGB: (..., 3) in 0..1 -> (..., 2) in -0.5..0.5."""
    y = luma(rgb)
    cb = (rgb[..., 2] - y) / CB_SCALE
    cr = (rgb[..., 0] - y) / CR_SCALE
    return np.stack([cb, cr], -1).astype(np.float32)


def chroma_limit(y: Array, chroma: Array, lightest: Array | None = None) -> Array:
    """The largest factor in 0..1 by which chroma can be multiplied so that RGB stays in 0..1.

    y: (...) luma in 0..1; chroma: (..., 2) Cb, Cr. Where one chroma value serves pixels of several
    lumas, `y` is the darkest and `lightest` the lightest of them. Pulling a colour towards neutral
    keeps its luma and its hue; clipping each channel would change both.
    """
    y = np.asarray(y, np.float32)
    room = np.asarray(1 - (y if lightest is None else lightest), np.float32)
    if y.ndim == 0:
        return np.asarray(chroma_limit(y[None], chroma[None], 1 - room[None])[0], np.float32)
    cb, cr = chroma[..., 0], chroma[..., 1]
    red, blue = CR_SCALE * cr, CB_SCALE * cb  # what each adds to luma
    green = -CB_TO_G * cb
    green -= CR_TO_G * cr
    # In place from here on: memory is what this costs.
    above = np.maximum(red, green)
    np.maximum(above, blue, out=above)
    np.maximum(above, 1e-6, out=above)
    below = np.minimum(red, green, out=green)
    np.minimum(below, blue, out=below)
    np.minimum(below, -1e-6, out=below)
    limit = np.divide(room, above, out=above)
    dark = np.divide(y, below, out=below)
    np.minimum(limit, np.negative(dark, out=dark), out=limit)
    return np.asarray(np.minimum(limit, 1, out=limit), np.float32)


def compose(y: Array, chroma: Array) -> Array:
    """RGB with exactly the luma `y` and the chroma's hue, pulled towards neutral where it must fit.

    y: (...) in 0..1; chroma: (..., 2) Cb, Cr in -0.5..0.5 -> (..., 3) in 0..1, float32.
    """
    limit = chroma_limit(y, chroma)
    cb, cr = chroma[..., 0] * limit, chroma[..., 1] * limit
    rgb: Array = np.empty((*limit.shape, 3), np.float32)
    np.add(y, CR_SCALE * cr, out=rgb[..., 0])
    np.subtract(y, CB_TO_G * cb + CR_TO_G * cr, out=rgb[..., 1])
    np.add(y, CB_SCALE * cb, out=rgb[..., 2])
    return np.clip(rgb, 0, 1, out=rgb)  # rounding errors only


def srgb_to_linear(rgb: NDArray[Any]) -> NDArray[np.float64]:
    """Gamma-encoded sRGB 0..1 -> linear light 0..1 (IEC 61966-2-1)."""
    rgb = np.asarray(rgb, np.float64)
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def rgb_to_lab(rgb: NDArray[Any]) -> NDArray[np.float64]:
    """sRGB (..., 3) in 0..1 -> CIE L*a*b* (..., 3), L* 0..100, a* and b* in about -110..110, D65."""
    xyz = srgb_to_linear(rgb) @ RGB_TO_XYZ.T / WHITE
    f = np.where(xyz > LAB_EPSILON, np.cbrt(xyz), (LAB_KAPPA * xyz + 16) / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def linear_to_srgb(linear: NDArray[Any]) -> NDArray[np.float64]:
    """The inverse of srgb_to_linear, 0..1."""
    return np.where(linear > 0.0031308, 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055, 12.92 * linear)


def lab_to_rgb(lab: NDArray[Any]) -> NDArray[np.float64]:
    """CIE L*a*b* (..., 3) -> sRGB (..., 3), what does not fit cut off at 0 and 1; the inverse of rgb_to_lab."""
    middle = (lab[..., 0] + 16) / 116
    f = np.stack([middle + lab[..., 1] / 500, middle, middle - lab[..., 2] / 200], -1)
    xyz = np.where(f**3 > LAB_EPSILON, f**3, (116 * f - 16) / LAB_KAPPA) * WHITE
    return np.clip(linear_to_srgb(xyz @ np.linalg.inv(RGB_TO_XYZ).T), 0, 1)
