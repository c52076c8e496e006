"""How much a network is given at a time: as the user wants it, or as memory allows."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from photo.pictures import scene
from tiny_model import write_tiny

from bwcolor.errors import UsageError
from bwcolor.inference import batching
from bwcolor.inference.batching import BYTES_A_PIXEL, SHARE, portioned
from bwcolor.inference.onnx_model import BATCH, OnnxModel
from bwcolor.inference.predict import predict_chroma
from bwcolor.inference.session import Average, load_model
from bwcolor.system.machine import Memory


@pytest.fixture
def model(tmp_path: Path) -> OnnxModel:
    """Of tiles of 256 px, that may be halved twice."""
    loaded = load_model(write_tiny(tmp_path / "tiny.onnx"), "cpu")
    return dataclasses.replace(loaded, spec=dataclasses.replace(loaded.spec, tile_size=256))


def free(monkeypatch: pytest.MonkeyPatch, pixels: float, jobs: int = 1) -> None:
    """As much memory as leaves room for calls of so many pixels."""
    size = int(jobs * pixels * BYTES_A_PIXEL / SHARE) + 8
    monkeypatch.setattr(batching, "memory", lambda: Memory(size * 4, size, None))


def shape(model: OnnxModel | Average) -> tuple[int, int]:
    assert isinstance(model, OnnxModel)
    return model.spec.tile_size, model.pictures


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (BATCH * 256**2, (256, BATCH)),
        (BATCH * 256**2 - 1, (256, BATCH // 2)),
        (256**2, (256, 1)),
        (256**2 - 1, (128, 1)),
        (1, (64, 1)),
    ],
)
def test_memory_decides(
    pixels: int, expected: tuple[int, int], model: OnnxModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, pixels)
    assert shape(portioned(model, 0, 0, 1)) == expected
    free(monkeypatch, pixels, jobs=3)
    assert shape(portioned(model, 0, 0, 3)) == expected, "photos share it"


def test_what_the_user_says_stays(model: OnnxModel, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 1)
    assert shape(portioned(model, 512, 0, 1)) == (512, 1)
    assert shape(portioned(model, 0, 32, 1)) == (64, 32)
    assert shape(portioned(model, 128, 16, 1)) == (128, 16)


def test_limits_count_as_memory_does(model: OnnxModel, monkeypatch: pytest.MonkeyPatch) -> None:
    plenty, little = 1 << 40, int(256**2 * BYTES_A_PIXEL / SHARE) + 8
    monkeypatch.setattr(batching, "memory", lambda: Memory(plenty, plenty, little))
    assert shape(portioned(model, 0, 0, 1)) == (256, 1), "a container's"
    monkeypatch.setattr(batching, "memory", lambda: Memory(plenty, plenty, None))
    assert shape(portioned(model, 0, 0, 1, most=little)) == (256, 1), "--max-memory"


def test_a_system_that_does_not_tell_its_memory(model: OnnxModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "memory", lambda: Memory(None, None, None))
    assert shape(portioned(model, 0, 0, 1)) == (256, BATCH)


def test_a_file_that_takes_one_picture_gets_one(model: OnnxModel) -> None:
    assert shape(portioned(dataclasses.replace(model, pictures=1), 0, 8, 1))[1] == 1


@pytest.mark.parametrize("tile", [32, 100, 63, 8192])
def test_tiles_that_it_cannot_take(tile: int, model: OnnxModel) -> None:
    with pytest.raises(UsageError, match=rf"--tile {tile}: model .* takes multiples of 32 px from 64 to 4096"):
        portioned(model, tile, 0, 1)


def test_a_square_network_has_no_tiles(model: OnnxModel) -> None:
    square = dataclasses.replace(model, spec=dataclasses.replace(model.spec, shape="square"))
    with pytest.raises(UsageError, match="sees whole photos only"):
        portioned(square, 128, 0, 1)


def test_each_network_of_an_average(model: OnnxModel) -> None:
    square = dataclasses.replace(model, spec=dataclasses.replace(model.spec, shape="square"))
    mixed = portioned(Average((model, square)), 128, 2, 1)
    assert isinstance(mixed, Average)
    assert [shape(one) for one in mixed.networks if isinstance(one, OnnxModel)] == [(128, 2), (256, BATCH)]
    with pytest.raises(UsageError, match="sees whole photos only"):
        portioned(Average((square, square)), 128, 2, 1)
    both = portioned(Average((model, model), ("said",)), 128, 2, 1)
    assert isinstance(both, Average)
    assert [shape(one) for one in both.networks if isinstance(one, OnnxModel)] == [(128, 2)] * 2
    assert both.lines == ("said",)


def test_colours_do_not_depend_on_the_batch(model: OnnxModel) -> None:
    photo = scene(700, 500)
    found = [predict_chroma(photo, 1, portioned(model, 64, batch, 1), "max") for batch in (1, 3, 64)]
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-6)
