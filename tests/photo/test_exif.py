"""Previews in EXIF blocks: nothing but the preview changes, and nothing moves."""

import io
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bwcolor.photo.metadata.exif import (
    has_uncompressed_thumbnail,
    orientation,
    thumbnail,
    with_thumbnail,
    without_thumbnail,
)

ORDERS = ["<", ">"]
PLACES = ["tail", "padded", "middle"]
SHORT, LONG, ASCII, UNDEFINED = 3, 4, 2, 7
MAKER_NOTE = bytes(range(1, 200))
both_orders = pytest.mark.parametrize("order", ORDERS)
all_places = pytest.mark.parametrize("place", PLACES)
needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool isn't installed")


def picture(size: int, shade: int = 90) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (size, size), (shade, 60, 30)).save(out, "JPEG")
    return out.getvalue()


OLD, SMALLER, LARGER = picture(32), picture(16), picture(300)


def folder(order: str, entries: list[tuple[int, int, int, int]], following: int) -> bytes:
    """A directory of (tag, type, count, value); a SHORT stands left in its four bytes."""
    body = b"".join(
        struct.pack(order + ("HHIHxx" if kind == SHORT and count == 1 else "HHII"), tag, kind, count, value)
        for tag, kind, count, value in entries
    )
    return struct.pack(order + "H", len(entries)) + body + struct.pack(order + "I", following)


