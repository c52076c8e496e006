"""Peak memory and time of whole runs, each in a child process of its own.

    python benchmarks/memory.py [--model NAME|FILE.onnx] [--json FILE]

Makes gray photos of several sizes and formats, colorizes each with the installed `bwcolor` and reads
the child's peak resident memory from the operating system (Linux and macOS).
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from children import apart, bwcolor_command, cost_of

CASES = (  # name, width, height in px, bits
    ("12_megapixels.jpg", 4000, 3000, 8),
    ("12_megapixels.tif", 4000, 3000, 16),
    ("140_megapixels.jpg", 13_660, 10_250, 8),
    ("120_megapixels_16_bit.tif", 12_650, 9_490, 16),
    ("120_megapixels_8_in_16_bit_lzw.tif", 12_650, 9_490, 16),
    ("120_megapixels_16_bit_rgb.tif", 12_650, 9_490, 16),
    ("24_megapixels.png", 6000, 4000, 8),
    ("24_megapixels_16_bit.png", 6000, 4000, 16),
    ("1x1.png", 1, 1, 8),
    ("1x5000.png", 1, 5000, 8),
    ("5000x1.png", 5000, 1, 8),
    ("255x333.jpg", 255, 333, 8),
    ("20000x300.jpg", 20_000, 300, 8),
)


def make_photo(path: Path, width: int, height: int, bits: int) -> None:
    """Soft shapes with grain: compresses about as a scan does."""
    import cv2
    import numpy as np
    import tifffile
    from PIL import Image

    rng = np.random.default_rng(0)
    coarse = rng.uniform(40, 215, (max(1, height // 400), max(1, width // 400))).astype(np.float32)
    gray = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    for top in range(0, height, 500):
        rows = gray[top : top + 500]
        rows += rng.normal(0, 4, rows.shape).astype(np.float32)
    np.clip(gray, 0, 255, out=gray)
    if "_8_in_16" in path.name:  # values of 8 bits in 16, as of scanners that have no more; LZW makes them smaller
        gray = gray.astype(np.uint8)
    pixels = (gray * np.uint16(257)).astype(np.uint16) if bits == 16 else gray.astype(np.uint8)
    if "_rgb" in path.name:  # page memory of its own, not that of the benchmark's child
        written = tifffile.memmap(path, shape=(height, width, 3), dtype=pixels.dtype, photometric="rgb")
        for channel in range(3):
            written[..., channel] = pixels
        written.flush()
    elif path.suffix == ".tif":
        compression = "lzw" if "_lzw" in path.name else None
        tifffile.imwrite(path, pixels, photometric="minisblack", compression=compression, predictor=bool(compression))
    else:
        Image.fromarray(pixels).save(path, **({"quality": 90} if path.suffix == ".jpg" else {"compress_level": 1}))


def measure(photo: Path, out: Path, model: str) -> dict[str, object]:
    """Colorizes one photo in a child process: exit code, wall seconds, peak memory in MB."""
    cost = cost_of(bwcolor_command(photo, out, "-q", "--model", model))
    return {
        "photo": photo.name,
        "exit_code": cost.exit_code,
        "seconds": round(cost.wall, 2),
        "cpu_seconds": round(cost.cpu, 2),
        "peak_mb": round(cost.peak),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--cases", nargs="*", default=[name for name, *_ in CASES], help="Only these.")
    arguments = parser.parse_args()
    results = []
    sys.stdout.write(f"{'photo':28}{'exit':>6}{'wall s':>9}{'CPU s':>9}{'peak MB':>10}\n")
    with tempfile.TemporaryDirectory() as folder:
        for name, width, height, bits in CASES:
            if name not in arguments.cases:
                continue
            photo = Path(folder, name)
            apart(make_photo, photo, width, height, bits)
            result = measure(photo, Path(folder, "out"), arguments.model)
            results.append(result)
            sys.stdout.write(
                f"{name:28}{result['exit_code']:>6}{result['seconds']:>9}{result['cpu_seconds']:>9}"
                f"{result['peak_mb']:>10}\n"
            )
            photo.unlink()
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return max(1 if result["exit_code"] else 0 for result in results)


if __name__ == "__main__":
    sys.exit(main())
