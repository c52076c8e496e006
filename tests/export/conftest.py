"""Checkpoints of small networks that were never trained, made in a moment, and what is exported from them."""

from pathlib import Path

import pytest
import torch
from bwcolor_export.onnx import ExportOptions, export_onnx
from bwcolor_training.checkpoint import Checkpoint, save_checkpoint
from bwcolor_training.config import TrainConfig
from bwcolor_training.networks.build import build_generator
from small_networks import GAIN, PHOTOS, SMALL, UNET, Exported
from torch import nn


@pytest.fixture(scope="session")
def small_generator() -> nn.Module:
    """The default network, small, with random weights."""
    return _with_random_weights(SMALL)


@pytest.fixture(scope="session")
def unet_generator() -> nn.Module:
    """A classic U-Net of two levels, with random weights."""
    return _with_random_weights(UNET)


@pytest.fixture(scope="session")
def small_checkpoint(small_generator: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its file; the weights as trained are others than their moving average."""
    return _write(SMALL, small_generator, tmp_path_factory.mktemp("checkpoint") / "last.pt")


@pytest.fixture(scope="session")
def unet_checkpoint(unet_generator: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(UNET, unet_generator, tmp_path_factory.mktemp("checkpoint") / "unet.pt")


@pytest.fixture(scope="session")
def small_fp32(small_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    path = tmp_path_factory.mktemp("export") / "new folder" / "small.onnx"
    options = ExportOptions(name="tester", licence="CC0-1.0", network_size=128, tile_size=96, gain=GAIN)
    return Exported(path, export_onnx(small_checkpoint, path, options, overwrite=False))


@pytest.fixture(scope="session")
def unet_fp32(unet_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return _export(unet_checkpoint, tmp_path_factory.mktemp("fp32") / "unet.onnx", "fp32")


@pytest.fixture(scope="session")
def unet_fp16(unet_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return _export(unet_checkpoint, tmp_path_factory.mktemp("fp16") / "unet.onnx", "fp16")


@pytest.fixture(scope="session")
def unet_int8(unet_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return _export(unet_checkpoint, tmp_path_factory.mktemp("int8") / "unet.onnx", "int8")


def _export(checkpoint: Path, target: Path, precision: str) -> Exported:
    return Exported(target, export_onnx(checkpoint, target, ExportOptions(precision=precision), overwrite=False))


def _with_random_weights(config: TrainConfig) -> nn.Module:
    """Weights large enough that chroma differs from place to place and from photo to photo."""
    torch.manual_seed(1)
    generator = build_generator(config, pretrained=False)
    for module in generator.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return generator.eval()


def _write(config: TrainConfig, generator: nn.Module, path: Path) -> Path:
    average = generator.state_dict()
    trained = {name: torch.zeros_like(t) for name, t in average.items()}
    checkpoint = Checkpoint(
        config=config, data=PHOTOS, step=5, photos=30, seconds=1.0, cpu_seconds=2.0, best=1.0, network=trained,
        ema=average, mean_chroma=torch.zeros(2), rarity=None, others=None,
    )  # fmt: skip
    save_checkpoint(checkpoint, path)
    return path
