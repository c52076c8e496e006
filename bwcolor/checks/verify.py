"""The proof that an output lost nothing: its brightness, its label and its metadata beside the original's."""

import datetime
import io
import math
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags

from bwcolor.errors import PhotoError
from bwcolor.imaging.arrays import Pixels
from bwcolor.imaging.orientation import upright
from bwcolor.options import MAX_FILE_PIXELS
from bwcolor.photo.encode import is_lossless_webp
from bwcolor.photo.formats.header import reason
from bwcolor.photo.formats.jpeg import carried_frame, luma_coding, luma_parts
from bwcolor.photo.formats.jpeg_repair import mended
from bwcolor.photo.formats.known import Format
from bwcolor.photo.formats.tifftags import GPS, NARROWER, Tag
from bwcolor.photo.metadata import xmp as packets
from bwcolor.photo.metadata.exiftags import described
from bwcolor.photo.metadata.icc import gray_to_rgb
from bwcolor.photo.metadata.photoshop import IPTC, PREVIEWS, resources_in
from bwcolor.photo.metadata.read import PHOTOSHOP_TAG, XMP_TAG, Metadata, read_metadata, tells_shape
from bwcolor.photo.metadata.write import exif_of, image_resources_of, label_in, resolutions, xmp_of
from bwcolor.photo.scan import Photo, Scan, open_scan

LOSSLESS_LEVEL = 1  # of the depth's own levels, by which luma of a lossless output may differ (promise of the README)
# Of 255 levels, for an output in a lossy format: the mean difference, which grain drives up, and that of the means.
LOSSY_MEAN, LOSSY_SHIFT = 2.0, 0.5
JPEG_MEAN = 0.5  # the same for a JPEG that is encoded anew with the original's quantisation table
FEWER_BITS = 0.5  # level of 8 bits, by which rounding 16 bits to 8 adds to the difference
SAME_DOTS = 0.005  # of the resolution: PNG and BMP have whole dots per metre
WHOLE_DOTS = 0.51  # JPEG has whole dots per inch
NO_LABEL: frozenset[Format] = frozenset({"bmp"})  # formats without a place for it
RESOLUTION_PARTS = (b"JFIF\0", b"pHYs")  # of JPEG and PNG: resolutions are compared by value
ONLY_PNG = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"tIME")
SHORT, LONG = 3, 4  # TIFF field types
NOBODY = packets.Label("", "", "", "", "")


@dataclass(frozen=True, slots=True)
class Check:
    """One question and its answer. ok: None where it is not judged. words: the answer with its figures."""

    name: str
    ok: bool | None
    words: str


def verify_photo(
    output: Path,
    original: Path | None,
    max_pixels: int,
    label: bool = True,
    max_file_pixels: int = MAX_FILE_PIXELS,
) -> list[Check]:
    """Looks into an output, and compares it with its original where that is named.

    label: whether an output without a label is at fault; one that is there is looked at in any case. An output that is
    its original byte for byte needs none. Raises PhotoError when one of the two can't be read.
    """
    try:
        with open_scan(output, max_pixels, max_file_pixels) as made:
            ours = read_metadata(made)
            if original is None:
                for page in range(made.header.pages):
                    made.photo(page)  # raises when it is damaged
                return [_check_label(made, ours, None, label), *_without_original()]
            with _of_original(original), open_scan(original, max_pixels, max_file_pixels) as scan:
                return _compared(made, ours, scan, label)
    except PhotoError:
        raise
    except Exception as error:  # parsers raise whatever they like on damaged data
        raise PhotoError(reason(error)) from error


def in_colour_already(original: Path, max_pixels: int, max_file_pixels: int = MAX_FILE_PIXELS) -> bool:
    """Whether all of a photo's pages are, or it is an output of ours by its label, so that runs leave it alone; raises
    PhotoError when it can't be read."""
    with open_scan(original, max_pixels, max_file_pixels) as scan:
        if label_in(read_metadata(scan)) is not None:
            return True
        photos = (scan.photo(page) for page in range(scan.header.pages))
        return all(photo.kind == "colour" or photo.stays for photo in photos)


class _OfOutput(PhotoError):
    """What is wrong with the output, raised while its original is at hand."""


@contextmanager
def _of_original(path: Path) -> Iterator[None]:
    """Says of errors that they are the original's."""
    try:
        yield
    except _OfOutput as error:
        raise PhotoError(str(error)) from error
    except Exception as error:
        words = str(error) if isinstance(error, PhotoError) else reason(error)
        raise PhotoError(f"the original, {path}: {words}") from error


def _photo(made: Scan, page: int) -> Photo:
    try:
        return made.photo(page)
    except PhotoError as error:
        raise _OfOutput(str(error)) from error


