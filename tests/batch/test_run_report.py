"""The report as a file: names of any bytes come back, tables calculate nothing, and no other file is replaced."""

import csv
import io
import json
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photo.pictures import gray, saved, scene

from bwcolor.batch.discovery import LeftOut
from bwcolor.batch.ledger import Fingerprint, Making, Record
from bwcolor.batch.outcome import Outcome
from bwcolor.batch.plan import Job, find_jobs
from bwcolor.batch.run_report import (
    COLUMNS,
    Records,
    earlier_record,
    left_out_record,
    now,
    on_stdout,
    opened_records,
    photo_record,
    report_path,
)
from bwcolor.errors import FolderError, UsageError

JOB = Job(Path("/in/a.gif"), Path("/out/a.gif.png"), "png", pixels=96, bytes=7)
DONE = Outcome(
    JOB, "done", notes=("one", "two"), seconds=1.23456, path=Path("/out/a.gif.png"), input=Fingerprint(7, 1, "1" * 64),
    output=Fingerprint(9, 1, "2" * 64), made_by=Making("3" * 64, "default 2", "{}"), doubt=12.3456,
)  # fmt: skip
NAMES = st.binary(min_size=1, max_size=80).filter(lambda name: b"\0" not in name and b"/" not in name)
SIGNS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
CELLS = st.builds(
    lambda start, text: start + text,
    st.sampled_from(["", *SIGNS, '"', "'", ";", ",", "\0", "\x1b", "\udce4"]),
    st.text(st.characters(exclude_categories=[]), max_size=20),
)
# What would do something on a terminal or in a reader: C0 and C1 controls, directions of text.
RAW = {*map(chr, (*range(32), *range(127, 160))), *"\u200e\u200f\u202a\u202b\u202d\u202e\u2066\u2067\u2069\u2028\u2029"}


def written(path: Path, *records: dict[str, Any]) -> bytes:
    with opened_records(path) as report:
        assert report is not None
        for record in records:
            report.write(record)
    return path.read_bytes()


def called(name: str) -> Outcome:
    return replace(DONE, job=replace(JOB, source=Path("/in", name)), path=Path("/out", name))


def test_a_photo_as_a_line(tmp_path: Path) -> None:
    failed = replace(DONE, state="failed", reason="is damaged", made_by=None)
    content = written(
        tmp_path / "r.jsonl", photo_record(DONE), photo_record(failed),
        left_out_record(LeftOut(Path("/in/x.psd"), "can't be read yet")),
        left_out_record(LeftOut(Path("/in/locked"), "can't be listed", failed=True)), {"record": "run", "done": 1},
    )  # fmt: skip
    done, failure, *rest = map(json.loads, content.splitlines())
    assert abs(datetime.fromisoformat(done["ended"]).timestamp() - time.time()) < 60
    assert done | {"ended": ""} == {
        "record": "photo", "source": "/in/a.gif", "output": "/out/a.gif.png", "state": "done", "reason": "",
        "notes": ["one", "two"], "seconds": 1.235, "doubt": 12.35, "pixels": 96, "bytes": 7, "source_sha256": "1" * 64,
        "output_sha256": "2" * 64, "model_sha256": "3" * 64, "model": "default 2", "ended": "", "this_run": True,
        "sidecars": [],
    }  # fmt: skip
    assert failure | {"ended": done["ended"]} == done | {
        "state": "failed", "reason": "is damaged", "output": "", "output_sha256": "", "model_sha256": "", "model": "",
    }  # fmt: skip
    assert rest == [
        {"record": "left out", "source": "/in/x.psd", "state": "left out", "reason": "can't be read yet"},
        {"record": "left out", "source": "/in/locked", "state": "failed", "reason": "can't be listed"},
        {"record": "run", "done": 1},
    ]
    assert set(COLUMNS) == set(done), "a table has the same columns"


KNOWN = Record(
    Path("a.gif.png"), Path("/out/a.gif.png"), Path("a.gif"), Path("/in"), DONE.input, DONE.output,
    Making("3" * 64, "default 2", "{}"), "done", seconds=1.23456, at=1.5, doubt=12.3456,
    notes=("one", "two"), pixels=96,
)  # fmt: skip


@pytest.mark.parametrize("reason", ["done already", "its output was modified since it was written"])
def test_a_photo_that_a_run_skips_is_told_with_what_the_ledger_knows(reason: str) -> None:
    made = photo_record(DONE)
    skipped = photo_record(Outcome(JOB, "skipped", reason), KNOWN)
    assert skipped == made | {
        "state": "skipped", "reason": reason, "ended": "1970-01-01T00:00:01+00:00", "this_run": False
    }  # fmt: skip
    assert photo_record(Outcome(JOB, "failed", reason), KNOWN)["output"] == ""


