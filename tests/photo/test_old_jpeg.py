"""The old kind of JPEG in TIFF (compression 6), in every layout that libtiff reads; pages that fail are named."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal
from photo.old_jpegs import (
    Builder,
    a_jpeg_each_strip,
    head_apart,
    head_apart_several_strips,
    head_without_scan,
    jpeg,
    strip_alone,
    strips,
    strips_inside_the_whole,
    tables_in_tags,
    tags_of,
    whole,
    whole_without_end,
    whole_without_length,
)
from photo.pictures import FakeModel, colorized, flat, gray, saved, scene
from PIL import Image

from bwcolor.batch.plan import find_jobs
from bwcolor.batch.thread_pool import run
from bwcolor.errors import PhotoError
from bwcolor.options import ColorizeOptions
from bwcolor.photo.scan import open_scan, read_photo

LIMIT = 10**8
GRAY = scene(90, 130)
COLOUR = np.dstack([scene(90, 130, 1), scene(90, 130, 2), GRAY])


def in_several_strips(pixels: Any) -> Any:
    parts = [np.asarray(Image.open(io.BytesIO(part))) for part in strips(pixels)]
    return np.concatenate(parts)


def in_one(pixels: Any) -> Any:
    return np.asarray(Image.open(io.BytesIO(jpeg(pixels))))


LAYOUTS: dict[str, tuple[Callable[[Any], bytes], Callable[[Any], Any]]] = {
    "whole": (whole, in_one),
    "whole, without its end": (whole_without_end, in_one),
    "whole, without its length": (whole_without_length, in_one),
    "strips inside the whole": (strips_inside_the_whole, in_one),
    "a strip alone": (strip_alone, in_one),
    "head apart": (head_apart, in_one),
    "head without scan": (head_without_scan, in_one),
    "head apart, several strips": (head_apart_several_strips, in_several_strips),
    "a JPEG each strip": (a_jpeg_each_strip, in_several_strips),
    "tables in tags": (lambda pixels: tables_in_tags(pixels, several=False), in_one),
    "tables in tags, several strips": (tables_in_tags, in_several_strips),
    "tables in tags, strips end with a restart": (lambda pixels: tables_in_tags(pixels, b"\xff\xd0"),
                                                  in_several_strips),
}  # fmt: skip


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gray_in_every_layout(layout: str, tmp_path: Path) -> None:
    make, expected = LAYOUTS[layout]
    photo = read_photo(written(tmp_path, make(GRAY)), LIMIT)
    assert photo.kind == "gray"
    assert_array_equal(photo.luma, expected(GRAY))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_ycbcr_in_every_layout(layout: str, tmp_path: Path) -> None:
    make, expected = LAYOUTS[layout]
    photo = read_photo(written(tmp_path, make(COLOUR)), LIMIT)
    luma = np.asarray(expected(COLOUR), float) @ [0.299, 0.587, 0.114]
    assert photo.kind == "colour"
    assert np.abs(photo.luma - luma).mean() < 1, "the tables and the order of the components are right"
    assert np.abs(photo.luma - luma).max() < 16, "at most what smoother chroma does at edges"


@pytest.mark.parametrize("layout", ["whole", "strips inside the whole", "tables in tags"])
def test_libtiff_reads_the_same(layout: str, tmp_path: Path) -> None:
    """What the tests build is what others call this kind: Pillow's libtiff agrees where it reads it."""
    path = written(tmp_path, LAYOUTS[layout][0](COLOUR))
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"), float) @ [0.299, 0.587, 0.114]
    assert np.abs(read_photo(path, LIMIT).luma - expected).mean() < 1.5


def test_white_may_be_zero_and_rgb_stands_for_ycbcr(tmp_path: Path) -> None:
    put, source = Builder(), jpeg(GRAY)
    path = written(tmp_path, put.tiff(tags_of(GRAY, t262=0, t513=put(source), t514=len(source))))
    assert_array_equal(read_photo(path, LIMIT).luma, 255 - in_one(GRAY))
    put, source = Builder(), jpeg(COLOUR)
    path = written(tmp_path, put.tiff(tags_of(COLOUR, t262=2, t513=put(source), t514=len(source))))
    assert np.abs(read_photo(path, LIMIT).luma - in_one(COLOUR) @ [0.299, 0.587, 0.114]).mean() < 1


