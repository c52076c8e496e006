"""A checkpoint of a small network that was never trained, made in a moment."""

from pathlib import Path

import pytest
import torch
from bwcolor_training.build import build_generator
from bwcolor_training.checkpoint import Checkpoint, save_checkpoint
from bwcolor_training.config import TrainConfig
from torch import nn

SMALL = TrainConfig(
    recipe="small", encoder="none", decoder_widths=(16, 16, 8, 8), skip_widths=(8, 8, 8, 8)
)  # fmt: skip


@pytest.fixture(scope="session")
def small_generator() -> nn.Module:
    """Random weights, large enough that its chroma differs from place to place and from photo to photo."""
    torch.manual_seed(1)
    generator = build_generator(SMALL, pretrained=False)
    for module in generator.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return generator.eval()


@pytest.fixture(scope="session")
def small_checkpoint(small_generator: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its file; the weights as trained are others than their moving average."""
    path = tmp_path_factory.mktemp("checkpoint") / "last.pt"
    average = small_generator.state_dict()
    trained = {name: torch.zeros_like(t) for name, t in average.items()}
    save_checkpoint(Checkpoint(SMALL, 5, 1.0, 2.0, 30, trained, average, None), path)
    return path
