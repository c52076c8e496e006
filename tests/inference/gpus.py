"""GPUs that fail by script, wherever the tests run, with what onnxruntime says of real ones; a photo for them."""

import dataclasses
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from numpy.testing import assert_allclose
from photo.pictures import scene
from tiny_model import TINY_SPEC, pointwise_onnx

from bwcolor.imaging.color import Array
from bwcolor.inference import devices
from bwcolor.inference.onnx_model import OnnxModel
from bwcolor.inference.predict import Prediction, predict
from bwcolor.inference.session import Average, Choice

RuntimeException = ort.capi.onnxruntime_pybind11_state.RuntimeException
RUNNING = "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running"
ARENA = (
    f"{RUNNING} Conv node. Name:'/stages.0/Conv' Status Message: \n/onnxruntime_src/onnxruntime/core/framework/"
    "bfc_arena.cc:376 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*, bool,"
    " onnxruntime::WaitNotificationFn) Failed to allocate memory for requested buffer of size 4585490524328388608"
)  # on two lines, as in github.com/microsoft/onnxruntime/issues/22702
ILLEGAL = (
    "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 700: an illegal memory access was encountered ; GPU=0 ;"
    " hostname=10cb601a4a05 ; file=/onnxruntime/core/providers/cuda/gpu_data_transfer.cc ; line=63 ; expr=cudaMemcpy"
)  # github.com/pykeio/ort/issues/321, github.com/microsoft/onnxruntime/issues/26312

SPEC = dataclasses.replace(TINY_SPEC, network_size=128, tile_size=128)
PHOTO = scene(400, 600)  # the whole pass feeds 128 x 160 px, the tiled pass TILES tiles of 128 x 128 px
TILES = 6
FILES = {"cuda": ("fp16", (-0.1, 0.08)), "cpu": ("int8", (0.2, -0.15))}  # device -> precision, mean colour of PHOTO
CONTRAST = np.array([0.3, -0.3])  # of the colours, for each of luma's


class Scripted:
    """An onnxruntime session on a GPU that computes what a real one on the CPU does, or fails as `gpu.rule` says."""

    def __init__(self, gpu: "Gpu", real: ort.InferenceSession) -> None:
        self._gpu, self._real = gpu, real
        self._number = len(gpu.opened)

    def get_inputs(self) -> Any:
        return self._real.get_inputs()

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def disable_fallback(self) -> None:
        pass

    def run(self, outputs: None, feed: dict[str, Array], options: Any = None) -> Any:
        (batch,) = feed.values()
        self._gpu.fed.append((self._number, batch.shape))
        if said := self._gpu.rule(self._number, batch.shape):
            raise RuntimeException(said)
        return self._real.run(outputs, feed, options)


class Gpu:
    """A GPU as onnxruntime shows it. rule: number of the session from 1 on and shape fed -> what it says, or "".

    alive: of each session but the last, whether it was still there when the next was opened. fed: (session, shape).
    last: the session opened last, None when it is gone. opening: what onnxruntime says instead of opening one, or "".
    """

    def __init__(self) -> None:
        self.rule: Callable[[int, tuple[int, ...]], str] = lambda number, shape: ""
        self.opening = ""
        self.opened: list[dict[str, str]] = []
        self.cpu_sessions = 0
        self.alive: list[bool] = []
        self.fed: list[tuple[int, tuple[int, ...]]] = []
        self.last: Callable[[], object] = lambda: None

    def open(self, real: ort.InferenceSession, options: dict[str, str]) -> Scripted:
        if self.opening:
            raise RuntimeException(self.opening)
        if self.opened:
            self.alive.append(self.last() is not None)
        self.opened.append(options)
        scripted = Scripted(self, real)
        self.last = weakref.ref(scripted)
        return scripted


def install(monkeypatch: pytest.MonkeyPatch, *gpus: Gpu) -> None:
    """Makes this a machine with these GPUs, from cuda:0 on; sessions on the CPU are counted by the first."""
    real = ort.InferenceSession

    def opened(content: bytes, options: object, providers: list[Any]) -> object:
        on_cpu = real(content, options, providers=["CPUExecutionProvider"])
        if len(providers) == 1:
            gpus[0].cpu_sessions += 1
            return on_cpu
        asked = providers[0][1]
        if int(asked["device_id"]) >= len(gpus):
            raise RuntimeException(f"Invalid device ID: {asked['device_id']}, must be between 0 and {len(gpus)}")
        return gpus[int(asked["device_id"])].open(on_cpu, asked)

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(devices, "has_nvidia_gpu", lambda: True)
    monkeypatch.setattr(ort, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(ort, "InferenceSession", opened)


def write_files(folder: Path) -> Callable[[str], Choice]:
    """A file for the GPU and one of another colour for the CPU, as zoo.choose names them."""
    for precision, colours in FILES.values():
        metadata = dataclasses.replace(SPEC, precision=precision).to_metadata()
        bias = colours - CONTRAST * PHOTO.mean() / 255
        content = pointwise_onnx(CONTRAST[:, None].tolist(), bias.tolist(), pictures="n", metadata=metadata)
        (folder / f"{precision}.onnx").write_bytes(content)
    return lambda device: Choice(folder / f"{FILES[device.partition(':')[0]][0]}.onnx")


def colour(model: OnnxModel | Average, detail: str = "max") -> Prediction:
    return predict(PHOTO, 1, model, "max" if detail == "max" else "fast")


def check_colour(chroma: Array, device: str) -> None:
    assert_allclose(chroma.mean((0, 1)), FILES[device.partition(":")[0]][1], atol=0.01)
    assert chroma[..., 0].std() > 0.02, "it follows the photo"


def tiles(fed: list[tuple[int, tuple[int, ...]]]) -> list[tuple[int, int]]:
    """How many tiles each call was fed, and their side; of a photo only tiles are square. fed: as of Gpu."""
    return [(shape[0], shape[2]) for _, shape in fed if shape[2] == shape[3]]
