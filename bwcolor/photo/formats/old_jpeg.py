"""JPEG of the old kind inside TIFF (TIFF 6.0, section 22; compression 6), as office copiers and Wang Imaging wrote it.

Where its parts lie was left to each program: a whole JPEG that a tag points to, its head there and its data in strips,
or tables in tags and nothing but data in strips. Each strip is put together again as a JPEG of its own.
"""

import io
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from bwcolor.errors import PhotoError
from bwcolor.photo.formats.decoders import strictly_decoded, to_luma, whole_parts
from bwcolor.photo.formats.jpeg import DHT, DQT, DRI, EOI, FRAMES, RST0, RST7, SOF0, SOI, SOS, Segment, segments
from bwcolor.photo.formats.tiffchecks import CUT_OFF, check_frame, read_segment

# Tags of TIFF 6.0, section 22, and YCbCrSubSampling.
INTERCHANGE, INTERCHANGE_LENGTH, RESTART_INTERVAL, SUBSAMPLING = 513, 514, 515, 530
Q_TABLES, DC_TABLES, AC_TABLES = 519, 520, 521
CODES = 16  # lengths of Huffman codes, whose counts come before the values
USUAL_SUBSAMPLING = (2, 2)  # of YCbCr where no tag tells another, TIFF 6.0, section 21
MOST_CODES = 256  # values of a Huffman table
BLOCK = 8  # px, side of what JPEG codes at once


@dataclass(frozen=True, slots=True)
class _Head:
    """What all strips share, in segments. tables: quantization, Huffman, restarts. frame, scan: None while unknown."""

    tables: tuple[bytes, ...] = ()
    frame: bytes | None = None
    scan: bytes | None = None

    def with_more(self, parts: Sequence[Segment]) -> "_Head":
        """The same with what further segments say; tables of the same number take the place of earlier ones."""
        frames = [bytes(part.head) for part in parts if part.marker in FRAMES]
        scans = [bytes(part.head) for part in parts if part.marker == SOS]
        tables = [bytes(part.head) for part in parts if part.marker in (DQT, DHT, DRI)]
        frame, scan = frames[0] if frames else self.frame, scans[0] if scans else self.scan
        return _Head((*self.tables, *tables), frame, scan)


