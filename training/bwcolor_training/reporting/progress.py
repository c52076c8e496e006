"""What a person sees of a training run: a progress bar, a log file, metrics.jsonl, pictures, a report."""

import dataclasses
import json
import math
import time
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bwcolor_training.config import DEFAULTS, TrainConfig
from bwcolor_training.data.photo_sets import Rejected
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.reporting.plots import draw_curves, draw_samples, read_metrics
from bwcolor_training.reporting.report import write_report
from bwcolor_training.validate import Validation
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import nn

LOG_STEPS = 50  # steps between two records; losses are averaged over them
# Crops below which no run was of use: runs of 2,884 and 7,968 crops were worse than gray, those of 15,000 and more were
# not (training/README.md, the tables of six recipes and of thirteen variants).
FEW_CROPS = 10_000
PLAIN_INTERVAL = 60.0  # seconds between two lines where there is no terminal, and so no bar


class TrainingLog:
    """Writes into `folder` and shows progress on stderr. Silent when not `main`.

    train.log: the lines that were shown. metrics.jsonl: a record every 50 steps and at each validation.
    curves.png, samples/step-*.png: drawn at each validation. report.html: all of it, at the end.
    tensorboard/: where TensorBoard is installed.
    """

    def __init__(self, folder: Path, main: bool, quiet: bool) -> None:
        self._folder = folder
        self._main = main
        self._console = Console(stderr=True, quiet=quiet or not main, highlight=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("training"), BarColumn(), TextColumn("{task.percentage:.1f}%"),
            TextColumn("{task.fields[figures]}"), TimeElapsedColumn(), TimeRemainingColumn(),
            console=self._console, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("training", total=1.0, figures="")
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._pending: dict[str, Any] = {}
        self._rate_from: tuple[float, int] | None = None
        self._facts: dict[str, str] = {}
        self._said, self._progress = time.monotonic(), 0.0
        self._board: Any = None
        self._validated: Validation | None = None
        self.shortcoming = ""  # why the model that was trained is of no use, in words, once the run has ended

    def __enter__(self) -> "TrainingLog":
        if self._main:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise TrainingInputError(f"--out {self._folder}: can't be made ({error.strerror}).") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        if self._board is not None:
            self._board.close()

    def photos(self, kept: int, rejected: Rejected) -> None:
        unfit = f", {rejected.unfit} not cleared by the manifest" if rejected.unfit else ""
        self._line(
            f"{kept} colour photos; {rejected.gray} gray ones left out, {len(rejected.broken)} can't be read{unfit}"
        )
        if rejected.hidden:
            self._line(f"{rejected.hidden.without_advice()}; to train on them, name their folder")
        for name in rejected.broken:
            self._line(f"can't be read: {name!r}")

    def preparing(self, what: str, done: int, of: int) -> None:
        """Photos are being fetched or decoded: `done` of `of` bytes or photos; 0 where nobody knows."""
        self._bar.start()
        self._bar.update(self._task, completed=done / of if of else 0.0, figures=what)

    def downloading(self, what: str) -> None:
        """Says what is about to be downloaded; empty for nothing."""
        if what:
            self._line(what)

    def device(self, name: str, processes: int) -> None:
        self._facts["device"] = name + (f", {processes} processes" if processes > 1 else "")
        self._line(f"training on: {self._facts['device']}")

    def begin(self, network: nn.Module, config: TrainConfig, data: str, step: int, validated: int) -> None:
        """A run starts or goes on from `step`; records of steps after it are of a run that was cut off, and go.

        validated: how many photos are kept for validation.
        """
        self._bar.reset(self._task, total=1.0, figures="")  # it showed downloads and decoding until now
        self._bar.start()
        parameters = sum(p.numel() for p in network.parameters())
        self._line(
            f"recipe {config.recipe}: {config.generator}, {parameters:,} parameters; {data}, {validated} more for"
            " validation"
        )
        length = f"{config.minutes:g} minutes" if config.minutes else f"{config.steps:,} steps"
        self._line(f"{length} in all" + (f", going on after step {step:,}" if step else ""))
        changed = {
            field.name: getattr(config, field.name)
            for field in dataclasses.fields(TrainConfig)
            if getattr(config, field.name) != getattr(DEFAULTS, field.name)
        }
        self._facts |= {
            "recipe": config.recipe, "data": data, "network": f"{config.generator}, {parameters:,} parameters",
            "settings": "\n".join(f"{name} = {value!r}" for name, value in changed.items()),
            "layers": model_summary(network),
        }  # fmt: skip
        if not self._main:
            return
        metrics = self._folder / "metrics.jsonl"
        if metrics.exists():
            kept = [record for record in read_metrics(metrics) if record.get("step", 0) <= step]
            self._replace(metrics, "".join(json.dumps(record) + "\n" for record in kept))
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self._folder / "tensorboard"), purge_step=step + 1)

    def stage(self, config: TrainConfig, number: int, processes: int, photos: int) -> None:
        """Says what a stage trains on; photos: how many are large enough for it."""
        size, smallest = config.sizes[number], round(config.short_side * config.min_scale)
        enlarged = f", cut from {smallest} px on and enlarged where smaller" if size > smallest else ""
        self._line(f"crops of {size} px, {config.batches[number] * processes} a step, of {photos:,} photos{enlarged}")

    def step(self, step: int, progress: float, loss: float, losses: dict[str, float], rate: float, seen: int,
             seconds: float) -> None:  # fmt: skip
        """loss: what the generator minimises. losses: its parts by name, and the critic's."""
        for name, value in (losses | {"": loss}).items():
            self._sums[name] += value
            self._counts[name] += 1
        if self._rate_from is None:  # the first step, or the first after a validation, which is not training time
            self._rate_from = (seconds, seen)
        self._pending = {"step": step, "learning_rate": rate, "photos": seen, "seconds": round(seconds, 1)}
        self._bar.update(self._task, completed=progress)
        self._progress = progress
        if step % LOG_STEPS == 0:
            self._record_steps()

    def validation(self, step: int, seen: int, result: Validation | None, size: int) -> None:
        self._record_steps()
        self._rate_from = None
        if result is None:
            self._line("no photo fell into the validation share")
            return
        self._validated = result
        summary = result.summary
        self._line(
            f"step {step}, {summary.photos} photos kept for validation at {size} px:"
            f" PSNR {summary.psnr:.2f} dB, CIEDE2000 {summary.de00:.2f},"
            f" colourfulness {100 * summary.colourfulness_ratio:.0f} % of the truth's;"
            f" loss {result.loss:.5f}, of the mean colour {result.mean_colour_loss:.5f}"
        )
        self._record({
            "kind": "validation", "step": step, "seen": seen, "size": size, **dataclasses.asdict(summary),
            "losses": result.losses, "loss": result.loss, "mean_colour_loss": result.mean_colour_loss,
        })  # fmt: skip
        if self._main:
            samples = self._folder / "samples"
            try:
                samples.mkdir(exist_ok=True)
                draw_samples(result.samples, samples / f"step-{step:06d}.png")
                draw_curves(self._folder / "metrics.jsonl", self._folder / "curves.png")
            except OSError as error:
                raise _cannot_write(samples, error) from error

    def end(self, seconds: float, seen: int) -> None:
        """The run is over: writes report.html."""
        self._record_steps()
        self._bar.update(self._task, completed=1.0)
        self.shortcoming = _shortcoming(seen, seconds, self._validated)
        self._facts |= {"training time": f"{seconds / 60:.1f} minutes", "crops seen": f"{seen:,}"}
        self._facts |= {"note": self.shortcoming} if self.shortcoming else {}
        if self._main:
            try:
                write_report(self._folder, self._facts)
            except OSError as error:
                raise _cannot_write(self._folder / "report.html", error) from error

    def _record_steps(self) -> None:
        if not self._counts:
            return
        means = {name: self._sums[name] / self._counts[name] for name in self._counts}
        self._sums.clear()
        self._counts.clear()
        loss = means.pop("")
        seconds, seen = self._pending["seconds"], self._pending["photos"]
        since, before = self._rate_from or (seconds, seen)
        speed = (seen - before) / (seconds - since) if seconds > since else None
        self._rate_from = (seconds, seen)
        parts = "".join(f", {name} {value:.4f}" for name, value in means.items()) if len(means) > 1 else ""
        figures = f"step {self._pending['step']}, loss {loss:.5f}{parts}" + (f", {speed:.0f} photos/s" if speed else "")
        self._bar.update(self._task, figures=figures)
        now = time.monotonic()
        if self._bar.disable and now - self._said > PLAIN_INTERVAL:
            self._said = now
            self._show(f"{100 * self._progress:.1f} % {figures}")
        self._record({
            "kind": "train", **self._pending, "loss": loss, "losses": means,
            "photos_per_second": round(speed, 1) if speed else None,
        })  # fmt: skip

    def _show(self, text: str) -> None:
        if self._main:
            self._console.print(text, markup=False)

    def _line(self, text: str) -> None:
        if self._main:
            self._show(text)
            self._write(self._folder / "train.log", f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n", "a")

    def _record(self, record: dict[str, Any]) -> None:
        if not self._main:
            return
        self._write(self._folder / "metrics.jsonl", json.dumps(record) + "\n", "a")
        if self._board is not None:
            for name, value in (record | record["losses"]).items():
                if isinstance(value, int | float) and name != "step":
                    self._board.add_scalar(f"{record['kind']}/{name}", value, record["step"])

    def _write(self, path: Path, text: str, mode: str) -> None:
        try:
            with path.open(mode, encoding="utf-8") as out:
                out.write(text)
        except OSError as error:
            raise _cannot_write(path, error) from error

    def _replace(self, path: Path, text: str) -> None:
        """Writes a file anew; what is there stays when the disk is full."""
        part = path.with_name(f".{path.name}.part")
        try:
            part.write_text(text, encoding="utf-8")
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise _cannot_write(path, error) from error


def _shortcoming(seen: int, seconds: float, validated: Validation | None) -> str:
    """Says why a model that was trained on `seen` crops in so many seconds is of no use; empty where nothing shows it.

    The advice names whole hours, which leave half an hour at least: --minutes counts from the run's beginning.
    """
    further = f"Keep training with --resume --minutes {60 * math.ceil(seconds / 3600 + 0.5)}."
    if seen < FEW_CROPS:
        return (
            f"This training was too short to be of use: it saw {seen:,} crops, and {FEW_CROPS:,} are hardly enough."
            f" {further}"
        )
    if validated is not None and validated.loss >= validated.mean_colour_loss:
        return f"This model is no better than painting every photo in one average color. {further}"
    return ""


def _cannot_write(path: Path, error: OSError) -> TrainingInputError:
    return TrainingInputError(f"{path}: could not be written ({error.strerror}). Free some space and --resume.")


def model_summary(network: nn.Module) -> str:
    """A line for each part of a network: name, kind, parameters; two levels deep."""
    lines = []
    for name, module in network.named_modules():
        parameters = sum(p.numel() for p in module.parameters())
        if name and name.count(".") < 2 and parameters:
            lines.append(f"{'  ' * name.count('.')}{name:24}{type(module).__name__:24}{parameters:>12,}")
    return "\n".join(lines)
