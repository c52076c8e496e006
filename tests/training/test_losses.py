"""Losses, worked out by hand."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from bwcolor_training import colours
from bwcolor_training.config import TrainConfig
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.losses import (
    ADVERSARIAL,
    PIXEL,
    Predicted,
    Truth,
    adversary,
    check_losses,
    colour_error,
    needs_rarity,
    pixel_losses,
    pixel_weight,
    total,
)
from numpy.testing import assert_allclose
from torch import Tensor

ALONE: dict[str, Any] = {"recipe": "a test"}
CHROMA_WEIGHTED: dict[str, Any] = {
    "pixel_weight": "chroma", "chroma_weight_floor": 0.5, "chroma_weight_unit": 15.0, "chroma_weight_cap": 4.0,
}  # fmt: skip


def chroma(cb: float, cr: float) -> Tensor:
    """One colour everywhere, in -0.5..0.5: (1, 2, 3, 3)."""
    return torch.tensor([cb, cr]).view(1, 2, 1, 1).expand(1, 2, 3, 3)


def truth(cb: float, cr: float, luma: float = 0.5) -> Truth:
    return Truth(torch.full((1, 1, 3, 3), luma), chroma(cb, cr))


def predicted(cb: float, cr: float) -> Predicted:
    return Predicted(chroma(cb, cr), chroma(cb, cr))


def config(**settings: Any) -> TrainConfig:
    return dataclasses.replace(TrainConfig(), **(ALONE | settings))


@pytest.mark.parametrize(
    ("name", "error", "expected"),
    [
        ("mse", 0.1, 0.2**2),  # errors count in -1..1, twice those in -0.5..0.5
        ("mse", -0.5, 1.0),
        ("l1", 0.1, 0.2),
        ("l1", -0.5, 1.0),
        ("huber", 0.0, 0.0),
        ("huber", 0.02, 0.5 * 0.04**2 / 0.1),
        ("huber", 0.05, 0.5 * 0.1),
        ("huber", -0.1, 0.2 - 0.5 * 0.1),
    ],
)
def test_pixel_losses_of_one_channel(name: str, error: float, expected: float) -> None:
    """Cr is right, so the mean over both channels is half of Cb's loss."""
    settings = config(losses={name: 3.0}, huber_beta=0.1)
    parts = pixel_losses(predicted(0.1 + error, -0.2), truth(0.1, -0.2), settings, None)
    assert list(parts) == [name]
    assert parts[name].shape == ()
    assert_allclose(parts[name], expected / 2, rtol=1e-5, atol=1e-9)
    assert_allclose(total(parts, settings), 3 * expected / 2, rtol=1e-5, atol=1e-9)


def test_errors_of_both_channels_and_all_pixels_are_averaged() -> None:
    shown = chroma(0.2, 0.1).clone()
    shown[0, :, 0, 0] = torch.tensor([0.1, 0.3])  # the only pixel with an error: (0.2, 0.4) in -1..1
    parts = pixel_losses(Predicted(shown, shown), truth(0.2, 0.1), config(losses={"mse": 1.0, "l1": 1.0}), None)
    assert_allclose(parts["mse"], (0.04 + 0.16) / 18, rtol=1e-5)
    assert_allclose(parts["l1"], (0.2 + 0.4) / 18, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(PIXEL))
@pytest.mark.parametrize("weight", ["none", "chroma", "rare"])
def test_losses_vanish_at_the_truth_and_have_a_gradient_elsewhere(name: str, weight: str) -> None:
    settings = config(losses={name: 1.0}, pixel_weight=weight)
    rarity = torch.full((colours.BINS,), 2.0)
    assert pixel_losses(predicted(0.1, -0.2), truth(0.1, -0.2), settings, rarity)[name] == 0
    shown = torch.zeros(1, 2, 3, 3, requires_grad=True)
    pixel_losses(Predicted(shown, shown), truth(0.1, -0.2), settings, rarity)[name].backward()  # type: ignore[no-untyped-call]
    assert shown.grad is not None
    assert (shown.grad[:, 0] < 0).all(), "more Cb is wanted"
    assert (shown.grad[:, 1] > 0).all(), "less Cr is wanted"


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
    weights = pixel_weight(truth(cb, cr), config(**CHROMA_WEIGHTED), None)
    assert isinstance(weights, Tensor)
    assert weights.shape == (1, 1, 3, 3)
    assert_allclose(weights, weight, rtol=1e-5)


def test_the_weight_is_that_of_the_truth() -> None:
    settings = config(losses={"l1": 1.0}, **CHROMA_WEIGHTED)
    red = (0, 30 / 255)
    gray_shown = pixel_losses(predicted(0, 0), truth(*red), settings, None)["l1"]
    red_shown = pixel_losses(predicted(*red), truth(0, 0), settings, None)["l1"]
    assert_allclose(gray_shown, 5 * red_shown, rtol=1e-5)


