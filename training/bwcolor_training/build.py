"""Registries: what the names in a recipe stand for."""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from bwcolor_training.config import TrainConfig
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.losses import LOSSES, Loss
from bwcolor_training.mobilenet_unet import (
    CONVENTIONS,
    TORCHVISION,
    MobileUNet,
    load_npz_encoder,
    load_torchvision_encoder,
)


def build_mobile_unet(config: TrainConfig, pretrained: bool) -> MobileUNet:
    """The default generator; `pretrained` fills its encoder as `config.encoder` says."""
    if config.convention not in CONVENTIONS:
        raise TrainingInputError(
            f"convention {config.convention!r} is unknown. Known: {', '.join(sorted(CONVENTIONS))}."
        )
    convention = TORCHVISION if config.encoder == "torchvision" else CONVENTIONS[config.convention]
    network = MobileUNet(convention, config.decoder_widths, config.skip_widths)
    if not pretrained or config.encoder == "none":
        return network
    if config.encoder == "torchvision":
        load_torchvision_encoder(network.encoder, _download_mobilenet())
    else:
        load_npz_encoder(network.encoder, Path(config.encoder))
    return network


def _download_mobilenet() -> nn.Module:
    from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

    try:
        features: nn.Module = mobilenet_v2(weights=MobileNet_V2_Weights.IMAGENET1K_V2).features
    except OSError as error:
        raise TrainingInputError(
            f"The encoder's ImageNet weights could not be downloaded ({error}). Without a network,"
            " give a file with --set encoder=FILE.npz, or start from random weights with"
            " --set encoder=none."
        ) from error
    return features


GENERATORS: dict[str, Callable[[TrainConfig, bool], nn.Module]] = {"mobilenet-unet": build_mobile_unet}


def build_generator(config: TrainConfig, pretrained: bool) -> nn.Module:
    """The network that a recipe names; raises TrainingInputError for an unknown name."""
    if config.generator not in GENERATORS:
        raise TrainingInputError(f"generator {config.generator!r} is unknown. Known: {', '.join(sorted(GENERATORS))}.")
    return GENERATORS[config.generator](config, pretrained)


def build_loss(config: TrainConfig) -> Loss:
    """The loss that a recipe names; raises TrainingInputError for an unknown name."""
    if config.loss not in LOSSES:
        raise TrainingInputError(f"loss {config.loss!r} is unknown. Known: {', '.join(sorted(LOSSES))}.")
    return LOSSES[config.loss]
