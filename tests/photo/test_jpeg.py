"""A gray JPEG becomes a colour one whose luma plane is the same, bit for bit."""

import io
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from photo.pictures import colorized, saved, scene
from PIL import Image

from bwcolor.errors import PhotoError
from bwcolor.imaging.gamut import chroma_strips
from bwcolor.options import Sampling
from bwcolor.photo.encode import chroma_quantization
from bwcolor.photo.formats import jpeg
from bwcolor.photo.formats.jpeg import (
    DQT,
    EOI,
    SOS,
    GrayEncoder,
    carried_frame,
    carry_luma,
    encode_gray,
    is_complete,
    luma_coding,
    luma_parts,
    segments,
)

LUMA = np.array([0.299, 0.587, 0.114])


def _jpeg(pixels: NDArray[np.uint8], **options: object) -> bytes:
    return saved(Image.fromarray(pixels), "JPEG", **options)


def _planes(content: bytes) -> NDArray[np.uint8]:
    """Y, Cb, Cr as the file stores them, chroma enlarged by the decoder."""
    with Image.open(io.BytesIO(content)) as image:
        image.draft("YCbCr", image.size)
        assert image.mode == "YCbCr"
        return np.asarray(image)


def carried(source: bytes, chroma: NDArray[np.uint8], table: list[int], sampling: Sampling = "420") -> bytes:
    """A colour JPEG with the luma of `source`. chroma: (2, h, w)."""
    _, progressive = luma_coding(source)
    return b"".join(carry_luma(source, [encode_gray(plane, table, progressive) for plane in chroma], sampling))


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    quality=st.integers(1, 100),
    progressive=st.booleans(),
    optimize=st.booleans(),
    restart=st.sampled_from([0, 1, 5]),
    sampling=st.sampled_from(["420", "444"]),
    seed=st.integers(0, 999),
)
def test_luma_is_carried_over_bit_for_bit(
    height: int,
    width: int,
    quality: int,
    progressive: bool,
    optimize: bool,
    restart: int,
    sampling: Sampling,
    seed: int,
) -> None:
    restarts = {"restart_marker_blocks": restart} if restart else {}
    options = {"quality": quality, "progressive": progressive, "optimize": optimize, **restarts}
    source = _jpeg(scene(height, width, seed), **options)
    rng = np.random.default_rng(seed)
    rows, columns = (height, width) if sampling == "444" else ((height + 1) // 2, (width + 1) // 2)
    chroma = rng.integers(90, 166, (2, rows, columns), dtype=np.uint8)
    content = carried(source, chroma, [1] * 64, sampling)
    assert luma_parts(content) == luma_parts(source) is not None
    with Image.open(io.BytesIO(source)) as gray:
        np.testing.assert_array_equal(_planes(content)[..., 0], np.asarray(gray))
    scans = [part for part in segments(source) if part.marker == SOS]
    assert bytes(scans[0].data) in content, "the entropy-coded data itself must be there"
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert decoded.shape == (height, width, 3)


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 200), width=st.integers(1, 90), rows=st.sampled_from([8, 16, 64]), seed=st.integers(0, 99),
    progressive=st.booleans(),
)  # fmt: skip
def test_a_jpeg_made_of_strips_is_that_of_the_whole_plane(
    height: int, width: int, rows: int, seed: int, progressive: bool
) -> None:
    plane = scene(height, width, seed)
    encoder = GrayEncoder([7] * 64, progressive)
    for top in range(0, height, rows):
        encoder.add(plane[top : top + rows])
    with (
        Image.open(io.BytesIO(encoder.finish())) as made,
        Image.open(io.BytesIO(_jpeg(plane, qtables=[[7] * 64]))) as whole,
    ):
        np.testing.assert_array_equal(np.asarray(made), np.asarray(whole))


def test_chroma_arrives_in_its_own_component() -> None:
    source = _jpeg(np.full((32, 48), 128, np.uint8))
    chroma = np.stack([np.full((16, 24), 100, np.uint8), np.full((16, 24), 150, np.uint8)])
    planes = _planes(carried(source, chroma, [1] * 64))
    assert planes.reshape(-1, 3).mean(0) == pytest.approx([128, 100, 150], abs=0.5)


def test_colour_and_other_kinds_are_refused() -> None:
    colour = _jpeg(np.zeros((16, 16, 3), np.uint8))
    arithmetic = bytearray(_jpeg(np.zeros((16, 16), np.uint8)))
    arithmetic[arithmetic.index(b"\xff\xc0") + 1] = 0xC9
    twelve_bit = bytearray(_jpeg(np.zeros((16, 16), np.uint8)))
    twelve_bit[twelve_bit.index(b"\xff\xc0") + 4] = 12
    for source in (colour, bytes(arithmetic), bytes(twelve_bit), b"", b"\xff\xd8", b"\xff\xd8\xff\xc0\x00"):
        assert carried_frame(source) is None
        with pytest.raises(PhotoError, match="bit for bit"):
            carried(source, np.zeros((2, 8, 8), np.uint8), chroma_quantization(92))


