"""The number formats that a run computes in."""

from contextlib import AbstractContextManager

import torch

from bwcolor_training.config import TrainConfig

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[None]:
    """Runs what is inside in `config.precision` where torch holds that to be safe."""
    return torch.autocast(device.type, DTYPES[config.precision], enabled=config.precision != "fp32")


def loss_scaler(config: TrainConfig, device: torch.device) -> torch.amp.GradScaler:
    """Keeps small gradients from vanishing in fp16; does nothing in the other formats."""
    return torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
