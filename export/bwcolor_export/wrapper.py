"""What export puts around a trained generator; the generator itself is never edited."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AnySize(nn.Module):
    """Pads its input to multiples of the generator's stride, and cuts the output back.

    Input: N1HW, luma in 0..1, any height and width. Output: N2HW, Cb and Cr, of whose mean over the picture the share
    `cast` stays, multiplied by `gain`. Networks are surer of a photo's mean colour than they should be: they make
    rooms and crowds brown.
    """

    def __init__(self, generator: nn.Module, stride: int, gain: float, cast: float = 1.0) -> None:
        super().__init__()
        self.generator = generator
        self.stride = stride
        self.gain = gain
        self.cast = cast

    def forward(self, luma: Tensor) -> Tensor:
        height, width = luma.shape[-2:]
        bottom = (self.stride - height % self.stride) % self.stride
        right = (self.stride - width % self.stride) % self.stride
        chroma: Tensor = self.generator(F.pad(luma, (0, right, 0, bottom), mode="replicate"))
        chroma = chroma[:, :, :height, :width]
        if self.cast != 1:
            chroma = chroma - (1 - self.cast) * chroma.mean((2, 3), keepdim=True)
        return torch.mul(chroma, self.gain)


class HalfInside(nn.Module):
    """A copy of a network that computes in float16, with float32 going in and coming out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).half()

    def forward(self, luma: Tensor) -> Tensor:
        out: Tensor = self.network(luma.half())
        return out.float()
