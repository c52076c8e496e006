"""Photos and settings small enough to train on within a test."""

import dataclasses
from pathlib import Path

import pytest
from bwcolor_training.config import TrainConfig
from PIL import Image
from toy_training import CLASSIC, NO_PICTURES, colour_photo


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 8 colour photos. BMP, because its bytes, and so the split, never depend on a library's version."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number in range(8):
        Image.fromarray(colour_photo(number)).save(folder / ("more" if number % 2 else ".") / f"{number}.bmp")
    return folder


@pytest.fixture
def small() -> TrainConfig:
    """Settings of a run of 6 steps that takes about a second."""
    return TrainConfig(
        encoder="none",
        widths=(16, 16, 8, 8),
        skip_widths=(8, 8, 8, 8),
        sizes=(32,),
        batches=(4,),
        shares=(1.0,),
        steps=6,
        warmup=1,
        validation=0.3,
        validation_size=64,
    )


@pytest.fixture
def tiny(small: TrainConfig) -> TrainConfig:
    """The same with a smaller network, for what does not depend on the network."""
    return dataclasses.replace(small, **CLASSIC)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs draw no curves and write no report, which take longer than the training of a toy."""
    for place, name, value in NO_PICTURES:
        monkeypatch.setattr(place, name, value)
