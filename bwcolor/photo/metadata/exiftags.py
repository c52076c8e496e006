"""EXIF blocks as tags, and tags as EXIF blocks."""

import io
import struct
from collections.abc import Sequence
from typing import Literal

from bwcolor.errors import PhotoError
from bwcolor.photo.formats.tifftags import Tag, Tags, read_tags, write_tags

# A TIFF whose one tag, without a value, gives way to those that are written into it: a folder may not be empty.
NEW_TIFF = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 305, 2, 1, 0, 0)


def block_of(tags: Sequence[Tag]) -> bytes:
    """A block whose first folder holds these."""
    file = io.BytesIO(NEW_TIFF)
    write_tags(file, [tags])
    return file.getvalue()


def described(block: bytes) -> tuple[Tag, ...]:
    """The tags of an EXIF block's first folder, and those below it, but for damaged ones; PhotoError for a block of
    which nothing can be read."""
    return _first_folder(block).tags


def is_whole(block: bytes) -> bool:
    """Whether nothing is damaged in what `described` looks at."""
    try:
        return not _first_folder(block).damaged
    except PhotoError:
        return False


def _first_folder(block: bytes) -> Tags:
    """Other folders, such as that of the preview, may be damaged."""
    view = bytearray(block)
    order: Literal["little", "big"] = "big" if block[:2] == b"MM" else "little"
    start = int.from_bytes(block[4:8], order) if len(block) >= 8 else 0
    entries = int.from_bytes(block[start : start + 2], order)
    view[start + 2 + 12 * entries : start + 6 + 12 * entries] = bytes(4)
    return read_tags(io.BytesIO(view))[0]
