"""What models are called, and which names belong to those that come with bwcolor."""

import os
from pathlib import Path

from bwcolor.errors import UsageError
from bwcolor.system.text import printable

# What ships, no more and no less: name -> precision -> file in bwcolor/models. A file that is listed and
# missing is an error, never replaced by one of another precision.
BUNDLED: dict[str, dict[str, str]] = {"default": {"int8": "default-int8.onnx", "fp16": "default-fp16.onnx"}}
SHA256 = {
    "default-int8.onnx": "a8d00265b8f0f68bdba56d52766d7e8884b138a06b2bed84f6cf1e7daa016151",
    "default-fp16.onnx": "be053ac048080c63f5b5a6e35e6a38c46e80584465cb016f65e14e4576a67ef2",
}
SAME_IN_EVERY_RUN = frozenset({"model", "best", "last"})  # stems of the files that `bwcolor train` writes
INSTEAD = "custom-"  # put before a name that is taken by a bundled model


def is_reserved(name: str) -> bool:
    """Tells whether a name belongs to a bundled model, or to one of its precisions."""
    lowered = name.lower()
    return any(lowered == bundled or lowered.startswith(f"{bundled}-") for bundled in BUNDLED)


def check_not_reserved(name: str) -> None:
    """Raises UsageError for a name that belongs to a bundled model."""
    if is_reserved(name):
        raise UsageError(f"--name {name}: this name is kept for a model that comes with bwcolor. Choose another.")


def name_of(path: Path) -> str:
    """Names a model after its file, or after its folder where the file has the name that it has in every run.

    The name is never a bundled model's, and safe to print.
    """
    whole = Path(os.path.abspath(path))
    name = printable(whole.parent.name if whole.stem in SAME_IN_EVERY_RUN and whole.parent.name else whole.stem)
    return INSTEAD + name if is_reserved(name) else name


def known_as(said: str, sha256: str, path: Path) -> str:
    """Returns what a model file is called in use. said: the name in its contract. sha256: of the file, hex.

    A bundled model's name belongs to the files that are on record, and to no others, whatever they say.
    """
    for name, files in BUNDLED.items():
        if sha256 in {SHA256.get(file) for file in files.values()}:
            return name
    return name_of(path) if is_reserved(said) else said
