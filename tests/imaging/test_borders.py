"""Plain margins lose their chroma; photos without a certain margin keep all of theirs."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from bwcolor.imaging.borders import border_weight
from bwcolor.imaging.color import Array

HEIGHT, WIDTH = 160, 220  # px of the photo
TOP, BOTTOM, LEFT, RIGHT = 20, 30, 16, 24  # px of margin
PAGES = {"white": 0.97, "cream": 0.87, "gray": 0.5, "black": 0.07}
PHOTO = (slice(TOP, TOP + HEIGHT), slice(LEFT, LEFT + WIDTH))


def photo(seed: int = 0) -> Array:
    """(HEIGHT, WIDTH) luma 0..1, soft shapes at several scales, darker than 0.85 and lighter than 0.1."""
    rng = np.random.default_rng(seed)
    shapes: Array = np.zeros((HEIGHT, WIDTH), np.float32)
    for cells, amplitude in ((3, 0.3), (10, 0.2), (30, 0.1)):
        coarse = rng.normal(0, amplitude, (cells, cells)).astype(np.float32)
        shapes += cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.asarray(0.15 + 0.6 / (1 + np.exp(-4 * shapes)), np.float32)


def on_page(picture: Array, tone: float, noise: float = 0.005) -> Array:
    """The photo on an album page with scanner noise, its standard deviation in 0..1."""
    page = cv2.copyMakeBorder(picture, TOP, BOTTOM, LEFT, RIGHT, cv2.BORDER_CONSTANT, value=tone)
    grain = np.random.default_rng(1).normal(0, noise, page.shape)
    return np.asarray(np.clip(page + grain, 0, 1), np.float32)


def margin_of(weight: Array) -> Array:
    """The weights of all pixels outside the photo."""
    outside = np.ones(weight.shape, bool)
    outside[PHOTO] = False
    return weight[outside]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("seed", range(4))
def test_margins_become_neutral_and_the_photo_keeps_its_colours(page: str, seed: int) -> None:
    weight = border_weight(on_page(photo(seed), PAGES[page]))
    assert margin_of(weight).mean() < 0.01
    assert (weight[PHOTO][4:-4, 4:-4] == 1).all()
    assert weight.dtype == np.float32


def test_the_edge_is_soft() -> None:
    middle = border_weight(on_page(photo(), PAGES["white"]))[TOP + HEIGHT // 2]
    assert np.abs(np.diff(middle)).max() < 0.5


def test_a_caption_specks_and_round_corners_do_not_hide_a_margin() -> None:
    page = on_page(photo(), PAGES["cream"])
    ink = np.zeros(page.shape, np.uint8)
    at = (LEFT + 10, TOP + HEIGHT + 20)
    cv2.putText(ink, "Sommer 1931", at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1)
    rng = np.random.default_rng(2)
    for y, x in zip(rng.integers(0, page.shape[0], 15), rng.integers(0, page.shape[1], 15), strict=True):
        ink[y, x] = 255
    corner = np.add.outer(np.arange(8), np.arange(8)) < 7
    page[PHOTO][:8, :8][corner] = PAGES["cream"]
    assert margin_of(border_weight(np.where(ink > 0, np.float32(0.2), page))).mean() < 0.01


def test_a_margin_on_three_sides_is_enough_and_on_two_is_not() -> None:
    page = on_page(photo(), PAGES["white"])
    three, two = page[TOP:], page[TOP:, LEFT:]
    assert border_weight(three)[-1].max() == 0
    assert border_weight(three)[:8, LEFT + 4 : LEFT + WIDTH - 4].min() == 1
    assert (border_weight(two) == 1).all()


def sea() -> Array:
    """A white sky, a straight horizon, dark water that is bright again at the shore."""
    picture = photo()
    picture[:60] = 0.98
    picture[140:] = 0.98
    return picture


def night() -> Array:
    """Black at the top and at both sides, lit in an oval."""
    rows, columns = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    picture = photo()
    picture[(rows / 0.8) ** 2 + (columns / 0.8) ** 2 > 1] = 0.02
    return picture


def product() -> Array:
    """A round thing on white."""
    picture = np.full((HEIGHT, WIDTH), 0.98, np.float32)
    cv2.circle(picture, (WIDTH // 2, HEIGHT // 2), 70, 0.3, -1)
    return picture


def cross() -> Array:
    """A broad cross on white: its ends are straight steps, but over less than half a side."""
    page = on_page(np.full((HEIGHT, WIDTH), 0.97, np.float32), 0.97)
    page[TOP : TOP + HEIGHT, LEFT + 60 : LEFT + 170] = 0.3
    page[TOP + 40 : TOP + 125, LEFT : LEFT + WIDTH] = 0.3
    return page


def tabs() -> Array:
    """A dark box on white with a tab on every side: what is parted from the box by a step is no plain margin."""
    page = on_page(np.full((HEIGHT, WIDTH), 0.3, np.float32), 0.97)
    page[TOP - 8 : TOP + HEIGHT + 8, LEFT + 70 : LEFT + 135] = 0.3
    page[TOP + 50 : TOP + 100, LEFT - 8 : LEFT + WIDTH + 8] = 0.3
    return page


def faint_step() -> Array:
    """A margin that the photo's own edge hardly differs from."""
    picture = np.full((HEIGHT, WIDTH), 0.5, np.float32)
    picture[20:-20, 20:-20] = 0.52
    return picture


