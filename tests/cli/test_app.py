"""The command line, in-process and as a subprocess."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer.main
from PIL import Image, ImageOps
from typer.testing import CliRunner, Result

from bwcolor import __version__
from bwcolor.cli.app import app
from bwcolor.cli.exit_codes import errors_as_sentences
from bwcolor.imaging.metrics import colourfulness
from bwcolor.system.packages import install_line


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two gray photos, one of them in a sub-folder."""
    folder = tmp_path / "photos"
    (folder / "Été 1931").mkdir(parents=True)
    ramp = np.add.outer(np.arange(40, dtype=np.uint8), np.arange(60, dtype=np.uint8) * 3)
    Image.fromarray(ramp).save(folder / "ramp.png")
    Image.fromarray(ramp.T.copy()).save(folder / "Été 1931" / "plage.jpg", quality=90)
    return folder


def test_a_folder_becomes_a_folder_of_colour_photos(photos: Path, tiny_model: Path, tmp_path: Path) -> None:
    result = run(photos, "--out", tmp_path / "out", "--model", tiny_model)
    assert result.exit_code == 0, result.stderr
    assert "2 colorized" in result.stderr
    assert result.stderr.splitlines()[0] == "Using model tiny 1 on the CPU."
    for name in ("ramp.png", "Été 1931/plage.jpg"):
        with Image.open(tmp_path / "out" / name) as image, Image.open(photos / name) as source:
            assert image.size == source.size
            assert colourfulness(np.asarray(image.convert("RGB"))) > 5


def test_what_only_engineers_want_to_know_comes_with_v(photos: Path, tiny_model: Path, tmp_path: Path) -> None:
    usual, verbose, quiet = (
        run(photos, "--out", tmp_path / f"out{words}", "--model", tiny_model, *words.split())
        for words in ("", "-v", "-q")
    )
    assert "SHA-256" not in usual.stderr
    assert verbose.stderr.startswith("Using model tiny 1 on the CPU.\nmodel tiny 1 fp32 (SHA-256 ")
    assert ", device cpu: " in verbose.stderr
    assert quiet.stderr == ""


def test_alone_it_says_in_five_lines_what_to_type() -> None:
    """It has done nothing, as a script must learn that gives it an unset "$FOLDER" without quotes."""
    result = run()
    assert (result.exit_code, result.stdout) == (2, "")
    lines = result.stderr.splitlines()
    assert len(lines) == 5
    for words in ("bwcolor PHOTOS ", "--out", "PHOTOS_colored", "bwcolor PHOTO.jpg ", "bwcolor --help "):
        assert words in result.stderr
    assert max(map(len, lines)) <= 100
    assert run("--help").exit_code == 0


def test_out_has_a_short_form_wherever_it_is() -> None:
    """Commands that write one thing take the same words for where it goes."""
    commands = vars(typer.main.get_command(app))["commands"]
    found = {
        name: option.opts for name, one in commands.items() for option in one.params if "-o" in option.opts
    }  # fmt: skip
    assert found == {name: ["--out", "-o"] for name in ("colorize", "train", "export", "average")}
    assert not [name for name, one in commands.items() for option in one.params if "--output" in option.opts]


def test_the_main_command_by_name_does_the_same(photos: Path, tiny_model: Path, tmp_path: Path) -> None:
    assert run("colorize", photos, "--out", tmp_path / "a", "--model", tiny_model).exit_code == 0
    assert run("--model", tiny_model, photos, "--out", tmp_path / "b").exit_code == 0
    assert (tmp_path / "a" / "ramp.png").read_bytes() == (tmp_path / "b" / "ramp.png").read_bytes()


def test_the_default_output_folder_lies_beside_the_input(photos: Path, tiny_model: Path) -> None:
    assert run(photos, "--model", tiny_model).exit_code == 0
    assert (photos.with_name("photos_colored") / "ramp.png").is_file()


