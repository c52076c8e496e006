"""ICC profiles: how values that had a gray profile keep their tones in an RGB file.

Clauses are those of ICC.1:2022 (profile version 4.4); types that only version 2 has are in ICC.1:2001-04.
All numbers of a profile are big-endian.
"""

import struct

import numpy as np
from numpy.typing import NDArray

HEADER_SIZE = 128  # bytes, 7.2; the tag table follows it (7.3): a count, then signature, offset, size of each tag
MOST_TAGS = 100  # as many as Little CMS reads; real profiles have about twenty
MOST_ENTRIES = 0x7FFF  # of a curve's table, likewise
GRAY_CLASSES = frozenset({b"scnr", b"mntr", b"prtr", b"spac"})  # 7.2.5, those that can have one channel of tones
# Where one of these is, kTRC isn't what the profile's tones go by (8.10).
BEFORE_CURVE = frozenset({b"A2B0", b"A2B1", b"A2B2", b"D2B0", b"D2B1", b"D2B2", b"D2B3"})

# In units of 1/65536 (s15Fixed16, 4.6). D50 is the profile connection space's white (7.2.16). The primaries are those
# of sRGB (IEC 61966-2-1), adapted from D65 by the linear Bradford transform (annex E), rounded so that each
# coordinate's sum is exactly that of D50: equal values must stay neutral.
D50 = (63190, 65536, 54061)
PRIMARIES = {
    b"rXYZ": (28580, 14582, 913),
    b"gXYZ": (25236, 46982, 6362),
    b"bXYZ": (9374, 3972, 46786),
}
PARAMETERS = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}  # how many each function of a parametric curve has, 10.18
LAB_TABLE = 4096  # entries of the curve that stands in for one in L*
LAB_KAPPA = 24389 / 27  # CIE 15:2004, 8.2.1.1: where L* is at most 8, Y = L* / kappa
NO_COPYRIGHT = "No copyright, use freely"
LONGEST_TEXT = 200  # characters; a description is a line in a menu


