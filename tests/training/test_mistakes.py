"""What people and machines do wrong: each a sentence, and no work lost."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bwcolor_training import loop
from bwcolor_training.checkpoint import load_checkpoint
from bwcolor_training.config import TrainConfig
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.losses import PIXEL
from PIL import Image
from torch import Tensor, nn
from toy_training import EACH_STEP, PowerCut, Recorder, run

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_numbers_that_are_none_stop_the_run_before_they_are_saved(
    photos: Path, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    calls = 0

    def sick(predicted: Tensor, truth: Tensor, config: TrainConfig) -> Tensor:
        nonlocal calls
        calls += 1
        if calls < 3:
            return predicted.square()
        return predicted * float("nan") if kind == "loss" else (predicted * 0).abs().sqrt()

    monkeypatch.setitem(PIXEL, "sick", sick)
    config = dataclasses.replace(tiny, losses={"sick": 1.0}, checkpoint_seconds=EACH_STEP)
    with pytest.raises(TrainingInputError, match=r"not finite at step 2.*last\.pt holds the last good state"):
        run(photos, tmp_path / "out", config)
    last = load_checkpoint(tmp_path / "out" / "last.pt")
    assert last.step == 2
    assert all(torch.isfinite(t).all() for t in last.network.values())


def test_a_run_that_fails_at_once_does_not_point_to_a_checkpoint(
    photos: Path, tiny: TrainConfig, tmp_path: Path
) -> None:
    with pytest.raises(TrainingInputError, match=r"Start again with a lower --set learning_rate"):
        run(photos, tmp_path / "out", dataclasses.replace(tiny, learning_rate=1e6))
    assert not (tmp_path / "out" / "last.pt").exists()


def test_a_download_is_announced_before_it_begins(
    photos: Path, small: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    log = tmp_path / "out" / "train.log"

    def offline(*_: object, **__: object) -> None:
        assert "downloading ImageNet weights for the encoder" in log.read_text(encoding="utf-8")
        raise OSError("Name or service not known")

    monkeypatch.setattr("torchvision.models.MobileNet_V2_Weights.get_state_dict", offline)
    with pytest.raises(TrainingInputError, match="could not be downloaded"):
        run(photos, tmp_path / "out", dataclasses.replace(small, encoder="torchvision"))


def test_other_photos_do_not_resume_a_run(photos: Path, tiny: TrainConfig, tmp_path: Path) -> None:
    run(photos, tmp_path / "out", tiny)
    for name in ("0.bmp", "2.bmp", "4.bmp"):
        (photos / name).unlink()
    with pytest.raises(TrainingInputError, match=r"last\.pt was trained on \d photos .* these are \d photos"):
        run(photos, tmp_path / "out", tiny, resume=True)


def test_no_photo_left_to_train_on_is_a_sentence(photos: Path, tiny: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(TrainingInputError, match="All 8 photos fell into the validation share"):
        run(photos, tmp_path / "out", dataclasses.replace(tiny, validation=1.0))


def test_no_photos_at_all_are_a_sentence(tiny: TrainConfig, tmp_path: Path) -> None:
    with Recorder(tmp_path / "out") as log, pytest.raises(TrainingInputError, match="name a folder of colour photos"):
        loop.train(
            loop.Source((), tmp_path), tmp_path / "out", tiny, resume=False, init_from=None, minutes=None, log=log
        )


def test_a_folder_without_photos_is_a_sentence(tiny: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingInputError, match="empty: no photos"):
        run(tmp_path / "empty", tmp_path / "out", tiny)


def test_a_folder_that_is_not_there_is_a_sentence(tiny: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(TrainingInputError, match="none: no such folder"):
        run(tmp_path / "none", tmp_path / "out", tiny)


def test_gray_photos_alone_are_a_sentence(tiny: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "gray").mkdir()
    for number in range(2):
        gray = np.random.default_rng(number).integers(0, 256, (40, 40), np.uint8)
        Image.fromarray(gray).save(tmp_path / "gray" / f"{number}.png")
    with pytest.raises(TrainingInputError, match=r"none of 2 files is a readable colour photo \(2 are gray"):
        run(tmp_path / "gray", tmp_path / "out", tiny)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sizes": (40,)}, "multiples of 32 for mobilenet-unet, not 40"),
        ({"validation_size": 100}, "multiples of 32 for mobilenet-unet, not 100"),
        ({"losses": {"ssim": 1.0}}, "'ssim' is unknown. Known: mse"),
        ({"generator": "vae"}, "'vae' is unknown. Known: classic-unet"),
    ],
)
def test_settings_that_do_not_fit_are_a_sentence(
    photos: Path, small: TrainConfig, tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(TrainingInputError, match=words):
        run(photos, tmp_path / "out", dataclasses.replace(small, **settings))
    assert not (tmp_path / "out" / "last.pt").exists()


@pytest.mark.parametrize("minutes", [0.0, -1.0])
def test_no_time_is_a_sentence(photos: Path, tiny: TrainConfig, tmp_path: Path, minutes: float) -> None:
    with pytest.raises(TrainingInputError, match="--minutes must be more than 0"):
        run(photos, tmp_path / "out", tiny, minutes=minutes)


def test_odd_devices_are_a_sentence(
    photos: Path, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    source = loop.Source((str(photos),), tmp_path / "cache")
    for device, words in (("tpu", "choose auto, cpu or cuda"), ("cuda", "finds no NVIDIA GPU")):
        with Recorder(tmp_path / "out") as log, pytest.raises(TrainingInputError, match=words):
            loop.train(
                source, tmp_path / "out", tiny, resume=False, init_from=None, minutes=None, log=log, device=device
            )


def test_a_folder_that_can_not_be_made_is_a_sentence(photos: Path, tiny: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TrainingInputError, match=r"--out .*file.out: can't be made"):
        run(photos, tmp_path / "file" / "out", tiny)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is full on demand")
@pytest.mark.parametrize("name", ["train.log", "metrics.jsonl"])
def test_a_full_disk_is_a_sentence_and_the_last_checkpoint_survives(
    photos: Path, tiny: TrainConfig, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "out"

    class Filling(Recorder):
        """Its disk is full from the first step on. Before, nothing may read what never ends."""

        def begin(self, network: nn.Module, config: TrainConfig, data: str, step: int, validated: int) -> None:
            super().begin(network, config, data, step, validated)
            (out / name).unlink(missing_ok=True)
            (out / name).symlink_to("/dev/full")

    config = dataclasses.replace(tiny, checkpoint_seconds=EACH_STEP, validate_steps=5)
    with pytest.raises(PowerCut):
        run(photos, out, config, cut=4)
    with pytest.raises(TrainingInputError, match=rf"{name}: could not be written .*Free some space and --resume"):
        run(photos, out, config, resume=True, log=Filling(out))
    (out / name).unlink()
    assert load_checkpoint(out / "last.pt").step == (4 if name == "metrics.jsonl" else 3)
    assert max(run(photos, out, config, resume=True).losses) == 6


def test_a_full_disk_while_saving_is_a_sentence(photos: Path, tiny: TrainConfig, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs a disk that is full on demand")
    config = dataclasses.replace(tiny, checkpoint_seconds=EACH_STEP)
    with pytest.raises(PowerCut):
        run(photos, tmp_path / "out", config, cut=4)
    (tmp_path / "out" / ".last.pt.part").symlink_to("/dev/full")
    with pytest.raises(TrainingInputError, match=r"last\.pt: could not be written .*Free some space and --resume"):
        run(photos, tmp_path / "out", config, resume=True)
    assert load_checkpoint(tmp_path / "out" / "last.pt").step == 3
