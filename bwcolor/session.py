"""Opening a model file with onnxruntime on the device that is really used, and on another when that one fails."""

import contextlib
import hashlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from bwcolor.endurance import SessionClosed, SharedSession, Trouble, trouble_kind, what_it_said
from bwcolor.errors import DeviceError, ModelError, UsageError
from bwcolor.modelfile import ModelFile, read_model_file
from bwcolor.spec import ModelSpec
from bwcolor.trial import check_signature, try_network

Result = TypeVar("Result")

DEVICE_PATTERN = re.compile(r"auto|cpu|cuda(:\d+)?")
SMALLEST_TILE = 64  # px; training begins with pictures of this size, on smaller ones a network sees too little
# onnxruntime's advice for scarce memory (github.com/microsoft/onnxruntime/issues/16307): no more than is asked for,
# and no large workspaces for convolutions.
SPARING = {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_use_max_workspace": "0"}


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

    path, sha256: of the file; SHA-256 of its bytes, hex. pictures: the most it takes a call; 0 for any number.
    _standing: what became of it since; what the fields say is how it was loaded.
    """

    spec: ModelSpec
    path: Path
    sha256: str
    device: str
    why: str
    pictures: int
    _shared: SharedSession
    _standing: "Standing"

    def run(self, batch: NDArray[np.float32], options: ort.RunOptions | None = None) -> NDArray[np.float32]:
        """See Network; raises Trouble when the device fails, ModelError when the network does, or gives no numbers."""
        most = self.pictures or len(batch)
        pieces = [batch[start : start + most] for start in range(0, len(batch), most)]
        outs = [self._run(piece, options) for piece in pieces]
        out: NDArray[np.float32] = np.concatenate(outs) if len(outs) > 1 else outs[0]
        if not np.isfinite(out).all():
            raise ModelError("the model gave values that are not numbers (NaN or infinite)")
        return out

    def _run(self, piece: NDArray[np.float32], options: ort.RunOptions | None) -> NDArray[np.float32]:
        try:
            return self._shared.run(piece, options)
        except SessionClosed as closed:
            raise Trouble("memory", self.device, "", 1) from closed
        except Exception as error:  # onnxruntime raises classes of its own for each kind of failure
            cause = error.with_traceback(None)  # its frames hold the session, which must be let go of before the next
            if kind := trouble_kind(error, self.device):
                raise Trouble(kind, self.device, what_it_said(error), len(piece)) from cause
            raise ModelError(f"the model failed on a photo: {what_it_said(error)}") from cause

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
    lines: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return " + ".join(network.label for network in self.networks)

    @property
    def sha256(self) -> str:
        return hashlib.sha256("+".join(sorted(network.sha256 for network in self.networks)).encode()).hexdigest()


Model = Network | Average


def networks(model: Model) -> tuple[Network, ...]:
    """The networks of a model: one, or those that are averaged."""
    return model.networks if isinstance(model, Average) else (model,)


def troubles_of(model: Model) -> tuple[str, ...]:
    """What its devices could not do so far and what was done instead: sentences for the user, each once, in order."""
    opened = [network for network in networks(model) if isinstance(network, OnnxModel)]
    return tuple(dict.fromkeys(sentence for network in opened for sentence in network._standing.troubles))


def carried_out(network: Network, work: Callable[[Network], Result]) -> tuple[Result, Network]:
    """What `work` makes with a network, and the network that really did it: always one from start to end.

    Where the device of a loaded model fails, the work starts anew on less, with a new session or on the CPU, and so
    does what comes after it, in all threads. Raises Trouble when nothing is left to try.
    """
    if not isinstance(network, OnnxModel):
        return work(network), network
    standing = network._standing
    reopened = False
    while True:
        footing = standing.now or network
        try:
            result = work(footing)
        except Trouble as trouble:
            reopened |= standing.step_down(footing, trouble, may_reopen=not reopened)
        else:
            standing.worked(footing)
            return result, footing


class Standing:
    """How a model that many threads use is run by now.

    now: None until its device fails, then the model with less at a time, another session or another file. reopen: a
    new session for the same file and device; to_cpu: the model on the CPU, None where it must not go there.
    """

    def __init__(self, reopen: Callable[[], SharedSession], to_cpu: Callable[[], OnnxModel] | None) -> None:
        self.now: OnnxModel | None = None
        self.troubles: tuple[str, ...] = ()
        self._reopen = reopen
        self._to_cpu = to_cpu
        self._proven = True  # whether the session of `now` has done some work
        self._lost: list[SharedSession] = []  # kept, because closing one whose device is lost can end the process
        self._lock = threading.Lock()

    def worked(self, footing: OnnxModel) -> None:
        if not self._proven and footing is self.now:
            self._proven = True

    def step_down(self, footing: OnnxModel, trouble: Trouble, may_reopen: bool) -> bool:
        """Changes `now`, where no other thread has since; raises when nothing is left. Whether it opened a session."""
        with self._lock:
            if self.now is not None and self.now is not footing:
                return False
            if not footing._shared.closed and (less := _on_less(footing, trouble)):
                self._move(trouble, *less)
                return False
            if footing.device == "cpu":
                raise trouble
            if may_reopen and (again := self._opened_anew(footing, trouble)):
                self._move(trouble, again, "the model was opened anew, for one photo at a time")
                return True
            self._give_up(footing, trouble)
            return False

    def _move(self, trouble: Trouble, footing: OnnxModel, what: str) -> None:
        self.now = footing
        sentence = f"{trouble.words}: {what}"
        if sentence not in self.troubles:
            self.troubles = (*self.troubles, sentence)

    def _opened_anew(self, footing: OnnxModel, trouble: Trouble) -> OnnxModel | None:
        """The model with a new session, or None; a session that never worked is not opened once more."""
        if not self._proven and not footing._shared.closed:
            return None
        self._let_go(footing, trouble)
        self._proven = False
        try:
            return replace(footing, _shared=self._reopen())
        except (DeviceError, ModelError):
            return None

    def _give_up(self, footing: OnnxModel, trouble: Trouble) -> None:
        """Moves to the CPU, or raises."""
        if self._to_cpu is None:
            raise trouble
        self._let_go(footing, trouble)
        try:
            model = replace(self._to_cpu(), _standing=self)
        except ModelError as error:
            raise ModelError(f"{trouble.words}, and the CPU can't take over ({error})") from error
        self._move(trouble, model, f"the rest of the run is on the CPU, with model {model.label}")

    def _let_go(self, footing: OnnxModel, trouble: Trouble) -> None:
        if trouble.kind == "lost":
            self._lost.append(footing._shared)
        else:
            footing._shared.close()


def _on_less(footing: OnnxModel, trouble: Trouble) -> tuple[OnnxModel, str] | None:
    """The model with less at a time, and that in words; None where less can't help."""
    if trouble.kind == "lost":
        return None
    if trouble.pictures > 1:
        return replace(footing, pictures=trouble.pictures // 2), "fewer pictures at a time"
    side = footing.spec.tile_size // 2 // footing.spec.multiple * footing.spec.multiple
    if trouble.tiled and side >= SMALLEST_TILE:
        return replace(footing, spec=replace(footing.spec, tile_size=side)), "smaller tiles"
    return None


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
            if device != "auto":
                return _load(choose(cuda), cuda, "as asked")
            given_up = f"{cuda} failed in the middle of the run"
            return _load(choose(cuda), cuda, "an NVIDIA GPU was found", lambda: _load(choose("cpu"), "cpu", given_up))
        except DeviceError as error:
            obstacle = str(error)
    if device != "auto":
        raise DeviceError(f"--device {device}: {obstacle}. Use --device cpu, or mend it first.")
    return _load(choose("cpu"), "cpu", obstacle)


def _load(choice: Choice, device: str, why: str, to_cpu: Callable[[], OnnxModel] | None = None) -> OnnxModel:
    file = read_model_file(choice.path, choice.sha256)
    return open_model(file, file.spec(), device, f"{why}; {choice.why}" if choice.why else why, to_cpu)


def open_model(
    file: ModelFile,
    spec: ModelSpec,
    device: str = "cpu",
    why: str = "as asked",
    to_cpu: Callable[[], OnnxModel] | None = None,
) -> OnnxModel:
    """Opens a file under a contract on a device, and tries test pictures.

    to_cpu: loads what takes over when CUDA fails later; None where nothing may. Raises ModelError when file and
    contract don't fit, DeviceError when CUDA can't be used.
    """
    path, sha256 = file.path, file.sha256  # not the file itself, which would keep its bytes in memory

    def reopen() -> SharedSession:
        return SharedSession(_session(read_model_file(path, sha256).content, device, sparing=True), alone=True)

    try:
        pictures = 1 if check_signature(file.onnx, spec) else 0
        shared = SharedSession(_session(file.content, device))
        model = OnnxModel(spec, path, sha256, device, why, pictures, shared, Standing(reopen, to_cpu))
        try_network(model.run, spec)
    except ModelError as error:
        if isinstance(error, Trouble) and device != "cpu":
            raise DeviceError(f"a test picture failed: {error.words}") from error
        raise ModelError(f"{file.path}: {error}.") from error
    return model


def _session(content: bytes, device: str, sparing: bool = False) -> ort.InferenceSession:
    return _cpu_or(content, []) if device == "cpu" else _cuda_session(content, device, sparing)


def _no_cuda() -> str:
    """Why CUDA can't be used, as far as can be told without trying."""
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return "this onnxruntime is built without CUDA"
    return "" if _nvidia_driver() else "no NVIDIA GPU was found"


def _cuda_session(content: bytes, device: str, sparing: bool) -> ort.InferenceSession:
    options = {"device_id": device.partition(":")[2], "cudnn_conv_algo_search": "HEURISTIC"}
    provider = ("CUDAExecutionProvider", options | SPARING if sparing else options)
    with _silenced():  # preload_dlls prints what it misses to stdout; the session says it on stderr
        if hasattr(ort, "preload_dlls"):
            ort.preload_dlls()
        session = _cpu_or(content, [provider])
    if "CUDAExecutionProvider" not in session.get_providers():  # the only call that tells the truth
        advice = "its libraries come with `pip install 'bwcolor[cuda]'`, or '.[cuda]' where bwcolor's source is"
        raise DeviceError(f"CUDA device {options['device_id']} can't be used; {advice}")
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
            raise DeviceError(f"CUDA could not be started ({what_it_said(error)})") from error
        raise ModelError(f"not an ONNX model that can be run ({what_it_said(error)})") from error
    session.disable_fallback()  # else a CUDA error in run() moves the session to the CPU for good, and prints
    return session


def _nvidia_driver() -> bool:
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
