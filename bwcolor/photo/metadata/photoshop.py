"""Photoshop's image resources, which JPEG and TIFF files carry: a row of numbered blocks, IPTC among them.

Adobe Photoshop File Formats Specification, "Image Resource Blocks". Nothing here raises on damaged data.
"""

import struct
from collections.abc import Iterator

PREVIEWS = frozenset({1033, 1036})  # that hold a small picture
IPTC = 1028


def resources_in(block: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Number and data of each of Photoshop's image resources, and where it ends; stops where that makes no sense."""
    position = 0
    while block[position : position + 4] == b"8BIM" and position + 12 <= len(block):
        (number,) = struct.unpack_from(">H", block, position + 4)
        name = block[position + 6] + 1
        size_at = position + 6 + name + name % 2
        if size_at + 4 > len(block):
            return
        (size,) = struct.unpack_from(">I", block, size_at)
        position = min(len(block), size_at + 4 + size + size % 2)
        yield number, block[size_at + 4 : size_at + 4 + size], position


def without(numbers: frozenset[int], block: bytes) -> bytes:
    """Photoshop's image resources but some: IPTC, or its previews, which are gray and which it makes anew."""
    kept, position = [], 0
    for number, _, end in resources_in(block):
        kept += [block[position:end]] if number not in numbers else []
        position = end
    return b"".join(kept) + block[position:]


def iptc_block(iptc: bytes) -> bytes:
    """IPTC as one of the resources."""
    return b"8BIM" + struct.pack(">HHI", IPTC, 0, len(iptc)) + iptc + bytes(len(iptc) % 2)
