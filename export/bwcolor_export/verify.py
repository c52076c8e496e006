"""Proof that an ONNX file computes what its generator computes, and how much its precision changes the colours."""

from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import nn

from bwcolor.errors import ModelError
from bwcolor.imaging.color import compose, rgb_to_lab
from bwcolor.imaging.metrics import ciede2000
from bwcolor.models.model_io import network_chroma, network_input
from bwcolor.models.spec import ModelSpec
from bwcolor_export.graph import Floats
from bwcolor_export.photos import as_seen, cut_to

LARGEST_VIEW = 256  # px, about the side of the pictures compared: larger ones prove no more
Lab = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Parity:
    """Differences between torch and onnxruntime at one size, a*b* units, over all pixels and both channels."""

    pictures: int
    height: int
    width: int
    largest: float
    mean: float


@dataclass(frozen=True, slots=True)
class ColourDifference:
    """CIEDE2000 against the fp32 network: mean and 99th percentile over all pixels, and the worst photo's mean."""

    photos: int
    mean: float
    p99: float
    worst: float


class Exported:
    """A model file's content, opened on the CPU."""

    def __init__(self, content: bytes) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        self.session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def __call__(self, batch: Floats) -> Floats:
        """What the network gives for a batch, N1HW."""
        return np.asarray(self.session.run(None, {self.session.get_inputs()[0].name: batch})[0])


def sizes(stride: int, network_size: int) -> list[tuple[int, int, int]]:
    """Pictures, height, width: a square, landscape and portrait in multiples of the stride, then two that are none."""
    side = max(1, min(network_size, LARGEST_VIEW) // stride) * stride
    odd = max(1, stride // 2 - 1)  # of no multiple, for strides from 4 up
    return [
        (1, side, side),
        (4, side, side + stride),
        (1, side + stride, side),
        (1, max(1, side - odd), side + odd),
        (4, side + odd, max(1, side - odd)),
    ]


def check_parity(network: nn.Module, content: bytes, spec: ModelSpec, lumas: list[Floats]) -> list[Parity]:
    """Runs both on cuts of the same photos, at several sizes; raises ModelError when they do not even fit."""
    exported = Exported(content)
    results = []
    for pictures, height, width in sizes(spec.multiple, spec.network_size):
        cuts = np.stack([cut_to(lumas[number % len(lumas)], height, width) for number in range(pictures)])
        expected, actual = _torch(network, network_input(cuts, spec)), exported(network_input(cuts, spec))
        if actual.shape != expected.shape:
            raise ModelError(f"the exported model gives {actual.shape} for {cuts.shape}, torch {expected.shape}")
        difference = np.abs(_lab(actual, cuts, spec) - _lab(expected, cuts, spec))[..., 1:]
        results.append(Parity(pictures, height, width, float(difference.max()), float(difference.mean())))
    return results


def colour_difference(network: nn.Module, content: bytes, spec: ModelSpec, lumas: list[Floats]) -> ColourDifference:
    """Compares a file with the fp32 network on whole photos, as the network sees them."""
    exported = Exported(content)
    differences = []
    for luma in lumas:
        seen = as_seen(luma, spec.network_size)[None]
        batch = network_input(seen, spec)
        difference = ciede2000(_lab(_torch(network, batch), seen, spec), _lab(exported(batch), seen, spec))
        differences.append(difference.ravel())
    pixels = np.concatenate(differences)
    worst = max(float(one.mean()) for one in differences)
    return ColourDifference(len(lumas), float(pixels.mean()), float(np.percentile(pixels, 99)), worst)


def _torch(network: nn.Module, batch: Floats) -> Floats:
    with torch.no_grad():
        return np.asarray(network(torch.from_numpy(batch)).numpy())


def _lab(output: Floats, lumas: Floats, spec: ModelSpec) -> Lab:
    """CIELAB (N, H, W, 3) of photos with this network's colours; NaN stays NaN."""
    return rgb_to_lab(compose(lumas, network_chroma(output, lumas, spec)))
