"""The classic U-Net: its published size, its shape inside."""

import itertools

import pytest
import torch
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.networks.unet import CIFAR_WIDTHS, CLASSIC_WIDTHS, ClassicUNet, UpBlock
from torch import Tensor, nn


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_classic_widths_give_the_published_number_of_parameters() -> None:
    assert parameters(ClassicUNet(CLASSIC_WIDTHS, "transposed")) == 31_042_434


@pytest.mark.parametrize("upsampling", ["transposed", "bilinear"])
def test_the_number_of_parameters_follows_the_widths(upsampling: str) -> None:
    def double(width_in: int, width: int) -> int:  # weights, bias, batch norm's two numbers
        return 9 * width_in * width + 9 * width * width + 6 * width

    kernel = 4 if upsampling == "transposed" else 1
    pairs = list(itertools.pairwise(CIFAR_WIDTHS))
    down = double(1, CIFAR_WIDTHS[0]) + sum(double(i, o) for i, o in pairs)
    up = sum(kernel * i * o + i + double(2 * i, i) for i, o in pairs)
    assert parameters(ClassicUNet(CIFAR_WIDTHS, upsampling)) == down + up + 2 * CIFAR_WIDTHS[0] + 2


def test_every_level_halves_the_size() -> None:
    network = ClassicUNet((4, 6, 8, 10)).eval()
    shapes = []
    for block in network.downs:
        block.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape)))
    network(torch.rand(1, 1, 32, 48))
    assert shapes == [(1, 4, 32, 48), (1, 6, 16, 24), (1, 8, 8, 12), (1, 10, 4, 6)]


@pytest.mark.parametrize("upsampling", ["transposed", "bilinear"])
@torch.no_grad()
def test_the_skips_carry_the_finest_detail(upsampling: str) -> None:
    """Without them no pixel could differ from the 4x4 px it shares a coarse one with, other than by a fixed pattern."""
    torch.manual_seed(0)
    network = ClassicUNet((8, 8, 8), upsampling).eval()
    luma = torch.rand(1, 1, 32, 32)
    changed = luma.clone()
    changed[..., 9, 14] += 0.5
    difference = (network(changed) - network(luma)).abs().sum(1)[0]
    assert difference[9, 14] > 0
    for block in network.ups:
        block.register_forward_pre_hook(without_skip)
    coarse = (network(changed) - network(luma)).abs().sum(1)[0]
    assert coarse[9, 14] < 0.5 * difference[9, 14]


def without_skip(_module: nn.Module, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return inputs[0], torch.zeros_like(inputs[1])


def test_bilinear_upsampling_leaves_no_fixed_pattern() -> None:
    """Inside a flat photo all chroma is alike; an untrained transposed convolution draws its 2x2 kernel."""
    torch.manual_seed(0)
    flat = torch.full((1, 1, 64, 64), 0.4)
    with torch.no_grad():
        spread = {
            upsampling: float(ClassicUNet((8, 8), upsampling).eval()(flat)[..., 16:48, 16:48].std((2, 3)).max())
            for upsampling in ("bilinear", "transposed")
        }
    assert spread["bilinear"] < 1e-6 < spread["transposed"]


@torch.no_grad()
def test_bilinear_upsampling_keeps_things_where_they_are() -> None:
    """A ramp stays a ramp about the same centre: pixel i of the small map covers pixels 2i and 2i + 1."""
    block = UpBlock(1, 1, "bilinear")
    assert isinstance(block.up, nn.Conv2d)
    block.up.weight.fill_(1)
    assert block.up.bias is not None
    block.up.bias.zero_()
    seen: list[Tensor] = []
    block.convs.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    block(torch.arange(8.0).expand(1, 1, 8, 8), torch.zeros(1, 1, 16, 16))
    expected = (torch.arange(16) - 0.5) / 2
    torch.testing.assert_close(seen[0][0, 1, 5, 1:-1], expected[1:-1])


def test_an_unknown_upsampling_lists_the_known_ones() -> None:
    with pytest.raises(TrainingInputError, match=r"'cubic' is unknown\. Known: transposed, bilinear\."):
        ClassicUNet((8, 16), "cubic")
