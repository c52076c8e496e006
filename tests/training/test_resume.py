"""Training runs that stop and go on, or start from what another has learned."""

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_training
from bwcolor_training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, shrink
from bwcolor_training.config import TrainConfig
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.reporting import progress
from toy_training import CLASSIC, DAMAGED, EACH_STEP, GAME, PowerCut, records, run

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.mark.parametrize(
    "settings",
    [
        {"freeze_encoder": 0.4, "encoder_warmup": 0.5} | DAMAGED,
        {"precision": "fp32", "pixel_weight": "rare"} | CLASSIC,
        {"precision": "fp32", "generator": "pix2pix-unet", "widths": (8, 8, 8), "optimizer": "adam"} | GAME,
        {"precision": "fp16", "gan_start": 0.4} | CLASSIC | GAME,
        {"sizes": (16, 32), "batches": (4, 2), "shares": (0.7, 0.3), "head": "classes", "losses": {"classes": 1.0}},
    ],
    ids=["default", "rare", "dropout", "fp16", "classes"],
)
def test_a_resumed_run_goes_on_as_if_never_stopped(
    photos: Path, small: TrainConfig, tmp_path: Path, settings: dict[str, Any]
) -> None:
    if settings.get("head") == "classes":
        settings = CLASSIC | settings
    config = dataclasses.replace(small, checkpoint_seconds=EACH_STEP, **settings)
    straight = run(photos, tmp_path / "straight", config)
    with pytest.raises(PowerCut):
        run(photos, tmp_path / "cut", config, cut=4)
    assert load_checkpoint(tmp_path / "cut" / "last.pt").step == 3
    resumed = run(photos, tmp_path / "cut", config, resume=True)

    assert resumed.parts == {n: straight.parts[n] for n in (4, 5, 6)}
    assert resumed.losses == {n: straight.losses[n] for n in (4, 5, 6)}
    assert resumed.rates == straight.rates[3:]
    ours, theirs = (load_checkpoint(tmp_path / name / "last.pt") for name in ("cut", "straight"))
    assert (ours.step, ours.photos, ours.best) == (6, theirs.photos, theirs.best)
    for name, tensor in (ours.ema | ours.network).items():
        assert torch.equal(tensor, (theirs.ema | theirs.network)[name]), name


