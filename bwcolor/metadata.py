"""What describes a photo: read from one file, made true for the colour version, written into another."""

import contextlib
import io
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from bwcolor.errors import PhotoError
from bwcolor.formats import exif as exifs
from bwcolor.formats import icc as profiles
from bwcolor.formats import jp2
from bwcolor.formats import xmp as packets
from bwcolor.formats.exiftags import block_of, described
from bwcolor.formats.header import Format, pillow_formats
from bwcolor.formats.jpeg import APP0, APP1, APP2, APP13, APP14, APP15, COM, SOS, segments
from bwcolor.formats.photoshop import IPTC, PREVIEWS, iptc_block, resources_in, without
from bwcolor.formats.tiffpages import page_layout
from bwcolor.formats.tifftags import Tag, read_tags
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
ORIENTATION, XMP_TAG, PHOTOSHOP_TAG, IPTC_TAG = 274, 700, 34377, 33723
RESOLUTION_TAGS = (282, 283, 296)  # across, down, unit
INCHES = {2: 1.0, 3: 2.54}  # per inch, of each unit
RATIONAL, SHORT, BYTE, UNDEFINED = 5, 3, 1, 7  # TIFF field types
DAMAGED = "damaged metadata left out"
METRE = 39.37007874  # inches
MOST_DOTS = 1e7  # per inch or centimetre; more is a mistake, and does not fit everywhere


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
    try:
        if scan.header.format != "tiff":
            return [READERS.get(scan.header.format, _read_with_pillow)(scan.read())]
        pages = []
        for number, found in enumerate(read_tags(scan.file)):
            icc = page_layout(scan.file, number).icc
            pages.append(Metadata(tags=found.tags, icc=icc, lost=(DAMAGED,) if found.damaged else ()))
        return pages
    except (PhotoError, MemoryError):
        raise
    except Exception:  # parsers raise whatever they like, and a picture that can be read has its output all the same
        return [Metadata(lost=(DAMAGED,))] * scan.header.pages


def _read_jpeg(source: bytes) -> Metadata:
    found: dict[str, bytes] = {}
    icc: dict[int, bytes] = {}
    comments, native, photoshop, dpi = [], [], b"", None
    for marker, segment, _ in segments(source, until=SOS):
        body = segment[4:]
        dpi = dpi or (_jfif_dpi(segment) if marker == APP0 else None)
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
        photoshop or None, tuple(comments), dpi, tuple(native),
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
        comment = info.get("comment")  # of a GIF or JPEG 2000
        comments = (comment,) if isinstance(comment, bytes) and comment else ()
        return Metadata(block or None, xmp.encode() if isinstance(xmp, str) else xmp or None,
                        info.get("icc_profile") or None, None, comments, _clean_dpi(info.get("dpi")))  # fmt: skip


def _jfif_dpi(segment: bytes) -> tuple[float, float] | None:
    """What a JFIF header says (ITU-T T.871, 10.1): the only resolution of a JPEG beside that in EXIF."""
    if segment[4:9] != b"JFIF\0" or len(segment) < 16:
        return None
    across, down = struct.unpack_from(">HH", segment, 12)
    factor = {1: 1.0, 2: 2.54}.get(segment[11], 0.0)  # per inch, per centimetre
    return _clean_dpi((factor * across, factor * down))


def _clean_dpi(dpi: tuple[float, float] | None) -> tuple[float, float] | None:
    return (float(dpi[0]), float(dpi[1])) if dpi and min(dpi) > 0 else None


def _read_jp2(source: bytes) -> Metadata:
    held = jp2.described(source)
    iptc = iptc_block(held["iptc"]) if "iptc" in held else None
    known = _read_with_pillow(source)
    # The code stream's comment is dropped: it names the program that wrote it.
    return replace(known, exif=held.get("exif"), xmp=held.get("xmp"), icc=held.get("icc"), photoshop=iptc, comments=())


READERS: dict[Format, Callable[[bytes], Metadata]] = {"jpeg": _read_jpeg, "png": _read_png, "jp2": _read_jp2}


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
    photoshop = without(PREVIEWS, metadata.photoshop or b"") or None
    tags = tuple(_tag_in_colour(tag) for tag in metadata.tags if not tells_shape(tag))
    xmp = metadata.xmp
    if label is not None:
        old = next((tag.data for tag in tags if tag.code == XMP_TAG), xmp)
        xmp, readable = packets.labelled(old, label)
        if old and not readable:
            lost.append("unreadable XMP replaced by the label")
        tags = tuple(tag for tag in tags if tag.code != XMP_TAG)
    return replace(metadata, exif=block, icc=icc, photoshop=photoshop, xmp=xmp, tags=tags, lost=tuple(lost))