def gray_to_rgb(profile: bytes) -> bytes | None:
    """An RGB display profile (8.4.3) in which R = G = B mean the tones that they mean in this gray profile.

    Its three curves are the source's kTRC, byte for byte. Only where the source's connection space is
    Lab, and the curve hence gives L*, it is tabulated anew as luminance. The copyright notice is the source's,
    because the curve is. None when the profile isn't gray, is damaged, or has tones that don't go by a rising
    kTRC, such as those of a table A2B0.
    """
    tags = _tags(profile)
    if tags is None or profile[16:20] != b"GRAY" or profile[12:16] not in GRAY_CLASSES:  # 7.2.6, 7.2.5
        return None
    curve = _whole_curve(tags.get(b"kTRC", b""))
    if curve is None or BEFORE_CURVE & tags.keys():
        return None
    tones = _tones(curve, np.linspace(0, 1, LAB_TABLE))
    if not tones[-1] > tones[0]:
        return None
    if profile[20:24] == b"Lab ":  # 7.2.7
        curve = _curve_of_luminance(tones)
    elif profile[20:24] != b"XYZ ":
        return None
    version_4 = profile[8] >= 4 or curve[:4] == b"para"  # version 2 has no parametric curves
    text = _unicode_text if version_4 else _ascii_text
    description = _text(tags.get(b"desc", b"")) or "Gray"
    copyright_notice = _text(tags.get(b"cprt", b"")) or NO_COPYRIGHT
    parts = {
        b"desc": text(b"desc", f"{description} (RGB)"),
        b"cprt": text(b"text", copyright_notice),
        b"wtpt": _xyz(D50),
        **{name: _xyz(primary) for name, primary in PRIMARIES.items()},
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    return _profile(parts, b"\x04\x40\0\0" if version_4 else b"\x02\x40\0\0", made=profile[24:36])


def _tags(profile: bytes) -> dict[bytes, bytes] | None:
    """The tags that lie within the profile, or None when this isn't one."""
    if len(profile) < HEADER_SIZE + 4 or profile[36:40] != b"acsp":  # 7.2.9
        return None
    (count,) = struct.unpack_from(">I", profile, HEADER_SIZE)
    table = profile[HEADER_SIZE + 4 : HEADER_SIZE + 4 + 12 * count]
    if count > MOST_TAGS or len(table) < 12 * count:
        return None
    tags: dict[bytes, bytes] = {}
    for name, offset, size in struct.iter_unpack(">4sII", table):
        if offset + size <= len(profile):
            tags.setdefault(name, profile[offset : offset + size])
    return tags


def _whole_curve(tag: bytes) -> bytes | None:
    """A curve tag without what may follow the curve; None when it is cut off or of another type."""
    if len(tag) < 12:
        return None
    if tag[:4] == b"curv":  # 10.6
        (count,) = struct.unpack_from(">I", tag, 8)
        size = 12 + 2 * count if count <= MOST_ENTRIES else None
    elif tag[:4] == b"para":  # 10.18
        (function,) = struct.unpack_from(">H", tag, 8)
        size = 12 + 4 * PARAMETERS[function] if function in PARAMETERS else None
    else:
        return None
    return tag[:size] if size is not None and len(tag) >= size else None


def _tones(curve: bytes, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a whole curve makes of device values (n,) in 0..1: (n,) in 0..1."""
    if curve[:4] == b"curv":
        table = np.frombuffer(curve, ">u2", offset=12)
        if len(table) == 0:
            return values
        if len(table) == 1:  # a gamma, in 1/256
            return np.asarray(values ** (int(table[0]) / 256))
        return np.interp(values, np.linspace(0, 1, len(table)), table / 65535)
    function = curve[9]
    given = np.frombuffer(curve, ">i4", offset=12) / 65536
    gamma, a, b, c, d, e, f = [*given, *[0.0] * (7 - len(given))] if function else [given[0], 1, *[0.0] * 5]
    if gamma <= 0 or a <= 0:
        return np.zeros_like(values)
    if function in (1, 2):  # below where the power starts they are constant: 0, or the parameter named c
        c, d, e, f = 0.0, -b / a, c, c
    with np.errstate(all="ignore"):  # hostile parameters overflow
        power = np.maximum(a * values + b, 0) ** gamma + e
        return np.asarray(np.clip(np.where(values >= d, power, c * values + f), 0, 1))


def _curve_of_luminance(tones: NDArray[np.float64]) -> bytes:
    """A curve of Y, 0..1, from one of L* / 100 (CIE 15:2004, 8.2.1.1)."""
    lightness = 100 * tones
    luminance = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / LAB_KAPPA)
    table = np.round(65535 * luminance).astype(">u2")
    return b"curv\0\0\0\0" + struct.pack(">I", len(table)) + table.tobytes()


def _text(tag: bytes) -> str:
    """The text of a tag of any of the types for texts, on one line; empty when there is none."""
    text = ""
    if tag[:4] == b"desc" and len(tag) >= 12:  # textDescriptionType, ICC.1:2001-04, 6.5.17
        (count,) = struct.unpack_from(">I", tag, 8)
        text = tag[12 : 12 + count].decode("latin-1")
    elif tag[:4] == b"text":  # 10.24
        text = tag[8:].decode("latin-1")
    elif tag[:4] == b"mluc" and len(tag) >= 28:  # 10.15; the first language is the one that all readers show
        length, offset = struct.unpack_from(">II", tag, 20)
        text = tag[offset : offset + length].decode("utf-16-be", "replace")
    line = " ".join(text.partition("\0")[0].split())
    return "".join(character for character in line if character.isprintable())[:LONGEST_TEXT]


def _ascii_text(kind: bytes, text: str) -> bytes:
    """A tag of version 2: textDescriptionType (6.5.17) or textType (6.5.18)."""
    ascii_text = text.encode("ascii", "replace") + b"\0"
    if kind == b"text":
        return b"text\0\0\0\0" + ascii_text
    no_other_scripts = bytes(4 + 4 + 2 + 1 + 67)  # Unicode's language and length, ScriptCode's code, length and text
    return b"desc\0\0\0\0" + struct.pack(">I", len(ascii_text)) + ascii_text + no_other_scripts


def _unicode_text(_: bytes, text: str) -> bytes:
    """A tag of version 4: multiLocalizedUnicodeType (10.15) with one record."""
    utf_16 = text.encode("utf-16-be", "replace")
    return b"mluc\0\0\0\0" + struct.pack(">II4sII", 1, 12, b"enUS", len(utf_16), 28) + utf_16


def _xyz(numbers: tuple[int, int, int]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *numbers)  # 10.31


def _profile(parts: dict[bytes, bytes], version: bytes, made: bytes) -> bytes:
    """Header, tag table and tags. Equal tags are stored once, as 7.3 allows; made: date and time of 7.2.8."""
    table, data, places = b"", b"", dict[bytes, int]()
    start = HEADER_SIZE + 4 + 12 * len(parts)
    for name, part in parts.items():
        if part not in places:
            places[part] = start + len(data)
            data += part + bytes(-len(part) % 4)  # tags start at multiples of 4, 7.3
        table += name + struct.pack(">II", places[part], len(part))
    header = struct.pack(
        ">I4x4s4s4s4s12s4s28x3i", start + len(data), version, b"mntr", b"RGB ", b"XYZ ", made, b"acsp", *D50
    )
    return header.ljust(HEADER_SIZE, b"\0") + struct.pack(">I", len(parts)) + table + data
