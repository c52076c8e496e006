"""Contracts for other people's colorizers, whose files do not say how to use them."""

import re
from dataclasses import dataclass

from bwcolor.errors import ModelError, UsageError
from bwcolor.models.onnx_reader import OnnxFile
from bwcolor.models.spec import IMAGENET, ModelSpec, Range

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
RANGE_PATTERN = re.compile(rf"({NUMBER}),({NUMBER})")


@dataclass(frozen=True, slots=True)
class Kind:
    """A family of colorizers. input_range, output_range: usual ones; None where there is no usual one.

    size: px, of the network's view. multiple: px; sides fed are multiples of it. channels: in, out.
    """

    input_kind: str
    output_kind: str
    input_range: Range | None
    output_range: Range | None
    size: int
    multiple: int
    channels: tuple[int, int]


KINDS = {
    "l-to-ab": Kind("l", "ab", (0, 100), (-128, 128), 256, 8, (1, 2)),  # Zhang et al. 2016, 2017
    "gray-rgb-to-ab": Kind("gray-rgb", "ab", (0, 1), (-128, 128), 512, 32, (3, 2)),  # DDColor
    "gray-rgb-to-rgb": Kind("gray-rgb", "rgb", None, None, 256, 16, (3, 3)),  # DeOldify: files differ in their ranges
}


@dataclass(frozen=True, slots=True)
class Told:
    """What the user said of a model. size, multiple: px, 0 for the usual. ranges: text, empty for the usual."""

    kind: str
    name: str
    version: str = "1"
    licence: str = "not stated"
    training_data: str = ""
    size: int = 0
    multiple: int = 0
    shape: str = "square"
    input_range: str = ""
    output_range: str = ""


def foreign_spec(told: Told, onnx: OnnxFile) -> ModelSpec:
    """The contract of a file of one of the KINDS; raises UsageError where what was said does not fit together.

    A size that is fixed in the file need not be said.
    """
    if told.kind not in KINDS:
        raise UsageError(f"--kind {told.kind or '?'}: choose {', '.join(KINDS)}.{suggestion(onnx)}")
    kind = KINDS[told.kind]
    fixed = _fixed_size(onnx)
    size = told.size or fixed or kind.size
    try:
        return ModelSpec(
            name=told.name,
            version=told.version,
            licence=told.licence,
            input_kind=kind.input_kind,
            output_kind=kind.output_kind,
            input_range=_range("--range", told.input_range, kind.input_range),
            output_range=_range("--output-range", told.output_range, kind.output_range),
            network_size=size,
            multiple=told.multiple or (1 if fixed else kind.multiple),
            tile_size=size,
            training_sha256="",
            shape=told.shape,
            training_data=told.training_data,
        )
    except ModelError as error:
        raise UsageError(f"this can't be: {error}.") from error


def suggestion(onnx: OnnxFile) -> str:
    """A sentence about what the file takes and gives, and which kind that looks like; starts with a space."""
    if not onnx.inputs or not onnx.outputs:
        return ""
    fed, given = onnx.inputs[0], onnx.outputs[0]
    channels = tuple(tensor.shape[1] if len(tensor.shape) == 4 else None for tensor in (fed, given))
    likely = [name for name, kind in KINDS.items() if kind.channels == channels]
    return f" It takes {fed} and gives {given}" + (f", which looks like {likely[0]}." if likely else ".")


def _fixed_size(onnx: OnnxFile) -> int:
    """Side of the square that the file takes, px; 0 when it takes others too."""
    shape = onnx.inputs[0].shape if onnx.inputs else ()
    return shape[2] if len(shape) == 4 and isinstance(shape[2], int) and shape[2] == shape[3] else 0


def _range(option: str, text: str, usual: Range | None) -> Range:
    if not text and usual is not None:
        return usual
    if text == IMAGENET:
        return IMAGENET
    ends = RANGE_PATTERN.fullmatch(text.replace(" ", ""))
    if not ends:
        raise UsageError(
            f"{option} {text or 'is missing'}: say the two values for the ends as LOW,HIGH, such as 0,1 or 0,255 or"
            f" -128,128; for RGB also {IMAGENET}."
        )
    return float(ends[1]), float(ends[2])
