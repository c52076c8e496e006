"""What a file is by its ending and by the bytes that it begins with. Imports nothing that takes time to load."""

import re
from dataclasses import dataclass
from pathlib import PurePath

from bwcolor.photo.formats.known import EXTENSIONS, Format

LOOK = 64  # bytes of a file that are looked at, at most
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF 6.0 and BigTIFF, both byte orders
HEIC_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})
AVIF_BRANDS = frozenset({b"avif", b"avis"})
BMP_HEADERS = frozenset({12, 40, 52, 56, 64, 108, 124})  # bytes of the header behind a BMP's first 14
# The magic number, blanks, and then a comment or the width and more (netpbm's pnm(5)).
PNM_START = re.compile(rb"P[1-6](?:\s*\n\s*#|\s+\d+\s+[\d#])")
BLANKS = " \t\r\n"  # that may stand at the end of a name by mistake


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A kind of picture that can't be read. what: its name, with an article. advice: what to do about it."""

    what: str
    advice: str

    def __str__(self) -> str:
        return f"is {self.what}, which can't be read; {self.advice}"


RAW = Unreadable("a camera raw file", "develop it and save it as TIFF or JPEG")
_LAYERS = Unreadable("an image editor's own file", "export it as TIFF or PNG")
_DOCUMENT = Unreadable("a document or a drawing", "export its pictures as TIFF or PNG")
_PICTURE = Unreadable("a rare kind of picture", "convert it to TIFF or PNG")

_FAMILIES: dict[Unreadable, str] = {
    RAW: "dng cr2 cr3 crw nef nrw arw srf sr2 raf orf rw2 rwl raw pef srw x3f iiq 3fr fff mef mos mrw erf kdc dcr dcs"
    " k25 gpr ari bay eip rwz",
    _LAYERS: "psd psb psp pspimage xcf kra ora afphoto cpt pdn clip pxd sai",
    _DOCUMENT: "pdf eps epsf ps ai svg svgz djvu djv emf wmf xps oxps indd cdr",
    _PICTURE: "jxl tga pcx sgi fits fts jxr wdp hdp pcd exr hdr dcm ras pict pct lbm ilbm iff xbm xpm pam pfm jpm bpg"
    " flif qoi dds dpx cin mng jng jbg jb2 miff wbmp cal cals ico cur",
}
UNREADABLE: dict[str, Unreadable] = {
    f".{ending}": kind for kind, endings in _FAMILIES.items() for ending in endings.split()
}
"""Endings of pictures that a user may expect to be colorized: named, not passed over in silence."""

# Bytes that only one kind begins with, by their place. Raw files that are TIFFs go by their names.
_STARTS: tuple[tuple[int, bytes, Unreadable], ...] = (
    *((0, start, RAW) for start in (
        b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"FUJIFILMCCD-RAW", b"II\x1a\0\0\0HEAPCCDR", b"FOVb", b"\0MRM")),
    (8, b"CR\x02", RAW), (4, b"ftypcrx ", RAW),
    *((0, start, _LAYERS) for start in (b"8BPS\0", b"gimp xcf", b"Paint Shop Pro Image File")),
    *((0, start, _DOCUMENT) for start in (b"%PDF-", b"%!PS", b"\xc5\xd0\xd3\xc6", b"AT&TFORM")),
    *((0, start, _PICTURE) for start in (
        b"\0\0\0\x0cJXL \r\n\x87\n", b"v/1\x01", b"\x01\xda\0\x01", b"\x01\xda\x01\x01", b"SIMPLE  =", b"II\xbc\x01",
        b"\x59\xa6\x6a\x95", b"qoif", b"DDS |", b"BPG\xfb", b"FLIF", b"P7\nWIDTH", b"PF\n", b"Pf\n", b"#?RADIANCE",
        b"#?RGBE", b"\x97JB2\r\n\x1a\n", b"\x8aMNG\r\n\x1a\n", b"\x8bJNG\r\n\x1a\n", b"SDPX", b"XPDS",
        b"\x80\x2a\x5f\xd7", b"PCD_OPA", b"id=ImageMagick")),
    (8, b"ILBM", _PICTURE),
)  # fmt: skip


def ending(path: PurePath) -> str:
    """A name's ending in lower case, without blanks behind it: ".jpg" of "Scan.JPG "."""
    return path.suffix.rstrip(BLANKS).lower()


def has_photo_name(path: PurePath) -> bool:
    """Whether a name's ending is that of a kind that can be read."""
    return ending(path) in EXTENSIONS


def format_in(start: bytes) -> Format | None:
    """The kind of picture that a file is whose first LOOK bytes these are; None for one that can't be read."""
    if start.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if start.startswith(TIFF_STARTS):
        return None if unreadable_in(start) else "tiff"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "webp"
    if start.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if start.startswith((b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")):
        return "jp2"
    if start[4:8] == b"ftyp":
        return _of_brands(start)
    if start[:2] == b"BM" and int.from_bytes(start[14:18], "little") in BMP_HEADERS:
        return "bmp"
    return "pnm" if PNM_START.match(start) else None


def _of_brands(start: bytes) -> Format | None:
    """AVIF or HEIC by the brands in a file's first box (ISO 14496-12, 4.3): the first decides, but for general ones."""
    length = min(int.from_bytes(start[:4], "big"), len(start))
    brands = [start[8:12], *(start[at : at + 4] for at in range(16, length - 3, 4))]
    if brands[0] in AVIF_BRANDS or (brands[0] in (b"mif1", b"msf1") and AVIF_BRANDS.intersection(brands)):
        return "avif"
    return "heic" if HEIC_BRANDS.intersection(brands[:1]) else None


def unreadable_in(start: bytes) -> Unreadable | None:
    """The kind of picture that can't be read whose first bytes these are; None for any other file."""
    return next((kind for at, known, kind in _STARTS if start[at : at + len(known)] == known), None)
