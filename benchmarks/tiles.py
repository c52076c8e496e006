"""What tiles cost and give: error against true colours, seams, time and memory for each size of tile, beside none.

    python benchmarks/tiles.py PHOTOS [--model NAME|FILE.onnx] [--sizes 96 128 192 256 384] [--judged 0.5] [--json FILE]

PHOTOS: in colour; each is made gray (BT.601) and colorized at its own size, then judged when reduced to --judged
megapixels. "none" is --detail auto, a number is --detail max with tiles of that side. psnr, de00: against the truth, as
they are; "as colourful": with chroma multiplied so that the colourfulness is that of "none", since a dull model gains
both. apart: CIEDE2000 between the outputs with this size and with the model's own, mean and worst photo. seams: how
much chroma changes from pixel to pixel at the tiles' borders over how much it does elsewhere, and that over the same
of "none" at the same places: photos are not alike everywhere. ms: processor time of a photo's
colours; MB: peak memory of a child process that does that for one photo of 12 megapixels.
"""

import argparse
import dataclasses
import json
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bwcolor.batch.plan import find_jobs
from bwcolor.imaging.color import Array, luma, rgb_to_lab
from bwcolor.imaging.gamut import compose_pixels
from bwcolor.imaging.metrics import Scores, ciede2000, score, summarize
from bwcolor.imaging.resizing import scaled_size
from bwcolor.inference.onnx_model import OnnxModel
from bwcolor.inference.predict import OVERLAP, WORKING_SCALE, predict_chroma
from bwcolor.inference.registry import load
from bwcolor.inference.tiling import plan_tiles
from bwcolor.options import Detail
from bwcolor.photo.scan import read_rgb

Picture = NDArray[np.uint8]
NONE = "none"


def with_tiles(model: OnnxModel, way: str) -> tuple[OnnxModel, Detail]:
    """The model and --detail of a way: "none", or the side of tiles."""
    if way == NONE:
        return model, "auto"
    return dataclasses.replace(model, spec=dataclasses.replace(model.spec, tile_size=int(way))), "max"


def seams(chroma: Array, side: int) -> float:
    """How much chroma (h, w, 2) changes from one pixel to the next at borders of tiles of `side` px, over elsewhere."""
    height, width = chroma.shape[:2]
    at, elsewhere = [], []
    tiles = plan_tiles(max(height, side), max(width, side), side, int(side * OVERLAP))
    for axis, length in ((0, height), (1, width)):
        starts = {(tile.top, tile.left)[axis] for tile in tiles}
        borders = {edge - 1 for start in starts for edge in (start, start + side) if 0 < edge < length}
        change = np.abs(np.diff(chroma, axis=axis)).mean((1 - axis, 2))
        at += [float(change[row]) for row in borders]
        elsewhere += [float(change[row]) for row in range(length - 1) if row not in borders]
    return float(np.mean(at) / np.mean(elsewhere)) if at else 1.0


def memory(model: str, way: str) -> float:
    """MB that a process takes at most which only makes the colours of a made-up photo of 12 megapixels."""
    command = [sys.executable, __file__, "--child", way, "--model", model]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def child(model: OnnxModel, way: str) -> float:
    network, detail = with_tiles(model, way)
    photo = np.random.default_rng(0).integers(0, 255, (3000, 4000), np.uint8)
    predict_chroma(photo, 1, network, detail)
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    status = Path("/proc/self/status").read_text()  # Linux's other figure begins with what the parent holds
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024 / 1e6


def measure(paths: list[Path], model: OnnxModel, ways: list[str], judged: float) -> dict[str, dict[str, float]]:
    own = str(model.spec.tile_size)
    scores: dict[str, list[Scores]] = {way: [] for way in ways}
    apart: dict[str, list[float]] = {way: [] for way in ways}
    borders: dict[str, list[float]] = {way: [] for way in ways}
    seconds = dict.fromkeys(ways, 0.0)
    kept: list[tuple[Picture, Picture, dict[str, Array]]] = []
    for path in paths:
        truth = read_rgb(path)
        gray = np.round(luma(truth.astype(np.float32))).astype(np.uint8)
        working = scaled_size(*gray.shape, WORKING_SCALE * model.spec.network_size)
        small = scaled_size(*gray.shape, int(1000 * judged**0.5))
        truth = cv2.resize(truth, small[::-1], interpolation=cv2.INTER_AREA)
        seen = np.round(luma(truth.astype(np.float32))).astype(np.uint8)
        found = {}
        for way in ways:
            network, detail = with_tiles(model, way)
            started = time.process_time()
            found[way] = predict_chroma(gray, 1, network, detail)
            seconds[way] += time.process_time() - started
        untiled = cv2.resize(found[NONE], working[::-1], interpolation=cv2.INTER_CUBIC)
        for way in ways[1:]:
            tiled = cv2.resize(found[way], working[::-1], interpolation=cv2.INTER_CUBIC)
            borders[way].append(seams(tiled, int(way)) / seams(untiled, int(way)))
        outputs = {way: compose_pixels(seen, None, chroma) for way, chroma in found.items()}
        for way in ways:
            scores[way].append(score(outputs[way], truth))
            difference = ciede2000(rgb_to_lab(outputs[way] / 255), rgb_to_lab(outputs[own] / 255))
            apart[way].append(float(difference.mean()))
        kept.append((seen, truth, found))
    table = {}
    vivid = summarize(scores[NONE]).colourfulness_ratio
    for way in ways:
        plain = summarize(scores[way])
        factor = vivid / plain.colourfulness_ratio
        equal = summarize([score(compose_pixels(g, None, factor * found[way]), t) for g, t, found in kept])
        better = np.mean([mine.de00 < none.de00 for mine, none in zip(scores[way], scores[NONE], strict=True)])
        table[way] = {
            "psnr": plain.psnr, "de00": plain.de00, "colourfulness": plain.colourfulness_ratio,
            "as colourful psnr": equal.psnr, "as colourful de00": equal.de00, "photos better": float(better),
            "apart": float(np.mean(apart[way])), "apart worst": max(apart[way]),
            "seams": float(np.exp(np.mean(np.log(borders[way])))) if borders[way] else 1.0,
            "ms": 1000 * seconds[way] / len(kept),
        }  # fmt: skip
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="?")
    parser.add_argument("--model", default="default")
    parser.add_argument("--sizes", nargs="+", type=int, default=[96, 128, 192, 256, 384])
    parser.add_argument("--judged", type=float, default=0.5, metavar="MEGAPIXELS")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    model = load(arguments.model, "cpu")
    if not isinstance(model, OnnxModel) or model.spec.shape == "square":
        parser.error("--model: one that keeps a photo's aspect, and no average")
    if arguments.child:
        sys.stdout.write(str(child(model, arguments.child)))
        return 0
    if arguments.photos is None:
        parser.error("PHOTOS is missing")
    sides = sorted({model.spec.tile_size, *arguments.sizes})
    ways = [NONE, *map(str, sides)]
    paths = [job.source for job in find_jobs(arguments.photos, None).jobs]
    table = measure(paths, model, ways, arguments.judged)
    sys.stdout.write(
        f"{model.label}, {len(paths)} photos of {arguments.photos}, its own tiles {model.spec.tile_size} px\n"
    )
    for way, row in table.items():
        row["MB"] = memory(arguments.model, way)
        sys.stdout.write(f"{way:>5} " + ", ".join(f"{name} {value:.4g}" for name, value in row.items()) + "\n")
    if arguments.json:
        arguments.json.write_text(json.dumps({"model": model.label, "ways": table}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
