"""What the stages of one photo cost, each alone, in one thread; and what the disk takes for its output.

    python benchmarks/stages.py PHOTO [--json FILE]

PHOTO is a gray JPEG or a gray TIFF. Processor milliseconds, the best of several. benchmarks/endtoend.py puts them
beside the processor time of whole runs.
"""

import argparse
import hashlib
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
import tifffile

from bwcolor.batch.memory_budget import PixelBudget
from bwcolor.batch.plan import Job
from bwcolor.batch.process_photo import colorize_photo
from bwcolor.imaging.gamut import STRIP_ROWS, chroma_strips, compose_pixels, composed_strips
from bwcolor.inference.onnx_model import OnnxModel
from bwcolor.inference.predict import predict_chroma
from bwcolor.inference.registry import load
from bwcolor.options import ColorizeOptions
from bwcolor.photo.encode import chroma_quantization
from bwcolor.photo.formats.jpeg import GrayEncoder, carry_luma
from bwcolor.photo.formats.tiffpages import decode_tiff_page, page_layout

TIMES = 7  # of which the best counts
PARTS = ("decode", "network", "compose", "encode", "splice")  # what a photo needs at least, whoever does it
CODEC = ("decode", "encode", "splice")
Works = dict[str, Callable[[], object]]


def stage_costs(photo: Path, folder: Path) -> dict[str, object]:
    """Of a gray photo. folder: on the disk that is to be measured.

    decode: file to luma. network: luma to chroma, the reduction of the photo included. compose: chroma enlarged and
    fitted to the gamut; for a TIFF also RGB made. encode: chroma, or RGB, compressed. splice: luma carried over.
    hash: of input and output. write: output written and flushed.
    """
    cv2.setNumThreads(1)
    model = load("default", "cpu")
    assert isinstance(model, OnnxModel)
    out = folder / f"stages{photo.suffix}"
    options = ColorizeOptions(detail="fast", overwrite=True)
    outcome = colorize_photo(Job(photo, out), model, options, PixelBudget(10**9))
    if outcome.state != "done":
        raise SystemExit(f"{photo}: {outcome.reason}")
    source, made = photo.read_bytes(), out.read_bytes()
    works = _jpeg(source, model) if photo.suffix == ".jpg" else _tiff(source, made, model)
    works["hash"] = lambda: [hashlib.sha256(content).digest() for content in (source, made)]
    works["write"] = lambda: _written(made, out)
    found: dict[str, object] = {"ms": {name: _milliseconds(work) for name, work in works.items()}}
    found |= {"model": model.label, "bytes in": len(source), "bytes out": len(made)}
    found["disk s a photo"] = _disk_seconds(made, folder)
    return found


def _jpeg(source: bytes, model: OnnxModel) -> Works:
    luma = np.asarray(simplejpeg.decode_jpeg(source, "GRAY"))[..., 0]
    chroma = predict_chroma(luma, 1, model, "fast")
    planes = [[strip[at] for strip in chroma_strips(luma, chroma, "420")] for at in (0, 1)]

    def encoded() -> list[bytes]:
        encoders = [GrayEncoder(chroma_quantization(92), False) for _ in planes]
        for encoder, plane in zip(encoders, planes, strict=True):
            for strip in plane:
                encoder.add(strip)
        return [encoder.finish() for encoder in encoders]

    files = encoded()
    return {
        "decode": lambda: simplejpeg.decode_jpeg(source, "GRAY"),
        "network": lambda: predict_chroma(luma, 1, model, "fast"),
        "compose": lambda: list(chroma_strips(luma, chroma, "420")),
        "encode": encoded,
        "splice": lambda: b"".join(carry_luma(source, files)),
    }


def _tiff(source: bytes, made: bytes, model: OnnxModel) -> Works:
    decoded, _ = decode_tiff_page(io.BytesIO(source), 0)
    compression = page_layout(io.BytesIO(made), 0).compression
    luma = decoded.luma
    chroma = predict_chroma(luma, 1, model, "fast")
    colour = compose_pixels(luma, None, chroma)

    def encoded() -> int:
        out = io.BytesIO()
        tifffile.imwrite(
            out, colour, photometric="rgb", compression=compression, predictor=compression is not None,
            rowsperstrip=STRIP_ROWS, maxworkers=1, metadata=None,
        )  # fmt: skip
        return out.tell()

    return {
        "decode": lambda: decode_tiff_page(io.BytesIO(source), 0),
        "network": lambda: predict_chroma(luma, 1, model, "fast"),
        "compose": lambda: [None for _ in composed_strips(luma, None, chroma)],  # none is kept, as in a run
        "encode": encoded,
    }


def _written(content: bytes, path: Path) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _disk_seconds(content: bytes, folder: Path) -> float:
    """Wall seconds for an output written and flushed, with as many at once as there are cores; the best of several."""
    threads = os.cpu_count() or 1
    paths = [folder / f"disk{number}" for number in range(4 * threads)]
    best = float("inf")
    with ThreadPoolExecutor(threads) as crew:
        for _ in range(3):
            started = time.monotonic()
            list(crew.map(lambda path: _written(content, path), paths))
            best = min(best, (time.monotonic() - started) / len(paths))
    for path in paths:
        path.unlink()
    return best


def _milliseconds(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(TIMES):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return 1000 * best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = stage_costs(chosen.photo, Path(folder))
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
