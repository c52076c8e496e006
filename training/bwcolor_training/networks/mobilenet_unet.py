"""The default generator: a U-Net whose encoder is MobileNetV2 pretrained on ImageNet.

Encoder: Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", batch norm
folded into the convolutions. Decoder: Ronneberger et al. 2015, "U-Net", with bilinear up-sampling.
"""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.networks.decoder import CHROMA_SCALE, HEADS, DecoderBlock, GlobalAttention, GuidedEnding
from torch import Tensor, nn
from torch.nn import functional as F

# (input width, output width, stride) of the 17 inverted residuals; all but the first expand by 6.
BLOCKS = [
    (32, 16, 1), (16, 24, 2), (24, 24, 1), (24, 32, 2), (32, 32, 1), (32, 32, 1),
    (32, 64, 2), (64, 64, 1), (64, 64, 1), (64, 64, 1), (64, 96, 1), (96, 96, 1), (96, 96, 1),
    (96, 160, 2), (160, 160, 1), (160, 160, 1), (160, 320, 1),
]  # fmt: skip
SKIP_BLOCKS = (1, 3, 6, 13)  # their expanded maps, at strides 2, 4, 8 and 16, feed the decoder
SKIP_WIDTHS = (96, 144, 192, 576)
LAST_WIDTH = 1280
WIDTHS = (256, 160, 96, 48)  # of the decoder, unless the recipe says otherwise
NARROWED = (192, 96, 48, 32)  # of the skips, likewise
STRIDE = 32


