"""Fixtures that the tests of several folders share."""

import os
import signal
from pathlib import Path

import pytest
from tiny_model import write_tiny

# Tests run in one process a core; more threads in each would only wait for one another. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Whoever starts the tests in the background, or with nohup, has these ignored, and all processes that tests start
# inherit that: what is tested is how they end.
for _name in ("SIGINT", "SIGHUP"):
    _number = getattr(signal, _name, None)
    if _number is not None and signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a tiny real ONNX model."""
    return write_tiny(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout that the tests run in."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _no_models_of_the_developer(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests neither see nor change what the person who runs them has added."""
    monkeypatch.setenv("BWCOLOR_MODELS", str(tmp_path_factory.getbasetemp() / "no models"))
