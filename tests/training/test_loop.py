"""Training runs: what they do to weights, when, and what they leave behind."""

import dataclasses
import itertools
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy_training
from bwcolor_training import loop, state
from bwcolor_training.checkpoint import load_checkpoint
from bwcolor_training.config import TrainConfig
from bwcolor_training.data import photo_sets, sampling
from bwcolor_training.data.degrade import to_chroma, to_luma
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.networks.critic import PatchCritic
from bwcolor_training.validate import validate
from numpy.typing import NDArray
from torch import Tensor, nn
from toy_training import EACH_STEP, GAME, PowerCut, Recorder, records, run

pytestmark = pytest.mark.usefixtures("no_pictures")


class Watcher(Recorder):
    """A log that also keeps a copy of the generator's weights after each step; those before the first are at 0."""

    network: nn.Module

    def begin(self, network: nn.Module, config: TrainConfig, data: str, step: int, validated: int) -> None:
        super().begin(network, config, data, step, validated)
        self.network = network
        self.weights = {step: self.copy()}

    def step(self, step: int, *figures: Any) -> None:
        super().step(step, *figures)
        self.weights[step] = self.copy()

    def copy(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self.network.state_dict().items()}

    def changed(self, step: int) -> set[str]:
        """Names of what step `step` has changed."""
        before, after = self.weights[step - 1], self.weights[step]
        return {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}


