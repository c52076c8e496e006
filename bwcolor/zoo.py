"""The models by name."""

from importlib import resources
from pathlib import Path

from bwcolor.errors import ModelError

BUNDLED = {"default": "default.onnx"}  # name -> file in bwcolor/models


def find_model(name: str) -> Path:
    """The file of a bundled model, or the file itself that `name` is the path of."""
    if name in BUNDLED:
        path = Path(str(resources.files("bwcolor") / "models" / BUNDLED[name]))
        if not path.is_file():
            raise ModelError(f"{path}: missing from this installation. Install bwcolor again.")
        return path
    path = Path(name)
    if not path.is_file():
        known = ", ".join(sorted(BUNDLED))
        raise ModelError(f"--model {name}: neither a file nor one of the bundled models ({known}).")
    return path
