"""Damage to files: at random places and at those that a format's structure gives a meaning to.

All of it comes from one random.Random, so that a number names an input for ever.
"""

import random
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bwcolor.photo.formats.jpeg import segments

IN_PLACE = frozenset({"bits", "bytes", "noise", "blanked"})  # damage that moves nothing
TELL_ZEROS = frozenset({"jpeg", "png", "gif", "jp2", "j2k"})
SPOTS = 6  # places that are damaged at once, at most
NUMBERS = (
    0, 1, 2, 3, 4, 7, 8, 15, 16, 64, 127, 128, 255, 256, 1000, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF,
    0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF,
)  # fmt: skip
PNG_START, RIFF, TIFF_STARTS = b"\x89PNG\r\n\x1a\n", b"RIFF", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
CONTAINERS = frozenset({b"meta", b"iprp", b"ipco", b"jp2h", b"iinf", b"moov", b"trak", b"mdia", b"minf", b"stbl"})
FULL = frozenset({b"meta"})  # boxes whose content starts with a version and flags
MOST_FOLDERS = 8
EOI, IEND, TRAILER = b"\xff\xd9", struct.pack(">I", 0) + b"IEND\xaeB`\x82", b"\x3b"


@dataclass(frozen=True, slots=True)
class Input:
    """A file to try. seed: the name of the file that it was made from. how: what was done to it. same: whether it must
    not be read otherwise than that, since its end is missing, or checksums are wrong."""

    content: bytes
    seed: str
    how: str
    same: bool


def mutated(seeds: dict[str, bytes], base: int, number: int) -> Input:
    """The input of this number: the seeds take turns."""
    chance = random.Random(f"{base}/{number}")
    name = list(seeds)[number % len(seeds)]
    content = seeds[name]
    if chance.random() < 0.12:
        return _cut(content, chance, name)
    done = []
    for _ in range(chance.choice((1, 1, 1, 1, 2, 2, 3, SPOTS))):
        kind = chance.choice(tuple(DAMAGE))
        done.append(kind)
        content = DAMAGE[kind](content, chance, seeds) or content[:1]
    same = False
    if content.startswith(PNG_START):
        repaired = chance.random() < 0.8
        content = _with_checksums(content) if repaired else content
        same = not repaired and set(done) <= IN_PLACE and name.startswith("png")
    return Input(content, name, ", ".join(done), same)


def _cut(content: bytes, chance: random.Random, name: str) -> Input:
    """A file without its end; or it ends as a whole one does; or nothing but zeros follow, as from a broken disk."""
    at, how = chance.randrange(1, len(content)), chance.choice(("cut", "cut", "cut and closed", "ends in zeros"))
    short = content[:at]
    if how == "cut and closed":
        short = _closed(short)
    elif how == "ends in zeros":
        short += bytes(len(content) - at)
    # Other formats have nothing that tells missing data from black, or from noise.
    return Input(short, name, how, how != "ends in zeros" or name.split()[0] in TELL_ZEROS)


def _closed(short: bytes) -> bytes:
    if short.startswith(b"\xff\xd8"):
        return short + EOI
    if short[4:8] == b"jP  " or short.startswith(b"\xff\x4f"):
        return _closed_jp2(short + EOI)  # both end with the same marker
    if short.startswith(b"GIF8"):
        return short + b"\0" + TRAILER
    if short.startswith(RIFF) and len(short) > 8:
        return _with_riff_lengths(short)
    if short.startswith(PNG_START):
        last = list(_png_chunks(short))[-1:]
        for start, _ in last:
            body = short[start + 8 :]
            if len(short) >= start + 8:
                return short[:start] + _png_chunk(short[start + 4 : start + 8], body) + IEND
    return short


def _closed_jp2(short: bytes) -> bytes:
    """With the length that the box of the code stream has."""
    at = short.find(b"jp2c") - 4
    return short[:at] + struct.pack(">I", len(short) - at) + short[at + 4 :] if at >= 0 else short


def _with_riff_lengths(short: bytes) -> bytes:
    """With the lengths that the bytes at hand have, in the header and in the last chunk."""
    short += bytes(len(short) % 2)
    view = bytearray(short)
    struct.pack_into("<I", view, 4, len(view) - 8)
    for start, end in _riff_chunks(short):
        if end >= len(short) >= start + 8:
            struct.pack_into("<I", view, start + 4, len(short) - start - 8)
    return bytes(view)


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _with_checksums(content: bytes) -> bytes:
    """A PNG whose chunks' checksums are right, so that the damage is looked at."""
    view = bytearray(content)
    for start, end in _png_chunks(content):
        if end - start >= 12 and end <= len(content):
            struct.pack_into(">I", view, end - 4, zlib.crc32(content[start + 4 : end - 4]))
    return bytes(view)


