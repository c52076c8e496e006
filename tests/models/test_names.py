"""What a model is called in use: after its run, and never as one that comes with bwcolor."""

import dataclasses
import hashlib
import os
from pathlib import Path

import pytest
from tiny_model import TINY_SPEC, tiny_onnx

from bwcolor.errors import UsageError
from bwcolor.inference.registry import load
from bwcolor.inference.session import load_model
from bwcolor.models import names
from bwcolor.models.names import check_not_reserved, is_reserved, name_of


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("runs/mine/model.pt", "mine"),
        ("runs/mine/best.pt", "mine"),
        ("runs/mine/last.pt", "mine"),
        ("runs/mine/model.onnx", "mine"),
        ("runs/Großmutters Rosen/model.pt", "Großmutters Rosen"),
        ("runs/v1.2/model.pt", "v1.2"),
        ("runs/mean.pt", "mean"),
        ("runs/mine-int8.onnx", "mine-int8"),
        ("notebook.pth", "notebook"),
        ("runs/default/model.pt", "custom-default"),
        ("runs/Default/model.pt", "custom-Default"),
        ("runs/default.pt", "custom-default"),
        ("runs/default-int8/model.pt", "custom-default-int8"),
        ("runs/defaults/model.pt", "defaults"),
        ("a\nb/model.pt", r"a\u000ab"),
        (os.fsdecode(b"a\xff/model.pt"), r"a\udcff"),
        ("/model.pt", "model"),
    ],
)
def test_names_come_from_the_run(file: str, name: str, tmp_path: Path) -> None:
    assert name_of(tmp_path / file) == name
    assert not is_reserved(name)


def test_a_relative_path_has_the_name_of_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "roses").mkdir()
    monkeypatch.chdir(tmp_path / "roses")
    assert name_of(Path("model.pt")) == "roses"


@pytest.mark.parametrize("name", ["default", "DEFAULT", "default-int8", "default-2"])
def test_names_of_bundled_models_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"--name {name}: this name is kept"):
        check_not_reserved(name)


@pytest.mark.parametrize(("said", "shown"), [("default", "roses"), ("default-fp32", "roses"), ("tulips", "tulips")])
def test_a_file_that_claims_a_bundled_name_is_called_after_its_run(said: str, shown: str, tmp_path: Path) -> None:
    """Models that were trained before names were given all call themselves `default`."""
    path = tmp_path / "roses" / "model.onnx"
    path.parent.mkdir()
    path.write_bytes(tiny_onnx(dataclasses.replace(TINY_SPEC, name=said).to_metadata()))
    model = load(str(path), "cpu")
    assert model.label.startswith(f"{shown} {TINY_SPEC.version} fp32 (SHA-256 ")


def test_a_bundled_file_has_its_name_wherever_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "copied.onnx"
    path.write_bytes(tiny_onnx(TINY_SPEC.to_metadata()))
    assert load_model(path, "cpu").spec.name == TINY_SPEC.name
    monkeypatch.setitem(names.SHA256, "default-int8.onnx", hashlib.sha256(path.read_bytes()).hexdigest())
    assert load_model(path, "cpu").spec.name == "default"
