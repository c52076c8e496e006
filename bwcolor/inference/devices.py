"""Devices: how they are named, whether CUDA can be used, and opening a model with onnxruntime on one of them."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import onnxruntime as ort

from bwcolor.errors import DeviceError, ModelError, UsageError
from bwcolor.inference.device_errors import what_it_said
from bwcolor.system.packages import install_line

FORM = re.compile(r"auto|cpu|cuda(:[0-9]{1,4}(,[0-9]{1,4})*)?")
# Threads inside a session on a GPU at once, so that one computes while the other copies. Each one inside has handles
# of cuDNN and cuBLAS (PerThreadContext in onnxruntime's cuda_execution_provider.h), a workspace and its share of the
# arena. Nobody has measured other numbers on our networks yet (benchmarks/gpu.py does).
THREADS_ON_GPU = 2
# Options of onnxruntime's CUDA provider. Its default search, EXHAUSTIVE, tries all of cuDNN's convolutions again for
# every new shape, and photos have many. prefer_nhwc, use_tf32 and CUDA graphs stay as onnxruntime has them until
# somebody has measured them, with benchmarks/gpu.py; graphs would also need fixed shapes and addresses.
CUDA_OPTIONS: Mapping[str, str] = MappingProxyType({"cudnn_conv_algo_search": "HEURISTIC"})
# onnxruntime's advice for scarce memory (github.com/microsoft/onnxruntime/issues/16307): no more than is asked for,
# and no large workspaces for convolutions.
SPARING: Mapping[str, str] = MappingProxyType(
    {**CUDA_OPTIONS, "arena_extend_strategy": "kSameAsRequested", "cudnn_conv_use_max_workspace": "0"}
)


def gpus_named(device: str) -> tuple[str, ...]:
    """The GPUs, as "cuda:N", that --device names: none for "cpu", and for "auto" the one that it tries.

    Raises UsageError for what is no device.
    """
    if not FORM.fullmatch(device):
        raise UsageError(
            f"--device {device}: choose auto, cpu, cuda or cuda:N (N counts from 0), or several GPUs as in cuda:0,1."
        )
    if device == "cpu":
        return ()
    numbers = [int(number) for number in (device.partition(":")[2] or "0").split(",")]
    if len(set(numbers)) < len(numbers):
        raise UsageError(f"--device {device}: a GPU is named twice; several GPUs are named as in cuda:0,1.")
    return tuple(f"cuda:{number}" for number in numbers)


def all_of(gpus: tuple[str, ...]) -> str:
    """Several GPUs as --device names them."""
    return f"cuda:{','.join(gpu.partition(':')[2] for gpu in gpus)}"


def no_cuda() -> str:
    """Why CUDA can't be used, as far as can be told without trying; empty when it may."""
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return "this onnxruntime is built without CUDA"
    return "" if has_nvidia_gpu() else "no NVIDIA GPU was found"


def open_session(content: bytes, device: str, options: Mapping[str, str] = CUDA_OPTIONS) -> ort.InferenceSession:
    """A session for the bytes of an ONNX file on the device "cpu" or "cuda:N".

    options: of the CUDA provider, by its own names. Raises ModelError when the file can't be run, DeviceError when
    the GPU can't be used; onnxruntime alone would quietly take the CPU.
    """
    if device == "cpu":
        return _opened(content, [])
    number = device.partition(":")[2]
    with _silenced():  # preload_dlls prints what it misses to stdout; the session says it on stderr
        if hasattr(ort, "preload_dlls"):
            ort.preload_dlls()
        session = _opened(content, [("CUDAExecutionProvider", {"device_id": number, **options})])
    if "CUDAExecutionProvider" not in session.get_providers():  # the only call that tells the truth
        raise DeviceError(f"CUDA device {number} can't be used; its libraries come with: {install_line('cuda')}")
    return session


def _opened(content: bytes, providers: list[tuple[str, dict[str, str]]]) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # many photos at once use the cores better than many threads on one
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    # Weights in a second file are refused before; this is the second lock: nothing is looked for on the disk.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    try:
        session = ort.InferenceSession(content, options, providers=[*providers, "CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own for each kind of damage
        if providers:
            raise DeviceError(f"CUDA could not be started ({what_it_said(error)})") from error
        raise ModelError(f"not an ONNX model that can be run ({what_it_said(error)})") from error
    session.disable_fallback()  # else a CUDA error in run() moves the session to the CPU for good, and prints
    return session


def has_nvidia_gpu() -> bool:
    """Tells whether there is a driver for NVIDIA's GPUs, without starting it."""
    if sys.platform == "win32":
        return Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "nvcuda.dll").exists()
    return Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()  # dxg: Windows' Linux subsystem


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Sends what libraries print to file descriptors 1 and 2 nowhere."""
    saved = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        for descriptor, copy in enumerate(saved, start=1):
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(nowhere)
