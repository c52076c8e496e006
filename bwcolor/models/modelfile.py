"""Reading a model file without running it: its bytes, what it says of itself, and its contract."""

import hashlib
import stat
from dataclasses import dataclass, replace
from pathlib import Path

from bwcolor.errors import ModelError
from bwcolor.models.names import known_as
from bwcolor.models.onnx_reader import OnnxFile, read_onnx
from bwcolor.models.sidecar import contract_path, read_contract
from bwcolor.models.spec import METADATA_KEY, ModelSpec
from bwcolor.models.third_party import suggestion

MAX_MODEL_BYTES = 2**31 - 1  # of one protobuf file


@dataclass(frozen=True, slots=True, eq=False)
class ModelFile:
    """A whole model file in memory, so that what is hashed is what is opened. sha256: hex."""

    path: Path
    content: bytes
    sha256: str
    onnx: OnnxFile

    @property
    def describes_itself(self) -> bool:
        """Whether the contract is inside the file."""
        return METADATA_KEY in self.onnx.metadata

    def spec(self) -> ModelSpec:
        """Returns the contract inside the file, or the one beside it, with the name that the model is known by.

        Raises ModelError where neither fits.
        """
        said = self._said()
        return replace(said, name=known_as(said.name, self.sha256, self.path))

    def _said(self) -> ModelSpec:
        """Returns the contract as it is written."""
        beside = None if self.describes_itself else read_contract(self.path)
        if beside is None:
            try:
                return ModelSpec.from_metadata(self.onnx.metadata)
            except ModelError as error:
                hint = "" if self.describes_itself else suggestion(self.onnx)
                raise ModelError(f"{self.path}: {error}.{hint}") from error
        if beside.sha256 != self.sha256:
            raise ModelError(
                f"{contract_path(self.path)}: written for another file (SHA-256 {beside.sha256[:12]}…, this one has"
                f" {self.sha256[:12]}…). Add the model again with `bwcolor models add`."
            )
        return beside.spec


def read_model_file(path: Path, sha256: str = "") -> ModelFile:
    """Reads a model file and steps through it; raises ModelError when it is unfit.

    sha256: that it must have; empty for any.
    """
    content = _read(path)
    found = hashlib.sha256(content).hexdigest()
    if sha256 and found != sha256:
        raise ModelError(
            f"{path}: changed or damaged: its SHA-256 is {found[:12]}…, on record is {sha256[:12]}…."
            " Install bwcolor again if the model came with it, else add the model again."
        )
    try:
        return ModelFile(path, content, found, read_onnx(content))
    except ModelError as error:
        raise ModelError(f"{path}: {error}.") from error


def _read(path: Path) -> bytes:
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            raise ModelError(f"{path}: can't be read (it is not a file).")
        if state.st_size > MAX_MODEL_BYTES:
            raise ModelError(f"{path}: larger than an ONNX file can be (2 GB).")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: can't be read ({error.strerror}).") from error
    except MemoryError as error:
        raise ModelError(f"{path}: too large for the memory of this machine.") from error
