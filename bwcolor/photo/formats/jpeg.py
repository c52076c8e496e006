"""The structure of JPEG files, and how a gray one becomes a colour one without touching its luma.

A colour JPEG may store each component in scans of its own (ITU-T T.81, A.2: non-interleaved order).
So the entropy-coded scans of a gray file are carried over byte for byte as those of component Y, and
followed by scans of Cb and Cr that are taken from two gray files encoded for the purpose.
"""

import contextlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bwcolor.errors import PhotoError
from bwcolor.options import Sampling  # 420: chroma at half of luma's rows and columns

# Markers, ITU-T T.81, table B.1.
SOF0, SOF1, SOF2 = 0xC0, 0xC1, 0xC2  # baseline, extended, progressive; all Huffman-coded
SOI = b"\xff\xd8"
DHT, EOI, SOS, DQT, DNL, DRI = 0xC4, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD
RST0, RST7 = 0xD0, 0xD7
APP0, APP1, APP2, APP13, APP14, APP15, COM = 0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xEF, 0xFE
STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # without a length: TEM, RSTn, SOI
FRAMES = frozenset(range(0xC0, 0xD0)) - {DHT, 0xC8, 0xCC}  # what lies in the frame headers' range, but is none
DAMAGED = "not a picture that can be read, or damaged"
# Says that the components are Y, Cb, Cr; no resolution (ITU-T T.871, 10.1).
JFIF_HEADER = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
NO_RESTARTS = b"\xff\xdd\x00\x04\x00\x00"
PROGRESSIVE = frozenset({SOF2, 0xC6, 0xCA, 0xCE})  # frames whose scans refine each other
# Which bytes behind 0xFF end a scan: not stuffed, no restart, no fill byte (ITU-T T.81, B.1.1.2 and B.1.1.5).
ENDS_SCAN = np.isin(np.arange(256), [0x00, *range(RST0, RST7 + 1), 0xFF], invert=True)
SCAN_PIECE = 1 << 12  # bytes searched first, then four times as many each
MAX_PADDING = 1 << 16  # bytes between two segments that are passed over
FIRST_READ = 1 << 18  # bytes in which most files have their frame header
MOST_SCANS = 100  # each makes the decoder go over the whole picture; progressive files have about ten
MOST_READ = 1 << 24  # bytes; with any less, four times as many are looked at


@dataclass(frozen=True, slots=True)
class Frame:
    """What a frame header says (ITU-T T.81, B.2.2). kind: its marker; height, width in px; bits of a sample;
    components: how many; table: the number of the first one's quantisation table."""

    kind: int
    height: int
    width: int
    bits: int
    components: int
    table: int


def read_frame(file: BinaryIO) -> Frame:
    """The frame header of a JPEG that is open at its start; raises PhotoError when there is none."""
    source = b""
    while len(source) < MOST_READ and (more := file.read(max(FIRST_READ, 3 * len(source)))):
        source += more
        for marker, head, _ in segments(source, until=SOS) if source.startswith(SOI) else ():
            if marker in FRAMES:
                height, width = int.from_bytes(head[5:7], "big"), int.from_bytes(head[7:9], "big")
                if len(head) >= 13 and not height:
                    height = later_height(source + file.read())
                if len(head) < 13 or not width or not height:
                    raise PhotoError(DAMAGED)
                return Frame(marker, height, width, head[4], head[9], head[12])
    raise PhotoError(DAMAGED)


def later_height(source: bytes) -> int:
    """Find the number of lines that a DNL marker tells behind the first scan (ITU-T T.81, B.2.5); 0 without one."""
    heads = (part.head for part in segments(source) if part.marker == DNL)
    return next((int.from_bytes(head[4:6], "big") for head in heads), 0)


class Segment(NamedTuple):
    """head: marker, length and parameters. data: the entropy-coded data behind a start of scan, not copied."""

    marker: int
    head: bytes
    data: memoryview


