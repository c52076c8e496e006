"""Full tones for the network's copy of a photo: what is stretched, how far, and what never is."""

import dataclasses
from typing import get_args

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from photo.pictures import FakeModel, flat, scene
from tiny_model import TINY_SPEC

from bwcolor.imaging.color import Array
from bwcolor.imaging.levels import AS_IS, BLACK, NARROWEST, PERCENTILES, WHITE, Stretch, full_tones
from bwcolor.inference.predict import predict, predict_chroma
from bwcolor.inference.session import Average
from bwcolor.models.spec import ModelSpec
from bwcolor.options import Detail, Tones

ALL_OF_IT = np.ones((60, 80), np.float32)
LUMA: Array = np.clip((scene(60, 80).astype(np.float32) / 255 - 0.2) / 0.6, 0, 1).astype(np.float32)
SQUARE = dataclasses.replace(TINY_SPEC, network_size=64, multiple=8, tile_size=64, shape="square")
RGB = dataclasses.replace(SQUARE, input_kind="gray-rgb", output_kind="rgb", output_range=(0.0, 1.0))
AB = dataclasses.replace(
    SQUARE, input_kind="l", output_kind="ab", input_range=(0.0, 100.0), output_range=(-128.0, 128.0)
)

lines = st.tuples(st.floats(0, 0.9), st.floats(0.1, 1)).filter(lambda line: sum(line) <= 1)


def ends(luma: Array) -> list[float]:
    return [float(tone) for tone in np.percentile(luma, PERCENTILES)]


def faded_by(base: float, contrast: float, luma: Array = LUMA) -> Array:
    return np.asarray(base + contrast * luma, np.float32)


def by_luma(batch: Array) -> Array:
    return np.concatenate([batch - 0.5, 0.5 - batch], 1).astype(np.float32)


@given(lines)
@settings(max_examples=60, deadline=None)
def test_two_faded_copies_look_the_same_and_get_the_same_colors_as_far_as_the_contrast_goes(
    line: tuple[float, float],
) -> None:
    base, contrast = line
    within = faded_by(BLACK, WHITE - BLACK)
    faded = faded_by(BLACK + base * (WHITE - BLACK) - contrast * BLACK, contrast, within)
    photos = [full_tones(luma, ALL_OF_IT) for luma in (within, faded)]
    assert_allclose(photos[1].tones(faded), photos[0].tones(within), atol=2e-3)
    assert photos[0].contrast / photos[1].contrast == pytest.approx(contrast, rel=1e-3)


@given(lines)
@settings(max_examples=60, deadline=None)
def test_the_copy_reaches_full_tones_and_never_loses_contrast(line: tuple[float, float]) -> None:
    luma = faded_by(*line)
    stretch = full_tones(luma, ALL_OF_IT)
    copy = stretch.tones(luma)
    low, high = ends(copy)
    assert stretch.contrast >= 1 - 1e-6
    assert low <= BLACK + 1e-4
    assert high >= WHITE - 1e-4
    assert copy.dtype == np.float32
    assert 0 <= copy.min() <= copy.max() <= 1


@given(st.integers(0, 2**32 - 1), lines, st.floats(0, 0.01))
@settings(max_examples=60, deadline=None)
def test_a_little_change_of_the_photo_changes_its_copy_little(
    seed: int, line: tuple[float, float], change: float
) -> None:
    luma = faded_by(*line)
    noise = np.random.default_rng(seed).uniform(-change, change, luma.shape).astype(np.float32)
    copies = [full_tones(one, ALL_OF_IT).tones(one) for one in (luma, luma + noise)]
    assert np.abs(copies[0] - copies[1]).max() <= 4 * change / NARROWEST + 1e-4


