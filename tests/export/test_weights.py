"""State dicts made elsewhere: what is taken, and what is refused with a sentence."""

import dataclasses
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from bwcolor_export.contract import our_contract, told_contract
from bwcolor_export.onnx import ExportOptions, export_onnx
from bwcolor_export.weights import from_checkpoint, from_state_dict
from bwcolor_training import config as training_config
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.networks.build import build_generator
from small_networks import PHOTOS, UNET
from torch import Tensor, nn

from bwcolor.errors import UsageError
from bwcolor.inference.session import load_model

ARCH = "unet-31m"


@pytest.fixture(autouse=True)
def tiny_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the recipe's network one of two levels: the real one takes seconds and 124 MB."""
    monkeypatch.setattr("bwcolor_export.weights.load_recipe", lambda name, _: _recipe(name))


def _recipe(name: str) -> training_config.TrainConfig:
    if name != ARCH:
        raise TrainingInputError(f"No recipe is called {name!r}.")
    return UNET


@pytest.fixture
def state(unet_generator: nn.Module) -> dict[str, Tensor]:
    return dict(unet_generator.state_dict())


def save(content: Any, folder: Path) -> Path:
    path = folder / "theirs.pt"
    torch.save(content, path)
    return path


@pytest.mark.parametrize("wrapping", ["", "state_dict", "model", "model_state_dict", "module.", "_orig_mod.", "both"])
@torch.no_grad()
def test_a_state_dict_is_found_in_its_wrapping(
    wrapping: str, state: dict[str, Tensor], unet_generator: nn.Module, tmp_path: Path
) -> None:
    content: dict[str, Any] = state
    if wrapping.endswith(".") or wrapping == "both":
        prefix = "module." if wrapping == "both" else wrapping
        content = {f"{prefix}{name}": tensor for name, tensor in state.items()}
    if wrapping and not wrapping.endswith("."):
        content = {"state_dict" if wrapping == "both" else wrapping: content, "epoch": 3}
    trained = from_state_dict(save(content, tmp_path), ARCH, plain=False)
    photo = torch.rand(1, 1, 16, 16)
    assert torch.equal(trained.network(photo), unet_generator(photo))
    assert (trained.stride, trained.training_data, trained.ours) == (2, "", False)


@torch.no_grad()
def test_plain_outputs_are_those_of_the_last_layer(
    state: dict[str, Tensor], unet_generator: nn.Module, tmp_path: Path
) -> None:
    plain = from_state_dict(save(state, tmp_path), ARCH, plain=True)
    given: list[Tensor] = []
    assert isinstance(unet_generator.head, nn.Conv2d)
    handle = unet_generator.head.register_forward_hook(lambda _module, _inputs, output: given.append(output))
    photo = torch.rand(1, 1, 16, 16)
    ours = unet_generator(photo)
    handle.remove()
    torch.testing.assert_close(plain.network(photo), given[0])
    assert not torch.allclose(ours, given[0])


def test_counters_that_old_state_dicts_lack_are_not_missed(state: dict[str, Tensor], tmp_path: Path) -> None:
    old = {name: tensor for name, tensor in state.items() if "num_batches_tracked" not in name}
    assert len(old) < len(state)
    from_state_dict(save(old, tmp_path), ARCH, plain=False)


def test_half_precision_is_taken(state: dict[str, Tensor], tmp_path: Path) -> None:
    half = {name: t.half() if t.is_floating_point() else t for name, t in state.items()}
    trained = from_state_dict(save(half, tmp_path), ARCH, plain=False)
    assert {t.dtype for t in trained.network.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"drop": 2}, r"2 missing \(\S+, \S+\)"),
        ({"drop": 5}, r"5 missing \(\S+, \S+, \S+, …\)"),
        ({"extra": 1}, r"1 unknown \(extra\.0\)"),
        ({"shape": "head.weight"}, r"1 of another shape \(head\.weight \[3, 3\] instead of \[2, 8, 1, 1\]\)"),
        ({"drop": 1, "extra": 4}, r"1 missing \(\S+\); 4 unknown \(extra\.0, extra\.1, extra\.2, …\)"),
    ],
)
def test_keys_that_do_not_fit_are_named(
    change: dict[str, Any], words: str, state: dict[str, Tensor], tmp_path: Path
) -> None:
    for name in [name for name in state if name.endswith("weight")][: change.get("drop", 0)]:
        del state[name]
    state |= {f"extra.{number}": torch.zeros(1) for number in range(change.get("extra", 0))}
    if "shape" in change:
        state[change["shape"]] = torch.zeros(3, 3)
    with pytest.raises(TrainingInputError, match=rf"theirs\.pt: does not fit recipe unet-31m: {words}\. Another"):
        from_state_dict(save(state, tmp_path), ARCH, plain=False)


