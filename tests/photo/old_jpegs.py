"""TIFFs with JPEG of the old kind (compression 6), built by hand in every layout that libtiff reads."""

import struct
from typing import Any

from photo.pictures import saved
from PIL import Image

from bwcolor.photo.formats.jpeg import DHT, DQT, EOI, FRAMES, SOI, SOS, segments

END = bytes([0xFF, EOI])
STRIP_ROWS = 32  # a multiple of the 16 rows that YCbCr with halved chroma codes at once


def folder(tags: dict[int, Any], start: int, last: bool = True) -> bytes:
    """A TIFF's folder of LONG values at `start`; rows of numbers lie behind it."""
    entries, behind = b"", b""
    where = start + 2 + 12 * len(tags) + 4
    for code, value in sorted(tags.items()):
        values = value if isinstance(value, list) else [value]
        packed = struct.pack(f"<{len(values)}I", *values)
        entries += struct.pack("<HHI", code, 4, len(values)) + (packed if len(values) == 1 else place(where, behind))
        behind += packed if len(values) > 1 else b""
    end = where + len(behind)
    return struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0 if last else end) + behind


def place(where: int, behind: bytes) -> bytes:
    return struct.pack("<I", where + len(behind))


class Builder:
    """A TIFF's data, to which pieces are added; each one's place is told."""

    def __init__(self) -> None:
        self.data = b""

    def __call__(self, piece: bytes) -> int:
        self.data += piece + bytes(len(piece) % 2)
        return 8 + len(self.data) - len(piece) - len(piece) % 2

    def tiff(self, *pages: dict[int, Any]) -> bytes:
        first = 8 + len(self.data)
        folders = b""
        for number, tags in enumerate(pages):
            folders += folder(tags, first + len(folders), number == len(pages) - 1)
        return b"II*\0" + struct.pack("<I", first) + self.data + folders


def jpeg(pixels: Any, **settings: Any) -> bytes:
    return saved(Image.fromarray(pixels), "JPEG", **{"quality": 95} | settings)


def tags_of(pixels: Any, **more: Any) -> dict[int, Any]:
    """Those of every layout; keys of `more` are tNUMBER."""
    channels = 1 if pixels.ndim == 2 else 3
    tags = {256: pixels.shape[1], 257: pixels.shape[0], 258: 8, 259: 6, 262: 1 if channels == 1 else 6, 277: channels,
            278: pixels.shape[0], 512: 1}  # fmt: skip
    return tags | {int(name[1:]): value for name, value in more.items()}


def head_and_data(source: bytes) -> tuple[bytes, bytes]:
    """A baseline JPEG up to its entropy-coded data, and that."""
    parts = list(segments(source))
    (scan,) = [part for part in parts if part.marker == SOS]
    return SOI + b"".join(part.head for part in parts[: parts.index(scan) + 1]), bytes(scan.data)


def whole(pixels: Any, **settings: Any) -> bytes:
    """What the issue's office copier writes: a tag, and the only strip, are the same JPEG."""
    put, source = Builder(), jpeg(pixels, **settings)
    at = put(source)
    return put.tiff(tags_of(pixels, t273=at, t513=at, t279=len(source), t514=len(source)))


def whole_without_end(pixels: Any) -> bytes:
    put, source = Builder(), jpeg(pixels).removesuffix(END)
    at = put(source)
    return put.tiff(tags_of(pixels, t513=at, t514=len(source)))


def whole_without_length(pixels: Any) -> bytes:
    put = Builder()
    return put.tiff(tags_of(pixels, t513=put(jpeg(pixels))))


def strips_inside_the_whole(pixels: Any) -> bytes:
    """The strip is the entropy-coded data of the JPEG that the tag points to."""
    put, source = Builder(), jpeg(pixels)
    at, (head, data) = put(source), head_and_data(source)
    return put.tiff(tags_of(pixels, t513=at, t514=len(source), t273=at + len(head), t279=len(data)))


def strip_alone(pixels: Any) -> bytes:
    put, source = Builder(), jpeg(pixels)
    return put.tiff(tags_of(pixels, t273=put(source), t279=len(source)))


def head_apart(pixels: Any) -> bytes:
    put, (head, data) = Builder(), head_and_data(jpeg(pixels))
    return put.tiff(tags_of(pixels, t513=put(head), t514=len(head), t273=put(data), t279=len(data)))


def head_without_scan(pixels: Any) -> bytes:
    """The start of scan stands in front of the strip."""
    put, (head, data) = Builder(), head_and_data(jpeg(pixels))
    at = head.rindex(b"\xff\xda")
    strip = head[at:] + data
    return put.tiff(tags_of(pixels, t513=put(head[:at]), t514=at, t273=put(strip), t279=len(strip)))


def strips(pixels: Any) -> list[bytes]:
    return [jpeg(pixels[top : top + STRIP_ROWS], subsampling=2) for top in range(0, len(pixels), STRIP_ROWS)]


def head_apart_several_strips(pixels: Any) -> bytes:
    """The frame has the size of the whole picture; each strip begins anew, without a restart marker."""
    put, parts = Builder(), [head_and_data(strip) for strip in strips(pixels)]
    head = bytearray(parts[0][0])
    frame = next(part.head for part in segments(bytes(head) + END) if part.marker in FRAMES)
    at = head.index(frame)
    head[at + 5 : at + 7] = struct.pack(">H", len(pixels))
    places = [put(data) for _, data in parts]
    return put.tiff(tags_of(pixels, t513=put(bytes(head)), t514=len(head), t273=places, t278=STRIP_ROWS,
                            t279=[len(data) for _, data in parts]))  # fmt: skip


def a_jpeg_each_strip(pixels: Any) -> bytes:
    put, parts = Builder(), strips(pixels)
    return put.tiff(tags_of(pixels, t273=[put(part) for part in parts], t278=STRIP_ROWS, t279=list(map(len, parts))))


def tables_in_tags(pixels: Any, restart: bytes = b"", several: bool = True) -> bytes:
    put, sources = Builder(), strips(pixels) if several else [jpeg(pixels, subsampling=2)]
    q: dict[int, int] = {}
    dc: dict[int, int] = {}
    ac: dict[int, int] = {}
    for part in segments(sources[0]):
        body = bytes(part.head[4:])
        while part.marker == DQT and body:
            q[body[0] & 15], body = put(body[1:65]), body[65:]
        while part.marker == DHT and body:
            size = 17 + sum(body[1:17])
            (ac if body[0] >> 4 else dc)[body[0] & 15], body = put(body[1:size]), body[size:]
    rows = [[tables[number] for number in ([0] if pixels.ndim == 2 else [0, 1, 1])] for tables in (q, dc, ac)]
    data = [head_and_data(source)[1] for source in sources]
    data = [one + restart for one in data[:-1]] + data[-1:]
    places, lengths = [put(one) for one in data], [len(one) for one in data]
    return put.tiff(tags_of(pixels, t519=rows[0], t520=rows[1], t521=rows[2], t273=places, t279=lengths,
                            t278=STRIP_ROWS if several else len(pixels)))  # fmt: skip
