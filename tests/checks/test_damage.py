"""Damage for measuring: reproducible, the same for all channels, and what its words say."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bwcolor.checks.damage import DAMAGES, damaged
from bwcolor.imaging.color import luma, rgb_to_chroma

PHOTO = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)


@pytest.mark.parametrize(
    ("name", "base", "contrast"), [("faded", 110, 0.45), ("very-faded", 170, 0.25), ("dark", 0, 0.3)]
)
def test_lines(name: str, base: float, contrast: float) -> None:
    found = damaged(PHOTO, name)
    assert_allclose(found, base + contrast * PHOTO, atol=0.51)
    assert DAMAGES[name].words == f"{base:g} + {contrast:g} v"
    before, after = (luma(one.astype(np.float32)) for one in (PHOTO, found))
    assert_allclose(after, base + contrast * before, atol=1)
    chroma = [rgb_to_chroma(one.astype(np.float32) / np.float32(255)) for one in (PHOTO, found)]
    assert_allclose(chroma[1], contrast * chroma[0], atol=1.5 / 255)


def test_clipped_loses_both_ends() -> None:
    found = damaged(PHOTO, "clipped")
    assert (found[PHOTO <= 64] == 0).all()
    assert (found[PHOTO >= 192] == 255).all()
    assert_array_equal(found[PHOTO == 100], 72)


def test_fog_is_thick_at_the_top_and_leaves_the_foreground() -> None:
    found = damaged(PHOTO, "fog")
    spread = found.std((1, 2)) / PHOTO.std((1, 2))
    assert spread[0] == pytest.approx(0.2, abs=0.02)
    assert spread[-1] == pytest.approx(0.9, abs=0.02)
    assert (np.diff(spread) > -0.02).all()
    assert found[0].min() >= 187


@pytest.mark.parametrize("name", DAMAGES)
def test_the_photo_itself_is_untouched(name: str) -> None:
    before = PHOTO.copy()
    assert damaged(PHOTO, name).dtype == np.uint8
    assert_array_equal(PHOTO, before)