def test_the_luma_table_keeps_its_number_and_its_values() -> None:
    """A source whose only table is number 1: chroma's must take another number."""
    source = _jpeg(scene(24, 24, 1), quality=40)
    table, frame = source.index(b"\xff\xdb") + 4, source.index(b"\xff\xc0") + 12
    renumbered = bytearray(source)
    renumbered[table], renumbered[frame] = 1, 1
    content = carried(bytes(renumbered), np.full((2, 12, 12), 110, np.uint8), [3] * 64)
    with Image.open(io.BytesIO(source)) as gray:
        np.testing.assert_array_equal(_planes(content)[..., 0], np.asarray(gray))
    numbers = [part.head[4] for part in segments(content) if part.marker == DQT]
    assert sorted(numbers) == [0, 1]


def test_chroma_fits_every_pixel_that_it_is_spread_over() -> None:
    luma = scene(37, 53, 7)
    luma[10:14, 20:24], luma[20:22, 5:9] = 255, 0
    wanted = np.broadcast_to(np.array([-0.2, 0.25], np.float32), (19, 27, 2)).copy()
    fitted = (np.concatenate(list(chroma_strips(luma, wanted, "420")), 1).astype(float) - 128) / 255
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
    chroma = np.broadcast_to(np.array([-0.15, 0.2], np.float32), (30, 22, 2)).copy()
    photo, content, _ = colorized(tmp_path / "gray.jpg", _jpeg(scene(120, 90, 3), quality=92), chroma)
    np.testing.assert_array_equal(_planes(content)[..., 0], photo.luma)
    with Image.open(io.BytesIO(content)) as image:
        shown = np.asarray(image.convert("RGB")) @ LUMA
    error = np.abs(shown - photo.luma)
    assert error.max() <= 4, "quantised chroma may leave the gamut by a little"
    assert error.mean() < 0.6


def _scan_starts(content: bytes) -> list[int]:
    return [at for at in range(len(content)) if content[at : at + 2] == b"\xff\xda"]


@pytest.mark.parametrize("progressive", [False, True])
def test_padding_between_segments_costs_no_scan(progressive: bool) -> None:
    source = _jpeg(scene(40, 56), progressive=progressive)
    at = _scan_starts(source)[-1]
    padded = source[:at] + bytes(2) + source[at:]
    assert carried_frame(padded) is not None
    assert luma_parts(padded) == luma_parts(source)
    assert segment_markers(padded) == segment_markers(source)


def segment_markers(content: bytes) -> list[int]:
    return [part.marker for part in segments(content)]


def test_the_last_segment_is_the_end() -> None:
    source = _jpeg(scene(16, 16))
    assert segment_markers(source)[-1] == EOI
    assert EOI not in segment_markers(source[:-2])


def test_too_much_padding_ends_the_walk() -> None:
    source = _jpeg(scene(16, 16))
    at = _scan_starts(source)[0]
    assert SOS in segment_markers(source[:at] + bytes(60_000) + source[at:])
    assert SOS not in segment_markers(source[:at] + bytes(70_000) + source[at:])


@pytest.mark.parametrize("progressive", [False, True])
def test_luma_without_an_end_or_with_scans_missing_is_not_carried(progressive: bool) -> None:
    source = _jpeg(scene(40, 56), progressive=progressive)
    assert carried_frame(source[:-2]) is None
    last = _scan_starts(source)[-1]
    assert carried_frame(source[:last] + b"\xff\xd9") is None


def test_every_coefficient_of_every_component_must_arrive() -> None:
    for pixels in (scene(40, 56), np.dstack([scene(40, 56), scene(40, 56, 1), scene(40, 56, 2)])):
        for progressive in (False, True):
            parts = list(segments(_jpeg(pixels, progressive=progressive)))
            assert is_complete(parts)
            for number in (at for at, part in enumerate(parts) if part.marker == SOS):
                first_refined = not progressive or parts[number].head[-1] & 15 == 0
                assert is_complete(parts[:number] + parts[number + 1 :]) is not first_refined
    assert not is_complete([])


@pytest.mark.parametrize("refusal", [AttributeError, OSError])
def test_systems_without_files_in_memory(refusal: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    plane, table = scene(40, 56), [3] * 64
    expected = encode_gray(plane, table, False)

    def refuse(*_: object) -> int:
        raise refusal

    monkeypatch.setattr("os.memfd_create", refuse, raising=False)
    assert encode_gray(plane, table, False) == expected


@given(st.lists(st.sampled_from([0, 0xFF, 0xFF, 0xD0, 0xD7, 0xD9, 7]), max_size=40).map(bytes), st.integers(0, 40))
def test_the_end_of_a_scan_wherever_pieces_end(data: bytes, position: int) -> None:
    found = re.search(rb"\xff[^\x00\xd0-\xd7\xff]", data[position:])
    expected = position + found.start() if found else len(data)
    for piece in (2, 3, 8, 4096):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jpeg, "SCAN_PIECE", piece)
            assert jpeg._scan_end(data, min(position, len(data))) == (expected if position < len(data) else len(data))