@dataclass(frozen=True, slots=True)
class EncoderConvention:
    """What a set of MobileNetV2 weights was trained with; another choice runs, and is worse.

    mean, std: per input channel, for values in 0..1. same_padding: TensorFlow's SAME padding (on
    even sizes a stride-2 convolution pads after only) instead of PyTorch's symmetric one.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    same_padding: bool


TENSORFLOW = EncoderConvention((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), same_padding=True)
TORCHVISION = EncoderConvention((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), same_padding=False)
CONVENTIONS = {"tensorflow": TENSORFLOW, "torchvision": TORCHVISION}


class Conv(nn.Conv2d):
    """A 1x1 or 3x3 convolution with bias, padded as the encoder's convention asks."""

    def __init__(self, width_in: int, width_out: int, kernel: int, stride: int = 1,
                 groups: int = 1, same_padding: bool = True) -> None:  # fmt: skip
        self.pad_after = same_padding and stride == 2
        padding = 0 if self.pad_after else kernel // 2
        super().__init__(width_in, width_out, kernel, stride, padding, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.groups > 1 and self.stride == (2, 2) and x.device.type == "cpu":
            # Every second output of a convolution of stride 1: the gradient of strided depthwise ones is so slow on
            # CPUs that whole training steps take a third longer.
            every = F.conv2d(x, self.weight, self.bias, 1, 1, 1, self.groups)
            first = 1 if self.pad_after else 0
            return every[..., first::2, first::2]
        return super().forward(F.pad(x, (0, 1, 0, 1)) if self.pad_after else x)


class InvertedResidual(nn.Module):
    """1x1 expand, 3x3 depthwise, 1x1 project; returns the output and the expanded map."""

    def __init__(self, width_in: int, width_out: int, stride: int, expand: int, same: bool) -> None:
        super().__init__()
        hidden = width_in * expand
        self.expand = Conv(width_in, hidden, 1) if expand > 1 else None
        self.dw = Conv(hidden, hidden, 3, stride, groups=hidden, same_padding=same)
        self.project = Conv(hidden, width_out, 1)
        self.residual = stride == 1 and width_in == width_out

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        expanded = x if self.expand is None else F.relu6(self.expand(x))
        out = self.project(F.relu6(self.dw(expanded)))
        return (x + out if self.residual else out), expanded


class MobileNetV2Encoder(nn.Module):
    """MobileNetV2 without its classifier.

    Input: gray N1HW or RGB N3HW, float, 0..1, height and width multiples of 32. Output: the
    expanded maps of blocks 1, 3, 6, 13 and the last convolution's map (strides 2, 4, 8, 16, 32;
    widths 96, 144, 192, 576, 1280).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, convention: EncoderConvention) -> None:
        super().__init__()
        same = convention.same_padding
        self.register_buffer("mean", torch.tensor(convention.mean).view(1, 3, 1, 1), False)
        self.register_buffer("std", torch.tensor(convention.std).view(1, 3, 1, 1), False)
        self.stem = Conv(3, 32, 3, 2, same_padding=same)
        self.blocks = nn.ModuleList(
            InvertedResidual(i, o, s, 1 if n == 0 else 6, same) for n, (i, o, s) in enumerate(BLOCKS)
        )
        self.last = Conv(320, LAST_WIDTH, 1)

    def forward(self, photo: Tensor) -> list[Tensor]:
        x = F.relu6(self.stem((photo - self.mean) / self.std))
        skips = []
        for number, block in enumerate(self.blocks):
            x, expanded = block(x)
            if number in SKIP_BLOCKS:
                skips.append(expanded)
        return [*skips, F.relu6(self.last(x))]


def load_npz_encoder(encoder: MobileNetV2Encoder, path: Path) -> None:
    """Fills the encoder from an .npz of folded weights named like its own parameters.

    Raises TrainingInputError when the file lacks an array or one has another shape.
    """
    if not path.is_file():
        raise TrainingInputError(f"{path}: no such encoder file. Check --set encoder=FILE.npz.")
    try:
        with path.open("rb") as file:
            arrays = dict(np.load(file, allow_pickle=False))
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:  # numpy's ways to say no
        raise TrainingInputError(f"{path}: not an .npz file of arrays ({error}).") from error
    state = {}
    for name, parameter in encoder.state_dict().items():
        if name not in arrays or arrays[name].shape != tuple(parameter.shape):
            raise TrainingInputError(f"{path}: array {name} is missing or has another shape.")
        state[name] = torch.from_numpy(arrays[name].astype(np.float32))
    encoder.load_state_dict(state)


def load_torchvision_encoder(encoder: MobileNetV2Encoder, features: nn.Module) -> None:
    """Fills the encoder from the `features` of torchvision's MobileNetV2, batch norm folded in."""
    convs = [m for m in features.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in features.modules() if isinstance(m, nn.BatchNorm2d)]
    ours = [m for m in encoder.modules() if isinstance(m, Conv)]
    if [c.weight.shape for c in convs] != [c.weight.shape for c in ours] or len(norms) != len(ours):
        raise TrainingInputError("The encoder's weights are not those of torchvision's mobilenet_v2 (width 1.0).")
    with torch.no_grad():
        for target, conv, norm in zip(ours, convs, norms, strict=True):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            assert target.bias is not None
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            target.weight.copy_(conv.weight * scale.view(-1, 1, 1, 1))
            target.bias.copy_(norm.bias - norm.running_mean * scale)


class ConvolvedEnding(nn.Module):
    """From half to full size: features are enlarged and convolved beside the luma."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(width, 24, 1)
        hidden = 16 if outputs == 2 else 64  # hundreds of classes don't pass through 16 channels
        self.head = nn.Sequential(nn.Conv2d(25, hidden, 3, padding=1), nn.ReLU(), nn.Conv2d(hidden, outputs, 1))

    def forward(self, x: Tensor, luma: Tensor) -> Tensor:
        x = F.interpolate(self.squeeze(x), size=luma.shape[-2:], mode="bilinear", align_corners=False)
        out: Tensor = self.head(torch.cat([x, luma - 0.5], 1))
        return out


ENDINGS: dict[str, Callable[[int, int], nn.Module]] = {"convolved": ConvolvedEnding, "guided": GuidedEnding}


class MobileUNet(nn.Module):
    """Luma in, chroma out.

    widths: channels of the decoder's four levels, from coarse to fine, the first a multiple of 4; skips: to how many
    channels the encoder's maps are narrowed; empty takes WIDTHS and NARROWED. attention: at which strides positions
    see one another, of 32 and 16. ending: one of ENDINGS.

    Input: N1HW float, BT.601 luma 0..1, height and width multiples of 32. Output: N2HW float, Cb
    and Cr of JPEG's full-range YCbCr (ITU-T T.871) in -0.5..0.5, not clamped; with `outputs` other
    than 2 that many plain values (logits).
    """

    stride = STRIDE

    def __init__(self, convention: EncoderConvention, widths: tuple[int, ...] = (), skips: tuple[int, ...] = (),
                 attention: tuple[int, ...] = (32,), ending: str = "convolved", outputs: int = 2) -> None:  # fmt: skip
        super().__init__()
        widths, skips = widths or WIDTHS, skips or NARROWED
        if any(len(numbers) != 4 or min(numbers) < 1 for numbers in (widths, skips)):
            raise TrainingInputError("widths and skip_widths of mobilenet-unet must name 4 numbers of channels each.")
        if widths[0] % HEADS:
            raise TrainingInputError(f"The first of widths must be a multiple of {HEADS}, not {widths[0]}.")
        if not set(attention) <= {32, 16}:
            raise TrainingInputError(f"attention of mobilenet-unet must name strides of 32 and 16, not {attention}.")
        self.encoder = MobileNetV2Encoder(convention)
        bottom = widths[0]
        self.bottom = nn.Sequential(nn.Conv2d(LAST_WIDTH, bottom, 1, bias=False), nn.BatchNorm2d(bottom), nn.ReLU())
        self.attention = GlobalAttention(bottom, HEADS) if 32 in attention else nn.Identity()
        self.finer_attention = GlobalAttention(bottom, HEADS) if 16 in attention else nn.Identity()
        ups = []
        before = bottom
        for level, (skip, narrowed, width) in enumerate(zip(reversed(SKIP_WIDTHS), skips, widths, strict=True)):
            ups.append(DecoderBlock(before, skip, narrowed, width, convs=1 if level == 3 else 2))
            before = width
        self.ups = nn.ModuleList(ups)
        self.ending = ENDINGS[ending](before, outputs)
        self.scale = CHROMA_SCALE if outputs == 2 else 1.0

    def forward(self, luma: Tensor) -> Tensor:
        *skips, x = self.encoder(luma)
        x = self.attention(self.bottom(x))
        for level, (up, skip) in enumerate(zip(self.ups, reversed(skips), strict=True)):
            x = up(x, skip)
            if level == 0:
                x = self.finer_attention(x)
        chroma: Tensor = self.ending(x, luma)
        return self.scale * chroma
