"""What a run leaves for people to look at."""

import dataclasses
import json
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bwcolor_training.config import TrainConfig
from bwcolor_training.data.photo_sets import Rejected
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.reporting import progress
from bwcolor_training.reporting.plots import Sample
from bwcolor_training.reporting.progress import TrainingLog, model_summary
from bwcolor_training.validate import Validation
from torch import nn
from toy_training import records

from bwcolor.imaging.metrics import Summary
from bwcolor.photo.hidden import Hidden

CONFIG = TrainConfig(recipe="mine", steps=123)
SUMMARY = Summary(
    photos=2,
    psnr=20.5,
    de00=12.25,
    de00_median=12.0,
    de00_worst=14.0,
    ssim=0.9,
    colourfulness=15.0,
    colourfulness_truth=30.0,
    colourfulness_ratio=0.5,
    difference_of_means=15.0,
    mean_difference=15.0,
    blotches=2.0,
    blotches_truth=1.0,
)


def validation(loss: float = 0.25) -> Validation:
    picture = np.full((32, 32, 3), (150, 100, 70), np.uint8)
    sample = Sample("holiday.jpg", picture[..., 0], picture, picture)
    return Validation(SUMMARY, {"l1": 0.1, "mse": 0.01}, loss, 0.5, [sample])


def network() -> nn.Module:
    whole = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.Conv2d(2, 1000, 1), nn.ReLU()))
    whole.register_module("encoder", nn.Linear(2, 2, bias=False))
    return whole


def steps(log: TrainingLog, first: int, last: int, **losses: float) -> None:
    """Steps of 4 photos and half a second each, whose loss is their number."""
    for step in range(first, last + 1):
        log.step(step, step / 100, float(step), losses, 0.001, 4 * step, step / 2)


def test_a_record_of_training_has_the_fields_that_readers_expect(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, main=True, quiet=True) as log:
        steps(log, 1, 100, l1=0.5, critic=0.75)
    first, second = records(tmp_path, "train")
    assert first == {
        "kind": "train", "step": 50, "loss": 25.5, "losses": {"l1": 0.5, "critic": 0.75}, "learning_rate": 0.001,
        "photos": 200, "seconds": 25.0, "photos_per_second": 8.0,
    }  # fmt: skip
    assert second == first | {"step": 100, "loss": 75.5, "photos": 400, "seconds": 50.0, "photos_per_second": 8.0}


def test_losses_that_begin_later_are_averaged_over_their_own_steps(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, main=True, quiet=True) as log:
        steps(log, 1, 40, l1=0.5)
        steps(log, 41, 50, l1=1.0, bce=0.25)
    (record,) = records(tmp_path, "train")
    assert record["losses"] == pytest.approx({"l1": 0.6, "bce": 0.25})


def test_a_record_of_validation_has_the_fields_that_readers_expect(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, main=True, quiet=True) as log:
        steps(log, 1, 10, l1=0.5)
        log.validation(10, 40, validation(), 64)
    (train,) = records(tmp_path, "train")
    assert (train["step"], train["loss"]) == (10, 5.5), "what was not yet recorded comes first"
    (record,) = records(tmp_path, "validation")
    expected = {
        "kind": "validation", "step": 10, "size": 64, "photos": 2, "psnr": 20.5, "de00": 12.25, "colourfulness": 15.0,
        "colourfulness_truth": 30.0, "colourfulness_ratio": 0.5, "losses": {"l1": 0.1, "mse": 0.01}, "loss": 0.25,
        "mean_colour_loss": 0.5,
    }  # fmt: skip
    assert {name: record[name] for name in expected} == expected


def test_the_log_says_what_a_validation_found(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, main=True, quiet=True) as log:
        log.validation(10, 40, validation(), 64)
    text = (tmp_path / "train.log").read_text(encoding="utf-8")
    for words in ("step 10, 2 photos", "64 px", "PSNR 20.50 dB", "CIEDE2000 12.25", "colourfulness 50 % of the truth",
                  "loss 0.25000, of the mean colour 0.50000"):  # fmt: skip
        assert words in text


