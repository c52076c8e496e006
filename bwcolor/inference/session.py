"""Models that are loaded: opening a file on the device that is really used, running it, averages of several."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from bwcolor.errors import DeviceError, ModelError
from bwcolor.inference.device_errors import SessionClosed, SharedSession, Trouble, trouble_kind, what_it_said
from bwcolor.inference.devices import SPARING, THREADS_ON_GPU, all_of, gpus_named, has_nvidia_gpu, no_cuda, open_session
from bwcolor.inference.failover import InWork, Spread, Standing
from bwcolor.models.modelfile import ModelFile, read_model_file
from bwcolor.models.selfcheck import check_output, check_signature, try_network
from bwcolor.models.spec import ModelSpec

Result = TypeVar("Result")


BATCH = 4  # pictures a call: more gain nothing on a CPU, and memory stays bounded


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
    """A loaded model. device: "cpu", "cuda:N", or "cuda:N,M" for several GPUs. why: this device and file, in words.

    path, sha256: of the file; SHA-256 of its bytes, hex. pictures: the most it takes a call; 0 for any number.
    missed: why an NVIDIA GPU that is there is not used, in words; empty where none is, or it is used.
    _shared: the session; of several GPUs the first one's, only `carried_out` uses all. _standing: what became of it
    since; what the fields say is how it was loaded.
    """

    spec: ModelSpec
    path: Path
    sha256: str
    device: str
    why: str
    pictures: int
    _shared: SharedSession
    _standing: Standing | Spread
    missed: str = ""

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
            out = self._shared.run(piece, options)
        except SessionClosed as closed:
            raise Trouble("memory", self.device, "", 1) from closed
        except Exception as error:  # onnxruntime raises classes of its own for each kind of failure
            cause = error.with_traceback(None)  # its frames hold the session, which must be let go of before the next
            if kind := trouble_kind(error, self.device):
                raise Trouble(kind, self.device, what_it_said(error), len(piece)) from cause
            raise ModelError(f"the model failed on a photo: {what_it_said(error)}") from cause
        check_output(piece.shape, out, self.spec)  # some networks give what they should for test pictures only
        return out

    @property
    def label(self) -> str:
        """Name, version, precision and the first digits of the SHA-256."""
        return f"{self.spec.name} {self.spec.version} {self.spec.precision} (SHA-256 {self.sha256[:12]}…)"

    @property
    def lines(self) -> tuple[str, ...]:
        """Says exactly what was loaded, where, and why, for people who want to know."""
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


def summary(model: Model) -> tuple[str, ...]:
    """Says in a line for everybody what colorizes and where, and in another that a GPU is there and not used."""
    missed = next((one.missed for one in networks(model) if isinstance(one, OnnxModel) and one.missed), "")
    used = f"Using {_in_short(networks(model))}."
    return (used, f"note: the NVIDIA GPU is not used: {missed}") if missed else (used,)


def _in_short(used: tuple[Network, ...]) -> str:
    """Names models, and where they run: once where that is the same for all."""
    names = [f"{one.spec.name} {one.spec.version}" for one in used]
    places = [f" on {_where(one.device)}" if isinstance(one, OnnxModel) else "" for one in used]
    if len(set(places)) > 1:
        names, places = [name + place for name, place in zip(names, places, strict=True)], [""]
    return f"{'model' if len(names) == 1 else 'models'} {' + '.join(names)}{places[0]}"


def _where(device: str) -> str:
    return "the CPU" if device == "cpu" else f"the {'GPUs' if ',' in device else 'GPU'} {device}"


def on_gpu(model: Model) -> bool:
    """Tells whether any network of a model runs on a GPU."""
    return any(isinstance(network, OnnxModel) and network.device != "cpu" for network in networks(model))


def troubles_of(model: Model) -> tuple[str, ...]:
    """What its devices could not do so far and what was done instead: sentences for the user, each once, in order."""
    opened = [network for network in networks(model) if isinstance(network, OnnxModel)]
    return tuple(dict.fromkeys(sentence for network in opened for sentence in network._standing.troubles))


def files_of(model: Model) -> dict[str, tuple[str, ModelSpec]]:
    """By path, the SHA-256 and the contract of each file that a model was loaded from."""
    opened = [network for network in networks(model) if isinstance(network, OnnxModel)]
    return {str(network.path): (network.sha256, network.spec) for network in opened}


def carried_out(network: Network, work: Callable[[Network], Result]) -> tuple[Result, Network]:
    """What `work` makes with a network, and the network that really did it: always one from start to end.

    Where the device of a loaded model fails, the work starts anew on less, with a new session, on another GPU or on
    the CPU, and so does what comes after it, in all threads. Raises Trouble when nothing is left to try.
    """
    if not isinstance(network, OnnxModel):
        return work(network), network
    return network._standing.carry_out(network, work)


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

    device: "auto", "cpu", "cuda", "cuda:N" or "cuda:N,M"; only "auto" may end on the CPU without being told.
    Raises UsageError for another `device`, DeviceError for one that can't be used, ModelError for an
    unfit file.
    """
    return load_chosen(Choice(path).anywhere, device)


