"""The training loop: one process, or several under torchrun, one linear story."""

import contextlib
import copy
import math
import os
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from bwcolor_training import data, degrade
from bwcolor_training.build import build_generator, build_loss
from bwcolor_training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from bwcolor_training.config import TrainConfig
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.progress import TrainingLog
from bwcolor_training.validate import validate

DECODED_SIDE = 176  # px kept of a photo's short side; larger crops are enlarged from it


def train(photos: Path, out: Path, config: TrainConfig, *, resume: bool, init_from: Path | None,
          minutes: float | None, log: TrainingLog) -> Path:  # fmt: skip
    """Trains until `config.steps` or, when given, for `minutes`; returns the last checkpoint.

    out: folder for checkpoints, logs and decoded photos. resume: go on from out/last.pt. init_from:
    a checkpoint whose moving average gives the first weights. Raises TrainingInputError.
    """
    rank, world, device = _join_processes()
    out.mkdir(parents=True, exist_ok=True)
    last = out / "last.pt"
    previous = load_checkpoint(last) if resume else None
    if previous is not None:
        config = previous.config
    elif last.exists():
        raise TrainingInputError(f"{last} exists: add --resume to go on with it, or choose another --out.")
    if rank == 0:
        photo_set, rejected = data.load_photos(photos, DECODED_SIDE, out / "cache")
        log.photos(len(photo_set), rejected)
    _wait_for_all(world)
    if rank != 0:
        photo_set, _ = data.load_photos(photos, DECODED_SIDE, out / "cache")
    train_numbers, valid_numbers = data.split(photo_set, config.validation)

    torch.manual_seed(config.seed)
    network = build_generator(config, pretrained=previous is None and init_from is None)
    first = load_checkpoint(init_from) if init_from is not None and previous is None else None
    if first is not None:
        _fill(network, first, init_from)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = _optimizer(network, config)
    ema = copy.deepcopy(network).eval().requires_grad_(False)
    step, seconds, cpu_seconds, seen = 0, 0.0, 0.0, 0
    if first is not None:  # what its weights cost is part of what ours cost
        cpu_seconds, seen = first.cpu_seconds, first.photos
    if previous is not None:
        network.load_state_dict(previous.network)
        ema.load_state_dict(previous.ema)
        if previous.optimizer is None:
            raise TrainingInputError(f"{last} holds weights only: use it with --init-from instead of --resume.")
        optimizer.load_state_dict(previous.optimizer)
        step, seconds, cpu_seconds, seen = (
            previous.step, previous.seconds, previous.cpu_seconds, previous.photos,
        )  # fmt: skip
    model = DistributedDataParallel(network, forward_sync_buffers=False) if world > 1 else network
    loss_function = build_loss(config)

    started, saved, cpu_started = time.monotonic() - seconds, time.monotonic(), time.process_time()
    source: _Prefetcher | None = None
    stage = -1
    while True:
        progress = _shared_progress(step, time.monotonic() - started, config, minutes, world, device)
        if progress >= 1:
            break
        if _stage(config, progress) != stage:
            stage = _stage(config, progress)
            if source is not None:
                source.close()
            log.stage(config.sizes[stage], config.batches[stage] * world)
            source = _Prefetcher(data.batches(
                photo_set, train_numbers, config.sizes[stage], config.batches[stage], config.min_scale,
                config.seed * 1000 + rank, step,
            ))  # fmt: skip
        assert source is not None
        rate = _learning_rate(config, progress, step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        generator = torch.Generator(device).manual_seed((config.seed * 1000 + rank) * 10_000_000 + step)
        gray, truth = prepare(torch.from_numpy(source.next()).to(device), config, generator)
        with torch.autocast(device.type, torch.bfloat16):
            predicted = model(gray)
        loss = loss_function(predicted.float(), truth, config)
        if not torch.isfinite(loss):
            raise TrainingInputError(
                f"The loss is not finite at step {step}. {last} holds the last good state:"
                " start from it with --init-from and a lower --set learning_rate."
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), config.clip)
        optimizer.step()
        _update_ema(ema, network, min(config.ema, (1 + step) / (10 + step)))
        step += 1
        seen += config.batches[stage] * world
        log.step(step, progress, float(loss.detach()), rate, seen, time.monotonic() - started)

        now = Checkpoint(
            config, step, time.monotonic() - started,
            cpu_seconds + world * (time.process_time() - cpu_started), seen,
            network.state_dict(), ema.state_dict(), optimizer.state_dict(),
        ) if rank == 0 else None  # fmt: skip
        if now is not None and time.monotonic() - saved > config.checkpoint_seconds:
            save_checkpoint(now, last)
            saved = time.monotonic()
        if now is not None and step % config.validate_steps == 0:
            log.validation(step, validate(ema, photo_set, valid_numbers, device))
    if source is not None:
        source.close()
    if rank == 0:
        save_checkpoint(
            Checkpoint(
                config, step, time.monotonic() - started,
                cpu_seconds + world * (time.process_time() - cpu_started), seen,
                network.state_dict(), ema.state_dict(), optimizer.state_dict(),
            ),
            last,
        )  # fmt: skip
        log.validation(step, validate(ema, photo_set, valid_numbers, device))
    _wait_for_all(world)
    return last


