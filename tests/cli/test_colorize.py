"""Runs over folders through the command line: what is done again and what is not, choices, names, reports."""

import contextlib
import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photo.pictures import FakeModel, flat, gray, saved, scene
from PIL import Image
from typer.testing import CliRunner, Result

from bwcolor.batch.ledger import Ledger
from bwcolor.batch.memory_budget import PixelBudget
from bwcolor.batch.plan import find_jobs
from bwcolor.batch.process_photo import colorize_photo
from bwcolor.cli.app import app
from bwcolor.options import COLOR_PATH, ColorizeOptions
from bwcolor.system.atomic import PLACEHOLDER

NAMES = ("a.png", "b.jpg", "roll1/01.jpg", "roll2/01.jpg", "roll2/small/01.jpg")
SOON = 30.0  # seconds in which what must happen has happened


def run(*arguments: object, **settings: Any) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], **settings)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for seed, name in enumerate(NAMES):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(saved(gray(scene(40, 60, seed)), {".png": "PNG", ".jpg": "JPEG"}[path.suffix]))
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def outputs(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Pictures by name: bytes, and the number that the disk gives a file, which changes when it is written anew."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_ino)
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".png", ".jpg")
    }


def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "bwcolor-report.jsonl").read_text(encoding="ascii").splitlines()]


def test_a_second_run_does_nothing_and_says_why(photos: Path, out: Path, tiny_model: Path) -> None:
    first = run(photos, "--out", out, "--model", tiny_model)
    assert first.exit_code == 0, first.stderr
    assert "5 colorized" in first.stderr
    before = outputs(out)
    assert set(before) == set(NAMES)
    second = run(photos, "--out", out, "--model", tiny_model)
    assert "0 colorized, 5 skipped (done already)" in second.stderr
    assert outputs(out) == before
    assert sorted(path.name for path in out.iterdir()) == [
        ".bwcolor", "a.png", "b.jpg", "bwcolor-report.jsonl", "roll1", "roll2",
    ]  # fmt: skip


def test_doubt_is_remembered(photos: Path, out: Path) -> None:
    """Also by a run that was killed and goes on: the photos to look at first are those of all runs."""
    large = photos / "large.png"
    large.write_bytes(saved(gray(scene(400, 500)), "PNG"))
    run(photos, "--out", out)
    (first,) = (record["doubt"] for record in records(out) if record.get("source") == str(large))
    assert first > 0
    run(photos, "--out", out)
    (again,) = (record for record in records(out) if record.get("source") == str(large))
    assert (again["state"], again["doubt"]) == ("skipped", first)


def test_changed_photos_are_made_anew_and_touched_ones_are_not(photos: Path, out: Path, tiny_model: Path) -> None:
    run(photos, "--out", out, "--model", tiny_model)
    before = outputs(out)
    (photos / "a.png").write_bytes(saved(gray(scene(40, 60, 9)), "PNG"))
    os.utime(photos / "b.jpg", ns=(1, 1))
    result = run(photos, "--out", out, "--model", tiny_model)
    assert "1 colorized, 4 skipped (done already)" in result.stderr
    after = outputs(out)
    assert {name for name in NAMES if after[name] != before[name]} == {"a.png"}


def by_output(out: Path) -> dict[str, dict[str, Any]]:
    """The report's lines of photos, by their outputs' names."""
    return {Path(line["output"]).name: line for line in records(out) if line["record"] == "photo"}


STORY = ("notes", "seconds", "doubt", "model", "model_sha256", "source_sha256", "output_sha256", "ended", "bytes")