def block(order: str, place: str = "tail", jpeg: bytes = OLD, turned: int = 6, second: bool = True) -> bytes:
    """A camera's block: IFD0, the Exif folder with a maker note, IFD1, and the thumbnail."""
    first_at, exif_at, second_at, make_at, note_at = 8, 60, 90, 150, 160
    behind = note_at + len(MAKER_NOTE) + 1
    jpeg_at = note_at if place == "middle" else behind
    if place == "middle":
        note_at = jpeg_at + len(jpeg)
    first = [(271, ASCII, 8, make_at), (274, SHORT, 1, turned), (34665, LONG, 1, exif_at)]
    exif = [(37500, UNDEFINED, len(MAKER_NOTE), note_at)]
    last = [(259, SHORT, 1, 6), (513, LONG, 1, jpeg_at), (514, LONG, 1, len(jpeg))]
    parts = {
        0: (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", first_at),
        first_at: folder(order, first, second_at if second else 0),
        exif_at: folder(order, exif, 0),
        second_at: folder(order, last, 0),
        make_at: b"Rollei \0",
        note_at: MAKER_NOTE,
        jpeg_at: jpeg,
    }
    data = bytearray()
    for start in sorted(parts):
        assert len(data) <= start
        data = data.ljust(start, b"\0") + parts[start]
    return bytes(data) + (bytes(7) if place == "padded" else b"")


def uncompressed(order: str) -> bytes:
    strips = [(259, SHORT, 1, 1), (273, LONG, 1, 80), (279, LONG, 1, 12)]
    data = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    data += folder(order, [(274, SHORT, 1, 3)], 26) + folder(order, strips, 0)
    return data.ljust(80, b"\0") + bytes(12)


def changed(before: bytes, after: bytes) -> set[int]:
    return {at for at, (old, new) in enumerate(zip(before, after, strict=False)) if old != new}


@both_orders
@all_places
def test_thumbnail_and_orientation_are_read(order: str, place: str) -> None:
    exif = block(order, place)
    assert thumbnail(exif) == OLD
    assert orientation(exif) == 6
    assert not has_uncompressed_thumbnail(exif)


@both_orders
@all_places
@pytest.mark.parametrize("new", [SMALLER, OLD[:-2] + b"\xff\xd9", LARGER])
def test_another_thumbnail_moves_nothing(order: str, place: str, new: bytes) -> None:
    exif = block(order, place)
    result = with_thumbnail(exif, new)
    assert thumbnail(result) == new
    assert result.count(MAKER_NOTE) == 1
    assert result.index(MAKER_NOTE) == exif.index(MAKER_NOTE)
    old_at = exif.index(OLD)
    free = range(old_at, old_at + len(OLD) if place == "middle" else len(exif))
    values = range(112, 128)  # of the tags 513 and 514
    assert changed(exif, result) <= {*free, *values}
    if place == "middle":
        assert len(result) == (len(exif) if len(new) <= len(OLD) else len(exif) + len(exif) % 2 + len(new))
    else:
        assert len(result) == exif.index(OLD) + len(new)
    assert with_thumbnail(result, new) == result


@both_orders
@all_places
def test_without_thumbnail(order: str, place: str) -> None:
    exif = block(order, place)
    result = without_thumbnail(exif)
    assert thumbnail(result) is None
    assert orientation(result) == 6
    assert changed(exif, result) <= {46, 47, 48, 49}  # the offset behind IFD0's three entries
    assert len(result) == (len(exif) if place == "middle" else exif.index(OLD))
    assert without_thumbnail(result) == result
    assert with_thumbnail(result, SMALLER) == result


@both_orders
def test_uncompressed_thumbnails(order: str) -> None:
    exif = uncompressed(order)
    assert has_uncompressed_thumbnail(exif)
    assert thumbnail(exif) is None
    assert with_thumbnail(exif, SMALLER) == exif
    gone = without_thumbnail(exif)
    assert not has_uncompressed_thumbnail(gone)
    assert len(gone) == len(exif)
    assert orientation(gone) == 3


@both_orders
@pytest.mark.parametrize(("written", "read"), [(0, 1), (1, 1), (8, 8), (9, 1), (65535, 1)])
def test_orientations(order: str, written: int, read: int) -> None:
    assert orientation(block(order, turned=written)) == read


@both_orders
def test_blocks_without_a_second_directory(order: str) -> None:
    exif = block(order, second=False)
    assert thumbnail(exif) is None
    assert not has_uncompressed_thumbnail(exif)
    assert with_thumbnail(exif, SMALLER) == without_thumbnail(exif) == exif


def broken(order: str) -> list[bytes]:
    exif = block(order)
    pack = struct.Struct(order + "I").pack
    loop, beyond = pack(8), pack(0xFFFFFFF0)
    return [
        b"",
        exif[:7],
        b"Exif\0\0" + exif,
        exif[:4] + beyond + exif[8:],
        exif[:46] + beyond + exif[50:],
        exif[:46] + loop + exif[50:],  # IFD1 is IFD0
        exif[:112] + beyond + exif[116:],  # the thumbnail's offset
        exif[:124] + beyond + exif[128:],  # its length
        exif[:-1],
        exif.replace(OLD, bytes(2) + OLD[2:]),
    ]


@both_orders
@pytest.mark.parametrize("kind", range(10))
def test_damaged_blocks(order: str, kind: int) -> None:
    exif = broken(order)[kind]
    assert thumbnail(exif) is None
    assert with_thumbnail(exif, SMALLER) == exif
    assert without_thumbnail(without_thumbnail(exif)) == without_thumbnail(exif)
    assert len(without_thumbnail(exif)) == len(exif)


@both_orders
def test_a_thumbnail_within_the_maker_note_is_not_written_over(order: str) -> None:
    exif = bytearray(block(order))
    note_at = exif.index(MAKER_NOTE)
    exif[note_at : note_at + 2] = b"\xff\xd8"
    struct.pack_into(order + "I", exif, 112, note_at)
    struct.pack_into(order + "I", exif, 124, 40)
    result = with_thumbnail(bytes(exif), b"\xff\xd8\xff\xd9")
    assert thumbnail(result) == b"\xff\xd8\xff\xd9"
    assert changed(bytes(exif), result) <= {*range(112, 116), *range(124, 128)}


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_no_damage_raises(data: st.DataObject) -> None:
    exif = bytearray(block(data.draw(st.sampled_from(ORDERS)), data.draw(st.sampled_from(PLACES))))
    for _ in range(data.draw(st.integers(0, 6))):
        place = data.draw(st.one_of(st.integers(0, 160), st.integers(0, len(exif) - 1)))
        exif[place] = data.draw(st.one_of(st.sampled_from([0, 1, 8, 0xFF]), st.integers(0, 255)))
    source = bytes(exif[: data.draw(st.one_of(st.just(len(exif)), st.integers(0, len(exif))))])
    new = data.draw(st.sampled_from([SMALLER, LARGER]))
    result, bare = with_thumbnail(source, new), without_thumbnail(source)
    assert result == source if thumbnail(source) is None else thumbnail(result) == new
    assert 1 <= orientation(source) <= 8
    assert orientation(result) == orientation(source) == orientation(bare)
    assert thumbnail(bare) is None
    assert not has_uncompressed_thumbnail(bare)
    assert without_thumbnail(bare) == bare
    assert len(bare) <= len(source)


@given(st.binary(max_size=120), st.sampled_from([b"II*\0", b"MM\0*"]))
def test_any_bytes(tail: bytes, start: bytes) -> None:
    exif = start + tail
    has_uncompressed_thumbnail(exif)
    with_thumbnail(exif, SMALLER)
    without_thumbnail(exif)


def exiftool(path: Path, *arguments: str) -> bytes:
    return subprocess.run(["exiftool", *arguments, str(path)], capture_output=True, check=True).stdout


def in_a_jpeg(exif: bytes, path: Path) -> Path:
    Image.new("L", (8, 8)).save(path, "JPEG", exif=b"Exif\0\0" + exif)
    return path


@needs_exiftool
@both_orders
@all_places
@pytest.mark.parametrize("new", [SMALLER, LARGER])
def test_exiftool_reads_the_new_thumbnail(order: str, place: str, new: bytes, tmp_path: Path) -> None:
    photo = in_a_jpeg(with_thumbnail(block(order, place), new), tmp_path / "photo.jpg")
    assert exiftool(photo, "-b", "-ThumbnailImage") == new
    assert exiftool(photo, "-s3", "-Make", "-Orientation#") == b"Rollei\n6\n"
    bare = in_a_jpeg(without_thumbnail(block(order, place)), tmp_path / "bare.jpg")
    assert exiftool(bare, "-b", "-ThumbnailImage") == b""
    assert exiftool(bare, "-s3", "-Make", "-Orientation#") == b"Rollei\n6\n"


@needs_exiftool
def test_a_block_that_exiftool_wrote(tmp_path: Path) -> None:
    photo, preview = tmp_path / "photo.jpg", tmp_path / "preview.jpg"
    Image.new("L", (8, 8)).save(photo)
    preview.write_bytes(OLD)
    exiftool(photo, "-q", "-overwrite_original", f"-ThumbnailImage<={preview}", "-Artist=Somebody", "-Orientation#=8")
    with Image.open(photo) as image:
        exif = image.info["exif"].removeprefix(b"Exif\0\0")
    assert (thumbnail(exif), orientation(exif)) == (OLD, 8)
    again = in_a_jpeg(with_thumbnail(exif, LARGER), photo)
    assert exiftool(again, "-b", "-ThumbnailImage") == LARGER
    assert exiftool(again, "-s3", "-Artist", "-validate") == b"Somebody\nOK\n"