def test_a_folder_called_like_a_command(
    photos: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos.rename(tmp_path / "train")
    monkeypatch.chdir(tmp_path)
    assert run("./train", "--model", tiny_model).exit_code == 0
    assert (tmp_path / "train_colored" / "ramp.png").is_file()


def test_a_second_run_skips_and_overwrite_does_not(photos: Path, tiny_model: Path, tmp_path: Path) -> None:
    arguments = (photos, "--out", tmp_path / "out", "--model", tiny_model)
    run(*arguments)
    before = (tmp_path / "out" / "ramp.png").stat().st_mtime_ns
    second = run(*arguments)
    assert second.exit_code == 0
    assert "0 colorized, 2 skipped" in second.stderr
    assert (tmp_path / "out" / "ramp.png").stat().st_mtime_ns == before
    assert "2 colorized" in run(*arguments, "--overwrite").stderr


def test_dry_run_lists_and_writes_nothing(photos: Path, tmp_path: Path) -> None:
    result = run(photos, "--out", tmp_path / "out", "--dry-run")
    assert result.exit_code == 0
    assert f"{photos / 'ramp.png'} -> {tmp_path / 'out' / 'ramp.png'}" in result.stdout
    assert not (tmp_path / "out").exists()


def test_a_bad_file_is_named_and_the_exit_code_says_so(photos: Path, tiny_model: Path, tmp_path: Path) -> None:
    (photos / "bad[red]\x1b[31m.jpg").write_bytes(b"\xff\xd8 no photo")
    result = run(photos, "--out", tmp_path / "out", "--model", tiny_model, "-q")
    assert result.exit_code == 1
    assert "failed: bad[red]\\u001b[31m.jpg:" in result.stderr
    assert "\x1b" not in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert (tmp_path / "out" / "ramp.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--strength", "2"], 2, "--strength must be between 0 and 1"),
        (["--device", "tpu"], 2, "--device tpu: choose auto, cpu, cuda or cuda:N"),
        (["--model", "nowhere"], 4, "neither a file nor one of the bundled models (default)"),
        (["--no-such-option"], 2, "No such option"),
    ],
)
def test_wrong_options_get_a_sentence(photos: Path, arguments: list[str], code: int, sentence: str) -> None:
    result = run(photos, *arguments)
    assert result.exit_code == code
    assert sentence in result.stderr
    assert not photos.with_name("photos_colored").exists()


def test_wrong_folders_get_a_sentence(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "nowhere").exit_code == 5
    assert run(tmp_path / "empty").exit_code == 6
    same = run(photos, "--out", photos)
    assert same.exit_code == 2
    assert "would replace your originals" in same.stderr


def test_cuda_without_a_gpu_is_refused(photos: Path, tiny_model: Path, tmp_path: Path) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a GPU")
    result = run(photos, "--out", tmp_path / "out", "--model", tiny_model, "--device", "cuda")
    assert result.exit_code == 3
    assert "no NVIDIA GPU was found" in result.stderr
    assert not (tmp_path / "out").exists()


