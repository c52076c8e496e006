"""verify: honest outputs pass, and every kind of loss is named."""

import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from photo.pictures import (
    GRAY_PROFILE,
    SRGB_PROFILE,
    FakeModel,
    bmp_with_alpha,
    exif,
    flat,
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
from PIL.PngImagePlugin import PngInfo

from bwcolor.batch.plan import find_jobs, settle
from bwcolor.batch.thread_pool import run
from bwcolor.checks.verify import Check, _date, in_colour_already, verify_photo
from bwcolor.errors import PhotoError
from bwcolor.options import ColorizeOptions
from bwcolor.photo.formats.jpeg import APP1, APP13, COM, SOS, segments
from bwcolor.photo.metadata.icc import gray_to_rgb

MOST = 10**9  # px
HEIGHT, WIDTH = 90, 124
GRAY, GRAY16, ALPHA = scene(HEIGHT, WIDTH), scene16(HEIGHT, WIDTH), scene(HEIGHT, WIDTH, seed=7)
PACKET = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:creator><rdf:Seq>'
    b"<rdf:li>Lieselotte</rdf:li></rdf:Seq></dc:creator></rdf:Description></rdf:RDF></x:xmpmeta>"
)
IPTC = b"\x1c\x02\x50\0\x04Lise"  # by-line
RESOURCES = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x09" + IPTC + b"\0"


def gray_profile() -> bytes:
    """A gray profile of version 2 with a gamma of 2.2."""
    curve = b"curv\0\0\0\0\0\0\0\x01\x02\x33"
    start = 128 + 4 + 12
    head = (start + len(curve)).to_bytes(4, "big") + GRAY_PROFILE[4:12] + b"mntrGRAYXYZ " + GRAY_PROFILE[24:128]
    return head + b"\0\0\0\x01kTRC" + start.to_bytes(4, "big") + len(curve).to_bytes(4, "big") + curve


def jpeg_with_everything(image: Image.Image, **settings: Any) -> bytes:
    """EXIF, XMP, a profile, IPTC, a comment and a resolution."""
    profile = gray_profile() if image.mode == "L" else SRGB_PROFILE
    plain = saved(image, "JPEG", quality=88, exif=exif(), xmp=PACKET, icc_profile=profile, dpi=(300, 300),
                  comment=b"Album 3", **settings)  # fmt: skip
    return with_segment(plain, APP13, RESOURCES)


def with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    at = 4 + int.from_bytes(jpeg[4:6], "big")  # behind JFIF
    return jpeg[:at] + bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body + jpeg[at:]


def without_segment(jpeg: bytes, marker: int, start: bytes = b"") -> bytes:
    for part in segments(jpeg, until=SOS):
        if part.marker == marker and part.head[4:].startswith(start):
            assert jpeg.count(part.head) == 1
            return jpeg.replace(part.head, b"")
    raise AssertionError("it has no such segment")


def colorize(path: Path, options: ColorizeOptions | None = None) -> Path:
    """The output that the pipeline makes of one photo."""
    options = options or ColorizeOptions(jobs=1)
    plan = settle(find_jobs(path, path.parent / "out"), options)
    (outcome,) = run(plan.jobs, FakeModel(flat(-0.06, 0.05)), options)
    assert outcome.state == "done", outcome.reason
    made = [plan.jobs[0].target, path.parent / "out" / path.name]
    return next(one for one in made if one.is_file())


def pair(tmp_path: Path, name: str, content: bytes, options: ColorizeOptions | None = None) -> tuple[Path, Path]:
    """The output and its original."""
    (tmp_path / name).write_bytes(content)
    return colorize(tmp_path / name, options), tmp_path / name


def answers(output: Path, original: Path, **settings: Any) -> dict[str, Check]:
    return {check.name: check for check in verify_photo(output, original, MOST, **settings)}


def faults(output: Path, original: Path, **settings: Any) -> dict[str, str]:
    """What is not as it should be: name -> words."""
    return {name: check.words for name, check in answers(output, original, **settings).items() if check.ok is False}


