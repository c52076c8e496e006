"""Colour in bins: published Lab values, exact round trips, targets against brute force."""

import numpy as np
import pytest
import torch
from bwcolor_training.colours import (
    BINS,
    ab_to_chroma,
    annealed_mean,
    bin_centres,
    chroma_to_ab,
    colour_histogram,
    pixel_rarity,
    rarity,
    rgb_to_ab,
    soft_encode,
)
from bwcolor_training.data.degrade import to_chroma, to_luma
from bwcolor_training.errors import TrainingInputError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from torch import Tensor

from bwcolor.imaging.color import LUMA_WEIGHTS, RGB_TO_XYZ, rgb_to_lab, srgb_to_linear

PIXELS = 8  # per example
properties = settings(max_examples=100, deadline=None)
rgb_pixels = arrays(np.float64, (PIXELS, 3), elements=st.floats(0, 1))
muted_pixels = arrays(np.float64, (PIXELS, 3), elements=st.floats(0.35, 0.65))

RED_AB, GREEN_AB, BLUE_AB = (80.09, 67.20), (-86.18, 83.18), (79.19, -107.86)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photos(count: int = 2) -> Tensor:
    """Noise in every colour: (count, 3, 24, 16), 0..1."""
    return torch.rand(count, 3, 24, 16, generator=seeded())


def plane(values: object) -> Tensor:
    """(PIXELS, C) -> (1, C, 1, PIXELS) float64."""
    return torch.as_tensor(np.asarray(values, np.float64)).t()[None, :, None]


def one_pixel(a: float, b: float) -> Tensor:
    """(1, 2, 1, 1)."""
    return torch.tensor([a, b]).view(1, 2, 1, 1)


def dense(bins: Tensor, shares: Tensor) -> Tensor:
    """NKHW bins and shares -> the distribution over all bins, N x BINS x H x W."""
    n, _, height, width = bins.shape
    return torch.zeros(n, BINS, height, width).scatter_add_(1, bins, shares)