def test_a_photo_that_a_run_does_not_meet_is_told_from_the_ledger() -> None:
    made = photo_record(DONE)
    del made["sidecars"]  # nobody looked for them
    assert earlier_record(KNOWN) == made | {"ended": "1970-01-01T00:00:01+00:00", "this_run": False}
    failed = earlier_record(replace(KNOWN, state="failed", reason="is damaged"))
    assert (failed["state"], failed["reason"], failed["output"], failed["output_sha256"]) == (
        "failed", "is damaged", "", "",
    )  # fmt: skip


@settings(deadline=None)
@given(NAMES)
def test_lines_are_ascii_and_names_come_back_as_their_bytes(name: bytes) -> None:
    out = io.StringIO()
    Records(out, Path("r.jsonl")).write(photo_record(called(os.fsdecode(name))))
    line = out.getvalue()
    assert line.isascii()
    assert line.count("\n") == 1
    assert not set(line[:-1]) & RAW
    record = json.loads(line)
    expected = os.fsencode(Path("/in", os.fsdecode(name)))
    assert os.fsencode(record["source"]) == expected
    assert os.fsencode(record["output"]) == b"/out" + expected[3:]


@settings(deadline=None)
@given(CELLS)
def test_a_table_is_a_table_whatever_is_in_it(text: str) -> None:
    out = io.StringIO(newline="")
    table = Records(out, Path("r.CSV"))
    record = photo_record(DONE) | {"source": text, "reason": text, "notes": [text, text], "output": text}
    for _ in range(2):
        table.write(record)
    table.write({"record": "run", "done": 1})
    table.write(left_out_record(LeftOut(Path("/in/x.psd"), text)))
    content = out.getvalue().encode("utf-8")  # lone surrogates would raise
    assert content.count(b"\r\n") == 4
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""), strict=True))
    assert [row["record"] for row in rows] == ["photo", "photo", "left out"]
    assert rows[0] == rows[1]
    for row in rows:
        assert set(row) == set(COLUMNS)
        assert not any(cell.startswith(tuple(SIGNS)) for cell in row.values())
        assert not any(set(cell) & RAW for cell in row.values())
    assert float(rows[0]["seconds"]) == 1.235
    assert float(rows[0]["doubt"]) == 12.35
    if text.isascii() and text.isalnum():
        assert (rows[0]["source"], rows[0]["notes"]) == (text, f"{text}; {text}")


@pytest.mark.parametrize(
    ("reason", "cell"),
    [('=HYPERLINK("http://x")', "'=HYPERLINK(\"http://x\")"), ("+1", "'+1"), ("-1", "'-1"), ("@SUM(1)", "'@SUM(1)"),
     ("\t=1", "\\u0009=1"), ("a\nb", "a\\u000ab"), ("a\0b", "a\\u0000b"), ('say "no", please', 'say "no", please'),
     ("Été", "Été"), ("\udce4", "\\udce4")],
)  # fmt: skip
def test_cells(reason: str, cell: str, tmp_path: Path) -> None:
    content = written(tmp_path / "r.csv", photo_record(replace(DONE, reason=reason)))
    (row,) = csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""))
    assert row["reason"] == cell


def test_each_record_is_on_the_disk_at_once(tmp_path: Path) -> None:
    for name in ("r.jsonl", "r.csv"):
        with opened_records(tmp_path / name) as report:
            assert report is not None
            report.write(photo_record(DONE))
            assert b"/in/a.gif" in (tmp_path / name).read_bytes(), "a kill costs no record"


def test_no_report_is_wanted() -> None:
    with opened_records(None) as report:
        assert report is None


# Full disks.


@pytest.fixture
def room() -> Iterator[int]:
    """Bytes that a file may have, as on a disk that is about to be full."""
    resource, signal = pytest.importorskip("resource"), pytest.importorskip("signal")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        yield 2000
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def write_much(path: Path) -> None:
    with opened_records(path) as report:
        assert report is not None
        for _ in range(100):
            report.write(photo_record(DONE))


@pytest.mark.parametrize("name", ["r.jsonl", "r.csv"])
def test_a_full_disk_is_a_sentence(name: str, room: int, tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=rf"{name}: the report can't be written \(.*\)\. Free some space, or choose"):
        write_much(tmp_path / name)
    assert (tmp_path / name).stat().st_size == room


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
def test_standard_output_that_takes_nothing_more() -> None:
    with Path("/dev/full").open("w", encoding="ascii") as full:
        records = Records(full, Path("standard output"))
        with pytest.raises(FolderError, match="standard output: the report can't be written"):
            records.write({"record": "run"})
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())


def test_a_folder_that_takes_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FolderError, match="the report can't be written"):
        written(tmp_path / "file" / "r.jsonl")


# Names.


SKIPPED = photo_record(Outcome(JOB, "skipped", 'done, "this_run": true'), KNOWN)  # words that look like a mark


