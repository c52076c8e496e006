"""Reading one photo: bytes in memory -> luma, alpha and what describes it. Inputs are only read."""

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from bwcolor.errors import PhotoError

Format = Literal["jpeg", "png", "tiff", "webp", "bmp"]
Pixels = NDArray[np.unsignedinteger[Any]]  # uint8 or uint16
Turned = TypeVar("Turned", bound=NDArray[Any])

EXTENSIONS = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".bmp"})
DECODERS = ["JPEG", "PNG", "TIFF", "WEBP", "BMP"]  # the only ones of Pillow's that see a user's file
# What Pillow calls the result; MPO is a JPEG with more pictures behind it, as some cameras write.
FORMATS: dict[str, Format] = {
    "JPEG": "jpeg", "MPO": "jpeg", "PNG": "png", "TIFF": "tiff", "WEBP": "webp", "BMP": "bmp",
}  # fmt: skip
EMPTY = "the file is empty"
ORIENTATION = 274  # EXIF tag
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # TIFF 6.0 tags
MIN_IS_WHITE, SEPARATED = 0, 5  # of PHOTOMETRIC
EXTRA_SAMPLES, ASSOCIATED_ALPHA = 338, 1

# Sizes are checked against options.max_pixels before anything is decoded.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A decoded photo, pixels as stored (not turned).

    luma: (height, width), uint8 or uint16, BT.601. alpha: the same shape and depth, or None.
    orientation: EXIF's 1..8. format: of the file. source: its bytes, for metadata that is copied.
    icc: an ICC profile, or None. dpi: dots per inch, or None. lossless: whether the file's coding is.
    quantization: luma table of a JPEG, 64 values. progressive: of a JPEG.
    """

    luma: Pixels
    alpha: Pixels | None
    orientation: int
    format: Format
    source: bytes
    icc: bytes | None
    dpi: tuple[float, float] | None
    lossless: bool
    quantization: list[int] | None
    progressive: bool


def read_photo(path: Path, max_pixels: int) -> Photo:
    """Reads and decodes one file; raises PhotoError with the reason and the way out."""
    source = read_bytes(path)
    try:
        with _open(source) as image:
            _check(image, max_pixels)
            orientation, turned = _orientation(image), _turned_by_decoder(image, source)  # decoding forgets them
            luma, alpha = _decode(image, source)
            dpi = image.info.get("dpi")
            return Photo(
                luma=as_stored(luma, turned),
                alpha=None if alpha is None else as_stored(alpha, turned),
                orientation=orientation,
                format=FORMATS[image.format or ""],
                source=source,
                icc=image.info.get("icc_profile"),
                dpi=(float(dpi[0]), float(dpi[1])) if dpi and min(dpi) > 0 else None,
                lossless=image.format != "WEBP" or _is_lossless_webp(source),
                quantization=_luma_quantization(image),
                progressive=bool(image.info.get("progressive")),
            )
    except PhotoError:
        raise
    except Exception as error:  # decoders raise whatever they like on damaged data
        raise PhotoError(_reason(error)) from error


def photo_pixels(path: Path) -> int:
    """Width times height as the file's header says, without decoding; PhotoError when there is none."""
    try:
        if not path.stat().st_size:
            raise PhotoError(EMPTY)
        with Image.open(path, formats=DECODERS) as image:
            return image.width * image.height
    except PhotoError:
        raise
    except Exception as error:  # as in read_photo
        raise PhotoError(_reason(error)) from error


def read_rgb(path: Path, max_pixels: int = 300_000_000) -> NDArray[np.uint8]:
    """A colour photo for training and evaluation, upright: (height, width, 3), uint8, values as stored."""
    return decode_rgb(read_bytes(path), max_pixels)


def decode_rgb(source: bytes, max_pixels: int = 300_000_000) -> NDArray[np.uint8]:
    """The same from a file's bytes."""
    try:
        with _open(source) as image:
            _check(image, max_pixels)
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except PhotoError:
        raise
    except Exception as error:  # as above
        raise PhotoError(_reason(error)) from error


def read_bytes(path: Path) -> bytes:
    """A photo's file in memory; PhotoError when it can't be read or is empty."""
    try:
        source = path.read_bytes()
    except OSError as error:
        raise PhotoError(f"can't be read ({error.strerror})") from error
    if not source:
        raise PhotoError(EMPTY)
    return source


def _open(source: bytes) -> Image.Image:
    # From memory, because Pillow 13.0 scrambles uncompressed turned TIFFs that it maps from disk.
    return Image.open(io.BytesIO(source), formats=DECODERS)


