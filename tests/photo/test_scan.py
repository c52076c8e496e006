"""Reading photos: every kind that people have, and clear refusals for what is no photo."""

import errno
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from photo.pictures import SRGB_PROFILE, bmp_with_alpha, exif, gray, png, rgb, rgba, saved, scene, scene16, tiff
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from bwcolor.errors import PhotoError
from bwcolor.imaging.color import luma
from bwcolor.imaging.orientation import upright
from bwcolor.photo.encode import is_lossless_webp
from bwcolor.photo.formats.header import ZEROS, read_header
from bwcolor.photo.formats.jpeg import luma_coding
from bwcolor.photo.scan import Photo, open_scan, read_photo, read_rgb

LIMIT = 10_000_000
GRAY = scene(36, 52)
GRAY16 = scene16(36, 52)
ALPHA = scene(36, 52, seed=7)
ALPHA16 = scene16(36, 52, seed=7)
WHITE16 = np.uint16(0xFFFF)

# Like the command line: decoders warn of odd files, and only what raises counts.
pytestmark = pytest.mark.filterwarnings("ignore")


def read(tmp_path: Path, content: bytes, max_pixels: int = LIMIT) -> Photo:
    path = tmp_path / "photo"
    path.write_bytes(content)
    return read_photo(path, max_pixels)


def palette() -> Image.Image:
    """The gray photo as indices into a reversed gray palette."""
    image = Image.fromarray(255 - GRAY).convert("P")
    image.putpalette([level for index in range(256) for level in (255 - index,) * 3])
    return image


GRAY_KEPT_EXACTLY: dict[str, tuple[Callable[[], bytes], str]] = {
    "png gray": (lambda: saved(gray(GRAY), "PNG"), "png"),
    "png rgb": (lambda: saved(rgb(GRAY), "PNG"), "png"),
    "png palette": (lambda: saved(palette(), "PNG"), "png"),
    "png with a comment": (lambda: png(GRAY, 0, (b"tEXt", b"Comment\0old")), "png"),
    "tiff": (lambda: saved(gray(GRAY), "TIFF"), "tiff"),
    "tiff lzw": (lambda: saved(gray(GRAY), "TIFF", compression="tiff_lzw"), "tiff"),
    "tiff rgb": (lambda: saved(rgb(GRAY), "TIFF", compression="tiff_adobe_deflate"), "tiff"),
    "tiff big-endian": (lambda: tiff(GRAY, byteorder=">"), "tiff"),
    "tiff white is zero": (lambda: tiff(255 - GRAY, photometric="miniswhite"), "tiff"),
    "tiff tiled": (lambda: tiff(GRAY, tile=(16, 16)), "tiff"),
    "bigtiff": (lambda: tiff(GRAY, bigtiff=True), "tiff"),
    "webp lossless": (lambda: saved(rgb(GRAY), "WEBP", lossless=True), "webp"),
    "bmp gray": (lambda: saved(gray(GRAY), "BMP"), "bmp"),
    "bmp rgb": (lambda: saved(rgb(GRAY), "BMP"), "bmp"),
}


@pytest.mark.parametrize("name", GRAY_KEPT_EXACTLY)
def test_gray_is_read_exactly(name: str, tmp_path: Path) -> None:
    content, kind = GRAY_KEPT_EXACTLY[name]
    photo = read(tmp_path, content())
    assert photo.luma.dtype == np.uint8
    assert_array_equal(photo.luma, GRAY)
    assert photo.alpha is None
    assert (photo.orientation, photo.kind) == (1, "gray")
    header = read_header(tmp_path / "photo")
    assert (header.format, header.width, header.height, header.pages, header.deep) == (kind, 52, 36, 1, False)


