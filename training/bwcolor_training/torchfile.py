"""Reading files of torch.save that may come from anywhere."""

import pickle
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from bwcolor_training.errors import TrainingInputError

# All the ways in which torch says that a file is not what it should be.
UNREADABLE = (
    OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, TypeError,
    AttributeError, AssertionError, OverflowError, MemoryError, zipfile.BadZipFile, tarfile.TarError,
)  # fmt: skip


def read_torch_file(path: Path, complaint: str) -> Any:
    """What is in the file, on the CPU; no code in it is run.

    Raises TrainingInputError, which ends with the complaint, for a file that can't be read as tensors.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's on odd kinds of tensors, which nobody takes
            return torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise TrainingInputError(f"{path}: can't be read ({error.strerror}).") from error
    except UNREADABLE as error:
        raise TrainingInputError(f"{path}: {complaint}") from error
