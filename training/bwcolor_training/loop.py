"""The training loop: one process, or several under torchrun, one linear story."""

import dataclasses
import datetime
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from bwcolor_training import losses
from bwcolor_training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, shrink
from bwcolor_training.config import TrainConfig
from bwcolor_training.data import datasets, photo_sets, sampling
from bwcolor_training.data.degrade import Degradation, degrade
from bwcolor_training.data.prefetch import Prefetcher
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.losses import Predicted, Truth
from bwcolor_training.networks.build import decode
from bwcolor_training.networks.pretrained import announcement
from bwcolor_training.precision import autocast
from bwcolor_training.reporting.progress import TrainingLog
from bwcolor_training.state import (
    Run,
    Start,
    first_state,
    freeze_encoder,
    resumed_state,
    set_learning_rates,
    stage,
    start,
)
from bwcolor_training.validate import Validation, validate

DECODING_TIMEOUT = datetime.timedelta(hours=12)  # how long other processes wait for the first to decode


@dataclass(frozen=True, slots=True)
class Source:
    """Where the photos come from. photos: folders or names in datasets.DATASETS; none for the recipe's own data set.
    cache: folder for downloads and decoded photos. fit, manifests: train only on photos whose row in one of the
    manifests has one of these values in its column fit_for_training. held_out: folders whose photos must not be among
    those to train on."""

    photos: tuple[str, ...]
    cache: Path
    fit: frozenset[str] | None = None
    manifests: tuple[Path, ...] = ()
    held_out: tuple[Path, ...] = ()

    def names(self, config: TrainConfig) -> tuple[str, ...]:
        """What was named, or what the recipe names."""
        return self.photos or ((config.dataset,) if config.dataset else ())


@dataclass(frozen=True, slots=True)
class Processes:
    """rank: of this process. world: how many train together. device: this one's."""

    rank: int
    world: int
    device: torch.device


def is_main() -> bool:
    """Whether this process is the one that speaks and saves; under torchrun there are several."""
    return _rank() == 0


def train(source: Source, out: Path, config: TrainConfig | None, *, resume: bool, init_from: Path | None,
          minutes: float | None, log: TrainingLog, device: str = "auto", threads: int = 0) -> Path:  # fmt: skip
    """Trains for `config.steps`, epochs or minutes; returns out/model.pt, the result as export takes it.

    out: folder for checkpoints and logs. resume: go on from out/last.pt with its own settings; a config of another
    recipe is then refused, None takes any. init_from: a checkpoint whose moving average gives the first weights.
    minutes: replaces `config.minutes`, also that of a resumed run. device: "auto", "cpu" or "cuda". threads: of the
    processor; 0 leaves it to torch. Raises TrainingInputError.
    """
    if threads:
        torch.set_num_threads(threads)
    if minutes is not None and minutes <= 0:
        raise TrainingInputError(f"--minutes must be more than 0, not {minutes:g}.")
    last = out / "last.pt"
    begun = _previous(last, config) if resume else _new(last, config or TrainConfig(), init_from)
    config = begun.config if minutes is None else dataclasses.replace(begun.config, minutes=minutes)
    begun = dataclasses.replace(begun, config=config)
    photo_set, processes = _gather(source, config, device, log)
    weights = sampling.photo_weights(photo_set, config.folders, config.min_colorfulness)
    train_numbers, valid_numbers = sampling.split(photo_set, config.validation, weights)
    if not len(train_numbers):
        raise TrainingInputError(
            f"All {len(photo_set)} photos fell into the validation share or have weight 0; add photos, or --set"
            " validation=0."
        )
    said = f"{len(train_numbers)} photos of {_name(source, config)}"
    if isinstance(begun, Start):
        if begun.init_from is None:
            log.downloading(announcement(begun.config))
        run = first_state(begun, last, said, photo_set, train_numbers, processes.world, processes.device)
    elif said != begun.data:
        raise TrainingInputError(
            f"{last} was trained on {begun.data}, these are {said}: resume with the same photos, or start a"
            f" new run from it with --init-from."
        )
    else:
        run = resumed_state(begun, last, processes.world, processes.device)
    del begun  # with its optimiser's state
    log.begin(run.network, run.config, run.data, run.step, len(valid_numbers))
    _loop(run, processes, log, photo_set, weights, train_numbers, valid_numbers)
    if processes.rank == 0:
        run.save()
        save_checkpoint(shrink(run.checkpoint()), out / "model.pt")
        if run.step % run.config.validate_steps:  # otherwise the loop has just done it
            _validate(run, processes, log, photo_set, valid_numbers)
            run.save()  # with what is best now
        log.end(run.seconds(), run.photos)
    _wait_for_all(processes.world)
    if processes.world > 1:
        distributed.destroy_process_group()
    return out / "model.pt"


