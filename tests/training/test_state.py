"""The state of a run: its schedule, what is frozen when, what it knows of the photos, what comes back on resume."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bwcolor_training import colours
from bwcolor_training.checkpoint import load_checkpoint, shrink
from bwcolor_training.config import TrainConfig
from bwcolor_training.data import degrade
from bwcolor_training.data.photo_sets import PhotoSet, one_source
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.losses import Truth, pixel_weight
from bwcolor_training.networks import build
from bwcolor_training.state import (
    NETWORK_SETTINGS,
    Run,
    first_state,
    freeze_encoder,
    learning_rate,
    resumed_state,
    set_learning_rates,
    stage,
    start,
)
from numpy.testing import assert_allclose
from torch import Tensor, nn
from toy_training import NormFree

CPU = torch.device("cpu")
COMMON, RARE = (150, 100, 70), (30, 90, 200)  # RGB


def photo_set(*shades: tuple[int, int, int]) -> PhotoSet:
    """Photos of 40 x 60 px, one colour each."""
    pixels = np.concatenate([np.full((40, 60, 3), rgb, np.uint8).reshape(-1) for rgb in shades])
    index = np.array([(number * 40 * 60 * 3, 40, 60) for number in range(len(shades))])
    hashes = [hashlib.sha256(bytes([number])).hexdigest() for number in range(len(shades))]
    return one_source(pixels, index, hashes, [f"{number}.png" for number in range(len(shades))])


def pixel(rgb: tuple[int, int, int]) -> Tensor:
    return torch.tensor(rgb).view(1, 3, 1, 1) / 255


def begun(config: TrainConfig, photos: PhotoSet | None = None, init_from: Path | None = None) -> Run:
    photos = photos or photo_set(COMMON)
    return first_state(start(config, init_from), Path("last.pt"), "a test", photos, np.arange(len(photos)), 1, CPU)


def saved(run: Run, path: Path) -> Run:
    run.last = path
    run.save()
    return run


@pytest.fixture
def toy(small: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """Settings of a generator of two convolutions, the first of them its encoder."""
    monkeypatch.setitem(build.GENERATORS, "norm-free", lambda config, pretrained, outputs: NormFree(outputs))
    return dataclasses.replace(small, generator="norm-free")


def test_the_learning_rate_warms_up_and_falls(small: TrainConfig) -> None:
    config = dataclasses.replace(small, learning_rate=1.0, warmup=4, final_lr=0.1)
    rates = [learning_rate(config, progress, step) for progress, step in ((0, 0), (0, 3), (0.5, 50), (1, 99))]
    assert rates == pytest.approx([0.25, 1.0, 0.55, 0.1])
    assert learning_rate(config, 1.2, 99) == pytest.approx(0.1)
    assert learning_rate(dataclasses.replace(config, warmup=0), 0, 0) == 1.0


def encoder_rates(run: Run, *moments: float) -> list[float]:
    """The encoder's learning rate at these parts of the run; the head's must stay at 1."""
    rates = []
    for progress in moments:
        assert set_learning_rates(run, progress) == pytest.approx(1.0)
        found = {id(p): group["lr"] for group in run.optimizer.param_groups for p in group["params"]}
        network = run.network
        assert isinstance(network, NormFree)
        assert [found[id(p)] for p in network.head.parameters()] == pytest.approx(4 * [1.0])
        (rate,) = {found[id(p)] for p in network.encoder.parameters()}
        rates.append(rate)
    return rates


def test_the_encoder_learns_slower_and_warms_up_longer(toy: TrainConfig) -> None:
    config = dataclasses.replace(toy, learning_rate=1.0, final_lr=1.0, encoder_lr=0.5, encoder_warmup=0.1)
    assert encoder_rates(begun(config), 0.0, 0.05, 0.1, 0.9) == pytest.approx([0.0, 0.25, 0.5, 0.5])
    config = dataclasses.replace(config, encoder_warmup=0.0)
    assert encoder_rates(begun(config), 0.0, 0.5) == pytest.approx([0.5, 0.5])


def test_the_encoder_warms_up_once_it_is_thawed(toy: TrainConfig) -> None:
    config = dataclasses.replace(
        toy, learning_rate=1.0, final_lr=1.0, encoder_lr=0.5, encoder_warmup=0.2, freeze_encoder=0.4
    )
    assert encoder_rates(begun(config), 0.0, 0.4, 0.5, 0.6, 0.9) == pytest.approx([0.0, 0.0, 0.25, 0.5, 0.5])


def test_the_critics_rate_goes_with_the_generators(toy: TrainConfig) -> None:
    config = dataclasses.replace(
        toy, learning_rate=1.0, warmup=2, critic_lr=0.3, losses={"l1": 1.0, "bce": 1.0}, critic_width=2, critic_levels=1
    )
    run = begun(config)
    assert run.critic_optimizer is not None
    assert set_learning_rates(run, 0.0) == 0.5
    assert [group["lr"] for group in run.critic_optimizer.param_groups] == pytest.approx([0.15])


def test_stages_take_their_shares(small: TrainConfig) -> None:
    config = dataclasses.replace(small, sizes=(32, 64, 96), batches=(4, 4, 4), shares=(0.6, 0.25, 0.15))
    assert [stage(config, p) for p in (0, 0.59, 0.61, 0.84, 0.86, 0.999, 1.1)] == [0, 0, 1, 1, 2, 2, 2]


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_the_optimiser_is_the_recipes(toy: TrainConfig, name: str, kind: type[torch.optim.Optimizer]) -> None:
    run = begun(dataclasses.replace(toy, optimizer=name, beta1=0.5, weight_decay=0.25, losses={"l1": 1.0, "bce": 1.0}))
    for optimizer in (run.optimizer, run.critic_optimizer):
        assert type(optimizer) is kind
        for group in optimizer.param_groups:
            assert (group["betas"], group["weight_decay"]) == ((0.5, 0.999), 0.25)
    counted = sum(len(group["params"]) for group in run.optimizer.param_groups)
    assert counted == len(list(run.network.parameters())), "each weight is in one group"


def test_a_frozen_encoder_takes_no_gradients_and_its_batch_norm_stays() -> None:
    network = nn.Sequential()
    network.add_module("encoder", nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Dropout()))
    network.add_module("head", nn.Sequential(nn.BatchNorm2d(2), nn.Dropout()))
    encoder, head = network.get_submodule("encoder"), network.get_submodule("head")
    network.eval()
    freeze_encoder(network, True)
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not any(m.training for m in encoder.modules())
    assert all(p.requires_grad for p in head.parameters())
    assert all(m.training for m in head.modules())
    freeze_encoder(network, False)
    assert all(p.requires_grad for p in network.parameters())
    assert all(m.training for m in network.modules())


def test_a_network_without_an_encoder_has_nothing_to_freeze() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1)).eval()
    freeze_encoder(network, True)
    assert network.training
    assert all(p.requires_grad for p in network.parameters())


def test_the_mean_colour_is_that_of_the_photos_to_train_on(toy: TrainConfig) -> None:
    photos = photo_set(COMMON, RARE, (0, 255, 0))
    run = first_state(start(toy, None), Path("last.pt"), "a test", photos, np.array([0, 1]), 1, CPU)
    expected = (degrade.to_chroma(pixel(COMMON)) + degrade.to_chroma(pixel(RARE))).flatten() / 2
    assert_allclose(run.mean_chroma, expected, atol=1e-6)
    assert run.rarity is None


@pytest.mark.parametrize("settings", [{"pixel_weight": "rare"}, {"head": "classes", "losses": {"classes": 1.0}}])
def test_colours_that_few_photos_have_weigh_more(toy: TrainConfig, settings: dict[str, Any]) -> None:
    run = begun(dataclasses.replace(toy, **settings), photo_set(COMMON, COMMON, COMMON, RARE))
    assert run.rarity is not None
    assert run.rarity.shape == (colours.BINS,)
    rare = dataclasses.replace(toy, pixel_weight="rare")
    weights = [
        float(pixel_weight(Truth(degrade.to_luma(pixel(rgb)), degrade.to_chroma(pixel(rgb))), rare, run.rarity))
        for rgb in (COMMON, RARE, (0, 255, 0))
    ]
    assert weights[0] < 1.5 * weights[1] < 1.5 * weights[2]
    even = begun(dataclasses.replace(toy, **settings, rare_mix=1.0), photo_set(COMMON, COMMON, COMMON, RARE))
    assert even.rarity is not None
    assert_allclose(even.rarity, 1.0, rtol=1e-5)


def test_rare_colours_come_back_as_they_were(toy: TrainConfig, tmp_path: Path) -> None:
    """A resumed run doesn't look at the photos again: some may have been added."""
    run = saved(begun(dataclasses.replace(toy, pixel_weight="rare"), photo_set(COMMON, RARE)), tmp_path / "last.pt")
    again = resumed_state(load_checkpoint(tmp_path / "last.pt"), tmp_path / "last.pt", 1, CPU)
    assert run.rarity is not None
    assert again.rarity is not None
    assert torch.equal(again.rarity, run.rarity)
    assert torch.equal(again.mean_chroma, run.mean_chroma)
    assert again.data == "a test"


