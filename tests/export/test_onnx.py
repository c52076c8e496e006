"""From a checkpoint to one ONNX file: it computes the same, it is complete, it tells no secrets."""

import hashlib
import math
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from bwcolor_export import onnx as module
from bwcolor_export.onnx import ExportOptions, export_onnx
from bwcolor_export.verify import Parity
from bwcolor_export.wrapper import AnySize, HalfInside
from bwcolor_training.errors import TrainingInputError
from numpy.testing import assert_allclose
from small_networks import GAIN, PHOTOS, SMALL, Exported
from tiny_model import tiny_onnx
from torch import Tensor, nn

from bwcolor.errors import ModelError, UsageError
from bwcolor.inference.session import load_model


@pytest.mark.parametrize(("photos", "height", "width"), [(1, 64, 64), (3, 96, 160), (2, 101, 75), (1, 33, 1)])
@torch.no_grad()
def test_the_file_computes_what_torch_computes_times_the_gain(
    small_fp32: Exported, small_generator: nn.Module, photos: int, height: int, width: int
) -> None:
    luma = np.random.default_rng(0).random((photos, 1, height, width), np.float32)
    ours = load_model(small_fp32.path, "cpu").run(luma)
    padded = np.pad(luma, ((0, 0), (0, 0), (0, -height % 32), (0, -width % 32)), "edge")
    expected = GAIN * small_generator(torch.from_numpy(padded)).numpy()[..., :height, :width]
    assert expected.std() > 0.02
    assert_allclose(ours, expected, atol=1e-4)


