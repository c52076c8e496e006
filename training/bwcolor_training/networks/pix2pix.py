"""The generator of pix2pix: Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks"."""

import itertools

import torch
from bwcolor_training.errors import TrainingInputError
from torch import Tensor, nn
from torch.nn import functional as F

PIX2PIX_WIDTHS = (64, 128, 256, 512, 512, 512, 512, 512)  # 8 levels: 256 px down to 1x1
LEAK = 0.2  # slope of leaky ReLU below 0, here and in the critic: the paper's
WEIGHT_STD = 0.02  # of all first weights: the paper's
DROPOUT = 0.5
DROPOUT_BLOCKS = 3  # the innermost blocks of the decoder have dropout


def draw_weights(module: nn.Module) -> None:
    """Draws all weights from N(0, 0.02), those of batch norm from N(1, 0.02); biases are 0. Use with `apply`."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, WEIGHT_STD)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, WEIGHT_STD)
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d) and module.bias is not None:
        nn.init.zeros_(module.bias)


def _down(width_in: int, width_out: int, norm: bool) -> nn.Sequential:
    """Halves the size; a bias only where no batch norm would cancel it."""
    conv = nn.Conv2d(width_in, width_out, 4, 2, 1, bias=not norm)
    return nn.Sequential(conv, nn.BatchNorm2d(width_out)) if norm else nn.Sequential(conv)


def _up(width_in: int, width_out: int, dropout: bool) -> nn.Sequential:
    """Doubles the size."""
    conv = nn.ConvTranspose2d(width_in, width_out, 4, 2, 1, bias=False)
    layers: list[nn.Module] = [conv, nn.BatchNorm2d(width_out)]
    return nn.Sequential(*layers, nn.Dropout(DROPOUT)) if dropout else nn.Sequential(*layers)


class Pix2PixUNet(nn.Module):
    """Luma in, chroma out.

    Input: N1HW float, BT.601 luma 0..1, height and width multiples of `stride`. Output: N2HW float,
    Cb and Cr of full-range YCbCr in -0.5..0.5, by tanh; with `outputs` other than 2, plain logits.

    widths: channels of each level, from half size to the coarsest; every level halves the size. The
    outermost block has no batch norm, nor has the innermost: on a 1x1 map of a single photo it would
    leave nothing but its bias. Dropout works in training only, so that a photo always gets the same
    colours.
    """

    def __init__(self, widths: tuple[int, ...], outputs: int = 2) -> None:
        super().__init__()
        if len(widths) < 2 or min(widths) < 1:
            raise TrainingInputError(
                f"The widths of pix2pix must be two or more numbers of channels from 1 up, not {list(widths)}."
            )
        self.stride = 2 ** len(widths)
        first, innermost = 0, len(widths) - 1
        self.downs = nn.ModuleList(
            _down(i, o, norm=level not in (first, innermost))
            for level, (i, o) in enumerate(itertools.pairwise((1, *widths)))
        )
        # Every block but the first takes the skip of its size along.
        inputs = [widths[-1], *(2 * width for width in widths[-2:0:-1])]
        self.ups = nn.ModuleList(
            _up(i, o, dropout=number < DROPOUT_BLOCKS)
            for number, (i, o) in enumerate(zip(inputs, widths[-2::-1], strict=True))
        )
        self.head = nn.ConvTranspose2d(2 * widths[0], outputs, 4, 2, 1)
        self.chroma = outputs == 2
        self.apply(draw_weights)

    def forward(self, luma: Tensor) -> Tensor:
        x = self.downs[0](2 * luma - 1)
        skips = []
        for down in itertools.islice(self.downs, 1, None):
            skips.append(x)
            x = down(F.leaky_relu(x, LEAK))
        for up, skip in zip(self.ups, reversed(skips), strict=True):
            x = torch.cat([up(F.relu(x)), skip], 1)
        head: Tensor = self.head(F.relu(x))
        return 0.5 * torch.tanh(head) if self.chroma else head