def test_a_report_always_tells_the_whole_story_of_the_folder(
    photos: Path, out: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """Whatever a run does itself: nothing, one photo, or others from elsewhere."""
    shutil.rmtree(photos / "roll2")
    (photos / "c.gif").write_bytes(saved(gray(scene(40, 60)), "GIF"))
    (photos / "d.jpg").write_bytes(saved(gray(scene(40, 60)), "JPEG") + saved(gray(scene(30, 40)), "JPEG"))
    run(photos, "--out", out, "--model", tiny_model)
    first = by_output(out)
    assert len(first) == 5
    assert any(line["notes"] for line in first.values())
    assert all(line["this_run"] and line["model"] and line["seconds"] > 0 for line in first.values())
    more = tmp_path / "more"
    more.mkdir()
    (more / "z.png").write_bytes(saved(gray(scene(30, 30)), "PNG"))
    for arguments, worked in (
        ([photos], set()),
        ([photos, "--include", "*.png"], set()),
        ([photos, "--overwrite", "--include", "b.jpg"], {"b.jpg"}),
        ([more], {"z.png"}),
    ):
        ended = run(*arguments, "--out", out, "--model", tiny_model)
        assert ended.exit_code == 0, ended.stderr
        found = by_output(out)
        assert found.keys() == {*first, *worked}
        assert {name for name, line in found.items() if line["this_run"]} == worked
        for name in first.keys() - worked:
            assert {key: found[name][key] for key in STORY} == {key: first[name][key] for key in STORY}, name
        first |= found
    assert records(out)[-1]["done"] == 1, "the run's own record tells what this run did"
    assert len(list((out / ".bwcolor" / "reports").iterdir())) == 2, "one for each earlier run that did something"
    (out / "a.png").unlink()
    run(more, "--out", out, "--model", tiny_model)
    assert "a.png" not in by_output(out), "it is no output any more"


def test_a_run_that_fails_early_keeps_the_story(photos: Path, out: Path, tiny_model: Path) -> None:
    run(photos, "--out", out, "--model", tiny_model)
    (photos / "broken.png").write_bytes((photos / "a.png").read_bytes()[:300])
    ended = run(photos, "--out", out, "--model", tiny_model, "--include", "broken.png", "--progress", "json")
    assert ended.exit_code == 1
    streamed = [json.loads(line)["record"] for line in ended.stdout.splitlines()]
    assert streamed == ["photo", "run"], "a program that reads along hears of this run alone"
    assert sum(line["record"] == "photo" for line in records(out)) == len(NAMES) + 1


# Seconds since 1970: NTFS's zero, the ends of SQLite's and of ext4's range, and a year that no calendar has.
ODD_TIMES = (-11_644_473_600, -9_300_000_000, -1, 0, 9_300_000_000, 15_032_385_535, 2**40, 2**55)


def test_files_of_any_date_are_done_once(photos: Path, out: Path, tiny_model: Path) -> None:
    for number, seconds in enumerate(ODD_TIMES):
        path = photos / f"odd{number}.png"
        shutil.copy(photos / "a.png", path)
        with contextlib.suppress(OSError, OverflowError):  # no time that a disk could hold here
            os.utime(path, ns=(seconds * 10**9 + 5, seconds * 10**9 + 5))
    first = run(photos, "--out", out, "--model", tiny_model)
    assert first.exit_code == 0, first.stderr
    assert f"{len(NAMES) + len(ODD_TIMES)} colorized" in first.stderr
    for path in photos.glob("odd*.png"):
        assert (out / path.name).stat().st_mtime_ns == path.stat().st_mtime_ns, path
    again = run(photos, "--out", out, "--model", tiny_model)
    assert f"0 colorized, {len(NAMES) + len(ODD_TIMES)} skipped (done already)" in again.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take only names that are text")
def test_names_of_any_bytes_may_stand_in_sentences(photos: Path, out: Path, tiny_model: Path) -> None:
    name = os.fsdecode(b"\xff\n\xed\xa0\x80.png")
    (photos / name).write_bytes(saved(gray(scene(40, 60)), "PNG"))
    run(photos, "--out", out, "--model", tiny_model)
    shutil.move(photos, photos.with_name(os.fsdecode(b"moved\xfe")))
    moved = photos.with_name(os.fsdecode(b"moved\xfe"))
    (moved / name).write_bytes(saved(gray(scene(50, 60)), "PNG"))
    for _ in range(2):
        ended = run(moved, "--out", out, "--model", tiny_model)
        assert ended.exit_code == 1
        assert "was made from another photo" in ended.stderr
        assert "5 skipped (done already)" in ended.stderr


def test_other_settings_wait_for_redo_and_edits_for_overwrite(photos: Path, out: Path, tiny_model: Path) -> None:
    run(photos, "--out", out, "--model", tiny_model)
    Image.new("RGB", (60, 40), (200, 0, 0)).save(out / "a.png")
    before = outputs(out)
    arguments = (photos, "--out", out, "--model", tiny_model, "--strength", "0.5")
    kept = run(*arguments)
    assert "0 colorized" in kept.stderr
    assert "4 skipped (made with other settings; --redo stale makes them again)" in kept.stderr
    assert "skipped: a.png: its output was modified since it was written; --overwrite replaces it" in kept.stderr
    assert outputs(out) == before
    redone = run(*arguments, "--redo", "stale")
    assert "4 colorized, 1 skipped" in redone.stderr
    after = outputs(out)
    assert {name for name in NAMES if after[name] == before[name]} == {"a.png"}
    assert "5 colorized" in run(*arguments, "--overwrite").stderr
    assert outputs(out)["a.png"] != before["a.png"]


OTHER_COLORS = "made with another bwcolor version, which colors differently"


@pytest.mark.parametrize("earlier", ["{}", '{"color_path": 1}', '{"color_path": 1, "strength": 0.5}'])
def test_outputs_of_an_earlier_color_path_are_kept_until_redo(
    photos: Path, out: Path, tiny_model: Path, earlier: str
) -> None:
    """As a run of an earlier version left them: the first ones recorded no version at all."""
    run(photos, "--out", out, "--model", tiny_model)
    with closing(sqlite3.connect(out / ".bwcolor" / "ledger.sqlite")) as ledger, ledger:
        ledger.execute("UPDATE photos SET settings = ? WHERE CAST(target AS TEXT) <> 'a.png'", (earlier,))
    before = outputs(out)
    kept = run(photos, "--out", out, "--model", tiny_model)
    assert kept.exit_code == 0
    assert "0 colorized" in kept.stderr
    assert "1 skipped (done already)" in kept.stderr
    assert f"4 skipped ({OTHER_COLORS}; --redo stale makes them again)" in kept.stderr
    assert outputs(out) == before
    assert (
        "4 colorized, 1 skipped (done already)"
        in run(photos, "--out", out, "--model", tiny_model, "--redo", "stale").stderr
    )
    assert "5 skipped (done already)" in run(photos, "--out", out, "--model", tiny_model).stderr


def test_an_earlier_color_path_is_known_by_the_label_too(photos: Path, out: Path, tiny_model: Path) -> None:
    run(photos, "--out", out, "--model", tiny_model)
    shutil.rmtree(out / ".bwcolor")
    made = (out / "b.jpg").read_bytes()
    now = f"color path {COLOR_PATH}".encode()
    assert made.count(now) == 1
    (out / "b.jpg").write_bytes(made.replace(now, f"color path {COLOR_PATH - 1}".encode()))
    told = run(photos, "--out", out, "--model", tiny_model).stderr
    assert "4 skipped (done already, as its label says)" in told
    assert "1 skipped (made with other settings, as its label says; --overwrite replaces it)" in told


def test_tones_are_settings_like_others(photos: Path, out: Path, tiny_model: Path) -> None:
    run(photos, "--out", out, "--model", tiny_model)
    before = outputs(out)
    as_is = (photos, "--out", out, "--model", tiny_model, "--tones", "as-is")
    assert "5 skipped (made with other settings; --redo stale makes them again)" in run(*as_is).stderr
    assert outputs(out) == before
    assert "5 colorized" in run(*as_is, "--redo", "stale").stderr
    assert b"tones as-is" in (out / "b.jpg").read_bytes()


def test_a_lost_ledger_costs_time_and_no_photo(photos: Path, out: Path, tiny_model: Path) -> None:
    run(photos, "--out", out, "--model", tiny_model)
    before = outputs(out)
    shutil.rmtree(out / ".bwcolor")
    Image.new("RGB", (60, 40), (200, 0, 0)).save(out / "b.jpg")
    result = run(photos, "--out", out, "--model", tiny_model)
    assert "4 skipped (done already, as its label says)" in result.stderr
    assert "skipped: b.jpg: a file of this name exists that no record knows" in result.stderr
    assert "0 colorized, 4 skipped (done already)" in run(photos, "--out", out, "--model", tiny_model).stderr
    assert {name for name in NAMES if outputs(out)[name] != before[name]} == {"b.jpg"}


def test_a_placeholder_of_a_killed_run_gives_way(photos: Path, out: Path, tiny_model: Path) -> None:
    """It keeps an output's name free on disks that have no better way; SIGKILL leaves it behind."""
    out.mkdir()
    (out / "a.png").write_bytes(PLACEHOLDER)
    assert "5 colorized" in run(photos, "--out", out, "--model", tiny_model).stderr
    (out / "a.png").write_bytes(PLACEHOLDER)  # of a run after that, which was to make it anew
    assert "1 colorized, 4 skipped (done already)" in run(photos, "--out", out, "--model", tiny_model).stderr
    assert PLACEHOLDER not in {content for content, _ in outputs(out).values()}


def test_what_failed_for_good_is_not_tried_again(photos: Path, out: Path, tiny_model: Path) -> None:
    (photos / "broken.png").write_bytes((photos / "a.png").read_bytes()[:300])
    first = run(photos, "--out", out, "--model", tiny_model)
    again = run(photos, "--out", out, "--model", tiny_model)
    retried = run(photos, "--out", out, "--model", tiny_model, "--retry-failed")
    assert first.exit_code == again.exit_code == retried.exit_code == 1
    assert "also in an earlier run; --retry-failed tries again" not in first.stderr
    assert "also in an earlier run; --retry-failed tries again" in again.stderr
    assert "also in an earlier run" not in retried.stderr
    shutil.copy(photos / "a.png", photos / "broken.png")
    mended = run(photos, "--out", out, "--model", tiny_model)
    assert mended.exit_code == 0
    assert "1 colorized" in mended.stderr


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--include", "*.png"], {"a.png"}),
        (["--exclude", "small", "--exclude", "a.*"], {"b.jpg", "roll1/01.jpg", "roll2/01.jpg"}),
        (["--include", "roll2/*", "--exclude", "*/small/*"], {"roll2/01.jpg"}),
        (["--limit", "2"], 2),
        (["--suffix", "_farbig", "--include", "*.png"], {"a_farbig.png"}),
        (["--flat"], {"a.png", "b.jpg", "roll1_01.jpg", "roll2_01.jpg", "roll2_small_01.jpg"}),
    ],
)
def test_choices_and_names(
    options: list[str], expected: set[str] | int, photos: Path, out: Path, tiny_model: Path
) -> None:
    result = run(photos, "--out", out, "--model", tiny_model, *options)
    assert result.exit_code == 0, result.stderr
    made = set(outputs(out))
    assert made == expected if isinstance(expected, set) else len(made) == expected


