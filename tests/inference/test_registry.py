"""Models by name: which file of a bundled one is used where, the user's own, and averages."""

import dataclasses
import hashlib
import os
import sys
import time
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from photo.pictures import FakeModel, flat, scene
from tiny_model import TINY_SPEC, pointwise_onnx, tiny_onnx, write_tiny

from bwcolor.errors import FolderError, ModelError, UsageError
from bwcolor.inference import registry, session
from bwcolor.inference.onnx_model import OnnxModel
from bwcolor.inference.predict import predict_chroma
from bwcolor.inference.registry import (
    Entry,
    add_model,
    added_names,
    bundled_models,
    check_new_name,
    choose,
    find_model,
    load,
    models_folder,
    name_from,
    remove_model,
)
from bwcolor.inference.session import Average, load_model, networks
from bwcolor.models.modelfile import read_model_file
from bwcolor.models.sidecar import card_path, contract_path


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for added models."""
    monkeypatch.setenv("BWCOLOR_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def two_precisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that ships the default model as int8 and fp16."""
    folder = tmp_path / "package" / "models"
    folder.mkdir(parents=True)
    files, sha256 = {}, {}
    for precision in ("int8", "fp16"):
        name = files[precision] = f"default-{precision}.onnx"
        content = tiny_onnx(dataclasses.replace(TINY_SPEC, precision=precision).to_metadata())
        (folder / name).write_bytes(content)
        sha256[name] = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(resources, "files", lambda _: folder.parent)
    monkeypatch.setattr(registry, "BUNDLED", {"default": files})
    monkeypatch.setattr(registry, "SHA256", sha256)
    return folder


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "no_cuda", lambda: "no NVIDIA GPU was found")


def processor(monkeypatch: pytest.MonkeyPatch, int8: str) -> None:
    monkeypatch.setattr(registry, "fast_int8", lambda: int8)


def test_what_ships_is_what_the_registry_says() -> None:
    """Whoever replaces a bundled file must enter its SHA-256 and its precision."""
    entries = bundled_models()
    assert "default" in entries
    shipped = {path for entry in entries.values() for path in entry.files.values()}
    assert shipped == set(next(iter(shipped)).parent.glob("*.onnx"))
    for entry in entries.values():
        for precision, path in entry.files.items():
            file = read_model_file(path, entry.sha256[precision])
            assert file.spec().precision == precision
            assert file.describes_itself


