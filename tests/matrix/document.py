"""The text of docs/formats.md: what bwcolor reads and writes, in words, and a table of each group of cases."""

import tempfile
from pathlib import Path

from matrix.cases import GROUPS
from matrix.expected import EXACT, Case
from matrix.measure import Row, measure
from matrix.photos import HEIGHT, WIDTH

TEXT = """\
# Formats

What bwcolor reads, what it writes, and how much of a photo's brightness, transparency and description is the same
afterwards. Written by `python tests/format_matrix.py > docs/formats.md`; `tests/test_formats.py` runs the same photos
and fails when one of them exceeds its limits. Please change the words in `tests/matrix/document.py`, not here.

## What is read and written

| Read | Written, unless `--format` or `--depth` says otherwise |
|---|---|
| JPEG, 8 bit: gray, YCbCr, RGB, CMYK; baseline, progressive, arithmetic, lossless; any sampling factors | JPEG |
| JPEG, 12 bit, and lossless with up to 16 bit | TIFF, 16 bit |
| PNG: 1 to 16 bit, gray, palette, RGB, with and without transparency | PNG, 8 or 16 bit |
| TIFF: 1 to 16 bit, gray, palette, RGB, CMYK, YCbCr, CIELAB; all its pages | TIFF, 8 or 16 bit, each page its own |
| TIFF: 32 bit, and floating-point from 0 to 1 | TIFF, 16 bit |
| WebP | WebP, lossless if the source is |
| AVIF, 8 bit | AVIF |
| BMP | BMP |
| GIF; JPEG 2000, HEIC and PNM (PBM, PGM, PPM) with 8 bit | PNG |
| JPEG 2000, AVIF, HEIC and PNM with more than 8 bit | TIFF, 16 bit |

HEIC needs the extra package pillow-heif. A TIFF page that is uncompressed or compressed with LZW or Zstandard stays so;
others become deflate, which loses nothing either. A page that this would make larger, as LZW does with the noise of
most 16-bit scans, is written uncompressed. JPEG in TIFF is read in its old kind too (compression 6, of office copiers),
whether tags point to a whole JPEG, to its head or to its tables. If a page of several can't be read, the file fails,
and its line names the page.

Read, with a note: a JPEG that lacks only its end marker, if every part of its picture is there; a PNG with damage
beside its picture, in a text or a profile, which is left out. A JPEG may tell its height behind the first scan.

A JPEG is refused if data are missing from one of its scans, were filled up with zeros, or are left over, but for a
little padding at the end. Arithmetic coding does not show where its data end: a cut within the last row of blocks goes
unnoticed, and a whole photo that ends in an area of one tone may be taken for one that is cut off.

TIFF values of 32 bits, and floating-point ones from 0 (black) to 1 (white), are rounded to 16 bits, and a note says so.
CIELAB becomes sRGB of the same depth.

Refused, with the reason: animated WebP, PNG and AVIF; TIFFs with values of which nobody can tell what is white: signed,
complex, 64-bit whole numbers, and floating-point ones beyond 0 to 1; those in ITULAB or other rare colors (LogLuv,
color filter arrays); and what the format that was asked for can't hold. That is more than 8 bit in JPEG, WebP, AVIF and
BMP (`--depth 8` gives the further bits up), several pages in anything but TIFF, and more pixels a side than 16,383 in
WebP or 65,500 in a JPEG that is encoded anew. Of a GIF or a PNM the first picture is taken, and a note says so if there
are more.

PNM files are read in all their kinds, with any maximum; only text ones (P2, P3) of more than 8 bits are refused. A
JPEG's name may end in .jif or .mpo, a BMP's in .dib, a PNG's in .apng, a JPEG 2000's in .jpf, .jpc, .j2c or .jp2k.

A file whose name has none of these endings is a photo if its first 64 bytes are those of one, and its output gets the
ending that it lacks. Files are not looked into for that when they lie on a network disk, unless you name them, and
never when their content is elsewhere: online-only files of OneDrive, iCloud and the like, or files without blocks on
the disk. Photos that are online-only, placeholders such as `.a.jpg.icloud`, and unfinished downloads count as failed,
with the reason; download them first.

Named and left out, with what to do: camera raw files, which go by their names because most begin like a TIFF; files of
image editors; documents and drawings; and pictures of rarer kinds, such as JPEG XL, TGA, and FITS. A zero-filled file
under a photo's name is told from a damaged one.

## How brightness is kept

The model only ever adds colour. How the photo's own brightness (luma as of ITU-R BT.601, which for a gray photo is its
gray value) gets into the output depends on the format:

- **Gray JPEG to JPEG.** The compressed brightness data of the photo are carried over as they are; the colours are
  stored beside them. Nothing is decoded and encoded again, so the stored brightness is the same bit for bit. A viewer
  converts it to RGB and rounds, so what it shows differs by a fraction of a level on average and by a few levels in
  single pixels.
- **Other JPEGs to JPEG** (gray stored in three components, RGB, CMYK, arithmetic coding). Brightness is decoded and
  encoded again, with the quantisation table of the photo's first component, which is brightness unless it is stored as
  RGB or CMYK. Most pixels come out the same; single ones, mostly beside clipped black or white, are a few levels off.
- **Other formats to JPEG, and lossless JPEG.** Brightness is encoded with the finest quantisation that JPEG has, which
  stores it within a level of the photo's (1.5 levels if 16 bits had to become 8). A viewer's rounding comes on top.
- **PNG, TIFF, BMP, lossless WebP.** For every pixel, colours are chosen so that the brightness of the RGB value is that
  of the photo, and only then rounded. What is left is the rounding: at most half a level, of 255 levels at 8 bit and of
  65,535 at 16 bit. At most one level where the photo's values had to be rounded too: 10 and 12 bit to 16, 16 to 8,
  toned photos, and colours with transparency multiplied in.
- **Lossy WebP and AVIF.** These formats always encode anew, so there is a loss: with the photos below, half a level to
  a little over one on average, and several levels in single pixels. Choose PNG or TIFF where that matters.

Where a pixel is so dark or so light that the colour does not fit, the colour is made paler and the brightness stays.
Pure black and pure white have no room for colour at all: scans with 1 bit stay black and white. A run counts them
apart from colorized photos, and so pages of text, drawings and halftone prints, which it tells by their look.

## What else is kept

EXIF, GPS, XMP, resolution and colour profile are carried over wherever the output's format has a place for them; a gray
profile becomes an RGB profile with the same tones. What has no place is left out, and a note at the end of the run says
so: transparency in JPEG; all metadata but the resolution in BMP; and in WebP and AVIF, which tell the resolution in
EXIF only, the resolution of a photo whose EXIF does not tell it.

A photo that is stored turned stays stored as it is, with the same mark of orientation. There are two exceptions, which
show the same picture: BMP has no place for the mark, so its pixels are turned upright; and a HEIC is turned upright by
its decoder, so what is made of it needs no mark.

Behind the photo, a scanner's TIFF may have pages that are no pictures. Masks, and pages of one tone, such as the
infrared plane that shows dust and scratches, are copied as they are: values, bits and type. A smaller version of the
photo is colorized like the photo. Notes at the end of the run say which pages were copied. The infrared plane of
black-and-white film looks like the photo itself, and is colorized unless its tag calls it a mask.

Outputs say in their XMP that software made their colours. A BMP has no place for that.

## Large photos

Peak memory of whole runs, `python benchmarks/memory.py` (Linux, one photo a run, measured on 2026-11-22 on two cores).
TIFFs are read and written in strips, and a gray JPEG's brightness is never encoded again.

| photo | peak memory |
|---|---|
| 1 x 1 px | 128 MB |
| JPEG, gray, 12 megapixels | 156 MB |
| JPEG, gray, 140 megapixels | 347 MB |
| TIFF, 16 bit, gray, 120 megapixels: uncompressed; LZW | 497 MB; 497 MB |
| TIFF, 16 bit, RGB, 120 megapixels | 502 MB |
| PNG, 24 megapixels: 8 bit; 16 bit | 373 MB; 742 MB |

Photos with more than 300 million pixels are named and left out before the run starts, unless `--max-pixels` says
otherwise. So are TIFFs whose pages have more than 15 billion pixels in all, unless `--max-file-pixels` does.

## How to read the tables

The photos are synthetic, {width} x {height} pixels unless said otherwise: soft shapes, edges, grain, and some clipped
black and white. The model is a stand-in that gives each quarter another colour.

- *Largest* and *mean* say by how much the output's brightness differs from the photo's, in levels of the output's depth
  (255 at 8 bit, 65,535 at 16 bit), as computed from the RGB values that other programs' decoders give (Pillow, libpng,
  tifffile). Of several pages, each has its own depth; the table has the largest of them, and the mean of their means.
- *Colour* says by how much the mean Cb and Cr in the middle tones differ from what the model said, of a full range of
  1. It is empty where the photo has no middle tones, and so no room for colour.
- *Stored brightness* is that of a JPEG before it becomes RGB, in levels.
- *Kept* and *lost* tell of what was looked for: the mark of orientation, EXIF's artist, GPS, XMP, the resolution, and
  whether there is a colour profile of the right kind. *Turned upright*: the pixels are stored upright, and the mark is
  gone. *Note* is what the run says of losses, of these or of others.

Photos called *turned* are stored with orientation 6. Figures move a little with the versions of the codecs.

How other programs show a gray JPEG that was made a colour one was looked at by hand on 2026-11-21, with a photo of
811 x 600 pixels, quality 85, baseline and progressive, with and without restart markers, 4:2:0 and 4:4:4. Chromium 156,
libvips 8.14, OpenCV 5.0 and libjpeg-turbo's djpeg 2.1 give the same RGB values as Pillow 13 in every pixel; their
brightness is 0.13 to 0.14 of 255 levels from the photo's on average and 3.3 at most. ffmpeg 5.1, whose decoder is its
own, differs from them by 0.13 levels on average (0.03 with 4:4:4) and 6 at most; its brightness is 0.16 levels from the
photo's on average. Gray profiles (gamma 1.8 and 2.2, sRGB, dot gain) and the RGB ones made of them look the same in
Chromium: at most 1 level apart.
"""
HEAD = """\
| Photo | Output | Largest | Mean | Colour | Remarks |
|---|---|--:|--:|--:|---|
"""
NAMES = {"webp": "WebP"}  # of formats that are not written in capitals


