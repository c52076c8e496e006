"""The state of a run: how it begins, how it is saved and resumed, what its schedule says at a moment."""

import copy
import dataclasses
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bwcolor_training import colours
from bwcolor_training.checkpoint import Checkpoint, load_checkpoint, load_weights, save_checkpoint
from bwcolor_training.config import TrainConfig
from bwcolor_training.data import degrade
from bwcolor_training.data.photo_sets import PhotoSet
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.losses import adversary, check_losses, needs_rarity
from bwcolor_training.networks.build import build_critic, build_generator
from bwcolor_training.networks.critic import PatchCritic
from bwcolor_training.precision import loss_scaler

# What shapes a network and what it was made from; comes with weights that a run starts from.
NETWORK_SETTINGS = (
    "generator", "encoder", "convention", "widths", "skip_widths", "attention", "ending", "queries",
    "fixed_blocks", "upsampling", "head",
)  # fmt: skip
SURVEYED = 2000  # photos, at most, that the mean colour and the rarity of colours are taken from
SURVEYED_SIDE = 32  # pixels along the short side that are looked at


@dataclass(slots=True, eq=False)
class Run:
    """All that changes while training, and what it was told.

    step: optimiser steps done. photos: crops seen. best: smallest validation loss. started: monotonic second at
    which step 0 would have begun had the run never been stopped. cpu_seconds: of all processes, up to the process
    time `cpu_started`. critic, critic_optimizer: None without an adversarial loss.
    """

    config: TrainConfig
    last: Path
    data: str
    world: int
    network: nn.Module
    ema: nn.Module
    optimizer: torch.optim.Optimizer
    critic: PatchCritic | None
    critic_optimizer: torch.optim.Optimizer | None
    scaler: torch.amp.GradScaler
    mean_chroma: Tensor
    rarity: Tensor | None
    step: int = 0
    photos: int = 0
    best: float = math.inf
    cpu_seconds: float = 0.0
    started: float = dataclasses.field(default_factory=time.monotonic)
    cpu_started: float = dataclasses.field(default_factory=time.process_time)

    def seconds(self) -> float:
        """Wall time of training, interruptions left out."""
        return time.monotonic() - self.started

    def checkpoint(self) -> Checkpoint:
        """All that `train` needs to resume."""
        others = {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}
        if self.critic is not None and self.critic_optimizer is not None:
            others |= {"critic": self.critic.state_dict(), "critic_optimizer": self.critic_optimizer.state_dict()}
        cpu_seconds = self.cpu_seconds + self.world * (time.process_time() - self.cpu_started)
        return Checkpoint(
            self.config, self.data, self.step, self.photos, self.seconds(), cpu_seconds, self.best,
            self.network.state_dict(), self.ema.state_dict(), self.mean_chroma, self.rarity, others,
        )  # fmt: skip

    def save(self) -> None:
        """Writes all of it to `last`, from which `train` can resume."""
        save_checkpoint(self.checkpoint(), self.last)


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """What a new run begins with, before any photo is read. init_from: a checkpoint, or None; source: its file."""

    config: TrainConfig
    init_from: Checkpoint | None = None
    source: Path | None = None


def start(config: TrainConfig, init_from: Path | None) -> Start:
    """Checks that settings and networks fit one another; nothing is downloaded for that.

    init_from: a checkpoint whose moving average gives the weights; the settings that shape a network come with them.
    """
    first = load_checkpoint(init_from) if init_from is not None else None
    if first is not None and first.config.generator != config.generator:
        raise TrainingInputError(
            f"{init_from}: weights of a {first.config.generator}, but recipe {config.recipe} trains a"
            f" {config.generator}: choose the recipe that they are from."
        )
    if first is not None:
        config = dataclasses.replace(config, **{name: getattr(first.config, name) for name in NETWORK_SETTINGS})
    check_losses(config)
    published = ("torchvision", "package", "none")
    if first is None and config.encoder not in published and not Path(config.encoder).is_file():
        raise TrainingInputError(f"{config.encoder}: no such encoder file. Check --set encoder=FILE.")
    with torch.device("meta"):  # takes neither time nor memory
        build_generator(config, pretrained=False)
        if adversary(config) is not None:
            build_critic(config)
    return Start(config, first, init_from)


def first_state(begun: Start, last: Path, data: str, photos: PhotoSet, numbers: NDArray[np.int64], world: int,
                device: torch.device) -> Run:  # fmt: skip
    """Step 0 of a new run. What the weights that it starts from cost is part of what its own cost.

    numbers: of the photos to train on.
    """
    config, first = _in_steps(begun.config, len(numbers), world), begun.init_from
    torch.manual_seed(config.seed)
    network = build_generator(config, pretrained=first is None)
    if first is not None and begun.source is not None:
        load_weights(network, first.ema, begun.source)
    mean_chroma, rarity = _survey(photos, numbers, config)
    run = _assemble(config, last, data, network, mean_chroma, rarity, world, device)
    if first is not None:
        run.cpu_seconds, run.photos = first.cpu_seconds, first.photos
    return run


def _in_steps(config: TrainConfig, photos: int, world: int) -> TrainConfig:
    """The config with its length in steps, where it was told in passes over the photos."""
    if not config.epochs:
        return config
    crops = world * sum(share * batch for share, batch in zip(config.shares, config.batches, strict=True))
    return dataclasses.replace(config, steps=max(1, math.ceil(config.epochs * photos / crops)))


