"""Colour as a choice among a*b* bins, with rare colours made to count: after Zhang, Isola and Efros 2016,
"Colorful Image Colorization".

A network that must name one colour for a gray that can be red or green names brown. One that gives a
probability to each bin of the a*b* plane keeps both, and the annealed mean picks between them.
Everything is computed on the device of its input, in float32 or better.
"""

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from bwcolor.imaging.color import (
    CB_SCALE,
    CB_TO_G,
    CR_SCALE,
    CR_TO_G,
    LAB_EPSILON,
    LAB_KAPPA,
    LUMA_WEIGHTS,
    RGB_TO_XYZ,
    WHITE,
    rgb_to_lab,
)
from bwcolor_training.errors import TrainingInputError

# The sRGB transfer curve (IEC 61966-2-1): straight up to the threshold, a power above it.
SRGB_THRESHOLD = 0.04045  # gamma-encoded
LINEAR_THRESHOLD = SRGB_THRESHOLD / 12.92  # linear light
F_THRESHOLD = LAB_EPSILON ** (1 / 3)  # of Lab's f: straight up to here, a cube root above

# X, Y and Z relative to white: rows sum to 1, so for a gray all three are its linear light.
RGB_TO_RELATIVE_XYZ = RGB_TO_XYZ / WHITE[:, None]
RELATIVE_XYZ_TO_RGB = np.linalg.inv(RGB_TO_RELATIVE_XYZ)

BIN = 10  # a*b* units, the side of a bin: Zhang et al., section 2.1
BINS = 261  # what bin_centres finds
NEIGHBOURS = 5  # bins that share a pixel: section 2.1
SIGMA = 5.0  # a*b* units, of the Gaussian by which they share it, and of the one that smooths the prior
TEMPERATURE = 0.38  # of the annealed mean: section 2.3


def rgb_to_ab(rgb: Tensor) -> Tensor:
    """a* and b* of CIELAB, D65: N3HW sRGB in 0..1 -> N2HW in about -110..110."""
    linear = _to_linear(_single(rgb))
    x, y, z = (_lab_curve(_mix(linear, row)) for row in RGB_TO_RELATIVE_XYZ)
    return torch.cat([500 * (x - y), 200 * (y - z)], 1)


def chroma_to_ab(luma: Tensor, chroma: Tensor) -> Tensor:
    """a* and b* of the colour with this luma and chroma, each channel clipped to 0..1.

    luma: N1HW, BT.601, 0..1; chroma: N2HW, Cb and Cr in -0.5..0.5 -> N2HW in about -110..110.
    """
    cb, cr = chroma[:, :1], chroma[:, 1:]
    rgb = torch.cat([luma + CR_SCALE * cr, luma - CB_TO_G * cb - CR_TO_G * cr, luma + CB_SCALE * cb], 1)
    return rgb_to_ab(rgb.clamp(0, 1))


def ab_to_chroma(luma: Tensor, ab: Tensor) -> Tensor:
    """Cb and Cr of the colour with this a*b* and with the L* of the gray of this luma, as colorizers mean it.

    luma: N1HW, BT.601, 0..1; ab: N2HW -> N2HW, within -0.5..0.5 for colours of the gamut; linear light below
    0 is clipped. No a*b* gives no chroma, exactly. Gradients are finite everywhere.
    """
    luma, ab = _single(luma), _single(ab)
    light = _to_linear(luma)  # red, green and blue of the gray, and X, Y and Z relative to white
    y = _lab_curve(light)
    relative_y = _lab_curve_inverse(y)
    more_x = _lab_curve_inverse(y + ab[:, :1] / 500) - relative_y
    more_z = _lab_curve_inverse(y - ab[:, 1:] / 200) - relative_y
    r, g, b = (_to_srgb(light + float(row[0]) * more_x + float(row[2]) * more_z) for row in RELATIVE_XYZ_TO_RGB)
    red, green, blue = LUMA_WEIGHTS  # Cb = (b - luma) / CB_SCALE, in a form that rounding cannot tint
    cb = (red * (b - r) + green * (b - g)) / CB_SCALE
    cr = (green * (r - g) + blue * (r - b)) / CR_SCALE
    return torch.cat([cb, cr], 1)


