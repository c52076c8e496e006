"""Makes before_after.jpg: every example photo, and beside it what the bundled model makes of it.

python examples/make_before_after.py
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageOps

HERE = Path(__file__).resolve().parent
PHOTOS = ("portrait.jpg", "launch_pad.tif", "cat.png", "coffee.webp")
HEIGHT, GAP, COLUMNS = 300, 8, 2  # px of a picture, px between pictures, pairs in a row


def picture(path: Path) -> Image.Image:
    """One photo, upright, 8 bit, HEIGHT px high."""
    with Image.open(path) as image:
        if image.mode == "I;16":
            image = image.point(lambda value: value / 257).convert("L")
        upright = ImageOps.exif_transpose(image).convert("RGB")
    return upright.resize((round(upright.width * HEIGHT / upright.height), HEIGHT), Image.Resampling.LANCZOS)


def eight_bit(path: Path) -> Path:
    """A 16-bit colour TIFF as 8 bit, since Pillow can't show it; other files as they are."""
    if path.suffix != ".tif":
        return path
    import tifffile

    target = path.with_suffix(".png")
    Image.fromarray((tifffile.imread(path) // 257).astype("uint8")).save(target)
    return target


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        subprocess.run([sys.executable, "-m", "bwcolor", str(HERE / "photos"), "--out", folder, "-q"], check=True)
        pairs = [(picture(HERE / "photos" / name), picture(eight_bit(out / name))) for name in PHOTOS]
    rows = [pairs[start : start + COLUMNS] for start in range(0, len(pairs), COLUMNS)]
    widths = [sum(a.width + b.width for a, b in row) + GAP * (len(row) - 1) for row in rows]
    sheet = Image.new("RGB", (max(widths), len(rows) * (HEIGHT + GAP) - GAP), "white")
    for number, row in enumerate(rows):
        left, top = 0, number * (HEIGHT + GAP)
        for before, after in row:
            sheet.paste(before, (left, top))
            sheet.paste(after, (left + before.width, top))
            left += before.width + after.width + GAP
    sheet.save(HERE / "before_after.jpg", quality=88)


if __name__ == "__main__":
    main()
