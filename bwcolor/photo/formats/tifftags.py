"""The descriptive tags of TIFF pages, carried from one file to another; pixels are neither read nor moved.

TIFF 6.0 section 2 and its BigTIFF extension; EXIF, GPS and Interoperability folders: Exif 3.0, 4.6.

One thing can't be carried whole: a camera's maker note (37500) is copied byte for byte, but some hold
offsets that count from the start of the file, or numbers in the byte order of the source. Such a
note has to be repaired by a program that knows the camera, as exiftool does.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

from bwcolor.errors import PhotoError

EXIF, GPS, INTEROPERABILITY = 34665, 34853, 40965
DESCRIPTION, ARRAY_SHAPE = 270, b'{"shape": '
MAIN_FOLDERS = frozenset({EXIF, GPS})
# Tags that describe the photo, not the layout of its bytes: TIFF 6.0 section 8, resolution and page, TIFF/EP dates,
# XMP, IPTC and Photoshop (Adobe XMP part 3), rating and the XP texts of Windows.
KEPT = MAIN_FOLDERS | {
    269, 270, 271, 272, 274, 282, 283, 285, 286, 287, 296, 297, 305, 306, 315, 316, 700, 18246, 18249, 33432, 33723,
    34377, 36867, 36868, 40091, 40092, 40093, 40094, 40095,
}  # fmt: skip
# XMP, IPTC, Photoshop: streams of bytes with an order of their own, even where programs call IPTC a row of LONG.
STREAMS = frozenset({700, 33723, 34377})

# Bytes of one value of each field type, and of the numbers in it (a RATIONAL is two LONG). 129 is UTF-8 of Exif 3.0.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8, 129: 1}
NUMBERS = SIZES | {5: 4, 10: 4}
LONG, IFD, LONG8, IFD8 = 4, 13, 16, 18
SUBFILE_TYPE = 254  # NewSubfileType, of whose bits
REDUCED, MASK = 1, 4  # say that a page is a smaller version, and a transparency mask
# LONG8 and SLONG8, which only BigTIFF has: the classic type instead, and struct's letters for both.
NARROWER = {LONG8: (LONG, "Q", "I"), 17: (9, "q", "i")}

# Far more than any real file has, and little enough to be read in seconds.
MAX_PAGES = 10_000
MAX_ENTRIES = 2_000  # of one folder
MAX_ENTRIES_OF_FILE = 1_000_000
MAX_PAGE_VALUES = 64 * 2**20  # bytes
MAX_FILE_VALUES = 512 * 2**20  # bytes


@dataclass(frozen=True, slots=True)
class Tag:
    """One entry of a folder.

    code, kind: the tag's number and its field type. count: values. data: the values' bytes, numbers
    little-endian. folder: for EXIF, GPS and Interoperability, the tags in it; such a tag has no data.
    """

    code: int
    kind: int
    count: int
    data: bytes = b""
    folder: "tuple[Tag, ...]" = ()


@dataclass(frozen=True, slots=True)
class Tags:
    """What describes one page. damaged: codes, ascending, of tags that could not be read and are left out."""

    tags: tuple[Tag, ...]
    damaged: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry as stored. field: the values if they fit, else their offset; as long as an offset."""

    code: int
    kind: int
    count: int
    field: bytes


@dataclass(slots=True)
class _Tiff:
    """An open TIFF: its size in bytes, how it stores numbers, and how much of it may still be read.

    word: bytes of an offset, 4, or 8 in a BigTIFF. count_size: those of the number of entries that a
    folder starts with. first: offset of the first page's folder. page_end: what `bytes_left` must not
    sink below in the page that is read. damaged: codes of tags in that page that could not be read.
    """

    file: BinaryIO
    size: int
    order: Literal["little", "big"]
    word: int
    count_size: int
    entry: struct.Struct
    first: int
    entries_left: int = MAX_ENTRIES_OF_FILE
    bytes_left: int = MAX_FILE_VALUES
    page_end: int = 0
    damaged: set[int] = field(default_factory=set)

    def number(self, data: bytes) -> int:
        return int.from_bytes(data, self.order)

    def pointer(self, offset: int) -> bytes:
        if offset >= 256**self.word:
            raise PhotoError("with its metadata the TIFF would be larger than 4 GB, the most that a classic one can be")
        return offset.to_bytes(self.word, self.order)

    def read(self, offset: int, size: int) -> bytes | None:
        """None when that much is not there."""
        if not 8 <= offset <= self.size - size:  # the header takes 8 bytes
            return None
        self.file.seek(offset)
        data = self.file.read(size)
        return data if len(data) == size else None


