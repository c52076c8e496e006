"""Fixtures that the tests of several folders share."""

from pathlib import Path

import pytest
from tiny_model import write_tiny


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a tiny real ONNX model."""
    return write_tiny(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout that the tests run in."""
    return Path(__file__).resolve().parent.parent
