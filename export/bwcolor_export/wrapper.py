"""What export puts around a trained generator; the generator itself is never edited."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AnySize(nn.Module):
    """Pads its input to multiples of the generator's stride, and cuts the output back.

    Input: N1HW, luma in 0..1, any height and width. Output: N2HW, Cb and Cr, multiplied by `gain`.
    """

    def __init__(self, generator: nn.Module, stride: int, gain: float) -> None:
        super().__init__()
        self.generator = generator
        self.stride = stride
        self.gain = gain

    def forward(self, luma: Tensor) -> Tensor:
        height, width = luma.shape[-2:]
        bottom = (self.stride - height % self.stride) % self.stride
        right = (self.stride - width % self.stride) % self.stride
        chroma: Tensor = self.generator(F.pad(luma, (0, right, 0, bottom), mode="replicate"))
        return torch.mul(chroma[:, :, :height, :width], self.gain)