def read_tags(file: BinaryIO) -> list[Tags]:
    """The descriptive tags of each page, in the order of the file.

    Raises PhotoError when the pages' folders are damaged or too many. Single tags and EXIF or GPS
    folders that are damaged, or come after 64 MB of a page, are left out and reported.
    """
    tiff = _open(file)
    pages = []
    for offset, entries in _pages(tiff):
        tiff.damaged.clear()
        tiff.page_end = max(0, tiff.bytes_left - MAX_PAGE_VALUES)
        tags = _tags(tiff, [entry for entry in entries if entry.code in KEPT], MAIN_FOLDERS, (offset,))
        pages.append(Tags(tags, tuple(sorted(tiff.damaged))))
    return pages


def write_tags(file: BinaryIO, pages: Sequence[Sequence[Tag]]) -> None:
    """Gives each page of a TIFF the tags of its place in `pages`, instead of the descriptive ones it has.

    file: open for reading and writing, such as tifffile writes. pages: tags as `read_tags` returns
    them. All other entries stay, but for those of the same codes. New folders are appended and the old ones are no
    longer pointed to; the header is changed last, so a file that this raises PhotoError for still shows what it did.
    """
    tiff = _open(file)
    layouts = [[entry for entry in entries if entry.code not in KEPT] for _, entries in _pages(tiff)]
    if len(layouts) != len(pages):
        raise PhotoError(f"its TIFF has {len(pages)} pages, but the colour one has {len(layouts)}")
    first = at = tiff.size + -tiff.size % tiff.word  # folders and values start at multiples of a word
    file.seek(tiff.size)
    file.write(bytes(first - tiff.size))
    for number, (layout, tags) in enumerate(zip(layouts, pages, strict=True), 1):
        codes = {tag.code for tag in tags}
        layout = [entry for entry in layout if entry.code not in codes]
        folder = _folder(tiff, tags, at, layout, last=number == len(pages))
        file.seek(at)
        file.write(folder)
        at += len(folder)
    file.seek(tiff.word)  # the first offset is bytes 4..7, or 8..15 in a BigTIFF
    file.write(tiff.pointer(first))


def _open(file: BinaryIO) -> _Tiff:
    size = file.seek(0, 2)
    file.seek(0)
    header = file.read(16)
    order: Literal["little", "big"] = "big" if header[:2] == b"MM" else "little"
    mark = ">" if order == "big" else "<"
    version = header[2:4] if order == "little" else header[3:1:-1]
    if header[:2] in {b"II", b"MM"} and version == b"*\0" and size >= 8:
        return _Tiff(file, size, order, 4, 2, struct.Struct(mark + "HHI4s"), int.from_bytes(header[4:8], order))
    if header[:2] in {b"II", b"MM"} and version == b"+\0" and size >= 16:
        return _Tiff(file, size, order, 8, 8, struct.Struct(mark + "HHQ8s"), int.from_bytes(header[8:], order))
    raise PhotoError("it does not start as a TIFF does")


def _pages(tiff: _Tiff) -> Iterator[tuple[int, list[_Entry]]]:
    """Offset and entries of each page's folder."""
    offset, seen = tiff.first, set[int]()
    if not offset:
        raise PhotoError("its TIFF has no pages")
    while offset:
        if offset in seen:
            raise PhotoError("its TIFF pages lead round in a circle")
        if len(seen) == MAX_PAGES:
            raise PhotoError(f"its TIFF has more than {MAX_PAGES} pages")
        seen.add(offset)
        entries = _entries(tiff, offset)
        yield offset, entries
        # Files that end with their last entry are meant to have no next page.
        after = offset + tiff.count_size + len(entries) * tiff.entry.size
        offset = tiff.number(tiff.read(after, tiff.word) or b"")


def _entries(tiff: _Tiff, offset: int) -> list[_Entry]:
    """What is in a folder, or PhotoError."""
    head = tiff.read(offset, tiff.count_size)
    if head is None:
        raise PhotoError("a folder of its TIFF lies beyond the end of the file")
    count = tiff.number(head)
    if not 0 < count <= MAX_ENTRIES:
        raise PhotoError(f"a folder of its TIFF has {count} entries")
    table = tiff.read(offset + tiff.count_size, count * tiff.entry.size)
    if table is None:
        raise PhotoError("a folder of its TIFF is cut off")
    tiff.entries_left -= count
    if tiff.entries_left < 0:
        raise PhotoError(f"its TIFF has more than {MAX_ENTRIES_OF_FILE} tags")
    return [_Entry(*values) for values in tiff.entry.iter_unpack(table)]


