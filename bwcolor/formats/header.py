"""What a photo's file says of itself, before anything is decoded: kind, size, depth, number of pages."""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import tifffile
from PIL import Image, UnidentifiedImageError

from bwcolor.errors import PhotoError
from bwcolor.formats import jp2
from bwcolor.formats.jpeg import read_frame

Format = Literal["jpeg", "png", "tiff", "webp", "bmp", "gif", "jp2", "avif", "heic"]

EXTENSIONS = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".jp2", ".j2k", ".jpx", ".avif",
    ".heic", ".heif",
})  # fmt: skip
# The only decoders of Pillow's that see a user's file, and what we call the formats. MPO is a JPEG with more pictures
# behind it, as some cameras write. TIFF is here for the few kinds that are left to libtiff.
DECODERS: dict[str, Format] = {
    "JPEG": "jpeg", "MPO": "jpeg", "PNG": "png", "TIFF": "tiff", "WEBP": "webp", "BMP": "bmp", "GIF": "gif",
    "JPEG2000": "jp2", "AVIF": "avif", "HEIF": "heic",
}  # fmt: skip
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF 6.0 and BigTIFF, both byte orders
HEIC_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})
MAX_PAGES = 1000  # of a TIFF
MAX_META = 1 << 26  # bytes of an AVIF's box of properties that are read
EMPTY = "the file is empty"
UNKNOWN = "not a picture that can be read, or damaged"
NO_HEIC = 'HEIC needs the extra package pillow-heif: pip install "bwcolor[heic]"'

# Sizes are checked against options.max_pixels before anything is decoded.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, slots=True)
class Header:
    """format: of the file's content, whatever its name says. width, height: px as stored, of the largest page. bits:
    of each value, 1 to 16, the most of any page. pages: 1 for all but TIFF. frames: of an animation, or 1."""

    format: Format
    width: int
    height: int
    bits: int = 8
    pages: int = 1
    frames: int = 1

    @property
    def pixels(self) -> int:
        """Of the largest page."""
        return self.width * self.height

    @property
    def deep(self) -> bool:
        """Whether its values need 16 bits."""
        return self.bits > 8


def read_header(path: Path) -> Header:
    """Reads a few blocks of the file; raises PhotoError when it is no picture that can be read."""
    try:
        with path.open("rb") as file:
            return header_of(file)
    except PhotoError:
        raise
    except Exception as error:  # parsers raise whatever they like on damaged data
        raise PhotoError(reason(error)) from error


def header_of(file: BinaryIO) -> Header:
    """The same of an open file, at whatever position."""
    file.seek(0)
    start = file.read(16)
    if not start:
        raise PhotoError(EMPTY)
    if start[:2] == b"\xff\xd8":
        file.seek(0)
        frame = read_frame(file)
        return Header("jpeg", frame.width, frame.height, frame.bits)
    if start[:4] in TIFF_STARTS:
        return _tiff_header(file)
    if start[4:8] == b"ftyp" and start[8:12] in HEIC_BRANDS:
        register_heic(file)
    file.seek(0)
    with Image.open(file, formats=pillow_formats()) as image:
        format_ = DECODERS[image.format or ""]
        bits = DEPTHS[format_](file, image) if format_ in DEPTHS else 8
        return Header(format_, image.width, image.height, bits, frames=getattr(image, "n_frames", 1))


def pillow_formats() -> list[str]:
    """What Pillow may open: DECODERS, HEIC once it has been taught."""
    return [name for name in DECODERS if name != "MPO" and (name != "HEIF" or name in Image.OPEN)]


def register_heic(file: BinaryIO) -> None:
    """Teaches Pillow HEIC; PhotoError without the package for it, unless the file turns out to be AVIF."""
    try:
        from pillow_heif import register_heif_opener  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError as error:
        file.seek(0)
        if b"avif" in file.read(64):  # mif1 is the first brand of some AVIF files
            return
        raise PhotoError(NO_HEIC) from error
    register_heif_opener(thumbnails=False)


def _tiff_header(file: BinaryIO) -> Header:
    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        pages = []
        for page in tiff.pages:
            pages.append(page.aspage())
            if len(pages) > MAX_PAGES:
                raise PhotoError(f"has more than {MAX_PAGES:,} pages")
        if not pages or min(page.imagewidth * page.imagelength for page in pages) < 1:
            raise PhotoError(UNKNOWN)
        largest = max(pages, key=lambda page: page.imagewidth * page.imagelength)
        for page in pages:
            if page.sampleformat not in (1, 4):  # unsigned, undefined
                raise PhotoError("stores floating-point or signed values; save it as 8 or 16 bit")
            if page.bitspersample > 16:
                raise PhotoError(f"stores {page.bitspersample}-bit values; save it as 8 or 16 bit")
        bits = max(page.bitspersample for page in pages)
        return Header("tiff", largest.imagewidth, largest.imagelength, bits, len(pages))


def _png_bits(file: BinaryIO, image: Image.Image) -> int:
    file.seek(24)  # bit depth in IHDR, PNG specification 11.2.1
    return file.read(1)[0]


def _jp2_bits(file: BinaryIO, image: Image.Image) -> int:
    bits = jp2.stored_bits(file)
    if bits is None:
        raise PhotoError(UNKNOWN)
    return bits


def _avif_bits(file: BinaryIO, image: Image.Image) -> int:
    """The most of any picture in the file: item properties, ISO 14496-12, 8.11.14, or 8 of an animation without."""
    rows = [b""]
    for kind, start, end in jp2.places(file):
        if kind == b"meta":
            file.seek(start + 4)  # version and flags
            rows = [file.read(min(end - start, MAX_META))]
            break
    for within in (b"iprp", b"ipco", b"av1C"):
        rows = [body for row in rows for kind, body in jp2.boxes(row) if kind == within]
    flags = [body[2] for body in rows if len(body) > 2]  # AV1-ISOBMFF 2.3.3: high_bitdepth, twelve_bit
    if not flags and getattr(image, "n_frames", 1) == 1:
        raise PhotoError(UNKNOWN)
    return max((8 if not flag & 0x40 else 12 if flag & 0x20 else 10 for flag in flags), default=8)


def _heic_bits(file: BinaryIO, image: Image.Image) -> int:
    return int(image.info.get("bit_depth", 8))


DEPTHS: dict[Format, Callable[[BinaryIO, Image.Image], int]] = {
    "png": _png_bits, "jp2": _jp2_bits, "avif": _avif_bits, "heic": _heic_bits,
}  # fmt: skip


def reason(error: Exception) -> str:
    """What a decoder's exception means for the user."""
    if isinstance(error, UnidentifiedImageError | tifffile.TiffFileError | io.UnsupportedOperation):
        return UNKNOWN
    if isinstance(error, OSError) and error.errno is not None:
        return f"can't be read ({error.strerror})"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    if isinstance(error, struct.error | IndexError | SyntaxError):
        return "damaged"
    return f"can't be decoded ({type(error).__name__}: {error})"
