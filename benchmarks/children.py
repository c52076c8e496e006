"""Programs run as child processes, what they cost (Linux and macOS), and where that is kept."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from bwcolor.system.machine import cores, processor_name, system_name

PACKAGES = ("bwcolor", "numpy", "onnxruntime-gpu", "onnxruntime", "opencv-python-headless", "typer")
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")  # of numpy's and torch's libraries


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one run: wall and processor seconds (all its processes and threads), memory of the largest process in MB."""

    wall: float
    cpu: float
    peak: float
    exit_code: int


def environment(threads: int = 1, **more: str) -> dict[str, str]:
    """For a child: numpy's libraries have so many threads, and modules that Python has compiled are kept, as always."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, **dict.fromkeys(THREADS, str(threads)), **more}


def bwcolor_command(photos: Path, out: Path, *options: str) -> list[str]:
    """What colorizes on the CPU."""
    return [sys.executable, "-m", "bwcolor", str(photos), "--out", str(out), "--device", "cpu", *options]


def cost_of(command: list[str], env: dict[str, str] | None = None) -> Cost:
    """Runs a program to its end; what it prints on standard output is dropped."""
    started = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=env or environment())
    return ended(child, started)


def ended(child: subprocess.Popen[Any], started: float) -> Cost:
    """Waits for a child. started: time.monotonic() of its start.

    Its peak begins at this process's own: whoever wants it must not have held large arrays before, see `apart`.
    """
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 1e6, child.returncode)


def apart(work: Callable[..., Any], *arguments: object) -> Any:
    """What a function returns, called in a process of its own, which takes its memory with it."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(work, *arguments).result()


def this_machine() -> dict[str, object]:
    """What figures are to be quoted with."""
    found: dict[str, str] = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "processor": processor_name(), "cores": cores().usable, "system": system_name(),
        "python": ".".join(map(str, sys.version_info[:3])), "packages": found,
    }  # fmt: skip


def keep(found: dict[str, Any], as_json: Path | None, plot: Path | None) -> None:
    """Writes what a benchmark found as JSON and as a plot (PNG or WebP by its name), where that is wanted."""
    if as_json:
        as_json.write_text(json.dumps(found, indent=1) + "\n")
    if plot:
        from drawing import draw

        draw(found, plot)
