"""What an ONNX file says of itself, read without running anything and without the onnx package.

An ONNX file is one protobuf message, ModelProto (onnx.proto); the field numbers below are from there.
Only the tree of messages is walked: weights are stepped over, whatever their size.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bwcolor.errors import ModelError

MAX_DEPTH = 100  # messages inside messages, as in protobuf itself
MAX_FIELDS = 5_000_000  # far beyond any network; a file of nothing but tiny fields would take hours
EXTERNAL = 1  # TensorProto.data_location: the numbers lie in another file
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # protobuf's wire types
MASK64, MASK32 = 2**64 - 1, 2**32 - 1

# Which fields of a message are messages that tensors can hide in: message -> field number -> message.
TREE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
MODEL_IR, MODEL_PRODUCER, MODEL_PRODUCER_VERSION, MODEL_GRAPH, MODEL_OPSET, MODEL_METADATA = 1, 2, 3, 7, 8, 14
GRAPH_TENSOR, GRAPH_INPUT, GRAPH_OUTPUT = 5, 11, 12
TENSOR_NAME, TENSOR_LOCATION = 8, 14

TYPES = {1: "float", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "double"}

# What people rename to .onnx: first bytes -> what it is.
IMPOSTORS = {
    b"PK\x03\x04": "a zip archive, perhaps a PyTorch checkpoint: turn it into a model with `bwcolor export`",
    b"\x80": "a Python pickle, which is never opened: turn a checkpoint into a model with `bwcolor export`",
    b"version https://git-lfs": "a Git LFS pointer: fetch the file itself with `git lfs pull`",
    b"<": "a web page: the download went wrong",
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output: its element type, and each dimension as a number, a name, or None for unknown."""

    name: str
    type: str
    shape: tuple[int | str | None, ...]

    def __str__(self) -> str:
        return f"{self.name} ({self.type} {' x '.join('?' if d is None else str(d) for d in self.shape)})"


@dataclass(slots=True)
class OnnxFile:
    """producer: name and version of the program that wrote it. opsets: domain -> version; "" is ONNX's own."""

    ir_version: int = 0
    producer: str = ""
    opsets: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)


def read_onnx(content: bytes) -> OnnxFile:
    """Walks the whole file; raises ModelError (without the file's name) for damage and external data."""
    for start, what in IMPOSTORS.items():
        if content.startswith(start):
            raise ModelError(f"not an ONNX model but {what}")
    try:
        view = memoryview(content)
        _Walk().visit(view, "model", 0)
        return _describe(view)
    except _Damage as error:
        raise ModelError(f"not an ONNX model, or a damaged one ({error})") from error


class _Damage(Exception):
    pass


class _Walk:
    def __init__(self) -> None:
        self._fields = 0

    def visit(self, message: memoryview, kind: str, depth: int) -> None:
        """Raises where a tensor below this message lies outside the file."""
        if depth > MAX_DEPTH:
            raise _Damage(f"nested more than {MAX_DEPTH} deep")
        children = TREE[kind]
        for number, value in _fields(message):
            self._fields += 1
            if self._fields > MAX_FIELDS:
                raise _Damage(f"more than {MAX_FIELDS:,} parts")
            if isinstance(value, int):
                if kind == "tensor" and number == TENSOR_LOCATION and value & MASK32 == EXTERNAL:
                    raise ModelError("keeps its weights in another file (external data): save it as one file")
            elif number in children:
                self.visit(value, children[number], depth + 1)


def _describe(model: memoryview) -> OnnxFile:
    found = OnnxFile()
    version = ""
    for number, value in _fields(model):
        if number == MODEL_IR and isinstance(value, int):
            found.ir_version = value
        elif number == MODEL_PRODUCER:
            found.producer = _text(value)
        elif number == MODEL_PRODUCER_VERSION:
            version = _text(value)
        elif number == MODEL_OPSET:
            opset = dict(_fields(_message(value)))
            found.opsets[_text(opset.get(1, b""))] = _count(opset.get(2, 0))
        elif number == MODEL_METADATA:
            entry = dict(_fields(_message(value)))
            found.metadata[_text(entry.get(1, b""))] = _text(entry.get(2, b""))
        elif number == MODEL_GRAPH:
            _add_signature(found, _message(value))
    if not found.outputs:
        raise _Damage("it has no graph with outputs")
    found.producer = f"{found.producer} {version}".strip()
    return found


def _add_signature(found: OnnxFile, graph: memoryview) -> None:
    parts = list(_fields(graph))
    weights = {
        _text(value)
        for number, tensor in parts
        if number == GRAPH_TENSOR
        for inner, value in _fields(_message(tensor))
        if inner == TENSOR_NAME
    }
    inputs = [_tensor(_message(value)) for number, value in parts if number == GRAPH_INPUT]
    found.inputs += [tensor for tensor in inputs if tensor.name not in weights]  # old files list weights as inputs
    found.outputs += [_tensor(_message(value)) for number, value in parts if number == GRAPH_OUTPUT]


def _tensor(value_info: memoryview) -> Tensor:
    """Reads a ValueInfoProto: name is 1; type is 2, in it tensor_type 1, in it elem_type 1 and shape 2.

    A shape's dimensions are 1, in each its number 1 or its name 2.
    """
    info = dict(_fields(value_info))
    kind = dict(_fields(_message(dict(_fields(_message(info.get(2, b"")))).get(1, b""))))
    code = _count(kind.get(1, 0))
    shape: list[int | str | None] = []
    for number, value in _fields(_message(kind.get(2, b""))):
        if number == 1:
            dimension = dict(_fields(_message(value)))
            shape.append(_count(dimension[1]) if 1 in dimension else _text(dimension.get(2, b"")) or None)
    return Tensor(_text(info.get(1, b"")), TYPES.get(code, f"type {code}"), tuple(shape))


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Each field of a message: its number, and its value as a number or as bytes."""
    position, end = 0, len(message)
    while position < end:
        key, position = _varint(message, position)
        wire = key & 7
        if wire == VARINT:
            value, position = _varint(message, position)
            yield key >> 3, value
            continue
        if wire == BYTES:
            length, position = _varint(message, position)
        elif wire in (FIXED64, FIXED32):
            length = 8 if wire == FIXED64 else 4
        else:
            raise _Damage(f"a part of unknown kind {wire}")
        if length > end - position:
            raise _Damage("it ends too early")
        yield key >> 3, message[position : position + length]
        position += length


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """The number at `position`, seven bits a byte, lowest first, and the position behind it."""
    number = shift = 0
    while shift < 70:
        if position >= len(message):
            raise _Damage("it ends too early")
        byte = message[position]
        position += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number & MASK64, position
        shift += 7
    raise _Damage("a number of more than ten bytes")


def _message(value: Any) -> memoryview:
    if isinstance(value, int):
        raise _Damage("a number where a message must be")
    return memoryview(value)


def _text(value: Any) -> str:
    return "" if isinstance(value, int) else bytes(value).decode("utf-8", "replace")


def _count(value: Any) -> int:
    return value if isinstance(value, int) else 0
