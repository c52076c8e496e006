"""Runs a loaded model on less, with a new session, on the CPU, or on another GPU when its device fails."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

from bwcolor.errors import DeviceError, ModelError
from bwcolor.inference.device_errors import SharedSession, Trouble
from bwcolor.inference.onnx_model import Network, OnnxModel

Result = TypeVar("Result")

SMALLEST_TILE = 64  # px; training begins with pictures of this size, on smaller ones a network sees too little


class Failover:
    """Keeps a model running that many threads use on one device.

    now: None until its device fails, then the model with less at a time, another session or another file. reopen: a
    new session for the same file and device; to_cpu: the model on the CPU, None where it must not go there.
    """

    def __init__(self, reopen: Callable[[], SharedSession], to_cpu: "Callable[[], LoadedModel] | None") -> None:
        self.now: OnnxModel | None = None
        self.troubles: tuple[str, ...] = ()
        self._reopen = reopen
        self._to_cpu = to_cpu
        self._proven = True  # whether the session of `now` has done some work
        self._lost: list[SharedSession] = []  # kept, because closing one whose device is lost can end the process
        self._lock = threading.Lock()

    def run(self, model: OnnxModel, work: Callable[[OnnxModel], Result]) -> tuple[Result, OnnxModel]:
        """See run_with_failover. model: as it was before there was trouble."""
        reopened = False
        while True:
            current = self.now or model
            try:
                result = work(current)
            except Trouble as trouble:
                reopened |= self._step_down(model, current, trouble, may_reopen=not reopened)
            else:
                if current is self.now:
                    self._proven = True
                return result, current

    def _step_down(self, model: OnnxModel, current: OnnxModel, trouble: Trouble, may_reopen: bool) -> bool:
        """Changes `now`, where no other thread has since; raises when nothing is left. Whether it opened a session."""
        with self._lock:
            if self.now is not None and self.now is not current:
                return False
            if not current.shared.closed and (less := _on_less(current, trouble)):
                self._move(trouble, *less)
                return False
            if current.device == "cpu":
                raise trouble
            if may_reopen and (again := self._reopened(current, trouble)):
                self._move(trouble, again, "the model was opened anew, for one photo at a time")
                return True
            self._give_up(model, current, trouble)
            return False

    def _move(self, trouble: Trouble, current: OnnxModel, what: str) -> None:
        self.now = current
        sentence = f"{trouble.words}: {what}"
        if sentence not in self.troubles:
            self.troubles = (*self.troubles, sentence)

    def _reopened(self, current: OnnxModel, trouble: Trouble) -> OnnxModel | None:
        """The model with a new session, or None; a session that never worked is not opened once more."""
        if not self._proven and not current.shared.closed:
            return None
        self._let_go(current, trouble)
        self._proven = False
        try:
            return replace(current, shared=self._reopen())
        except (DeviceError, ModelError):
            return None

    def _give_up(self, model: OnnxModel, current: OnnxModel, trouble: Trouble) -> None:
        """Moves to the CPU, with tiles and batches as they were before there was trouble, or raises."""
        if self._to_cpu is None:
            raise trouble
        self._let_go(current, trouble)
        try:
            on_cpu = self._to_cpu()
        except ModelError as error:
            raise ModelError(f"{trouble.words}, and the CPU can't take over ({error})") from error
        spec = replace(on_cpu.spec, tile_size=model.spec.tile_size)
        pictures = 1 if on_cpu.pictures == 1 else model.pictures  # its file may take one at a time only
        taken = replace(on_cpu, spec=spec, pictures=pictures, failover=self)
        self._move(trouble, taken, f"the rest of the run is on the CPU, with model {taken.label}")

    def _let_go(self, current: OnnxModel, trouble: Trouble) -> None:
        if trouble.kind == "lost":
            self._lost.append(current.shared)
        else:
            current.shared.close()


class InWork:
    """How many pieces of work each GPU has in hand, over all models that share them."""

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def on_idlest(self, gpus: Sequence[str]) -> Iterator[str]:
        """Names the GPU with the least in hand, the first of several, for one more piece of work."""
        with self._lock:
            gpu = min(gpus, key=lambda one: self._count[one])
            self._count[gpu] += 1
        try:
            yield gpu
        finally:
            with self._lock:
                self._count[gpu] -= 1


class Spread:
    """Runs a model on several GPUs: each piece of work on one of them, and anew on another when that one fails.

    models: one a GPU, of the same file. A GPU that failed at what another could do is left out from then on, unless
    all others fail.
    """

    def __init__(self, models: "Sequence[LoadedModel]", in_work: InWork) -> None:
        self._models = {model.device: model for model in models}
        self._in_work = in_work
        self._left_out: set[str] = set()
        self._sentences: tuple[str, ...] = ()
        self._lock = threading.Lock()

    @property
    def troubles(self) -> tuple[str, ...]:
        """As of Failover: of each GPU, and what was left out."""
        stepped = [sentence for model in self._models.values() for sentence in model.failover.troubles]
        return (*stepped, *self._sentences)

    def run(self, model: OnnxModel, work: Callable[[OnnxModel], Result]) -> tuple[Result, OnnxModel]:
        """See run_with_failover; raises the first GPU's Trouble when all fail.

        model: of all GPUs, which says how large tiles and batches are.
        """
        failed: dict[str, Trouble] = {}
        while untried := [gpu for gpu in self._models if gpu not in failed]:
            with self._in_work.on_idlest([gpu for gpu in untried if gpu not in self._left_out] or untried) as gpu:
                one = replace(self._models[gpu], spec=model.spec, pictures=model.pictures)
                try:
                    done = one.failover.run(one, work)
                except Trouble as trouble:
                    failed[gpu] = trouble.with_traceback(None)  # its frames hold the photo
                    continue
            self._note(gpu, failed)
            return done
        raise next(iter(failed.values()))  # no GPU is left out for that: the photo may ask too much

    def _note(self, worked: str, failed: dict[str, Trouble]) -> None:
        """Leaves out what failed at work that another GPU has done."""
        if not failed:
            return
        with self._lock:
            self._left_out = (self._left_out | failed.keys()) - {worked}
            for trouble in failed.values():
                sentence = f"{trouble.words}: this GPU is left out, its photos go to the others"
                if sentence not in self._sentences:
                    self._sentences = (*self._sentences, sentence)


def _on_less(current: OnnxModel, trouble: Trouble) -> tuple[OnnxModel, str] | None:
    """The model with less at a time, and that in words; None where less can't help."""
    if trouble.kind == "lost":
        return None
    if trouble.pictures > 1:
        return replace(current, pictures=trouble.pictures // 2), "fewer pictures at a time"
    side = current.spec.tile_size // 2 // current.spec.multiple * current.spec.multiple
    if trouble.tiled and side >= SMALLEST_TILE:
        return replace(current, spec=replace(current.spec, tile_size=side)), "smaller tiles"
    return None


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel(OnnxModel):
    """A model with what keeps it running; what its fields say is how it was loaded.

    Of several GPUs, only `run_with_failover` uses all.
    """

    failover: Failover | Spread = field(kw_only=True)


def run_with_failover(network: Network, work: Callable[[Network], Result]) -> tuple[Result, Network]:
    """What `work` makes with a network, and the network that really did it: always one from start to end.

    Where the device of a loaded model fails, the work is done again on less, with a new session, on another GPU or on
    the CPU, and so is what comes after it, in all threads. Raises Trouble when nothing is left to try.
    """
    if not isinstance(network, LoadedModel):
        return work(network), network
    return network.failover.run(network, work)