def test_records_of_steps_that_are_done_again_are_dropped(
    photos: Path, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LOG_STEPS", 1)
    config = dataclasses.replace(tiny, validate_steps=2)
    run(photos, tmp_path / "straight", config)
    with pytest.raises(PowerCut):
        run(photos, tmp_path / "cut", dataclasses.replace(config, checkpoint_seconds=EACH_STEP), cut=3)
    with (tmp_path / "cut" / "metrics.jsonl").open("a", encoding="utf-8") as out:
        out.write(json.dumps({"kind": "train", "step": 3, "loss": 77.0, "losses": {"huber": 77.0}}) + "\n")
        out.write(json.dumps({"kind": "validation", "step": 4, "loss": 77.0, "losses": {}}) + '\n{"kind": "tra')
    run(photos, tmp_path / "cut", config, resume=True)
    for kind, steps in (("train", [1, 2, 3, 4, 5, 6]), ("validation", [2, 4, 6])):
        ours, theirs = (records(tmp_path / name, kind) for name in ("cut", "straight"))
        assert [record["step"] for record in ours] == steps
        assert [record["loss"] for record in ours] == [record["loss"] for record in theirs]


@pytest.mark.skipif(sys.platform == "win32", reason="has no kill -9")
@pytest.mark.parametrize("how", ["kill", "kill-while-saving"])
def test_a_killed_process_goes_on_as_if_never_stopped(
    photos: Path, tiny: TrainConfig, tmp_path: Path, how: str
) -> None:
    """Killed for good after step 4: before that is saved, or while it is."""
    config = dataclasses.replace(
        tiny, checkpoint_seconds=EACH_STEP, precision="bf16" if how == "kill" else "fp32",
        generator="pix2pix-unet", widths=(8, 8, 8), **GAME, **DAMAGED,
    )  # fmt: skip
    out = tmp_path / "killed"
    killed = subprocess.run(
        [sys.executable, toy_training.__file__, how, photos, out, json.dumps(dataclasses.asdict(config)), "4"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert load_checkpoint(out / "last.pt").step == 3
    assert (out / ".last.pt.part").exists() == (how == "kill-while-saving")

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the other process: the order of sums depends on it
    try:
        straight = run(photos, tmp_path / "straight", config)
        resumed = run(photos, out, config, resume=True)
    finally:
        torch.set_num_threads(threads)
    assert resumed.losses == {n: straight.losses[n] for n in (4, 5, 6)}
    assert resumed.parts == {n: straight.parts[n] for n in (4, 5, 6)}
    assert set(resumed.parts[6]) == {"l1", "bce", "critic"}
    assert not (out / ".last.pt.part").exists()


def test_resume_takes_the_settings_of_the_checkpoint(photos: Path, tiny: TrainConfig, tmp_path: Path) -> None:
    run(photos, tmp_path / "out", dataclasses.replace(tiny, steps=2))
    assert not run(photos, tmp_path / "out", None, resume=True).losses, "it was finished"
    assert load_checkpoint(tmp_path / "out" / "last.pt").config.steps == 2


def test_another_recipe_does_not_resume_a_run(photos: Path, tiny: TrainConfig, tmp_path: Path) -> None:
    run(photos, tmp_path / "out", tiny)
    with pytest.raises(TrainingInputError, match=r"last\.pt is a run of the recipe \S+, not of pix2pix: leave out"):
        run(photos, tmp_path / "out", dataclasses.replace(tiny, recipe="pix2pix"), resume=True)


def test_minutes_belong_to_the_run_that_is_resumed(photos: Path, tiny: TrainConfig, tmp_path: Path) -> None:
    run(photos, tmp_path / "out", tiny, minutes=1 / 60)
    before = load_checkpoint(tmp_path / "out" / "last.pt")
    assert before.config.minutes == 1 / 60
    run(photos, tmp_path / "out", tiny, resume=True)
    again = load_checkpoint(tmp_path / "out" / "last.pt")
    assert again.step == before.step, "its time was over"
    run(photos, tmp_path / "out", tiny, resume=True, minutes=again.seconds / 60 + 1 / 60)
    assert load_checkpoint(tmp_path / "out" / "last.pt").step > before.step


def test_a_run_that_is_there_is_not_started_again(photos: Path, tiny: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "last.pt").write_bytes(b"hours of work")
    with pytest.raises(TrainingInputError, match=r"last\.pt exists: add --resume"):
        run(photos, tmp_path / "out", tiny)
    assert (tmp_path / "out" / "last.pt").read_bytes() == b"hours of work"


def test_resume_without_a_checkpoint_is_a_sentence(photos: Path, tiny: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(TrainingInputError, match=r"last\.pt: no such checkpoint"):
        run(photos, tmp_path / "out", tiny, resume=True)


def finished(photos: Path, tiny: TrainConfig, out: Path) -> Checkpoint:
    run(photos, out, dataclasses.replace(tiny, steps=1))
    return load_checkpoint(out / "last.pt")


def test_another_run_starts_from_small_weights(photos: Path, tiny: TrainConfig, tmp_path: Path) -> None:
    first = finished(photos, tiny, tmp_path / "first")
    save_checkpoint(shrink(first), tmp_path / "model.pt")
    still = dataclasses.replace(tiny, steps=1, learning_rate=0.0)
    run(photos, tmp_path / "second", still, init_from=tmp_path / "model.pt")
    second = load_checkpoint(tmp_path / "second" / "last.pt")
    assert torch.allclose(second.network["head.weight"], first.ema["head.weight"], rtol=1e-3)
    assert second.photos == first.photos + 4, "what the first weights cost is counted"
    assert second.cpu_seconds > first.cpu_seconds


def test_the_network_of_init_from_is_kept(photos: Path, small: TrainConfig, tmp_path: Path) -> None:
    """Weights trained with TensorFlow's padding and input scale must not run under torchvision's."""
    run(photos, tmp_path / "first", small)
    other = dataclasses.replace(small, convention="torchvision", widths=(32, 16, 8, 8), seed=3)
    run(photos, tmp_path / "second", other, init_from=tmp_path / "first" / "model.pt")
    config = load_checkpoint(tmp_path / "second" / "last.pt").config
    assert (config.convention, config.widths) == (small.convention, small.widths)
    assert config.seed == 3


def test_small_weights_cannot_be_resumed(photos: Path, tiny: TrainConfig, tmp_path: Path) -> None:
    first = finished(photos, tiny, tmp_path / "out")
    save_checkpoint(shrink(first), tmp_path / "out" / "last.pt")
    with pytest.raises(TrainingInputError, match="holds weights only: use it with --init-from"):
        run(photos, tmp_path / "out", tiny, resume=True)


def test_weights_of_another_network_are_a_sentence(photos: Path, small: TrainConfig, tmp_path: Path) -> None:
    first = finished(photos, small, tmp_path / "first")
    wider = dataclasses.replace(first.config, widths=(32, 16, 8, 8))  # not what the weights were made for
    save_checkpoint(dataclasses.replace(first, config=wider), tmp_path / "model.pt")
    with pytest.raises(TrainingInputError, match=r"model\.pt.*another network"):
        run(photos, tmp_path / "second", small, init_from=tmp_path / "model.pt")


def test_a_last_checkpoint_of_another_network_is_a_sentence(photos: Path, tiny: TrainConfig, tmp_path: Path) -> None:
    run(photos, tmp_path / "out", tiny)
    last = load_checkpoint(tmp_path / "out" / "last.pt")
    wider = dataclasses.replace(last.config, widths=(8, 32))
    save_checkpoint(dataclasses.replace(last, config=wider), tmp_path / "out" / "last.pt")
    with pytest.raises(TrainingInputError, match=r"last\.pt.*another network"):
        run(photos, tmp_path / "out", tiny, resume=True)
