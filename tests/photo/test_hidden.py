"""Hidden, trash, and thumbnail folders: left alone with a count, taken when asked for."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from photo.pictures import gray, saved, scene
from typer.testing import CliRunner, Result

from bwcolor.batch.discovery import Choice, walk
from bwcolor.batch.plan import find_jobs
from bwcolor.cli.app import app
from bwcolor.errors import NoPhotosError
from bwcolor.photo.hidden import BACKUPS, SYSTEM_FOLDERS, Hidden, is_hidden

OF_A_NAS = ("@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", "roll1/@eaDir/01.jpg/SYNOPHOTO_THUMB_M.jpg", "#recycle/old.jpg")
OF_COMPUTERS = (
    ".Trash-1000/files/b.jpg", "$RECYCLE.BIN/S-1-5/c.jpg", ".thumbnails/normal/d.png", ".stversions/e~1.jpg",
    ".AppleDouble/f.jpg", "System Volume Information/g.jpg", "lost+found/h.jpg", "Thumbs/i.jpg", "__MACOSX/j.jpg",
)  # fmt: skip
HIDDEN = (*OF_A_NAS, *OF_COMPUTERS, ".hidden.jpg", "roll1/.raw.dng")
PLAIN = ("a.jpg", "roll1/01.jpg")
PICTURE = saved(gray(scene(24, 32)), "JPEG")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in (*PLAIN, *HIDDEN, ".DS_Store", "._a.jpg", "roll1/._01.jpg", ".bwcolor/x.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no picture" if name == ".DS_Store" else PICTURE)
    return tmp_path / "photos"


def names(photos: Path, **choice: object) -> set[str]:
    found = walk(photos, photos / "out", Choice(**choice))  # type: ignore[arg-type]
    return {path.relative_to(photos).as_posix() for path in found.photos}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_they_are_left_alone_and_counted(photos: Path) -> None:
    found = walk(photos, photos / "out")
    assert names(photos) == set(PLAIN)
    assert found.left_out == [], "no line each"
    assert (len(found.hidden.folders), found.hidden.photos, found.hidden.count) == (12, 2, 14)


def test_an_option_takes_all_of_them_but_what_is_no_photo(photos: Path) -> None:
    everything = {name for name in (*PLAIN, *HIDDEN) if name.endswith((".jpg", ".png"))}
    assert names(photos, hidden=True) == everything
    assert walk(photos, photos / "out", Choice(hidden=True)).hidden == Hidden()


@pytest.mark.parametrize("folder", ["@eaDir", ".thumbnails", "$RECYCLE.BIN", "Thumbs", ".Trash-1000/files"])
def test_a_folder_that_is_named_is_entered(folder: str, photos: Path) -> None:
    assert walk(photos / folder, photos / "out").photos, "as the input"
    inside = {name for name in HIDDEN if name.startswith(f"{folder}/")}
    top = folder.split("/")[0]
    assert names(photos, include=(top,)) >= inside, "by --include"
    assert names(photos, include=(f"{top}/*",)) == {name for name in HIDDEN if name.startswith(f"{top}/")}
    assert names(photos, listed=tuple(map(Path, inside))) == inside, "by --from-file"


def test_a_pattern_that_fits_everything_names_nothing(photos: Path) -> None:
    assert names(photos, include=("*",)) == set(PLAIN)
    assert names(photos, include=(".hidden.jpg",)) == {".hidden.jpg"}


def test_what_is_excluded_is_not_counted_a_second_time(photos: Path) -> None:
    found = walk(photos, photos / "out", Choice(exclude=("@eaDir", "#recycle", ".*")))
    assert sorted(found.hidden.folders) == sorted(
        ["$RECYCLE.BIN", "System Volume Information", "Thumbs", "__MACOSX", "lost+found"]
    )
    assert found.hidden.photos == 0


def test_a_hidden_folder_that_can_not_be_listed_is_no_failure(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`lost+found` and `System Volume Information` belong to the system."""
    listing = os.scandir

    def refuse(folder: Path) -> object:
        if Path(folder).name in ("lost+found", "System Volume Information"):
            raise PermissionError(13, "Permission denied")
        return listing(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert walk(photos, photos / "out").left_out == []
    assert len(walk(photos, photos / "out", Choice(hidden=True)).left_out) == 3, "two folders, and the raw file"


def test_an_output_folder_that_is_hidden_stays_the_output_folder(photos: Path) -> None:
    found = walk(photos, photos / ".thumbnails")
    assert [left.reason for left in found.left_out] == ["is the output folder"]
    assert ".thumbnails" not in found.hidden.folders


@pytest.mark.parametrize("name", sorted(SYSTEM_FOLDERS))
def test_known_folders_in_any_case_and_files_of_such_names_are_files(name: str, tmp_path: Path) -> None:
    for spelling in (name, name.upper(), name.title()):
        assert is_hidden(tmp_path / spelling, folder=True)
        assert not is_hidden(tmp_path / spelling, folder=False)


@pytest.mark.parametrize("name", ["eaDir", "Trash Heap 1931", "recycling", "thumb", "hidden", "a.thumbnails", "x.jpg"])
def test_neighbors_in_name_are_plain_folders(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    assert not is_hidden(tmp_path / name, folder=True)


@pytest.mark.skipif(sys.platform not in ("win32", "darwin"), reason="no attribute hides a file here")
def test_attributes_hide_too(tmp_path: Path) -> None:
    (tmp_path / "plain.jpg").write_bytes(PICTURE)
    assert not is_hidden(tmp_path / "plain.jpg", folder=False)
    if sys.platform == "win32":
        subprocess.run(["attrib", "+h", str(tmp_path / "plain.jpg")], check=True)
    if sys.platform == "darwin":
        os.chflags(tmp_path / "plain.jpg", stat.UF_HIDDEN)
    assert is_hidden(tmp_path / "plain.jpg", folder=False)


@pytest.mark.parametrize(
    ("hidden", "words"),
    [
        (Hidden((".git",)), "1 hidden, trash, or thumbnail folder (.git) left out"),
        (Hidden(("a", "b", "a", "c")), "4 hidden, trash, or thumbnail folders (a, b, c) left out"),
        (
            Hidden(tuple("abcd"), 1),
            "4 hidden, trash, or thumbnail folders (a, b, c, ...) and 1 hidden or backup photo left out",
        ),
        (Hidden((), 2), "2 hidden or backup photos left out"),
    ],
)  # fmt: skip
def test_the_sentence(hidden: Hidden, words: str) -> None:
    assert hidden.in_words() == f"{words}; --hidden takes them too"


def test_a_run_says_it_once_and_its_report_has_the_count(photos: Path, tmp_path: Path, tiny_model: Path) -> None:
    arguments = (photos, "--out", tmp_path / "out", "--model", tiny_model)
    folders = "12 hidden, trash, or thumbnail folders (#recycle, $RECYCLE.BIN, .AppleDouble, ...)"
    words = f"{folders} and 2 hidden or backup photos left out"
    assert words in run(*arguments, "--dry-run").stdout
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count(words) == 1
    assert "2 colorized" in result.stderr
    last = (tmp_path / "out" / "bwcolor-report.jsonl").read_text(encoding="ascii").splitlines()[-1]
    assert json.loads(last)["hidden"] == 14
    taken = run(*arguments, "--hidden")
    assert "left out; --hidden" not in taken.stderr
    assert (tmp_path / "out" / ".thumbnails" / "normal" / "d.png").is_file()


def test_verify_looks_at_all_outputs_and_asks_for_those_that_a_run_makes(
    photos: Path, tmp_path: Path, tiny_model: Path
) -> None:
    out = tmp_path / "out"
    run(photos, "--out", out, "--model", tiny_model)
    assert run("verify", out, photos).exit_code == 0
    asked = run("verify", out, photos, "--hidden")
    assert asked.exit_code == 1
    assert "13 originals have no output" in asked.stdout
    run(photos, "--out", out, "--model", tiny_model, "--hidden")
    assert "15 of 15 passed" in run("verify", out, photos).stdout


def test_a_folder_of_nothing_else_says_so(photos: Path, tmp_path: Path) -> None:
    for name in PLAIN:
        (photos / name).unlink()
    told = r"no photos found.* 12 hidden, trash.*; to take one of them, name it\.$"
    with pytest.raises(NoPhotosError, match=told):
        find_jobs(photos, tmp_path / "out")
    for command in ("", "eval"):
        result = run(*command.split(), photos)
        assert result.exit_code == NoPhotosError.exit_code
        assert re.search(told, result.stderr.strip()), "an advice that this command can follow"


@pytest.mark.parametrize("ending", BACKUPS)
def test_backups_beside_their_photos(ending: str, tmp_path: Path) -> None:
    """One without its photo may be all that is left."""
    for name in ("a.jpg", f"a.jpg{ending}", f"alone.jpg{ending}", f"a{ending}", f"notes.txt{ending}", "notes.txt"):
        (tmp_path / name).write_bytes(b"words" if name.startswith("notes") else PICTURE)
    found = walk(tmp_path, tmp_path / "out")
    assert found.hidden == Hidden(photos=1)
    assert names(tmp_path) == {"a.jpg", f"alone.jpg{ending}", f"a{ending}"}
    assert names(tmp_path, hidden=True) == {"a.jpg", f"a.jpg{ending}", f"alone.jpg{ending}", f"a{ending}"}
    assert f"a.jpg{ending}" in names(tmp_path, include=(f"a.jpg{ending}",)), "named by the user"
