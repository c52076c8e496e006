"""A run that is killed at any moment and begun again ends as one that nobody disturbed (promise P4).

BWCOLOR_KILLS=20 pytest tests/batch/test_kills.py gives the figures of docs/reliability.md.
"""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from batch.processes import (
    FORMATS,
    LONG,
    TROUBLED,
    alive,
    children,
    end_of,
    files,
    leftovers,
    mixed,
    photo,
    run,
    started,
    until,
)

from bwcolor.system.atomic import committed as committing
from bwcolor.system.atomic import remove_leftovers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux shows them")

KILLS = int(os.environ.get("BWCOLOR_KILLS", "8"))
PHOTOS = 200

Committed = dict[Path, tuple[int, int, int]]


def committed(out: Path) -> Committed:
    """Inode, change of the inode and size of each output, without those that are being named at this moment."""
    found = {}
    for place, folders, names in os.walk(out):
        folders[:] = [name for name in folders if name != ".bwcolor"]  # what is in there comes and goes
        for path in (Path(place, name) for name in names if name[0] not in ".b"):
            status = path.stat()
            if path.suffix != ".part" and status.st_nlink == 1:
                found[path] = (status.st_ino, status.st_ctime_ns, status.st_size)
    return found


def recorded(out: Path, copy: Path) -> dict[bytes, float]:
    """When each photo was done, as the ledger says; read from a copy, so that nothing is mended by reading."""
    shutil.rmtree(copy, ignore_errors=True)
    if not (out / ".bwcolor" / "ledger.sqlite").exists():
        return {}
    shutil.copytree(out / ".bwcolor", copy)
    with closing(sqlite3.connect(copy / "ledger.sqlite")) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master")]
        return dict(database.execute("SELECT target, at FROM photos")) if "photos" in tables else {}


def unchanged(before: dict[Path, tuple[int, int, int]], after: dict[Path, tuple[int, int, int]]) -> bool:
    return all(after.get(path) == seen for path, seen in before.items())