def _tags(tiff: _Tiff, entries: list[_Entry], folders: frozenset[int], above: tuple[int, ...]) -> tuple[Tag, ...]:
    """Entries with their values; what can't be read is left out and noted in `tiff.damaged`.

    folders: codes that stand for folders here. above: offsets of this folder and those around it.
    """
    tags: dict[int, Tag] = {}
    for entry in entries:
        if entry.count == 0:
            continue  # holds nothing that could be lost
        tag = _folder_tag(tiff, entry, above) if entry.code in folders else _value_tag(tiff, entry)
        if tag is not None and entry.code in tags and _is_superfluous(tag, tags[entry.code]):
            continue
        if tag is None or entry.code in tags:
            tiff.damaged.add(entry.code)
        else:
            tags[entry.code] = tag
    return tuple(tags.values())


def _is_superfluous(second: Tag, first: Tag) -> bool:
    """Whether a tag that comes twice says nothing new: tifffile adds a description of the array to the photo's own."""
    return second == first or (second.code == DESCRIPTION and second.data.startswith(ARRAY_SHAPE))


def _folder_tag(tiff: _Tiff, entry: _Entry, above: tuple[int, ...]) -> Tag | None:
    if entry.kind not in {LONG, IFD, LONG8, IFD8} or entry.count != 1 or SIZES[entry.kind] > tiff.word:
        return None
    offset = tiff.number(entry.field[: SIZES[entry.kind]])
    if offset in above:
        return None
    try:
        entries = _entries(tiff, offset)
    except PhotoError:
        return None
    inner = frozenset({INTEROPERABILITY}) if entry.code == EXIF else frozenset[int]()
    folder = _tags(tiff, entries, inner, (*above, offset))
    return Tag(entry.code, entry.kind, 1, folder=folder) if folder else None


def _value_tag(tiff: _Tiff, entry: _Entry) -> Tag | None:
    # Codes of folders in the wrong place and other pointers would lead astray in another file.
    if entry.code in {EXIF, GPS, INTEROPERABILITY} or entry.kind in {IFD, IFD8} or entry.kind not in SIZES:
        return None
    size = entry.count * SIZES[entry.kind]
    data = entry.field[:size] if size <= tiff.word else None
    if tiff.word < size <= tiff.bytes_left - tiff.page_end:
        data = tiff.read(tiff.number(entry.field), size)
    if data is None:
        return None
    tiff.bytes_left -= size
    return Tag(entry.code, entry.kind, entry.count, _little_endian(tiff, entry.code, entry.kind, data))


def _little_endian(tiff: _Tiff, code: int, kind: int, data: bytes) -> bytes:
    """Values in the file's byte order to little-endian, or back."""
    width = NUMBERS[kind]
    if tiff.order == "little" or width == 1 or code in STREAMS:
        return data
    swapped = bytearray(len(data))
    for place in range(width):
        swapped[place::width] = data[width - 1 - place :: width]
    return bytes(swapped)


def _folder(tiff: _Tiff, tags: Sequence[Tag], at: int, layout: Sequence[_Entry] = (), last: bool = True) -> bytes:
    """A folder for offset `at`, followed by its values and inner folders.

    layout: entries that are put in as they are. last: False when another page's folder follows these bytes.
    """
    tags = [tag for tag in tags if tag.folder or tag.data]
    entries = list(layout)
    table = tiff.count_size + (len(entries) + len(tags)) * tiff.entry.size + tiff.word
    values = bytearray(-table % tiff.word)
    for tag in tags:
        offset = at + table + len(values)
        if tag.folder:
            kind, data = (LONG8 if tiff.word == 8 else LONG), _folder(tiff, tag.folder, offset)
        else:
            tag = _narrowed(tag) if tiff.word == 4 else tag
            kind, data = tag.kind, _little_endian(tiff, tag.code, tag.kind, tag.data)
        if len(data) <= tiff.word:
            entries.append(_Entry(tag.code, kind, tag.count, data))
        else:
            entries.append(_Entry(tag.code, kind, tag.count, tiff.pointer(offset)))
            values += data + bytes(-len(data) % tiff.word)
    end = tiff.pointer(at + table + len(values))  # also for the last: no byte may lie out of a classic file's reach
    rows = sorted(entries, key=lambda entry: entry.code)
    return b"".join([
        len(rows).to_bytes(tiff.count_size, tiff.order),
        *(tiff.entry.pack(row.code, row.kind, row.count, row.field) for row in rows),
        bytes(tiff.word) if last else end,
        values,
    ])  # fmt: skip


def _narrowed(tag: Tag) -> Tag:
    """A tag of BigTIFF's 64-bit numbers with 32-bit ones, for a classic file, where they fit."""
    if tag.kind not in NARROWER or tag.code in STREAMS:
        return tag
    kind, wide, narrow = NARROWER[tag.kind]
    numbers = struct.unpack(f"<{tag.count}{wide}", tag.data)
    try:
        return Tag(tag.code, kind, tag.count, struct.pack(f"<{tag.count}{narrow}", *numbers))
    except struct.error:
        return tag  # readers that know BigTIFF read it all the same
