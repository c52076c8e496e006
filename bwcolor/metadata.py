"""What describes a photo: read from one file, made true for the colour version, written into another."""

import contextlib
import io
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from bwcolor.errors import PhotoError
from bwcolor.formats import exif as exifs
from bwcolor.formats import icc as profiles
from bwcolor.formats import xmp as packets
from bwcolor.formats.header import Format, pillow_formats
from bwcolor.formats.jpeg import APP0, APP1, APP2, APP13, APP14, APP15, COM, SOS, segments
from bwcolor.formats.tiffpages import page_layout
from bwcolor.formats.tifftags import Tag, read_tags, write_tags
from bwcolor.formats.xmp import Label
from bwcolor.photo import Scan

EXIF_START, XMP_START, ICC_START = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"
PHOTOSHOP_START = b"Photoshop 3.0\0"
SEGMENT = 65_533  # bytes that a JPEG segment holds behind its length
PNG_HEAD = 33  # bytes: 8 signature + 4 length + 4 type + 13 data + 4 CRC of IHDR
PNG_XMP = b"XML:com.adobe.xmp\0"
# Chunks that stay true when gray becomes colour, beside those that have a place in Metadata.
PNG_KEPT = frozenset({b"pHYs", b"tEXt", b"zTXt", b"iTXt", b"tIME", b"gAMA", b"cHRM", b"sRGB"})
DESCRIPTION = 270
SHAPES = (b'{"shape"', b"ImageJ=")  # how descriptions begin that programs write of the array: no longer true
XMP_TAG, PHOTOSHOP_TAG, IPTC_TAG = 700, 34377, 33723
RESOLUTION_TAGS = (282, 283, 296)
RATIONAL, SHORT, BYTE, UNDEFINED = 5, 3, 1, 7  # TIFF field types
EMPTY_TIFF = b"II*\0" + struct.pack("<IHI", 8, 0, 0)
PREVIEWS = frozenset({1033, 1036})  # Photoshop's image resources that hold a small picture
METRE = 39.37007874  # inches


@dataclass(frozen=True, slots=True)
class Metadata:
    """exif: a TIFF-structured block without "Exif". xmp: a packet. icc: a profile. photoshop: image resources, with
    IPTC among them. comments: of a JPEG. dpi: across and down. native: segments of a JPEG or chunks of a PNG that only
    this format has, verbatim. tags: of a TIFF page, in place of exif, xmp and dpi. lost: what could not be read or
    kept, in words."""

    exif: bytes | None = None
    xmp: bytes | None = None
    icc: bytes | None = None
    photoshop: bytes | None = None
    comments: tuple[bytes, ...] = ()
    dpi: tuple[float, float] | None = None
    native: tuple[bytes, ...] = ()
    tags: tuple[Tag, ...] = ()
    lost: tuple[str, ...] = ()


def read_metadata(scan: Scan) -> list[Metadata]:
    """Of each page; damaged parts are left out and said so."""
    if scan.header.format == "tiff":
        pages = []
        for number, found in enumerate(read_tags(scan.file)):
            icc = page_layout(scan.file, number).icc
            lost = ("damaged metadata left out",) if found.damaged else ()
            pages.append(Metadata(tags=found.tags, icc=icc, lost=lost))
        return pages
    return [READERS.get(scan.header.format, _read_with_pillow)(scan.read())]


def _read_jpeg(source: bytes) -> Metadata:
    found: dict[str, bytes] = {}
    icc: dict[int, bytes] = {}
    comments, native, photoshop = [], [], b""
    for marker, segment, _ in segments(source, until=SOS):
        body = segment[4:]
        if marker == COM:
            comments.append(body)
        elif marker == APP1 and body.startswith(EXIF_START) and "exif" not in found:
            found["exif"] = body[6:]
        elif marker == APP1 and body.startswith(XMP_START) and "xmp" not in found:
            found["xmp"] = body[len(XMP_START) :]
        elif marker == APP2 and body.startswith(ICC_START) and len(body) > 14:
            icc[body[12]] = body[14:]
        elif marker == APP13 and body.startswith(PHOTOSHOP_START):
            photoshop += body[len(PHOTOSHOP_START) :]
        elif APP0 <= marker <= APP15 and marker != APP14 and not (marker == APP2 and body.startswith(b"MPF\0")):
            native.append(segment)  # APP14 names the source's colour transform, MPF pictures that are not in the output
    return Metadata(
        found.get("exif"), found.get("xmp"), b"".join(icc[number] for number in sorted(icc)) or None,
        photoshop or None, tuple(comments), _dpi(source), tuple(native),
    )  # fmt: skip


def _read_png(source: bytes) -> Metadata:
    known = _read_with_pillow(source)
    native = []
    for kind, chunk in _png_chunks(source):
        if kind == b"iTXt" and chunk[8:].startswith(PNG_XMP):
            continue
        if kind in PNG_KEPT:
            native.append(chunk)
    return replace(known, native=tuple(native))


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


