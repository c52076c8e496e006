"""Carrying a photo's metadata over: segments of JPEG, chunks of PNG, tags of TIFF."""

import io
import itertools
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import tifffile

from bwcolor.errors import PhotoError
from bwcolor.jpeg import SOI, SOS, segments
from bwcolor.photo import Photo

COMMENT, APP0, APP2, APP14, APP15 = 0xFE, 0xE0, 0xE2, 0xEE, 0xEF  # JPEG markers, ITU-T T.81, table B.1

PNG_SIGNATURE_AND_IHDR = 33  # bytes: 8 + 4 length + 4 type + 13 data + 4 CRC
# Chunks that stay true when gray becomes colour; iCCP only when it is a profile for RGB.
PNG_KEPT = frozenset({b"pHYs", b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"tIME", b"gAMA", b"cHRM", b"sRGB", b"iCCP"})

# TIFF tags that describe the photo, not the layout of its bytes (TIFF 6.0, Adobe XMP part 3).
TIFF_KEPT = frozenset({
    269, 270, 271, 272, 274, 285, 297, 305, 306, 315, 316, 333, 700, 33432, 33723, 34377, 40091, 40092,
    40093, 40094, 40095,
})  # fmt: skip
EXIF_FOLDER, GPS_FOLDER = 34665, 34853
TIFF_TYPES = frozenset({1, 2, 3, 4, 7, 9})  # BYTE, ASCII, SHORT, LONG, UNDEFINED, SLONG
TIFF_BYTE_TYPES = frozenset({1, 2, 7})  # copied byte for byte: text is often UTF-8 or Latin-1, not ASCII


def rgb_profile(photo: Photo) -> bytes | None:
    """The photo's ICC profile if it is one for RGB. A gray one must never sit on a colour file."""
    icc = photo.icc
    return icc if icc is not None and icc[16:20] == b"RGB " else None  # ICC.1:2022, 7.2.6


def lost_metadata(photo: Photo) -> list[str]:
    """What of the photo's metadata its output will lack, in words; empty for most photos."""
    lost = []
    if photo.icc is not None and rgb_profile(photo) is None:
        kind = photo.icc[16:20].decode("ascii", "replace").strip()
        lost.append(
            f"colour profile ({kind}) left out, since the output is RGB: viewers that use it may show other tones"
        )
    if photo.format == "tiff" and read_tiff_page(photo.source).folders:
        lost.append("EXIF and GPS folders of the TIFF left out")
    return lost


def keep_jpeg_metadata(photo: Photo, encoded: bytes) -> bytes:
    """Puts the source's application and comment segments in place of those of a new JPEG."""
    keep_icc = rgb_profile(photo) is not None
    kept = [
        segment
        for marker, segment in itertools.takewhile(_before_scans, segments(photo.source))
        if _jpeg_kept(marker, segment, keep_icc)
    ]
    header_end = 2
    while encoded[header_end + 1] == APP0:
        header_end += 2 + int.from_bytes(encoded[header_end + 2 : header_end + 4], "big")
    old_header = any(segment[1] == APP0 for segment in kept)  # then the new file's gives way to it
    return SOI + (b"" if old_header else encoded[2:header_end]) + b"".join(kept) + encoded[header_end:]


def _before_scans(part: tuple[int, bytes]) -> bool:
    return part[0] != SOS


def _jpeg_kept(marker: int, segment: bytes, keep_icc: bool) -> bool:
    if marker == COMMENT:
        return True
    if not APP0 <= marker <= APP15 or marker == APP14:  # APP14 names the source's colour transform
        return False
    if marker == APP2 and segment[4:8] == b"MPF\0":  # an index of pictures that are not in the output
        return False
    return keep_icc or not (marker == APP2 and segment[4:16] == b"ICC_PROFILE\0")


def keep_png_metadata(photo: Photo, encoded: bytes) -> bytes:
    """Puts the source's descriptive chunks behind the header of a new PNG that has none."""
    keep_icc = rgb_profile(photo) is not None
    kept = [chunk for kind, chunk in _png_chunks(photo.source) if kind in PNG_KEPT and (kind != b"iCCP" or keep_icc)]
    head, rest = encoded[:PNG_SIGNATURE_AND_IHDR], encoded[PNG_SIGNATURE_AND_IHDR:]
    return head + b"".join(kept) + rest


def _png_chunks(source: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and bytes of each chunk whose checksum is right."""
    position = 8
    while position + 12 <= len(source):
        (length,) = struct.unpack_from(">I", source, position)
        end = position + 12 + length
        kind, body, check = source[position + 4 : position + 8], source[position + 4 : end - 4], source[end - 4 : end]
        if kind != b"IDAT" and zlib.crc32(body).to_bytes(4, "big") == check:
            yield kind, source[position:end]
        position = end


@dataclass(frozen=True, slots=True)
class TiffPage:
    """What the first page of a TIFF says of itself.

    tags: the descriptive ones, as tifffile's `extratags` takes them. compressed: whether its pixels
    are. folders: whether it has EXIF or GPS data in folders of their own.
    """

    tags: list[tuple[int, int, int, Any, bool]]
    compressed: bool
    folders: bool


def read_tiff_page(source: bytes) -> TiffPage:
    """Reads the tags of a TIFF's first page; raises PhotoError when they are damaged."""
    try:
        with tifffile.TiffFile(io.BytesIO(source)) as tiff:
            page = tiff.pages.first
            return TiffPage(
                tags=[
                    (tag.code, int(tag.dtype), tag.count, _tiff_value(tag, source), True)
                    for tag in page.tags.values()
                    if tag.code in TIFF_KEPT and int(tag.dtype) in TIFF_TYPES
                ],
                compressed=bool(page.compression != tifffile.COMPRESSION.NONE),
                folders=EXIF_FOLDER in page.tags or GPS_FOLDER in page.tags,
            )
    except Exception as error:  # tifffile raises whatever it likes on damaged tags
        raise PhotoError(f"its TIFF tags can't be read ({error})") from error


def _tiff_value(tag: tifffile.TiffTag, source: bytes) -> Any:
    if int(tag.dtype) in TIFF_BYTE_TYPES:
        return source[tag.valueoffset : tag.valueoffset + tag.valuebytecount]
    return tag.value