def test_training_learns(photos: Path, small: TrainConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(small, steps=30, learning_rate=3e-3)
    losses = list(run(photos, tmp_path / "out", config).losses.values())
    assert len(losses) == 30
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_a_run_leaves_a_checkpoint_and_its_logs(photos: Path, small: TrainConfig, tmp_path: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"no photo")
    config = dataclasses.replace(small, sizes=(32, 64), batches=(4, 2), shares=(0.5, 0.5), steps=50, validate_steps=40)
    log = run(photos, tmp_path / "out", config)
    checkpoint = load_checkpoint(tmp_path / "out" / "last.pt")
    assert (checkpoint.config, checkpoint.step, checkpoint.photos) == (config, 50, 25 * 4 + 25 * 2)
    assert 0 < checkpoint.seconds < 600
    assert checkpoint.cpu_seconds > 0

    text = (tmp_path / "out" / "train.log").read_text(encoding="utf-8")
    for words in ("8 colour photos; 0 gray ones left out, 1 can't be read", "'broken.jpg'", "crops of 32 px, 4 a step",
                  "crops of 64 px, 2 a step", "step 40, 2 photos kept", "step 50, 2 photos kept"):  # fmt: skip
        assert text.count(words) == 1, words
    until_validation, rest = records(tmp_path / "out", "train")
    assert (until_validation["step"], until_validation["photos"]) == (40, 25 * 4 + 15 * 2)
    assert until_validation["loss"] == pytest.approx(sum(log.losses[n] for n in range(1, 41)) / 40)
    assert (rest["step"], rest["photos"]) == (50, 150)
    assert rest["loss"] == pytest.approx(sum(log.losses[n] for n in range(41, 51)) / 10)
    assert [record["step"] for record in records(tmp_path / "out", "validation")] == [40, 50]


def test_a_validation_at_the_last_step_is_done_once(photos: Path, tiny: TrainConfig, tmp_path: Path) -> None:
    run(photos, tmp_path / "out", dataclasses.replace(tiny, validate_steps=3))
    assert [record["step"] for record in records(tmp_path / "out", "validation")] == [3, 6]


def test_no_photo_to_validate_on_is_logged(photos: Path, tiny: TrainConfig, tmp_path: Path) -> None:
    run(photos, tmp_path / "out", dataclasses.replace(tiny, steps=1, validation=0.0))
    assert "no photo fell into the validation share" in (tmp_path / "out" / "train.log").read_text(encoding="utf-8")


def test_a_time_budget_ends_the_run(photos: Path, tiny: TrainConfig, tmp_path: Path) -> None:
    log = run(photos, tmp_path / "out", tiny, minutes=1 / 60)
    checkpoint = load_checkpoint(tmp_path / "out" / "last.pt")
    assert checkpoint.step == len(log.losses) >= 1
    assert 1 <= checkpoint.seconds < 60
    assert log.rates[-1] < tiny.learning_rate


def test_no_thread_stays_behind(photos: Path, tiny: TrainConfig, tmp_path: Path) -> None:
    seen: set[str] = set()

    class Spy(Recorder):
        def step(self, *figures: Any) -> None:
            seen.update(thread.name for thread in threading.enumerate())
            raise PowerCut

    with pytest.raises(PowerCut):
        run(photos, tmp_path / "out", tiny, log=Spy(tmp_path / "out"))
    assert "next batches" in seen
    assert "next batches" not in {thread.name for thread in threading.enumerate()}


def test_a_frozen_encoder_stays_as_it_is_and_then_learns(photos: Path, small: TrainConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(
        small, generator="resnet18-upsampler", widths=(16, 8, 8), steps=4, freeze_encoder=0.5, encoder_warmup=0.0,
        weight_decay=0.1,
    )  # fmt: skip
    log = Watcher(tmp_path / "out")
    run(photos, tmp_path / "out", config, log=log)
    encoder = {name for name in log.weights[0] if name.startswith("encoder.")}
    assert any(name.endswith("running_var") for name in encoder)
    for step in (1, 2):
        assert log.changed(step) == log.weights[0].keys() - encoder
    for step in (3, 4):
        assert log.changed(step) == log.weights[0].keys()


def test_the_critic_joins_when_its_time_has_come(
    photos: Path, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    critics: list[PatchCritic] = []

    def build_critic(config: TrainConfig) -> PatchCritic:
        critics.append(PatchCritic(config.critic_width, config.critic_levels))
        return critics[-1]

    class Log(Watcher):
        def copy(self) -> dict[str, Tensor]:
            return super().copy() | {f"critic.{name}": t.clone() for name, t in critics[-1].state_dict().items()}

    monkeypatch.setattr(state, "build_critic", build_critic)
    config = dataclasses.replace(tiny, steps=4, gan_start=0.5, **GAME)
    log = Log(tmp_path / "out")
    run(photos, tmp_path / "out", config, log=log)
    names = {name for name in log.weights[0] if name.startswith("critic.")}
    for step in (1, 2):
        assert set(log.parts[step]) == {"l1"}
        assert log.losses[step] == pytest.approx(log.parts[step]["l1"])
        assert not log.changed(step) & names
    for step in (3, 4):
        assert set(log.parts[step]) == {"critic", "l1", "bce"}
        assert log.losses[step] == pytest.approx(log.parts[step]["l1"] + 0.1 * log.parts[step]["bce"])
        assert log.changed(step) >= names


@pytest.mark.parametrize("game", ["bce", "hinge"])
def test_the_critic_learns_and_teaches_the_generator(
    photos: Path, tiny: TrainConfig, tmp_path: Path, game: str
) -> None:
    """A critic whose verdicts don't count learns to tell; a generator that hears nothing else moves."""
    config = dataclasses.replace(tiny, steps=30, learning_rate=3e-3, weight_decay=0.0, precision="fp32", **GAME)
    deaf = run(photos, tmp_path / "deaf", dataclasses.replace(config, losses={"l1": 1e-6, game: 0.0}))
    verdicts = [parts["critic"] for parts in deaf.parts.values()]
    assert np.mean(verdicts[-5:]) < 0.6 * np.mean(verdicts[:2])

    log = Watcher(tmp_path / "taught")
    run(photos, tmp_path / "taught", dataclasses.replace(config, steps=1, losses={"l1": 0.0, game: 1.0}), log=log)
    assert {name for name, _ in log.network.named_parameters()} <= log.changed(1)


@pytest.mark.parametrize("ema", [0.25, 0.999])
def test_the_average_follows_the_weights(photos: Path, tiny: TrainConfig, tmp_path: Path, ema: float) -> None:
    """Slower and slower, down to `ema`: the first weights, which are random, must not stay in it."""
    config = dataclasses.replace(tiny, ema=ema, learning_rate=0.01)
    log = Watcher(tmp_path / "out")
    run(photos, tmp_path / "out", config, log=log)
    expected = log.weights[0]["head.weight"]
    for step in range(6):
        keep = min(ema, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * log.weights[step + 1]["head.weight"]
    last = load_checkpoint(tmp_path / "out" / "last.pt")
    assert torch.allclose(last.ema["head.weight"], expected, atol=1e-6)
    assert not torch.allclose(last.ema["head.weight"], last.network["head.weight"], atol=1e-6)
    assert torch.equal(last.ema["downs.0.1.num_batches_tracked"], torch.tensor(6))


def test_the_best_weights_are_kept(
    photos: Path, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validations after steps 1 to 4 that find 3, 1, 2 and 1; then the run goes on and finds 0.5 at step 6."""
    found = iter([3.0, 1.0, 2.0, 1.0, 7.0, 0.5])

    def scripted(*arguments: Any, **more: Any) -> Any:
        result = validate(*arguments, **more)
        assert result is not None
        return dataclasses.replace(result, loss=next(found))

    monkeypatch.setattr(loop, "validate", scripted)
    config = dataclasses.replace(tiny, validate_steps=1, checkpoint_seconds=EACH_STEP)
    with pytest.raises(PowerCut):
        run(photos, tmp_path / "out", config, cut=5)
    best = load_checkpoint(tmp_path / "out" / "best.pt")
    assert (best.step, best.best, best.others) == (2, 1.0, None)
    assert load_checkpoint(tmp_path / "out" / "last.pt").best == 1.0
    run(photos, tmp_path / "out", config, resume=True)
    assert load_checkpoint(tmp_path / "out" / "best.pt").step == 6
    assert load_checkpoint(tmp_path / "out" / "last.pt").best == 0.5


def test_a_last_validation_counts_for_the_best_of_a_longer_run(photos: Path, tiny: TrainConfig, tmp_path: Path) -> None:
    run(photos, tmp_path / "out", dataclasses.replace(tiny, validate_steps=4))
    found = [record["loss"] for record in records(tmp_path / "out", "validation")]
    assert len(found) == 2
    assert load_checkpoint(tmp_path / "out" / "last.pt").best == min(found)


def test_prepared_batches_hold_the_truth_beside_what_the_network_sees(tiny: TrainConfig) -> None:
    rgb = torch.randint(0, 256, (4, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    photos = rgb.permute(0, 3, 1, 2) / 255
    untouched = dataclasses.replace(tiny, **toy_training.UNTOUCHED)
    gray, truth = loop.prepare(rgb, untouched, torch.Generator())
    assert torch.allclose(gray, to_luma(photos))
    assert torch.allclose(truth.luma, to_luma(photos))
    assert torch.allclose(truth.chroma, to_chroma(photos))
    strengths: dict[str, Any] = {"film_share": 1.0, "tone_jitter": 0.5, "grain": 20.0}
    for name, strength in strengths.items():
        gray, truth = loop.prepare(rgb, dataclasses.replace(untouched, **{name: strength}), torch.Generator())
        assert (gray - truth.luma).abs().max() > 0.02, name
        assert torch.allclose(truth.luma, to_luma(photos))
        assert torch.allclose(truth.chroma, to_chroma(photos))


@pytest.mark.parametrize("crops", ["random", "always the same"])
def test_steps_draw_differently_and_each_step_always_the_same(
    photos: Path, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crops: str
) -> None:
    """A network that can't learn: its loss only depends on what is drawn, of crops and of film."""
    config = dataclasses.replace(tiny, learning_rate=0.0, **toy_training.UNTOUCHED)
    if crops == "always the same":
        config = dataclasses.replace(config, film_share=1.0, grain=20.0)
        some = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
        monkeypatch.setattr(sampling, "batches", lambda *_: itertools.repeat(some))
    first, again = (run(photos, tmp_path / name, config) for name in ("first", "again"))
    assert first.losses == again.losses
    assert len(set(first.losses.values())) == 6


def test_threads_are_as_many_as_asked_for(photos: Path, tiny: TrainConfig, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    source = loop.Source((str(photos),), tmp_path / "cache")
    try:
        with Recorder(tmp_path / "out") as log:
            loop.train(source, tmp_path / "out", dataclasses.replace(tiny, steps=1), resume=False,
                       init_from=None, minutes=None, log=log, device="cpu", threads=3)  # fmt: skip
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert "training on: CPU, 3 threads" in (tmp_path / "out" / "train.log").read_text(encoding="utf-8")


def test_the_model_says_what_it_was_trained_on(photos: Path, tiny: TrainConfig, tmp_path: Path) -> None:
    run(photos, tmp_path / "out", dataclasses.replace(tiny, steps=1))
    assert load_checkpoint(tmp_path / "out" / "model.pt").data == "6 photos of the folder 'photos'"


def test_a_length_can_be_told_in_passes_over_the_photos(photos: Path, tiny: TrainConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(
        tiny, validation=0.0, epochs=3, sizes=(32, 32), batches=(2, 1), shares=(0.5, 0.5), steps=10_000
    )
    steps = max(run(photos, tmp_path / "out", config).losses)
    assert steps == 16, "3 x 8 photos, 1.5 a step"
    assert load_checkpoint(tmp_path / "out" / "last.pt").photos == 24


def test_settings_that_do_not_fit_are_found_before_a_photo_is_read(tiny: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingInputError, match="must be multiples of"):
        run(tmp_path / "empty", tmp_path / "out", dataclasses.replace(tiny, sizes=(33,), batches=(2,), shares=(1.0,)))


def test_photos_of_a_folder_with_weight_0_are_never_seen(
    photos: Path, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[int] = set()
    take = photo_sets.PhotoSet.photo

    def note(self: photo_sets.PhotoSet, number: int) -> NDArray[np.uint8]:
        seen.add(number)
        return take(self, number)

    monkeypatch.setattr(photo_sets.PhotoSet, "photo", note)
    monkeypatch.setattr(state, "_survey", lambda *_: (torch.zeros(2), None))  # looks at all of them
    config = dataclasses.replace(tiny, folders={"more": 0.0}, steps=20, validation=0.0)
    run(photos, tmp_path / "out", config)
    names = photo_sets.load_photos(photos, tiny.short_side, photos.parent / "cache")[0].names
    assert any(name.startswith("more/") for name in names)
    assert {names[number] for number in seen} == {name for name in names if not name.startswith("more/")}
    with pytest.raises(TrainingInputError, match="no photos are in 'mor'"):
        run(photos, tmp_path / "other", dataclasses.replace(config, folders={"mor": 0.0}))
