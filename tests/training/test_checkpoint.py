"""Checkpoints: what is saved comes back; what could harm is refused."""

import dataclasses
import os
import pickle
from pathlib import Path

import pytest
import torch
from bwcolor_training.checkpoint import Checkpoint, averaged, load_checkpoint, load_weights, save_checkpoint, shrink
from bwcolor_training.config import TrainConfig
from bwcolor_training.errors import TrainingInputError
from torch import nn
from typer.testing import CliRunner

from bwcolor.cli.app import app


def checkpoint(step: int = 5) -> Checkpoint:
    """Of a network of a single layer that was trained for one step."""
    torch.manual_seed(step)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    network(torch.rand(2, 1, 4, 4)).square().mean().backward()
    optimizer.step()
    ema = {name: t.clone() for name, t in network.state_dict().items()}
    return Checkpoint(
        TrainConfig(seed=3), "8 photos of a test", step, 40, 1.5, 3.0, 0.25, network.state_dict(), ema,
        torch.tensor([-0.1, 0.2]), torch.arange(5.0), {"optimizer": optimizer.state_dict(), "scaler": {}},
    )  # fmt: skip


def test_everything_comes_back(tmp_path: Path) -> None:
    saved = checkpoint()
    save_checkpoint(saved, tmp_path / "last.pt")
    loaded = load_checkpoint(tmp_path / "last.pt")
    assert loaded.config == saved.config
    assert (loaded.step, loaded.seconds, loaded.cpu_seconds, loaded.photos) == (5, 1.5, 3.0, 40)
    assert (loaded.data, loaded.best) == ("8 photos of a test", 0.25)
    assert torch.equal(loaded.mean_chroma, torch.tensor([-0.1, 0.2]))
    assert loaded.rarity is not None
    assert torch.equal(loaded.rarity, torch.arange(5.0))
    for ours, theirs in ((loaded.network, saved.network), (loaded.ema, saved.ema)):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert loaded.others is not None
    assert saved.others is not None
    assert loaded.others.keys() == saved.others.keys()
    ours, theirs = loaded.others["optimizer"], saved.others["optimizer"]
    assert ours["param_groups"] == theirs["param_groups"]
    assert torch.equal(ours["state"][0]["exp_avg"], theirs["state"][0]["exp_avg"])
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_the_file_has_the_fields_that_older_files_have(tmp_path: Path) -> None:
    """Renaming one would make all checkpoints that people have useless."""
    save_checkpoint(checkpoint(), tmp_path / "last.pt")
    content = torch.load(tmp_path / "last.pt", weights_only=True)
    assert content["format"] == "bwcolor-checkpoint-2"
    assert content.keys() - {"format"} == {
        "config", "data", "step", "photos", "seconds", "cpu_seconds", "best", "network", "ema", "mean_chroma",
        "rarity", "others",
    }  # fmt: skip
    assert content["config"]["generator"] == "mobilenet-unet"


