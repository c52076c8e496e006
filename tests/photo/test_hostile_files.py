"""Files that are damaged, odd or made to do harm: a failure or the whole picture, never half of it or gigabytes."""

import io
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.testing import assert_allclose, assert_array_equal
from photo.pictures import SRGB_PROFILE, exif, gray, saved, scene, scene16, tiff
from PIL import Image, ImageFile

from bwcolor.errors import PhotoError
from bwcolor.imaging.orientation import upright
from bwcolor.photo.formats.header import read_header
from bwcolor.photo.formats.tiffpages import page_layout
from bwcolor.photo.scan import Photo, read_photo

GRAY = scene(96, 112)
GRAY16 = scene16(96, 112)
COLOUR = np.stack([GRAY, np.roll(GRAY, 20, 0), np.roll(GRAY, 30, 1)], -1)
EOI = b"\xff\xd9"
LIMIT = 10**8

pytestmark = pytest.mark.filterwarnings("ignore")


def read(tmp_path: Path, content: bytes) -> Photo:
    path = tmp_path / "photo"
    path.write_bytes(content)
    return read_photo(path, LIMIT)


def jpeg(**settings: Any) -> bytes:
    return saved(gray(GRAY), "JPEG", quality=90, **settings)


def twelve_bits() -> bytes:
    return bytes(imagecodecs.jpeg8_encode(GRAY.astype(np.uint16) * 16, level=90, bitspersample=12))


def cmyk() -> bytes:
    return saved(Image.fromarray(np.dstack([GRAY] * 4), "CMYK"), "JPEG", quality=90)


def stored_rgb() -> bytes:
    return saved(Image.fromarray(COLOUR), "JPEG", quality=90, keep_rgb=True)


def scans(content: bytes) -> list[int]:
    """Where the scans of a JPEG start."""
    return [at for at in range(len(content)) if content[at : at + 2] == b"\xff\xda"]


def segment(content: bytes) -> tuple[int, int, int]:
    """Where a TIFF's only strip starts, its length, and where that stands."""
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages[0].aspage()
        tag = page.tags[279]
        return page.dataoffsets[0], page.databytecounts[0], tag.valueoffset


