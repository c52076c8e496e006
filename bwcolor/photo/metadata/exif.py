"""The preview in an EXIF block: found, replaced or taken out, while everything else stays where it is.

A block here is what follows "Exif\\0\\0" in a JPEG's APP1 segment: a small TIFF file (EXIF 2.32, 4.7.2). Maker notes
often hold offsets from its start, so no byte of it may move. Nothing here raises on a damaged block.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

# Tags, EXIF 2.32, 4.6.4 and 4.6.3.
ORIENTATION, STRIP_OFFSETS, STRIP_BYTE_COUNTS = 274, 273, 279
JPEG_OFFSET, JPEG_LENGTH = 513, 514  # JPEGInterchangeFormat, JPEGInterchangeFormatLength
FOLDERS = (34665, 34853, 40965)  # offsets of the Exif, GPS and interoperability folders
MOST_FOLDERS = 16  # a whole block has at most six; hostile ones chain thousands
LONG = 4
TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}  # bytes, TIFF 6.0, 2
INTEGER_FORMATS = {3: "H", LONG: "I"}  # SHORT and LONG
JPEG_START = b"\xff\xd8"


@dataclass(frozen=True, slots=True)
class _Folder:
    """An image file directory. start: its place; order: "<" or ">"; entries: tag -> place of its 12 bytes.

    next_at: where the offset of the next directory stands.
    """

    start: int
    order: str
    entries: dict[int, int]
    next_at: int


@dataclass(frozen=True, slots=True)
class _Preview:
    """The JPEG thumbnail of a directory: its first byte and the one behind its last."""

    folder: _Folder
    start: int
    end: int


def thumbnail(exif: bytes) -> bytes | None:
    """The JPEG thumbnail (EXIF 2.32, 4.8.1), or None when there is none or it is damaged."""
    preview = _preview(exif)
    return None if preview is None else exif[preview.start : preview.end]


def has_uncompressed_thumbnail(exif: bytes) -> bool:
    """Whether the preview is one of strips of pixels, as EXIF 2.32, 4.6.8 has them; `thumbnail` doesn't read those."""
    folder = _second_folder(exif)
    return folder is not None and STRIP_OFFSETS in folder.entries and JPEG_OFFSET not in folder.entries


def orientation(exif: bytes) -> int:
    """How the stored pixels are to be turned: 1 to 8 (EXIF 2.32, 4.6.4); 1, upright, when it isn't said."""
    folder = _first_folder(exif)
    value = None if folder is None else _integer(exif, folder, ORIENTATION)
    return value if value is not None and 1 <= value <= 8 else 1


def with_thumbnail(exif: bytes, jpeg: bytes) -> bytes:
    """The block with another JPEG thumbnail in place of its own; without one of its own it stays as it is.

    The new one is put where the old one is if that is the block's tail or has room for it, and else behind
    everything. What is left of the old one's room is zeroed. The result may be longer, and no longer fit
    into one APP1 segment (65,527 bytes beside the "Exif\\0\\0"): that is for the caller to see.
    """
    preview = _preview(exif)
    if preview is None:
        return exif
    block, start, room = bytearray(exif), preview.start, preview.end - preview.start
    if _is_tail(exif, preview):
        block[start:] = jpeg
    elif len(jpeg) <= room and not _holds_others(exif, start, preview.end):
        block[start : preview.end] = jpeg.ljust(room, b"\0")
    else:
        block += bytes(len(block) % 2)  # offsets are even, TIFF 6.0, 2
        start = len(block)
        block += jpeg
    for tag, value in ((JPEG_OFFSET, start), (JPEG_LENGTH, len(jpeg))):
        struct.pack_into(preview.folder.order + "HHII", block, preview.folder.entries[tag], tag, LONG, 1, value)
    return bytes(block)