def _compared(made: Scan, ours: list[Metadata], original: Scan, label: bool) -> list[Check]:
    times = _check_times(made, original)
    if made.sha256() == original.sha256():
        return [Check("copy", True, "copied unchanged, byte for byte"), times]
    checks = [_check_label(made, ours, original, label)]
    pages = original.header.pages
    if made.header.pages != pages:
        return [*checks, Check("pages", False, f"{made.header.pages}, the original has {pages}"), times]
    theirs = read_metadata(original)
    found: list[tuple[Check, Check]] = []
    for page in range(pages):
        found.append((
            _check_brightness(made, original, page),
            _check_metadata(made, original, ours[page], theirs[page], made.is_gray(page)),
        ))  # fmt: skip
    return [*checks, *(_merged(list(of_pages)) for of_pages in zip(*found, strict=True)), times]


def _without_original() -> list[Check]:
    words = "not compared; to compare, name the original, or the folder of originals, as well"
    return [Check("brightness", None, words), Check("metadata", None, words)]


def _merged(checks: list[Check]) -> Check:
    """One check for those of all pages: the worst of them, or what is said of all."""
    if len(checks) == 1:
        return checks[0]
    badness = {True: 0, None: 1, False: 2}
    number, worst = max(enumerate(checks, 1), key=lambda at: (badness[at[1].ok], -at[0]))
    if worst.ok is not True:
        return Check(worst.name, worst.ok, f"page {number}: {worst.words}")
    said = list(dict.fromkeys(check.words for check in checks))
    words = " or ".join(said[:2]) + (" or the like" if len(said) > 2 else "")
    return Check(worst.name, True, f"all {len(checks)} pages: {words}")