def test_all_that_changes_comes_back(toy: TrainConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(toy, losses={"l1": 1.0, "bce": 1.0}, critic_width=2, critic_levels=1, precision="fp16")
    run = begun(config)
    assert run.critic is not None
    assert run.critic_optimizer is not None
    set_learning_rates(run, 0.3)
    made = run.network(torch.rand(2, 1, 32, 32))
    run.scaler.scale(run.critic(torch.rand(2, 1, 32, 32), made).mean()).backward()
    run.scaler.step(run.optimizer)
    run.scaler.step(run.critic_optimizer)
    run.scaler.update(128.0)
    run.step, run.photos, run.best, run.cpu_seconds = 7, 28, 0.125, 1000.0
    run.started -= 50
    saved(run, tmp_path / "last.pt")

    again = resumed_state(load_checkpoint(tmp_path / "last.pt"), tmp_path / "last.pt", 1, CPU)
    assert again.critic is not None
    assert again.critic_optimizer is not None
    assert (again.step, again.photos, again.best) == (7, 28, 0.125)
    assert again.seconds() == pytest.approx(run.seconds(), abs=5)
    assert again.cpu_seconds >= 1000
    assert again.scaler.get_scale() == 128.0
    for ours, theirs in ((again.network, run.network), (again.ema, run.ema), (again.critic, run.critic)):
        for name, tensor in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[name], tensor), name
    for mine, its in ((again.optimizer, run.optimizer), (again.critic_optimizer, run.critic_optimizer)):
        assert mine.state_dict()["param_groups"] == its.state_dict()["param_groups"]
        moments = its.state_dict()["state"]
        assert moments
        for key, state in mine.state_dict()["state"].items():
            assert torch.equal(state["exp_avg_sq"], moments[key]["exp_avg_sq"])