def _single(values: Tensor) -> Tensor:
    """At least float32: eight bits of mantissa, as autocast's bfloat16 has, are too few for colour."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _mix(channels: Tensor, weights: NDArray[np.float64]) -> Tensor:
    """Weighted sum of three channels: N3HW -> N1HW. No matrix product, which autocast would round to 8 bits."""
    first, second, third = (float(weight) * channels[:, n : n + 1] for n, weight in enumerate(weights))
    return first + second + third


# Both branches of `where` are computed and differentiated: each power is kept from bases where its slope is no number.


def _to_linear(encoded: Tensor) -> Tensor:
    curved = ((encoded.clamp(min=SRGB_THRESHOLD) + 0.055) / 1.055) ** 2.4
    return torch.where(encoded <= SRGB_THRESHOLD, encoded / 12.92, curved)


def _to_srgb(linear: Tensor) -> Tensor:
    """Linear light, below 0 taken as 0 -> gamma-encoded."""
    curved = 1.055 * linear.clamp(min=LINEAR_THRESHOLD) ** (1 / 2.4) - 0.055
    return torch.where(linear <= LINEAR_THRESHOLD, 12.92 * linear.clamp(min=0), curved)


def _lab_curve(t: Tensor) -> Tensor:
    """CIE 15:2004, 8.2.1.1: a tristimulus value relative to white -> the f of L* = 116 f - 16."""
    return torch.where(t > LAB_EPSILON, t.clamp(min=LAB_EPSILON) ** (1 / 3), (LAB_KAPPA * t + 16) / 116)


def _lab_curve_inverse(f: Tensor) -> Tensor:
    return torch.where(f > F_THRESHOLD, f * f * f, (116 * f - 16) / LAB_KAPPA)


@functools.cache
def _grid() -> NDArray[np.int32]:
    """The bins that 8-bit sRGB colours reach, as multiples of BIN along a* and b*: (BINS, 2), in order.

    The faces of the RGB cube are enough: along any line of constant a*b*, the gamut ends on its surface.
    """
    levels = np.linspace(0, 1, 256)
    face = np.stack(np.meshgrid(levels, levels), -1).reshape(-1, 2)
    reached = np.zeros((64, 64), np.bool_)  # of a*b* from -320 to 320, far more than there is
    for axis, end in itertools.product(range(3), (0, 1)):
        ab = rgb_to_lab(np.insert(face, axis, end, axis=1))[:, 1:]
        row, column = np.floor(ab / BIN + 0.5).astype(np.int64).T + 32
        reached[row, column] = True
    return np.argwhere(reached).astype(np.int32) - 32


def bin_centres() -> Tensor:
    """a* and b* of the bins' centres: (BINS, 2) float32, in the order of the network's outputs.

    The squares of a grid of 10 units that in-gamut sRGB colours reach: 261, where the paper's list has 313.
    """
    return torch.from_numpy((_grid() * BIN).astype(np.float32))


@functools.cache
def _lowest_and_cells() -> tuple[tuple[int, int], tuple[int, int]]:
    """The a*b* rectangle around all bins: its lowest corner, and its size in cells of one unit."""
    grid = _grid()
    low, size = grid.min(0) * BIN - BIN // 2, (np.ptp(grid, 0) + 1) * BIN
    return (int(low[0]), int(low[1])), (int(size[0]), int(size[1]))


@functools.cache
def _nearest_bins(neighbours: int) -> NDArray[np.int64]:
    """The bins nearest to the middle of each cell of one a*b* unit: (cells, neighbours), nearest first."""
    low, size = _lowest_and_cells()
    doubled = [2 * (start + np.arange(count, dtype=np.int32)) + 1 for start, count in zip(low, size, strict=True)]
    a, b = (2 * BIN * _grid()).T  # in half units all distances are whole numbers: ties go to the lower bin
    distance = ((doubled[0][:, None, None] - a) ** 2 + (doubled[1][:, None] - b) ** 2).reshape(-1, BINS)
    rows, nearest = np.arange(len(distance)), []
    for _ in range(neighbours):
        nearest.append(distance.argmin(1))
        distance[rows, nearest[-1]] = np.iinfo(np.int32).max
    return np.stack(nearest, 1)


@functools.cache
def _tables(neighbours: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """_nearest_bins and bin_centres (as 2 x BINS) on a device."""
    return torch.from_numpy(_nearest_bins(neighbours)).to(device), bin_centres().t().contiguous().to(device)


def _cell(ab: Tensor) -> Tensor:
    """The cell of one a*b* unit, the nearest one outside the rectangle: N2HW -> NHW int32."""
    (a_low, b_low), (a_cells, b_cells) = _lowest_and_cells()
    row = (ab[:, 0] - a_low).to(torch.int32).clamp(0, a_cells - 1)
    return row * b_cells + (ab[:, 1] - b_low).to(torch.int32).clamp(0, b_cells - 1)


def _bin_of(ab: Tensor) -> Tensor:
    """The bin in which a colour lies, the nearest one outside the gamut: N2HW -> NHW int64."""
    return F.embedding(_cell(ab), _tables(1, ab.device)[0])[..., 0]


def soft_encode(ab: Tensor, neighbours: int = NEIGHBOURS, sigma: float = SIGMA) -> tuple[Tensor, Tensor]:
    """The bins next to each colour and the shares they get, Gaussian in the distance to the bin's centre.

    ab: N2HW, a*b* units -> bins NKHW int64, nearest first, and shares NKHW that sum to 1. The neighbours are
    those of the colour rounded to a unit cell's middle, at most 0.71 away; the shares are exact.
    """
    ab = _single(ab)
    nearest, (centre_a, centre_b) = _tables(neighbours, ab.device)
    bins = F.embedding(_cell(ab), nearest).permute(0, 3, 1, 2)
    distance = (centre_a.take(bins) - ab[:, :1]) ** 2 + (centre_b.take(bins) - ab[:, 1:]) ** 2
    return bins, torch.softmax(distance / (-2 * sigma**2), 1)


def colour_histogram(ab: Tensor) -> Tensor:
    """Pixels in each bin: N2HW, a*b* units -> (BINS,) int64. Sums over photos stay exact."""
    return torch.bincount(_bin_of(ab).flatten(), minlength=BINS)


def rarity(prior: Tensor, sigma: float = SIGMA, mix: float = 0.5) -> Tensor:
    """The weight of each bin in the loss: 1 / ((1 - mix) p + mix / BINS), scaled so that p's mean weight is 1.

    prior: (BINS,) counts or shares of the training photos' pixels -> (BINS,) float32. p is the prior smoothed
    by a Gaussian of sigma a*b* units that loses nothing at the gamut's border. Zhang et al., section 2.2.
    Raises TrainingInputError when nothing was counted.
    """
    total = prior.sum()
    if not total > 0:
        raise TrainingInputError("No colours were counted to balance the classes. Give at least one training photo.")
    centres = bin_centres().to(prior.device, torch.float64)
    spread = torch.exp(torch.cdist(centres, centres) ** 2 / (-2 * sigma**2))
    smoothed = (spread / spread.sum(0)) @ (prior.to(torch.float64) / total)
    weights = 1 / ((1 - mix) * smoothed + mix / BINS)
    return (weights / (smoothed * weights).sum()).to(torch.float32)


def pixel_rarity(ab: Tensor, weights: Tensor) -> Tensor:
    """Each pixel's weight, that of its bin: N2HW, a*b* units, and (BINS,) -> N1HW."""
    return weights.take(_bin_of(ab)).unsqueeze(1)


