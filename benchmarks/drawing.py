"""Plots of what the benchmarks measured.

    python benchmarks/drawing.py FILE.json FILE.png|webp

Draws what endtoend.py, scaling.py or startup.py wrote with --json. Needs matplotlib, of which, as in training's plots,
only objects are used.
"""

import argparse
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bwcolor_training.reporting.plots import COMPARED, TRAINING, VALIDATION, write_atomically
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

OURS, OTHERS = TRAINING, COMPARED
KIND_COLOURS = {"jpeg": TRAINING, "tiff16": VALIDATION}
# Okabe and Ito 2008, "Color Universal Design", as bwcolor_training.plots; gray is what belongs to no stage.
STAGE_COLOURS = {
    "decode": "#0072b2", "network": "#d55e00", "compose": "#e69f00", "encode": "#56b4e9", "splice": "#009e73",
    "hash": "#cc79a7", "write": "#f0e442", "rest": "#bbbbbb",
}  # fmt: skip
DPI = 120  # 8 pt text is readable at the width of a page, and a file stays below 40 KB
GRID = "#dddddd"
APART = 1.5  # times the next smaller amount, from which there is room for its number on a logarithmic scale
NARROW = 0.04  # share of a bar from which there is room for its figure

Found = dict[str, Any]


def draw(found: Found, target: Path) -> None:
    """Draws a benchmark's figures into a PNG or WebP file, as its name says."""
    figure, content = FIGURES[found["benchmark"]](found), io.BytesIO()
    figure.set_layout_engine("constrained", h_pad=0.08)
    FigureCanvasAgg(figure)
    settings = {"lossless": True, "method": 6} if target.suffix == ".webp" else {}  # smaller than lossy, for plots
    figure.savefig(content, format=target.suffix[1:], dpi=DPI, pil_kwargs=settings)
    write_atomically(target, content.getvalue())


def endtoend_figure(found: Found) -> Figure:
    """Left: seconds a photo by each way. Right: what a photo's processor time is spent on."""
    kinds = found["kinds"]
    bars = sum(len(one["ways"]) for one in kinds.values()) + len(kinds)
    figure = Figure((9.6, 1.2 + 0.26 * bars), DPI, facecolor="white")
    ways, stages = figure.subplots(1, 2, width_ratios=(1.15, 1))
    rows: list[tuple[float, str, float, str]] = []  # the first: where the bar is
    for gap, (kind, one) in enumerate(kinds.items()):
        for way, row in one["ways"].items():
            seconds = row["wall s a photo"]
            text = f"{seconds:.3g} s, {1 / seconds:.2g} photos/s"
            rows.append((len(rows) + 0.6 * gap, f"{kind}: {way}", seconds, text))
    bar_panel(ways, rows, "wall seconds for a photo of 12 megapixels")
    for place, one in enumerate(kinds.values()):
        spent = {**one["stages"]["ms"], "rest": one["shares"]["rest ms"]}
        stage_bar(stages, place, spent)
    stages.set_yticks(range(len(kinds)), list(kinds), fontsize=8)
    stages.invert_yaxis()
    stages.set_xlim(0, 100)
    plain(stages, "bwcolor's processor time: %, and ms", "x")
    drawn = [name for name in STAGE_COLOURS if any(name in {*one["stages"]["ms"], "rest"} for one in kinds.values())]
    handles = [stages.barh(0, 0, color=STAGE_COLOURS[name]) for name in drawn]
    stages.legend(handles, drawn, fontsize=7.5, ncols=4, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.1))
    return figure


def stage_bar(axes: Axes, place: int, spent: dict[str, float]) -> None:
    left, total = 0.0, sum(spent.values())
    for name, value in spent.items():
        share = 100 * value / total
        axes.barh(place, share, left=left, color=STAGE_COLOURS[name], height=0.6)
        if share > 100 * NARROW:
            axes.text(left + share / 2, place, f"{value:.0f}", ha="center", va="center", fontsize=7.5)
        left += share


