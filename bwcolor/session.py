"""Opening a model file with onnxruntime on the device that is really used."""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from bwcolor.color import luma
from bwcolor.errors import DeviceError, ModelError, UsageError
from bwcolor.kinds import INPUTS, OUTPUTS, network_input, output_bounds, output_rgb
from bwcolor.modelfile import ModelFile, read_model_file
from bwcolor.onnxfile import OnnxFile, Tensor
from bwcolor.spec import ModelSpec

DEVICE_PATTERN = re.compile(r"auto|cpu|cuda(:\d+)?")
OVERSHOOT = 1.0  # outputs may reach this far beyond the contract's range on a test picture, in widths of the range
# RGB that a colorizer gives is the gray it was fed, with colours: a line through (gray fed, luma given) has a slope
# near 1 and the means agree. A wrong range gives slopes of 0.004, 0.22 or 4.4, or means that are far apart.
SLOPES = (0.4, 2.5)
BRIGHTNESS_OFF = 0.3  # of 0..1
TRIAL_LIMIT = 120.0  # seconds for a test picture; the largest colorizers take 5 on two cores
MIN_SIDE_FOR_BRIGHTNESS = 64  # px; on less a network may do as it likes


class Network(Protocol):
    """What the pipeline needs of one network; a test passes a constant one."""

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def label(self) -> str: ...

    @property
    def sha256(self) -> str: ...

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, channels, H, W) as spec.input_kind says -> as spec.output_kind says; many threads may call it."""


@dataclass(frozen=True, slots=True, eq=False)
class OnnxModel:
    """A loaded model. device: "cpu" or "cuda:N", where it really runs. why: a sentence for the user.

    path, sha256: of the file; SHA-256 of its bytes, hex. one_at_a_time: it takes one picture a call.
    """

    spec: ModelSpec
    path: Path
    sha256: str
    device: str
    why: str
    one_at_a_time: bool
    _session: ort.InferenceSession

    def run(self, batch: NDArray[np.float32], options: ort.RunOptions | None = None) -> NDArray[np.float32]:
        """See Network; raises ModelError when the network fails, or gives numbers that are none."""
        name = self._session.get_inputs()[0].name
        pieces = np.split(batch, len(batch)) if self.one_at_a_time else [batch]
        try:
            outs = [self._session.run(None, {name: piece}, options)[0] for piece in pieces]
        except Exception as error:  # onnxruntime raises classes of its own for each kind of failure
            raise ModelError(f"the model failed on a photo: {_first_line(error)}") from error
        out: NDArray[np.float32] = np.concatenate(outs) if len(outs) > 1 else outs[0]
        if not np.isfinite(out).all():
            raise ModelError("the model gave values that are not numbers (NaN or infinite)")
        return out

    @property
    def label(self) -> str:
        """Name, version, precision and the first digits of the SHA-256."""
        return f"{self.spec.name} {self.spec.version} {self.spec.precision} (SHA-256 {self.sha256[:12]}…)"

    @property
    def lines(self) -> tuple[str, ...]:
        """What the user is told before the first photo."""
        return (f"model {self.label}, device {self.device}: {self.why}",)


@dataclass(frozen=True, slots=True, eq=False)
class Average:
    """Networks whose chroma is averaged, each at its own size. label, sha256, lines: as of OnnxModel."""

    networks: tuple[Network, ...]
    label: str = ""
    sha256: str = ""
    lines: tuple[str, ...] = ()


Model = Network | Average


def networks(model: Model) -> tuple[Network, ...]:
    """The networks of a model: one, or those that are averaged."""
    return model.networks if isinstance(model, Average) else (model,)


@dataclass(frozen=True, slots=True)
class Choice:
    """A file to open. why: why this one, where there are several. sha256: that it must have; empty for any."""

    path: Path
    why: str = ""
    sha256: str = ""

    def anywhere(self, device: str) -> "Choice":
        """This file on every device; for `load_chosen`."""
        return self


def load_model(path: Path, device: str = "auto") -> OnnxModel:
    """Reads the file, checks its contract, opens it on `device` and tries a test picture.

    device: "auto", "cpu", "cuda" or "cuda:N"; only "auto" may end on the CPU without being told.
    Raises UsageError for another `device`, DeviceError for one that can't be used, ModelError for an
    unfit file.
    """
    return load_chosen(Choice(path).anywhere, device)


def load_chosen(choose: Callable[[str], Choice], device: str) -> OnnxModel:
    """As `load_model`, of the file that `choose` names for the device "cpu" or "cuda:N".

    It is asked again when "auto" finds that CUDA can't be used, so that the CPU gets its own file.
    """
    if not DEVICE_PATTERN.fullmatch(device):
        raise UsageError(f"--device {device}: choose auto, cpu, cuda or cuda:N (N counts from 0).")
    if device == "cpu":
        return _load(choose("cpu"), "cpu", "as asked")
    cuda = f"cuda:{int(device.partition(':')[2] or 0)}"
    obstacle = _no_cuda()
    if not obstacle:
        try:
            return _load(choose(cuda), cuda, "as asked" if device != "auto" else "an NVIDIA GPU was found")
        except DeviceError as error:
            obstacle = str(error)
    if device != "auto":
        raise DeviceError(f"--device {device}: {obstacle}. Use --device cpu, or mend it first.")
    return _load(choose("cpu"), "cpu", obstacle)


def _load(choice: Choice, device: str, why: str) -> OnnxModel:
    file = read_model_file(choice.path, choice.sha256)
    return open_model(file, file.spec(), device, f"{why}; {choice.why}" if choice.why else why)


def open_model(file: ModelFile, spec: ModelSpec, device: str = "cpu", why: str = "as asked") -> OnnxModel:
    """Opens a file under a contract on a device, and tries test pictures.

    Raises ModelError when file and contract don't fit, DeviceError when CUDA can't be used.
    """
    try:
        one_at_a_time = _check_signature(file.onnx, spec)
        session = _session(file.content, device)
        model = OnnxModel(spec, file.path, file.sha256, device, why, one_at_a_time, session)
        for pictures, height, width in _test_sizes(spec):
            _try(model, trial_pictures(pictures, height, width))
    except ModelError as error:
        raise ModelError(f"{file.path}: {error}.") from error
    return model


def _session(content: bytes, device: str) -> ort.InferenceSession:
    return _cpu_or(content, []) if device == "cpu" else _cuda_session(content, device)


def _no_cuda() -> str:
    """Why CUDA can't be used, as far as can be told without trying."""
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return "this onnxruntime is built without CUDA"
    return "" if _nvidia_driver() else "no NVIDIA GPU was found"