def gray_of_equal_lightness(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """The gamma-encoded gray with the luminance of a colour: (..., 3) -> (..., 1)."""
    light = srgb_to_linear(rgb) @ RGB_TO_XYZ[1]
    gray: NDArray[np.float64] = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return gray[..., None]


# Colour spaces


@pytest.mark.parametrize(
    ("rgb", "ab"),
    [
        ((1, 0, 0), RED_AB),
        ((0, 1, 0), GREEN_AB),
        ((0, 0, 1), BLUE_AB),
        ((0, 1, 1), (-48.09, -14.13)),
        ((1, 0, 1), (98.23, -60.82)),
        ((1, 1, 0), (-21.55, 94.48)),
        ((1, 1, 1), (0, 0)),
        ((0, 0, 0), (0, 0)),
        ((0.5, 0.5, 0.5), (0, 0)),
    ],
)
def test_ab_of_srgb(rgb: tuple[float, ...], ab: tuple[float, float]) -> None:
    """Fails for BGR input, for linear light left out and for a white point other than D65."""
    assert_allclose(rgb_to_ab(torch.tensor(rgb, dtype=torch.float32).view(1, 3, 1, 1)).flatten(), ab, atol=0.02)


def test_ab_is_the_runtimes() -> None:
    rgb = torch.cat([photos(), photos() / 50])  # dark ones lie on the straight parts of both curves
    expected = rgb_to_lab(rgb.permute(0, 2, 3, 1).numpy())[..., 1:]
    assert_allclose(rgb_to_ab(rgb).permute(0, 2, 3, 1), expected, atol=2e-3)
    assert_allclose(rgb_to_ab(rgb.double()).permute(0, 2, 3, 1), expected, atol=1e-9)


def test_ab_of_luma_and_chroma_is_that_of_the_photo() -> None:
    rgb = photos()
    assert_allclose(chroma_to_ab(to_luma(rgb), to_chroma(rgb)), rgb_to_ab(rgb), atol=0.02)


def test_ab_of_chroma_outside_the_gamut_is_that_of_clipped_channels() -> None:
    luma, chroma = torch.full((1, 1, 1, 1), 0.9), one_pixel(0.0, 0.5)  # red 1.6, green 0.54, blue 0.9
    green = 0.9 - 0.5 * 1.402 * LUMA_WEIGHTS[0] / LUMA_WEIGHTS[1]
    expected = rgb_to_lab(np.array([1, green, 0.9]))[1:]
    assert_allclose(chroma_to_ab(luma, chroma).flatten(), expected, atol=1e-2)


@properties
@given(rgb_pixels)
def test_chroma_is_exact_where_luma_has_the_colours_lightness(rgb: NDArray[np.float64]) -> None:
    """Fails for a wrong inverse matrix or curve: the way back must give the colour that the a*b* came from."""
    chroma = ab_to_chroma(plane(gray_of_equal_lightness(rgb)), rgb_to_ab(plane(rgb)))
    assert_allclose(chroma, to_chroma(plane(rgb)), atol=1e-6)


@properties
@given(muted_pixels)
def test_chroma_of_a_muted_colour_comes_back_from_its_own_luma(rgb: NDArray[np.float64]) -> None:
    """Its L* is not quite that of a gray with its luma, so the round trip is close but not exact."""
    luma, chroma = to_luma(plane(rgb)), to_chroma(plane(rgb))
    assert_allclose(ab_to_chroma(luma, chroma_to_ab(luma, chroma)), chroma, atol=0.02)


def reference_chroma(luma: float, ab: tuple[float, float]) -> NDArray[np.float64]:
    """The textbook's way through L*, XYZ, linear and gamma-encoded RGB."""
    lightness = rgb_to_lab(np.full(3, luma))[0]
    f = (lightness + 16) / 116 + np.array([ab[0] / 500, 0, -ab[1] / 200])
    relative = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29))
    light = np.clip(np.linalg.solve(RGB_TO_XYZ, relative * RGB_TO_XYZ.sum(1)), 0, None)
    r, g, b = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    y = np.dot(LUMA_WEIGHTS, (r, g, b))
    return np.array([(b - y) / 1.772, (r - y) / 1.402])


@pytest.mark.parametrize("luma", [0.01, 0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("ab", [(0, 10), (15, -20), RED_AB, GREEN_AB, BLUE_AB])
def test_chroma_is_the_textbooks_outside_the_gamut_too(luma: float, ab: tuple[float, float]) -> None:
    """Fails where light below 0 is not clipped."""
    chroma = ab_to_chroma(torch.full((1, 1, 1, 1), luma), one_pixel(*ab)).flatten()
    assert_allclose(chroma, reference_chroma(luma, ab), atol=2e-5)


def test_no_colour_is_exactly_no_chroma() -> None:
    luma = torch.cat([torch.linspace(0, 1, 256), torch.rand(5000, generator=seeded())]).view(1, 1, 1, -1)
    assert not ab_to_chroma(luma, torch.zeros(1, 2, 1, luma.shape[-1])).any()


def test_chroma_points_where_ab_points() -> None:
    luma = torch.full((1, 1, 1, 1), 0.5)
    _, red = ab_to_chroma(luma, one_pixel(20, 0)).flatten()
    blue, _ = ab_to_chroma(luma, one_pixel(0, -20)).flatten()
    assert red > 0.03
    assert blue > 0.03


def test_gradients_are_right_inside_the_gamut() -> None:
    rgb = (0.2 + 0.6 * photos(1)[..., :3, :2]).double()
    luma, ab = to_luma(rgb).requires_grad_(), (0.3 * rgb_to_ab(rgb)).requires_grad_()
    torch.autograd.gradcheck(ab_to_chroma, (luma, ab))
    torch.autograd.gradcheck(rgb_to_ab, (rgb.requires_grad_(),))


def test_gradients_are_finite_everywhere() -> None:
    luma, a, b = (
        values.reshape(1, 1, 1, -1).contiguous().requires_grad_()
        for values in torch.meshgrid(
            torch.tensor([-0.1, 0, 1e-6, 0.04, 0.04045, 0.5, 1]),  # the first as resampling may give it
            torch.tensor([-128.0, -10, 0, 10, 128]),
            torch.tensor([-128.0, -10, 0, 10, 128]),
            indexing="ij",
        )
    )
    chroma = ab_to_chroma(luma, torch.cat([a, b], 1))
    assert chroma.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(chroma.sum(), (luma, a, b)))
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3).t()[None, :, None].contiguous().requires_grad_()
    assert torch.autograd.grad(rgb_to_ab(corners).sum(), corners)[0].isfinite().all()


