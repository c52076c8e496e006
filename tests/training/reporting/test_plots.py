"""Curves and grids of samples: every loss has its panel, odd records spoil nothing, files appear in one step."""

import json
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.reporting.plots import (
    AVERAGED,
    CELL,
    GRID_WIDTH,
    HEADER,
    LINE,
    POINTS,
    SPACE,
    TRAINING,
    VALIDATION,
    Sample,
    curves_figure,
    draw_curves,
    draw_samples,
    moving_average,
    progress,
    read_metrics,
    samples_grid,
    write_atomically,
)  # fmt: skip
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image


def train(step: int, loss: float = 0.5, **losses: float) -> dict[str, Any]:
    return {
        "kind": "train", "step": step, "loss": loss, "losses": losses or {"huber": loss}, "learning_rate": 1e-3,
        "photos": 64 * step, "seconds": 2.0 * step, "photos_per_second": 32.0,
    }  # fmt: skip


def validation(step: int, loss: float = 0.4, **losses: float) -> dict[str, Any]:
    return {
        "kind": "validation", "step": step, "size": 128, "photos": 12, "psnr": 20 + step / 100, "de00": 9.0,
        "colourfulness": 20.0, "colourfulness_truth": 40.0, "colourfulness_ratio": 0.5,
        "losses": losses or {"huber": loss}, "loss": loss, "mean_colour_loss": 0.45,
    }  # fmt: skip


def write(folder: Path, *records: dict[str, Any] | str) -> Path:
    """A metrics.jsonl of records and of lines given as text."""
    path = folder / "metrics.jsonl"
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in records), encoding="utf-8")
    return path


def panels(figure: Figure) -> dict[str, Axes]:
    return {axes.get_title(loc="left"): axes for axes in figure.axes}


def lines(axes: Axes, color: str) -> list[Line2D]:
    return [line for line in axes.get_lines() if to_hex(line.get_color()) == color]


def values(line: Line2D) -> list[float]:
    return [float(value) for value in np.asarray(line.get_ydata())]