# Where the pieces of a file start and end


def pieces(content: bytes) -> list[tuple[int, int]]:
    """Segments, chunks, boxes or entries of folders, as far as they can be told."""
    if content.startswith(b"\xff\xd8"):
        found = list(_jpeg_segments(content))
    elif content.startswith(PNG_START):
        found = list(_png_chunks(content))
    elif content.startswith(RIFF):
        found = list(_riff_chunks(content))
    elif content[:4] in TIFF_STARTS:
        found = list(_tiff_entries(content))
    elif content[4:8] in (b"ftyp", b"jP  "):
        found = list(_boxes(content, 0, len(content)))
    elif content.startswith(b"BM"):
        found = [(2, 6), (10, 14), (14, 18), (18, 22), (22, 26), (26, 28), (28, 30), (30, 34), (34, 38), (46, 50)]
    elif content.startswith(b"GIF8"):
        found = [(6, 8), (8, 10), (10, 13), (13, min(len(content), 781)), (0, len(content))]
    elif content.startswith(b"\xff\x4f"):
        found = list(_code_stream(content))
    elif content[:1] == b"P":
        found = [match.span() for match in re.finditer(rb"\S+\s", content[:60])]
    else:
        found = []
    return [(start, min(end, len(content))) for start, end in found if start < min(end, len(content))]


def _jpeg_segments(content: bytes) -> Iterator[tuple[int, int]]:
    at = 2
    for part in segments(content):
        start = content.find(part.head, at)
        at = start + len(part.head) + len(part.data)
        yield start, start + len(part.head)


def _png_chunks(content: bytes) -> Iterator[tuple[int, int]]:
    at = len(PNG_START)
    while at + 8 <= len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        yield at, end
        at = end


def _riff_chunks(content: bytes) -> Iterator[tuple[int, int]]:
    yield 0, 12
    at = 12
    while at + 8 <= len(content):
        length = int.from_bytes(content[at + 4 : at + 8], "little")
        yield at, at + 8 + length + length % 2
        at += 8 + length + length % 2


def _boxes(content: bytes, at: int, last: int, depth: int = 0) -> Iterator[tuple[int, int]]:
    while at + 8 <= last:
        length = int.from_bytes(content[at : at + 4], "big") or last - at
        if length < 8:
            return
        yield at, at + length
        kind = content[at + 4 : at + 8]
        if kind in CONTAINERS and depth < 6:
            inside = at + 8 + 4 * (kind in FULL) + 6 * (kind == b"iinf")
            yield from _boxes(content, inside, min(last, at + length), depth + 1)
        at += length


def _code_stream(content: bytes) -> Iterator[tuple[int, int]]:
    """Segments of a JPEG 2000 up to its first tile (ISO/IEC 15444-1, A.3)."""
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF and content[at + 1] != 0x93:
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        yield at, end
        at = end


def _tiff_entries(content: bytes) -> Iterator[tuple[int, int]]:
    """The entries of the folders that a TIFF's pages, EXIF and GPS have, and the offset behind each folder."""
    order = "big" if content.startswith(b"MM") else "little"
    big = content[2:4] in (b"+\0", b"\0+")
    size, word, count_size = (20, 8, 8) if big else (12, 4, 2)

    def number(start: int, width: int) -> int:
        return int.from_bytes(content[start : start + width], "big" if order == "big" else "little")

    waiting, seen = [number(word, word)], set[int]()
    while waiting and len(seen) < MOST_FOLDERS:
        start = waiting.pop()
        if start in seen or not 8 <= start < len(content):
            continue
        seen.add(start)
        end = start + count_size + size * min(number(start, count_size), 100)
        for at in range(start + count_size, end, size):
            yield at, at + size
            if number(at, 2) in (34665, 34853, 330):
                waiting.append(number(at + size - word, word))
        yield end, end + word
        waiting.append(number(end, word))


# What is done to a file


def _place(content: bytes, chance: random.Random, size: int = 1) -> int:
    """Anywhere, or within the first bytes of a piece, where numbers stand."""
    found = pieces(content) if chance.random() < 0.7 else []
    if found:
        start, end = chance.choice(found)
        at = chance.randrange(start, min(end, start + 24))
    else:
        at = chance.randrange(max(1, len(content)))
    return max(0, min(at, len(content) - size))