@pytest.mark.parametrize(
    ("device", "int8", "precision", "why"),
    [
        ("cuda:0", "AVX-512 VNNI", "fp16", "of fp16 and int8, fp16 suits a GPU best"),
        ("cuda:1", "", "fp16", "a GPU"),
        ("cpu", "AVX-512 VNNI", "int8", "of fp16 and int8, int8 suits a CPU with AVX-512 VNNI best"),
        ("cpu", "Arm dot products", "int8", "a CPU with Arm dot products"),
        ("cpu", "", "fp16", "a CPU that isn't known to be fast at int8"),
    ],
)
def test_the_precision_goes_by_where_it_runs(
    two_precisions: Path, device: str, int8: str, precision: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor(monkeypatch, int8)
    choice = choose(find_model("default"), device)
    assert choice.path == two_precisions / f"default-{precision}.onnx"
    assert why in choice.why


@pytest.mark.usefixtures("no_gpu")
def test_the_model_line_says_which_file_and_why(two_precisions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch, "AVX-VNNI")
    model = load("default", "auto")
    assert isinstance(model, OnnxModel)
    assert model.path == two_precisions / "default-int8.onnx"
    (line,) = model.lines
    assert line.startswith("model tiny 1 int8 (SHA-256 ")
    assert "device cpu: no NVIDIA GPU was found; of fp16 and int8, int8 suits a CPU with AVX-VNNI best" in line


def test_a_missing_file_is_not_replaced_by_one_of_another_precision(
    two_precisions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor(monkeypatch, "AVX-VNNI")
    (two_precisions / "default-int8.onnx").unlink()
    with pytest.raises(ModelError, match=r"default-int8\.onnx: missing from this installation"):
        load("default", "cpu")


def test_a_precision_can_be_asked_for_by_name(two_precisions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch, "AVX-VNNI")
    model = load("default-fp16", "cpu")
    assert isinstance(model, OnnxModel)
    assert model.path == two_precisions / "default-fp16.onnx"
    assert model.spec.precision == "fp16"
    with pytest.raises(ModelError, match="neither a file nor"):
        load("default-fp32", "cpu")


def test_a_bundled_file_that_was_changed_is_refused(two_precisions: Path) -> None:
    path = two_precisions / "default-fp16.onnx"
    path.write_bytes(path.read_bytes().replace(b"tiny", b"tinz"))
    with pytest.raises(ModelError, match="Install bwcolor again"):
        load("default-fp16", "cpu")


def test_unknown_names_list_the_known_ones(tmp_path: Path) -> None:
    add_model(read_model_file(write_tiny(tmp_path / "a.onnx")), TINY_SPEC, "mine")
    for name in ("nowhere", "", "x" * 5000, "a/b\0c", "../models/mine", "Mine"):
        with pytest.raises(ModelError, match=r"bundled models \(default\) or of those that you added \(mine\)"):
            load(name, "cpu")


def test_an_added_model_is_found_and_its_copy_is_used(tmp_path: Path, models: Path) -> None:
    original = write_tiny(tmp_path / "a.onnx")
    assert added_names() == []
    target = add_model(read_model_file(original), TINY_SPEC, "mine")
    original.unlink()
    assert target == models / "mine.onnx"
    assert sorted(path.name for path in models.iterdir()) == ["mine.onnx", "mine.onnx.json"]
    model = load("mine", "cpu")
    assert isinstance(model, OnnxModel)
    assert model.path == target


def test_leftovers_of_killed_runs_go_when_they_are_old(tmp_path: Path, models: Path) -> None:
    models.mkdir()
    for name, age in ((".bwcolor-00aa.part", 7200), (".bwcolor-11bb.part", 60)):
        (models / name).write_bytes(b"half a model")
        os.utime(models / name, (time.time() - age,) * 2)
    add_model(read_model_file(write_tiny(tmp_path / "a.onnx")), TINY_SPEC, "mine")
    assert sorted(path.name for path in models.iterdir()) == [".bwcolor-11bb.part", "mine.onnx", "mine.onnx.json"]


def test_an_added_model_that_was_changed_or_lost_its_contract_is_refused(tmp_path: Path, models: Path) -> None:
    add_model(read_model_file(write_tiny(tmp_path / "a.onnx")), TINY_SPEC, "mine")
    (models / "mine.onnx").write_bytes(tiny_onnx(bias=(0.1, 0.1)))
    with pytest.raises(ModelError, match="changed or damaged"):
        load("mine", "cpu")
    contract_path(models / "mine.onnx").unlink()
    with pytest.raises(ModelError, match=r"its contract mine\.onnx\.json is missing"):
        load("mine", "cpu")


def test_removing_takes_the_card_too_and_only_what_was_added(tmp_path: Path, models: Path) -> None:
    original = write_tiny(tmp_path / "a.onnx")
    target = add_model(read_model_file(original), TINY_SPEC, "mine")
    card_path(target).write_text("{}")
    (models / "other.txt").write_text("stays")
    remove_model("mine")
    assert [path.name for path in models.iterdir()] == ["other.txt"]
    assert original.exists()
    with pytest.raises(UsageError, match="comes with bwcolor"):
        remove_model("default")
    for name in ("mine", "../a", "a/../../a", "", "other.txt", str(original)):
        with pytest.raises(ModelError, match="no model of this name was added"):
            remove_model(name)
    assert original.exists()


@pytest.mark.parametrize(
    "name",
    ["", "..", "../x", "a/b", "a\\b", "A", "é", "a b", ".hidden", "-x", "a\n", "a+b", "x" * 65, "nul", "con.x", "com1",
     "a.", "a.onnx", "a\x1b[31m"],
)  # fmt: skip
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="begin with a letter or digit"):
        check_new_name(name, overwrite=True)


def test_names_that_are_taken(tmp_path: Path) -> None:
    for name in ("default", "default-int8", "default-anything"):
        with pytest.raises(UsageError, match="kept for a model that comes with bwcolor"):
            check_new_name(name, overwrite=True)
    check_new_name("zhang-eccv16.v2", overwrite=False)
    add_model(read_model_file(write_tiny(tmp_path / "a.onnx")), TINY_SPEC, "mine")
    check_new_name("mine", overwrite=True)
    with pytest.raises(UsageError, match="there is a model of this name"):
        check_new_name("mine", overwrite=False)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Zhang ECCV16.onnx", "zhang-eccv16"),
        ("DDColor_large.ONNX", "ddcolor_large"),
        ("Ä.onnx", ""),
        ("--x--.onnx", "x"),
        ("runs/Mine 2/model.onnx", "mine-2"),
        ("runs/default/model.onnx", "custom-default"),
    ],
)
def test_names_made_of_file_names(file: str, name: str) -> None:
    assert name_from(Path("/some/where") / file) == name


