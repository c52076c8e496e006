"""The way DDColor's own script works, with random weights, on which speed does not depend.

python ddcolor.py IN OUT SIZE, which is tiny or large. Needs torch and spandrel_extra_arches.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from spandrel_extra_arches.architectures.DDColor import DDColor

INPUT = 512  # px, the square that it squashes photos to
ENCODERS = {"tiny": "convnext-t", "large": "convnext-l"}


def main(photos: Path, out: Path, size: str) -> None:
    network = DDColor(
        encoder_name=ENCODERS[size], input_size=(INPUT, INPUT), num_output_channels=2, last_norm="Spectral",
        do_normalize=False, num_queries=100, num_scales=3, dec_layers=9,
    ).eval()  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(photos.iterdir()):
        photo = cv2.imread(str(path))
        height, width = photo.shape[:2]
        bgr = (photo / 255.0).astype(np.float32)
        luma = cv2.cvtColor(bgr, cv2.COLOR_BGR2Lab)[..., :1]
        small = cv2.cvtColor(cv2.resize(bgr, (INPUT, INPUT)), cv2.COLOR_BGR2Lab)[..., :1]
        gray = cv2.cvtColor(np.concatenate([small, np.zeros_like(small), np.zeros_like(small)], -1), cv2.COLOR_LAB2RGB)
        with torch.no_grad():
            ab = network(torch.from_numpy(gray.transpose(2, 0, 1)).float()[None])
        ab = torch.nn.functional.interpolate(ab, size=(height, width))[0].float().numpy().transpose(1, 2, 0)
        colour = cv2.cvtColor(np.concatenate([luma, ab], -1), cv2.COLOR_LAB2BGR)
        cv2.imwrite(str(out / path.name), (colour * 255.0).round().astype(np.uint8))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
