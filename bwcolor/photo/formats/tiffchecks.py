"""Whether what a TIFF page stores is whole and of a sound size; decoders paint what is missing white or gray."""

import io
from typing import BinaryIO

import tifffile
from PIL import Image
from tifffile import COMPRESSION

from bwcolor.errors import PhotoError
from bwcolor.photo.formats import jp2
from bwcolor.photo.formats.decoders import proven, strictly_decoded, whole_parts
from bwcolor.photo.formats.jpeg import EOI, FRAMES, SOF0, SOF1, SOF2, SOI
from bwcolor.photo.formats.tifftags import SIZES

JPEG_2000 = frozenset({
    COMPRESSION.APERIO_JP2000_YCBC, COMPRESSION.JPEG_2000_LOSSY, COMPRESSION.APERIO_JP2000_RGB, COMPRESSION.JPEG2000,
})  # fmt: skip
CUT_OFF = "is cut off"
MAX_VALUE = 1 << 24  # bytes of a colour profile or XMP packet
MAX_SAMPLES = 8  # a pixel
MAX_TILE_SIDE = 4096  # px, or the page's side where that is longer
JPEG_BLOCK = 16  # px, what encoders round sides up to


def raw_value(page: tifffile.TiffPage, file: BinaryIO, code: int) -> bytes | None:
    """A tag's bytes, whatever type it calls them; None without the tag, or where they don't lie in the file."""
    tag = page.tags.get(code)
    if tag is None:
        return None
    size = tag.count * SIZES.get(int(tag.dtype), 0)
    if not 0 < size <= MAX_VALUE:
        return None
    try:
        return read_segment(file, tag.valueoffset, size)
    except PhotoError:
        return None


def read_segment(file: BinaryIO, start: int, size: int) -> bytes:
    """Bytes of a file; PhotoError when not all of them lie in it. Looked at first, since whatever a damaged file names
    as the size would be taken as memory."""
    if not 0 < size <= file.seek(0, io.SEEK_END) - start:
        raise PhotoError(CUT_OFF)
    file.seek(start)
    return file.read(size)


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
    check_frame(head, needed, room)
    if kind in (SOF0, SOF1, SOF2) and head[4] == 8 and head[9] in (1, 3, 4):
        strictly_decoded(data, parts, "CMYK" if head[9] == 4 else "GRAY")
    else:
        proven(parts)


def check_frame(head: bytes, needed: tuple[int, int], room: tuple[int, int]) -> None:
    """Raises PhotoError when a JPEG's frame header names another size than it has to fill, see check_jpeg."""
    for at, least, most in zip((5, 7), needed, room, strict=True):
        if not least <= int.from_bytes(head[at : at + 2], "big") <= _rounded_up(most):
            raise PhotoError("damaged: its JPEG segments are not of the page's size")


def check_size(compression: int, data: bytes, room: tuple[int, int]) -> None:
    """Raises PhotoError when a PNG, WebP or JPEG 2000 segment is far larger than its room: rows, columns; or lacks its
    end."""
    size: tuple[int, int] | None = None
    if compression in JPEG_2000:
        size = jp2.stored_size(io.BytesIO(data))
        if not jp2.has_end(data):
            raise PhotoError(CUT_OFF)
    elif compression in (COMPRESSION.PNG, COMPRESSION.WEBP, COMPRESSION.WEBP_DEPRECATED):
        with Image.open(io.BytesIO(data), formats=["PNG", "WEBP"]) as image:  # reads only the header
            size = image.height, image.width
    if size is not None and any(side > _rounded_up(most) for side, most in zip(size, room, strict=True)):
        raise PhotoError("damaged: its segments are larger than the page")


def _rounded_up(side: int) -> int:
    return -(-side // JPEG_BLOCK) * JPEG_BLOCK
