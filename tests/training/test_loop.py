"""Training runs: they learn, they stop and go on, they say what is wrong."""

import dataclasses
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from bwcolor_training import loop
from bwcolor_training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, shrink
from bwcolor_training.config import TrainConfig
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.losses import LOSSES
from bwcolor_training.progress import TrainingLog
from torch import Tensor, distributed, nn

EACH_STEP = 0.0  # as checkpoint_seconds: that much has passed after any step


class PowerCut(Exception):
    """Ends a run in its middle."""


class Recorder(TrainingLog):
    """A log that keeps every step's figures, and can cut the power before step `cut` is saved."""

    def __init__(self, folder: Path, cut: int = 0) -> None:
        super().__init__(folder, main=True, quiet=True)
        self.cut = cut
        self.losses: dict[int, float] = {}
        self.rates: list[float] = []

    def step(self, step: int, progress: float, loss: float, rate: float, seen: int, seconds: float) -> None:
        super().step(step, progress, loss, rate, seen, seconds)
        if step == self.cut:
            raise PowerCut
        self.losses[step] = loss
        self.rates.append(rate)


def run(photos: Path, out: Path, config: TrainConfig, *, cut: int = 0, resume: bool = False,
        init_from: Path | None = None, minutes: float | None = None) -> Recorder:  # fmt: skip
    log = Recorder(out, cut)
    with log:
        result = loop.train(photos, out, config, resume=resume, init_from=init_from, minutes=minutes, log=log)
    assert result == out / "model.pt"
    assert load_checkpoint(result).optimizer is None
    return log


def records(out: Path, key: str) -> list[dict[str, object]]:
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for line in lines if key in (record := json.loads(line))]


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
    (step,) = records(tmp_path / "out", "loss")
    assert (step["step"], step["photos"]) == (50, 150)
    assert step["loss"] == pytest.approx(sum(log.losses.values()) / 50)
    assert [record["step"] for record in records(tmp_path / "out", "validation")] == [40, 50]


def test_a_validation_at_the_last_step_is_done_once(photos: Path, small: TrainConfig, tmp_path: Path) -> None:
    run(photos, tmp_path / "out", dataclasses.replace(small, validate_steps=3))
    assert [record["step"] for record in records(tmp_path / "out", "validation")] == [3, 6]


def test_the_learning_rate_warms_up_and_falls(small: TrainConfig) -> None:
    config = dataclasses.replace(small, learning_rate=1.0, warmup=4, final_lr=0.1)
    rates = [loop._learning_rate(config, progress, step) for progress, step in ((0, 0), (0, 3), (0.5, 50), (1, 99))]
    assert rates == pytest.approx([0.25, 1.0, 0.55, 0.1])


def test_the_encoder_learns_slower_and_warms_up_longer(small: TrainConfig) -> None:
    config = dataclasses.replace(small, learning_rate=1.0, final_lr=1.0, encoder_lr=0.5, encoder_warmup=0.1)
    network = nn.ModuleDict({"head": nn.Linear(2, 3), "encoder": nn.Linear(5, 7)})
    optimizer = loop._optimizer(network, config)
    state = loop.Run(config, Path("last.pt"), 1, network, network, optimizer, 50, 0, 0.0, 0.0, 0.0)
    for progress, encoder_rate in ((0.0, 0.0), (0.05, 0.25), (0.1, 0.5), (0.9, 0.5)):
        assert loop._set_learning_rates(state, progress) == pytest.approx(1.0)
        rates = {p.shape: group["lr"] for group in optimizer.param_groups for p in group["params"]}
        assert rates[network["head"].weight.shape] == pytest.approx(1.0)
        assert rates[network["encoder"].weight.shape] == pytest.approx(encoder_rate)
    state.config = dataclasses.replace(config, encoder_warmup=0.0)
    loop._set_learning_rates(state, 0.0)
    assert optimizer.param_groups[1]["lr"] == pytest.approx(0.5)


def test_stages_take_their_shares(small: TrainConfig) -> None:
    config = dataclasses.replace(small, sizes=(32, 64, 96), batches=(4, 4, 4), shares=(0.6, 0.25, 0.15))
    assert [loop._stage(config, p) for p in (0, 0.59, 0.61, 0.84, 0.86, 0.999, 1.1)] == [0, 0, 1, 1, 2, 2, 2]