def _cuda_session(content: bytes, device: str) -> ort.InferenceSession:
    number = device.partition(":")[2]
    provider = ("CUDAExecutionProvider", {"device_id": number, "cudnn_conv_algo_search": "HEURISTIC"})
    with _silenced():  # preload_dlls prints what it misses to stdout; the session says it on stderr
        if hasattr(ort, "preload_dlls"):
            ort.preload_dlls()
        session = _cpu_or(content, [provider])
    if "CUDAExecutionProvider" not in session.get_providers():  # the only call that tells the truth
        advice = "its libraries come with `pip install 'bwcolor[cuda]'`, or '.[cuda]' where bwcolor's source is"
        raise DeviceError(f"CUDA device {number} can't be used; {advice}")
    return session


def _cpu_or(content: bytes, providers: list[tuple[str, dict[str, str]]]) -> ort.InferenceSession:
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
            raise DeviceError(f"CUDA could not be started ({_first_line(error)})") from error
        raise ModelError(f"not an ONNX model that can be run ({_first_line(error)})") from error
    session.disable_fallback()  # else a CUDA error in run() moves the session to the CPU for good, and prints
    return session


def _check_signature(onnx: OnnxFile, spec: ModelSpec) -> bool:
    """Whether the file takes one picture a call; raises ModelError when it can't be fed as its contract says."""
    if len(onnx.inputs) != 1 or len(onnx.outputs) != 1:
        raise ModelError(f"needs one input and one output, it has {len(onnx.inputs)} and {len(onnx.outputs)}")
    fed, given = onnx.inputs[0], onnx.outputs[0]
    _check_tensor(fed, INPUTS[spec.input_kind].channels)
    _check_tensor(given, OUTPUTS[spec.output_kind].channels)
    pictures, _, height, width = fed.shape
    if isinstance(pictures, int) and pictures != 1:
        raise ModelError(f"takes {pictures} pictures at a time, which can't be fed")
    fixed = [side for side in (height, width) if isinstance(side, int)]
    if fixed and spec.shape == "any":
        raise ModelError(f"its contract says any size, but its input is {fed}")
    if any(side != spec.network_size for side in fixed):
        raise ModelError(f"its contract says {spec.network_size} x {spec.network_size} px, but its input is {fed}")
    return pictures == 1