def _loop(run: Run, processes: Processes, log: TrainingLog, photos: photo_sets.PhotoSet,
          weights: NDArray[np.float64] | None, train_numbers: photo_sets.Numbers, valid_numbers: photo_sets.Numbers,
          ) -> None:  # fmt: skip
    config, device, main = run.config, processes.device, processes.rank == 0
    game = losses.adversary(config)
    critic = None if run.critic is None else _parallel(run.critic, processes)
    saved = time.monotonic()
    present, frozen = -1, None
    model: nn.Module = run.network
    with Prefetcher() as prefetcher:
        while (progress := _shared_progress(run, processes)) < 1:
            if stage(config, progress) != present:
                present = stage(config, progress)
                numbers = sampling.large_enough(photos, train_numbers, config.sizes[present], config.max_enlargement)
                log.stage(config, present, processes.world, len(numbers))
                prefetcher.start(sampling.batches(
                    photos, numbers, config.sizes[present], config.batches[present], config.min_scale,
                    config.seed * 1000 + processes.rank, run.step, weights,
                ))  # fmt: skip
            if (progress < config.freeze_encoder) != frozen:
                frozen = progress < config.freeze_encoder
                freeze_encoder(run.network, frozen)
                model = _parallel(run.network, processes)  # anew, since it knows which weights take gradients
            rate = set_learning_rates(run, progress)
            generator = _seed(run, processes)
            gray, truth = prepare(prefetcher.next(device), config, generator)
            with autocast(config, device):
                raw = model(gray)
            raw = raw.float()
            predicted = Predicted(raw, decode(raw, gray, config))
            parts = losses.pixel_losses(predicted, truth, config, run.rarity)
            figures = {}
            if game is not None and critic is not None and run.critic is not None and progress >= config.gan_start:
                figures["critic"] = _critic_step(run, critic, game, predicted, truth, device)
                with autocast(config, device):
                    verdicts = run.critic(truth.luma, predicted.chroma)
                parts[_game_name(config)] = game.generator(verdicts.float())
            loss = losses.total(parts, config)
            run.optimizer.zero_grad(set_to_none=True)
            run.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            run.scaler.unscale_(run.optimizer)
            norm = nn.utils.clip_grad_norm_(run.network.parameters(), config.clip)
            if not torch.isfinite(loss) or (not run.scaler.is_enabled() and not torch.isfinite(norm)):
                raise _diverged(run)  # before the weights change, so that none are saved spoilt
            run.scaler.step(run.optimizer)
            run.scaler.update()
            _update_ema(run.ema, run.network, min(config.ema, (1 + run.step) / (10 + run.step)))
            run.step += 1
            run.photos += config.batches[present] * processes.world
            figures |= {"": float(loss.detach())} | {name: float(value.detach()) for name, value in parts.items()}
            figures = _over_processes(figures, processes)
            log.step(run.step, progress, figures.pop(""), figures, rate, run.photos, run.seconds())

            if main and run.step % config.validate_steps == 0:
                _validate(run, processes, log, photos, valid_numbers)
            if main and time.monotonic() - saved >= config.checkpoint_seconds:
                run.save()  # after validation, so that a resumed run need not do that again
                saved = time.monotonic()


def _critic_step(run: Run, critic: nn.Module, game: losses.Adversary, predicted: Predicted, truth: Truth,
                 device: torch.device) -> float:  # fmt: skip
    """One step of the critic on true and made colours; leaves it without gradients for the generator's turn."""
    assert run.critic is not None
    assert run.critic_optimizer is not None
    run.critic.requires_grad_(True)
    with autocast(run.config, device):
        real = critic(truth.luma, truth.chroma)
        made = critic(truth.luma, predicted.chroma.detach())
    loss = game.critic(real.float(), made.float())
    run.critic_optimizer.zero_grad(set_to_none=True)
    run.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    if not torch.isfinite(loss):
        raise _diverged(run)
    run.scaler.step(run.critic_optimizer)
    run.critic.requires_grad_(False)
    return float(loss.detach())


def _validate(
    run: Run, processes: Processes, log: TrainingLog, photos: photo_sets.PhotoSet, numbers: photo_sets.Numbers
) -> None:
    result: Validation | None = validate(
        run.ema, photos, numbers, run.config, mean_chroma=run.mean_chroma, rarity=run.rarity, device=processes.device
    )
    log.validation(run.step, run.photos, result, run.config.validation_size)
    if result is not None and result.loss < run.best:
        run.best = result.loss
        save_checkpoint(shrink(run.checkpoint()), run.last.with_name("best.pt"))


def prepare(rgb: Tensor, config: TrainConfig, generator: torch.Generator) -> tuple[Tensor, Truth]:
    """A batch N,H,W,3 uint8 -> degraded gray N1HW in 0..1 and what it should become."""
    photos = rgb.permute(0, 3, 1, 2).float() / 255
    names = [field.name for field in dataclasses.fields(Degradation)]
    strengths = Degradation(**{name: getattr(config, name) for name in names})
    result = degrade(photos, strengths, generator)
    return result.gray.contiguous(memory_format=torch.channels_last), Truth(result.luma, result.chroma)


