"""What part of a training step goes into loading photos: crops made ahead by the loop, against one constant batch.

    python benchmarks/loading.py [--recipe NAME] [--steps N] [--cores N] [--photos FOLDER] [--json FILE]

Runs the training loop itself, each stage of the recipe for a while, in blocks of steps that take turns: with loading,
without, without, with. The ratio of their times says what loading costs, and what else the machine does hits both
alike; the ratio of processor times is hardly touched by that at all. The encoder's weights are random, which changes
no time. The bar is 10 % of a step; the exit code is 1 above it. Needs the training extra; pins the cores on Linux.
"""

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from bwcolor_training import loop
from bwcolor_training.config import TrainConfig, load_recipe
from bwcolor_training.data.prefetch import Prefetcher
from bwcolor_training.reporting.progress import TrainingLog
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

BLOCK = 5  # steps between two turns
WITH_LOADING = (True, False, False, True)  # turns of a round; a drift of the machine's speed cancels out
BAR = 0.10  # of a step
MADE_UP = 300  # photos, when no folder is given


@dataclass(frozen=True, slots=True)
class Turn:
    """One block of steps. seconds: of wall time. processor: seconds of processor time, all threads."""

    loading: bool
    seconds: float
    processor: float


class TakingTurns(Prefetcher):
    """In place of the loop's own: hands out batches as they come, or the same one again while loading rests."""

    def __init__(self, turns: list[Turn]) -> None:
        super().__init__()
        self._turns = turns
        self._working = threading.Event()
        self._batch: Tensor | None = None
        self._steps = 0
        self._since = (0.0, 0.0)

    def __exit__(self, *reason: object) -> None:
        self._working.set()
        super().__exit__(*reason)

    def start(self, batches: Iterator[NDArray[np.uint8]]) -> None:
        super().start(self._with_rests(batches))

    def next(self, device: torch.device) -> Tensor:
        loading = self._loading(self._steps // BLOCK)
        if not self._steps % BLOCK:
            self._note(device)
            self._working.set() if loading else self._working.clear()
        self._steps += 1
        if loading or self._batch is None:
            self._batch = super().next(device)
        return self._batch

    def _with_rests(self, batches: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        for batch in batches:
            yield batch
            self._working.wait()

    def _note(self, device: torch.device) -> None:
        """Writes down how long the block that ends here took, with all that it gave a GPU to do."""
        if device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter(), time.process_time()
        if self._steps:
            loading = self._loading(self._steps // BLOCK - 1)
            self._turns.append(Turn(loading, now[0] - self._since[0], now[1] - self._since[1]))
        self._since = now

    @staticmethod
    def _loading(block: int) -> bool:
        return WITH_LOADING[block % len(WITH_LOADING)]


def make_photos(folder: Path, short_side: int) -> Path:
    """Soft colours with grain, of the size at which photos are kept."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    width, height = short_side * 4 // 3, short_side
    for number in range(MADE_UP):
        coarse = rng.uniform(0, 255, (6, 8, 3)).astype(np.float32)
        rgb = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) + rng.normal(0, 6, (height, width, 3))
        Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8)).save(folder / f"{number:03}.jpg", quality=90)
    return folder


def stages(config: TrainConfig, steps: int) -> Iterator[TrainConfig]:
    """The recipe's stages, each as a run of its own that neither validates nor saves on its way."""
    begins = 0.0
    for size, batch, share in zip(config.sizes, config.batches, config.shares, strict=True):
        yield dataclasses.replace(
            config, sizes=(size,), batches=(batch,), shares=(1.0,), steps=steps, minutes=0.0, encoder="none",
            freeze_encoder=0.0, gan_start=0.0 if config.gan_start <= begins else 1.0, validation=0.0,
            validate_steps=10**9, checkpoint_seconds=1e6,
        )  # fmt: skip
        begins += share


def measure(config: TrainConfig, photos: Path, place: Path, threads: int) -> dict[str, float]:
    """Seconds a step of one stage, with and without loading, and what part loading is: medians over rounds."""
    turns: list[Turn] = []
    loop.Prefetcher = lambda: TakingTurns(turns)  # type: ignore[assignment, misc]
    out = place / f"run-{config.sizes[0]}"
    with TrainingLog(out, main=True, quiet=True) as log:
        loop.train(
            loop.Source((str(photos),), place / "cache"), out, config, resume=False, init_from=None, minutes=None,
            log=log, threads=threads,
        )  # fmt: skip
    length = len(WITH_LOADING)
    rounds = [turns[start : start + length] for start in range(length, len(turns), length)]  # the first one warms up
    with_loading = [[turn for turn in turns if turn.loading] for turns in rounds]
    without = [[turn for turn in turns if not turn.loading] for turns in rounds]
    pairs = list(zip(with_loading, without, strict=True))
    wall = [sum(t.seconds for t in b) / sum(t.seconds for t in a) for a, b in pairs]
    processor = [sum(t.processor for t in b) / sum(t.processor for t in a) for a, b in pairs]
    return {
        "size": config.sizes[0],
        "batch": config.batches[0],
        "seconds_with_loading": statistics.median(t.seconds for turns in with_loading for t in turns) / BLOCK,
        "seconds_without": statistics.median(t.seconds for turns in without for t in turns) / BLOCK,
        "processor_seconds_without": statistics.median(t.processor for turns in without for t in turns) / BLOCK,
        "loading_share": 1 - statistics.median(wall),
        "loading_share_processor": 1 - statistics.median(processor),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--steps", type=int, default=100, help="measured in each stage, half of them with loading")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--photos", type=Path, help="a folder; made-up photos otherwise")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    config = load_recipe(arguments.recipe, [])
    in_round = BLOCK * len(WITH_LOADING)
    steps = in_round * (1 + max(1, round(arguments.steps / in_round))) + 1  # the last one ends the block before it
    results = []
    sys.stdout.write(f"{'crops':>8}{'batch':>7}{'ms with':>10}{'ms without':>12}{'loading':>9}{'of processor':>14}\n")
    with tempfile.TemporaryDirectory() as folder:
        photos = arguments.photos or make_photos(Path(folder, "photos"), config.short_side)
        for stage in stages(config, steps):
            result = measure(stage, photos, Path(folder), arguments.cores)
            results.append(result)
            sys.stdout.write(
                f"{result['size']:>5} px{result['batch']:>7}{1000 * result['seconds_with_loading']:>10.1f}"
                f"{1000 * result['seconds_without']:>12.1f}{result['loading_share']:>9.1%}"
                f"{result['loading_share_processor']:>14.1%}\n"
            )
            sys.stdout.flush()
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return max(int(result["loading_share"] > BAR) for result in results)


if __name__ == "__main__":
    sys.exit(main())
