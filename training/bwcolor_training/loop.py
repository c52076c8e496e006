"""The training loop: one process, or several under torchrun, one linear story."""

import contextlib
import copy
import dataclasses
import datetime
import math
import os
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from bwcolor_training import data, degrade
from bwcolor_training.build import build_generator, build_loss
from bwcolor_training.checkpoint import Checkpoint, load_checkpoint, load_weights, save_checkpoint, shrink
from bwcolor_training.config import TrainConfig
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.progress import TrainingLog
from bwcolor_training.validate import validate

DECODED_SIDE = 176  # px kept of a photo's short side; larger crops are enlarged from it
DECODING_TIMEOUT = datetime.timedelta(hours=12)  # how long other processes wait for the first to decode
NETWORK_SETTINGS = ("generator", "encoder", "convention", "decoder_widths", "skip_widths")


@dataclass(frozen=True, slots=True)
class Processes:
    """rank: of this process. world: how many train together. device: this one's."""

    rank: int
    world: int
    device: torch.device


@dataclass(slots=True, eq=False)
class Run:
    """The state of a run; `save` writes all of it to `last`, from which `train` can resume.

    step: optimiser steps done. photos: crops seen. started: monotonic second at which step 0 would
    have begun had the run never been stopped. cpu_seconds: of all processes, up to the process time
    `cpu_started`.
    """

    config: TrainConfig
    last: Path
    world: int
    network: nn.Module
    ema: nn.Module
    optimizer: torch.optim.AdamW
    step: int
    photos: int
    cpu_seconds: float
    started: float
    cpu_started: float

    def seconds(self) -> float:
        """Wall time of training, interruptions left out."""
        return time.monotonic() - self.started

    def checkpoint(self) -> Checkpoint:
        """All that `train` needs to resume."""
        cpu_seconds = self.cpu_seconds + self.world * (time.process_time() - self.cpu_started)
        return Checkpoint(
            self.config, self.step, self.seconds(), cpu_seconds, self.photos,
            self.network.state_dict(), self.ema.state_dict(), self.optimizer.state_dict(),
        )  # fmt: skip

    def save(self) -> None:
        save_checkpoint(self.checkpoint(), self.last)


def is_main() -> bool:
    """Whether this process is the one that speaks and saves; under torchrun there are several."""
    return _rank() == 0


