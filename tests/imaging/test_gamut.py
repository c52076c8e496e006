"""Chroma fitted to luma: what is narrowed down first must not change what comes out."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from bwcolor.imaging.arrays import Pixels
from bwcolor.imaging.color import Array, chroma_limit, compose
from bwcolor.imaging.gamut import TO_RGB, Reach, chroma_strips, compose_pixels
from bwcolor.imaging.resizing import enlarged_strips
from bwcolor.options import Sampling

SIDES = st.integers(1, 150)
STRENGTHS = st.sampled_from([0.0, 0.01, 0.1, 0.5])


def drawn(data: st.DataObject, depth: type[np.uint8 | np.uint16]) -> tuple[Pixels, Array]:
    """Luma with many pixels at either end, and chroma, smooth or jumping, that many of them can't hold."""
    height, width = data.draw(SIDES), data.draw(SIDES)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    top = np.iinfo(depth).max
    luma = rng.integers(0, top, (height, width), endpoint=True)
    ends = data.draw(st.sampled_from([0, 0.02, 0.5, 1]))
    luma = np.where(rng.random(luma.shape) < ends, rng.choice([0, top // 60, top - top // 60, top], luma.shape), luma)
    small = (data.draw(st.integers(1, height)), data.draw(st.integers(1, width)), 2)
    strength = data.draw(STRENGTHS)
    spikes = np.where(rng.random(small) < 0.04, rng.choice([-strength, strength], small), 0)
    even = np.broadcast_to(rng.uniform(-strength, strength, 2), small)
    jumping, any_way = rng.choice([-strength, 0, strength], small), rng.uniform(-strength, strength, small)
    chroma = (even, jumping, any_way, spikes)[data.draw(st.integers(0, 3))]
    return luma.astype(depth), chroma.astype(np.float32)


def enlarged(chroma: Array, height: int, width: int) -> Array:
    return np.concatenate([strip for _, strip in enlarged_strips(chroma, height, width, 64)], 1).transpose(1, 2, 0)


def spread(luma: Pixels, step: int) -> NDArray[np.float32]:
    """(2, rows, columns): the darkest and the lightest pixel that a value of chroma serves, in 0..1."""
    if step == 1:
        return (np.stack([luma, luma]) / 255).astype(np.float32)
    height, width = (-(-side // 2) for side in luma.shape)
    found = np.empty((2, height, width), np.float32)
    for row in range(height):
        for column in range(width):
            under = luma[max(0, 2 * row - 1) : 2 * row + 3, max(0, 2 * column - 1) : 2 * column + 3]
            found[:, row, column] = under.min() / 255, under.max() / 255
    return found


@pytest.mark.parametrize("sampling", ["420", "444"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_chroma_of_a_jpeg_is_limited_wherever_it_must_be(sampling: Sampling, data: st.DataObject) -> None:
    luma, chroma = drawn(data, np.uint8)
    darkest, lightest = spread(luma, 2 if sampling == "420" else 1)
    height, width = darkest.shape
    small = chroma[:height, :width]
    wanted = enlarged(small, height, width)
    fitted = wanted * chroma_limit(darkest, wanted, lightest)[..., None]
    expected = np.stack([cv2.convertScaleAbs(fitted[..., plane], alpha=255, beta=128) for plane in (0, 1)])
    found = np.concatenate(list(chroma_strips(luma, small, sampling)), 1)
    assert_array_equal(found, expected.reshape(found.shape))


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_composed_pixels_are_those_of_the_plain_formula(depth: type[np.uint8 | np.uint16], data: st.DataObject) -> None:
    luma, chroma = drawn(data, depth)
    top = np.iinfo(depth).max
    expected = top * compose(luma.astype(np.float32) / np.float32(top), enlarged(chroma, *luma.shape))
    alpha = luma[::-1] if data.draw(st.booleans()) else None
    found = compose_pixels(luma, alpha, chroma)
    assert found.dtype == depth
    assert found.shape == (*luma.shape, 3 if alpha is None else 4)
    assert_allclose(found[..., :3], expected, rtol=0, atol=0.5 + top * 2e-6)
    if alpha is not None:
        assert_array_equal(found[..., 3], alpha)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_channel_goes_further_than_the_reach(data: st.DataObject) -> None:
    """Lone spikes of chroma, around which cubic interpolation overshoots most."""
    height, width = data.draw(SIDES), data.draw(SIDES)
    small = (data.draw(st.integers(1, height)), data.draw(st.integers(1, width)), 2)
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    chroma = np.where(rng.random(small) < 0.04, rng.choice([-0.2, 0.2], small), 0).astype(np.float32)
    top = 65_535
    reach, chosen = Reach(chroma, height, width, np.dtype(np.uint16)), enlarged(chroma, height, width)
    farthest = top * cv2.transform(chosen, TO_RGB)
    above, below = reach.of(slice(0, height))
    assert (farthest.max(-1) <= above + 0.05).all()
    assert (-farthest.min(-1) <= below + 0.05).all()


def test_only_what_may_leave_the_gamut_is_looked_at() -> None:
    luma = np.full((64, 900), 128, np.uint8)
    chroma = np.full((4, 50, 2), 0.1, np.float32)
    reach = Reach(chroma, 64, 900, luma.dtype)
    assert reach.outside(slice(0, 64), luma, luma) == ([], False)
    luma[10, 20] = luma[63, 899] = 255
    found = reach.outside(slice(0, 64), luma, luma)
    assert [part.tolist() for part in found.parts if not isinstance(part, slice)] == [[10 * 900 + 20, 63 * 900 + 899]]
    luma[:] = 250
    blocks = reach.outside(slice(0, 64), luma, luma)
    assert blocks.everywhere
    assert np.concatenate([np.arange(luma.size)[part] for part in blocks.parts]).tolist() == list(range(luma.size))


def test_neutral_chroma_leaves_gray_exactly_as_it_is() -> None:
    luma = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    assert_array_equal(compose_pixels(luma, None, np.zeros((9, 7, 2), np.float32)), np.stack([luma] * 3, -1))
