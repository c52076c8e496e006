"""What describes a photo: read from one file, made true for the colour version, written into another."""

import io
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

from PIL import Image

from bwcolor.errors import PhotoError
from bwcolor.photo.formats import jp2, png
from bwcolor.photo.formats.header import pillow_formats
from bwcolor.photo.formats.jpeg import APP0, APP1, APP2, APP13, APP14, APP15, COM, SOS, end_of_picture, segments
from bwcolor.photo.formats.known import Format
from bwcolor.photo.formats.tiffpages import page_layout
from bwcolor.photo.formats.tifftags import Tag, read_tags
from bwcolor.photo.metadata import exif as exifs
from bwcolor.photo.metadata import icc as profiles
from bwcolor.photo.metadata import xmp as packets
from bwcolor.photo.metadata.blank import is_blank
from bwcolor.photo.metadata.photoshop import PREVIEWS, iptc_block, without
from bwcolor.photo.metadata.xmp import Label
from bwcolor.photo.scan import Scan

EXIF_START, XMP_START, ICC_START = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"
PHOTOSHOP_START = b"Photoshop 3.0\0"
PNG_XMP = b"XML:com.adobe.xmp\0"
# Chunks that stay true when gray becomes colour, beside those that have a place in Metadata.
PNG_KEPT = frozenset({b"pHYs", b"tEXt", b"zTXt", b"iTXt", b"tIME", b"gAMA", b"cHRM", b"sRGB", b"cICP"})
DESCRIPTION = 270
SHAPES = (b'{"shape"', b"ImageJ=")  # how descriptions begin that programs write of the array: no longer true
XMP_TAG, PHOTOSHOP_TAG, IPTC_TAG = 700, 34377, 33723
APART = frozenset({XMP_TAG, PHOTOSHOP_TAG, IPTC_TAG})  # tags that hold whole blocks of metadata
BYTE, UNDEFINED = 1, 7  # TIFF field types
APP11 = 0xEB  # marker of JUMBF boxes in a JPEG
DAMAGED = "damaged metadata left out"
ABSURD = "absurd resolution left out"
MANIFEST = "content credentials (C2PA) left out: they hold for the original's pixels only"
PADDING = b"\0\xff \t\r\n"  # bytes that fill files up, and hold nothing
FILM = re.compile(rb"ftyp(?:qt  |mp4|iso|M4V|avc1|3gp|MSNV)")  # how films begin (ISO 14496-12, 4.3; mp4ra.org)
C2PA = b"jumdc2pa"  # how a manifest store's description begins (C2PA 2.1, 11.1.4.2; ISO/IEC 19566-5, B.3)
XMP_OF_GIF = b"\x21\xff\x0bXMP DataXMP"  # its application extension (XMP part 3, 1.1.2); the packet is not in blocks
END_OF_XMP = b"\x01\xff\xfe\xfd"  # how the magic trailer behind it begins
METRE = 39.37007874  # inches
LEAST_DOTS, MOST_DOTS = 0.5, 1e7  # per inch or centimetre; less or more is a mistake, and does not fit everywhere


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
    """Of each page; damaged parts are left out and said so, empty ones without a word."""
    return [_without_blanks(metadata) for metadata in _read(scan)]


def _without_blanks(metadata: Metadata) -> Metadata:
    """Leave out parts that hold nothing, so that nobody counts them as lost where an output has no place for them."""
    exif, xmp, icc, photoshop = (
        None if is_blank(part) else part for part in (metadata.exif, metadata.xmp, metadata.icc, metadata.photoshop)
    )
    return replace(
        metadata,
        exif=exif,
        xmp=xmp,
        icc=icc,
        photoshop=photoshop,
        comments=tuple(comment for comment in metadata.comments if not is_blank(comment)),
        native=tuple(part for part in metadata.native if not _is_blank_part(part)),
        tags=tuple(tag for tag in metadata.tags if tag.code not in APART or not is_blank(tag.data)),
    )


def _is_blank_part(part: bytes) -> bool:
    """Tell whether a JPEG's segment or a PNG's chunk holds nothing."""
    return is_blank(part[4:]) if part[:1] == b"\xff" else png.is_blank_text(part)


def _read(scan: Scan) -> list[Metadata]:
    try:
        if scan.header.format != "tiff":
            return [READERS.get(scan.header.format, _read_with_pillow)(scan.read())]
        pages = []
        for number, found in enumerate(read_tags(scan.file)):
            layout = page_layout(scan.file, number)
            lost = (DAMAGED, *layout.lost) if found.damaged else layout.lost
            pages.append(Metadata(tags=found.tags, icc=layout.icc, lost=lost))
        return pages
    except (PhotoError, MemoryError):
        raise
    except Exception as error:
        # Parsers raise whatever they like, and a picture that can be read has its output all the same; but a disk that
        # fails is no damaged file.
        if isinstance(error, OSError) and error.errno is not None:
            raise PhotoError(f"can't be read ({error.strerror})") from error
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
        elif marker == APP2 and body.startswith(ICC_START) and len(body) >= 14:
            icc[body[12]] = body[14:]
        elif marker == APP13 and body.startswith(PHOTOSHOP_START):
            photoshop += body[len(PHOTOSHOP_START) :]
        elif APP0 <= marker <= APP15 and marker != APP14 and not (marker == APP2 and body.startswith(b"MPF\0")):
            native.append(segment)  # APP14 names the source's colour transform, MPF pictures that are not in the output
    kept, lost = _without_manifests(native)
    return Metadata(
        found.get("exif"), found.get("xmp"), b"".join(icc[number] for number in sorted(icc)) or None,
        photoshop or None, tuple(comments), dpi, tuple(kept), lost=(*lost, *_behind(source)),
    )  # fmt: skip


