"""Whether what a TIFF page stores is whole and of a sound size; decoders paint what is missing white or gray."""

import io
from typing import BinaryIO

import imagecodecs
import numpy as np
import tifffile
from PIL import Image
from tifffile import COMPRESSION

from bwcolor.errors import PhotoError
from bwcolor.formats import jp2
from bwcolor.formats.decoders import strictly_decoded, whole_parts
from bwcolor.formats.jpeg import EOI, FRAMES, SOF0, SOF1, SOF2, SOI
from bwcolor.formats.tifftags import SIZES

JPEG_2000 = frozenset({
    COMPRESSION.APERIO_JP2000_YCBC, COMPRESSION.JPEG_2000_LOSSY, COMPRESSION.APERIO_JP2000_RGB, COMPRESSION.JPEG2000,
})  # fmt: skip
CUT_OFF = "is cut off"
MAX_VALUE = 1 << 24  # bytes of a colour profile or XMP packet
MAX_SAMPLES = 8  # a pixel
MAX_TILE_SIDE = 4096  # px, or the page's side where that is longer
JPEG_BLOCK = 16  # px, what encoders round sides up to
END_OF_LINE_ZEROS = 11  # before the 1 of an end of line; no other code words make as many (ITU-T T.4, 4.1.2)
TWO_DIMENSIONAL = 1  # bit of T4Options


def raw_value(page: tifffile.TiffPage, file: BinaryIO, code: int) -> bytes | None:
    """A tag's bytes, whatever type it calls them; None without the tag, or where they don't lie in the file."""
    tag = page.tags.get(code)
    if tag is None:
        return None
    size = tag.count * SIZES.get(int(tag.dtype), 0)
    if not 0 < size <= MAX_VALUE:
        return None
    file.seek(tag.valueoffset)
    data = file.read(size)
    return data if len(data) == size else None


def check_layout(page: tifffile.TiffPage) -> None:
    """Raises PhotoError for pixels or tiles that are far larger than the page can need."""
    if page.samplesperpixel > MAX_SAMPLES:
        raise PhotoError(f"stores {page.samplesperpixel} values a pixel; save it as gray or RGB")
    for tile, side in ((page.tilewidth, page.imagewidth), (page.tilelength, page.imagelength)):
        if page.is_tiled and tile > max(MAX_TILE_SIDE, _rounded_up(side)):
            raise PhotoError("damaged: its tiles are far larger than the page")


def check_jpeg(data: bytes, tables: bytes | None, needed: tuple[int, int], room: tuple[int, int]) -> None:
    """Raises PhotoError when a JPEG segment is damaged, or not of the size that it has to fill.

    tables: what the page's segments share. needed, room: rows and columns that lie in the page, and of a whole segment.
    """
    if tables:
        data = SOI + tables[2:].removesuffix(bytes([0xFF, EOI])) + data[2:]
    parts = whole_parts(data)
    kind, head, _ = next(part for part in parts if part.marker in FRAMES)
    for at, least, most in zip((5, 7), needed, room, strict=True):
        if not least <= int.from_bytes(head[at : at + 2], "big") <= _rounded_up(most):
            raise PhotoError("damaged: its JPEG segments are not of the page's size")
    if kind in (SOF0, SOF1, SOF2) and head[4] == 8 and head[9] in (1, 3, 4):
        strictly_decoded(data, parts, "CMYK" if head[9] == 4 else "GRAY")


def check_size(compression: int, data: bytes, room: tuple[int, int]) -> None:
    """Raises PhotoError when a PNG, WebP or JPEG 2000 segment would be far larger than its room: rows, columns."""
    size: tuple[int, int] | None = None
    if compression in JPEG_2000:
        size = jp2.stored_size(io.BytesIO(data))
    elif compression in (COMPRESSION.PNG, COMPRESSION.WEBP, COMPRESSION.WEBP_DEPRECATED):
        with Image.open(io.BytesIO(data), formats=["PNG", "WEBP"]) as image:  # reads only the header
            size = image.height, image.width
    if size is not None and any(side > _rounded_up(most) for side, most in zip(size, room, strict=True)):
        raise PhotoError("damaged: its segments are larger than the page")


def _rounded_up(side: int) -> int:
    return -(-side // JPEG_BLOCK) * JPEG_BLOCK


def check_fax(page: tifffile.TiffPage, file: BinaryIO) -> None:
    """Raises PhotoError when fax-coded strips lack rows, as far as their structure tells: G4 by its mark at the end, G3
    by the number of its line ends, and those without any by zeros that no code words make and by what more data do."""
    rows_left = page.imagelength
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        file.seek(offset)
        data = file.read(count)
        if len(data) < count or not data:
            raise PhotoError(CUT_OFF)
        rows = min(page.rowsperstrip, rows_left) if not page.is_tiled else page.tilelength
        rows_left -= rows
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little" if page.fillorder == 2 else "big")
        ones = np.flatnonzero(bits)
        zeros = np.diff(ones, prepend=-1) - 1  # before each one
        ends = ones[zeros >= END_OF_LINE_ZEROS]
        if page.compression == COMPRESSION.CCITTFAX4:
            whole = len(ends) == 2 and ends[1] - ends[0] == END_OF_LINE_ZEROS + 1  # EOFB, ITU-T T.6, 2.4.1.1
        elif page.compression == COMPRESSION.CCITTFAX3 and len(ends):
            options = page.tags.get(292)
            tagged = bool(options is not None and options.value & TWO_DIMENSIONAL)
            apart = np.diff(ends, prepend=-100) > END_OF_LINE_ZEROS + 1 + tagged  # six in a row end the page
            whole = int(apart.sum()) >= rows - (ends[0] > END_OF_LINE_ZEROS + 8)
        else:
            # At most, two code words meet and the filling up of a byte; at the end, that of a word.
            sound = zeros.max(initial=0) < 24 and bits.size - ones.max(initial=0) <= 64
            whole = sound and (page.is_tiled or _brings_all_rows(np.packbits(bits).tobytes(), rows, page.imagewidth))
        if not whole:
            raise PhotoError(CUT_OFF + ", or damaged")


def _brings_all_rows(data: bytes, rows: int, width: int) -> bool:
    """Whether run lengths (TIFF 6.0, section 10) end with the last row; if not, what follows changes the picture."""
    followed = imagecodecs.ccittrle_decode(data + bytes(len(data)), height=rows, width=width)
    return bool(np.array_equal(followed, imagecodecs.ccittrle_decode(data + data, height=rows, width=width)))
