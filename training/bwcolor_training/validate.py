"""Scores of a generator on the photos kept for validation, and what those photos look like."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bwcolor.checks.evaluate import square
from bwcolor.imaging.color import compose, luma
from bwcolor.imaging.metrics import Summary, score, summarize
from bwcolor_training.config import TrainConfig
from bwcolor_training.data import degrade
from bwcolor_training.data.photo_sets import PhotoSet
from bwcolor_training.losses import Predicted, Truth, colour_error, pixel_losses
from bwcolor_training.networks.build import decode
from bwcolor_training.precision import autocast
from bwcolor_training.reporting.plots import Sample

VALIDATION_PHOTOS = 128  # at most: more would slow training down on two cores
SAMPLES = 16  # of them are shown


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """summary: PSNR, CIEDE2000, colourfulness. losses: by name, before their weights. loss: the colour error of
    losses.colour_error; mean_colour_loss: the same with the mean colour of the training photos everywhere.
    samples: the first photos, to look at."""

    summary: Summary
    losses: dict[str, float]
    loss: float
    mean_colour_loss: float
    samples: list[Sample]


@torch.no_grad()
def validate(network: nn.Module, photos: PhotoSet, numbers: NDArray[np.int64], config: TrainConfig, *,
             mean_chroma: Tensor, rarity: Tensor | None, device: torch.device) -> Validation | None:  # fmt: skip
    """Colorizes BT.601 gray versions of the validation photos, centre squares of `config.validation_size` px, and
    scores them; None without any. mean_chroma: (2,), of the training photos. rarity: (Q,) or None."""
    scores, figures = [], []
    samples: list[Sample] = []
    for number in numbers[:VALIDATION_PHOTOS]:
        rgb = square(photos.photo(int(number)), config.validation_size)
        gray = np.round(luma(rgb.astype(np.float32))).astype(np.uint8)
        fed = torch.from_numpy(gray).to(device)[None, None].float() / 255
        if config.full_tones:
            fed = degrade.full_tones(fed)
        with autocast(config, device):
            raw = network(fed)
        raw = raw.float()
        predicted = Predicted(raw, decode(raw, fed, config))
        colours = torch.from_numpy(rgb).to(device).permute(2, 0, 1)[None].float() / 255
        truth = Truth(degrade.to_luma(colours), degrade.to_chroma(colours))
        parts = pixel_losses(predicted, truth, config, rarity)
        mean = mean_chroma.to(device).view(1, 2, 1, 1).expand_as(predicted.chroma)
        figures.append(
            {name: float(value) for name, value in parts.items()}
            | {
                "": float(colour_error(predicted.chroma, truth, config, rarity)),
                "mean colour": float(colour_error(mean, truth, config, rarity)),
            }
        )
        chroma = predicted.chroma[0].permute(1, 2, 0).cpu().numpy()
        composed = compose((gray / 255).astype(np.float32), chroma)
        output = np.round(255 * composed).astype(np.uint8)
        scores.append(score(output, rgb))
        if len(samples) < SAMPLES:
            samples.append(Sample(photos.names[int(number)], gray, output, rgb))
    if not scores:
        return None
    losses = {name: float(np.mean([row[name] for row in figures])) for name in figures[0]}
    loss, mean_colour = losses.pop(""), losses.pop("mean colour")
    return Validation(summarize(scores), losses, loss, mean_colour, samples)
