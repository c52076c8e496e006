"""The PatchGAN critic of Isola et al. 2017: it judges overlapping patches instead of the whole photo."""

import itertools

import torch
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.networks.pix2pix import LEAK, draw_weights
from torch import Tensor, nn

WIDEST = 8  # times the first width; further levels stay there


class PatchCritic(nn.Module):
    """Gray photo and its chroma in, one verdict for each patch out.

    Input: luma N1HW, BT.601, 0..1; chroma N2HW, Cb and Cr of full-range YCbCr in -0.5..0.5. Output:
    N1hw float, logits: above 0 for a patch whose colours look true. With 3 levels a patch has 70x70
    px, and 256x256 px get 30x30 verdicts.

    width: channels of the first convolution. levels: convolutions that halve the size. smallest: px,
    height and width that are just enough for one verdict.
    """

    def __init__(self, width: int = 64, levels: int = 3) -> None:
        super().__init__()
        if width < 1 or levels < 1:
            raise TrainingInputError(f"The critic's width and levels must be 1 or more, not {width} and {levels}.")
        self.smallest = 3 * 2**levels
        widths = [width * min(2**level, WIDEST) for level in range(levels + 1)]
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(LEAK)]
        for number, (before, after) in enumerate(itertools.pairwise(widths), 1):
            stride = 2 if number < levels else 1
            layers += [nn.Conv2d(before, after, 4, stride, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(LEAK)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        self.apply(draw_weights)

    def forward(self, luma: Tensor, chroma: Tensor) -> Tensor:
        verdicts: Tensor = self.layers(torch.cat([2 * luma - 1, 2 * chroma], 1))
        return verdicts