@pytest.mark.parametrize("name", ["r.jsonl", "r.csv", "r.txt"])
def test_a_report_of_work_is_kept_and_one_without_is_replaced(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    work = written(path, SKIPPED, photo_record(DONE), {"record": "run"})
    os.utime(path, (10**9, 10**9))
    for _ in range(3):
        idle = written(path, SKIPPED, {"record": "run"})
    (kept,) = [one for one in tmp_path.iterdir() if one != path]
    assert kept.name == f"r-20010909-014640{path.suffix}"
    assert kept.read_bytes() == work
    assert path.read_bytes() == idle
    path.write_bytes(b"")
    written(path, photo_record(DONE))
    assert len(list(tmp_path.iterdir())) == 2, "an empty one is nothing to keep"


@pytest.mark.parametrize("name", ["r.jsonl", "r.csv"])
def test_an_earlier_versions_report_is_kept(name: str, tmp_path: Path) -> None:
    """It did not say what was work."""
    path = tmp_path / name
    content = written(path, {key: value for key, value in SKIPPED.items() if key != "this_run"})
    written(path, SKIPPED)
    assert content in [one.read_bytes() for one in tmp_path.iterdir() if one != path]


def test_reports_that_are_kept_never_fall_on_one_another(tmp_path: Path) -> None:
    for number in range(4):
        written(tmp_path / "r.jsonl", photo_record(DONE) | {"seconds": number})
        os.utime(tmp_path / "r.jsonl", (2**33, 2**33))  # of the year 2242, when nobody can have ended
    contents = {path.read_bytes() for path in tmp_path.iterdir()}
    assert len(contents) == 4


def test_reports_of_an_output_folder_are_kept_in_our_own_folder(tmp_path: Path) -> None:
    path = tmp_path / "bwcolor-report.jsonl"
    (tmp_path / ".bwcolor").mkdir()
    written(path, photo_record(DONE))
    written(path, photo_record(DONE))
    assert {one.name for one in tmp_path.iterdir()} == {".bwcolor", path.name}
    (kept,) = (tmp_path / ".bwcolor" / "reports").iterdir()
    assert kept.suffix == ".jsonl"
    kept.unlink()
    kept.parent.rmdir()
    kept.parent.symlink_to(tmp_path)
    content = path.read_bytes()
    with pytest.raises(UsageError, match="reached through a link"):
        written(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", ["r.jsonl", "r.csv", "r.txt"])
def test_no_other_file_is_replaced(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    for mine in (b"name,price\r\n", b'{"a": 1}\n', b"\xff\xd8\xff", b"r", b"{"):
        path.write_bytes(mine)
        with pytest.raises(UsageError, match=r"exists, and is no report of bwcolor\. Choose another name"):
            written(path)
        assert path.read_bytes() == mine


def test_links_folders_and_devices_are_refused(tmp_path: Path) -> None:
    target = tmp_path / "precious.jsonl"
    (tmp_path / "link.jsonl").symlink_to(target)  # to nothing
    (tmp_path / "folder.jsonl").mkdir()
    names = [tmp_path / "link.jsonl", tmp_path / "folder.jsonl"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.jsonl")  # opening it would wait for ever
        names += [tmp_path / "pipe.jsonl", Path("/dev/null")]
    for path in names:
        with pytest.raises(UsageError, match="is no file"):
            written(path)
    assert not target.exists()
    target.write_bytes(b"")
    with pytest.raises(UsageError, match="is no file"):
        written(tmp_path / "link.jsonl", photo_record(DONE))
    assert target.read_bytes() == b""


@pytest.mark.skipif(os.name == "nt", reason="other permissions")
def test_a_report_is_no_program(tmp_path: Path) -> None:
    written(tmp_path / "r.jsonl")
    assert not stat.S_IMODE((tmp_path / "r.jsonl").stat().st_mode) & 0o111


def test_where_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    assert report_path(None, out) == out / "bwcolor-report.jsonl"
    assert report_path(None, None) is None
    assert report_path("none", out) is None
    assert report_path("r.csv", out) == tmp_path / "r.csv"
    assert report_path("../r.csv", None) == tmp_path.parent / "r.csv"


def test_a_single_photo_gets_none_beside_it(tmp_path: Path) -> None:
    photo = tmp_path / "a.png"
    photo.write_bytes(saved(gray(scene(8, 12)), "PNG"))
    (tmp_path / "folder").mkdir()
    assert report_path(None, find_jobs(photo, None).folder) is None
    assert report_path(None, find_jobs(photo, tmp_path / "b.png").folder) is None
    in_folder = report_path(None, find_jobs(photo, tmp_path / "folder").folder)
    assert in_folder == tmp_path / "folder" / "bwcolor-report.jsonl"
    assert report_path(None, find_jobs(tmp_path, tmp_path / "out").folder) == tmp_path / "out" / "bwcolor-report.jsonl"


def test_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert on_stdout(False) is None
    records = on_stdout(True)
    assert records is not None
    records.write(photo_record(called(os.fsdecode(b"\xff\n.jpg"))))
    (line,) = capsys.readouterr().out.splitlines()
    assert os.fsencode(json.loads(line)["source"]) == b"/in/\xff\n.jpg"


def test_times_are_utc() -> None:
    assert now().endswith("+00:00")
    assert len(now()) == len("2026-11-21T22:15:49+00:00")