def resumed_state(previous: Checkpoint, last: Path, world: int, device: torch.device) -> Run:
    """The state in which a run was saved."""
    if previous.others is None:
        raise TrainingInputError(f"{last} holds weights only: use it with --init-from instead of --resume.")
    torch.manual_seed(previous.config.seed)
    network = build_generator(previous.config, pretrained=False)
    run = _assemble(previous.config, last, previous.data, network, previous.mean_chroma, previous.rarity, world, device)
    load_weights(run.network, previous.network, last)
    load_weights(run.ema, previous.ema, last)
    run.optimizer.load_state_dict(previous.others["optimizer"])
    run.scaler.load_state_dict(previous.others["scaler"])
    if run.critic is not None and run.critic_optimizer is not None:
        load_weights(run.critic, previous.others["critic"], last)
        run.critic_optimizer.load_state_dict(previous.others["critic_optimizer"])
    run.step, run.photos, run.best = previous.step, previous.photos, previous.best
    run.cpu_seconds, run.started = previous.cpu_seconds, time.monotonic() - previous.seconds
    return run


def _assemble(config: TrainConfig, last: Path, data: str, network: nn.Module, mean_chroma: Tensor,
              rarity: Tensor | None, world: int, device: torch.device) -> Run:  # fmt: skip
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    critic = critic_optimizer = None
    if adversary(config) is not None:
        critic = build_critic(config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        critic_optimizer = _optimizer([{"params": list(critic.parameters())}], config)
    encoder = [p for name, p in network.named_parameters() if name.startswith("encoder.")]
    others = [p for name, p in network.named_parameters() if not name.startswith("encoder.")]
    groups = [{"params": others}, *([{"params": encoder}] if encoder else [])]  # as set_learning_rates expects
    return Run(
        config, last, data, world, network, copy.deepcopy(network).eval().requires_grad_(False),
        _optimizer(groups, config), critic, critic_optimizer, loss_scaler(config, device),
        mean_chroma, None if rarity is None else rarity.to(device),
    )  # fmt: skip


def _optimizer(groups: list[dict[str, list[nn.Parameter]]], config: TrainConfig) -> torch.optim.Optimizer:
    kinds: dict[str, type[torch.optim.Adam]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    return kinds[config.optimizer](
        groups, lr=config.learning_rate, betas=(config.beta1, 0.999), weight_decay=config.weight_decay
    )


def _survey(photos: PhotoSet, numbers: NDArray[np.int64], config: TrainConfig) -> tuple[Tensor, Tensor | None]:
    """Mean Cb and Cr of the photos to train on and, where the losses ask, what each colour class weighs."""
    chosen = numbers[np.linspace(0, len(numbers) - 1, min(SURVEYED, len(numbers))).astype(int)]
    total, counts = torch.zeros(2, dtype=torch.float64), torch.zeros(len(colours.bin_centres()), dtype=torch.float64)
    for number in chosen:
        rgb = torch.from_numpy(photos.photo(int(number)).copy()).permute(2, 0, 1)[None].float() / 255
        every = max(1, min(rgb.shape[-2:]) // SURVEYED_SIDE)
        rgb = rgb[..., ::every, ::every]  # picked, not averaged: averages are grayer than pixels
        total += degrade.to_chroma(rgb).mean((0, 2, 3))
        if needs_rarity(config):
            counts += colours.colour_histogram(colours.rgb_to_ab(rgb))
    mean = (total / len(chosen)).float()
    if not needs_rarity(config):
        return mean, None
    return mean, colours.rarity((counts / counts.sum()).float(), mix=config.rare_mix)


def stage(config: TrainConfig, progress: float) -> int:
    """Which of `config.sizes` a run that is `progress` (0..1) done works at."""
    ends = np.cumsum(config.shares)
    return min(int(np.searchsorted(ends, progress, side="right")), len(config.shares) - 1)


def learning_rate(config: TrainConfig, progress: float, step: int) -> float:
    """A linear warm-up over `config.warmup` steps, then half a cosine over the run."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1)))
    ramp = min(1.0, (step + 1) / max(1, config.warmup))
    return config.learning_rate * ramp * (config.final_lr + (1 - config.final_lr) * cosine)


def set_learning_rates(run: Run, progress: float) -> float:
    """Sets the rates of this step for decoder, encoder and critic; returns the decoder's."""
    config = run.config
    rate = learning_rate(config, progress, run.step)
    thawed = progress - config.freeze_encoder
    ramp = min(1.0, max(0.0, thawed) / config.encoder_warmup) if config.encoder_warmup else 1.0
    for group, value in zip(run.optimizer.param_groups, (rate, rate * config.encoder_lr * ramp), strict=False):
        group["lr"] = value
    if run.critic_optimizer is not None:
        run.critic_optimizer.param_groups[0]["lr"] = rate * config.critic_lr
    return rate


def freeze_encoder(network: nn.Module, frozen: bool) -> None:
    """Makes a generator ready to train; a frozen encoder takes no gradients and its batch norm doesn't move."""
    network.train()
    encoder = network.get_submodule("encoder") if hasattr(network, "encoder") else nn.Module()
    encoder.requires_grad_(not frozen).train(not frozen)
