"""Tries damaged files by the thousand: `python tests/fuzz/fuzz.py --seconds 600 --seed 7`.

A process of its own reads them (worker.py), so that one that crashes or hangs is found, and its file kept.
"""

import argparse
import json
import os
import re
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WORKER = Path(__file__).resolve().parent / "worker.py"
HANG = 60.0  # s without a word from the worker; far more than a slow input takes on a busy machine
CHUNK = 1 << 16  # bytes
GOOD = frozenset({"output", "refused"})  # the ends that an input may have
FAILED = 1  # exit code of a Python program that an exception ended: a mistake of the worker, not of what it tries


@dataclass(frozen=True, slots=True)
class Finding:
    """What must not happen. number: of the input. origin: what was done to which file."""

    number: int
    kind: str
    words: str
    origin: str


@dataclass(slots=True)
class Report:
    """What came of a run. seconds: it took. slowest: of processor time for one input. ends: how many inputs ended in
    each way, and in which words."""

    inputs: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    ends: Counter[tuple[str, str]] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def kinds(self) -> Counter[str]:
        """How many inputs ended in each way."""
        kinds: Counter[str] = Counter()
        for (kind, _), count in self.ends.items():
            kinds[kind] += count
        return kinds

    def in_words(self) -> str:
        lines = [f"{self.inputs:,} inputs in {self.seconds:.0f} s; the slowest took {self.slowest:.2f} s"]
        lines += [f"{count:7,} {kind}" for kind, count in self.kinds().most_common()]
        lines += ["", "in words:"]
        lines += [f"{count:7,} {kind}: {words}" for (kind, words), count in self.ends.most_common()]
        lines += ["", "findings:" if self.findings else "nothing found"]
        lines += [f"{one.number} {one.kind} ({one.origin}): {one.words}" for one in self.findings]
        return "\n".join(lines) + "\n"


def fuzz(inputs: str, count: int, seconds: float, keep: Path) -> Report:
    """Tries inputs until there were `count`, or no more, or time is up.

    inputs: a number, the seed of damaged files, or a folder of files. keep: folder for files that end in a finding.
    """
    report, started = Report(), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        more = True
        while more and report.inputs < count and time.monotonic() - started < seconds:
            more = _one_worker(report, inputs, count, started + seconds, Path(name), keep)
    report.seconds = time.monotonic() - started
    return report


def _one_worker(report: Report, inputs: str, count: int, deadline: float, folder: Path, keep: Path) -> bool:
    """Runs a worker until it has no more to do, time is up, or it crashes or hangs; whether there may be more to do."""
    command = [sys.executable, str(WORKER), str(folder), inputs, str(report.inputs), str(count)]
    # Its own folder, where a module has the name of the package, is not to be looked into for modules.
    environment = {**os.environ, "PYTHONPATH": str(WORKER.parents[1]), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    try:
        for line in _lines(worker):
            if line is None:
                _note(report, [report.inputs, "hang", f"no end after {HANG:g} s", 0.0, inputs], folder, keep)
                return True
            if line != b"ready":
                _note(report, json.loads(line), folder, keep)
            if time.monotonic() > deadline:
                return False
        code = worker.wait(HANG)
    finally:
        worker.kill()
        worker.wait()
        assert worker.stdout is not None
        worker.stdout.close()
    if code == FAILED:
        said = folder / "noise"
        raise RuntimeError(f"the worker failed: {said.read_text(errors='replace') if said.exists() else 'see above'}")
    if code:
        _note(report, [report.inputs, "crash", f"exit code {code}", 0.0, inputs], folder, keep)
    return code != 0


def _lines(worker: "subprocess.Popen[bytes]") -> Iterator[bytes | None]:
    """Lines as they come; None when there is none for too long. Ends with the process."""
    assert worker.stdout is not None
    waiting = b""
    with selectors.DefaultSelector() as selector:
        selector.register(worker.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(HANG):
                yield None
                return
            chunk = os.read(worker.stdout.fileno(), CHUNK)
            if not chunk:
                return
            *lines, waiting = (waiting + chunk).split(b"\n")
            yield from lines


def _note(report: Report, line: list[Any], folder: Path, keep: Path) -> None:
    """Counts an input, given as worker.py tells of it, and keeps its file if it is a finding."""
    number, kind, words, seconds, origin = line
    report.inputs += 1
    report.slowest = max(report.slowest, seconds)
    report.ends[kind, re.sub(r"\d[\d,.]*", "N", words)] += 1
    if kind not in GOOD:
        report.findings.append(Finding(number, kind, words, origin))
        keep.mkdir(parents=True, exist_ok=True)
        left = folder / str(number)
        shutil.move(left if left.exists() else folder / "source", keep / f"{number} {kind}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="time to run")
    parser.add_argument("--seed", type=int, default=0, help="of the damaged files: the same one gives the same files")
    parser.add_argument("--again", type=Path, help="a folder of files to try instead, each as it is")
    parser.add_argument("--count", type=int, default=10**9, help="of inputs, at most")
    parser.add_argument("--keep", type=Path, default=Path("runs/fuzz"), help="folder for what was found")
    chosen = parser.parse_args()
    inputs = str(chosen.seed) if chosen.again is None else str(chosen.again.resolve())
    report = fuzz(inputs, chosen.count, chosen.seconds, chosen.keep)
    sys.stdout.write(report.in_words())
    sys.exit(1 if report.findings else 0)


if __name__ == "__main__":
    main()