def test_a_resumed_run_goes_on_as_if_never_stopped(photos: Path, small: TrainConfig, tmp_path: Path) -> None:
    straight = run(photos, tmp_path / "straight", small)
    config = dataclasses.replace(small, checkpoint_seconds=EACH_STEP)
    with pytest.raises(PowerCut):
        run(photos, tmp_path / "cut", config, cut=4)
    assert load_checkpoint(tmp_path / "cut" / "last.pt").step == 3
    resumed = run(photos, tmp_path / "cut", config, resume=True)

    assert list(resumed.losses) == [4, 5, 6]
    assert resumed.losses == pytest.approx({n: straight.losses[n] for n in (4, 5, 6)}, rel=1e-4)
    assert resumed.rates == pytest.approx(straight.rates[3:])
    ours, theirs = (load_checkpoint(tmp_path / name / "last.pt") for name in ("cut", "straight"))
    assert (ours.step, ours.photos) == (6, 24)
    for name, tensor in ours.ema.items():
        assert torch.allclose(tensor, theirs.ema[name], rtol=1e-3, atol=1e-5), name


def test_resume_takes_the_settings_of_the_checkpoint(photos: Path, small: TrainConfig, tmp_path: Path) -> None:
    run(photos, tmp_path / "out", dataclasses.replace(small, steps=2))
    assert not run(photos, tmp_path / "out", TrainConfig(), resume=True).losses, "it was finished"
    assert load_checkpoint(tmp_path / "out" / "last.pt").config.steps == 2


def test_a_run_that_is_there_is_not_started_again(photos: Path, small: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "last.pt").write_bytes(b"hours of work")
    with pytest.raises(TrainingInputError, match=r"last\.pt exists: add --resume"):
        run(photos, tmp_path / "out", small)
    assert (tmp_path / "out" / "last.pt").read_bytes() == b"hours of work"


