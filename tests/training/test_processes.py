"""Several processes under torchrun: the same training as one, in parts."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_training
from bwcolor_training.checkpoint import load_checkpoint
from bwcolor_training.config import TrainConfig
from torch import distributed
from toy_training import COMPARABLE, GAME, UNTOUCHED, records, run

pytestmark = pytest.mark.skipif(
    not distributed.is_available() or not distributed.is_gloo_available(), reason="this torch has no gloo"
)
ALIKE: dict[str, dict[str, Any]] = {
    "plain": {},
    "frozen": {"freeze_encoder": 0.5, "encoder_warmup": 0.0, "encoder_lr": 1.0},
    "critic": GAME | {"gan_start": 0.3, "critic_levels": 2},
}


def torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Two processes on the CPU."""
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *map(str, arguments)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def losses(out: Path) -> list[dict[str, float]]:
    return [record["losses"] | {"": record["loss"]} for record in records(out, "train")]


@pytest.mark.usefixtures("no_pictures")
def test_two_processes_learn_what_one_learns_from_the_doubled_batch(
    photos: Path, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing depends on the rest of the batch: without batch norm."""
    base = dataclasses.replace(
        tiny, generator="norm-free", steps=12, learning_rate=3e-3, precision="fp32", batches=(4,), clip=0.05,
        **UNTOUCHED,
    )  # fmt: skip
    settings = [dataclasses.replace(base, **more) for more in ALIKE.values()]
    result = torchrun(
        toy_training.__file__, "processes", photos, tmp_path / "two",
        json.dumps([dataclasses.asdict(config) for config in settings]), 0,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr

    for place, name, value in COMPARABLE:
        monkeypatch.setattr(place, name, value)
    for number, (kind, config) in enumerate(zip(ALIKE, settings, strict=True)):
        one, two = tmp_path / "one" / str(number), tmp_path / "two" / str(number)
        run(photos, one, dataclasses.replace(config, batches=(8,)))
        assert len(losses(two)) == 12
        assert losses(two) == [pytest.approx(parts, rel=1e-4) for parts in losses(one)], kind
        assert ("critic" in losses(two)[-1]) == (kind == "critic")
        ours, theirs = load_checkpoint(two / "last.pt"), load_checkpoint(one / "last.pt")
        assert ours.photos == theirs.photos == 12 * 8
        for name, tensor in ours.network.items():
            assert torch.allclose(tensor, theirs.network[name], rtol=1e-3, atol=1e-5), name
    run(photos, tmp_path / "half", settings[0])
    assert losses(tmp_path / "half") != [pytest.approx(parts, rel=0.01) for parts in losses(tmp_path / "one" / "0")]


def test_two_processes_train_as_one_and_speak_once(photos: Path, tmp_path: Path) -> None:
    """Through the command line, until the time is up, which both must see at the same step."""
    settings = ("widths=[4,8]", "sizes=[16]", "batches=[4]", "validation_size=32", "validation=0.3",
                "losses={ l1 = 1.0, bce = 0.1 }", "critic_width=4", "critic_levels=1")  # fmt: skip
    result = torchrun(
        "-m", "bwcolor", "train", photos, "--recipe", "unet-cifar", "--out", tmp_path / "out", "--minutes", "0.03",
        "--threads", "1", "--cache", tmp_path / "cache", *(word for setting in settings for word in ("--set", setting)),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("model.onnx colorizes: ") == 1
    text = (tmp_path / "out" / "train.log").read_text(encoding="utf-8")
    assert text.count("8 colour photos") == 1
    assert text.count("crops of 16 px, 8 a step") == 1
    assert text.count(", 2 processes") == 1
    checkpoint = load_checkpoint(tmp_path / "out" / "last.pt")
    assert checkpoint.step >= 1
    assert checkpoint.photos == 8 * checkpoint.step
