"""Hostile names and places from end to end: nothing raw is shown, every photo is told of, inputs stay as they are."""

import json
import os
import pty
import re
import shutil
import socket
import subprocess
import sys
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from batch.processes import LONG, TROUBLED, Ended, end_of, files, leftovers, photo, photos, run, started, states, until
from typer.testing import CliRunner

from bwcolor.cli.app import app

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names and places as Linux has them")

NAMES = [
    os.fsdecode(name)
    for name in (
        "new\nline.png", "esc\x1b[2J\x1b[31m.png", "bidi\u202egnp.exe.png", b"\xe9t\xe9 1931.png", "é" * 125 + "1.png",
        "-rf.png", "--overwrite.png", "[red]mark[bold].png", " lead.png", "trail .png", "CON.png", "=cmd|' '!A0.png",
        "line\u2028sep.png", "tab\t.png", "%s%n.png", "$(touch x).png", "a..png", "~root.png", "del\x7f.png",
        "c1\x9b31m.png", "zero\u200bwidth.png", "back\\slash.png", "'quote\".png", "*.png", "cr\rnothing failed.png",
    )
]  # fmt: skip


def clean(text: str) -> bool:
    """Whether a terminal shows the text as it is, line by line."""
    return not any(unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for char in text.replace("\n", ""))


def report(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "bwcolor-report.jsonl").read_text(encoding="ascii").splitlines()]


def told(out: Path) -> dict[str, str]:
    """How each photo ended, by the path below the folder that the report calls the input; each of them just once."""
    *records, sums = report(out)
    found = {str(record["source"]): str(record["state"]) for record in records}
    assert len(found) == len(records)
    counts = [sum(state == wanted for state in found.values()) for wanted in ("done", "skipped")]
    assert counts == [sums["done"], sums["skipped"]]
    return {os.path.relpath(path, str(sums["input"])): state for path, state in found.items()}


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Photos with hostile names, in a folder with such a name too, and as many that can't be read."""
    folder = tmp_path / "photos"
    for name in NAMES:
        photo(folder / name)
        photo(folder / f"sub {name[:60]}" / "a.png")
        (folder / "bad").mkdir(exist_ok=True)
        (folder / "bad" / name).write_bytes(b"no photo")
    return folder


def test_hostile_names(hostile: Path, tiny_model: Path, tmp_path: Path) -> None:
    before, out = states(hostile), tmp_path / "out"
    ended = run(hostile, "--out", out, "--model", tiny_model, "-v")
    assert ended.code == 1
    assert clean(ended.err)
    assert len(ended.err.splitlines()) < 3 * len(NAMES) + 6, "a name began a line of its own"
    assert ended.err.count("failed: bad/") == len(NAMES)
    assert f"{2 * len(NAMES)} colorized, {len(NAMES)} failed" in ended.err
    assert states(hostile) == before
    wanted = set(NAMES) | {f"sub {name[:60]}/a.png" for name in NAMES}
    assert set(files(out)) == wanted
    assert list(told(out).values()).count("failed") == len(NAMES)
    assert set(told(out)) == {*wanted, *(f"bad/{name}" for name in NAMES)}
    again = run(hostile, "--out", out, "--model", tiny_model, "--progress", "json")
    assert again.code == 1
    assert clean(again.out)
    assert clean(again.err)
    assert {json.loads(line).get("state") for line in again.out.splitlines()} == {"skipped", "failed", None}


def test_hostile_names_in_a_plan(hostile: Path, tmp_path: Path) -> None:
    ended = run(hostile, "--out", tmp_path / "out", "--dry-run")
    assert ended.code == 0
    assert clean(ended.out)
    assert clean(ended.err)
    assert ended.out.count(" -> ") == 3 * len(NAMES)
    assert not (tmp_path / "out").exists()


def test_hostile_names_on_a_terminal(hostile: Path, tiny_model: Path, tmp_path: Path) -> None:
    """With the bar, whose own control characters are the only ones."""
    master, terminal = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "bwcolor",
        str(hostile),
        "--out",
        str(tmp_path / "out"),
        "--model",
        str(tiny_model),
        "-v",
    ]
    seen = b""
    with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        try:
            while part := os.read(master, 65536):
                seen += part
        except OSError:  # the end, as Linux tells it
            pass
        assert process.wait(LONG) == 1
    os.close(master)
    rest = re.sub(r"\x1b\[(\?25[lh]|2K|1?A|[0-9;]*m|\d*[ABG])|\r", "", seen.decode("utf-8"))
    assert clean(rest), "something that is not rich's"
    for raw in (b"\x1b[2J\x1b[31m.png", b"\r\nline.png", b"\rnothing failed", "\u202e".encode(), b"\xe9t\xe9"):
        assert raw not in seen
    assert "[red]mark[bold].png" in rest