def test_a_photo_of_full_tones_stays_as_it_is() -> None:
    luma = np.linspace(0, 1, 4800, dtype=np.float32).reshape(60, 80)
    stretch = full_tones(luma, ALL_OF_IT)
    assert stretch.contrast == pytest.approx(1)
    assert_allclose(stretch.tones(luma), luma, atol=1e-6)
    assert AS_IS.tones(luma) is luma
    assert_array_equal(AS_IS.chroma(np.stack([luma, luma], -1)), np.stack([luma, luma], -1))


@pytest.mark.parametrize("tone", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_what_has_hardly_any_tones_is_not_blown_up(tone: float) -> None:
    """Blank pages; what is lighter or darker than all else stays so."""
    noise = np.random.default_rng(0).uniform(-0.001, 0.001, (60, 80)).astype(np.float32)
    empty = full_tones(np.clip(tone + noise, 0, 1), ALL_OF_IT)
    assert empty.contrast <= 1 / NARROWEST
    shown = empty.tones(np.clip(tone + noise, 0, 1))
    assert np.ptp(shown) <= 1.01 * np.ptp(noise) / NARROWEST
    assert shown.mean() == pytest.approx(np.interp(tone, [0, 1], [0, WHITE] if tone < 0.2 else [BLACK, 1]), abs=0.16)


def test_specks_and_margins_do_not_count() -> None:
    faded = faded_by(0.4, 0.3)
    expected = full_tones(faded, ALL_OF_IT)
    specks = faded.copy()
    specks[::30, ::40], specks[5::30, 5::40] = 0, 1
    assert full_tones(specks, ALL_OF_IT).contrast == pytest.approx(expected.contrast, rel=0.05)
    page = np.pad(faded, 20, constant_values=1)
    weight = np.pad(ALL_OF_IT, 20)
    assert full_tones(page, weight) == expected
    assert full_tones(page, np.zeros_like(page)) == full_tones(page, np.ones_like(page)), "all margin: all of it counts"


def photo_on_a_page(base: float, contrast: float, page: int) -> np.typing.NDArray[np.uint8]:
    photo = np.pad(np.round(base + contrast * scene(200, 240).astype(np.float32)), 40, constant_values=page)
    return np.asarray(np.clip(photo, 0, 255), np.uint8)


@pytest.mark.parametrize("page", [0, 255])
def test_a_faded_photo_on_a_page_is_stretched_as_if_it_had_none(page: int) -> None:
    framed, bare = FakeModel(by_luma), FakeModel(by_luma)
    photo = photo_on_a_page(100, 0.4, page)
    predict_chroma(photo, 1, framed, "fast")
    predict_chroma(photo[40:-40, 40:-40], 1, bare, "fast")
    inner = framed.inputs[0][0, 0, 12:40, 12:46]
    low, high = ends(inner)
    assert high - low > 0.9 * (WHITE - BLACK)
    assert bare.inputs[0].std() == pytest.approx(inner.std(), rel=0.2)


@pytest.mark.parametrize("detail", ["fast", "auto", "max"])
@pytest.mark.parametrize("spec", [TINY_SPEC, SQUARE], ids=["any", "square"])
def test_all_looks_and_tiles_are_fed_the_tones_of_the_whole_photo(detail: Detail, spec: ModelSpec) -> None:
    """A tile of sky has few tones of its own; it must not get more contrast than the rest."""
    clean = np.clip(scene(400, 500).astype(np.int64), 5, 250)
    clean[:200] = 200 + clean[:200] // 16
    faded = (110 + clean * 2 // 5).astype(np.uint8)
    shown = []
    for tones in get_args(Tones):
        model = FakeModel(by_luma, spec)
        predict(faded, 1, model, detail, tones)
        shown.append(model.inputs)
    found = set()
    for full, as_is in zip(*shown, strict=True):
        within = (full > 0.001) & (full < 0.999)
        contrast, base = np.polyfit(as_is[within], full[within], 1)
        assert_allclose(full[within], contrast * as_is[within] + base, atol=0.02)
        found.add((round(contrast, 1), round(base, 1)))
    assert len(found) == 1, "one line for all"
    assert found.pop()[0] > 1.5


@pytest.mark.parametrize("detail", ["fast", "auto", "max"])
@pytest.mark.parametrize("spec", [TINY_SPEC, SQUARE], ids=["any", "square"])
def test_colors_are_as_strong_as_the_contrast(detail: Detail, spec: ModelSpec) -> None:
    photo = scene(400, 500).clip(5, 250)
    faded, more = (np.round(base + contrast * photo).astype(np.uint8) for base, contrast in ((90, 0.4), (150, 0.2)))
    strong, weak = (
        predict_chroma(one, 1, FakeModel(flat(0.2, -0.1), spec), detail).mean((0, 1)) for one in (faded, more)
    )
    assert_allclose(weak, strong / 2, rtol=0.1)  # 8 bits of few levels
    assert strong[0] < 0.18
    as_is = predict_chroma(faded, 1, FakeModel(flat(0.2, -0.1), spec), detail, "as-is")
    assert_allclose(as_is.mean((0, 1)), [0.2, -0.1], atol=1e-3)


@pytest.mark.parametrize("spec", [RGB, AB], ids=["rgb", "ab"])
def test_networks_of_other_projects_get_the_same_copy(spec: ModelSpec) -> None:
    def gray(batch: Array) -> Array:
        return batch if batch.shape[1] == 3 else np.zeros((len(batch), 2, *batch.shape[2:]), np.float32)

    faded = np.round(130 + 0.3 * scene(400, 500).clip(5, 250)).astype(np.uint8)
    ours, theirs = FakeModel(by_luma, SQUARE), FakeModel(gray, spec)
    predict_chroma(faded, 1, ours, "fast")
    assert_allclose(predict_chroma(faded, 1, theirs, "fast"), 0, atol=0.01)
    assert np.ptp(theirs.inputs[0]) > 0.5 * (100 if theirs.inputs[0].max() > 2 else 1)
    if theirs.inputs[0].shape[1] == 3:
        assert_allclose(theirs.inputs[0][0, 0], ours.inputs[0][0, 0], atol=1e-6)


def test_each_network_of_an_average_sees_full_tones() -> None:
    faded = np.round(110 + 0.4 * scene(400, 500)).astype(np.uint8)
    pair = FakeModel(flat(0.2, 0), TINY_SPEC), FakeModel(flat(0.2, 0), SQUARE)
    chroma = predict_chroma(faded, 1, Average(pair), "auto")
    assert all(np.ptp(batch) > 0.5 for model in pair for batch in model.inputs)
    assert 0.05 < chroma[..., 0].mean() < 0.15


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tones_do_not_depend_on_how_a_photo_is_stored(orientation: int) -> None:
    faded = np.round(110 + 0.4 * scene(64, 64)).astype(np.uint8)
    model = FakeModel(by_luma)
    predict_chroma(faded, orientation, model, "fast")
    straight = FakeModel(by_luma)
    predict_chroma(faded, 1, straight, "fast")
    assert_allclose(np.sort(model.inputs[0], None), np.sort(straight.inputs[0], None), atol=1e-6)


def test_the_stretch_is_what_its_docstring_says() -> None:
    stretch = Stretch(2.0, -0.5)
    assert_allclose(stretch.tones(np.array([0, 0.25, 0.5, 1], np.float32)), [0, 0, 0.5, 1])
    assert_allclose(stretch.chroma(np.array([[0.2, -0.4]], np.float32)), [[0.1, -0.2]])


def test_16_bits_of_few_tones_are_stretched_without_steps() -> None:
    deep = (30_000 + scene(300, 300).astype(np.int64) * 8).astype(np.uint16)
    model = FakeModel(by_luma)
    predict_chroma(deep, 1, model, "fast")
    reduced = cv2.resize(deep, (64, 64), interpolation=cv2.INTER_AREA)
    assert len(np.unique(model.inputs[0])) > 0.5 * len(np.unique(reduced))
