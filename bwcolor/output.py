"""Writing one colour photo: luma kept, chroma fitted, metadata carried over, committed at once."""

import contextlib
import errno
import io
import os
import secrets
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from bwcolor.chroma import enlarged_strips, reduced_to
from bwcolor.color import Array, chroma_limit, compose
from bwcolor.errors import FolderError, PhotoError
from bwcolor.jpeg import can_carry_luma, carry_luma, encode_gray
from bwcolor.metadata import keep_jpeg_metadata, keep_png_metadata, read_tiff_page, rgb_profile
from bwcolor.photo import Format, Photo, Pixels

STRIP_ROWS = 64
WEBP_QUALITY = 95
PNG_LEVEL = 2  # a higher one costs many times the time for a few per cent of the size
ZLIB_LEVEL = 4
JPEG_MAX_SIDE = 65_500  # px that libjpeg writes
WEBP_MAX_SIDE = 16_383  # px
# What disks answer to a call that they do not know: hard links, flushing a folder.
NOT_SUPPORTED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
BAD_NAME = frozenset({errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ})
TEMPORARY_PREFIX = ".bwcolor-"
INCH = 0.0254  # m
BMP_RESOLUTION = 38  # bytes from the start of a BMP: pixels per metre, across and down


def chroma_quantization(quality: int) -> list[int]:
    """A chroma table for a JPEG: ITU-T T.81 table K.2 scaled as libjpeg does, 64 values, row by row."""
    corner = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
    scale = 200 - 2 * quality if quality >= 50 else 5000 // quality
    table = [corner[row][column] if row < 4 and column < 4 else 99 for row in range(8) for column in range(8)]
    return [min(255, max(1, (value * scale + 50) // 100)) for value in table]


CHROMA_TABLE = chroma_quantization(92)
LUMA_TABLE = [1] * 64  # for a photo whose own table is not known: nothing but rounding is lost


def encode(photo: Photo, chroma: Array) -> bytes:
    """The colour photo as a file of its own format, with the photo's luma, alpha and metadata.

    chroma: (h, w, 2), Cb and Cr in -0.5..0.5, at any size up to the photo's, as stored. Raises
    PhotoError when the format can't hold the photo or its metadata.
    """
    try:
        return ENCODERS[photo.format](photo, chroma)
    except (PhotoError, MemoryError):
        raise
    except Exception as error:  # encoders raise whatever they like on odd metadata
        raise PhotoError(f"can't be written as {photo.format.upper()} ({error})") from error


def _encode_jpeg(photo: Photo, chroma: Array) -> bytes:
    """Carries the luma of a gray file over bit for bit; that of other files is made a gray file first."""
    gray = photo.source
    if not can_carry_luma(gray):
        height, width = photo.luma.shape
        if max(height, width) > JPEG_MAX_SIDE:
            raise PhotoError(f"{width} x {height} is more than a JPEG can hold")
        gray = encode_gray(photo.luma, photo.quantization or LUMA_TABLE, photo.progressive)
    half = _half_size_chroma(photo.luma, chroma)
    return keep_jpeg_metadata(photo, carry_luma(gray, half, CHROMA_TABLE))


def _half_size_chroma(luma: Pixels, chroma: Array) -> NDArray[np.uint8]:
    """Cb and Cr planes of a 4:2:0 JPEG, (2, h, w) with h and w half of luma's, rounded up.

    Decoders spread a chroma sample over up to 4 x 4 pixels. It is fitted to the darkest and to the
    lightest of them, so that no decoded pixel leaves the gamut and shows another brightness.
    """
    height, width = -(-luma.shape[0] // 2), -(-luma.shape[1] // 2)
    planes = np.empty((2, height, width), np.uint8)
    window = np.ones((4, 4), np.uint8)
    for rows, strip in enlarged_strips(reduced_to(chroma, height, width), height, width, STRIP_ROWS):
        first = max(0, 2 * rows.start - 1)
        covered = luma[first : 2 * rows.stop + 1]
        darkest, lightest = (
            _unit(np.asarray(extreme(covered, window, anchor=(1, 1)), np.uint8)[2 * rows.start - first :: 2, ::2])
            for extreme in (cv2.erode, cv2.dilate)
        )
        limit = chroma_limit(darkest[: len(strip)], strip, lightest[: len(strip)])
        planes[:, rows] = _chroma_levels(strip * limit[..., None])
    return planes


def _chroma_levels(chroma: Array) -> NDArray[np.uint8]:
    """(h, w, 2) in -0.5..0.5 -> (2, h, w) as JPEG stores it: 128 for none."""
    levels = np.round(128 + 255 * chroma).clip(0, 255).astype(np.uint8)
    return np.asarray(levels.transpose(2, 0, 1), np.uint8)


def _encode_png(photo: Photo, chroma: Array) -> bytes:
    return keep_png_metadata(photo, _with_opencv(photo, chroma, ".png", [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL]))


def _encode_tiff(photo: Photo, chroma: Array) -> bytes:
    out = io.BytesIO()
    pixels = compose_pixels(photo.luma, photo.alpha, chroma)
    page = read_tiff_page(photo.source)
    tifffile.imwrite(
        out,
        pixels,
        photometric="rgb",
        extrasamples=["unassalpha"] if photo.alpha is not None else None,
        compression="zlib" if page.compressed else None,
        compressionargs={"level": ZLIB_LEVEL} if page.compressed else None,
        resolution=photo.dpi,
        resolutionunit="INCH" if photo.dpi else "NONE",
        iccprofile=rgb_profile(photo),
        extratags=page.tags,
        software=False,
        metadata=None,
    )
    return out.getvalue()


def _encode_webp(photo: Photo, chroma: Array) -> bytes:
    height, width = photo.luma.shape
    if max(height, width) > WEBP_MAX_SIDE:
        raise PhotoError(f"{width} x {height} is more than a WebP can hold")
    out = io.BytesIO()
    with Image.open(io.BytesIO(photo.source), formats=["WEBP"]) as source:
        kept = {key: source.info[key] for key in ("exif", "xmp") if source.info.get(key)}
    image = Image.fromarray(compose_pixels(photo.luma, photo.alpha, chroma))
    profile = rgb_profile(photo)
    image.save(
        out, "WEBP", lossless=photo.lossless, quality=80 if photo.lossless else WEBP_QUALITY,
        exact=True, icc_profile=profile or b"", **kept,
    )  # fmt: skip
    return out.getvalue()


def _encode_bmp(photo: Photo, chroma: Array) -> bytes:
    # OpenCV, because Pillow writes alpha without the header that makes programs read it.
    content = bytearray(_with_opencv(photo, chroma, ".bmp", []))
    across, down = (round(dots / INCH) for dots in photo.dpi or (96, 96))
    struct.pack_into("<ii", content, BMP_RESOLUTION, across, down)
    return bytes(content)


def _with_opencv(photo: Photo, chroma: Array, extension: str, settings: list[int]) -> bytes:
    """The composed pixels as a file without metadata."""
    pixels = compose_pixels(photo.luma, photo.alpha, chroma)
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(extension, bgr, settings)
    if not done:
        raise PhotoError(f"the {photo.format.upper()} could not be encoded")
    return encoded.tobytes()


ENCODERS: dict[Format, Callable[[Photo, Array], bytes]] = {
    "jpeg": _encode_jpeg, "png": _encode_png, "tiff": _encode_tiff, "webp": _encode_webp, "bmp": _encode_bmp,
}  # fmt: skip


def compose_pixels(luma: Pixels, alpha: Pixels | None, chroma: Array) -> Pixels:
    """RGB, or RGBA where there is alpha: (height, width, 3 or 4) in the depth of `luma`.

    luma, alpha: (height, width), uint8 or uint16. chroma: (h, w, 2), Cb and Cr in -0.5..0.5.
    """
    height, width = luma.shape
    channels = 3 if alpha is None else 4
    pixels: Pixels = np.empty((height, width, channels), luma.dtype)
    top = np.iinfo(luma.dtype).max
    for rows, strip in enlarged_strips(chroma, height, width, STRIP_ROWS):
        pixels[rows, :, :3] = np.round(top * compose(_unit(luma[rows]), strip))
        if alpha is not None:
            pixels[rows, :, 3] = alpha[rows]
    return pixels


def _unit(luma: Pixels) -> Array:
    return luma.astype(np.float32) / np.float32(np.iinfo(luma.dtype).max)


def commit(content: bytes, target: Path, overwrite: bool) -> None:
    """Makes `content` appear under its final name at once, complete, never over another file.

    Written to a temporary sibling, flushed to disk, then linked to its name. With `overwrite` it
    replaces what is there. Raises PhotoError when the name is taken, FolderError when the folder
    can't be written or the disk is full.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _temporary(target.parent) as part:
            with part.open("xb") as out:
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
            if overwrite:
                part.replace(target)
            else:
                _link(part, target)
        _sync_folder(target.parent)
    except FileExistsError as error:
        if not target.parent.is_dir():
            raise FolderError(f"{target.parent} is a file where a folder must be. Choose another --out.") from error
        raise PhotoError(f"{target} exists already; --overwrite replaces it") from error
    except IsADirectoryError as error:
        raise PhotoError(f"{target} is a folder; move it away or choose another --out") from error
    except OSError as error:
        if error.errno in BAD_NAME:
            raise PhotoError(f"the output folder's disk does not take its name ({error.strerror})") from error
        raise FolderError(
            f"{target.parent}: can't be written ({error.strerror}). Choose another folder with --out,"
            " or free some space, and run the same command again: what is done is skipped."
        ) from error


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    part = folder / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}.part"
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def _link(part: Path, target: Path) -> None:
    """Gives the file its name unless the name is taken, in one step where the disk can do that."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in {*NOT_SUPPORTED, errno.EPERM, errno.EMLINK}:
            raise
        if os.path.lexists(target):  # a disk without hard links, such as FAT: the check and the move are two steps
            raise FileExistsError(target) from error
        part.replace(target)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # Windows can't open a folder
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # network disks may refuse to flush a folder; the file itself is flushed
        if error.errno not in NOT_SUPPORTED:
            raise
    finally:
        os.close(descriptor)