@pytest.mark.parametrize("name", ["--overwrite.png", "new\nline \x1b[2J.png", b"\xe9.png"])
def test_a_hostile_name_as_an_argument(name: str | bytes, tiny_model: Path, tmp_path: Path) -> None:
    source = photo(tmp_path / os.fsdecode(name))
    begun = ("--model", str(tiny_model), "--")
    command = [sys.executable, "-m", "bwcolor", *begun, source.name]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=LONG)
    assert ended.returncode == 0, ended.stderr
    assert clean(ended.stderr.decode())
    assert len(list(tmp_path.glob("*_colored.png"))) == 1
    missing = subprocess.run([*command[:-1], b"no" + os.fsencode(name)], cwd=tmp_path, capture_output=True, check=False)
    assert missing.returncode == 5
    assert clean(missing.stderr.decode())


def test_what_is_no_file_is_not_opened(tiny_model: Path, tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "photos", tmp_path / "elsewhere"
    photo(folder / "good.png")
    photo(elsewhere / "secret.png")
    (folder / "link.png").symlink_to(elsewhere / "secret.png")
    (folder / "dangling.png").symlink_to(elsewhere / "nothing.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "folder").symlink_to(elsewhere)
    (folder / "loop").symlink_to(folder)
    (folder / "self.png").symlink_to("self.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket.png"))
        before = states(folder)
        ended = run(folder, "--out", tmp_path / "out", "--model", tiny_model, "--timeout", 5)
    assert ended.code == 0, ended.err
    assert list(files(tmp_path / "out")) == ["good.png"]
    left = {line.split(": ")[1] for line in ended.err.splitlines() if line.startswith("left out: ")}
    assert left == {
        "link.png", "dangling.png", "zero.png", "folder", "loop", "self.png", "pipe.png", "socket.png"
    }  # fmt: skip
    assert states(folder) == before
    for name in ("pipe.png", "self.png"):
        assert run(folder / name, "--model", tiny_model).code == 5
    assert not list(folder.glob("*_colored*"))


def test_what_becomes_a_pipe_after_the_walk(tiny_model: Path, tmp_path: Path) -> None:
    """Or a link, a folder, nothing at all: one photo each, and nothing hangs."""
    folder, out = tmp_path / "photos", tmp_path / "out"
    photos(folder, 4, "nap")
    for name in ("gone.png", "changes.png", "folder.png", "pipe.png", "sub/inside.png", "sub/too.png", "z.png"):
        photo(folder / "later" / name)
    with started(folder, "--out", out, "--model", tiny_model, "--jobs", 1, "--timeout", 2, command=TROUBLED) as process:
        until(lambda: "000.png" in files(out))
        (folder / "later" / "gone.png").unlink()
        shutil.rmtree(folder / "later" / "sub")
        (folder / "later" / "folder.png").unlink()
        (folder / "later" / "folder.png").mkdir()
        (folder / "later" / "pipe.png").unlink()
        os.mkfifo(folder / "later" / "pipe.png")
        photo(folder / "later" / "changes.png", seed=3)
        ended = end_of(process)
    assert ended.code == 1
    assert sorted(files(out)) == ["000.png", "001.png", "002.png", "003.png", "later/changes.png", "later/z.png"]
    assert "failed: later/gone.png: can't be read (No such file or directory)" in ended.err
    assert "failed: later/folder.png: can't be read (Is a directory)" in ended.err
    assert "failed: later/pipe.png: took longer than 2 s (--timeout)" in ended.err
    assert ended.err.count("failed: later/sub/") == 2
    assert len(told(out)) == 11
    assert leftovers(out) == []


def test_a_photo_that_changes_while_it_is_read(tiny_model: Path, tmp_path: Path) -> None:
    source, out = photo(tmp_path / "photos" / "a.png", "nap"), tmp_path / "out"
    arguments = (source.parent, "--out", out, "--model", tiny_model)
    with started(*arguments, command=TROUBLED) as process:
        until((out / ".bwcolor" / "ledger.sqlite").exists)
        time.sleep(0.35)
        with source.open("ab") as file:
            file.write(b"more")
        ended = end_of(process)
    assert "failed: a.png: was changed while it was read; run the same command again" in ended.err
    assert (ended.code, files(out), leftovers(out)) == (1, {}, [])
    assert run(*arguments).code == 0
    assert list(files(out)) == ["a.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_without_permission(tiny_model: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    photo(folder / "good.png")
    photo(folder / "closed.png").chmod(0)
    photo(folder / "sub" / "a.png").parent.chmod(0)
    ended = run(folder, "--out", out, "--model", tiny_model)
    (folder / "sub").chmod(0o755)
    assert ended.code == 1
    assert "failed: closed.png: can't be read (Permission denied)" in ended.err
    assert "failed: sub: folder can't be listed (Permission denied)" in ended.err
    assert list(files(out)) == ["good.png"]
    out.chmod(0o555)
    refused = run(folder, "--out", out, "--model", tiny_model)
    out.chmod(0o755)
    assert refused.code == 5
    assert len(refused.err.splitlines()) == 1


def test_output_inside_input(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    photos(folder / "roll", 3)
    before = states(folder)
    for turn in range(2):
        ended = run(folder, "--out", folder / "roll" / "out", "--model", tiny_model)
        assert ended.code == 0
        assert ("3 colorized" if turn == 0 else "3 skipped (done already)") in ended.err
        assert ("left out: roll/out: is the output folder" in ended.err) == (turn > 0)
    assert sorted(files(folder / "roll" / "out")) == ["roll/000.png", "roll/001.png", "roll/002.png"]
    assert {path: seen for path, seen in states(folder).items() if path in before} == before


def test_input_inside_output(tiny_model: Path, tmp_path: Path) -> None:
    photos(tmp_path / "out" / "in", 3)
    photo(tmp_path / "out" / "in" / "sub" / "a.png")
    before = states(tmp_path / "out" / "in")
    for turn in range(2):
        ended = run(tmp_path / "out" / "in", "--out", tmp_path / "out", "--model", tiny_model)
        assert ended.code == 0
        assert ("4 colorized" if turn == 0 else "4 skipped (done already)") in ended.err
        assert states(tmp_path / "out" / "in") == before
    assert sorted(name for name in files(tmp_path / "out") if not name.startswith("in/")) == [
        "000.png", "001.png", "002.png", "sub/a.png"
    ]  # fmt: skip
    photo(tmp_path / "out" / "in" / "in" / "000.png", seed=9)
    refused = run(tmp_path / "out" / "in", "--out", tmp_path / "out", "--model", tiny_model)
    assert refused.code == 2
    assert "would replace one of your originals" in refused.err


@pytest.mark.parametrize(
    ("where", "to", "code"),
    [
        ("sub", "folder", 1), (".bwcolor", "folder", 5), (".bwcolor/lock", "file", 5),
        (".bwcolor/ledger.sqlite", "file", 5), ("bwcolor-report.jsonl", "file", 2), ("sub", "nowhere", 1),
    ],
)  # fmt: skip
def test_nothing_is_written_through_a_link_in_the_output(
    where: str, to: str, code: int, tiny_model: Path, tmp_path: Path
) -> None:
    photo(tmp_path / "photos" / "sub" / "a.png")
    photo(tmp_path / "photos" / "b.png")
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
    (elsewhere / "folder").mkdir(parents=True)
    (elsewhere / "file").write_bytes(b"precious")
    link = out / where
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere / to)
    before = states(elsewhere)
    ended = run(tmp_path / "photos", "--out", out, "--model", tiny_model)
    assert states(elsewhere) == before
    assert list((elsewhere / "folder").iterdir()) == []
    assert not (elsewhere / "nowhere").exists()
    assert ended.code == code
    assert "link" in ended.err or "is no file" in ended.err
    assert link.is_symlink()
    if to == "folder" and where == "sub":
        assert f"failed: sub/a.png: {link} is a link, and nothing is written through links" in ended.err
        assert list(files(out)) == ["b.png"]
        assert f"failed: {link} is a link" in run(tmp_path / "photos", "--out", out, "--dry-run").out
        (tmp_path / "linked").symlink_to(tmp_path / "real")
        (tmp_path / "real").mkdir()
        assert run(tmp_path / "photos", "--out", tmp_path / "linked", "--model", tiny_model).code == 0, "it was named"


def test_a_folder_of_the_output_that_becomes_a_link_during_the_run(tiny_model: Path, tmp_path: Path) -> None:
    """As when somebody moves it to another disk and leaves a link in its place."""
    folder, out, moved = tmp_path / "photos", tmp_path / "out", tmp_path / "moved"
    photo(folder / "a.png", "nap")
    for number in range(3):
        photo(folder / "sub" / f"{number}.png", "nap")
    with started(folder, "--out", out, "--model", tiny_model, "--jobs", 1, command=TROUBLED) as process:
        until(lambda: (out / "sub" / "0.png").exists())
        (out / "sub").rename(moved)
        (out / "sub").symlink_to(moved)
        ended = end_of(process)
    assert ended.code == 1
    assert f"{out / 'sub'} is a link, and nothing is written through links" in ended.err
    assert "0.png" in {path.name for path in moved.iterdir()}
    assert len(list(moved.iterdir())) < 3
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff"])
@pytest.mark.parametrize("option", ["--ledger", "--report"])
@pytest.mark.parametrize("name", ["b.jpg", "B.TIF", "c.psd", "d.png "])
def test_no_option_takes_a_photo_for_a_file_to_write(
    name: str, option: str, content: bytes, tiny_model: Path, tmp_path: Path
) -> None:
    photo(tmp_path / "photos" / "a.png")
    mine = tmp_path / "photos" / name
    mine.write_bytes(content)
    arguments = [tmp_path / "photos", "--out", tmp_path / "out", "--model", tiny_model, option, mine]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 2, result.stderr
    assert f"{option} {mine}: has the name of a photo" in result.stderr
    assert mine.read_bytes() == content


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own with 240 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    command = [mount or "false", "-t", "tmpfs", "-o", "size=240k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a disk")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def inodes(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_ino for path in folder.rglob("*.png")}


def refused(ended: Ended) -> None:
    assert ended.code == 5
    assert "Traceback" not in ended.err
    (sentence,) = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert "run the same command again" in sentence


def test_a_full_disk(small_disk: Path, tiny_model: Path, tmp_path: Path) -> None:
    photos(tmp_path / "photos", 60)
    run(tmp_path / "photos", "--out", tmp_path / "reference", "--model", tiny_model)
    wanted, out = files(tmp_path / "reference"), small_disk / "out"
    arguments = (tmp_path / "photos", "--out", out, "--model", tiny_model)
    ended = run(*arguments)
    refused(ended)
    assert "No space left on device" in ended.err or "full" in ended.err
    there, before = files(out), inodes(out)
    assert 0 < len(there) < 60
    assert there.items() <= wanted.items()
    assert leftovers(out) == []
    subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
    assert run(*arguments).code == 0
    assert files(out) == wanted
    assert before.items() <= inodes(out).items(), "an output was made anew"


def test_a_full_disk_under_the_ledger_alone(small_disk: Path, tiny_model: Path, tmp_path: Path) -> None:
    photos(tmp_path / "photos", 40)
    out, ballast = tmp_path / "out", small_disk / "ballast"
    arguments = (tmp_path / "photos", "--out", out, "--model", tiny_model, "--ledger", small_disk / "mine.sqlite")
    for room in (0, 120_000):  # none for the file itself; and some
        ballast.write_bytes(bytes(240 * 1024 - room))
        ended = run(*arguments)
        refused(ended)
        assert f"{small_disk / 'mine.sqlite'}: the ledger can't be written" in ended.err
        assert leftovers(out) == []
        ballast.unlink()
    before = inodes(out)
    assert 0 < len(before) < 40
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    assert run(*arguments).code == 0
    assert len(files(out)) == 40
    assert before.items() <= inodes(out).items(), "an output was made anew"


def test_a_disk_that_can_only_be_read(small_disk: Path, tiny_model: Path, tmp_path: Path) -> None:
    photos(tmp_path / "photos", 2)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    ended = run(tmp_path / "photos", "--out", small_disk / "out", "--model", tiny_model)
    assert ended.code == 5
    assert "Read-only file system" in ended.err
    assert len(ended.err.splitlines()) == 1


def test_a_disk_that_is_full_for_photos(tiny_model: Path, tmp_path: Path) -> None:
    """Where nobody may mount one: its answer alone."""
    photos(tmp_path / "photos", 6)
    arguments = (tmp_path / "photos", "--out", tmp_path / "out", "--model", tiny_model)
    ended = run(*arguments, command=TROUBLED, environment={"BWCOLOR_TROUBLE": "full"})
    refused(ended)
    assert (files(tmp_path / "out"), leftovers(tmp_path / "out")) == ({}, [])
    assert "0 colorized" in ended.err
    assert run(*arguments).code == 0
    assert len(files(tmp_path / "out")) == 6
