"""Encoding photos: format, size, luma, alpha and metadata survive."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from photo.pictures import (
    GRAY_PROFILE,
    SRGB_PROFILE,
    Gray8,
    bmp_with_alpha,
    colorized,
    exif,
    gray,
    png,
    rgb,
    rgba,
    saved,
    scene,
    scene16,
    tiff,
)
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngInfo
from tifffile import COMPRESSION

from bwcolor.errors import PhotoError
from bwcolor.imaging.color import Array, luma, rgb_to_chroma
from bwcolor.photo.encode import Coding, Page, encode, rounded_to_eight_bits
from bwcolor.photo.formats.jpeg import luma_coding
from bwcolor.photo.formats.known import Format
from bwcolor.photo.metadata.read import Metadata
from bwcolor.photo.scan import Photo, open_scan

HEIGHT, WIDTH = 150, 211
GRAY = scene(HEIGHT, WIDTH)
GRAY16 = scene16(HEIGHT, WIDTH)
NOISE16 = np.random.default_rng(1).integers(0, 1 << 16, (HEIGHT, WIDTH)).astype(np.uint16)
NOISE12 = np.random.default_rng(2).normal(2000, 300, (HEIGHT, WIDTH)).astype(np.uint16)
SMOOTH16 = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)).astype(np.uint16)
ALPHA = scene(HEIGHT, WIDTH, seed=7)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF/>Gro\xc3\x9fmutter</x:xmpmeta>'
WARM = np.array([-0.1, 0.08], np.float32)


def warm_chroma(height: int = 12, width: int = 17) -> Array:
    """Warm colours, a little different everywhere."""
    grain = np.random.default_rng(5).normal(0, 0.01, (height, width, 2))
    return (WARM + grain).astype(np.float32)


def made(tmp_path: Path, content: bytes, chroma: Array | None = None) -> tuple[Photo, bytes]:
    """The photo that was read and the file made from it."""
    photo, output, _ = colorized(tmp_path / "photo", content, warm_chroma() if chroma is None else chroma)
    return photo, output


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def mean_chroma(content: bytes, photo: Photo) -> NDArray[np.float64]:
    """Mean Cb and Cr where the photo is neither dark nor light, so that every colour fits."""
    rgb = pixels_of(content)[..., :3].astype(np.float32) / np.float32(np.iinfo(photo.luma.dtype).max)
    middle = np.abs(photo.luma / np.iinfo(photo.luma.dtype).max - 0.5) < 0.1
    return np.asarray(rgb_to_chroma(np.asarray(rgb, np.float32))[middle].mean(0), np.float64)


def luma_table(content: bytes) -> list[int]:
    """The quantisation values of a JPEG's first component."""
    with Image.open(io.BytesIO(content)) as image:
        assert isinstance(image, JpegImageFile)
        return list(image.quantization[image.layer[0][3]])


def pixels_of(content: bytes) -> NDArray[Any]:
    """RGB or RGBA in the file's own depth, by OpenCV: (h, w, 3 or 4)."""
    data = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert data is not None
    return np.asarray(data)[..., [2, 1, 0, 3][: data.shape[2]]]


