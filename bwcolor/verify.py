"""The proof that an output lost nothing: its brightness, its label and its metadata beside the original's."""

import io
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bwcolor.errors import PhotoError
from bwcolor.formats import xmp as packets
from bwcolor.formats.decoders import Pixels
from bwcolor.formats.icc import gray_to_rgb
from bwcolor.formats.jpeg import luma_parts
from bwcolor.formats.tifftags import Tag, read_tags
from bwcolor.metadata import XMP_TAG, Metadata, exif_of, read_metadata
from bwcolor.output import is_lossless_webp
from bwcolor.photo import Scan, open_scan
from bwcolor.turning import upright

LOSSLESS_LEVEL = 1  # of the depth's own levels, by which luma of a lossless output may differ (promise of the README)
LOSSY_MEAN = 1.0  # of 255 levels, on average over the photo, for an output in a lossy format
ORIENTATION, SOFTWARE = 274, 305
EXIF_FOLDER = 34665


@dataclass(frozen=True, slots=True)
class Check:
    """One question and its answer. ok: None where it could not be asked. words: the answer with its figures."""

    name: str
    ok: bool | None
    words: str


def verify_photo(output: Path, original: Path | None, max_pixels: int) -> list[Check]:
    """Looks into an output, and compares it with its original where that is named.

    Raises PhotoError when one of the two can't be read.
    """
    with open_scan(output, max_pixels) as made:
        if original is None:
            return [_check_label(made, None), *_without_original()]
        with open_scan(original, max_pixels) as scan:
            checks = [_check_label(made, scan)]
            if made.header.pages != scan.header.pages:
                words = f"{made.header.pages} pages, the original has {scan.header.pages}"
                return [*checks, Check("pages", False, words)]
            for page in range(scan.header.pages):
                checks += [_check_brightness(made, scan, page), _check_metadata(made, scan, page)]
            return _merged(checks)


def recovered(output: Path, max_pixels: int) -> Pixels:
    """The monochrome that a colour file holds: BT.601 luma of its first page, (h, w), as stored, uint8 or uint16."""
    with open_scan(output, max_pixels) as scan:
        return scan.photo().luma


def _without_original() -> list[Check]:
    words = "not compared: name the original, or the folder of originals, behind it"
    return [Check("brightness", None, words), Check("metadata", None, words)]


def _merged(checks: list[Check]) -> list[Check]:
    """One check of a name for all pages: the worst of them."""
    worst: dict[str, Check] = {}
    for check in checks:
        if check.name not in worst or worst[check.name].ok:
            worst[check.name] = check
    return list(worst.values())


def _check_label(made: Scan, original: Scan | None) -> Check:
    packet = _xmp(read_metadata(made)[0])
    label = packets.read_label(packet) if packet else None
    if label is None:
        return Check("label", False, "no label of bwcolor in its XMP")
    words = f"{label.software}, model {label.model}, {label.settings}"
    if original is not None and label.source_sha256 != original.sha256():
        return Check("label", False, f"{words}: made from another file (SHA-256 {label.source_sha256[:12]}…)")
    return Check("label", True, words)


def _xmp(metadata: Metadata) -> bytes | None:
    return next((tag.data for tag in metadata.tags if tag.code == XMP_TAG), metadata.xmp)


def _check_brightness(made: Scan, original: Scan, page: int) -> Check:
    if made.header.format == original.header.format == "jpeg":
        parts = luma_parts(original.read())
        if parts is not None and parts == luma_parts(made.read()):
            return Check("brightness", True, "the stored luma is the original's, bit for bit")
    ours, theirs = made.photo(page), original.photo(page)
    y, y_original = upright(ours.luma, ours.orientation), upright(theirs.luma, theirs.orientation)
    if y.shape != y_original.shape:
        size, size_original = (f"{plane.shape[1]} x {plane.shape[0]}" for plane in (y, y_original))
        return Check("brightness", False, f"{size} pixels, the original has {size_original}")
    if (ours.alpha is None) != (theirs.alpha is None):
        return Check("brightness", False, "transparency is missing, or was added")
    same_depth = y.dtype == y_original.dtype
    most, mean = _differences(y, y_original)
    unit = f"levels of {np.iinfo(y.dtype).max if same_depth else 255}"
    words = f"luma differs by at most {most:g} and {mean:.4f} on average, in {unit}"
    if ours.alpha is not None and theirs.alpha is not None and same_depth:
        alpha = upright(ours.alpha, ours.orientation)
        if not np.array_equal(alpha, upright(theirs.alpha, theirs.orientation)):
            return Check("brightness", False, f"{words}; transparency differs")
    if not most:
        return Check("brightness", True, "luma is the original's in every pixel")
    if _lossless(made):
        return Check("brightness", most <= LOSSLESS_LEVEL, words)
    scale = 1.0 if y.dtype == np.uint8 else 257.0
    return Check("brightness", mean / scale <= LOSSY_MEAN, f"{words} (the format is lossy)")