def segments(source: bytes, until: int | None = None) -> Iterator[Segment]:
    """The segments of a JPEG, the end of the image (EOI) included.

    Ends before the first marker `until`, or the end of the image where that comes first; and where the structure ends
    to make sense.
    """
    position, view = 2, memoryview(source)
    while (position := _marker(source, position)) >= 0:
        marker = source[position + 1]
        if marker in (EOI, until):
            if until is None:
                yield Segment(EOI, source[position : position + 2], view[:0])
            return
        head_end = end = position + 2 + int.from_bytes(source[position + 2 : position + 4], "big")
        if not position + 4 <= head_end <= len(source):
            return
        if marker == SOS:
            end = _scan_end(source, head_end)
        yield Segment(marker, source[position:head_end], view[head_end:end])
        position = end


def end_of_picture(source: bytes) -> int:
    """Find where a file's first picture ends, past its end marker; the file's length where that is missing."""
    position = 2
    while (position := _marker(source, position)) >= 0:
        marker = source[position + 1]
        if marker == EOI:
            return position + 2
        position += 2 + int.from_bytes(source[position + 2 : position + 4], "big")
        if marker == SOS:
            position = _scan_end(source, position)
    return len(source)


def _marker(source: bytes, position: int) -> int:
    """Where the next marker stands that starts a segment or ends the image; -1 where none does. Decoders, too, pass
    over padding, fill bytes and markers that stand alone."""
    last = position + MAX_PADDING
    while 0 <= (position := source.find(b"\xff", position, last)) < len(source) - 1:
        marker = source[position + 1]
        if marker != 0xFF and marker != 0 and marker not in STANDALONE:
            return position
        position += 1 if marker == 0xFF else 2
    return -1


def _scan_end(source: bytes, position: int) -> int:
    """Where the next marker stands that is neither a stuffed byte nor a restart; fill bytes may stand before it."""
    length = SCAN_PIECE
    while position < len(source) - 1:
        piece = np.frombuffer(source, np.uint8, min(length, len(source) - position), position)
        found = np.flatnonzero(piece[:-1] == 0xFF)
        ends = found[ENDS_SCAN[piece[found + 1]]]
        if len(ends):
            return position + int(ends[0])
        position += len(piece) - 1
        length *= 4
    return len(source)


def is_complete(parts: Sequence[Segment]) -> bool:
    """Whether the end of the image was reached and the scans before it bring every coefficient of every component.

    Whether each scan is whole, only decoding shows.
    """
    frames = [part for part in parts if part.marker in FRAMES]
    if len(frames) != 1 or parts[-1].marker != EOI:
        return False
    kind, head, _ = frames[0]
    if len(head) < 10 or len(head) < 10 + 3 * head[9]:
        return False
    missing = dict.fromkeys(head[10 : 10 + 3 * head[9] : 3], [True] * 64)  # by component and coefficient
    for scan in (part.head for part in parts if part.marker == SOS):
        count = scan[4] if len(scan) > 4 else 0
        if len(scan) < 8 + 2 * count:
            return False
        first, last, bits = scan[5 + 2 * count :][:3]  # G.1.1.1: spectral selection, successive approximation
        for component in scan[5 : 5 + 2 * count : 2]:
            before = missing.get(component, [])
            if kind in PROGRESSIVE:
                missing[component] = [bits & 15 > 0 if first <= at <= last else no for at, no in enumerate(before)]
            else:
                missing[component] = []
    return not any(map(any, missing.values()))


def carried_frame(source: bytes) -> Frame | None:
    """The frame of a file that `carry_luma` can take (gray, 8 bit, Huffman-coded, complete), or None."""
    return _gray_frame(list(segments(source)))