def bar_panel(axes: Axes, rows: list[tuple[float, str, float, str]], title: str) -> None:
    """Bars of (place, name, value, text behind it); those of bwcolor stand out."""
    for place, name, value, text in rows:
        axes.barh(place, value, color=OURS if "bwcolor" in name else OTHERS, height=0.62)
        axes.annotate(text, (value, place), (3, 0), textcoords="offset points", va="center", fontsize=7.5)
    axes.set_yticks([place for place, *_ in rows], [name for _, name, *_ in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.45 * max(value for *_, value, _ in rows))
    plain(axes, title, "x")


def scaling_figure(found: Found) -> Figure:
    """Up to six panels: time and memory by the size of photos, of folders, and by threads."""
    drawers: list[tuple[str, Callable[[Axes, Axes, Any], None]]] = [
        ("sizes", draw_sizes), ("folders", draw_folders), ("threads", draw_threads),
    ]  # fmt: skip
    there = [(name, drawer) for name, drawer in drawers if name in found]
    figure = Figure((3.2 * len(there), 5.0), DPI, facecolor="white")
    panels = figure.subplots(2, len(there), squeeze=False)
    for column, (name, drawer) in enumerate(there):
        drawer(panels[0][column], panels[1][column], found[name])
    return figure


def draw_sizes(time: Axes, memory: Axes, found: Found) -> None:
    for kind, sizes in found.items():
        x = [point["megapixels"] for point in sizes["points"]]
        exponent = sizes["exponents beyond a small photo"].get("cpu")
        label = kind if exponent is None else f"{kind}, exponent {exponent:.2f}"
        time.plot(
            x,
            [point["cpu s a photo"] for point in sizes["points"]],
            "o-",
            ms=3.5,
            color=KIND_COLOURS[kind],
            label=label,
        )
        memory.plot(
            x, [point["peak MB"] for point in sizes["points"]], "o-", ms=3.5, color=KIND_COLOURS[kind], label=kind
        )
    decades(time, x)
    memory.set_ylim(0)
    plain(time, "processor seconds a photo")
    plain(memory, "peak memory, MB")
    for axes in (time, memory):
        axes.set_xlabel("megapixels of a photo", fontsize=8)
        axes.legend(fontsize=7.5, frameon=False, loc="upper left")


def draw_folders(time: Axes, memory: Axes, found: Found) -> None:
    x = [point["photos"] for point in found["points"]]
    exponent = found["exponents"].get("wall")
    label = "run" if exponent is None else f"run; beyond start-up: exponent {exponent:.2f}"
    time.plot(x, [point["wall s"] for point in found["points"]], "o-", ms=3.5, color=OURS, label=label)
    memory.plot(x, [point["peak MB"] for point in found["points"]], "o-", ms=3.5, color=OURS)
    decades(time, x)
    memory.set_xscale("log")
    amounts(memory, x)
    memory.set_ylim(0, 1.3 * max(point["peak MB"] for point in found["points"]))
    time.axhline(found["start s"], color=COMPARED, linestyle="--", linewidth=1.2, label="run over one photo")
    time.legend(fontsize=7.5, frameon=False, loc="upper left")
    plain(time, "wall seconds of a run")
    plain(memory, "peak memory, MB")
    for axes in (time, memory):
        axes.set_xlabel("photos of 96 x 64 px in the folder", fontsize=8)


def draw_threads(speed: Axes, memory: Axes, found: Found) -> None:
    x = [point["jobs"] for point in found["points"]]
    speed.plot(x, [point["photos a second"] for point in found["points"]], "o-", ms=3.5, color=OURS)
    memory.plot(x, [point["peak MB"] for point in found["points"]], "o-", ms=3.5, color=OURS)
    for axes, key in ((speed, "photos a second"), (memory, "peak MB")):
        axes.set_ylim(0, 1.25 * max(point[key] for point in found["points"]))
        axes.set_xlabel("photos at once (--jobs)", fontsize=8)
        axes.xaxis.set_major_locator(FixedLocator(x))
    plain(speed, "JPEGs of 12 megapixels a second")
    plain(memory, "peak memory, MB")


def startup_figure(found: Found) -> Figure:
    """Milliseconds of the help, and seconds to the first photo."""
    figure = Figure((7.2, 2.0), DPI, facecolor="white")
    axes = figure.subplots()
    milliseconds = {name: 1000 * seconds for name, seconds in found["help s"].items()}
    milliseconds["bwcolor, first photo written"] = 1000 * found["first photo"]["written s, median"]
    rows = [(float(place), name, one, f"{one:.0f}") for place, (name, one) in enumerate(milliseconds.items())]
    bar_panel(axes, rows, "milliseconds from the start")
    return figure


def decades(axes: Axes, x: list[float]) -> None:
    """Both scales logarithmic."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    amounts(axes, x)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def amounts(axes: Axes, x: list[float]) -> None:
    """A mark at each amount that was measured, the largest first, as far as there is room."""
    marked: list[float] = []
    for amount in sorted(x, reverse=True):
        if not marked or marked[-1] >= APART * amount:
            marked.append(amount)
    axes.xaxis.set_major_locator(FixedLocator(marked))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def plain(axes: Axes, title: str, grid: str = "both") -> None:
    """Title, grid and size of text that all panels share."""
    axes.set_title(title, loc="left", fontsize=9, fontweight="bold")
    axes.tick_params(labelsize=7.5)
    axes.grid(axis=grid, color=GRID, linewidth=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


FIGURES: dict[str, Callable[[Found], Figure]] = {
    "endtoend": endtoend_figure, "scaling": scaling_figure, "startup": startup_figure,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("json", type=Path)
    parser.add_argument("target", type=Path)
    chosen = parser.parse_args()
    draw(json.loads(chosen.json.read_text()), chosen.target)


if __name__ == "__main__":
    main()
