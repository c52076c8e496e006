"""Proof that an ONNX file computes what its generator computes."""

from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import nn

from bwcolor.errors import ModelError

SIZES = ((1, 64, 64), (2, 96, 160), (1, 101, 75))  # pictures, height, width; the last no multiple of a stride
TOLERANCE = 1e-3  # largest difference allowed, in units of chroma -0.5..0.5: a quarter of an 8-bit level


@dataclass(frozen=True, slots=True)
class Parity:
    """Differences of chroma (in -0.5..0.5) between torch and onnxruntime at one size."""

    pictures: int
    height: int
    width: int
    largest: float
    mean: float


def check_parity(network: nn.Module, content: bytes) -> list[Parity]:
    """Runs both on the same pictures, at several sizes; raises ModelError when they differ."""
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    results = []
    for pictures, height, width in SIZES:
        picture = np.concatenate([_picture(height, width, seed) for seed in range(pictures)])
        with torch.no_grad():
            expected = network(torch.from_numpy(picture)).numpy()
        actual = session.run(None, {name: picture})[0]
        if actual.shape != expected.shape:
            raise ModelError(f"the exported model gives {actual.shape} for {picture.shape}, torch {expected.shape}")
        difference = np.abs(actual - expected)
        results.append(Parity(pictures, height, width, float(difference.max()), float(difference.mean())))
    worst = max(result.largest for result in results)
    if not worst <= TOLERANCE:  # also true for NaN
        raise ModelError(f"the exported model differs from torch by {worst:.2g}, more than {TOLERANCE:g}")
    return results


def _picture(height: int, width: int, seed: int) -> NDArray[np.float32]:
    """Smooth shapes with grain, 1 x 1 x height x width, 0..1: nearer to a photo than noise alone."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width] / 32
    waves = sum(
        np.sin(rows * rng.uniform(0.3, 3) + columns * rng.uniform(0.3, 3) + rng.uniform(0, 6)) for _ in range(4)
    )
    picture = 0.5 + 0.12 * waves + rng.normal(0, 0.02, (height, width))
    return np.asarray(np.clip(picture, 0, 1)[None, None], np.float32)