def _read_with_pillow(source: bytes) -> Metadata:
    with Image.open(io.BytesIO(source), formats=pillow_formats()) as image:
        if image.format == "PNG":
            image.load()  # text and EXIF may lie behind the pixels
        info = image.info
        block = info.get("exif")
        if isinstance(block, bytes) and block.startswith(EXIF_START):
            block = block[6:]
        xmp = info.get("xmp")
        return Metadata(block or None, xmp.encode() if isinstance(xmp, str) else xmp or None,
                        info.get("icc_profile") or None, dpi=_clean_dpi(info.get("dpi")))  # fmt: skip


def _dpi(source: bytes) -> tuple[float, float] | None:
    try:
        with Image.open(io.BytesIO(source), formats=["JPEG"]) as image:
            return _clean_dpi(image.info.get("dpi"))
    except Exception:  # such as 12-bit files, which Pillow does not know
        return None


def _clean_dpi(dpi: tuple[float, float] | None) -> tuple[float, float] | None:
    return (float(dpi[0]), float(dpi[1])) if dpi and min(dpi) > 0 else None


READERS: dict[Format, Callable[[bytes], Metadata]] = {"jpeg": _read_jpeg, "png": _read_png}


def in_colour(metadata: Metadata, label: Label | None, preview: bytes | None) -> Metadata:
    """What stays true when gray becomes colour.

    label: what the XMP packet is to say of the output's making. preview: a small JPEG in colour for the place of a
    gray one, or None to leave previews as they are.
    """
    lost = list(metadata.lost)
    icc = metadata.icc
    if icc is not None and icc[16:20] != b"RGB ":  # ICC.1:2022, 7.2.6; a gray one must never sit on a colour file
        kind = icc[16:20].decode("ascii", "replace").strip()
        icc = profiles.gray_to_rgb(icc)
        if icc is None:
            lost.append(f"colour profile ({kind}) left out, since the output is RGB: viewers that use it may show"
                        " other tones")  # fmt: skip
    block = metadata.exif
    if block is not None and preview is not None:
        if exifs.thumbnail(block) is not None:
            block = exifs.with_thumbnail(block, preview)
        elif exifs.has_uncompressed_thumbnail(block):
            block = exifs.without_thumbnail(block)
            lost.append("small gray preview left out")
    photoshop = _without_previews(metadata.photoshop) if metadata.photoshop else None
    tags = tuple(tag for tag in metadata.tags if not (tag.code == DESCRIPTION and tag.data.startswith(SHAPES)))
    xmp = metadata.xmp
    if label is not None:
        old = next((tag.data for tag in tags if tag.code == XMP_TAG), xmp)
        xmp, readable = packets.labelled(old, label)
        if old and not readable:
            lost.append("unreadable XMP replaced by the label")
        tags = tuple(tag for tag in tags if tag.code != XMP_TAG)
    return replace(metadata, exif=block, icc=icc, photoshop=photoshop, xmp=xmp, tags=tags, lost=tuple(lost))


def has_preview(metadata: Metadata) -> bool:
    """Whether there is a small picture in it that would stay gray."""
    block = metadata.exif
    return block is not None and (exifs.thumbnail(block) is not None or exifs.has_uncompressed_thumbnail(block))


def _without_previews(resources: bytes) -> bytes | None:
    """Photoshop's image resources but its previews, which are gray and which it makes anew."""
    kept, position = b"", 0
    while resources[position : position + 4] == b"8BIM" and position + 12 <= len(resources):
        (number,) = struct.unpack_from(">H", resources, position + 4)
        name = resources[position + 6] + 1
        size_at = position + 6 + name + name % 2
        if size_at + 4 > len(resources):
            break
        (size,) = struct.unpack_from(">I", resources, size_at)
        end = min(len(resources), size_at + 4 + size + size % 2)
        kept += b"" if number in PREVIEWS else resources[position:end]
        position = end
    return kept + resources[position:] or None


def exif_of(metadata: Metadata) -> bytes | None:
    """Its EXIF block; for a TIFF page one made of its tags."""
    if metadata.exif is not None or not metadata.tags:
        return metadata.exif
    apart = (XMP_TAG, PHOTOSHOP_TAG, IPTC_TAG)
    file = io.BytesIO(EMPTY_TIFF)
    write_tags(file, [[tag for tag in metadata.tags if tag.code not in apart]])
    return file.getvalue()


def _part(metadata: Metadata, code: int, other: bytes | None) -> bytes | None:
    return next((tag.data for tag in metadata.tags if tag.code == code), other)


