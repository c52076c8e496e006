"""The colour photo as a file: luma kept, chroma fitted, metadata carried over."""

import io
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, BinaryIO

import cv2
import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from bwcolor.errors import PhotoError
from bwcolor.imaging.arrays import Pixels
from bwcolor.imaging.color import Array
from bwcolor.imaging.gamut import STRIP_ROWS, chroma_strips, compose_pixels, composed_strips
from bwcolor.imaging.orientation import upright
from bwcolor.imaging.resizing import reduced_to
from bwcolor.options import Sampling
from bwcolor.photo.formats.decoders import to_eight_bits
from bwcolor.photo.formats.jpeg import GrayEncoder, carried_frame, carry_luma, encode_gray, luma_coding
from bwcolor.photo.formats.jpeg_repair import mended
from bwcolor.photo.formats.known import Format
from bwcolor.photo.formats.tiff_values import ROUNDED
from bwcolor.photo.formats.tiffpages import PageLayout, page_layout, stored_gray, tiff_page_pixels
from bwcolor.photo.formats.tifftags import LONG, MASK, SUBFILE_TYPE, Tag, write_tags
from bwcolor.photo.metadata.read import Metadata, read_metadata
from bwcolor.photo.metadata.write import (
    for_pillow,
    lost_in_tiff,
    lost_of_native,
    put_into_jpeg,
    put_into_png,
    resolutions,
    tiff_tags,
    xmp_of,
)
from bwcolor.photo.metadata.xmp import read_label
from bwcolor.photo.scan import Photo, Scan

WEBP_QUALITY = 95
AVIF_QUALITY = 90
PNG_LEVEL = 2  # a higher one costs many times the time for a few per cent of the size
ZLIB_LEVEL = 4
TRIED_STRIPS = 3  # or a few more, all over a TIFF page, to see whether compression makes it smaller
JPEG_MAX_SIDE = 65_500  # px that libjpeg writes
WEBP_MAX_SIDE = 16_383  # px
BMP_RESOLUTION = 38  # bytes from the start of a BMP: pixels per metre, across and down
INCH = 0.0254  # m
SCREEN = (96.0, 96.0)  # dots per inch, of a photo that says nothing
PREVIEW_SIDE = 160  # px, of the small picture inside EXIF (EXIF 2.32, 4.8.1)
CLASSIC_TIFF = 3_900_000_000  # bytes of pixels from which a TIFF is written as BigTIFF
LUMA_TABLE = [1] * 64  # for a photo whose own table is not known: nothing but rounding is lost
COMPRESSORS: dict[str, Callable[[Any], bytes | bytearray]] = {
    "lzw": imagecodecs.lzw_encode,
    "zlib": partial(imagecodecs.zlib_encode, level=ZLIB_LEVEL),
    "zstd": imagecodecs.zstd_encode,
}


@dataclass(frozen=True, slots=True)
class Coding:
    """How outputs are stored. format: of WRITABLE. sampling: of chroma where the format has a choice. chroma_quality:
    1 to 100, of JPEG's chroma."""

    format: Format
    sampling: Sampling = "420"
    chroma_quality: int = 92


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """What becomes one picture. chroma: (h, w, 2), Cb and Cr in -0.5..0.5, at any size up to the photo's, as stored;
    None keeps the colours that the page has; where it is no picture, see Photo.stays, its values stay as they are
    stored, those of a gray page in gray."""

    photo: Photo
    chroma: Array | None
    metadata: Metadata


def encode(scan: Scan, pages: Iterator[Page], coding: Coding, out: BinaryIO) -> tuple[str, ...]:
    """Writes the colour photo with the scan's luma, alpha and metadata; returns what had no place in it, in words.

    Raises PhotoError when the format can't hold the photo.
    """
    behind = f"pictures behind the first of a {scan.header.format.upper()} left out"
    lost: tuple[str, ...] = (behind,) if scan.header.frames > 1 else ()
    lost += (ROUNDED,) if scan.header.bits > 16 else ()
    if coding.format == "tiff":
        return (*_write_tiff(scan, pages, out), *lost)
    page = next(pages)
    metadata = page.metadata
    if coding.format != scan.header.format:
        lost = (*lost_of_native(metadata), *lost)
        metadata = replace(metadata, native=())
    assert page.chroma is not None
    with _told_as(coding.format):
        content, more = ENCODERS[coding.format](scan, page.photo, page.chroma, metadata, coding)
    out.writelines(content)
    return (*page.photo.notes, *metadata.lost, *lost, *more)


