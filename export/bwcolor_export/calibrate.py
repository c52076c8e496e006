"""What a network's tensors look like on real photos: their ranges, and how the inputs of convolutions vary."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from bwcolor_export.graph import Convolution, Floats, Graph

BINS = 4096  # of a tensor's histogram: 16 for each of the 256 steps that int8 has
POSITIONS = 1000  # places a photo at which a convolution's input is sampled: more did not change the weights' error
MAX_PATCH = 2048  # numbers that a convolution sums up; above, their covariance costs more than it brings

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Of one tensor: counts of BINS equal bins from low to high."""

    low: float
    high: float
    counts: Doubles


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """What a convolution sums up, K numbers in each group: inputs x height x width of its kernel.

    mean: (groups, K). covariance: (groups, K, K), or None where K is above MAX_PATCH. places: rows x columns of the
    output, mean over the photos.
    """

    mean: Doubles
    covariance: Doubles | None
    places: float


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """histograms: by tensor. patches: by the convolution's name."""

    histograms: dict[str, Histogram]
    patches: dict[str, Patches]


def calibrate(graph: Graph, convolutions: list[Convolution], others: list[str], photos: list[Floats]) -> Calibration:
    """Runs the float network on photos (1, channels, height, width), one at a time, so that memory stays bounded.

    Histograms are made of what the convolutions read and give, and of other tensors.

    Twice: the second time with the smallest and largest values known. The same photos give the same result.
    """
    tensors = sorted({n for c in convolutions for n in (c.source, graph.quantised_output(c.output))} | set(others))
    run = _Runner(graph, tensors)
    sums = {c.name: _Sums(c) for c in convolutions}
    ends: dict[str, tuple[float, float]] = {}
    for values in run(photos):
        for name in tensors:
            low, high = ends.get(name, (np.inf, -np.inf))
            ends[name] = min(low, float(values[name].min())), max(high, float(values[name].max()))
        for convolution in convolutions:
            sums[convolution.name].add(values[convolution.source][0])
    counts: dict[str, Doubles] = {name: np.zeros(BINS) for name in tensors}
    for values in run(photos):
        for name in tensors:
            counts[name] += _histogram(values[name], *ends[name])
    histograms = {name: Histogram(*ends[name], counts[name]) for name in tensors}
    return Calibration(histograms, {name: one.result() for name, one in sums.items()})


class _Runner:
    """The float network, giving some of its tensors."""

    def __init__(self, graph: Graph, tensors: list[str]) -> None:
        model = copy.deepcopy(graph.model)
        self.source = model.graph.input[0].name
        asked = [name for name in tensors if name != self.source]
        model.graph.output.extend(graph.values[name] for name in asked if name not in graph.outputs)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1  # the sums of several threads come in any order
        options.log_severity_level = 4
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # which would drop tensors
        self.session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self.asked = asked

    def __call__(self, photos: list[Floats]) -> Iterator[dict[str, Floats]]:
        for photo in photos:
            values = self.session.run(self.asked, {self.source: photo})
            yield {self.source: photo, **dict(zip(self.asked, values, strict=True))}


class _Sums:
    """Sums over patches, from which mean and covariance follow."""

    def __init__(self, convolution: Convolution) -> None:
        self.convolution = convolution
        size = convolution.weight[0].size
        self.total: Doubles = np.zeros((convolution.groups, size))
        self.products: Doubles | None = None
        if size <= MAX_PATCH:
            self.products = np.zeros((convolution.groups, size, size))
        self.count = self.photos = self.places = 0

    def add(self, values: Floats) -> None:
        """values: (channels, height, width), the convolution's input on one photo."""
        patches, places = _patches(values, self.convolution)
        self.total += patches.sum(1, dtype=np.float64)
        if self.products is not None:
            self.products += patches.transpose(0, 2, 1) @ patches
        self.count += patches.shape[1]
        self.photos += 1
        self.places += places

    def result(self) -> Patches:
        mean = self.total / self.count
        covariance = None
        if self.products is not None:
            covariance = self.products / self.count - mean[:, :, None] * mean[:, None, :]
        return Patches(mean, covariance, self.places / self.photos)


def _patches(values: Floats, convolution: Convolution) -> tuple[Floats, int]:
    """What the convolution sums up at up to POSITIONS places: (groups, places, K); and how many places there are."""
    top, left, bottom, right = convolution.pads
    padded = np.pad(values, ((0, 0), (top, bottom), (left, right)))
    (rows, columns), (row_step, column_step) = convolution.weight.shape[2:], convolution.dilations
    view = sliding_window_view(padded, ((rows - 1) * row_step + 1, (columns - 1) * column_step + 1), (1, 2))
    view = view[:, :: convolution.strides[0], :: convolution.strides[1], ::row_step, ::column_step]
    channels, height, width = view.shape[:3]
    places = height * width
    rng = np.random.default_rng(places)  # the same places each time
    chosen = rng.choice(places, min(POSITIONS, places), replace=False)
    groups = convolution.groups
    taken = view[:, chosen // width, chosen % width].reshape(groups, channels // groups, len(chosen), rows * columns)
    return np.ascontiguousarray(taken.transpose(0, 2, 1, 3)).reshape(groups, len(chosen), -1), places


def _histogram(values: Floats, low: float, high: float) -> Doubles:
    if not high > low:
        return np.zeros(BINS)
    bins = np.minimum(((values.ravel() - low) * (BINS / (high - low))).astype(np.int64), BINS - 1)
    return np.bincount(bins, minlength=BINS).astype(np.float64)
