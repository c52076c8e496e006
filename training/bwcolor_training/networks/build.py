"""Registries: what the names in a recipe stand for."""

from collections.abc import Callable
from pathlib import Path

from bwcolor_training import colours
from bwcolor_training.config import TrainConfig
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.networks.critic import PatchCritic
from bwcolor_training.networks.efficientnet_lite import load_efficientnet_lite2, packaged_weights
from bwcolor_training.networks.lite_unet import LiteUNet
from bwcolor_training.networks.mobilenet_unet import (
    CONVENTIONS,
    TORCHVISION,
    MobileUNet,
    load_npz_encoder,
    load_torchvision_encoder,
)
from bwcolor_training.networks.pix2pix import PIX2PIX_WIDTHS, Pix2PixUNet
from bwcolor_training.networks.pretrained import download, imagenet_weights
from bwcolor_training.networks.resnet18 import UNET_WIDTHS, UPSAMPLER_WIDTHS, ResNetUNet, ResNetUpsampler, load_resnet18
from bwcolor_training.networks.unet import CLASSIC_WIDTHS, ClassicUNet
from torch import Tensor, nn


def build_mobile_unet(config: TrainConfig, pretrained: bool, outputs: int) -> nn.Module:
    """The default generator; `pretrained` fills its encoder as `config.encoder` says."""
    if config.convention not in CONVENTIONS:
        raise TrainingInputError(
            f"convention {config.convention!r} is unknown. Known: {', '.join(sorted(CONVENTIONS))}."
        )
    convention = TORCHVISION if config.encoder == "torchvision" else CONVENTIONS[config.convention]
    network = MobileUNet(
        convention, config.widths, config.skip_widths, config.attention, config.ending, outputs=outputs
    )
    if not pretrained or config.encoder == "none":
        return network
    if config.encoder == "torchvision":
        from torchvision.models import mobilenet_v2

        donor = mobilenet_v2()
        try:
            donor.load_state_dict(download(imagenet_weights(config.generator), "FILE.npz"))
        except RuntimeError as error:  # its text is a list of all names
            raise TrainingInputError(
                "The file of torchvision's mobilenet_v2 in torch's cache holds other weights: delete it there, or give"
                " --set encoder=FILE.npz."
            ) from error
        load_torchvision_encoder(network.encoder, donor.features)
    else:
        load_npz_encoder(network.encoder, Path(config.encoder))
    return network


def build_lite_unet(config: TrainConfig, pretrained: bool, outputs: int) -> nn.Module:
    """A U-Net on EfficientNet-Lite2; `pretrained` fills its encoder as `config.encoder` says."""
    network = LiteUNet(config.widths, config.skip_widths, config.queries, config.fixed_blocks, outputs=outputs)
    if pretrained and config.encoder != "none":
        path = packaged_weights() if config.encoder in PACKAGED else Path(config.encoder)
        load_efficientnet_lite2(network.encoder, path)
    return network


def build_classic_unet(config: TrainConfig, pretrained: bool, outputs: int) -> nn.Module:
    """A U-Net without a pretrained part."""
    return ClassicUNet(config.widths or CLASSIC_WIDTHS, config.upsampling, outputs=outputs)


def build_pix2pix_unet(config: TrainConfig, pretrained: bool, outputs: int) -> nn.Module:
    """The generator of pix2pix, which has no pretrained part."""
    return Pix2PixUNet(config.widths or PIX2PIX_WIDTHS, outputs=outputs)


def build_resnet18_unet(config: TrainConfig, pretrained: bool, outputs: int) -> nn.Module:
    """A U-Net on ResNet-18, filled as `config.encoder` says."""
    network = ResNetUNet(config.widths or UNET_WIDTHS, outputs=outputs)
    if pretrained and config.encoder != "none":
        load_resnet18(network.encoder, config.encoder)
    return network


def build_resnet18_upsampler(config: TrainConfig, pretrained: bool, outputs: int) -> nn.Module:
    """The first stages of ResNet-18, filled as `config.encoder` says, and up-sampling convolutions."""
    network = ResNetUpsampler(config.widths or UPSAMPLER_WIDTHS, outputs=outputs)
    if pretrained and config.encoder != "none":
        load_resnet18(network.encoder, config.encoder)
    return network


PACKAGED = ("package", "torchvision")  # the general default of `encoder` means the published weights here, too

GENERATORS: dict[str, Callable[[TrainConfig, bool, int], nn.Module]] = {
    "classic-unet": build_classic_unet,
    "lite-unet": build_lite_unet,
    "mobilenet-unet": build_mobile_unet,
    "pix2pix-unet": build_pix2pix_unet,
    "resnet18-unet": build_resnet18_unet,
    "resnet18-upsampler": build_resnet18_upsampler,
}


def build_generator(config: TrainConfig, pretrained: bool) -> nn.Module:
    """The network that a recipe names: luma N1HW in 0..1 -> what its head gives; see `decode`.

    Height and width must be multiples of its `stride`. Raises TrainingInputError for an unknown name
    or for sizes that don't fit.
    """
    if config.generator not in GENERATORS:
        raise TrainingInputError(f"generator {config.generator!r} is unknown. Known: {', '.join(sorted(GENERATORS))}.")
    outputs = 2 if config.head == "chroma" else len(colours.bin_centres())
    network = GENERATORS[config.generator](config, pretrained, outputs)
    for size in (*config.sizes, config.validation_size):
        if size % stride(network):
            raise TrainingInputError(
                f"sizes and validation_size must be multiples of {stride(network)} for {config.generator}, not {size}."
            )
    return network


def stride(generator: nn.Module) -> int:
    """px; what height and width of a generator's input must be multiples of."""
    value = generator.stride
    assert isinstance(value, int)
    return value


def decode(raw: Tensor, luma: Tensor, config: TrainConfig) -> Tensor:
    """What a generator's head gives -> chroma N2HW, Cb and Cr in -0.5..0.5. luma: N1HW in 0..1, of the input."""
    if config.head == "chroma":
        return raw
    return colours.ab_to_chroma(luma, colours.annealed_mean(raw, config.temperature))


def colorizer(generator: nn.Module, config: TrainConfig) -> nn.Module:
    """The generator and its decoding as one module: luma N1HW in 0..1 -> chroma N2HW in -0.5..0.5."""
    return generator if config.head == "chroma" else colours.AnnealedMean(generator, config.temperature)


def build_critic(config: TrainConfig) -> PatchCritic:
    """The critic of the adversarial losses; raises TrainingInputError when crops are too small for a verdict."""
    critic = PatchCritic(config.critic_width, config.critic_levels)
    if min(config.sizes) < critic.smallest:
        raise TrainingInputError(
            f"sizes must be {critic.smallest} or more with critic_levels={config.critic_levels},"
            f" not {min(config.sizes)}."
        )
    return critic