def test_pictures_and_a_report_are_drawn(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, main=True, quiet=True) as log:
        log.device("CPU, 2 threads", 2)
        log.begin(network(), CONFIG, "6 photos of a folder", 0, 2)
        steps(log, 1, 50, l1=0.5)
        log.validation(50, 200, validation(), 64)
        log.end(90.0, 200)
    assert (tmp_path / "samples" / "step-000050.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for words in ("mine", "6 photos of a folder", "CPU, 2 threads, 2 processes", "1.5 minutes", "steps = 123", "3,024"):
        assert words in page, words


def test_what_was_left_out_is_named(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, main=True, quiet=True) as log:
        log.photos(5, Rejected(["a\nb.jpg"], 3, 7))
    text = (tmp_path / "train.log").read_text(encoding="utf-8")
    assert "5 colour photos; 3 gray ones left out, 1 can't be read" in text
    assert r"can't be read: 'a\nb.jpg'" in text
    assert "7 not cleared by the manifest" in text


def test_a_folder_where_all_photos_are_cleared_says_nothing_of_manifests(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, main=True, quiet=True) as log:
        log.photos(5, Rejected([], 3))
    assert "manifest" not in (tmp_path / "train.log").read_text(encoding="utf-8")


def test_records_beyond_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    lines = [
        {"kind": "train", "step": 50, "loss": 1.0},
        {"kind": "validation", "step": 60, "loss": 2.0, "more": "of another version"},
        {"kind": "train", "step": 61, "loss": 3.0},
        {"kind": "validation", "step": 80, "loss": 4.0},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"kind": "train", "st'
    (tmp_path / "metrics.jsonl").write_text(text, encoding="utf-8")
    with TrainingLog(tmp_path, main=True, quiet=True) as log:
        log.begin(network(), CONFIG, "photos", 60, 2)
        steps(log, 61, 100)
    written = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in written[:2]] == lines[:2]
    assert [json.loads(line)["step"] for line in written[2:]] == [100]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is full on demand")
def test_a_full_disk_on_resume_keeps_the_records(tmp_path: Path) -> None:
    text = '{"kind": "train", "step": 50, "loss": 1.0}\n{"kind": "train", "step": 100, "loss": 1.0}\n'
    (tmp_path / "metrics.jsonl").write_text(text, encoding="utf-8")
    (tmp_path / ".metrics.jsonl.part").symlink_to("/dev/full")
    with (
        TrainingLog(tmp_path, main=True, quiet=True) as log,
        pytest.raises(TrainingInputError, match=r"metrics\.jsonl: could not be written .*Free some space and --resume"),
    ):
        log.begin(network(), CONFIG, "photos", 60, 2)
    assert (tmp_path / "metrics.jsonl").read_text(encoding="utf-8") == text


def test_pictures_that_can_not_be_written_are_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "samples").write_bytes(b"no folder")
    with (
        TrainingLog(tmp_path, main=True, quiet=True) as log,
        pytest.raises(TrainingInputError, match=r"samples: could not be written .*--resume"),
    ):
        log.validation(10, 40, validation(), 64)


@pytest.mark.parametrize(("side", "said"), [(176, False), (100, True)])
def test_enlarged_crops_are_said(tmp_path: Path, side: int, said: bool) -> None:
    with TrainingLog(tmp_path, main=True, quiet=True) as log:
        log.stage(dataclasses.replace(CONFIG, short_side=side), 0, 1, 1234)
    assert ("cut from 50 px on and enlarged" in (tmp_path / "train.log").read_text(encoding="utf-8")) == said


def test_only_the_main_process_writes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with TrainingLog(out, main=False, quiet=False) as log:
        log.photos(5, Rejected(["a.jpg"], 3))
        log.device("CPU", 2)
        log.begin(network(), CONFIG, "photos", 0, 2)
        log.stage(CONFIG, 0, 2, 1234)
        steps(log, 1, 100, l1=0.5)
    assert not out.exists()


