"""Pixels of TIFF pages, strip by strip, so that memory stays small; and how pages are written."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from tifffile import COMPRESSION, PHOTOMETRIC, SAMPLEFORMAT

from bwcolor.errors import PhotoError
from bwcolor.imaging.arrays import Pixels
from bwcolor.imaging.orientation import as_stored
from bwcolor.photo.formats.decoders import SEEN_SIDE, Decoded, from_pixels, full_range, reduced, to_eight_bits, to_luma
from bwcolor.photo.formats.fax import FAX, check_fax, fax_pixels
from bwcolor.photo.formats.header import bounded, sound
from bwcolor.photo.formats.old_jpeg import old_jpeg_pieces, old_jpeg_pixels
from bwcolor.photo.formats.png import plain as plain_png
from bwcolor.photo.formats.tiff_values import as_levels, lab_as_rgb, stored_dtype
from bwcolor.photo.formats.tiffchecks import CUT_OFF, check_jpeg, check_layout, check_size, raw_value, read_segment
from bwcolor.photo.formats.tifftags import MASK
from bwcolor.photo.metadata.blank import is_blank

# Compressions whose output is the very bytes of the pixels, so that its length shows whether any are missing.
PLAIN = frozenset({
    COMPRESSION.NONE, COMPRESSION.LZW, COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE, COMPRESSION.PACKBITS,
    COMPRESSION.ZSTD,
})  # fmt: skip
OLD_JPEG = COMPRESSION.OJPEG
JPEGS = frozenset({COMPRESSION.JPEG, COMPRESSION.JPEG_LOSSY})
CHANNELS: dict[int, int] = {
    PHOTOMETRIC.MINISWHITE: 1, PHOTOMETRIC.MINISBLACK: 1, PHOTOMETRIC.PALETTE: 1, PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.CIELAB: 3, PHOTOMETRIC.ICCLAB: 3, PHOTOMETRIC.YCBCR: 3, PHOTOMETRIC.SEPARATED: 4, PHOTOMETRIC.MASK: 1,
}  # fmt: skip
ASSOCIATED, UNASSOCIATED = 1, 2  # kinds of alpha, TIFF 6.0, ExtraSamples
GRAYS: dict[int, str] = {
    PHOTOMETRIC.MINISWHITE: "miniswhite", PHOTOMETRIC.MINISBLACK: "minisblack", PHOTOMETRIC.MASK: "mask",
}  # fmt: skip
PLANAR_SEPARATE = 2
FLOATING_POINT = 3  # predictor, Adobe's TIFF Technical Note 3
BLOCK_ROWS = 256  # rows read at once from uncompressed files
ORIENTATION, XMP, ICC = 274, 700, 34675
LEAST_ICC = 132  # bytes, a profile's header and the number of its tags: ICC.1:2022, 7.1
XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=.|>)([0-9])")


@dataclass(frozen=True, slots=True, eq=False)
class PageLayout:
    """What a written page takes over from its source. compression: a name as tifffile takes it, or None. icc: the
    profile. kind: NewSubfileType, whose bits say smaller version and page of a document (TIFF 6.0, 254). lost: what of
    its layout the output will lack, in words."""

    compression: str | None
    icc: bytes | None
    kind: int
    lost: tuple[str, ...]


@contextmanager
def _page(file: BinaryIO, number: int) -> Iterator[tifffile.TiffPage]:
    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        yield sound(tiff.pages[number].aspage())


def decode_tiff_page(file: BinaryIO, number: int) -> tuple[Decoded, int, int]:
    """Luma, alpha and colours of a page, its orientation, see Photo, and its NewSubfileType."""
    with _page(file, number) as page:
        orientation, kind = _orientation(page, file), _subfile_type(page)
        if _needs_libtiff(page):
            return from_pixels(_libtiff_pixels(file, number, orientation)), orientation, kind
        return _gather(page, _strips(page, file)), orientation, kind


def _subfile_type(page: tifffile.TiffPage) -> int:
    return int(page.subfiletype) | (MASK if page.photometric == PHOTOMETRIC.MASK else 0)


@dataclass(frozen=True, slots=True, eq=False)
class StoredGray:
    """A page of one channel as it is stored. values: (height, width), uint8 or uint16, of `bits` bits, whatever black
    and white are. photometric: what they are, as tifffile takes it."""

    values: Pixels
    bits: int
    photometric: str


def is_gray_page(file: BinaryIO, number: int) -> bool:
    """Whether it has one channel, which is no number of a palette's color."""
    with _page(file, number) as page:
        return page.samplesperpixel == 1 and page.photometric in GRAYS