LOSSLESS: dict[str, Callable[[], bytes]] = {
    "png": lambda: saved(gray(GRAY), "PNG"),
    "png bilevel": lambda: saved(gray(GRAY).convert("1"), "PNG"),
    "png palette": lambda: saved(gray(GRAY).convert("P"), "PNG"),
    "png 16": lambda: png(GRAY16, 0),
    "png 16 rgba": lambda: png(np.stack([GRAY16] * 3 + [GRAY16 // 2], -1), 6),
    "tiff": lambda: tiff(GRAY),
    "tiff lzw": lambda: saved(gray(GRAY), "TIFF", compression="tiff_lzw"),
    "tiff 16": lambda: tiff(GRAY16),
    "tiff 16 white is zero": lambda: tiff(np.invert(GRAY16), photometric="miniswhite", compression="zlib"),
    "webp": lambda: saved(rgb(GRAY), "WEBP", lossless=True),
    "webp with a profile": lambda: saved(
        rgba(GRAY, ALPHA), "WEBP", lossless=True, exact=True, icc_profile=SRGB_PROFILE
    ),
    "bmp": lambda: saved(gray(GRAY), "BMP"),
    "bmp with alpha": lambda: bmp_with_alpha(np.asarray(rgba(GRAY, ALPHA))),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_outputs_keep_format_size_depth_and_luma(name: str, tmp_path: Path) -> None:
    before = LOSSLESS[name]()
    photo, content = made(tmp_path, before)
    with Image.open(io.BytesIO(before)) as source, opened(content) as output:
        assert output.format == source.format
        assert output.size == source.size == (WIDTH, HEIGHT)
    pixels = pixels_of(content)
    assert pixels.dtype == photo.luma.dtype
    assert np.abs(luma(pixels[..., :3].astype(np.float64)) - photo.luma).max() <= 1
    if name == "png bilevel":
        assert set(np.unique(pixels)) == {0, 255}, "black and white have no room for colour"
    else:
        assert np.abs(mean_chroma(content, photo) - WARM).max() < 0.01
    assert (pixels.shape[2] == 4) == (photo.alpha is not None)
    if photo.alpha is not None:
        assert_array_equal(pixels[..., 3], photo.alpha)


def y_plane(content: bytes) -> Gray8:
    """The luma that a JPEG stores."""
    with Image.open(io.BytesIO(content)) as image:
        image.draft("YCbCr" if image.mode == "RGB" else None, None)
        return np.asarray(image)[..., 0] if image.mode == "YCbCr" else np.asarray(image.convert("L"))


@pytest.mark.parametrize("colour_file", [False, True])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("quality", [30, 75, 95])
def test_jpeg_keeps_the_luma_plane_and_how_it_is_coded(
    quality: int, progressive: bool, colour_file: bool, tmp_path: Path
) -> None:
    source = saved(rgb(GRAY) if colour_file else gray(GRAY), "JPEG", quality=quality, progressive=progressive)
    photo, content = made(tmp_path, source)
    difference = np.abs(y_plane(content).astype(int) - y_plane(source))
    if colour_file:  # encoded anew with the same table
        assert (difference == 0).mean() >= 0.9
        assert (difference <= 1).mean() >= 0.997
        assert difference.max() <= 8  # beside burnt-out white and in blocks cut by the edge
    else:
        assert difference.max() == 0, "carried over bit for bit"
    with opened(content) as output, Image.open(io.BytesIO(source)) as before:
        assert output.size == before.size
        assert output.mode == "RGB"
        assert bool(output.info.get("progressive")) == progressive
    assert luma_table(content) == luma_table(source)
    assert np.abs(mean_chroma(content, photo) - WARM).max() < 0.01


def test_a_jpeg_with_16_bit_tables_can_be_written(tmp_path: Path) -> None:
    """Legal in extended files (ITU-T T.81, B.2.4.1): values above 255."""
    source = saved(gray(GRAY), "JPEG", quality=1)
    at = source.index(b"\xff\xdb")
    table = b"".join(struct.pack(">H", min(2 * value, 500)) for value in source[at + 5 : at + 69])
    wide = source[:at] + b"\xff\xdb" + struct.pack(">HB", 131, 0x10) + table
    wide += source[at + 69 :].replace(b"\xff\xc0", b"\xff\xc1", 1)
    _, content = made(tmp_path, wide)
    (values, _) = luma_coding(wide)
    assert values is not None
    assert max(values) == 500
    assert luma_table(content) == values
    assert_array_equal(y_plane(content), y_plane(wide))


def test_lossy_webp_keeps_luma_closely(tmp_path: Path) -> None:
    photo, content = made(tmp_path, saved(rgb(GRAY), "WEBP", quality=90))
    error = np.abs(luma(pixels_of(content).astype(np.float64)) - photo.luma)
    assert error.mean() < 1.5
    assert b"VP8L" not in content


def test_saturated_chroma_does_not_move_luma(tmp_path: Path) -> None:
    """Colours that do not fit are pulled towards gray, never clipped."""
    strong = np.random.default_rng(2).choice([-0.5, 0.5], (9, 9, 2)).astype(np.float32)
    for source in (saved(gray(GRAY), "PNG"), tiff(GRAY16)):
        photo, content = made(tmp_path, source, strong)
        assert np.abs(luma(pixels_of(content).astype(np.float64)) - photo.luma).max() <= 1
    source = saved(gray(GRAY), "JPEG", quality=90)
    _, content = made(tmp_path, source, strong)
    assert_array_equal(y_plane(content), y_plane(source))
    shown = luma(pixels_of(content).astype(np.float64))
    assert np.abs(shown - y_plane(source)).mean() < 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (65, 3)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
def test_odd_sizes(kind: str, shape: tuple[int, int], tmp_path: Path) -> None:
    image = rgb(scene(*shape)) if kind == "WEBP" else Image.fromarray(scene(*shape))
    chroma = warm_chroma(min(shape[0], 7), min(shape[1], 7))
    _, content = made(tmp_path, saved(image, kind), chroma)
    assert opened(content).size == shape[::-1]


@pytest.mark.parametrize(("kind", "side"), [("jpeg", 65_501), ("webp", 16_384)])
def test_photos_that_a_format_can_not_hold_are_refused(kind: Format, side: int, tmp_path: Path) -> None:
    path = tmp_path / "long.png"
    path.write_bytes(saved(gray(np.zeros((1, side), np.uint8)), "PNG"))
    with open_scan(path, 10**9) as scan:
        pages = iter([Page(scan.photo(), warm_chroma(1, 4), Metadata())])
        with pytest.raises(PhotoError, match=f"{side} x 1 is more than a (JPEG|WebP) can hold"):
            encode(scan, pages, Coding(kind), io.BytesIO())


WITH_METADATA: dict[str, Callable[..., bytes]] = {
    "JPEG": lambda **kept: saved(gray(GRAY), "JPEG", **kept),
    "PNG": lambda **kept: saved(gray(GRAY), "PNG", **kept),
    "WEBP": lambda **kept: saved(rgb(GRAY), "WEBP", lossless=True, **kept),
    "TIFF": lambda **kept: saved(gray(GRAY), "TIFF", **kept),
    "BMP": lambda **kept: saved(gray(GRAY), "BMP", **kept),
}


def xmp_of(image: Image.Image) -> object:
    return image.info.get("xmp")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_xmp_and_rgb_profile_are_kept(kind: str, tmp_path: Path) -> None:
    about = exif(3, "Lieselotte")
    kept: dict[str, Any] = {"exif": about, "icc_profile": SRGB_PROFILE}
    if kind == "TIFF":
        about[700] = XMP
    elif kind == "PNG":
        kept["pnginfo"] = png_text("XML:com.adobe.xmp", XMP.decode())
    else:
        kept["xmp"] = XMP
    source = WITH_METADATA[kind](**kept)
    _, content, lost = colorized(tmp_path / "photo", source, warm_chroma())
    before, after = opened(source), opened(content)
    assert after.getexif()[315] == "Lieselotte"
    assert after.info["icc_profile"] == SRGB_PROFILE
    assert xmp_of(before), "the source has what the output must have"
    assert xmp_of(after) == xmp_of(before)
    assert lost == ()


def png_text(keyword: str, text: str) -> PngInfo:
    info = PngInfo()
    info.add_itxt(keyword, text)
    return info


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("dpi", [(300, 300), (72, 144)])
def test_resolution_is_kept(kind: str, dpi: tuple[int, int], tmp_path: Path) -> None:
    _, content = made(tmp_path, WITH_METADATA[kind](dpi=dpi))
    assert opened(content).info["dpi"] == pytest.approx(dpi, abs=0.02)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_gray_profile_never_sits_on_a_colour_photo(kind: str, tmp_path: Path) -> None:
    source = WITH_METADATA[kind](icc_profile=GRAY_PROFILE)
    _, content, (note,) = colorized(tmp_path / "photo", source, warm_chroma())
    assert opened(source).info["icc_profile"] == GRAY_PROFILE
    assert "icc_profile" not in opened(content).info
    assert GRAY_PROFILE[:40] not in content
    assert note.startswith("colour profile (GRAY) left out")


def test_jpeg_comments_and_a_profile_in_parts_are_kept(tmp_path: Path) -> None:
    profile = SRGB_PROFILE + bytes(range(256)) * 700  # more than two segments hold
    source = saved(gray(GRAY), "JPEG", icc_profile=profile, comment="Großmutter, 1931".encode())
    _, content = made(tmp_path, source)
    after = opened(content)
    assert after.info["comment"] == "Großmutter, 1931".encode()
    assert after.info["icc_profile"] == profile


def test_a_jpeg_has_one_header_and_no_foreign_colour_transform(tmp_path: Path) -> None:
    ink = Image.fromarray(np.stack([0 * GRAY] * 3 + [255 - GRAY], -1), "CMYK")
    for source in (saved(gray(GRAY), "JPEG", dpi=(100, 100)), saved(ink, "JPEG")):
        _, content = made(tmp_path, source)
        assert content.count(b"JFIF\0") == 1
        assert b"Adobe\0" not in content
        assert opened(content).mode == "RGB"


def test_png_chunks_are_kept_once_and_only_if_they_stay_true(tmp_path: Path) -> None:
    kept = [(b"gAMA", struct.pack(">I", 45455)), (b"tIME", bytes([7, 139, 5, 4, 3, 2, 1])), (b"tEXt", b"Title\0Oma")]
    dropped = [(b"sBIT", b"\x08"), (b"bKGD", b"\0\x80"), (b"hIST", b"\0\0")]
    _, content = made(tmp_path, png(GRAY, 0, *kept, *dropped))
    for kind, body in kept:
        assert content.count(kind + body) == 1
    for kind, _ in dropped:
        assert kind not in content
    assert opened(content).info["Title"] == "Oma"


def test_tiff_texts_are_kept_byte_for_byte(tmp_path: Path) -> None:
    """Scanners write UTF-8 and Latin-1 into tags that the standard wants in ASCII."""
    texts = {270: "Großmutter".encode() + b"\0", 315: "Müller".encode("latin-1") + b"\0", 271: b"Epson\0"}
    tags = [(code, 2, 0, text, True) for code, text in texts.items()]
    _, content = made(tmp_path, tiff(GRAY, extratags=tags, metadata=None, software=False))
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        found = file.pages.first.tags
        for code, text in texts.items():
            tag = found[code]
            assert content[tag.valueoffset : tag.valueoffset + tag.valuebytecount] == text


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_tiff_stays_compressed_or_not(compression: str | None, tmp_path: Path) -> None:
    _, content = made(tmp_path, tiff(GRAY, compression=compression))
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        assert (file.pages.first.compression == COMPRESSION.NONE) == (compression is None)


@pytest.mark.parametrize(
    ("pixels", "shrinks"), [(GRAY, True), (SMOOTH16, True), (NOISE16, False), (NOISE12 * np.uint16(16), False)]
)
def test_a_tiff_that_lzw_would_make_larger_is_not_compressed(
    pixels: NDArray[Any], shrinks: bool, tmp_path: Path
) -> None:
    photo, content = made(tmp_path, tiff(pixels, compression="lzw", predictor=True))
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        assert file.pages.first.compression == (COMPRESSION.LZW if shrinks else COMPRESSION.NONE)
        assert sum(file.pages.first.databytecounts) <= 3 * photo.luma.nbytes


TURNED: dict[str, Callable[[int], bytes]] = {
    "jpeg": lambda turn: saved(gray(GRAY), "JPEG", quality=95, exif=exif(turn)),
    "png": lambda turn: saved(gray(GRAY), "PNG", exif=exif(turn)),
    "webp": lambda turn: saved(rgb(GRAY), "WEBP", lossless=True, exif=exif(turn)),
    "tiff": lambda turn: tiff(GRAY, extratags=[(274, 3, 1, turn, True)]),
    "tiff lzw": lambda turn: saved(gray(GRAY), "TIFF", compression="tiff_lzw", exif=exif(turn)),
    "tiff 16": lambda turn: tiff(GRAY16, extratags=[(274, 3, 1, turn, True)]),
}


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("name", TURNED)
def test_a_turned_photo_keeps_its_tag_and_its_stored_pixels(name: str, orientation: int, tmp_path: Path) -> None:
    _, content = made(tmp_path, TURNED[name](orientation))
    _, straight = made(tmp_path, TURNED[name](1))
    tag = Image.open(io.BytesIO(content)).getexif()[274]  # before load(), which turns TIFFs
    assert tag == orientation
    if name.startswith("tiff"):
        with (
            tifffile.TiffFile(io.BytesIO(content)) as turned_file,
            tifffile.TiffFile(io.BytesIO(straight)) as straight_file,
        ):
            assert_array_equal(turned_file.asarray(), straight_file.asarray())
    else:
        assert_array_equal(np.asarray(opened(content)), np.asarray(opened(straight)))


def notes_of(path: Path, content: bytes, form: Format) -> str:
    return "; ".join(colorized(path, content, warm_chroma(), Coding(form))[2])


@pytest.mark.parametrize("form", ["png", "tiff"])
def test_what_is_left_behind_is_told_of_every_format(form: Format, tmp_path: Path) -> None:
    moving = saved(gray(GRAY), "GIF", save_all=True, append_images=[gray(GRAY[::-1].copy())])
    assert "pictures behind the first of a GIF left out" in notes_of(tmp_path / "a", moving, form)
    plain = saved(gray(GRAY), "JPEG")
    segment = b"\xff\xe5\0\x08camera"
    assert "application segments" in notes_of(tmp_path / "b", plain[:2] + segment + plain[2:], form)
    assert notes_of(tmp_path / "c", plain, form) == ""


def test_the_layout_of_a_page_that_no_parser_takes_costs_one_photo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (ValueError("odd"), OSError(5, "Input/output error")):

        def odd(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("bwcolor.photo.encode.page_layout", odd)
        with pytest.raises(PhotoError, match=r"odd|can't be read \(Input/output error\)"):
            made(tmp_path, tiff(GRAY))


def test_own_colours_that_can_not_be_read_are_no_matter_of_the_output_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bad_disk(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("bwcolor.photo.encode.tiff_page_pixels", bad_disk)
    path = tmp_path / "photo"
    path.write_bytes(tiff(GRAY))
    with open_scan(path, 10**9) as scan, pytest.raises(PhotoError, match="can't be read"):
        encode(scan, iter([Page(scan.photo(), None, Metadata())]), Coding("tiff"), io.BytesIO())


def test_a_full_disk_stays_an_error_of_the_output(tmp_path: Path) -> None:
    class Full(io.BytesIO):
        def write(self, _: Any) -> int:
            raise OSError(28, "No space left on device")

    path = tmp_path / "photo"
    path.write_bytes(tiff(GRAY))
    with open_scan(path, 10**9) as scan, pytest.raises(OSError, match="No space left"):
        encode(scan, iter([Page(scan.photo(), warm_chroma(), Metadata())]), Coding("tiff"), Full())


def test_pages_of_16_bits_in_8_are_rounded(tmp_path: Path) -> None:
    values = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 2
    path = tmp_path / "photo"
    path.write_bytes(tiff(np.stack([values] * 3, -1), photometric="rgb"))
    out = io.BytesIO()
    with open_scan(path, 10**9) as scan:
        photo = scan.photo()
        eight = Photo(rounded_to_eight_bits(photo.luma), None, 1, "colour")
        encode(scan, iter([Page(eight, None, Metadata())]), Coding("tiff"), out)
    expected = np.round(values.astype(np.float64) / 257)
    assert_array_equal(rounded_to_eight_bits(values), expected)
    assert_array_equal(tifffile.imread(io.BytesIO(out.getvalue()))[..., 1], expected)