def test_no_file_no_records(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_a_cut_off_line_and_what_is_unknown_are_passed_over(tmp_path: Path) -> None:
    path = write(
        tmp_path, train(50), '{"kind": "tra{"kind": "train", "step": 60}', {"kind": "note", "step": 1},
        {"kind": "train"}, {"kind": "train", "step": "70"}, "[1, 2]", "", validation(100), json.dumps(train(150))[:-20],
    )  # fmt: skip
    assert [(r["kind"], r["step"]) for r in read_metrics(path)] == [("train", 50), ("validation", 100)]


def test_bytes_that_are_no_text_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(json.dumps(train(50)).encode() + b"\n\xff\xfe\n")
    assert len(read_metrics(path)) == 1


def test_records_without_kinds_are_read(tmp_path: Path) -> None:
    old: list[dict[str, Any]] = [
        {"step": 50, "loss": 0.1, "photos": 3},
        {"step": 50, "size": 128, "validation": {"psnr": 21.0, "photos": 7}},
    ]
    records = read_metrics(write(tmp_path, *old))
    assert [r["kind"] for r in records] == ["train", "validation"]
    assert (records[1]["psnr"], records[1]["photos"], records[1]["size"]) == (21.0, 7, 128)


def test_what_a_resumed_run_did_again_replaces_the_old(tmp_path: Path) -> None:
    path = write(
        tmp_path, train(50, 1), train(100, 1), validation(100, 1), train(150, 1), train(200, 1), validation(200, 1),
        train(100, 2), validation(100, 2), train(150, 2),
    )  # fmt: skip
    kept = [(r["kind"], r["step"], r["loss"]) for r in read_metrics(path)]
    assert kept == [("train", 50, 1), ("train", 100, 2), ("validation", 100, 2), ("train", 150, 2)]


def test_the_final_validation_keeps_the_training_record_of_its_step(tmp_path: Path) -> None:
    path = write(tmp_path, train(50), validation(50, 1), validation(50, 2))
    assert [(r["kind"], r["loss"]) for r in read_metrics(path)] == [("train", 0.5), ("validation", 2)]


def test_progress_in_words() -> None:
    assert progress([train(1000), validation(1100)]) == ["step 1,100", "64,000 photos seen", "33 min 20 s"]
    assert progress([train(5000)])[2] == "2 h 46 min"
    assert progress([{"kind": "train", "step": 3, "photos": math.nan}]) == ["step 3"]
    assert progress([]) == []


def test_every_loss_and_every_score_has_its_panel() -> None:
    records = [train(50, huber=0.2, bce=0.6, critic=0.7), validation(50, huber=0.3, bce=0.5, perceptual=0.1)]
    assert list(panels(curves_figure(records))) == [
        "training loss, total", "validation loss, total", "loss: huber", "loss: bce", "loss: critic",
        "loss: perceptual", "PSNR, dB", "CIEDE2000", "colourfulness, % of the truth's", "learning rate", "photos/s",
    ]  # fmt: skip


def test_training_and_validation_share_the_panel_of_a_loss() -> None:
    axes = panels(curves_figure([train(50, huber=0.2), train(100, huber=0.1), validation(100, huber=0.3)]))[
        "loss: huber"
    ]
    (training,), (validated,) = lines(axes, TRAINING), lines(axes, VALIDATION)
    assert values(training) == [0.2, 0.1]
    assert values(validated) == [0.3]
    assert np.asarray(validated.get_xdata()).tolist() == [100]


def test_the_mean_colour_is_a_dashed_line() -> None:
    axes = panels(curves_figure([validation(50), validation(100)]))["validation loss, total"]
    (dashed,) = [line for line in axes.get_lines() if line.get_linestyle() == "--"]
    assert values(dashed) == [0.45, 0.45]
    assert [text.get_text() for text in axes.texts] == ["mean colour of the training photos"]


def test_colourfulness_is_in_percent_and_compared_with_the_truth() -> None:
    axes = panels(curves_figure([validation(50)]))["colourfulness, % of the truth's"]
    assert values(lines(axes, VALIDATION)[0]) == [50]
    assert [values(line)[0] for line in axes.get_lines() if line.get_linestyle() == "--"] == [100]


def test_the_best_score_is_named() -> None:
    records = [validation(1000, 0.4), validation(2000, 0.2) | {"psnr": 35.5}, validation(3000, 0.3)]
    drawn = panels(curves_figure(records))
    assert drawn["validation loss, total"].get_title(loc="right") == "best 0.2 at 2k"
    assert drawn["PSNR, dB"].get_title(loc="right") == "best 50 at 3k"


@pytest.mark.parametrize(
    ("losses", "scale"),
    [((1.0, 0.05), "log"), ((1.0, 0.2), "linear"), ((1.0, 0.0), "linear"), ((1.0, -0.01), "linear")],
)
def test_a_loss_over_more_than_a_decade_is_drawn_on_a_log_scale(losses: tuple[float, float], scale: str) -> None:
    figure = curves_figure([train(50, losses[0]), train(100, losses[1])])
    assert panels(figure)["training loss, total"].get_yscale() == scale
    assert panels(figure)["learning rate"].get_yscale() == "linear"


def test_many_records_get_a_moving_average() -> None:
    few = panels(curves_figure([train(step) for step in range(1, AVERAGED)]))["training loss, total"]
    many = panels(curves_figure([train(step, 0.5 + 0.1 * (step % 2)) for step in range(1, 501)]))
    raw, average = lines(many["training loss, total"], TRAINING)
    assert len(lines(few, TRAINING)) == 1
    assert float(raw.get_linewidth()) < float(average.get_linewidth())
    assert np.ptp(values(raw)) == pytest.approx(0.1)
    assert np.ptp(values(average)) < 0.01
    assert len(lines(many["learning rate"], TRAINING)) == 1  # a schedule has no noise


def test_the_moving_average_keeps_a_constant_up_to_both_ends() -> None:
    assert moving_average(np.full(200, 3.0)) == pytest.approx(np.full(200, 3.0))
    assert moving_average(np.arange(200.0))[100] == pytest.approx(100)
    assert moving_average(np.array([1.0, 5.0])).tolist() == [1, 5]


def test_a_long_curve_is_thinned_without_losing_its_peaks() -> None:
    records = [train(step, 9.0 if step == 7777 else 1.0) for step in range(1, 20_001)]
    raw, _ = lines(panels(curves_figure(records))["training loss, total"], TRAINING)
    steps = np.asarray(raw.get_xdata())
    assert len(steps) <= POINTS + 2
    assert (steps[0], steps[-1]) == (1, 20_000)
    assert np.all(np.diff(steps) > 0)
    assert steps[np.argmax(values(raw))] == 7777


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf, 1e300, 10**400])
def test_a_loss_that_is_not_finite_is_marked_and_left_out(tmp_path: Path, broken: float) -> None:
    records = [train(50, 0.4), train(100, broken), train(150, 0.3), validation(150, broken)]
    figure = curves_figure(read_metrics(write(tmp_path, *records)))
    training, crosses = panels(figure)["training loss, total"].get_lines()
    assert values(training) == [0.4, 0.3]
    assert np.asarray(crosses.get_xdata()).tolist() == [100]
    assert crosses.get_marker() == "x"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["training", "validation", "not finite"]


def test_records_may_lack_anything_and_hold_odd_things(tmp_path: Path) -> None:
    path = write(
        tmp_path, {"kind": "train", "step": 0}, {"kind": "train", "step": 1, "losses": None, "loss": "0.5"},
        {"kind": "train", "step": 2, "losses": {"huber": None, "bce": [1]}, "photos_per_second": None, "loss": True},
        {"kind": "validation", "step": 3, "losses": [0.5], "psnr": {}}, {"kind": "validation", "step": 4, "psnr": 20},
    )  # fmt: skip
    assert list(panels(curves_figure(read_metrics(path)))) == ["PSNR, dB"]


