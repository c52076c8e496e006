"""Damage in a PNG beside its picture: the chunk is dropped with a note. Damage in the picture: refused."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from photo.pictures import GRAY_PROFILE, colorized, exif, gray, png, png_chunk, rgb, saved, scene, scene16
from typer.testing import CliRunner

from bwcolor.cli.app import app
from bwcolor.errors import PhotoError
from bwcolor.photo.formats.header import read_header
from bwcolor.photo.formats.png import START, chunks
from bwcolor.photo.scan import decode_rgb, read_photo

GRAY, GRAY16 = scene(36, 52), scene16(36, 52)
CHROMA = np.full((9, 13, 2), 0.05, np.float32)
LIMIT = 10**7
TEXT = png_chunk(b"tEXt", b"Title\0Album 3")
PICTURES = {
    "8 bit": (saved(gray(GRAY), "PNG"), GRAY),
    "16 bit": (png(GRAY16, 0), GRAY16),
    "palette": (saved(gray(GRAY).convert("P"), "PNG"), GRAY),
}
# Of each kind a chunk that is as it should be, and what is said when it is damaged.
DESCRIBING = {
    "tEXt": (b"Title\0x", "damaged text left out"),
    "zTXt": (b"Title\0\0" + zlib.compress(b"x"), "damaged text left out"),
    "iTXt": (b"Title\0\0\0\0\0x", "damaged text left out"),
    "eXIf": (exif().tobytes()[6:], "damaged EXIF left out"),
    "iCCP": (b"a\0\0" + zlib.compress(GRAY_PROFILE), "damaged color profile left out"),
    "pHYs": (struct.pack(">IIB", 11811, 11811, 1), "damaged resolution left out"),
    "tIME": (b"\x07\xe0\1\1\1\1\1", "damaged date left out"),
    "gAMA": (struct.pack(">I", 45455), "damaged PNG chunk gAMA left out"),
    "prVt": (b"private", "damaged PNG chunk prVt left out"),
    "acTL": (struct.pack(">II", 3, 0), "damaged PNG chunk acTL left out"),
}


def damaged(chunk: bytes, at: int = -1) -> bytes:
    """One bit is wrong: in the checksum, or elsewhere."""
    changed = bytearray(chunk)
    changed[at] ^= 1
    return bytes(changed)


def with_chunk(source: bytes, chunk: bytes, behind: bool) -> bytes:
    """Put before the pixels or behind them."""
    at = source.rindex(b"IEND") - 4 if behind else len(START) + 25
    return source[:at] + chunk + source[at:]


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("place", [-1, 8])
@pytest.mark.parametrize("kind", DESCRIBING)
def test_a_damaged_chunk_costs_no_more_than_what_it_says(kind: str, place: int, behind: bool, tmp_path: Path) -> None:
    """Whether the checksum or the content is damaged, and wherever the chunk stands; what is whole is kept."""
    body, words = DESCRIBING[kind]
    bad = damaged(png_chunk(kind.encode(), body), place)
    for source, luma in PICTURES.values():
        content = with_chunk(with_chunk(source, TEXT, not behind), bad, behind)
        photo, made, lost = colorized(tmp_path / "a.png", content, CHROMA)
        assert_array_equal(photo.luma, luma)
        assert lost == (words,)
        assert read_header(tmp_path / "a.png").frames == 1
        assert TEXT in made
        assert all(chunk.is_sound() for chunk in chunks(made))


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        (b"pHYs", b"\0\0", "damaged resolution left out"),
        (b"iCCP", b"a", "damaged color profile left out"),
        (b"zTXt", b"Title\0\7xx", "damaged text left out"),
        (b"gAMA", b"", "damaged PNG chunk gAMA left out"),
        (b"cHRM", b"\0", "damaged PNG chunk cHRM left out"),
    ],
)
@pytest.mark.parametrize("behind", [False, True])
def test_a_chunk_that_says_nothing_sensible_is_damaged_too(
    kind: bytes, body: bytes, words: str, behind: bool, tmp_path: Path
) -> None:
    content = with_chunk(with_chunk(PICTURES["8 bit"][0], TEXT, not behind), png_chunk(kind, body), behind)
    photo, made, lost = colorized(tmp_path / "a.png", content, CHROMA)
    assert_array_equal(photo.luma, GRAY)
    assert lost == (words,)
    assert TEXT in made


@pytest.mark.parametrize("behind", [False, True])
def test_the_orientation_is_found_beside_damage(behind: bool, tmp_path: Path) -> None:
    turned = with_chunk(saved(gray(GRAY), "PNG"), png_chunk(b"eXIf", exif(6).tobytes()[6:]), behind)
    for bad in (damaged(TEXT), png_chunk(b"pHYs", b"\0"), damaged(png_chunk(b"eXIf", exif(3).tobytes()[6:]))):
        assert colorized(tmp_path / "a.png", with_chunk(turned, bad, behind=False), CHROMA)[0].orientation == 6


def test_several_damaged_chunks_are_each_named_once(tmp_path: Path) -> None:
    content = PICTURES["8 bit"][0]
    for chunk in (damaged(TEXT), damaged(TEXT, 9), damaged(png_chunk(b"tIME", b"1234567"))):
        content = with_chunk(content, chunk, behind=False)
    assert sorted(colorized(tmp_path / "a.png", content, CHROMA)[2]) == [
        "damaged date left out",
        "damaged text left out",
    ]


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"tRNS", b"IDAT"])
def test_what_makes_up_the_picture_must_be_whole(kind: bytes, tmp_path: Path) -> None:
    """Transparency is part of it."""
    clear = saved(gray(GRAY).convert("P"), "PNG", transparency=3)
    for source in (clear, png(GRAY, 0, (b"tRNS", b"\0\7")), png(GRAY16, 0, (b"tRNS", b"\0\7"))):
        found = [chunk for chunk in chunks(source) if chunk.kind == kind]
        if not found:
            continue
        (tmp_path / "a.png").write_bytes(source.replace(bytes(found[0].whole), damaged(bytes(found[0].whole))))
        with pytest.raises(PhotoError):
            read_photo(tmp_path / "a.png", LIMIT)


def test_an_animation_is_still_known_as_one(tmp_path: Path) -> None:
    frames = saved(gray(GRAY), "PNG", save_all=True, append_images=[gray(GRAY[::-1]), gray(255 - GRAY)])
    (tmp_path / "a.png").write_bytes(with_chunk(frames, damaged(TEXT), behind=False))
    assert read_header(tmp_path / "a.png").frames == 3
    with pytest.raises(PhotoError, match="is an animation of 3 frames"):
        read_photo(tmp_path / "a.png", LIMIT)


def test_a_damaged_text_in_a_run(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(with_chunk(saved(rgb(GRAY), "PNG"), damaged(TEXT), behind=False))
    arguments = [str(folder), "--out", str(tmp_path / "out"), "--model", str(tiny_model)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    assert "note: 1 of them: damaged text left out" in result.stderr
    assert CliRunner().invoke(app, ["verify", str(tmp_path / "out"), str(folder)]).exit_code == 0


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("kind", DESCRIBING)
def test_photos_to_learn_from_and_to_compare_with_are_read_alike(kind: str, behind: bool) -> None:
    bad = damaged(png_chunk(kind.encode(), DESCRIBING[kind][0]))
    assert_array_equal(decode_rgb(with_chunk(PICTURES["8 bit"][0], bad, behind)), np.dstack([GRAY] * 3))
    pixels = bytearray(PICTURES["8 bit"][0])
    pixels[pixels.index(b"IDAT") + 30] ^= 1
    with pytest.raises(PhotoError, match="is cut off, or damaged"):
        decode_rgb(bytes(pixels))
