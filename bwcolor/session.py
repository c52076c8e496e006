"""Opening a model file with onnxruntime on the device that is really used."""

import contextlib
import hashlib
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from bwcolor.errors import DeviceError, ModelError, UsageError
from bwcolor.spec import ModelSpec

DEVICE_PATTERN = re.compile(r"auto|cpu|cuda(:\d+)?")
MAX_MODEL_BYTES = 2**31 - 1  # of one protobuf file


class Model(Protocol):
    """What the pipeline needs of a model; a test passes a constant one."""

    @property
    def spec(self) -> ModelSpec: ...

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """N1HW in spec.input_range -> N2HW in about spec.output_range; may be called by many threads."""


@dataclass(frozen=True, slots=True, eq=False)
class OnnxModel:
    """A loaded model. device: "cpu" or "cuda:N", where it really runs. why: a sentence for the user.

    sha256: of the file's bytes, hex.
    """

    spec: ModelSpec
    sha256: str
    device: str
    why: str
    _session: ort.InferenceSession

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """N1HW -> N2HW, float32; raises ModelError when the network gives numbers that are none."""
        try:
            out: NDArray[np.float32] = self._session.run(None, {self._session.get_inputs()[0].name: batch})[0]
        except Exception as error:  # onnxruntime raises classes of its own for each kind of failure
            raise ModelError(f"the model failed on a photo: {_first_line(error)}") from error
        if not np.isfinite(out).all():
            raise ModelError("the model gave values that are not numbers (NaN or infinite)")
        return out


def load_model(path: Path, device: str = "auto") -> OnnxModel:
    """Reads the file, checks its contract, opens it on `device` and tries one small picture.

    device: "auto", "cpu", "cuda" or "cuda:N"; only "auto" may end on the CPU without being told.
    Raises UsageError for another `device`, DeviceError for one that can't be used, ModelError for an
    unfit file.
    """
    if not DEVICE_PATTERN.fullmatch(device):
        raise UsageError(f"--device {device}: choose auto, cpu, cuda or cuda:N (N counts from 0).")
    content = _read(path)
    session, used, why = _open(path, content, device)
    try:
        spec = ModelSpec.from_metadata(session.get_modelmeta().custom_metadata_map)
    except ModelError as error:
        raise ModelError(f"{path}: {error}.") from error
    _check_signature(path, session)
    model = OnnxModel(spec, hashlib.sha256(content).hexdigest(), used, why, session)
    # Two pictures, because tiles come in batches; not square, so that swapped axes show.
    probe = np.full((2, 1, spec.multiple, 2 * spec.multiple), sum(spec.input_range) / 2, np.float32)
    try:
        result = model.run(probe)
    except ModelError as error:
        raise ModelError(f"{path}: {error}.") from error
    if result.shape != (2, 2, *probe.shape[2:]):
        raise ModelError(f"{path}: pictures {probe.shape} gave {result.shape}, not two channels of their size.")
    return model


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_MODEL_BYTES:
            raise ModelError(f"{path}: larger than an ONNX file can be (2 GB).")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: can't be read ({error.strerror}).") from error


def _open(path: Path, content: bytes, device: str) -> tuple[ort.InferenceSession, str, str]:
    if device == "cpu":
        return _session(path, content, []), "cpu", "as asked"
    number = int(device.partition(":")[2] or 0)
    cuda, obstacle = _cuda_session(path, content, number)
    if cuda is not None:
        return cuda, f"cuda:{number}", "as asked" if device != "auto" else "an NVIDIA GPU was found"
    if device == "auto":
        return _session(path, content, []), "cpu", obstacle
    raise DeviceError(f"--device {device}: {obstacle}. Use --device cpu, or mend it first.")


def _cuda_session(path: Path, content: bytes, number: int) -> tuple[ort.InferenceSession | None, str]:
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return None, "this onnxruntime is built without CUDA"
    if not _nvidia_driver():
        return None, "no NVIDIA GPU was found"
    provider = ("CUDAExecutionProvider", {"device_id": str(number), "cudnn_conv_algo_search": "HEURISTIC"})
    with _silenced():  # preload_dlls prints what it misses to stdout; the session says it on stderr
        if hasattr(ort, "preload_dlls"):
            ort.preload_dlls()
        try:
            session = _session(path, content, [provider])
        except DeviceError as error:
            return None, str(error)
    if "CUDAExecutionProvider" in session.get_providers():  # the only call that tells the truth
        return session, ""
    advice = "its libraries come with `pip install 'bwcolor[cuda]'`, or '.[cuda]' where bwcolor's source is"
    return None, f"CUDA device {number} can't be used; {advice}"


def _session(path: Path, content: bytes, providers: list[tuple[str, dict[str, str]]]) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # many photos at once use the cores better than many threads on one
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    # Weights in a second file are refused: they would be looked for in whatever folder we run in.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    try:
        session = ort.InferenceSession(content, options, providers=[*providers, "CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own for each kind of damage
        if providers:
            raise DeviceError(f"CUDA could not be started ({_first_line(error)})") from error
        raise ModelError(f"{path}: not an ONNX model that can be run ({_first_line(error)}).") from error
    session.disable_fallback()  # else a CUDA error in run() moves the session to the CPU for good, and prints
    return session


def _check_signature(path: Path, session: ort.InferenceSession) -> None:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(f"{path}: needs one input and one output, it has {len(inputs)} and {len(outputs)}.")
    for tensor, channels in ((inputs[0], 1), (outputs[0], 2)):
        shape = tensor.shape
        fits = len(shape) == 4 and (shape[1] in (channels, None) or isinstance(shape[1], str))
        if tensor.type != "tensor(float)" or not fits:
            raise ModelError(f"{path}: {tensor.name} is {tensor.type}{shape}, not float N x {channels} x H x W.")


def _nvidia_driver() -> bool:
    if sys.platform == "win32":
        return Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "nvcuda.dll").exists()
    return Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()  # dxg: Windows' Linux subsystem


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


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