def test_the_average_takes_no_gradients_and_is_no_copy_by_name_only(toy: TrainConfig) -> None:
    run = begun(toy)
    assert not any(p.requires_grad for p in run.ema.parameters())
    assert not run.ema.training
    with torch.no_grad():
        next(run.network.parameters()).fill_(9.0)
    assert not (next(run.ema.parameters()) == 9.0).any()


def test_the_network_of_init_from_is_kept_and_the_rest_is_the_recipes(toy: TrainConfig, tmp_path: Path) -> None:
    first = saved(begun(dataclasses.replace(toy, seed=3, upsampling="bilinear")), tmp_path / "first.pt")
    others = dataclasses.replace(toy, widths=(4, 8), learning_rate=0.5, losses={"l1": 1.0})
    run = begun(others, init_from=tmp_path / "first.pt")
    for name in NETWORK_SETTINGS:
        assert getattr(run.config, name) == getattr(first.config, name)
    assert (run.config.learning_rate, run.config.losses, run.config.seed) == (0.5, {"l1": 1.0}, toy.seed)
    assert torch.equal(run.network.state_dict()["head.1.weight"], first.ema.state_dict()["head.1.weight"])


def test_weights_of_another_generator_are_refused(toy: TrainConfig, tmp_path: Path) -> None:
    saved(begun(toy), tmp_path / "first.pt")
    with pytest.raises(TrainingInputError, match=r"first\.pt: weights of a norm-free, but .* a classic-unet"):
        begun(dataclasses.replace(toy, generator="classic-unet"), init_from=tmp_path / "first.pt")


def test_losses_must_fit_the_head_of_init_from(toy: TrainConfig, tmp_path: Path) -> None:
    saved(begun(dataclasses.replace(toy, head="classes", losses={"classes": 1.0})), tmp_path / "first.pt")
    with pytest.raises(TrainingInputError, match="need each other"):
        begun(toy, init_from=tmp_path / "first.pt")


def test_a_checkpoint_of_another_network_is_refused(toy: TrainConfig, tmp_path: Path) -> None:
    run = saved(begun(toy), tmp_path / "last.pt")
    other = dataclasses.replace(
        run.checkpoint(), config=dataclasses.replace(toy, generator="classic-unet", widths=(4, 8))
    )
    with pytest.raises(TrainingInputError, match=r"last\.pt.*another network"):
        resumed_state(other, tmp_path / "last.pt", 1, CPU)


def test_weights_alone_can_not_be_resumed(toy: TrainConfig) -> None:
    with pytest.raises(TrainingInputError, match=r"last\.pt holds weights only: use it with --init-from"):
        resumed_state(shrink(begun(toy).checkpoint()), Path("last.pt"), 1, CPU)
