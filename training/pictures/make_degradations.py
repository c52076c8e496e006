"""Makes the pictures of ../README.md: what each degradation does to an example photo at its default strength.

python training/pictures/make_degradations.py

Left the photo; in the middle the draw that changes it neither most nor least, right the one that changes it
most, of 63 draws from among the photos that the degradation befalls. film.webp: colours (as the
bundled model sees them), then the three kinds of film. all.webp: the photo and five draws of everything at once.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from bwcolor_training.data import degrade
from PIL import Image, ImageOps
from torch import Tensor

HERE = Path(__file__).resolve().parent
PHOTOS = HERE.parents[1] / "examples" / "photos"
SIZE, GAP = (220, 180), 6  # px of a picture, width and height; px between pictures
DRAWS = 63
DEFAULT = degrade.Degradation()


def whole(gray: Tensor) -> degrade.Degraded:
    """Gray photos (N, 1, H, W) of gray things."""
    return degrade.Degraded(gray, gray, torch.zeros_like(gray).repeat(1, 2, 1, 1))


Change = Callable[[Tensor, torch.Generator], Tensor]
# Picture: photo, and what is done to it. A share of 1 shows the photos that the degradation befalls.
PICTURES: dict[str, tuple[str, Change]] = {
    "tone": ("portrait.jpg", lambda gray, generator: degrade.tone(gray, DEFAULT.tone_jitter, generator)),
    "blur": ("cat.png", lambda gray, generator: degrade.blur(gray, DEFAULT.blur, generator)),
    "grain": ("portrait.jpg", lambda gray, generator: degrade.grain(gray, DEFAULT.grain, generator)),
    "fade": ("portrait.jpg", lambda gray, generator: degrade.fade(gray, DEFAULT.fade, generator)),
    "paper": ("portrait.jpg", lambda gray, generator: degrade.paper(gray, 1.0, generator)),
    "dust": ("portrait.jpg", lambda gray, generator: degrade.dust(gray, 1.0, generator)),
    "frame": ("cat.png", lambda gray, generator: degrade.frame(whole(gray), 1.0, generator).gray),
    "jpeg": ("cat.png", lambda gray, generator: degrade.jpeg(gray, 1.0, generator)),
}


def photo(path: Path) -> Tensor:
    """One photo at SIZE, its top kept: RGB (1, 3, H, W) in 0..1."""
    with Image.open(path) as image:
        fitted = ImageOps.fit(image.convert("RGB"), SIZE, Image.Resampling.LANCZOS, centering=(0.5, 0.0))
    return torch.from_numpy(np.asarray(fitted, np.float32) / 255).permute(2, 0, 1)[None]


def typical_and_strongest(gray: Tensor, change: Change) -> list[Tensor]:
    """Two of DRAWS changes of one photo (1, 1, H, W), by the standard deviation of the difference."""
    changed = change(gray.repeat(DRAWS, 1, 1, 1), torch.Generator().manual_seed(5))
    order = (changed - gray).std(dim=(1, 2, 3)).argsort()
    return [changed[order[DRAWS // 2]], changed[order[-1]]]


def films(rgb: Tensor) -> list[Tensor]:
    """Colours (1, 3, H, W), and what each kind of film makes of them with the middle of its weights."""
    weights = torch.tensor(list(degrade.FILMS.values())).mean(2)
    return [rgb[0], *degrade.expose(rgb.repeat(len(weights), 1, 1, 1), weights)]


def save(pictures: list[Tensor], columns: int, name: str) -> None:
    """Pictures (1 or 3, H, W) in 0..1 in rows of `columns`, on gray, so that white borders show."""
    width, height = SIZE
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (width + GAP) - GAP, rows * (height + GAP) - GAP), "gray")
    for number, picture in enumerate(pictures):
        pixels = (picture.expand(3, -1, -1) * 255).round().byte().permute(1, 2, 0).numpy()
        place = (number % columns * (width + GAP), number // columns * (height + GAP))
        sheet.paste(Image.fromarray(np.ascontiguousarray(pixels)), place)
    sheet.save(HERE / f"{name}.webp", quality=70, method=6)


def main() -> None:
    for name, (file, change) in PICTURES.items():
        gray = degrade.to_luma(photo(PHOTOS / file))
        save([gray[0], *typical_and_strongest(gray, change)], 3, name)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "bwcolor", str(PHOTOS), "--out", folder, "-q"], check=True)
        coffee, portrait = (photo(Path(folder) / name) for name in ("coffee.webp", "portrait.jpg"))
    save(films(coffee), 4, "film")
    degraded = degrade.degrade(portrait.repeat(5, 1, 1, 1), DEFAULT, torch.Generator().manual_seed(8))
    save([degrade.to_luma(portrait)[0], *degraded.gray], 3, "all")


if __name__ == "__main__":
    main()
