"""ImageNet weights of torchvision's networks, downloaded on first use."""

import contextlib
import http.client
import pickle
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import torch

from bwcolor_training.errors import TrainingInputError

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum  # half a second that runs without them need not wait

# What torch.load raises when a file is not what it reads.
UNREADABLE = (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError)


def download(weights: "WeightsEnum", file: str) -> dict[str, Any]:
    """The state dict of these weights, from torch's cache or, once, from torchvision's server; its hash is checked.

    file: what may be given instead, such as FILE.pth. Raises TrainingInputError, which names the ways out.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):  # torch says there what it downloads
            state: dict[str, Any] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (*UNREADABLE, http.client.HTTPException) as error:
        kept = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(weights.url).path).name
        if kept.is_file():  # a download that fails leaves nothing
            raise TrainingInputError(
                f"{kept}: damaged, or can't be read. Delete it, and the encoder's weights are downloaded again."
            ) from error
        raise TrainingInputError(
            f"The encoder's ImageNet weights could not be downloaded ({error}). Without a network,"
            f" give a file with --set encoder={file}, or start from random weights with --set encoder=none."
        ) from error
    return state
