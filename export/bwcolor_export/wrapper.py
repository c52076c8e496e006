"""What export puts around a trained generator; the generator itself is never edited."""

import copy

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


class HalfInside(nn.Module):
    """A copy of a network that computes in float16, with float32 going in and coming out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).half()

    def forward(self, luma: Tensor) -> Tensor:
        out: Tensor = self.network(luma.half())
        return out.float()
