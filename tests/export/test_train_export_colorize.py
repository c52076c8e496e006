"""The whole way, through the command line: photos, a checkpoint, an ONNX file, colour."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from bwcolor.cli.app import app
from bwcolor.imaging.metrics import colourfulness

SETTINGS = (
    "encoder=none", "widths=[16,8,8]", "skip_widths=[8,8,8]", "queries=4", "max_enlargement=0", "sizes=[32]",
    "batches=[4]", "shares=[1.0]", "steps=8", "warmup=1",
)  # fmt: skip


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def colour_photos(tmp_path: Path) -> Path:
    """Six photos, orange above and brown below."""
    folder = tmp_path / "colour"
    folder.mkdir()
    for number in range(6):
        rgb = np.empty((48, 64 + number, 3), np.uint8)
        rgb[:24], rgb[24:] = (240, 150, 60 + number), (110, 60, 20)
        Image.fromarray(rgb).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def gray_photos(colour_photos: Path, tmp_path: Path) -> Path:
    """The same without colours, one of them in a sub-folder."""
    folder = tmp_path / "gray"
    (folder / "sub").mkdir(parents=True)
    for path in sorted(colour_photos.iterdir()):
        with Image.open(path) as image:
            image.convert("L").save(folder / ("sub" if path.name == "0.png" else ".") / path.name)
    return folder


def test_train_export_colorize(colour_photos: Path, gray_photos: Path, tmp_path: Path) -> None:
    checkpoint, model = tmp_path / "run" / "model.pt", tmp_path / "own.onnx"
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    cache = ("--cache", tmp_path / "cache")
    trained = run("train", colour_photos, "--out", tmp_path / "run", "--quiet", *cache, *settings)
    assert trained.exit_code == 0, trained.output
    assert f"bwcolor PHOTOS --model {tmp_path / 'run' / 'model.onnx'}" in trained.stdout
    assert {"model.onnx", "report.html", "curves.png"} <= {p.name for p in (tmp_path / "run").iterdir()}

    exported = run("export", checkpoint, "-o", model, "--name", "own", "--network-size", 64, "--tile-size", 64,
                   "--gain", 4)  # fmt: skip
    assert exported.exit_code == 0, exported.output
    assert exported.stdout.count("parity of") == 5
    assert f"{model}: " in exported.stdout

    colorized = run(gray_photos, "--out", tmp_path / "colored", "--model", model, "--device", "cpu")
    assert colorized.exit_code == 0, colorized.output
    assert "6 colorized" in colorized.stderr
    for path in gray_photos.rglob("*.png"):
        with Image.open(tmp_path / "colored" / path.relative_to(gray_photos)) as image, Image.open(path) as gray:
            assert image.size == gray.size
            difference = np.asarray(image.convert("L"), int) - np.asarray(gray, int)
            assert np.abs(difference).max() <= 1, "luma is kept"
            assert colourfulness(np.asarray(image.convert("RGB"))) > 1

    measured = run("eval", colour_photos, "--model", model, "--size", 48, "--device", "cpu")
    assert measured.exit_code == 0, measured.output
    assert "Model own" in measured.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "{}/none", "--out", "{}/run", "--quiet"), "no such folder"),
        (("train", "{}", "--out", "{}/run", "--recipe", "best"), "Known: default, "),
        (("train", "{}", "--out", "{}/run", "--set", "stepz=3"), "unknown key 'stepz'"),
        (("export", "{}/none.pt"), "no such checkpoint"),
        (("export", "{}/none.pt", "--arch", "unet-cifar"), "none.pt: no such file"),
        (("export", "{}/none.pt", "--arch", "best"), "No recipe is called 'best'"),
        (("export", "{}/none.pt", "--output-kind", "ab"), "--output-kind: only with --arch"),
        (("export", "{}/none.pt", "--precision", "int4"), "--precision int4: choose fp32, fp16, int8"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    result = run(*(argument.format(tmp_path) for argument in arguments))
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
