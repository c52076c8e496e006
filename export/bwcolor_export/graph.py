"""A view on an ONNX graph: what makes a tensor, what reads it, and its convolutions."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, shape_inference

Floats = NDArray[np.float32]

CONVOLUTIONS = ("Conv", "ConvTranspose")


@dataclass(frozen=True, slots=True, eq=False)
class Convolution:
    """A 2-d convolution with constant weights.

    weight: (outputs, inputs / groups, height, width). bias: (outputs,). pads: top, left, bottom, right.
    strides, dilations: of rows and columns.
    """

    name: str
    source: str
    output: str
    weight: Floats
    bias: Floats
    groups: int
    pads: tuple[int, int, int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]


class Graph:
    """A model with shapes and types inferred. It changes only by `replace_weights` and by its `model`."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = shape_inference.infer_shapes(model)
        graph = self.model.graph
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.values = {value.name: value for value in (*graph.input, *graph.output, *graph.value_info)}
        self.outputs = {value.name for value in graph.output}
        self.producer = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def channels(self, tensor: str) -> int:
        """Of a tensor NCHW; 0 where it is not known."""
        if tensor not in self.values:
            return 0
        dimensions = self.values[tensor].type.tensor_type.shape.dim
        return int(dimensions[1].dim_value) if len(dimensions) == 4 else 0

    def convolutions(self) -> list[Convolution]:
        """Those that can be quantised, in the order in which they run."""
        found = (self._convolution(node) for node in self.model.graph.node if node.op_type == "Conv")
        return [convolution for convolution in found if convolution]

    def _convolution(self, node: onnx.NodeProto) -> Convolution | None:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        names = [name for name in node.input[1:] if name]
        constants = [self.array(name) for name in names if name in self.constants]
        if len(constants) != len(names) or attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
            return None
        weight = constants[0]
        if weight.ndim != 4 or weight.dtype != np.float32:
            return None
        return Convolution(
            name=node.name,
            source=node.input[0],
            output=node.output[0],
            weight=weight,
            bias=constants[1] if len(constants) > 1 else np.zeros(len(weight), np.float32),
            groups=int(attributes.get("group", 1)),
            pads=_whole(attributes.get("pads", (0, 0, 0, 0))),
            strides=_whole(attributes.get("strides", (1, 1))),
            dilations=_whole(attributes.get("dilations", (1, 1))),
        )

    def array(self, name: str) -> NDArray[Any]:
        """A constant's values."""
        return np.array(numpy_helper.to_array(self.constants[name]))

    def quantised_output(self, output: str) -> str:
        """The tensor behind the ReLU or clipping that alone reads a convolution's output; else that output."""
        readers = self.readers.get(output, [])
        if len(readers) == 1 and output not in self.outputs and readers[0].op_type in ("Relu", "Clip"):
            return str(readers[0].output[0])
        return output

    def leads_to_convolution(self, tensor: str) -> bool:
        """Whether any convolution reads this tensor, or what is made of it."""
        waiting, seen = [tensor], {tensor}
        while waiting:
            for node in self.readers.get(waiting.pop(), []):
                if node.op_type in CONVOLUTIONS:
                    return True
                new = set(node.output) - seen
                seen |= new
                waiting += new
        return False


def _whole(values: Any) -> Any:
    return tuple(int(value) for value in values)
