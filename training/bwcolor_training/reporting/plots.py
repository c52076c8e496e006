"""Pictures of a training run: the curves of metrics.jsonl, and grids of validation photos.

Only matplotlib's objects are used, never pyplot: nothing global changes, so a thread may draw.
"""

import io
import json
import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bwcolor_training.errors import TrainingInputError
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Floats = NDArray[np.float64]
Record = dict[str, Any]  # a line of metrics.jsonl
KINDS = ("train", "validation")
DIVERGED = 1e30  # a larger value counts as not finite: no axis can show it beside others

# Told apart with any colour vision: blue and vermillion of Okabe and Ito 2008, "Color Universal Design".
TRAINING, VALIDATION = "#0072b2", "#d55e00"
COMPARED = "#555555"
AVERAGED = 25  # from so many points on there is a moving average, and it covers one in so many of them
POINTS = 1000  # drawn of a curve at most, about two a pixel
DOTTED = 60  # points of a curve that still get a dot each
COLUMNS = 3
PANEL = (4.0, 2.4)  # inches, width and height, with titles and labels
TOP, BOTTOM, LEFT, RIGHT = 0.6, 0.5, 0.68, 0.12  # inches kept free for them; fixed, since fitting takes seconds
DPI = 150  # three columns are 1800 px: sharp on dense screens, and 8 pt text is readable when shown at 1200 px
LEGEND = ("training", "training, moving average", "validation", "not finite")

GRID_WIDTH = 1600  # px, of a grid of samples at most
CELL = 128  # px; photos of half of it and less are enlarged
LINE, SPACE, HEADER = 2, 8, 26  # px inside a triple, around it, above the first
COLUMN_NAMES = ("gray", "output", "truth")
PAPER, INK = (238, 238, 238), (40, 40, 40)  # RGB; light neutral gray, against which colours are judged best


def read_metrics(path: Path) -> list[Record]:
    """The records of training and validation that have a step, in its order; none when there is no file.

    A line that was cut off is passed over. What a resumed run did again replaces what was done before.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    kept: list[Record] = []
    lowest, kinds = math.inf, set[str]()  # the step of the record kept last, and the kinds kept of this step
    for line in reversed(lines):
        record = _parse(line)
        if record is None or record["step"] > lowest:
            continue
        if record["step"] < lowest:
            lowest, kinds = record["step"], set()
        if record["kind"] not in kinds:
            kinds.add(record["kind"])
            kept.append(record)
    return kept[::-1]


def _parse(line: str) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    if "kind" not in record:  # as runs of the first days wrote them
        scores = record.get("validation")
        record |= {"kind": "validation", **scores} if isinstance(scores, dict) else {"kind": "train"}
    step = record.get("step")
    return record if record["kind"] in KINDS and isinstance(step, int) and 0 <= step < DIVERGED else None


def number(record: Record, *keys: str) -> float | None:
    """The number at record[key][key]...; NaN when it is not finite, None when there is none."""
    value: Any = record
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -DIVERGED < value < DIVERGED else math.nan


def loss_names(records: list[Record]) -> list[str]:
    """The names of the single losses, the first seen first."""
    names: dict[str, None] = {}
    for record in records:
        losses = record.get("losses")
        names |= dict.fromkeys(losses) if isinstance(losses, dict) else {}
    return list(names)


def progress(records: list[Record]) -> list[str]:
    """How far a run has come, in words: its last step, photos seen, time."""
    if not records:
        return []
    last = next((r for r in reversed(records) if r["kind"] == "train"), {})
    photos, seconds = number(last, "photos"), number(last, "seconds")
    parts = [f"step {records[-1]['step']:,}"]
    if photos is not None and math.isfinite(photos):
        parts.append(f"{photos:,.0f} photos seen")
    if seconds is not None and math.isfinite(seconds):
        minutes, rest = divmod(round(seconds), 60)
        parts.append(f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s")
    return parts


@dataclass(frozen=True, slots=True, eq=False)
class _Series:
    """A curve. steps, values: (n), finite. broken: (m) steps at which the value was not finite."""

    steps: Floats
    values: Floats
    broken: Floats


NOTHING = _Series(np.empty(0), np.empty(0), np.empty(0))


@dataclass(frozen=True, slots=True, eq=False)
class _Panel:
    """What one pair of axes shows. compared: the name and value of a dashed line.

    decades: whether the scale may be logarithmic. zero: whether it begins at 0. smooth: whether the
    training's values need no average. best: finds the best score of a validation, if there is one.
    """

    title: str
    training: _Series = NOTHING
    validation: _Series = NOTHING
    compared: tuple[str, float] | None = None
    decades: bool = False
    zero: bool = False
    smooth: bool = False
    best: Callable[[Floats], np.intp] | None = None

    def filled(self) -> bool:
        return any(len(s.steps) + len(s.broken) for s in (self.training, self.validation))


def draw_curves(metrics: Path, target: Path) -> None:
    """Draws the curves of a metrics.jsonl into a PNG file; raises TrainingInputError when it can't be written."""
    figure, content = curves_figure(read_metrics(metrics)), io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(content, format="png", dpi=DPI)
    write_atomically(target, content.getvalue())


