"""Predicting chroma: what the network is fed, who decides the colours, and how chroma is enlarged."""

import dataclasses
import functools
import hashlib

import cv2
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from photo.pictures import FakeModel, flat, scene, scene16
from PIL import Image, ImageOps
from tiny_model import TINY_SPEC

from bwcolor.imaging.arrays import Pixels
from bwcolor.imaging.color import Array
from bwcolor.imaging.orientation import as_stored, upright
from bwcolor.inference import predict as chroma_module
from bwcolor.inference.predict import SECOND_SHARE, SECOND_SIZE
from bwcolor.inference.session import Average
from bwcolor.options import Detail

# Photos are fed as they are here; test_levels.py is about their tones.
predict = functools.partial(chroma_module.predict, tones="as-is")
predict_chroma = functools.partial(chroma_module.predict_chroma, tones="as-is")

TILE = TINY_SPEC.tile_size
ODD_SIZES = [(1, 1), (1, 2), (3, 5000), (5000, 3), (255, 333), (64, 64), (31, 33)]
FINE = dataclasses.replace(TINY_SPEC, multiple=4)
SEEN_AS_IS = dataclasses.replace(TINY_SPEC, network_size=64, multiple=1, tile_size=64)


def by_luma(batch: Array) -> Array:
    """Chroma that follows luma, so that it shows where each pixel went."""
    return np.concatenate([batch - 0.5, 0.5 - batch], 1).astype(np.float32)


def wild_in_tiles(batch: Array) -> Array:
    """Soft colours for a whole photo; a random colour of its own for every tile."""
    if batch.shape[2:] != (TILE, TILE):
        return 0.2 * by_luma(batch)
    colours = [
        np.random.default_rng(int.from_bytes(hashlib.sha256(tile.tobytes()).digest()[:4])).uniform(-0.4, 0.4, (2, 1, 1))
        for tile in batch
    ]
    return np.broadcast_to(np.stack(colours), (len(batch), 2, TILE, TILE)).astype(np.float32)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_agrees_with_pil_and_back(orientation: int) -> None:
    stored = scene(5, 7)
    image = Image.fromarray(stored)
    image.getexif()[274] = orientation
    seen = upright(stored, orientation)
    assert_array_equal(seen, np.asarray(ImageOps.exif_transpose(image)))
    assert_array_equal(as_stored(seen, orientation), stored)
    two_channels = np.stack([stored, 255 - stored], -1)
    assert_array_equal(upright(two_channels, orientation)[..., 1], 255 - seen)