def train(photos: Path, out: Path, config: TrainConfig, *, resume: bool, init_from: Path | None,
          minutes: float | None, log: TrainingLog, threads: int = 0) -> Path:  # fmt: skip
    """Trains for `config.steps` or `config.minutes`; returns out/model.pt, the result as export takes it.

    out: folder for checkpoints, logs and decoded photos. resume: go on from out/last.pt with its own
    settings. init_from: a checkpoint whose moving average gives the first weights. minutes: replaces
    `config.minutes`, also that of a resumed run. threads: of the processor; 0 leaves it to torch.
    Raises TrainingInputError.
    """
    if threads:
        torch.set_num_threads(threads)
    if minutes is not None and minutes <= 0:
        raise TrainingInputError(f"--minutes must be more than 0, not {minutes:g}.")
    last = out / "last.pt"
    previous = _previous(last, resume)
    config = config if previous is None else previous.config
    config = config if minutes is None else dataclasses.replace(config, minutes=minutes)
    photo_set, processes = _gather(photos, out / "cache", log)
    main, device = processes.rank == 0, processes.device
    train_numbers, valid_numbers = data.split(photo_set, config.validation)
    if not len(train_numbers):
        raise TrainingInputError(
            f"{photos}: all {len(photo_set)} photos fell into the validation share; add photos, or --set validation=0."
        )
    if previous is None:
        run = _first_state(config, last, init_from, processes)
    else:
        run = _resumed(dataclasses.replace(previous, config=config), last, processes)
    config = run.config
    several = processes.world > 1
    model = DistributedDataParallel(run.network, forward_sync_buffers=False) if several else run.network
    loss_function = build_loss(config)

    saved = time.monotonic()
    stage = -1
    with _Prefetcher() as source:
        while (progress := _shared_progress(run, processes)) < 1:
            if _stage(config, progress) != stage:
                stage = _stage(config, progress)
                log.stage(config.sizes[stage], config.batches[stage] * processes.world)
                source.start(data.batches(
                    photo_set, train_numbers, config.sizes[stage], config.batches[stage], config.min_scale,
                    config.seed * 1000 + processes.rank, run.step,
                ))  # fmt: skip
            rate = _set_learning_rates(run, progress)
            generator = torch.Generator(device)
            generator.manual_seed((config.seed * 1000 + processes.rank) * 10_000_000 + run.step)
            gray, truth = prepare(torch.from_numpy(source.next()).to(device), config, generator)
            with torch.autocast(device.type, torch.bfloat16):
                predicted = model(gray)
            loss = loss_function(predicted.float(), truth, config)
            run.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            norm = nn.utils.clip_grad_norm_(run.network.parameters(), config.clip)
            if not torch.isfinite(loss + norm):  # before the weights change, so that none are saved spoilt
                raise _diverged(run)
            run.optimizer.step()
            _update_ema(run.ema, run.network, min(config.ema, (1 + run.step) / (10 + run.step)))
            run.step += 1
            run.photos += config.batches[stage] * processes.world
            log.step(run.step, progress, float(loss.detach()), rate, run.photos, run.seconds())

            if main and time.monotonic() - saved >= config.checkpoint_seconds:
                run.save()
                saved = time.monotonic()
            if main and run.step % config.validate_steps == 0:
                log.validation(run.step, validate(run.ema, photo_set, valid_numbers, device))
    if main:
        run.save()
        save_checkpoint(shrink(run.checkpoint()), out / "model.pt")
        if run.step % config.validate_steps:  # otherwise the loop has just done it
            log.validation(run.step, validate(run.ema, photo_set, valid_numbers, device))
    _wait_for_all(processes.world)
    if several:
        distributed.destroy_process_group()
    return out / "model.pt"


