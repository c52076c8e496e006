"""Scores of a network on the photos kept for validation."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bwcolor.color import compose, luma
from bwcolor.evaluate import square
from bwcolor.metrics import Summary, score, summarize
from bwcolor_training.data import PhotoSet

VALIDATION_SIZE = 128  # px; centre crop to a square, area resize
VALIDATION_PHOTOS = 128  # at most: more would slow training down on two cores


@torch.no_grad()
def validate(network: nn.Module, photos: PhotoSet, numbers: NDArray[np.int64], device: torch.device) -> Summary | None:
    """Colorizes BT.601 gray versions of the validation photos and scores them; None without any."""
    scores = []
    for number in numbers[:VALIDATION_PHOTOS]:
        truth = square(photos.photo(int(number)), VALIDATION_SIZE)
        y = np.round(luma(truth.astype(np.float32))) / np.float32(255)
        with torch.autocast(device.type, torch.bfloat16):
            chroma = network(torch.from_numpy(y)[None, None].to(device))
        rgb = compose(y, chroma[0].float().permute(1, 2, 0).cpu().numpy())
        scores.append(score(np.round(255 * rgb).astype(np.uint8), truth))
    return summarize(scores) if scores else None