def _range(content: bytes, chance: random.Random) -> tuple[int, int]:
    """A short one, a long one, or a piece."""
    found = pieces(content) if chance.random() < 0.4 else []
    if found:
        return chance.choice(found)
    start = chance.randrange(max(1, len(content)))
    length = chance.randrange(1, 17) if chance.random() < 0.5 else chance.randrange(1, max(2, len(content) // 2))
    return start, min(len(content), start + length)


def _flip_bits(content: bytes, chance: random.Random, seeds: dict[str, bytes]) -> bytes:
    view = bytearray(content)
    for _ in range(chance.randrange(1, 9)):
        view[_place(content, chance)] ^= 1 << chance.randrange(8)
    return bytes(view)


def _flip_bytes(content: bytes, chance: random.Random, seeds: dict[str, bytes]) -> bytes:
    view = bytearray(content)
    for _ in range(chance.randrange(1, 9)):
        view[_place(content, chance)] = chance.randrange(256)
    return bytes(view)


def _put_number(content: bytes, chance: random.Random, seeds: dict[str, bytes]) -> bytes:
    """A number that programs stumble over, in place of another."""
    width = chance.choice((1, 2, 2, 4, 4, 4, 8))
    number = chance.choice((*NUMBERS, len(content), len(content) - 1, chance.randrange(1 << 16)))
    number = number - chance.choice((0, 0, 0, 1))
    written = (number & ((1 << 8 * width) - 1)).to_bytes(width, chance.choice(("big", "little")))
    at = _place(content, chance, width)
    return content[:at] + written + content[at + width :]


def _shift_number(content: bytes, chance: random.Random, seeds: dict[str, bytes]) -> bytes:
    """A number a little larger or smaller: lengths, offsets, sizes, types."""
    width, order = chance.choice((1, 2, 2, 4, 4)), chance.choice(("big", "little"))
    at = _place(content, chance, width)
    number = int.from_bytes(content[at : at + width], "big" if order == "big" else "little")
    number += chance.choice((-256, -16, -4, -2, -1, 1, 2, 4, 16, 256))
    written = (number & ((1 << 8 * width) - 1)).to_bytes(width, "big" if order == "big" else "little")
    return content[:at] + written + content[at + width :]


def _remove(content: bytes, chance: random.Random, seeds: dict[str, bytes]) -> bytes:
    start, end = _range(content, chance)
    return content[:start] + content[end:]


def _repeat(content: bytes, chance: random.Random, seeds: dict[str, bytes]) -> bytes:
    start, end = _range(content, chance)
    return content[:end] + content[start:end] * chance.choice((1, 1, 2, 9)) + content[end:]


def _blank(content: bytes, chance: random.Random, seeds: dict[str, bytes]) -> bytes:
    start, end = _range(content, chance)
    return content[:start] + chance.choice((b"\0", b"\0", b"\xff", b"\x55")) * (end - start) + content[end:]


def _noise(content: bytes, chance: random.Random, seeds: dict[str, bytes]) -> bytes:
    start, end = _range(content, chance)
    return content[:start] + chance.randbytes(end - start) + content[end:]


def _swap(content: bytes, chance: random.Random, seeds: dict[str, bytes]) -> bytes:
    """Two pieces, or two ranges, in each other's place."""
    one, other = sorted((_range(content, chance), _range(content, chance)))
    if one[1] > other[0]:
        return content
    return b"".join((
        content[: one[0]], content[other[0] : other[1]], content[one[1] : other[0]], content[one[0] : one[1]],
        content[other[1] :],
    ))  # fmt: skip


def _copy_over(content: bytes, chance: random.Random, seeds: dict[str, bytes]) -> bytes:
    """A piece, or a range, over another: offsets and lengths that point at each other's values."""
    start, end = _range(content, chance)
    at = _place(content, chance)
    return content[:at] + content[start:end] + content[at + end - start :]


def _splice(content: bytes, chance: random.Random, seeds: dict[str, bytes]) -> bytes:
    """The start of one file and the end of another, or a piece of another put in."""
    alike = [other for other in seeds.values() if other[:2] == content[:2]]
    other = chance.choice(alike if alike and chance.random() < 0.7 else list(seeds.values()))
    if chance.random() < 0.4:
        at = chance.randrange(len(content) + 1)
        return content[:at] + other[chance.randrange(len(other)) :]
    start, end = _range(other, chance)
    at = _range(content, chance)[0]
    return content[:at] + other[start:end] + content[at:]


DAMAGE: dict[str, Callable[[bytes, random.Random, dict[str, bytes]], bytes]] = {
    "bits": _flip_bits, "bytes": _flip_bytes, "number": _put_number, "shifted number": _shift_number,
    "removed": _remove, "repeated": _repeat, "blanked": _blank, "noise": _noise, "swapped": _swap,
    "copied over": _copy_over, "spliced": _splice,
}  # fmt: skip
