"""Photos a second of whole runs, side by side with the script that people write and with DDColor's way.

    python benchmarks/endtoend.py [--photos 12] [--peers naive ddcolor-tiny] [--json FILE]

Makes gray photos of 12 megapixels (JPEG at 8 bits, TIFF at 16), runs each way as a process of its own over the folder
in turns, and prints wall and processor seconds a photo, start-up left out (a run over one photo is subtracted), with
ratios to bwcolor. Then what the parts of one JPEG cost alone, in one thread, against the processor time of the run.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from memory import make_photo

os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1"))  # one thread each, as bwcolor has
HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT = 4000, 3000  # px
KINDS = {"jpeg": (".jpg", 8), "tiff16": (".tif", 16)}


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a run over a folder: wall and processor seconds, and the largest process's memory in MB."""

    wall: float
    cpu: float
    peak: float


def command(way: str, photos: Path, out: Path) -> list[str]:
    """What runs the way over a folder."""
    if way == "naive":
        model = HERE.parent / "bwcolor" / "models" / "default-int8.onnx"
        return [sys.executable, str(HERE / "peers" / "naive.py"), str(photos), str(out), str(model)]
    if way.startswith("ddcolor-"):
        return [sys.executable, str(HERE / "peers" / "ddcolor.py"), str(photos), str(out), way.partition("-")[2]]
    detail = way.partition(" ")[2]
    return [
        sys.executable,
        "-m",
        "bwcolor",
        str(photos),
        "--out",
        str(out),
        "-q",
        "--detail",
        detail,
        "--device",
        "cpu",
    ]


def run(way: str, photos: Path, work: Path) -> Cost:
    """One run in a process of its own."""
    out = work / "out"
    shutil.rmtree(out, ignore_errors=True)
    started = time.monotonic()
    every = {**os.environ, "OMP_NUM_THREADS": str(os.cpu_count())} if way.startswith("ddcolor") else None
    child = subprocess.Popen(command(way, photos, out), stdout=subprocess.DEVNULL, env=every)
    _, status, usage = os.wait4(child.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{way} failed on {photos}")
    unit = 1e6 if sys.platform == "darwin" else 1e3  # bytes there, kilobytes here
    return Cost(time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit)


def compared(ways: list[str], photos: Path, one: Path, work: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Seconds a photo of each way, the best of several rounds in turns, start-up subtracted."""
    count = len(list(photos.iterdir()))
    found: dict[str, list[tuple[Cost, Cost]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            found[way].append((run(way, one, work), run(way, photos, work)))
    table = {}
    for way, costs in found.items():
        wall = min(many.wall - start.wall for start, many in costs) / (count - 1)
        cpu = min(many.cpu - start.cpu for start, many in costs) / (count - 1)
        table[way] = {
            "wall s a photo": wall, "cpu s a photo": cpu, "cores busy": cpu / wall,
            "first photo s": min(start.wall for start, _ in costs), "peak MB": max(many.peak for _, many in costs),
        }  # fmt: skip
    return table


def parts(photo: Path) -> dict[str, float]:
    """Processor milliseconds of what a gray JPEG needs at least, each alone, the best of several."""
    import cv2
    import numpy as np
    import simplejpeg

    from bwcolor.chroma import predict_chroma
    from bwcolor.formats.jpeg import GrayEncoder, carry_luma
    from bwcolor.output import chroma_quantization, chroma_strips
    from bwcolor.zoo import load

    cv2.setNumThreads(1)
    source = photo.read_bytes()
    luma = np.asarray(simplejpeg.decode_jpeg(source, "GRAY"))[..., 0]
    model = load("default", "cpu")
    chroma = predict_chroma(luma, 1, model, "fast")
    planes = [[strip[at] for strip in chroma_strips(luma, chroma, "420")] for at in (0, 1)]

    def encoded() -> list[bytes]:
        encoders = [GrayEncoder(chroma_quantization(92), False) for _ in planes]
        for encoder, plane in zip(encoders, planes, strict=True):
            for strip in plane:
                encoder.add(strip)
        return [encoder.finish() for encoder in encoders]

    files = encoded()
    work: dict[str, Callable[[], object]] = {
        "luma decoded": lambda: simplejpeg.decode_jpeg(source, "GRAY"),
        "network, with the photo reduced": lambda: predict_chroma(luma, 1, model, "fast"),
        "chroma enlarged and fitted": lambda: list(chroma_strips(luma, chroma, "420")),
        "chroma encoded": encoded,
        "luma carried over": lambda: b"".join(carry_luma(source, files)),
    }
    return {name: _milliseconds(one) for name, one in work.items()}


def _milliseconds(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(7):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return 1000 * best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--peers", nargs="*", default=["naive"], help="naive, ddcolor-tiny, ddcolor-large")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for kind in chosen.kinds:
            ending, bits = KINDS[kind]
            photos, one = work / kind, work / f"{kind} one"
            photos.mkdir()
            one.mkdir()
            make_photo(photos / f"00{ending}", WIDTH, HEIGHT, bits)
            for number in range(1, chosen.photos):
                shutil.copy(photos / f"00{ending}", photos / f"{number:02}{ending}")
            shutil.copy(photos / f"00{ending}", one)
            ways = ["bwcolor fast", "bwcolor auto", *chosen.peers]
            table = compared(ways, photos, one, work, chosen.rounds)
            ours = table["bwcolor auto"]
            sys.stdout.write(f"\n{kind}, {WIDTH} x {HEIGHT} px, {chosen.photos} photos\n")
            for way, row in table.items():
                row["times bwcolor auto"] = row["wall s a photo"] / ours["wall s a photo"]
                sys.stdout.write(f"{way:14}" + "  ".join(f"{name} {value:.3g}" for name, value in row.items()) + "\n")
            found[kind] = table
            if kind == "jpeg":
                alone = parts(photos / f"00{ending}")
                ratio = 1000 * ours["cpu s a photo"] / sum(alone.values())
                sys.stdout.write(
                    "parts alone, ms: " + ", ".join(f"{name} {value:.0f}" for name, value in alone.items())
                )
                sys.stdout.write(f"; together {sum(alone.values()):.0f}, the run {ratio:.2f} times as much\n")
                found["parts"] = {"ms": alone, "cpu of the run over their sum": ratio}
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