def test_a_limit_lets_the_next_run_go_on(photos: Path, out: Path, tiny_model: Path) -> None:
    for done in (2, 4, 5, 5):
        run(photos, "--out", out, "--model", tiny_model, "--limit", 2)
        assert len(outputs(out)) == done


def test_a_limit_counts_photos_that_are_worked_on(photos: Path, out: Path, tiny_model: Path) -> None:
    """Those in color need no work, and photos that are left for another run are a number, not a line each."""
    colors = np.stack([scene(40, 60), scene(40, 60, 5), scene(40, 60, 6)], -1)
    for number in range(4):
        Image.fromarray(colors).save(photos / f"{number}.png")
    (photos / "broken.png").write_bytes((photos / "a.png").read_bytes()[:300])
    arguments = (photos, "--out", out, "--model", tiny_model, "--limit", 2)
    result = run(*arguments, "--progress", "json", "--jobs", 1)
    assert result.exit_code == 0, result.stderr
    assert outputs(out).keys() == {"a.png", "b.jpg"}
    assert "2 colorized, 4 skipped (in color already), 4 left for another run (--limit) in " in result.stderr
    *lines, sums = (json.loads(line) for line in result.stdout.splitlines())
    assert len(lines) == 6
    assert [sums[name] for name in ("done", "skipped", "failed", "left_by_limit")] == [2, 4, 0, 4]
    dry = run(*arguments, "--dry-run").stdout
    assert "2 left for another run (--limit)" in dry
    assert "10 photos, 2 to do; nothing was written" in dry
    assert dry.count(" -> ") == 8
    second = run(*arguments, "--jobs", 1)
    assert second.exit_code == 1, "a photo that fails is worked on"
    assert outputs(out).keys() == {"a.png", "b.jpg", "roll1/01.jpg"}
    assert "1 colorized, 4 skipped (in color already), 2 skipped (done already), 1 failed, 2 left for" in second.stderr
    for _ in range(2):
        last = run(*arguments)
    assert "left for another run" not in last.stderr
    assert len(outputs(out)) == len(NAMES)