def prepare(rgb: Tensor, config: TrainConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A batch N,H,W,3 uint8 -> degraded gray N1HW in 0..1 and true chroma N2HW in -0.5..0.5."""
    photos = rgb.permute(0, 3, 1, 2).float() / 255
    gray = degrade.film_gray(photos, config.gray_jitter, generator)
    gray = degrade.tone(gray, config.tone_jitter, generator)
    gray, chroma = degrade.frame(gray, degrade.to_chroma(photos), config.frame_share, generator)
    gray = degrade.grain(gray, config.grain, generator)
    return gray.contiguous(memory_format=torch.channels_last), chroma


def _gather(photos: Path, cache: Path, log: TrainingLog) -> tuple[data.PhotoSet, Processes]:
    """The photos and the processes that share the work. The first process decodes before the others join."""
    rank, world = _rank(), int(os.environ.get("WORLD_SIZE", "1"))
    loaded = data.load_photos(photos, DECODED_SIDE, cache) if rank == 0 else None
    cuda = torch.cuda.is_available()
    if world > 1:
        distributed.init_process_group("nccl" if cuda else "gloo", timeout=DECODING_TIMEOUT)
        _wait_for_all(world)
    photo_set, rejected = loaded or data.load_photos(photos, DECODED_SIDE, cache)
    log.photos(len(photo_set), rejected)
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    log.device(torch.cuda.get_device_name(device) if cuda else f"CPU, {torch.get_num_threads()} threads", world)
    return photo_set, Processes(rank, world, device)


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


def _wait_for_all(world: int) -> None:
    if world > 1:
        distributed.barrier()


def _previous(last: Path, resume: bool) -> Checkpoint | None:
    if not resume and last.exists():
        raise TrainingInputError(f"{last} exists: add --resume to go on with it, or choose another --out.")
    return load_checkpoint(last) if resume else None


def _first_state(config: TrainConfig, last: Path, init_from: Path | None, processes: Processes) -> Run:
    """Step 0 of a new run. What the weights of `init_from` cost is part of what ours cost.

    The settings that shape a network belong to its weights, so they come from `init_from` too.
    """
    first = load_checkpoint(init_from) if init_from is not None else None
    if first is not None:
        config = dataclasses.replace(config, **{name: getattr(first.config, name) for name in NETWORK_SETTINGS})
    torch.manual_seed(config.seed)
    network = build_generator(config, pretrained=first is None)
    cpu_seconds, seen = 0.0, 0
    if first is not None and init_from is not None:
        load_weights(network, first.ema, init_from)
        cpu_seconds, seen = first.cpu_seconds, first.photos
    network = network.to(processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Run(
        config, last, processes.world, network, copy.deepcopy(network).eval().requires_grad_(False),
        _optimizer(network, config), 0, seen, cpu_seconds, time.monotonic(), time.process_time(),
    )  # fmt: skip


def _resumed(previous: Checkpoint, last: Path, processes: Processes) -> Run:
    """The state in which the run was saved."""
    if previous.optimizer is None:
        raise TrainingInputError(f"{last} holds weights only: use it with --init-from instead of --resume.")
    torch.manual_seed(previous.config.seed)
    network = build_generator(previous.config, pretrained=False)
    network = network.to(processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    ema = copy.deepcopy(network).eval().requires_grad_(False)
    optimizer = _optimizer(network, previous.config)
    load_weights(network, previous.network, last)
    load_weights(ema, previous.ema, last)
    optimizer.load_state_dict(previous.optimizer)
    return Run(
        previous.config, last, processes.world, network, ema, optimizer, previous.step, previous.photos,
        previous.cpu_seconds, time.monotonic() - previous.seconds, time.process_time(),
    )  # fmt: skip


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


def _stage(config: TrainConfig, progress: float) -> int:
    ends = np.cumsum(config.shares)
    return min(int(np.searchsorted(ends, progress, side="right")), len(config.shares) - 1)


def _learning_rate(config: TrainConfig, progress: float, step: int) -> float:
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1)))
    ramp = min(1.0, (step + 1) / max(1, config.warmup))
    return config.learning_rate * ramp * (config.final_lr + (1 - config.final_lr) * cosine)


def _set_learning_rates(run: Run, progress: float) -> float:
    """Sets the rates of this step for decoder and encoder; returns the decoder's."""
    decoder, encoder = run.optimizer.param_groups
    rate = _learning_rate(run.config, progress, run.step)
    ramp = min(1.0, progress / run.config.encoder_warmup) if run.config.encoder_warmup else 1.0
    decoder["lr"], encoder["lr"] = rate, rate * run.config.encoder_lr * ramp
    return rate


def _optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    encoder = [p for name, p in network.named_parameters() if name.startswith("encoder.")]
    others = [p for name, p in network.named_parameters() if not name.startswith("encoder.")]
    groups = [{"params": others}, {"params": encoder}]  # in the order that _set_learning_rates expects
    return torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)


@torch.no_grad()
def _update_ema(ema: nn.Module, network: nn.Module, keep: float) -> None:
    state = network.state_dict()
    for name, average in ema.state_dict().items():
        if average.is_floating_point():
            average.lerp_(state[name], 1 - keep)
        else:
            average.copy_(state[name])


class _Prefetcher:
    """Makes the next batches in a thread while the network works on the present one."""

    def __init__(self) -> None:
        self._queue: queue.Queue[NDArray[np.uint8] | BaseException] = queue.Queue()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "_Prefetcher":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def start(self, batches: Iterator[NDArray[np.uint8]]) -> None:
        """Begins with `batches` and drops what is left of those before."""
        self._stop()
        self._queue = queue.Queue(maxsize=3)
        self._stopped.clear()
        self._thread = threading.Thread(target=self._work, args=(batches,), name="next batches", daemon=True)
        self._thread.start()

    def next(self) -> NDArray[np.uint8]:
        item = self._queue.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def _work(self, batches: Iterator[NDArray[np.uint8]]) -> None:
        while not self._stopped.is_set():
            item: NDArray[np.uint8] | BaseException
            try:
                item = next(batches)
            except BaseException as error:
                item = error
            while not self._stopped.is_set():
                with contextlib.suppress(queue.Full):
                    self._queue.put(item, timeout=0.2)
                    break
            if isinstance(item, BaseException):
                return

    def _stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
