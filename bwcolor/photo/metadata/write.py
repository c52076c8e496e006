"""What describes a photo, written into another file, whatever its format; and what has no place there, in words."""

import contextlib
import struct
import zlib
from collections.abc import Sequence
from typing import Any

from PIL import Image

from bwcolor.errors import PhotoError
from bwcolor.photo.formats.jpeg import APP0, APP1, APP2, APP13, COM
from bwcolor.photo.formats.png import chunk_of
from bwcolor.photo.formats.tifftags import Tag
from bwcolor.photo.metadata import exif as exifs
from bwcolor.photo.metadata.exiftags import block_of, described, is_whole
from bwcolor.photo.metadata.photoshop import IPTC, iptc_block, resources_in, without
from bwcolor.photo.metadata.read import (
    BYTE,
    EXIF_START,
    ICC_START,
    IPTC_TAG,
    LEAST_DOTS,
    METRE,
    MOST_DOTS,
    PHOTOSHOP_START,
    PHOTOSHOP_TAG,
    PNG_KEPT,
    PNG_XMP,
    UNDEFINED,
    XMP_START,
    XMP_TAG,
    Metadata,
)
from bwcolor.photo.metadata.xmp import Label, read_label

SEGMENT = 65_533  # bytes that a JPEG segment holds behind its length
MOST_CHUNKS = 255  # segments of a JPEG that hold one profile (ICC.1:2022, B.4)
MOST_JFIF_DOTS = 65_535  # per inch, that a JFIF header holds (ITU-T T.871, 10.1)
PNG_HEAD = 33  # bytes: 8 signature + 4 length + 4 type + 13 data + 4 CRC of IHDR
ORIENTATION = 274
RESOLUTION_TAGS = (282, 283, 296)  # across, down, unit
INCHES = {2: 1.0, 3: 2.54}  # per inch, of each unit
RATIONAL, SHORT = 5, 3  # TIFF field types
USUAL_GAMMA = 45_455  # of gAMA: 1/2.2, which viewers take for granted (PNG specification, 11.3.2.2)
SAME_GAMMA = 1_000  # by which it may differ
USUAL_TRANSFER = frozenset({1, 6, 13, 14, 15})  # of cICP: those of video and sRGB (ITU-T H.273, table 3)


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
    if unit in INCHES and min(across, down) >= LEAST_DOTS and max(across, down) < MOST_DOTS:
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


def xmp_of(metadata: Metadata) -> bytes | None:
    """Its XMP packet, wherever it is."""
    return _part(metadata, XMP_TAG, metadata.xmp)


def label_in(pages: Sequence[Metadata]) -> Label | None:
    """What the first page with a label of ours says; pages that were in colour already have none."""
    packets = [xmp_of(page) for page in pages]
    return next((label for packet in packets if packet and (label := read_label(packet))), None)


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
    comments = ("comments left out: the format has no place for them",) if metadata.comments else ()
    damaged = metadata.exif is not None and not is_whole(metadata.exif)
    return (*comments, *lost_of_native(metadata), *(["damaged EXIF left out"] if damaged else []))


