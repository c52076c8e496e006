"""Pictures and fake models that the runtime's tests share."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms
from tiny_model import TINY_SPEC

from bwcolor.imaging.color import Array
from bwcolor.models.spec import ModelSpec
from bwcolor.photo.encode import Coding, Page, encode
from bwcolor.photo.formats.known import output_format
from bwcolor.photo.metadata.read import in_colour, read_metadata
from bwcolor.photo.metadata.xmp import Label
from bwcolor.photo.scan import Photo, open_scan

Gray8 = NDArray[np.uint8]
Gray16 = NDArray[np.uint16]

SRGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GRAY_PROFILE = SRGB_PROFILE[:16] + b"GRAY" + SRGB_PROFILE[20:]


def scene(height: int, width: int, seed: int = 0) -> Gray8:
    """Like a photo: soft shapes at several scales, an edge and grain; most of 0..255 occurs, so that networks see it as
    it is."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width), np.float32)
    for cells, amplitude in ((3, 60), (9, 30), (27, 15)):
        coarse = rng.normal(0, amplitude, (cells, cells)).astype(np.float32)
        picture += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    picture[:, width // 2 :] += 40
    picture += rng.normal(128, 3, picture.shape)
    low, high = np.percentile(picture, (0.5, 99.5))
    if low > 30 or high < 200:
        picture = 20 + (picture - low) * (210 / max(high - low, 1))
    return picture.clip(0, 255).round().astype(np.uint8)


def scene16(height: int, width: int, seed: int = 0) -> Gray16:
    """`scene` with 16 bits that are all used."""
    low = np.random.default_rng(seed).integers(0, 256, (height, width))
    return (scene(height, width, seed).astype(np.int64) * 256 + low).astype(np.uint16)


def gray(pixels: Gray8) -> Image.Image:
    return Image.fromarray(pixels)


def rgb(pixels: Gray8) -> Image.Image:
    """Gray stored as RGB."""
    return Image.fromarray(np.stack([pixels] * 3, -1))


def rgba(pixels: Gray8, alpha: Gray8) -> Image.Image:
    """Gray stored as RGB, and alpha."""
    return Image.fromarray(np.stack([pixels, pixels, pixels, alpha], -1))


def saved(image: Image.Image, kind: str, **settings: Any) -> bytes:
    """A picture as a file of a kind that Pillow writes."""
    out = io.BytesIO()
    image.save(out, kind, **settings)
    return out.getvalue()


def tiff(pixels: NDArray[Any], **settings: Any) -> bytes:
    """A TIFF as tifffile writes it."""
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, **settings)
    return out.getvalue()


class FakeModel:
    """A model that is a Python function: batch N1HW in 0..1 -> N2HW. It remembers what it was fed."""

    def __init__(self, function: Callable[[Array], Array], spec: ModelSpec = TINY_SPEC) -> None:
        self.spec = spec
        self.label = f"{spec.name} {spec.version}"
        self.sha256 = "0" * 64
        self.inputs: list[Array] = []
        self._function = function

    def run(self, batch: Array) -> Array:
        self.inputs.append(batch.copy())
        return self._function(batch)


def flat(cb: float, cr: float) -> Callable[[Array], Array]:
    """Chroma that is the same everywhere."""

    def function(batch: Array) -> Array:
        chroma = np.empty((len(batch), 2, *batch.shape[2:]), np.float32)
        chroma[:, 0], chroma[:, 1] = cb, cr
        return chroma

    return function


def png(pixels: Gray8 | Gray16, colour_type: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG written by hand, for what Pillow can't save. pixels: (h, w) or (h, w, channels); chunks go before IDAT."""
    height, width = pixels.shape[:2]
    rows = pixels.astype(pixels.dtype.newbyteorder(">"))
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, colour_type, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, body) for kind, body in parts)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bmp_with_alpha(rgba: Gray8) -> bytes:
    """A BMP whose header (BITMAPV4HEADER) says where alpha is, 300 dpi. rgba: (h, w, 4)."""
    height, width = rgba.shape[:2]
    pixels = rgba[::-1, :, [2, 1, 0, 3]].tobytes()
    header = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, len(pixels), 11811, 11811, 0, 0)
    header += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(48)
    start = 14 + len(header)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + header + pixels


def exif(orientation: int = 1, artist: str = "Lieselotte") -> Image.Exif:
    """EXIF data with an orientation and a name."""
    data = Image.Exif()
    data[274], data[315] = orientation, artist
    return data


def colorized(path: Path, content: bytes, chroma: Array, coding: Coding | None = None, label: Label | None = None,
              ) -> tuple[Photo, bytes, tuple[str, ...]]:  # fmt: skip
    """The photo read from `content`, the file made of it, and what was lost. path: where the source is put."""
    path.write_bytes(content)
    with open_scan(path, 10**9) as scan:
        photos = [scan.photo(number) for number in range(scan.header.pages)]
        about = [in_colour(metadata, label, None) for metadata in read_metadata(scan)]
        pages = (Page(photo, chroma, one) for photo, one in zip(photos, about, strict=True))
        out = io.BytesIO()
        lost = encode(scan, pages, coding or Coding(output_format(scan.header, None, False)), out)
    return photos[0], out.getvalue(), lost
