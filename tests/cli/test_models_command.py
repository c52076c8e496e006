"""`bwcolor models ...`: adding, listing, looking into, verifying, removing, and what is refused."""

import json
import os
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from photo.pictures import scene
from PIL import Image
from tiny_model import (
    TINY_SPEC,
    ddcolor_onnx,
    pointwise_onnx,
    tiny_onnx,
    write_tiny,
    zhang_onnx,
)
from typer.testing import CliRunner, Result

from bwcolor.cli.app import app

ZHANG = ("--kind", "l-to-ab", "--license", "BSD-2-Clause")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of added models; empty, and not there yet."""
    monkeypatch.setenv("BWCOLOR_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with a gray photo."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(scene(40, 60)).save(folder / "scene.png")
    return folder


def test_add_list_info_verify_remove(tmp_path: Path, folder: Path, tiny_model: Path) -> None:
    path = tmp_path / "Zhang 2016.onnx"
    path.write_bytes(zhang_onnx())
    before = path.read_bytes(), path.stat().st_mtime_ns
    added = run("models", "add", path, *ZHANG, "--training-data", "ImageNet.", "--model-version", "v1.4")
    assert added.exit_code == 0, added.stderr
    assert f"zhang-2016: added as {folder / 'zhang-2016.onnx'}" in added.stdout
    assert "colourfulness" in added.stdout
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    contract = json.loads((tmp_path / "Zhang 2016.onnx.json").read_text())
    assert contract["spec"]["input_range"] == [0, 100]
    assert contract["spec"]["network_size"] == 256
    assert sorted(file.name for file in folder.iterdir()) == ["zhang-2016.onnx", "zhang-2016.onnx.json"]

    assert run("models", "add", tiny_model, "--name", "own").exit_code == 0, "a file of ours says itself how"
    for listing in (run("models"), run("models", "list")):
        assert listing.exit_code == 0
        lines = {line.split()[0]: line for line in listing.stdout.splitlines()}
        for precision in ("int8", "fp16"):
            assert lines[f"default-{precision}"].split()[1:3] == ["bundled", precision]
        assert all(word in lines["zhang-2016"] for word in ("added", "fp32", "l to ab", "BSD-2-Clause", "0.0 MB"))
        assert "luma to cbcr" in lines["own"]
        assert re.search("On this machine --model default is default 3 (int8|fp16)", listing.stdout)
        assert str(folder) in listing.stdout

    info = run("models", "info", "zhang-2016")
    assert info.exit_code == 0
    facts = ("zhang-2016 v1.4", "BSD-2-Clause", "ImageNet.", "squashed to 256 x 256", "L* from 0 to 100 as 0 to 100",
             "a* and b* from -128 to 128 as -128 to 128", "opset 17", "written by someone 2.1", "not measured",
             contract["model_sha256"], "input (float 1 x 1 x 256 x 256)", "nothing yet")  # fmt: skip
    assert not [fact for fact in facts if fact not in info.stdout]

    verified = run("models", "verify")
    assert verified.exit_code == 0, verified.stderr
    names = [line.split(":")[0] for line in verified.stdout.splitlines()]
    assert names == ["default", "default", "own", "zhang-2016"], "each bundled precision"
    assert verified.stdout.count("as on record") == 4
    assert "not on record" in run("models", "verify", tiny_model).stdout
    damaged = bytearray((folder / "own.onnx").read_bytes())
    damaged[-1] ^= 1
    (folder / "own.onnx").write_bytes(damaged)
    verified = run("models", "verify")
    assert verified.exit_code == 4
    assert "own: FAILED: " in verified.stdout
    assert "zhang-2016: zhang-2016.onnx: SHA-256" in verified.stdout
    assert run("models", "info", "own").exit_code == 4

    assert run("models", "remove", "own", "zhang-2016").exit_code == 0
    assert list(folder.iterdir()) == []
    assert path.exists()
    assert run("models", "remove", "zhang-2016").exit_code == 4
    assert run("models", "remove", "default").exit_code == 2


def test_info_of_the_bundled_model_names_its_model_card() -> None:
    info = run("models", "info", "default")
    assert info.exit_code == 0
    cards = {line.split(maxsplit=2)[2] for line in info.stdout.splitlines() if line.startswith("model card")}
    (card,) = cards  # the same for both precisions
    text = Path(card).read_text(encoding="utf-8")
    assert text.startswith("# Model card")
    assert info.stdout.endswith("\n\n" + text.rstrip() + "\n"), "and shows it"
    assert "Apache-2.0" in info.stdout


def test_a_damaged_added_model_does_not_hide_the_others(tmp_path: Path, folder: Path) -> None:
    folder.mkdir()
    (folder / "orphan.onnx").write_bytes(zhang_onnx())
    (folder / "broken.onnx").write_bytes(b"")
    (folder / "broken.onnx.json").write_text("[" * 60_000)
    (folder / "UPPER.onnx").write_bytes(b"")
    (folder / "notes.txt").write_text("")
    listing = run("models")
    assert listing.exit_code == 0
    assert "orphan                unusable: " in listing.stdout
    assert "broken                unusable: " in listing.stdout
    assert "default-int8          bundled" in listing.stdout
    assert "UPPER" not in listing.stdout
    for name in ("orphan", "broken"):
        assert run(tmp_path, "--model", name, "--dry-run").exit_code in (0, 6)
        assert run("models", "info", name).exit_code == 4
        assert run("models", "remove", name).exit_code == 0
    assert sorted(path.name for path in folder.iterdir()) == ["UPPER.onnx", "notes.txt"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "choose l-to-ab, gray-rgb-to-ab, gray-rgb-to-rgb. It takes input (float 1 x 1 x 256 x 256)"),
        ([], "which looks like l-to-ab."),
        (["--kind", "zhang"], "--kind zhang: choose"),
        (["--kind", "l-to-ab", "--range", "0"], "--range 0: say the two values"),
        (["--kind", "l-to-ab", "--range", "0,1,2"], "say the two values"),
        (["--kind", "l-to-ab", "--range", "nan,1"], "say the two values"),
        (["--kind", "l-to-ab", "--range", "100,0"], "the input range must rise"),
        (["--kind", "l-to-ab", "--range", "0,1e999"], "must rise and stay within"),
        (["--kind", "l-to-ab", "--range", "imagenet"], "only RGB can be normalised"),
        (["--kind", "l-to-ab", "--size", "99999"], "must be in 1..4096"),
        (["--kind", "l-to-ab", "--size", "256", "--multiple", "100"], "must be multiples of 100"),
        (["--kind", "l-to-ab", "--shape", "round"], "shape 'round' is not known"),
        (["--kind", "l-to-ab", "--name", "../x"], "begin with a letter or digit"),
        (["--kind", "l-to-ab", "--name", "default"], "kept for a model that comes with bwcolor"),
        (["--kind", "l-to-ab", "--license", "x" * 3000], "licence is 3000 characters long"),
        (["--kind", "gray-rgb-to-rgb"], "--range is missing: say the two values"),
    ],
)
def test_wrong_options_of_add_are_usage_errors(options: list[str], sentence: str, tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "zhang.onnx"
    path.write_bytes(zhang_onnx())
    result = run("models", "add", path, *options)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["zhang.onnx"]


def test_a_name_that_is_taken_and_a_file_in_the_way(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "zhang.onnx"
    path.write_bytes(zhang_onnx())
    assert run("models", "add", path, *ZHANG).exit_code == 0
    path.write_bytes(zhang_onnx((10, 10)))
    refused = run("models", "add", path, *ZHANG)
    assert refused.exit_code == 2
    assert "add --overwrite" in refused.stderr
    assert (folder / "zhang.onnx").read_bytes() == zhang_onnx()
    assert run("models", "add", path, *ZHANG, "--overwrite").exit_code == 0
    assert run("models", "verify", "zhang").exit_code == 0
    (tmp_path / "zhang.onnx.json").write_text('{"mine": 1}')
    refused = run("models", "add", path, *ZHANG, "--overwrite")
    assert refused.exit_code == 2
    assert "in the way" in refused.stderr
    assert (tmp_path / "zhang.onnx.json").read_text() == '{"mine": 1}'
    assert "says itself how" in run("models", "add", write_tiny(tmp_path / "t.onnx"), *ZHANG).stderr


def test_a_model_inside_the_folder_of_models_is_added_in_place(folder: Path) -> None:
    folder.mkdir()
    (folder / "zhang.onnx").write_bytes(zhang_onnx())
    before = (folder / "zhang.onnx").stat()
    assert run("models", "add", folder / "zhang.onnx", *ZHANG, "--overwrite").exit_code == 0
    after = (folder / "zhang.onnx").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns), "not copied onto itself"
    assert sorted(path.name for path in folder.iterdir()) == ["zhang.onnx", "zhang.onnx.json"]
    assert run("models", "verify", "zhang").exit_code == 0


def checkpoint() -> bytes:
    """What torch.save writes: a zip with a pickle that would run code when it is opened."""

    class Trap:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.system, ("touch trapped",)

    return pickle.dumps(Trap())


def external_data() -> bytes:
    model = onnx.load_from_string(tiny_onnx())
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "weights.bin"
    return bytes(model.SerializeToString())


def claims_2_gb() -> bytes:
    model = onnx.load_from_string(zhang_onnx())
    weight = numpy_helper.from_array(np.zeros((1, 1), np.float32), "weight")
    del weight.dims[:]
    weight.dims.extend([2, 2**28])
    model.graph.initializer[0].CopyFrom(weight)
    return bytes(model.SerializeToString())


def absurd(**changes: object) -> bytes:
    values = json.loads(TINY_SPEC.to_metadata()["bwcolor.spec"])
    return tiny_onnx({"bwcolor.spec": json.dumps({**values, **changes})})


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "pickle": (checkpoint, "a Python pickle, which is never opened"),
    "empty": (lambda: b"", "not an ONNX model"),
    "truncated": (lambda: zhang_onnx()[:150], "ends too early"),
    "external data": (external_data, "external data"),
    "2 GB of weights claimed": (claims_2_gb, "not an ONNX model that can be run"),
    "2 GB message claimed": (lambda: b"\x08\x08\x3a\xff\xff\xff\xff\x07", "ends too early"),
    "NaN": (lambda: zhang_onnx((float("nan"), 0)), "not numbers"),
    "a million": (lambda: zhang_onnx((1e6, 0)), "its contract says -128 to 128"),
    "three channels": (ddcolor_onnx, "not float N x 1 x H x W"),
    "one output channel": (lambda: pointwise_onnx([[0]], [0], 256), "not float N x 2 x H x W"),
    "metadata: deep": (lambda: tiny_onnx({"bwcolor.spec": "[" * 60_000}), "metadata is damaged"),
    "metadata: huge": (lambda: tiny_onnx({"bwcolor.spec": "[" * 200_000}), "metadata is damaged"),
    "metadata: empty": (lambda: tiny_onnx({"bwcolor.spec": ""}), "metadata is damaged"),
    "metadata: a size of a million": (lambda: absurd(network_size=2**20), "must be in 1..4096"),
    "metadata: escapes": (lambda: absurd(input_kind="\x1b[2J\u202eluma"), "is not known"),
    "metadata: path": (lambda: absurd(precision="../../int8"), "is not known"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_get_a_sentence_and_nothing_is_written(
    name: str, photos: Path, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, sentence = HOSTILE[name]
    monkeypatch.chdir(tmp_path)
    Path("m.onnx").write_bytes(make())
    Path("weights.bin").write_bytes(bytes(72))
    before = sorted(tmp_path.iterdir())
    kind = () if name.startswith(("metadata", "external")) else ZHANG
    for arguments in (("models", "add", "m.onnx", *kind), (photos, "--out", "out", "--model", "m.onnx")):
        result = run(*arguments)
        assert result.exit_code == 4, result.stderr
        lines = result.stderr.splitlines()
        assert len(lines) == 1
        assert len(lines[0]) < 500
        assert "\x1b" not in result.stderr + result.stdout
        assert "\u202e" not in result.stderr + result.stdout
        assert sorted(tmp_path.iterdir()) == before
        if arguments[0] == "models" or name.startswith("metadata"):
            assert sentence in lines[0]
    assert not folder.exists()


def test_the_contract_of_another_file_is_refused(photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "zhang.onnx"
    path.write_bytes(zhang_onnx())
    assert run("models", "add", path, *ZHANG).exit_code == 0
    path.write_bytes(zhang_onnx((10, 10)))
    result = run(photos, "--out", tmp_path / "out", "--model", path)
    assert result.exit_code == 4
    assert "written for another file" in result.stderr
    assert not (tmp_path / "out").exists()


def test_what_files_say_of_themselves_is_printed_as_data(tmp_path: Path) -> None:
    evil = "\x1b]0;pwned\x07\x1b[31m\u202e\nfake line"
    model = onnx.load_from_string(absurd(name=evil, licence=evil, training_data=evil, recipe=evil))
    model.producer_name = evil
    model.graph.input[0].name = model.graph.node[0].input[0] = evil
    path = tmp_path / "evil.onnx"
    path.write_bytes(model.SerializeToString())
    assert run("models", "add", path).exit_code == 0
    results = [run(*arguments) for arguments in (
        ("models",), ("models", "info", "evil"), ("models", "info", path), ("models", "verify", "evil"),
        ("models", "remove", evil),
    )]  # fmt: skip
    assert [result.exit_code for result in results] == [0, 0, 0, 0, 4]
    for result in results:
        text = result.stdout + result.stderr
        assert not set(text) & {"\x1b", "\x07", "\u202e"}
        assert not any(line.startswith("fake line") for line in text.splitlines())


def test_a_zip_that_torch_wrote_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.onnx", "w") as archive:
        archive.writestr("archive/data.pkl", checkpoint())
    result = run("models", "info", tmp_path / "model.onnx")
    assert result.exit_code == 4
    assert "perhaps a PyTorch checkpoint: turn it into a model with `bwcolor export`" in result.stderr


def test_a_contract_that_can_not_be_written_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a model on a read-only disk: the copy has its contract."""
    if os.geteuid() == 0:
        monkeypatch.setattr("bwcolor.inference.registry.contract_path", _elsewhere("/proc/no"))
    (tmp_path / "theirs").mkdir()
    path = tmp_path / "theirs" / "zhang.onnx"
    path.write_bytes(zhang_onnx())
    (tmp_path / "theirs").chmod(0o555)
    try:
        result = run("models", "add", path, *ZHANG)
    finally:
        (tmp_path / "theirs").chmod(0o755)
    assert result.exit_code == 0, result.stderr
    assert "note: only the copy has its contract" in result.stdout
    assert run("models", "verify", "zhang").exit_code == 0


def _elsewhere(folder: str) -> Callable[[Path], Path]:
    """contract_path for root, whom no folder refuses: files of the folder `theirs` get theirs where none can be."""

    def contract_path(model: Path) -> Path:
        return Path(folder, "x.json") if model.parent.name == "theirs" else model.with_name(f"{model.name}.json")

    return contract_path


def test_as_a_subprocess(tmp_path: Path) -> None:
    def bwcolor(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "bwcolor", "models", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    (tmp_path / "zhang.onnx").write_bytes(zhang_onnx())
    assert bwcolor("add", tmp_path / "zhang.onnx", *ZHANG).returncode == 0
    assert "zhang" in bwcolor().stdout
    result = bwcolor("info", tmp_path / "nowhere.onnx")
    assert (result.returncode, result.stdout) == (4, "")
    assert "neither a file nor one of the bundled models (default) or of those that you added (zhang)" in result.stderr
    assert "Traceback" not in result.stderr
    assert bwcolor("remove").returncode == 2
