"""Pixels of each format but TIFF: bytes in memory -> luma, alpha and a small picture of the colours."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import imagecodecs
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from bwcolor.errors import PhotoError
from bwcolor.imaging.arrays import Pixels
from bwcolor.photo.formats import jp2, png
from bwcolor.photo.formats.header import pillow_formats
from bwcolor.photo.formats.jpeg import (
    APP0,
    APP14,
    APP15,
    COM,
    FRAMES,
    MOST_SCANS,
    RST0,
    RST7,
    SOI,
    SOS,
    Segment,
    is_complete,
    segments,
)
from bwcolor.photo.formats.jpeg_gaps import has_gap
from bwcolor.photo.formats.jpeg_repair import ARITHMETIC, NO_END, lacks_end, mended
from bwcolor.photo.formats.known import Format, Header
from bwcolor.photo.formats.pnm import pnm_pixels

SEEN_SIDE = 512  # px, longest side at which a photo's colours are looked at
MORE = bytes.fromhex("5aa53cc3") * 64  # entropy-coded data, put behind a scan
LESS = 16  # bytes at a scan's end that can't all belong to nothing, or to blocks outside the picture
RESTART = re.compile(rb"\xff+[%c-%c]" % (RST0, RST7))
BLOCK_ROWS = 8  # rows of a block (ITU-T T.81, A.3.1)
# What libjpeg says of padding between segments and of odd metadata; pixels are whole.
EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0x")
HARMLESS = ("extraneous bytes before marker", "JFIF revision", "bad ICC marker", "Adobe color transform")
LOOKAHEAD = 8  # bytes behind the picture that libjpeg reads, and so does not count as extraneous
FEW = 4  # extraneous bytes at the end of the last scan, as some cameras write, whatever they are
SPACES = {"GRAY": "GRAYSCALE", "CMYK": "CMYK", "RGB": "RGB"}  # as two libraries call them
CUT_OFF = png.CUT_OFF
METADATA = frozenset({*range(APP0, APP14), APP15, COM})
TRANSFORMS = frozenset({0, 1, 2})  # of APP14: what the components are
# Pillow's modes that it turns into 8-bit RGB without loss; its 16 and 32-bit ones it would only cut off at 255.
COLOUR_MODES = frozenset({"P", "RGB", "CMYK", "YCbCr"})


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """luma: (height, width), uint8 or uint16, BT.601; alpha: the same, or None. seen: RGB (h, w, 3) uint8, at most
    SEEN_SIDE px, of a file that can hold colours; None for a gray one. notes: what the file lacks beside its
    picture."""

    luma: Pixels
    alpha: Pixels | None
    seen: NDArray[np.uint8] | None
    notes: tuple[str, ...] = ()


def from_pixels(pixels: Pixels) -> Decoded:
    """(height, width), or with 1, 2, 3 or 4 channels: gray, gray and alpha, RGB, RGBA; uint8 or full-range uint16."""
    if pixels.ndim == 2:
        return Decoded(np.ascontiguousarray(pixels), None, None)
    channels = pixels.shape[2]
    alpha = np.ascontiguousarray(pixels[..., -1]) if channels in (2, 4) else None
    if channels <= 2:
        return Decoded(np.ascontiguousarray(pixels[..., 0]), alpha, None)
    rgb = np.ascontiguousarray(pixels[..., :3])
    return Decoded(to_luma(rgb), alpha, reduced(rgb))


def to_luma(rgb: Pixels) -> Pixels:
    """BT.601 luma of RGB (h, w, 3), rounded, in the same depth; gray stays exactly as it is."""
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), rgb.dtype)


def reduced(rgb: Pixels) -> NDArray[np.uint8]:
    """An area-averaged RGB of at most SEEN_SIDE px a side, 8 bit."""
    height, width = rgb.shape[:2]
    scale = min(1.0, SEEN_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA) if scale < 1 else rgb
    return to_eight_bits(small)


def to_eight_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """The upper 8 bits of uint16, or uint8 as it is."""
    return np.asarray(np.asarray(pixels, np.uint16) >> 8 if pixels.dtype == np.uint16 else pixels, np.uint8)


def full_range(pixels: NDArray[Any], bits: int) -> Pixels:
    """Values of `bits` bits -> all of uint8, or of uint16 from 9 bits up, rounded; reversible."""
    if bits in (8, 16):
        return np.asarray(pixels, np.uint8 if bits == 8 else np.uint16)
    top, full = (1 << bits) - 1, 0xFF if bits < 8 else 0xFFFF
    table = ((np.arange(top + 1) * full + top // 2) // top).astype(np.uint8 if bits < 8 else np.uint16)
    return np.asarray(table[np.minimum(pixels, top)], table.dtype)


def decode_jpeg(source: bytes, header: Header) -> Decoded:
    """The luma that the file stores, not computed from RGB; strict, since libjpeg paints what is missing gray."""
    content, unended = mended(source), lacks_end(source)
    decoded = _decode_mended(content, header, unended)
    return replace(decoded, notes=(NO_END,)) if unended else decoded


def _decode_mended(source: bytes, header: Header, exact: bool) -> Decoded:
    """Decode a JPEG that has its end and its height. exact: whether its scans must end just where the picture does."""
    parts = whole_parts(source)
    if header.deep:  # 12 bit, or lossless of up to 16
        return from_pixels(full_range(proven(parts), header.bits))
    components = next((part.head[9] for part in parts if part.marker in FRAMES), 1)
    stored_rgb = any(part.marker == APP14 and part.head[15:16] == b"\0" for part in parts)
    if components in (1, 3) and not stored_rgb:
        luma = strictly_decoded(source, parts, "GRAY", exact)
        if luma is not None and components == 1:
            return Decoded(luma[..., 0], None, None)
        if luma is not None:
            return Decoded(luma[..., 0], None, reduced(_colors(parts)))
    else:  # CMYK, and RGB that is stored as such: only looked at, whether it is whole
        strictly_decoded(source, parts, "CMYK" if components == 4 else "GRAY", exact)
    return _decode_pillow(_joined(parts), header)


def proven(parts: Sequence[Segment], **settings: Any) -> Pixels:
    """Decode a JPEG with a decoder that does not tell what is missing or damaged.

    But then more data would change the picture, or other data, at the end of the last scan, would not.
    """
    pixels = np.asarray(imagecodecs.jpeg8_decode(_joined(parts), **settings))
    longer = np.asarray(imagecodecs.jpeg8_decode(_joined(_longer(parts)), **settings))
    sure = _last_row(parts) if _is_arithmetic(parts) else len(pixels)
    if not np.array_equal(pixels[:sure], longer[:sure]):
        raise PhotoError(CUT_OFF)
    del longer
    if np.array_equal(pixels, imagecodecs.jpeg8_decode(_joined(_shorter(parts)), **settings)):
        raise PhotoError(CUT_OFF)
    return pixels


def _is_arithmetic(parts: Sequence[Segment]) -> bool:
    return any(part.marker in ARITHMETIC for part in parts)


def _last_row(parts: Sequence[Segment]) -> int:
    """Pixels above the last row of blocks, which depend on the end of arithmetic-coded data that is whole, too: zeros
    are left out there (ITU-T T.81, D.1.8). Smoothing of chroma reaches a row further up."""
    head = next(part.head for part in parts if part.marker in FRAMES)
    height, rows = int.from_bytes(head[5:7], "big"), BLOCK_ROWS * max(factors & 15 for factors in head[11::3])
    return max(0, (height - 1) // rows * rows - 1)


def _longer(parts: Sequence[Segment]) -> list[Segment]:
    """A JPEG with MORE behind each scan and each restart interval; of arithmetic coding behind the last scan only:
    others are whole where that one is there, and may be all zeros, which are left out."""
    if _is_arithmetic(parts):
        return _with_last_scan(parts, lambda data: data + MORE)
    return [
        part._replace(data=memoryview(RESTART.sub(lambda mark: MORE + mark[0], part.data).rstrip(b"\xff") + MORE))
        if part.marker == SOS
        else part
        for part in parts
    ]


def _shorter(parts: Sequence[Segment]) -> list[Segment]:
    """A JPEG with MORE in place of the last bytes of its last scan."""
    return _with_last_scan(parts, lambda data: data[:-LESS].rstrip(b"\xff") + MORE)


def _with_last_scan(parts: Sequence[Segment], change: Callable[[bytes], bytes]) -> list[Segment]:
    last = max(number for number, part in enumerate(parts) if part.marker == SOS)
    changed = parts[last]._replace(data=memoryview(change(bytes(parts[last].data))))
    return [*parts[:last], changed, *parts[last + 1 :]]


def _colors(parts: Sequence[Segment]) -> NDArray[np.uint8]:
    """Decode a JPEG to RGB (h, w, 3), at least SEEN_SIDE px a side where it is that large."""
    bare = _bare(parts)
    if not _has_usual_sampling(bare):
        return np.asarray(imagecodecs.jpeg8_decode(bare, outcolorspace="RGB"), np.uint8)
    return _simplejpeg(bare, "RGB", strict=False, min_factor=1, min_width=SEEN_SIDE, min_height=SEEN_SIDE)


def _has_usual_sampling(source: bytes) -> bool:
    """Tell whether libjpeg-turbo's simple interface knows how a JPEG's components share the pixels.

    It knows six ways, of the many that the standard has (ITU-T T.81, A.1.1).
    """
    try:
        simplejpeg.decode_jpeg_header(source)
    except ValueError:
        return False
    return True


def whole_parts(source: bytes) -> list[Segment]:
    """The segments of a JPEG; PhotoError when some of its scans or its end are missing, or there are too many."""
    parts = list(segments(source))
    scans = sum(part.marker == SOS for part in parts)
    if scans > MOST_SCANS:
        raise PhotoError(f"has {scans:,} scans, more than the {MOST_SCANS} that a JPEG may have here; save it anew")
    if not is_complete(parts) or has_gap(parts):
        raise PhotoError(CUT_OFF)
    return parts


def strictly_decoded(
    source: bytes, parts: Sequence[Segment], space: str, exact: bool = False
) -> NDArray[np.uint8] | None:
    """Pixels of a JPEG; PhotoError when its scans are damaged. None for kinds that libjpeg-turbo's simple interface
    does not know. parts: all of the file, used where padding or metadata between them stand in the way. exact: whether
    scans must end just where the picture does, as those of a file must whose end nobody marked."""
    bare = _bare(parts)
    if _is_arithmetic(parts) or not _has_usual_sampling(bare):
        proven(parts)  # in all colors
        pixels = np.asarray(imagecodecs.jpeg8_decode(bare, outcolorspace=SPACES[space]), np.uint8)
        return pixels[..., None] if pixels.ndim == 2 else pixels
    said = ""
    for content in (source, bare):
        try:
            return _simplejpeg(content, space, strict=True)
        except ValueError as error:
            said = str(error).rstrip(".")
            if "nsupported" in said:
                proven(parts)
                return None
            if not any(words in said for words in HARMLESS):
                raise PhotoError(CUT_OFF if exact else f"damaged: {said}") from error
    found = EXTRANEOUS.search(said)
    trimmed = _without_padding(parts, int(found[1])) if found and not exact else None
    if trimmed is None:  # of a file that lacks its end, more data than the picture takes
        raise PhotoError(CUT_OFF)
    try:
        return _simplejpeg(_bare(trimmed), space, strict=True)
    except ValueError as error:
        raise PhotoError(f"damaged: {str(error).rstrip('.')}") from error


def _without_padding(parts: Sequence[Segment], count: int) -> list[Segment] | None:
    """A JPEG without so many bytes at the end of its last scan; None where they are no padding, but what a damaged scan
    leaves. Of zeros that a lost part was filled up with, the decoder takes some for the picture."""
    data = bytes(next(part.data for part in reversed(parts) if part.marker == SOS))
    zeros = len(data) - len(data.rstrip(b"\0"))
    if count > len(data) or (count > FEW and not count <= zeros <= count + LOOKAHEAD):
        return None
    return _with_last_scan(parts, lambda data: data[:-count])


def _joined(parts: Sequence[Segment]) -> bytes:
    """The file again, without padding between its segments and what follows its end."""
    return b"".join([SOI, *(piece for part in parts for piece in (part.head, part.data))])


def _bare(parts: Sequence[Segment]) -> bytes:
    """The same without metadata, but for what says which colours the components are."""
    kept = [part for part in parts if part.marker not in METADATA]
    return _joined([part for part in kept if part.marker != APP14 or set(part.head[15:16]) <= TRANSFORMS])


def _simplejpeg(source: bytes, space: str, **settings: Any) -> NDArray[np.uint8]:
    return np.asarray(simplejpeg.decode_jpeg(source, space, **settings), np.uint8)


def readable(source: bytes, form: Format) -> bytes:
    """A file without the damage that does not touch its picture: what Pillow would refuse the picture for.

    Raises PhotoError when a checksum shows that the picture itself is damaged.
    """
    if form == "jpeg":
        return mended(source)
    if form == "png":
        png.must_be_sound(source)
        return png.picture(source)
    return source


def _decode_png(source: bytes, header: Header) -> Decoded:
    if not header.deep:
        return _decode_pillow(readable(source, header.format), header)
    # Pillow cuts 16-bit colour to 8 bits without a word; OpenCV does not.
    pixels = _opencv(png.plain(source), header)
    if pixels.ndim == 2:
        with Image.open(io.BytesIO(png.picture(source)), formats=["PNG"]) as image:
            clear = image.info.get("transparency")  # the one gray value that is transparent; OpenCV drops it
        alpha = np.where(pixels == clear, 0, 0xFFFF).astype(np.uint16) if isinstance(clear, int) else None
        return Decoded(pixels, alpha, None)
    return from_pixels(np.ascontiguousarray(pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]))


def _opencv(source: bytes, header: Header) -> Pixels:
    data = cv2.imdecode(np.frombuffer(source, np.uint8), cv2.IMREAD_UNCHANGED)
    if data is None or data.dtype != np.uint16 or data.shape[:2] != (header.height, header.width):
        raise PhotoError("damaged, or a kind of 16-bit picture that can't be decoded")
    return np.asarray(data, np.uint16)


def _decode_jp2(source: bytes, header: Header) -> Decoded:
    if not header.deep:
        return _decode_pillow(source, header)
    if not jp2.has_end(source):  # as its decoder does not see
        raise PhotoError(CUT_OFF)
    return from_pixels(full_range(imagecodecs.jpeg2k_decode(source), header.bits))


def _decode_avif(source: bytes, header: Header) -> Decoded:
    if not header.deep:
        return _decode_pillow(source, header)
    return from_pixels(full_range(imagecodecs.avif_decode(source), header.bits))


def _decode_heic(source: bytes, header: Header) -> Decoded:
    if not header.deep:
        return _decode_pillow(source, header)
    import pillow_heif  # header_of has found it

    pixels = np.asarray(pillow_heif.open_heif(io.BytesIO(source), convert_hdr_to_8bit=False))
    return from_pixels(full_range(pixels >> (16 - header.bits), header.bits))  # they come in the upper bits


def _decode_pillow(source: bytes, header: Header) -> Decoded:
    """8 bits and fewer: gray, palette, RGB, CMYK, with and without alpha."""
    with Image.open(io.BytesIO(source), formats=pillow_formats()) as image:
        if image.has_transparency_data:
            return from_pixels(np.asarray(image.convert("RGBA")))
        if image.mode in ("1", "L"):
            return from_pixels(np.asarray(image.convert("L")))
        if image.mode not in COLOUR_MODES:
            raise PhotoError(f"its kind of pixels ({image.mode}) can't be decoded; save it as 8-bit gray or RGB")
        return from_pixels(np.asarray(image.convert("RGB")))


def _decode_pnm(source: bytes, header: Header) -> Decoded:
    return from_pixels(pnm_pixels(source))


DECODE: dict[Format, Callable[[bytes, Header], Decoded]] = {
    "jpeg": decode_jpeg, "png": _decode_png, "webp": _decode_pillow, "bmp": _decode_pillow, "gif": _decode_pillow,
    "jp2": _decode_jp2, "avif": _decode_avif, "heic": _decode_heic, "pnm": _decode_pnm,
}  # fmt: skip
