"""A photo's file as other programs see it: decoders here are not bwcolor's own."""

import io
import warnings
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageOps

Pixels = NDArray[Any]

WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R BT.601-7, 2.5.1
TITLE = b"Grossmutters Garten"  # what XMP is known by
DOTS = 300  # per inch, what a resolution is known by
AI_LABEL = b"compositeWithTrainedAlgorithmicMedia"
# Stored pixels -> upright, by EXIF's orientation (EXIF 2.32, 4.6.4).
TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda x: x, 2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1), 6: lambda x: np.rot90(x, -1), 7: lambda x: x.swapaxes(0, 1)[::-1, ::-1],
    8: lambda x: np.rot90(x),
}  # fmt: skip


def luma(rgb: Pixels) -> Pixels:
    """(h, w, 3) -> (h, w), on the same scale."""
    return np.asarray(rgb @ np.array(WEIGHTS))


def y_plane(content: bytes) -> Pixels:
    """The luma that a JPEG stores, (h, w) uint8, as Pillow's libjpeg decodes it."""
    with Image.open(io.BytesIO(content)) as image:
        image.draft("L", image.size)
        return np.asarray(image)


def form(content: bytes) -> str:
    with Image.open(io.BytesIO(content)) as image:
        return (image.format or "").lower()


def decoded(content: bytes) -> tuple[list[Pixels], Pixels | None]:
    """RGB (h, w, 3) of each page, uint8 or uint16, upright, and alpha (h, w) of the first."""
    pixels = []
    if content[:4] == b"\x89PNG" and content[24] == 16:
        pixels.append(TURNS[facts(content).get("orientation", 1)](imagecodecs.png_decode(content)))
    elif content[:2] in (b"II", b"MM"):
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            found = [page.aspage() for page in file.pages]
            if any(page.bitspersample == 16 for page in found):  # which Pillow cuts to 8
                pixels = [TURNS[page.tags.valueof(274, 1)](page.asarray()) for page in found]
    if not pixels:
        with Image.open(io.BytesIO(content)) as image:
            for number in range(getattr(image, "n_frames", 1)):
                image.seek(number)
                pixels.append(np.asarray(ImageOps.exif_transpose(image)))
    assert all(page.ndim == 3 and page.shape[2] in (3, 4) for page in pixels)
    alpha = pixels[0][..., 3] if pixels[0].shape[2] == 4 else None
    return [page[..., :3] for page in pixels], alpha


def facts(content: bytes) -> dict[str, Any]:
    """What describes a photo, as Pillow finds it."""
    try:
        with warnings.catch_warnings(action="ignore"):
            image = Image.open(io.BytesIO(content))
    except OSError:  # 12-bit and lossless JPEGs, BigTIFF in big-endian order
        return {}
    with image:
        if image.format == "PNG":
            image.load()
        data = image.getexif()
        packet = image.info.get("xmp") or getattr(image, "tag_v2", {}).get(700) or b""
        orientation = image.info.get("original_orientation") or data.get(274, 1)  # the first: of a HEIC
        places = {tag: str(value) for tag, value in data.get_ifd(34853).items()}
        in_exif = (data[282], data[283]) if {282, 283} <= data.keys() and data.get(296, 2) == 2 else None
        dpi = image.info.get("dpi", in_exif)
        found = {
            "orientation": orientation if orientation != 1 else None,
            "artist": data.get(315),
            "GPS": places or None,
            "XMP": True if TITLE in packet else None,
            "resolution": tuple(round(dots) for dots in dpi) if dpi and round(dpi[0]) == DOTS else None,
            "profile": _profile(image),
            "label": True if AI_LABEL in packet else None,
        }
    return {name: value for name, value in found.items() if value is not None}


def _profile(image: Image.Image) -> str | None:
    """Whether a profile is there that fits; one for gray counts as RGB, which it has to become."""
    icc = image.info.get("icc_profile")
    if not icc:
        return None
    if icc[16:20] == b"GRAY":  # which viewers refuse with RGB
        return "RGB" if image.mode in ("1", "L", "LA", "I;16") else "gray profile on colours"
    return "RGB" if icc[16:20] == b"RGB " else "?"
