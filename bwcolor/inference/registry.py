"""The models by name: those that come with bwcolor, and those that the user added."""

import contextlib
import os
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np

from bwcolor.errors import FolderError, ModelError, PhotoError, UsageError
from bwcolor.imaging.gamut import compose_pixels
from bwcolor.imaging.metrics import colourfulness
from bwcolor.inference.failover import InWork
from bwcolor.inference.onnx_model import OnnxModel
from bwcolor.inference.predict import predict_chroma
from bwcolor.inference.session import Average, Choice, load_chosen
from bwcolor.models.modelfile import ModelFile
from bwcolor.models.names import BUNDLED, SHA256, check_not_reserved, name_of
from bwcolor.models.selfcheck import trial_pictures
from bwcolor.models.sidecar import Contract, card_path, contract_content, contract_path, read_contract
from bwcolor.models.spec import ModelSpec
from bwcolor.system.atomic import TEMPORARY_PREFIX, commit
from bwcolor.system.processor import fast_int8

MODEL_CARD = "README.md"

# Precisions, best first. On a CPU fp16 runs at fp32 speed; int8 is 3 to 5 times faster than fp32 where
# there are instructions for it, and neither fast nor exact elsewhere.
ON_GPU = ("fp16", "fp32", "int8")
ON_CPU_WITH_FAST_INT8 = ("int8", "fp32", "fp16")
ON_OTHER_CPU = ("fp32", "fp16", "int8")

FOLDER_VARIABLE = "BWCOLOR_MODELS"
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # names that Windows keeps for itself
SUFFIX = ".onnx"
LEFTOVER_AGE = 3600  # seconds without a write: longer than any disk takes
GRAY = 1.0  # colourfulness below which a picture looks gray; a usual photo has about 40
TRIAL_SIZE = 480, 640  # px, height and width of the picture that a model is tried on

