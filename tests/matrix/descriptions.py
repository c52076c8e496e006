"""Cases: photos that are stored turned, that have profiles and metadata, and that are asked for in other formats."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from matrix.expected import (
    BMP,
    KEPT,
    LOSSY_AVIF,
    NEW_AVIF,
    NEW_JPEG,
    PNG8,
    PNG16,
    REMADE,
    SHORT,
    TIFF8,
    TIFF16,
    WEBP,
    WHOLE,
    Case,
    Expected,
    coarser,
    options,
)
from matrix.photos import G8, G16, GRAY_PROFILE, Source, clear_png, deep_heic, described
from photo.pictures import SRGB_PROFILE, gray, rgb
from PIL import Image

Make = Callable[[], Source]

TURNED = 6  # a quarter: the orientation of photos whose row names none
LOSES_DOTS = ("resolution",)  # told in EXIF alone, which is left as it was
LOSES_MOST = (*SHORT, "profile")
# What a gray photo of 8 bit becomes in each format, and what is lost on the way.
ASKED = {
    "jpeg": NEW_JPEG,
    "png": PNG8,
    "tiff": TIFF8,
    "webp": replace(WEBP, loses=LOSES_DOTS),
    "avif": replace(NEW_AVIF, loses=LOSES_DOTS),
    "bmp": replace(BMP, loses=LOSES_MOST, upright=True),
}
DEEP = {"png": PNG16, "tiff": TIFF16}  # formats that hold 16 bits


def turned() -> tuple[Case, ...]:
    g8, g16 = gray(G8), Image.fromarray(G16)
    cases = []
    for number in range(1, 9):
        short = ("orientation", *SHORT) if number > 1 else SHORT
        dotted = (*short, "resolution")
        cases += [
            Case(f"JPEG, orientation {number}", ".jpg", partial(described, "JPEG", g8, number),
                 replace(KEPT, holds=dotted)),
            Case(f"PNG, orientation {number}", ".png", partial(described, "PNG", g8, number),
                 replace(PNG8, holds=dotted)),
            Case(f"TIFF, 16 bit, orientation {number}", ".tif", partial(described, "TIFF", g16, number),
                 replace(TIFF16, holds=dotted)),
            Case(f"WebP, orientation {number}", ".webp", partial(described, "WEBP", rgb(G8), number, lossless=True),
                 replace(WEBP, holds=short)),
        ]  # fmt: skip
    short = ("orientation", *SHORT)
    heic = replace(coarser(PNG8), holds=short, upright=True)
    deep = replace(coarser(TIFF16), holds=("orientation", "artist"), upright=True)
    return (
        *cases,
        *(Case(f"AVIF, orientation {number}", ".avif", partial(described, "AVIF", g8, number),
               replace(LOSSY_AVIF, holds=short)) for number in (5, 6)),
        Case("HEIC, orientation 6", ".heic", partial(described, "HEIF", g8, 6), heic),
        Case("HEIC, 10 bit, orientation 6", ".heic", partial(deep_heic, 6), deep),
    )  # fmt: skip


def with_profiles() -> tuple[Case, ...]:
    g8, g16 = gray(G8), Image.fromarray(G16)

    def make(kind: str, image: Image.Image, icc: bytes, turn: int = TURNED, **more: Any) -> Make:
        return partial(described, kind, image, turn, icc, **more)

    short = (*SHORT, "profile")
    return (
        Case("JPEG, gray profile", ".jpg", make("JPEG", g8, GRAY_PROFILE), replace(KEPT, holds=WHOLE)),
        Case("JPEG in three components, RGB profile", ".jpg", make("JPEG", rgb(G8), SRGB_PROFILE),
             replace(REMADE, holds=WHOLE)),
        Case("PNG, gray profile", ".png", make("PNG", g8, GRAY_PROFILE), replace(PNG8, holds=WHOLE)),
        Case("PNG, 16 bit, gray profile", ".png", make("PNG", g16, GRAY_PROFILE), replace(PNG16, holds=WHOLE)),
        Case("PNG, RGB profile", ".png", make("PNG", rgb(G8), SRGB_PROFILE), replace(PNG8, holds=WHOLE)),
        Case("TIFF, gray profile", ".tif", make("TIFF", g8, GRAY_PROFILE), replace(TIFF8, holds=WHOLE)),
        Case("TIFF, 16 bit, gray profile", ".tif", make("TIFF", g16, GRAY_PROFILE), replace(TIFF16, holds=WHOLE)),
        Case("TIFF, RGB profile", ".tif", make("TIFF", rgb(G8), SRGB_PROFILE), replace(TIFF8, holds=WHOLE)),
        Case("WebP, RGB profile", ".webp", make("WEBP", rgb(G8), SRGB_PROFILE, 1, lossless=True),
             replace(WEBP, holds=short)),
        Case("AVIF, RGB profile", ".avif", make("AVIF", rgb(G8), SRGB_PROFILE, 1), replace(LOSSY_AVIF, holds=short)),
        Case("HEIC, RGB profile", ".heic", make("HEIF", rgb(G8), SRGB_PROFILE, 1),
             replace(coarser(PNG8), holds=short)),
    )  # fmt: skip


def asked_for() -> tuple[Case, ...]:
    from_png = partial(described, "PNG", gray(G8), TURNED, GRAY_PROFILE)
    from_jpeg = partial(described, "JPEG", gray(G8), TURNED, GRAY_PROFILE)
    from_tiff = partial(described, "TIFF", Image.fromarray(G16), TURNED, GRAY_PROFILE)
    cases = []
    for form, plain in ASKED.items():
        expected = replace(plain, holds=WHOLE)
        chosen = options(format=form)
        cases += [
            Case(f"gray PNG, turned, --format {form}", ".png", from_png, expected, chosen),
            Case(f"gray JPEG, turned, --format {form}", ".jpg", from_jpeg, _of_jpeg(expected), chosen),
            Case(f"16-bit TIFF, turned, --format {form}", ".tif", from_tiff, _of_deep_tiff(expected), chosen),
            Case(f"16-bit TIFF, turned, --depth 8 --format {form}", ".tif", from_tiff, _of_eight_bit_tiff(expected),
                 options(format=form, eight_bit=True)),
        ]  # fmt: skip
    for form in ("jpeg", "avif"):
        cases.append(Case(f"gray PNG, turned, --format {form} --chroma 444", ".png", from_png,
                          replace(ASKED[form], holds=WHOLE), options(format=form, sampling="444")))  # fmt: skip
    for form, plain in ASKED.items():
        expected = replace(plain, loses=("transparency",) if form == "jpeg" else (), upright=False)
        expected = replace(expected, alpha=1.1) if form == "avif" else expected
        cases.append(Case(f"RGBA PNG, --format {form}", ".png", clear_png, expected, options(format=form)))
    return tuple(cases)


def _of_jpeg(expected: Expected) -> Expected:
    if expected.form == "jpeg":
        return replace(KEPT, holds=expected.holds)
    return replace(expected, mean=LOSSY_AVIF.mean) if expected.form == "avif" else expected  # its grain is gone


def _of_deep_tiff(expected: Expected) -> Expected:
    if expected.form in DEEP:
        return replace(DEEP[expected.form], holds=expected.holds)
    return replace(expected, refused="has 16 bits")


def _of_eight_bit_tiff(expected: Expected) -> Expected:
    rounded = coarser(expected)
    if expected.form == "jpeg":
        return replace(rounded, mean=0.4, stored=1.6)
    return replace(rounded, loses=()) if expected.loses == LOSES_DOTS else rounded  # a TIFF tells them as EXIF does
