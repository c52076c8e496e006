"""Scores on the photos kept for validation."""

import hashlib

import numpy as np
import pytest
import torch
from bwcolor_training import validate as module
from bwcolor_training.data import PhotoSet
from bwcolor_training.validate import VALIDATION_SIZE, validate
from torch import Tensor, nn

from bwcolor.color import luma
from bwcolor.evaluate import square
from bwcolor.metrics import score

CPU = torch.device("cpu")
COLOUR = (150, 100, 70)  # RGB; its Cb is -0.0919, its Cr 0.1076


class Constant(nn.Module):
    """Gives one chroma everywhere, and keeps what it was shown."""

    def __init__(self, cb: float, cr: float) -> None:
        super().__init__()
        self.chroma = torch.tensor([cb, cr]).view(1, 2, 1, 1)
        self.seen: list[Tensor] = []

    def forward(self, gray: Tensor) -> Tensor:
        self.seen.append(gray)
        return self.chroma.expand(len(gray), 2, *gray.shape[2:])


def photo_set(count: int = 3) -> PhotoSet:
    """Photos of 40 x 60 px, one colour each, getting darker."""
    pixels = np.stack([np.full((40, 60, 3), COLOUR) - 8 * n for n in range(count)]).astype(np.uint8)
    index = np.array([(n * 40 * 60 * 3, 40, 60) for n in range(count)])
    return PhotoSet(pixels.reshape(-1), index, [hashlib.sha256(bytes([n])).hexdigest() for n in range(count)])


def test_no_photos_no_scores() -> None:
    assert validate(Constant(0, 0), photo_set(), np.array([], np.int64), CPU) is None


def test_gray_scores_like_gray() -> None:
    photos = photo_set()
    summary = validate(Constant(0, 0), photos, np.array([1]), CPU)
    truth = square(photos.photo(1), VALIDATION_SIZE)
    gray = np.repeat(np.round(luma(truth.astype(np.float32)))[..., None], 3, -1).astype(np.uint8)
    expected = score(gray, truth)
    assert summary is not None
    assert summary.photos == 1
    assert (summary.psnr, summary.de00) == pytest.approx((expected.psnr, expected.de00))
    assert summary.colourfulness == 0


def test_the_true_chroma_scores_best() -> None:
    right = validate(Constant(-0.0919, 0.1076), photo_set(), np.arange(3), CPU)
    swapped = validate(Constant(0.1076, -0.0919), photo_set(), np.arange(3), CPU)
    assert right is not None
    assert swapped is not None
    assert right.photos == 3
    assert right.psnr > 45
    assert swapped.psnr < 20
    assert right.colourfulness_ratio == pytest.approx(1, abs=0.03)


def test_the_network_sees_bt601_luma_of_one_size() -> None:
    network = Constant(0, 0)
    validate(network, photo_set(), np.arange(3), CPU)
    assert [tuple(gray.shape) for gray in network.seen] == 3 * [(1, 1, VALIDATION_SIZE, VALIDATION_SIZE)]
    assert float(network.seen[0].mean()) == pytest.approx(112 / 255, abs=1e-6)  # 0.299 R + 0.587 G + 0.114 B = 111.5


def test_more_photos_than_needed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VALIDATION_PHOTOS", 2)
    summary = validate(Constant(0, 0), photo_set(), np.arange(3), CPU)
    assert summary is not None
    assert summary.photos == 2
