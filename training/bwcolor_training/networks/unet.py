"""The classic U-Net: Ronneberger et al. 2015, "U-Net", with batch norm and "same" padding."""

import itertools

import torch
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.networks.decoder import CHROMA_SCALE
from torch import Tensor, nn
from torch.nn import functional as F

CIFAR_WIDTHS = (32, 64, 128, 256)  # for pictures of 32 px: the coarsest map is 4x4
CLASSIC_WIDTHS = (64, 128, 256, 512, 1024)  # the paper's: 31,042,434 parameters with transposed convolutions
UPSAMPLINGS = ("transposed", "bilinear")


def double_conv(width_in: int, width_out: int) -> nn.Sequential:
    """Two 3x3 convolutions with bias, each followed by batch norm and ReLU; the size stays."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise((width_in, width_out, width_out)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


class UpBlock(nn.Module):
    """Doubles height and width, concatenates the skip, convolves.

    transposed: a learned 2x2 transposed convolution. bilinear: a 1x1 convolution, then interpolation
    (the two commute, so the convolution runs on the small map).
    """

    def __init__(self, width_in: int, width_out: int, upsampling: str) -> None:
        super().__init__()
        up = nn.ConvTranspose2d(width_in, width_out, 2, 2) if upsampling == "transposed" else None
        self.up = up or nn.Conv2d(width_in, width_out, 1)
        self.bilinear = up is None
        self.convs = double_conv(2 * width_out, width_out)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.up(x)
        if self.bilinear:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        out: Tensor = self.convs(torch.cat([skip, x], 1))
        return out


class ClassicUNet(nn.Module):
    """Luma in, chroma out.

    Input: N1HW float, BT.601 luma 0..1, height and width multiples of `stride`. Output: N2HW float,
    Cb and Cr of full-range YCbCr in -0.5..0.5, not clamped; with `outputs` other than 2, plain logits.

    widths: channels of each level, from full size to the coarsest; every level halves the size.
    """

    def __init__(self, widths: tuple[int, ...], upsampling: str = "transposed", outputs: int = 2) -> None:
        super().__init__()
        if len(widths) < 2 or min(widths) < 1:
            raise TrainingInputError(
                f"The widths of a U-Net must be two or more numbers of channels from 1 up, not {list(widths)}."
            )
        if upsampling not in UPSAMPLINGS:
            raise TrainingInputError(f"upsampling {upsampling!r} is unknown. Known: {', '.join(UPSAMPLINGS)}.")
        self.stride = 2 ** (len(widths) - 1)
        self.downs = nn.ModuleList(double_conv(i, o) for i, o in itertools.pairwise((1, *widths)))
        self.ups = nn.ModuleList(UpBlock(i, o, upsampling) for i, o in itertools.pairwise(reversed(widths)))
        self.head = nn.Conv2d(widths[0], outputs, 1)
        self.scale = CHROMA_SCALE if outputs == 2 else 1.0

    def forward(self, luma: Tensor) -> Tensor:
        x = self.downs[0](luma)
        skips = []
        for down in itertools.islice(self.downs, 1, None):
            skips.append(x)
            x = down(F.max_pool2d(x, 2))
        for up, skip in zip(self.ups, reversed(skips), strict=True):
            x = up(x, skip)
        head: Tensor = self.head(x)
        return self.scale * head