def carry_luma(source: bytes, chroma: Sequence[bytes], sampling: Sampling = "420") -> list[bytes | memoryview]:
    """A colour JPEG, in pieces, whose luma is bit for bit that of the gray JPEG `source`.

    chroma: two gray JPEGs as `encode_gray` makes them, Cb and Cr with 128 for none, progressive like the source; their
    rows and columns are the photo's with sampling 444 and half of them, rounded up, with 420. The first pieces are the
    start of the image and a plain JFIF header; there is no other metadata. Raises PhotoError for a source without
    `carried_frame`.
    """
    luma = list(segments(source))
    frame = _gray_frame(luma)
    if frame is None:
        raise PhotoError("this kind of JPEG can't keep its luma bit for bit")
    planes = [list(segments(plane)) for plane in chroma]
    table = 1 if frame.table == 0 else 0  # any but the luma's; every file may define four
    values = next(part.head for part in planes[0] if part.marker == DQT)[5:]
    pieces: list[bytes | memoryview] = [
        SOI,
        JFIF_HEADER,
        b"".join(_only_table(part.head, frame.table) for part in luma if part.marker == DQT),
        bytes([0xFF, DQT, 0, 67, table]) + values,
        _colour_frame(frame, table, sampling),
    ]
    for component, file in enumerate((luma, *planes), start=1):
        pieces += [NO_RESTARTS] if component == 2 else []
        pieces += _scans(file, component)
    return [*pieces, bytes([0xFF, EOI])]


def luma_parts(source: bytes) -> tuple[bytes | memoryview, ...] | None:
    """All that a JPEG's luma is made of: size, quantisation table, Huffman tables and entropy-coded scans, the
    numbers of components and tables left out. Equal parts mean equal luma, bit for bit.

    None where luma has no scans of its own, or the file is of another kind than `carry_luma` takes and makes.
    """
    parts = list(segments(source))
    frames = [part.head for part in parts if part.marker in FRAMES]
    if len(frames) != 1 or len(frames[0]) < 13:
        return None
    first, table = frames[0][10], frames[0][12]
    tables = b"".join(_only_table(part.head, table)[5:] for part in parts if part.marker == DQT)
    found: list[bytes | memoryview] = [frames[0][4:9], tables]
    coding: dict[int, bytes] = {}
    restarts = b"\0\0"
    for marker, head, data in parts:
        if marker == DHT:
            coding |= huffman_tables(head)
        elif marker == DRI:
            restarts = head[4:6]
        elif marker == SOS and head[5] == first:
            if head[4] != 1:
                return None
            used = [coding.get(head[6] >> 4, b""), coding.get(0x10 | head[6] & 15, b"")]
            found += [*used, restarts, head[7:], data]
    return tuple(found)


def luma_coding(source: bytes) -> tuple[list[int] | None, bool]:
    """The quantisation table of a JPEG's first component, 64 values row by row, and whether it is progressive.

    None for the table where Pillow does not know the file, as of 12-bit ones.
    """
    progressive = any(part.marker in PROGRESSIVE for part in segments(source, until=SOS))
    try:
        with Image.open(io.BytesIO(source), formats=["JPEG"]) as image:
            tables, layers = getattr(image, "quantization", None), getattr(image, "layer", None)
            table = list(tables[layers[0][3]]) if tables and layers else None
            return table, progressive
    except Exception:
        return None, progressive


def huffman_tables(segment: bytes) -> dict[int, bytes]:
    """Class and number of each table of a DHT segment, and the table (ITU-T T.81, B.2.4.2)."""
    position, tables = 4, {}
    while position + 17 <= len(segment):
        end = position + 17 + sum(segment[position + 1 : position + 17])
        tables[segment[position]] = segment[position + 1 : end]
        position = end
    return tables


def _gray_frame(parts: list[Segment]) -> Frame | None:
    frames = [at for at, part in enumerate(parts) if part.marker in FRAMES]
    if len(frames) != 1 or parts[frames[0]].marker not in (SOF0, SOF1, SOF2):
        return None
    kind, head, _ = parts[frames[0]]
    if len(head) < 13 or head[4] != 8 or head[9] != 1:  # bits a sample, number of components
        return None
    height, width = int.from_bytes(head[5:7], "big"), int.from_bytes(head[7:9], "big")
    tables_late = any(part.marker == DQT for part in parts[frames[0] :])
    if not height or not width or tables_late:  # see jpegrepair for heights that come later; tables that change
        return None
    if not is_complete(parts):
        return None
    return Frame(kind, height, width, 8, 1, head[12])


