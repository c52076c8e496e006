"""Photos to try: files of every kind, each with the brightness and the transparency that it holds."""

import io
import shutil
import struct
import subprocess
import zlib
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
import pillow_heif
import tifffile
from matrix.rendered import DOTS, TITLE, Pixels, luma, y_plane
from photo.pictures import exif, gray, png_chunk, rgb, rgba, saved, scene, scene16, tiff
from photo.test_icc import curv, profile
from PIL import Image, PngImagePlugin

HEIGHT, WIDTH = 150, 211  # px; odd, and no multiple of 8 or 16
CLEAR = 128  # the gray value that is transparent where a format has a single one
GRAY_PROFILE = profile(curv(round(2.2 * 256)))
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="' + TITLE + b'"/>'
    b"</rdf:RDF></x:xmpmeta>"
)

pillow_heif.register_heif_opener(thumbnails=False)  # for all who save, or look at, HEIC here
GPS = {1: "N", 2: (48.0, 8.0, 15.0), 3: "E", 4: (11.0, 34.0, 30.0)}

G8: Pixels = scene(HEIGHT, WIDTH)
G16: Pixels = scene16(HEIGHT, WIDTH)
BLACK_WHITE: Pixels = G8 > 127
ALPHA: Pixels = np.tile(np.linspace(90, 255, WIDTH).round().astype(np.uint8), (HEIGHT, 1))
ALPHA16 = ALPHA.astype(np.uint16) * 257
RGB8, RGB16 = np.dstack([G8] * 3), np.dstack([G16] * 3)
INK8 = np.dstack([np.zeros_like(G8)] * 3 + [255 - G8])
INK16 = np.dstack([np.zeros_like(G16)] * 3 + [65535 - G16])
SEPIA = (RGB8 * np.array([1.0, 0.87, 0.68])).round().astype(np.uint8)


class Unavailable(Exception):
    """This machine can't make the photo."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A photo's file. pages: luma of each, (h, w), 0..1, as stored. alpha: of the first, (h, w), 0..1, or None.
    orientation: how a decoder's pixels have to be turned, as EXIF counts it."""

    content: bytes
    pages: tuple[Pixels, ...]
    alpha: Pixels | None = None
    orientation: int = 1


# How a file's luma is known: it was put in, or the decoder of a lossy format tells it.


def of(content: bytes, pixels: Pixels, alpha: Pixels | None = None) -> Source:
    """A lossless file of gray `pixels`."""
    return Source(content, (unit(pixels),), None if alpha is None else unit(alpha))


def coloured(content: bytes, pixels: Pixels) -> Source:
    """A lossless file of RGB `pixels`."""
    return Source(content, (luma(unit(pixels)),))


def as_shown(content: bytes) -> Source:
    """A file whose luma is that of the RGB that Pillow shows."""
    return Source(content, (_shown(content),))


def as_coded(content: bytes) -> Source:
    """A JPEG whose luma is what a decoder finds in it."""
    return Source(content, (unit(y_plane(content)),))


def unit(pixels: Pixels) -> Pixels:
    return pixels / float(np.iinfo(pixels.dtype).max) if pixels.dtype != bool else pixels.astype(float)


def _shown(content: bytes) -> Pixels:
    with Image.open(io.BytesIO(content)) as image:
        return luma(unit(np.asarray(image.convert("RGB"))))


def coded(codec: str, pixels: Pixels, **settings: Any) -> bytes:
    """A file as imagecodecs writes it."""
    return bytes(getattr(imagecodecs, f"{codec}_encode")(pixels, **settings))


# JPEG


def jpeg(image: Image.Image, **settings: Any) -> Source:
    return as_coded(saved(image, "JPEG", **settings))


def cmyk_jpeg() -> Source:
    return as_shown(saved(Image.fromarray(INK8, "CMYK"), "JPEG", quality=95))


def other_factors() -> Source:
    """With sampling factors of 2 x 2, which mean nothing in a file of one component."""
    content = bytearray(saved(gray(G8), "JPEG", quality=85))
    content[content.find(b"\xff\xc0") + 11] = 0x22
    return as_coded(bytes(content))


def cjpeg(*settings: str) -> Source:
    """As libjpeg's own program writes it."""
    program = shutil.which("cjpeg")
    if program is None:
        raise Unavailable("needs cjpeg of libjpeg-turbo")
    picture = b"P5 %d %d 255\n" % (WIDTH, HEIGHT) + G8.tobytes()
    done = subprocess.run([program, "-grayscale", *settings], input=picture, capture_output=True)
    if done.returncode:
        raise Unavailable("this cjpeg can't write it")
    return as_coded(done.stdout)


def twelve_bits() -> Source:
    content = coded("jpeg8", G16 >> 4, level=95, bitspersample=12)
    return Source(content, (imagecodecs.jpeg8_decode(content) / 4095,))


# PNG