def wait_for_a_moment(out: Path, process: subprocess.Popen[bytes], chance: random.Random, first: bool) -> None:
    """Somewhere while a run begins, or around the naming of one of the next outputs; or the run has ended."""
    early = first and chance.random() < 0.3
    goal = 0 if early else len(committed(out)) + chance.randint(0, 3 * PHOTOS // (2 * KILLS))
    until(lambda: process.poll() is not None or len(committed(out)) >= goal)
    time.sleep(chance.random() * (1.5 if early else 0.02))


def test_kills_at_random_moments(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "photos", tmp_path / "out"
    mixed(source, PHOTOS)
    reference = run(source, "--out", tmp_path / "reference", "--model", tiny_model, "-q")
    assert (reference.code, reference.err) == (0, "")
    wanted = files(tmp_path / "reference")
    assert len(wanted) == PHOTOS

    chance = random.Random(7)
    seen: Committed = {}
    noted: dict[bytes, float] = {}
    kills = runs = 0
    while True:
        runs += 1
        with started(source, "--out", out, "--model", tiny_model) as process:
            for number in range(KILLS - kills):
                wait_for_a_moment(out, process, chance, first=number == 0)
                workers = children(process.pid)
                if process.poll() is not None:
                    break
                kills += 1
                victim = process.pid if kills % 2 == 0 or not workers else workers[0]
                os.kill(victim, signal.SIGKILL)
                if victim == process.pid:
                    process.wait(LONG)
                    until(lambda left=workers: not any(map(alive, left)), 5)  # type: ignore[misc]
                    break
            ended = end_of(process)
        now, at = committed(out), recorded(out, tmp_path / "copy")
        assert unchanged(seen, now), "an output was made anew"
        assert all(at.get(target) == when for target, when in noted.items()), "a photo was recorded twice"
        seen, noted = now, at
        if ended.code != -signal.SIGKILL:
            break
    assert ended.code == 0, ended.err
    assert kills == KILLS
    assert files(out) == wanted
    assert leftovers(out) == []
    assert len(noted) == PHOTOS

    last = run(source, "--out", out, "--model", tiny_model)
    assert f"0 colorized, {PHOTOS} skipped (done already)" in last.err
    assert committed(out) == seen
    with capsys.disabled():
        sys.stdout.write(
            f"\n{kills} kills in {runs} runs: torn 0, missing 0, different 0, made anew 0; last {ended.err}"
        )


@pytest.mark.parametrize("signals", [[], [signal.SIGSTOP]])
def test_a_killed_run_takes_its_worker_with_it(signals: list[int], tiny_model: Path, tmp_path: Path) -> None:
    """Even one in which nothing else can run, and a stopped one."""
    source, ledger = (
        photo(tmp_path / "photos" / "a.png", "clutch").parent,
        tmp_path / "out" / ".bwcolor" / "ledger.sqlite",
    )
    with started(source, "--out", tmp_path / "out", "--model", tiny_model, command=TROUBLED) as process:
        until(ledger.exists)
        (worker,) = children(process.pid)
        time.sleep(0.5)  # until it is at work
        for number in signals:
            os.kill(worker, number)
        process.kill()
        process.wait()
        until(lambda: not alive(worker), 5)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_run_killed_around_the_naming_of_an_output(moment: str, tiny_model: Path, tmp_path: Path) -> None:
    """A BMP has no label that would tell whose it is: only the intent in the ledger does."""
    source, out = tmp_path / "photos" / f"parent {moment}-name.bmp", tmp_path / "out"
    source.parent.mkdir()
    source.write_bytes(FORMATS["bmp"](0))
    arguments = (source.parent, "--out", out, "--model", tiny_model)
    killed = run(*arguments, command=TROUBLED, environment={"BWCOLOR_TROUBLE_FLAG": str(tmp_path / "flag")})
    assert killed.code == -signal.SIGKILL
    output = out / source.name
    assert output.exists() == (moment == "after")
    assert len(leftovers(out)) == 1
    before = output.stat().st_ino if moment == "after" else None
    again = run(*arguments)
    assert again.code == 0
    assert ("1 skipped (done already)" if moment == "after" else "1 colorized") in again.err
    assert list(files(out)) == [source.name]
    assert before in (None, output.stat().st_ino)


def test_unfinished_files_that_somebody_writes_stay(tmp_path: Path) -> None:
    """As in a folder that gets the outputs of two single photos at once."""
    (tmp_path / ".bwcolor-0123456789abcdef.part").write_bytes(b"half")
    with committing(tmp_path / "a.png", overwrite=False) as out:
        out.write(b"whole")
        assert remove_leftovers(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"whole"


def test_a_lock_and_unfinished_files_of_a_killed_run_are_in_nobodys_way(tiny_model: Path, tmp_path: Path) -> None:
    source, out = photo(tmp_path / "photos" / "sub" / "a.png", "sleep"), tmp_path / "out"
    arguments = (tmp_path / "photos", "--out", out, "--model", tiny_model)
    with started(*arguments, command=TROUBLED) as process:
        until((out / ".bwcolor" / "ledger.sqlite").exists)
        process.kill()
    (out / "sub").mkdir()
    (out / "sub" / ".bwcolor-0123456789abcdef.part").write_bytes(b"half")
    (out / "sub" / "mine.part").write_bytes(b"not ours")
    assert run(*arguments).code == 0
    assert sorted(files(out)) == ["sub/a.png", "sub/mine.part"]

    alone = source.with_name("alone.png")
    source.rename(alone)
    alone.with_name(".bwcolor-fedcba9876543210.part").write_bytes(b"half")
    assert run(alone, "--model", tiny_model).code == 0
    assert sorted(path.name for path in alone.parent.iterdir()) == ["alone.png", "alone_colored.png"]