def curves_figure(records: list[Record]) -> Figure:
    """The curves over the steps: a panel for each loss and each score that has a value."""
    panels = _panels(records)
    columns, rows = COLUMNS, max(1, math.ceil(len(panels) / COLUMNS))
    width, height = columns * PANEL[0], rows * PANEL[1] + TOP
    figure = Figure((width, height), DPI, facecolor="white")
    figure.text(LEFT / width, 1 - 0.1 / height, _headline(records), ha="left", va="top", fontsize=11)
    first: Axes | None = None
    drawn: dict[str, Artist] = {}
    for place, panel in enumerate(panels):
        row, column = divmod(place, columns)
        left, bottom = column * PANEL[0] + LEFT, height - TOP - (row + 1) * PANEL[1] + BOTTOM
        inner = (PANEL[0] - LEFT - RIGHT) / width, (PANEL[1] - BOTTOM) / height
        axes = figure.add_axes((left / width, bottom / height, *inner), sharex=first)
        first = first or axes
        drawn |= _draw(axes, panel)
        _style(axes, panel)
        if place + columns >= len(panels):
            axes.set_xlabel("step", fontsize=8, labelpad=1)
    if first is not None:
        first.xaxis.set_major_formatter(EngFormatter(sep=""))  # 12000 is 12k
        first.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        names = [name for name in LEGEND if name in drawn]
        figure.legend(
            [drawn[name] for name in names], names, loc="upper right", ncols=len(names), fontsize=9, frameon=False,
            bbox_to_anchor=(1 - RIGHT / width, 1), borderaxespad=0.3,
        )  # fmt: skip
    return figure


def _headline(records: list[Record]) -> str:
    if not records:
        return "no records yet"
    validated = any(record["kind"] == "validation" for record in records)
    return "  ·  ".join([*progress(records), *([] if validated else ["no validation yet"])])


def _panels(records: list[Record]) -> list[_Panel]:
    def training(*keys: str) -> _Series:
        return _series(records, "train", 1, *keys)

    def validation(*keys: str) -> _Series:
        return _series(records, "validation", 1, *keys)

    mean_colour = validation("mean_colour_loss").values
    compared = ("mean colour of the training photos", mean_colour[-1]) if len(mean_colour) else None
    ratio = _series(records, "validation", 100, "colourfulness_ratio")
    panels = [
        _Panel("training loss, total", training("loss"), decades=True),
        _Panel("validation loss, total", NOTHING, validation("loss"), compared, decades=True, best=np.argmin),
        *(
            _Panel(_plain(name), training("losses", name), validation("losses", name), decades=True)
            for name in loss_names(records)
        ),
        _Panel("PSNR, dB", NOTHING, validation("psnr"), best=np.argmax),
        _Panel("CIEDE2000", NOTHING, validation("de00"), best=np.argmin),
        _Panel("colourfulness, % of the truth's", NOTHING, ratio, ("the truth", 100.0)),
        _Panel("learning rate", training("learning_rate"), zero=True, smooth=True),
        _Panel("photos/s", training("photos_per_second"), zero=True),
    ]
    return [panel for panel in panels if panel.filled()]


