"""ImageNet weights of torchvision's networks, downloaded on first use."""

import contextlib
import http.client
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import torch
from bwcolor_training.config import TrainConfig
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.torchfile import UNREADABLE

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum  # half a second that runs without them need not wait


# What the encoder of each generator starts from, by torchvision's names.
IMAGENET = {
    "mobilenet-unet": "MobileNet_V2_Weights.IMAGENET1K_V2",
    "resnet18-unet": "ResNet18_Weights.IMAGENET1K_V1",
    "resnet18-upsampler": "ResNet18_Weights.IMAGENET1K_V1",
}


def imagenet_weights(generator: str) -> "WeightsEnum":
    """Returns what torchvision has for the encoder of a generator; nothing is downloaded for that."""
    from torchvision.models import get_weight

    return get_weight(IMAGENET[generator])


def announcement(config: TrainConfig) -> str:
    """Says what building the network of a new run will download; empty where nothing is."""
    if config.encoder != "torchvision" or config.generator not in IMAGENET:
        return ""
    weights = imagenet_weights(config.generator)
    if _kept(weights).is_file():
        return ""
    return (
        f"downloading ImageNet weights for the encoder ({weights.meta['_file_size']:.0f} MB, only once) from"
        f" {urlparse(weights.url).hostname}; --set encoder=none would start from random weights instead"
    )


def _kept(weights: "WeightsEnum") -> Path:
    """Where torch keeps these weights once they are downloaded."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(weights.url).path).name


def download(weights: "WeightsEnum", file: str) -> dict[str, Any]:
    """The state dict of these weights, from torch's cache or, once, from torchvision's server; its hash is checked.

    file: what may be given instead, such as FILE.pth. Raises TrainingInputError, which names the ways out.
    """
    kept = _kept(weights)
    damaged = f"{kept}: damaged, or can't be read. Delete it, and the encoder's weights are downloaded again."
    try:
        with contextlib.redirect_stdout(sys.stderr):  # torch says there what it downloads
            state: dict[str, Any] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (*UNREADABLE, http.client.HTTPException) as error:
        if kept.is_file():  # a download that fails leaves nothing
            raise TrainingInputError(damaged) from error
        raise TrainingInputError(
            f"The encoder's ImageNet weights could not be downloaded ({error}). Without a network,"
            f" give a file with --set encoder={file}, or start from random weights with --set encoder=none."
        ) from error
    if not isinstance(state, dict):
        raise TrainingInputError(damaged)
    return state
