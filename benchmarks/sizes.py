"""Does a photo keep its colours whatever its size? CIEDE2000 between sizes of the same photo ("size roulette").

    python benchmarks/sizes.py PHOTOS [--model NAME|FILE.onnx] [--sizes 192 256 384 512] [--json FILE]

scan: the photo itself is reduced to each size (geometric mean of width and height) and colorized as always, which
is what a user does who scans at another resolution. network: the whole photo, shown to the network at each size,
which is what another --network-size at export would do. The colours of all sizes are put on the same photo, reduced
to the smallest size; for each two sizes: the mean over pixels and photos. Photos smaller than a size are left out.
"""

import argparse
import dataclasses
import itertools
import json
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bwcolor.batch.plan import find_jobs
from bwcolor.imaging.color import compose, luma, rgb_to_lab
from bwcolor.imaging.metrics import ciede2000, colourfulness
from bwcolor.imaging.resizing import reduced_to, scaled_size
from bwcolor.inference.onnx_model import OnnxModel
from bwcolor.inference.predict import predict_chroma
from bwcolor.inference.registry import load
from bwcolor.photo.scan import read_rgb


def colours(gray: NDArray[np.uint8], model: OnnxModel, sizes: list[int], way: str) -> list[NDArray[np.float32]]:
    """The photo at its smallest size, RGB in 0..1, once for each size at which its colours were found."""
    height, width = gray.shape
    small = scaled_size(height, width, min(sizes))
    base = reduced_to(gray.astype(np.float32) / np.float32(255), *small)
    found = []
    for size in sizes:
        if way == "scan":
            seen, network = reduced_to(gray, *scaled_size(height, width, size)), model
        else:
            seen, network = gray, dataclasses.replace(model, spec=dataclasses.replace(model.spec, network_size=size))
        chroma = predict_chroma(seen, 1, network, "auto")
        found.append(compose(base, cv2.resize(chroma, small[::-1], interpolation=cv2.INTER_AREA)))
    return found


def measure(paths: list[Path], model: OnnxModel, sizes: list[int], way: str) -> dict[str, object]:
    differences: dict[str, list[float]] = {f"{a}-{b}": [] for a, b in itertools.combinations(sizes, 2)}
    vivid: dict[int, list[float]] = {size: [] for size in sizes}
    for path in paths:
        gray = np.round(luma(read_rgb(path).astype(np.float32))).astype(np.uint8)
        if np.sqrt(gray.size) < max(sizes):
            continue
        outputs = dict(zip(sizes, colours(gray, model, sizes, way), strict=True))
        for size, output in outputs.items():
            vivid[size].append(colourfulness(output))
        for a, b in itertools.combinations(sizes, 2):
            differences[f"{a}-{b}"].append(float(ciede2000(rgb_to_lab(outputs[a]), rgb_to_lab(outputs[b])).mean()))
    if not vivid[sizes[0]]:
        sys.exit(f"No photo is as large as {max(sizes)} px.")
    return {
        "way": way,
        "photos": len(vivid[sizes[0]]),
        "de00": {pair: float(np.mean(each)) for pair, each in differences.items()},
        "de00_worst_photo": {pair: max(each) for pair, each in differences.items()},
        "colourfulness": {str(size): float(np.mean(each)) for size, each in vivid.items()},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--sizes", nargs="+", type=int, default=[192, 256, 384, 512])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    model = load(arguments.model, "cpu")
    if not isinstance(model, OnnxModel):
        parser.error("--model: one model, no average")
    if model.spec.shape == "square":
        parser.error("--model: one that keeps a photo's aspect")
    paths = [job.source for job in find_jobs(arguments.photos, None).jobs]
    results = [measure(paths, model, sorted(arguments.sizes), way) for way in ("scan", "network")]
    for result in results:
        sys.stdout.write(f"{model.label}, {result['way']}, {result['photos']} photos\n")
        for title in ("de00", "de00_worst_photo", "colourfulness"):
            values = result[title]
            assert isinstance(values, dict)
            sys.stdout.write(
                f"  {title:18}" + "".join(f"{key:>9} {value:5.2f}" for key, value in values.items()) + "\n"
            )
    if arguments.json:
        arguments.json.write_text(json.dumps({"model": model.label, "results": results}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
