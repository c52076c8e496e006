"""Rounding a convolution's weights to int8 so that its outputs, not its weights, stay as they were.

Each weight rounded to the nearest step is the wrong answer where weights cancel out: an edge detector whose
rounded weights no longer sum to 0 lets the picture's brightness through. So, after plain rounding, single
weights are moved by one step as long as that lowers the mean square error of the layer's output on real
photos, greedily (the aim of Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training
Quantization"; coordinate descent as in Behdin et al. 2023, "QuantEase"). What is left of the error's mean
goes into the bias (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction").
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bwcolor_export.calibrate import Doubles, Patches
from bwcolor_export.graph import Convolution, Floats

LARGEST = 127  # of int8; -128 is left out, so that weights stay symmetric
DAMPING = 0.01  # of the mean variance, added to each: a few photos say little about what hardly varies on them
MAX_MOVES = 2000  # steps a row of weights; it ends far earlier


@dataclass(frozen=True, slots=True, eq=False)
class Rounded:
    """codes: int8, the weights' shape. scales: (outputs,), what one step is worth. bias: (outputs,), corrected."""

    codes: NDArray[np.int8]
    scales: Floats
    bias: Floats


def round_weights(convolution: Convolution, patches: Patches) -> Rounded:
    """int8 weights, a scale for each output, and a bias that keeps the outputs' means."""
    groups, size = patches.mean.shape
    weight = convolution.weight.reshape(groups, -1, size).astype(np.float64)
    scales = np.abs(weight).max(-1, keepdims=True) / LARGEST
    scales[scales == 0] = 1  # an output whose weights are all 0: any scale will do
    codes = np.round(weight / scales)
    if patches.covariance is not None:
        _descend(codes, weight, scales, patches.covariance)
    error = np.einsum("gok,gk->go", codes * scales - weight, patches.mean)
    return Rounded(
        codes.reshape(convolution.weight.shape).astype(np.int8),
        scales.reshape(-1).astype(np.float32),
        (convolution.bias - error.reshape(-1)).astype(np.float32),
    )


def _descend(codes: Doubles, weight: Doubles, scales: Doubles, covariance: Doubles) -> None:
    """Moves codes (groups, outputs, K) by single steps until the outputs' variance of error falls no further."""
    size = weight.shape[-1]
    variances = np.einsum("gkk->gk", covariance)
    damped = covariance + (DAMPING * variances.mean(-1))[:, None, None] * np.eye(size)
    cost = scales**2 * np.einsum("gkk->gk", damped)[:, None, :]  # of any step, beside what it mends
    slope = np.matmul(codes * scales - weight, damped)
    group, output = np.indices(weight.shape[:2])
    for _ in range(MAX_MOVES):
        up = np.where(codes < LARGEST, cost + 2 * scales * slope, np.inf)
        down = np.where(codes > -LARGEST, cost - 2 * scales * slope, np.inf)
        best = np.minimum(up, down).argmin(-1)
        gain_up, gain_down = (np.take_along_axis(gain, best[..., None], -1)[..., 0] for gain in (up, down))
        step = np.where(gain_up <= gain_down, 1.0, -1.0) * (np.minimum(gain_up, gain_down) < 0)
        if not step.any():
            return
        codes[group, output, best] += step
        slope += (step * scales[..., 0])[..., None] * damped[group, best]