class Evil:
    """A pickle that would make a folder when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("kind", ["torch", "pickle", "nested"])
@pytest.mark.parametrize("arch", [True, False])
def test_code_in_a_file_is_never_run(kind: str, arch: bool, state: dict[str, Tensor], tmp_path: Path) -> None:
    trap, path = tmp_path / "trap", tmp_path / "theirs.pt"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Evil(trap), protocol=2))
    else:
        torch.save({**state, "x": Evil(trap)} if kind == "nested" else Evil(trap), path)
    with pytest.raises(TrainingInputError, match=r"theirs\.pt: not a "):
        from_state_dict(path, ARCH, plain=False) if arch else from_checkpoint(path)
    assert not trap.exists()


@pytest.mark.parametrize("arch", [True, False])
@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, 0.99])
def test_truncated_files_are_refused(
    kept: float, arch: bool, state: dict[str, Tensor], unet_checkpoint: Path, tmp_path: Path
) -> None:
    content = (save(state, tmp_path) if arch else unet_checkpoint).read_bytes()
    path = tmp_path / "cut.pt"
    path.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    with pytest.raises(TrainingInputError, match=r"cut\.pt: "):
        from_state_dict(path, ARCH, plain=False) if arch else from_checkpoint(path)


@pytest.mark.parametrize("arch", [True, False])
def test_archives_that_unpack_to_far_more_are_refused(
    arch: bool, state: dict[str, Tensor], unet_checkpoint: Path, tmp_path: Path
) -> None:
    source = save(state, tmp_path) if arch else unet_checkpoint
    bomb = tmp_path / "bomb.pt"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
        new.writestr("archive/data/999", bytes(20_000_000))
    assert bomb.stat().st_size < 1_000_000
    with pytest.raises(TrainingInputError, match=r"bomb\.pt: unpacks to 20 MB"):
        from_state_dict(bomb, ARCH, plain=False) if arch else from_checkpoint(bomb)


@pytest.mark.parametrize("weights", [{"a": 3}, {}, [1], {"a": torch.eye(3).to_sparse()}])
@pytest.mark.filterwarnings("ignore:Validating sparse")
def test_checkpoints_without_weights_are_refused(weights: Any, unet_checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(unet_checkpoint, weights_only=True)
    torch.save(content | {"ema": weights}, tmp_path / "empty.pt")
    with pytest.raises(TrainingInputError, match=r"empty\.pt: holds no weights"):
        from_checkpoint(tmp_path / "empty.pt")


def test_settings_that_claim_an_absurd_network_cost_nothing(unet_checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(unet_checkpoint, weights_only=True)
    content["config"]["widths"] = (1_000_000, 2_000_000)  # 200 TB of weights
    torch.save(content, tmp_path / "absurd.pt")
    with pytest.raises(TrainingInputError, match=r"absurd\.pt: .*another network.*of another shape"):
        from_checkpoint(tmp_path / "absurd.pt")
    claims = build_generator(dataclasses.replace(UNET, widths=(8, 4_000)), pretrained=False).state_dict()
    content["config"]["widths"] = (8, 4_000)
    content["ema"] = {name: torch.zeros(()).expand(t.shape) for name, t in claims.items()}  # 1 number each
    torch.save(content, tmp_path / "hollow.pt")
    with pytest.raises(TrainingInputError, match=r"hollow\.pt: holds no weights"):
        from_checkpoint(tmp_path / "hollow.pt")


@pytest.mark.parametrize("widths", [(10**12, 10**12), (10**30, 5), (8,) * 1000])
def test_settings_beyond_any_network_are_refused(
    widths: tuple[int, ...], unet_checkpoint: Path, tmp_path: Path
) -> None:
    content = torch.load(unet_checkpoint, weights_only=True)
    content["config"]["widths"] = widths
    torch.save(content, tmp_path / "absurd.pt")
    with pytest.raises(TrainingInputError, match="widths must be"):
        from_checkpoint(tmp_path / "absurd.pt")
    torch.save(content | {"config": 3}, tmp_path / "three.pt")
    with pytest.raises(TrainingInputError, match=r"three\.pt: a checkpoint of another version"):
        from_checkpoint(tmp_path / "three.pt")


def test_tensors_of_absurd_size_are_refused_before_they_are_touched(state: dict[str, Tensor], tmp_path: Path) -> None:
    state["head.weight"] = torch.zeros(1).expand(100_000, 100_000)  # 40 GB, of which the file holds 4 bytes
    with pytest.raises(TrainingInputError, match=r"head\.weight \[100000, 100000\] instead of"):
        from_state_dict(save(state, tmp_path), ARCH, plain=False)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "holds no state dict"),
        ([1, 2], "holds no state dict"),
        ({"state_dict": {"a": 3}}, "holds no state dict"),
        ({1: torch.zeros(1)}, "holds no state dict"),
        ({"a": torch.eye(3).to_sparse()}, "holds no state dict"),
        ({"format": "bwcolor-checkpoint-2"}, "leave out --arch"),
        (torch.zeros(3), "holds no state dict"),
    ],
)
def test_files_of_other_content_are_refused(content: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingInputError, match=rf"theirs\.pt: .*{words}"):
        from_state_dict(save(content, tmp_path), ARCH, plain=False)


def test_weights_that_are_not_numbers_are_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    state["head.bias"] = torch.tensor([float("nan"), 0.0])
    with pytest.raises(TrainingInputError, match=r"theirs\.pt: some of its weights are not numbers"):
        from_state_dict(save(state, tmp_path), ARCH, plain=False)


@pytest.mark.parametrize(("name", "words"), [("none.pt", "no such file"), (".", "no such file")])
def test_what_is_no_file_is_refused(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingInputError, match=words):
        from_state_dict(tmp_path / name, ARCH, plain=False)


def test_what_it_takes_and_gives_is_as_told(state: dict[str, Tensor], tmp_path: Path) -> None:
    contract = told_contract(ARCH, "l", "ab", "-1, 1", "-1.2,1.2")
    options = ExportOptions(contract=contract, training_data="ten cats", gain=0.01)
    export_onnx(save(state, tmp_path), tmp_path / "theirs.onnx", options, overwrite=False)
    spec = load_model(tmp_path / "theirs.onnx", "cpu").spec
    assert (spec.input_kind, spec.input_range) == ("l", (-1, 1))
    assert (spec.output_kind, spec.output_range) == ("ab", (-1.2, 1.2))
    assert (spec.recipe, spec.training_data, spec.training_sha256) == (UNET.recipe, "ten cats", "")
    assert 0 < spec.parity_max < 0.05
    assert onnx.load(tmp_path / "theirs.onnx").producer_name == "bwcolor"


def test_what_is_not_told_is_as_ours() -> None:
    assert told_contract(ARCH, "", "", "", "") == our_contract(ARCH)
    told = told_contract(ARCH, "", "", "0,255", "")
    assert told is not None
    assert (told.input_range, told.output_range, told.plain) == ((0, 255), (-0.5, 0.5), False)
    told = told_contract(ARCH, "", "", "", "-1,1")
    assert told is not None
    assert (told.output_kind, told.output_range, told.plain) == ("cbcr", (-1, 1), True)
    assert told_contract("", "", "", "", "") is None


def test_the_training_data_of_a_checkpoint_is_known(unet_checkpoint: Path) -> None:
    trained = from_checkpoint(unet_checkpoint)
    assert (trained.training_data, trained.ours, trained.config) == (PHOTOS, True, UNET)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (("", "l", "", "", ""), "--input-kind: only with --arch"),
        (("", "", "", "", "0,1"), "--output-range: only with --arch"),
        ((ARCH, "gray-rgb", "", "", ""), "--input-kind gray-rgb: these networks know only luma and l"),
        ((ARCH, "", "rgb", "", ""), "--output-kind rgb: these networks know only cbcr and ab"),
        ((ARCH, "l", "", "", ""), "--input-range is missing"),
        ((ARCH, "", "ab", "", ""), "--output-range is missing"),
        ((ARCH, "", "", "0..1", ""), "--input-range 0..1: say the two values"),
    ],
)
def test_words_that_do_not_fit_are_refused(told: tuple[str, str, str, str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        told_contract(*told)