def stored_gray(file: BinaryIO, number: int) -> StoredGray | None:
    """A gray page's values; None where it has colors or alpha."""
    if not is_gray_page(file, number):
        return None
    with _page(file, number) as page:
        values = np.concatenate([strip[..., 0] for strip in _stored(page, file)])
        return StoredGray(values, min(16, page.bitspersample), GRAYS[page.photometric])


def _orientation(page: tifffile.TiffPage, file: BinaryIO) -> int:
    """The page's tag, or what its XMP says where there is no tag."""
    tag = page.tags.get(ORIENTATION)
    if tag is None:
        said = XMP_ORIENTATION.search(raw_value(page, file, XMP) or b"")
        value = int(said[1]) if said else 1
    else:
        value = tag.value
    return int(value) if value in range(1, 9) else 1


def tiff_page_pixels(file: BinaryIO, number: int) -> Pixels:
    """The colours of a page as stored: (height, width, 3 or 4), uint8 or full-range uint16."""
    with _page(file, number) as page:
        if _needs_libtiff(page):
            pixels = _libtiff_pixels(file, number, _orientation(page, file))
            return pixels if pixels.ndim == 3 else _as_rgb(pixels[..., None])
        strips = [strip if strip.shape[2] > 2 else _as_rgb(strip) for strip in _strips(page, file)]
        return np.concatenate(strips)


def _as_rgb(strip: Pixels) -> Pixels:
    return np.concatenate([np.repeat(strip[..., :1], 3, -1), strip[..., 1:]], -1)


def page_layout(file: BinaryIO, number: int) -> PageLayout:
    """What the written page should take over; raises PhotoError for damaged tags."""
    names: dict[int, str | None] = {COMPRESSION.NONE: None, COMPRESSION.LZW: "lzw", COMPRESSION.ZSTD: "zstd"}
    with _page(file, number) as page:
        known = CHANNELS.get(page.photometric, 1) + (_alpha_kind(page) is not None)
        lost = [("extra channels of unknown meaning left out")] if page.samplesperpixel > known else []
        lost += ["pages inside a page (SubIFDs) left out"] if page.tags.get(330) is not None else []
        icc = raw_value(page, file, ICC)
        if page.tags.get(ICC) is not None and (icc is None or len(icc) < LEAST_ICC):
            lost += ["damaged color profile left out"] if icc is None or not is_blank(icc) else []
            icc = None
        return PageLayout(
            names.get(page.compression, "zlib"),
            icc,
            _subfile_type(page),
            tuple(lost),
        )


def _needs_libtiff(page: tifffile.TiffPage) -> bool:
    """Whether Pillow has to decode the page as a whole: luma and chroma outside JPEG."""
    return page.photometric == PHOTOMETRIC.YCBCR and page.compression in PLAIN


def _libtiff_pixels(file: BinaryIO, number: int, orientation: int) -> Pixels:
    """A page's pixels as stored, (h, w) or (h, w, 3), uint8."""
    with _page(file, number) as page:
        check_layout(page)
    # An open file, not its path, because Pillow 13.0 scrambles turned TIFFs that it maps from disk.
    with Image.open(bounded(file), formats=["TIFF"]) as image:
        image.seek(number)
        pixels = np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
    return as_stored(pixels, orientation)  # Pillow turns TIFFs upright


