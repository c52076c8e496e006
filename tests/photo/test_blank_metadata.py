"""Metadata that is there and holds nothing: no note misses it, and verify does not either."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from photo.pictures import FakeModel, flat, gray, png_chunk, rgb, saved, scene, tiff

from bwcolor.batch.plan import find_jobs, settle
from bwcolor.batch.thread_pool import run
from bwcolor.checks.verify import verify_photo
from bwcolor.options import ColorizeOptions
from bwcolor.photo.formats.png import is_blank_text
from bwcolor.photo.metadata.blank import is_blank
from bwcolor.photo.metadata.read import read_metadata
from bwcolor.photo.scan import open_scan

GRAY = scene(24, 32)
JPEG, PNG = saved(gray(GRAY), "JPEG", quality=90), saved(gray(GRAY), "PNG")
XMP = b"http://ns.adobe.com/xap/1.0/\0"
BLANKS = (b"", bytes(8), b"  \r\n\t ")
FORMS: tuple[Any, ...] = (None, "jpeg", "png", "tiff", "webp")


def segment(marker: int, start: bytes = b"") -> Callable[[bytes], bytes]:
    def with_it(blank: bytes) -> bytes:
        body = start + blank
        return JPEG[:20] + bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body + JPEG[20:]

    return with_it


def chunk(kind: bytes, start: bytes = b"", packed: bool = False) -> Callable[[bytes], bytes]:
    def with_it(blank: bytes) -> bytes:
        return PNG[:33] + png_chunk(kind, start + (zlib.compress(blank) if packed else blank)) + PNG[33:]

    return with_it


def tag(code: int, kind: int = 7) -> Callable[[bytes], bytes]:
    def with_it(blank: bytes) -> bytes:
        content = blank or b"\0"  # a tag without values is none
        return tiff(GRAY, metadata=None, software=False, extratags=[(code, kind, len(content), content, True)])

    return with_it


PLACES: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "JPEG, EXIF": ("a.jpg", segment(0xE1, b"Exif\0\0")),
    "JPEG, XMP": ("a.jpg", segment(0xE1, XMP)),
    "JPEG, profile": ("a.jpg", segment(0xE2, b"ICC_PROFILE\0\1\1")),
    "JPEG, Photoshop": ("a.jpg", segment(0xED, b"Photoshop 3.0\0")),
    "JPEG, comment": ("a.jpg", segment(0xFE)),
    "JPEG, another segment": ("a.jpg", segment(0xE5)),
    "PNG, text": ("a.png", chunk(b"tEXt", b"Title\0")),
    "PNG, comment": ("a.png", chunk(b"tEXt", b"Comment\0")),
    "PNG, compressed text": ("a.png", chunk(b"zTXt", b"Title\0\0", packed=True)),
    "PNG, international text": ("a.png", chunk(b"iTXt", b"Title\0\0\0de\0Titel\0")),
    "PNG, compressed international text": ("a.png", chunk(b"iTXt", b"Title\0\1\0\0\0", packed=True)),
    "PNG, XMP": ("a.png", chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0")),
    "PNG, EXIF": ("a.png", chunk(b"eXIf")),
    "PNG, profile": ("a.png", chunk(b"iCCP", b"a\0\0", packed=True)),
    "TIFF, XMP": ("a.tif", tag(700, 1)),
    "TIFF, Photoshop": ("a.tif", tag(34377)),
    "TIFF, IPTC": ("a.tif", tag(33723)),
    "TIFF, profile": ("a.tif", tag(34675)),
    "TIFF, artist": ("a.tif", tag(315, 2)),
    "WebP": ("a.webp", lambda blank: saved(rgb(GRAY), "WEBP", lossless=True, exif=b"Exif\0\0" + blank, xmp=blank)),
    "GIF": ("a.gif", lambda blank: saved(gray(GRAY), "GIF", comment=blank)),
}


@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_missed(place: str, tmp_path: Path) -> None:
    """Whatever format the output has."""
    name, content = PLACES[place]
    for number, blank in enumerate(BLANKS):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / name).write_bytes(content(blank))
        for form in FORMS:
            options = ColorizeOptions(jobs=1, format=form)
            plan = settle(find_jobs(folder / name, folder / str(form)), options)
            (outcome,) = run(plan.jobs, FakeModel(flat(-0.06, 0.05)), options)
            assert (outcome.state, outcome.reason, outcome.notes) == ("done", "", ())
            assert outcome.path is not None
            checks = verify_photo(outcome.path, folder / name, 10**6)
            assert [check.words for check in checks if check.ok is False] == []
            assert not any("can't be read" in check.words for check in checks)


@pytest.mark.parametrize("place", [place for place in PLACES if place != "TIFF, artist"])
def test_what_holds_something_is_read(place: str, tmp_path: Path) -> None:
    """The same places with a word in them are no longer empty."""
    name, content = PLACES[place]
    path = tmp_path / name
    found = []
    for word in (BLANKS[2], b" word, which is no profile, EXIF, or XMP "):
        path.write_bytes(content(word))
        with open_scan(path, 10**6) as scan:
            found.append(read_metadata(scan))
    assert found[0] != found[1]


def test_blank_is_blank() -> None:
    assert all(is_blank(blank) for blank in (None, *BLANKS))
    assert not is_blank(b" . ")
    long = png_chunk(b"zTXt", b"Title\0\0" + zlib.compress(b" " * 100_000 + b"x"))
    assert not is_blank_text(long), "nobody has looked at all of it"
    assert not is_blank_text(png_chunk(b"zTXt", b"Title\0\0no zlib data"))
    assert not is_blank_text(png_chunk(b"pHYs", b""))
