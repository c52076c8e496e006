"""A U-Net on EfficientNet-Lite2 that ends at a quarter of the size, from where luma guides it.

Decoder: Ronneberger et al. 2015, "U-Net", with bilinear up-sampling; a decoder's last levels cost a CPU most and add
nothing that luma doesn't know. Colors can be mixed from queries (Kang et al. 2023, "DDColor").
"""

from bwcolor_training.errors import TrainingInputError
from bwcolor_training.networks.decoder import (
    CHROMA_SCALE,
    HEADS,
    ColorQueries,
    DecoderBlock,
    GlobalAttention,
    GuidedEnding,
)
from bwcolor_training.networks.efficientnet_lite import LAST_WIDTH, SKIP_WIDTHS, STRIDE, EfficientNetLite2
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (256, 160, 96)  # of the decoder, unless the recipe says otherwise
NARROWED = (128, 96, 64)  # of the skips, likewise
QUERY_WIDTH = 96


class LiteUNet(nn.Module):
    """Luma in, chroma out.

    widths: channels of the decoder's three levels, from coarse to fine, the first a multiple of 4; skips: to how many
    channels the encoder's maps are narrowed; empty takes WIDTHS and NARROWED. queries: how many learned colors look at
    the photo; 0 for none. fixed_blocks: how many blocks of the encoder, with its stem, are never trained.

    Input: N1HW float, BT.601 luma 0..1, height and width multiples of 32. Output: N2HW float, Cb and Cr of JPEG's
    full-range YCbCr (ITU-T T.871) in -0.5..0.5, not clamped; with `outputs` other than 2 that many plain values.
    """

    stride = STRIDE

    def __init__(self, widths: tuple[int, ...] = (), skips: tuple[int, ...] = (), queries: int = 0,
                 fixed_blocks: int = 2, outputs: int = 2) -> None:  # fmt: skip
        super().__init__()
        widths, skips = widths or WIDTHS, skips or NARROWED
        if any(len(numbers) != len(SKIP_WIDTHS) or min(numbers) < 1 for numbers in (widths, skips)):
            raise TrainingInputError("widths and skip_widths of lite-unet must name 3 numbers of channels each.")
        if widths[0] % HEADS:
            raise TrainingInputError(f"The first of widths must be a multiple of {HEADS}, not {widths[0]}.")
        self.encoder = EfficientNetLite2(fixed_blocks)
        bottom = widths[0]
        self.bottom = nn.Sequential(nn.Conv2d(LAST_WIDTH, bottom, 1, bias=False), nn.BatchNorm2d(bottom), nn.ReLU())
        self.attention = GlobalAttention(bottom, HEADS)
        ups = []
        before = bottom
        for skip, narrowed, width in zip(reversed(SKIP_WIDTHS), skips, widths, strict=True):
            ups.append(DecoderBlock(before, skip, narrowed, width, convs=2))
            before = width
        self.ups = nn.ModuleList(ups)
        self.queries = ColorQueries(queries, QUERY_WIDTH, widths, before, 2 * outputs) if queries else None
        self.ending = GuidedEnding(before, outputs, reduction=4)
        self.scale = CHROMA_SCALE if outputs == 2 else 1.0

    def forward(self, luma: Tensor) -> Tensor:
        *skips, x = self.encoder(luma)
        x = self.attention(self.bottom(x))
        maps = []
        for up, skip in zip(self.ups, reversed(skips), strict=True):
            x = up(x, skip)
            maps.append(x)
        more = None
        if self.queries is not None:
            maps[-1] = F.avg_pool2d(maps[-1], 2)  # a color needs no finer look, and looks cost by the place
            more = self.queries(maps, x)
        chroma: Tensor = self.ending(x, luma, more)
        return self.scale * chroma
