"""Gaps in the scans of a JPEG that were filled up with zeros, as on a broken disk.

Decoders often find their way again behind one, above all in scans that refine others, and have nothing to say of it.
"""

from collections.abc import Sequence

from bwcolor.photo.formats.jpeg import DHT, FRAMES, PROGRESSIVE, SOS, Segment, huffman_tables
from bwcolor.photo.formats.jpeg_repair import ARITHMETIC

GAP = bytes(128)  # zeros, or more of them
LOSSLESS = 0xC3
COUNTS = 16  # bytes of a Huffman table before its values (ITU-T T.81, B.2.4.2)


def has_gap(parts: Sequence[Segment]) -> bool:
    """Tell whether a scan holds more zeros than codes can make of a picture, or a program would put behind it.

    parts: all of a file.
    """
    kind = next((part.marker for part in parts if part.marker in FRAMES), 0)
    if kind in ARITHMETIC:
        return False
    tables: dict[int, bytes] = {}
    for part in parts:
        if part.marker == DHT:
            tables |= huffman_tables(part.head)
        elif part.marker == SOS and GAP in bytes(part.data) and not _may_be_zeros(part.head, kind, tables):
            return True
    return False


def _may_be_zeros(scan: bytes, kind: int, tables: dict[int, bytes]) -> bool:
    """Whether a scan of an even area is all zeros: each code of zeros says that nothing changes."""
    first, _, bits = scan[-3:]
    values = [tables.get(place, bytes(COUNTS + 1))[COUNTS:] for place in _places(scan)]
    of_dc, of_ac = values[::2], values[1::2]
    if kind in PROGRESSIVE and first:  # where programs that know runs of empty blocks write no such blocks one by one
        return all(codes[:1] == b"\0" and not any(map(_is_run, codes)) for codes in of_ac)
    if kind in PROGRESSIVE:
        return bits >> 4 > 0 or all(codes[:1] == b"\0" for codes in of_dc)
    return all(codes[:1] == b"\0" for codes in (of_dc if kind == LOSSLESS else values))


def _places(scan: bytes) -> list[int]:
    """Class and number of the tables of each component, those of DC and AC in turn (ITU-T T.81, B.2.3)."""
    return [place for chosen in scan[6 : 6 + 2 * scan[4] : 2] for place in (chosen >> 4, 0x10 | chosen & 15)]


def _is_run(value: int) -> bool:
    """Whether a code means several empty blocks (ITU-T T.81, G.1.2.2)."""
    return value & 15 == 0 and 0 < value >> 4 < 15
