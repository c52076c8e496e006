"""The structure of JPEG files, and how a gray one becomes a colour one without touching its luma.

A colour JPEG may store each component in scans of its own (ITU-T T.81, A.2: non-interleaved order).
So the entropy-coded scans of a gray file are carried over byte for byte as those of component Y, and
followed by scans of Cb and Cr that are taken from two gray files encoded for the purpose.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bwcolor.errors import PhotoError

# Markers, ITU-T T.81, table B.1.
SOF0, SOF1, SOF2 = 0xC0, 0xC1, 0xC2  # baseline, extended, progressive; all Huffman-coded
SOI = b"\xff\xd8"
DHT, EOI, SOS, DQT, DRI = 0xC4, 0xD9, 0xDA, 0xDB, 0xDD
RST0, RST7 = 0xD0, 0xD7
STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # without a length: TEM, RSTn, SOI
# Says that the components are Y, Cb, Cr; no resolution (ITU-T T.871, 10.1).
JFIF_HEADER = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
NO_RESTARTS = b"\xff\xdd\x00\x04\x00\x00"


@dataclass(frozen=True, slots=True)
class Frame:
    """What a gray file's frame header says. kind: its marker; height, width in px; table: of DQT."""

    kind: int
    height: int
    width: int
    table: int


def segments(source: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and bytes of each segment; a start of scan comes with its entropy-coded data.

    Ends at the end of the image, or where the structure ends to make sense.
    """
    position = 2
    while position + 4 <= len(source) and source[position] == 0xFF:
        marker = source[position + 1]
        if marker == 0xFF or marker in STANDALONE:  # a fill byte, or a marker that stands alone
            position += 1 if marker == 0xFF else 2
            continue
        if marker == EOI:
            return
        end = position + 2 + int.from_bytes(source[position + 2 : position + 4], "big")
        if marker == SOS:
            end = _scan_end(source, end)
        yield marker, source[position:end]
        position = end


def _scan_end(source: bytes, position: int) -> int:
    """Where the next marker stands that is neither a stuffed byte nor a restart."""
    while (position := source.find(b"\xff", position)) >= 0 and position + 1 < len(source):
        following = source[position + 1]
        if following == 0xFF:  # fill bytes may stand before a marker
            position += 1
        elif following == 0 or RST0 <= following <= RST7:
            position += 2
        else:
            return position
    return len(source)


def can_carry_luma(source: bytes) -> bool:
    """Whether `carry_luma` can take this file: gray, 8 bit, Huffman-coded, complete."""
    return _gray_frame(list(segments(source))) is not None


def carry_luma(source: bytes, chroma: NDArray[np.uint8], chroma_table: list[int]) -> bytes:
    """A colour JPEG (4:2:0) whose luma is bit for bit that of the gray JPEG `source`.

    chroma: (2, h, w), Cb and Cr, 8 bit with 128 for none; h and w are half the photo's, rounded up.
    chroma_table: 64 quantisation values. The result has a plain JFIF header and no other metadata. Raises
    PhotoError for a source that `can_carry_luma` refuses.
    """
    luma = list(segments(source))
    frame = _gray_frame(luma)
    if frame is None:
        raise PhotoError("this kind of JPEG can't keep its luma bit for bit")
    planes = [list(segments(encode_gray(plane, chroma_table, frame.kind == SOF2))) for plane in chroma]
    table = 1 if frame.table == 0 else 0  # any but the luma's; every file may define four
    quantization = b"".join(_only_table(segment, frame.table) for marker, segment in luma if marker == DQT)
    values = next(segment for marker, segment in planes[0] if marker == DQT)[5:]
    parts = [
        SOI,
        JFIF_HEADER,
        quantization,
        bytes([0xFF, DQT, 0, 67, table]) + values,
        _colour_frame(frame, table),
    ]
    for component, file in enumerate((luma, *planes), start=1):
        parts += [NO_RESTARTS] if component == 2 else []
        parts += list(_scans(file, component))
    return b"".join(parts) + bytes([0xFF, EOI])


def _gray_frame(parts: list[tuple[int, bytes]]) -> Frame | None:
    others = (DHT, 0xC8, 0xCC)  # in the frame headers' range of markers, but none
    frames = [at for at, (marker, _) in enumerate(parts) if 0xC0 <= marker <= 0xCF and marker not in others]
    if len(frames) != 1 or parts[frames[0]][0] not in (SOF0, SOF1, SOF2):
        return None
    kind, part = parts[frames[0]]
    if len(part) < 13 or part[4] != 8 or part[9] != 1:  # bits a sample, number of components
        return None
    height, width = int.from_bytes(part[5:7], "big"), int.from_bytes(part[7:9], "big")
    tables_late = any(marker == DQT for marker, _ in parts[frames[0] :])
    if not height or not width or tables_late:  # a height that a DNL marker gives later, tables that change
        return None
    return Frame(kind, height, width, part[12])


def _only_table(segment: bytes, number: int) -> bytes:
    """A DQT segment reduced to one of its tables, which keeps its number and precision."""
    position, kept = 4, b""
    while position < len(segment):
        size = 65 if segment[position] >> 4 == 0 else 129
        if segment[position] & 15 == number:
            kept += segment[position : position + size]
        position += size
    return b"\xff\xdb" + (len(kept) + 2).to_bytes(2, "big") + kept if kept else b""


def _colour_frame(frame: Frame, chroma_table: int) -> bytes:
    size = frame.height.to_bytes(2, "big") + frame.width.to_bytes(2, "big")
    components = bytes([1, 0x22, frame.table, 2, 0x11, chroma_table, 3, 0x11, chroma_table])
    return bytes([0xFF, frame.kind, 0, 17, 8]) + size + b"\x03" + components


def _scans(file: list[tuple[int, bytes]], component: int) -> Iterator[bytes]:
    """Huffman tables, restart intervals and scans of a gray file, for this component of another."""
    for marker, segment in file:
        if marker in (DHT, DRI):
            yield segment
        elif marker == SOS:
            yield segment[:5] + bytes([component]) + segment[6:]  # the scan's component selector


def encode_gray(plane: NDArray[Any], table: list[int], progressive: bool) -> bytes:
    """A gray JPEG of an 8-bit plane (h, w), quantised with `table` (64 values)."""
    out = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(plane))
    image.save(out, "JPEG", qtables=[table], progressive=progressive, optimize=True)
    return out.getvalue()
