"""How long until something is there: the help, and the first photo.

    python benchmarks/startup.py [--times 10] [--json FILE] [--plot FILE.png|webp]

`bwcolor --help` in turns with a bare Typer app of two commands, once with plain help as bwcolor has it and once with
Typer's own; the best of all turns counts. None of the modules that the help loads may be numpy's or onnxruntime's. Then
a folder with one gray JPEG of 12 megapixels: seconds from the start until its output is there, and until the run ends.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from children import apart, bwcolor_command, cost_of, ended, environment, keep, this_machine
from memory import make_photo

BARE = """
import typer

app = typer.Typer({settings})


@app.command()
def one(name: str, times: int = 1) -> None:
    "The first command."


@app.command()
def two(name: str) -> None:
    "The second command."


app()
"""
OURS, PLAIN, RICH = "bwcolor --help", "bare Typer app, plain help", "bare Typer app, rich help"
HEAVY = ("numpy", "onnxruntime", "cv2", "PIL", "torch")
LOOK = 0.001  # s between two looks for the first output


def help_times(times: int, work: Path) -> dict[str, float]:
    """Best seconds of each help, in turns; the first turn only fills the disk's cache."""
    commands = {OURS: [sys.executable, "-m", "bwcolor", "--help"]}
    for name, settings in ((PLAIN, "rich_markup_mode=None"), (RICH, "")):
        app = work / f"{name.replace(' ', '_')}.py"
        app.write_text(BARE.format(settings=settings))
        commands[name] = [sys.executable, str(app), "--help"]
    found: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(times + 1):
        for name, command in commands.items():
            cost = cost_of(command)
            if cost.exit_code:
                raise SystemExit(f"{name} failed")
            found[name].append(cost.wall)
    return {name: min(costs[1:]) for name, costs in found.items()}


def imported() -> list[str]:
    """The modules that `bwcolor --help` loads; ends the program when heavy ones are among them."""
    command = [sys.executable, "-X", "importtime", "-m", "bwcolor", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=environment()).stderr
    names = [line.rpartition("|")[2].strip() for line in told.splitlines() if line.startswith("import time:")]
    heavy = sorted(set(HEAVY) & {name.partition(".")[0] for name in names})
    if heavy:
        raise SystemExit(f"bwcolor --help imports {', '.join(heavy)}")
    return names


def first_photo(times: int, work: Path) -> dict[str, float]:
    """Seconds from the start until the output of the only photo is there, complete, and until the end."""
    photos, out = work / "photos", work / "out"
    photos.mkdir()
    apart(make_photo, photos / "photo.jpg", 4000, 3000, 8)
    written, ends = [], []
    for _ in range(times + 1):  # the first fills the disk's cache
        shutil.rmtree(out, ignore_errors=True)
        started = time.monotonic()
        child = subprocess.Popen(bwcolor_command(photos, out, "-q"), env=environment())
        while not (out / "photo.jpg").exists() and child.poll() is None:
            time.sleep(LOOK)
        written.append(time.monotonic() - started)
        cost = ended(child, started)
        if cost.exit_code:
            raise SystemExit("bwcolor failed")
        ends.append(cost.wall)
    return {
        "written s, best": min(written[1:]), "written s, median": statistics.median(written[1:]),
        "written s, worst": max(written[1:]), "ended s, best": min(ends[1:]),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        modules = imported()
        helps, first = help_times(chosen.times, Path(folder)), first_photo(chosen.times, Path(folder))
    ratio = helps[OURS] / helps[PLAIN]
    for name, seconds in {**helps, **first}.items():
        sys.stdout.write(f"{name:28}{seconds:8.3f} s\n")
    lines = [
        f"{OURS} over a bare Typer app with plain help: asked at most 1.5, measured {ratio:.2f}",
        f"{OURS} over a bare Typer app with rich help: measured {helps[OURS] / helps[RICH]:.2f}",
        f"{OURS}: asked to import neither numpy nor onnxruntime, measured {len(modules)} modules, neither among them",
        f"first photo written: asked at most 2 s, measured {first['written s, worst']:.2f} s at worst",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    found: dict[str, Any] = {
        "benchmark": "startup", "machine": this_machine(), "help s": helps, "first photo": first, "asked": lines,
        "modules": len(modules),
    }  # fmt: skip
    keep(found, chosen.json, chosen.plot)


if __name__ == "__main__":
    main()