def _check(image: Image.Image, max_pixels: int) -> None:
    pixels = image.width * image.height
    if pixels > max_pixels:
        raise PhotoError(
            f"{image.width} x {image.height} = {pixels:,} pixels is over the limit of {max_pixels:,};"
            " raise it with --max-pixels"
        )
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise PhotoError(f"has {frames} pages or frames; only single pictures can be colorized so far")
    tags = getattr(image, "tag_v2", {})
    bits = max(tags.get(BITS_PER_SAMPLE, (8,)))
    if bits > 16 or 3 in tags.get(SAMPLE_FORMAT, (1,)):
        raise PhotoError(f"stores {bits}-bit or floating-point values; save it as 8 or 16 bit")


def _decode(image: Image.Image, source: bytes) -> tuple[Pixels, Pixels | None]:
    """Luma and alpha as stored, 8 or 16 bit."""
    if _is_16_bit(image, source):
        return _decode_16_bit(image, source)
    if image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"))
        return _to_luma(rgba[..., :3]), np.ascontiguousarray(rgba[..., 3])
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L")), None
    return _to_luma(np.asarray(image.convert("RGB"))), None


def _is_16_bit(image: Image.Image, source: bytes) -> bool:
    if image.format == "PNG":
        return source[24] == 16  # bit depth in IHDR, PNG specification 11.2.1
    return bool(max(getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (8,))) > 8)


def _decode_16_bit(image: Image.Image, source: bytes) -> tuple[Pixels, Pixels | None]:
    # Pillow cuts 16-bit colour to 8 bits without a word; OpenCV does not.
    tags = getattr(image, "tag_v2", {})
    photometric = tags.get(PHOTOMETRIC)
    data = None
    # OpenCV would take inks for colours, and colours that are multiplied by alpha for plain ones.
    if photometric != SEPARATED and ASSOCIATED_ALPHA not in tags.get(EXTRA_SAMPLES, ()):
        data = cv2.imdecode(np.frombuffer(source, np.uint8), cv2.IMREAD_UNCHANGED)
    if data is None or data.dtype != np.uint16 or data.shape[:2] != (image.height, image.width):
        raise PhotoError("this kind of 16-bit picture can't be decoded; save it as gray or RGB, uncompressed or LZW")
    pixels: Pixels = np.asarray(data, np.uint16)
    if pixels.ndim == 2:
        clear = image.info.get("transparency")  # the one gray value of a PNG that is transparent; OpenCV drops it
        alpha = np.where(pixels == clear, 0, 0xFFFF).astype(np.uint16) if isinstance(clear, int) else None
        return (np.invert(pixels) if photometric == MIN_IS_WHITE else pixels), alpha
    alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.shape[2] == 4 else None
    return _to_luma(pixels[..., 2::-1]), alpha


def _to_luma(rgb: Pixels) -> Pixels:
    """BT.601 luma of RGB, rounded, in the same depth; gray stays exactly as it is."""
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY), rgb.dtype)


def _is_lossless_webp(source: bytes) -> bool:
    """Whether the picture's chunk is VP8L; others, such as an ICC profile, may come first (RFC 9649)."""
    position = 12
    while position + 8 <= len(source):
        kind = source[position : position + 4]
        if kind in (b"VP8L", b"VP8 "):
            return kind == b"VP8L"
        length = int.from_bytes(source[position + 4 : position + 8], "little")
        position += 8 + length + length % 2
    return False


def _luma_quantization(image: Image.Image) -> list[int] | None:
    """The table that a JPEG's first component uses; files may number their tables as they like."""
    tables = getattr(image, "quantization", None)
    layers = getattr(image, "layer", None)
    return list(tables[layers[0][3]]) if tables and layers else None


def _orientation(image: Image.Image) -> int:
    if image.format == "PNG":
        image.load()  # its EXIF may lie behind the pixels: damage of the file itself shows here
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF does not make the picture unreadable; it is carried over as it is
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _turned_by_decoder(image: Image.Image, source: bytes) -> int:
    """The orientation that decoding will already have applied: Pillow and OpenCV turn TIFFs upright."""
    if image.format != "TIFF":
        return 1
    if _is_16_bit(image, source):  # OpenCV knows only the tag; Pillow also reads XMP
        return int(getattr(image, "tag_v2", {}).get(ORIENTATION, 1))
    return _orientation(image)


def upright(picture: Turned, orientation: int) -> Turned:
    """Turns pixels as stored, (height, width, ...), so that they are seen as meant (EXIF 2.32, tag 274)."""
    turned: NDArray[Any] = picture.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else picture
    flip_rows, flip_columns = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return cast(Turned, np.ascontiguousarray(turned[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]))


def as_stored(picture: Turned, orientation: int) -> Turned:
    """The inverse of `upright`."""
    return upright(picture, {6: 8, 8: 6}.get(orientation, orientation))


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not a picture that can be read, or damaged"
    if isinstance(error, OSError) and error.errno is not None:
        return f"can't be read ({error.strerror})"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    if isinstance(error, struct.error | IndexError | SyntaxError):
        return "damaged"
    return f"can't be decoded ({error})"
