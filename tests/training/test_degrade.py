"""From colour to what old scans look like: ranges, and what must not change."""

import numpy as np
import pytest
import torch
from bwcolor_training import degrade
from bwcolor_training.config import TrainConfig
from bwcolor_training.loop import prepare
from numpy.testing import assert_allclose
from torch import Tensor

from bwcolor.color import luma, rgb_to_chroma

OFF = {"gray_jitter": 0.0, "tone_jitter": 0.0, "grain": 0.0, "frame_share": 0.0}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photos(count: int = 32) -> Tensor:
    """Noise: (count, 3, 24, 16), 0..1."""
    return torch.rand(count, 3, 24, 16, generator=seeded(1))


def test_luma_and_chroma_are_the_runtimes() -> None:
    rgb = photos(2)
    flat = rgb.permute(0, 2, 3, 1).numpy()
    assert_allclose(degrade.to_luma(rgb)[:, 0], luma(flat), atol=1e-6)
    assert_allclose(degrade.to_chroma(rgb).permute(0, 2, 3, 1), rgb_to_chroma(flat), atol=1e-6)


def test_film_gray_of_no_photo_is_bt601() -> None:
    rgb = photos()
    assert_allclose(degrade.film_gray(rgb, 0.0, seeded()), degrade.to_luma(rgb), atol=1e-6)


def test_film_gray_of_all_photos_is_a_mix_of_the_channels_of_their_own() -> None:
    rgb = photos()
    gray = degrade.film_gray(rgb, 1.0, seeded())
    assert gray.shape == (32, 1, 24, 16)
    assert (gray >= rgb.amin(1, keepdim=True) - 1e-6).all()
    assert (gray <= rgb.amax(1, keepdim=True) + 1e-6).all()
    apart = (gray - degrade.to_luma(rgb)).abs().amax((1, 2, 3))
    assert (apart > 0.005).all()


def test_film_gray_of_a_share_leaves_the_others_alone() -> None:
    rgb = photos(400)
    changed = (degrade.film_gray(rgb, 0.25, seeded()) - degrade.to_luma(rgb)).abs().amax((1, 2, 3)) > 1e-5
    assert 60 < int(changed.sum()) < 140


def test_tone_stays_in_range_and_in_order() -> None:
    gray = torch.linspace(0, 1, 64).view(1, 1, 1, 64).repeat(50, 1, 1, 1)
    toned = degrade.tone(gray, 0.35, seeded())
    assert toned.amin() >= 0
    assert toned.amax() <= 1
    assert (toned.diff(dim=3) >= 0).all()
    assert (toned - gray).abs().amax((1, 2, 3)).amax() > 0.05


def test_no_tone_changes_nothing_but_true_black() -> None:
    gray = photos()[:, :1]
    assert_allclose(degrade.tone(gray, 0.0, seeded()), gray, atol=2e-4)


def test_grain_is_at_most_as_strong_as_asked() -> None:
    gray = torch.full((40, 1, 64, 64), 0.5)
    deviations = 255 * (degrade.grain(gray, 8.0, seeded()) - gray).std(dim=(1, 2, 3))
    assert deviations.max() < 8.4
    assert deviations.max() > 6
    assert deviations.min() < 2
    assert torch.equal(degrade.grain(gray, 0.0, seeded()), gray)


def test_grain_stays_in_range() -> None:
    grainy = degrade.grain(torch.cat([torch.zeros(8, 1, 16, 16), torch.ones(8, 1, 16, 16)]), 60.0, seeded())
    assert (float(grainy.min()), float(grainy.max())) == (0.0, 1.0)


def test_frames_are_neutral_and_narrow() -> None:
    gray, chroma = torch.full((64, 1, 32, 48), 2.0), torch.full((64, 2, 32, 48), 0.3)  # 2: no frame has that shade
    framed, colours = degrade.frame(gray, chroma, 1.0, seeded())
    replaced = framed != 2.0
    assert torch.equal(colours, torch.where(replaced, 0.0, chroma))
    assert 0 <= framed[replaced].min() <= framed[replaced].max() <= 1
    assert not replaced[:, :, 4:-4, 6:-6].any(), "an eighth of each side at most"
    assert replaced.any(3).any(2).float().mean() > 0.9
    for number in range(64):
        assert len(set(framed[number][replaced[number]].tolist())) <= 1, "one shade a photo"


def test_no_frame_changes_nothing() -> None:
    gray, chroma = photos()[:, :1], photos()[:, :2] - 0.5
    framed, colours = degrade.frame(gray, chroma, 0.0, seeded())
    assert torch.equal(framed, gray)
    assert torch.equal(colours, chroma)


def batch() -> Tensor:
    """N,H,W,3 uint8."""
    return (255 * photos(6)).byte().permute(0, 2, 3, 1).contiguous()


def test_prepare_without_degradation_is_luma_and_chroma() -> None:
    gray, chroma = prepare(batch(), TrainConfig(**OFF), seeded())  # type: ignore[arg-type]
    rgb = np.asarray(batch().numpy() / 255, np.float32)
    assert_allclose(gray[:, 0], luma(rgb), atol=2e-4)
    assert_allclose(chroma.permute(0, 2, 3, 1), rgb_to_chroma(rgb), atol=1e-5)


def test_prepare_stays_in_range() -> None:
    gray, chroma = prepare(batch(), TrainConfig(frame_share=1.0, grain=60.0), seeded())
    assert gray.shape == (6, 1, 24, 16)
    assert chroma.shape == (6, 2, 24, 16)
    assert 0 <= gray.min() <= gray.max() <= 1
    assert chroma.abs().max() <= 0.5 + 1e-6


@pytest.mark.parametrize(("seed", "same"), [(0, True), (1, False)])
def test_the_generator_decides_all_that_is_random(seed: int, same: bool) -> None:
    first, second = (prepare(batch(), TrainConfig(), seeded(s))[0] for s in (0, seed))
    assert torch.equal(first, second) is same
