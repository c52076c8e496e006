"""The chunks of a PNG (PNG specification, third edition), and whether those of its pixels are whole."""

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from bwcolor.errors import PhotoError
from bwcolor.photo.metadata.blank import is_blank

START = b"\x89PNG\r\n\x1a\n"
CUT_OFF = "is cut off, or damaged"
PICTURE = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT"})  # chunks that pixels are made of
TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
ENOUGH = 1 << 16  # bytes of a text that are looked at
ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})
# What is lost with a damaged chunk; one of another kind is called by its four letters.
CONTENTS = {
    b"tEXt": "text", b"zTXt": "text", b"iTXt": "text", b"eXIf": "EXIF", b"iCCP": "color profile", b"pHYs": "resolution",
    b"tIME": "date",
}  # fmt: skip
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type: gray, RGB, palette, gray and RGB with alpha (11.2.1)
PALETTE = 3
FULL_BYTES = frozenset({8, 16})
DEPTHS = {0: FULL_BYTES | {1, 2, 4}, 2: FULL_BYTES, 3: frozenset({1, 2, 4, 8}), 4: FULL_BYTES, 6: FULL_BYTES}
CLEAR = {0: range(2, 3), 2: range(6, 7), 4: range(0), 6: range(0)}  # bytes of tRNS, beside that of a palette (11.3.1.1)
# First row and column of each of an interlaced picture's passes, and the steps to the next ones (8.1).
PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
PASSES_OF_ONE = ((0, 0, 1, 1),)
LARGEST = 1 << 30  # bytes of a chunk that we make; 2**31 - 1 are allowed (5.3)
FILTERS = 5  # types of filter, 9.2


class Chunk(NamedTuple):
    """kind: its four letters. body: its data. whole: all of its bytes, length and checksum included; not copied."""

    kind: bytes
    body: memoryview
    whole: memoryview

    def is_sound(self) -> bool:
        """Whether its checksum is right."""
        return zlib.crc32(self.whole[4:-4]).to_bytes(4, "big") == self.whole[-4:]

    def is_ancillary(self) -> bool:
        """Whether the picture can be shown without it (5.4); what tells transparency is part of it all the same."""
        return self.kind[:1].islower() and self.kind not in PICTURE


def chunks(source: bytes) -> Iterator[Chunk]:
    """Those that lie in the file."""
    position, view = len(START), memoryview(source)
    while position + 12 <= len(source):
        (length,) = struct.unpack_from(">I", source, position)
        whole = view[position : position + 12 + length]
        if len(whole) < 12 + length:
            return
        yield Chunk(bytes(whole[4:8]), whole[8:-4], whole)
        position += len(whole)


def must_be_sound(source: bytes) -> None:
    """Raises PhotoError when a checksum of what makes up the pixels is wrong: Pillow does not look at those."""
    if not all(chunk.is_sound() for chunk in chunks(source) if chunk.kind in PICTURE):
        raise PhotoError(CUT_OFF)


def head(file: BinaryIO) -> bytes:
    """Read a PNG up to its pixels, without what only describes it: no damage there hides the picture."""
    file.seek(0)
    kept = [file.read(len(START))]
    while len(begin := file.read(8)) == 8 and begin[4:] != b"IDAT":
        whole = begin + file.read(int.from_bytes(begin[:4], "big") + 4)
        chunk = Chunk(begin[4:], memoryview(whole)[8:-4], memoryview(whole))
        if not chunk.is_ancillary() or (chunk.kind in ANIMATION and chunk.is_sound()):
            kept.append(whole)
    return b"".join([*kept, begin])


def picture(source: bytes) -> bytes:
    """Leave out what only describes a picture, however damaged that is."""
    parts = list(chunks(source))
    if not any(part.is_ancillary() for part in parts):
        return source
    return b"".join([START, *(part.whole for part in parts if not part.is_ancillary())])


