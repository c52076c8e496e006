"""Pixels of TIFF pages, strip by strip, so that memory stays small; and how pages are written."""

import io
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
from tifffile import COMPRESSION, PHOTOMETRIC

from bwcolor.errors import PhotoError
from bwcolor.formats.decoders import (
    SEEN_SIDE,
    Decoded,
    Pixels,
    from_pixels,
    full_range,
    reduced,
    to_eight_bits,
    to_luma,
)
from bwcolor.turning import as_stored

# Compressions whose output is the very bytes of the pixels, so that its length shows whether any are missing.
PLAIN = frozenset({
    COMPRESSION.NONE, COMPRESSION.LZW, COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE, COMPRESSION.PACKBITS,
    COMPRESSION.ZSTD,
})  # fmt: skip
FAX = frozenset({COMPRESSION.CCITTRLE, COMPRESSION.CCITTFAX3, COMPRESSION.CCITTFAX4})
OLD_JPEG = COMPRESSION.OJPEG
CHANNELS: dict[int, int] = {
    PHOTOMETRIC.MINISWHITE: 1, PHOTOMETRIC.MINISBLACK: 1, PHOTOMETRIC.PALETTE: 1, PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.YCBCR: 3, PHOTOMETRIC.SEPARATED: 4,
}  # fmt: skip
ASSOCIATED, UNASSOCIATED = 1, 2  # kinds of alpha, TIFF 6.0, ExtraSamples
PLANAR_SEPARATE = 2
BLOCK_ROWS = 256  # rows read at once from uncompressed files
ORIENTATION, XMP = 274, 700
XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=.|>)([0-9])")


@dataclass(frozen=True, slots=True, eq=False)
class PageLayout:
    """What a written page takes over from its source. compression: a name as tifffile takes it, or None. icc: the
    profile. reduced: whether the page calls itself a smaller version of another. alpha: whether it has one. lost: what
    of its layout the output will lack, in words."""

    compression: str | None
    icc: bytes | None
    reduced: bool
    lost: tuple[str, ...]


@contextmanager
def _page(file: BinaryIO, number: int) -> Iterator[tifffile.TiffPage]:
    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        yield tiff.pages[number].aspage()


def decode_tiff_page(file: BinaryIO, number: int) -> tuple[Decoded, int]:
    """Luma, alpha and colours of a page, and its orientation; see Photo."""
    with _page(file, number) as page:
        orientation = _orientation(page)
        if _needs_libtiff(page):
            return from_pixels(_libtiff_pixels(file, number, orientation)), orientation
        return _gather(page, _strips(page, file)), orientation


def _orientation(page: tifffile.TiffPage) -> int:
    """The page's tag, or what its XMP says where there is no tag."""
    tag, xmp = page.tags.get(ORIENTATION), page.tags.get(XMP)
    value = tag.value if tag is not None else 1
    if tag is None and xmp is not None:
        said = XMP_ORIENTATION.search(bytes(xmp.value))
        value = int(said[1]) if said else 1
    return int(value) if value in range(1, 9) else 1


def tiff_page_pixels(file: BinaryIO, number: int) -> Pixels:
    """The colours of a page as stored: (height, width, 3 or 4), uint8 or full-range uint16."""
    with _page(file, number) as page:
        if _needs_libtiff(page):
            pixels = _libtiff_pixels(file, number, _orientation(page))
            return pixels if pixels.ndim == 3 else _as_rgb(pixels[..., None])
        strips = [strip if strip.shape[2] > 2 else _as_rgb(strip) for strip in _strips(page, file)]
        return np.concatenate(strips)


def _as_rgb(strip: Pixels) -> Pixels:
    return np.concatenate([np.repeat(strip[..., :1], 3, -1), strip[..., 1:]], -1)


def page_layout(file: BinaryIO, number: int) -> PageLayout:
    """What the written page should take over; raises PhotoError for damaged tags."""
    names: dict[int, str | None] = {COMPRESSION.NONE: None, COMPRESSION.LZW: "lzw", COMPRESSION.ZSTD: "zstd"}
    with _page(file, number) as page:
        icc = page.tags.get(34675)
        known = CHANNELS.get(page.photometric, 1) + (_alpha_kind(page) is not None)
        lost = [("extra channels of unknown meaning left out")] if page.samplesperpixel > known else []
        lost += ["pages inside a page (SubIFDs) left out"] if page.tags.get(330) is not None else []
        return PageLayout(
            names.get(page.compression, "zlib"),
            bytes(icc.value) if icc is not None else None,
            bool(page.is_reduced),
            tuple(lost),
        )


def _needs_libtiff(page: tifffile.TiffPage) -> bool:
    """Whether Pillow's libtiff has to decode the page as a whole: fax coding, and luma and chroma outside JPEG."""
    if page.compression in FAX or page.compression == OLD_JPEG:
        return True
    return page.photometric == PHOTOMETRIC.YCBCR and page.compression in PLAIN


def _libtiff_pixels(file: BinaryIO, number: int, orientation: int) -> Pixels:
    """A page's pixels as stored, (h, w) or (h, w, 3), uint8."""
    file.seek(0)
    content = file.read()  # from memory, because Pillow 13.0 scrambles turned TIFFs that it maps from disk
    with Image.open(io.BytesIO(content), formats=["TIFF"]) as image:
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
        raise PhotoError("is cut off")
    return Decoded(luma, alpha, reduced(np.concatenate(small)) if small else None)