def _behind(source: bytes) -> tuple[str, ...]:
    """Say what lies behind the end of a JPEG's picture: cameras put second pictures and film clips there."""
    rest = source[end_of_picture(source) :].strip(PADDING)
    film = ("a film clip behind the photo left out",) if FILM.search(rest) else ()
    if rest.startswith(b"\xd8\xff") or (not film and b"\xff\xd8\xff" in rest):  # SOI, whose first byte may be stripped
        return ("pictures behind the first of a JPEG left out", *film)
    return film or (("data behind the end of the photo left out",) if rest else ())


def _without_manifests(native: list[bytes]) -> tuple[list[bytes], tuple[str, ...]]:
    """A JPEG's segments but those of C2PA manifests, which sign the original's pixels: others would look forged."""
    boxes = [segment for segment in native if segment[1] == APP11 and segment[4:6] == b"JP"]
    stores = {segment[6:8] for segment in boxes if C2PA in segment[:64]}  # number of the box that a segment is part of
    kept = [segment for segment in native if segment not in boxes or segment[6:8] not in stores]
    return kept, (MANIFEST,) if stores else ()


def _read_png(source: bytes) -> Metadata:
    about, damaged = png.description(source)
    known = _read_with_pillow(about)
    native, lost = [], (*known.lost, *damaged)
    for chunk in png.chunks(about):
        kind = chunk.kind
        if kind == b"pHYs" and ABSURD in lost:
            continue
        if kind == b"iTXt" and bytes(chunk.body[: len(PNG_XMP)]) == PNG_XMP:
            continue
        if kind in PNG_KEPT:
            native.append(bytes(chunk.whole))
        if kind == b"iCCP" and known.icc is None:
            lost = (*lost, "damaged color profile left out")
    return replace(known, native=tuple(native), lost=lost)


def _read_gif(source: bytes) -> Metadata:
    known, start = _read_with_pillow(source), source.find(XMP_OF_GIF)
    if known.xmp is not None or start < 0:
        return known
    end = source.find(END_OF_XMP, start)
    if end < 0:
        return replace(known, lost=(*known.lost, "damaged XMP left out"))
    return replace(known, xmp=source[start + len(XMP_OF_GIF) : end] or None)


def _read_with_pillow(source: bytes) -> Metadata:
    with Image.open(io.BytesIO(source), formats=pillow_formats()) as image:
        info = image.info
        block = info.get("exif")
        if isinstance(block, bytes) and block.startswith(EXIF_START):
            block = block[6:]
        xmp = info.get("xmp")
        comment = info.get("comment")  # of a GIF or JPEG 2000
        comments = (comment,) if isinstance(comment, bytes) and comment else ()
        dpi = info.get("dpi")
        lost = [MANIFEST] if C2PA in source else []
        lost += [ABSURD] if dpi and min(dpi) > 0 and _clean_dpi(dpi) is None else []
        return Metadata(block or None, xmp.encode() if isinstance(xmp, str) else xmp or None,
                        info.get("icc_profile"), None, comments, _clean_dpi(dpi), lost=tuple(lost))  # fmt: skip


def _jfif_dpi(segment: bytes) -> tuple[float, float] | None:
    """What a JFIF header says (ITU-T T.871, 10.1): the only resolution of a JPEG beside that in EXIF."""
    if segment[4:9] != b"JFIF\0" or len(segment) < 16:
        return None
    across, down = struct.unpack_from(">HH", segment, 12)
    factor = {1: 1.0, 2: 2.54}.get(segment[11], 0.0)  # per inch, per centimetre
    return _clean_dpi((factor * across, factor * down))


def _clean_dpi(dpi: tuple[float, float] | None) -> tuple[float, float] | None:
    return (float(dpi[0]), float(dpi[1])) if dpi and min(dpi) >= LEAST_DOTS and max(dpi) < MOST_DOTS else None


def _read_jp2(source: bytes) -> Metadata:
    held = jp2.described(source)
    iptc = iptc_block(held["iptc"]) if "iptc" in held else None
    known = _read_with_pillow(source)
    # The code stream's comment is dropped: it names the program that wrote it.
    return replace(known, exif=held.get("exif"), xmp=held.get("xmp"), icc=held.get("icc"), photoshop=iptc, comments=())


READERS: dict[Format, Callable[[bytes], Metadata]] = {
    "jpeg": _read_jpeg, "png": _read_png, "jp2": _read_jp2, "gif": _read_gif, "pnm": lambda _: Metadata(),
}  # fmt: skip


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
