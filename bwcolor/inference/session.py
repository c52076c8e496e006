"""Models that are loaded: opening a file on the device that is really used, running it, averages of several."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from bwcolor.errors import DeviceError, ModelError
from bwcolor.inference.device_errors import SharedSession, Trouble
from bwcolor.inference.devices import SPARING, THREADS_ON_GPU, all_of, gpus_named, has_nvidia_gpu, no_cuda, open_session
from bwcolor.inference.failover import Failover, InWork, LoadedModel, Spread
from bwcolor.inference.onnx_model import BATCH, Network, OnnxModel
from bwcolor.models.modelfile import ModelFile, read_model_file
from bwcolor.models.selfcheck import check_signature, try_network
from bwcolor.models.spec import ModelSpec


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
    opened = [network for network in networks(model) if isinstance(network, LoadedModel)]
    return tuple(dict.fromkeys(sentence for network in opened for sentence in network.failover.troubles))


def files_of(model: Model) -> dict[str, tuple[str, ModelSpec]]:
    """By path, the SHA-256 and the contract of each file that a model was loaded from."""
    opened = [network for network in networks(model) if isinstance(network, OnnxModel)]
    return {str(network.path): (network.sha256, network.spec) for network in opened}


@dataclass(frozen=True, slots=True)
class Choice:
    """A file to open. why: why this one, where there are several. sha256: that it must have; empty for any."""

    path: Path
    why: str = ""
    sha256: str = ""

    def anywhere(self, device: str) -> "Choice":
        """This file on every device; for `load_chosen`."""
        return self


def load_model(path: Path, device: str = "auto") -> LoadedModel:
    """Reads the file, checks its contract, opens it on `device` and tries a test picture.

    device: "auto", "cpu", "cuda", "cuda:N" or "cuda:N,M"; only "auto" may end on the CPU without being told.
    Raises UsageError for another `device`, DeviceError for one that can't be used, ModelError for an
    unfit file.
    """
    return load_chosen(Choice(path).anywhere, device)


def load_chosen(choose: Callable[[str], Choice], device: str, in_work: InWork | None = None) -> LoadedModel:
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

            def to_cpu() -> LoadedModel:
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


def _load(choice: Choice, device: str, why: str, to_cpu: Callable[[], LoadedModel] | None = None) -> LoadedModel:
    file = read_model_file(choice.path, choice.sha256)
    return open_model(file, file.spec(), device, f"{why}; {choice.why}" if choice.why else why, to_cpu)


def _load_on_gpus(choice: Choice, gpus: tuple[str, ...], in_work: InWork) -> LoadedModel:
    """The same bytes on each GPU that was asked for."""
    first = _load(choice, gpus[0], "as asked")
    if len(gpus) == 1:
        return first
    same = replace(choice, sha256=first.sha256)
    models = (first, *(_load(same, gpu, "as asked") for gpu in gpus[1:]))
    return replace(first, device=all_of(gpus), failover=Spread(models, in_work))


def open_model(
    file: ModelFile,
    spec: ModelSpec,
    device: str = "cpu",
    why: str = "as asked",
    to_cpu: Callable[[], LoadedModel] | None = None,
) -> LoadedModel:
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
        model = LoadedModel(spec, path, sha256, device, why, pictures, shared, failover=Failover(reopen, to_cpu))
        try_network(model.run, spec)
    except ModelError as error:
        if isinstance(error, Trouble) and device != "cpu":
            raise DeviceError(f"a test picture failed: {error.words}") from error
        raise ModelError(f"{file.path}: {error}.") from error
    return model
