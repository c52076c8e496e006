"""Scores on the photos kept for validation."""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from bwcolor_training import colours
from bwcolor_training import validate as module
from bwcolor_training.config import TrainConfig
from bwcolor_training.data.photo_sets import PhotoSet, one_source
from bwcolor_training.validate import SAMPLES, Validation, validate
from torch import Tensor, nn

from bwcolor.checks.evaluate import square
from bwcolor.imaging.color import luma
from bwcolor.imaging.metrics import score

CPU = torch.device("cpu")
SIZE = 64  # px
CONFIG = TrainConfig(losses={"mse": 1.0}, validation_size=SIZE, precision="fp32")
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
    hashes = [hashlib.sha256(bytes([n])).hexdigest() for n in range(count)]
    return one_source(pixels.reshape(-1), index, hashes, [f"{n}.png" for n in range(count)])


def scores(network: nn.Module, numbers: Sequence[int], config: TrainConfig = CONFIG, rarity: Tensor | None = None,
           mean: tuple[float, float] = (0.0, 0.0), count: int = 3) -> Validation | None:  # fmt: skip
    return validate(network, photo_set(count), np.array(numbers, np.int64), config,
                    mean_chroma=torch.tensor(mean), rarity=rarity, device=CPU)  # fmt: skip


def found(*arguments: Any, **more: Any) -> Validation:
    result = scores(*arguments, **more)
    assert result is not None
    return result


def test_no_photos_no_scores() -> None:
    assert scores(Constant(0, 0), []) is None


def test_gray_scores_like_gray() -> None:
    result = found(Constant(0, 0), [1])
    truth = square(photo_set().photo(1), SIZE)
    gray = np.repeat(np.round(luma(truth.astype(np.float32)))[..., None], 3, -1).astype(np.uint8)
    expected = score(gray, truth)
    assert result.summary.photos == 1
    assert (result.summary.psnr, result.summary.de00) == pytest.approx((expected.psnr, expected.de00))
    assert result.summary.colourfulness == 0


def test_the_true_chroma_scores_best() -> None:
    right = found(Constant(-0.0919, 0.1076), range(3))
    swapped = found(Constant(0.1076, -0.0919), range(3))
    assert right.summary.photos == 3
    assert right.summary.psnr > 45
    assert swapped.summary.psnr < 20
    assert right.summary.colourfulness_ratio == pytest.approx(1, abs=0.03)
    assert right.loss < 1e-5 < 0.1 < swapped.loss


def test_the_network_sees_bt601_luma_of_one_size() -> None:
    network = Constant(0, 0)
    found(network, range(3))
    assert [tuple(gray.shape) for gray in network.seen] == 3 * [(1, 1, SIZE, SIZE)]
    assert float(network.seen[0].mean()) == pytest.approx(112 / 255, abs=1e-6)  # 0.299 R + 0.587 G + 0.114 B = 111.5
    large = Constant(0, 0)
    found(large, [0], dataclasses.replace(CONFIG, validation_size=96))
    assert large.seen[0].shape == (1, 1, 96, 96)


def test_losses_by_hand() -> None:
    """Cb and Cr are each wrong by what the photo has: 0.0919 and 0.1076, twice that in -1..1."""
    config = dataclasses.replace(CONFIG, losses={"mse": 1.0, "l1": 10.0})
    result = found(Constant(0, 0), [0], config, mean=(-0.0919, 0.0))
    assert result.losses == pytest.approx({"mse": (0.1838**2 + 0.2152**2) / 2, "l1": (0.1838 + 0.2152) / 2}, rel=2e-3)
    assert result.loss == pytest.approx(result.losses["mse"] + 10 * result.losses["l1"])
    assert result.mean_colour_loss == pytest.approx(0.2152**2 / 2 + 10 * 0.2152 / 2, rel=2e-3)


def test_losses_are_means_over_the_photos() -> None:
    singles = [found(Constant(0, 0.1), [number], mean=(0, 0)) for number in range(3)]
    result = found(Constant(0, 0.1), range(3), mean=(0, 0))
    assert result.loss == pytest.approx(np.mean([single.loss for single in singles]))
    assert result.mean_colour_loss == pytest.approx(np.mean([single.mean_colour_loss for single in singles]))
    assert result.losses == {"mse": pytest.approx(result.loss)}


def test_rare_colours_weigh_in_the_loss() -> None:
    config = dataclasses.replace(CONFIG, pixel_weight="rare")
    plain = found(Constant(0, 0), [0], config, torch.ones(colours.BINS))
    heavy = found(Constant(0, 0), [0], config, torch.full((colours.BINS,), 3.0))
    assert heavy.loss == pytest.approx(3 * plain.loss)
    assert heavy.mean_colour_loss == pytest.approx(3 * plain.mean_colour_loss)


def test_classes_are_decoded_and_compared_by_colour() -> None:
    class OneClass(nn.Module):
        """Sure of the bin nearest to COLOUR, everywhere."""

        def forward(self, gray: Tensor) -> Tensor:
            rgb = torch.tensor(COLOUR).view(1, 3, 1, 1) / 255
            near = (colours.bin_centres() - colours.rgb_to_ab(rgb).flatten()).square().sum(1).argmin()
            logits = torch.zeros(len(gray), colours.BINS, *gray.shape[2:])
            logits[:, near] = 50.0
            return logits

    config = dataclasses.replace(CONFIG, head="classes", losses={"classes": 1.0})
    result = found(OneClass(), [0], config, torch.ones(colours.BINS), mean=(0.3, 0.3))
    assert result.summary.de00 < 5
    assert result.losses.keys() == {"classes"}
    assert result.loss < 0.01 < result.mean_colour_loss


def test_the_first_photos_are_kept_to_look_at() -> None:
    result = found(Constant(-0.0919, 0.1076), [2, 0])
    assert [sample.name for sample in result.samples] == ["2.png", "0.png"]
    sample = result.samples[0]
    assert np.array_equal(sample.truth, square(photo_set().photo(2), SIZE))
    assert sample.gray.shape == (SIZE, SIZE)
    assert np.abs(sample.output.astype(int) - sample.truth).max() <= 3
    assert len(found(Constant(0, 0), range(SAMPLES + 3), count=SAMPLES + 3).samples) == SAMPLES


def test_more_photos_than_needed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VALIDATION_PHOTOS", 2)
    assert found(Constant(0, 0), range(3)).summary.photos == 2
