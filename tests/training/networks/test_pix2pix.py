"""The generator of pix2pix: eight levels to a single pixel and back, as its paper describes it."""

import pytest
import torch
from bwcolor_training.networks.pix2pix import PIX2PIX_WIDTHS, Pix2PixUNet
from torch import Tensor, nn


@pytest.fixture(scope="module")
def full() -> Pix2PixUNet:
    """The network in its published size, as it comes into the world."""
    torch.manual_seed(0)
    return Pix2PixUNet(PIX2PIX_WIDTHS).eval()


@torch.no_grad()
def test_eight_levels_reach_a_single_pixel_and_come_back(full: Pix2PixUNet) -> None:
    shapes: list[tuple[int, ...]] = []
    hooks = [
        block.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape[1:])))
        for block in (*full.downs, *full.ups)
    ]
    assert full.stride == 256
    assert full(torch.rand(1, 1, 256, 256)).shape == (1, 2, 256, 256)
    for hook in hooks:
        hook.remove()
    down = [(width, 128 >> level, 128 >> level) for level, width in enumerate(PIX2PIX_WIDTHS)]
    assert down[-1] == (512, 1, 1)
    assert shapes == [*down, *reversed(down[:-1])]


def test_the_number_of_parameters_is_that_of_the_paper(full: Pix2PixUNet) -> None:
    """Worked out by hand from the paper's list of layers, biases only where no batch norm follows."""
    convs = 16 * (64 + 64 * 128 + 128 * 256 + 256 * 512 + 4 * 512 * 512)
    transposed = 16 * (512 * 512 + 3 * 1024 * 512 + 1024 * 256 + 512 * 128 + 256 * 64 + 128 * 2)
    norms = 2 * (128 + 256 + 4 * 512) + 2 * (4 * 512 + 256 + 128 + 64)
    biases = 64 + 512 + 2
    assert sum(p.numel() for p in full.parameters()) == convs + transposed + norms + biases


def kinds(block: nn.Module) -> list[type[nn.Module]]:
    return [type(layer) for layer in block.children()]


@pytest.mark.parametrize("levels", [2, 3, 5, 8])
def test_norm_and_dropout_are_where_the_paper_has_them(levels: int) -> None:
    network = Pix2PixUNet((4,) * levels)
    with_norm = [kinds(block) == [nn.Conv2d, nn.BatchNorm2d] for block in network.downs]
    assert with_norm == [False, *[True] * (levels - 2), False]
    assert all(kinds(network.downs[level]) == [nn.Conv2d] for level in (0, -1))
    up = [nn.ConvTranspose2d, nn.BatchNorm2d]
    assert [kinds(block) for block in network.ups] == [[*up, nn.Dropout]] * min(3, levels - 1) + [up] * (levels - 4)
    assert all(layer.p == 0.5 for layer in network.modules() if isinstance(layer, nn.Dropout))


def test_all_weights_are_drawn_from_the_papers_normal_distribution(full: Pix2PixUNet) -> None:
    convs = [m for m in full.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    norms = [m for m in full.modules() if isinstance(m, nn.BatchNorm2d)]
    assert (len(convs), len(norms)) == (16, 13)
    for conv in convs:
        check_normal(conv.weight, 0.0)
    check_normal(torch.cat([norm.weight for norm in norms]), 1.0)
    assert not any(parameter.any() for name, parameter in full.named_parameters() if name.endswith("bias"))


@torch.no_grad()
def check_normal(weights: Tensor, mean: float) -> None:
    """Mean and deviation of N(mean, 0.02), within five standard errors."""
    count = weights.numel()
    assert abs(float(weights.mean()) - mean) < 5 * 0.02 / count**0.5
    assert abs(float(weights.std()) - 0.02) < 5 * 0.02 / (2 * count) ** 0.5
    assert float(((weights - mean).abs() < 0.02).float().mean()) == pytest.approx(0.683, abs=2.5 / count**0.5)


def test_a_single_photo_is_enough_for_a_step_through_the_single_pixel() -> None:
    torch.manual_seed(0)
    network = Pix2PixUNet((8, 8, 8)).train()
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    luma, chroma = torch.rand(1, 1, 8, 8), torch.full((1, 2, 8, 8), 0.3)
    errors = []
    for _ in range(10):
        error = (network(luma) - chroma).abs().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    innermost = next(network.downs[-1].children())
    assert isinstance(innermost, nn.Conv2d)
    assert innermost.weight.std() > 0.021  # not cut off from learning
    assert errors[-1] < 0.7 * errors[0]


@torch.no_grad()
def test_the_same_photo_gets_the_same_colours_once_trained() -> None:
    torch.manual_seed(0)
    network = Pix2PixUNet((8, 8, 8))
    network.head.weight.mul_(100)
    luma = torch.rand(1, 1, 32, 32)
    assert not torch.equal(network.train()(luma), network(luma))  # dropout
    assert torch.equal(network.eval()(luma), network(luma))


@torch.no_grad()
def test_chroma_stays_within_its_range() -> None:
    network = Pix2PixUNet((8, 8))
    network.head.weight.mul_(1e6)
    chroma = network(torch.rand(2, 1, 32, 32))
    assert float(chroma.max()) == pytest.approx(0.5, abs=1e-3)
    assert float(chroma.min()) == pytest.approx(-0.5, abs=1e-3)
