"""A GPU that fails by script, wherever the tests run, with what onnxruntime says of real ones."""

import weakref
from collections.abc import Callable
from typing import Any

import onnxruntime as ort

from bwcolor.color import Array

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