def cut_strip(content: bytes) -> bytes:
    _, size, place = segment(content)
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        form = "<H" if file.pages[0].aspage().tags[279].dtype == 3 else "<I"
    return content[:place] + struct.pack(form, size // 2) + content[place + struct.calcsize(form) :]


def zeroed_strip(content: bytes, length: int | None = None) -> bytes:
    start, size, _ = segment(content)
    first = start + size // 2
    last = start + size if length is None else first + length
    return content[:first] + bytes(last - first) + content[last:]


def jpeg_tiff(pixels: Any = GRAY, **settings: Any) -> bytes:
    return tiff(pixels, compression="jpeg", rowsperstrip=96, **settings)


def fax(compression: str, **settings: Any) -> bytes:
    return saved(Image.fromarray(GRAY > 128), "TIFF", compression=compression, **settings)


def by_hand(data: bytes, *tags: tuple[int, int], offsets: int = 273) -> bytes:
    """A TIFF of 64 x 64 px unless the tags (code, value) say otherwise, with one strip or tile."""
    values = {256: 64, 257: 64, 258: 8, 259: 1, 262: 1, 277: 1, offsets: 0, offsets + (6 if offsets == 273 else 1): 0}
    values |= {278: 64} if offsets == 273 else {}
    values |= dict(tags)
    start = 8 + 2 + 12 * len(values) + 4
    values[offsets], values[offsets + (6 if offsets == 273 else 1)] = start, len(data)
    entries = b"".join(struct.pack("<HHII", code, 4, 1, value) for code, value in sorted(values.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(values)) + entries + bytes(4) + data


DAMAGED: dict[str, Callable[[], bytes]] = {
    "12 bit, cut": lambda: twelve_bits()[:4000],
    "12 bit, cut and closed": lambda: twelve_bits()[:4000] + EOI,
    "CMYK, cut and closed": lambda: cmyk()[: len(cmyk()) // 2] + EOI,
    "stored RGB, cut and closed": lambda: stored_rgb()[: len(stored_rgb()) // 2] + EOI,
    "progressive, scans missing": lambda: jpeg(progressive=True)[: scans(jpeg(progressive=True))[2]] + EOI,
    "progressive, the last scan missing": lambda: jpeg(progressive=True)[: scans(jpeg(progressive=True))[-1]] + EOI,
    "padded and cut": lambda: jpeg().replace(b"\xff\xda", b"\0\0\xff\xda", 1)[: len(jpeg()) // 2] + EOI,
    "JPEG in TIFF, cut": lambda: cut_strip(jpeg_tiff()),
    "JPEG in TIFF, zeroed": lambda: zeroed_strip(jpeg_tiff()),
    "colour JPEG in TIFF, cut": lambda: cut_strip(jpeg_tiff(COLOUR, photometric="ycbcr", subsampling=(2, 2))),
    "JPEG in TIFF of fewer rows": lambda: by_hand(saved(gray(GRAY[:8, :64]), "JPEG"), (259, 7)),
    "G4, cut": lambda: cut_strip(fax("group4")),
    "G4, zeroed": lambda: zeroed_strip(fax("group4")),
    "G4, zeroed in its middle": lambda: zeroed_strip(fax("group4"), 12),
    "G3, cut": lambda: cut_strip(fax("group3")),
    "G3, zeroed": lambda: zeroed_strip(fax("group3")),
    "RLE, cut": lambda: cut_strip(fax("tiff_ccitt")),
    "RLE, zeroed": lambda: zeroed_strip(fax("tiff_ccitt")),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_a_failure_not_half_a_picture(name: str, tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=r"cut off|damaged"):
        read(tmp_path, DAMAGED[name]())


WHOLE: dict[str, tuple[Callable[[], bytes], float]] = {
    "12 bit": (twelve_bits, 600),
    "JPEG in TIFF": (jpeg_tiff, 4),
    "colour JPEG in TIFF": (lambda: saved(Image.fromarray(np.dstack([GRAY] * 3)), "TIFF", compression="jpeg"), 4),
    "JPEG in TIFF, short last strip": (lambda: tiff(GRAY, compression="jpeg", rowsperstrip=40), 4),
    "JPEG in TIFF, tiles": (lambda: tiff(GRAY, compression="jpeg", tile=(64, 64)), 4),
    "JPEG with shared tables": (lambda: saved(gray(GRAY), "TIFF", compression="jpeg", quality=90), 4),
    "one scan each": (lambda: saved(gray(GRAY), "JPEG", quality=90, progressive=True), 4),
    "padding before the frame": (lambda: jpeg().replace(b"\xff\xc0", b"\0\0\xff\xc0", 1), 4),
    "padding before the scan": (lambda: jpeg().replace(b"\xff\xda", b"\0\0\xff\xda", 1), 4),
    "PNG in TIFF": (lambda: tiff(GRAY, compression="png", tile=(64, 64)), 0),
    "JPEG 2000 in TIFF": (lambda: tiff(GRAY, compression="jpeg2000", rowsperstrip=40), 0),
    "WebP in TIFF": (lambda: tiff(np.dstack([GRAY] * 3), photometric="rgb", compression="webp", rowsperstrip=40), 4),
    "mask": (lambda: tiff(GRAY, photometric="mask"), 0),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_odd_but_whole_files_are_read(name: str, tmp_path: Path) -> None:
    make, most = WHOLE[name]
    photo = read(tmp_path, make())
    full = GRAY.astype(np.int64) * (1 if photo.luma.dtype == np.uint8 else 257)
    assert np.abs(photo.luma.astype(np.int64) - full).mean() <= most


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_whole_fax_pages_are_read(compression: str, orientation: int, tmp_path: Path) -> None:
    pages = [Image.fromarray(np.roll(GRAY, shift, 0) > 128) for shift in (0, 5)]
    out = io.BytesIO()
    pages[0].save(out, "TIFF", compression=compression, save_all=True, append_images=pages[1:],
                  tiffinfo={274: orientation})  # fmt: skip
    path = tmp_path / "fax.tif"
    path.write_bytes(out.getvalue())
    photo = read_photo(path, LIMIT)
    assert_array_equal(photo.luma, np.where(GRAY > 128, 255, 0))
    assert photo.orientation == orientation


def test_a_turned_uncompressed_page_that_libtiff_reads_is_not_scrambled(tmp_path: Path) -> None:
    source = saved(Image.fromarray(COLOUR).convert("YCbCr"), "TIFF", tiffinfo={274: 6})
    photo = read(tmp_path, source)
    assert photo.orientation == 6
    assert np.abs(photo.luma.astype(int) - np.asarray(Image.fromarray(COLOUR).convert("L"))).max() <= 2
    assert upright(photo.luma, 6).shape == (112, 96)


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + kind + body


@pytest.mark.parametrize("size", [0, 70_000])
def test_the_depth_of_a_jpeg_2000_lies_behind_its_metadata(size: int, tmp_path: Path) -> None:
    source = bytes(imagecodecs.jpeg2k_encode(GRAY16, level=0, codecformat="jp2"))
    at = source.index(b"jp2c") - 4
    assert_array_equal(read(tmp_path, source[:at] + box(b"uuid", bytes(16 + size)) + source[at:]).luma, GRAY16)


def test_a_bare_code_stream_tells_its_depth(tmp_path: Path) -> None:
    assert_array_equal(
        read(tmp_path, bytes(imagecodecs.jpeg2k_encode(GRAY16, level=0, codecformat="j2k"))).luma, GRAY16
    )


def test_the_depth_of_an_avif_lies_behind_its_other_boxes(tmp_path: Path) -> None:
    deep = bytes(imagecodecs.avif_encode(np.dstack([GRAY16 >> 6] * 3), level=100, bitspersample=10))
    path = tmp_path / "a.avif"
    path.write_bytes(deep)
    assert read_header(path).bits == 10
    start = struct.unpack(">I", deep[:4])[0]  # behind ftyp
    path.write_bytes(deep[:start] + box(b"free", bytes(70_000)) + deep[start:])
    with pytest.raises(PhotoError):  # its offsets count from the file's start, so that the pixels are gone
        read_photo(path, LIMIT)
    assert read_header(path).bits == 10


def test_an_avif_of_unknown_depth_is_refused(tmp_path: Path) -> None:
    source = saved(Image.fromarray(COLOUR), "AVIF")
    path = tmp_path / "a.avif"
    path.write_bytes(source.replace(b"av1C", b"av1D"))
    with pytest.raises(PhotoError):
        read_header(path)


def test_pixels_that_pillow_would_cut_off_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bwcolor.photo.formats.jp2.stored_bits", lambda file: 8)
    with pytest.raises(PhotoError, match="I;16"):
        read(tmp_path, bytes(imagecodecs.jpeg2k_encode(GRAY16, level=0, codecformat="jp2")))


ODD_TAGS = [(2, 10, "abcdefghi"), (3, 3, (300, 2, 3)), (4, 1, 300_000_000)]


@pytest.mark.parametrize("tag", ODD_TAGS)
def test_a_profile_of_an_odd_type_is_damage(tag: tuple[int, int, Any]) -> None:
    layout = page_layout(io.BytesIO(tiff(GRAY, extratags=[(34675, *tag, True)])), 0)
    assert layout.icc is None
    assert layout.lost == ("damaged color profile left out",)


def test_a_profile_in_longs_is_its_bytes() -> None:
    profile = SRGB_PROFILE + bytes(-len(SRGB_PROFILE) % 4)
    numbers = struct.unpack(f"<{len(profile) // 4}I", profile)
    assert page_layout(io.BytesIO(tiff(GRAY, extratags=[(34675, 4, len(numbers), numbers, True)])), 0).icc == profile


@pytest.mark.parametrize("tag", ODD_TAGS)
def test_xmp_of_an_odd_type_does_not_matter(tag: tuple[int, int, Any], tmp_path: Path) -> None:
    assert read(tmp_path, tiff(GRAY, extratags=[(700, *tag, True)])).orientation == 1
    said = "<x tiff:Orientation='6'/>"
    assert read(tmp_path, tiff(GRAY, extratags=[(700, 2, len(said) + 1, said, True)])).orientation == 6


@pytest.mark.parametrize("levels", [np.arange(256), np.arange(256) * 257])
def test_palettes_of_8_and_of_16_bits(levels: Any, tmp_path: Path) -> None:
    palette = np.stack([levels.astype(np.uint16)] * 3)
    assert_array_equal(read(tmp_path, tiff(GRAY, photometric="palette", colormap=palette)).luma, GRAY)


def huge_tile() -> bytes:
    return by_hand(zlib.compress(bytes(10_000 * 10_000), 1), (259, 8), (322, 10_000), (323, 10_000), offsets=324)


def many_samples() -> bytes:
    return by_hand(zlib.compress(bytes(64 * 64 * 600), 1), (259, 8), (277, 600), (284, 1))


def huge_jpeg() -> bytes:
    return by_hand(saved(Image.new("L", (8000, 8000)), "JPEG"), (259, 7), (322, 64), (323, 64), offsets=324)


def huge_png() -> bytes:
    return by_hand(bytes(imagecodecs.png_encode(np.zeros((6000, 6000), np.uint8))), (259, 34933))


def huge_jp2() -> bytes:
    return by_hand(bytes(imagecodecs.jpeg2k_encode(np.zeros((6000, 6000), np.uint8), level=60)), (259, 34712))


def huge_webp() -> bytes:
    return by_hand(saved(Image.new("RGB", (6000, 6000)), "WEBP"), (259, 50001), (262, 2), (277, 3))


@pytest.mark.parametrize("make", [huge_tile, many_samples, huge_jpeg, huge_png, huge_jp2, huge_webp])
def test_hostile_sizes_are_refused_before_they_take_memory(make: Callable[[], bytes], tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(make())
    tracemalloc.start()
    try:
        with pytest.raises(PhotoError, match=r"damaged|values a pixel"):
            read_photo(path, LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


INKS = np.random.default_rng(1).integers(0, 256, (1200, 500, 4), np.uint8)


@pytest.mark.parametrize("kind", ["inks", "alpha"])
def test_a_page_of_a_single_strip_takes_little_memory(kind: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"photometric": "separated"}
    if kind == "alpha":
        settings = {"photometric": "rgb", "extrasamples": ["assocalpha"]}
    path = tmp_path / "photo"
    path.write_bytes(tiff(INKS, compression="zlib", rowsperstrip=1200, **settings))
    tracemalloc.start()
    try:
        photo = read_photo(path, LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 36 * INKS.shape[0] * INKS.shape[1]
    finally:
        tracemalloc.stop()
    inks = INKS.astype(np.float64)
    if kind == "inks":
        rgb = (255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255
    else:
        rgb = np.minimum(255, np.divide(inks[..., :3] * 255, inks[..., 3:], where=inks[..., 3:] > 0,
                                        out=np.zeros(inks[..., :3].shape)))  # fmt: skip
    assert_allclose(photo.luma, rgb @ [0.299, 0.587, 0.114], atol=1.2)


def test_associated_alpha_of_16_bits_is_exact(tmp_path: Path) -> None:
    alpha = np.full((8, 8), 0xFFFF, np.uint16)
    pixels = np.dstack([GRAY16[:8, :8], alpha])
    source = tiff(pixels, photometric="minisblack", planarconfig="contig", extrasamples=["assocalpha"])
    assert_array_equal(read(tmp_path, source).luma, GRAY16[:8, :8])


def test_a_jpeg_of_nothing_but_padding_is_given_up_soon(tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(b"\xff\xd8" + bytes(40_000_000))
    start = time.monotonic()
    with pytest.raises(PhotoError):
        read_header(path)
    assert time.monotonic() - start < 2


def test_the_frame_may_lie_behind_much_metadata(tmp_path: Path) -> None:
    segments = b"".join(b"\xff\xe4\xff\xff" + bytes(65533) for _ in range(20))
    path = tmp_path / "photo"
    path.write_bytes(jpeg()[:2] + segments + jpeg()[2:])
    assert (read_header(path).height, read_header(path).width) == GRAY.shape


def test_fax_pages_are_not_read_whole_for_each_page(tmp_path: Path) -> None:
    path = tmp_path / "fax.tif"
    path.write_bytes(fax("group4") + bytes(5_000_000))
    tracemalloc.start()
    try:
        read_photo(path, LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("dtype", "words"), [("float32", "floating-point"), ("int16", "signed"), ("float16", "floating-point"),
                         ("uint64", "stores 64-bit values")],
)  # fmt: skip
def test_values_of_other_kinds_are_named(dtype: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=words):
        read(tmp_path, tiff(GRAY.astype(dtype)))


def test_the_orientation_of_12_bit_jpegs(tmp_path: Path) -> None:
    block = b"Exif\0\0" + exif(6).tobytes().removeprefix(b"Exif\0\0")
    head = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    assert read(tmp_path, twelve_bits()[:2] + head + twelve_bits()[2:]).orientation == 6


@pytest.mark.parametrize("settings", [{}, {"dpi": (300, 300)}])
def test_a_png_without_orientation_is_decoded_once(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    real = ImageFile.ImageFile.load

    def counted(self: ImageFile.ImageFile) -> Any:
        loads.extend("x" for _ in self.tile)
        return real(self)

    source = saved(gray(GRAY), "PNG", **settings)
    monkeypatch.setattr(ImageFile.ImageFile, "load", counted)
    read(tmp_path, source)
    assert len(loads) == 1