GRAY16_KEPT_EXACTLY: dict[str, Callable[[], bytes]] = {
    "png gray": lambda: png(GRAY16, 0),
    "png rgb": lambda: png(np.stack([GRAY16] * 3, -1), 2),
    "tiff gray": lambda: tiff(GRAY16),
    "tiff gray big-endian": lambda: tiff(GRAY16, byteorder=">"),
    "tiff deflate": lambda: tiff(GRAY16, compression="zlib", predictor=True),
    "tiff rgb": lambda: tiff(np.stack([GRAY16] * 3, -1), photometric="rgb"),
    "tiff white is zero": lambda: tiff(WHITE16 - GRAY16, photometric="miniswhite"),
    "tiff white is zero, deflate": lambda: tiff(WHITE16 - GRAY16, photometric="miniswhite", compression="zlib"),
}


@pytest.mark.parametrize("name", GRAY16_KEPT_EXACTLY)
def test_16_bit_gray_is_read_exactly(name: str, tmp_path: Path) -> None:
    photo = read(tmp_path, GRAY16_KEPT_EXACTLY[name]())
    assert photo.luma.dtype == np.uint16
    assert_array_equal(photo.luma, GRAY16)
    assert photo.alpha is None


def test_bilevel(tmp_path: Path) -> None:
    image = gray(GRAY).convert("1")
    expected = np.asarray(image.convert("L"))
    assert set(np.unique(expected)) == {0, 255}
    contents = [
        saved(image, "PNG"),
        saved(image, "BMP"),
        saved(image, "TIFF"),
        saved(image, "TIFF", compression="group4"),
        tiff(expected == 0, photometric="miniswhite"),
    ]
    for content in contents:
        assert_array_equal(read(tmp_path, content).luma, expected)


ALPHA_KEPT: dict[str, Callable[[], bytes]] = {
    "png gray": lambda: saved(Image.merge("LA", [gray(GRAY), Image.fromarray(ALPHA)]), "PNG"),
    "png rgb": lambda: saved(rgba(GRAY, ALPHA), "PNG"),
    "tiff gray": lambda: tiff(np.stack([GRAY, ALPHA], -1), photometric="minisblack", extrasamples=["unassalpha"]),
    "tiff rgb": lambda: tiff(np.asarray(rgba(GRAY, ALPHA)), photometric="rgb", extrasamples=["unassalpha"]),
    "webp": lambda: saved(rgba(GRAY, ALPHA), "WEBP", lossless=True, exact=True),
    "bmp": lambda: bmp_with_alpha(np.asarray(rgba(GRAY, ALPHA))),
}


@pytest.mark.parametrize("name", ALPHA_KEPT)
def test_alpha_is_read_beside_luma(name: str, tmp_path: Path) -> None:
    photo = read(tmp_path, ALPHA_KEPT[name]())
    assert_array_equal(photo.luma, GRAY)
    assert photo.alpha is not None
    assert_array_equal(photo.alpha, ALPHA)


ALPHA16_KEPT: dict[str, Callable[[], bytes]] = {
    "png gray": lambda: png(np.stack([GRAY16, ALPHA16], -1), 4),
    "png rgb": lambda: png(np.stack([GRAY16] * 3 + [ALPHA16], -1), 6),
    "tiff rgb": lambda: tiff(np.stack([GRAY16] * 3 + [ALPHA16], -1), photometric="rgb", extrasamples=["unassalpha"]),
}


@pytest.mark.parametrize("name", ALPHA16_KEPT)
def test_16_bit_alpha_is_read_beside_luma(name: str, tmp_path: Path) -> None:
    photo = read(tmp_path, ALPHA16_KEPT[name]())
    assert_array_equal(photo.luma, GRAY16)
    assert photo.alpha is not None
    assert photo.alpha.dtype == np.uint16
    assert_array_equal(photo.alpha, ALPHA16)


def test_one_transparent_value_becomes_alpha(tmp_path: Path) -> None:
    """PNG's tRNS chunk: one gray value is transparent."""
    for pixels, full in ((GRAY, 0xFF), (GRAY16, 0xFFFF)):
        value = int(pixels[3, 4])
        photo = read(tmp_path, png(pixels, 0, (b"tRNS", struct.pack(">H", value))))
        assert photo.alpha is not None
        assert_array_equal(photo.alpha, np.where(pixels == value, 0, full))
        assert_array_equal(photo.luma, pixels)