class Trap:
    """Makes a folder when it is unpickled without care."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path, how: str) -> None:
    path, trap = tmp_path / "evil.pt", Trap(tmp_path / "caught")
    with path.open("wb") as out:
        torch.save({"format": trap}, out) if how == "torch" else pickle.dump({"format": trap}, out, protocol=2)
    with pytest.raises(TrainingInputError, match=r"evil\.pt: not a checkpoint"):
        load_checkpoint(path)
    assert not trap.folder.exists()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(checkpoint(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(TrainingInputError, match=r"last\.pt: not a checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {}}, {"format": 2}, torch.zeros(3)])
def test_other_files_of_torch_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(TrainingInputError, match=r"other\.pt: not a checkpoint"):
        load_checkpoint(tmp_path / "other.pt")


def test_another_version_is_named(tmp_path: Path) -> None:
    torch.save({"format": "bwcolor-checkpoint-1"}, tmp_path / "old.pt")
    with pytest.raises(TrainingInputError, match=r"old\.pt: a checkpoint of another version"):
        load_checkpoint(tmp_path / "old.pt")


@pytest.mark.parametrize("field", ["config", "ema"])
def test_a_checkpoint_without_a_field_is_refused(tmp_path: Path, field: str) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(checkpoint(), path)
    content = torch.load(path, weights_only=True)
    del content[field]
    torch.save(content, path)
    with pytest.raises(TrainingInputError, match=f"another version of bwcolor .*{field}"):
        load_checkpoint(path)


@pytest.mark.parametrize("key", ["config", "top"])
def test_a_checkpoint_with_a_field_too_many_is_refused(tmp_path: Path, key: str) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(checkpoint(), path)
    content = torch.load(path, weights_only=True)
    (content["config"] if key == "config" else content)["decoder_widths"] = [8, 8, 8, 8]
    torch.save(content, path)
    with pytest.raises(TrainingInputError, match=r"last\.pt.*decoder_widths"):
        load_checkpoint(path)


@pytest.mark.parametrize("name", ["absent.pt", "."])
def test_no_file_is_a_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(TrainingInputError, match="no such checkpoint"):
        load_checkpoint(tmp_path / name)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is full on demand")
def test_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(checkpoint(5), path)
    (tmp_path / ".last.pt.part").symlink_to("/dev/full")
    with pytest.raises(TrainingInputError, match=r"last\.pt: could not be written .*Free some space"):
        save_checkpoint(checkpoint(6), path)
    assert load_checkpoint(path).step == 5
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_a_missing_folder_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TrainingInputError, match="could not be written"):
        save_checkpoint(checkpoint(), tmp_path / "gone" / "last.pt")


def test_a_small_checkpoint_holds_the_average_alone(tmp_path: Path) -> None:
    whole = checkpoint()
    save_checkpoint(shrink(whole), tmp_path / "model.pt")
    small = load_checkpoint(tmp_path / "model.pt")
    assert (small.network, small.others) == ({}, None)
    assert small.ema["0.weight"].dtype == torch.float16
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    load_weights(network, small.ema, tmp_path / "model.pt")
    for name, tensor in network.state_dict().items():
        assert torch.allclose(tensor, whole.ema[name], rtol=1e-3, atol=1e-6)
        assert tensor.dtype == whole.ema[name].dtype
    for field in ("config", "data", "step", "photos", "seconds", "cpu_seconds", "best"):
        assert getattr(small, field) == getattr(whole, field)


def test_a_run_without_rare_colours_has_no_rarity(tmp_path: Path) -> None:
    save_checkpoint(dataclasses.replace(checkpoint(), rarity=None), tmp_path / "last.pt")
    assert load_checkpoint(tmp_path / "last.pt").rarity is None


def test_weights_of_another_network_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(TrainingInputError, match=r"last\.pt.*another network") as caught:
        load_weights(nn.Conv2d(1, 4, 3), checkpoint().ema, tmp_path / "last.pt")
    assert "\n" not in str(caught.value)


def test_the_mean_of_several_runs(tmp_path: Path) -> None:
    paths = []
    for step in (1, 2, 3):
        paths.append(tmp_path / f"{step}.pt")
        save_checkpoint(checkpoint(step), paths[-1])
    mean = averaged(paths)
    weights = [checkpoint(step).ema["0.weight"] for step in (1, 2, 3)]
    assert torch.allclose(mean.ema["0.weight"].float(), (weights[0] + weights[1] + weights[2]) / 3, atol=1e-3)
    assert not torch.allclose(weights[0], weights[1], atol=1e-2), "the runs differ"
    assert mean.ema["0.weight"].dtype == torch.float16
    assert mean.ema["1.num_batches_tracked"] == 1, "a count, not a weight"
    assert (mean.step, mean.others, mean.network) == (1, None, {})


def test_networks_that_differ_have_no_mean(tmp_path: Path) -> None:
    save_checkpoint(checkpoint(), tmp_path / "a.pt")
    other = checkpoint()
    other.ema["0.weight"] = torch.zeros(3, 1, 3, 3)
    save_checkpoint(other, tmp_path / "b.pt")
    with pytest.raises(TrainingInputError, match=r"b\.pt: weights of another network than .*a\.pt"):
        averaged([tmp_path / "a.pt", tmp_path / "b.pt"])


def test_the_command_average(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("a.pt", "b.pt")]
    for step, path in enumerate(paths):
        save_checkpoint(checkpoint(step), Path(path))
    target = tmp_path / "new" / "mean.pt"
    command = ["average", *paths, "-o", str(target)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert torch.equal(load_checkpoint(target).ema["0.weight"], averaged(list(map(Path, paths))).ema["0.weight"])
    again = CliRunner().invoke(app, command)
    assert (again.exit_code, "--overwrite replaces it" in again.output) == (2, True)
    assert CliRunner().invoke(app, [*command, "--overwrite"]).exit_code == 0
    assert CliRunner().invoke(app, ["average", paths[0], "-o", str(tmp_path / "one.pt")]).exit_code == 2
    missing = CliRunner().invoke(app, ["average", paths[0], "none.pt", "-o", str(tmp_path / "one.pt")])
    assert (missing.exit_code, "none.pt: no such checkpoint" in missing.output) == (2, True)
    assert not (tmp_path / "one.pt").exists()