def test_eval_compares_with_gray(tmp_path: Path, tiny_model: Path) -> None:
    rng = np.random.default_rng(1)
    for number in range(3):
        pixels = np.clip(rng.normal((150, 120, 80), 20, (48, 64, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    (tmp_path / "bad.png").write_bytes(b"no photo")
    result = run("eval", tmp_path, "--model", tiny_model, "--size", "32", "--worst", "1", "--protocol", "crop")
    assert result.exit_code == 1
    assert "failed: " in result.stderr
    lines = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line}
    assert "centre crop to a square, area resize to 32 px" in result.stdout
    assert float(lines["model"][1]) > float(lines["gray"][1]) + 2, "a warm tint is nearer to warm photos than gray"
    assert float(lines["gray"][6]) == 0
    assert float(lines["gray"][3]) > float(lines["model"][3])
    assert result.stdout.splitlines()[-1].startswith(str(tmp_path))


def test_training_commands_name_the_missing_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("bwcolor.cli.train.find_spec", lambda name: None)
    commands = (["train", tmp_path], ["export", tmp_path / "model.pt"], ["average", "a.pt", "b.pt", "--out", "c.pt"])
    for command in commands:
        result = run(*command)
        assert result.exit_code == 3
        assert "needs torch, torchvision, " in result.stderr
        assert install_line("train") in result.stderr


def test_interrupt_says_how_to_go_on(photos: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bwcolor.batch.supervisor.Supervisor.colorize", interrupted)
    result = run(photos, "--model", tiny_model)
    assert result.exit_code == 130
    assert "run the same command again" in result.stderr


def test_as_a_subprocess(photos: Path, tiny_model: Path, tmp_path: Path) -> None:
    def bwcolor(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "bwcolor", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert bwcolor("--version").stdout == f"bwcolor {__version__}\n"
    assert "--strength" in bwcolor("--help").stdout
    (photos / "bad.jpg").write_bytes(b"")
    result = bwcolor(photos, "--out", tmp_path / "out", "--model", tiny_model)
    assert result.returncode == 1
    assert result.stdout == ""
    assert "failed: bad.jpg: the file is empty" in result.stderr
    assert "Traceback" not in result.stderr


def test_examples_with_the_bundled_model(repository: Path, tmp_path: Path) -> None:
    examples = tmp_path / "photos"
    shutil.copytree(repository / "examples" / "photos", examples)
    files = sorted(path for path in examples.rglob("*") if path.is_file())
    before = [(path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_mode) for path in files]
    result = run(examples, "--out", tmp_path / "out", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert [(path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_mode) for path in files] == before
    measured = []
    for path in files:
        with Image.open(tmp_path / "out" / path.relative_to(examples)) as output, Image.open(path) as source:
            assert output.size == source.size
            assert output.format == source.format
            measured.append(colourfulness(np.asarray(ImageOps.exif_transpose(output).convert("RGB"))))
    assert len(measured) == 7
    assert min(measured) > 4
    assert np.mean(measured) > 12


def test_contradicting_training_options_are_refused(tmp_path: Path) -> None:
    result = run("train", tmp_path, "--out", tmp_path / "run", "--resume", "--set", "steps=5")
    assert result.exit_code == 2
    assert "leave out --set" in result.stderr
    (tmp_path / "model.pt").write_bytes(b"weights")
    result = run("export", tmp_path / "model.pt", "-o", tmp_path / "model.pt", "--overwrite")
    assert result.exit_code == 2
    assert (tmp_path / "model.pt").read_bytes() == b"weights"


def test_what_is_passed_over_is_named_and_counted(photos: Path, tiny_model: Path, tmp_path: Path) -> None:
    (photos / "old.psd").write_bytes(b"")
    (photos / "link").symlink_to(tmp_path)
    result = run(photos, "--out", tmp_path / "out", "--model", tiny_model)
    assert result.exit_code == 0
    assert (
        "left out: old.psd: is an image editor's own file, which can't be read; export it as TIFF or PNG"
        in result.stderr
    )
    assert "left out: link: is a link" in result.stderr
    assert "2 colorized, 2 left out" in result.stderr


def test_a_single_photo_is_named_by_its_name(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "zero.jpg").write_bytes(b"")
    result = run(tmp_path / "zero.jpg", "--model", tiny_model)
    assert result.exit_code == 1
    assert "failed: zero.jpg: the file is empty" in result.stderr
    assert "1 failed in " in result.stderr
    assert "Nothing was written." in result.stderr
    assert "zero_colored.jpg" not in result.stderr
    Image.new("L", (40, 30), 90).save(tmp_path / "plain.jpg")
    result = run(tmp_path / "plain.jpg", "--model", tiny_model)
    assert f"Output: {tmp_path / 'plain_colored.jpg'}" in result.stderr


def test_an_empty_argument_is_not_the_current_folder(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    for arguments in ([""], ["", "--out", "x"], ["colorize", ""], [".", "--out", ""]):
        result = run(*arguments)
        assert result.exit_code == 2
        assert "an argument is empty" in result.stderr
    assert not photos.with_name("photos_colored").exists()


def test_photos_that_are_left_alone_are_counted(photos: Path, tiny_model: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((160, 120), 2).save(photos / "in_colour.png")
    result = run(photos, "--out", tmp_path / "out", "--model", tiny_model)
    assert result.exit_code == 0
    assert "1 skipped (in color already)" in result.stderr
    assert "1 photo is in color already and was left alone. -v shows which, and so does" in result.stderr
    assert "in_colour.png" not in result.stderr
    assert "skipped: in_colour.png" in run(photos, "--out", tmp_path / "v", "--model", tiny_model, "-v").stderr
    assert "in_colour.png" not in run(photos, "--out", tmp_path / "q", "--model", tiny_model, "-q").stderr


@pytest.mark.skipif(os.name == "nt", reason="the current folder can't be deleted there")
@pytest.mark.parametrize(
    "arguments",
    [
        [".", "--out", "{out}"], ["{photos}", "--out", "out"], ["{photos}", "--out", "{out}", "--report", "r.csv"],
        ["{photos}", "--out", "{out}", "--ledger", "l.sqlite"], ["eval", "."], ["train", "."], ["export", "a.pt"],
        ["average", "a.pt", "b.pt", "--out", "c.pt"], ["models", "add", "a.onnx", "--kind", "l-to-ab"],
    ],
    ids=lambda arguments: " ".join(arguments),
)  # fmt: skip
def test_a_current_folder_that_was_deleted_is_a_sentence(
    arguments: list[str], photos: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    model = ["--model", str(tiny_model)] if "--out" in arguments and "average" not in arguments else []
    places = {"out": str(tmp_path / "out"), "photos": str(photos)}
    result = CliRunner().invoke(app, [argument.format(**places) for argument in arguments] + model)
    assert result.exit_code == 5, result.exception
    assert result.stderr.splitlines()[-1] == (
        "error: the folder that you are in no longer exists. Change to another one and run the command again."
    )


@pytest.mark.skipif(os.name == "nt", reason="the current folder can't be deleted there")
def test_full_paths_need_no_current_folder(
    photos: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    result = CliRunner().invoke(app, [str(photos), "--out", str(tmp_path / "out"), "--model", str(tiny_model)])
    assert result.exit_code == 0, result.stderr


def test_a_missing_file_of_ours_is_still_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError), errors_as_sentences():
        raise FileNotFoundError
