"""The order of the packages: imports point down, and nothing goes round in a circle."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# From the top: a module may import from its own package and from those below it.
FLOORS = ("cli", "checks", "batch", "inference", "models", "photo", "imaging", "system")
BASE = ("options", "errors")  # below all packages


def modules(root: Path, package: str) -> dict[str, Path]:
    """Every module of a package by its dotted name."""
    found = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(source: str, known: dict[str, Path]) -> Iterator[str]:
    """The known modules that a source imports, anywhere in it: also in functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name in known:
                yield name
            elif (parent := name.rpartition(".")[0]) in known:
                yield parent


def floor(module: str) -> int:
    """How high a module lies, 0 on top; what every floor may use is lowest, the package itself and the CLI highest."""
    parts = module.split(".")
    if len(parts) == 1 or parts[1] == "__main__":
        return -1
    return FLOORS.index(parts[1]) if parts[1] in FLOORS else len(FLOORS) + BASE.index(parts[1])


def upward(graph: dict[str, list[str]]) -> list[str]:
    """Imports that point up; that of the package itself, for its version, is none."""
    return [
        f"{module} imports {other}"
        for module, others in graph.items()
        for other in others
        if other.count(".") and floor(other) < floor(module)
    ]


def graph_of(root: Path, package: str) -> dict[str, list[str]]:
    known = modules(root, package)
    return {
        module: sorted(set(imported(path.read_text(encoding="utf-8"), known)) - {module})
        for module, path in known.items()
    }


def test_imports_point_down() -> None:
    graph = graph_of(ROOT, "bwcolor")
    assert len(graph) > 60
    assert upward(graph) == []


@pytest.mark.parametrize(
    ("folder", "package"), [(".", "bwcolor"), ("training", "bwcolor_training"), ("export", "bwcolor_export")]
)
def test_no_module_is_in_a_circle(folder: str, package: str) -> None:
    graph = graph_of(ROOT / folder, package)
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize(
    "line",
    [
        "from bwcolor.batch.plan import Job",
        "from bwcolor.batch import plan",
        "import bwcolor.batch.plan",
        "def late() -> None:\n    from bwcolor.batch.plan import Job",
        "if TYPE_CHECKING:\n    from bwcolor.batch import plan",
    ],
)
def test_an_import_that_points_up_is_found(tmp_path: Path, line: str) -> None:
    for name in ("batch", "imaging"):
        (tmp_path / "bwcolor" / name).mkdir(parents=True)
    (tmp_path / "bwcolor" / "batch" / "plan.py").write_text("from bwcolor.imaging import color\n")
    (tmp_path / "bwcolor" / "imaging" / "color.py").write_text(f"{line}\n")
    graph = graph_of(tmp_path, "bwcolor")
    assert upward(graph) == ["bwcolor.imaging.color imports bwcolor.batch.plan"]
    with pytest.raises(CycleError):
        tuple(TopologicalSorter(graph).static_order())