def test_rare_colours_weigh_as_much_as_they_are_rare() -> None:
    """The first pixel is gray, the others are red; red's bin weighs 7, all else 1."""
    settings = config(losses={"l1": 1.0}, pixel_weight="rare")
    real = truth(-0.1, 0.25)
    real.chroma.data = real.chroma.clone()
    real.chroma[0, :, 0, 0] = 0
    ab = colours.chroma_to_ab(real.luma, real.chroma)[0, :, 1, 1]
    rarity = torch.ones(colours.BINS)
    rarity[(colours.bin_centres() - ab).square().sum(1).argmin()] = 7.0
    weights = pixel_weight(real, settings, rarity)
    assert isinstance(weights, Tensor)
    assert weights.flatten().tolist() == [1.0, *8 * [7.0]]
    shown = Predicted(real.chroma + 0.1, real.chroma + 0.1)  # everywhere wrong by 0.2 of 1
    assert_allclose(pixel_losses(shown, real, settings, rarity)["l1"], 0.2 * (1 + 8 * 7) / 9, rtol=1e-5)
    plain = dataclasses.replace(settings, pixel_weight="none")
    assert_allclose(pixel_losses(shown, real, plain, rarity)["l1"], 0.2, rtol=1e-5)
    assert pixel_weight(real, plain, rarity) == 1.0


def test_only_losses_that_ask_get_the_rarity() -> None:
    assert not needs_rarity(config())
    assert needs_rarity(config(pixel_weight="rare"))
    assert needs_rarity(config(head="classes", losses={"classes": 1.0}))


def test_classes_are_the_cross_entropy_of_the_raw_output() -> None:
    settings = config(head="classes", losses={"classes": 2.0, "l1": 1.0})
    real = truth(-0.1, 0.25)
    undecided = Predicted(torch.zeros(1, colours.BINS, 3, 3), real.chroma)
    parts = pixel_losses(undecided, real, settings, torch.ones(colours.BINS))
    assert_allclose(parts["classes"], math.log(colours.BINS), rtol=1e-5)
    assert parts["l1"] == 0, "that one is of the decoded chroma"
    rarer = pixel_losses(undecided, real, settings, torch.full((colours.BINS,), 3.0))
    assert_allclose(rarer["classes"], 3 * math.log(colours.BINS), rtol=1e-5)
    assert_allclose(total(parts, settings), 2 * math.log(colours.BINS), rtol=1e-5)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ({"l1": 100.0}, 100 * 0.1),
        ({"l1": 100.0, "mse": 1.0}, 100 * 0.1 + 0.02),
        ({"l1": 100.0, "hinge": 5.0}, 100 * 0.1),
        ({"classes": 1.0}, 0.02),  # none on chroma: mean squared error
    ],
)
def test_the_colour_error_is_that_of_the_losses_on_chroma(losses: dict[str, float], expected: float) -> None:
    """Cb is wrong by 0.2 of -1..1."""
    assert_allclose(colour_error(chroma(0.2, 0.1), truth(0.1, 0.1), config(losses=losses), None), expected, rtol=1e-5)


def test_the_total_is_the_sum_of_weighted_parts() -> None:
    settings = config(losses={"l1": 100.0, "bce": 0.5})
    assert total({"l1": torch.tensor(0.25)}, settings) == 25.0
    assert total({"l1": torch.tensor(0.25), "bce": torch.tensor(4.0)}, settings) == 27.0


def logits(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1).requires_grad_()


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_bce_by_hand() -> None:
    game = ADVERSARIAL["bce"]
    expected = 0.5 * ((softplus(-2) + softplus(1)) / 2 + (softplus(0.5) + softplus(-3)) / 2)
    assert_allclose(game.critic(logits(2, -1), logits(0.5, -3)).detach(), expected, rtol=1e-6)
    assert_allclose(game.generator(logits(0.5, -3)).detach(), (softplus(-0.5) + softplus(3)) / 2, rtol=1e-6)


def test_hinge_by_hand() -> None:
    game = ADVERSARIAL["hinge"]
    # real: relu(1 - 2), relu(1 + 1); made: relu(1 + 0.5), relu(1 - 3)
    assert_allclose(game.critic(logits(2, -1), logits(0.5, -3)).detach(), 0.5 * ((0 + 2) / 2 + (1.5 + 0) / 2))
    assert_allclose(game.generator(logits(0.5, -3)).detach(), (-0.5 + 3) / 2)