def test_resume_without_a_checkpoint_is_a_sentence(photos: Path, small: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(TrainingInputError, match=r"last\.pt: no such checkpoint"):
        run(photos, tmp_path / "out", small, resume=True)


def finished(photos: Path, small: TrainConfig, out: Path) -> Checkpoint:
    run(photos, out, dataclasses.replace(small, steps=1))
    return load_checkpoint(out / "last.pt")


def test_another_run_starts_from_small_weights(photos: Path, small: TrainConfig, tmp_path: Path) -> None:
    first = finished(photos, small, tmp_path / "first")
    save_checkpoint(shrink(first), tmp_path / "model.pt")
    still = dataclasses.replace(small, steps=1, learning_rate=0.0)
    run(photos, tmp_path / "second", still, init_from=tmp_path / "model.pt")
    second = load_checkpoint(tmp_path / "second" / "last.pt")
    assert torch.allclose(second.network["head.0.weight"], first.ema["head.0.weight"], rtol=1e-3)
    assert second.photos == first.photos + 4, "what the first weights cost is counted"
    assert second.cpu_seconds > first.cpu_seconds


def test_small_weights_cannot_be_resumed(photos: Path, small: TrainConfig, tmp_path: Path) -> None:
    first = finished(photos, small, tmp_path / "out")
    save_checkpoint(shrink(first), tmp_path / "out" / "last.pt")
    with pytest.raises(TrainingInputError, match="holds weights only: use it with --init-from"):
        run(photos, tmp_path / "out", small, resume=True)


def test_weights_of_another_network_are_a_sentence(photos: Path, small: TrainConfig, tmp_path: Path) -> None:
    first = finished(photos, small, tmp_path / "first")
    wider = dataclasses.replace(first.config, decoder_widths=(32, 16, 8, 8))  # not what the weights were made for
    save_checkpoint(dataclasses.replace(first, config=wider), tmp_path / "model.pt")
    with pytest.raises(TrainingInputError, match=r"model\.pt.*another network"):
        run(photos, tmp_path / "second", small, init_from=tmp_path / "model.pt")


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_numbers_that_are_none_stop_the_run_before_they_are_saved(
    photos: Path, small: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    calls = 0

    def sick(predicted: Tensor, truth: Tensor, config: TrainConfig) -> Tensor:
        nonlocal calls
        calls += 1
        if calls < 3:
            return predicted.square().mean()
        return predicted.mean() * float("nan") if kind == "loss" else (predicted * 0).abs().sqrt().mean()

    monkeypatch.setitem(LOSSES, "sick", sick)
    config = dataclasses.replace(small, loss="sick", checkpoint_seconds=EACH_STEP)
    with pytest.raises(TrainingInputError, match=r"not finite at step 2.*last\.pt holds the last good state"):
        run(photos, tmp_path / "out", config)
    last = load_checkpoint(tmp_path / "out" / "last.pt")
    assert last.step == 2
    assert all(torch.isfinite(t).all() for t in last.network.values())


def test_a_run_that_fails_at_once_does_not_point_to_a_checkpoint(
    photos: Path, small: TrainConfig, tmp_path: Path
) -> None:
    with pytest.raises(TrainingInputError, match=r"Start again with a lower --set learning_rate"):
        run(photos, tmp_path / "out", dataclasses.replace(small, learning_rate=1e6))
    assert not (tmp_path / "out" / "last.pt").exists()


def test_no_photo_left_to_train_on_is_a_sentence(photos: Path, small: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(TrainingInputError, match="all 8 photos fell into the validation share"):
        run(photos, tmp_path / "out", dataclasses.replace(small, validation=1.0))


def test_no_photo_to_validate_on_is_logged(photos: Path, small: TrainConfig, tmp_path: Path) -> None:
    run(photos, tmp_path / "out", dataclasses.replace(small, steps=1, validation=0.0))
    assert "no photo fell into the validation share" in (tmp_path / "out" / "train.log").read_text(encoding="utf-8")


def test_a_time_budget_ends_the_run(photos: Path, small: TrainConfig, tmp_path: Path) -> None:
    log = run(photos, tmp_path / "out", small, minutes=1 / 60)
    checkpoint = load_checkpoint(tmp_path / "out" / "last.pt")
    assert checkpoint.step == len(log.losses) >= 1
    assert 1 <= checkpoint.seconds < 60
    assert log.rates[-1] < small.learning_rate


@pytest.mark.parametrize("minutes", [0.0, -1.0])
def test_no_time_is_a_sentence(photos: Path, small: TrainConfig, tmp_path: Path, minutes: float) -> None:
    with pytest.raises(TrainingInputError, match="--minutes must be more than 0"):
        run(photos, tmp_path / "out", small, minutes=minutes)


def test_no_thread_stays_behind(photos: Path, small: TrainConfig, tmp_path: Path) -> None:
    seen: set[str] = set()

    class Spy(Recorder):
        def step(self, *figures: Any) -> None:
            seen.update(thread.name for thread in threading.enumerate())
            raise PowerCut

    with Spy(tmp_path / "out") as log, pytest.raises(PowerCut):
        loop.train(photos, tmp_path / "out", small, resume=False, init_from=None, minutes=None, log=log)
    assert "next batches" in seen
    assert "next batches" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.skipif(not distributed.is_available(), reason="this torch is built without torch.distributed")
def test_two_processes_train_as_one_and_speak_once(photos: Path, tmp_path: Path) -> None:
    """Until the time is up, which both must see at the same step."""
    settings = ("encoder=none", "decoder_widths=[16,16,8,8]", "skip_widths=[8,8,8,8]", "sizes=[32]", "batches=[4]",
                "shares=[1.0]", "validation=0.3")  # fmt: skip
    result = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "bwcolor", "train", str(photos), "--out", str(tmp_path / "out"), "--minutes", "0.03", "--threads", "1",
         *(word for setting in settings for word in ("--set", setting))],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("is ready for") == 1
    text = (tmp_path / "out" / "train.log").read_text(encoding="utf-8")
    assert text.count("8 colour photos") == 1
    assert text.count("crops of 32 px, 8 a step") == 1
    checkpoint = load_checkpoint(tmp_path / "out" / "last.pt")
    assert checkpoint.step >= 1
    assert checkpoint.photos == 8 * checkpoint.step


def test_the_network_of_init_from_is_kept(photos: Path, small: TrainConfig, tmp_path: Path) -> None:
    """Weights trained with TensorFlow's padding and input scale must not run under torchvision's."""
    run(photos, tmp_path / "first", small)
    other = dataclasses.replace(small, convention="torchvision", decoder_widths=(32, 16, 8, 8), seed=3)
    run(photos, tmp_path / "second", other, init_from=tmp_path / "first" / "model.pt")
    config = load_checkpoint(tmp_path / "second" / "last.pt").config
    assert (config.convention, config.decoder_widths) == (small.convention, small.decoder_widths)
    assert config.seed == 3


def test_minutes_belong_to_the_run_that_is_resumed(photos: Path, small: TrainConfig, tmp_path: Path) -> None:
    run(photos, tmp_path / "out", small, minutes=1 / 60)
    before = load_checkpoint(tmp_path / "out" / "last.pt")
    assert before.config.minutes == 1 / 60
    run(photos, tmp_path / "out", small, resume=True)
    assert load_checkpoint(tmp_path / "out" / "last.pt").step == before.step, "its time was over"
    run(photos, tmp_path / "out", small, resume=True, minutes=2 / 60)
    assert load_checkpoint(tmp_path / "out" / "last.pt").step > before.step
