"""Portable anymaps: what SANE and netpbm write is read value by value."""

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from photo.pictures import gray, rgb, saved, scene, scene16
from PIL import Image

from bwcolor.errors import PhotoError
from bwcolor.photo.formats.header import header_of
from bwcolor.photo.formats.known import Header
from bwcolor.photo.scan import decode_rgb, read_photo

HEIGHT, WIDTH = 13, 21
G8, G16 = scene(HEIGHT, WIDTH), scene16(HEIGHT, WIDTH)


def pnm(
    kind: int, pixels: NDArray[np.integer], top: int, head: bytes = b"P%d\n# SANE data follows\n%d %d\n%d\n"
) -> bytes:
    """A gray (5) or RGB (6) file; values as they are, big-endian where they need two bytes."""
    data = pixels.astype(">u2" if top > 255 else "u1").tobytes()
    return head % (kind, pixels.shape[1], pixels.shape[0], top) + data


def header(content: bytes) -> Header:
    return header_of(io.BytesIO(content))


def luma(tmp_path: Path, content: bytes) -> NDArray[np.unsignedinteger]:
    path = tmp_path / "scan.pnm"
    path.write_bytes(content)
    return read_photo(path, 10**9).luma


@pytest.mark.parametrize("top", [255, 100, 1, 65535, 1023, 4095, 256])
@pytest.mark.parametrize("kind", [5, 6])
def test_gray_of_any_depth_is_read_to_the_full_range(kind: int, top: int, tmp_path: Path) -> None:
    stored = (G16.astype(np.int64) * top + 32767) // 65535
    pixels = stored if kind == 5 else np.dstack([stored] * 3)
    content = pnm(kind, pixels, top)
    assert header(content) == Header("pnm", WIDTH, HEIGHT, top.bit_length())
    found, full = luma(tmp_path, content), 65535 if top > 255 else 255
    assert found.dtype == (np.uint16 if top > 255 else np.uint8)
    np.testing.assert_array_equal(found, (stored * full + top // 2) // top)


@pytest.mark.parametrize("bits", [8, 16])
def test_colors_are_not_swapped(bits: int, tmp_path: Path) -> None:
    top = (1 << bits) - 1
    content = pnm(6, np.full((9, 9, 3), (top, 0, 0)), top)  # as OpenCV and Pillow do with 16 bits
    assert int(luma(tmp_path, content)[0, 0]) == pytest.approx(0.299 * top, rel=0.01)


@pytest.mark.parametrize(
    "content",
    [
        saved(gray(G8).point(lambda level: 255 * (level > 127)).convert("1"), "PPM"),  # P4
        saved(gray(G8), "PPM"),
        saved(rgb(G8), "PPM"),
        b"P1\n3 2\n101\n0 1 0\n",
        b"P2 3 2 9 " + b"\n".join(b"%d" % level for level in range(6)),
        b"P3\n1 2\n255\n1 2 3 # three\n 4 5 6",
        b"P5 # one\n#two\r3\t1\n#three\n255 abc",
        b"P6\n1 1\n255\n\n\n\n",
    ],
)
def test_the_same_as_pillow(content: bytes, tmp_path: Path) -> None:
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(image.convert("RGB").convert("L"))
    found = luma(tmp_path, content)
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert decode_rgb(content).shape == (*found.shape, 3)


def test_a_second_picture_is_seen() -> None:
    one = pnm(5, G8, 255)
    assert header(one).frames == 1
    assert header(one + b"\n").frames == 1
    assert header(one + one).frames == 2


@pytest.mark.parametrize("top", [255, 65535])
def test_what_is_cut_off_is_refused(top: int, tmp_path: Path) -> None:
    content = pnm(5, G16 if top > 255 else G8, top)
    for end in range(len(content)):
        with pytest.raises(PhotoError, match=r"cut off|damaged|empty"):
            luma(tmp_path, content[:end])
    bitmap = saved(gray(G8).convert("1"), "PPM")
    with pytest.raises(PhotoError, match="cut off"):
        luma(tmp_path, bitmap[:-1])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"P5\n0 4\n255\n", "damaged"),
        (b"P5\n4 4\n0\n" + bytes(16), "damaged"),
        (b"P5\n4 4\n65536\n" + bytes(16), "damaged"),
        (b"P5\n-4 4\n255\n" + bytes(16), "damaged"),
        (b"P5\n4 4\n255" + bytes(16), "damaged"),
        (b"P5\n" + b"#" * 70_000 + b"\n4 4\n255\n" + bytes(16), "damaged"),
        (b"P6 44444444444444 4 255\n", "damaged"),
        (b"P2 1 1 65535 300", "more than 8 bits as text"),
        (b"P2 2 2 255 1 2 3", "damaged"),
        (b"P2 1 1 255 x", "damaged"),
        (b"P7\nWIDTH 4\nHEIGHT 4\n", "a rare kind of picture"),
        (b"PF\n4 4\n-1.0\n" + bytes(64), "a rare kind of picture"),
    ],
)
def test_what_can_not_be_read_gets_a_sentence(content: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=words):
        luma(tmp_path, content)


def test_huge_sizes_are_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.ppm"
    path.write_bytes(b"P6 999999999 999999999 65535\n" + bytes(100))
    with pytest.raises(PhotoError, match="over the limit"):
        read_photo(path, 300_000_000)


@pytest.mark.parametrize("values", [b"1 2 3", b"1 2 3 \xff\xfe", b"1 2 x 4", b"1 2 3 300", b"1 2 3 " + b"9" * 99])
def test_text_that_is_no_values(values: bytes, tmp_path: Path) -> None:
    """Or too few of them. The sentence cites none of it."""
    (tmp_path / "a.pgm").write_bytes(b"P2 2 2 255 " + values)
    with pytest.raises(PhotoError, match=r"^damaged: its text lacks values of pixels, or holds something else$"):
        read_photo(tmp_path / "a.pgm", 10**6)