def document() -> str:
    parts = [TEXT.format(width=WIDTH, height=HEIGHT)]
    for title, cases in GROUPS.items():
        parts.append(f"\n## {title}\n\n{HEAD}")
        for case in cases:
            with tempfile.TemporaryDirectory() as folder:
                parts.append(_line(case, measure(case, Path(folder))))
    return "".join(parts)


def written_as(form: str, bits: int) -> str:
    """The second column."""
    return f"{NAMES.get(form, form.upper())}, {bits} bit"


def _line(case: Case, row: Row) -> str:
    if row.state != "done":
        cells = [row.state, "", "", "", row.words]
    elif not row.size:
        cells = [written_as(row.form, row.bits), "", "", "", "of another size, or turned otherwise"]
    else:
        colour = "" if row.colour is None else f"{row.colour:.3f}"
        figures = [f"{row.most:.2f}", f"{row.mean:.3f}", colour]
        cells = [written_as(row.form, row.bits), *figures, "; ".join(_remarks(case, row))]
    return f"| {' | '.join([case.name, *cells])} |\n"


def _remarks(case: Case, row: Row) -> list[str]:
    remarks = []
    if case.expected.stored == EXACT:
        remarks.append("stored brightness bit for bit" if row.parts and not row.stored else "not bit for bit")
    elif row.stored is not None:
        remarks.append(f"stored brightness within {round(row.stored, 1):g}")
    if row.alpha is not None:
        remarks.append("alpha exact" if not row.alpha else f"alpha within {row.alpha:.0f}")
    if row.upright:
        remarks.append("turned upright")
    kept = [name for name in row.held if name not in row.lost and not (row.upright and name == "orientation")]
    remarks += [f"kept: {', '.join(kept)}"] if kept else []
    remarks += [f"lost: {', '.join(row.lost)}"] if row.lost else []
    return [*remarks, *(f'note: "{note}"' for note in row.notes)]