def test_where_added_models_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BWCOLOR_MODELS", "relative")
    assert models_folder() == tmp_path / "relative"
    monkeypatch.setenv("BWCOLOR_MODELS", "")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    folders = {}
    for system in ("linux", "darwin", "win32"):
        monkeypatch.setattr(sys, "platform", system)
        folders[system] = models_folder().relative_to(tmp_path).as_posix()
    assert folders == {
        "linux": ".local/share/bwcolor/models",
        "darwin": "Library/Application Support/bwcolor/models",
        "win32": "AppData/Local/bwcolor/models",
    }
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert models_folder() == tmp_path / "xdg" / "bwcolor" / "models"


def test_a_folder_of_models_that_is_none_gets_a_sentence(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BWCOLOR_MODELS", str(tmp_path / "file"))
    with pytest.raises(FolderError, match="can't be listed"):
        added_names()
    with pytest.raises(FolderError, match="can't be written"):
        add_model(read_model_file(tiny_model), TINY_SPEC, "mine")
    assert load(str(tiny_model), "cpu").label == load_model(tiny_model, "cpu").label, "paths need no folder"


def test_two_models_are_averaged(tmp_path: Path) -> None:
    paths = [tmp_path / "one+1.onnx", tmp_path / "two.onnx"]
    for path, bias in zip(paths, ((-0.2, 0.1), (0.1, 0.3)), strict=True):
        path.write_bytes(pointwise_onnx([[0], [0]], list(bias), pictures="n", metadata=TINY_SPEC.to_metadata()))
    add_model(read_model_file(paths[1]), TINY_SPEC, "two")
    single = load(str(paths[0]), "cpu")
    assert not isinstance(single, Average), "a file whose name has a plus is one model"
    paths[0] = paths[0].rename(tmp_path / "one.onnx")
    both = load(f"{paths[0]}+two", "cpu")
    assert isinstance(both, Average)
    assert len(networks(both)) == len(both.lines) == 2
    assert both.sha256 == getattr(load(f"two+{paths[0]}", "cpu"), "sha256", None) != single.sha256
    chroma = predict_chroma(scene(90, 70), 1, both, "auto")
    assert_allclose(chroma, np.broadcast_to([-0.05, 0.2], chroma.shape), atol=1e-5)
    for expression in (f"{paths[0]}+", "+", f"{paths[0]}+nowhere"):
        with pytest.raises(ModelError, match="neither a file nor"):
            load(expression, "cpu")


def test_averaged_models_see_the_photo_at_their_own_sizes() -> None:
    small = FakeModel(flat(0.2, -0.1), dataclasses.replace(TINY_SPEC, network_size=64, shape="square"))
    large = FakeModel(flat(0.4, 0.3), dataclasses.replace(TINY_SPEC, network_size=128))
    chroma = predict_chroma(scene(300, 200), 6, Average((small, large)), "fast")
    assert small.inputs[0].shape == (1, 1, 64, 64)
    assert min(large.inputs[0].shape[2:]) > 64
    assert chroma.shape[:2] == (157, 105), "as stored, at the larger one's size"
    assert_allclose(chroma, np.broadcast_to([0.3, 0.1], chroma.shape), atol=1e-5)


def test_an_entry_with_one_file_needs_no_reason(tiny_model: Path) -> None:
    assert choose(Entry("x", "file", {"": tiny_model}, {}), "cpu").why == ""
