"""Losses, worked out by hand."""

import pytest
import torch
from bwcolor_training.config import TrainConfig
from bwcolor_training.losses import LOSSES, chroma_weight, mse, weighted_huber
from numpy.testing import assert_allclose
from torch import Tensor

CONFIG = TrainConfig(
    huber_beta=0.05, chroma_weight_floor=0.5, chroma_weight_unit=15.0, chroma_weight_cap=4.0
)  # fmt: skip


def chroma(cb: float, cr: float) -> Tensor:
    """One colour everywhere: (1, 2, 3, 3)."""
    return torch.tensor([cb, cr]).view(1, 2, 1, 1).expand(1, 2, 3, 3)


@pytest.mark.parametrize(
    ("cb", "cr", "weight"),
    [
        (0, 0, 0.5),
        (30 / 255, 0, 2.5),
        (18 / 255, -24 / 255, 2.5),  # 30 levels away from gray
        (0.5, 0.5, 4.0),  # 180 levels: the cap
    ],
)
def test_colourful_pixels_weigh_more(cb: float, cr: float, weight: float) -> None:
    weights = chroma_weight(chroma(cb, cr), CONFIG)
    assert weights.shape == (1, 1, 3, 3)
    assert_allclose(weights, weight, rtol=1e-5)


@pytest.mark.parametrize(
    ("error", "huber"),
    [
        (0.0, 0.0),
        (0.02, 0.5 * 0.02**2 / 0.05),
        (0.05, 0.5 * 0.05),
        (-0.1, 0.1 - 0.5 * 0.05),
    ],
)
def test_weighted_huber_of_one_channel(error: float, huber: float) -> None:
    """Cr is right, so the mean over both channels is half of Cb's loss."""
    truth = chroma(30 / 255, 0)
    loss = weighted_huber(truth + chroma(error, 0), truth, CONFIG)
    assert_allclose(loss, 2.5 * huber / 2, rtol=1e-4, atol=1e-9)


def test_the_weight_is_that_of_the_truth() -> None:
    gray, red = chroma(0, 0), chroma(0, 30 / 255)
    assert_allclose(weighted_huber(gray, red, CONFIG), 5 * weighted_huber(red, gray, CONFIG), rtol=1e-5)


def test_mse_by_hand() -> None:
    assert_allclose(mse(chroma(0.1, 0.3), chroma(0.2, 0.1), CONFIG), (0.01 + 0.04) / 2, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_losses_vanish_at_the_truth_and_have_a_gradient_elsewhere(name: str) -> None:
    truth = chroma(0.1, -0.2)
    assert LOSSES[name](truth, truth, CONFIG) == 0
    predicted = torch.zeros(1, 2, 3, 3, requires_grad=True)
    LOSSES[name](predicted, truth, CONFIG).backward()  # type: ignore[no-untyped-call]
    assert predicted.grad is not None
    assert (predicted.grad[:, 0] < 0).all(), "more Cb is wanted"
    assert (predicted.grad[:, 1] > 0).all(), "less Cr is wanted"