@contextmanager
def _told_as(form: Format) -> Iterator[None]:
    """Encoders raise whatever they like on odd metadata; a full disk is none of their business."""
    try:
        yield
    except (PhotoError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise PhotoError(f"can't be written as {form.upper()} ({error})") from error


Encoded = tuple[list[bytes | memoryview], tuple[str, ...]]  # a file in pieces, and what had no place in it, in words


def chroma_quantization(quality: int) -> list[int]:
    """A chroma table for a JPEG: ITU-T T.81 table K.2 scaled as libjpeg does, 64 values, row by row."""
    corner = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
    scale = 200 - 2 * quality if quality >= 50 else 5000 // quality
    table = [corner[row][column] if row < 4 and column < 4 else 99 for row in range(8) for column in range(8)]
    return [min(255, max(1, (value * scale + 50) // 100)) for value in table]


def _encode_jpeg(scan: Scan, photo: Photo, chroma: Array, metadata: Metadata, coding: Coding) -> Encoded:
    """Carries the luma of a gray file over bit for bit; that of other files is made a gray file first."""
    source = mended(scan.read()) if scan.header.format == "jpeg" else b""
    frame = carried_frame(source)
    table, progressive = luma_coding(source)
    del source  # not held while a large photo's luma takes its memory
    height, width = photo.luma.shape
    if frame is None and max(height, width) > JPEG_MAX_SIDE:
        raise PhotoError(f"{width} x {height} is more than a JPEG can hold; --format tiff has room")
    encoders = [GrayEncoder(chroma_quantization(coding.chroma_quality), progressive) for _ in "br"]
    for strip in chroma_strips(photo.luma, chroma, coding.sampling):
        for encoder, plane in zip(encoders, strip, strict=True):
            encoder.add(plane)
    gray = mended(scan.read()) if frame is not None else encode_gray(photo.luma, table or LUMA_TABLE, progressive)
    carried = carry_luma(gray, [encoder.finish() for encoder in encoders], coding.sampling)
    content, lost = put_into_jpeg(metadata, carried)
    return content, lost if photo.alpha is None else (*lost, "transparency left out: JPEG has no place for it")


def _encode_png(scan: Scan, photo: Photo, chroma: Array, metadata: Metadata, coding: Coding) -> Encoded:
    content = _with_opencv(photo, chroma, ".png", [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])
    return put_into_png(metadata, content)


def _encode_webp(scan: Scan, photo: Photo, chroma: Array, metadata: Metadata, coding: Coding) -> Encoded:
    height, width = photo.luma.shape
    if max(height, width) > WEBP_MAX_SIDE:
        raise PhotoError(f"{width} x {height} is more than a WebP can hold; --format tiff has room")
    lossless = scan.header.format != "webp" or is_lossless_webp(scan.read())
    settings = {"lossless": lossless, "quality": 80 if lossless else WEBP_QUALITY, "exact": True}
    return _with_pillow("WEBP", photo, chroma, metadata, settings)


def _encode_avif(scan: Scan, photo: Photo, chroma: Array, metadata: Metadata, coding: Coding) -> Encoded:
    sampling = "4:4:4" if coding.sampling == "444" else "4:2:0"
    return _with_pillow("AVIF", photo, chroma, metadata, {"quality": AVIF_QUALITY, "subsampling": sampling})


def _with_pillow(kind: str, photo: Photo, chroma: Array, metadata: Metadata, settings: dict[str, Any]) -> Encoded:
    parts, lost = for_pillow(metadata)
    out = io.BytesIO()
    Image.fromarray(compose_pixels(photo.luma, photo.alpha, chroma)).save(out, kind, **settings, **parts)
    return [out.getvalue()], lost


def is_lossless_webp(source: bytes) -> bool:
    """Whether the picture's chunk is VP8L; others, such as an ICC profile, may come first (RFC 9649)."""
    position = 12
    while position + 8 <= len(source):
        kind = source[position : position + 4]
        if kind in (b"VP8L", b"VP8 "):
            return kind == b"VP8L"
        length = int.from_bytes(source[position + 4 : position + 8], "little")
        position += 8 + length + length % 2
    return False


def _encode_bmp(scan: Scan, photo: Photo, chroma: Array, metadata: Metadata, coding: Coding) -> Encoded:
    # OpenCV, because Pillow writes alpha without the header that makes programs read it.
    content = bytearray(_with_opencv(photo, chroma, ".bmp", [], photo.orientation))  # no other place for it
    across, down = (round(dots / INCH) for dots in next(iter(resolutions(metadata)), SCREEN))
    turned = photo.orientation in (5, 6, 7, 8)
    struct.pack_into("<ii", content, BMP_RESOLUTION, *((down, across) if turned else (across, down)))
    return [bytes(content)], _lost_in_bmp(scan, metadata)


def _lost_in_bmp(scan: Scan, metadata: Metadata) -> tuple[str, ...]:
    """The label is told apart from the source's own metadata; both are in one packet of XMP."""
    told = xmp_of(read_metadata(scan)[0])
    held = (metadata.exif, told, metadata.icc, metadata.photoshop, metadata.comments, metadata.tags)
    lost = ("metadata left out: BMP has no place for it",) if any(held) else ()
    packet = xmp_of(metadata)
    if packet is not None and read_label(packet) is not None:
        lost = (*lost, "label left out: BMP has no place for it")
    return lost


def _with_opencv(photo: Photo, chroma: Array, extension: str, settings: list[int], orientation: int = 1) -> bytes:
    """The composed pixels, turned as `orientation` says, as a file without metadata."""
    pixels = upright(compose_pixels(photo.luma, photo.alpha, chroma), orientation)
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(extension, bgr, settings)
    if not done:
        raise PhotoError(f"could not be encoded as {extension}")
    return encoded.tobytes()


ENCODERS: dict[Format, Callable[[Scan, Photo, Array, Metadata, Coding], Encoded]] = {
    "jpeg": _encode_jpeg, "png": _encode_png, "webp": _encode_webp, "avif": _encode_avif, "bmp": _encode_bmp,
}  # fmt: skip


def _write_tiff(scan: Scan, pages: Iterator[Page], out: BinaryIO) -> tuple[str, ...]:
    """All pages, one after the other, in strips: what is in memory is one page's luma and alpha."""
    depth = 2 if scan.header.deep else 1
    big = scan.header.pages * scan.header.pixels * 4 * depth > CLASSIC_TIFF
    tags, lost = [], []
    with tifffile.TiffWriter(out, bigtiff=big, byteorder="<") as writer:
        for number, page in enumerate(pages):
            with scan.reading(number):
                layout = page_layout(scan.file, number) if scan.header.format == "tiff" else None
            with _told_as("tiff"):
                _write_page(writer, scan, number, page, layout)
            mask = layout is not None and layout.kind & MASK
            tags.append(tiff_tags(page.metadata) + ([_kind_tag(layout)] if layout and page.photo.stays else []))
            lost += ["a mask became a picture like the others"] if mask and not page.photo.stays else []
            lost += [*page.photo.notes, *page.metadata.lost, *lost_in_tiff(page.metadata)]
            lost += layout.lost if layout else ()
    write_tags(out, tags)
    return tuple(dict.fromkeys(lost))


def _write_page(writer: tifffile.TiffWriter, scan: Scan, number: int, page: Page, layout: PageLayout | None) -> None:
    photo = page.photo
    compression = layout.compression if layout is not None else "zlib"
    if photo.stays and _write_as_stored(writer, scan, number, page, compression):
        return
    channels = 3 if photo.alpha is None else 4
    whole = None
    if page.chroma is None:
        with scan.reading(number):
            whole = tiff_page_pixels(scan.file, number)
        whole = whole if whole.dtype == photo.luma.dtype else rounded_to_eight_bits(whole)
    tried = _strips(page, whole, max(1, -(-photo.luma.shape[0] // STRIP_ROWS) // TRIED_STRIPS))
    if compression is not None and not _shrinks(tried, compression):
        compression = None
    strips = _strips(page, whole)
    writer.write(
        strips if compression is None else (_compressed(strip, compression) for strip in strips),
        shape=(*photo.luma.shape, channels),
        dtype=photo.luma.dtype,
        rowsperstrip=STRIP_ROWS,
        photometric="rgb",
        extrasamples=["unassalpha"] if channels == 4 else None,
        compression=compression,
        predictor=compression is not None,
        subfiletype=layout.kind & ~MASK if layout is not None else 0,
        iccprofile=page.metadata.icc,
        software=False,
        metadata=None,
    )


def _write_as_stored(writer: tifffile.TiffWriter, scan: Scan, number: int, page: Page, compression: str | None) -> bool:
    """Writes a page that is no picture with the values, bits and meaning that it has; False where it is not gray."""
    with scan.reading(number):
        stored = stored_gray(scan.file, number)
    if stored is None:
        return False
    dtype = np.dtype(np.bool_) if stored.bits == 1 else stored.values.dtype
    rows = [stored.values[top : top + STRIP_ROWS, :, None] for top in range(0, len(stored.values), STRIP_ROWS)]
    differences = stored.bits in (8, 16)
    if not differences:  # tifffile compresses no other depths but 1 bit
        compression = "zlib" if stored.bits == 1 else None
    elif compression is not None and not _shrinks(iter(rows[:: -(-len(rows) // TRIED_STRIPS)]), compression):
        compression = None
    strips = (row if differences else np.packbits(row[..., 0], axis=1) for row in rows)
    writer.write(
        stored.values if compression is None else (_compressed(strip, compression, differences) for strip in strips),
        shape=stored.values.shape,
        dtype=dtype,
        bitspersample=stored.bits,
        rowsperstrip=STRIP_ROWS,
        photometric=stored.photometric,
        compression=compression,
        predictor=compression is not None and differences,
        subfiletype=0,  # see _kind_tag
        iccprofile=page.metadata.icc,
        software=False,
        metadata=None,
    )
    return True


def _kind_tag(layout: PageLayout) -> Tag:
    """NewSubfileType, which tifffile writes of masks only where they have one bit."""
    return Tag(SUBFILE_TYPE, LONG, 1, struct.pack("<I", layout.kind))


def _strips(page: Page, whole: Pixels | None, every: int = 1) -> Iterator[Pixels]:
    """Every so many strips of a page's pixels. whole: all of them, of a page that keeps its colours."""
    if page.chroma is not None:
        yield from composed_strips(page.photo.luma, page.photo.alpha, page.chroma, every)
    elif whole is not None:
        for top in range(0, len(whole), every * STRIP_ROWS):
            yield whole[top : top + STRIP_ROWS]


def _shrinks(strips: Iterator[Pixels], compression: str) -> bool:
    """Whether they get smaller by it: LZW makes noise of 16 bits a fifth larger."""
    return sum(len(_compressed(strip, compression)) - strip.nbytes for strip in strips) < 0


def _compressed(strip: Pixels, compression: str, differences: bool = True) -> bytes:
    """A strip as a TIFF stores it, differences of neighbours (TIFF 6.0, section 14) or values compressed."""
    if differences:
        strip = tifffile.TIFF.PREDICTORS[2](np.ascontiguousarray(strip), axis=-2)
    return bytes(COMPRESSORS[compression](strip))


def small_picture(photo: Photo, chroma: Array) -> bytes:
    """A JPEG of at most PREVIEW_SIDE px a side in colour, pixels as stored, for the place of a gray preview."""
    height, width = photo.luma.shape
    scale = min(1.0, PREVIEW_SIDE / max(height, width))
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    luma = cv2.resize(photo.luma, (columns, rows), interpolation=cv2.INTER_AREA)
    eight = to_eight_bits(np.asarray(luma))
    out = io.BytesIO()
    Image.fromarray(compose_pixels(eight, None, reduced_to(chroma, rows, columns))).save(out, "JPEG", quality=80)
    return out.getvalue()


def rounded_to_eight_bits(pixels: Pixels) -> NDArray[np.uint8]:
    """Values of 16 bits in an output of 8: the nearest ones. uint8 stays as it is."""
    if pixels.dtype == np.uint8:
        return np.asarray(pixels, np.uint8)
    nearest = ((np.arange(65_536, dtype=np.uint32) * 255 + 32_767) // 65_535).astype(np.uint8)
    return nearest[pixels]
