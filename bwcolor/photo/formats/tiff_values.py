"""What the rarer values of TIFFs mean: 32-bit and floating-point ones, and CIELAB, as 8 or 16-bit levels."""

from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from tifffile import PHOTOMETRIC, SAMPLEFORMAT

from bwcolor.errors import PhotoError
from bwcolor.imaging.color import lab_to_rgb

Pixels = NDArray[np.unsignedinteger[Any]]  # uint8 or uint16

ROUNDED = "values of more than 16 bits were rounded to 16"
DEPTHS: dict[int, frozenset[int]] = {  # by SampleFormat: bits of a value
    SAMPLEFORMAT.UINT: frozenset({*range(1, 17), 32}), SAMPLEFORMAT.VOID: frozenset(range(1, 17)),
    SAMPLEFORMAT.IEEEFP: frozenset({16, 32, 64}),
}  # fmt: skip
LETTERS: dict[int, str] = {SAMPLEFORMAT.UINT: "u", SAMPLEFORMAT.VOID: "u", SAMPLEFORMAT.IEEEFP: "f"}
BEYOND = 0.01  # by so much floating-point values may lie outside 0..1, as sharpening leaves them; they are cut off
STEP_32 = 65_537  # of 32 bits, that is one of 16
# Where L* of 100 is, and how far from each other a* of 0 and 1 are, at 8 and 16 bits: TIFF 6.0, section 23; for ICCLAB
# the ICC's encoding, ICC.1:2001-04, 6.3.4, in which a* and b* have no sign but 128 added.
LAB_WHITE: dict[tuple[int, int], int] = {(PHOTOMETRIC.CIELAB, 1): 0xFF, (PHOTOMETRIC.CIELAB, 2): 0xFFFF,
             (PHOTOMETRIC.ICCLAB, 1): 0xFF, (PHOTOMETRIC.ICCLAB, 2): 0xFF00}  # fmt: skip


def check_values(page: tifffile.TiffPage) -> None:
    """Raises PhotoError for values of which nobody can tell what is black and what is white."""
    if page.sampleformat not in DEPTHS:
        raise PhotoError("stores signed or complex values; save it as 8 or 16 bit")
    if page.bitspersample not in DEPTHS[page.sampleformat]:
        kind = "floating-point " if page.sampleformat == SAMPLEFORMAT.IEEEFP else ""
        raise PhotoError(f"stores {page.bitspersample}-bit {kind}values; save it as 8 or 16 bit")


def stored_dtype(page: tifffile.TiffPage, byteorder: str) -> np.dtype[Any]:
    """Of values whose bits are whole bytes, as they lie in the file."""
    return np.dtype(f"{byteorder}{LETTERS[page.sampleformat]}{page.bitspersample // 8}")


def as_levels(values: NDArray[Any]) -> Pixels:
    """Values as a file stores them -> levels: 32 bits rounded to 16, floating-point 0..1 to 0..65535; uint8 and uint16
    stay. Raises PhotoError for floating-point values beyond 0..1."""
    if values.dtype == np.uint32:
        return np.asarray((values.astype(np.uint64) + STEP_32 // 2) // STEP_32, np.uint16)
    if values.dtype.kind != "f":
        return values
    if not values.size or not -BEYOND <= float(values.min()) <= float(values.max()) <= 1 + BEYOND:  # False of NaN
        raise PhotoError("stores floating-point values beyond 0..1, of which none is known as white; save it as 16 bit")
    return np.asarray(np.clip(values, 0, 1).astype(np.float64) * 65_535 + 0.5, np.uint16)


def lab_as_rgb(lab: Pixels, photometric: int) -> Pixels:
    """CIELAB or ICCLAB as stored, (rows, width, 3), uint8 or uint16 -> sRGB of the same depth. White is white, whatever
    light it was meant for."""
    size = lab.dtype.itemsize
    if (photometric, size) not in LAB_WHITE:
        raise PhotoError("stores CIELAB colors in an unusual way; save it as gray or RGB")
    lightness = 100 / LAB_WHITE[photometric, size] * np.minimum(lab[..., :1], LAB_WHITE[photometric, size])
    one = 1 << 8 * (size - 1)
    if photometric == PHOTOMETRIC.CIELAB:
        chroma = lab[..., 1:].astype(lab.dtype).view(f"i{size}").astype(np.float64)
    else:
        chroma = lab[..., 1:].astype(np.float64) - 128 * one
    rgb = lab_to_rgb(np.concatenate([lightness, chroma / one], -1))
    return np.asarray(rgb * np.iinfo(lab.dtype).max + 0.5, lab.dtype)
