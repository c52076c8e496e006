"""Gray, tinted and colour scans are told apart, on pictures made from seeds."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from photo.pictures import scene

from bwcolor.imaging.color_detection import Kind, kind_of

Picture = NDArray[np.float64]  # (HEIGHT, WIDTH, 3), sRGB, 0..1
HEIGHT, WIDTH = 240, 340
SEEDS = range(4)


def gray(seed: int) -> Picture:
    """A photo-like picture whose blacks and whites are those of paper."""
    return np.repeat(0.08 + 0.85 * scene(HEIGHT, WIDTH, seed)[..., None] / 255, 3, 2)


def colour(seed: int) -> Picture:
    """The same picture with things in their own colours: patches with outlines that follow no lightness."""
    rng = np.random.default_rng(seed + 100)
    things = np.zeros((HEIGHT, WIDTH), np.int32)
    for thing in range(1, 13):
        centre = (int(rng.integers(WIDTH)), int(rng.integers(HEIGHT)))
        axes = (int(rng.integers(20, 70)), int(rng.integers(20, 70)))
        cv2.ellipse(things, centre, axes, float(rng.integers(180)), 0, 360, thing, -1)
    hues = rng.uniform(0, 2 * np.pi, 13)
    strength = 0.15 * np.stack([np.cos(hues + turn) for turn in (0, 2 * np.pi / 3, 4 * np.pi / 3)], -1)
    return np.asarray(np.clip(gray(seed) + strength[things], 0, 1))


def toned(picture: Picture, ink: tuple[float, ...], paper: tuple[float, ...], bend: tuple[float, ...]) -> Picture:
    """The tone between an ink and a paper; `bend` is each channel's exponent."""
    return np.asarray(np.asarray(ink) + (np.asarray(paper) - ink) * picture**bend)


def sepia(seed: int) -> Picture:
    return toned(gray(seed), (0.2, 0.1, 0.05), (1, 0.93, 0.78), (0.9, 1, 1.2))


def cyanotype(seed: int) -> Picture:
    return toned(gray(seed), (0.02, 0.15, 0.4), (0.9, 0.95, 0.95), (1.5, 1, 0.8))


def split_toned(seed: int) -> Picture:
    light = gray(seed)
    return light + np.array([-0.05, 0, 0.06]) * (1 - light) + np.array([0.05, 0.01, -0.07]) * light


def stained(seed: int) -> Picture:
    """Yellow in one corner, fading away from it, on paper that is a little yellow."""
    rows, columns = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    stain = np.exp(-(((rows - 0.2) / 0.5) ** 2) - ((columns - 0.9) / 0.5) ** 2)[..., None]
    return np.asarray(gray(seed) * [1, 0.98, 0.93] * (1 - stain * [0.02, 0.08, 0.25]))


def stamped(seed: int) -> Picture:
    """A red stamp, a blue caption and a strip of colours at the edge, on a neutral print."""
    picture = np.ascontiguousarray(np.round(255 * gray(seed)).astype(np.uint8))
    cv2.circle(picture, (250, 70), 22, (190, 40, 40), 4)
    cv2.putText(picture, "Oma 1931", (60, 215), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (60, 70, 170), 2)
    for index, tone in enumerate([(200, 50, 50), (50, 160, 60), (40, 60, 170), (240, 220, 40)]):
        picture[:12, 60 * index : 60 * index + 60] = tone
    return picture / 255


def faded(seed: int) -> Picture:
    """An old chromogenic print: half the saturation, little contrast, magenta in the shadows, yellow paper."""
    picture = colour(seed)
    light = picture.mean(2, keepdims=True)
    return toned(light + 0.5 * (picture - light), (0.3, 0.18, 0.24), (1, 0.92, 0.75), (1, 1, 1))


def hand_coloured(seed: int) -> Picture:
    """A sepia print with painted cheeks, dress and sky."""
    paint = np.zeros((HEIGHT, WIDTH, 3))
    cv2.ellipse(paint, (110, 160), (50, 60), 0, 0, 360, (-0.1, 0.02, 0.16), -1)
    cv2.ellipse(paint, (240, 90), (50, 40), 0, 0, 360, (0.14, -0.08, -0.04), -1)
    cv2.ellipse(paint, (270, 190), (40, 40), 0, 0, 360, (-0.1, 0.08, -0.1), -1)
    return sepia(seed) + paint


