"""Cases: each kind of file that is read, written as the format that it gets without options."""

import struct
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from matrix.expected import (
    BMP,
    KEPT,
    LOSSY_AVIF,
    LOSSY_WEBP,
    NEW_AVIF,
    NEW_JPEG,
    OTHER_TABLE,
    PNG8,
    PNG16,
    REMADE,
    TIFF8,
    TIFF16,
    WEBP,
    Case,
    Expected,
    coarser,
    colourless,
    options,
)
from matrix.photos import (
    ALPHA,
    ALPHA16,
    BLACK_WHITE,
    CLEAR,
    G8,
    G16,
    INK8,
    INK16,
    RGB8,
    RGB16,
    SEPIA,
    Source,
    as_shown,
    associated,
    cjpeg,
    clear_png,
    cmyk_jpeg,
    coded,
    coloured,
    deep_avif,
    deep_heic,
    deep_pnm,
    heif,
    jpeg,
    of,
    other_factors,
    small_png,
    three_pages,
    tiff_jpeg,
    twelve_bits,
    two_depths,
)
from photo.pictures import bmp_with_alpha, gray, png, rgb, rgba, saved, scene, tiff
from PIL import Image

# Name, file, what must come of it.
Kind = tuple[str, Callable[[], Source], Expected]


def jpegs() -> tuple[Case, ...]:
    sizes = (  # height, width, limit of colour: a small picture has few pixels to take the mean of
        (1300, 61, 0.006), (97, 61, 0.006), (64, 64, 0.006), (17, 33, 0.016), (8, 8, 0.016), (1, 40, None),
        (1, 1, None),
    )  # fmt: skip
    kinds: list[Kind] = [
        *((f"gray, quality {quality}", partial(jpeg, gray(G8), quality=quality), KEPT) for quality in (30, 75, 95)),
        ("gray, progressive", partial(jpeg, gray(G8), quality=85, progressive=True), KEPT),
        ("gray, optimized Huffman tables", partial(jpeg, gray(G8), quality=85, optimize=True), KEPT),
        ("gray, restart markers each row", partial(jpeg, gray(G8), quality=85, restart_marker_rows=1), KEPT),
        ("gray, restart markers each 5 blocks", partial(jpeg, gray(G8), quality=85, restart_marker_blocks=5), KEPT),
        ("gray, progressive, restart markers", partial(jpeg, gray(G8), progressive=True, restart_marker_rows=1), KEPT),
        *((f"gray, {width} x {height} px", partial(jpeg, gray(scene(height, width)), quality=85),
           replace(KEPT, colour=colour)) for height, width, colour in sizes),
        ("gray, stored in three components, 4:4:4", partial(jpeg, rgb(G8), quality=85, subsampling=0), REMADE),
        ("gray, stored in three components, 4:2:0", partial(jpeg, rgb(G8), quality=85, subsampling=2), REMADE),
        ("gray, stored in three components, progressive", partial(jpeg, rgb(G8), progressive=True), REMADE),
        ("gray, stored as RGB", partial(jpeg, rgb(G8), quality=95, keep_rgb=True), OTHER_TABLE),
        ("gray, stored as CMYK", cmyk_jpeg, OTHER_TABLE),
        ("sepia, 4:2:0", partial(jpeg, Image.fromarray(SEPIA), quality=90), REMADE),
        ("gray, arithmetic coding", partial(cjpeg, "-arithmetic", "-quality", "90"), REMADE),
        ("gray, 16-bit quantisation table", partial(cjpeg, "-quality", "5"), KEPT),
        ("gray, sampling factors 2 x 2", other_factors, KEPT),
        ("gray, 12 bit", twelve_bits, coarser(TIFF16)),
        ("gray, lossless, 8 bit", lambda: of(coded("jpeg8", G8, lossless=True), G8), NEW_JPEG),
        ("gray, lossless, 16 bit", lambda: of(coded("jpeg8", G16, lossless=True, bitspersample=16), G16), TIFF16),
        ("gray, lossless, 16 bit, as in scanners' raw files",
         lambda: of(coded("ljpeg", G16, bitspersample=16), G16), TIFF16),
    ]  # fmt: skip
    fine = replace(KEPT, most=5.0)
    full = options(sampling="444")
    chosen = [
        ("gray, --chroma 444", partial(jpeg, gray(G8), quality=85), fine, full),
        ("gray, progressive, --chroma 444", partial(jpeg, gray(G8), quality=85, progressive=True), fine, full),
        ("gray, 61 x 1301 px, --chroma 444", partial(jpeg, gray(scene(1301, 61)), quality=85), fine, full),
        ("gray, --chroma-quality 75", partial(jpeg, gray(G8), quality=85), KEPT, options(chroma_quality=75)),
    ]
    return (
        *(Case(f"JPEG, {name}", ".jpg", make, expected) for name, make, expected in kinds),
        *(Case(f"JPEG, {name}", ".jpg", make, expected, how) for name, make, expected, how in chosen),
    )


