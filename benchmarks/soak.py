"""A long run over small photos: does memory grow, and what does a photo cost?

    python benchmarks/soak.py --photos 10000

Makes photos of 96 x 64 px in four formats in a temporary folder, colorizes them with the default model in a run of the
command line, and reads the memory of both its processes every 100 photos (Linux). Growth is the slope of a line through
the last four fifths. A second run over the finished folder is timed too. Prints JSON.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from children import bwcolor_command, ended, environment
from PIL import Image

EVERY = 100  # photos between two looks at memory
FORMATS = (".jpg", ".png", ".tif", ".webp")
FOLDER = 1000  # photos in each folder


def make_photos(root: Path, count: int) -> None:
    """Photos of gray noise over a ramp, no two the same."""
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(64), np.arange(96)) * 1.2
    for number in range(count):
        folder = root / f"{number // FOLDER:03}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.clip(ramp + rng.normal(20, 12, ramp.shape), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:06}{FORMATS[number % len(FORMATS)]}")


def resident(pid: int) -> float:
    """Memory of a process, MB; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmRSS")), 0.0)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def run(photos: Path, out: Path) -> dict[str, object]:
    """One run of the command line: seconds, ends by state, and memory as it went on."""
    started = time.monotonic()
    command = bwcolor_command(photos, out, "--progress", "json")
    looks: list[tuple[int, float, float]] = []
    states: dict[str, int] = {}
    sums: dict[str, object] = {}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment()
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            record = json.loads(line)
            if record["record"] == "run":
                sums = record
                continue
            states[record["state"]] = states.get(record["state"], 0) + 1
            count = sum(states.values())
            if count % EVERY == 0:
                looks.append((count, resident(process.pid), sum(map(resident, children(process.pid)))))
        cost = ended(process, started)
    return {
        "seconds": round(cost.wall, 2), "cpu_seconds": round(cost.cpu, 2), "peak_mb": round(cost.peak),
        "exit_code": cost.exit_code, "states": states, "troubles": sums.get("troubles"), "looks": looks,
    }  # fmt: skip


def growth(looks: list[tuple[int, float, float]], column: int) -> float | None:
    """MB for 100 photos, by least squares over the last four fifths."""
    kept = [look for look in looks[len(looks) // 5 :] if look[column]]
    if len(kept) < 2:
        return None
    slope = np.polyfit([look[0] for look in kept], [look[column] for look in kept], 1)[0]
    return round(float(100 * slope), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=10_000)
    count = parser.parse_args().photos
    with tempfile.TemporaryDirectory() as folder:
        make_photos(Path(folder, "photos"), count)
        first = run(Path(folder, "photos"), Path(folder, "out"))
        second = run(Path(folder, "photos"), Path(folder, "out"))
    looks = first.pop("looks")
    second.pop("looks")
    assert isinstance(looks, list)
    found = {
        "photos": count,
        "first run": first,
        "second run": second,
        "MB at the end": {"parent": looks[-1][1], "worker": looks[-1][2]} if looks else None,
        "growth, MB for 100 photos": {"parent": growth(looks, 1), "worker": growth(looks, 2)},
    }
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
