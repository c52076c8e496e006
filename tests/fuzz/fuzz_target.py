"""What one file goes through, as in a run, and how that ends: an output, a PhotoError, or a finding."""

import io
import struct
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import bwcolor
from bwcolor.checks.verify import Check, verify_photo
from bwcolor.errors import BwcolorError, ModelError, PhotoError
from bwcolor.imaging.arrays import Pixels
from bwcolor.photo.encode import Coding, Page, encode, small_picture
from bwcolor.photo.formats.known import WRITABLE, Format, Header, output_format
from bwcolor.photo.formats.tiffpages import page_layout
from bwcolor.photo.formats.tifftags import read_tags
from bwcolor.photo.metadata import read as metadata
from bwcolor.photo.metadata.read import has_preview, in_colour, read_metadata
from bwcolor.photo.metadata.xmp import Label
from bwcolor.photo.scan import Photo, Scan, open_scan

MAX_PIXELS = 1_000_000  # what damage makes of sizes stays quick
OURS = str(Path(bwcolor.__file__).parent)
# What code raises that did not think of something. Decoders may raise them; our own code must not.
BUGS = (
    TypeError, AttributeError, AssertionError, NameError, LookupError, ArithmeticError, ValueError, RecursionError,
    struct.error,
)  # fmt: skip
# What inputs are written as: mostly their own format. AVIF takes long.
FORMS: tuple[Format | None, ...] = (None, None, None, *(form for form in WRITABLE if form != "avif"))
CHROMA = np.full((4, 4, 2), (0.04, -0.03), np.float32)


@dataclass(frozen=True, slots=True)
class End:
    """How it ended. kind: "output", "refused" for a PhotoError, or what is wrong. words: the reason."""

    kind: str
    words: str = ""

    @property
    def is_finding(self) -> bool:
        return self.kind not in ("output", "refused")


class Finding(Exception):
    """Something that must not happen. kind, words: see End."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(kind, words)
        self.end = End(kind, words)


def journey(source: Path, target: Path, form: Format | None, expected: list[Pixels] | None) -> End:
    """Reads `source`, writes it in colour to `target`, reads that and compares both.

    form: what it is written as, or None for its own. expected: the luma of each page of the whole file, if `source` is
    a part of it.
    """
    try:
        with _nothing_hidden():
            return _through(source, target, form, expected)
    except Finding as finding:
        return finding.end
    except MemoryError as error:
        return End("memory", where(error))
    except (PhotoError, ModelError) as error:
        return _refusal(error)
    except Exception as error:
        return End("raised", where(error))


def _through(source: Path, target: Path, form: Format | None, expected: list[Pixels] | None) -> End:
    with open_scan(source, MAX_PIXELS) as scan:
        photos = [scan.photo(number) for number in range(scan.header.pages)]
        if expected is not None and not _same(photos, expected):
            raise Finding("half a picture", f"{scan.header}")
        coding = Coding(_written_as(scan.header, form))
        out = io.BytesIO()
        lost = encode(scan, _pages(scan, photos), coding, out)
        header = scan.header
    target.write_bytes(out.getvalue())
    try:
        with open_scan(target, MAX_PIXELS) as made:
            if made.header.format != coding.format or made.header.pages != header.pages:
                raise Finding("another file than asked for", f"{coding.format} became {made.header}")
        with mock.patch("bwcolor.photo.scan.kind_of", return_value="gray"):  # known of the source, and no matter here
            checks = verify_photo(target, source, MAX_PIXELS)  # decodes both
    except PhotoError as error:
        raise Finding("an output that can't be read", f"{coding.format}: {error}") from error
    wrong = [f"{check.name}: {check.words}" for check in checks if check.ok is False and not _is_lossy(check)]
    if wrong and not lost:  # what is missing must have been said
        raise Finding("verify says NO", f"{header.format} to {coding.format}: {'; '.join(wrong)}")
    return End("output", f"{header.format} to {coding.format}")


def _is_lossy(check: Check) -> bool:
    """Whether it is a brightness of which a lossy format lost more than usual: these pictures are no photos."""
    return any(words in check.words for words in ("re-encoded", "a different quantization table", "format is lossy"))


def _written_as(header: Header, form: Format | None) -> Format:
    try:
        return output_format(header, form, False)
    except PhotoError:  # not what is looked for here
        return output_format(header, None, False)


def _same(photos: list[Photo], expected: list[Pixels]) -> bool:
    return len(photos) == len(expected) and all(
        np.array_equal(photo.luma, luma) for photo, luma in zip(photos, expected, strict=True)
    )


def _pages(scan: Scan, photos: list[Photo]) -> Iterator[Page]:
    label = Label("bwcolor 0", "small 1", "0" * 64, "strength 1", scan.sha256())
    described = read_metadata(scan)
    if len(described) != len(photos):
        raise Finding("another number of pages", f"{len(photos)}, {len(described)} are described")
    for photo, about in zip(photos, described, strict=True):
        chroma = CHROMA[: photo.luma.shape[0], : photo.luma.shape[1]]
        own = scan.header.pages > 1 and photo.kind == "colour"
        preview = small_picture(photo, chroma) if has_preview(about) else None
        yield Page(photo, None if own else chroma, in_colour(about, None if own else label, preview))


def _refusal(error: BwcolorError) -> End:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return End("memory", where(cause))
        if isinstance(cause, BUGS) and not isinstance(cause, UnicodeError) and _raised_by_us(cause):
            return End("a bug behind a PhotoError", f"{error} <- {where(cause)}")
        cause = cause.__cause__
    return End("refused", str(error))


def _raised_by_us(error: BaseException) -> bool:
    return traceback.extract_tb(error.__traceback__)[-1].filename.startswith(OURS)


def where(error: BaseException) -> str:
    """An exception and the last lines of our code that it came through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(OURS)]
    ours = " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames[-3:]))
    return f"{type(error).__name__}: {error} at {ours}"


@contextmanager
def _nothing_hidden() -> Iterator[None]:
    """Damaged metadata is left out, whatever its parser raised; here that is looked at."""
    swallowed: list[Exception] = []

    def watched(parse: Callable[..., Any]) -> Callable[..., Any]:
        def parsed(*arguments: Any) -> Any:
            try:
                return parse(*arguments)
            except Exception as error:
                swallowed.append(error)
                raise

        return parsed

    readers = {form: watched(read) for form, read in metadata.READERS.items()}
    with (
        mock.patch.dict(metadata.READERS, readers),
        mock.patch("bwcolor.photo.metadata.read.read_tags", watched(read_tags)),
        mock.patch("bwcolor.photo.metadata.read.page_layout", watched(page_layout)),
    ):
        yield
    for error in swallowed:
        if isinstance(error, BUGS) and _raised_by_us(error):
            raise Finding("a bug that damaged metadata hide", where(error))
