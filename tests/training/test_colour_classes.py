"""Colour as a choice among bins: what is learned, what is picked, and the network around it."""

import logging
import warnings
from collections.abc import Iterator

import numpy as np
import onnxruntime as ort
import pytest
import torch
from bwcolor_training import colours
from bwcolor_training.colours import (
    BINS,
    AnnealedMean,
    ab_to_chroma,
    annealed_mean,
    bin_centres,
    chroma_to_ab,
    class_cross_entropy,
    colour_histogram,
    pixel_rarity,
    rarity,
    rgb_to_ab,
    soft_encode,
)
from bwcolor_training.data.degrade import to_luma
from bwcolor_training.errors import TrainingInputError
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from torch import Tensor, nn
from torch.nn import functional as F

RED_AB, GREEN_AB = (80.09, 67.20), (-86.18, 83.18)
properties = settings(max_examples=50, deadline=None)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photos(count: int = 2) -> Tensor:
    """Noise in every colour: (count, 3, 24, 16), 0..1."""
    return torch.rand(count, 3, 24, 16, generator=seeded())


def one_pixel(a: float, b: float) -> Tensor:
    """(1, 2, 1, 1)."""
    return torch.tensor([a, b]).view(1, 2, 1, 1)


def dense(bins: Tensor, shares: Tensor) -> Tensor:
    """NKHW bins and shares -> the distribution over all bins, N x BINS x H x W."""
    n, _, height, width = bins.shape
    return torch.zeros(n, BINS, height, width).scatter_add_(1, bins, shares)


# Annealed mean


def two_modes(first: float) -> Tensor:
    """Logits with a share of `first` on (60, 40) and the rest on (-50, 30): (1, BINS, 1, 1)."""
    probability = torch.full((BINS,), 1e-30)
    for ab, share in (((60, 40), first), ((-50, 30), 1 - first)):
        probability[(bin_centres() == torch.tensor(ab)).all(1)] = share
    return probability.log().view(1, BINS, 1, 1)


def test_annealed_mean_goes_from_the_mean_to_the_mode() -> None:
    logits = two_modes(0.7)
    assert_allclose(annealed_mean(logits, 1.0).flatten(), (27, 37), atol=1e-3)
    assert_allclose(annealed_mean(logits, 0.01).flatten(), (60, 40), atol=1e-3)
    shares = np.array([0.7, 0.3]) ** (1 / 0.38)
    first = shares[0] / shares.sum()
    expected = (60 * first - 50 * (1 - first), 40 * first + 30 * (1 - first))
    assert_allclose(annealed_mean(logits).flatten(), expected, atol=1e-3)


@properties
@given(st.floats(-50, 50), st.floats(0.05, 1))
def test_annealed_mean_knows_no_offset(offset: float, temperature: float) -> None:
    logits = torch.randn(1, BINS, 1, 2, generator=seeded())
    assert_allclose(annealed_mean(logits + offset, temperature), annealed_mean(logits, temperature), atol=0.05)


# Loss


def plain_loss(logits: Tensor, ab: Tensor, weights: Tensor) -> Tensor:
    losses = F.cross_entropy(logits, dense(*soft_encode(ab)), reduction="none")
    return (losses * pixel_rarity(ab, weights)[:, 0]).mean()


def test_loss_and_gradient_are_those_of_plain_cross_entropy() -> None:
    ab, weights = rgb_to_ab(photos(3)), rarity(1 + torch.arange(BINS) % 40)
    lean = (3 * torch.randn(3, BINS, 24, 16, generator=seeded())).requires_grad_()
    plain = lean.detach().clone().requires_grad_()
    loss, expected = class_cross_entropy(lean, ab, weights), plain_loss(plain, ab, weights)
    assert_allclose(loss.detach(), expected.detach(), rtol=1e-5)
    (gradient,), (right,) = torch.autograd.grad(2 * loss, lean), torch.autograd.grad(2 * expected, plain)
    assert_allclose(gradient, right, atol=1e-8, rtol=1e-4)


def test_loss_without_weights_is_that_with_equal_ones() -> None:
    ab, logits = rgb_to_ab(photos()), torch.randn(2, BINS, 24, 16, generator=seeded())
    assert_allclose(class_cross_entropy(logits, ab), class_cross_entropy(logits, ab, torch.ones(BINS)), rtol=1e-6)


def test_gradient_of_the_loss_by_differences() -> None:
    ab = rgb_to_ab(photos(2)[..., :2, :1]).double()
    logits = torch.randn(2, BINS, 2, 1, generator=seeded(), dtype=torch.float64).requires_grad_()
    torch.autograd.gradcheck(lambda values: class_cross_entropy(values, ab), (logits,), fast_mode=True)


