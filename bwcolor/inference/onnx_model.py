"""A network in an ONNX file, loaded on one device; how it is run when that device fails is the business of failover."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from bwcolor.errors import ModelError
from bwcolor.inference.device_errors import SessionClosed, SharedSession, Trouble, trouble_kind, what_it_said
from bwcolor.models.selfcheck import check_output
from bwcolor.models.spec import ModelSpec

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
    shared: the session; of several GPUs the first one's. missed: why an NVIDIA GPU that is there is not used, in words;
    empty where none is, or it is used.
    """

    spec: ModelSpec
    path: Path
    sha256: str
    device: str
    why: str
    pictures: int
    shared: SharedSession
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
            out = self.shared.run(piece, options)
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
