"""The script that people write: the whole photo as Lab, one after the other, one thread.

python naive.py IN OUT MODEL
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort


def main(photos: Path, out: Path, model: str) -> None:
    cv2.setNumThreads(1)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    fed = session.get_inputs()[0].name
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(photos.iterdir()):
        gray = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        most = np.iinfo(gray.dtype).max
        luma = gray.astype(np.float32) / most
        height, width = luma.shape
        scale = 192 / np.sqrt(height * width)  # as the default model sees photos
        size = [max(32, round(side * scale / 32) * 32) for side in (width, height)]
        small = cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
        chroma = session.run(None, {fed: small[None, None]})[0][0].transpose(1, 2, 0)
        small_bgr = cv2.cvtColor(np.dstack([small, chroma[..., ::-1] + np.float32(0.5)]), cv2.COLOR_YCrCb2BGR)
        ab = cv2.cvtColor(small_bgr.clip(0, 1), cv2.COLOR_BGR2LAB)[..., 1:]
        lab = cv2.cvtColor(cv2.cvtColor(luma, cv2.COLOR_GRAY2BGR), cv2.COLOR_BGR2LAB)
        lab[..., 1:] = cv2.resize(ab, (width, height), interpolation=cv2.INTER_CUBIC)
        colour = cv2.cvtColor(lab, cv2.COLOR_LAB2BGR)
        cv2.imwrite(str(out / path.name), (colour * most).round().clip(0, most).astype(gray.dtype))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