@torch.no_grad()
def test_a_part_of_the_mean_colour_is_taken_away(
    small_checkpoint: Path, small_generator: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / "less.onnx"
    export_onnx(small_checkpoint, path, ExportOptions(gain=2.0, cast=0.25), overwrite=False)
    luma = np.random.default_rng(0).random((2, 1, 64, 96), np.float32)
    plain = small_generator(torch.from_numpy(luma)).numpy()
    mean = plain.mean((2, 3), keepdims=True)
    assert np.abs(mean).max() > 0.005
    assert_allclose(load_model(path, "cpu").run(luma), 2 * (plain - 0.75 * mean), atol=1e-4)


def test_the_file_says_how_to_use_it_and_where_it_is_from(small_fp32: Exported) -> None:
    spec = load_model(small_fp32.path, "cpu").spec
    assert (spec.name, spec.version, spec.licence) == ("tester", "1", "CC0-1.0")
    assert (spec.network_size, spec.tile_size, spec.multiple) == (128, 96, 32)
    assert (spec.input_kind, spec.input_range) == ("luma", (0.0, 1.0))
    assert (spec.output_kind, spec.output_range) == ("cbcr", (-0.5, 0.5))
    assert (spec.recipe, spec.training_data, spec.training_sha256) == ("small", PHOTOS, SMALL.sha256())
    assert (spec.precision, spec.de00_mean, spec.de00_p99) == ("fp32", 0, 0)
    assert spec == small_fp32.result.spec


def test_parity_is_shown_at_five_sizes_and_stored(small_fp32: Exported) -> None:
    parity = small_fp32.result.parity
    assert {(p.pictures, p.height > p.width, p.height < p.width) for p in parity} == {
        (1, False, False), (4, False, True), (1, True, False), (1, False, True), (4, True, False),
    }  # fmt: skip
    assert [p.height % 32 == 0 and p.width % 32 == 0 for p in parity] == [True, True, True, False, False]
    assert all(0 < p.mean <= p.largest < 0.01 for p in parity)
    spec = small_fp32.result.spec
    assert spec.parity_max == max(p.largest for p in parity)
    assert min(p.mean for p in parity) <= spec.parity_mean <= max(p.mean for p in parity)


def test_the_recipe_decides_what_is_not_said(unet_fp32: Exported) -> None:
    spec = unet_fp32.result.spec
    assert (spec.name, spec.recipe, spec.network_size, spec.tile_size) == ("unet", "tiny-unet", 64, 64)


def test_the_result_describes_the_file(small_fp32: Exported) -> None:
    content = small_fp32.path.read_bytes()
    assert small_fp32.result.size == len(content)
    assert small_fp32.result.sha256 == hashlib.sha256(content).hexdigest()
    assert (small_fp32.result.difference, small_fp32.result.int8_share) == (None, 0)
    assert len(small_fp32.result.lines()) == 5


def test_the_file_is_complete_in_itself(small_fp32: Exported) -> None:
    assert [p.name for p in small_fp32.path.parent.iterdir()] == ["small.onnx"]
    proto = onnx.load(small_fp32.path, load_external_data=False)
    assert not any(tensor.external_data for tensor in proto.graph.initializer)
    onnx.checker.check_model(proto)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_file_holds_no_paths_of_this_machine(
    precision: str, repository: Path, request: pytest.FixtureRequest
) -> None:
    exported: Exported = request.getfixturevalue(f"unet_{precision}")
    proto = onnx.load(exported.path)
    for tensor in proto.graph.initializer:
        tensor.ClearField("raw_data")  # random bytes can look like anything
    content = proto.SerializeToString()
    assert b"bwcolor.spec" in content
    for secret in (str(repository), "site-packages", sys.prefix, str(Path.home()), str(exported.path.parent), ".py"):
        assert os.fsencode(secret) not in content, secret
    assert proto.producer_name == "bwcolor"
    assert proto.opset_import[0].version == module.OPSET


def _no_export(monkeypatch: pytest.MonkeyPatch, content: bytes | None = None) -> None:
    """Puts a ready model in the place of torch's export, which takes seconds."""
    monkeypatch.setattr(module, "_to_onnx", lambda *_: onnx.load_from_string(content or tiny_onnx()))


def test_an_existing_file_is_kept_unless_told(
    small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "model.onnx"
    target.write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"model\.onnx already exists.*--overwrite"):
        export_onnx(small_checkpoint, target, ExportOptions(), overwrite=False)
    assert target.read_bytes() == b"mine"
    _no_export(monkeypatch)
    monkeypatch.setattr(module, "check_parity", lambda *_: [Parity(1, 64, 64, 0.01, 0.001)])
    export_onnx(small_checkpoint, target, ExportOptions(name="new"), overwrite=True)
    assert load_model(target, "cpu").spec.name == "new"


def test_a_checkpoint_is_never_replaced_by_its_model(small_checkpoint: Path) -> None:
    content = small_checkpoint.read_bytes()
    with pytest.raises(UsageError, match="is the checkpoint itself"):
        export_onnx(small_checkpoint, small_checkpoint, ExportOptions(), overwrite=True)
    assert small_checkpoint.read_bytes() == content


def test_a_file_that_computes_something_else_is_not_written(
    small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _no_export(monkeypatch)
    with pytest.raises(
        ModelError, match=r"last\.pt: .*differs from torch by .* a\*b\* units, more than 0\.05; nothing was written"
    ):
        export_onnx(small_checkpoint, tmp_path / "model.onnx", ExportOptions(), overwrite=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("largest", [0.06, math.nan])
def test_the_limit_of_parity_can_be_set(
    largest: float, small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _no_export(monkeypatch)
    monkeypatch.setattr(module, "check_parity", lambda *_: [Parity(1, 64, 64, largest, 0.001)])
    with pytest.raises(ModelError, match=r"more than 0\.05; nothing was written"):
        export_onnx(small_checkpoint, tmp_path / "model.onnx", ExportOptions(), overwrite=False)
    options = ExportOptions(atol=0.07)
    if math.isnan(largest):
        with pytest.raises(ModelError, match="differs from torch by nan"):
            export_onnx(small_checkpoint, tmp_path / "model.onnx", options, overwrite=False)
        assert not list(tmp_path.iterdir())
    else:
        export_onnx(small_checkpoint, tmp_path / "model.onnx", options, overwrite=False)
        assert load_model(tmp_path / "model.onnx", "cpu").spec.parity_max == 0.06


def test_a_model_that_colorizing_would_refuse_is_not_written(
    small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _no_export(monkeypatch, tiny_onnx(bias=(900.0, 900.0)))
    monkeypatch.setattr(module, "check_parity", lambda *_: [Parity(1, 64, 64, 0.01, 0.001)])
    with pytest.raises(ModelError, match=r"model\.onnx"):
        export_onnx(small_checkpoint, tmp_path / "model.onnx", ExportOptions(), overwrite=False)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_another_network_is_refused(small_checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(small_checkpoint, weights_only=True)
    content["config"]["widths"] = (32, 16, 8, 8)
    torch.save(content, tmp_path / "changed.pt")
    with pytest.raises(TrainingInputError, match=r"changed\.pt.*another network.*of another shape \(.*instead of"):
        export_onnx(tmp_path / "changed.pt", tmp_path / "model.onnx", ExportOptions(), overwrite=False)


@pytest.mark.parametrize("kind", ["pickle", "torch", "text"])
def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "other.pt"
    if kind == "torch":
        torch.save({"weight": torch.zeros(3)}, path)
    else:
        path.write_bytes(pickle.dumps(Path("x"), protocol=2) if kind == "pickle" else b"hello")
    with pytest.raises(TrainingInputError, match=r"other\.pt: not a checkpoint"):
        export_onnx(path, tmp_path / "model.onnx", ExportOptions(), overwrite=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (ExportOptions(network_size=200), "multiples of 32"),
        (ExportOptions(precision="bf16"), "--precision bf16: choose fp32, fp16, int8"),
        (ExportOptions(calibrate=Path("photos")), "--calibrate sets the ranges of int8"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    small_checkpoint: Path, tmp_path: Path, options: ExportOptions, words: str
) -> None:
    with pytest.raises((ModelError, UsageError), match=words):
        export_onnx(small_checkpoint, tmp_path / "model.onnx", options, overwrite=False)
    assert not list(tmp_path.iterdir())


@torch.no_grad()
def test_padding_repeats_the_border_and_is_cut_off() -> None:
    wrapped = AnySize(nn.Identity(), 32, 1.0)
    photo = torch.rand(1, 1, 37, 64)
    assert torch.equal(wrapped(photo), photo)
    seen: list[Tensor] = []
    wrapped.generator.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    wrapped(photo)
    assert seen[0].shape == (1, 1, 64, 64)
    assert torch.equal(seen[0][:, :, 37:], photo[:, :, 36:].expand(1, 1, 27, 64))


@torch.no_grad()
def test_halving_works_on_a_copy() -> None:
    network = nn.Conv2d(1, 2, 1)
    half = HalfInside(network)
    assert network.weight.dtype == torch.float32
    photo = torch.rand(1, 1, 8, 8)
    assert half(photo).dtype == torch.float32
    assert half(photo) == pytest.approx(network(photo), abs=2e-3)