Origin = Literal["bundled", "added", "file"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A model that can be chosen. files: precision -> file; "" where there is one and its precision is not known yet.

    sha256: on record, by precision; a file that is only named by its path has none.
    """

    name: str
    origin: Origin
    files: Mapping[str, Path]
    sha256: Mapping[str, str]


def load(expression: str, device: str = "auto") -> OnnxModel | Average:
    """The model called NAME, in the file FILE, or the average of several: A+B.

    Raises ModelError, UsageError or DeviceError, see `load_model`.
    """
    names = [expression] if _is_file(expression) else expression.split("+")
    in_work = InWork()
    models = [_load_one(name, device, in_work) for name in names]
    if len(models) == 1:
        return models[0]
    return Average(tuple(models), tuple(line for model in models for line in model.lines))


def _load_one(name: str, device: str, in_work: InWork) -> OnnxModel:
    entry = find_model(name)
    return load_chosen(lambda where: choose(entry, where), device, in_work)


def choose(entry: Entry, device: str) -> Choice:
    """The file of a model that suits a device, "cpu" or "cuda:N", and why. Raises ModelError when it is missing."""
    if len(entry.files) == 1:
        ((precision, path),) = entry.files.items()
        why = ""
    else:
        where, order = _preferred(device)
        precision = next(one for one in order if one in entry.files)
        path = entry.files[precision]
        why = f"of {' and '.join(sorted(entry.files))}, {precision} suits {where} best"
    if entry.origin == "bundled" and not path.is_file():
        raise ModelError(f"{path}: missing from this installation. Install bwcolor again.")
    return Choice(path, why, entry.sha256.get(precision, ""))


def _preferred(device: str) -> tuple[str, tuple[str, ...]]:
    """In words where the model will run, and the precisions in the order in which they suit it."""
    if device != "cpu":
        return "a GPU", ON_GPU
    if instructions := fast_int8():
        return f"a CPU with {instructions}", ON_CPU_WITH_FAST_INT8
    return "a CPU that isn't known to be fast at int8", ON_OTHER_CPU


def find_model(name: str) -> Entry:
    """The model of this name, bundled or added, or the file of this path; raises ModelError when there is none.

    NAME-PRECISION is one file of a bundled model.
    """
    if bundled := bundled_models().get(name):
        return bundled
    for entry in bundled_models().values():
        for precision, path in entry.files.items():
            if name == f"{entry.name}-{precision}":
                return Entry(name, "bundled", {precision: path}, entry.sha256)
    if _is_name(name) and name in added_names():
        return find_added(name)
    if not _is_file(name):
        yours = f" or of those that you added ({', '.join(added_names())})" if added_names() else ""
        raise ModelError(f"--model {name}: neither a file nor one of the bundled models ({', '.join(BUNDLED)}){yours}.")
    return Entry(name, "file", {"": Path(name)}, {})


def bundled_models() -> dict[str, Entry]:
    """What came with bwcolor."""
    folder = Path(str(resources.files("bwcolor"))) / "models"
    return {
        name: Entry(
            name,
            "bundled",
            {precision: folder / file for precision, file in files.items()},
            {precision: SHA256[file] for precision, file in files.items() if file in SHA256},
        )
        for name, files in BUNDLED.items()
    }


def model_card(entry: Entry) -> Path | None:
    """The model card of a bundled model."""
    return next(iter(entry.files.values())).with_name(MODEL_CARD) if entry.origin == "bundled" else None


def models_folder() -> Path:
    """Where added models are kept: $BWCOLOR_MODELS, or a folder in the user's data folder of this platform."""
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(os.path.abspath(chosen))
    try:
        home = Path.home()
    except RuntimeError as error:
        raise FolderError(f"no home folder is known: set {FOLDER_VARIABLE} to a folder for models.") from error
    if sys.platform == "win32":
        data = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        data = home / "Library" / "Application Support"
    else:
        data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return data / "bwcolor" / "models"


def added_names() -> list[str]:
    """The names of the models that the user added; other files in the folder don't count."""
    folder = models_folder()
    try:
        names = [path.name.removesuffix(SUFFIX) for path in folder.iterdir() if path.name.endswith(SUFFIX)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FolderError(
            f"{folder}: can't be listed ({error.strerror}). Set {FOLDER_VARIABLE} to another folder."
        ) from error
    return sorted(name for name in names if _is_name(name))


def find_added(name: str) -> Entry:
    """An added model; raises ModelError when its contract is missing or damaged."""
    path = _added_path(name)
    contract = read_contract(path)
    if contract is None:
        raise ModelError(f"{path}: its contract {contract_path(path).name} is missing: add the model again.")
    precision = contract.spec.precision
    return Entry(name, "added", {precision: path}, {precision: contract.sha256})


def check_new_name(name: str, overwrite: bool) -> None:
    """Raises UsageError for a name that can't be given to an added model."""
    if not _is_name(name):
        raise UsageError(
            f"--name {name}: use a to z, digits, '.', '_' and '-', at most 64, and begin with a letter or digit."
        )
    check_not_reserved(name)
    if name in added_names() and not overwrite:
        raise UsageError(
            f"--name {name}: there is a model of this name. Choose another --name, or add --overwrite to replace it."
        )


def name_from(path: Path) -> str:
    """Makes a name for the model in a file, to be added under, of what it is called by itself."""
    return re.sub(r"[^a-z0-9._]+", "-", name_of(path).lower()).strip("-._")[:64]


def add_model(file: ModelFile, spec: ModelSpec, name: str) -> Path:
    """Copies a model into the folder of added ones, and its contract; each appears complete or not at all.

    The contract comes last: until then a model that is being replaced is refused because of its SHA-256.
    """
    target = _added_path(name)
    _sweep(target.parent)
    if not (_is_file(str(target)) and target.samefile(file.path)):
        write_file(target, file.content)
    write_file(contract_path(target), contract_content(Contract(file.sha256, spec)))
    return target


def _sweep(folder: Path) -> None:
    """Deletes what runs that were killed left in the folder; a younger file may be of one that still writes."""
    for part in folder.glob(f"{TEMPORARY_PREFIX}*.part"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > LEFTOVER_AGE:
                part.unlink()


def write_contract_beside(file: ModelFile, spec: ModelSpec) -> Path:
    """Writes the contract beside the user's own file, in place of an older one."""
    path = contract_path(file.path)
    write_file(path, contract_content(Contract(file.sha256, spec)))
    return path


def remove_model(name: str) -> Path:
    """Deletes an added model, its contract and its card; raises UsageError for a bundled one, ModelError for none."""
    if name in BUNDLED:
        raise UsageError(f"{name} comes with bwcolor and can't be removed; only models that you added can.")
    if name not in added_names():
        raise ModelError(f"{name}: no model of this name was added ({', '.join(added_names()) or 'there is none'}).")
    path = _added_path(name)
    _sweep(path.parent)
    try:
        for part in (path, contract_path(path), card_path(path)):
            part.unlink(missing_ok=True)
    except OSError as error:
        raise FolderError(f"{path}: can't be deleted ({error.strerror}).") from error
    return path


def write_file(path: Path, content: bytes) -> None:
    """Makes a file appear at once, complete, in place of an older one; raises FolderError where it can't be written."""
    try:
        commit(content, path, overwrite=True)
    except (FolderError, PhotoError) as error:
        reason = getattr(error.__cause__, "strerror", None) or str(error)
        raise FolderError(f"{path}: can't be written ({reason}).") from error


@dataclass(frozen=True, slots=True)
class Trial:
    """A model's run on a test picture: seconds for it, and colourfulness of the outcome (0 is gray)."""

    seconds: float
    colourfulness: float

    @property
    def has_colour(self) -> bool:
        """Whether the outcome does not look gray."""
        return self.colourfulness > GRAY


def try_out(model: OnnxModel) -> Trial:
    """Colorizes a picture that is drawn, not a photo, as a photo would be."""
    luma = np.round(255 * trial_pictures(1, *TRIAL_SIZE)[0]).astype(np.uint8)
    started = time.monotonic()
    chroma = predict_chroma(luma, 1, model, "fast")
    seconds = time.monotonic() - started
    return Trial(seconds, colourfulness(compose_pixels(luma, None, chroma)))


def _is_name(name: str) -> bool:
    """Whether an added model can be called this, on any platform, without being taken for a file."""
    return (
        bool(NAME_PATTERN.fullmatch(name)) and not WINDOWS_DEVICES.fullmatch(name) and not name.endswith((".", SUFFIX))
    )


def _added_path(name: str) -> Path:
    return models_folder() / f"{name}{SUFFIX}"


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # too long for the disk, or no name at all
        return False