def without_thumbnail(exif: bytes) -> bytes:
    """The block without a second directory, and so without a preview of either kind.

    All bytes stay in place, but for those of a JPEG thumbnail that is the tail: they are cut off.
    """
    first, second, preview = _first_folder(exif), _second_folder(exif), _preview(exif)
    if first is None or second is None:
        return exif
    end = preview.start if preview is not None and _is_tail(exif, preview) else len(exif)
    block = bytearray(exif[:end])
    block[first.next_at : first.next_at + 4] = bytes(4)
    return bytes(block)


def _first_folder(exif: bytes) -> _Folder | None:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])  # TIFF 6.0, 2
    if order is None or len(exif) < 8:
        return None
    return _folder(exif, order, *struct.unpack_from(order + "I", exif, 4))


def _second_folder(exif: bytes) -> _Folder | None:
    first = _first_folder(exif)
    if first is None:
        return None
    second = _folder(exif, first.order, *struct.unpack_from(first.order + "I", exif, first.next_at))
    if second is None or (second.start < first.next_at + 4 and first.start < second.next_at + 4):
        return None  # a loop, or directories that overlap
    return second


def _folder(exif: bytes, order: str, start: int) -> _Folder | None:
    """The directory at `start` if all of it lies within the block and behind the header."""
    if start < 8 or start + 2 > len(exif):
        return None
    (count,) = struct.unpack_from(order + "H", exif, start)
    next_at = start + 2 + 12 * count
    if next_at + 4 > len(exif):
        return None
    entries: dict[int, int] = {}
    for place in range(start + 2, next_at, 12):
        (tag,) = struct.unpack_from(order + "H", exif, place)
        entries.setdefault(tag, place)
    return _Folder(start, order, entries, next_at)


def _integer(exif: bytes, folder: _Folder, tag: int) -> int | None:
    """The value of an entry that is a single SHORT or LONG."""
    if tag not in folder.entries:
        return None
    place = folder.entries[tag]
    kind, count = struct.unpack_from(folder.order + "HI", exif, place + 2)
    if kind not in INTEGER_FORMATS or count != 1:
        return None
    (value,) = struct.unpack_from(folder.order + INTEGER_FORMATS[kind], exif, place + 8)
    return int(value)


def _preview(exif: bytes) -> _Preview | None:
    folder = _second_folder(exif)
    if folder is None:
        return None
    start, length = _integer(exif, folder, JPEG_OFFSET), _integer(exif, folder, JPEG_LENGTH)
    if start is None or length is None or start + length > len(exif):
        return None
    is_jpeg = exif[start : start + length].startswith(JPEG_START)
    return _Preview(folder, start, start + length) if is_jpeg else None


def _is_tail(exif: bytes, preview: _Preview) -> bool:
    """Whether nothing follows the thumbnail but zeros that belong to nothing, and nothing else lies in it."""
    return not exif[preview.end :].strip(b"\0") and not _holds_others(exif, preview.start, len(exif))


def _holds_others(exif: bytes, start: int, end: int) -> bool:
    """Whether something that a directory accounts for lies in these bytes, as in damaged blocks."""
    return any(used_start < end and start < used_end for used_start, used_end in _used(exif))


def _used(exif: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of the header, of each directory, and of each value that stands outside of its directory."""
    yield 0, 8
    waiting = [_first_folder(exif), _second_folder(exif)]
    seen: set[int] = set()
    while waiting and len(seen) < MOST_FOLDERS:
        folder = waiting.pop()
        if folder is None or folder.start in seen:
            continue
        seen.add(folder.start)
        yield folder.start, folder.next_at + 4
        for place in folder.entries.values():
            kind, count, value = struct.unpack_from(folder.order + "HII", exif, place + 2)
            size = TYPE_SIZES.get(kind, 1) * count
            if size > 4:
                yield value, value + size
        for tag in FOLDERS:
            start = _integer(exif, folder, tag)
            waiting.append(None if start is None else _folder(exif, folder.order, start))
