"""A tiny real ONNX model, made without torch: one 3x3 convolution from luma to chroma."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from bwcolor.models.spec import ModelSpec

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


def pointwise_onnx(
    weight: Sequence[Sequence[float]],
    bias: Sequence[float],
    side: int | None = None,
    pictures: int | str = 1,
    stride: int = 1,
    metadata: dict[str, str] | None = None,
) -> bytes:
    """One 1x1 convolution: a stand-in for other people's colorizers, which say nothing about themselves.

    weight: outputs x inputs. side: px that its input is fixed to, as such files are; None for any.
    stride: its output is that much smaller.
    """
    kernel = np.array(weight, np.float32)[:, :, None, None]
    height, width = (side, side) if side else ("height", "width")
    given = [side // stride] * 2 if side else ["height_out", "width_out"]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "weight", "bias"], ["output"], strides=[stride, stride])],
        "pointwise",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [pictures, kernel.shape[1], height, width])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [pictures, kernel.shape[0], *given])],
        [numpy_helper.from_array(kernel, "weight"), numpy_helper.from_array(np.array(bias, np.float32), "bias")],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
        producer_name="someone",
        producer_version="2.1",
    )
    helper.set_model_props(model, metadata or {})
    return bytes(model.SerializeToString())


def zhang_onnx(ab: tuple[float, float] = (30, -20), side: int | None = 256, stride: int = 1) -> bytes:
    """As Zhang et al. 2016 and 2017: L* in, a* and b* out; these everywhere."""
    return pointwise_onnx([[0], [0]], list(ab), side, stride=stride)


def ddcolor_onnx(ab: tuple[float, float] = (-25, 35), side: int | None = 512) -> bytes:
    """As DDColor: gray RGB in, a* and b* out; these everywhere."""
    return pointwise_onnx([[0, 0, 0], [0, 0, 0]], list(ab), side)


def deoldify_onnx(tint: tuple[float, float, float], side: int | None = None) -> bytes:
    """As DeOldify: gray RGB in, RGB out: the same, and `tint` added, in the units of its values."""
    return pointwise_onnx([[1, 0, 0], [0, 1, 0], [0, 0, 1]], list(tint), side, "batch")
