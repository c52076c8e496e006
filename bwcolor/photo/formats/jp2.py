"""What describes a JPEG 2000 picture: the boxes of a JP2 file (ISO/IEC 15444-1, annex I), which Pillow passes over."""

import io
from collections.abc import Iterator
from typing import BinaryIO

EXIF = bytes.fromhex("4a706754696666457869662d3e4a5032")  # the identifiers that exiftool and Adobe write
XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
IPTC = bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38")
MOST_BOXES = 1000
CODE_STREAM = b"\xff\x4f\xff\x51"  # SOC and SIZ
END = b"\xff\xd9"  # EOC
RESTRICTED_ICC, ANY_ICC = 2, 3  # methods of a colour specification box, I.5.3.3


def boxes(source: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each box of a row; ends where the row does not make sense, as in a bare code stream."""
    for kind, start, end in places(io.BytesIO(source)):
        yield kind, b"" if kind == b"jp2c" else source[start:end]


def places(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Type of each box of a file, and where its content starts and ends."""
    position, size = 0, file.seek(0, io.SEEK_END)
    for _ in range(MOST_BOXES):
        file.seek(position)
        head = file.read(16)
        length, kind, start = int.from_bytes(head[:4], "big"), head[4:8], position + 8
        if length == 1:
            length, start = int.from_bytes(head[8:16], "big"), position + 16
        end = position + length if length else size  # 0: to the end of the file
        if len(kind) < 4 or not start <= end <= size:
            return
        yield kind, start, end
        position = end


def stored_bits(file: BinaryIO) -> int | None:
    """Bits of a sample, the most of any component, of a JP2 file or a bare code stream; None when there is no such."""
    depths = _size_segment(file)[42::3]
    return max((depth & 0x7F) + 1 for depth in depths) if depths else None


def stored_size(file: BinaryIO) -> tuple[int, int] | None:
    """Height and width, of the same."""
    head = _size_segment(file)
    right, bottom, left, top = (int.from_bytes(head[at : at + 4], "big") for at in (8, 12, 16, 20))
    return (bottom - top, right - left) if head else None


def has_end(source: bytes) -> bool:
    """Whether the code stream's last bytes hold its end (ISO/IEC 15444-1, A.4.4); zeros may follow."""
    file = io.BytesIO(source)
    start, end = next(((start, end) for kind, start, end in places(file) if kind == b"jp2c"), (0, len(source)))
    return source[start:end].rstrip(b"\0").endswith(END)


def _size_segment(file: BinaryIO) -> bytes:
    """The start of the code stream up to its segment SIZ (ISO/IEC 15444-1, A.5.1); empty when there is none."""
    start = next((start for kind, start, _ in places(file) if kind == b"jp2c"), 0)
    file.seek(start)
    head = file.read(42)
    return (
        head + file.read(3 * int.from_bytes(head[40:], "big")) if head[:4] == CODE_STREAM and len(head) == 42 else b""
    )


def described(source: bytes) -> dict[str, bytes]:
    """EXIF block, XMP packet, IPTC and colour profile of a file, by the names "exif", "xmp", "iptc" and "icc"."""
    found: dict[str, bytes] = {}
    for kind, body in boxes(source):
        if kind == b"uuid":
            name = {EXIF: "exif", XMP: "xmp", IPTC: "iptc"}.get(body[:16])
            content = body[16:].removeprefix(b"Exif\0\0")
            if name and content:
                found.setdefault(name, content)
        elif kind == b"jp2h":
            for inner, colour in boxes(body):
                if inner == b"colr" and colour[:1] in (bytes([RESTRICTED_ICC]), bytes([ANY_ICC])):
                    found.setdefault("icc", colour[3:])
    return found
