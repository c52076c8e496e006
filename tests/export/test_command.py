"""`bwcolor export`: every option reaches the export."""

from pathlib import Path
from typing import Any

import pytest
from bwcolor_export.contract import Contract
from bwcolor_export.onnx import ExportOptions, ExportResult
from bwcolor_export.verify import ColourDifference, Parity
from tiny_model import TINY_SPEC
from typer.testing import CliRunner

from bwcolor.cli.app import app

WORDS: dict[str, Any] = {
    "--precision": "int8", "--name": "n", "--licence": "CC0-1.0", "--model-version": "2", "--training-data": "cats",
    "--network-size": 96, "--tile-size": 64, "--gain": 1.5, "--cast": 0.75, "--calibrate": "photos", "--atol": 0.2,
    "--max-de00": 0.3, "--max-de00-p99": 0.4, "--arch": "unet-31m", "--input-kind": "l", "--input-range": "0,100",
    "--output-kind": "ab", "--output-range": "-1,1",
}  # fmt: skip
RESULT = ExportResult(
    1_234_567, "f" * 64, TINY_SPEC, [Parity(1, 64, 32, 0.25, 0.125)], ColourDifference(7, 0.25, 1.5, 0.5), 0.96
)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the export was asked for; it does nothing."""
    made: list[tuple[Any, ...]] = []

    def export(*arguments: Any) -> ExportResult:
        made.append(arguments)
        return RESULT

    monkeypatch.setattr("bwcolor_export.onnx.export_onnx", export)
    return made


def test_every_option_reaches_the_export(calls: list[tuple[Any, ...]]) -> None:
    words = [str(part) for option in WORDS.items() for part in option]
    result = CliRunner().invoke(app, ["export", "theirs.pt", "-o", "ours.onnx", "--overwrite", *words])
    assert result.exit_code == 0, result.output
    ((source, target, options, overwrite),) = calls
    assert (source, target, overwrite) == (Path("theirs.pt"), Path("ours.onnx"), True)
    assert options == ExportOptions(
        name="n", version="2", licence="CC0-1.0", training_data="cats", network_size=96, tile_size=64, gain=1.5,
        cast=0.75, precision="int8", calibrate=Path("photos"), atol=0.2, max_de00=0.3, max_de00_p99=0.4,
        contract=Contract("unet-31m", "l", "ab", (0, 100), (-1, 1), True),
    )  # fmt: skip
    assert result.stdout.splitlines() == [
        "parity of 1 at 64 x 32: largest difference 0.25, mean 0.12 (a*b* units)",
        "CIEDE2000 against fp32 on 7 photos: mean 0.25, 99th percentile 1.5; mean of the worst photo 0.5",
        "int8: 96 % of the convolutions' multiplications",
        f"ours.onnx: 1.2 MB, SHA-256 {'f' * 64}",
    ]


def test_without_options_the_defaults_hold(calls: list[tuple[Any, ...]]) -> None:
    assert CliRunner().invoke(app, ["export", "runs/mine/model.pt"]).exit_code == 0
    assert calls == [(Path("runs/mine/model.pt"), Path("runs/mine/model.onnx"), ExportOptions(), False)]
