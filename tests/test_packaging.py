"""What gets installed, and what a command imports."""

import subprocess
import sys
import tomllib
from pathlib import Path

MAX_MODELS_BYTES = 40_000_000


def _modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(' '.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stdout.splitlines()[-1].split())


def test_help_imports_nothing_heavy() -> None:
    loaded = _modules_after("from bwcolor.cli import app\napp(['--help'], standalone_mode=False)")
    assert "bwcolor.cli" in loaded
    assert not loaded & {"numpy", "cv2", "PIL", "onnxruntime", "torch", "rich.progress"}


def test_colorizing_never_imports_torch(tiny_model: Path, repository: Path, tmp_path: Path) -> None:
    arguments = [
        "colorize",
        str(repository / "examples" / "photos"),
        "--out",
        str(tmp_path),
        "--model",
        str(tiny_model),
    ]
    loaded = _modules_after(f"from bwcolor.cli import app\napp({arguments!r}, standalone_mode=False)")
    assert "onnxruntime" in loaded
    assert not {name for name in loaded if name.partition(".")[0] in {"torch", "torchvision", "onnx", "onnxscript"}}


def test_runtime_dependencies_leave_training_to_an_extra(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = {name.split(">")[0] for name in project["dependencies"]}
    assert not required & {"torch", "torchvision", "onnx", "onnxscript"}
    assert {name.split(">")[0] for name in project["optional-dependencies"]["train"]} == {
        "torch",
        "torchvision",
        "onnx",
        "onnxscript",
        "matplotlib",
    }
    runtimes = [name for name in project["dependencies"] if name.startswith("onnxruntime")]
    assert all(";" in name for name in runtimes), "each platform must get exactly one onnxruntime"


def test_bundled_models_stay_small(repository: Path) -> None:
    files = [path for path in (repository / "bwcolor" / "models").iterdir() if path.is_file()]
    assert any(path.suffix == ".onnx" for path in files)
    assert sum(path.stat().st_size for path in files) <= MAX_MODELS_BYTES
