"""What must come of a photo: the limits that the cases share."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from matrix.photos import Source

from bwcolor.options import ColorizeOptions

# Levels: carried over; RGB rounded once; input values rounded as well.
EXACT, ROUNDED, TWICE = 0.0, 0.51, 1.01
SHORT = ("artist", "GPS", "XMP")
WHOLE = ("orientation", *SHORT, "resolution", "profile")


@dataclass(frozen=True, slots=True)
class Expected:
    """What must come of a photo.

    form, bits: of the output. most, mean: limits of what its luma, computed from the RGB that a viewer gets, may differ
    by, in levels of its depth. stored: the limit of the Y plane of a JPEG, where it is looked at; EXACT means bit for
    bit. colour: by how much Cb and Cr may differ from the model's, of 1; None where there is no room for colours.
    alpha: as most. holds: what describes the photo. loses: of that, and of transparency, what the format has no place
    for. upright: the photo is stored turned, and the output's pixels are turned upright. refused: words of the reason,
    where there must be no output.
    """

    form: str
    bits: int = 8
    most: float = ROUNDED
    mean: float = 0.3
    stored: float | None = None
    colour: float | None = 0.006
    alpha: float = 0.0
    holds: tuple[str, ...] = ()
    loses: tuple[str, ...] = ()
    upright: bool = False
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of photo, and what must come of it. suffix: of the file's name. make: costs nothing until called."""

    name: str
    suffix: str
    make: Callable[[], Source]
    expected: Expected
    options: ColorizeOptions = field(default_factory=partial(ColorizeOptions, jobs=1, tones="as-is"))


def options(**chosen: Any) -> ColorizeOptions:
    """As runs have them, but with tones as they are: what a network is shown is no matter of formats."""
    return ColorizeOptions(jobs=1, tones="as-is", **chosen)


PNG8, PNG16 = Expected("png"), Expected("png", 16)
TIFF8, TIFF16 = Expected("tiff"), Expected("tiff", 16)
WEBP, BMP = Expected("webp"), Expected("bmp")
# JPEG, by what is known of the photo's luma: all of it; its quantisation table; not that either; nothing.
KEPT = Expected("jpeg", most=4.0, mean=0.22, stored=EXACT)
REMADE = replace(KEPT, most=4.1, stored=4.1)
OTHER_TABLE = Expected("jpeg", most=6.0, mean=0.25, stored=5.1)
NEW_JPEG = Expected("jpeg", most=5.5, mean=0.32, stored=1.1)
LOSSY_WEBP = Expected("webp", most=7.0, mean=0.9, colour=0.008)
LOSSY_AVIF = Expected("avif", most=9.0, mean=0.7, colour=0.008)
NEW_AVIF = replace(LOSSY_AVIF, most=9.5, mean=1.3)  # of a photo that still has all its grain


def coarser(expected: Expected) -> Expected:
    """Of a photo whose values have to be rounded before colour is added."""
    return replace(expected, most=max(TWICE, expected.most), mean=max(0.33, expected.mean))


def colourless(expected: Expected) -> Expected:
    """Of a photo without middle tones, where colours have no room."""
    return replace(expected, colour=None)
