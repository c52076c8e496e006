"""Reading one photo: a file -> luma, alpha, and how its colours look. Inputs are only read."""

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bwcolor.errors import PassingError, PhotoError
from bwcolor.imaging.arrays import Pixels
from bwcolor.imaging.color_detection import Kind, kind_of
from bwcolor.imaging.orientation import upright
from bwcolor.options import MAX_FILE_PIXELS
from bwcolor.photo.formats import jp2, png
from bwcolor.photo.formats.decoders import DECODE, Decoded, decode_jpeg, readable
from bwcolor.photo.formats.header import EMPTY, header_of, pillow_formats, reason
from bwcolor.photo.formats.jpeg import APP1, SOI, SOS, segments
from bwcolor.photo.formats.known import Format, Header, check_size, page_named
from bwcolor.photo.formats.tiffpages import decode_tiff_page, is_gray_page
from bwcolor.photo.metadata import exif
from bwcolor.photo.page_role import Role, role_of

ANIMATED: frozenset[Format] = frozenset({"webp", "png", "avif"})  # kinds whose further frames would be lost
PNG_DESCRIBES = frozenset({b"eXIf", b"tEXt", b"zTXt", b"iTXt"})  # chunks that can hold an orientation


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A decoded picture, pixels as stored (not turned).

    luma: (height, width), uint8 or uint16 (from 9 bits up, scaled to all 16), BT.601. alpha: the same shape and depth,
    or None. orientation: EXIF's 1..8. kind: whether it is gray, tinted in one tone, or in colour already. role: what
    the page is for; the first one of a file always is a picture. notes: what the file lacks beside its picture.
    """

    luma: Pixels
    alpha: Pixels | None
    orientation: int
    kind: Kind
    role: Role = "picture"
    notes: tuple[str, ...] = ()

    @property
    def stays(self) -> bool:
        """Whether it is no picture that could be colorized."""
        return self.role in ("mask", "blank")


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """An open file with one picture or, in a TIFF, several pages.

    file: the open file. times, size: of last access and change, ns, and bytes, when it was opened.
    """

    header: Header
    file: BinaryIO
    times: tuple[int, int]
    size: int

    def photo(self, page: int = 0) -> Photo:
        """Decodes a page; raises PhotoError when it is damaged or of a kind that can't be decoded."""
        with self.reading(page):
            decoded, orientation, subfile = self._decode(page)
        kind: Kind = "gray" if decoded.seen is None else kind_of(decoded.seen)
        role: Role = role_of(subfile, decoded.luma) if page else "picture"
        return Photo(decoded.luma, decoded.alpha, orientation, kind, role, decoded.notes)

    @contextmanager
    def reading(self, page: int) -> Iterator[None]:
        """Around what reads a page: whatever goes wrong becomes a PhotoError that names it."""
        with page_named(page, self.header.pages):
            try:
                yield
            except PhotoError:
                raise
            except Exception as error:  # decoders raise whatever they like on damaged data
                raise PhotoError(reason(error)) from error

    def is_gray(self, page: int) -> bool:
        """Whether it is a page of a TIFF that has one channel, whatever it shows."""
        with self.reading(page):
            return self.header.format == "tiff" and is_gray_page(self.file, page)

    def read(self) -> bytes:
        """The whole file, read anew each time, so that nobody has to hold it."""
        try:
            self.file.seek(0)
            return self.file.read()
        except OSError as error:
            raise PassingError(f"can't be read ({error.strerror})") from error

    def must_be_unchanged(self) -> None:
        """Raises PhotoError when the file was changed since it was opened: what was read may be of two minds."""
        now = os.fstat(self.file.fileno())
        if (now.st_mtime_ns, now.st_size) != (self.times[1], self.size):
            raise PassingError("was changed while it was read; run the same command again")

    def sha256(self) -> str:
        """Of the whole file, in hex."""
        try:
            self.file.seek(0)
            return hashlib.file_digest(cast(io.BytesIO, self.file), "sha256").hexdigest()
        except OSError as error:
            raise PassingError(f"can't be read ({error.strerror})") from error

    def _decode(self, page: int) -> tuple[Decoded, int, int]:
        if self.header.format == "tiff":
            return decode_tiff_page(self.file, page)
        content = self.read()
        return DECODE[self.header.format](content, self.header), stored_orientation(content), 0


