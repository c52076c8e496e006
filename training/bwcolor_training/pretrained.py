"""ImageNet weights of torchvision's networks, downloaded on first use."""

import contextlib
import http.client
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import torch

from bwcolor_training.errors import TrainingInputError
from bwcolor_training.torchfile import UNREADABLE

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum  # half a second that runs without them need not wait


def download(weights: "WeightsEnum", file: str) -> dict[str, Any]:
    """The state dict of these weights, from torch's cache or, once, from torchvision's server; its hash is checked.

    file: what may be given instead, such as FILE.pth. Raises TrainingInputError, which names the ways out.
    """
    kept = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(weights.url).path).name
    damaged = f"{kept}: damaged, or can't be read. Delete it, and the encoder's weights are downloaded again."
    try:
        with contextlib.redirect_stdout(sys.stderr):  # torch says there what it downloads
            state: dict[str, Any] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (*UNREADABLE, http.client.HTTPException) as error:
        if kept.is_file():  # a download that fails leaves nothing
            raise TrainingInputError(damaged) from error
        raise TrainingInputError(
            f"The encoder's ImageNet weights could not be downloaded ({error}). Without a network,"
            f" give a file with --set encoder={file}, or start from random weights with --set encoder=none."
        ) from error
    if not isinstance(state, dict):
        raise TrainingInputError(damaged)
    return state