def test_quiet_shows_nothing_and_writes_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for quiet in (False, True):
        with TrainingLog(tmp_path / str(quiet), main=True, quiet=quiet) as log:
            log.stage(CONFIG, 0, 2, 1234)
            steps(log, 1, 50, l1=0.5)
        shown = capsys.readouterr()
        assert shown.out == ""
        assert ("crops of 64 px, 128 a step" in shown.err) == (not quiet)
        assert (shown.err == "") == quiet
        assert "crops of 64 px" in (tmp_path / str(quiet) / "train.log").read_text(encoding="utf-8")
        assert len(records(tmp_path / str(quiet), "train")) == 1


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What a TensorBoard that stands in for the real one was told."""
    told: list[tuple[Any, ...]] = []

    class SummaryWriter:
        def __init__(self, folder: str, purge_step: int) -> None:
            told.append(("open", Path(folder).name, purge_step))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            told.append((name, value, step))

        def close(self) -> None:
            told.append(("close",))

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(progress, "find_spec", lambda name: name == "tensorboard" or None)
    return told


@pytest.mark.usefixtures("no_pictures")
def test_tensorboard_is_told_where_there_is_one(tmp_path: Path, board: list[tuple[Any, ...]]) -> None:
    with TrainingLog(tmp_path, main=True, quiet=True) as log:
        log.begin(network(), CONFIG, "photos", 0, 2)
        steps(log, 1, 50, l1=0.5, critic=0.75)
        log.validation(50, 200, validation(), 64)
    assert board[0] == ("open", "tensorboard", 1)
    assert board[-1] == ("close",)
    assert {
        ("train/loss", 25.5, 50), ("train/l1", 0.5, 50), ("train/critic", 0.75, 50), ("train/learning_rate", 0.001, 50),
        ("validation/loss", 0.25, 50), ("validation/l1", 0.1, 50), ("validation/de00", 12.25, 50),
    } <= set(board)  # fmt: skip


def test_nobody_misses_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    with TrainingLog(tmp_path, main=True, quiet=True) as log:
        log.begin(network(), CONFIG, "photos", 0, 2)
        steps(log, 1, 50)
    assert not (tmp_path / "tensorboard").exists()


def test_a_network_is_described_by_its_parts() -> None:
    lines = model_summary(network()).splitlines()
    assert [line.split() for line in lines] == [
        ["0", "Conv2d", "20"],
        ["1", "Sequential", "3,000"],
        ["1.0", "Conv2d", "3,000"],
        ["encoder", "Linear", "4"],
    ]


def test_settings_that_are_not_the_default_are_in_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, str] = {}
    monkeypatch.setattr(progress, "write_report", lambda folder, facts: told.update(facts))
    config = dataclasses.replace(CONFIG, losses={"l1": 100.0, "bce": 1.0})
    with TrainingLog(tmp_path, main=True, quiet=True) as log:
        log.begin(network(), config, "6 photos", 0, 2)
        log.end(60, 4)
    assert told["settings"] == "recipe = 'mine'\nsteps = 123\nlosses = {'l1': 100.0, 'bce': 1.0}"
    assert (told["recipe"], told["data"], told["crops seen"]) == ("mine", "6 photos", "4")
    assert "mobilenet-unet, 3,024 parameters" in told["network"]


def test_without_a_terminal_there_is_a_line_now_and_then_and_no_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bwcolor_training.reporting.progress.PLAIN_INTERVAL", 0.0)
    long = "photos of a folder with a name that is far longer than the eighty columns of a terminal that is none"
    with TrainingLog(tmp_path, main=True, quiet=False) as log:
        log.begin(network(), dataclasses.replace(CONFIG, steps=1000), long, 50, 7)
        steps(log, 51, 100, l1=0.5)
        log.end(90.0, 200)
    said = capsys.readouterr().err.splitlines()
    assert f"{long}, 7 more for validation" in said[0]
    assert said[1] == "1,000 steps in all, going on after step 50"
    assert said[2].endswith("photos/s")
    assert " % step 100, loss " in said[2]
    assert len(said) == 3


def test_what_is_hidden_is_counted(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, main=True, quiet=True) as log:
        log.photos(5, Rejected([], 3, hidden=Hidden(("@eaDir",))))
    text = (tmp_path / "train.log").read_text(encoding="utf-8")
    assert "1 hidden, trash, or thumbnail folder (@eaDir) left out; to train on them, name their folder" in text


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(
    ("seen", "loss", "words"),
    [
        (40, 0.25, r"too short to be of use: it saw 40 crops.*--resume --minutes 60\."),
        (9_999, 0.25, r"too short to be of use: it saw 9,999 crops"),
        (10_000, 0.25, ""),
        (50_000, 0.5, r"no better than painting every photo in one average color\. .*--resume"),
        (50_000, None, ""),
    ],
)
def test_a_model_of_no_use_is_called_so(tmp_path: Path, seen: int, loss: float | None, words: str) -> None:
    """A mean colour has a loss of 0.5 here; None: no photo was kept for validation."""
    with TrainingLog(tmp_path, main=True, quiet=True) as log:
        log.begin(network(), CONFIG, "photos", 0, 2)
        log.validation(50, seen, None if loss is None else validation(loss), 64)
        assert log.shortcoming == "", "nobody knows before the end"
        log.end(60, seen)
    assert re.search(words, log.shortcoming) if words else log.shortcoming == ""


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(("seconds", "minutes"), [(0, 60), (1_800, 60), (1_801, 120), (3_600, 120), (10_800, 240)])
def test_the_advice_for_a_model_of_no_use_leaves_time_to_train(tmp_path: Path, seconds: float, minutes: int) -> None:
    """--minutes is the time of the whole run, what it has had already included."""
    with TrainingLog(tmp_path, main=True, quiet=True) as log:
        log.begin(network(), CONFIG, "photos", 0, 2)
        log.end(seconds, 40)
    assert log.shortcoming.endswith(f"--resume --minutes {minutes}.")


def test_what_is_downloaded_is_said_and_nothing_else(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, main=True, quiet=True) as log:
        log.downloading("")
        log.downloading("downloading 14 MB")
    assert (tmp_path / "train.log").read_text(encoding="utf-8").count("\n") == 1