@contextmanager
def open_scan(path: Path, max_pixels: int, max_file_pixels: int = MAX_FILE_PIXELS) -> Iterator[Scan]:
    """Opens a photo; raises PhotoError with the reason and the way out."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise PassingError(f"can't be read ({error.strerror})") from error
    with file:
        try:
            header = header_of(file)
            check(header, max_pixels, max_file_pixels)
            stat = os.fstat(file.fileno())
        except PhotoError:
            raise
        except Exception as error:  # parsers raise whatever they like on damaged data
            raise PhotoError(reason(error)) from error
        yield Scan(header, file, (stat.st_atime_ns, stat.st_mtime_ns), stat.st_size)


def check(header: Header, max_pixels: int, max_file_pixels: int = MAX_FILE_PIXELS) -> None:
    """Raises PhotoError for what is too large, or has frames that would be lost."""
    check_size(header, max_pixels, max_file_pixels)
    if header.frames > 1 and header.format in ANIMATED:
        raise PhotoError(f"is an animation of {header.frames} frames; only pictures can be colorized")


def read_photo(path: Path, max_pixels: int) -> Photo:
    """Reads and decodes one file, of a TIFF the first page; raises PhotoError with the reason and the way out."""
    with open_scan(path, max_pixels) as scan:
        return scan.photo()


def read_rgb(path: Path, max_pixels: int = 300_000_000) -> NDArray[np.uint8]:
    """A colour photo for training and evaluation, upright: (height, width, 3), uint8, values as stored."""
    return decode_rgb(read_bytes(path), max_pixels)


def decode_rgb(source: bytes, max_pixels: int = 300_000_000) -> NDArray[np.uint8]:
    """The same from a file's bytes; damage beside the picture does not matter."""
    try:
        header = header_of(io.BytesIO(source))
        check(header, max_pixels)
        if header.deep:
            raise PhotoError("has more than 8 bits; colour photos to learn from or to compare with must have 8")
        if header.format == "jpeg":
            decode_jpeg(source, header)  # raises PhotoError for damage that Pillow paints over
        # From memory, because Pillow 13.0 scrambles uncompressed turned TIFFs that it maps from disk.
        with _open(readable(source, header.format)) as image:
            turned = header.format in ("tiff", "heic")  # by their decoders
            orientation = 1 if turned else stored_orientation(source)
            return upright(np.asarray(image.convert("RGB")), orientation)
    except PhotoError:
        raise
    except Exception as error:  # as above
        raise PhotoError(reason(error)) from error


def read_bytes(path: Path) -> bytes:
    """A photo's file in memory; PhotoError when it can't be read or is empty."""
    try:
        source = path.read_bytes()
    except OSError as error:
        raise PassingError(f"can't be read ({error.strerror})") from error
    if not source:
        raise PhotoError(EMPTY)
    return source


def _open(source: bytes) -> Image.Image:
    return Image.open(io.BytesIO(source), formats=pillow_formats())


def stored_orientation(source: bytes) -> int:
    """EXIF's orientation of a file that is not a TIFF; 1 where there is none or it is damaged."""
    if source.startswith(png.START) and not PNG_DESCRIBES & {chunk.kind for chunk in png.chunks(source)}:
        return 1
    source = png.description(source)[0] if source.startswith(png.START) else source
    with _open_or_none(source) as image:
        if image is None:
            return _jpeg_orientation(source) if source.startswith(SOI) else 1
        if image.format == "JPEG2000":  # whose boxes Pillow passes over
            return exif.orientation(jp2.described(source).get("exif", b""))
        try:
            value = image.getexif().get(274, 1)
        except Exception:  # damaged EXIF does not make the picture unreadable; it is carried over as it is
            return 1
        return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _jpeg_orientation(source: bytes) -> int:
    for part in segments(source, until=SOS):
        if part.marker == APP1 and part.head[4:10] == b"Exif\0\0":
            return exif.orientation(part.head[10:])
    return 1


@contextmanager
def _open_or_none(source: bytes) -> Iterator[Image.Image | None]:
    try:
        image = _open(source)
    except Exception:  # such as 12-bit JPEGs, which Pillow does not know
        yield None
        return
    with image:
        yield image
