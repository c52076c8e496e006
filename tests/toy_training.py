"""Training runs small enough for a test, in this process or, run as a program, in processes of their own."""

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bwcolor_training import loop, state
from bwcolor_training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from bwcolor_training.config import TrainConfig, from_mapping
from bwcolor_training.data import photo_sets, sampling
from bwcolor_training.networks import build
from bwcolor_training.networks.critic import PatchCritic
from bwcolor_training.reporting import progress
from bwcolor_training.reporting.progress import TrainingLog
from numpy.typing import NDArray
from torch import Tensor, distributed, nn

Patch = tuple[Any, str, Any]  # what to set an attribute of, its name, its value
EACH_STEP = 0.0  # as checkpoint_seconds: that much has passed after any step
UNTOUCHED: dict[str, Any] = {  # settings without which photos stay as they are
    "film_share": 0.0, "tone_jitter": 0.0, "fade": 0.0, "blur": 0.0, "grain": 0.0, "jpeg_share": 0.0,
    "dust_share": 0.0, "paper_share": 0.0, "frame_share": 0.0,
}  # fmt: skip
DAMAGED: dict[str, Any] = {  # settings with which each photo is damaged at random, in every way
    "film_share": 1.0, "tone_jitter": 0.3, "fade": 0.2, "blur": 0.01, "grain": 10.0, "jpeg_share": 0.5,
    "dust_share": 0.5, "paper_share": 0.5, "frame_share": 0.5,
}  # fmt: skip
# Settings of a small network without an encoder, and of a small critic.
CLASSIC: dict[str, Any] = {"generator": "classic-unet", "widths": (8, 16), "sizes": (16,)}
GAME: dict[str, Any] = {"losses": {"l1": 1.0, "bce": 0.1}, "critic_width": 8, "critic_levels": 1}


def colour_photo(number: int) -> NDArray[np.uint8]:
    """Bright orange over dark blue, so that luma tells the colour: (40 + number, 56, 3), RGB."""
    height, width = 40 + number, 56
    shade = np.add.outer(np.arange(height), np.arange(width)) % (7 + number)
    bright = (np.arange(height) < height // 2)[:, None, None]
    rgb = np.where(bright, (250, 180, 90), (20, 40, 120)) - shade[..., None]
    return np.asarray(rgb, np.uint8)


class NormFree(nn.Module):
    """A generator without batch norm: what a photo gets doesn't depend on the others of its batch."""

    stride = 1

    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(1, 8, 3, padding=1)
        self.head = nn.Sequential(nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, outputs, 1))

    def forward(self, luma: Tensor) -> Tensor:
        chroma: Tensor = self.head(self.encoder(luma))
        return 0.1 * chroma


def norm_free_critic(config: TrainConfig) -> PatchCritic:
    """The critic with nothing where its batch norms are."""
    critic = build.build_critic(config)
    for number, layer in enumerate(critic.layers):
        if isinstance(layer, nn.BatchNorm2d):
            critic.layers[number] = nn.Identity()
    return critic


class PowerCut(Exception):
    """Ends a run in its middle."""


class Recorder(TrainingLog):
    """A log that keeps every step's figures, and can cut the power before step `cut` is saved."""

    def __init__(self, folder: Path, cut: int = 0) -> None:
        super().__init__(folder, main=loop.is_main(), quiet=True)
        self.cut = cut
        self.losses: dict[int, float] = {}
        self.parts: dict[int, dict[str, float]] = {}
        self.rates: list[float] = []

    def step(self, step: int, progress: float, loss: float, losses: dict[str, float], rate: float, seen: int,
             seconds: float) -> None:  # fmt: skip
        super().step(step, progress, loss, losses, rate, seen, seconds)
        if step == self.cut:
            self.stop()
        self.losses[step] = loss
        self.parts[step] = losses
        self.rates.append(rate)

    def stop(self) -> None:
        raise PowerCut


