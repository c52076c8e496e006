"""Writing int8 into an ONNX graph: QuantizeLinear and DequantizeLinear around what is to run in int8.

onnxruntime replaces each convolution between such pairs by one in int8; anything else between them runs in
float32, or in int8 where it can (additions, concatenations, pooling).
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from bwcolor_export.graph import CONVOLUTIONS, Convolution, Graph
from bwcolor_export.rounding import Rounded

STEPS = 255  # between the 256 values of uint8
MAX_BIAS_STEPS = 2.0**30  # a bias is int32, in steps of input scale x weight scale


@dataclass(frozen=True, slots=True)
class Steps:
    """How a float tensor maps to uint8: value = scale * (code - zero)."""

    scale: float
    zero: int

    @classmethod
    def of_range(cls, low: float, high: float) -> "Steps":
        """For values from low to high; 0 is always met exactly, since padding and ReLU give it."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = float(np.float32((high - low) / STEPS)) or 1.0
        return cls(scale, int(np.clip(round(-low / scale), 0, STEPS)))


def insert_qdq(
    graph: Graph, convolutions: list[Convolution], weights: Mapping[str, Rounded], steps: Mapping[str, Steps]
) -> onnx.ModelProto:
    """A copy of the graph's model in which these convolutions are int8.

    weights: by the convolution's name. steps: of every tensor that is to be rounded, among them what the
    convolutions read and give (behind their ReLU, if they have one).
    """
    model = copy.deepcopy(graph.model)
    nodes = {node.name: node for node in model.graph.node}
    for convolution in convolutions:
        node = nodes[convolution.name]
        _quantise_weights(model.graph, node, convolution, weights[convolution.name], steps[convolution.source])
        if graph.quantised_output(convolution.output) != convolution.output:
            _drop_activation(model.graph, node, graph.readers[convolution.output][0].name)
    made = {graph.quantised_output(c.output) for c in convolutions}
    _round_tensors(model.graph, steps, made, {c.name for c in convolutions})
    _drop_unused(model.graph)
    del model.graph.value_info[:]  # inferred: twice the loading time for nothing
    return model


def _quantise_weights(
    graph: onnx.GraphProto, node: onnx.NodeProto, convolution: Convolution, rounded: Rounded, source: Steps
) -> None:
    """Weights as int8 with a scale for each output, the bias as int32 in steps of the products."""
    name, outputs = convolution.name, len(rounded.scales)
    # Where weights are tiny, a bias would not fit into int32.
    scales = np.maximum(rounded.scales, np.abs(rounded.bias) / (source.scale * MAX_BIAS_STEPS)).astype(np.float32)
    codes = np.round(rounded.codes * (rounded.scales / scales)[:, None, None, None]).astype(np.int8)
    products = (scales.astype(np.float64) * source.scale).astype(np.float32)
    bias = np.round(rounded.bias / products.astype(np.float64)).astype(np.int32)
    weight = _dequantised(graph, f"{name}.weight", codes, scales, np.zeros(outputs, np.int8))
    bias_name = _dequantised(graph, f"{name}.bias", bias, products, np.zeros(outputs, np.int32))
    del node.input[1:]
    node.input.extend([weight, bias_name])


def _dequantised(
    graph: onnx.GraphProto, name: str, codes: NDArray[np.signedinteger], scales: NDArray[np.float32],
    zeros: NDArray[np.signedinteger],
) -> str:  # fmt: skip
    """Adds codes and the node that makes floats of them; returns the floats' name."""
    parts = {f"{name}.codes": codes, f"{name}.scales": scales, f"{name}.zeros": zeros}
    graph.initializer.extend(numpy_helper.from_array(values, part) for part, values in parts.items())
    graph.node.insert(
        0, helper.make_node("DequantizeLinear", list(parts), [f"{name}.values"], f"{name}.dequantise", axis=0)
    )
    return f"{name}.values"


def _drop_activation(graph: onnx.GraphProto, node: onnx.NodeProto, name: str) -> None:
    """Removes the ReLU or clipping behind a convolution: the rounding that follows cuts at the same values."""
    activation = next(one for one in graph.node if one.name == name)
    node.output[0] = activation.output[0]
    graph.node.remove(activation)


def _round_tensors(graph: onnx.GraphProto, steps: Mapping[str, Steps], made: set[str], int8: set[str]) -> None:
    """Puts a pair of QuantizeLinear and DequantizeLinear behind each of these tensors.

    made: those that int8 convolutions make: all their readers see the rounded values. A float convolution
    reads any other as it is: onnxruntime would take it for one of int8 and round its weights its own way.
    """
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        exact = node.op_type in CONVOLUTIONS and node.name not in int8
        for position, name in enumerate(node.input):
            if name in steps and (name in made or not exact):
                node.input[position] = f"{name}.rounded"
    for value in graph.input:
        graph.node.extend(_pair(graph, value.name, steps))
    for node in nodes:
        graph.node.append(node)
        for name in node.output:
            graph.node.extend(_pair(graph, name, steps))


def _pair(graph: onnx.GraphProto, name: str, steps: Mapping[str, Steps]) -> list[onnx.NodeProto]:
    if name not in steps:
        return []
    scale, zero = f"{name}.scale", f"{name}.zero"
    graph.initializer.append(numpy_helper.from_array(np.array(steps[name].scale, np.float32), scale))
    graph.initializer.append(numpy_helper.from_array(np.array(steps[name].zero, np.uint8), zero))
    return [
        helper.make_node("QuantizeLinear", [name, scale, zero], [f"{name}.code"], f"{name}.quantise"),
        helper.make_node("DequantizeLinear", [f"{name}.code", scale, zero], [f"{name}.rounded"], f"{name}.dequantise"),
    ]


def _drop_unused(graph: onnx.GraphProto) -> None:
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