@pytest.mark.parametrize("name", sorted(ADVERSARIAL))
def test_critic_and_generator_pull_at_the_verdicts_from_opposite_sides(name: str) -> None:
    """A step against the gradient raises the verdict on true colours and lowers that on made ones; the generator
    raises the latter. Both pull hardest, or as hard as ever, where they are most wrong."""
    game, real, made = ADVERSARIAL[name], logits(-0.5, 0.5), logits(-0.5, 0.5)
    game.critic(real, made).backward()  # type: ignore[no-untyped-call]
    assert real.grad is not None
    assert made.grad is not None
    assert (real.grad < 0).all()
    assert (made.grad > 0).all()
    assert abs(real.grad[..., 0]) >= abs(real.grad[..., 1])
    assert abs(made.grad[..., 0]) <= abs(made.grad[..., 1])
    made = logits(-0.5, 0.5)
    game.generator(made).backward()  # type: ignore[no-untyped-call]
    assert made.grad is not None
    assert (made.grad < 0).all()
    assert abs(made.grad[..., 0]) >= abs(made.grad[..., 1])


@pytest.mark.parametrize("name", sorted(ADVERSARIAL))
def test_an_undecided_critic_can_learn(name: str) -> None:
    real = logits(0.0, 0.0)
    ADVERSARIAL[name].critic(real, logits(0.0, 0.0)).backward()  # type: ignore[no-untyped-call]
    assert real.grad is not None
    assert_allclose(real.grad, -0.125 if name == "bce" else -0.25)  # half of the mean's half, times sigmoid(0) = 0.5


@pytest.mark.parametrize(
    ("losses", "head", "words"),
    [
        ({"mse": 1.0, "ssim": 1.0}, "chroma", "'ssim' is unknown. Known: mse, l1, huber, classes, bce, hinge"),
        ({"classes": 1.0}, "chroma", "need each other"),
        ({"mse": 1.0}, "classes", "need each other"),
        ({"mse": 1.0, "bce": 1.0, "hinge": 1.0}, "chroma", "Only one of the losses bce, hinge"),
        ({"bce": 1.0}, "chroma", "need one of mse, l1, huber, classes"),
        ({"hinge": 1.0}, "chroma", "need one of mse, l1, huber, classes"),
    ],
)
def test_losses_that_make_no_sense_are_refused(losses: dict[str, float], head: str, words: str) -> None:
    with pytest.raises(TrainingInputError, match=words):
        check_losses(config(losses=losses, head=head))


@pytest.mark.parametrize(
    ("losses", "head"),
    [
        ({"mse": 1.0}, "chroma"),
        ({"mse": 1.0, "l1": 1.0, "huber": 1.0}, "chroma"),
        ({"huber": 1.0, "bce": 0.01}, "chroma"),
        ({"classes": 1.0}, "classes"),
        ({"classes": 1.0, "l1": 1.0, "hinge": 0.1}, "classes"),
    ],
)
def test_all_else_can_be_combined(losses: dict[str, float], head: str) -> None:
    check_losses(config(losses=losses, head=head))


def test_the_game_is_the_one_that_is_named() -> None:
    assert adversary(config(losses={"l1": 1.0})) is None
    assert adversary(config(losses={"l1": 1.0, "bce": 0.1})) is ADVERSARIAL["bce"]
    assert adversary(config(losses={"hinge": 0.1, "l1": 1.0})) is ADVERSARIAL["hinge"]


def test_beyond_the_knee_a_photo_counts_by_its_logarithm() -> None:
    """Cauchy's loss of each photo's mean, by hand for one right and one wrong photo."""
    zeros = torch.zeros(2, 2, 3, 3)
    wrong = torch.cat([chroma(0.0, 0.0), chroma(0.1, 0.1)])
    shown = Truth(torch.full((2, 1, 3, 3), 0.5), zeros)
    settings = {"losses": {"mse": 1.0}, "pixel_weight": "none"}
    error = 0.2**2
    (plain,) = pixel_losses(Predicted(wrong, wrong), shown, config(**settings), None).values()
    assert float(plain) == pytest.approx(error / 2)
    knee = 0.001
    robust = config(**settings, photo_knee=knee)
    (value,) = pixel_losses(Predicted(wrong, wrong), shown, robust, None).values()
    assert float(value) == pytest.approx(knee * math.log(1 + error / knee) / 2, rel=1e-5)
    assert float(colour_error(wrong, shown, robust, None)) == pytest.approx(float(value), rel=1e-6)
    small = 1e-3 * wrong
    (as_plain,) = pixel_losses(Predicted(small, small), shown, robust, None).values()
    assert float(as_plain) == pytest.approx(1e-6 * error / 2, rel=1e-3)