def _seed(run: Run, processes: Processes) -> torch.Generator:
    """Seeds everything random in a step by its number, so that a resumed run draws the same."""
    seed = (run.config.seed * 1000 + processes.rank) * 10_000_000 + run.step
    torch.manual_seed(seed)  # dropout
    generator = torch.Generator(processes.device)
    generator.manual_seed(seed)
    return generator


def _game_name(config: TrainConfig) -> str:
    return next(name for name in config.losses if name in losses.ADVERSARIAL)


def _name(source: Source, config: TrainConfig) -> str:
    names = source.names(config)
    told = [photos if photos in datasets.DATASETS else repr(Path(photos).absolute().name) for photos in names]
    if len(names) == 1:
        return told[0] if names[0] in datasets.DATASETS else f"the folder {told[0]}"
    return ", ".join(told)


def _gather(
    source: Source, config: TrainConfig, device: str, log: TrainingLog
) -> tuple[photo_sets.PhotoSet, Processes]:
    """The photos and the processes that share the work. The first process decodes before the others join."""
    if not source.names(config):
        raise TrainingInputError(f"Recipe {config.recipe} has no data set of its own: name a folder of colour photos.")

    def load() -> tuple[photo_sets.PhotoSet, photo_sets.Rejected]:
        photos, rejected = datasets.load(
            source.names(config), config.short_side, source.cache, source.fit, source.manifests, log.preparing
        )
        photo_sets.check_held_out(photos, source.held_out)
        return photos, rejected

    used = _device(device)
    if used.type == "cuda":
        torch.cuda.set_device(used)  # before anything is shared between processes
    rank, world = _rank(), int(os.environ.get("WORLD_SIZE", "1"))
    loaded = load() if rank == 0 else None
    if world > 1:
        distributed.init_process_group("nccl" if used.type == "cuda" else "gloo", timeout=DECODING_TIMEOUT)
        _wait_for_all(world)
    photo_set, rejected = loaded or load()
    log.photos(len(photo_set), rejected)
    threads = torch.get_num_threads()
    cpu = f"CPU, {threads} thread" + ("s" if threads > 1 else "")
    name = torch.cuda.get_device_name(used) if used.type == "cuda" else cpu
    log.device(name, world)
    return photo_set, Processes(rank, world, used)


def _device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise TrainingInputError(f"--device {name}: choose auto, cpu or cuda.")
    cuda = torch.cuda.is_available()
    if name == "cuda" and not cuda:
        raise TrainingInputError(
            "--device cuda: this PyTorch finds no NVIDIA GPU. Use --device cpu, or fix the problem first."
        )
    if name == "cpu" or not cuda:
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def _parallel(network: nn.Module, processes: Processes) -> nn.Module:
    several = processes.world > 1
    return DistributedDataParallel(network, forward_sync_buffers=False) if several else network


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


def _wait_for_all(world: int) -> None:
    if world > 1:
        distributed.barrier()


def _previous(last: Path, config: TrainConfig | None) -> Checkpoint:
    previous = load_checkpoint(last)
    if config is not None and config.recipe != previous.config.recipe:
        raise TrainingInputError(
            f"{last} is a run of the recipe {previous.config.recipe}, not of {config.recipe}: leave out --recipe, or"
            " choose another --out."
        )
    return previous


def _new(last: Path, config: TrainConfig, init_from: Path | None) -> Start:
    if last.exists():
        raise TrainingInputError(f"{last} exists: add --resume to go on with it, or choose another --out.")
    return start(config, init_from)


def _diverged(run: Run) -> TrainingInputError:
    way_out = "Start again with a lower --set learning_rate."
    if run.last.exists():
        way_out = (
            f"{run.last} holds the last good state: start from it with --init-from and a lower --set learning_rate."
        )
    return TrainingInputError(f"The loss or its gradient is not finite at step {run.step}. {way_out}")


def _shared_progress(run: Run, processes: Processes) -> float:
    """How much of the run is done, 0..1; by rank 0's clock, the same in every process."""
    if not run.config.minutes:
        return run.step / run.config.steps
    progress = run.seconds() / (60 * run.config.minutes)
    if processes.world == 1:
        return progress
    shared = torch.tensor([progress], dtype=torch.float64, device=processes.device)
    distributed.broadcast(shared, 0)
    return float(shared)


def _over_processes(figures: dict[str, float], processes: Processes) -> dict[str, float]:
    """The means over all processes: what one process would have seen with all of their photos in its batch."""
    if processes.world == 1:
        return figures
    shared = torch.tensor(list(figures.values()), dtype=torch.float64, device=processes.device)
    distributed.all_reduce(shared)
    return dict(zip(figures, (shared / processes.world).tolist(), strict=True))


@torch.no_grad()
def _update_ema(ema: nn.Module, network: nn.Module, keep: float) -> None:
    state = network.state_dict()
    for name, average in ema.state_dict().items():
        if average.is_floating_point():
            average.lerp_(state[name], 1 - keep)
        else:
            average.copy_(state[name])