def tells_shape(tag: Tag) -> bool:
    """Whether it is a description of the array of pixels that a program wrote for itself."""
    return tag.code == DESCRIPTION and tag.data.startswith(SHAPES)


def _tag_in_colour(tag: Tag) -> Tag:
    if tag.code != PHOTOSHOP_TAG:
        return tag
    data = without(PREVIEWS, tag.data)  # nothing is written of an empty tag
    return replace(tag, count=len(data), kind=UNDEFINED, data=data)


def has_preview(metadata: Metadata) -> bool:
    """Whether there is a small picture in it that would stay gray."""
    block = metadata.exif
    return block is not None and (exifs.thumbnail(block) is not None or exifs.has_uncompressed_thumbnail(block))


def exif_of(metadata: Metadata) -> bytes | None:
    """Its EXIF block; for a TIFF page one made of its tags."""
    apart = (XMP_TAG, PHOTOSHOP_TAG, IPTC_TAG)
    tags = [tag for tag in metadata.tags if tag.code not in apart]
    return metadata.exif if metadata.exif is not None or not tags else block_of(tags)


def image_resources_of(metadata: Metadata) -> bytes | None:
    """Photoshop's image resources; IPTC that a TIFF page has in a tag of its own is put among them."""
    resources = _part(metadata, PHOTOSHOP_TAG, metadata.photoshop)
    iptc = _part(metadata, IPTC_TAG, None)
    if iptc is None or any(number == IPTC for number, *_ in resources_in(resources or b"")):
        return resources
    return iptc_block(iptc) + (resources or b"")


def resolutions(metadata: Metadata) -> list[tuple[float, float]]:
    """Dots per inch, across and down, in each place that tells them: the file's own first, then EXIF or TIFF tags."""
    tags: tuple[Tag, ...] = metadata.tags
    if metadata.exif is not None:
        with contextlib.suppress(PhotoError):
            tags = described(metadata.exif)
    values = {tag.code: tag for tag in tags if tag.code in RESOLUTION_TAGS}
    found = [metadata.dpi] if metadata.dpi is not None else []
    across, down = (_dots(values.get(code)) for code in RESOLUTION_TAGS[:2])
    unit = int.from_bytes(values[296].data, "little") if 296 in values else 2  # TIFF 6.0, section 8: by default inches
    if unit in INCHES and min(across, down) > 0 and max(across, down) < MOST_DOTS:
        found.append((across * INCHES[unit], down * INCHES[unit]))
    return found


def _dots(tag: Tag | None) -> float:
    if tag is None or tag.kind != RATIONAL or len(tag.data) < 8:
        return 0.0
    upper, lower = struct.unpack_from("<II", tag.data)
    return float(upper / lower) if lower else 0.0


def _resolution_tags(dpi: tuple[float, float]) -> list[Tag]:
    tags = [
        Tag(code, RATIONAL, 1, struct.pack("<II", min(round(1000 * dots), 0xFFFFFFFF), 1000))
        for code, dots in zip(RESOLUTION_TAGS, dpi, strict=False)
    ]
    return [*tags, Tag(296, SHORT, 1, struct.pack("<H", 2))]  # per inch


def _part(metadata: Metadata, code: int, other: bytes | None) -> bytes | None:
    return next((tag.data for tag in metadata.tags if tag.code == code), other)


def tiff_tags(metadata: Metadata) -> list[Tag]:
    """All of it as tags of a TIFF page; damaged EXIF is left out."""
    tags = {tag.code: tag for tag in metadata.tags}
    if metadata.exif is not None:
        with contextlib.suppress(PhotoError):
            tags |= {tag.code: tag for tag in described(metadata.exif)}
    if metadata.xmp is not None:
        tags[XMP_TAG] = Tag(XMP_TAG, BYTE, len(metadata.xmp), metadata.xmp)
    if metadata.photoshop is not None:  # IPTC has a tag of its own in a TIFF, where programs look for it
        held = resources_in(metadata.photoshop)
        iptc = next((data for number, data, _ in held if number == IPTC), b"")
        rest = without(frozenset({IPTC}), metadata.photoshop)
        for code, data in ((PHOTOSHOP_TAG, rest), (IPTC_TAG, iptc)):
            tags[code] = Tag(code, UNDEFINED, len(data), data)  # one without data is not written
    if metadata.dpi is not None and not any(code in tags for code in RESOLUTION_TAGS):
        tags |= {tag.code: tag for tag in _resolution_tags(metadata.dpi)}
    return [tags[code] for code in sorted(tags)]