def test_loss_of_half_precision_logits_is_computed_in_full() -> None:
    ab = rgb_to_ab(photos())
    logits = torch.randn(2, BINS, 24, 16, generator=seeded()).bfloat16().requires_grad_()
    loss = class_cross_entropy(logits, ab)
    assert loss.dtype == torch.float32
    full = logits.detach().float().requires_grad_()
    expected = class_cross_entropy(full, ab)
    assert_allclose(loss.detach(), expected.detach(), rtol=1e-6)
    (gradient,), (right,) = torch.autograd.grad(loss, logits), torch.autograd.grad(expected, full)
    assert gradient.dtype == torch.bfloat16
    assert_allclose(gradient.float(), right, rtol=0.01, atol=1e-9)


def test_coarse_logits_are_compared_with_colours_of_the_photo_not_with_mixtures() -> None:
    ab = torch.tensor(RED_AB).view(1, 2, 1, 1).repeat(1, 1, 4, 4)
    ab[..., ::2, :] = torch.tensor(GREEN_AB).view(1, 2, 1, 1)
    logits = torch.randn(1, BINS, 2, 2, generator=seeded())
    red, green = (class_cross_entropy(logits, ab[..., row::2, ::2]) for row in (1, 0))
    assert float(class_cross_entropy(logits, ab)) in (float(red), float(green))


def test_balanced_loss_is_least_where_each_colour_counts_by_its_weight() -> None:
    """Three gray pixels and a red one of three times the weight: half the probability is right for each."""
    gray, red = torch.zeros(1, 2, 1, 3), one_pixel(60, 40)
    weights = torch.where((bin_centres() == torch.tensor([60, 40])).all(1), 3.0, 1.0)
    for share, right in ((0.5, True), (0.75, False)):
        best = share * dense(*soft_encode(gray[..., :1])) + (1 - share) * dense(*soft_encode(red))
        logits = best.clamp(min=1e-20).log().requires_grad_()
        loss = class_cross_entropy(logits.expand(1, BINS, 1, 4), torch.cat([gray, red], 3), weights)
        assert (torch.autograd.grad(loss, logits)[0].abs().max() < 1e-6) == right


def fitted(layer: nn.Module, gray: Tensor, loss: nn.Module) -> Tensor:
    optimizer = torch.optim.Adam(layer.parameters(), 0.2)
    for _ in range(100):
        optimizer.zero_grad()
        torch.autograd.backward(loss(layer(gray)))
        optimizer.step()
    fit: Tensor = layer(gray)
    return fit.detach()


class Classes(nn.Module):
    """class_cross_entropy against fixed colours."""

    def __init__(self, ab: Tensor) -> None:
        super().__init__()
        self.ab = ab

    def forward(self, logits: Tensor) -> Tensor:
        return class_cross_entropy(logits, self.ab)


class Squares(Classes):
    """Mean squared error against the same, in units of 100 a*b*."""

    def forward(self, ab: Tensor) -> Tensor:
        return F.mse_loss(ab, self.ab / 100)


def test_of_two_colours_for_one_gray_regression_takes_the_mean_and_classes_take_one() -> None:
    torch.manual_seed(0)
    gray = torch.full((1, 1, 1, 8), 0.5)
    modes = torch.tensor([[60.0, 40.0], [-47.0, 33.0]])
    ab = modes.repeat(4, 1).t()[None, :, None]
    mean = 100 * fitted(nn.Conv2d(1, 2, 1), gray, Squares(ab))[0, :, 0, 0]
    assert_allclose(mean, modes.mean(0), atol=1)
    logits = fitted(nn.Conv2d(1, BINS, 1), gray, Classes(ab))
    assert_allclose(annealed_mean(logits, 1.0)[0, :, 0, 0], modes.mean(0), atol=2)
    chosen = annealed_mean(logits, 0.1)[0, :, 0, 0]
    assert (chosen - modes).norm(dim=1).min() < 6
    assert (chosen - modes.mean(0)).norm() > 40


# As a network


class Striped(nn.Module):
    """Luma to logits, on a map four times as coarse."""

    stride = 4

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(1, 8, 4, 4)
        self.head = nn.Conv2d(8, BINS, 1)

    def forward(self, luma: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.relu(8 * self.encoder(luma)))
        return 4 * logits


def striped() -> AnnealedMean:
    torch.manual_seed(0)
    return AnnealedMean(Striped()).eval()


def test_network_gives_chroma_at_the_size_of_its_input() -> None:
    network = striped()
    luma = torch.rand(2, 1, 12, 20, generator=seeded())
    chroma = network(luma).detach()
    assert chroma.shape == (2, 2, 12, 20)
    assert chroma.abs().max() < 0.5
    assert chroma.std() > 1e-3
    assert network.stride == 4
    assert sorted(network.state_dict()) == sorted(f"generator.{name}" for name in Striped().state_dict())