def test_the_output_is_an_ordinary_tiff(tmp_path: Path) -> None:
    photo, content, lost = colorized(tmp_path / "a.tif", whole(GRAY), np.zeros((3, 4, 2), np.float32))
    assert lost == ()
    with tifffile.TiffFile(io.BytesIO(content)) as made:
        page = made.pages.first
        assert not {512, 513, 514, 519, 520, 521} & {tag.code for tag in page.tags}
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert_array_equal(page.asarray(), np.dstack([photo.luma] * 3))


DAMAGED: dict[str, Callable[[], bytes]] = {
    "cut": lambda: whole_without_end(GRAY)[:3000],
    "strip cut": lambda: cut_strip(tables_in_tags(GRAY, several=False)),
    "one of several strips cut": lambda: cut_strip(tables_in_tags(GRAY)),
    "another size": lambda: other_size(),
    "no tables": lambda: without(tables_in_tags(GRAY), 519),
    "no strips": lambda: Builder().tiff(tags_of(GRAY)),
    "tables are none": lambda: tables_nowhere(),
    "planes": lambda: with_planes(),
}


def cut_strip(content: bytes) -> bytes:
    """The same file, of whose first strip the tag tells only a half."""
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        (count, *_), tag = file.pages.first.databytecounts, file.pages.first.tags[279]
    at = tag.valueoffset
    return content[:at] + struct.pack("<I", count // 2) + content[at + 4 :]


def other_size() -> bytes:
    put, source = Builder(), jpeg(GRAY[:40, :50])
    return put.tiff(tags_of(GRAY, t513=put(source), t514=len(source)))


def without(content: bytes, code: int) -> bytes:
    return content.replace(struct.pack("<HH", code, 4), struct.pack("<HH", 60_000 + code, 4))


def tables_nowhere() -> bytes:
    put, source = Builder(), tables_in_tags(GRAY)
    at = put(bytes(500))
    del source
    return put.tiff(tags_of(GRAY, t519=at, t520=at, t521=at, t273=at, t279=400))


def with_planes() -> bytes:
    put, source = Builder(), jpeg(COLOUR)
    return put.tiff(tags_of(COLOUR, t284=2, t273=put(source), t279=len(source)))


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_ones_fail_with_a_sentence(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path, DAMAGED[kind]())
    with pytest.raises(PhotoError) as raised:
        read_photo(path, LIMIT)
    assert "inside bwcolor" not in str(raised.value)
    assert "Error" not in str(raised.value)


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_page_that_can_not_be_read_is_named(bad: int, tmp_path: Path) -> None:
    put = Builder()
    pages = []
    for number in range(3):
        source = jpeg(GRAY)
        source = source if number != bad else source[: len(source) // 2]
        pages.append(tags_of(GRAY, t513=put(source), t514=len(source)))
    photos = tmp_path / "photos"
    photos.mkdir()
    written(photos, put.tiff(*pages))
    (photos / "b.png").write_bytes(saved(gray(GRAY), "PNG"))
    outcomes = run(find_jobs(photos, tmp_path / "out").jobs, FakeModel(flat(0.1, 0.1)), ColorizeOptions(jobs=1))
    reasons = {outcome.job.source.name: outcome.reason for outcome in outcomes if outcome.state == "failed"}
    assert list(reasons) == ["a.tif"]
    assert reasons["a.tif"].startswith(f"page {bad + 1} of 3: ")


def test_a_page_whose_header_can_not_be_read_is_named(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(GRAY, metadata=None)
        writer.write(GRAY.astype(np.int16) - 300, metadata=None)
    with pytest.raises(PhotoError, match=r"^page 2 of 2: "), open_scan(tmp_path / "a.tif", LIMIT):
        pass