def _check_times(made: Scan, original: Scan) -> Check:
    """Of the last change, to the second: some disks keep no more."""
    ours, theirs = (_date(scan.times[1] // 10**9) for scan in (made, original))
    kept = abs(made.times[1] - original.times[1]) < 2 * 10**9
    return Check("file time", None, "the original's" if kept else f"{ours}, the original's is {theirs}")


def _date(seconds: int) -> str:
    """Shows a file's time, in seconds since 1970; disks hold times that no calendar has."""
    try:
        return datetime.datetime.fromtimestamp(seconds).isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError):  # beyond the years 1 and 9999; on Windows before 1970
        return f"{seconds:,} seconds since 1970"


def _check_label(made: Scan, ours: list[Metadata], original: Scan | None, wanted: bool) -> Check:
    label = label_in(ours)
    if label is None:
        if made.header.format in NO_LABEL:
            return Check("label", None, f"none: {made.header.format.upper()} has no place for it")
        words = "no label of bwcolor in its XMP"
        return Check("label", False, words) if wanted else Check("label", None, f"{words}, and none is asked for")
    words = f"{label.software}, model {label.model}, {label.settings}"
    if original is not None and label.source_sha256 != original.sha256():
        return Check("label", False, f"{words}: made from another file (SHA-256 {label.source_sha256[:12]}…)")
    return Check("label", True, words)


def _check_brightness(made: Scan, original: Scan, page: int) -> Check:
    """Both are decoded even where the stored luma is the same: the rest of the output may be damaged."""
    ours, theirs = _photo(made, page), original.photo(page)
    y, y_original = upright(ours.luma, ours.orientation), upright(theirs.luma, theirs.orientation)
    if y.shape != y_original.shape:
        size, size_original = (f"{plane.shape[1]} x {plane.shape[0]}" for plane in (y, y_original))
        return Check("brightness", False, f"{size} pixels, the original has {size_original}")
    if ours.alpha is None and _is_clear(theirs):
        return Check("brightness", False, "the transparency is missing")
    if ours.alpha is not None and theirs.alpha is None:
        return Check("brightness", False, "transparency was added")
    fewer_bits = y.dtype != y_original.dtype
    most, mean, shift = _differences(y, y_original)
    unit = 255 if fewer_bits else np.iinfo(y.dtype).max
    words = f"luma differs by at most {most:g} and {mean:.4f} on average, in levels of {unit}"
    limit = FEWER_BITS if fewer_bits else 0.0
    lossless, scale = _lossless(made), unit / 255
    if ours.alpha is not None and theirs.alpha is not None:
        alpha = upright(ours.alpha, ours.orientation), upright(theirs.alpha, theirs.orientation)
        found = _differences(*alpha)
        if found[0] > limit if lossless else found[1] > LOSSY_MEAN * scale:
            return Check("brightness", False, f"transparency differs by up to {found[0]:g} levels of {unit}; {words}")
    if made.header.format == original.header.format == "jpeg":
        return _check_jpeg(made, original, words, not most, mean <= JPEG_MEAN)
    if not most:
        return Check("brightness", True, "luma is identical to the original's in every pixel")
    if lossless:
        return Check("brightness", most <= LOSSLESS_LEVEL + limit, words)
    near = mean <= LOSSY_MEAN * scale and abs(shift) <= LOSSY_SHIFT * scale
    return Check("brightness", near, f"{words} (the format is lossy)")


def _is_clear(photo: Photo) -> bool:
    """Whether anything of it can be seen through; WebP drops alpha that says nothing."""
    return photo.alpha is not None and int(photo.alpha.min()) < np.iinfo(photo.alpha.dtype).max


def _check_jpeg(made: Scan, original: Scan, words: str, same: bool, near: bool) -> Check:
    """A gray JPEG's luma is carried over; that of a JPEG with three components is encoded with the same table."""
    source, output = mended(original.read()), made.read()
    parts = luma_parts(source)
    if same and parts is not None and parts == luma_parts(output):
        return Check("brightness", True, "the stored luma is identical to the original's, bit for bit")
    if same:
        return Check("brightness", True, "luma is identical to the original's in every pixel")
    if carried_frame(source) is not None:
        return Check("brightness", False, f"{words}; the original's luma was re-encoded, not carried over")
    table = luma_coding(source)[0]  # None of lossless and 12-bit files
    if table is not None and table != luma_coding(output)[0]:
        return Check("brightness", False, f"{words}; encoded with a different quantization table than the original")
    return Check("brightness", near, f"{words} (re-encoded with the original's quantization table)")


def _differences(y: Pixels, original: Pixels) -> tuple[float, float, float]:
    """Largest and mean difference, and that of the means, in levels; in those of 8 bits where the depths differ."""
    most, total, shift = 0.0, 0.0, 0.0  # in strips, since both planes as floats would be too much
    for top in range(0, len(y), 256):
        one, other = (_levels(plane[top : top + 256], y.dtype == original.dtype) for plane in (y, original))
        difference = np.abs(one - other)
        most, total = max(most, float(difference.max())), total + float(difference.sum())
        shift += float((one - other).sum())
    return round(most, 3), total / y.size, shift / y.size


def _levels(plane: Pixels, as_it_is: bool) -> NDArray[np.float64]:
    values = plane.astype(np.float64)
    return values if as_it_is or plane.dtype == np.uint8 else values / 257


def _lossless(scan: Scan) -> bool:
    if scan.header.format == "webp":
        return is_lossless_webp(scan.read())
    return scan.header.format in ("png", "tiff", "bmp")


def _check_metadata(made: Scan, original: Scan, ours: Metadata, theirs: Metadata, gray: bool) -> Check:
    """gray: whether the output's page is one, as masks and the like are that were copied as they are."""
    missing = [*_different_tags(ours, theirs), *_different_resources(ours, theirs)]
    packet = xmp_of(theirs)
    readable = packet is not None and packets.labelled(packet, NOBODY)[1]
    if packet is not None and readable and not _contains(xmp_of(ours), packet):
        missing.append("XMP")
    missing += ["colour profile"] * (ours.icc != theirs.icc) if gray else _different_profile(ours.icc, theirs.icc)
    wanted = resolutions(theirs)
    wanted += [(down, across) for across, down in wanted if made.header.format == "bmp"]  # its pixels are upright
    if not _same_resolution(resolutions(ours), wanted):
        missing.append("resolution (DPI)")
    if Counter(_comments(theirs)) - Counter(_comments(ours)):
        missing.append("comments")
    lacking = Counter(theirs.native) - Counter(ours.native)
    same_format = made.header.format == original.header.format
    missing += [_native_name(part) for part in lacking if not _only_here(part, same_format)]
    if missing:
        return Check("metadata", False, f"differs or is missing: {', '.join(dict.fromkeys(missing))}")
    rest = "" if packet is None or readable else "; the original's XMP can't be read and was not compared"
    held = "comments, profile and resolution"
    if theirs.icc is not None and ours.icc is None:  # expected, or it would be among what is missing
        kind = "one for RGB or gray" if theirs.icc[16:20] != b"GRAY" else "one that can be made one for RGB"
        held, rest = "comments and resolution", f"; the original's profile is not {kind} and was left out{rest}"
    return Check("metadata", True, f"EXIF, XMP, IPTC, {held} match the original's{rest}")


def _comments(metadata: Metadata) -> tuple[bytes, ...]:
    """Those of a PNG are among its chunks; it can't hold the zeros that programs end texts with."""
    of_png = tuple(part[16:-4] for part in metadata.native if part[4:16] == b"tEXtComment\0")
    return tuple(comment.replace(b"\0", b"") for comment in metadata.comments + of_png)


def _only_here(part: bytes, same_format: bool) -> bool:
    """Whether a JPEG's segment or a PNG's chunk may be missing: it tells the resolution, which is compared by value, or
    how this format's values are meant."""
    return part[4:].startswith(RESOLUTION_PARTS) or (not same_format and part[4:].startswith(ONLY_PNG))


def _native_name(part: bytes) -> str:
    """A JPEG's segment or a PNG's chunk, in words."""
    if part[:1] == b"\xff":
        return f"JPEG segment APP{part[1] - 0xE0}"
    return f"PNG chunk {part[4:8].decode('ascii', 'replace')}"


def _different_tags(ours: Metadata, theirs: Metadata) -> list[str]:
    """The original's EXIF tags that the output lacks or gives another value, in words."""
    block, block_original = exif_of(ours), exif_of(theirs)
    if block_original is None:
        return []
    try:
        wanted = _flat(described(block_original))
    except PhotoError:  # a damaged block is carried over as it is
        return [] if block == block_original else ["EXIF"]
    if block is None:
        return ["EXIF"] if wanted else []
    try:
        found = _flat(described(block))
    except PhotoError:
        return ["EXIF"]
    return [_tag_name(*key) for key, value in wanted.items() if found.get(key) != value]


def _flat(tags: tuple[Tag, ...], above: int = 0) -> dict[tuple[int, int], object]:
    """Folder and code -> number of values, and those; what is compared elsewhere or rightly left out is not in it."""
    flat: dict[tuple[int, int], object] = {}
    for tag in tags:
        if tag.code in (XMP_TAG, PHOTOSHOP_TAG) or tells_shape(tag):
            continue
        if tag.folder:
            flat |= _flat(tag.folder, tag.code)
        else:
            flat[above, tag.code] = (tag.count, _numbers(tag))
    return flat


def _numbers(tag: Tag) -> object:
    """Whole numbers of any width are the same; other values go by their bytes."""
    letter = {SHORT: "u2", LONG: "u4"} | {kind: f"{wide.replace('Q', 'u').replace('q', 'i')}8"
                                         for kind, (_, wide, _) in NARROWER.items()}  # fmt: skip
    return tuple(np.frombuffer(tag.data, f"<{letter[tag.kind]}").tolist()) if tag.kind in letter else tag.data


def _tag_name(folder: int, code: int) -> str:
    names = ExifTags.GPSTAGS if folder == GPS else ExifTags.TAGS
    return f"EXIF {names.get(code, f'tag {code}')}"


def _different_resources(ours: Metadata, theirs: Metadata) -> list[str]:
    found, wanted = (_resources(one) for one in (ours, theirs))
    lacking = {number for number, _ in wanted - found}
    return ["IPTC"] * (IPTC in lacking) + ["Photoshop data"] * bool(lacking - {IPTC})


def _resources(metadata: Metadata) -> set[tuple[int, bytes]]:
    """Photoshop's resources by number, but for the previews; IPTC without zeros at its end."""
    held = resources_in(image_resources_of(metadata) or b"")
    return {
        (number, data.rstrip(b"\0") if number == IPTC else data) for number, data, _ in held if number not in PREVIEWS
    }


def _different_profile(ours: bytes | None, theirs: bytes | None) -> list[str]:
    if ours is not None and ours[16:20] != b"RGB ":
        return ["colour profile (one for other than RGB)"]
    if theirs is None:
        return ["colour profile (added)"] if ours is not None else []
    expected = theirs if theirs[16:20] == b"RGB " else gray_to_rgb(theirs)
    # A profile that can't become one for RGB is left out, and the run says so.
    return ["colour profile"] if ours != expected else []


def _same_resolution(ours: list[tuple[float, float]], theirs: list[tuple[float, float]]) -> bool:
    """Whether each resolution of the output is one of the original's, which may tell several."""
    if not theirs:
        return True
    return bool(ours) and all(any(_near(one, other) for other in theirs) for one in ours)


def _near(one: tuple[float, float], other: tuple[float, float]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(math.isclose(dots, wanted, rel_tol=SAME_DOTS, abs_tol=WHOLE_DOTS) for dots, wanted in pairs)


def _contains(packet: bytes | None, original: bytes) -> bool:
    """Whether every element and attribute of the original's packet is in the other, at its place."""
    if packet is None:
        return False
    labelled, readable = packets.labelled(packet, NOBODY)  # the same label in both, so that it does not count
    return readable and not _facts(packets.labelled(original, NOBODY)[0]) - _facts(labelled)


def _facts(packet: bytes) -> "Counter[tuple[str, str]]":
    """Path and text of each element and attribute of a packet."""
    facts: Counter[tuple[str, str]] = Counter()
    waiting = [("", ET.parse(io.BytesIO(packet)).getroot())]
    while waiting:
        path, element = waiting.pop()
        path += f"/{element.tag}"
        facts[path, (element.text or "").strip()] += 1
        facts.update((f"{path}@{name}", value) for name, value in element.attrib.items())
        waiting += [(path, child) for child in element]
    return facts