def pngs() -> tuple[Case, ...]:
    value = int(G16[7, 9])
    clear = np.where(G8 == CLEAR, 0, 255).astype(np.uint8)
    clear16 = np.where(value == G16, 0, 65535).astype(np.uint16)
    palette = gray(G8).convert("P")

    def key(*levels: int) -> tuple[bytes, bytes]:
        return b"tRNS", struct.pack(f">{len(levels)}H", *levels)

    kinds: list[Kind] = [
        ("gray, 1 bit", partial(small_png, 1, 0), colourless(PNG8)),
        ("gray, 2 bit", partial(small_png, 2, 0), PNG8),
        ("gray, 4 bit", partial(small_png, 4, 0), PNG8),
        ("gray, 8 bit", lambda: of(saved(gray(G8), "PNG"), G8), PNG8),
        ("gray, 16 bit", lambda: of(png(G16, 0), G16), PNG16),
        ("gray and alpha, 8 bit", lambda: of(png(np.dstack([G8, ALPHA]), 4), G8, ALPHA), PNG8),
        ("gray and alpha, 16 bit", lambda: of(png(np.dstack([G16, ALPHA16]), 4), G16, ALPHA16), PNG16),
        ("gray, 8 bit, one transparent value", lambda: of(png(G8, 0, key(CLEAR)), G8, clear), PNG8),
        ("gray, 16 bit, one transparent value", lambda: of(png(G16, 0, key(value)), G16, clear16), PNG16),
        ("palette, 1 bit", partial(small_png, 1, 3), colourless(PNG8)),
        ("palette, 4 bit", partial(small_png, 4, 3), PNG8),
        ("palette, 8 bit", lambda: of(saved(palette, "PNG"), G8), PNG8),
        ("palette, transparent entry", lambda: of(saved(palette, "PNG", transparency=CLEAR), G8, clear), PNG8),
        ("RGB, 8 bit", lambda: of(saved(rgb(G8), "PNG"), G8), PNG8),
        ("RGB, 16 bit", lambda: of(png(RGB16, 2), G16), PNG16),
        ("RGB, 8 bit, one transparent colour", lambda: of(png(RGB8, 2, key(*[CLEAR] * 3)), G8, clear), PNG8),
        ("RGB, 16 bit, one transparent colour", lambda: of(png(RGB16, 2, key(*[value] * 3)), G16, clear16), PNG16),
        ("RGBA, 8 bit", clear_png, PNG8),
        ("RGBA, 16 bit", lambda: of(png(np.dstack([RGB16, ALPHA16]), 6), G16, ALPHA16), PNG16),
        ("sepia, 8 bit", lambda: coloured(saved(Image.fromarray(SEPIA), "PNG"), SEPIA), coarser(PNG8)),
    ]  # fmt: skip
    return (
        *(Case(f"PNG, {name}", ".png", make, expected) for name, make, expected in kinds),
        Case("PNG, gray, 16 bit, --depth 8", ".png", lambda: of(png(G16, 0), G16), coarser(PNG8),
             options(eight_bit=True)),
    )  # fmt: skip


