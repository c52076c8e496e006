"""Writing what `bwcolor eval` measured: into the card beside a model, or all of it as JSON."""

import dataclasses
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bwcolor import __version__
from bwcolor.checks.equal_colorfulness import SHARES, EqualScores, EqualSummary, Factors, summarize_equal
from bwcolor.checks.evaluate import Evaluation, calibration
from bwcolor.errors import FolderError, UsageError
from bwcolor.imaging.metrics import HUES, Scores, summarize
from bwcolor.inference.onnx_model import OnnxModel
from bwcolor.inference.registry import write_file
from bwcolor.inference.session import Average
from bwcolor.models.sidecar import Measurement, card_content, card_path, is_ours

JSON_FORMAT = "bwcolor-eval-1"


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What one protocol gave. name: in evaluate.PROTOCOLS. failed: photos that could not be measured. factors: of
    chroma, for each of equal.SHARES."""

    name: str
    protocol: str
    results: list[Evaluation]
    failed: int
    factors: Factors

    def equal(self) -> list[EqualSummary | None]:
        """Means at each of equal.SHARES; None where no factor reaches it."""
        truths = [one.model.colourfulness_truth for one in self.results]
        columns = zip(*[one.equal for one in self.results], strict=True)
        return [
            None if factor is None else summarize_equal(share, factor, [one for one in column if one], truths)
            for share, factor, column in zip(SHARES, self.factors, columns, strict=True)
        ]


def with_card(model: OnnxModel | Average) -> OnnxModel:
    """The model, where it can have a card; else raises UsageError, before anything is measured."""
    if isinstance(model, Average):
        raise UsageError("--card: a card belongs to one file, not to several models. Measure them one by one.")
    path = card_path(model.path)
    if not is_ours(path):
        raise UsageError(f"{path}: in the way, not a card of bwcolor. Move it away.")
    return model


def write_card(model: OnnxModel, data: Path, measured: list[Measured]) -> Path:
    """Adds measurements to the model's card; raises FolderError where its folder can't be written.

    data: the folder of photos, of which only the name is kept.
    """
    path = card_path(model.path)
    for one in measured:
        try:
            write_file(path, card_content(model.path, model.sha256, _measurement(model, data, one)))
        except FolderError as error:
            raise FolderError(f"{error} The figures above stand; to keep them, measure a copy of the model.") from error
    return path


def _measurement(model: OnnxModel, data: Path, measured: Measured) -> Measurement:
    summary = summarize([result.model for result in measured.results])
    gray = summarize([result.gray for result in measured.results])
    return Measurement(
        data=data.absolute().name,
        protocol=measured.protocol,
        photos=len(measured.results),
        failed=measured.failed,
        date=datetime.now(UTC).date().isoformat(),
        bwcolor=__version__,
        device=model.device,
        psnr=summary.psnr,
        de00=summary.de00,
        colourfulness=summary.colourfulness,
        colourfulness_truth=summary.colourfulness_truth,
        gray_psnr=gray.psnr,
        gray_de00=gray.de00,
    )


def check_json(path: Path) -> None:
    """Raises UsageError or FolderError where write_json would fail, or replace something else than its own file."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise FolderError(f"--json {path}: there is no folder {folder}. Make it, or name another.")
    if os.path.lexists(path):
        try:
            known = json.loads(path.read_bytes())["format"] == JSON_FORMAT
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            known = False
        if not known:
            raise UsageError(f"--json {path}: in the way, not written by bwcolor eval. Name another file.")


def write_json(path: Path, model: OnnxModel | Average, data: Path, measured: list[Measured]) -> None:
    """Everything that was measured, in place of an older file; raises FolderError where it can't be written."""
    values = {
        "format": JSON_FORMAT,
        "bwcolor": __version__,
        "model": model.label,
        "data": str(data),
        "protocols": [_protocol_values(one, data) for one in measured],
    }
    write_file(path, (json.dumps(values, indent=1) + "\n").encode())


def _protocol_values(measured: Measured, data: Path) -> dict[str, Any]:
    """Means, colours over all photos (a*b* in squares of 10 units from -110 on), what doubt says about errors, and the
    figures of each photo."""
    results, doubt = measured.results, calibration(measured.results)
    folder = Path(os.path.abspath(data))

    def mean(name: str) -> Any:
        return np.round(np.mean([getattr(one, name) for one in results], 0), 6).tolist()

    return {
        "name": measured.name,
        "protocol": measured.protocol,
        "failed": measured.failed,
        "model": dataclasses.asdict(summarize([one.model for one in results])),
        "gray": dataclasses.asdict(summarize([one.gray for one in results])),
        "hues": dict(zip(HUES, mean("hues"), strict=True)),
        "hues_truth": dict(zip(HUES, mean("hues_truth"), strict=True)),
        "ab_histogram": mean("histogram"),
        "ab_histogram_truth": mean("histogram_truth"),
        "equal_colorfulness": [one and dataclasses.asdict(one) for one in measured.equal()],
        "doubt": _numbers(dataclasses.asdict(doubt)) if doubt else None,
        "photos": [_photo_values(one, folder) for one in results],
    }


def _photo_values(one: Evaluation, folder: Path) -> dict[str, Any]:
    inside = one.path != folder and one.path.is_relative_to(folder)
    path = one.path.relative_to(folder) if inside else Path(one.path.name)
    return {
        "path": path.as_posix(),
        "model": _finite(one.model),
        "gray": _finite(one.gray),
        "equal_colorfulness": [scores and _finite(scores) for scores in one.equal],
        "doubt": one.doubt,
    }


def _numbers(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN either: nothing is known then."""
    return {name: None if value != value else value for name, value in values.items()}


def _finite(scores: Scores | EqualScores) -> dict[str, Any]:
    """JSON has no infinity: a photo reproduced without any error has 100 dB, as in the means."""
    return dataclasses.asdict(scores) | {"psnr": min(scores.psnr, 100.0)}
