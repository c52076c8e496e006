"""What a person sees of a training run: a progress bar, a log file, metrics.jsonl."""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bwcolor.metrics import Summary
from bwcolor_training.data import Rejected
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.validate import VALIDATION_SIZE

LOG_STEPS = 50  # steps between two records; losses are averaged over them


class TrainingLog:
    """Writes metrics.jsonl and train.log in `folder`; shows progress on stderr. Silent when not main."""

    def __init__(self, folder: Path, main: bool, quiet: bool) -> None:
        self._folder = folder
        self._main = main
        self._console = Console(stderr=True, quiet=quiet or not main, highlight=False)
        self._bar = Progress(
            TextColumn("training"), BarColumn(), TextColumn("{task.percentage:.1f}%"),
            TextColumn("{task.fields[figures]}"), TimeElapsedColumn(), TimeRemainingColumn(),
            console=self._console,
        )  # fmt: skip
        self._task = self._bar.add_task("training", total=1.0, figures="")
        self._losses: list[float] = []
        self._rate_from: tuple[float, int] | None = None

    def __enter__(self) -> "TrainingLog":
        if self._main:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise TrainingInputError(f"--out {self._folder}: can't be made ({error.strerror}).") from error
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def photos(self, kept: int, rejected: Rejected) -> None:
        self._line(f"{kept} colour photos; {rejected.gray} gray ones left out, {len(rejected.broken)} can't be read")
        for name in rejected.broken:
            self._line(f"can't be read: {name!r}")

    def device(self, name: str, processes: int) -> None:
        self._line(f"training on: {name}" + (f", {processes} processes" if processes > 1 else ""))

    def stage(self, size: int, batch: int) -> None:
        self._line(f"crops of {size} px, {batch} a step (smaller photos are enlarged)")

    def step(self, step: int, progress: float, loss: float, rate: float, seen: int, seconds: float) -> None:
        self._losses.append(loss)
        if step % LOG_STEPS:
            return
        mean = sum(self._losses) / len(self._losses)
        self._losses.clear()
        since, before = self._rate_from or (seconds, seen)
        speed = (seen - before) / (seconds - since) if seconds > since else None
        self._rate_from = (seconds, seen)
        figures = f"step {step}, loss {mean:.5f}" + (f", {speed:.0f} photos/s" if speed else "")
        self._bar.update(self._task, completed=progress, figures=figures)
        self._record({
            "step": step, "loss": mean, "learning_rate": rate, "photos": seen, "seconds": round(seconds, 1),
            "photos_per_second": round(speed, 1) if speed else None,
        })  # fmt: skip

    def validation(self, step: int, summary: Summary | None) -> None:
        if summary is None:
            self._line("no photo fell into the validation share")
            return
        self._line(
            f"step {step}, {summary.photos} photos kept for validation at {VALIDATION_SIZE} px:"
            f" PSNR {summary.psnr:.2f} dB, CIEDE2000 {summary.de00:.2f},"
            f" colourfulness {100 * summary.colourfulness_ratio:.0f} % of the truth's"
        )
        self._record({"step": step, "validation": dataclasses.asdict(summary), "size": VALIDATION_SIZE})

    def _line(self, text: str) -> None:
        if self._main:
            self._console.print(text, markup=False)
            with (self._folder / "train.log").open("a", encoding="utf-8") as out:
                out.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def _record(self, record: dict[str, Any]) -> None:
        if self._main:
            with (self._folder / "metrics.jsonl").open("a", encoding="utf-8") as out:
                out.write(json.dumps(record) + "\n")