def test_network_of_full_size_logits_decodes_each_pixel() -> None:
    class Fixed(nn.Module):
        stride = 1

        def forward(self, luma: Tensor) -> Tensor:
            return torch.where(luma > 0.5, two_modes(1.0), two_modes(0.0))

    luma = torch.tensor([0.6, 0.4]).view(1, 1, 1, 2)
    expected = ab_to_chroma(luma, torch.tensor([[60.0, -50.0], [40.0, 30.0]]).view(1, 2, 1, 2))
    assert_allclose(AnnealedMean(Fixed())(luma), expected, atol=1e-6)


def test_gradient_reaches_the_generator() -> None:
    network = striped()
    chroma = network(torch.rand(1, 1, 8, 8, generator=seeded()))
    gradients = torch.autograd.grad(chroma.pow(2).mean(), list(network.parameters()))
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients)


def test_autocast_changes_little() -> None:
    network, luma = striped(), torch.rand(1, 1, 16, 16, generator=seeded())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        fast = network(luma)
    assert fast.dtype == torch.float32
    assert_allclose(fast, network(luma).detach(), atol=0.02)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_temperature_must_be_positive(temperature: float) -> None:
    with pytest.raises(TrainingInputError, match="more than 0"):
        AnnealedMean(Striped(), temperature)


def exported(network: nn.Module) -> ort.InferenceSession:
    example = torch.rand(2, 1, 12, 20)
    shapes = {0: torch.export.Dim("batch"), 2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations inside the exporter
        program = torch.onnx.export(
            network, (example,), dynamo=True, dynamic_shapes=(shapes,), opset_version=20,
            input_names=["luma"], output_names=["chroma"], external_data=False, verbose=False,
        )  # fmt: skip
    assert program is not None
    return ort.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])


def test_onnx_computes_the_same_at_any_size() -> None:
    network = striped()
    session = exported(network)
    for shape in ((2, 1, 12, 20), (1, 1, 16, 8), (3, 1, 4, 28), (1, 1, 64, 64)):
        luma = torch.rand(shape, generator=seeded())
        (chroma,) = session.run(None, {"luma": luma.numpy()})
        assert_allclose(chroma, network(luma).detach(), atol=2e-5)


# Devices


@pytest.fixture
def no_cached_tables() -> Iterator[None]:
    colours._tables.cache_clear()
    yield
    colours._tables.cache_clear()


def everything(device: str) -> list[Tensor]:
    """Every public function, on inputs on a device."""
    rgb = photos().to(device)
    luma, ab = to_luma(rgb.cpu()).to(device), rgb_to_ab(rgb)
    logits = torch.randn(2, BINS, 24, 16, generator=seeded()).to(device).requires_grad_()
    weights = rarity(colour_histogram(ab))
    loss = class_cross_entropy(logits, ab, weights)
    (gradient,) = torch.autograd.grad(loss, logits)
    chroma = ab_to_chroma(luma, ab)
    return [ab, chroma, chroma_to_ab(luma, chroma), *soft_encode(ab), weights, pixel_rarity(ab, weights),
            loss.detach(), gradient, annealed_mean(logits.detach())]  # fmt: skip


@pytest.mark.usefixtures("no_cached_tables")
def test_constants_are_made_where_the_input_is() -> None:
    """A constant made on the default device instead would meet the inputs there, and raise."""
    expected = everything("cpu")
    colours._tables.cache_clear()
    rgb, logits = photos(), torch.randn(2, BINS, 24, 16, generator=seeded())
    ab = rgb_to_ab(rgb)
    luma = to_luma(rgb)
    with torch.device("meta"):
        weights = rarity(colour_histogram(rgb_to_ab(rgb)))
        loss = class_cross_entropy(logits, ab, weights)
        mean, chroma = annealed_mean(logits), ab_to_chroma(luma, ab)
    assert_allclose(weights, expected[5])
    assert_allclose(loss, expected[7], rtol=1e-6)
    assert_allclose(mean, expected[-1])
    assert_allclose(chroma, expected[1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_computes_what_the_cpu_computes() -> None:
    for ours, expected in zip(everything("cuda"), everything("cpu"), strict=True):
        assert ours.device.type == "cuda"
        if ours.dtype == torch.int64:  # rounding may move a colour over a cell's edge
            assert (ours.cpu() != expected).float().mean() < 1e-3
        else:
            assert_allclose(ours.cpu(), expected, atol=2e-3)


def test_buffers_follow_the_network() -> None:
    network = striped().double()
    assert network.centres.dtype == torch.float64
    assert network(torch.rand(1, 1, 8, 8, generator=seeded(), dtype=torch.float64)).dtype == torch.float64


@pytest.mark.usefixtures("no_cached_tables")
def test_tables_made_in_inference_mode_serve_training_too() -> None:
    with torch.inference_mode():
        soft_encode(one_pixel(0, 0))
    ab = one_pixel(3.0, 4.0).requires_grad_()
    assert torch.autograd.grad(soft_encode(ab)[1].pow(2).sum(), ab)[0].any()