def tiffs() -> tuple[Case, ...]:
    g8, g16 = partial(tiff, G8, photometric="minisblack"), partial(tiff, G16, photometric="minisblack")
    rgb8, rgb16 = partial(tiff, RGB8, photometric="rgb"), partial(tiff, RGB16, photometric="rgb")
    apart = partial(tiff, photometric="rgb", planarconfig="separate")
    clear = partial(tiff, extrasamples=["unassalpha"], planarconfig="contig")
    fax = partial(saved, Image.fromarray(BLACK_WHITE), "TIFF")
    ramp = np.stack([np.arange(255, -1, -1, dtype=np.uint16) * 257] * 3)
    compressions = {"LZW": "lzw", "deflate": "deflate", "Zstandard": "zstd"}
    kinds: list[Kind] = [
        ("gray, 8 bit", lambda: of(g8(), G8), TIFF8),
        ("gray, 16 bit", lambda: of(g16(), G16), TIFF16),
        ("gray, 1 bit", lambda: of(tiff(BLACK_WHITE, photometric="minisblack"), BLACK_WHITE), colourless(TIFF8)),
        ("gray, 1 bit, white is 0",
         lambda: of(tiff(~BLACK_WHITE, photometric="miniswhite"), BLACK_WHITE), colourless(TIFF8)),
        ("gray, 8 bit, white is 0", lambda: of(tiff(255 - G8, photometric="miniswhite"), G8), TIFF8),
        ("gray, 16 bit, white is 0", lambda: of(tiff(65535 - G16, photometric="miniswhite"), G16), TIFF16),
        ("1 bit, fax G3", lambda: of(fax(compression="group3"), BLACK_WHITE), colourless(TIFF8)),
        ("1 bit, fax G4", lambda: of(fax(compression="group4"), BLACK_WHITE), colourless(TIFF8)),
        *((f"gray, 8 bit, {name}", partial(lambda kind: of(g8(compression=kind), G8), kind), TIFF8)
          for name, kind in compressions.items()),
        ("gray, 8 bit, PackBits", lambda: of(g8(compression="packbits"), G8), TIFF8),
        *((f"gray, 16 bit, {name}, predictor",
           partial(lambda kind: of(g16(compression=kind, predictor=True), G16), kind), TIFF16)
          for name, kind in compressions.items()),
        ("gray, 16 bit, PackBits", lambda: of(g16(compression="packbits"), G16), TIFF16),
        ("gray, 8 bit, JPEG", partial(tiff_jpeg, False), TIFF8),
        ("YCbCr, 8 bit, JPEG", partial(tiff_jpeg, True), coarser(TIFF8)),
        ("gray, 8 bit, tiles, deflate", lambda: of(g8(tile=(64, 64), compression="deflate"), G8), TIFF8),
        ("gray, 16 bit, tiles", lambda: of(g16(tile=(32, 48)), G16), TIFF16),
        ("RGB, 8 bit", lambda: of(rgb8(), G8), TIFF8),
        ("RGB, 16 bit, LZW", lambda: of(rgb16(compression="lzw"), G16), TIFF16),
        ("RGB, 16 bit, planes apart", lambda: of(apart(RGB16.transpose(2, 0, 1)), G16), TIFF16),
        ("RGB, 8 bit, planes apart, deflate, predictor",
         lambda: of(apart(RGB8.transpose(2, 0, 1), compression="deflate", predictor=True), G8), TIFF8),
        ("sepia, 8 bit", lambda: coloured(tiff(SEPIA, photometric="rgb"), SEPIA), coarser(TIFF8)),
        ("CMYK, 8 bit", lambda: of(tiff(INK8, photometric="separated"), G8), TIFF8),
        ("CMYK, 16 bit, LZW", lambda: of(tiff(INK16, photometric="separated", compression="lzw"), G16), TIFF16),
        ("palette, 8 bit", lambda: of(tiff(255 - G8, photometric="palette", colormap=ramp), G8), TIFF8),
        ("BigTIFF, gray, 16 bit", lambda: of(g16(bigtiff=True), G16), TIFF16),
        ("big-endian, gray, 16 bit", lambda: of(g16(byteorder=">"), G16), TIFF16),
        ("big-endian, gray, 16 bit, deflate, predictor",
         lambda: of(g16(byteorder=">", compression="deflate", predictor=True), G16), TIFF16),
        ("big-endian BigTIFF, RGB, 8 bit", lambda: of(rgb8(byteorder=">", bigtiff=True), G8), TIFF8),
        ("RGBA, 8 bit, alpha apart", lambda: of(clear(np.dstack([RGB8, ALPHA]), photometric="rgb"), G8, ALPHA), TIFF8),
        ("RGBA, 16 bit, alpha apart",
         lambda: of(clear(np.dstack([RGB16, ALPHA16]), photometric="rgb"), G16, ALPHA16), TIFF16),
        ("gray and alpha, 16 bit",
         lambda: of(clear(np.dstack([G16, ALPHA16]), photometric="minisblack"), G16, ALPHA16), TIFF16),
        ("RGBA, 8 bit, alpha multiplied in", partial(associated, False), coarser(TIFF8)),
        ("RGBA, 16 bit, alpha multiplied in", partial(associated, True), coarser(TIFF16)),
        ("three pages of different sizes and kinds", three_pages, TIFF8),
        ("two pages, 8 and 16 bit", two_depths, TIFF16),
        ("gray, 32-bit float", lambda: of(tiff(G8.astype(np.float32)), G8), replace(TIFF8, refused="floating-point")),
    ]  # fmt: skip
    return (
        *(Case(f"TIFF, {name}", ".tif", make, expected) for name, make, expected in kinds),
        Case("TIFF, gray, 16 bit, --depth 8", ".tif", lambda: of(g16(), G16), coarser(TIFF8), options(eight_bit=True)),
    )


