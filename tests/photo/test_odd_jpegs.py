"""JPEGs as odd programs write them: without an end, with their height behind the scan, with any sampling factors.

The files in jpegs/ are drawings made by libjpeg-turbo's cjpeg, with the options that their names tell.
"""

import io
import itertools
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from photo.pictures import colorized, exif, gray, rgb, saved, scene
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from typer.testing import CliRunner, Result

from bwcolor.cli.app import app
from bwcolor.errors import PhotoError
from bwcolor.photo.formats import jpeg
from bwcolor.photo.formats.header import read_header
from bwcolor.photo.formats.jpeg import EOI, FRAMES, SOI, SOS, encode_gray, luma_parts, segments
from bwcolor.photo.formats.jpeg_repair import NO_END, lacks_end, mended
from bwcolor.photo.scan import Photo, read_photo

GRAY = scene(72, 104)
COLORS = np.stack([GRAY, np.roll(GRAY, 20, 0), np.roll(GRAY, 30, 1)], -1)
CHROMA = np.full((9, 13, 2), 0.05, np.float32)
END = b"\xff\xd9"
LIMIT = 10**8


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def read(tmp_path: Path, content: bytes) -> Photo:
    (tmp_path / "a.jpg").write_bytes(content)
    return read_photo(tmp_path / "a.jpg", LIMIT)


def twelve_bits() -> bytes:
    return bytes(imagecodecs.jpeg8_encode(GRAY.astype(np.uint16) * 16, level=90, bitspersample=12))


WHOLE: dict[str, Callable[[], bytes]] = {
    "gray": lambda: saved(gray(GRAY), "JPEG", quality=90),
    "progressive": lambda: saved(gray(GRAY), "JPEG", quality=90, progressive=True),
    "restarts": lambda: saved(gray(GRAY), "JPEG", quality=90, restart_marker_rows=1),
    "three components": lambda: saved(rgb(GRAY), "JPEG", quality=90),
    "three components, progressive": lambda: saved(rgb(GRAY), "JPEG", quality=90, progressive=True),
    "CMYK": lambda: saved(Image.fromarray(np.dstack([GRAY] * 4), "CMYK"), "JPEG", quality=90),
    "stored RGB": lambda: saved(rgb(GRAY), "JPEG", quality=90, keep_rgb=True),
    "with EXIF": lambda: saved(gray(GRAY), "JPEG", quality=90, exif=exif(6)),
    "12 bit": twelve_bits,
}


@pytest.mark.parametrize("tail", [b"", b"\xff", b"\xff\xff\xff"])
@pytest.mark.parametrize("kind", WHOLE)
def test_only_the_end_marker_is_missing(kind: str, tail: bytes, tmp_path: Path) -> None:
    """Or all of it but its first half, or it is covered by bytes that fill up."""
    whole = WHOLE[kind]()
    assert whole.endswith(END)
    expected = read(tmp_path, whole)
    assert expected.notes == ()
    photo = read(tmp_path, whole[:-2] + tail)
    assert_array_equal(photo.luma, expected.luma)
    assert (photo.orientation, photo.kind, photo.notes) == (expected.orientation, expected.kind, (NO_END,))


@pytest.mark.parametrize("kind", ["gray", "progressive"])
def test_its_output_has_an_end_and_the_same_luma(kind: str, tmp_path: Path) -> None:
    whole = WHOLE[kind]()
    _, made, lost = colorized(tmp_path / "a.jpg", whole[:-2], CHROMA)
    assert made.endswith(END)
    assert luma_parts(made) == luma_parts(whole) is not None
    assert lost == (NO_END,)
    assert colorized(tmp_path / "b.jpg", whole, CHROMA)[1:] == (made, ())


@pytest.mark.parametrize("kind", WHOLE)
def test_what_is_cut_off_stays_refused(kind: str, tmp_path: Path) -> None:
    """Wherever the cut is, and whatever it was closed or filled up with."""
    whole = WHOLE[kind]()
    first = whole.index(b"\xff\xda")
    for share, tail in itertools.product(
        (0, 0.001, 0.3, 0.8, 0.97), (b"", b"\xff", bytes(2), bytes(4096), b"\xff" * 4096)
    ):
        start = first + 2 + int.from_bytes(whole[first + 2 : first + 4], "big")
        cut = whole[: start + int((len(whole) - start - 20) * share)]
        with pytest.raises(PhotoError):
            read(tmp_path, cut + tail)


