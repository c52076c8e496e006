"""What describes a JPEG 2000 picture: the boxes of a JP2 file (ISO/IEC 15444-1, annex I), which Pillow passes over."""

from collections.abc import Iterator

EXIF = bytes.fromhex("4a706754696666457869662d3e4a5032")  # the identifiers that exiftool and Adobe write
XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
IPTC = bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38")
MOST_BOXES = 1000
RESTRICTED_ICC, ANY_ICC = 2, 3  # methods of a colour specification box, I.5.3.3


def boxes(source: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each box of a row; ends where the row does not make sense, as in a bare code stream."""
    position = 0
    for _ in range(MOST_BOXES):
        length, kind = int.from_bytes(source[position : position + 4], "big"), source[position + 4 : position + 8]
        start = position + 8
        if length == 1:
            length, start = int.from_bytes(source[position + 8 : position + 16], "big"), position + 16
        end = position + length if length else len(source)  # 0: to the end of the file
        if len(kind) < 4 or not start <= end <= len(source):
            return
        yield kind, b"" if kind == b"jp2c" else source[start:end]
        position = end


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