def scanned(picture: Picture, seed: int) -> NDArray[np.uint8]:
    """8 bits, with the chroma noise of a scanner and a JPEG of quality 70, 4:2:0."""
    rng = np.random.default_rng(seed)
    noisy = (255 * picture + rng.normal(0, 2.5, picture.shape)).round().clip(0, 255).astype(np.uint8)
    half_chroma = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    encoded = cv2.imencode(".jpg", noisy[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 70, *half_chroma])[1]
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(decoded[..., ::-1], np.uint8)


def exact(picture: Picture, seed: int) -> NDArray[np.uint8]:
    return (255 * picture).round().clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("finish", [exact, scanned])
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (gray, "gray"),
        (stamped, "gray"),
        (sepia, "tinted"),
        (cyanotype, "tinted"),
        (split_toned, "tinted"),
        (stained, "tinted"),
        (colour, "colour"),
        (faded, "colour"),
        (hand_coloured, "colour"),
    ],
)
def test_kinds(
    make: Callable[[int], Picture], kind: Kind, finish: Callable[[Picture, int], NDArray[np.uint8]], seed: int
) -> None:
    assert kind_of(finish(make(seed), seed)) == kind


@pytest.mark.parametrize("seed", SEEDS)
def test_a_scanners_slight_cast_is_no_colour(seed: int) -> None:
    assert kind_of(scanned(gray(seed) * [1.03, 1, 0.96], seed)) in ("gray", "tinted")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("make", "kind"), [(gray, "gray"), (sepia, "tinted"), (colour, "colour")])
def test_size_and_turning_do_not_matter(make: Callable[[int], Picture], kind: Kind, seed: int) -> None:
    picture = exact(make(seed), seed)
    for side in (120, 512):
        resized = cv2.resize(picture, (side, side * HEIGHT // WIDTH), interpolation=cv2.INTER_AREA)
        assert kind_of(np.asarray(resized, np.uint8)) == kind
    assert kind_of(np.ascontiguousarray(np.rot90(picture))) == kind


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (1, 512), (512, 1), (3, 500), (16, 16)])
def test_any_size_works(size: tuple[int, int]) -> None:
    assert kind_of(np.full((*size, 3), 120, np.uint8)) == "gray"
    assert kind_of(np.full((*size, 3), (140, 120, 90), np.uint8)) == "tinted"


@pytest.mark.parametrize("seed", SEEDS)
def test_tones_that_bend_are_no_colour(seed: int) -> None:
    """Shadows and highlights warm, middle tones cold: no straight line through the tones."""
    light = gray(seed)
    bent = light + np.array([0.1, 0, -0.12]) * (8 * (light - 0.5) ** 2 - 1)
    assert kind_of(exact(bent, seed)) == "tinted"


@pytest.mark.parametrize("seed", SEEDS)
def test_weak_colours_are_colour(seed: int) -> None:
    picture = colour(seed)
    light = picture.mean(2, keepdims=True)
    assert kind_of(exact(light + 0.1 * (picture - light), seed)) == "colour"


def test_black_white_and_the_noise_of_dark_pictures_are_neutral() -> None:
    for level in (0, 255):
        assert kind_of(np.full((100, 150, 3), level, np.uint8)) == "gray"
    assert kind_of(scanned(np.full((300, 400, 3), 0.03), 0)) == "gray"


@pytest.mark.parametrize("mount", [(120, 84, 52), (240, 232, 215), (40, 70, 60), (200, 170, 150)])
@pytest.mark.parametrize("photos", [1, 2])
def test_a_gray_photo_on_a_coloured_mount_is_not_in_colour(mount: tuple[int, int, int], photos: int) -> None:
    rng = np.random.default_rng(5)
    page = np.empty((300, 460, 3), np.float32)
    page[:] = mount
    for number in range(photos):
        coarse = rng.uniform(20, 235, (6, 7)).astype(np.float32)
        gray = np.clip(cv2.resize(coarse, (170, 200), interpolation=cv2.INTER_CUBIC), 0, 255)
        left = 30 + 220 * number
        page[50:250, left : left + 170] = gray[..., None]
    page += rng.normal(0, 1.5, page.shape).astype(np.float32)
    assert kind_of(np.clip(page, 0, 255).astype(np.uint8)) in ("gray", "tinted")


def test_a_colour_photo_on_a_white_mount_is_in_colour() -> None:
    rng = np.random.default_rng(6)
    page = np.full((300, 460, 3), 246, np.float32)
    coarse = rng.uniform(20, 235, (6, 7, 3)).astype(np.float32)
    page[40:260, 60:400] = cv2.resize(coarse, (340, 220), interpolation=cv2.INTER_CUBIC)
    assert kind_of(np.clip(page, 0, 255).astype(np.uint8)) == "colour"
