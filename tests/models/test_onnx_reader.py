"""What an ONNX file says of itself, read without onnxruntime and without the onnx package."""

import contextlib
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from tiny_model import TINY_SPEC, pointwise_onnx, tiny_onnx

from bwcolor.errors import ModelError
from bwcolor.models import onnx_reader
from bwcolor.models.onnx_reader import Tensor, read_onnx
from bwcolor.models.spec import METADATA_KEY


def test_what_is_read_is_what_the_onnx_package_reads() -> None:
    content = pointwise_onnx([[0, 0, 0]] * 2, [0, 0], 512, metadata={"a": "ä", "": "empty key"})
    found = read_onnx(content)
    assert found.inputs == [Tensor("input", "float", (1, 3, 512, 512))]
    assert found.outputs == [Tensor("output", "float", (1, 2, 512, 512))]
    assert found.opsets == {"": 17}
    assert found.ir_version == 8
    assert found.producer == "someone 2.1"
    assert found.metadata == {"a": "ä", "": "empty key"}
    assert str(found.inputs[0]) == "input (float 1 x 3 x 512 x 512)"
    assert read_onnx(tiny_onnx()).metadata == TINY_SPEC.to_metadata()


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_the_bundled_models(repository: Path, precision: str) -> None:
    found = read_onnx((repository / "bwcolor" / "models" / f"default-{precision}.onnx").read_bytes())
    assert METADATA_KEY in found.metadata
    assert [tensor.shape[1] for tensor in (*found.inputs, *found.outputs)] == [1, 2]


def test_dimensions_may_be_named_or_unknown_and_types_any() -> None:
    loaded = onnx.load_from_string(tiny_onnx())
    tensor = loaded.graph.input[0].type.tensor_type
    tensor.elem_type = TensorProto.FLOAT16
    tensor.shape.dim[2].Clear()
    found = read_onnx(loaded.SerializeToString())
    assert found.inputs == [Tensor("luma", "float16", ("batch", 1, None, "width"))]
    tensor.elem_type = TensorProto.BFLOAT16
    tensor.ClearField("shape")
    assert read_onnx(loaded.SerializeToString()).inputs == [Tensor("luma", "type 16", ())]


def test_weights_that_old_files_list_as_inputs_are_none() -> None:
    loaded = onnx.load_from_string(tiny_onnx())
    loaded.graph.input.append(helper.make_tensor_value_info("weight", TensorProto.FLOAT, [2, 1, 3, 3]))
    assert [tensor.name for tensor in read_onnx(loaded.SerializeToString()).inputs] == ["luma"]


def external(location: str) -> TensorProto:
    """A tensor whose numbers are said to lie in another file."""
    tensor = numpy_helper.from_array(np.zeros((2, 1, 3, 3), np.float32), "hidden")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "72")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


def in_a_subgraph(tensor: TensorProto) -> onnx.GraphProto:
    return helper.make_graph([], "inner", [], [], [tensor])


HIDING_PLACES: dict[str, Callable[[onnx.ModelProto, TensorProto], None]] = {
    "initializer": lambda model, tensor: model.graph.initializer.append(tensor),
    "sparse initializer": lambda model, tensor: model.graph.sparse_initializer.add().values.CopyFrom(tensor),
    "constant": lambda model, tensor: model.graph.node.append(helper.make_node("Constant", [], ["x"], value=tensor)),
    "list of constants": lambda model, tensor: model.graph.node[0].attribute.append(
        helper.make_attribute("list", [tensor])
    ),
    "subgraph": lambda model, tensor: model.graph.node[0].attribute.append(
        helper.make_attribute("then_branch", in_a_subgraph(tensor))
    ),
    "list of subgraphs": lambda model, tensor: model.graph.node[0].attribute.append(
        helper.make_attribute("branches", [in_a_subgraph(tensor)])
    ),
    "function": lambda model, tensor: model.functions.add().node.append(
        helper.make_node("Constant", [], ["x"], value=tensor)
    ),
    "training": lambda model, tensor: model.training_info.add().algorithm.CopyFrom(in_a_subgraph(tensor)),
}


@pytest.mark.parametrize("place", HIDING_PLACES)
@pytest.mark.parametrize("location", ["weights.bin", "/etc/passwd", "../../w.bin", "*/_ORT_MEM_ADDR_/*", ""])
def test_external_data_is_refused_wherever_it_hides(place: str, location: str) -> None:
    loaded = onnx.load_from_string(tiny_onnx())
    HIDING_PLACES[place](loaded, external(location))
    with pytest.raises(ModelError, match="external data"):
        read_onnx(loaded.SerializeToString())


def test_external_data_flagged_by_a_number_that_protobuf_cuts_to_32_bits() -> None:
    loaded = onnx.load_from_string(tiny_onnx())
    loaded.graph.initializer[0].data_location = TensorProto.DEFAULT
    content = loaded.SerializeToString()
    plain, long = b"\x70\x00", b"\x70\x81\x80\x80\x80\x10"  # field 14 = 0; = 2**32 + 1
    assert content.count(plain) == 1
    tensor = loaded.graph.initializer[0].SerializeToString()
    changed = tensor.replace(plain, long)
    grown = TensorProto.FromString(changed)
    assert grown.data_location == TensorProto.EXTERNAL, "protobuf reads it as external"
    model = b"\x3a" + varint(len(graph := b"\x2a" + varint(len(changed)) + changed)) + graph
    with pytest.raises(ModelError, match="external data"):
        read_onnx(model)


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "no graph"),
        (b"\x08\x0a", "no graph"),
        (pickle.dumps({"weights": [1.0]}), "a Python pickle, which is never opened"),
        (b"PK\x03\x04" + bytes(50), "a zip archive, perhaps a PyTorch checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"\x3a\xff\xff\xff\xff\x07", "ends too early"),  # a graph of 2 GB
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "ends too early"),  # of 2**70 bytes
        (b"\x08" + b"\xff" * 11, "more than ten bytes"),
        (b"\x0b", "unknown kind 3"),
    ],
)
def test_what_is_no_onnx_file_gets_a_sentence(content: bytes, sentence: str) -> None:
    with pytest.raises(ModelError, match="not an ONNX model") as caught:
        read_onnx(content)
    assert sentence in str(caught.value)


def test_a_file_cut_off_anywhere_gets_a_sentence() -> None:
    content = tiny_onnx()
    read = 0
    for length in range(len(content)):
        try:
            read_onnx(content[:length])
            read += 1  # cut between two parts of the outermost message, behind the graph
        except ModelError:
            pass
    assert read < 5


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damage_gets_a_sentence_and_never_anything_else(data: st.DataObject) -> None:
    content = bytearray(tiny_onnx())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ModelError):
        read_onnx(bytes(content))


def test_nesting_and_the_number_of_parts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = b""
    for _ in range(200):  # graph.node.attribute.g.node.attribute.g ...
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            inner = tag + varint(len(inner)) + inner
    with pytest.raises(ModelError, match="nested more than 100 deep"):
        read_onnx(b"\x3a" + varint(len(inner)) + inner)
    monkeypatch.setattr(onnx_reader, "MAX_FIELDS", 10)
    with pytest.raises(ModelError, match="more than 10 parts"):
        read_onnx(tiny_onnx())
