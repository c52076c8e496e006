"""Losses on chroma. Each takes predicted and true chroma, N2HW, Cb and Cr in -0.5..0.5."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from bwcolor_training.config import TrainConfig

Loss = Callable[[Tensor, Tensor, TrainConfig], Tensor]


def chroma_weight(truth: Tensor, config: TrainConfig) -> Tensor:
    """Colourful pixels weigh more, because plain regression fades to brown: N2HW -> N1HW."""
    chroma = 255 * truth.pow(2).sum(1, keepdim=True).sqrt()
    weight = config.chroma_weight_floor + chroma / config.chroma_weight_unit
    return weight.clamp(max=config.chroma_weight_cap)


def weighted_huber(predicted: Tensor, truth: Tensor, config: TrainConfig) -> Tensor:
    """Huber loss (Huber 1964; quadratic below huber_beta), each pixel weighted by its true chroma."""
    error = F.smooth_l1_loss(predicted, truth, reduction="none", beta=config.huber_beta)
    return (chroma_weight(truth, config) * error).mean()


def mse(predicted: Tensor, truth: Tensor, config: TrainConfig) -> Tensor:
    """Mean squared error."""
    return F.mse_loss(predicted, truth)


LOSSES: dict[str, Loss] = {"weighted-huber": weighted_huber, "mse": mse}
