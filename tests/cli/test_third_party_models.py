"""Other people's colorizers on a folder of photos, from `bwcolor models add` to the colours of the outputs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from photo.pictures import scene, scene16
from PIL import Image
from tiny_model import ddcolor_onnx, deoldify_onnx, pointwise_onnx, zhang_onnx
from typer.testing import CliRunner, Result

from bwcolor.cli.app import app
from bwcolor.imaging.color import luma, rgb_to_chroma, rgb_to_lab

TINT = np.array([0.10, 0.0, -0.12])  # of RGB in 0..1
AS_IS = ("--tones", "as-is")  # colors as the model gives them; test_levels.py is about tones
IMAGENET_DEVIATION = np.array([0.229, 0.224, 0.225])


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of added models; empty, and not there yet."""
    monkeypatch.setenv("BWCOLOR_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gray photos of several kinds, shapes and depths, neither black nor white, so that colours have room."""
    root = tmp_path_factory.mktemp("foreign") / "photos"
    (root / "album").mkdir(parents=True)

    def soft(pixels: NDArray[Any]) -> NDArray[Any]:
        return (pixels // 4 + np.iinfo(pixels.dtype).max // 8 * 3).astype(pixels.dtype)

    Image.fromarray(soft(scene(300, 420))).save(root / "landscape.png")
    Image.fromarray(soft(scene(500, 210, 1))).save(root / "album" / "portrait.png")
    Image.fromarray(soft(scene(30, 47, 2))).save(root / "album" / "stamp.png")
    Image.fromarray(soft(scene(200, 333, 3))).save(root / "album" / "scan.jpg", quality=95)
    tifffile.imwrite(root / "deep.tif", soft(scene16(260, 190, 4)))
    return root


def pixels(path: Path) -> NDArray[Any]:
    """As float64 in 0..1."""
    if path.suffix == ".tif":
        return np.asarray(tifffile.imread(path)) / 65535
    with Image.open(path) as image:
        return np.asarray(image) / 255


def check_colours(photos: Path, out: Path, wanted: NDArray[Any], of: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    """That `of` gives `wanted` at all pixels of all outputs, and that luma stayed."""
    names = sorted(path.relative_to(photos) for path in photos.rglob("*") if path.is_file())
    assert len(names) == 5
    for name in names:
        before, after = pixels(photos / name), pixels(out / name)
        assert after.shape == (*before.shape, 3)
        limit = {".png": 1.01 / 255, ".jpg": 2.5 / 255, ".tif": 1.01 / 65535}[name.suffix]  # RGB of a JPEG is rounded
        assert_allclose(luma(after.astype(np.float32)), before, atol=limit, err_msg=str(name))
        found = of(after)
        assert_allclose(found.reshape(-1, 2).mean(0), wanted, atol=0.05 * np.abs(wanted).max(), err_msg=str(name))
        assert_allclose(found, np.broadcast_to(wanted, found.shape), atol=0.1 * np.abs(wanted).max(), err_msg=str(name))


def ab(rgb: NDArray[Any]) -> NDArray[Any]:
    return rgb_to_lab(rgb)[..., 1:]


CAFFE_ZHANG = pointwise_onnx([[0], [0]], [30 / 110, -20 / 110], 224, stride=4)
DYNAMIC_ZHANG = pointwise_onnx([[0], [0]], [30, -20], None, "batch")
A_B_MODELS = {
    "zhang": (zhang_onnx(), ["--kind", "l-to-ab"], (30, -20)),
    "zhang, caffe": (
        CAFFE_ZHANG, ["--kind", "l-to-ab", "--range", "-50,50", "--output-range", "-1.1636364,1.1636364"], (30, -20),
    ),
    "zhang at any size, aspect kept": (DYNAMIC_ZHANG, ["--kind", "l-to-ab", "--shape", "any"], (30, -20)),
    "zhang at any size, another square": (DYNAMIC_ZHANG, ["--kind", "l-to-ab", "--size", "128"], (30, -20)),
    "ddcolor": (ddcolor_onnx(), ["--kind", "gray-rgb-to-ab", "--size", "512"], (-25, 35)),
    "ddcolor, imagenet": (ddcolor_onnx(side=128), ["--kind", "gray-rgb-to-ab", "--range", "imagenet"], (-25, 35)),
}  # fmt: skip


@pytest.mark.parametrize("name", A_B_MODELS)
def test_models_that_give_ab_colorize_a_folder(name: str, photos: Path, tmp_path: Path) -> None:
    content, options, wanted = A_B_MODELS[name]
    (tmp_path / "theirs.onnx").write_bytes(content)
    added = run("models", "add", tmp_path / "theirs.onnx", *options, "--license", "MIT", "--name", "theirs")
    assert added.exit_code == 0, added.stderr
    result = run(photos, "--out", tmp_path / "out", *AS_IS, "--model", "theirs", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    check_colours(photos, tmp_path / "out", np.array(wanted), ab)


RGB_MODELS = {
    "0..255": (deoldify_onnx(tuple(255 * TINT)), ["--range", "0,255", "--output-range", "0,255"]),
    "0..1, one fixed square": (deoldify_onnx(tuple(TINT), 128), ["--range", "0,1", "--output-range", "0,1"]),
    "-1..1": (deoldify_onnx(tuple(2 * TINT)), ["--range=-1,1", "--output-range=-1,1"]),
    "imagenet": (
        deoldify_onnx(tuple(TINT / IMAGENET_DEVIATION)),
        ["--range", "imagenet", "--output-range", "imagenet"],
    ),
    "aspect kept": (
        deoldify_onnx(tuple(255 * TINT)),
        ["--range", "0,255", "--output-range", "0,255", "--shape", "any", "--size", "160"],
    ),
}


@pytest.mark.parametrize("name", RGB_MODELS)
def test_models_that_give_rgb_colorize_a_folder(name: str, photos: Path, tmp_path: Path) -> None:
    content, options = RGB_MODELS[name]
    path = tmp_path / "theirs.onnx"
    path.write_bytes(content)
    added = run("models", "add", path, "--kind", "gray-rgb-to-rgb", *options)
    assert added.exit_code == 0, added.stderr
    result = run(
        photos, "--out", tmp_path / "out", *AS_IS, "--model", path, "--detail", "max"
    )  # by path, with its contract
    assert result.exit_code == 0, result.stderr
    check_colours(photos, tmp_path / "out", rgb_to_chroma(TINT.astype(np.float32)), lambda rgb: rgb_to_chroma(rgb))


def test_two_models_are_averaged_by_name_and_path(photos: Path, tmp_path: Path) -> None:
    for name, tint in (("one", TINT), ("two", TINT / 2)):
        (tmp_path / f"{name}.onnx").write_bytes(deoldify_onnx(tuple(255 * tint)))
        run("models", "add", tmp_path / f"{name}.onnx", "--kind", "gray-rgb-to-rgb", "--range", "0,255",
            "--output-range", "0,255")  # fmt: skip
    result = run(photos, "--out", tmp_path / "out", *AS_IS, "--model", f"one+{tmp_path / 'two.onnx'}")
    assert result.exit_code == 0, result.stderr
    assert "Using models one 1 + two 1 on the CPU" in result.stderr
    wanted = rgb_to_chroma((TINT * 3 / 4).astype(np.float32))
    check_colours(photos, tmp_path / "out", wanted, lambda rgb: rgb_to_chroma(rgb))