def test_a_limit_holds_whatever_is_in_work_at_once(photos: Path, out: Path, tiny_model: Path) -> None:
    for jobs in (1, 4):
        folder = out / str(jobs)
        run(photos, "--out", folder, "--model", tiny_model, "--limit", 3, "--jobs", jobs)
        assert len(outputs(folder)) == 3


def test_a_list_of_photos(photos: Path, out: Path, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"a.png\0roll2/01.jpg\0nowhere.jpg\0")
    result = run(photos, "--out", out, "--model", tiny_model, "--from-file", tmp_path / "list", "-0")
    assert result.exit_code == 1
    assert "failed: nowhere.jpg: is on the list, and does not exist" in result.stderr
    assert set(outputs(out)) == {"a.png", "roll2/01.jpg"}
    result = run(photos, "--out", out, "--model", tiny_model, "--from-file", "-", input="b.jpg\n")
    assert result.exit_code == 0, result.stderr
    assert set(outputs(out)) == {"a.png", "b.jpg", "roll2/01.jpg"}


def test_several_folders_and_photos(photos: Path, out: Path, tiny_model: Path) -> None:
    arguments = (photos / "roll1", photos / "roll2", photos / "a.png")
    refused = run(*arguments, "--model", tiny_model)
    assert refused.exit_code == 2
    assert "for several folders or photos, name a folder for the results with --out FOLDER" in refused.stderr
    assert run(*arguments, "--out", out, "--model", tiny_model).exit_code == 0
    assert set(outputs(out)) == {"a.png", "roll1/01.jpg", "roll2/01.jpg", "roll2/small/01.jpg"}