def load_chosen(choose: Callable[[str], Choice], device: str, in_work: InWork | None = None) -> OnnxModel:
    """As `load_model`, of the file that `choose` names for the device "cpu" or "cuda:N".

    It is asked again when "auto" finds that CUDA can't be used, so that the CPU gets its own file. in_work: shared
    with other models on the same GPUs.
    """
    gpus = gpus_named(device)
    if not gpus:
        return _load(choose("cpu"), "cpu", "as asked")
    obstacle = no_cuda()
    if not obstacle:
        try:
            if device != "auto":
                return _load_on_gpus(choose(gpus[0]), gpus, in_work or InWork())
            choice = choose(gpus[0])

            def to_cpu() -> OnnxModel:
                on_cpu = choose("cpu")
                if on_cpu.path == choice.path:  # by now there may be another model in it
                    on_cpu = replace(on_cpu, sha256=first.sha256)
                return _load(on_cpu, "cpu", f"{gpus[0]} failed in the middle of the run")

            first = _load(choice, gpus[0], "an NVIDIA GPU was found", to_cpu)
            return first
        except DeviceError as error:
            obstacle = str(error)
    if device != "auto":
        raise DeviceError(f"--device {device}: {obstacle}. Use --device cpu, or fix the problem first.")
    on_cpu = _load(choose("cpu"), "cpu", obstacle)
    return replace(on_cpu, missed=obstacle if has_nvidia_gpu() else "")


def _load(choice: Choice, device: str, why: str, to_cpu: Callable[[], OnnxModel] | None = None) -> OnnxModel:
    file = read_model_file(choice.path, choice.sha256)
    return open_model(file, file.spec(), device, f"{why}; {choice.why}" if choice.why else why, to_cpu)


def _load_on_gpus(choice: Choice, gpus: tuple[str, ...], in_work: InWork) -> OnnxModel:
    """The same bytes on each GPU that was asked for."""
    first = _load(choice, gpus[0], "as asked")
    if len(gpus) == 1:
        return first
    same = replace(choice, sha256=first.sha256)
    models = (first, *(_load(same, gpu, "as asked") for gpu in gpus[1:]))
    return replace(first, device=all_of(gpus), _standing=Spread(models, in_work))


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
        return SharedSession(open_session(read_model_file(path, sha256).content, device, SPARING), threads=1)

    try:
        pictures = 1 if check_signature(file.onnx, spec) else BATCH
        shared = SharedSession(open_session(file.content, device), 0 if device == "cpu" else THREADS_ON_GPU)
        model = OnnxModel(spec, path, sha256, device, why, pictures, shared, Standing(reopen, to_cpu))
        try_network(model.run, spec)
    except ModelError as error:
        if isinstance(error, Trouble) and device != "cpu":
            raise DeviceError(f"a test picture failed: {error.words}") from error
        raise ModelError(f"{file.path}: {error}.") from error
    return model
