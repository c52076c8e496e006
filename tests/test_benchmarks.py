"""The benchmarks start, their fit is right, and their plots are drawn from what they write."""

import importlib
import json
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
LIBRARIES = {BENCHMARKS / "children.py"}  # only imported


@pytest.fixture(autouse=True)
def own_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The benchmarks' modules are found for one test only: their names are everyday words."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name in [path.stem for path in BENCHMARKS.glob("*.py")]:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("script", sorted(set(BENCHMARKS.glob("*.py")) - LIBRARIES), ids=lambda path: path.stem)
def test_every_benchmark_says_how_it_is_called(
    script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 0
    assert f"python benchmarks/{script.name}" in capsys.readouterr().out


@pytest.mark.parametrize("exponent", [0.5, 1, 1.3])
def test_power_law_is_found_again(exponent: float) -> None:
    amounts = [1.0, 3, 12, 140]
    found = importlib.import_module("scaling").power_law(amounts, [0.2 * amount**exponent for amount in amounts])
    assert found == pytest.approx((exponent, 0.2))


def test_power_law_of_scattered_costs_is_that_of_least_squares() -> None:
    # By hand: logarithms to base 10 are (0, 0), (1, 2), (2, 1); slope 1 / 2, height at 0 1 / 2.
    assert importlib.import_module("scaling").power_law([1, 10, 100], [1, 100, 10]) == pytest.approx((0.5, 10**0.5))


def test_noise_below_start_up_gives_no_exponent() -> None:
    points = [
        {"photos": 10, "wall s a photo": -0.1, "cpu s a photo": 1.0},
        {"photos": 100, "wall s a photo": 1.0, "cpu s a photo": 10.0},
    ]
    assert importlib.import_module("scaling").exponents(points, "photos") == {"cpu": pytest.approx(1)}


def test_what_was_asked_is_told_with_whether_it_was_met() -> None:
    asked = importlib.import_module("endtoend").Asked
    assert str(asked("speed", 8, 8.04)) == "speed: asked at least 8, measured 8.04"
    assert str(asked("peak", 350, 351.2, True, " MB")) == "peak: asked at most 350 MB, measured 351 MB  (missed)"


def test_run_is_set_beside_its_parts_and_the_slowest_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    endtoend = importlib.import_module("endtoend")
    monkeypatch.setattr(endtoend.os, "cpu_count", lambda: 2)
    row = {"wall s a photo": 0.1, "cpu s a photo": 0.18}
    stages = {"ms": {"decode": 40.0, "network": 20, "compose": 30, "encode": 10, "hash": 5}, "disk s a photo": 0.05}
    assert endtoend.shares(row, stages) == pytest.approx(
        {"run ms": 180, "parts ms": 100, "run over parts": 1.8, "codec share of parts": 0.5, "rest ms": 75}
    )
    assert endtoend.limits(row, stages)["wall over slowest"] == pytest.approx(0.1 / 0.09)
    assert endtoend.limits(row, {**stages, "disk s a photo": 0.2})["wall over slowest"] == pytest.approx(0.5)


def test_start_up_looks_at_every_module_that_the_help_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    startup = importlib.import_module("startup")
    assert {"bwcolor.cli.app", "typer"} <= set(startup.imported())
    monkeypatch.setattr(startup, "HEAVY", ("numpy", "typer"))
    with pytest.raises(SystemExit, match="imports typer"):
        startup.imported()


def test_a_child_is_measured() -> None:
    children = importlib.import_module("children")
    work = "x = bytearray(80_000_000); x[::1000] = b'1' * 80_000; sum(range(10**6)); raise SystemExit(3)"
    cost = children.cost_of([sys.executable, "-c", work])
    assert cost.exit_code == 3
    assert cost.peak > 80
    assert 0 < cost.cpu <= cost.wall + 0.05
    assert children.apart(sum, [1, 2]) == 3


def _cost(wall: float) -> dict[str, float]:
    return {"wall s a photo": wall, "cpu s a photo": 2 * wall, "peak MB": 190.0}


FOUND: dict[str, dict[str, Any]] = {
    "endtoend": {
        "kinds": {
            kind: {
                "ways": {"bwcolor fast": _cost(0.08), "naive": _cost(0.7)},
                "stages": {"ms": {"decode": 30.0, "network": 20.0, "compose": 40.0, "encode": 10.0}},
                "shares": {"rest ms": 15.0},
            }
            for kind in ("jpeg", "tiff16")
        }
    },
    "scaling": {
        "sizes": {
            "jpeg": {
                "points": [{"megapixels": size, **_cost(0.01 * size)} for size in (1, 12, 140)],
                "exponents beyond a small photo": {"cpu": 1.01},
            }
        },
        "folders": {
            "start s": 0.9,
            "points": [{"photos": count, "wall s": 0.9 + 0.01 * count, "peak MB": 138.0} for count in (10, 1000)],
            "exponents": {},
        },
        "threads": {"points": [{"jobs": jobs, "photos a second": 6.0 * jobs, "peak MB": 150.0} for jobs in (1, 2)]},
    },
    "startup": {"help s": {"bwcolor --help": 0.09, "bare": 0.07}, "first photo": {"written s, median": 0.9}},
}  # fmt: skip


@pytest.mark.parametrize(("name", "ending"), [("endtoend", "webp"), ("scaling", "webp"), ("startup", "png")])
def test_a_plot_is_drawn_from_a_benchmarks_json(
    name: str, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "found.json").write_text(json.dumps({"benchmark": name, **FOUND[name]}))
    target = tmp_path / f"plot.{ending}"
    monkeypatch.setattr(sys, "argv", ["drawing.py", str(tmp_path / "found.json"), str(target)])
    runpy.run_path(str(BENCHMARKS / "drawing.py"), run_name="__main__")
    with Image.open(target) as plot:
        assert plot.format == ending.upper()
        assert plot.width >= 800
        assert len(plot.convert("RGB").getcolors(1 << 20) or []) > 20  # bars, lines, text: not an empty sheet


def test_drawing_knows_every_benchmark_that_plots() -> None:
    drawing = importlib.import_module("drawing")
    plotting = {
        path.stem for path in BENCHMARKS.glob("*.py") if "--plot" in path.read_text() and path.stem != "drawing"
    }
    assert plotting <= set(drawing.FIGURES)