def description(source: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Find what describes a picture: a PNG of one pixel with it, and in words what is damaged and not in it."""
    sound: list[Chunk] = []
    damaged: list[Chunk] = []
    for chunk in chunks(source):
        if chunk.is_ancillary():
            (sound if chunk.is_sound() else damaged).append(chunk)
    about = [chunk for chunk in sound if chunk.kind not in ANIMATION]
    if not _opens(about):
        damaged += [chunk for chunk in about if not _opens([chunk])]
        about = [chunk for chunk in about if chunk not in damaged]
    return _dot(about), tuple(dict.fromkeys(f"damaged {_content(chunk)} left out" for chunk in damaged))


def _content(chunk: Chunk) -> str:
    return CONTENTS.get(chunk.kind) or f"PNG chunk {chunk.kind.decode('ascii', 'replace')}"


def _dot(about: Sequence[Chunk]) -> bytes:
    """A black pixel with these chunks."""
    begin = chunk_of(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    end = chunk_of(b"IDAT", zlib.compress(b"\0\0")) + chunk_of(b"IEND", b"")
    return b"".join([START, begin, *(chunk.whole for chunk in about), end])


def _opens(about: Sequence[Chunk]) -> bool:
    """Whether Pillow can read them: it takes a description that it can't read for a damaged picture."""
    try:
        with Image.open(io.BytesIO(_dot(about)), formats=["PNG"]) as image:
            image.load()
    except Exception:  # parsers raise whatever they like on damaged data
        return False
    return True


def is_blank_text(whole: bytes) -> bool:
    """Tell whether a chunk is a text (11.3.3) that has a keyword and says nothing under it."""
    kind, body = whole[4:8], whole[8:-4]
    if kind not in TEXTS:
        return False
    text = body.partition(b"\0")[2]
    packed = kind == b"zTXt" or (kind == b"iTXt" and text[:1] == b"\1")
    if kind == b"zTXt":
        text = text[1:]  # behind the method of compression
    elif kind == b"iTXt":
        text = text[2:].partition(b"\0")[2].partition(b"\0")[2]  # behind language and translated keyword
    if packed:
        try:
            text = zlib.decompressobj().decompress(text, ENOUGH)
        except zlib.error:
            return False
    return len(text) < ENOUGH and is_blank(text)


def chunk_of(kind: bytes, body: bytes) -> bytes:
    """A chunk, with its length and its checksum."""
    return b"".join(_pieces(kind, body))


def _pieces(kind: bytes, body: bytes | memoryview) -> tuple[bytes | memoryview, ...]:
    return struct.pack(">I", len(body)), kind, body, struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def plain(source: bytes) -> bytes:
    """A PNG with nothing in it but its pixels, not compressed; PhotoError when some are missing or damaged.

    So that libpng finds nothing to complain of: what it has to say, it prints.
    """
    must_be_sound(source)
    kept = {b"IHDR": b"", b"PLTE": b"", b"tRNS": b""}
    data = []
    for chunk in chunks(source):
        if chunk.kind == b"IDAT":
            data.append(chunk.body)
        elif not kept.get(chunk.kind, b" ") and chunk.is_sound():
            kept[chunk.kind] = bytes(chunk.body)
    stored = memoryview(zlib.compress(_inflated(b"".join(data), _strides(kept[b"IHDR"])), 0))
    pixels = [stored[at : at + LARGEST] for at in range(0, len(stored), LARGEST)]
    kind = kept[b"IHDR"][9]
    palette = kept[b"PLTE"] if kind == PALETTE else b""
    if kind == PALETTE and (not palette or len(palette) % 3 or len(palette) > 3 * 256):
        raise PhotoError(CUT_OFF)
    clear = kept[b"tRNS"] if len(kept[b"tRNS"]) in CLEAR.get(kind, range(1, len(palette) // 3 + 1)) else b""
    head = [chunk_of(b"IHDR", kept[b"IHDR"]), *(chunk_of(b"PLTE", palette) for _ in palette[:1])]
    head += [chunk_of(b"tRNS", clear) for _ in clear[:1]]
    parts = [piece for part in pixels for piece in _pieces(b"IDAT", part)]
    return b"".join([START, *head, *parts, chunk_of(b"IEND", b"")])


def _strides(header: bytes) -> list[tuple[int, int]]:
    """How many rows each pass has, and the bytes of each of them; PhotoError for an unknown kind."""
    if len(header) != 13 or header[9] not in CHANNELS:
        raise PhotoError(CUT_OFF)
    width, height = struct.unpack_from(">II", header)
    if header[8] not in DEPTHS[header[9]] or header[10:12] != b"\0\0" or header[12] > 1:
        raise PhotoError(CUT_OFF)
    bits = header[8] * CHANNELS[header[9]]
    parts = PASSES if header[12] else PASSES_OF_ONE
    sides = [(len(range(top, height, down)), len(range(left, width, right))) for top, left, down, right in parts]
    return [(rows, 1 + (bits * columns + 7) // 8) for rows, columns in sides if rows and columns]


def _inflated(data: bytes, strides: list[tuple[int, int]]) -> bytes:
    """The rows that zlib data hold; more data don't matter."""
    size = sum(count * stride for count, stride in strides)
    unpacker = zlib.decompressobj()
    try:
        rows = unpacker.decompress(data, size)
        more = unpacker.decompress(unpacker.unconsumed_tail, 1)  # or the checksum that stands at the end
    except zlib.error as error:
        raise PhotoError(CUT_OFF) from error
    if len(rows) != size or not (more or unpacker.eof):
        raise PhotoError(CUT_OFF)
    at = 0
    for count, stride in strides:
        if np.frombuffer(rows, np.uint8)[at : at + count * stride : stride].max() >= FILTERS:
            raise PhotoError(CUT_OFF)
        at += count * stride
    return rows
