"""What a photo's file says of itself, before anything is decoded: kind, size, depth, number of pages."""

import io
import logging
import struct
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, cast

import tifffile
from PIL import Image, UnidentifiedImageError

from bwcolor.errors import PhotoError
from bwcolor.photo.formats import jp2, png
from bwcolor.photo.formats.jpeg import SOI, read_frame
from bwcolor.photo.formats.known import Format, Header, page_named
from bwcolor.photo.formats.pnm import header_of_pnm
from bwcolor.photo.formats.signatures import LOOK, RAW, format_in, unreadable_in
from bwcolor.photo.formats.tiff_values import check_values
from bwcolor.system.packages import install_line

# The only decoders of Pillow's that see a user's file, and what we call the formats. MPO is a JPEG with more pictures
# behind it, as some cameras write. TIFF is here for the few kinds that are left to libtiff.
DECODERS: dict[str, Format] = {
    "JPEG": "jpeg", "MPO": "jpeg", "PNG": "png", "TIFF": "tiff", "WEBP": "webp", "BMP": "bmp", "DIB": "bmp",
    "GIF": "gif", "JPEG2000": "jp2", "AVIF": "avif", "HEIF": "heic", "PPM": "pnm",
}  # fmt: skip
REDUCED = 1  # bit of NewSubfileType: a smaller version of another picture
SUB_PAGES = 330  # tag of the pages inside a page
MAX_PAGES = 10_000  # of a TIFF
MAX_META = 1 << 26  # bytes of an AVIF's box of properties that are read
OURS = str(Path(__file__).resolve().parents[2])
# What tifffile takes from tags as they are, be they texts, fractions or rows of numbers.
TIFF_NUMBERS = (
    "imagewidth", "imagelength", "samplesperpixel", "sampleformat", "rowsperstrip", "tilewidth", "tilelength",
    "compression", "planarconfig", "photometric", "predictor", "fillorder", "subfiletype",
)  # fmt: skip
# What Python raises where nobody thought of something.
MISTAKES = (TypeError, ValueError, LookupError, AttributeError, AssertionError, ArithmeticError)
EMPTY = "the file is empty"
ZEROS = "holds zeros where a picture would begin, as after a broken copy or download; download or copy it again"
UNKNOWN = "not a picture that can be read, or damaged"

# Sizes are checked against options.max_pixels before anything is decoded.
Image.MAX_IMAGE_PIXELS = None
logging.getLogger("tifffile").setLevel(logging.CRITICAL)
logging.getLogger("PIL").setLevel(logging.CRITICAL)  # what it warns of is said by our own line, with the file's name


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
    start = file.read(LOOK)
    if not start:
        raise PhotoError(EMPTY)
    if len(start) == LOOK and not any(start):
        raise PhotoError(ZEROS)
    if kind := unreadable_in(start):
        raise PhotoError(str(kind))
    format_ = format_in(start)
    if start.startswith(SOI):
        file.seek(0)
        frame = read_frame(file)
        return Header("jpeg", frame.width, frame.height, frame.bits)
    if format_ == "tiff":
        return _tiff_header(file)
    if start[:1] == b"P" and start[1:2] in b"123456":
        return header_of_pnm(file)
    if format_ == "heic":
        register_heic(file)
    file.seek(0)
    shown = io.BytesIO(png.head(bounded(file))) if format_ == "png" else bounded(file)
    with Image.open(shown, formats=pillow_formats()) as image:
        format_ = DECODERS[image.format or ""]
        bits = DEPTHS[format_](file, image) if format_ in DEPTHS else 8
        return Header(format_, image.width, image.height, bits, frames=getattr(image, "n_frames", 1))


class _Bounded(io.BufferedIOBase):
    """A file that is never asked for more than it has: the lengths that damaged ones name would be taken as memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, io.SEEK_END)
        file.seek(0)

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._size - self._file.tell())
        return self._file.read(left if size is None or size < 0 else min(size, left))

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def bounded(file: BinaryIO) -> BinaryIO:
    """An open file for Pillow."""
    return cast(BinaryIO, _Bounded(file))


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
        raise PhotoError(f"HEIC photos need one more package: {install_line('heic')}") from error
    register_heif_opener(thumbnails=False)


def _tiff_header(file: BinaryIO) -> Header:
    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        pages: list[tifffile.TiffPage] = []
        places = set[int]()
        for page in tiff.pages:
            if page.offset in places:
                raise PhotoError("damaged: its pages lead round in a circle")
            places.add(page.offset)
            pages.append(page.aspage())
            if len(pages) > MAX_PAGES:
                raise PhotoError(f"has more than {MAX_PAGES:,} pages")
        if not pages:
            raise PhotoError(UNKNOWN)
        for number, page in enumerate(pages):
            with page_named(number, len(pages)):
                check_values(sound(page))
        if pages[0].subfiletype & REDUCED and SUB_PAGES in pages[0].tags:  # TIFF/EP (ISO 12234-2), and so DNG
            raise PhotoError(str(RAW))
        largest = max(pages, key=lambda page: page.imagewidth * page.imagelength)
        bits = max(page.bitspersample for page in pages)
        decoded = sum(map(_decoded_pixels, pages))
        return Header("tiff", largest.imagewidth, largest.imagelength, bits, len(pages), decoded=decoded)


def _decoded_pixels(page: tifffile.TiffPage) -> int:
    """Pixels that decoding a page makes: tiles are whole even where they reach beyond it."""
    width, length = (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.imagelength)
    if not width or not length:
        raise PhotoError("damaged: its tiles have no pixels")
    return -(-page.imagewidth // width) * width * -(-page.imagelength // length) * length


def sound(page: tifffile.TiffPage) -> tifffile.TiffPage:
    """The page; PhotoError when what it says of its pixels is not in whole numbers, or it has none."""
    if isinstance(page.bitspersample, tuple):
        raise PhotoError("stores values of different numbers of bits; save it as 8 or 16 bit")
    numbers = [getattr(page, name) for name in ("bitspersample", *TIFF_NUMBERS)]
    for row in (page.dataoffsets, page.databytecounts):
        numbers += row if isinstance(row, Sequence) else [None]
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise PhotoError("damaged: some of its tags are of a wrong type")
    if not page.imagewidth * page.imagelength * page.samplesperpixel:
        raise PhotoError(UNKNOWN)
    if not isinstance(page.jpegtables, bytes | None):
        raise PhotoError("damaged: its JPEG tables are none")
    return page


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
    words = " ".join(str(error).split())
    if isinstance(error, EOFError) or "truncated" in words.lower():
        return "is cut off, or damaged"
    if isinstance(error, struct.error | IndexError | SyntaxError):
        return "damaged"
    mistake = isinstance(error, MISTAKES)
    if not mistake or not _is_ours(error):
        told = words and (not mistake or isinstance(error, ValueError))
        return "damaged, or of a kind that can't be decoded" + (f" ({words})" if told else "")
    return f"can't be decoded ({type(error).__name__}: {error})"


def _is_ours(error: Exception) -> bool:
    """Whether our own code raised it, not a decoder: then it is a mistake of ours, and must look like one."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and frames[-1].filename.startswith(OURS)