# Bins


def test_bins_are_those_that_colours_reach() -> None:
    """The whole RGB cube, inside included, in 64 levels and by other code than that under test."""
    levels = torch.linspace(0, 1, 64, dtype=torch.float64)
    cube = torch.cartesian_prod(levels, levels, levels).t()[None, :, None]
    reached = torch.unique((rgb_to_ab(cube)[0, :, 0].t() / 10 + 0.5).floor() * 10, dim=0)
    assert torch.equal(bin_centres().double(), reached)
    assert bin_centres().shape == (BINS, 2)


def test_every_colour_lies_in_its_bin() -> None:
    ab = rgb_to_ab((photos(20) * 255).round() / 255)
    weights = torch.arange(BINS, dtype=torch.float32)  # a look at which bin it is
    centres = bin_centres()[pixel_rarity(ab, weights)[:, 0].long()].permute(0, 3, 1, 2)
    assert (ab - centres).abs().max() <= 5.001


def test_shares_of_a_centre_by_hand() -> None:
    bins, shares = soft_encode(one_pixel(10, 20))
    around = {(10, 20), (0, 20), (20, 20), (10, 10), (10, 30)}
    assert {tuple(centre.tolist()) for centre in bin_centres()[bins.flatten()]} == around
    assert_allclose(shares.flatten(), np.array([1, *[np.exp(-2)] * 4]) / (1 + 4 * np.exp(-2)), rtol=1e-5)


def test_shares_with_other_settings() -> None:
    bins, shares = soft_encode(one_pixel(12, 20), neighbours=2, sigma=10)
    assert bin_centres()[bins.flatten()].tolist() == [[10, 20], [20, 20]]
    assert_allclose(shares.flatten(), [np.exp(-0.02) / (np.exp(-0.02) + np.exp(-0.32)), 0.42555748], rtol=1e-5)


@pytest.mark.parametrize("neighbours", [1, 5, 9])
def test_neighbours_are_nearly_the_nearest_by_brute_force(neighbours: int) -> None:
    """Each is at most twice a unit cell's half diagonal farther than the true one; the first is exact."""
    ab = rgb_to_ab(photos(4))
    bins, shares = soft_encode(ab, neighbours)
    centres = bin_centres().t()
    every = (ab[:, :, None] - centres[None, :, :, None, None]).norm(dim=1)
    chosen = every.gather(1, bins).sort(1).values
    apart = chosen - every.sort(1).values[:, :neighbours]
    assert apart.max() < 2**0.5
    assert apart[:, 0].max() < 1e-4
    assert bins.dtype == torch.int64
    assert bins.shape == shares.shape == (4, neighbours, 24, 16)
    assert bins.sort(1).values.diff(dim=1).all()
    assert_allclose(shares.sum(1), 1, atol=1e-5)


def test_soft_targets_are_nearly_those_of_brute_force() -> None:
    ab = rgb_to_ab(photos(4))
    every = (ab[:, :, None] - bin_centres().t()[None, :, :, None, None]).pow(2).sum(1)
    distance, bins = every.topk(5, 1, largest=False)
    moved = (dense(*soft_encode(ab)) - dense(bins, torch.softmax(distance / -50, 1))).abs().sum(1) / 2
    assert moved.max() < 0.08
    assert moved.mean() < 0.005


