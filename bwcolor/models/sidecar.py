"""The two small JSON files beside a model: its contract (MODEL.onnx.json) and its card (MODEL.onnx.card.json).

Both belong to one file and name its SHA-256. The contract says how to use a model that does not say it
itself; the card holds what `bwcolor eval --card` measured. Neither is ever believed further than it is checked.
"""

import dataclasses
import json
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bwcolor.errors import ModelError
from bwcolor.models.spec import MAX_JSON, MAX_TEXT, ModelSpec

FORMAT = 1
MAX_CARD = 1_000_000  # bytes; one measurement takes about 500


@dataclass(frozen=True, slots=True)
class Contract:
    """How to use the one file that has this SHA-256 (hex)."""

    sha256: str
    spec: ModelSpec


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run of `bwcolor eval`, means over photos.

    data: name of the folder of photos. protocol: how the photos were prepared and colorized. photos: how
    many. failed: how many more could not be measured. date: YYYY-MM-DD, UTC. bwcolor: its version.
    device: "cpu" or "cuda:N". psnr: dB. de00: CIEDE2000. colourfulness: Hasler and Suesstrunk's.
    gray_psnr, gray_de00: of the photos left gray.
    """

    data: str
    protocol: str
    photos: int
    failed: int
    date: str
    bwcolor: str
    device: str
    psnr: float
    de00: float
    colourfulness: float
    colourfulness_truth: float
    gray_psnr: float
    gray_de00: float

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is float and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise TypeError(f"{field.name} is no number")
            if field.type is int and (isinstance(value, bool) or not isinstance(value, int)):
                raise TypeError(f"{field.name} is no whole number")
            if field.type is str and not (isinstance(value, str) and len(value) <= MAX_TEXT):
                raise TypeError(f"{field.name} is no text of at most {MAX_TEXT} characters")
            if isinstance(value, int | float) and not -1e9 < value < 1e9:
                raise ValueError(f"{field.name} is absurd")


def contract_path(model: Path) -> Path:
    return model.with_name(f"{model.name}.json")


def card_path(model: Path) -> Path:
    return model.with_name(f"{model.name}.card.json")


def read_contract(model: Path) -> Contract | None:
    """The contract beside a model; None without one. Raises ModelError when it is damaged."""
    path = contract_path(model)
    values = _read(path, MAX_JSON)
    if values is None:
        return None
    try:
        if values["format"] != FORMAT:
            raise ModelError("its format is another bwcolor version's")
        sha256, spec = values["model_sha256"], ModelSpec.from_json(values["spec"])
        if not isinstance(sha256, str) or len(sha256) != 64:
            raise ModelError("its SHA-256 is damaged")
        return Contract(sha256, spec)
    except (KeyError, TypeError) as error:
        raise ModelError(f"{path}: not a contract of bwcolor: move it away, or add the model again.") from error
    except ModelError as error:
        raise ModelError(f"{path}: {error}; move it away, or add the model again.") from error


def contract_content(contract: Contract) -> bytes:
    """The file that `read_contract` reads back."""
    return _content({"format": FORMAT, "model_sha256": contract.sha256, "spec": contract.spec.to_json()})


def read_card(model: Path, sha256: str) -> list[Measurement]:
    """What was measured with exactly this file; raises ModelError when the card is damaged or another file's."""
    path = card_path(model)
    values = _read(path, MAX_CARD)
    if values is None:
        return []
    try:
        if values["format"] != FORMAT:
            raise ModelError(f"{path}: its format is another bwcolor version's: move it away.")
        if values["model_sha256"] != sha256:
            other = str(values["model_sha256"])[:12]
            raise ModelError(f"{path}: measured with another file (SHA-256 {other}…): not shown.")
        return [Measurement(**entry) for entry in values["measurements"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: not a card of bwcolor: move it away.") from error


def card_content(model: Path, sha256: str, measurement: Measurement) -> bytes:
    """The card beside the model with one more measurement, in place of an earlier one of the same data and protocol.

    The card of another file (the model was made anew under its name) is not kept. Raises ModelError for
    something else under the card's name.
    """
    path = card_path(model)
    values = _read(path, MAX_CARD)
    kept = read_card(model, sha256) if values is not None and _sha256_of(values, path) == sha256 else []
    kept = [old for old in kept if (old.data, old.protocol) != (measurement.data, measurement.protocol)]
    entries = [dataclasses.asdict(entry) for entry in (*kept, measurement)]
    return _content({"format": FORMAT, "model_sha256": sha256, "measurements": entries})


def is_ours(path: Path) -> bool:
    """Whether a file may be replaced by one of ours: it is missing, or it is one."""
    try:
        values = _read(path, MAX_CARD)
        return values is None or bool(_sha256_of(values, path))
    except ModelError:
        return False


def _sha256_of(values: dict[str, Any], path: Path) -> str:
    sha256 = values.get("model_sha256")
    if not isinstance(sha256, str):
        raise ModelError(f"{path}: in the way, not a file of bwcolor: move it away.")
    return sha256


def _read(path: Path, limit: int) -> dict[str, Any] | None:
    """The JSON object in a file, None when there is no file; raises ModelError when it is not fit to be read."""
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode) or state.st_size > limit:
            raise ModelError(f"{path}: not a file of bwcolor, or larger than {limit:,} bytes: move it away.")
        values = json.loads(path.read_bytes())
        if not isinstance(values, dict):
            raise ValueError("no JSON object")
        return values
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelError(f"{path}: can't be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: damaged, not JSON that bwcolor wrote: move it away.") from error


def _content(values: Any) -> bytes:
    return (json.dumps(values, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
