"""The contract of a model: what it is fed and what comes back. Export writes it into the ONNX file."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bwcolor.errors import ModelError

METADATA_KEY = "bwcolor.spec"
FORMAT = 1
INPUT_KINDS = ("luma", "l", "gray-rgb")
OUTPUT_KINDS = ("cbcr", "ab", "rgb")
SHAPES = ("any", "square")
PRECISIONS = ("fp32", "fp16", "int8")
IMAGENET: Literal["imagenet"] = "imagenet"
MAX_SIDE = 4096  # px; no colorizer is fed more, so a larger claim is a damaged file
MAX_VALUE = 1e6  # no network counts further, so a larger end of a range is a damaged file
MIN_SPAN = 1e-6  # between the ends of a range: less would divide by nearly nothing
MAX_TEXT = 2_000  # characters of one field
MAX_JSON = 65_536  # characters of a whole contract
NOT_MEASURED = -1.0

Range = tuple[float, float] | Literal["imagenet"]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """How to feed a model and what comes back. All tensors are float32, NCHW.

    name, version, licence: of the model.
    input_kind: "luma" is BT.601 luma, one channel, 0..1 mapped linearly onto input_range; "l" is L* of
    CIELAB, one channel, 0..100 mapped onto it; "gray-rgb" is luma three times, 0..1 mapped onto it.
    output_kind: "cbcr" is Cb and Cr of full-range YCbCr, two channels, output_range mapped onto
    -0.5..0.5; "ab" is a* and b* of CIELAB, two channels, output_range holding the two values that mean
    -128 and 128; "rgb" is gamma-encoded RGB, three channels, output_range mapped onto 0..1, of which only
    the chroma is used.
    input_range of "gray-rgb" and output_range of "rgb" may be "imagenet": normalised by the mean and
    standard deviation of ImageNet's channels.
    network_size: px; the whole-photo pass sees a photo reduced to this geometric mean of width and
    height. multiple: px; height and width fed are multiples of it. tile_size: px, side of the tiles.
    shape: "any" keeps a photo's aspect; "square" is fed network_size x network_size, the photo squashed,
    and no tiles.
    training_sha256: of the training configuration. recipe: its name. training_data: one sentence.
    precision: of the weights and most of the arithmetic.
    parity_max, parity_mean: difference from PyTorch, a*b* units. de00_mean, de00_p99: CIEDE2000 against
    the fp32 model (0 for fp32 itself). -1: not measured.
    """

    name: str
    version: str
    licence: str
    input_kind: str
    output_kind: str
    input_range: Range
    output_range: Range
    network_size: int
    multiple: int
    tile_size: int
    training_sha256: str
    shape: str = "any"
    precision: str = "fp32"
    recipe: str = ""
    training_data: str = ""
    parity_max: float = NOT_MEASURED
    parity_mean: float = NOT_MEASURED
    de00_mean: float = NOT_MEASURED
    de00_p99: float = NOT_MEASURED

    def __post_init__(self) -> None:
        self._check_names()
        self._check_sizes()
        _check_range("input", self.input_range, self.input_kind == "gray-rgb")
        _check_range("output", self.output_range, self.output_kind == "rgb")
        for name in ("parity_max", "parity_mean", "de00_mean", "de00_p99"):
            value = getattr(self, name)
            if not (value == NOT_MEASURED or 0 <= value < math.inf):
                raise ModelError(f"{name} must be 0 or more, or -1 for not measured, not {value:g}")

    def _check_names(self) -> None:
        if self.input_kind not in INPUT_KINDS or self.output_kind not in OUTPUT_KINDS:
            raise ModelError(
                f"input kind {_short(self.input_kind)} with output kind {_short(self.output_kind)} is not known:"
                f" inputs are {', '.join(INPUT_KINDS)}, outputs {', '.join(OUTPUT_KINDS)}"
            )
        for what, value, known in (("shape", self.shape, SHAPES), ("precision", self.precision, PRECISIONS)):
            if value not in known:
                raise ModelError(f"{what} {_short(value)} is not known, only {', '.join(known)}")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, str) and len(value) > MAX_TEXT:
                raise ModelError(f"{field.name} is {len(value)} characters long, more than {MAX_TEXT}")

    def _check_sizes(self) -> None:
        sides = (self.network_size, self.multiple, self.tile_size)
        if not all(1 <= side <= MAX_SIDE for side in sides):
            raise ModelError(f"network size, multiple and tile size must be in 1..{MAX_SIDE}, not {_short(sides)}")
        if self.network_size % self.multiple or self.tile_size % self.multiple:
            raise ModelError(f"network and tile size must be multiples of {self.multiple}, not {sides}")

    def to_json(self) -> dict[str, Any]:
        """As values that JSON can hold; `from_json` reads them back."""
        return {"format": FORMAT, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, values: Any) -> "ModelSpec":
        """Reads `to_json` back; raises ModelError (without the file's name) when it does not fit."""
        try:
            if values["format"] != FORMAT:
                raise ModelError("its metadata has a format of another bwcolor version")
            fields = [field for field in dataclasses.fields(cls) if field.name in values or _required(field)]
            return cls(**{field.name: _typed(values[field.name], field.type) for field in fields})
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise ModelError(f"its bwcolor metadata is damaged ({_short(error)})") from error

    def to_metadata(self) -> dict[str, str]:
        """As ONNX metadata: one key whose value is JSON."""
        return {METADATA_KEY: json.dumps(self.to_json(), sort_keys=True)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "ModelSpec":
        """Reads `to_metadata` back; raises ModelError (without the file's name) when it does not fit."""
        if METADATA_KEY not in metadata:
            raise ModelError(
                "it does not say how to use it (no bwcolor metadata); make it with `bwcolor export`,"
                " or tell how to use it with `bwcolor models add`"
            )
        text = metadata[METADATA_KEY]
        if len(text) > MAX_JSON:
            raise ModelError(f"its bwcolor metadata is damaged (longer than {MAX_JSON} characters)")
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"its bwcolor metadata is damaged ({_short(error)})") from error
        return cls.from_json(values)


def _check_range(what: str, ends: Range, may_be_imagenet: bool) -> None:
    if isinstance(ends, str):
        if ends != IMAGENET or not may_be_imagenet:
            raise ModelError(f"{what} range {_short(ends)}: only RGB can be normalised, and the word is {IMAGENET!r}")
        return
    low, high = ends
    if not (-MAX_VALUE <= low < high <= MAX_VALUE and high - low >= MIN_SPAN):  # also true for NaN
        raise ModelError(f"the {what} range must rise and stay within {MAX_VALUE:,.0f}, not go from {low} to {high}")


def _required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING


def _typed(value: Any, kind: Any) -> Any:
    if kind is str and isinstance(value, str):
        return value
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind is float:
        return _number(value)
    if kind == Range:
        if isinstance(value, str):
            return value
        if isinstance(value, list | tuple) and len(value) == 2:
            return (_number(value[0]), _number(value[1]))
    raise TypeError(f"unexpected value {_short(value)}")


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{_short(value)} is not a number")
    return float(value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
