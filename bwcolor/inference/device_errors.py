"""When a device fails under a network: what onnxruntime says then, and a session that can be closed in time."""

import re
import sys
import threading
from typing import Literal

import onnxruntime as ort

from bwcolor.errors import ModelError
from bwcolor.imaging.color import Array

Kind = Literal["memory", "lost", "unclear"]

# onnxruntime has no class of error for these; only the text tells, on one line or on several.
OUT_OF_MEMORY = re.compile(
    r"Failed to allocate memory for requested buffer|Available memory of \d+ is smaller than requested"
    r"|Failed to find a free memory block|out of memory|ALLOC_FAILED|ALLOCATION_FAILED|bad[_ ]alloc",
    re.IGNORECASE,
)
# After these CUDA answers every call of the process with the same error (NVIDIA's list of runtime errors: 700 is an
# illegal address, 702 a time-out of the display driver, 710 an assert, 714 to 719 broken programs), or the GPU has
# gone: 46 and 100 no device, 214 memory that can't be corrected, 999 unknown, as after a laptop slept.
LOST = re.compile(r"CUDA failure (46|100|214|700|702|709|71[04-9]|999)\b")
# The rest, mostly of cuDNN and cuBLAS: for lack of memory more often than not, but they don't say so.
FAILED = re.compile(r"\bCU(DA|DNN|DNN_FE|BLAS|BLASLT|FFT) (failure -?\d+|error executing)|Failed to initialize CUDNN")
SAID = re.compile(r"\bCU\w+ (failure -?\d+: [^;\n]*|error executing \w+)|Failed to allocate memory[^;\n]*")

IN_WORDS: dict[Kind, str] = {
    "memory": "out of memory on {device}",
    "lost": "{device} is lost ({said})",
    "unclear": "{device} failed, perhaps for lack of memory ({said})",
}
ADVICE: dict[Kind, str] = {
    "memory": "Close other programs that use the GPU, or use --jobs 1 or --device cpu.",
    "lost": "Run bwcolor again for the photos that are left, or use --device cpu.",
    "unclear": "Close other programs that use the GPU, or use --jobs 1 or --device cpu.",
}


class Trouble(ModelError):
    """A device failed under a network, and might not have on less, or with a new session.

    kind: "memory", "lost" when the device is of no more use to this process, or "unclear". pictures: how many were
    fed at a time. tiled: they were tiles, which can be smaller. words: what happened, without what to do.
    """

    def __init__(self, kind: Kind, device: str, said: str, pictures: int) -> None:
        self.kind = kind
        self.pictures = pictures
        self.tiled = False
        on_cpu = device == "cpu"
        self.words = "not enough memory" if on_cpu else IN_WORDS[kind].format(device=device, said=said)
        self._made_of = kind, device, said, pictures
        super().__init__(self.words if on_cpu else f"{self.words}. {ADVICE[kind]}")

    def __reduce__(self) -> tuple[type["Trouble"], tuple[Kind, str, str, int]]:
        return Trouble, self._made_of  # so that it can go from one process to another


def trouble_kind(error: Exception, device: str) -> Kind | None:
    """What an error of onnxruntime says of the device "cpu" or "cuda:N"; None where another cause is likely."""
    text = str(error)
    on_gpu = device != "cpu"
    if on_gpu and LOST.search(text):
        return "lost"
    if isinstance(error, MemoryError) or OUT_OF_MEMORY.search(text):
        return "memory"
    return "unclear" if on_gpu and FAILED.search(text) else None


def what_it_said(error: Exception) -> str:
    """What an error is about, in one line: onnxruntime puts up to a thousand characters of its own source before it."""
    text = str(error).strip()
    if found := SAID.search(text):
        return found[0].strip()[:300]
    return text.splitlines()[0][:300] if text else type(error).__name__


class SessionClosed(Exception):
    """The session was closed by another thread; there is another one by now, or none."""


class SharedSession:
    """An onnxruntime session that many threads use, until one closes it to have its memory back.

    threads: how many run it at once, others wait; 0 for any number.
    """

    def __init__(self, session: ort.InferenceSession, threads: int = 0) -> None:
        self._session: ort.InferenceSession | None = session
        self._input = session.get_inputs()[0].name
        self._most = threads or sys.maxsize
        self._inside = 0
        self._closed = False
        self._changed = threading.Condition()

    @property
    def closed(self) -> bool:
        return self._closed

    def run(self, batch: Array, options: ort.RunOptions | None) -> Array:
        """The network's output; raises SessionClosed, or whatever onnxruntime raises."""
        self._enter()
        try:
            if self._session is None:
                raise SessionClosed
            out: Array = self._session.run(None, {self._input: batch}, options)[0]
            return out
        finally:
            self._leave()

    def close(self) -> None:
        """Waits until no thread runs the session, then lets go of it: its memory is free on return.

        Errors that it raised must have been kept without their tracebacks, which hold it too.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._inside == 0)
            self._session = None

    def _enter(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._inside < self._most)
            if self._closed:
                raise SessionClosed
            self._inside += 1

    def _leave(self) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()
