"""The visible mark: there on request, upright, and made of colour alone."""

import numpy as np
import pytest
from photo.pictures import scene

from bwcolor.imaging.orientation import as_stored, upright
from bwcolor.imaging.watermark import GROUND, marked


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_mark_is_upright_whatever_the_orientation(orientation: int) -> None:
    seen = np.full((600, 900), 128, np.uint8)
    luma = as_stored(seen, orientation)
    chroma = as_stored(np.zeros((64, 96, 2), np.float32), orientation)
    found = upright(marked(chroma, luma, orientation), orientation)
    expected = marked(np.zeros((64, 96, 2), np.float32), seen, 1)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    painted = np.abs(expected).max(-1) > 0.1
    rows, columns = np.flatnonzero(painted.any(1)), np.flatnonzero(painted.any(0))
    assert 0.02 < len(rows) / 600 < 0.15
    assert 0.05 < len(columns) / 900 < 0.5
    assert rows[0] > 300, "a lower corner, where all are alike"


def test_the_mark_takes_the_corner_that_has_room_for_colour() -> None:
    luma = np.full((400, 400), 255, np.uint8)
    luma[:100, :200] = 120
    painted = np.abs(marked(np.zeros((40, 40, 2), np.float32), luma, 1)).max(-1) > 0.1
    assert painted[:100, :200].any()
    assert not painted[200:].any()


def test_a_white_border_is_no_place_for_the_mark() -> None:
    luma = np.full((400, 600), 255, np.uint8)
    luma[120:280, 150:450] = 128
    painted = np.abs(marked(np.zeros((40, 60, 2), np.float32), luma, 1)).max(-1) > 0.1
    assert painted[120:280, 150:450].sum() > 0.8 * painted.sum() > 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (40, 60)])
def test_small_photos_can_be_marked(shape: tuple[int, int]) -> None:
    out = marked(np.zeros((*shape, 2), np.float32), scene(*shape), 1)
    assert out.shape == (*shape, 2)
    assert np.isclose(out, GROUND, atol=0.5).all()
