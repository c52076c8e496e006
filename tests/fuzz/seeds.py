"""The files that mutations start from: one of every kind that is read, small, with all that describes a photo."""

import io
import struct
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import imagecodecs
import numpy as np
import pillow_heif
import tifffile
from matrix.photos import GPS, GRAY_PROFILE, XMP
from numpy.typing import NDArray
from photo.old_jpegs import tables_in_tags, whole
from photo.pictures import (
    SRGB_PROFILE,
    bmp_with_alpha,
    exif,
    gray,
    png,
    png_chunk,
    rgb,
    rgba,
    saved,
    scene,
    scene16,
    tiff,
)
from PIL import Image, PngImagePlugin

from bwcolor.photo.formats import jp2
from bwcolor.photo.metadata.photoshop import iptc_block

HEIGHT, WIDTH = 29, 37  # px: small, so that many files can be tried, odd, and more than one JPEG block or tile
TILE = (16, 16)  # px
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
INTERLACED = 28  # byte of a PNG that says so (PNG specification, 11.2.1)

G8, G16 = scene(HEIGHT, WIDTH), scene16(HEIGHT, WIDTH)
BLACK_WHITE = G8 > 127
ALPHA = np.tile(np.linspace(90, 255, WIDTH).round().astype(np.uint8), (HEIGHT, 1))
RGB8, RGB16 = np.dstack([G8] * 3), np.dstack([G16] * 3)
INKS = np.dstack([np.zeros_like(G8)] * 3 + [255 - G8])
COLOUR = np.dstack([G8, np.roll(G8, 9, 0), np.roll(G8, 13, 1)])
IPTC = b"\x1c\x02\x78\x00\x0aLieselotte" + b"\x1c\x02\x19\x00\x05Hafen"


def about() -> Image.Exif:
    """EXIF with a place on earth, for a photo that is stored turned."""
    data = exif(6)
    data[34853] = GPS
    data[37510] = b"ASCII\0\0\0old harbour"
    return data


def with_preview() -> bytes:
    """The same as a JPEG holds it, with a small picture."""
    block = about().tobytes().removeprefix(b"Exif\0\0")
    order = "<" if block[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", block, 4)
    (count,) = struct.unpack_from(order + "H", block, start)
    block += bytes(len(block) % 2)
    preview = saved(gray(G8[:16, :16]), "JPEG", quality=50)
    tags = ((259, 6), (513, len(block) + 2 + 3 * 12 + 4), (514, len(preview)))
    entries = b"".join(struct.pack(order + "HHII", code, 4, 1, value) for code, value in tags)
    view = bytearray(block)
    struct.pack_into(order + "I", view, start + 2 + 12 * count, len(block))
    return b"Exif\0\0" + bytes(view) + struct.pack(order + "H", len(tags)) + entries + bytes(4) + preview


def jpeg(image: Image.Image, **settings: Any) -> bytes:
    return saved(image, "JPEG", **{"quality": 80, **settings})


def told(image: Image.Image, **settings: Any) -> bytes:
    """A JPEG with every kind of metadata."""
    settings = {"exif": with_preview(), "xmp": XMP, "dpi": (300, 300), "comment": b"harbour", **settings}
    return jpeg(image, **settings)


def from_photoshop() -> bytes:
    """With image resources, IPTC among them, a private segment, and an Adobe segment."""
    resources = iptc_block(IPTC) + b"8BIM" + struct.pack(">HHI", 1005, 0, 16) + bytes(16)
    content = jpeg(rgb(G8), subsampling=2, icc_profile=SRGB_PROFILE)
    parts = ((0xED, b"Photoshop 3.0\0" + resources), (0xE5, b"private"), (0xEE, b"Adobe\0\x64" + bytes(5) + b"\1"))
    return content[:2] + b"".join(jpeg_segment(*part) for part in parts) + content[2:]


def jpeg_segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def mpo() -> bytes:
    """A camera's JPEG with a second picture behind the first."""
    return saved(rgb(G8), "MPO", save_all=True, append_images=[rgb(G8[::-1])], exif=about())


def told_png(image: Image.Image, **settings: Any) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "harbour")
    text.add_text("Author", "Lieselotte", zip=True)
    text.add_itxt("XML:com.adobe.xmp", XMP.decode())
    return saved(image, "PNG", pnginfo=text, dpi=(300, 300), exif=about(), **settings)


