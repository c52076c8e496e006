"""Chroma enlarged strip by strip, and large photos reduced."""

import tracemalloc

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from bwcolor.imaging.resizing import enlarged_strips, resized


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_enlarged_strips_are_opencvs_cubic_enlargement(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 200)), data.draw(st.integers(1, 60))
    small = (data.draw(st.integers(1, height)), data.draw(st.integers(1, width)), 2)
    rows = data.draw(st.integers(1, height + 5))
    chroma = np.random.default_rng(data.draw(st.integers(0, 9))).uniform(-0.5, 0.5, small).astype(np.float32)
    expected = cv2.resize(chroma, (width, height), interpolation=cv2.INTER_CUBIC).clip(-0.5, 0.5)
    strips = list(enlarged_strips(chroma, height, width, rows))
    assert [where.start for where, _ in strips] == list(range(0, height, rows))
    assert all(strip.shape == (2, where.stop - where.start, width) for where, strip in strips)
    assert all(strip.shape[1] <= rows for _, strip in strips)
    whole = np.concatenate([strip for _, strip in strips], 1)
    assert_allclose(whole.transpose(1, 2, 0), expected, atol=1e-4)


def test_a_large_photo_of_odd_sides_is_not_copied_to_be_reduced() -> None:
    luma = np.zeros((3001, 4001), np.uint8)
    tracemalloc.start()
    resized(luma, 144, 192)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < luma.nbytes / 2