def _gather(page: tifffile.TiffPage, strips: Iterator[Pixels]) -> Decoded:
    """Fills luma and alpha and a small picture from strips (rows, width, channels)."""
    height, width = page.imagelength, page.imagewidth
    luma: Pixels | None = None
    alpha: Pixels | None = None
    small: list[NDArray[np.uint8]] = []
    every = max(1, -(-max(height, width) // SEEN_SIDE))  # rows of the photo for one of the small picture
    waiting: list[Pixels] = []
    top = 0
    for strip in strips:
        rows, channels = len(strip), strip.shape[2]
        if luma is None:
            luma = np.empty((height, width), strip.dtype)
            alpha = np.empty((height, width), strip.dtype) if channels in (2, 4) else None
        if alpha is not None:
            alpha[top : top + rows] = strip[..., -1]
        if channels < 3:
            luma[top : top + rows] = strip[..., 0]
        else:
            rgb = np.ascontiguousarray(strip[..., :3])
            luma[top : top + rows] = to_luma(rgb)
            waiting.append(rgb)
            if top + rows == height or sum(map(len, waiting)) >= 8 * every:
                block = np.concatenate(waiting)
                waiting = []
                size = (max(1, round(width / every)), max(1, round(len(block) / every)))
                resized = cv2.resize(to_eight_bits(block), size, interpolation=cv2.INTER_AREA)
                small.append(np.asarray(resized, np.uint8))
        top += rows
    if luma is None or top != height:
        raise PhotoError(CUT_OFF)
    return Decoded(luma, alpha, reduced(np.concatenate(small)) if small else None)


def _strips(page: tifffile.TiffPage, file: BinaryIO) -> Iterator[Pixels]:
    """Strips from top to bottom, (rows, width, channels): gray, gray and alpha, RGB, or RGBA; full range."""
    if page.photometric not in CHANNELS:
        known = page.photometric in set(PHOTOMETRIC)
        name = PHOTOMETRIC(page.photometric).name if known else f"number {page.photometric}"
        raise PhotoError(f"stores colours as {name}; save it as gray or RGB")
    if page.samplesperpixel < CHANNELS[page.photometric] + (_alpha_kind(page) is not None):
        raise PhotoError("damaged: it stores fewer values a pixel than its colours need")
    if page.compression not in set(COMPRESSION):
        raise PhotoError(f"is compressed in a way ({page.compression}) that is not known; save it uncompressed or LZW")
    for strip in _stored(page, file):
        for top in range(0, len(strip), BLOCK_ROWS):  # a page may be a single strip
            yield _meaning(strip[top : top + BLOCK_ROWS], page)


def _stored(page: tifffile.TiffPage, file: BinaryIO) -> Iterator[Pixels]:
    """Strips of samples as stored, or as a JPEG gives them, (rows, width, samples)."""
    if page.compression == OLD_JPEG:
        return _old_jpeg(page, file)
    return _uncompressed(page, file) if _is_uncompressed(page) else _segments(page, file)


def _old_jpeg(page: tifffile.TiffPage, file: BinaryIO) -> Iterator[Pixels]:
    check_layout(page)
    if page.bitspersample != 8:
        raise PhotoError(f"stores an old kind of JPEG with {page.bitspersample} bits; save it uncompressed or LZW")
    for piece, rows in old_jpeg_pieces(page, file):
        yield old_jpeg_pixels(piece, rows, page.imagewidth, gray=CHANNELS[page.photometric] == 1)


def _is_uncompressed(page: tifffile.TiffPage) -> bool:
    """Whether the pixels lie in the file one after the other, so that any rows can be read."""
    return (
        page.compression == COMPRESSION.NONE
        and not page.is_tiled
        and page.bitspersample in (8, 16)
        and page.sampleformat != SAMPLEFORMAT.IEEEFP
        and page.planarconfig != PLANAR_SEPARATE
        and page.is_contiguous
        and page.fillorder == 1
    )


def _uncompressed(page: tifffile.TiffPage, file: BinaryIO) -> Iterator[Pixels]:
    width, samples = page.imagewidth, page.samplesperpixel
    dtype = np.dtype(f"{page.parent.byteorder}u{page.bitspersample // 8}")
    row = width * samples * dtype.itemsize
    for top in range(0, page.imagelength, BLOCK_ROWS):
        rows = min(BLOCK_ROWS, page.imagelength - top)
        data = read_segment(file, page.dataoffsets[0] + top * row, rows * row)
        yield np.frombuffer(data, dtype).astype(dtype.newbyteorder("=")).reshape(rows, width, samples)


def _segments(page: tifffile.TiffPage, file: BinaryIO) -> Iterator[Pixels]:
    """Strips, or rows of tiles, put together from the file's segments."""
    check_layout(page)
    if page.compression in FAX:
        check_fax(page, file)
    height, width, samples = page.imagelength, page.imagewidth, page.samplesperpixel
    separate = page.planarconfig == PLANAR_SEPARATE and samples > 1
    seg_rows, seg_width = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, width)
    if not seg_rows or not seg_width:
        raise PhotoError("damaged")
    seg_rows = min(seg_rows, height) if not page.is_tiled else seg_rows
    across, down = -(-width // seg_width), -(-height // seg_rows)
    planes = samples if separate else 1
    if len(page.dataoffsets) < across * down * planes or len(page.databytecounts) < across * down * planes:
        raise PhotoError(CUT_OFF)
    for band in range(down):
        rows = min(seg_rows, height - band * seg_rows)
        dtype = np.uint16 if page.bitspersample > 8 else np.uint8
        strip = np.empty((rows, width, samples), dtype)
        for plane in range(planes):
            channels = slice(plane, plane + 1) if separate else slice(None)
            for column in range(across):
                number = (plane * down + band) * across + column
                # Strips at the bottom are short; tiles are whole, and what lies outside is cut off.
                expected = (seg_rows if page.is_tiled else rows, seg_width, 1 if separate else samples)
                left = column * seg_width
                part = _segment(page, file, number, expected, (rows, min(seg_width, width - left)))
                strip[:, left : left + seg_width, channels] = part[:rows, : width - left]
        yield strip


def _segment(
    page: tifffile.TiffPage, file: BinaryIO, number: int, shape: tuple[int, int, int], needed: tuple[int, int]
) -> Pixels:
    """One decoded strip or tile, (rows, width, samples) as `shape` says. needed: rows and columns within the page."""
    data = read_segment(file, page.dataoffsets[number], page.databytecounts[number])
    if page.compression in PLAIN and page.bitspersample in (8, 16, 32, 64) and page.fillorder == 1:
        return _plain_segment(page, data, shape)
    room = shape[0] if page.is_tiled else min(page.rowsperstrip, page.imagelength), shape[1]
    if page.compression in JPEGS:
        check_jpeg(data, page.jpegtables, needed, room)
    if page.compression in FAX:
        return fax_pixels(page, data, shape[0], shape[1])[..., None]
    check_size(page.compression, data, room)
    if page.compression == COMPRESSION.PNG:
        data = plain_png(data)
    decoded, _, found = page.decode(
        data, number, jpegtables=page.jpegtables, jpegheader=page.jpegheader, _fullsize=True
    )
    if decoded is None:
        raise PhotoError(CUT_OFF)
    return as_levels(np.asarray(decoded).reshape(found[1:]))


def _plain_segment(page: tifffile.TiffPage, data: bytes, shape: tuple[int, int, int]) -> Pixels:
    # The differences of floating-point values have an order of bytes of their own.
    dtype = stored_dtype(page, "=" if page.predictor == FLOATING_POINT else page.parent.byteorder)
    size = int(np.prod(shape)) * dtype.itemsize
    if page.compression != COMPRESSION.NONE:
        data = tifffile.TIFF.DECOMPRESSORS[page.compression](data, out=size)
    if len(data) < size:
        raise PhotoError(CUT_OFF)
    values = np.frombuffer(data, dtype, count=int(np.prod(shape))).reshape(shape).astype(dtype.newbyteorder("="))
    if (
        page.predictor == 2 and dtype.kind == "u"
    ):  # horizontal differences, TIFF 6.0, section 14; unsigned sums wrap as they should
        values = np.cumsum(values, axis=1, dtype=values.dtype)
    elif page.predictor == FLOATING_POINT and dtype.kind == "f":
        values = tifffile.TIFF.UNPREDICTORS[FLOATING_POINT](values, axis=-2)
    elif page.predictor != 1:
        raise PhotoError(f"uses predictor {page.predictor}; save it as gray or RGB, uncompressed or LZW")
    return as_levels(values)


def _alpha_kind(page: tifffile.TiffPage) -> int | None:
    """ASSOCIATED or UNASSOCIATED when the first channel beyond the colours is alpha."""
    extra = tuple(page.extrasamples)
    return int(extra[0]) if extra and extra[0] in (ASSOCIATED, UNASSOCIATED) else None


def _meaning(strip: Pixels, page: tifffile.TiffPage) -> Pixels:
    """Stored samples -> gray, gray and alpha, RGB or RGBA in full range."""
    channels, photometric = CHANNELS[page.photometric], page.photometric
    kind = _alpha_kind(page)
    colours, alpha = strip[..., :channels], strip[..., channels : channels + 1] if kind is not None else None
    if photometric == PHOTOMETRIC.PALETTE:
        palette = page.colormap
        if not isinstance(palette, np.ndarray) or palette.shape[0] != 3 or palette.shape[1] <= colours.max():
            raise PhotoError("damaged: colours of its palette are missing")
        # Some programs wrote 8-bit levels where 16 are meant; libtiff reads them so, too.
        colours = (palette >> 8 if palette.max() > 0xFF else palette).astype(np.uint8).T[colours[..., 0]]
    else:
        colours = full_range(colours, min(16, page.bitspersample))
    if photometric == PHOTOMETRIC.MINISWHITE:
        colours = np.invert(colours)
    elif photometric == PHOTOMETRIC.SEPARATED:
        colours = _inks_to_rgb(colours)
    elif photometric in (PHOTOMETRIC.CIELAB, PHOTOMETRIC.ICCLAB):
        colours = lab_as_rgb(colours, photometric)
    if alpha is None:
        return colours
    alpha = full_range(alpha, min(16, page.bitspersample))
    if kind == ASSOCIATED:
        top, alpha32 = np.iinfo(colours.dtype).max, alpha.astype(np.uint32)
        plain = (colours * np.uint32(top) + alpha32 // 2) // np.maximum(alpha32, 1)  # rounded; at most 32 bits
        colours = np.where(alpha32 > 0, np.minimum(plain, top), 0).astype(colours.dtype)
    return np.concatenate([colours, alpha], -1)


def _inks_to_rgb(inks: Pixels) -> Pixels:
    """Cyan, magenta, yellow, black -> RGB without a colour profile: what each ink leaves of white light."""
    top = np.iinfo(inks.dtype).max
    left = (top - inks).astype(np.uint32)  # which also holds the product of two
    rgb: Any = (left[..., :3] * left[..., 3:] + top // 2) // top
    return np.asarray(rgb, inks.dtype)
