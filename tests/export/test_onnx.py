"""From a checkpoint to one ONNX file: it computes the same, it is complete, it tells no secrets."""

import hashlib
import os
import pickle
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from bwcolor_export import onnx as module
from bwcolor_export.onnx import ExportOptions, ExportResult, export_onnx
from bwcolor_export.verify import SIZES, TOLERANCE, check_parity
from bwcolor_export.wrapper import AnySize
from bwcolor_training.config import TrainConfig
from bwcolor_training.errors import TrainingInputError
from numpy.testing import assert_allclose
from tiny_model import tiny_onnx
from torch import Tensor, nn

from bwcolor.errors import ModelError, UsageError
from bwcolor.session import load_model

GAIN = 2.5


@dataclass(frozen=True, slots=True)
class Exported:
    path: Path
    result: ExportResult


@pytest.fixture(scope="module")
def exported(small_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """One export for all tests that only look at the file: it takes seconds."""
    path = tmp_path_factory.mktemp("export") / "new folder" / "small.onnx"
    options = ExportOptions(name="tester", licence="CC0-1.0", network_size=128, tile_size=96, gain=GAIN)
    return Exported(path, export_onnx(small_checkpoint, path, options, overwrite=False))


@pytest.mark.parametrize(("photos", "height", "width"), [(1, 64, 64), (3, 96, 160), (2, 101, 75), (1, 33, 1)])
@torch.no_grad()
def test_the_file_computes_what_torch_computes_times_the_gain(
    exported: Exported, small_generator: nn.Module, photos: int, height: int, width: int
) -> None:
    luma = np.random.default_rng(0).random((photos, 1, height, width), np.float32)
    ours = load_model(exported.path, "cpu").run(luma)
    padded = np.pad(luma, ((0, 0), (0, 0), (0, -height % 32), (0, -width % 32)), "edge")
    expected = GAIN * small_generator(torch.from_numpy(padded)).numpy()[..., :height, :width]
    assert expected.std() > 0.02
    assert_allclose(ours, expected, atol=1e-4)


def test_the_file_says_how_to_use_it(exported: Exported) -> None:
    spec = load_model(exported.path, "cpu").spec
    assert (spec.name, spec.version, spec.licence) == ("tester", "1", "CC0-1.0")
    assert (spec.network_size, spec.tile_size, spec.multiple) == (128, 96, 32)
    assert (spec.input_kind, spec.input_range) == ("luma", (0.0, 1.0))
    assert (spec.output_kind, spec.output_range) == ("cbcr", (-0.5, 0.5))
    expected = TrainConfig(
        recipe="small", encoder="none", decoder_widths=(16, 16, 8, 8), skip_widths=(8, 8, 8, 8)
    ).sha256()
    assert spec.training_sha256 == expected


def test_the_result_describes_the_file(exported: Exported) -> None:
    content = exported.path.read_bytes()
    assert exported.result.size == len(content)
    assert exported.result.sha256 == hashlib.sha256(content).hexdigest()
    assert [(p.pictures, p.height, p.width) for p in exported.result.parity] == list(SIZES)
    assert all(0 <= p.mean <= p.largest <= TOLERANCE for p in exported.result.parity)


def test_the_file_is_complete_in_itself(exported: Exported) -> None:
    assert [p.name for p in exported.path.parent.iterdir()] == ["small.onnx"]
    proto = onnx.load(exported.path, load_external_data=False)
    assert not any(tensor.external_data for tensor in proto.graph.initializer)
    onnx.checker.check_model(proto)


def test_the_file_holds_no_paths_of_this_machine(exported: Exported, repository: Path) -> None:
    proto = onnx.load(exported.path)
    for tensor in proto.graph.initializer:
        tensor.ClearField("raw_data")  # random bytes can look like anything
    content = proto.SerializeToString()
    assert b"bwcolor.spec" in content
    for secret in (str(repository), "site-packages", sys.prefix, str(Path.home()), str(exported.path.parent), ".py"):
        assert os.fsencode(secret) not in content, secret
    assert proto.producer_name == "bwcolor"


def test_an_existing_file_is_kept_unless_told(
    small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "model.onnx"
    target.write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"model\.onnx exists already.*--overwrite"):
        export_onnx(small_checkpoint, target, ExportOptions(), overwrite=False)
    assert target.read_bytes() == b"mine"
    monkeypatch.setattr(module, "_to_onnx", lambda *_: b"new")
    monkeypatch.setattr(module, "check_parity", lambda *_: [])
    export_onnx(small_checkpoint, target, ExportOptions(), overwrite=True)
    assert target.read_bytes() == b"new"


def test_a_file_that_computes_something_else_is_not_written(
    small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_to_onnx", lambda *_: tiny_onnx())
    with pytest.raises(ModelError, match=r"last\.pt: .*differs from torch by .*; nothing was written"):
        export_onnx(small_checkpoint, tmp_path / "model.onnx", ExportOptions(), overwrite=False)
    assert not list(tmp_path.iterdir())


class Off(nn.Module):
    """What tiny_onnx computes, and `error` more."""

    def __init__(self, error: float) -> None:
        super().__init__()
        self.error = error

    def forward(self, luma: Tensor) -> Tensor:
        mean = nn.functional.avg_pool2d(nn.functional.pad(luma, (1, 1, 1, 1)), 3, stride=1)
        return torch.cat([-0.1 - 0.05 * mean, 0.08 + 0.05 * mean], 1) + self.error


@pytest.mark.parametrize("error", [0.0, 0.5 * TOLERANCE])
def test_small_differences_are_measured(error: float) -> None:
    for parity in check_parity(Off(error), tiny_onnx()):
        assert parity.largest == pytest.approx(error, abs=1e-5)
        assert parity.mean == pytest.approx(error, abs=1e-5)


@pytest.mark.parametrize("error", [1.5 * TOLERANCE, float("nan")])
def test_large_differences_are_refused(error: float) -> None:
    with pytest.raises(ModelError, match="differs from torch by"):
        check_parity(Off(error), tiny_onnx())


def test_a_checkpoint_of_another_network_is_refused(small_checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(small_checkpoint, weights_only=True)
    content["config"]["decoder_widths"] = (32, 16, 8, 8)
    torch.save(content, tmp_path / "changed.pt")
    with pytest.raises(TrainingInputError, match=r"changed\.pt.*another network"):
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


def test_sizes_that_do_not_fit_the_network_are_refused(small_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="multiples of 32"):
        export_onnx(small_checkpoint, tmp_path / "model.onnx", ExportOptions(network_size=200), overwrite=False)


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
