"""Photos and settings small enough to train on within a test."""

from pathlib import Path

import numpy as np
import pytest
from bwcolor_training.config import TrainConfig
from numpy.typing import NDArray
from PIL import Image


def colour_photo(number: int) -> NDArray[np.uint8]:
    """Bright orange over dark blue, so that luma tells the colour: (40 + number, 56, 3), RGB."""
    height, width = 40 + number, 56
    shade = np.add.outer(np.arange(height), np.arange(width)) % (7 + number)
    bright = (np.arange(height) < height // 2)[:, None, None]
    rgb = np.where(bright, (250, 180, 90), (20, 40, 120)) - shade[..., None]
    return np.asarray(rgb, np.uint8)


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
        decoder_widths=(16, 16, 8, 8),
        skip_widths=(8, 8, 8, 8),
        sizes=(32,),
        batches=(4,),
        shares=(1.0,),
        steps=6,
        warmup=1,
        validation=0.3,
    )