def _check_tensor(tensor: Tensor, channels: int) -> None:
    fits = len(tensor.shape) == 4 and (not isinstance(tensor.shape[1], int) or tensor.shape[1] == channels)
    if tensor.type != "float" or not fits:
        raise ModelError(f"{tensor} is not float N x {channels} x H x W")


def _test_sizes(spec: ModelSpec) -> list[tuple[int, int, int]]:
    """Pictures, height and width of the test pictures: what the model will be fed, at its extremes."""
    whole = (1, spec.network_size, spec.network_size)
    if spec.shape == "square":
        return [whole]
    # Two pictures, because tiles come in batches; not square, so that swapped axes show.
    smallest = (2, spec.multiple, 2 * spec.multiple)
    return [smallest] if spec.output_kind == "cbcr" else [smallest, whole]  # cbcr is ours: proven at export


def trial_pictures(pictures: int, height: int, width: int) -> NDArray[np.float32]:
    """Soft shapes, an edge and a gradient instead of photos: lumas (pictures, height, width) in 0..1."""
    rows, columns = np.mgrid[0:height, 0:width]
    down, across = (rows + 0.5) / height, (columns + 0.5) / width
    waves = np.sin(9 * down + 2 * across) * np.cos(7 * across) + 0.4 * np.sin(40 * across * down)
    picture = 0.5 + 0.22 * waves + 0.25 * (across - 0.5) + 0.12 * (down > 0.6)
    turned = [np.roll(picture, number * width // 2, 1) for number in range(pictures)]
    return np.asarray(np.clip(np.stack(turned), 0, 1), np.float32)


def _try(model: OnnxModel, lumas: NDArray[np.float32]) -> None:
    """Raises ModelError when what comes back is not what the contract says."""
    spec = model.spec
    fed = network_input(lumas, spec)
    out = _run_within_limit(model, fed)
    channels = OUTPUTS[spec.output_kind].channels
    if out.shape[:2] != (len(lumas), channels) or not _side_fits(out.shape[2:], lumas.shape[1:], spec.shape):
        count = {2: "two", 3: "three"}[channels]
        raise ModelError(f"pictures {fed.shape} gave {out.shape}, not {count} channels of their size")
    low, high = output_bounds(spec)
    slack = OVERSHOOT * (high - low)
    if out.min() < low - slack or out.max() > high + slack:
        raise ModelError(
            f"its values go from {out.min():.3g} to {out.max():.3g} on a test picture, its contract says"
            f" {low:.3g} to {high:.3g}"
        )
    if spec.output_kind == "rgb" and min(lumas.shape[1:]) >= MIN_SIDE_FOR_BRIGHTNESS:
        _check_brightness(luma(output_rgb(out, spec)), lumas)


def _run_within_limit(model: OnnxModel, fed: NDArray[np.float32]) -> NDArray[np.float32]:
    """Runs the model in a thread, so that one that never ends can be stopped, by its time or by Ctrl-C."""
    options = ort.RunOptions()
    options.log_severity_level = 4
    with ThreadPoolExecutor(1) as pool:
        try:
            return pool.submit(model.run, fed, options).result(TRIAL_LIMIT)
        except TimeoutError as error:
            raise ModelError(f"not done with a test picture after {TRIAL_LIMIT:g} s") from error
        finally:
            options.terminate = True


def _side_fits(given: tuple[int, ...], fed: tuple[int, ...], shape: str) -> bool:
    """Whether an output's height and width fit; a network of a fixed size may give chroma at 1/2, 1/3 ... of it."""
    if shape == "any":
        return given == fed
    return len(given) == 2 and given[0] == given[1] and given[0] >= 1 and fed[0] % given[0] == 0


def _check_brightness(given: NDArray[np.float32], fed: NDArray[np.float32]) -> None:
    """Raises ModelError where the luma of the RGB that came back is not about the gray that was fed."""
    slope, base = np.polyfit(fed.ravel(), given.ravel(), 1)
    off = float(np.abs(given - fed).mean())
    if not SLOPES[0] <= slope <= SLOPES[1] or off > BRIGHTNESS_OFF:
        raise ModelError(
            "the picture that it gives is not as bright as the one that it was fed"
            f" ({slope:.2g} x gray {base:+.2g}, of 0..1): the contract's input or output range is wrong"
        )


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