def _only_table(segment: bytes, number: int) -> bytes:
    """A DQT segment reduced to one of its tables, which keeps its number and precision."""
    position, kept = 4, b""
    while position < len(segment):
        size = 65 if segment[position] >> 4 == 0 else 129
        if segment[position] & 15 == number:
            kept += segment[position : position + size]
        position += size
    return b"\xff\xdb" + (len(kept) + 2).to_bytes(2, "big") + kept if kept else b""


def _colour_frame(frame: Frame, chroma_table: int, sampling: Sampling) -> bytes:
    size = frame.height.to_bytes(2, "big") + frame.width.to_bytes(2, "big")
    luma = 0x22 if sampling == "420" else 0x11
    components = bytes([1, luma, frame.table, 2, 0x11, chroma_table, 3, 0x11, chroma_table])
    return bytes([0xFF, frame.kind, 0, 17, 8]) + size + b"\x03" + components


def _scans(file: list[Segment], component: int) -> Iterator[bytes | memoryview]:
    """Huffman tables, restart intervals and scans of a gray file, for this component of another."""
    for marker, head, data in file:
        if marker in (DHT, DRI):
            yield head
        elif marker == SOS:
            yield head[:5] + bytes([component]) + head[6:]  # the scan's component selector
            yield data


def encode_gray(plane: NDArray[Any], table: list[int], progressive: bool) -> bytes:
    """A gray JPEG of an 8-bit plane (h, w), quantised with `table` (64 values)."""
    image = Image.fromarray(np.ascontiguousarray(plane))
    with _memory_file() as out:
        image.save(out, "JPEG", qtables=[table], progressive=progressive)
        out.seek(0)
        return out.read()


def _memory_file() -> BinaryIO:
    """A file with a descriptor where the system has such ones in memory: Pillow holds Python's lock while it encodes
    into anything else, and other photos wait."""
    with contextlib.suppress(AttributeError, OSError):  # no such call, or not here
        return os.fdopen(os.memfd_create("jpeg"), "w+b")
    return io.BytesIO()


class GrayEncoder:
    """A gray JPEG made from strips, so that nobody has to hold the whole plane.

    Each strip becomes a restart interval (ITU-T T.81, E.1.4), which is coded as if nothing stood before it. A
    progressive file needs the whole plane at once, and gets it.
    """

    def __init__(self, table: list[int], progressive: bool) -> None:
        self._table = table
        self._progressive = progressive
        self._waiting: list[NDArray[Any]] = []
        self._head: list[Segment] = []
        self._data: list[memoryview] = []
        self._height = self._interval = 0

    def add(self, strip: NDArray[Any]) -> None:
        """The next rows, (rows, w), 8 bit; all strips but the last have equally many, a multiple of 8."""
        if self._progressive:
            self._waiting.append(strip)
            return
        parts = [part for part in segments(encode_gray(strip, self._table, False)) if part.marker != EOI]
        if not self._head:
            self._head = parts
            self._interval = -(-strip.shape[0] // 8) * -(-strip.shape[1] // 8)
        self._data.append(next(part.data for part in parts if part.marker == SOS))
        self._height += strip.shape[0]

    def finish(self) -> bytes:
        """The file."""
        if self._progressive:
            return encode_gray(np.concatenate(self._waiting), self._table, True)
        pieces: list[bytes | memoryview] = [SOI]
        for marker, head, _ in self._head:
            if marker in FRAMES:
                head = head[:5] + self._height.to_bytes(2, "big") + head[7:]
            elif marker == SOS:
                pieces.append(bytes([0xFF, DRI, 0, 4]) + self._interval.to_bytes(2, "big"))
            pieces.append(head)
        for number, data in enumerate(self._data):
            pieces += [bytes([0xFF, RST0 + (number - 1) % 8])] if number else []
            pieces.append(data)
        return b"".join([*pieces, bytes([0xFF, EOI])])
