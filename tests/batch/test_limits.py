"""A file's pixels in all are limited, not only those of a page: bombs end at once, honest files of many pages pass."""

import struct
import zlib
from itertools import accumulate
from pathlib import Path

import pytest
from photo.pictures import gray, saved, scene, tiff

from bwcolor.batch.plan import find_jobs, settle
from bwcolor.checks.verify import in_colour_already, verify_photo
from bwcolor.errors import PhotoError
from bwcolor.options import MAX_FILE_PIXELS, ColorizeOptions
from bwcolor.photo.formats.header import read_header
from bwcolor.photo.formats.jpeg import EOI, MOST_SCANS, SOS, segments
from bwcolor.photo.formats.known import check_size
from bwcolor.photo.scan import open_scan, read_photo

LIMIT = ColorizeOptions().max_pixels


def many_pages(pages: int, width: int, height: int, data: bytes = zlib.compress(b""), tile: int = 0) -> bytes:
    """A TIFF of deflated 8-bit gray pages that all have the same strip or tile."""
    where = {322: tile, 323: tile, 324: 8, 325: len(data)} if tile else {273: 8, 278: height, 279: len(data)}
    tags = {254: 2, 256: width, 257: height, 258: 8, 259: 8, 262: 1, 277: 1, **where}
    entries = b"".join(struct.pack("<HHII", code, 4, 1, value) for code, value in sorted(tags.items()))
    first = 8 + len(data)
    starts = accumulate([first, *[len(entries) + 6] * (pages - 1)])
    folders = [struct.pack("<H", len(tags)) + entries + struct.pack("<I", start + len(entries) + 6) for start in starts]
    return b"II*\0" + struct.pack("<I", first) + data + b"".join(folders)[:-4] + bytes(4)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pages that share a strip", many_pages(1000, 17_000, 17_000)),
        ("a little over the limit", many_pages(60, 15_900, 15_900)),
        ("pages of 1 px in huge tiles", many_pages(1000, 1, 1, tile=4096)),
    ],
)
def test_a_file_of_too_many_pixels_in_all_is_refused_at_once(name: str, content: bytes, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "bomb.tif").write_bytes(content)
    (photos / "photo.png").write_bytes(saved(gray(scene(20, 30)), "PNG"))
    plan = settle(find_jobs(photos, tmp_path / "out"), ColorizeOptions())
    assert [job.source.name for job in plan.jobs] == ["photo.png"]
    (left,) = plan.left_out
    assert left.failed
    assert "--max-file-pixels" in left.reason
    with pytest.raises(PhotoError, match="--max-file-pixels"), open_scan(left.path, LIMIT):
        pass


def test_a_thousand_pages_of_twelve_megapixels_pass(tmp_path: Path) -> None:
    path = tmp_path / "album.tif"
    path.write_bytes(many_pages(1000, 4288, 2848))
    header = read_header(path)
    assert (header.pages, header.decoded) == (1000, 1000 * 4288 * 2848)
    check_size(header, LIMIT, MAX_FILE_PIXELS, ColorizeOptions().max_pages)


def test_the_limit_is_an_option_of_runs_and_of_verify(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    path = tmp_path / "photos" / "a.tif"
    path.write_bytes(many_pages(3, 40, 50, zlib.compress(scene(50, 40).tobytes())))
    assert settle(find_jobs(path.parent, tmp_path / "out"), ColorizeOptions(max_file_pixels=6000)).jobs
    assert not settle(find_jobs(path.parent, tmp_path / "out"), ColorizeOptions(max_file_pixels=5999)).jobs
    for look in (
        lambda pixels: verify_photo(path, None, LIMIT, max_file_pixels=pixels),
        lambda pixels: in_colour_already(path, LIMIT, pixels),
    ):
        look(6000)
        with pytest.raises(PhotoError, match="6,000 pixels, all pages taken together, over the limit of 5,999"):
            look(5999)


def test_what_lies_outside_the_page_in_tiles_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(scene(70, 100), tile=(64, 64)))
    assert read_header(path).decoded == 128 * 128
    path.write_bytes(saved(gray(scene(70, 100)), "PNG"))
    assert read_header(path).decoded == 7000


def test_a_jpeg_of_very_many_scans_is_refused(tmp_path: Path) -> None:
    """Each scan makes a decoder go over the whole picture, and may have only a few bytes."""
    source = saved(gray(scene(60, 80)), "JPEG", progressive=True)
    path = tmp_path / "a.jpg"
    path.write_bytes(source)
    read_photo(path, LIMIT)
    last = [bytes(part.head) + bytes(part.data) for part in segments(source) if part.marker == SOS][-1]
    path.write_bytes(source.removesuffix(bytes([0xFF, EOI])) + MOST_SCANS * last + bytes([0xFF, EOI]))
    with pytest.raises(PhotoError, match="scans"):
        read_photo(path, LIMIT)
