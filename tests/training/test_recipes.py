"""Each recipe at toy size: it learns, resumes, exports and colorizes."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from bwcolor_export.onnx import ExportOptions, ExportResult, export_onnx
from bwcolor_training.checkpoint import load_checkpoint, save_checkpoint
from bwcolor_training.config import TrainConfig, load_recipe, recipes
from PIL import Image
from toy_training import GAME, colour_photo, records, run
from typer.testing import CliRunner

from bwcolor.cli.app import app
from bwcolor.imaging.metrics import colourfulness
from bwcolor.models.spec import PRECISIONS

MORE = 3  # steps, after it was resumed
SIZE = 32  # px, of everything
# What makes each of them small and quick; their losses, optimisers and the rest stay as they are.
COMMON = [
    "steps=60", "warmup=3", f"sizes=[{SIZE}]", "batches=[8]", "shares=[1.0]", "encoder=none", "validation=0.3",
    f"validation_size={SIZE}", f"network_size={SIZE}", "learning_rate=5e-3",
    f"critic_width={GAME['critic_width']}", f"critic_levels={GAME['critic_levels']}",
]  # fmt: skip
TOYS = {
    "default": ["widths=[16, 8, 8]", "skip_widths=[8, 8, 8]", "queries=4", "max_enlargement=0"],
    "mobilenet": ["widths=[16, 16, 8, 8]", "skip_widths=[8, 8, 8, 8]"],
    "unet-cifar": ["widths=[8, 16, 32]"],
    "unet-31m": ["widths=[8, 16, 32]"],
    "resnet18-gan": ["widths=[16, 16, 8, 8, 8]", "steps=40"],  # it is the slowest, and done by then
    "resnet18-regression": ["widths=[16, 8, 8]"],
    "pix2pix": ["widths=[16, 32, 32]"],
}
GAMES = {"resnet18-gan", "pix2pix"}


def toy(recipe: str) -> TrainConfig:
    return load_recipe(recipe, COMMON + TOYS[recipe])


def test_no_recipe_is_left_out() -> None:
    assert TOYS.keys() == recipes().keys()


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("recipe", TOYS)
def test_a_recipe_learns_resumes_exports_and_colorizes(photos: Path, tmp_path: Path, recipe: str) -> None:
    out, config = tmp_path / "out", toy(recipe)
    first = run(photos, out, config)
    assert list(first.losses) == list(range(1, config.steps + 1))
    assert set(first.parts[config.steps]) == set(config.losses) | ({"critic"} if recipe in GAMES else set())
    (found,) = records(out, "validation")
    assert found["loss"] < 0.8 * found["mean_colour_loss"]
    assert found["colourfulness_ratio"] > 0.4

    last = load_checkpoint(out / "last.pt")
    longer = dataclasses.replace(config, steps=config.steps + MORE)
    save_checkpoint(dataclasses.replace(last, config=longer), out / "last.pt")
    second = run(photos, out, config, resume=True)
    assert list(second.losses) == list(range(config.steps + 1, longer.steps + 1))
    again = records(out, "validation")[-1]
    assert again["step"] == longer.steps
    assert again["loss"] < 0.8 * again["mean_colour_loss"]

    gray = tmp_path / "gray"
    gray.mkdir()
    Image.fromarray(colour_photo(9)).convert("L").save(gray / "photo.png")
    for precision in PRECISIONS:
        model = tmp_path / f"{precision}.onnx"
        check_export(
            export_onnx(out / "model.pt", model, ExportOptions(precision=precision), overwrite=False), precision
        )
        colorized = tmp_path / f"colored-{precision}"
        result = CliRunner().invoke(app, [str(gray), "--out", str(colorized), "--model", str(model), "--device", "cpu"])
        assert result.exit_code == 0, result.output
        check_colours(colorized / "photo.png", gray / "photo.png")


def check_export(result: ExportResult, precision: str) -> None:
    """It states how near it is to torch and to fp32, and keeps the limits."""
    limits, spec = ExportOptions(), result.spec
    assert spec.precision == precision
    assert (result.int8_share > 0.3) == (precision == "int8")
    if precision == "fp32":
        assert result.difference is None
        assert 0 < spec.parity_mean <= spec.parity_max <= limits.atol
    else:
        assert result.difference is not None
        assert 0 < spec.de00_mean == result.difference.mean <= limits.max_de00
        assert 0 < spec.de00_p99 == result.difference.p99 <= limits.max_de00_p99


def check_colours(colored: Path, gray: Path) -> None:
    """The toy photos are warm above and cold below; luma is the scan's."""
    with Image.open(colored) as image, Image.open(gray) as before:
        colour = np.asarray(image.convert("RGB"))
        difference = np.asarray(image.convert("L"), int) - np.asarray(before, int)
    assert np.abs(difference).max() <= 1, "luma is kept"
    assert colourfulness(colour) > 0.2 * colourfulness(colour_photo(9))
    top, bottom = colour[:20].mean((0, 1)), colour[-20:].mean((0, 1))
    assert top[0] - top[2] > bottom[0] - bottom[2] + 20, "warm above, cold below"