def lost_in_tiff(metadata: Metadata) -> tuple[str, ...]:
    """What has no place among the tags that `tiff_tags` gives, in words."""
    lost = ("comments left out: the format has no place for them",) if metadata.comments else ()
    if any(part[4:8] in (b"tEXt", b"zTXt", b"iTXt") for part in metadata.native):
        lost = (*lost, "texts of the PNG left out")
    try:
        if metadata.exif is not None:
            described(metadata.exif)
    except PhotoError:
        lost = (*lost, "damaged EXIF left out")
    return lost


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
        lost += ["small preview left out: more than a JPEG can hold"] if len(EXIF_START + block) <= SEGMENT else []
    if block is not None and len(EXIF_START + block) > SEGMENT:
        block = None
        lost.append("EXIF left out: more than a JPEG can hold")
    xmp = _part(metadata, XMP_TAG, metadata.xmp)
    if xmp is not None and len(XMP_START + xmp) > SEGMENT:
        xmp = None
        lost.append("XMP left out: more than a JPEG can hold")
    start, header, *rest = pieces
    old_headers = [segment for segment in metadata.native if segment[1] == APP0]  # then the new one gives way to them
    parts = [b"".join(old_headers) or _jfif(bytes(header), next(iter(resolutions(metadata)), None))]
    parts += [_segment(APP1, EXIF_START + block)] if block else []
    parts += [_segment(APP1, XMP_START + xmp)] if xmp else []
    parts += [segment for segment in metadata.native if segment[1] != APP0]
    chunks = _split(metadata.icc or b"", SEGMENT - len(ICC_START) - 2)
    parts += [_segment(APP2, ICC_START + bytes([at, len(chunks)]) + part) for at, part in enumerate(chunks, 1)]
    photoshop = image_resources_of(metadata) or b""
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
    dpi = next(iter(resolutions(metadata)), None) if metadata.tags else metadata.dpi
    if dpi is not None and not any(chunk[4:8] == b"pHYs" for chunk in chunks):
        chunks.append(_chunk(b"pHYs", struct.pack(">IIB", *(round(dots * METRE) for dots in dpi), 1)))
    block = exif_of(metadata)
    chunks += [_chunk(b"eXIf", block)] if block else []
    xmp = _part(metadata, XMP_TAG, metadata.xmp)
    chunks += [_chunk(b"iTXt", PNG_XMP + b"\0\0\0\0" + xmp)] if xmp else []
    chunks += [_chunk(b"tEXt", b"Comment\0" + comment.replace(b"\0", b"")) for comment in metadata.comments]
    apart, view = image_resources_of(metadata), memoryview(encoded)
    lost = ("IPTC and Photoshop data left out: PNG has no place for them",) if apart else ()
    return [view[:PNG_HEAD], *chunks, view[PNG_HEAD:]], lost


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


class _Verbatim(Image.Exif):
    """An EXIF block that Pillow looks up the orientation in, for AVIF's own place for it, and else writes as it is."""

    def __init__(self, block: bytes) -> None:
        super().__init__()
        self[ORIENTATION] = exifs.orientation(block)
        self._block = block

    def __bool__(self) -> bool:
        return True  # though nothing is left in it beside the orientation

    def tobytes(self, offset: int = 8) -> bytes:
        return self._block


def for_pillow(metadata: Metadata) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What Pillow's `save` takes for WebP and AVIF, and what has no place there, in words."""
    block, untold = exif_of(metadata), False
    if metadata.dpi is not None:  # these formats have no other place for it
        block = block or block_of(_resolution_tags(metadata.dpi))
        untold = not resolutions(Metadata(exif=block))
    parts = {
        "exif": _Verbatim(block) if block else None,
        "xmp": _part(metadata, XMP_TAG, metadata.xmp),
        "icc_profile": metadata.icc,
    }
    lost = ("comments left out: the format has no place for them",) if metadata.comments else ()
    if image_resources_of(metadata):
        lost = ("IPTC and Photoshop data left out: the format has no place for them", *lost)
    if untold:
        lost = (*lost, "resolution left out: EXIF does not tell it, and the format has no other place for it")
    return {name: part for name, part in parts.items() if part is not None}, lost
