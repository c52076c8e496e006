"""Carrying a photo's metadata over: segments of JPEG, chunks of PNG, tags of TIFF."""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import tifffile

from bwcolor.photo import Photo

SOI = b"\xff\xd8"
COMMENT, APP0, APP1, APP2, APP13, APP14 = 0xFE, 0xE0, 0xE1, 0xE2, 0xED, 0xEE  # ITU-T T.81, table B.1
START_OF_SCAN = 0xDA
STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length

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


def rgb_profile(photo: Photo) -> bytes | None:
    """The photo's ICC profile if it is one for RGB. A gray one must never sit on a colour file."""
    icc = photo.icc
    return icc if icc is not None and icc[16:20] == b"RGB " else None  # ICC.1:2022, 7.2.6


def lost_metadata(photo: Photo) -> list[str]:
    """What of the photo's metadata its output will lack, in words; empty for most photos."""
    lost = []
    if photo.icc is not None and rgb_profile(photo) is None:
        kind = photo.icc[16:20].decode("ascii", "replace").strip()
        lost.append(f"colour profile ({kind}) left out: it does not fit a colour photo")
    if photo.format == "tiff" and _has_exif_folder(photo.source):
        lost.append("EXIF and GPS folders of the TIFF left out")
    return lost


def keep_jpeg_metadata(photo: Photo, encoded: bytes) -> bytes:
    """Puts the source's application and comment segments in place of those of a new JPEG."""
    keep_icc = rgb_profile(photo) is not None
    kept = [segment for marker, segment in _jpeg_segments(photo.source) if _jpeg_kept(marker, segment, keep_icc)]
    if not kept:
        return encoded
    rest = encoded[2:]
    while rest[1] == APP0 and kept[0][1] == APP0:  # the new file's JFIF header gives way to the old one
        rest = rest[2 + int.from_bytes(rest[2:4], "big") :]
    return SOI + b"".join(kept) + rest


def _jpeg_kept(marker: int, segment: bytes, keep_icc: bool) -> bool:
    if marker == COMMENT:
        return True
    if not APP0 <= marker <= 0xEF or marker == APP14:  # APP14 names the source's colour transform
        return False
    if marker == APP2 and segment[4:8] == b"MPF\0":  # an index of pictures that are not in the output
        return False
    return keep_icc or not (marker == APP2 and segment[4:16] == b"ICC_PROFILE\0")


def _jpeg_segments(source: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and bytes of each segment before the first scan."""
    position = 2
    while position + 4 <= len(source) and source[position] == 0xFF:
        marker = source[position + 1]
        if marker == 0xFF or marker in STANDALONE:  # fill byte, or a marker that stands alone
            position += 1 if marker == 0xFF else 2
            continue
        if marker == START_OF_SCAN:
            return
        end = position + 2 + int.from_bytes(source[position + 2 : position + 4], "big")
        yield marker, source[position:end]
        position = end


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


def tiff_tags(source: bytes) -> list[tuple[int, int, int, Any, bool]]:
    """Descriptive tags of the first page as tifffile's `extratags` takes them."""
    with tifffile.TiffFile(io.BytesIO(source)) as tiff:
        return [
            (tag.code, int(tag.dtype), tag.count, tag.value, True)
            for tag in tiff.pages.first.tags.values()
            if tag.code in TIFF_KEPT and int(tag.dtype) in TIFF_TYPES
        ]


def tiff_compressed(source: bytes) -> bool:
    """Whether the first page's pixels are stored with any compression."""
    with tifffile.TiffFile(io.BytesIO(source)) as tiff:
        return bool(tiff.pages.first.compression != tifffile.COMPRESSION.NONE)


def _has_exif_folder(source: bytes) -> bool:
    with tifffile.TiffFile(io.BytesIO(source)) as tiff:
        tags = tiff.pages.first.tags
        return EXIF_FOLDER in tags or GPS_FOLDER in tags
