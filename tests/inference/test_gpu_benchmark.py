"""benchmarks/gpu.py, as far as it goes without a GPU: what it says then, and its parts on the CPU."""

import importlib.util
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photo.pictures import gray, scene
from PIL import Image
from tiny_model import tiny_onnx

from bwcolor.errors import DeviceError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("cuda_benchmark", BENCHMARKS / "gpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "cuda_benchmark", module)
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "CUDA_DEVICE_ORDER"):
        monkeypatch.setenv(name, "1")  # main() sets them; they are put back
    spec.loader.exec_module(module)
    return module


def test_without_a_gpu_it_says_so(
    cuda: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cuda, "no_cuda", lambda: "no NVIDIA GPU was found")
    assert cuda.main([]) == 2
    assert capsys.readouterr() == ("", "Nothing is measured: no NVIDIA GPU was found.\n")


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("cpu", "--device cpu names no GPU.\n"),
        ("cuda:0,0", "--device cuda:0,0: a GPU is named twice; several GPUs are named as in cuda:0,1.\n"),
        ("cuda:7", "--device cuda:7: CUDA device 7 can't be used. Use --device cpu, or fix the problem first.\n"),
    ],
)
def test_a_device_that_can_not_be_used_is_no_traceback(
    cuda: Any, device: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def apart(*_: object) -> None:
        raise DeviceError(
            f"--device {device}: CUDA device 7 can't be used. Use --device cpu, or fix the problem first."
        )

    monkeypatch.setattr(cuda, "no_cuda", lambda: "")
    monkeypatch.setattr(cuda, "apart", apart)
    assert cuda.main(["--device", device]) == 2
    assert capsys.readouterr() == ("", f"Nothing is measured: {said}")


def test_every_way_of_calling_gives_what_the_network_gives(cuda: Any) -> None:
    fed = np.random.default_rng(0).uniform(0, 1, (4, 1, 32, 64)).astype(np.float32)
    session = cuda.open_session(tiny_onnx(), "cpu")
    expected = session.run(None, {session.get_inputs()[0].name: fed})[0]
    for way in cuda.WAYS:
        row = cuda.calls(way, tiny_onnx(), "cpu", fed, expected, 0.2)
        assert "failed" not in row, row
        assert row["furthest from the CPU"] == 0
        assert row["pictures/s"] == 4 * row["calls/s"] > 0
        assert ("copy share" in row) == way.bound
        assert 0 < row.get("copy share", 0.5) < 1
    wrong = cuda.calls(cuda.WAYS[0], tiny_onnx(), "cpu", fed, expected + 1, 0.01)
    assert wrong["furthest from the CPU"] == pytest.approx(1, abs=1e-6)


def test_a_way_gets_its_options_and_one_that_fails_is_a_row(cuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Mapping[str, str]] = []

    def refuse(content: bytes, device: str, options: Mapping[str, str]) -> None:
        asked.append(options)
        raise DeviceError("CUDA could not be started (the model has control flow nodes)")

    monkeypatch.setattr(cuda, "open_session", refuse)
    fed = np.zeros((1, 1, 32, 32), np.float32)
    rows = [cuda.calls(way, b"", "cuda:0", fed, fed, 0.01) for way in cuda.WAYS]
    assert {row["failed"] for row in rows} == {"CUDA could not be started (the model has control flow nodes)"}
    assert all(options["cudnn_conv_algo_search"] == "HEURISTIC" for options in asked)
    both = {"prefer_nhwc": "1", "enable_cuda_graph": "1"}.items()
    assert [way.name for way, options in zip(cuda.WAYS, asked, strict=True) if both <= options.items()] == [
        "bound, NHWC, graph"
    ]
    assert all(way.bound for way in cuda.WAYS if "enable_cuda_graph" in way.options), "graphs need fixed addresses"


@pytest.mark.parametrize(
    ("samples", "share"),
    [
        (["0", "0", "50", "0", "100", "0"], 50),
        (["100", "[N/A]", "80"], 90),
        (["0", "0"], None),
        (["[N/A]"], None),
        ([], None),
    ],
)
def test_the_busy_share_leaves_out_what_comes_before_and_after_the_work(
    cuda: Any, samples: list[str], share: float | None
) -> None:
    assert cuda.busy_share(samples) == share


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_samples_are_told_apart_by_gpu(cuda: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\necho "0, 12"\necho "2, 90"\necho "0, 34"\necho "$@" > "$0.asked"\nexec sleep 60\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with cuda.gpu_samples(("cuda:0", "cuda:2")) as samples:
        deadline = time.monotonic() + 20
        while not (tmp_path / "nvidia-smi.asked").exists() and time.monotonic() < deadline:
            pass
    assert samples == {"cuda:0": ["12", "34"], "cuda:2": ["90"]}
    assert (tmp_path / "nvidia-smi.asked").read_text().startswith("--id=0,2 --query-gpu=index,utilization.gpu")
    with cuda.gpu_samples(()) as none:
        assert none == {}


@pytest.mark.parametrize(
    ("rate", "busy", "said"),
    [
        (80.0, 10.0, "measured 80 % and 10 %"),
        (10.0, 85.0, "measured 10 % and 85 %"),
        (79.0, 79.0, "measured 79 % and 79 %  (missed)"),
        (50.0, None, "measured 50 % and not known  (missed)"),
    ],
)
def test_what_was_asked_is_said_beside_what_was_measured(cuda: Any, rate: float, busy: float | None, said: str) -> None:
    runs = {"cuda:0": {"photos/s": rate, "busy": {"cuda:0": busy}}}
    assert cuda.verdict(runs, 100.0, "cuda:0").endswith(said)


def test_the_codec_alone_makes_coloured_photos(cuda: Any, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        gray(scene(90, 120, number)).save(photos / f"{number}.jpg")
    assert cuda.codec_rate(photos, tmp_path / "out", 2) > 0
    for path in photos.iterdir():
        with Image.open(tmp_path / "out" / path.name) as made:
            assert np.ptp(np.asarray(made.convert("YCbCr"))[..., 1]) > 20
