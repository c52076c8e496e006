"""Tiles cover everything, overlap enough, and blend without a trace."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from bwcolor.inference.tiling import feather, plan_tiles

sizes_and_overlaps = st.integers(1, 64).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1)))


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), sizes_and_overlaps)
def test_tiles_cover_every_pixel_and_overlap(height: int, width: int, size_and_overlap: tuple[int, int]) -> None:
    size, overlap = size_and_overlap
    tiles = plan_tiles(height, width, size, overlap)
    tops, lefts = sorted({tile.top for tile in tiles}), sorted({tile.left for tile in tiles})
    assert len(tiles) == len(tops) * len(lefts), "a full grid, nothing twice"
    for starts, length in ((tops, height), (lefts, width)):
        assert starts[0] == 0
        assert starts[-1] == max(0, length - size), "the last one ends at the edge"
        gaps = [later - earlier for earlier, later in pairwise(starts)]
        assert all(gap <= size - overlap for gap in gaps)
        assert not gaps or max(gaps) - min(gaps) <= 1, "evenly spread"
        fewer = len(starts) - 1
        assert not fewer or fewer * (size - overlap) + overlap < length, "no more than needed"


@pytest.mark.parametrize("overlap", [-1, 8, 9])
def test_an_impossible_overlap_is_refused(overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap"):
        plan_tiles(100, 100, 8, overlap)


@settings(deadline=None)
@given(sizes_and_overlaps)
def test_weights_are_positive_symmetric_and_highest_inside(size_and_overlap: tuple[int, int]) -> None:
    size, overlap = size_and_overlap
    window = feather(size, overlap)
    assert window.shape == (size, size)
    assert window.dtype == np.float32
    assert window.min() > 0
    assert window.max() <= 1
    assert_allclose(window, window.T)
    assert_allclose(window, window[::-1, ::-1], atol=1e-6)
    middle = window[size // 2]
    assert (np.diff(middle[: size // 2]) >= -1e-6).all(), "falls towards the edge only"


@pytest.mark.parametrize(("size", "overlap"), [(64, 16), (48, 16), (9, 3)])
def test_neighbours_weights_add_up_to_one_where_they_overlap(size: int, overlap: int) -> None:
    middle = feather(size, overlap)[size // 2]
    assert_allclose(middle[-overlap:] + middle[:overlap], 1, atol=1e-6)
    assert_allclose(middle[overlap : size - overlap], 1)