def test_the_report_has_every_photo_and_the_run(photos: Path, out: Path, tiny_model: Path, tmp_path: Path) -> None:
    (photos / "broken.png").write_bytes(b"no photo")
    (photos / "raw.dng").write_bytes(b"")
    run(photos, "--out", out, "--model", tiny_model, "--report", tmp_path / "r.csv")
    rows = list(csv.DictReader((tmp_path / "r.csv").read_text(encoding="utf-8").splitlines()))
    result = run(photos, "--out", out, "--model", tiny_model, "--progress", "json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert lines == records(out)
    assert len(rows) == len(lines) - 1 == len(NAMES) + 2
    done = next(line for line in records(out) if line.get("source") == str(photos / "a.png"))
    assert (done["state"], done["reason"]) == ("skipped", "done already")
    assert len(done["source_sha256"]) == len(done["output_sha256"]) == 64
    sums = lines[-1]
    assert [sums[name] for name in ("record", "exit_code", "done", "skipped", "failed", "left_out")] == [
        "run", 1, 0, 5, 1, 1,
    ]  # fmt: skip
    assert run(photos, "--out", tmp_path / "none", "--model", tiny_model, "--report", "none").exit_code == 1
    assert not (tmp_path / "none" / "bwcolor-report.jsonl").exists()


def test_a_dry_run_says_what_will_be_done_and_writes_nothing(photos: Path, out: Path, tiny_model: Path) -> None:
    run(photos, "--out", out, "--model", tiny_model, "--limit", "3")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    result = run(photos, "--out", out, "--model", tiny_model, "--dry-run")
    assert result.stdout.count("(skipped: done already)") == 3
    assert "5 photos, 2 to do; nothing was written" in result.stdout
    assert "megapixels" in result.stdout
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_ledger_elsewhere(photos: Path, out: Path, tiny_model: Path, tmp_path: Path) -> None:
    arguments = (photos, "--out", out, "--model", tiny_model, "--ledger", tmp_path / "kept" / "my.sqlite")
    run(*arguments)
    assert (tmp_path / "kept" / "my.sqlite").is_file()
    assert not (out / ".bwcolor" / "ledger.sqlite").exists()
    assert "5 skipped (done already)" in run(*arguments).stderr


def test_one_photo_beside_itself_leaves_no_record(photos: Path, tiny_model: Path) -> None:
    before = {path.name for path in photos.iterdir()}
    assert run(photos / "a.png", "--model", tiny_model).exit_code == 0
    assert {path.name for path in photos.iterdir()} - before == {"a_colored.png"}
    again = run(photos / "a.png", "--model", tiny_model)
    assert "1 skipped (done already, as its label says)" in again.stderr
    other = run(photos / "a.png", "--model", tiny_model, "--strength", "0.5", "--redo", "stale")
    assert "1 skipped (made with other settings, as its label says; --overwrite replaces it)" in other.stderr


def test_nothing_is_written_into_the_home_folder(photos: Path, out: Path, tiny_model: Path, tmp_path: Path) -> None:
    """onnxruntime would keep an identifier and a queue of events there, to be sent."""
    (tmp_path / "home").mkdir()
    environment = {**os.environ, "HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": ""}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    command = [sys.executable, "-m", "bwcolor", str(photos), "--out", str(out), "--model", str(tiny_model)]
    assert subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0
    assert list((tmp_path / "home").rglob("*")) == []


def test_outputs_with_names_of_their_own_find_their_originals(photos: Path, out: Path, tiny_model: Path) -> None:
    run(photos, "--out", out, "--model", tiny_model, "--flat", "--suffix", "_farbig")
    result = run("verify", out, photos)
    assert result.exit_code == 0, result.stdout
    assert "5 of 5 passed" in result.stdout


def test_pages_over_the_limit_are_named(out: Path, tiny_model: Path, tmp_path: Path) -> None:
    page = gray(scene(8, 12))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.tif").write_bytes(saved(page, "TIFF", save_all=True, append_images=[page] * 3))
    result = run(tmp_path / "photos", "--out", out, "--model", tiny_model, "--max-pages", "3")
    assert result.exit_code == 1
    assert "has 4 pages, more than the limit of 3; raise it with --max-pages" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_watched_folder(photos: Path, out: Path, tiny_model: Path) -> None:
    command = [sys.executable, "-m", "bwcolor", str(photos), "--out", str(out), "--model", str(tiny_model), "--watch"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            _wait_for(lambda: len(outputs(out)) == len(NAMES))
            (photos / "new.png").write_bytes((photos / "a.png").read_bytes()[:500])  # still being copied
            time.sleep(1)
            shutil.copy(photos / "a.png", photos / "new.png")
            _wait_for(lambda: "new.png" in outputs(out))
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=SOON)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "6 colorized" in said
    assert "failed" not in said
    assert f"Watching {photos} for photos. Press Ctrl-C to stop.\n" in said
    with Ledger.open(out) as ledger:
        assert {record.state for record in ledger.records()} == {"done"}


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_watching_an_empty_folder_says_so(tmp_path: Path, out: Path, tiny_model: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    command = [sys.executable, "-m", "bwcolor", str(empty), "--out", str(out), "--model", str(tiny_model), "--watch"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = [process.stderr.readline() for _ in range(2)]  # before anything comes in
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=SOON)
        finally:
            process.kill()
    assert process.returncode == 130
    assert said[1] == f"Watching {empty} for photos. Press Ctrl-C to stop.\n"


def _wait_for(happened: Any) -> None:
    until = time.monotonic() + SOON
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_outputs_are_complete_pictures_in_colour(photos: Path, out: Path, tiny_model: Path) -> None:
    run(photos, "--out", out, "--model", tiny_model)
    for name in NAMES:
        with Image.open(out / name) as image:
            assert np.ptp(np.asarray(image.convert("RGB")).astype(int), axis=-1).mean() > 5


def test_after_a_lost_ledger_nothing_but_overwrite_replaces_outputs(photos: Path, out: Path, tiny_model: Path) -> None:
    run(photos, "--out", out, "--model", tiny_model)
    shutil.rmtree(out / ".bwcolor")
    arguments = (photos, "--out", out, "--model", tiny_model, "--strength", "0.5")
    for _ in range(2):
        told = run(*arguments).stderr
        assert "5 skipped (made with other settings, as its label says; --overwrite replaces it)" in told
    before = outputs(out)
    kept = run(*arguments, "--redo", "stale").stderr
    assert kept.count("its output is known only by its label and may have been modified since") == 6
    assert outputs(out) == before
    assert "5 colorized" in run(*arguments, "--overwrite").stderr


def test_batches_never_replace_one_anothers_outputs(photos: Path, out: Path, tiny_model: Path) -> None:
    for roll in ("roll1", "roll2"):
        result = run(photos, "--out", out, "--model", tiny_model, "--flat", "--include", f"{roll}/01.jpg")
        assert "1 colorized" in result.stderr
    assert set(outputs(out)) == {"roll1_01.jpg", "roll2_01.jpg"}
    before = outputs(out)
    other = run(photos / "roll2", photos / "b.jpg", "--out", out, "--model", tiny_model, "--flat")
    assert other.exit_code == 0, other.stderr
    assert {name: outputs(out)[name] for name in before} == before


def test_another_photo_of_an_outputs_name_is_a_failure(
    photos: Path, out: Path, tiny_model: Path, tmp_path: Path
) -> None:
    run(photos / "roll1", "--out", out, "--model", tiny_model)
    before = outputs(out)
    result = run(photos / "roll2", "--out", out, "--model", tiny_model, "--exclude", "small")
    assert result.exit_code == 1
    assert f"failed: 01.jpg: an output of this name was made from another photo, {photos / 'roll1' / '01.jpg'}" in (
        result.stderr
    )
    assert outputs(out) == before
    photos.rename(tmp_path / "moved")
    moved = run(tmp_path / "moved" / "roll1", "--out", out, "--model", tiny_model)
    assert "1 skipped (done already)" in moved.stderr


def test_a_dry_run_knows_what_is_stale(photos: Path, out: Path, tiny_model: Path) -> None:
    run(photos, "--out", out, "--model", tiny_model)
    arguments = (photos, "--out", out, "--model", tiny_model, "--strength", "0.5", "--dry-run")
    assert run(*arguments).stdout.count("(skipped: made with other settings; --redo stale makes them again)") == 5
    assert "5 photos, 5 to do; nothing was written" in run(*arguments, "--redo", "stale").stdout


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--watch", "--limit", "2"], "--limit and --watch don't go together"),
        (["-0"], "it needs --from-file LIST"),
        (["--report", "report.jpg"], "has the name of a photo"),
        (["--tile", "100"], "takes multiples of 32 px from 64 to 4096"),
    ],
)
def test_options_that_do_not_go_together(
    options: list[str], sentence: str, photos: Path, out: Path, tiny_model: Path
) -> None:
    result = run(photos, "--out", out, "--model", tiny_model, *options)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert outputs(out) == {}