@pytest.mark.parametrize("far", [130.0, 1e4, -1e9])
def test_colours_outside_the_gamut_get_bins_too(far: float) -> None:
    bins, shares = soft_encode(one_pixel(far, -far))
    assert 0 <= bins.min() <= bins.max() < BINS
    assert_allclose(shares.sum(1), 1, atol=1e-5)
    assert colour_histogram(one_pixel(far, -far)).sum() == 1


def test_decoding_what_was_encoded() -> None:
    ab = rgb_to_ab(photos(8))
    distribution = dense(*soft_encode(ab))
    assert_allclose(distribution.sum(1), 1, atol=1e-5)
    error = (annealed_mean(distribution.clamp(min=1e-12).log(), 1.0) - ab).norm(dim=1)
    assert error.mean() < 0.5
    assert error.quantile(0.99) < 1.5


# Rarity


def test_histogram_counts_every_pixel() -> None:
    first, second = rgb_to_ab(photos(2)), torch.zeros(1, 2, 5, 7)
    gray = int((bin_centres() == 0).all(1).nonzero())
    counts = colour_histogram(second)
    assert counts.shape == (BINS,)
    assert counts[gray] == counts.sum() == 35
    both = colour_histogram(torch.cat([first[:1], first[1:]]))
    assert torch.equal(both, colour_histogram(first[:1]) + colour_histogram(first[1:]))
    assert both.sum() == 2 * 24 * 16


def prior() -> Tensor:
    """Counts as photos have them: by far the most near gray, none in many bins."""
    return (1e6 * torch.exp(-bin_centres().norm(dim=1) / 8)).long()


def test_mean_weight_is_one() -> None:
    """Without smoothing, p is the prior itself."""
    shares = prior() / prior().sum()
    assert_allclose((shares * rarity(prior(), sigma=0.1)).sum(), 1, rtol=1e-5)


def test_weight_by_hand() -> None:
    counts = torch.zeros(BINS)
    counts[0], counts[1] = 3, 1
    raw = 1 / (0.5 * torch.tensor([0.75, 0.25, 0.0]) + 0.5 / BINS)
    raw /= 0.75 * raw[0] + 0.25 * raw[1]
    assert_allclose(rarity(counts, sigma=0.1)[:3], raw, rtol=1e-5)


def test_smoothing_loses_nothing_and_lifts_the_neighbours() -> None:
    assert_allclose(rarity(prior(), mix=1.0), 1, rtol=1e-5)  # with all p's equal, only the sum of p is left
    counts = torch.zeros(BINS)
    peak, beside, far = (
        int((bin_centres() == torch.tensor([a, b])).all(1).nonzero()) for a, b in ((0, 0), (0, 10), (70, 60))
    )
    counts[peak] = 100
    weights = rarity(counts)
    assert weights[peak] < weights[beside] < weights[far]
    left = 1 / (1 + 2 * np.exp(-100 / 50) + 2 * np.exp(-400 / 50)) ** 2  # at the peak of a Gaussian of 5 units
    assert_allclose(weights[far] / weights[peak], 1 + left * BINS, rtol=1e-3)


def test_rare_colours_weigh_more_but_not_without_bound() -> None:
    weights = rarity(prior())
    assert_allclose(weights, rarity(prior() / prior().sum()), rtol=1e-5)
    gray = int((bin_centres() == 0).all(1).nonzero())
    assert weights.argmin() == gray
    assert weights.max() / weights.min() < BINS + 1
    assert weights.max() / weights.min() > 20


def test_nothing_counted_is_an_error() -> None:
    with pytest.raises(TrainingInputError, match="at least one"):
        rarity(torch.zeros(BINS))


def test_a_pixel_weighs_what_its_bin_weighs() -> None:
    ab = torch.tensor([[0.0, 4.9, 5.1, 80], [0, -4.9, 0, 67]]).view(1, 2, 2, 2)
    weights = bin_centres() @ torch.tensor([1.0, 1000.0])
    assert pixel_rarity(ab, weights).tolist() == [[[[0, 0], [10, 70080]]]]