class Killed(Recorder):
    """A log that leaves nothing to clean up: the process is gone as after kill -9."""

    def stop(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def run(photos: Path, out: Path, config: TrainConfig | None, *, cut: int = 0, resume: bool = False,
        log: Recorder | None = None, init_from: Path | None = None,
        minutes: float | None = None) -> Recorder:  # fmt: skip
    """Trains on a folder; what is decoded goes beside it."""
    source = loop.Source((str(photos),), photos.parent / "cache")
    log = log or Recorder(out, cut)
    with log:
        result = loop.train(
            source, out, config, resume=resume, init_from=init_from, minutes=minutes, log=log, device="cpu"
        )
    assert result == out / "model.pt"
    if loop.is_main():
        assert load_checkpoint(result).others is None
    return log


def records(out: Path, kind: str) -> list[dict[str, Any]]:
    """Those of metrics.jsonl that are of this kind."""
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for line in lines if (record := json.loads(line))["kind"] == kind]


def halves(photos: photo_sets.PhotoSet, numbers: photo_sets.Numbers, size: int, batch: int, min_scale: float, seed: int,
           first_step: int, weights: NDArray[np.float64] | None = None) -> Iterator[NDArray[np.uint8]]:  # fmt: skip
    """In place of data.batches: two processes get a half each of what one alone gets with the doubled batch."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    for whole in original_batches(photos, numbers, size, batch * world, min_scale, 0, first_step, weights):
        yield whole[rank * batch : (rank + 1) * batch]


original_batches = sampling.batches


PICTURES = ("draw_curves", "draw_samples", "write_report")
NO_PICTURES: list[Patch] = [(progress, name, lambda *_: None) for name in PICTURES]
# What makes several processes comparable to one.
COMPARABLE: list[Patch] = [
    (build, "GENERATORS", build.GENERATORS | {"norm-free": lambda config, pretrained, outputs: NormFree(outputs)}),
    (sampling, "batches", halves),
    (state, "build_critic", norm_free_critic),
    (progress, "LOG_STEPS", 1),
]


def apply(patches: list[Patch]) -> None:
    """For the rest of this process."""
    for place, name, value in patches:
        setattr(place, name, value)


def kill_while_saving(step: int) -> None:
    """Ends this process, as kill -9 does, when the checkpoint of `step` is written but not yet in its place."""

    def die(_: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def save_or_die(checkpoint: Checkpoint, path: Path) -> None:
        if checkpoint.step == step and path.name == "last.pt":
            apply([(os, "fsync", die)])
        save_checkpoint(checkpoint, path)

    apply([(state, "save_checkpoint", save_or_die)])


def in_processes(photos: Path, out: Path, settings: list[dict[str, Any]]) -> None:
    """Runs one after the other in the same group of processes: torchrun forms it only once."""
    begin, end = distributed.init_process_group, distributed.destroy_process_group

    def begin_once(*arguments: Any, **more: Any) -> None:
        if not distributed.is_initialized():
            begin(*arguments, **more)

    once: list[Patch] = [
        (distributed, "init_process_group", begin_once), (distributed, "destroy_process_group", lambda: None)
    ]  # fmt: skip
    apply(NO_PICTURES + COMPARABLE + once)
    for number, some in enumerate(settings):
        run(photos, out / str(number), from_mapping(some, "processes"))
    end()


def main(job: str, photos: Path, out: Path, settings: str, step: int) -> None:
    """job: "kill" before `step` is saved, "kill-while-saving" it, or one of several "processes" (settings: a list)."""
    if job == "processes":
        in_processes(photos, out, json.loads(settings))
        return
    config = dataclasses.replace(from_mapping(json.loads(settings), job), checkpoint_seconds=EACH_STEP)
    if job == "kill-while-saving":
        kill_while_saving(step)
    run(photos, out, config, log=Killed(out, step if job == "kill" else 0))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
