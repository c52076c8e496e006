"""The command `bwcolor verify`: what it says of files and folders, and its exit codes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from batch.test_color_input import COLOURS, SEPIA, pages
from photo.pictures import gray, png, saved, scene, tiff
from PIL import Image
from typer.testing import CliRunner, Result

from bwcolor.cli.app import app

GRAY = scene(64, 80)


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Gray photos of several kinds, one of them in a sub-folder, one written in another format."""
    folder = tmp_path / "photos"
    (folder / "Été").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(saved(gray(GRAY), "JPEG", dpi=(300, 300)))
    (folder / "b.png").write_bytes(png(GRAY.astype(np.uint16) * 257, 0))
    (folder / "Été" / "c.tif").write_bytes(tiff(GRAY, resolution=(300, 300)))
    (folder / "Été" / "scan.gif").write_bytes(saved(gray(GRAY), "GIF"))
    (folder / "sepia.webp").write_bytes(saved(Image.fromarray(SEPIA), "WEBP", lossless=True))
    return folder


@pytest.fixture
def out(photos: Path, tmp_path: Path, tiny_model: Path) -> Path:
    assert run(photos, "--out", tmp_path / "out", "--model", tiny_model).exit_code == 0
    return tmp_path / "out"


def test_an_honest_folder(photos: Path, out: Path) -> None:
    result = run("verify", out, photos)
    assert result.exit_code == 0, result.stdout
    assert result.stdout.endswith("5 of 5 passed\n")
    assert f"PASS {out / 'Été' / 'scan.gif.png'}" in result.stdout
    assert "     brightness PASS the stored luma is identical to the original's, bit for bit" in result.stdout
    assert "     file time  -    the original's" in result.stdout
    assert run("verify", out, photos, "-q").stdout == "5 of 5 passed\n"


def test_a_single_photo(photos: Path, out: Path) -> None:
    for original in (photos / "a.jpg", photos):
        result = run("verify", out / "a.jpg", original)
        assert result.exit_code == 0, result.stdout
        assert "1 of 1 passed" in result.stdout
    assert run("verify", out / "a.jpg", photos / "Été" / "c.tif").exit_code == 1


def test_without_originals_only_the_label_is_read(out: Path) -> None:
    result = run("verify", out)
    assert result.exit_code == 0, result.stdout
    assert result.stdout.count("not compared; to compare, name the original") == 10
    assert "label      PASS bwcolor" in result.stdout


def test_what_is_wrong_is_named(photos: Path, out: Path) -> None:
    (out / "a.jpg").write_bytes(saved(Image.open(out / "a.jpg"), "JPEG"))
    (out / "b.png").write_bytes((out / "b.png").read_bytes()[:900])
    result = run("verify", out, photos, "-q")
    assert result.exit_code == 1
    assert f"FAIL {out / 'a.jpg'}" in result.stdout
    assert f"FAIL {out / 'b.png'}: " in result.stdout
    assert "     label      FAIL no label of bwcolor in its XMP" in result.stdout
    assert "resolution (DPI)" in result.stdout
    assert "sepia" not in result.stdout
    assert result.stdout.endswith("3 of 5 passed\n")


def test_outputs_made_without_a_label(photos: Path, tmp_path: Path, tiny_model: Path) -> None:
    plain = tmp_path / "plain"
    assert run(photos, "--out", plain, "--model", tiny_model, "--label", "none").exit_code == 0
    assert run("verify", plain, photos).exit_code == 1
    result = run("verify", plain, photos, "--label", "none")
    assert result.exit_code == 0, result.stdout
    assert "none is asked for" in result.stdout


def test_a_visible_mark_is_made_of_colour_alone(photos: Path, tmp_path: Path, tiny_model: Path) -> None:
    marked = tmp_path / "marked"
    assert run(photos, "--out", marked, "--model", tiny_model, "--label", "visible").exit_code == 0
    result = run("verify", marked, photos, "--label", "xmp")
    assert result.exit_code == 0, result.stdout


def test_a_visible_mark_is_not_said_to_have_been_looked_for(photos: Path, out: Path) -> None:
    result = run("verify", out, photos, "--label", "visible")
    assert result.exit_code == 2
    assert "a visible mark can't be verified" in result.stderr


def test_an_output_without_its_original(photos: Path, out: Path) -> None:
    (photos / "a.jpg").unlink()
    (photos / "Été" / "scan.gif").unlink()
    result = run("verify", out, photos)
    assert result.exit_code == 1
    for name in ("a.jpg", "Été/scan.gif.png"):
        assert f"FAIL {out / name}: no original for it in {photos}" in result.stdout
    assert "3 of 5 passed" in result.stdout