def old_jpeg_pieces(page: tifffile.TiffPage, file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Each strip of a page as a JPEG of its own, and the number of its rows; one for the page where a tag points to a
    whole JPEG. Raises PhotoError for layouts that no reader knows."""
    if page.is_tiled or (page.planarconfig != 1 and page.samplesperpixel > 1):
        raise PhotoError(
            "stores an old kind of JPEG in tiles or planes, which can't be read; save it uncompressed or LZW"
        )
    pointed = _pointed_to(page, file)
    parts = list(segments(pointed)) if pointed.startswith(SOI) else []
    if any(part.marker == SOS and len(part.data) for part in parts):
        yield _closed(pointed, parts), page.imagelength
        return
    head = _Head().with_more(parts)
    if len(page.dataoffsets) != len(page.databytecounts) or not page.tags.get(273):
        raise PhotoError(CUT_OFF)
    top = 0
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        rows = min(page.rowsperstrip, page.imagelength - top)
        if rows <= 0:
            return
        head, data = _split(read_segment(file, offset, count), head)
        if head.frame is None:
            head = _from_tags(page, file, head)
        yield _joined(head, data, rows if len(page.dataoffsets) > 1 else None), rows
        top += rows


def old_jpeg_pixels(piece: bytes, rows: int, width: int, gray: bool) -> NDArray[np.uint8]:
    """(rows, width, 1 or 3), gray or RGB. Raises PhotoError when the piece is damaged or of another size."""
    parts = whole_parts(piece)
    frame = next(part.head for part in parts if part.marker in FRAMES)
    check_frame(frame, (rows, width), (rows, width))
    pixels = strictly_decoded(piece, parts, "GRAY" if gray else "RGB")
    if pixels is None:  # lossless
        pixels = np.asarray(imagecodecs.jpeg8_decode(piece))
        if pixels.dtype != np.uint8:
            raise PhotoError("stores an old kind of JPEG with more than 8 bits; save it uncompressed or LZW")
        pixels = pixels if pixels.ndim == 3 else np.dstack([pixels] * (1 if gray else 3))
        pixels = to_luma(pixels)[..., None] if gray and pixels.shape[2] == 3 else pixels
    return np.asarray(pixels[:rows, :width], np.uint8)


def _pointed_to(page: tifffile.TiffPage, file: BinaryIO) -> bytes:
    """What JPEGInterchangeFormat points to; empty without the tag. A length that is missing, or that leads beyond the
    file, stands for the rest of the file, as libtiff has it."""
    start, length = _number(page, INTERCHANGE), _number(page, INTERCHANGE_LENGTH)
    left = file.seek(0, io.SEEK_END) - start
    if start <= 0 or left <= 0:
        return b""
    return read_segment(file, start, length if 0 < length <= left else left)


def _closed(source: bytes, parts: Sequence[Segment]) -> bytes:
    """The JPEG with an end: the length in the tag may leave it out, and what is missing else, decoding shows."""
    return source if parts[-1].marker == EOI else source + bytes([0xFF, EOI])


def _split(data: bytes, head: _Head) -> tuple[_Head, bytes]:
    """A strip -> what its own segments say, and the entropy-coded data behind them, without restarts at its ends."""
    if data.startswith(b"\xff") and data[1:2] != b"\0" and not RST0 <= (data[1:2] or b"\0")[0] <= RST7:
        parts = list(segments(data if data.startswith(SOI) else SOI + data))
        head = head.with_more(parts)
        data = next((bytes(part.data) for part in parts if part.marker == SOS), b"")
    for marker in (bytes([0xFF, EOI]), *(bytes([0xFF, number]) for number in range(RST0, RST7 + 1))):
        data = data.removesuffix(marker).removeprefix(marker)
    return head, data


def _from_tags(page: tifffile.TiffPage, file: BinaryIO, head: _Head) -> _Head:
    """A baseline frame with the tables that tags point to, one for each component."""
    components = page.samplesperpixel
    if components not in (1, 3):
        raise PhotoError(f"stores an old kind of JPEG with {components} colors; save it as gray or RGB")
    tables = []
    for code, marker, known in ((Q_TABLES, DQT, _quantization), (DC_TABLES, DHT, _huffman), (AC_TABLES, DHT, _huffman)):
        for number, place in enumerate(_numbers(page, code)[:components]):
            kind = 0x10 if code == AC_TABLES else 0  # class of a Huffman table, ITU-T T.81, B.2.4.2
            tables.append(_segment(marker, bytes([kind | number]) + known(file, place)))
    restarts = _number(page, RESTART_INTERVAL)
    tables += [_segment(DRI, struct.pack(">H", restarts))] if 0 < restarts < 1 << 16 else []
    sampling = _numbers(page, SUBSAMPLING)[:2] or USUAL_SUBSAMPLING
    first = (sampling[0] << 4 | sampling[1]) & 0xFF if components == 3 and len(sampling) == 2 else 0x11
    count = [max(1, len(_numbers(page, code)[:components])) for code in (Q_TABLES, DC_TABLES, AC_TABLES)]
    each = [(number, *(min(number, most - 1) for most in count)) for number in range(components)]
    frame = struct.pack(">BHHB", 8, page.imagelength, page.imagewidth, components)
    frame += b"".join(bytes([number + 1, 0x11 if number else first, table]) for number, table, _, _ in each)
    scan = bytes([components, *(value for number, _, dc, ac in each for value in (number + 1, dc << 4 | ac)), 0, 63, 0])
    return replace(
        head, tables=(*tables, *head.tables), frame=_segment(SOF0, frame), scan=head.scan or _segment(SOS, scan)
    )


def _joined(head: _Head, data: bytes, rows: int | None) -> bytes:
    """A JPEG of that many rows, or of as many as its frame says."""
    if head.frame is None or head.scan is None or not data:
        raise PhotoError("stores an old kind of JPEG without all its parts")
    frame = head.frame if rows is None else head.frame[:5] + struct.pack(">H", rows) + head.frame[7:]
    return b"".join([SOI, *head.tables, frame, head.scan, data, bytes([0xFF, EOI])])


def _quantization(file: BinaryIO, place: int) -> bytes:
    return read_segment(file, place, BLOCK * BLOCK)


def _huffman(file: BinaryIO, place: int) -> bytes:
    counts = read_segment(file, place, CODES)
    if not 0 < sum(counts) <= MOST_CODES:
        raise PhotoError("damaged: its Huffman tables are none")
    return counts + read_segment(file, place + CODES, sum(counts))


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _numbers(page: tifffile.TiffPage, code: int) -> tuple[int, ...]:
    tag = page.tags.get(code)
    values = tag.value if tag is not None else ()
    values = values if isinstance(values, tuple) else (values,)
    return tuple(value for value in values if isinstance(value, int) and value >= 0)


def _number(page: tifffile.TiffPage, code: int) -> int:
    return next(iter(_numbers(page, code)), 0)
