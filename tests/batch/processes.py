"""Runs in processes of their own, photos that make trouble in them, and what is left behind."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from photo.pictures import gray, saved, scene, scene16, tiff
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bwcolor.batch.messages import Setup
from bwcolor.batch.outcome import Outcome
from bwcolor.batch.plan import Job
from bwcolor.batch.supervisor import Supervisor
from bwcolor.options import ColorizeOptions

TROUBLE = str(Path(__file__).with_name("faulty_worker.py"))
WORKER = (sys.executable, TROUBLE, "worker")
BWCOLOR = (sys.executable, "-m", "bwcolor")
TROUBLED = (sys.executable, TROUBLE, "run")  # the same with workers that misbehave where a photo says so
LONG = 60.0  # seconds after which a test gives up waiting

FORMATS: dict[str, Callable[[int], bytes]] = {
    "png": lambda seed: saved(gray(scene(24, 32, seed)), "PNG"),
    "jpg": lambda seed: saved(gray(scene(24, 32, seed)), "JPEG", quality=90),
    "tif": lambda seed: tiff(scene16(24, 32, seed)),
    "webp": lambda seed: saved(gray(scene(24, 32, seed)).convert("RGB"), "WEBP", quality=80),
    "avif": lambda seed: saved(gray(scene(24, 32, seed)), "AVIF", quality=80, speed=10),
    "bmp": lambda seed: saved(gray(scene(24, 32, seed)), "BMP"),
    "gif": lambda seed: saved(gray(scene(24, 32, seed)), "GIF"),
    "jp2": lambda seed: saved(gray(scene(24, 32, seed)), "JPEG2000"),
}


def photo(path: Path, trouble: str = "", seed: int = 0) -> Path:
    """A small gray PNG, of which faulty_worker.py knows what it does to a decoder."""
    notes = PngInfo()
    if trouble:
        notes.add_text("Comment", f"trouble:{trouble};")
    path.parent.mkdir(parents=True, exist_ok=True)
    gray(scene(24, 32, seed)).save(path, "PNG", pnginfo=notes)
    return path


def photos(folder: Path, count: int, trouble: str = "") -> list[Path]:
    """So many PNGs, no two the same."""
    return [photo(folder / f"{number:03}.png", trouble, number) for number in range(count)]


def mixed(folder: Path, count: int) -> None:
    """Photos of all FORMATS in turn, some in sub-folders."""
    made = {(kind, seed): make(seed) for kind, make in FORMATS.items() for seed in range(3)}
    for number in range(count):
        kind = list(FORMATS)[number % len(FORMATS)]
        path = folder / ("", "Été 1931", "box/roll 2")[number % 3] / f"{number:03}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made[kind, number // len(FORMATS) % 3])


def supervisor(
    model: Path | str, timeout: float = LONG, jobs: int = 2, memory: int = 0, command: tuple[str, ...] = WORKER
) -> Supervisor:
    """One with workers that misbehave where a photo says so."""
    return Supervisor(Setup(str(model), "cpu", ColorizeOptions(jobs=jobs), memory), timeout, command)


def ends(worker: Supervisor, jobs: list[Job]) -> dict[str, Outcome]:
    """What became of each photo, by name; each must end just once."""
    outcomes = list(worker.colorize(jobs, lambda _: None))
    assert len({outcome.job.source for outcome in outcomes}) == len(outcomes) == len(jobs)
    return {outcome.job.source.name: outcome for outcome in outcomes}


def jobs_for(sources: list[Path], out: Path) -> list[Job]:
    """Each photo with an output of its name in `out`."""
    return [Job(source, out / source.name, "png") for source in sources]


def files(folder: Path) -> dict[str, str]:
    """The hash of each file below a folder, without our own folder and report."""
    found = {}
    for path in sorted(folder.rglob("*")):
        ours = ".bwcolor" in path.relative_to(folder).parts or path.name == "bwcolor-report.jsonl"
        with contextlib.suppress(FileNotFoundError):  # a run goes on, and its unfinished files vanish
            if path.is_file() and not ours:
                found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def states(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Bytes, time of change and permissions of each file below a folder, of links where they lead."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        if path.is_symlink():
            found[str(path)] = (os.fsencode(path.readlink()), status.st_mtime_ns, status.st_mode)
        elif path.is_file():
            found[str(path)] = (path.read_bytes(), status.st_mtime_ns, status.st_mode)
    return found


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended. seconds: that it took."""

    code: int
    out: str
    err: str
    seconds: float


@contextlib.contextmanager
def started(
    *arguments: object, command: tuple[str, ...] = BWCOLOR, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A running command, the leader of a process group; gone, with its worker, after the block."""
    process = subprocess.Popen(
        [*command, *(os.fsencode(argument) if isinstance(argument, Path) else str(argument) for argument in arguments)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        env={**os.environ, "PYTHONUTF8": "1", **(environment or {})},
    )  # fmt: skip
    workers: list[int] = []
    try:
        yield process
        workers = children(process.pid)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def end_of(process: subprocess.Popen[bytes]) -> Ended:
    """Waits for the end of a command."""
    begun = time.monotonic()
    out, err = process.communicate(timeout=LONG)
    took = time.monotonic() - begun
    return Ended(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"), took)


def run(*arguments: object, command: tuple[str, ...] = BWCOLOR, environment: dict[str, str] | None = None) -> Ended:
    """A command from its start to its end."""
    with started(*arguments, command=command, environment=environment) as process:
        return end_of(process)


def children(pid: int) -> list[int]:
    """The processes that a process has started, of all its threads."""
    found = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (thread / "children").read_text().split()]
    return found


def alive(pid: int) -> bool:
    """Whether a process is there and not dead already."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def until(condition: Callable[[], object], seconds: float = LONG) -> None:
    """Waits for something to become true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.005)


def leftovers(folder: Path) -> list[Path]:
    """Unfinished files."""
    return list(folder.rglob("*.part"))


def in_colour(path: Path) -> bool:
    """Whether a picture has colours."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    return bool(np.ptp(pixels, axis=2).max() > 5)