def prepare(rgb: Tensor, config: TrainConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A batch N,H,W,3 uint8 -> degraded gray N1HW in 0..1 and true chroma N2HW in -0.5..0.5."""
    photos = rgb.permute(0, 3, 1, 2).float() / 255
    gray = degrade.film_gray(photos, config.gray_jitter, generator)
    gray = degrade.tone(gray, config.tone_jitter, generator)
    gray, chroma = degrade.frame(gray, degrade.to_chroma(photos), config.frame_share, generator)
    gray = degrade.grain(gray, config.grain, generator)
    return gray.contiguous(memory_format=torch.channels_last), chroma


def _join_processes() -> tuple[int, int, torch.device]:
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    cuda = torch.cuda.is_available()
    if world > 1:
        distributed.init_process_group("nccl" if cuda else "gloo")
    if not cuda:
        return rank, world, torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return rank, world, device


def _wait_for_all(world: int) -> None:
    if world > 1:
        distributed.barrier()


def _shared_progress(step: int, seconds: float, config: TrainConfig, minutes: float | None,
                     world: int, device: torch.device) -> float:  # fmt: skip
    """How much of the run is done, 0..1; by rank 0's clock, the same in every process."""
    progress = step / config.steps if minutes is None else seconds / (60 * minutes)
    if world == 1 or minutes is None:
        return progress
    shared = torch.tensor([progress], dtype=torch.float64, device=device)
    distributed.broadcast(shared, 0)
    return float(shared)


def _stage(config: TrainConfig, progress: float) -> int:
    ends = np.cumsum(config.shares)
    return min(int(np.searchsorted(ends, progress, side="right")), len(config.shares) - 1)


def _learning_rate(config: TrainConfig, progress: float, step: int) -> float:
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1)))
    ramp = min(1.0, (step + 1) / max(1, config.warmup))
    return config.learning_rate * ramp * (config.final_lr + (1 - config.final_lr) * cosine)


def _optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    encoder = [p for name, p in network.named_parameters() if name.startswith("encoder.")]
    others = [p for name, p in network.named_parameters() if not name.startswith("encoder.")]
    groups = [{"params": others, "scale": 1.0}, {"params": encoder, "scale": config.encoder_lr}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)


def _fill(network: nn.Module, checkpoint: Checkpoint, path: Path | None) -> None:
    try:
        network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in checkpoint.ema.items()})
    except RuntimeError as error:
        raise TrainingInputError(f"{path} is a checkpoint of another network: {error}") from error


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

    def __init__(self, batches: Iterator[NDArray[np.uint8]]) -> None:
        self._queue: queue.Queue[NDArray[np.uint8] | BaseException] = queue.Queue(maxsize=3)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(batches,), daemon=True)
        self._thread.start()

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

    def next(self) -> NDArray[np.uint8]:
        item = self._queue.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()