def test_colour_becomes_its_luma(tmp_path: Path) -> None:
    colours = np.random.default_rng(3).integers(0, 256, (36, 52, 3), np.uint8)
    for content in (saved(Image.fromarray(colours), "PNG"), saved(Image.fromarray(colours), "TIFF")):
        assert np.abs(read(tmp_path, content).luma - luma(colours.astype(np.float32))).max() <= 0.51
    deep = np.random.default_rng(3).integers(0, 65536, (36, 52, 3), np.uint16)
    for content in (png(deep, 2), tiff(deep, photometric="rgb")):
        assert np.abs(read(tmp_path, content).luma - luma(deep.astype(np.float32))).max() <= 1.5


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_cmyk(kind: str, tmp_path: Path) -> None:
    ink = np.stack([0 * GRAY, 0 * GRAY, 0 * GRAY, 255 - GRAY], -1)
    photo = read(tmp_path, saved(Image.fromarray(ink, "CMYK"), kind, **({"quality": 98} if kind == "JPEG" else {})))
    assert np.abs(photo.luma.astype(int) - GRAY).max() <= (4 if kind == "JPEG" else 0)


@pytest.mark.parametrize("progressive", [False, True])
def test_gray_jpeg(progressive: bool, tmp_path: Path) -> None:
    content = saved(gray(GRAY), "JPEG", quality=83, progressive=progressive, dpi=(300, 300))
    photo = read(tmp_path, content)
    with Image.open(io.BytesIO(content)) as image:
        assert_array_equal(photo.luma, np.asarray(image))
        assert isinstance(image, JpegImageFile)
        assert luma_coding(content) == (image.quantization[0], progressive)


def test_gray_stored_as_colour_jpeg_is_read_exactly(tmp_path: Path) -> None:
    content = saved(rgb(GRAY), "JPEG", quality=90)
    with Image.open(io.BytesIO(content)) as image:
        image.draft("YCbCr", None)
        assert_array_equal(read(tmp_path, content).luma, np.asarray(image)[..., 0])


def test_a_jpeg_may_number_its_tables_as_it_likes(tmp_path: Path) -> None:
    plain = saved(gray(GRAY), "JPEG", quality=50)
    content = bytearray(plain)
    content[content.index(b"\xff\xdb") + 4] = 3  # DQT: table 3 ...
    content[content.index(b"\xff\xc0") + 12] = 3  # ... is what SOF0's component uses
    assert luma_coding(bytes(content)) == luma_coding(plain)
    assert_array_equal(read(tmp_path, bytes(content)).luma, read(tmp_path, plain).luma)


@pytest.mark.parametrize("profile", [None, SRGB_PROFILE])
@pytest.mark.parametrize("lossless", [False, True])
def test_whether_a_webp_is_lossless_is_seen_behind_a_profile(lossless: bool, profile: bytes | None) -> None:
    assert is_lossless_webp(saved(rgba(GRAY, ALPHA), "WEBP", lossless=lossless, icc_profile=profile or b"")) == lossless


TURNED: dict[str, Callable[[int], bytes]] = {
    "jpeg": lambda orientation: saved(gray(GRAY), "JPEG", quality=100, exif=exif(orientation)),
    "png": lambda orientation: saved(gray(GRAY), "PNG", exif=exif(orientation)),
    "png 16": lambda orientation: png(GRAY16, 0, (b"eXIf", exif(orientation).tobytes().removeprefix(b"Exif\0\0"))),
    "webp": lambda orientation: saved(rgb(GRAY), "WEBP", lossless=True, exif=exif(orientation)),
    "tiff": lambda orientation: tiff(GRAY, extratags=[(274, 3, 1, orientation, True)]),
    "tiff lzw": lambda orientation: saved(gray(GRAY), "TIFF", compression="tiff_lzw", exif=exif(orientation)),
    "tiff 16": lambda orientation: tiff(GRAY16, extratags=[(274, 3, 1, orientation, True)]),
    "tiff 16 deflate": lambda orientation: tiff(GRAY16, compression="zlib", extratags=[(274, 3, 1, orientation, True)]),
}


