"""Size, error and CPU time of a model's precisions, side by side in one run, with ResNet-18 as yardstick.

    python benchmarks/precisions.py FP32.onnx [FP16.onnx INT8.onnx ...] [--photos FOLDER] [--rounds N] [--json FILE]

CPU time: one thread, the files in turn, again and again; the smallest of all rounds counts, so that other
work on the machine disturbs little. Yardstick: torchvision's resnet18 exported in fp32, at 256 x 256, untrained
(that changes no time). Error: CIEDE2000 of each file against the first on photos, as the networks see them: those
of the package, or of a folder (each reduced to its 256 px centre square, as `bwcolor eval` does).
"""

import argparse
import io
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
import torch
import torchvision
from bwcolor_export.photos import as_seen, bundled_lumas, cut_to
from numpy.typing import NDArray

from bwcolor.checks.evaluate import square
from bwcolor.imaging.color import compose, luma, rgb_to_lab
from bwcolor.imaging.metrics import ciede2000
from bwcolor.inference.onnx_model import OnnxModel
from bwcolor.inference.session import load_model
from bwcolor.models.model_io import network_chroma, network_input
from bwcolor.photo.formats.known import EXTENSIONS
from bwcolor.photo.scan import read_rgb

SIZES = ((256, 256), (256, 320))  # height, width in px
SIDE = 256  # px of the squares that photos of a folder are reduced to
YARDSTICK = "resnet18 fp32"
Run = Callable[[], object]
Floats = NDArray[np.float32]


def resnet18() -> ort.InferenceSession:
    """torchvision's classifier, exported as our models are, on one thread."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations
        program = torch.onnx.export(
            torchvision.models.resnet18(weights=None).eval(), (torch.rand(1, 3, *SIZES[0]),), dynamo=True, verbose=False
        )
    assert program is not None
    program.save(content)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(content.getvalue(), options, providers=["CPUExecutionProvider"])


def cpu_times(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """Smallest CPU milliseconds of each, all taking turns."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            started = time.process_time()
            run()
            best[name] = min(best[name], 1e3 * (time.process_time() - started))
    return best


def lumas_of(folder: Path | None) -> list[Floats]:
    """Photos as (height, width), float32, 0..1."""
    if folder is None:
        return bundled_lumas()
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS)
    squares = (square(read_rgb(path), SIDE) for path in paths)
    return [np.round(luma(rgb.astype(np.float32))).astype(np.float32) / 255 for rgb in squares]


def colours(model: OnnxModel, seen: Floats) -> NDArray[np.float64]:
    """CIELAB of a luma (height, width) with the model's colours; sides are padded to its multiple and cut again."""
    height, width = seen.shape
    multiple = model.spec.multiple
    padded = cv2.copyMakeBorder(seen, 0, -height % multiple, 0, -width % multiple, cv2.BORDER_REFLECT_101)[None]
    chroma = network_chroma(model.run(network_input(padded, model.spec)), padded, model.spec)
    return rgb_to_lab(compose(seen, chroma[0, :height, :width]))


def differences(models: dict[str, OnnxModel], lumas: list[Floats]) -> dict[str, dict[str, float]]:
    """CIEDE2000 of each model against the first: mean and 99th percentile over pixels, mean of the worst photo."""
    first, *_ = models.values()
    found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in models}
    for one in lumas:
        seen = as_seen(one, first.spec.network_size)
        truth = colours(first, seen)
        for name, model in models.items():
            found[name].append(ciede2000(truth, colours(model, seen)).ravel().astype(np.float32))
    return {
        name: {
            "de00_mean": float(np.concatenate(each).mean()),
            "de00_p99": float(np.percentile(np.concatenate(each), 99)),
            "de00_worst_photo": max(float(photo.mean()) for photo in each),
        }
        for name, each in found.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    models = {path.name: load_model(path, "cpu") for path in arguments.files}
    lumas = lumas_of(arguments.photos)
    error = differences(models, lumas)

    yardstick = resnet18()
    photo = np.random.default_rng(0).random((1, 3, *SIZES[0]), np.float32)
    times = {}
    for height, width in SIZES:
        fed = {name: network_input(cut_to(lumas[0], height, width)[None], model.spec) for name, model in models.items()}
        runs: dict[str, Run] = {name: lambda m=model, f=fed[name]: m.run(f) for name, model in models.items()}
        runs[YARDSTICK] = lambda: yardstick.run(None, {yardstick.get_inputs()[0].name: photo})
        times[f"{height}x{width}"] = cpu_times(runs, arguments.rounds)

    first = next(iter(models))
    sys.stdout.write(
        f"CIEDE2000 against {first} on {len(lumas)} photos; CPU ms, one thread, best of {arguments.rounds}\n"
    )
    sys.stdout.write(f"{'file':24}{'MB':>7}{'mean':>8}{'p99':>8}{'worst':>8}")
    for size in times:
        sys.stdout.write(f"{size + ' ms':>12}{'x faster':>10}")
    sys.stdout.write(f"{'of resnet18':>13}\n")
    results = []
    for path, name in zip(arguments.files, models, strict=True):
        row = {"file": name, "megabytes": path.stat().st_size / 1e6, **error[name]}
        sys.stdout.write(
            f"{name:24}{row['megabytes']:7.1f}{row['de00_mean']:8.3f}{row['de00_p99']:8.3f}{row['de00_worst_photo']:8.3f}"
        )
        for size, each in times.items():
            row[f"cpu_ms_{size}"], row[f"faster_{size}"] = each[name], each[first] / each[name]
            sys.stdout.write(f"{each[name]:12.1f}{each[first] / each[name]:10.2f}")
        row["of_resnet18"] = times["256x256"][name] / times["256x256"][YARDSTICK]
        sys.stdout.write(f"{row['of_resnet18']:13.2f}\n")
        results.append(row)
    sys.stdout.write(f"{YARDSTICK:24}{'':31}{times['256x256'][YARDSTICK]:12.1f}\n")
    if arguments.json:
        arguments.json.write_text(json.dumps({"times": times, "files": results}, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
