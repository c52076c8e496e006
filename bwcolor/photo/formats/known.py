"""The formats that are read and written, and what a header says. Imports nothing that takes time to load."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from bwcolor.errors import PhotoError
from bwcolor.options import MAX_FILE_PIXELS

Format = Literal["jpeg", "png", "tiff", "webp", "bmp", "gif", "jp2", "avif", "heic", "pnm"]

# The endings of photos. Files of other names are photos too when their first bytes say so: see recognize.py.
EXTENSIONS = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".apng", ".tif", ".tiff", ".webp", ".bmp", ".dib", ".gif",
    ".jp2", ".j2k", ".jpx", ".jpf", ".jpc", ".j2c", ".jp2k", ".avif", ".heic", ".heif", ".hif",
    ".pnm", ".pbm", ".pgm", ".ppm",
})  # fmt: skip
DEEP_FORMATS: frozenset[Format] = frozenset({"png", "tiff"})  # that hold 16 bits
# Kinds that we can write in; photos of others become PNG, or TIFF from 9 bits up.
WRITABLE: dict[Format, str] = {
    "jpeg": ".jpg", "png": ".png", "tiff": ".tif", "webp": ".webp", "avif": ".avif", "bmp": ".bmp",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Header:
    """format: of the file's content, whatever its name says. width, height: px as stored, of the largest page. bits:
    of each value, the most of any page; more than 16 are rounded to 16. pages: 1 for all but TIFF. frames: of an
    animation, or 1. decoded: px that decoding all pages makes, with those of tiles that lie outside a page; 0 stands
    for `pixels`."""

    format: Format
    width: int
    height: int
    bits: int = 8
    pages: int = 1
    frames: int = 1
    decoded: int = 0

    def __post_init__(self) -> None:
        if not self.decoded:
            object.__setattr__(self, "decoded", self.pixels)

    @property
    def pixels(self) -> int:
        """Of the largest page."""
        return self.width * self.height

    @property
    def deep(self) -> bool:
        """Whether its values need 16 bits."""
        return self.bits > 8


@contextmanager
def page_named(number: int, pages: int) -> Iterator[None]:
    """Says of what a PhotoError tells that it is about this page, counted from 0, of a file that has several."""
    try:
        yield
    except PhotoError as error:
        if pages == 1:
            raise
        raise type(error)(f"page {number + 1} of {pages}: {error}") from error


def check_size(
    header: Header, max_pixels: int, max_file_pixels: int = MAX_FILE_PIXELS, max_pages: int | None = None
) -> None:
    """Raises PhotoError for a photo that is over a limit: the pixels of a page, those of all its pages, its pages."""
    if max_pages is not None and header.pages > max_pages:
        raise PhotoError(f"has {header.pages:,} pages, more than the limit of {max_pages:,}; raise it with --max-pages")
    if header.pixels > max_pixels:
        raise PhotoError(
            f"{header.width} x {header.height} = {header.pixels:,} pixels is over the limit of {max_pixels:,};"
            " raise it with --max-pixels"
        )
    if header.decoded > max_file_pixels:
        raise PhotoError(
            f"has {header.decoded:,} pixels, all pages taken together, over the limit of {max_file_pixels:,};"
            " raise it with --max-file-pixels"
        )


def output_format(header: Header, wanted: Format | None, eight_bit: bool) -> Format:
    """What a photo is written as; PhotoError when the wanted format can't hold its depth or its pages."""
    deep = header.deep and not eight_bit
    if wanted not in (None, "tiff") and header.pages > 1:
        raise PhotoError(f"has {header.pages} pages, which only TIFF can hold; choose --format tiff or another --out")
    if wanted is None:
        if header.format in WRITABLE and (not deep or header.format in DEEP_FORMATS):
            return header.format
        return "tiff" if deep else "png"
    if deep and wanted not in DEEP_FORMATS:
        raise PhotoError(
            f"has {header.bits} bits, which {wanted.upper()} can't hold; --format tiff or png keeps them, --depth 8"
            " gives them up"
        )
    return wanted