def test_originals_without_an_output_are_at_fault_unless_they_are_in_colour(photos: Path, out: Path) -> None:
    (photos / "new.png").write_bytes(saved(gray(GRAY), "PNG"))
    (photos / "Été" / "broken.jpg").write_bytes(b"\xff\xd8 no photo")
    (photos / "mixed.tif").write_bytes(pages(COLOURS, GRAY))
    (photos / "colour.png").write_bytes(saved(Image.fromarray(COLOURS), "PNG"))
    (photos / "colours.tif").write_bytes(pages(COLOURS, COLOURS))
    result = run("verify", out, photos)
    assert result.exit_code == 1
    assert f"FAIL {photos / 'new.png'}: has no output\n" in result.stdout
    assert f"FAIL {photos / 'Été' / 'broken.jpg'}: has no output (" in result.stdout
    assert f"FAIL {photos / 'mixed.tif'}: has no output\n" in result.stdout
    assert f"-    {photos / 'colour.png'}: has no output; it is already in color" in result.stdout
    assert "3 originals have no output\n" in result.stdout
    assert "2 originals have no output and are in color\n" in result.stdout
    for name in ("new.png", "Été/broken.jpg", "mixed.tif"):
        (photos / name).unlink()
    assert run("verify", out, photos).exit_code == 0
    assert run("verify", out, photos, "-q").stdout == "5 of 5 passed\n"
    (photos / "colours.tif").unlink()
    assert "1 original has no output and is in color\n" in run("verify", out, photos).stdout


def test_copies_of_colour_photos(photos: Path, tmp_path: Path, tiny_model: Path) -> None:
    (photos / "colour.gif").write_bytes(saved(Image.fromarray(COLOURS), "GIF"))
    made = tmp_path / "made"
    assert run(photos, "--out", made, "--model", tiny_model, "--color-input", "copy").exit_code == 0
    result = run("verify", made, photos)
    assert result.exit_code == 0, result.stdout
    assert "     copy       PASS copied unchanged, byte for byte" in result.stdout


@pytest.mark.parametrize("form", ["jpeg", "png", "tiff", "webp", "avif", "bmp"])
def test_other_formats(form: str, photos: Path, tmp_path: Path, tiny_model: Path) -> None:
    made = tmp_path / "made"
    assert run(photos, "--out", made, "--model", tiny_model, "--format", form, "--depth", "8").exit_code == 0
    result = run("verify", made, photos, "-q")
    if form == "bmp":  # has no place for the TIFF's tags
        assert result.exit_code == 1
        assert "4 of 5 passed" in result.stdout
        assert "metadata   FAIL differs or is missing: EXIF" in result.stdout
    else:
        assert result.exit_code == 0, result.stdout


def test_originals_of_another_ending_are_found_without_a_ledger(photos: Path, tmp_path: Path, tiny_model: Path) -> None:
    made = tmp_path / "made"
    run(photos, "--out", made, "--model", tiny_model, "--format", "png", "--depth", "8")
    shutil.rmtree(made / ".bwcolor")
    result = run("verify", made, photos, "-q")
    assert result.exit_code == 0, result.stdout


def test_links_in_the_output_folder_are_not_verified(photos: Path, out: Path) -> None:
    (out / "link.png").symlink_to(out / "b.png")
    result = run("verify", out, photos)
    assert result.exit_code == 1
    assert f"FAIL {out / 'link.png'}: is a link" in result.stdout
    assert "5 of 6 passed" in result.stdout


def test_usage(photos: Path, out: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("no photo")
    assert run("verify", tmp_path / "nowhere").exit_code == 5
    assert run("verify", out, tmp_path / "nowhere").exit_code == 5
    assert run("verify", tmp_path / "empty").exit_code == 6
    assert run("verify", out, tmp_path / "empty").exit_code in (1, 6)
    assert run("verify", tmp_path / "text.txt").exit_code == 6
    assert run("verify").exit_code == 2
    assert run("verify", out, "--label", "maybe").exit_code == 2
    for arguments in ((out, out), (out, photos / "a.jpg"), (out / "a.jpg", out / "a.jpg")):
        result = run("verify", *arguments)
        assert result.exit_code == 2, result.stdout
        assert result.stderr.startswith("error: ")


def test_an_output_is_not_its_own_original(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "cat.png").write_bytes(saved(gray(GRAY), "PNG"))
    assert run(tmp_path / "cat.png", "--model", tiny_model).exit_code == 0
    output = tmp_path / "cat_colored.png"
    assert run("verify", output, tmp_path / "cat.png").exit_code == 0
    result = run("verify", output, tmp_path)
    assert result.exit_code == 1
    assert "no original for it in" in result.stdout


def test_names_are_data(tmp_path: Path) -> None:
    (tmp_path / "x\x1b[31m\u202e.png").write_bytes(b"no photo")
    result = run("verify", tmp_path)
    assert result.exit_code == 1
    assert "x\\u001b[31m\\u202e.png: not a picture that can be read" in result.stdout


def test_damaged_files_in_a_folder_end_in_sentences(photos: Path, out: Path) -> None:
    rng = np.random.default_rng(3)
    for path in [path for folder in (out, photos) for path in folder.rglob("*") if path.is_file()]:
        content = bytearray(path.read_bytes())
        for place in rng.integers(0, len(content), 20):
            content[place] = rng.integers(256)
        path.write_bytes(content)
    assert run("verify", out, photos).exit_code == 1


def test_as_a_subprocess(photos: Path, out: Path) -> None:
    (out / "a.jpg").write_bytes((out / "a.jpg").read_bytes()[:2000])
    command = [sys.executable, "-m", "bwcolor", "verify", str(out), os.path.relpath(photos)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "4 of 5 passed" in result.stdout


def test_a_relative_path_with_dots_finds_its_originals(
    photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos / "Été")
    result = run("verify", "../../out", "..")
    assert result.exit_code == 0, result.stdout
    assert "no output" not in result.stdout