def textured() -> Array:
    """A photo on a page with a strong pattern."""
    return on_page(photo(), 0.5, noise=0.2)


@pytest.mark.parametrize("make", [photo, sea, faint_step, textured])
def test_photos_without_a_certain_margin_are_left_alone(make: Callable[[], Array]) -> None:
    assert (border_weight(make()) == 1).all()


@pytest.mark.parametrize(("make", "ground"), [(night, 0.02), (product, 0.98), (cross, 0.97), (tabs, 0.97)])
def test_a_plain_ground_on_all_sides_is_neutral_and_what_stands_on_it_is_not(
    make: Callable[[], Array], ground: float
) -> None:
    picture = make()
    weight = border_weight(picture)
    like = (np.abs(picture - ground) < 0.03).astype(np.uint8)
    deep_in_ground, off_ground = (cv2.erode(mask, np.ones((7, 7), np.uint8)) > 0 for mask in (like, 1 - like))
    assert weight[deep_in_ground].mean() < 0.02
    assert (weight[off_ground] == 1).all()


@pytest.mark.parametrize("tone", [0.08, 0.47, 0.92])
@pytest.mark.parametrize("angles", [(0.0, 0.0), (8.0, -12.0), (25.0, 0.0)])
def test_a_page_with_several_photos_is_neutral_between_them(angles: tuple[float, float], tone: float) -> None:
    page = np.full((280, 420), tone, np.float32)
    covered = np.zeros(page.shape, np.uint8)
    for number, angle in enumerate(angles):
        small = cv2.resize(photo(number), (130, 95), interpolation=cv2.INTER_AREA)
        move = cv2.getRotationMatrix2D((65, 47), angle, 1.0)
        move[:, 2] += (40 + 200 * number, 90)
        turned = cv2.warpAffine(small, move, (420, 280), flags=cv2.INTER_LINEAR)
        there = cv2.warpAffine(np.full(small.shape, 255, np.uint8), move, (420, 280), flags=cv2.INTER_NEAREST) > 0
        page[there], covered[there] = turned[there], 1
    page += np.random.default_rng(3).normal(0, 0.008, page.shape).astype(np.float32)
    weight = border_weight(np.clip(page, 0, 1))
    inside, outside = (cv2.erode(mask, np.ones((9, 9), np.uint8)) > 0 for mask in (covered, 1 - covered))
    assert weight[outside].mean() < 0.03
    assert weight[inside].mean() > 0.97


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (3, 5), (40, 40)])
@pytest.mark.parametrize("tone", [0.0, 0.5, 1.0])
def test_flat_and_tiny_pictures_are_left_alone(size: tuple[int, int], tone: float) -> None:
    assert (border_weight(np.full(size, tone, np.float32)) == 1).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 2), (7, 4)])
def test_any_size_works(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).random(size, np.float32)
    weight = border_weight(noise)
    assert weight.shape == size
    assert ((weight >= 0) & (weight <= 1)).all()
