"""Makes bwcolor_export/photos: the example photos as a network sees them, for calibration and comparison.

python export/make_photos.py
"""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from bwcolor.imaging.orientation import upright
from bwcolor.imaging.resizing import scaled_size
from bwcolor.photo.scan import read_photo

HERE = Path(__file__).resolve().parent
EXAMPLES, TARGET = HERE.parent / "examples" / "photos", HERE / "bwcolor_export" / "photos"
SIZE = 256  # px, geometric mean of width and height: what the default model sees
QUALITY = 92  # of JPEG
NAMES = {  # as in examples/README.md, which says where they are from
    "portrait.jpg": "portrait", "portrait_sepia.jpg": "face", "cat.png": "cat", "coffee.webp": "coffee",
    "Großmutter & Söhne/Kaffee bei Großmutter.jpg": "cup", "launch_pad.tif": "launch_pad",
    "rocket_turned.jpg": "rocket",
}  # fmt: skip


def main() -> None:
    TARGET.mkdir(exist_ok=True)
    for source, name in NAMES.items():
        photo = read_photo(EXAMPLES / source, max_pixels=10**7)
        luma = upright(photo.luma, photo.orientation)
        height, width = scaled_size(*luma.shape, SIZE)
        small = cv2.resize(luma.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        pixels = np.round(small * (255 / np.iinfo(luma.dtype).max)).astype(np.uint8)
        Image.fromarray(pixels).save(TARGET / f"{name}.jpg", quality=QUALITY, optimize=True)


if __name__ == "__main__":
    main()