def tiff_tags(metadata: Metadata) -> list[Tag]:
    """All of it as tags of a TIFF page; damaged EXIF is left out."""
    tags = {tag.code: tag for tag in metadata.tags}
    if metadata.exif is not None:
        with contextlib.suppress(PhotoError, IndexError):
            tags |= {tag.code: tag for tag in read_tags(io.BytesIO(metadata.exif))[0].tags}
    if metadata.xmp is not None:
        tags[XMP_TAG] = Tag(XMP_TAG, BYTE, len(metadata.xmp), metadata.xmp)
    if metadata.photoshop is not None:
        tags[PHOTOSHOP_TAG] = Tag(PHOTOSHOP_TAG, UNDEFINED, len(metadata.photoshop), metadata.photoshop)
    if metadata.dpi is not None and not any(code in tags for code in RESOLUTION_TAGS):
        for code, dots in zip(RESOLUTION_TAGS, metadata.dpi, strict=False):
            tags[code] = Tag(code, RATIONAL, 1, struct.pack("<II", round(1000 * dots), 1000))
        tags[296] = Tag(296, SHORT, 1, struct.pack("<H", 2))  # per inch
    return [tags[code] for code in sorted(tags)]


def put_into_jpeg(
    metadata: Metadata, pieces: Sequence[bytes | memoryview]
) -> tuple[list[bytes | memoryview], tuple[str, ...]]:
    """A new JPEG with the metadata in place of its own, and what did not fit, in words.

    pieces: of the JPEG, the first of which are its start and a JFIF header, as carry_luma gives them.
    """
    lost = []
    block = exif_of(metadata)
    if block is not None and len(EXIF_START + block) > SEGMENT:
        block = exifs.without_thumbnail(block)
    if block is not None and len(EXIF_START + block) > SEGMENT:
        block = None
        lost.append("EXIF left out: more than a JPEG can hold")
    xmp = _part(metadata, XMP_TAG, metadata.xmp)
    if xmp is not None and len(XMP_START + xmp) > SEGMENT:
        xmp = None
        lost.append("XMP left out: more than a JPEG can hold")
    start, header, *rest = pieces
    old_headers = [segment for segment in metadata.native if segment[1] == APP0]  # then the new one gives way to them
    parts = [b"".join(old_headers) or _jfif(bytes(header), metadata.dpi)]
    parts += [_segment(APP1, EXIF_START + block)] if block else []
    parts += [_segment(APP1, XMP_START + xmp)] if xmp else []
    parts += [segment for segment in metadata.native if segment[1] != APP0]
    chunks = _split(metadata.icc or b"", SEGMENT - len(ICC_START) - 2)
    parts += [_segment(APP2, ICC_START + bytes([at, len(chunks)]) + part) for at, part in enumerate(chunks, 1)]
    photoshop = _part(metadata, PHOTOSHOP_TAG, metadata.photoshop) or b""
    parts += [_segment(APP13, PHOTOSHOP_START + part) for part in _split(photoshop, SEGMENT - len(PHOTOSHOP_START))]
    parts += [_segment(COM, comment) for comment in metadata.comments]
    return [start, *parts, *rest], tuple(lost)


def _segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def _split(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def _jfif(header: bytes, dpi: tuple[float, float] | None) -> bytes:
    """A JFIF header with the resolution in it (ITU-T T.871, 10.1)."""
    if dpi is None or len(header) < 18:
        return header
    return header[:11] + b"\x01" + struct.pack(">HH", *(min(65_535, max(1, round(dots))) for dots in dpi)) + header[16:]


def put_into_png(metadata: Metadata, encoded: bytes) -> tuple[list[bytes | memoryview], tuple[str, ...]]:
    """A new PNG without metadata -> with it, and what did not fit, in words."""
    chunks = list(metadata.native) if all(chunk[4:8] in PNG_KEPT for chunk in metadata.native) else []
    if metadata.icc is not None:
        chunks = [chunk for chunk in chunks if chunk[4:8] != b"sRGB"]
        chunks.insert(0, _chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(metadata.icc)))
    dpi = metadata.dpi
    if dpi is not None and not any(chunk[4:8] == b"pHYs" for chunk in chunks):
        chunks.append(_chunk(b"pHYs", struct.pack(">IIB", *(round(dots * METRE) for dots in dpi), 1)))
    block = exif_of(metadata)
    chunks += [_chunk(b"eXIf", block)] if block else []
    xmp = _part(metadata, XMP_TAG, metadata.xmp)
    chunks += [_chunk(b"iTXt", PNG_XMP + b"\0\0\0\0" + xmp)] if xmp else []
    lost = ("IPTC and Photoshop data left out: PNG has no place for them",)
    apart = _part(metadata, PHOTOSHOP_TAG, metadata.photoshop) or _part(metadata, IPTC_TAG, None)
    view = memoryview(encoded)
    return [view[:PNG_HEAD], *chunks, view[PNG_HEAD:]], lost if apart else ()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def for_pillow(metadata: Metadata) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """What Pillow's `save` takes for WebP and AVIF, and what has no place there, in words."""
    parts = {"exif": exif_of(metadata), "xmp": _part(metadata, XMP_TAG, metadata.xmp), "icc_profile": metadata.icc}
    apart = _part(metadata, PHOTOSHOP_TAG, metadata.photoshop) or _part(metadata, IPTC_TAG, None)
    lost = ("IPTC and Photoshop data left out: the format has no place for them",) if apart else ()
    if metadata.comments:
        lost = (*lost, "comments left out: the format has no place for them")
    return {name: part for name, part in parts.items() if part}, lost
