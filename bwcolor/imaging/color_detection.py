"""Whether a scan is a colour photo already, or a black-and-white one, neutral or tinted.

The colour of a toned, faded or stained black-and-white print is a function of lightness that changes
slowly over the print. That function is fitted; in a colour photo many pixels are far from it.

Measured on 2026-11-21, at no more than 512 px: of 515 black-and-white pictures 1.0 % were called colour. They are
89 real scans (none) and gray versions of those and of held-out photos with tone curves, toning, stains, foxing
or a stamp, mostly with noise of 2 to 4 levels and JPEG 50 to 95 (yellow stains: 4 of 40). Of 336 held-out
colour photos 1.2 % were called tinted, of 8 real colour scans none. Of faded ones with that noise, a cast and less
contrast, 84 each, 45 % were at a saturation of 0.25 to 0.35, 36 % at 0.35 to 0.45 and 24 % at 0.5 to 0.6.
"""

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from bwcolor.imaging.borders import border_weight
from bwcolor.imaging.color import luma, rgb_to_lab

Kind = Literal["gray", "tinted", "colour"]

# Found on training photos and old scans, made black-and-white or faded as described above.
FITTED_SIDE = 192  # px, longest side of the picture that is fitted
DENOISE = 0.7  # px of it, standard deviation of the blur of what is fitted; wider ones mix the tones at edges
MARGIN = 0.06  # of a side, left out at each edge: colour-control strips, rulers, album pages
TONES = 9  # knots over L* 0..100: enough for split toning and for paper white
PLACES = 3  # knots over the width and over the height: stains and uneven fading are wider than this
RIDGE = 1e-5  # of the number of pixels; makes the fit unique
ROUNDS = 3  # of reweighting; five decide alike
USUAL_DEVIATION = 1.5  # Delta E*ab (CIE76): at this distance a pixel counts half in the next round
DARK = 30.0  # L*: below it distances are scaled down in proportion, as noise of one level grows in a* and b*
AVERAGED = 1 / 50  # of the longest side, standard deviation over which what is left is averaged: noise is not
LONGEST = 6.0  # Delta E*ab that a pixel counts with at most: a small strong colour must not spread when averaged
SHARE = 0.9  # of the pixels must be nearer than the limits below: a stamp or a caption covers less than the rest
LEAST_PHOTO = 0.1  # of the picture must be photo for a page around it to be left out of account
NEUTRAL = 1.5  # Delta E*ab from neutral, about what scanner noise and JPEG leave
ONE_TONE = 1.7  # Delta E*ab from the fitted tone


def kind_of(rgb: NDArray[np.uint8]) -> Kind:
    """Gray, tinted in one smoothly varying tone, or a colour photo.

    rgb: (h, w, 3), sRGB 0..255, area-reduced to at most 512 px on the long side. Stamps, captions and
    control strips that cover less than a tenth do not make a photo one in colour.
    """
    lab, photo = _seen(rgb)
    lightness, chroma = lab[..., 0], lab[..., 1:]
    visible = np.clip(lightness / DARK, 0, 1)[..., None]
    if _usual(_averaged(_shortened(chroma * visible)), photo) < NEUTRAL:
        return "gray"
    return "tinted" if _usual(_off_tone(lightness, chroma, visible, photo), photo) < ONE_TONE else "colour"


def _seen(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """CIE Lab (h, w, 3) of the picture, small, a little blurred and without its edges; (h, w), where the photo is: a
    mount or an album page around it may have any colour."""
    height, width = rgb.shape[:2]
    scale = min(1.0, FITTED_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(rgb.astype(np.float32) / np.float32(255), size, interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(small, (0, 0), DENOISE, borderType=cv2.BORDER_REPLICATE)
    top, left = (int(side * MARGIN) for side in blurred.shape[:2])
    inner = slice(top, blurred.shape[0] - top), slice(left, blurred.shape[1] - left)
    photo = (border_weight(luma(np.asarray(small, np.float32))) == 1).astype(np.uint8)
    rim = 2 * round(2 * max(small.shape) * AVERAGED) + 1  # px, over which averages mix the page with the photo
    photo = cv2.erode(photo, np.ones((rim, rim), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=1)[inner]
    certain = float(photo.mean()) > LEAST_PHOTO
    return rgb_to_lab(blurred[inner]), np.asarray(photo == 1 if certain else photo >= 0, np.bool_)


def _off_tone(
    lightness: NDArray[Any], chroma: NDArray[Any], visible: NDArray[Any], photo: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """What the best function of lightness and place leaves of a* and b* (h, w, 2), averaged.

    A reweighted least-squares fit, so that what does not belong to the tone hardly moves it.
    """
    height, width = lightness.shape
    down, across = (_knots((np.arange(side) + 0.5) / side, PLACES) for side in (height, width))
    place = (down[:, None, :, None] * across[None, :, None, :]).reshape(height * width, -1)
    level = lightness.reshape(-1, 1) / 100
    terms = np.concatenate([_knots(level[:, 0], TONES), place, place * level], 1)
    ridge = RIDGE * len(terms) * np.eye(terms.shape[1])
    target = chroma.reshape(-1, 2)
    left, counts = chroma, photo.reshape(-1).astype(np.float64)
    weight = counts
    for _ in range(ROUNDS):
        weighted = (terms * weight[:, None]).T
        fitted = terms @ np.linalg.solve(weighted @ terms + ridge, weighted @ target)
        left = (target - fitted).reshape(chroma.shape) * visible
        weight = counts / (1 + (_averaged(left).reshape(-1, 2) ** 2).sum(1) / USUAL_DEVIATION**2)
    return _averaged(_shortened(left))


def _knots(values: NDArray[Any], count: int) -> NDArray[np.float64]:
    """Values (n,) in 0..1 -> (n, count): how near each is to evenly spaced knots, linear, sum 1."""
    near: NDArray[np.float64] = np.clip(1 - np.abs(values[:, None] - np.linspace(0, 1, count)) * (count - 1), 0, 1)
    return near


def _shortened(chroma: NDArray[Any]) -> NDArray[np.float64]:
    """a*, b* (h, w, 2), none longer than LONGEST."""
    length = np.hypot(chroma[..., 0], chroma[..., 1])[..., None]
    return np.asarray(chroma * (LONGEST / np.maximum(length, LONGEST)), np.float64)


def _averaged(chroma: NDArray[Any]) -> NDArray[np.float64]:
    """a*, b* (h, w, 2), each the mean over its surroundings."""
    spread = max(chroma.shape) * AVERAGED
    averaged = cv2.GaussianBlur(chroma, (0, 0), spread, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(averaged, np.float64)


def _usual(chroma: NDArray[Any], photo: NDArray[np.bool_]) -> float:
    """The length of a*, b* (h, w, 2) that SHARE of the photo's pixels stay below."""
    return float(np.quantile(np.hypot(chroma[..., 0], chroma[..., 1])[photo], SHARE))
