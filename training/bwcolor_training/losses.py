"""Losses by name, and how they add up. All work on chroma in -1..1: twice the Cb, Cr in -0.5..0.5 of the rest."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from bwcolor_training import colours
from bwcolor_training.config import TrainConfig
from bwcolor_training.errors import TrainingInputError

CLASSES = "classes"


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What a batch really looks like. luma: N1HW in 0..1, BT.601. chroma: N2HW, Cb and Cr in -0.5..0.5."""

    luma: Tensor
    chroma: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """raw: what the network gave, N,C,H,W: chroma itself, or logits over colour classes. chroma: N2HW in -0.5..0.5."""

    raw: Tensor
    chroma: Tensor


def mse(predicted: Tensor, truth: Tensor, config: TrainConfig) -> Tensor:
    """Squared error, elementwise."""
    return (predicted - truth).square()


def l1(predicted: Tensor, truth: Tensor, config: TrainConfig) -> Tensor:
    """Absolute error, elementwise."""
    return (predicted - truth).abs()


def huber(predicted: Tensor, truth: Tensor, config: TrainConfig) -> Tensor:
    """Quadratic below huber_beta, linear above, elementwise (Huber 1964, scaled as in Girshick 2015)."""
    return F.smooth_l1_loss(predicted, truth, reduction="none", beta=config.huber_beta)


PIXEL: dict[str, Callable[[Tensor, Tensor, TrainConfig], Tensor]] = {"mse": mse, "l1": l1, "huber": huber}


@dataclass(frozen=True, slots=True)
class Adversary:
    """A game between generator and critic. critic: loss of its verdicts on real and made colours;
    generator: loss of the critic's verdicts on made ones. All from logits of any shape to a scalar."""

    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


def bce_critic(real: Tensor, made: Tensor) -> Tensor:
    """Goodfellow et al. 2014, halved as in pix2pix (Isola et al. 2017), so that the critic learns slower."""
    wrong = F.binary_cross_entropy_with_logits(made, torch.zeros_like(made))
    return 0.5 * (F.binary_cross_entropy_with_logits(real, torch.ones_like(real)) + wrong)


def bce_generator(made: Tensor) -> Tensor:
    """The non-saturating form: made colours should be called real."""
    return F.binary_cross_entropy_with_logits(made, torch.ones_like(made))


def hinge_critic(real: Tensor, made: Tensor) -> Tensor:
    """Lim and Ye 2017, "Geometric GAN"."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + made).mean())


def hinge_generator(made: Tensor) -> Tensor:
    """Lim and Ye 2017: the verdict itself."""
    return -made.mean()


ADVERSARIAL: dict[str, Adversary] = {
    "bce": Adversary(bce_critic, bce_generator),
    "hinge": Adversary(hinge_critic, hinge_generator),
}


def check_losses(config: TrainConfig) -> None:
    """Raises TrainingInputError for names that are no losses and for combinations that make no sense."""
    known = [*PIXEL, CLASSES, *ADVERSARIAL]
    for name in config.losses:
        if name not in known:
            raise TrainingInputError(f"loss {name!r} is unknown. Known: {', '.join(known)}.")
    if (CLASSES in config.losses) != (config.head == "classes"):
        raise TrainingInputError('The loss "classes" and head="classes" need each other.')
    if sum(name in ADVERSARIAL for name in config.losses) > 1:
        raise TrainingInputError(f"Only one of the losses {', '.join(ADVERSARIAL)} can be used at a time.")
    if all(name in ADVERSARIAL for name in config.losses):
        raise TrainingInputError(f"losses need one of {', '.join([*PIXEL, CLASSES])} beside the adversarial one.")


def adversary(config: TrainConfig) -> Adversary | None:
    """The game that the losses name, if any."""
    return next((ADVERSARIAL[name] for name in config.losses if name in ADVERSARIAL), None)


def needs_rarity(config: TrainConfig) -> bool:
    """Whether the losses need to know how rare each colour is in the photos."""
    return config.pixel_weight == "rare" or config.head == "classes"


def pixel_weight(truth: Truth, config: TrainConfig, rarity: Tensor | None) -> Tensor | float:
    """What each pixel's error weighs, N1HW or 1; see TrainConfig. Plain regression fades to brown: colourful
    or rare colours weigh more."""
    if config.pixel_weight == "chroma":
        chroma = 255 * truth.chroma.square().sum(1, keepdim=True).sqrt()
        weight = config.chroma_weight_floor + chroma / config.chroma_weight_unit
        return weight.clamp(max=config.chroma_weight_cap)
    if config.pixel_weight == "rare":
        assert rarity is not None
        return colours.pixel_rarity(colours.chroma_to_ab(truth.luma, truth.chroma), rarity)
    return 1.0


def over_photos(errors: Tensor, config: TrainConfig) -> Tensor:
    """The mean of elementwise errors NCHW, or, with a photo_knee, that of a robust function of each photo's mean.

    knee * log(1 + mean / knee): Cauchy's loss (Barron 2019, "A General and Adaptive Robust Loss Function", alpha 0). A
    photo that was guessed wrong counts little more than one that was guessed half wrong, so that the network decides
    instead of averaging; PSNR, a mean of logarithms, asks for the same.
    """
    if not config.photo_knee:
        return errors.mean()
    return config.photo_knee * torch.log1p(errors.mean((1, 2, 3)) / config.photo_knee).mean()


def pixel_losses(predicted: Predicted, truth: Truth, config: TrainConfig, rarity: Tensor | None) -> dict[str, Tensor]:
    """The recipe's losses but the adversarial ones, by name, before their weights; each a scalar."""
    weight = pixel_weight(truth, config, rarity)
    parts = {
        name: over_photos(weight * PIXEL[name](2 * predicted.chroma, 2 * truth.chroma, config), config)
        for name in config.losses
        if name in PIXEL
    }
    if CLASSES in config.losses:
        ab = colours.chroma_to_ab(truth.luma, truth.chroma)
        parts[CLASSES] = colours.class_cross_entropy(predicted.raw, ab, rarity)
    return parts


def colour_error(predicted: Tensor, truth: Truth, config: TrainConfig, rarity: Tensor | None) -> Tensor:
    """The weighted sum of the recipe's regression losses on chroma N2HW in -0.5..0.5; mean squared error where
    it has none. What validation compares between networks and with a constant colour."""
    weight = pixel_weight(truth, config, rarity)
    names = [name for name in config.losses if name in PIXEL] or ["mse"]
    parts = [
        config.losses.get(name, 1.0)
        * over_photos(weight * PIXEL[name](2 * predicted, 2 * truth.chroma, config), config)
        for name in names
    ]
    return torch.stack(parts).sum()


def total(parts: dict[str, Tensor], config: TrainConfig) -> Tensor:
    """The sum of losses by name, each times its weight in the recipe."""
    return torch.stack([config.losses[name] * value for name, value in parts.items()]).sum()