def small_png(bits: int, kind: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Gray (kind 0) or palette (3) with less than 8 bits."""
    values = np.pad(G8 >> (8 - bits), ((0, 0), (0, -WIDTH % (8 // bits))))
    places = values.reshape(HEIGHT, -1, 8 // bits) << (8 - bits * np.arange(1, 8 // bits + 1))
    rows = places.sum(2).astype(np.uint8)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, kind, 0, 0, 0)
    return png_of(header, b"".join(b"\0" + row.tobytes() for row in rows), *chunks)


def png_of(header: bytes, data: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(name, body) for name, body in parts)


def interlaced(pixels: NDArray[Any], kind: int) -> bytes:
    """In seven passes (PNG specification, 8.2), which Pillow does not write."""
    rows = pixels.astype(pixels.dtype.newbyteorder(">"))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8 * pixels.itemsize, kind, 0, 0, 1)
    passes = (rows[top::down, left::right] for top, left, down, right in ADAM7)
    return png_of(header, b"".join(b"\0" + row.tobytes() for part in passes for row in part), (b"gAMA", bytes(4)))


def told_tiff(pixels: NDArray[Any], **settings: Any) -> bytes:
    """With XMP, IPTC, image resources, a profile and a resolution."""
    extra = [
        (274, 3, 1, 6, True), (315, 2, 11, "Lieselotte", True), (700, 1, len(XMP), XMP, True),
        (33723, 7, len(IPTC), IPTC, True), (34377, 7, len(iptc_block(IPTC)), iptc_block(IPTC), True),
    ]  # fmt: skip
    settings = {"iccprofile": GRAY_PROFILE, "resolution": (300, 300), "extratags": extra, **settings}
    return tiff(pixels, metadata=None, **settings)


def folders_tiff() -> bytes:
    """With EXIF and GPS in folders of their own."""
    data = Image.Exif()
    data.load(about().tobytes())  # else Pillow 13 can't save GPS in a TIFF
    data[700] = XMP
    return saved(gray(G8), "TIFF", exif=data, dpi=(300, 300), icc_profile=GRAY_PROFILE)


def pages() -> bytes:
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        writer.write(G8, photometric="minisblack", compression="lzw", description="first")
        writer.write(COLOUR[:17, :19], photometric="rgb")
        writer.write(G8[:16], photometric="miniswhite", compression="zlib", predictor=True)
    return out.getvalue()


def fax(compression: str) -> bytes:
    return saved(Image.fromarray(BLACK_WHITE), "TIFF", compression=compression)


def bmp_rle() -> bytes:
    """An 8-bit BMP of runs, as Pillow reads but does not write."""
    palette = b"".join(bytes([level] * 3 + [0]) for level in range(256))
    rows = [b"".join(bytes([1, value]) for value in row) + b"\0\0" for row in G8[::-1]]
    data = b"".join(rows)[:-2] + b"\0\1"
    header = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 8, 1, len(data), 11811, 11811, 256, 0)
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + header + palette + data


def told_gif() -> bytes:
    content = saved(gray(G8), "GIF", comment=b"harbour", interlace=True)
    packet = b"\x21\xff\x0bXMP DataXMP" + XMP + b"\x01" + bytes(range(255, -1, -1)) + b"\0"
    return content[:-1] + packet + content[-1:]


def told_jp2() -> bytes:
    content = bytes(imagecodecs.jpeg2k_encode(G8, level=0, codecformat="jp2"))
    at = content.index(b"jp2c") - 4
    block = about().tobytes().removeprefix(b"Exif\0\0")
    boxes = b"".join(box(b"uuid", name + body) for name, body in ((jp2.EXIF, block), (jp2.XMP, XMP), (jp2.IPTC, IPTC)))
    return content[:at] + boxes + content[at:]


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + kind + body


def coded(codec: str, pixels: NDArray[Any], **settings: Any) -> bytes:
    return bytes(getattr(imagecodecs, f"{codec}_encode")(pixels, **settings))


def heif(mode: str, pixels: NDArray[Any]) -> bytes:
    out = io.BytesIO()
    picture = pillow_heif.from_bytes(mode, (WIDTH, HEIGHT), pixels.tobytes())
    picture.save(out, quality=60, exif=about().tobytes(), xmp=XMP)
    return out.getvalue()


one_page = partial(told_tiff, G8, photometric="minisblack")
SEEDS: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: told(gray(G8), icc_profile=GRAY_PROFILE),
    "jpeg progressive": lambda: told(gray(G8), progressive=True),
    "jpeg restarts": lambda: jpeg(gray(G8), restart_marker_blocks=2, optimize=True),
    "jpeg three components": lambda: told(rgb(G8), subsampling=0),
    "jpeg colour progressive": lambda: jpeg(Image.fromarray(COLOUR), progressive=True, subsampling=2),
    "jpeg cmyk": lambda: jpeg(Image.fromarray(INKS, "CMYK")),
    "jpeg stored rgb": lambda: jpeg(rgb(G8), keep_rgb=True),
    "jpeg 12 bit": lambda: coded("jpeg8", G16 >> 4, level=80, bitspersample=12),
    "jpeg lossless": lambda: coded("jpeg8", G8, lossless=True),
    "jpeg lossless 16 bit": lambda: coded("ljpeg", G16, bitspersample=16),
    "jpeg photoshop": from_photoshop,
    "jpeg mpo": mpo,
    "png": lambda: told_png(gray(G8), icc_profile=GRAY_PROFILE),
    "png 1 bit": partial(small_png, 1, 0, (b"pHYs", struct.pack(">IIB", 11811, 11811, 1))),
    "png 2 bit": partial(small_png, 2, 0, (b"tRNS", b"\0\1"), (b"tEXt", b"Title\0harbour")),
    "png palette 4 bit": partial(small_png, 4, 3, (b"PLTE", bytes(48)), (b"tRNS", bytes(5))),
    "png rgb interlaced": lambda: interlaced(RGB8, 2),
    "png 16 bit": lambda: png(G16, 0, (b"tRNS", b"\1\2"), (b"eXIf", about().tobytes().removeprefix(b"Exif\0\0"))),
    "png 16 bit interlaced": lambda: interlaced(G16, 0),
    "png rgb 16 bit": lambda: png(RGB16, 2, (b"cICP", bytes([1, 13, 0, 1]))),
    "png alpha": lambda: told_png(rgba(G8, ALPHA), icc_profile=SRGB_PROFILE),
    "png gray and alpha 16 bit": lambda: png(np.dstack([G16, G16]), 4, (b"sRGB", b"\0")),
    "tiff": one_page,
    "tiff folders": folders_tiff,
    "tiff 16 bit big-endian lzw": lambda: told_tiff(G16, byteorder=">", compression="lzw", predictor=True),
    "tiff strips deflate": lambda: one_page(compression="deflate", rowsperstrip=8, predictor=True),
    "tiff tiles": lambda: tiff(G16, tile=TILE, compression="deflate", metadata=None),
    "tiff zstd": lambda: tiff(G8, compression="zstd", metadata=None),
    "tiff packbits": lambda: tiff(G8, compression="packbits", rowsperstrip=16, metadata=None),
    "tiff big": lambda: told_tiff(G16, bigtiff=True),
    "tiff big big-endian": lambda: tiff(RGB8, photometric="rgb", bigtiff=True, byteorder=">", metadata=None),
    "tiff planes": lambda: tiff(np.moveaxis(RGB8, 2, 0), photometric="rgb", planarconfig="separate",
                                compression="lzw", rowsperstrip=10, metadata=None),
    "tiff pages": pages,
    "tiff fax g3": partial(fax, "group3"),
    "tiff fax g4": partial(fax, "group4"),
    "tiff fax rle": partial(fax, "tiff_ccitt"),
    "tiff 1 bit": lambda: tiff(~BLACK_WHITE, photometric="miniswhite", metadata=None),
    "tiff jpeg": lambda: saved(gray(G8), "TIFF", compression="jpeg", quality=80),
    "tiff jpeg colour": lambda: tiff(RGB8, photometric="ycbcr", compression="jpeg", rowsperstrip=16, metadata=None),
    "tiff old jpeg": lambda: whole(G8),
    "tiff old jpeg colour tables": lambda: tables_in_tags(COLOUR),
    "tiff jpeg 2000": lambda: tiff(G8, compression="jpeg2000", tile=TILE, metadata=None),
    "tiff webp": lambda: tiff(RGB8, photometric="rgb", compression="webp", metadata=None),
    "tiff png": lambda: tiff(G8, compression="png", tile=TILE, metadata=None),
    "tiff inks": lambda: tiff(INKS, photometric="separated", compression="lzw", metadata=None),
    "tiff palette": lambda: tiff(G8, photometric="palette", colormap=np.stack([np.arange(256, dtype=np.uint16)] * 3),
                                 metadata=None),
    "tiff alpha": lambda: tiff(np.dstack([RGB8, ALPHA]), photometric="rgb", extrasamples=["assocalpha"], metadata=None),
    "tiff ycbcr": lambda: saved(Image.fromarray(COLOUR).convert("YCbCr"), "TIFF", tiffinfo={274: 6}),
    "webp lossy": lambda: saved(rgb(G8), "WEBP", quality=80, exif=about(), xmp=XMP, icc_profile=SRGB_PROFILE),
    "webp lossless": lambda: saved(rgb(G8), "WEBP", lossless=True),
    "webp alpha": lambda: saved(rgba(G8, ALPHA), "WEBP", quality=60, exif=about()),
    "bmp": lambda: saved(gray(G8), "BMP", dpi=(300, 300)),
    "bmp alpha": lambda: bmp_with_alpha(np.dstack([RGB8, ALPHA])),
    "bmp runs": bmp_rle,
    "pnm bitmap": lambda: saved(gray(G8).convert("1"), "PPM"),
    "pnm gray 16 bit": lambda: b"P5\n# SANE\n%d %d\n1023\n" % G16.shape[::-1] + (G16 >> 6).astype(">u2").tobytes(),
    "pnm text": lambda: b"P2 4 3 9\n" + b" ".join(b"%d" % (level % 10) for level in range(12)),
    "gif": told_gif,
    "gif frames": lambda: saved(gray(G8), "GIF", transparency=128, save_all=True, append_images=[gray(G8[::-1])]),
    "jp2": told_jp2,
    "j2k 16 bit": lambda: coded("jpeg2k", G16, level=0, codecformat="j2k"),
    "avif": lambda: saved(gray(G8), "AVIF", quality=60, exif=about(), xmp=XMP, icc_profile=SRGB_PROFILE),
    "avif 10 bit": lambda: coded("avif", RGB16 >> 6, level=90, bitspersample=10),
    "heic": partial(heif, "RGB", RGB8),
    "heic 10 bit": partial(heif, "I;16", G16),
}  # fmt: skip