def _series(records: list[Record], kind: str, factor: float, *keys: str) -> _Series:
    pairs = [(r["step"], value) for r in records if r["kind"] == kind and (value := number(r, *keys)) is not None]
    steps, values = np.array(pairs, np.float64).reshape(-1, 2).T
    finite = np.isfinite(values)
    return _Series(steps[finite], factor * values[finite], steps[~finite])


def _plain(name: str) -> str:
    """A loss's name as a title; what matplotlib's font may lack is spelt out."""
    return "loss: " + ascii(name)[1:-1][:24]


def _draw(axes: Axes, panel: _Panel) -> dict[str, Artist]:
    """Draws the curves; returns names and samples for the legend."""
    drawn: dict[str, Artist] = {}
    steps, values = panel.training.steps, panel.training.values
    if len(steps):
        averaged = len(steps) >= AVERAGED and not panel.smooth
        dot = "." if len(steps) < AVERAGED else ""
        line = _thinned(steps, values)
        (raw,) = axes.plot(
            *line, color=TRAINING, alpha=0.4 if averaged else 1, linewidth=0.8 if averaged else 1.5, marker=dot
        )
        if not panel.smooth:
            drawn["training"] = raw
        if averaged:
            line = _thinned(steps, moving_average(values))
            (drawn["training, moving average"],) = axes.plot(*line, color=TRAINING, linewidth=1.8)
    steps, values = panel.validation.steps, panel.validation.values
    if len(steps):
        dot = "o" if len(steps) <= DOTTED else ""
        line = _thinned(steps, values)
        (drawn["validation"],) = axes.plot(*line, color=VALIDATION, linewidth=1.5, marker=dot, markersize=3.5)
    broken = np.union1d(panel.training.broken, panel.validation.broken)
    if len(broken):
        top = axes.get_xaxis_transform()
        (drawn["not finite"],) = axes.plot(
            broken, np.full(len(broken), 0.96), "x", color="black", markersize=5, transform=top, clip_on=False
        )
    if panel.compared is not None:
        name, value = panel.compared
        axes.axhline(value, color=COMPARED, linestyle="--", linewidth=1.2)
        right = axes.get_yaxis_transform()
        axes.text(0.99, value, name, transform=right, ha="right", va="bottom", fontsize=7.5, color=COMPARED)
    return drawn


def _style(axes: Axes, panel: _Panel) -> None:
    """Titles, grid and scale."""
    axes.set_title(panel.title, loc="left", fontsize=9.5, fontweight="bold", parse_math=False)
    text, color = _figure_of(panel)
    axes.set_title(text, loc="right", fontsize=8.5, color=color)
    axes.tick_params(labelsize=8)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(0.02, 0.12 if panel.compared else 0.05)  # above a dashed line there is text
    compared = [panel.compared[1]] if panel.compared else []
    values = np.concatenate([panel.training.values, panel.validation.values, compared])
    if panel.zero:
        axes.set_ylim(0, 1.1 * max(values, default=0) or 1)
    if panel.decades and len(values) and values.min() > 0 and values.max() > 10 * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if values.max() < 500 * values.min() else (1,)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.ticklabel_format(style="plain", useOffset=False)  # a factor of its own would cover the title