@pytest.mark.parametrize("name", TURNED)
def test_pixels_stay_as_stored_and_the_orientation_is_told(name: str, tmp_path: Path) -> None:
    for orientation in range(1, 9):
        content = TURNED[name](orientation)
        photo = read(tmp_path, content)
        stored = read(tmp_path, TURNED[name](1)).luma
        assert photo.orientation == orientation
        assert_array_equal(photo.luma, stored)
        with Image.open(io.BytesIO(content)) as image:
            seen = np.asarray(ImageOps.exif_transpose(image).convert("L" if photo.luma.dtype == np.uint8 else "I;16"))
        assert_array_equal(upright(photo.luma, orientation), seen)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_a_senseless_orientation_is_none(orientation: int, tmp_path: Path) -> None:
    for name in ("jpeg", "tiff", "tiff 16"):
        photo = read(tmp_path, TURNED[name](orientation))
        assert photo.orientation == 1
        assert photo.luma.shape == GRAY.shape


def test_orientation_that_only_xmp_knows(tmp_path: Path) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
    for content in (saved(gray(GRAY), "JPEG", xmp=xmp), tiff(GRAY, extratags=[(700, 1, len(xmp), xmp, True)])):
        photo = read(tmp_path, content)
        assert photo.orientation == 6
        assert photo.luma.shape == GRAY.shape