@pytest.mark.parametrize("detail", ["fast", "max"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_network_sees_the_photo_upright_and_chroma_comes_back_as_stored(orientation: int, detail: Detail) -> None:
    seen = np.asarray(cv2.resize(scene(9, 14), (280, 180), interpolation=cv2.INTER_LINEAR), np.uint8)
    stored = as_stored(seen, orientation)
    turned, straight = FakeModel(by_luma), FakeModel(by_luma)
    chroma = predict_chroma(stored, orientation, turned, detail)
    expected = predict_chroma(seen, 1, straight, detail)
    assert [batch.shape for batch in turned.inputs] == [batch.shape for batch in straight.inputs]
    for one, other in zip(turned.inputs, straight.inputs, strict=True):
        assert_allclose(one, other, atol=2 / 255)  # reducing before or after turning rounds differently
    assert_allclose(chroma, as_stored(expected, orientation), atol=3 / 255)


@pytest.mark.parametrize("size", [(400, 600), (255, 333), (700, 300), (1000, 751)])
def test_the_whole_pass_decides_the_colours_even_if_every_tile_disagrees(size: tuple[int, int]) -> None:
    photo = scene(*size)
    whole = predict_chroma(photo, 1, FakeModel(wild_in_tiles, FINE), "auto")
    model = FakeModel(wild_in_tiles, FINE)
    tiled = predict_chroma(photo, 1, model, "max")
    assert sum(len(batch) for batch in model.inputs) > 4, "tiles were used"
    assert tiled.shape[0] > 1.5 * whole.shape[0]
    reduced = cv2.resize(tiled, whole.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(reduced - whole).max() < 0.011
    assert np.abs(reduced - whole).mean() < 0.001


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("size", [(1600, 1280), (1001, 751), (617, 1201)])
def test_a_large_photo_is_halved_first(size: tuple[int, int], deep: bool) -> None:
    photo: Pixels = scene(*size).astype(np.uint16) * np.uint16(257) if deep else scene(*size)
    most = np.iinfo(photo.dtype).max
    model = FakeModel(by_luma, SEEN_AS_IS)
    predict_chroma(photo, 1, model, "fast")
    fed = model.inputs[0][0, 0]
    reduced = cv2.resize(photo, fed.shape[::-1], interpolation=cv2.INTER_AREA) / most
    assert np.abs(fed - reduced).mean() < 0.6 / 255
    assert np.abs(fed - reduced).max() < (1.01 if size == (1600, 1280) else 12) / 255, "edges move by a part of a pixel"


def test_tiles_add_detail_that_the_whole_pass_does_not_show() -> None:
    photo = scene(500, 500)
    truth = 0.5 - cv2.resize(photo, (128, 128), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    error = {}
    for detail in ("fast", "max"):
        chroma = predict_chroma(photo, 1, FakeModel(by_luma), detail)
        enlarged = cv2.resize(chroma, (128, 128), interpolation=cv2.INTER_CUBIC)
        error[detail] = np.abs(enlarged[..., 1] - truth).mean()
    assert error["max"] < 0.2 * error["fast"]


@pytest.mark.parametrize("detail", ["fast", "auto", "max"])
@pytest.mark.parametrize("size", ODD_SIZES)
def test_any_size_is_fed_as_the_model_wants_it(size: tuple[int, int], detail: Detail) -> None:
    photo = scene(*size)
    model = FakeModel(by_luma)
    chroma = predict_chroma(photo, 1, model, detail)
    assert chroma.dtype == np.float32
    assert np.isfinite(chroma).all()
    assert all(1 <= small <= large for small, large in zip(chroma.shape, size, strict=False))
    whole, *others = model.inputs
    twice = detail != "fast" and np.sqrt(np.prod(size)) > SECOND_SIZE * TINY_SPEC.network_size
    tiles = others[1:] if twice else others
    for batch in model.inputs:
        assert batch.dtype == np.float32
        assert batch.shape[1] == 1
        assert all(side % TINY_SPEC.multiple == 0 for side in batch.shape[2:])
        assert batch.min() >= 0
        assert batch.max() <= 1
    assert len(whole) == 1
    assert {batch.shape[2:] for batch in tiles} <= {(TILE, TILE)}
    assert bool(tiles) == (detail == "max" and min(size) > 2 and max(size) > 64)


def test_a_small_photo_is_fed_unchanged_and_mirrored_at_its_edges() -> None:
    photo = scene(40, 50)
    model = FakeModel(by_luma)
    chroma = predict_chroma(photo, 1, model, "max")
    fed = model.inputs[0][0, 0]
    assert fed.shape == (64, 64)
    assert_allclose(fed[:40, :50], photo / 255, atol=1e-6)
    assert_allclose(fed[40:, :50], photo[38:14:-1] / 255, atol=1e-6)
    assert_allclose(chroma[..., 0], photo / 255 - 0.5, atol=1e-6)


@pytest.mark.parametrize("size", [(400, 301), (217, 411), (333, 444)])
def test_a_photo_is_reduced_once(size: tuple[int, int]) -> None:
    """Reducing the reduced photo by another pixel would blur it."""
    photo = scene(*size)
    model = FakeModel(by_luma, SEEN_AS_IS)
    predict_chroma(photo, 1, model, "fast")
    fed = model.inputs[0][0, 0]
    reduced = cv2.resize(photo, fed.shape[::-1], interpolation=cv2.INTER_AREA)
    assert_allclose(fed, reduced / 255, atol=1e-6)
    assert fed.shape[0] / fed.shape[1] == pytest.approx(size[0] / size[1], rel=0.03)
    assert np.sqrt(fed.size) == pytest.approx(SEEN_AS_IS.network_size, rel=0.03)


def test_16_bit_gives_the_same_as_8_bit() -> None:
    photo = scene16(300, 200)
    eight = (photo // 257).astype(np.uint8)
    chroma = [predict_chroma(pixels, 1, FakeModel(by_luma), "max") for pixels in (photo, eight)]
    assert_allclose(chroma[0], chroma[1], atol=2 / 255)


def test_a_models_own_value_ranges_are_used() -> None:
    spec = dataclasses.replace(TINY_SPEC, input_range=(-1.0, 1.0), output_range=(-110.0, 110.0))
    model = FakeModel(flat(55, -110), spec)
    chroma = predict_chroma(np.array([[0, 255]], np.uint8), 1, model, "fast")
    assert_allclose(chroma, np.broadcast_to(np.array([0.25, -0.5]), (1, 2, 2)))
    assert_allclose(model.inputs[0][0, 0, 0, :2], [-1, 1])


def test_chroma_beyond_the_models_range_is_cut_to_it() -> None:
    chroma = predict_chroma(scene(20, 20), 1, FakeModel(flat(3, -3)), "fast")
    assert_allclose(chroma[0, 0], [0.5, -0.5])


SQUARE = dataclasses.replace(TINY_SPEC, network_size=64, multiple=8, tile_size=64, shape="square")


@pytest.mark.parametrize("detail", ["fast", "auto", "max"])
@pytest.mark.parametrize("size", [*ODD_SIZES, (640, 480), (300, 40)])
def test_a_square_network_sees_every_photo_squashed_once(size: tuple[int, int], detail: Detail) -> None:
    model = FakeModel(by_luma, SQUARE)
    chroma = predict_chroma(scene(*size), 1, model, detail)
    assert [batch.shape for batch in model.inputs] == [(1, 1, 64, 64)]
    assert 0 <= model.inputs[0].min() <= model.inputs[0].max() <= 1
    assert chroma.shape == (min(64, size[0]), min(64, size[1]), 2)
    assert chroma.dtype == np.float32
    assert np.isfinite(chroma).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(200, 320), (30, 400)])
def test_chroma_of_a_square_network_lies_where_the_photo_has_it(size: tuple[int, int], orientation: int) -> None:
    photo = np.asarray(cv2.resize(scene(6, 8), size[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
    model = FakeModel(by_luma, SQUARE)
    chroma = predict_chroma(photo, orientation, model, "auto")
    back = cv2.resize(chroma, size[::-1], interpolation=cv2.INTER_CUBIC)
    assert_allclose(back[..., 0], photo / 255 - 0.5, atol=0.12)
    assert np.abs(back[..., 0] - photo / 255 + 0.5).mean() < 0.01
    seen = upright(photo, orientation)
    squashed = cv2.resize(seen, (64, 64), interpolation=cv2.INTER_AREA if min(size) > 64 else cv2.INTER_LINEAR)
    assert np.abs(model.inputs[0][0, 0] - squashed / 255).mean() < 0.01


def test_a_square_network_may_give_chroma_at_a_part_of_its_size() -> None:
    model = FakeModel(lambda batch: by_luma(batch[:, :, 2::4, 2::4]), SQUARE)
    chroma = predict_chroma(scene(200, 300), 1, model, "auto")
    assert chroma.shape == (16, 16, 2)
    assert_allclose(chroma[..., 0], model.inputs[0][0, 0, 2::4, 2::4] - 0.5, atol=1e-6)


def test_stripes_finer_than_a_square_network_sees_become_gray() -> None:
    """Also in a photo that is narrower than the square, so that one side grows and the other shrinks."""
    photo = np.zeros((30, 2000), np.uint8)
    photo[:, ::2] = 255
    model = FakeModel(by_luma, SQUARE)
    predict_chroma(photo, 1, model, "auto")
    assert_allclose(model.inputs[0], 0.5, atol=0.02)


def test_averaged_chroma_stays_in_its_range() -> None:
    """Enlarging the chroma of the smaller network overshoots at edges."""
    edges = FakeModel(lambda batch: np.asarray(np.sign(by_luma(batch)) / 2, np.float32), SQUARE)
    strong = FakeModel(flat(0.5, 0.5), dataclasses.replace(TINY_SPEC, network_size=256))
    photo = np.repeat(np.repeat(np.random.default_rng(0).choice([40, 200], (30, 30)), 10, 0), 10, 1).astype(np.uint8)
    chroma = predict_chroma(photo, 1, Average((edges, strong)), "fast")
    assert chroma.shape == (256, 256, 2)
    assert np.abs(chroma).max() == pytest.approx(0.5, abs=1e-6)


def by_size(batch: Array) -> Array:
    """Cb 0.1 for a photo at the network's size or above, 0.1 and Cr 0.06 for a smaller one."""
    small = max(batch.shape[2:]) < TINY_SPEC.network_size
    return flat(0.1, 0.06 if small else 0)(batch)


def test_tiles_are_no_larger_than_the_photo() -> None:
    model = FakeModel(by_luma, dataclasses.replace(TINY_SPEC, tile_size=4096))
    predict_chroma(scene(400, 300), 1, model, "max")
    assert max(batch.shape[2] for batch in model.inputs) <= 2 * TINY_SPEC.network_size + TINY_SPEC.multiple


@pytest.mark.parametrize("detail", ["auto", "max"])
def test_two_looks_are_averaged_and_doubt_is_what_lies_between_them(detail: Detail) -> None:
    photo = scene(400, 400)
    found = predict(photo, 1, FakeModel(by_size, FINE), detail)
    assert found.doubt == pytest.approx(255 * 0.06, rel=0.02)
    assert_allclose(found.chroma.mean((0, 1)), [0.1, SECOND_SHARE * 0.06], atol=1e-3)
    sure = predict(photo, 1, FakeModel(flat(0.1, -0.2)), detail)
    assert sure.doubt == pytest.approx(0, abs=1e-3)
    assert_allclose(sure.chroma.mean((0, 1)), [0.1, -0.2], atol=1e-3)


def test_the_second_look_is_smaller() -> None:
    model = FakeModel(by_luma, SEEN_AS_IS)
    photo = scene(400, 300)
    found = predict(photo, 1, model, "auto")
    first, second = (batch[0, 0] for batch in model.inputs)
    assert second.shape[0] == pytest.approx(2 / 3 * first.shape[0], abs=1)
    expected = cv2.resize(first, second.shape[::-1], interpolation=cv2.INTER_AREA)
    assert_allclose(second, expected, atol=1e-5)
    assert found.doubt is not None
    assert found.doubt < 6, "chroma that follows luma is nearly the same at both sizes"
    once = predict_chroma(photo, 1, FakeModel(by_luma, SEEN_AS_IS), "fast")
    assert np.abs(found.chroma - once).mean() < 0.02


def test_margins_neither_add_nor_take_doubt() -> None:
    page = np.full((300, 300), 255, np.uint8)
    page[75:225, 75:225] = scene(150, 150)
    bare, framed = (predict(photo, 1, FakeModel(by_size, FINE), "auto") for photo in (page[75:225, 75:225], page))
    assert bare.doubt is not None
    assert framed.doubt is not None
    assert framed.doubt == pytest.approx(bare.doubt, rel=0.15)


def test_nobody_looks_twice_where_it_tells_nothing() -> None:
    fast = FakeModel(by_size)
    assert predict(scene(400, 400), 1, fast, "fast").doubt is None
    assert len(fast.inputs) == 1
    assert predict(scene(20, 20), 1, FakeModel(by_size), "auto").doubt is None, "it is small as it is"
    assert predict(scene(400, 400), 1, FakeModel(flat(0, 0), SQUARE), "auto").doubt is None


def test_doubt_of_an_average_is_that_of_its_networks() -> None:
    photo = scene(400, 400)
    sure, unsure = FakeModel(flat(0.1, 0)), FakeModel(by_size, FINE)
    assert predict(photo, 1, Average((sure, unsure)), "auto").doubt == pytest.approx(255 * 0.03, rel=0.02)
