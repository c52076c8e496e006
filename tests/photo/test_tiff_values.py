"""TIFFs of 32-bit, floating-point and CIELAB values are read where it is known what is white; others are named."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from photo.pictures import colorized, saved, scene, scene16, tiff
from PIL import Image, ImageCms

from bwcolor.errors import PhotoError
from bwcolor.imaging.color import lab_to_rgb, rgb_to_lab
from bwcolor.photo.scan import Photo, read_photo

GRAY, GRAY16 = scene(70, 90), scene16(70, 90)
UNIT = GRAY16 / 65_535
SETTINGS: list[dict[str, Any]] = [
    {}, {"byteorder": ">"}, {"compression": "zlib", "predictor": True}, {"compression": "lzw"},
    {"compression": "zlib", "predictor": True, "byteorder": ">"}, {"tile": (32, 32), "compression": "zstd"},
    {"rowsperstrip": 7}, {"photometric": "miniswhite"},
]  # fmt: skip


def read(tmp_path: Path, content: bytes) -> Photo:
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    return read_photo(path, 10**8)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint32"])
def test_gray_is_what_it_says(dtype: str, settings: dict[str, Any], tmp_path: Path) -> None:
    white = settings.get("photometric") == "miniswhite"
    values = GRAY16.astype(np.uint32) * 65_537 if dtype == "uint32" else UNIT.astype(dtype)
    photo = read(tmp_path, tiff(values, metadata=None, **settings))
    assert photo.luma.dtype == np.uint16
    expected = 65_535 - GRAY16.astype(int) if white else GRAY16.astype(int)
    assert np.abs(photo.luma - expected).max() <= (32 if dtype == "float16" else 0)


def test_rgb_and_alpha_in_floating_point(tmp_path: Path) -> None:
    values = np.dstack([UNIT, UNIT, UNIT, np.full_like(UNIT, 0.5)]).astype(np.float32)
    photo = read(tmp_path, tiff(values, photometric="rgb", extrasamples=["unassalpha"], metadata=None))
    assert_array_equal(photo.luma, GRAY16)
    assert photo.alpha is not None
    assert set(photo.alpha.ravel().tolist()) == {32_768}


@pytest.mark.parametrize("values", [255 * UNIT, UNIT - 0.2, UNIT + np.nan, UNIT * np.inf])
def test_floating_point_values_without_a_white_are_named(values: Any, tmp_path: Path) -> None:
    with np.errstate(invalid="ignore"), pytest.raises(PhotoError, match="floating-point values beyond"):
        read(tmp_path, tiff(values.astype(np.float32), metadata=None))


def test_what_sharpening_leaves_beyond_white_is_cut_off(tmp_path: Path) -> None:
    photo = read(tmp_path, tiff((1.016 * UNIT - 0.008).astype(np.float32), metadata=None))
    assert_allclose(photo.luma, np.clip(1.016 * UNIT - 0.008, 0, 1) * 65_535, atol=1)


@pytest.mark.parametrize(("dtype", "words"), [("int8", "signed"), ("int16", "signed"), ("int32", "signed"),
                                              ("complex64", "complex"), ("uint64", "64-bit")])  # fmt: skip
def test_others_are_named(dtype: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=words):
        read(tmp_path, tiff(GRAY.astype(dtype), metadata=None))


@pytest.mark.parametrize("cut", [10, 5000])
def test_what_is_cut_off_fails(cut: int, tmp_path: Path) -> None:
    content = tiff(UNIT.astype(np.float32), metadata=None)
    with pytest.raises(PhotoError, match="cut off"):
        read(tmp_path, content[:-cut])


@pytest.mark.parametrize("dtype", ["float32", "uint32"])
def test_the_output_has_16_bits_and_a_note(dtype: str, tmp_path: Path) -> None:
    values = UNIT.astype(np.float32) if dtype == "float32" else GRAY16.astype(np.uint32) * 65_537
    _, content, notes = colorized(tmp_path / "a.tif", tiff(values, metadata=None), np.full((3, 4, 2), 0.05, np.float32))
    assert "values of more than 16 bits were rounded to 16" in notes
    after = read(tmp_path, content)
    assert np.abs(after.luma.astype(int) - GRAY16).max() <= 1


def lab(rgb: Any) -> Any:
    """Pillow's CIELAB, 8 bit, for light of D50."""
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    return ImageCms.applyTransform(Image.fromarray(rgb), to_lab)


def test_gray_in_cielab_as_pillow_writes_it(tmp_path: Path) -> None:
    photo = read(tmp_path, saved(lab(np.dstack([GRAY] * 3)), "TIFF"))
    assert photo.kind == "gray"
    assert np.abs(photo.luma.astype(int) - GRAY).max() <= 2, "8 bits of L* are not finer than that"


def test_colors_in_cielab(tmp_path: Path) -> None:
    colors = np.dstack([scene(70, 90, seed) for seed in (1, 2, 3)])
    photo = read(tmp_path, saved(lab(colors), "TIFF"))
    assert photo.kind == "colour"
    assert np.abs(photo.luma - colors @ [0.299, 0.587, 0.114]).mean() < 4, "D50's blue is a little another one"


@pytest.mark.parametrize(("photometric", "white"), [("cielab", 0xFFFF), ("icclab", 0xFF00)])
def test_16_bits_of_cielab_keep_16_bits(photometric: str, white: int, tmp_path: Path) -> None:
    lightness = rgb_to_lab(np.dstack([UNIT] * 3))[..., 0]
    neutral = 0 if photometric == "cielab" else 1 << 15
    values = np.full((*GRAY.shape, 3), neutral, np.uint16)
    values[..., 0] = np.round(lightness / 100 * white)
    content = tiff(values, photometric="rgb", metadata=None)
    number = {"cielab": 8, "icclab": 9}[photometric]
    entry = struct.pack("<HHI", 262, 3, 1)
    content = content.replace(entry + b"\2", entry + bytes([number]))
    photo = read(tmp_path, content)
    assert photo.kind == "gray"
    assert np.abs(photo.luma.astype(int) - GRAY16).max() <= 4


def test_lab_there_and_back() -> None:
    rgb = np.random.default_rng(1).random((50, 40, 3))
    assert_allclose(lab_to_rgb(rgb_to_lab(rgb)), rgb, atol=1e-4)
    assert_allclose(lab_to_rgb(np.array([[0.0, 0, 0], [100.0, 0, 0]])), [[0, 0, 0], [1, 1, 1]], atol=1e-4)