def small_png(bits: int, kind: int) -> Source:
    """Gray (kind 0) or palette (3) with less than 8 bits; the palette goes from white to black."""
    values = G8 >> (8 - bits)
    top = (1 << bits) - 1
    wide = np.pad(values, ((0, 0), (0, -WIDTH % (8 // bits))))
    places = wide.reshape(HEIGHT, -1, 8 // bits) << (8 - bits * np.arange(1, 8 // bits + 1))
    rows = places.sum(2).astype(np.uint8)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, kind, 0, 0, 0)
    palette = [round(255 * (top - value) / top) for value in range(top + 1)]
    plte = [(b"PLTE", bytes(level for level in palette for _ in "rgb"))] if kind == 3 else []
    parts = [(b"IHDR", header), *plte, (b"IDAT", data), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(name, body) for name, body in parts)
    return Source(content, (np.array(palette)[values] / 255 if kind == 3 else values / top,))


def clear_png() -> Source:
    return of(saved(rgba(G8, ALPHA), "PNG"), G8, ALPHA)


# TIFF


def associated(deep: bool) -> Source:
    """With colours that are multiplied by alpha."""
    plain, alpha = (G16, ALPHA16) if deep else (G8, ALPHA)
    top = np.iinfo(plain.dtype).max
    stored = ((plain.astype(np.uint64) * alpha + top // 2) // top).astype(plain.dtype)
    content = tiff(np.stack([stored] * 3 + [alpha], -1), photometric="rgb", extrasamples=["assocalpha"])
    return Source(content, (stored / alpha.astype(float),), unit(alpha))


def two_depths() -> Source:
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        writer.write(G8, photometric="minisblack")
        writer.write(G16[:97, :61], photometric="minisblack", compression="lzw")
    return Source(out.getvalue(), (unit(G8), unit(G16[:97, :61])))


def three_pages() -> Source:
    sizes = ((HEIGHT, WIDTH), (97, 61), (120, 160))
    planes = [scene(*size, seed) for seed, size in enumerate(sizes)]
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        writer.write(planes[0], photometric="minisblack", compression="lzw")
        writer.write(np.stack([planes[1]] * 3, -1), photometric="rgb")
        writer.write(planes[2], photometric="miniswhite", compression="zlib", predictor=True)
    return Source(out.getvalue(), (unit(planes[0]), unit(planes[1]), 1 - unit(planes[2])))


def tiff_jpeg(colour: bool) -> Source:
    return as_shown(saved(rgb(G8) if colour else gray(G8), "TIFF", compression="jpeg", quality=90))


# PNM


def deep_pnm(kind: int, pixels: Pixels, top: int = 65535) -> bytes:
    """A binary PGM (kind 5) or PPM (6) of 16-bit values, which Pillow can't write."""
    return b"P%d\n# SANE\n%d %d\n%d\n" % (kind, WIDTH, HEIGHT, top) + pixels.astype(">u2").tobytes()


# HEIC and AVIF


def heif(mode: str, pixels: Pixels, **settings: Any) -> bytes:
    """A lossless HEIC."""
    out = io.BytesIO()
    picture = pillow_heif.from_bytes(mode, (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
    picture.save(out, quality=-1, **settings)
    return out.getvalue()


def deep_heic(orientation: int = 1) -> Source:
    settings = {"exif": exif(orientation).tobytes()} if orientation > 1 else {}
    content = heif("I;16", G16, **settings)
    return Source(content, ((G16 >> 6) / 1023,), orientation=orientation)


def deep_avif(colour: bool) -> Source:
    ten = G16 >> 6
    pixels = np.stack([ten] * 3, -1) if colour else ten
    content = coded("avif", pixels, level=100, bitspersample=10, pixelformat="444" if colour else "400")
    return Source(content, (imagecodecs.avif_decode(content).reshape(HEIGHT, WIDTH, -1)[..., 0] / 1023,))


# Photos that say something of themselves


def described(kind: str, image: Image.Image, orientation: int = 1, icc: bytes | None = None, **more: Any) -> Source:
    """With EXIF, GPS, XMP, a resolution where the format has a place for it, and a profile. more: for Pillow."""
    data = exif(orientation, "Lieselotte")
    data[34853] = GPS
    settings: dict[str, Any] = {"exif": data, **more}
    if icc is not None:
        settings["icc_profile"] = icc
    if kind in ("JPEG", "PNG", "TIFF"):
        settings["dpi"] = (DOTS, DOTS)
    if kind == "TIFF":
        data[700] = XMP
        settings["exif"] = Image.Exif()
        settings["exif"].load(data.tobytes())  # else Pillow 13 can't save GPS in a TIFF
    elif kind == "PNG":
        settings["pnginfo"] = PngImagePlugin.PngInfo()
        settings["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
    else:
        settings["xmp"] = XMP
    content = saved(image, kind, **settings)
    if kind == "JPEG":
        stored = unit(y_plane(content))
    elif kind in ("AVIF", "HEIF"):
        stored = _shown(content)
    else:
        stored = unit(np.asarray(image.convert("L") if image.mode == "RGB" else image))
    return Source(content, (stored,), orientation=1 if kind == "HEIF" else orientation)  # its decoder turns it