def test_hostile_loss_names_are_drawn_as_text(tmp_path: Path) -> None:
    """Neither as a formula, which may be malformed, nor in letters that the font lacks, which warns."""
    draw_curves(write(tmp_path, train(50, 0.5, **{"$\\frac{$\n\u6f22\x00": 1.0})), tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        assert (image.format, image.width) == ("PNG", 1800)


@pytest.mark.parametrize(
    "records", [[], [train(50)], [validation(0, math.nan)], [train(10**29, 1e29, a=-1e29, b=1e-29)]]
)
def test_the_shortest_and_the_oddest_runs_are_drawn(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    draw_curves(write(tmp_path, *records), tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        image.load()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["curves.png", "metrics.jsonl"]


def test_curves_differ_with_the_records(tmp_path: Path) -> None:
    for name, loss in (("a", 0.5), ("b", 0.6)):
        (tmp_path / name).mkdir()
        draw_curves(write(tmp_path / name, train(50, 0.4), train(100, loss)), tmp_path / name / "curves.png")
    assert (tmp_path / "a" / "curves.png").read_bytes() != (tmp_path / "b" / "curves.png").read_bytes()


def test_threads_may_draw_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, train(50), train(100), validation(100))
    targets = [tmp_path / f"{number}.png" for number in range(2)]
    threads = [threading.Thread(target=draw_curves, args=(path, target)) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({target.read_bytes() for target in targets}) == 1


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "curves.png"
    target.write_bytes(b"old")

    def full(path: Path, content: bytes) -> int:
        with path.open("wb") as out:
            out.write(content[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(TrainingInputError, match=r"curves\.png: could not be written \(No space left on device\)"):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["curves.png"]


def test_the_new_file_comes_whole_and_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "new folder" / "curves.png"
    seen: list[bytes] = []
    replace = Path.replace

    def watched(part: Path, to: Path) -> Path:
        seen.append(part.read_bytes())
        assert not to.exists()
        return replace(part, to)

    monkeypatch.setattr(Path, "replace", watched)
    write_atomically(target, b"new")
    assert seen == [b"new"]
    assert target.read_bytes() == b"new"


def sample(size: int, shade: int = 100) -> Sample:
    """Gray of one shade with a brighter corner pixel; output red, truth green."""
    gray = np.full((size, size), shade, np.uint8)
    gray[0, 0] = 255
    output, truth = np.zeros((2, size, size, 3), np.uint8)
    output[..., 0], truth[..., 1] = shade, shade
    return Sample("photo", gray, output, truth)


def test_a_triple_is_gray_output_truth() -> None:
    grid = np.asarray(samples_grid([sample(CELL, 90)]))
    assert grid.shape == (HEADER + CELL + SPACE, 3 * CELL + 2 * LINE + 2 * SPACE, 3)
    middles = [SPACE + place * (CELL + LINE) + CELL // 2 for place in range(3)]
    assert grid[HEADER + CELL // 2, middles].tolist() == [[90, 90, 90], [90, 0, 0], [0, 90, 0]]
    dark = np.asarray((grid[:HEADER] < 100).any((0, 2)))  # the names above the columns
    assert all(dark[middle - 30 : middle + 30].any() for middle in middles)


def test_small_photos_are_enlarged_pixel_by_pixel() -> None:
    grid = np.asarray(samples_grid([sample(32)]))
    cell = grid[HEADER : HEADER + CELL, SPACE : SPACE + CELL, 0]
    assert np.all(cell[:4, :4] == 255)
    assert np.all(cell[4:] == 100)
    assert np.all(cell[:, 4:] == 100)


def test_rows_are_as_even_as_can_be_and_in_order() -> None:
    grid = np.asarray(samples_grid([sample(32, 100 + n) for n in range(5)]))
    triple = 3 * CELL + 2 * LINE + SPACE
    places = [(HEADER + CELL // 2 + row * (CELL + SPACE), SPACE + CELL // 2 + column * triple)
              for row, column in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1))]  # fmt: skip
    assert [int(grid[place][0]) for place in places] == [100, 101, 102, 103, 104]
    assert grid.shape[1] == SPACE + 3 * triple


@pytest.mark.parametrize(("size", "count"), [(32, 40), (100, 7), (128, 8), (256, 16), (529, 1), (700, 2), (1, 1)])
def test_a_grid_is_never_too_wide(size: int, count: int) -> None:
    assert samples_grid(count * [sample(size)]).width <= GRID_WIDTH


def test_samples_become_a_png_in_a_new_folder(tmp_path: Path) -> None:
    target = tmp_path / "samples" / "step-000200.png"
    draw_samples([sample(32)], target)
    with Image.open(target) as image:
        assert np.array_equal(np.asarray(image), np.asarray(samples_grid([sample(32)])))
    assert [p.name for p in target.parent.iterdir()] == [target.name]


def test_no_samples_no_file(tmp_path: Path) -> None:
    draw_samples([], tmp_path / "samples" / "step-000200.png")
    assert list(tmp_path.iterdir()) == []