def _strips(page: tifffile.TiffPage, file: BinaryIO) -> Iterator[Pixels]:
    """Strips from top to bottom, (rows, width, channels): gray, gray and alpha, RGB, or RGBA; full range."""
    if page.photometric not in CHANNELS:
        raise PhotoError(f"stores colours as {PHOTOMETRIC(page.photometric).name}; save it as gray or RGB")
    for strip in _uncompressed(page, file) if _is_uncompressed(page) else _segments(page, file):
        yield _meaning(strip, page)


def _is_uncompressed(page: tifffile.TiffPage) -> bool:
    """Whether the pixels lie in the file one after the other, so that any rows can be read."""
    return (
        page.compression == COMPRESSION.NONE
        and not page.is_tiled
        and page.bitspersample in (8, 16)
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
        file.seek(page.dataoffsets[0] + top * row)
        data = file.read(rows * row)
        if len(data) < rows * row:
            raise PhotoError("is cut off")
        yield np.frombuffer(data, dtype).astype(dtype.newbyteorder("=")).reshape(rows, width, samples)


def _segments(page: tifffile.TiffPage, file: BinaryIO) -> Iterator[Pixels]:
    """Strips, or rows of tiles, put together from the file's segments."""
    height, width, samples = page.imagelength, page.imagewidth, page.samplesperpixel
    separate = page.planarconfig == PLANAR_SEPARATE and samples > 1
    seg_rows, seg_width = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, width)
    if not seg_rows or not seg_width:
        raise PhotoError("damaged")
    seg_rows = min(seg_rows, height) if not page.is_tiled else seg_rows
    across, down = -(-width // seg_width), -(-height // seg_rows)
    planes = samples if separate else 1
    if len(page.dataoffsets) < across * down * planes or len(page.databytecounts) < across * down * planes:
        raise PhotoError("is cut off")
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
                part = _segment(page, file, number, expected)
                left = column * seg_width
                strip[:, left : left + seg_width, channels] = part[:rows, : width - left]
        yield strip


def _segment(page: tifffile.TiffPage, file: BinaryIO, number: int, shape: tuple[int, int, int]) -> Pixels:
    """One decoded strip or tile, (rows, width, samples) as `shape` says."""
    file.seek(page.dataoffsets[number])
    count = page.databytecounts[number]
    data = file.read(count)
    if len(data) < count or not count:
        raise PhotoError("is cut off")
    if page.compression in PLAIN and page.bitspersample in (8, 16) and page.fillorder == 1:
        return _plain_segment(page, data, shape)
    decoded, _, found = page.decode(
        data, number, jpegtables=page.jpegtables, jpegheader=page.jpegheader, _fullsize=True
    )
    if decoded is None:
        raise PhotoError("is cut off")
    return np.asarray(decoded).reshape(found[1:])


def _plain_segment(page: tifffile.TiffPage, data: bytes, shape: tuple[int, int, int]) -> Pixels:
    dtype = np.dtype(f"{page.parent.byteorder}u{page.bitspersample // 8}")
    size = int(np.prod(shape)) * dtype.itemsize
    if page.compression != COMPRESSION.NONE:
        data = tifffile.TIFF.DECOMPRESSORS[page.compression](data, out=size)
    if len(data) < size:
        raise PhotoError("is cut off")
    values = np.frombuffer(data, dtype, count=int(np.prod(shape))).reshape(shape).astype(dtype.newbyteorder("="))
    if page.predictor == 2:  # horizontal differences, TIFF 6.0, section 14; unsigned sums wrap as they should
        values = np.cumsum(values, axis=1, dtype=values.dtype)
    elif page.predictor != 1:
        raise PhotoError(f"uses predictor {page.predictor}; save it as gray or RGB, uncompressed or LZW")
    return values


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
        assert page.colormap is not None
        colours = (np.asarray(page.colormap, np.uint16) >> 8).astype(np.uint8).T[colours[..., 0]]
    else:
        colours = full_range(colours, page.bitspersample)
    if photometric == PHOTOMETRIC.MINISWHITE:
        colours = np.invert(colours)
    elif photometric == PHOTOMETRIC.SEPARATED:
        colours = _inks_to_rgb(colours)
    if alpha is None:
        return colours
    alpha = full_range(alpha, page.bitspersample)
    if kind == ASSOCIATED:
        top = np.iinfo(colours.dtype).max
        plain = np.divide(colours * np.float64(top), alpha, out=np.zeros(colours.shape), where=alpha > 0)
        colours = np.minimum(np.round(plain), top).astype(colours.dtype)
    return np.concatenate([colours, alpha], -1)


def _inks_to_rgb(inks: Pixels) -> Pixels:
    """Cyan, magenta, yellow, black -> RGB without a colour profile: what each ink leaves of white light."""
    top = np.iinfo(inks.dtype).max
    left = (top - inks).astype(np.uint64)
    rgb: Any = (left[..., :3] * left[..., 3:] + top // 2) // top
    return np.asarray(rgb, inks.dtype)
