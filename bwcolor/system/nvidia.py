"""What NVIDIA's driver says of itself, and which of CUDA's libraries can be loaded. Nothing is computed here."""

import contextlib
import ctypes
import io
import re
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime as ort

from bwcolor.system.safe_path import find_program

DRIVER_VERSION = Path("/proc/driver/nvidia/version")
PCI_DEVICES = Path("/sys/bus/pci/devices")
NVIDIA, DISPLAYS = "0x10de", ("0x0300", "0x0302")  # PCI's vendor, and the classes of GPUs with and without a screen
DRIVER_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE (cuda.h)
SMI = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
# What onnxruntime's CUDA part is linked to (1.31: `readelf -d libonnxruntime_providers_cuda.so`), and cuDNN, which it
# loads itself when a network has convolutions. {major}: of the CUDA that onnxruntime was built with.
LIBRARIES = {
    "linux": ("libcudart.so.{major}", "libcublasLt.so.{major}", "libcublas.so.{major}", "libcurand.so.10",
              "libcudnn.so.9"),
    "win32": ("cudart64_{major}.dll", "cublasLt64_{major}.dll", "cublas64_{major}.dll", "cudnn64_9.dll"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gpu:
    """memory: bytes in all."""

    name: str
    memory: int


@dataclass(frozen=True, slots=True)
class Driver:
    """version: empty where it is not said. cuda: the newest (major, minor) that it knows. gpus: in CUDA's order, those
    that this process may use. obstacle: why it can't be used, in words; empty when it can."""

    version: str
    cuda: tuple[int, int]
    gpus: tuple[Gpu, ...]
    obstacle: str


def driver() -> Driver | None:
    """NVIDIA's driver; None where there is none."""
    found = re.search(r"\b\d{3,}\.\d+(\.\d+)*\b", _driver_text())
    version = found[0] if found else ""
    try:
        library = ctypes.CDLL(DRIVER_LIBRARY)
    except OSError as error:
        return Driver(version, (0, 0), (), f"its library can't be loaded ({error})") if version else None
    return _ask(library, version)


def gpu_without_driver() -> bool:
    """Whether a GPU of NVIDIA's sits in this machine, as far as Linux shows it."""
    return any(
        _line(device / "vendor") == NVIDIA and _line(device / "class").startswith(DISPLAYS)
        for device in PCI_DEVICES.glob("*")
    )


def cuda_of_onnxruntime() -> str:
    """The version of CUDA that the installed onnxruntime was built with, such as 13.0; empty for none."""
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return ""
    return str(getattr(ort, "cuda_version", "") or "")


def missing_libraries(cuda: str) -> list[str]:
    """The libraries of CUDA's that can't be loaded, from Python packages or the system. cuda: as above."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():  # it prints what it misses, in part
        warnings.simplefilter("ignore")
        if hasattr(ort, "preload_dlls"):
            ort.preload_dlls()
    names = [name.format(major=cuda.partition(".")[0]) for name in LIBRARIES.get(sys.platform, ())]
    return [name for name in names if not _loads(name)]


def _driver_text() -> str:
    if text := _line(DRIVER_VERSION):
        return text
    program = find_program(SMI[0])
    if program is None:
        return ""
    try:
        command = [program, *SMI[1:]]
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _ask(library: Any, version: str) -> Driver | None:
    """Asks the driver by its own interface (CUDA Driver API), which needs no other package."""
    number, size = ctypes.c_int(), ctypes.c_size_t()
    if code := library.cuInit(0):
        if code == NO_DEVICE and not version:  # only the library is installed
            return None
        return Driver(version, (0, 0), (), f"it can't be started (CUDA error {code})")
    library.cuDriverGetVersion(ctypes.byref(number))
    newest = number.value // 1000, number.value % 1000 // 10
    library.cuDeviceGetCount(ctypes.byref(number))
    gpus = []
    for index in range(number.value):
        device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
        library.cuDeviceGet(ctypes.byref(device), index)
        library.cuDeviceGetName(name, len(name), device)
        library.cuDeviceTotalMem_v2(ctypes.byref(size), device)
        gpus.append(Gpu(name.value.decode("utf-8", "replace"), size.value))
    return Driver(version, newest, tuple(gpus), "" if gpus else "it shows no GPU to this process")


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip()
    except OSError:
        return ""