@settings(max_examples=25, deadline=None)
@given(missing=st.integers(1, 60), progressive=st.booleans(), seed=st.integers(0, 99))
def test_a_byte_of_the_scan_is_more_than_the_end_marker(
    missing: int, progressive: bool, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = saved(gray(scene(48, 64, seed)), "JPEG", quality=90, progressive=progressive)
    path = tmp_path_factory.getbasetemp() / "cut.jpg"
    path.write_bytes(whole[: -2 - missing])
    with pytest.raises(PhotoError):
        read_photo(path, LIMIT)


def test_arithmetic_coding_does_not_show_where_it_ends(tmp_path: Path) -> None:
    """Its encoders drop zeros at the end, so that nobody can tell what is missing (ITU-T T.81, D.1.8)."""
    whole = jpeg_of_all_kinds("arithmetic.jpg")
    read(tmp_path, whole)
    with pytest.raises(PhotoError, match="is cut off"):
        read(tmp_path, whole[:-2])


def jpeg_of_all_kinds(name: str) -> bytes:
    return (Path(__file__).parent / "jpegs" / name).read_bytes()


@given(st.binary(max_size=60))
def test_other_files_are_not_mended(content: bytes) -> None:
    assert mended(content) is content or content.startswith(SOI)
    assert not lacks_end(content + END)
    whole = WHOLE["gray"]()
    assert mended(whole) is whole


def with_lines_behind(content: bytes, lines: int) -> bytes:
    """A JPEG whose height stands in a DNL marker behind its first scan."""
    pieces: list[bytes | memoryview] = [SOI]
    scans = 0
    for part in segments(content):
        head = part.head
        if part.marker in FRAMES:
            head = head[:5] + b"\0\0" + head[7:]
        pieces += [head, part.data]
        scans += part.marker == SOS
        if part.marker == SOS and scans == 1:
            pieces.append(b"\xff\xdc\0\x04" + lines.to_bytes(2, "big"))
    return b"".join(pieces)


@pytest.mark.parametrize("kind", WHOLE)
def test_a_height_behind_the_scan(kind: str, tmp_path: Path) -> None:
    whole = WHOLE[kind]()
    odd = with_lines_behind(whole, 72)
    expected, photo = read(tmp_path, whole), read(tmp_path, odd)
    header = read_header(tmp_path / "a.jpg")
    assert (header.width, header.height) == (104, 72)
    assert_array_equal(photo.luma, expected.luma)
    assert (photo.orientation, photo.kind, photo.notes) == (expected.orientation, expected.kind, ())
    if kind in ("gray", "progressive", "restarts"):
        assert luma_parts(colorized(tmp_path / "b.jpg", odd, CHROMA)[1]) == luma_parts(whole) is not None


@pytest.mark.parametrize("read_first", [1 << 18, 100])
def test_a_height_that_nobody_tells_is_damage(read_first: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg, "FIRST_READ", read_first)
    whole = WHOLE["gray"]()
    assert read(tmp_path, with_lines_behind(whole, 72)).luma.shape == (72, 104)
    for content in (
        with_lines_behind(whole, 0),
        with_lines_behind(whole, 72).replace(b"\xff\xdc\0\x04", b"\xff\xfe\0\x04"),
    ):
        with pytest.raises(PhotoError, match="not a picture that can be read, or damaged"):
            read(tmp_path, content)
    with pytest.raises(PhotoError, match=r"is cut off|damaged"):
        read(tmp_path, with_lines_behind(whole, 200))


ODD = [
    f"{color}-{sampling}.jpg"
    for color in ("color", "gray")
    for sampling in ("4x2", "3x1", "1x1,2x2,1x1", "2x1,1x2,1x1")
]


@pytest.mark.parametrize("name", [*ODD, "gray-4x2-progressive.jpg"])
def test_odd_sampling_factors(name: str, tmp_path: Path) -> None:
    content = jpeg_of_all_kinds(name)
    photo = read(tmp_path, content)
    with Image.open(io.BytesIO(content)) as image:
        assert isinstance(image, JpegImageFile)
        image.draft("L", None)
        assert_array_equal(photo.luma, np.asarray(image))
    assert photo.kind == ("colour" if name.startswith("color") else "gray")
    assert read(tmp_path, content[:-2]).notes == (NO_END,)
    first = next(part for part in segments(content) if part.marker == SOS)
    start = content.index(first.head) + len(first.head)
    for length in (start, start + 1, (start + len(content)) // 2, len(content) - 20):
        cut = content[:length]
        for tail in (b"", END, bytes(500)):
            with pytest.raises(PhotoError, match="is cut off"):
                read(tmp_path, cut + tail)


def test_an_odd_jpeg_in_a_run(tiny_model: Path, tmp_path: Path) -> None:
    """From the command to the proof: notes, brightness, and what is said of files that lack more."""
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "unended.jpg").write_bytes(WHOLE["gray"]()[:-2])
    (folder / "behind.jpg").write_bytes(with_lines_behind(WHOLE["gray"](), 72))
    (folder / "sampling.jpg").write_bytes(jpeg_of_all_kinds("gray-4x2.jpg"))
    result = run(folder, "--out", tmp_path / "out", "--model", tiny_model)
    assert result.exit_code == 0, result.stderr
    assert f"note: 1 of them: {NO_END}" in result.stderr
    proof = run("verify", tmp_path / "out", folder)
    assert proof.exit_code == 0, proof.stdout
    assert proof.stdout.count("the stored luma is identical to the original's, bit for bit") == 2
    (folder / "unended.jpg").write_bytes(WHOLE["gray"]()[:-40])
    assert "unended.jpg: is cut off, or damaged" in run(folder, "--out", tmp_path / "b", "--model", tiny_model).stderr


def test_encoded_planes_are_ordinary_files() -> None:
    plane = encode_gray(GRAY, [1] * 64, False)
    assert mended(plane) is plane
    assert next(part for part in segments(plane) if part.marker == EOI)