def class_cross_entropy(logits: Tensor, truth_ab: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean over the pixels of the cross-entropy against soft_encode, times the pixel's rarity if weights are given.

    logits: N x BINS x H x W, may be coarser than the truth, which is then sampled; truth_ab: N2HW, a*b* units;
    weights: (BINS,), from `rarity`.
    """
    with torch.no_grad():
        if truth_ab.shape[-2:] != logits.shape[-2:]:  # not averaged: between red and green lies no brown
            truth_ab = F.interpolate(truth_ab, size=logits.shape[-2:], mode="nearest-exact")
        bins, shares = soft_encode(truth_ab)
    loss: Tensor = _SoftCrossEntropy.apply(logits, bins, shares)
    return (loss if weights is None else loss * pixel_rarity(truth_ab, weights)).mean()


class _SoftCrossEntropy(torch.autograd.Function):
    """Cross-entropy with K soft targets among many classes: half the time of plain autograd, a third of the memory.

    Of the size of the logits, only the gradient is made.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, bins: Tensor, shares: Tensor) -> Tensor:
        """logits: NQHW; bins, shares: NKHW, shares sum to 1 -> N1HW."""
        ctx.save_for_backward(logits, bins, shares)
        losses = [
            -(F.log_softmax(_single(some), 1).gather(1, at) * share).sum(1, keepdim=True)
            for some, at, share in _pieces(logits, bins, shares)
        ]
        return torch.cat(losses)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        """softmax minus targets, times the upstream gradient N1HW."""
        logits, bins, shares = ctx.saved_tensors
        gradient = torch.empty_like(logits)
        for some, at, share, factor, target in _pieces(logits, bins, shares, upstream, gradient):
            torch.mul(torch.softmax(_single(some), 1).scatter_add_(1, at, -share), factor, out=target)
        return gradient, None, None


