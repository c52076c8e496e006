"""Ctrl-C, SIGTERM, a closed terminal, a stopped process, a reader that is gone, a second run, a full disk."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from batch.processes import (
    BWCOLOR,
    LONG,
    TROUBLED,
    Ended,
    alive,
    children,
    end_of,
    files,
    in_colour,
    leftovers,
    photo,
    photos,
    run,
    started,
    until,
)

from bwcolor.batch.ledger import Ledger

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux shows them")

GO_ON = "interrupted: run the same command again to continue; finished photos are skipped"
PROMPT = 5.0  # seconds; 2 are promised, on a machine that has time for it


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twenty-four photos that take some time each."""
    photos(tmp_path / "photos", 24, "doze")
    return tmp_path / "photos"


def stopped(process: subprocess.Popen[bytes], *signals: int) -> tuple[Ended, list[int]]:
    """Sends signals to the process group, as a terminal does; how it ended, and which workers it had."""
    workers = children(process.pid)
    for number in signals:
        os.killpg(process.pid, number)
        time.sleep(0.1)
    return end_of(process), workers


def settled(out: Path) -> int:
    """How many photos the ledger calls done, as another run finds it; each has the output that the ledger tells of."""
    assert (out / ".bwcolor" / "ledger.sqlite").exists()
    with Ledger.open(out) as ledger:
        records = [record for record in ledger.records() if record.state == "done"]
    hashes = files(out)
    assert {str(record.path): record.output.sha256 for record in records} == hashes
    return len(records)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run_in_good_order(number: int, source: Path, tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = (source, "--out", out, "--model", tiny_model, "--jobs", 2)
    with started(*arguments, command=TROUBLED) as process:
        until(lambda: len(files(out)) > 5)
        ended, workers = stopped(process, number)
    assert ended.code == 130
    assert ended.seconds < PROMPT
    assert GO_ON in ended.err
    assert "Traceback" not in ended.err
    assert workers
    assert not any(map(alive, workers))
    assert leftovers(out) == []
    assert 5 < settled(out) < 24
    report = [json.loads(line) for line in (out / "bwcolor-report.jsonl").read_text().splitlines()]
    assert report[-1]["record"] == "run"
    assert report[-1]["exit_code"] == 130
    assert report[-1]["done"] == len(report) - 1 == settled(out), "a photo was done and not told of"
    again = run(*arguments)
    assert again.code == 0
    assert len(files(out)) == settled(out) == 24


def test_photos_in_hand_are_finished(tiny_model: Path, tmp_path: Path) -> None:
    sources, out = photos(tmp_path / "photos", 12, "nap"), tmp_path / "out"
    with started(sources[0].parent, "--out", out, "--model", tiny_model, "--jobs", 2, command=TROUBLED) as process:
        until(lambda: len(files(out)) == 2)
        time.sleep(0.2)  # until the next two are in work
        ended, _ = stopped(process, signal.SIGINT)
    assert ended.code == 130
    assert settled(out) == 4, "those in hand, and no new ones"


@pytest.mark.parametrize("trouble", ["sleep", "clutch"])
def test_a_hanging_photo_does_not_hold_up_the_end(trouble: str, tiny_model: Path, tmp_path: Path) -> None:
    photo(tmp_path / "photos" / "a.png")
    photo(tmp_path / "photos" / "b.png", trouble)
    for signals, grace in (([signal.SIGINT], ""), ([signal.SIGINT, signal.SIGINT], "patient")):
        out = tmp_path / f"out {len(signals)}"
        arguments = (tmp_path / "photos", "--out", out, "--model", tiny_model, "--jobs", 1)
        with started(*arguments, command=TROUBLED, environment={"BWCOLOR_TROUBLE": grace}) as process:
            until(lambda folder=out: "a.png" in files(folder))  # type: ignore[misc]
            time.sleep(0.3)
            ended, workers = stopped(process, *signals)
        assert ended.code == 130
        assert ended.seconds < PROMPT
        assert GO_ON in ended.err
        assert not any(map(alive, workers))
        assert leftovers(out) == []
        assert settled(out) == 1


def test_before_the_first_photo(source: Path, tiny_model: Path, tmp_path: Path) -> None:
    """While the model is opened nothing is in hand that is worth waiting for."""
    environment = {"BWCOLOR_TROUBLE": "slow-model"}
    arguments = (source, "--out", tmp_path / "out", "--model", tiny_model)
    with started(*arguments, command=TROUBLED, environment=environment) as process:
        until(lambda: children(process.pid))
        time.sleep(0.5)
        ended, workers = stopped(process, signal.SIGINT)
    assert ended.code == 130
    assert ended.seconds < PROMPT
    assert GO_ON in ended.err
    assert not any(map(alive, workers))
    assert not (tmp_path / "out").exists()


def test_many_at_once(source: Path, tiny_model: Path, tmp_path: Path) -> None:
    """A Ctrl-C that is held down repeats."""
    out = tmp_path / "out"
    with started(source, "--out", out, "--model", tiny_model, command=TROUBLED) as process:
        until(lambda: len(files(out)) > 2)
        workers = children(process.pid)
        while process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.03)
        ended = end_of(process)
    assert ended.code == 130
    assert "Traceback" not in ended.err
    assert not any(map(alive, workers))
    assert set(map(str, leftovers(out))) == set()
    assert run(source, "--out", out, "--model", tiny_model).code == 0
    assert settled(out) == 24