def others() -> tuple[Case, ...]:
    clear = np.where(G8 == CLEAR, 0, 255).astype(np.uint8)
    gif = partial(saved, gray(G8), "GIF")
    jp2 = partial(coded, "jpeg2k", level=0, codecformat="jp2")
    webp = partial(saved, kind="WEBP")
    bmps: list[Kind] = [
        ("BMP, 1 bit", lambda: of(saved(Image.fromarray(BLACK_WHITE), "BMP"), BLACK_WHITE), colourless(BMP)),
        ("BMP, 8 bit", lambda: of(saved(gray(G8), "BMP"), G8), BMP),
        ("BMP, 24 bit", lambda: of(saved(rgb(G8), "BMP"), G8), BMP),
        ("BMP, alpha",
         lambda: of(bmp_with_alpha(np.dstack([RGB8, ALPHA])), G8, ALPHA), replace(BMP, holds=("resolution",))),
    ]  # fmt: skip
    webps: list[Kind] = [
        ("WebP, lossless", lambda: of(webp(rgb(G8), lossless=True), G8), WEBP),
        ("WebP, lossless, alpha", lambda: of(webp(rgba(G8, ALPHA), lossless=True, exact=True), G8, ALPHA), WEBP),
        ("WebP, lossy, quality 80", lambda: as_shown(webp(rgb(G8), quality=80)), LOSSY_WEBP),
    ]
    gifs: list[Kind] = [
        ("GIF", lambda: of(gif(), G8), PNG8),
        ("GIF, transparent entry", lambda: of(gif(transparency=CLEAR), G8, clear), PNG8),
    ]
    jp2s: list[Kind] = [
        ("JPEG 2000, gray, 8 bit", lambda: of(jp2(G8), G8), PNG8),
        ("JPEG 2000, RGB, 8 bit", lambda: of(jp2(RGB8), G8), PNG8),
        ("JPEG 2000, gray, 12 bit",
         lambda: Source(jp2(G16 >> 4, bitspersample=12), ((G16 >> 4) / 4095,)), coarser(TIFF16)),
        ("JPEG 2000, gray, 16 bit", lambda: of(jp2(G16), G16), TIFF16),
        ("JPEG 2000, RGB, 16 bit", lambda: of(jp2(RGB16), G16), TIFF16),
        ("JPEG 2000, gray and alpha, 16 bit", lambda: of(jp2(np.dstack([G16, ALPHA16])), G16, ALPHA16), TIFF16),
    ]  # fmt: skip
    avifs: list[Kind] = [
        ("AVIF, 8 bit, quality 80", lambda: as_shown(saved(gray(G8), "AVIF", quality=80)), LOSSY_AVIF),
        ("AVIF, 8 bit, alpha", lambda: of(saved(rgba(G8, ALPHA), "AVIF", quality=100, subsampling="4:4:4"), G8, ALPHA),
         replace(NEW_AVIF, alpha=1.1)),
        ("AVIF, gray, 10 bit", partial(deep_avif, False), coarser(TIFF16)),
        ("AVIF, RGB, 10 bit", partial(deep_avif, True), coarser(TIFF16)),
    ]  # fmt: skip
    heics: list[Kind] = [
        ("HEIC, gray, 8 bit", lambda: of(heif("L", G8), G8), PNG8),
        ("HEIC, RGB, 8 bit", lambda: as_shown(heif("RGB", RGB8)), coarser(PNG8)),
        ("HEIC, RGBA, 8 bit", lambda: of(heif("RGBA", np.dstack([RGB8, ALPHA]), chroma=444), G8, ALPHA), PNG8),
        ("HEIC, gray, 10 bit", deep_heic, coarser(TIFF16)),
    ]
    pnms: list[Kind] = [
        ("PNM, 1 bit", lambda: of(saved(Image.fromarray(BLACK_WHITE), "PPM"), BLACK_WHITE), colourless(PNG8)),
        ("PNM, gray, 8 bit", lambda: of(saved(gray(G8), "PPM"), G8), PNG8),
        ("PNM, RGB, 8 bit", lambda: of(saved(rgb(G8), "PPM"), G8), PNG8),
        ("PNM, gray, 10 bit",
         lambda: Source(deep_pnm(5, G16 >> 6, 1023), ((G16 >> 6) / 1023,)), coarser(TIFF16)),
        ("PNM, gray, 16 bit", lambda: of(deep_pnm(5, G16), G16), TIFF16),
        ("PNM, RGB, 16 bit", lambda: of(deep_pnm(6, RGB16), G16), TIFF16),
    ]  # fmt: skip
    by_suffix = {
        ".webp": webps, ".bmp": bmps, ".gif": gifs, ".jp2": jp2s, ".avif": avifs, ".heic": heics, ".pnm": pnms,
    }  # fmt: skip
    return tuple(
        Case(name, suffix, make, expected) for suffix, kinds in by_suffix.items() for name, make, expected in kinds
    )
