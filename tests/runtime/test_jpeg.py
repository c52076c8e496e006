"""A gray JPEG becomes a colour one whose luma plane is the same, bit for bit."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from runtime.pictures import saved, scene

from bwcolor.errors import PhotoError
from bwcolor.jpeg import DQT, SOS, can_carry_luma, carry_luma, segments
from bwcolor.output import CHROMA_TABLE, _half_size_chroma, encode
from bwcolor.photo import read_photo

LUMA = np.array([0.299, 0.587, 0.114])


def _jpeg(pixels: NDArray[np.uint8], **options: object) -> bytes:
    return saved(Image.fromarray(pixels), "JPEG", **options)


def _planes(content: bytes) -> NDArray[np.uint8]:
    """Y, Cb, Cr as the file stores them, chroma enlarged by the decoder."""
    with Image.open(io.BytesIO(content)) as image:
        image.draft("YCbCr", image.size)
        assert image.mode == "YCbCr"
        return np.asarray(image)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    quality=st.integers(1, 100),
    progressive=st.booleans(),
    optimize=st.booleans(),
    restart=st.sampled_from([0, 1, 5]),
    seed=st.integers(0, 999),
)
def test_luma_is_carried_over_bit_for_bit(
    height: int, width: int, quality: int, progressive: bool, optimize: bool, restart: int, seed: int
) -> None:
    restarts = {"restart_marker_blocks": restart} if restart else {}
    options = {"quality": quality, "progressive": progressive, "optimize": optimize, **restarts}
    source = _jpeg(scene(height, width, seed), **options)
    rng = np.random.default_rng(seed)
    chroma = rng.integers(90, 166, (2, (height + 1) // 2, (width + 1) // 2), dtype=np.uint8)
    content = carry_luma(source, chroma, [1] * 64)
    with Image.open(io.BytesIO(source)) as gray:
        np.testing.assert_array_equal(_planes(content)[..., 0], np.asarray(gray))
    scans = [segment for marker, segment in segments(source) if marker == SOS]
    assert scans[0][6:] in content, "the entropy-coded data itself must be there"
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert decoded.shape == (height, width, 3)


def test_chroma_arrives_in_its_own_component() -> None:
    source = _jpeg(np.full((32, 48), 128, np.uint8))
    chroma = np.stack([np.full((16, 24), 100, np.uint8), np.full((16, 24), 150, np.uint8)])
    planes = _planes(carry_luma(source, chroma, [1] * 64))
    assert planes.reshape(-1, 3).mean(0) == pytest.approx([128, 100, 150], abs=0.5)


def test_colour_and_other_kinds_are_refused() -> None:
    colour = _jpeg(np.zeros((16, 16, 3), np.uint8))
    arithmetic = bytearray(_jpeg(np.zeros((16, 16), np.uint8)))
    arithmetic[arithmetic.index(b"\xff\xc0") + 1] = 0xC9
    twelve_bit = bytearray(_jpeg(np.zeros((16, 16), np.uint8)))
    twelve_bit[twelve_bit.index(b"\xff\xc0") + 4] = 12
    for source in (colour, bytes(arithmetic), bytes(twelve_bit), b"", b"\xff\xd8", b"\xff\xd8\xff\xc0\x00"):
        assert not can_carry_luma(source)
        with pytest.raises(PhotoError, match="bit for bit"):
            carry_luma(source, np.zeros((2, 8, 8), np.uint8), CHROMA_TABLE)


def test_the_luma_table_keeps_its_number_and_its_values() -> None:
    """A source whose only table is number 1: chroma's must take another number."""
    source = _jpeg(scene(24, 24, 1), quality=40)
    table, frame = source.index(b"\xff\xdb") + 4, source.index(b"\xff\xc0") + 12
    renumbered = bytearray(source)
    renumbered[table], renumbered[frame] = 1, 1
    content = carry_luma(bytes(renumbered), np.full((2, 12, 12), 110, np.uint8), [3] * 64)
    with Image.open(io.BytesIO(source)) as gray:
        np.testing.assert_array_equal(_planes(content)[..., 0], np.asarray(gray))
    numbers = [segment[4] for marker, segment in segments(content) if marker == DQT]
    assert sorted(numbers) == [0, 1]


def test_chroma_fits_every_pixel_that_it_is_spread_over() -> None:
    luma = scene(37, 53, 7)
    luma[10:14, 20:24], luma[20:22, 5:9] = 255, 0
    wanted = np.broadcast_to(np.array([-0.2, 0.25], np.float32), (19, 27, 2)).copy()
    fitted = (_half_size_chroma(luma, wanted).astype(float) - 128) / 255
    for row in range(19):
        for column in range(27):
            covered = luma[max(0, 2 * row - 1) : 2 * row + 3, max(0, 2 * column - 1) : 2 * column + 3] / 255
            cb, cr = fitted[:, row, column]
            for y in (covered.min(), covered.max()):
                rgb = np.array([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb])
                assert rgb.min() > -0.01
                assert rgb.max() < 1.01
    free = (luma > 90) & (luma < 150)
    assert (
        np.abs(fitted[0][cv2.erode(free.astype(np.uint8), np.ones((7, 7)))[::2, ::2] > 0] + 0.2).max(initial=0) < 0.01
    )


def test_a_decoder_shows_the_luma_that_the_file_stores(tmp_path: Path) -> None:
    path = tmp_path / "gray.jpg"
    path.write_bytes(_jpeg(scene(120, 90, 3), quality=92))
    photo = read_photo(path, 10**6)
    content = encode(photo, np.broadcast_to(np.array([-0.15, 0.2], np.float32), (30, 22, 2)).copy())
    np.testing.assert_array_equal(_planes(content)[..., 0], photo.luma)
    with Image.open(io.BytesIO(content)) as image:
        shown = np.asarray(image.convert("RGB")) @ LUMA
    error = np.abs(shown - photo.luma)
    assert error.max() <= 4, "quantised chroma may leave the gamut by a little"
    assert error.mean() < 0.6