def test_who_ignores_hangups_goes_on(source: Path, tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("/usr/bin/env", "nohup", *TROUBLED)
    with started(source, "--out", out, "--model", tiny_model, command=command) as process:
        until(lambda: len(files(out)) > 2)
        os.killpg(process.pid, signal.SIGHUP)
        assert end_of(process).code == 0
    assert settled(out) == 24


def test_a_stopped_run_fails_no_photo(tiny_model: Path, tmp_path: Path) -> None:
    """Longer than the timeout: by Ctrl-Z, which the worker does not see, and as in a container that is paused."""
    sources, out = photos(tmp_path / "photos", 10, "nap"), tmp_path / "out"
    arguments = (sources[0].parent, "--out", out, "--model", tiny_model, "--jobs", 2, "--timeout", 1.5)
    with started(*arguments, command=TROUBLED) as process:
        for count, both in ((2, False), (5, True)):
            until(lambda wanted=count: len(files(out)) >= wanted)  # type: ignore[misc]
            paused = [process.pid, *(children(process.pid) if both else [])]
            for number in (signal.SIGSTOP, signal.SIGCONT):
                for pid in paused:
                    os.kill(pid, number)
                time.sleep(2.5 if number == signal.SIGSTOP else 0)
        ended = end_of(process)
    assert ended.code == 0, ended.err
    assert "timeout" not in ended.err
    assert settled(out) == 10


@pytest.mark.parametrize("streams", ["json out", "plain both", "rich both", "json both"])
def test_a_reader_that_is_gone_costs_no_photo(streams: str, tiny_model: Path, tmp_path: Path) -> None:
    """As with `| head -1`, and `2>&1 | head -1`."""
    style, which = streams.split()
    sources, out = photos(tmp_path / "photos", 12), tmp_path / "out"
    command = [*BWCOLOR, str(sources[0].parent), "--out", str(out), "--model", str(tiny_model), "-v"]
    reading, writing = os.pipe()
    err = writing if which == "both" else subprocess.DEVNULL
    with subprocess.Popen([*command, "--progress", style], stdout=writing, stderr=err) as process:
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        code = process.wait(LONG)
    assert settled(out) == 12
    assert code == 0


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_cost_no_photo(closed: str, tiny_model: Path, tmp_path: Path) -> None:
    sources, out = photos(tmp_path / "photos", 4), tmp_path / "out"
    line = f'"$@" {closed}'
    command = [
        "sh",
        "-c",
        line,
        "sh",
        *BWCOLOR,
        str(sources[0].parent),
        "--out",
        str(out),
        "--model",
        str(tiny_model),
        "-v",
    ]
    code = subprocess.run(command, capture_output=True, check=False, timeout=LONG).returncode
    assert settled(out) == 4
    assert code == 0


def test_of_two_runs_on_one_output_one_works(tiny_model: Path, tmp_path: Path) -> None:
    sources, out = photos(tmp_path / "photos", 4), tmp_path / "out"
    photo(tmp_path / "photos" / "hangs.png", "sleep")
    arguments = (sources[0].parent, "--out", out, "--model", tiny_model)
    with started(*arguments, command=TROUBLED) as first:
        until(lambda: len(files(out)) > 1)
        second = run(*arguments)
        assert second.code == 7
        assert f"error: {out}: another run of bwcolor is writing there (process {first.pid})" in second.err
        assert len(second.err.splitlines()) == 1
        assert stopped(first, signal.SIGINT)[0].code == 130
    assert run(*arguments).code == 0, "the lock is free"
    assert settled(out) == 5


def test_two_runs_that_begin_together(tiny_model: Path, tmp_path: Path) -> None:
    sources, out = photos(tmp_path / "photos", 5, "nap"), tmp_path / "out"
    arguments = (sources[0].parent, "--out", out, "--model", tiny_model, "--jobs", 1)
    with started(*arguments, command=TROUBLED) as first, started(*arguments, command=TROUBLED) as second:
        codes = sorted([end_of(first).code, end_of(second).code])
    assert codes == [0, 7]
    assert settled(out) == 5
    assert all(in_colour(path) for path in out.glob("*.png"))


def test_two_single_photos_at_once_leave_each_other_alone(tiny_model: Path, tmp_path: Path) -> None:
    """Whose outputs lie in one folder that nobody holds: a run that ends takes away its own unfinished files only."""
    one, two = photo(tmp_path / "one.png", "nap"), photo(tmp_path / "two.png", "sleep")
    with started(two, "--model", tiny_model, command=TROUBLED) as second:
        until(lambda: children(second.pid))
        with started(one, "--model", tiny_model, command=TROUBLED) as first:
            time.sleep(1.0)
            os.killpg(second.pid, signal.SIGINT)
            assert end_of(first).code == 0
        assert end_of(second).code == 130
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "one.png",
        "one_colored.png",
        "two.png",
    ]


def test_the_end_of_watching(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    photo(tmp_path / "photos" / "a.png")
    with started(tmp_path / "photos", "--out", out, "--model", tiny_model, "--watch") as process:
        until(lambda: "a.png" in files(out))
        (worker,) = children(process.pid)
        os.kill(worker, signal.SIGKILL)  # while nothing is to be done
        photo(tmp_path / "photos" / "b.png")
        until(lambda: "b.png" in files(out))
        ended, workers = stopped(process, signal.SIGINT)
    assert ended.code == 130
    assert ended.seconds < PROMPT
    assert not any(map(alive, workers))
    assert settled(out) == 2
