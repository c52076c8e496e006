"""The contract that export writes into an ONNX file and the runtime reads back."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bwcolor.errors import ModelError

METADATA_KEY = "bwcolor.spec"
FORMAT = 1
INPUT_KINDS = ("luma",)
OUTPUT_KINDS = ("cbcr",)
MAX_SIDE = 4096  # px; no network of ours is fed more, so a larger claim is a damaged file


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """How to feed a model and what comes back. All tensors are float32, NCHW.

    name, version, licence: of the model. input_kind: "luma" (BT.601, one channel). output_kind:
    "cbcr" (Cb and Cr of full-range YCbCr, two channels). input_range, output_range: smallest and
    largest value. network_size: px; the whole-photo pass sees a photo reduced to this geometric
    mean of width and height. multiple: px; height and width fed are multiples of it. tile_size: px,
    side of the square tiles. training_sha256: of the training configuration.
    """

    name: str
    version: str
    licence: str
    input_kind: str
    output_kind: str
    input_range: tuple[float, float]
    output_range: tuple[float, float]
    network_size: int
    multiple: int
    tile_size: int
    training_sha256: str

    def __post_init__(self) -> None:
        if self.input_kind not in INPUT_KINDS or self.output_kind not in OUTPUT_KINDS:
            raise ModelError(f"input kind {self.input_kind!r} with output kind {self.output_kind!r} is not known")
        sides = (self.network_size, self.multiple, self.tile_size)
        if not all(1 <= side <= MAX_SIDE for side in sides):
            raise ModelError(f"network size, multiple and tile size must be in 1..{MAX_SIDE}, not {sides}")
        if self.network_size % self.multiple or self.tile_size % self.multiple:
            raise ModelError(f"network and tile size must be multiples of {self.multiple}, not {sides}")
        for low, high in (self.input_range, self.output_range):
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ModelError(f"a value range must rise and be finite, not go from {low} to {high}")

    def to_metadata(self) -> dict[str, str]:
        """As ONNX metadata: one key whose value is JSON."""
        return {METADATA_KEY: json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, sort_keys=True)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "ModelSpec":
        """Reads `to_metadata` back; raises ModelError (without the file's name) when it does not fit."""
        if METADATA_KEY not in metadata:
            raise ModelError("it does not say how to use it (no bwcolor metadata); make it with `bwcolor export`")
        try:
            values = json.loads(metadata[METADATA_KEY])
            if values.pop("format") != FORMAT:
                raise ModelError("its metadata has a format of another bwcolor version")
            return cls(**{field.name: _typed(values[field.name], field.type) for field in dataclasses.fields(cls)})
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise ModelError(f"its bwcolor metadata is damaged ({error!r})") from error


def _typed(value: Any, kind: Any) -> Any:
    if kind is str and isinstance(value, str):
        return value
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind not in (str, int) and isinstance(value, list) and len(value) == 2:
        return (float(value[0]), float(value[1]))
    raise TypeError(f"unexpected value {value!r}")