def _pieces(*batches: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """One photo at a time on a CPU, where its logits then stay in the cache; otherwise the batch as a whole."""
    chunk = 1 if batches[0].device.type == "cpu" else len(batches[0])
    return zip(*(torch.split(batch, chunk) for batch in batches), strict=True)


def annealed_mean(logits: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """The colour that a distribution over the bins stands for: N x BINS x H x W -> N2HW, a*b* units.

    The mean after raising the probabilities to 1 / temperature: 1 is the plain mean, near 0 the most probable
    bin's centre. Zhang et al., section 2.3.
    """
    return _annealed_mean(logits, temperature, bin_centres().to(logits.device))


def _annealed_mean(logits: Tensor, temperature: float, centres: Tensor) -> Tensor:
    """Sums of a*, b* and 1 in one convolution: a third of the time of softmax in onnxruntime."""
    logits = _single(logits)
    likelihood = torch.exp((logits - logits.amax(1, keepdim=True)) / temperature)
    a_b_one = F.pad(centres.to(logits.dtype), (0, 1), value=1.0).t()[:, :, None, None]
    sums = F.conv2d(likelihood, a_b_one)
    return sums[:, :2] / sums[:, 2:]


class AnnealedMean(nn.Module):
    """A generator of logits, made one of chroma.

    generator: luma N1HW -> N x BINS x h x w. Input: luma N1HW, BT.601, 0..1. Output: N2HW, Cb and Cr in about
    -0.5..0.5; the a*b* of a coarser map of logits is interpolated, which is smoother and much cheaper.
    """

    centres: Tensor

    def __init__(self, generator: nn.Module, temperature: float = TEMPERATURE) -> None:
        super().__init__()
        if not temperature > 0:
            raise TrainingInputError(f"A temperature of {temperature:g} picks no colour: give more than 0, at most 1.")
        self.generator = generator
        self.temperature = temperature
        self.stride = int(generator.stride)  # type: ignore[arg-type]
        self.register_buffer("centres", bin_centres(), persistent=False)  # the weights stay those of the generator

    def forward(self, luma: Tensor) -> Tensor:
        ab = _annealed_mean(self.generator(luma), self.temperature, self.centres)
        return ab_to_chroma(luma, F.interpolate(ab, size=luma.shape[-2:], mode="bilinear", align_corners=False))