def lost_of_native(metadata: Metadata) -> tuple[str, ...]:
    """What is lost with the segments or chunks that only the source's own format has, in words."""
    segments = [part for part in metadata.native if part[:1] == b"\xff"]
    chunks = {part[4:8]: part[8:-4] for part in metadata.native if part[:1] != b"\xff"}
    lost = []
    if any(part[1] != APP0 or not part[4:].startswith(b"JFIF\0") for part in segments):
        lost.append("application segments of the JPEG left out")
    if {b"tEXt", b"zTXt", b"iTXt"} & chunks.keys():
        lost.append("texts of the PNG left out")
    gamma = int.from_bytes(chunks.get(b"gAMA", b""), "big") or USUAL_GAMMA
    told_better = b"cICP" in chunks or b"sRGB" in chunks or metadata.icc is not None
    other_gamma = abs(gamma - USUAL_GAMMA) > SAME_GAMMA and not told_better
    if other_gamma or chunks.get(b"cICP", b"\1\1")[1] not in USUAL_TRANSFER:
        lost.append("the PNG's own brightness curve left out: tones may be shown differently")
    return tuple(lost)


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
    xmp = xmp_of(metadata)
    if xmp is not None and len(XMP_START + xmp) > SEGMENT:
        xmp = None
        lost.append("XMP left out: more than a JPEG can hold")
    start, header, *rest = pieces
    old_headers = [segment for segment in metadata.native if segment[1] == APP0]  # then the new one gives way to them
    dpi = next(iter(resolutions(metadata)), None)
    if dpi is not None and not old_headers and max(dpi) > MOST_JFIF_DOTS:
        dpi = None
        lost += [] if resolutions(Metadata(exif=block)) else ["resolution left out: more than a JPEG can hold"]
    parts = [b"".join(old_headers) or _jfif(bytes(header), dpi)]
    parts += [_segment(APP1, EXIF_START + block)] if block else []
    parts += [_segment(APP1, XMP_START + xmp)] if xmp else []
    parts += [segment for segment in metadata.native if segment[1] != APP0]
    chunks = _split(metadata.icc or b"", SEGMENT - len(ICC_START) - 2)
    if len(chunks) > MOST_CHUNKS:
        chunks = []
        lost.append("colour profile left out: more than a JPEG can hold; viewers may show other tones")
    parts += [_segment(APP2, ICC_START + bytes([at, len(chunks)]) + part) for at, part in enumerate(chunks, 1)]
    photoshop = image_resources_of(metadata) or b""
    parts += [_segment(APP13, PHOTOSHOP_START + part) for part in _split(photoshop, SEGMENT - len(PHOTOSHOP_START))]
    parts += [_segment(COM, comment) for comment in metadata.comments if len(comment) <= SEGMENT]
    if any(len(comment) > SEGMENT for comment in metadata.comments):
        lost.append("comment left out: more than a JPEG can hold")
    return [start, *parts, *rest], tuple(lost)


def _segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def _split(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def _jfif(header: bytes, dpi: tuple[float, float] | None) -> bytes:
    """A JFIF header with the resolution in it (ITU-T T.871, 10.1)."""
    if dpi is None or len(header) < 18:
        return header
    return header[:11] + b"\x01" + struct.pack(">HH", *(max(1, round(dots)) for dots in dpi)) + header[16:]


def put_into_png(metadata: Metadata, encoded: bytes) -> tuple[list[bytes | memoryview], tuple[str, ...]]:
    """A new PNG without metadata -> with it, and what did not fit, in words."""
    chunks = list(metadata.native) if all(chunk[4:8] in PNG_KEPT for chunk in metadata.native) else []
    if metadata.icc is not None:
        chunks = [chunk for chunk in chunks if chunk[4:8] != b"sRGB"]
        chunks.insert(0, chunk_of(b"iCCP", b"ICC Profile\0\0" + zlib.compress(metadata.icc)))
    dpi = next(iter(resolutions(metadata)), None) if metadata.tags else metadata.dpi
    if dpi is not None and not any(chunk[4:8] == b"pHYs" for chunk in chunks):
        chunks.append(chunk_of(b"pHYs", struct.pack(">IIB", *(round(dots * METRE) for dots in dpi), 1)))
    block = exif_of(metadata)
    chunks += [chunk_of(b"eXIf", block)] if block else []
    xmp = xmp_of(metadata)
    chunks += [chunk_of(b"iTXt", PNG_XMP + b"\0\0\0\0" + xmp)] if xmp else []
    chunks += [chunk_of(b"tEXt", b"Comment\0" + comment.replace(b"\0", b"")) for comment in metadata.comments]
    apart, view = image_resources_of(metadata), memoryview(encoded)
    lost = ("IPTC and Photoshop data left out: PNG has no place for them",) if apart else ()
    return [view[:PNG_HEAD], *chunks, view[PNG_HEAD:]], lost


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
        "xmp": xmp_of(metadata),
        "icc_profile": metadata.icc,
    }
    lost = ("comments left out: the format has no place for them",) if metadata.comments else ()
    if image_resources_of(metadata):
        lost = ("IPTC and Photoshop data left out: the format has no place for them", *lost)
    if untold:
        lost = (*lost, "resolution left out: EXIF does not tell it, and the format has no other place for it")
    return {name: part for name, part in parts.items() if part is not None}, lost
