"""int8 for CPUs: static quantisation of a network's convolutions, calibrated on real photos.

uint8 between the convolutions, int8 weights with a scale for each output channel. Attention and all else
stays in float32, and so do the first convolutions, whose rounding errors pass the whole network, and the
last ones, whose output are the colours.
"""

import copy
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from bwcolor.errors import ModelError
from bwcolor_export.calibrate import Histogram, calibrate
from bwcolor_export.graph import CONVOLUTIONS, Convolution, Floats, Graph
from bwcolor_export.qdq import STEPS, Steps, insert_qdq
from bwcolor_export.rounding import Rounded, round_weights

ALIGNMENT = 4  # channels that onnxruntime's int8 convolution reads at once; other numbers take 2.5 times as long
CLIPS = np.linspace(0.05, 1, 96)  # of a tensor's largest value, tried as the end of its range


@dataclass(frozen=True, slots=True, eq=False)
class Quantiser:
    """A float network and what was measured on it; `quantise` may be called again and again.

    candidates: the convolutions that can be int8, in the order in which they run. work: multiplications of
    each on a photo, by name. weights: rounded, by name. steps: by tensor.
    """

    graph: Graph
    candidates: list[Convolution]
    work: dict[str, float]
    weights: dict[str, Rounded]
    steps: dict[str, Steps]

    def quantise(self, float_share: float) -> tuple[onnx.ModelProto, float]:
        """The model in int8, and the share of the convolutions' multiplications that are.

        float_share: of these multiplications; the first convolutions stay in float32 up to this share.
        """
        total, done = sum(self.work.values()), 0.0
        chosen: list[Convolution] = []
        for convolution in self.candidates:
            done += self.work[convolution.name]
            if chosen or done > float_share * total:
                chosen.append(convolution)
        model = insert_qdq(self.graph, chosen, self.weights, self._rounded_tensors(chosen))
        return model, sum(self.work[c.name] for c in chosen) / total

    def _rounded_tensors(self, chosen: list[Convolution]) -> dict[str, Steps]:
        """What the chosen convolutions read and give, and what is pooled or concatenated for them."""
        nodes = self.graph.model.graph.node
        made = {self.graph.quantised_output(c.output) for c in chosen}
        floats = {self.graph.quantised_output(n.output[0]) for n in nodes if n.op_type in CONVOLUTIONS} - made
        names = made | {c.source for c in chosen}
        for node in nodes:
            # A float convolution between rounded tensors would be made int8 by onnxruntime, and not well.
            if node.op_type == "Concat" and node.output[0] in names and not floats & set(node.input):
                names |= set(node.input)
        steps = {name: self.steps[name] for name in names if name in self.steps}
        for node in nodes:
            if node.op_type == "MaxPool" and node.input[0] in steps:
                steps[node.output[0]] = steps[node.input[0]]
        return steps


def measure(model: onnx.ModelProto, photos: list[Floats]) -> Quantiser:
    """Runs a float network on photos (1, channels, height, width), and rounds its weights.

    Raises ModelError for a network without convolutions that int8 could compute.
    """
    graph = Graph(align_channels(Graph(model)))
    candidates = [c for c in graph.convolutions() if graph.leads_to_convolution(c.output)]
    if not candidates:
        raise ModelError("the network has no convolutions that int8 could compute")
    calibration = calibrate(graph, candidates, _concatenated(graph, candidates), photos)
    patches = calibration.patches
    return Quantiser(
        graph,
        candidates,
        {c.name: c.weight.size * patches[c.name].places for c in candidates},
        {c.name: round_weights(c, patches[c.name]) for c in candidates},
        {name: Steps.of_range(*choose_range(one)) for name, one in calibration.histograms.items()},
    )


def _concatenated(graph: Graph, convolutions: list[Convolution]) -> list[str]:
    """What is concatenated for these convolutions."""
    makers = [graph.producer.get(c.source) for c in convolutions]
    return [name for maker in makers if maker is not None and maker.op_type == "Concat" for name in maker.input]


def align_channels(graph: Graph) -> onnx.ModelProto:
    """A copy of the model whose convolutions of concatenated tensors read multiples of ALIGNMENT channels.

    One of the tensors is concatenated again, as often as it takes; the weights for the copies are 0.
    """
    model = copy.deepcopy(graph.model)
    nodes = {node.name: node for node in model.graph.node}
    for convolution in graph.convolutions():
        channels = convolution.weight.shape[1]
        maker = graph.producer.get(convolution.source)
        alone = len(graph.readers.get(convolution.source, [])) == 1 and convolution.source not in graph.outputs
        if maker is None or maker.op_type != "Concat" or not alone or convolution.groups > 1:
            continue
        if channels % ALIGNMENT == 0:
            continue
        options = [(-channels % ALIGNMENT, name) for name in maker.input if graph.channels(name) == 1]
        if not options:
            continue
        missing, name = options[0]
        nodes[maker.name].input.extend([name] * missing)
        widened = np.pad(convolution.weight, ((0, 0), (0, missing), (0, 0), (0, 0)))
        nodes[convolution.name].input[1] = f"{convolution.name}.aligned"
        model.graph.initializer.append(numpy_helper.from_array(widened, f"{convolution.name}.aligned"))
    del model.graph.value_info[:]  # shapes have changed
    return model


def choose_range(histogram: Histogram) -> tuple[float, float]:
    """The range whose 256 steps give the smallest mean square error, of what is cut and what is rounded.

    Range by entropy (Migacz 2017, "8-bit Inference with TensorRT") cost three times the CIEDE2000 on the default model.
    """
    low, high, counts = histogram.low, histogram.high, histogram.counts
    if not counts.any():
        return low, high
    values = low + (high - low) * (np.arange(len(counts)) + 0.5) / len(counts)
    shares = counts / counts.sum()

    def cost(bottom: float, top: float) -> float:
        outside = np.maximum(values - top, 0) + np.maximum(bottom - values, 0)
        return float(shares @ outside**2 + (shares @ (outside == 0)) * ((top - bottom) / STEPS) ** 2 / 12)

    bottom, top = min(low, 0.0), max(high, 0.0)
    for _ in range(2):
        top = min((top, *(high * CLIPS if high > 0 else ())), key=lambda end: cost(bottom, end))
        bottom = min((bottom, *(low * CLIPS if low < 0 else ())), key=lambda end: cost(end, top))
    return float(bottom), float(top)