def test_folders_of_the_same_name_keep_those_above(photos: Path, out: Path, tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(photos / "roll1", tmp_path / "other" / "roll1")
    both = [photos / "roll1", tmp_path / "other" / "roll1"]
    for inputs in (both, both[::-1]):
        run(*inputs, "--out", out, "--model", tiny_model)
        assert set(outputs(out)) == {"photos/roll1/01.jpg", "other/roll1/01.jpg"}
    assert run("verify", out, tmp_path).exit_code == 1, "photos without an output are told"


def test_an_output_edited_while_the_run_goes_on_is_kept(photos: Path, out: Path) -> None:
    model = FakeModel(flat(-0.1, 0.08))
    job = find_jobs(photos / "a.png", out).jobs[0]
    assert colorize_photo(job, model, ColorizeOptions(), PixelBudget(10**6)).state == "done"
    there = job.target.stat()
    judged = replace(job, replace=job.target, replaced=(there.st_size, there.st_mtime_ns))
    job.target.write_bytes(b"edited")
    outcome = colorize_photo(judged, model, ColorizeOptions(), PixelBudget(10**6))
    assert (outcome.state, outcome.lasting) == ("failed", False)
    assert "was modified by another program during the run" in outcome.reason
    assert job.target.read_bytes() == b"edited"
    os.utime(job.target)
    there = job.target.stat()
    judged = replace(job, replace=job.target, replaced=(there.st_size, there.st_mtime_ns))
    assert colorize_photo(judged, model, ColorizeOptions(), PixelBudget(10**6)).state == "done"


def test_a_changed_format_leaves_no_second_output_without_a_word(photos: Path, out: Path, tiny_model: Path) -> None:
    arguments = (photos, "--out", out, "--model", tiny_model)
    run(*arguments)
    before = outputs(out)
    first = run(*arguments, "--format", "PNG", "--include", "b.jpg", "--include", "roll1")
    assert first.exit_code == 0, first.stderr
    assert "note: 2 earlier outputs in other formats are still there (b.jpg, roll1/01.jpg)" in first.stderr
    assert outputs(out).items() >= before.items()
    assert {"b.png", "roll1/01.png"} <= set(outputs(out))
    assert "other formats" not in run(*arguments, "--format", "png", "--include", "b.jpg").stderr, (
        "nothing new was made"
    )
    Image.new("RGB", (60, 40), (200, 0, 0)).save(out / "roll1" / "01.jpg")
    second = run(*arguments, "--format", "png", "--include", "b.jpg", "--include", "roll1", "--overwrite")
    assert "note: 1 earlier output in another format was replaced" in second.stderr
    assert (
        "note: 1 earlier output in another format is still there (roll1/01.jpg), modified by somebody" in second.stderr
    )
    assert set(outputs(out)) == {*NAMES, "b.png", "roll1/01.png"} - {"b.jpg"}
    back = run(*arguments, "--include", "b.jpg")
    assert "still there (b.png)" in back.stderr
    assert "b.jpg" in outputs(out)


def test_outputs_of_other_photos_are_none_in_another_format(photos: Path, out: Path, tiny_model: Path) -> None:
    shutil.copy(photos / "a.png", photos / "b.png")
    arguments = (photos, "--out", out, "--model", tiny_model)
    run(*arguments)
    result = run(*arguments, "--format", "png", "--include", "b.*", "--overwrite")
    assert result.exit_code == 0, result.stderr
    assert "note: 1 earlier output in another format was replaced" in result.stderr
    assert set(outputs(out)) == {*NAMES, "b.png", "b.jpg.png"} - {"b.jpg"}


@pytest.mark.parametrize(("said", "ending"), [("jpg", ".jpg"), ("JPEG", ".jpg"), ("tif", ".tif"), ("tiff", ".tif")])
def test_formats_are_called_as_their_files_are(
    said: str, ending: str, photos: Path, out: Path, tiny_model: Path
) -> None:
    result = run(photos / "a.png", "--out", out, "--model", tiny_model, "--format", said)
    assert result.exit_code == 0, result.stderr
    assert (out / f"a{ending}").is_file()
