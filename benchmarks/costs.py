"""What a photo costs in each output format: processor time and room on the disk, by which runs are estimated.

    python benchmarks/costs.py [--model NAME|FILE.onnx] [--rounds N] [--json FILE]

Colorizes a made-up gray scan of 12 megapixels from and to each format, all in one process, one after the other and
round by round, a tiny photo for what a photo of any size costs, and one no larger than the network sees it for what
that costs; seconds for a megapixel are without them. Processor time is that of all threads of the
process (getrusage; Linux and macOS), medians over rounds. bwcolor/batch/estimate.py holds the results as COSTS.
"""

import argparse
import json
import resource
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from bwcolor.batch.memory_budget import PixelBudget
from bwcolor.batch.plan import Job
from bwcolor.batch.process_photo import colorize_photo
from bwcolor.inference.registry import load
from bwcolor.inference.session import Model
from bwcolor.options import ColorizeOptions

WIDTH, HEIGHT = 4000, 3000  # px
TINY = (64, 48)  # px
SEEN = (222, 166)  # px, as large as the default model sees any photo: all of the network, hardly any pixels
GRAIN = 4.0  # levels of 255, standard deviation: as of a scanned print
CASES = ("a.jpg", "a.png", "a_16_bit.png", "a.tif", "a_16_bit.tif", "a.webp", "a.avif", "a.bmp", "tiny.jpg", "seen.jpg")


def scan(width: int, height: int) -> NDArray[np.float32]:
    """Soft shapes with grain, 0 to 255, which compress about as a scan does. Shape (height, width)."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(40, 215, (max(2, height // 400), max(2, width // 400))).astype(np.float32)
    gray = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(gray + GRAIN * rng.standard_normal((height, width), np.float32), 0, 255)


def make_photo(path: Path) -> int:
    """Writes the photo of a case; returns its number of pixels."""
    width, height = {"tiny.jpg": TINY, "seen.jpg": SEEN}.get(path.name, (WIDTH, HEIGHT))
    gray = scan(width, height)
    pixels = (gray * 257).astype(np.uint16) if "16_bit" in path.name else gray.astype(np.uint8)
    if path.suffix == ".tif":
        tifffile.imwrite(path, pixels, photometric="minisblack")
    else:
        settings: dict[str, dict[str, Any]] = {
            ".png": {"compress_level": 1},
            ".bmp": {},
            ".avif": {"quality": 80, "speed": 9},
        }
        Image.fromarray(pixels).save(path, **settings.get(path.suffix, {"quality": 90}))
    return width * height


def processor_time() -> float:
    """Seconds of this process so far, all threads, user and system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure(photo: Path, out: Path, model: Model) -> tuple[float, int]:
    """Colorizes a photo: seconds of processor time, and bytes of the output."""
    started = processor_time()
    outcome = colorize_photo(Job(photo, out), model, ColorizeOptions(overwrite=True), PixelBudget(WIDTH * HEIGHT))
    seconds = processor_time() - started
    if outcome.state != "done":
        raise SystemExit(f"{photo.name}: {outcome.reason}")
    return seconds, out.stat().st_size


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)  # as in a run
    model = load(arguments.model, "cpu")
    seconds: dict[str, list[float]] = {name: [] for name in CASES}
    pixels, size = dict.fromkeys(CASES, 0), dict.fromkeys(CASES, 0)
    with tempfile.TemporaryDirectory() as folder:
        for name in CASES:
            pixels[name] = make_photo(Path(folder, name))
        measure(Path(folder, "tiny.jpg"), Path(folder, "warm.jpg"), model)
        for _ in range(arguments.rounds):
            for name in CASES:
                spent, size[name] = measure(Path(folder, name), Path(folder, f"out_{name}"), model)
                seconds[name].append(spent)
    each = statistics.median(seconds["seen.jpg"])
    results = [
        {
            "case": name,
            "cpu_seconds": round(statistics.median(seconds[name]), 4),
            "cpu_seconds_per_megapixel": round(max(0, statistics.median(seconds[name]) - each) / pixels[name] * 1e6, 4),
            "bytes_per_pixel": round(size[name] / pixels[name], 3),
        }
        for name in CASES
    ]
    sys.stdout.write(f"{'photo':16}{'CPU s':>9}{'s/megapixel':>13}{'bytes/pixel':>13}\n")
    for result in results:
        sys.stdout.write(
            f"{result['case']:16}{result['cpu_seconds']:>9}{result['cpu_seconds_per_megapixel']:>13}"
            f"{result['bytes_per_pixel']:>13}\n"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