WHOLE: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: saved(gray(GRAY), "JPEG"),
    "jpeg progressive": lambda: saved(rgb(GRAY), "JPEG", progressive=True),
    "png": lambda: saved(gray(GRAY), "PNG"),
    "png 16": lambda: png(GRAY16, 0),
    "tiff": lambda: tiff(GRAY),
    "tiff lzw": lambda: saved(gray(GRAY), "TIFF", compression="tiff_lzw"),
    "tiff 16": lambda: tiff(GRAY16),
    "tiff 16 deflate": lambda: tiff(GRAY16, compression="zlib"),
    "webp": lambda: saved(rgb(GRAY), "WEBP"),
    "webp lossless": lambda: saved(rgb(GRAY), "WEBP", lossless=True),
    "bmp": lambda: saved(gray(GRAY), "BMP"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_truncated_photo_is_never_half_a_photo(name: str, tmp_path: Path) -> None:
    content = WHOLE[name]()
    assert read(tmp_path, content).luma.shape == GRAY.shape
    for tenths in range(1, 10):
        with pytest.raises(PhotoError):
            read(tmp_path, content[: len(content) * tenths // 10])


@pytest.mark.parametrize("name", ["png", "png 16", "tiff lzw", "tiff 16 deflate"])
def test_damaged_bytes_are_a_failure(name: str, tmp_path: Path) -> None:
    content = bytearray(WHOLE[name]())
    middle = len(content) // 2
    content[middle : middle + 8] = bytes(byte ^ 0xFF for byte in content[middle : middle + 8])
    with pytest.raises(PhotoError):
        read(tmp_path, bytes(content))


NO_PHOTO: dict[str, bytes] = {
    "empty": b"",
    "text": b"not a photo at all",
    "jpeg's first bytes": b"\xff\xd8\xff\xe0",
    "png's signature": b"\x89PNG\r\n\x1a\n",
    "tiff's header": b"II*\0\x08\0\0\0",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
    "zeros": bytes(1000),
}


@pytest.mark.parametrize("name", NO_PHOTO)
def test_what_is_no_photo_is_told_so(name: str, tmp_path: Path) -> None:
    with pytest.raises(PhotoError) as caught:
        read(tmp_path, NO_PHOTO[name])
    told = {
        "empty": "the file is empty",
        "postscript": "is a document or a drawing, which can't be read; export its pictures as TIFF or PNG",
        "zeros": ZEROS,
    }
    assert str(caught.value) == told.get(name, "not a picture that can be read, or damaged")
    with pytest.raises(PhotoError):
        read_header(tmp_path / "photo")


UNSUPPORTED: dict[str, tuple[Callable[[], bytes], str]] = {
    "animated png": (
        lambda: saved(gray(GRAY), "PNG", save_all=True, append_images=[rgb(255 - GRAY)]),
        "animation of 2 frames",
    ),
    "animated webp": (
        lambda: saved(rgb(GRAY), "WEBP", save_all=True, append_images=[rgb(255 - GRAY)]),
        "animation of 2 frames",
    ),
    "tiff float": (lambda: tiff(GRAY.astype(np.float32)), "save it as 16 bit"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_supported_says_what_to_do(name: str, tmp_path: Path) -> None:
    content, sentence = UNSUPPORTED[name]
    with pytest.raises(PhotoError, match=sentence):
        read(tmp_path, content())


def test_more_pictures_behind_a_jpeg_do_not_matter(tmp_path: Path) -> None:
    content = saved(gray(GRAY), "MPO", save_all=True, append_images=[Image.new("L", (8, 8))])
    photo = read(tmp_path, content)
    assert read_header(tmp_path / "photo").format == "jpeg"
    assert photo.luma.shape == GRAY.shape


def test_too_many_pixels_are_refused_before_decoding(tmp_path: Path) -> None:
    photo = read(tmp_path, WHOLE["png"](), max_pixels=GRAY.size)
    assert photo.luma.size == GRAY.size
    with pytest.raises(PhotoError, match=r"52 x 36 .* --max-pixels"):
        read(tmp_path, WHOLE["png"](), max_pixels=GRAY.size - 1)
    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 0, 0, 0, 0)
    body = (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + b"IHDR"
        + header
        + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    )
    huge = body + struct.pack(">I", 4) + b"IDAT" + bytes(4) + struct.pack(">I", zlib.crc32(b"IDAT" + bytes(4)))
    with pytest.raises(PhotoError, match="--max-pixels"):
        read(tmp_path, huge)


def test_missing_and_forbidden_files_name_the_cause(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=r"can't be read \(No such file"):
        read_photo(tmp_path / "nowhere.png", LIMIT)
    with pytest.raises(PhotoError, match="No such file"):
        read_header(tmp_path / "nowhere.png")
    with pytest.raises(PhotoError, match="directory"):
        read_photo(tmp_path, LIMIT)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_colour_photos_for_training_are_upright(orientation: int, tmp_path: Path) -> None:
    colours = np.stack([GRAY, GRAY // 2, 255 - GRAY], -1)
    for kind in ("PNG", "TIFF"):
        path = tmp_path / kind
        path.write_bytes(saved(Image.fromarray(colours), kind, exif=exif(orientation)))
        assert_array_equal(read_rgb(path), upright(colours, orientation))
    with pytest.raises(PhotoError, match="--max-pixels"):
        read_rgb(path, max_pixels=10)


def test_a_fault_of_our_own_does_not_look_like_a_damaged_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(seen: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("bwcolor.photo.scan.kind_of", broken)
    with pytest.raises(ZeroDivisionError):
        read(tmp_path, saved(rgb(GRAY), "PNG"))


def test_a_file_that_stops_being_readable_names_the_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photo"
    path.write_bytes(saved(gray(GRAY), "PNG"))

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with open_scan(path, LIMIT) as scan:
        monkeypatch.setattr("bwcolor.photo.scan.hashlib.file_digest", broken)
        with pytest.raises(PhotoError, match="Input/output error"):
            scan.sha256()
