"""Generators on an ImageNet-pretrained ResNet-18: He et al. 2016, "Deep Residual Learning for Image Recognition"."""

import itertools
from pathlib import Path
from typing import Any

import torch
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.networks.decoder import CHROMA_SCALE
from bwcolor_training.networks.mobilenet_unet import TORCHVISION
from bwcolor_training.networks.pretrained import download, imagenet_weights
from bwcolor_training.networks.unet import double_conv
from bwcolor_training.torchfile import read_torch_file
from torch import Tensor, nn
from torch.nn import functional as F

STAGE_WIDTHS = (64, 64, 128, 256, 512)  # of conv1 and layer1 to layer4, at strides 2, 4, 8, 16 and 32
UNET_WIDTHS = (256, 128, 64, 64, 32)  # of the U-Net's decoder, at strides 16, 8, 4, 2 and 1
UPSAMPLER_WIDTHS = (128, 64, 32)  # of the convolutions at strides 8, 4 and 2
UPSAMPLER_STAGES = 3  # conv1, layer1 and layer2
NAMED = 3  # unfit arrays that an error names before it only counts them


class ResNet18Encoder(nn.Module):
    """The first stages of torchvision's ResNet-18, under torchvision's names.

    Input: gray N1HW, float, 0..1, repeated to RGB and normalised as torchvision's weights expect.
    Output: the maps of conv1 (after its ReLU) and layer1, layer2, ... as STAGE_WIDTHS has them.

    stages: how many of those five maps.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, stages: int) -> None:
        from torchvision.models import resnet18  # half a second that other networks need not wait

        super().__init__()
        whole = resnet18(weights=None)
        self.register_buffer("mean", torch.tensor(TORCHVISION.mean).view(1, 3, 1, 1), False)
        self.register_buffer("std", torch.tensor(TORCHVISION.std).view(1, 3, 1, 1), False)
        self.conv1, self.bn1, self.relu, self.maxpool = whole.conv1, whole.bn1, whole.relu, whole.maxpool
        self.layers = [f"layer{number}" for number in range(1, stages)]
        for name in self.layers:
            self.add_module(name, whole.get_submodule(name))

    def forward(self, luma: Tensor) -> list[Tensor]:
        x = self.relu(self.bn1(self.conv1((luma - self.mean) / self.std)))
        maps = [x]
        x = self.maxpool(x)
        for name in self.layers:
            x = self.get_submodule(name)(x)
            maps.append(x)
        return maps


def load_resnet18(encoder: ResNet18Encoder, source: str) -> None:
    """Fills the encoder with a state dict of torchvision's resnet18; what it has not, such as `fc`, is left out.

    source: "torchvision" downloads the ImageNet weights (45 MB, once), else the path of a .pth file.
    Raises TrainingInputError when they can't be had, or lack an array, or one has another shape.
    """
    if source == "torchvision":
        weights = imagenet_weights("resnet18-unet")
        state, origin = download(weights, "FILE.pth"), "The download of torchvision's resnet18"
    else:
        state, origin = _read(Path(source)), source
    # Old files don't count batches, and nothing here uses the count.
    ours = {name: t for name, t in encoder.state_dict().items() if not name.endswith("num_batches_tracked")}
    unfit = [name for name, t in ours.items() if not _fits(state.get(name), t)]
    if unfit:
        more = f" and {len(unfit) - NAMED} more" if len(unfit) > NAMED else ""
        raise TrainingInputError(
            f"{origin}: not the weights of torchvision's resnet18: {', '.join(unfit[:NAMED])}{more} missing or of"
            " another shape. Give another file with --set encoder=FILE.pth, or start from random weights with"
            " --set encoder=none."
        )
    encoder.load_state_dict({name: state[name] for name in ours}, strict=False)


def _fits(theirs: object, ours: Tensor) -> bool:
    return isinstance(theirs, Tensor) and theirs.shape == ours.shape and theirs.is_floating_point()


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise TrainingInputError(f"{path}: no such encoder file. Check --set encoder=FILE.pth.")
    state = read_torch_file(path, "not a PyTorch file of weights alone, or damaged.")
    if not isinstance(state, dict):
        raise TrainingInputError(f"{path}: holds a {type(state).__name__}, not a state dict of torchvision's resnet18.")
    return state


class UpBlock(nn.Module):
    """Doubles height and width by interpolation, concatenates the skip, convolves."""

    def __init__(self, width_in: int, skip: int, width_out: int) -> None:
        super().__init__()
        self.convs = double_conv(width_in + skip, width_out)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        out: Tensor = self.convs(torch.cat([x, skip], 1))
        return out


class ResNetUNet(nn.Module):
    """Luma in, chroma out: a U-Net whose encoder is the whole of ResNet-18 but its classifier.

    Input: N1HW float, BT.601 luma 0..1, height and width multiples of 32. Output: N2HW float, Cb and
    Cr of full-range YCbCr in -0.5..0.5, not clamped; with `outputs` other than 2, plain logits.

    widths: channels of the decoder at strides 16, 8, 4, 2 and 1. The encoder has no map at full
    size, so the luma itself is the last skip: colours can end where its edges are.
    """

    stride = 32

    def __init__(self, widths: tuple[int, ...], outputs: int = 2) -> None:
        super().__init__()
        skips = (*reversed(STAGE_WIDTHS[:-1]), 1)
        if len(widths) != len(skips) or min(widths) < 1:
            raise TrainingInputError(
                f"The widths of the ResNet-18 U-Net must be {len(skips)} numbers of channels from 1 up,"
                f" not {list(widths)}."
            )
        self.encoder = ResNet18Encoder(len(STAGE_WIDTHS))
        inputs = (STAGE_WIDTHS[-1], *widths)
        self.ups = nn.ModuleList(UpBlock(i, s, o) for i, s, o in zip(inputs[:-1], skips, widths, strict=True))
        self.head = nn.Conv2d(widths[-1], outputs, 1)
        self.scale = CHROMA_SCALE if outputs == 2 else 1.0

    def forward(self, luma: Tensor) -> Tensor:
        *skips, x = self.encoder(luma)
        for up, skip in zip(self.ups, [*reversed(skips), luma - 0.5], strict=True):
            x = up(x, skip)
        head: Tensor = self.head(x)
        return self.scale * head


class ResNetUpsampler(nn.Module):
    """Luma in, chroma out: the first stages of ResNet-18, then convolutions between up-samplings, without skips.

    Input: N1HW float, BT.601 luma 0..1, height and width multiples of 8. Output: N2HW float, Cb and
    Cr of full-range YCbCr in -0.5..0.5, not clamped; with `outputs` other than 2, plain logits.

    widths: channels of the convolutions at strides 8, 4 and 2; the last convolution is at full size.
    """

    stride = 8

    def __init__(self, widths: tuple[int, ...], outputs: int = 2) -> None:
        super().__init__()
        if len(widths) != UPSAMPLER_STAGES or min(widths) < 1:
            raise TrainingInputError(
                f"The widths of the ResNet-18 up-sampler must be {UPSAMPLER_STAGES} numbers of channels from 1 up,"
                f" not {list(widths)}."
            )
        self.encoder = ResNet18Encoder(UPSAMPLER_STAGES)
        inputs = (STAGE_WIDTHS[UPSAMPLER_STAGES - 1], *widths)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(inputs):
            layers += [double_conv(before, after), nn.Upsample(scale_factor=2, mode="nearest")]
        self.ups = nn.Sequential(*layers)
        self.head = nn.Conv2d(widths[-1], outputs, 3, padding=1)  # 3x3, so that no 2x2 blocks stay
        self.scale = CHROMA_SCALE if outputs == 2 else 1.0

    def forward(self, luma: Tensor) -> Tensor:
        head: Tensor = self.head(self.ups(self.encoder(luma)[-1]))
        return self.scale * head