def _figure_of(panel: _Panel) -> tuple[str, str]:
    """What a person looks for first, with its curve's colour: the best score, or where the curve is now."""
    steps, values = panel.validation.steps, panel.validation.values
    if len(values) and panel.best is not None:
        best = panel.best(values)
        return f"best {values[best]:.4g} at {EngFormatter(sep='')(steps[best])}", VALIDATION
    if len(values):
        return f"now {values[-1]:.4g}", VALIDATION
    values = panel.training.values if panel.smooth else moving_average(panel.training.values)
    return (f"now {values[-1]:.4g}" if len(values) else ""), TRAINING


def moving_average(values: Floats) -> Floats:
    """The mean around each of (n) finite values: over 5 to 1/25 of them, fewer at both ends. Few stay as they are."""
    if len(values) < AVERAGED:
        return values
    window = np.ones(2 * max(2, len(values) // (2 * AVERAGED)) + 1)
    return np.asarray(np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same"))


def _thinned(steps: Floats, values: Floats) -> tuple[Floats, Floats]:
    """The lowest and the highest point of each stretch of a long curve: no peak gets lost."""
    if len(steps) <= POINTS:
        return steps, values
    parts = np.array_split(np.arange(len(steps)), POINTS // 2)
    extremes = [part[find(values[part])] for part in parts for find in (np.argmin, np.argmax)]
    chosen = np.unique([0, *extremes, len(steps) - 1])
    return steps[chosen], values[chosen]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One validation photo. gray: (size, size), output and truth: (size, size, 3) RGB; all uint8 0..255."""

    name: str
    gray: NDArray[np.uint8]
    output: NDArray[np.uint8]
    truth: NDArray[np.uint8]


def draw_samples(samples: list[Sample], target: Path) -> None:
    """Draws rows of (gray, output, truth) into a PNG file; nothing when there are no samples.

    All samples have one size. Raises TrainingInputError when the file can't be written.
    """
    if not samples:
        return
    content = io.BytesIO()
    samples_grid(samples).save(content, "PNG")
    write_atomically(target, content.getvalue())


def samples_grid(samples: list[Sample]) -> Image.Image:
    """The grid of one or more samples, RGB, at most GRID_WIDTH px wide."""
    size = len(samples[0].gray)
    widest = (GRID_WIDTH - 2 * SPACE - 2 * LINE) // 3
    cell = size * max(1, CELL // size) if size <= widest else widest
    triple = 3 * cell + 2 * LINE
    fitting = max(1, (GRID_WIDTH - SPACE) // (triple + SPACE))
    rows = math.ceil(len(samples) / fitting)
    columns = math.ceil(len(samples) / rows)  # as even as can be: 5 photos are 3 and 2, not 4 and 1
    grid = Image.new("RGB", (SPACE + columns * (triple + SPACE), HEADER + rows * (cell + SPACE)), PAPER)
    pen, font = ImageDraw.Draw(grid), ImageFont.load_default(15)
    for column in range(columns):
        for place, name in enumerate(COLUMN_NAMES):
            middle = SPACE + column * (triple + SPACE) + place * (cell + LINE) + cell / 2
            pen.text((middle, HEADER / 2), name, INK, font, anchor="mm")
    enlarging = Image.Resampling.NEAREST if cell >= size else Image.Resampling.BOX
    for index, sample in enumerate(samples):
        row, column = divmod(index, columns)
        for place, photo in enumerate((sample.gray, sample.output, sample.truth)):
            left, top = SPACE + column * (triple + SPACE) + place * (cell + LINE), HEADER + row * (cell + SPACE)
            grid.paste(Image.fromarray(photo).resize((cell, cell), enlarging), (left, top))
    return grid


def write_atomically(target: Path, content: bytes) -> None:
    """Makes the folder, then the file in one step: who looks at it meanwhile sees the old one or the new one."""
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(content)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise TrainingInputError(
            f"{target}: could not be written ({error.strerror}). Free some space, or make its folder writable."
        ) from error
