"""Portable anymaps, as SANE and netpbm write them: P1 to P6 (netpbm's pbm(5), pgm(5), ppm(5))."""

import io
import re
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bwcolor.errors import PhotoError
from bwcolor.photo.formats.known import Header
from bwcolor.photo.formats.signatures import LOOK, PNM_START

HEAD = 1 << 16  # bytes in which a header with its comments must end
GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
SIZE = re.compile(rb"P([1-6])" + GAP + rb"(\d{1,9})" + GAP + rb"(\d{1,9})")
TOP = re.compile(GAP + rb"(\d{1,5})")
BITMAPS, PLAIN, COLOR = frozenset({1, 4}), frozenset({1, 2, 3}), frozenset({3, 6})  # kinds by their numbers
DAMAGED = "not a picture that can be read, or damaged"
CUT_OFF = "is cut off, or damaged"


@dataclass(frozen=True, slots=True)
class Layout:
    """What a header says.

    Attributes:
        kind: the number behind the P.
        width, height: in px.
        top: the value that means white; 1 of bitmaps.
        start: bytes before the pixels.
    """

    kind: int
    width: int
    height: int
    top: int
    start: int

    @property
    def length(self) -> int | None:
        """Bytes of the pixels; None where they are stored as text."""
        if self.kind in PLAIN:
            return None
        if self.kind in BITMAPS:
            return self.height * -(-self.width // 8)
        return self.height * self.width * (3 if self.kind in COLOR else 1) * (2 if self.top > 0xFF else 1)


def layout_of(source: bytes) -> Layout:
    """Parse a file's header; raises PhotoError when there is none. source: the file, or its first HEAD bytes."""
    size = SIZE.match(source, 0, HEAD)
    if size is None:
        raise PhotoError(DAMAGED)
    kind, width, height = map(int, size.groups())
    end, top = size.end(), 1
    if kind not in BITMAPS:
        said = TOP.match(source, end, HEAD)
        if said is None:
            raise PhotoError(DAMAGED)
        end, top = said.end(), int(said[1])
    if not width or not height or not 0 < top < 1 << 16 or not source[end : end + 1].isspace():
        raise PhotoError(DAMAGED)
    return Layout(kind, width, height, top, end + 1)


def header_of_pnm(file: BinaryIO) -> Header:
    """Read the header of an open file. frames: 2 where another picture follows the first."""
    file.seek(0)
    layout = layout_of(file.read(HEAD))
    more = b""
    if layout.length is not None and (end := layout.start + layout.length) < file.seek(0, io.SEEK_END):
        file.seek(end)
        more = file.read(LOOK)
    frames = 2 if PNM_START.match(more) else 1
    return Header("pnm", layout.width, layout.height, layout.top.bit_length(), frames=frames)


def pnm_pixels(source: bytes) -> NDArray[np.unsignedinteger[Any]]:
    """Decode a file: (height, width) gray or (height, width, 3) RGB, all of uint8, or of uint16 from 9 bits up.

    Not with OpenCV or Pillow where values have more than 8 bits: the one swaps the bytes of color, the other cuts
    them off.
    """
    layout = layout_of(source)
    if layout.length is not None and len(source) < layout.start + layout.length:
        raise PhotoError(CUT_OFF)
    if layout.kind in (5, 6):
        return _scaled(layout, source)
    if layout.top > 0xFF:
        raise PhotoError("stores values of more than 8 bits as text; save it as a binary PNM, TIFF, or PNG")
    with Image.open(io.BytesIO(source), formats=["PPM"]) as image:
        try:
            return np.asarray(image.convert("RGB" if layout.kind in COLOR else "L"))
        except ValueError as error:  # in which Pillow cites the bytes that are no numbers
            raise PhotoError("damaged: its text lacks values of pixels, or holds something else") from error


def _scaled(layout: Layout, source: bytes) -> NDArray[np.unsignedinteger[Any]]:
    dtype, full = (np.dtype(">u2"), 0xFFFF) if layout.top > 0xFF else (np.dtype("u1"), 0xFF)
    shape = (layout.height, layout.width, 3)[: 3 if layout.kind in COLOR else 2]
    stored = np.frombuffer(source, dtype, int(np.prod(shape)), layout.start).reshape(shape)
    native = dtype.newbyteorder("=")
    if layout.top == full:
        return stored.astype(native)
    levels = ((np.arange(layout.top + 1) * full + layout.top // 2) // layout.top).astype(native)
    return np.asarray(levels[np.minimum(stored, layout.top)], native)