def two_pages(first: Any, second: Any, **settings: Any) -> bytes:
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        for page in (first, second):
            writer.write(page, contiguous=False, **settings)
    return out.getvalue()


COLOURS = np.stack([GRAY, np.roll(GRAY, 40, 1), np.roll(GRAY[::-1], 20, 0)], -1)
DEPTH_8 = ColorizeOptions(jobs=1, eight_bit=True)


def to(form: Any, **settings: Any) -> ColorizeOptions:
    return ColorizeOptions(jobs=1, format=form, **settings)


HONEST: dict[str, tuple[str, Callable[[], bytes], ColorizeOptions]] = {
    "jpeg": ("a.jpg", lambda: jpeg_with_everything(gray(GRAY)), ColorizeOptions(jobs=1)),
    "jpeg 444": ("a.jpg", lambda: jpeg_with_everything(gray(GRAY)), ColorizeOptions(jobs=1, sampling="444")),
    "jpeg progressive": ("a.jpg", lambda: jpeg_with_everything(gray(GRAY), progressive=True), ColorizeOptions(jobs=1)),
    "jpeg 3 components": ("a.jpg", lambda: jpeg_with_everything(rgb(GRAY)), ColorizeOptions(jobs=1)),
    "jpeg cmyk": ("a.jpg", lambda: saved(rgb(GRAY).convert("CMYK"), "JPEG", quality=90), ColorizeOptions(jobs=1)),
    "jpeg turned": ("a.jpg", lambda: saved(gray(GRAY), "JPEG", exif=exif(6)), ColorizeOptions(jobs=1)),
    "png 8": ("a.png", lambda: saved(gray(GRAY), "PNG", dpi=(300, 300), exif=exif()), ColorizeOptions(jobs=1)),
    "png 8 alpha": ("a.png", lambda: saved(rgba(GRAY, ALPHA), "PNG"), ColorizeOptions(jobs=1)),
    "png 16": ("a.png", lambda: png(GRAY16, 0), ColorizeOptions(jobs=1)),
    "png 16 alpha": ("a.png", lambda: png(np.stack([GRAY16] * 3 + [GRAY16 // 2], -1), 6), ColorizeOptions(jobs=1)),
    "png 16 alpha to 8": ("a.png", lambda: png(np.stack([GRAY16] * 3 + [GRAY16 // 2], -1), 6), DEPTH_8),
    "png to jpeg": ("a.png", lambda: saved(gray(GRAY), "PNG", dpi=(300, 300)), to("jpeg")),
    "png to tiff": ("a.png", lambda: saved(gray(GRAY), "PNG", dpi=(300, 300)), to("tiff")),
    "png to webp": ("a.png", lambda: saved(gray(GRAY), "PNG", dpi=(300, 300)), to("webp")),
    "png to avif": ("a.png", lambda: saved(gray(GRAY), "PNG", dpi=(300, 300)), to("avif")),
    "png to bmp": ("a.png", lambda: saved(gray(GRAY), "PNG", dpi=(300, 300)), to("bmp")),
    "tiff 8": ("a.tif", lambda: tiff(GRAY, resolution=(300, 300)), ColorizeOptions(jobs=1)),
    "tiff 16": ("a.tif", lambda: tiff(GRAY16), ColorizeOptions(jobs=1)),
    "tiff 16 to 8": ("a.tif", lambda: tiff(GRAY16), DEPTH_8),
    "tiff 16 to jpeg": ("a.tif", lambda: tiff(GRAY16), to("jpeg", eight_bit=True)),
    "tiff 8 to jpeg": ("a.tif", lambda: tiff(GRAY, resolution=(300, 300)), to("jpeg")),
    "tiff 8 to png": ("a.tif", lambda: tiff(GRAY, resolution=(300, 300)), to("png")),
    "tiff pages": ("a.tif", lambda: two_pages(GRAY, GRAY[:60]), ColorizeOptions(jobs=1)),
    "tiff pages of two depths": ("a.tif", lambda: two_pages(GRAY, GRAY16), ColorizeOptions(jobs=1)),
    "tiff pages 16 to 8": ("a.tif", lambda: two_pages(GRAY16, GRAY16[:70]), DEPTH_8),
    "tiff, first page in colour": ("a.tif", lambda: two_pages(COLOURS, GRAY), ColorizeOptions(jobs=1)),
    "jpeg to tiff": ("a.jpg", lambda: saved(gray(GRAY), "JPEG", exif=exif(), xmp=PACKET, dpi=(72, 72)), to("tiff")),
    "jpeg to png": ("a.jpg", lambda: saved(gray(GRAY), "JPEG", exif=exif(), xmp=PACKET, comment=b"a"), to("png")),
    "jpeg to webp": ("a.jpg", lambda: saved(gray(GRAY), "JPEG", xmp=PACKET, dpi=(72, 72)), to("webp")),
    "jpeg to avif": ("a.jpg", lambda: saved(gray(GRAY), "JPEG", exif=exif(6), xmp=PACKET), to("avif")),
    "webp lossless": ("a.webp", lambda: saved(rgba(GRAY, ALPHA), "WEBP", lossless=True, exact=True, exif=exif()),
                      ColorizeOptions(jobs=1)),
    "webp lossy": ("a.webp", lambda: saved(rgb(GRAY), "WEBP", quality=90, exif=exif()), ColorizeOptions(jobs=1)),
    "webp lossy alpha": ("a.webp", lambda: saved(rgba(GRAY, ALPHA), "WEBP", quality=90), ColorizeOptions(jobs=1)),
    "avif": ("a.avif", lambda: saved(rgb(GRAY), "AVIF", quality=90, exif=exif(6)), ColorizeOptions(jobs=1)),
    "avif 444": ("a.avif", lambda: saved(rgb(GRAY), "AVIF", quality=90), ColorizeOptions(jobs=1, sampling="444")),
    "avif alpha": ("a.avif", lambda: saved(rgba(GRAY, ALPHA), "AVIF", quality=90), ColorizeOptions(jobs=1)),
    "bmp": ("a.bmp", lambda: saved(gray(GRAY), "BMP", dpi=(300, 300)), ColorizeOptions(jobs=1)),
    "bmp alpha": ("a.bmp", lambda: bmp_with_alpha(np.asarray(rgba(GRAY, ALPHA))), ColorizeOptions(jobs=1)),
    "gif to png": ("a.gif", lambda: saved(gray(GRAY), "GIF", comment=b"Album 3"), ColorizeOptions(jobs=1)),
}  # fmt: skip


@pytest.mark.parametrize("name", HONEST)
def test_honest_outputs_pass(name: str, tmp_path: Path) -> None:
    file, content, options = HONEST[name]
    output, original = pair(tmp_path, file, content(), options)
    assert faults(output, original) == {}
    assert answers(output, original)["file time"].words == "the original's"


def test_a_gray_jpeg_is_bit_exact_and_says_so(tmp_path: Path) -> None:
    codings: tuple[dict[str, Any], ...] = ({}, {"progressive": True}, {"restart_marker_rows": 1})
    for number, settings in enumerate(codings):
        output, original = pair(tmp_path, f"{number}.jpg", saved(gray(GRAY), "JPEG", **settings))
        assert (
            answers(output, original)["brightness"].words
            == "the stored luma is identical to the original's, bit for bit"
        )


def saved_again(output: Path, **settings: Any) -> None:
    """A JPEG encoded anew by a program that keeps its metadata."""
    with Image.open(output) as image:
        image.load()
        kept = {key: image.info[key] for key in ("exif", "icc_profile", "xmp", "dpi") if key in image.info}
        again = saved(image, "JPEG", **kept, **settings)
    output.write_bytes(again)


@pytest.mark.parametrize("quality", [75, 88, 98])
def test_a_gray_jpeg_encoded_anew(quality: int, tmp_path: Path) -> None:
    output, original = pair(tmp_path, "a.jpg", saved(gray(GRAY), "JPEG", quality=88, exif=exif(), xmp=PACKET))
    saved_again(output, quality=quality)
    assert list(faults(output, original)) == ["brightness"]
    assert "re-encoded" in faults(output, original)["brightness"]


def test_a_colour_jpeg_encoded_anew(tmp_path: Path) -> None:
    output, original = pair(tmp_path, "a.jpg", saved(rgb(GRAY), "JPEG", quality=88))
    assert "the original's quantization table" in answers(output, original)["brightness"].words
    saved_again(output, quality=80)
    assert "a different quantization table" in faults(output, original)["brightness"]


def test_luma_coded_otherwise_but_equal_is_fine(tmp_path: Path) -> None:
    """As jpegtran -optimize leaves it: other bytes, the same values."""
    output, original = pair(tmp_path, "a.jpg", saved(gray(GRAY), "JPEG", quality=88))
    original.write_bytes(saved(gray(GRAY), "JPEG", quality=88, optimize=True))
    assert answers(output, original)["brightness"].ok
    assert answers(output, original)["brightness"].words == "luma is identical to the original's in every pixel"


def test_a_slightly_brighter_lossy_output(tmp_path: Path) -> None:
    output, original = pair(tmp_path, "a.webp", saved(rgb(GRAY.clip(9, 240)), "WEBP", quality=95))
    with Image.open(output) as image:
        packet, pixels = image.info["xmp"], np.asarray(image)
    saved_by = {"lossless": False, "quality": 99, "xmp": packet}
    output.write_bytes(saved(Image.fromarray(pixels), "WEBP", **saved_by))
    assert faults(output, original) == {}
    output.write_bytes(saved(Image.fromarray(pixels + np.uint8(1)), "WEBP", **saved_by))
    assert list(faults(output, original)) == ["brightness"]


def edited(output: Path, change: Callable[[Any], Any]) -> None:
    """A PNG's pixels changed, all else kept."""
    with Image.open(output) as image:
        pixels = change(np.array(image))
        Image.fromarray(pixels).save(output, pnginfo=_texts(image), dpi=image.info.get("dpi"))


def _always(pixels: Any) -> Callable[[Any], Any]:
    return lambda _: pixels


def _texts(image: Any) -> PngInfo:
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", image.info["xmp"].decode())
    return info


def test_a_turned_photo_as_an_upright_bmp(tmp_path: Path) -> None:
    """The format has no place for the mark, so the pixels are turned, and the resolution with them."""
    output, original = pair(tmp_path, "a.png", saved(gray(GRAY), "PNG", exif=exif(6), dpi=(400, 300)), to("bmp"))
    assert answers(output, original)["brightness"].ok
    assert "EXIF" in faults(output, original)["metadata"]
    assert "resolution" not in faults(output, original)["metadata"]


def test_one_pixel_in_a_png(tmp_path: Path) -> None:
    output, original = pair(tmp_path, "a.png", saved(gray(GRAY), "PNG"))

    def one_pixel(by: int) -> Callable[[Any], Any]:
        def change(pixels: Any) -> Any:
            pixels[40, 50] = pixels[40, 50].astype(int) + by
            return pixels

        return change

    edited(output, one_pixel(0))
    assert faults(output, original) == {}
    edited(output, one_pixel(3))
    assert list(faults(output, original)) == ["brightness"]
    assert "luma differs by at most" in faults(output, original)["brightness"]


def test_two_levels_at_one_pixel(tmp_path: Path) -> None:
    """Without colour, so that its luma is known exactly."""
    no_colour = ColorizeOptions(jobs=1, strength=0)
    output, original = pair(tmp_path, "a.png", saved(gray(GRAY), "PNG"), no_colour)
    for by, fine in ((1, True), (2, False)):
        pixels = np.stack([GRAY] * 3, -1)
        pixels[10, 10] += by
        edited(output, _always(pixels))
        words = answers(output, original)["brightness"]
        assert words.ok is fine
        assert f"at most {by} and" in words.words


def test_another_brightness(tmp_path: Path) -> None:
    output, original = pair(tmp_path, "a.png", saved(gray(GRAY.clip(20, 220)), "PNG"))
    edited(output, lambda pixels: (pixels.astype(int) + 12).clip(0, 255).astype(np.uint8))
    assert "luma differs by at most" in faults(output, original)["brightness"]
    output, original = pair(tmp_path, "b.webp", saved(rgb(GRAY), "WEBP", quality=90))
    with Image.open(output) as image:
        brighter = Image.fromarray((np.asarray(image).astype(int) + 2).clip(0, 255).astype(np.uint8))
        brighter.save(output, quality=95, xmp=image.info["xmp"])
    assert "on average" in faults(output, original)["brightness"]


def test_swapped_originals(tmp_path: Path) -> None:
    output, _ = pair(tmp_path, "a.jpg", saved(gray(GRAY), "JPEG"))
    _, other = pair(tmp_path, "b.jpg", saved(gray(scene(HEIGHT, WIDTH, seed=3)), "JPEG"))
    found = faults(output, other)
    assert "made from another file" in found["label"]
    assert "luma differs" in found["brightness"]


def test_the_label_of_another_file_alone(tmp_path: Path) -> None:
    output, original = pair(tmp_path, "a.png", saved(gray(GRAY), "PNG"))
    original.write_bytes(saved(gray(GRAY), "PNG", compress_level=1))
    assert list(faults(output, original)) == ["label"]
    assert list(faults(output, original, label=False)) == ["label"], "a wrong label is wrong in any case"


def test_cropped(tmp_path: Path) -> None:
    output, original = pair(tmp_path, "a.png", saved(gray(GRAY), "PNG"))
    edited(output, lambda pixels: pixels[:80, :100].copy())
    assert faults(output, original)["brightness"] == "100 x 80 pixels, the original has 124 x 90"


def test_turned_by_its_tag_only(tmp_path: Path) -> None:
    output, original = pair(tmp_path, "a.jpg", saved(gray(GRAY), "JPEG", exif=exif(6)))
    content = output.read_bytes()
    with Image.open(output) as image:
        turned = image.getexif()
        turned[274] = 1
    output.write_bytes(with_segment(without_segment(content, APP1, b"Exif"), APP1, turned.tobytes()))
    found = faults(output, original)
    assert "pixels, the original has" in found["brightness"]
    assert "EXIF Orientation" in found["metadata"]


def test_no_label(tmp_path: Path) -> None:
    output, original = pair(tmp_path, "a.png", saved(gray(GRAY), "PNG"), ColorizeOptions(jobs=1, label="none"))
    assert faults(output, original) == {"label": "no label of bwcolor in its XMP"}
    assert faults(output, original, label=False) == {}
    assert answers(output, original, label=False)["label"].ok is None
    assert verify_photo(output, None, MOST)[0].ok is False
    assert verify_photo(output, None, MOST, label=False)[0].ok is None


def test_a_bmp_has_no_place_for_a_label(tmp_path: Path) -> None:
    output, original = pair(tmp_path, "a.bmp", saved(gray(GRAY), "BMP"))
    assert answers(output, original)["label"].ok is None
    assert "no place" in answers(output, original)["label"].words


STRIPPED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "EXIF": (lambda made: without_segment(made, APP1, b"Exif"), "EXIF"),
    "an EXIF value": (lambda made: made.replace(b"Lieselotte\0", b"Lieselotta\0"), "EXIF Artist"),
    "XMP": (lambda made: without_segment(made, APP1, b"http"), "XMP"),
    "a value in XMP": (lambda made: made.replace(b"<rdf:li>Lieselotte", b"<rdf:li>Lieselotta"), "XMP"),
    "profile": (lambda made: without_segment(made, 0xE2), "colour profile"),
    "IPTC": (lambda made: without_segment(made, APP13), "IPTC"),
    "an IPTC value": (lambda made: made.replace(b"\0\x04Lise", b"\0\x04Lisa"), "IPTC"),
    "comment": (lambda made: without_segment(made, COM), "comments"),
    "JFIF resolution": (lambda made: made.replace(b"\x01\x01\x2c\x01\x2c", b"\x01\0\x48\0\x48", 1), "resolution (DPI)"),
}


@pytest.mark.parametrize("name", STRIPPED)
@pytest.mark.parametrize("colour_file", [False, True])
def test_what_is_missing_from_a_jpeg_is_named(name: str, colour_file: bool, tmp_path: Path) -> None:
    source = jpeg_with_everything(rgb(GRAY) if colour_file else gray(GRAY))
    output, original = pair(tmp_path, "a.jpg", source)
    change, named = STRIPPED[name]
    before = output.read_bytes()
    output.write_bytes(change(before))
    assert output.read_bytes() != before
    found = faults(output, original, label=False)
    assert list(found) == ["metadata"]
    listed = found["metadata"].removeprefix("differs or is missing: ").split(", ")
    assert named in listed
    assert len(listed) <= 2  # the JFIF header may count as a segment too


def test_texts_and_segments_that_another_format_lacks(tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("Title", "Hafen")
    content = saved(gray(GRAY), "PNG", pnginfo=info)
    output, original = pair(tmp_path, "a.png", content)
    assert faults(output, original) == {}
    for form in ("jpeg", "tiff"):
        output, original = pair(tmp_path, "a.png", content, to(form))
        assert faults(output, original)["metadata"].endswith("missing: PNG chunk tEXt")
    content = with_segment(saved(gray(GRAY), "JPEG"), 0xEC, b"Ducky\0")
    output, original = pair(tmp_path, "b.jpg", content)
    assert faults(output, original) == {}
    output, original = pair(tmp_path, "b.jpg", content, to("png"))
    assert faults(output, original)["metadata"].endswith("missing: JPEG segment APP12")


def test_previews_of_photoshop_may_differ(tmp_path: Path) -> None:
    preview = b"8BIM\x04\x0c\0\0\0\0\0\x04gray"
    source = with_segment(saved(gray(GRAY), "JPEG"), APP13, RESOURCES + preview)
    output, original = pair(tmp_path, "a.jpg", source)
    assert preview not in output.read_bytes()
    assert faults(output, original) == {}


def test_a_gray_profile_on_a_colour_file(tmp_path: Path) -> None:
    output, original = pair(tmp_path, "a.jpg", saved(gray(GRAY), "JPEG", icc_profile=gray_profile()))
    in_colour = gray_to_rgb(gray_profile())
    assert in_colour is not None
    before = output.read_bytes()
    assert in_colour in before
    body = b"ICC_PROFILE\0\x01\x01" + gray_profile()
    output.write_bytes(with_segment(without_segment(before, 0xE2), 0xE2, body))
    assert "colour profile (one for other than RGB)" in faults(output, original)["metadata"]
    output.write_bytes(with_segment(without_segment(before, 0xE2), 0xE2, b"ICC_PROFILE\0\x01\x01" + SRGB_PROFILE))
    assert "colour profile" in faults(output, original)["metadata"]


def test_an_added_profile(tmp_path: Path) -> None:
    output, original = pair(tmp_path, "a.jpg", saved(gray(GRAY), "JPEG"))
    output.write_bytes(with_segment(output.read_bytes(), 0xE2, b"ICC_PROFILE\0\x01\x01" + SRGB_PROFILE))
    assert "colour profile (added)" in faults(output, original)["metadata"]


def test_another_resolution(tmp_path: Path) -> None:
    output, original = pair(tmp_path, "a.png", saved(gray(GRAY), "PNG", dpi=(300, 300)))
    edited(output, lambda pixels: pixels)
    assert faults(output, original) == {}
    with Image.open(output) as image:
        image.load()
        image.save(output, pnginfo=_texts(image), dpi=(72, 72))
    assert "resolution (DPI)" in faults(output, original)["metadata"]


def test_dropped_and_changed_alpha(tmp_path: Path) -> None:
    output, original = pair(tmp_path, "a.png", saved(rgba(GRAY, ALPHA), "PNG"))

    def one_value(pixels: Any) -> Any:
        pixels[5, 5, 3] ^= 1
        return pixels

    edited(output, one_value)
    assert faults(output, original)["brightness"].startswith("transparency differs by up to 1 ")
    edited(output, lambda pixels: pixels[..., :3].copy())
    assert faults(output, original)["brightness"] == "the transparency is missing"
    output, original = pair(tmp_path, "b.png", saved(gray(GRAY), "PNG"))
    edited(output, lambda pixels: np.dstack([pixels, np.full((HEIGHT, WIDTH), 255, np.uint8)]))
    assert faults(output, original)["brightness"] == "transparency was added"


def test_a_missing_page(tmp_path: Path) -> None:
    output, original = pair(tmp_path, "a.tif", two_pages(GRAY, GRAY[:60]))
    _, other = pair(tmp_path, "b.tif", tiff(GRAY))
    assert faults(output, other)["pages"] == "2, the original has 1"
    assert faults(tmp_path / "out" / "b.tif", original)["pages"] == "1, the original has 2"


def test_a_bad_second_page_is_named(tmp_path: Path) -> None:
    output, original = pair(tmp_path, "a.tif", two_pages(GRAY, GRAY))
    original.write_bytes(two_pages(GRAY, GRAY // 2))
    assert faults(output, original)["brightness"].startswith("page 2: luma differs")


def test_copied_files_are_fine(tmp_path: Path) -> None:
    copy = ColorizeOptions(jobs=1, color_input="copy")
    output, original = pair(tmp_path, "a.png", saved(Image.fromarray(COLOURS), "PNG"), copy)
    assert answers(output, original)["copy"].words == "copied unchanged, byte for byte"
    assert faults(output, original) == {}


def test_the_file_time_is_told_and_not_judged(tmp_path: Path) -> None:
    output, original = pair(tmp_path, "a.png", saved(gray(GRAY), "PNG"))
    os.utime(output, (10**9, 10**9))
    check = answers(output, original)["file time"]
    assert check.ok is None
    assert "2001-09-" in check.words


@pytest.mark.parametrize("seconds", [-11_644_473_600, 2**40, 2**55, -(2**55)])
def test_a_file_time_of_no_calendar_is_told(seconds: int) -> None:
    assert str(seconds)[:3] in _date(seconds).replace(",", "") or _date(seconds).startswith("1601-")


def test_xmp_that_nobody_can_read_is_not_compared(tmp_path: Path) -> None:
    output, original = pair(tmp_path, "a.jpg", saved(gray(GRAY), "JPEG", xmp=b"<!DOCTYPE x []><broken"))
    assert faults(output, original) == {}
    assert "can't be read and was not compared" in answers(output, original)["metadata"].words


def test_an_output_coloured_again_is_its_own_originals(tmp_path: Path) -> None:
    """The older label gives way to the new one, which is not a loss."""
    output, _ = pair(tmp_path, "a.jpg", saved(gray(GRAY), "JPEG", xmp=PACKET))
    second = tmp_path / "b.jpg"
    second.write_bytes(output.read_bytes())
    again = colorize(second, ColorizeOptions(jobs=1, color_input="recolor"))
    assert faults(again, second) == {}


def test_gps_and_interoperability_do_not_hide_each_other(tmp_path: Path) -> None:
    data = exif()
    data.get_ifd(0x8769)[40965] = {1: "R98"}
    data.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 14.0)})
    output, original = pair(tmp_path, "a.jpg", saved(gray(GRAY), "JPEG", exif=data))
    assert faults(output, original) == {}
    before = output.read_bytes()
    at = before.index(b"\0\x01\0\x02\0\0\0\x02N\0")  # GPSLatitudeRef
    output.write_bytes(before[: at + 8] + b"S" + before[at + 9 :])
    assert "EXIF GPSLatitudeRef" in faults(output, original)["metadata"]


@pytest.mark.parametrize("name", ["jpeg", "jpeg progressive", "png 8", "png 16", "tiff 16", "webp lossy", "avif"])
def test_cut_off_outputs_and_originals_get_a_sentence(name: str, tmp_path: Path) -> None:
    file, content, _ = HONEST[name]
    output, original = pair(tmp_path, file, content())
    whole, whole_original = output.read_bytes(), original.read_bytes()
    for share in (0.02, 0.2, 0.5, 0.95):
        output.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(PhotoError) as error:
            verify_photo(output, original, MOST)
        assert "the original" not in str(error.value)
        with pytest.raises(PhotoError):
            verify_photo(output, None, MOST)
    output.write_bytes(whole)
    original.write_bytes(whole_original[: len(whole_original) // 2])
    with pytest.raises(PhotoError, match="the original, "):
        verify_photo(output, original, MOST)


@pytest.mark.parametrize(
    "name", ["jpeg", "jpeg 3 components", "png 8", "png 16", "tiff 8", "tiff pages", "avif", "bmp"]
)
def test_damaged_outputs_never_raise_anything_else(name: str, tmp_path: Path) -> None:
    file, content, _ = HONEST[name]
    output, original = pair(tmp_path, file, content())
    whole = output.read_bytes()
    rng = np.random.default_rng(4)
    for _ in range(40):
        damaged = bytearray(whole)
        for place in rng.integers(2, len(whole) if rng.random() < 0.5 else 600, 8):
            damaged[place % len(whole)] = rng.integers(256)
        output.write_bytes(damaged)
        with contextlib.suppress(PhotoError):
            verify_photo(output, original, MOST)
        with contextlib.suppress(PhotoError):
            verify_photo(original, output, MOST)


def test_a_tiff_output_with_damaged_tags_is_not_blamed_on_its_original(tmp_path: Path) -> None:
    output, original = pair(tmp_path, "a.tif", two_pages(GRAY, GRAY))
    whole = output.read_bytes()
    for start in (b"\xff\xff\xff\x7f", (len(whole) - 6).to_bytes(4, "little")):
        output.write_bytes(whole[:4] + start + whole[8:])
        with pytest.raises(PhotoError) as error:
            verify_photo(output, original, MOST)
        assert "the original" not in str(error.value)


def test_photos_in_colour_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "colour.png").write_bytes(saved(Image.fromarray(COLOURS), "PNG"))
    (tmp_path / "mixed.tif").write_bytes(two_pages(COLOURS, GRAY))
    assert in_colour_already(tmp_path / "colour.png", MOST)
    assert not in_colour_already(tmp_path / "mixed.tif", MOST)


def test_a_profile_that_was_left_out_is_not_said_to_be_there(tmp_path: Path) -> None:
    inks = SRGB_PROFILE[:16] + b"CMYK" + SRGB_PROFILE[20:]
    for name, profile, words in (
        ("a.jpg", inks, "not one for RGB or gray"),
        ("b.jpg", GRAY_PROFILE, "not one that can be made one for RGB"),
    ):
        source = rgb(GRAY).convert("CMYK") if profile is inks else gray(GRAY)
        output, original = pair(tmp_path, name, saved(source, "JPEG", quality=90, icc_profile=profile))
        found = answers(output, original)["metadata"]
        assert found.ok
        assert found.words == (
            "EXIF, XMP, IPTC, comments and resolution match the original's; the original's profile is "
            f"{words} and was left out"
        )


def test_pages_that_are_all_right_are_told_together(tmp_path: Path) -> None:
    for name, content in (("a.tif", two_pages(GRAY, GRAY)), ("b.tif", two_pages(GRAY16, GRAY))):
        output, original = pair(tmp_path, name, content, DEPTH_8)
        found = answers(output, original)
        for check in (found["brightness"], found["metadata"]):
            assert check.ok
            assert check.words.startswith("all 2 pages: ")
    assert " or luma is" in found["brightness"].words
