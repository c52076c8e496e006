"""A tiny real ONNX model, made without torch: one 3x3 convolution from luma to chroma."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from bwcolor.spec import ModelSpec

TINY_SPEC = ModelSpec(
    name="tiny",
    version="1",
    licence="Apache-2.0",
    input_kind="luma",
    output_kind="cbcr",
    input_range=(0.0, 1.0),
    output_range=(-0.5, 0.5),
    network_size=64,
    multiple=32,
    tile_size=64,
    training_sha256="0" * 64,
)


def tiny_onnx(metadata: dict[str, str] | None = None, bias: tuple[float, float] = (-0.1, 0.08)) -> bytes:
    """The file's bytes. Chroma is `bias` plus a little of the local mean of luma: warm colours.

    metadata: what the file says of itself; by default TINY_SPEC.
    """
    weight = np.full((2, 1, 3, 3), 0.05 / 9, np.float32)
    weight[0] *= -1
    graph = helper.make_graph(
        [helper.make_node("Conv", ["luma", "weight", "bias"], ["chroma"], pads=[1, 1, 1, 1])],
        "tiny",
        [helper.make_tensor_value_info("luma", TensorProto.FLOAT, ["batch", 1, "height", "width"])],
        [helper.make_tensor_value_info("chroma", TensorProto.FLOAT, ["batch", 2, "height", "width"])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.array(bias, np.float32), "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, TINY_SPEC.to_metadata() if metadata is None else metadata)
    return bytes(model.SerializeToString())


def write_tiny(path: Path) -> Path:
    """Writes the tiny model to `path` and returns it."""
    path.write_bytes(tiny_onnx())
    return path
