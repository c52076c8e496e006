"""Gaps in the data of a JPEG's scans, and data that stand behind them: half a picture is none."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from photo.pictures import gray, rgb, saved, scene
from PIL import Image

from bwcolor.errors import PhotoError
from bwcolor.photo.formats.decoders import FEW
from bwcolor.photo.formats.jpeg import SOS, Segment, segments
from bwcolor.photo.formats.jpeg_gaps import GAP
from bwcolor.photo.scan import Photo, decode_rgb, read_photo

GRAIN = np.random.default_rng(4).normal(0, 9, (240, 320))
GRAY = np.clip(scene(240, 320) + GRAIN, 0, 255).astype(np.uint8)
COLORS = np.dstack([GRAY, np.roll(GRAY, 9, 0), np.roll(GRAY, 13, 1)])
END = b"\xff\xd9"
SECTOR = 512  # bytes, of a disk
ARITHMETIC = (Path(__file__).parent / "jpegs" / "arithmetic.jpg").read_bytes()


def jpeg8(pixels: NDArray[Any], **settings: Any) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(pixels, **settings))


KINDS: dict[str, Callable[[], bytes]] = {
    "baseline": lambda: saved(gray(GRAY), "JPEG", quality=90),
    "restarts": lambda: saved(gray(GRAY), "JPEG", quality=90, restart_marker_rows=1),
    "progressive": lambda: saved(gray(GRAY), "JPEG", quality=90, progressive=True),
    "three components": lambda: saved(rgb(GRAY), "JPEG", quality=90, restart_marker_rows=1),
    "CMYK": lambda: saved(Image.fromarray(np.dstack([GRAY] * 4), "CMYK"), "JPEG", quality=90),
    "12 bit": lambda: jpeg8(GRAY.astype(np.uint16) * 16, level=90, bitspersample=12),
    "lossless": lambda: jpeg8(GRAY, lossless=True),
    "lossless RGB": lambda: jpeg8(COLORS, lossless=True),
    "lossless 16 bit": lambda: bytes(imagecodecs.ljpeg_encode(GRAY.astype(np.uint16) * 257, bitspersample=16)),
}


def read(tmp_path: Path, content: bytes, name: str = "a.jpg") -> Photo:
    (tmp_path / name).write_bytes(content)
    return read_photo(tmp_path / name, 10**7)


def largest_scan(content: bytes) -> tuple[int, int]:
    """Where its data start and end."""
    part = max((part for part in segments(content) if part.marker == SOS), key=_length)
    start = content.index(part.head) + len(part.head)
    return start, start + len(part.data)


def _length(part: Segment) -> int:
    return len(part.data)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sector_of_zeros_in_a_scan(kind: str, tmp_path: Path) -> None:
    whole = KINDS[kind]()
    read(tmp_path, whole)
    start, end = largest_scan(whole)
    for share in (0.1, 0.35, 0.6, 0.85):
        at = start + int((end - start - SECTOR) * share)
        with pytest.raises(PhotoError):
            read(tmp_path, whole[:at] + bytes(SECTOR) + whole[at + SECTOR :])


@pytest.mark.parametrize("kind", KINDS)
def test_a_scan_whose_end_was_filled_up_before_the_end_marker(kind: str, tmp_path: Path) -> None:
    whole = KINDS[kind]()
    start, _ = largest_scan(whole)
    end = len(whole) - 2
    for share in (0.2, 0.7, 0.95):
        at = start + int((end - start) * share)
        for filled in (b"", bytes(end - at), bytes(5000), b"\xaa" * 5000):
            with pytest.raises(PhotoError):
                read(tmp_path, whole[:at] + filled + END)


@pytest.mark.parametrize("kind", ["baseline", "restarts", "progressive", "three components", "CMYK"])
@pytest.mark.parametrize("padding", [b"\0", b"\x5a" * FEW, bytes(40), bytes(100)])
def test_padding_behind_the_last_scan(kind: str, padding: bytes, tmp_path: Path) -> None:
    """As some cameras write it."""
    whole = KINDS[kind]()
    photo, padded = read(tmp_path, whole), read(tmp_path, whole[:-2] + padding + END)
    assert_array_equal(padded.luma, photo.luma)
    with pytest.raises(PhotoError):
        read(tmp_path, whole[:-2] + b"\x5a" * SECTOR + END)


def test_arithmetic_coding_that_is_cut_off(tmp_path: Path) -> None:
    """Only within the last row of blocks nobody can tell."""
    whole = read(tmp_path, ARITHMETIC)
    start, end = largest_scan(ARITHMETIC)
    accepted = []
    for at in range(start, end):
        try:
            photo = read(tmp_path, ARITHMETIC[:at] + END)
        except PhotoError:
            continue
        accepted.append(at)
        assert_array_equal(photo.luma[:-9], whole.luma[:-9])
    assert not accepted or min(accepted) > start + (end - start) * 0.8


@pytest.mark.parametrize("settings", [{"progressive": True}, {"optimize": True}])
def test_white_is_no_gap(settings: dict[str, Any], tmp_path: Path) -> None:
    """Its scans may be all zeros."""
    plane = np.full((2000, 2000), 255, np.uint8)
    white = saved(gray(plane), "JPEG", **settings)
    assert any(GAP in bytes(part.data) for part in segments(white) if part.marker == SOS)
    assert read(tmp_path, white).luma.min() == 255


@pytest.mark.parametrize("kind", ["baseline", "12 bit", "lossless"])
def test_a_scan_in_a_tiff(kind: str, tmp_path: Path) -> None:
    whole = KINDS[kind]()
    start, end = largest_scan(whole)
    at = (start + end) // 2
    for piece in (whole, whole[:at] + END, whole[:at] + bytes(SECTOR) + whole[at + SECTOR :]):
        deep = kind == "12 bit"
        out = io.BytesIO()
        tifffile.imwrite(
            out,
            iter([piece]),
            shape=GRAY.shape,
            dtype=np.uint16 if deep else np.uint8,
            bitspersample=12 if deep else 8,
            photometric="minisblack",
            compression="jpeg",
            rowsperstrip=len(GRAY),
        )
        if piece is whole:
            assert read(tmp_path, out.getvalue(), "a.tif").luma.shape == GRAY.shape
        else:
            with pytest.raises(PhotoError):
                read(tmp_path, out.getvalue(), "a.tif")


def test_photos_to_learn_from_and_to_compare_with_are_whole() -> None:
    whole = KINDS["baseline"]()
    photo = decode_rgb(whole)
    assert_array_equal(decode_rgb(whole[:-2]), photo)
    start, end = largest_scan(whole)
    for at in (start + 9, (start + end) // 2, end - 30):
        for closed in (b"", END, bytes(5000) + END):
            with pytest.raises(PhotoError):
                decode_rgb(whole[:at] + closed)