def _differences(y: Pixels, original: Pixels) -> tuple[float, float]:
    """Largest and mean difference in levels; in those of 8 bits where the depths differ. In strips: memory."""
    most, total = 0.0, 0.0
    for top in range(0, len(y), 256):
        one, other = (_levels(plane[top : top + 256], y.dtype == original.dtype) for plane in (y, original))
        difference = np.abs(one - other)
        most, total = max(most, float(difference.max())), total + float(difference.sum())
    return round(most, 3), total / y.size


def _levels(plane: Pixels, as_it_is: bool) -> NDArray[np.float64]:
    values = plane.astype(np.float64)
    return values if as_it_is or plane.dtype == np.uint8 else values / 257


def _lossless(scan: Scan) -> bool:
    if scan.header.format == "webp":
        return is_lossless_webp(scan.read())
    return scan.header.format in ("png", "tiff", "bmp")


def _check_metadata(made: Scan, original: Scan, page: int) -> Check:
    ours, theirs = read_metadata(made)[page], read_metadata(original)[page]
    missing = [f"EXIF tag {code}" for code in _different_tags(ours, theirs)]
    packet, packet_original = _xmp(ours), _xmp(theirs)
    if packet_original and not _contains(packet or b"", packet_original):
        missing.append("XMP")
    if theirs.icc is not None:
        expected = theirs.icc if theirs.icc[16:20] == b"RGB " else gray_to_rgb(theirs.icc)
        if expected is not None and ours.icc != expected:
            missing.append("colour profile")
    if ours.dpi is None and theirs.dpi is not None and not ours.tags:
        missing.append("resolution")
    if missing:
        return Check("metadata", False, f"differs or is missing: {', '.join(missing)}")
    return Check("metadata", True, "EXIF, XMP, profile and resolution are the original's")


def _different_tags(ours: Metadata, theirs: Metadata) -> list[int]:
    """Codes of the original's EXIF tags that the output lacks or gives another value."""
    block, block_original = exif_of(ours), exif_of(theirs)
    if block_original is None:
        return []
    try:
        wanted = _flat(read_tags(io.BytesIO(block_original))[0].tags)
        found = _flat(read_tags(io.BytesIO(block))[0].tags) if block else {}
    except (PhotoError, IndexError):  # a damaged block is carried over as it is
        return [] if block == block_original else [EXIF_FOLDER]
    return [code for code, tag in wanted.items() if found.get(code) != tag]


def _flat(tags: tuple[Tag, ...]) -> dict[int, tuple[int, bytes]]:
    """Tags of all folders by their codes, XMP left out: number of values, and those."""
    flat: dict[int, tuple[int, bytes]] = {}
    for tag in tags:
        if tag.code == XMP_TAG:
            continue
        if tag.folder:
            flat |= _flat(tag.folder)
        else:
            flat[tag.code] = (tag.count, tag.data)
    return flat


def _contains(packet: bytes, original: bytes) -> bool:
    """Whether every element of the original's packet, with its text and attributes, is in the other."""
    try:
        wanted, found = ET.fromstring(_plain(original)), ET.fromstring(_plain(packet))
    except ET.ParseError:
        return packet == original
    ours = {f"{{{packets.IPTC_EXT}}}DigitalSourceType"}

    def facts(root: ET.Element) -> set[tuple[str, str]]:
        texts = {(element.tag, (element.text or "").strip()) for element in root.iter()}
        attributes = {item for element in root.iter() for item in element.attrib.items()}
        return {fact for fact in texts | attributes if fact[0] not in ours}

    return facts(wanted) <= facts(found)


def _plain(packet: bytes) -> bytes:
    """The packet without what may follow its XML: padding and zeros."""
    if b"<!DOCTYPE" in packet or b"<!ENTITY" in packet:
        return b""
    return packet.strip(b"\0 \r\n\t")
