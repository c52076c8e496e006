"""A checkpoint holds all that a run needs to go on, and describes itself."""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bwcolor_training.config import TrainConfig, from_mapping
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.torchfile import read_torch_file

KIND = "bwcolor-checkpoint-"
FORMAT = KIND + "2"


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """State of a run after `step` steps.

    data: a sentence on the photos. photos: training crops seen. seconds: wall time of training so far,
    cpu_seconds: processor time over all processes. best: smallest validation loss so far. network: weights as
    trained. ema: their moving average, which export uses. mean_chroma: (2,), Cb and Cr in -0.5..0.5, mean of the
    photos to train on. rarity: (Q,), what each colour class weighs, or None where the losses don't ask.
    others: state of optimisers, critic and loss scaler; None in a file that was made small to start another
    run from.
    """

    config: TrainConfig
    data: str
    step: int
    photos: int
    seconds: float
    cpu_seconds: float
    best: float
    network: dict[str, torch.Tensor]
    ema: dict[str, torch.Tensor]
    mean_chroma: torch.Tensor
    rarity: torch.Tensor | None
    others: dict[str, Any] | None


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Writes atomically: the last good file survives a full disk or a kill."""
    part = path.with_name(f".{path.name}.part")
    content = {field.name: getattr(checkpoint, field.name) for field in dataclasses.fields(checkpoint)}
    content |= {"format": FORMAT, "config": dataclasses.asdict(checkpoint.config)}
    try:
        with part.open("wb") as out:
            torch.save(content, out)
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a failed write as RuntimeError
        part.unlink(missing_ok=True)
        raise TrainingInputError(f"{path}: could not be written ({error}). Free some space and --resume.") from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint without running code from it; raises TrainingInputError when it is none."""
    if not path.is_file():
        raise TrainingInputError(f"{path}: no such checkpoint.")
    content = read_torch_file(path, "not a checkpoint of bwcolor train, or damaged.")
    if not isinstance(content, dict) or not str(content.get("format")).startswith(KIND):
        raise TrainingInputError(
            f"{path}: not a checkpoint of bwcolor train. A plain state dict is exported with --arch RECIPE."
        )
    if content.pop("format") != FORMAT:
        raise TrainingInputError(f"{path}: a checkpoint of another version of bwcolor.")
    try:
        config = from_mapping(content.pop("config"), str(path))
        return Checkpoint(config=config, **content)
    except (KeyError, TypeError, AttributeError) as error:
        raise TrainingInputError(f"{path}: a checkpoint of another version of bwcolor ({error}).") from error


def load_weights(network: nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Fills a network with weights, fp16 or fp32, of the checkpoint `path`; TrainingInputError when they don't fit."""
    try:
        network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in weights.items()})
    except RuntimeError as error:  # its text is a list of all names
        raise TrainingInputError(f"{path}: its weights are those of another network than the settings name.") from error


def shrink(checkpoint: Checkpoint) -> Checkpoint:
    """The moving average alone, in fp16: small enough to publish, enough to start another run."""
    half = {name: t.half() if t.is_floating_point() else t for name, t in checkpoint.ema.items()}
    return dataclasses.replace(checkpoint, network={}, ema=half, others=None)


def averaged(paths: Sequence[Path]) -> Checkpoint:
    """One checkpoint, weights only, with the mean of several ones' moving averages, and what all of them say of their
    photos; all else is the first one's.

    Wortsman et al. 2022, "Model soups": runs that started from the same weights end in one basin, and the mean of what
    they found generalises better than each. Runs with starts of their own have no mean that means anything. Raises
    TrainingInputError when a file is no checkpoint, or one of another network.
    """
    found = [load_checkpoint(path) for path in paths]
    first = found[0]
    shapes = {name: weight.shape for name, weight in first.ema.items()}
    for path, other in zip(paths, found, strict=True):
        if not other.ema or not all(weight.isfinite().all() for weight in other.ema.values()):
            raise TrainingInputError(f"{path}: holds no weights, or some that are no numbers.")
        if {name: weight.shape for name, weight in other.ema.items()} != shapes:
            raise TrainingInputError(f"{path}: weights of another network than {paths[0]}; they have no mean.")
    mean = {
        name: torch.stack([one.ema[name].float() for one in found]).mean(0) if weight.is_floating_point() else weight
        for name, weight in first.ema.items()
    }
    data = "; ".join(dict.fromkeys(one.data for one in found))
    return shrink(dataclasses.replace(first, ema=mean, data=data))
