"""Descriptive tags go from one TIFF to another: all of them, none else, and damaged ones are left out."""

import contextlib
import io
import json
import os
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from photo.pictures import scene, tiff
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from bwcolor.errors import PhotoError
from bwcolor.photo.formats.tifftags import (
    EXIF,
    GPS,
    INTEROPERABILITY,
    MAX_ENTRIES,
    MAX_PAGES,
    Tag,
    Tags,
    read_tags,
    write_tags,
)

GRAY = scene(23, 31)
COLOUR = np.stack([GRAY, GRAY // 2, 255 - GRAY], -1)
LAYOUTS: dict[str, dict[str, Any]] = {
    "classic": {},
    "big-endian": {"byteorder": ">"},
    "BigTIFF": {"bigtiff": True},
    "BigTIFF big-endian": {"bigtiff": True, "byteorder": ">"},
}
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
IPTC = b"\x1c\x02\x00\x00\x02\x00\x04\x1c\x02\x05\x00\x05Title"
EXTRA_TAGS = [
    (269, 2, 0, "box 7/14.tif", True),
    (270, 7, 12, "Großmutter".encode() + b"\0", True),
    (271, 2, 0, "Leica", True),
    (274, 3, 1, 6, True),
    (285, 2, 0, "Seite 1", True),
    (286, 5, 1, (21, 2), True),
    (297, 3, 2, (1, 3), True),
    (305, 2, 0, "Scanner 2", True),
    (306, 2, 20, "1999:12:31 23:59:59", True),
    (315, 2, 0, "Lieselotte", True),
    (316, 2, 0, "PC", True),
    (700, 1, len(XMP), XMP, True),
    (18246, 3, 1, 4, True),
    (33432, 2, 0, "(c) family", True),
    (33723, 7, len(IPTC), IPTC, True),
    (34377, 7, 6, b"8BIM\0\0", True),
    (40091, 1, 8, "Oma\0".encode("utf-16-le"), True),
]


def carried(source: bytes, target: bytes) -> bytes:
    """`target` with the tags of `source`."""
    out = io.BytesIO(target)
    write_tags(out, [page.tags for page in read_tags(io.BytesIO(source))])
    return out.getvalue()


def colour_file(pages: int = 1, **settings: Any) -> bytes:
    """What the program would write: RGB pages with a description, software and resolution of tifffile's own."""
    pixels = COLOUR if pages == 1 else np.stack([COLOUR] * pages)
    return tiff(pixels, photometric="rgb", compression="zlib", rowsperstrip=8, **settings)


def values(tags: Sequence[Tag]) -> dict[int, tuple[Any, ...]]:
    """Tags by code without the types of pointers, which depend on the file."""
    return {tag.code: (values(tag.folder),) if tag.folder else (tag.kind, tag.count, tag.data) for tag in tags}


def with_folders(mode: str = "L", **settings: Any) -> bytes:
    """A TIFF by Pillow with EXIF, GPS and Interoperability folders. Mode I;16B makes it big-endian."""
    exif = Image.Exif()
    exif[270], exif[271], exif[274] = "Berlin", "Leica", 6
    camera, place = exif.get_ifd(EXIF), exif.get_ifd(GPS)
    camera |= {33434: IFDRational(1, 125), 36864: b"0232", 36867: "1931:05:04 12:00:00", 37500: b"a maker note\0\1\2"}
    camera |= {37386: IFDRational(101, 2), 40962: 31, INTEROPERABILITY: {1: "R98", 2: b"0100"}}
    place |= {0: b"\2\3\0\0", 1: "N", 2: (IFDRational(52), IFDRational(31), IFDRational(6, 5))}
    exif[EXIF], exif[GPS] = camera, place
    pixels = GRAY if mode == "L" else GRAY.astype(">u2")
    out = io.BytesIO()
    image = Image.frombytes(mode, GRAY.shape[::-1], pixels.tobytes())
    image.save(out, "TIFF", exif=exif, dpi=(300, 301), **settings)
    return out.getvalue()


def pillow_values(content: bytes) -> dict[int, Any]:
    """What Pillow reads of the folders of a TIFF's first page."""
    with Image.open(io.BytesIO(content)) as image:
        exif = image.getexif()
        main = {code: value for code, value in exif.items() if code in {270, 271, 274, 282, 283, 296}}
        folders = {code: dict(exif.get_ifd(code)) for code in (EXIF, GPS, INTEROPERABILITY)}
        del folders[EXIF][INTEROPERABILITY]  # an offset
        return main | folders


def pillow_reads(layout: str) -> bool:
    """Pillow takes a BigTIFF for a classic one when it is big-endian."""
    return layout != "BigTIFF big-endian"


def tifffile_values(content: bytes) -> list[dict[int, Any]]:
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        return [{tag.code: (int(tag.dtype), tag.count, tag.value) for tag in page.aspage().tags} for page in file.pages]


def tifffile_pixels(content: bytes) -> list[Any]:
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        return [page.asarray() for page in file.pages]


@pytest.mark.parametrize("target", LAYOUTS)
@pytest.mark.parametrize("source", LAYOUTS)
def test_every_descriptive_tag_arrives(source: str, target: str) -> None:
    given_file = tiff(
        GRAY, extratags=EXTRA_TAGS, metadata=None, software=False, resolution=((601, 2), (300, 1)),
        resolutionunit="INCH", **LAYOUTS[source],
    )  # fmt: skip
    bare = colour_file(**LAYOUTS[target])
    result = carried(given_file, bare)
    [before], [after] = tifffile_values(given_file), tifffile_values(result)
    codes = {code for code, *_ in EXTRA_TAGS} | {282, 283, 296}
    assert {code: after[code] for code in codes} == {code: before[code] for code in codes}
    [layout] = tifffile_values(bare)
    kept = set(layout) - {270, 305, 282, 283, 296}  # tifffile's own description, software, resolution
    assert {code: after[code] for code in kept} == {code: layout[code] for code in kept}
    assert set(after) == codes | kept
    assert_array_equal(tifffile_pixels(result), tifffile_pixels(bare))
    start = 16 if "Big" in target else 8
    assert result[start : len(bare)] == bare[start:], "bytes that were there have changed"


@pytest.mark.parametrize("target", LAYOUTS)
@pytest.mark.parametrize(
    "source", [{}, {"big_tiff": True}, {"mode": "I;16B"}], ids=["classic", "BigTIFF", "big-endian"]
)
def test_folders_arrive(source: dict[str, Any], target: str) -> None:
    given_file = with_folders(**source)
    bare = colour_file(**LAYOUTS[target])
    result = carried(given_file, bare)
    [before], [after] = read_tags(io.BytesIO(given_file)), read_tags(io.BytesIO(result))
    assert not before.damaged
    assert not after.damaged
    assert values(after.tags) == values(before.tags)
    if pillow_reads(target):
        found = pillow_values(result)
        assert found == pillow_values(given_file)
        assert found[EXIF][33434] == IFDRational(1, 125)
        assert found[GPS][2] == (52, 31, 1.2)
        assert found[INTEROPERABILITY] == {1: "R98", 2: b"0100"}
    [tags] = tifffile_values(result)
    assert tags[EXIF][2]["DateTimeOriginal"] == "1931:05:04 12:00:00"
    assert tags[GPS][2]["GPSLatitude"] == (52, 1, 31, 1, 6, 5)
    assert_array_equal(tifffile_pixels(result), tifffile_pixels(bare))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pages_keep_their_own(layout: str) -> None:
    source = io.BytesIO()
    with tifffile.TiffWriter(source, byteorder=">") as writer:
        for name in ("first page", "second", "3"):
            writer.write(GRAY, description=name, metadata=None, software=False)
    bare = colour_file(3, **LAYOUTS[layout])
    result = carried(source.getvalue(), bare)
    assert [tags[270][2] for tags in tifffile_values(result)] == ["first page", "second", "3"]
    assert_array_equal(tifffile_pixels(result), tifffile_pixels(bare))
    if not pillow_reads(layout):
        return
    with Image.open(io.BytesIO(result)) as image:
        assert image.n_frames == 3  # type: ignore[attr-defined]
        for number in range(3):
            image.seek(number)
            assert_array_equal(np.asarray(image), COLOUR)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folders_are_laid_out_as_tiff_says(layout: str) -> None:
    result = carried(tiff(GRAY, extratags=EXTRA_TAGS, metadata=None), colour_file(**LAYOUTS[layout]))
    with tifffile.TiffFile(io.BytesIO(result)) as file:
        page = file.pages.first
        codes = [tag.code for tag in page.tags]
        assert codes == sorted(codes)
        word = 8 if file.is_bigtiff else 4
        assert page.offset % 2 == 0
        for tag in page.tags:
            inline = tag.offset < tag.valueoffset < tag.offset + 20
            assert inline == (tag.valuebytecount <= word), tag
            assert inline or tag.valueoffset % 2 == 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_tags_leave_a_readable_file(layout: str) -> None:
    out = io.BytesIO(colour_file(**LAYOUTS[layout]))
    write_tags(out, [[]])
    assert not {270, 305, 282, 283, 296} & set(tifffile_values(out.getvalue())[0])
    assert read_tags(out) == [Tags(())]
    assert_array_equal(tifffile_pixels(out.getvalue()), [COLOUR])
    if pillow_reads(layout):
        with Image.open(out) as image:
            assert_array_equal(np.asarray(image), COLOUR)


def test_layout_and_profiles_are_not_descriptive() -> None:
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        writer.write(
            np.dstack([COLOUR, GRAY]),
            photometric="rgb",
            extrasamples=["unassalpha"],
            tile=(16, 16),
            subifds=1,
            compression="zlib",
            predictor=True,
            iccprofile=b"a profile",
            metadata=None,
            software=False,
            extratags=[(280, 3, 1, 0, True), (281, 3, 1, 255, True), (301, 3, 1, 0, True)],
        )
        writer.write(COLOUR, photometric="rgb", subfiletype=1, metadata=None, software=False)
    [page] = read_tags(out)
    assert {tag.code for tag in page.tags} == {282, 283, 296}


def test_streams_are_never_swapped() -> None:
    """Programs that call IPTC a row of LONG store its bytes as they come, whatever the file's byte order."""
    numbers = struct.unpack(">2I", IPTC[:8])
    source = tiff(GRAY, byteorder=">", extratags=[(33723, 4, 2, numbers, True)], metadata=None)
    for layout in LAYOUTS.values():
        result = carried(source, colour_file(**layout))
        [tag] = [tag for tag in read_tags(io.BytesIO(result))[0].tags if tag.code == 33723]
        assert (tag.kind, tag.data) == (4, IPTC[:8])
        assert IPTC[:8] in result


def test_wide_numbers_are_narrowed_for_a_classic_file() -> None:
    wide = Tag(297, 16, 2, struct.pack("<2Q", 1, 3))
    for layout, kind in ((LAYOUTS["classic"], 4), (LAYOUTS["big-endian"], 4), (LAYOUTS["BigTIFF"], 16)):
        out = io.BytesIO(colour_file(**layout))
        write_tags(out, [[wide]])
        assert tifffile_values(out.getvalue())[0][297] == (kind, 2, (1, 3))


def test_another_number_of_pages_is_refused() -> None:
    content = colour_file(2)
    out = io.BytesIO(content)
    with pytest.raises(PhotoError, match="has 1 pages, but the colour one has 2"):
        write_tags(out, [[]])
    assert out.getvalue() == content


class Counting(io.BytesIO):
    """Remembers how many bytes were read of it."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


def test_pixels_are_not_read() -> None:
    source = Counting(tiff(np.zeros((3, 500, 500), np.uint8), photometric="minisblack"))
    target = Counting(tiff(np.zeros((3, 500, 500, 3), np.uint8), photometric="rgb"))
    write_tags(target, [page.tags for page in read_tags(source)])
    assert source.count + target.count < 5_000


@pytest.mark.skipif(os.name == "nt", reason="a file of 5 GB with a hole takes that much room")
def test_files_past_4_gb(tmp_path: Path) -> None:
    tags = [page.tags for page in read_tags(io.BytesIO(with_folders()))]
    for name, end in (("BigTIFF", 5 * 2**30), ("classic", 2**32 - 200), ("classic", 2**32 + 1)):
        path = tmp_path / name
        path.write_bytes(colour_file(**LAYOUTS[name]))
        with path.open("r+b") as file:
            file.truncate(end)
            if name == "BigTIFF":
                write_tags(file, tags)
                [page] = read_tags(file)
                assert values(page.tags) == values(tags[0])
            else:
                with pytest.raises(PhotoError, match="larger than 4 GB"):
                    write_tags(file, tags)
        with tifffile.TiffFile(path) as read:
            assert_array_equal(read.pages.first.asarray(), COLOUR)
            assert (read.pages.first.offset > 2**32) == (name == "BigTIFF")
        path.unlink()


def judged(content: bytes, path: Path) -> dict[str, Any]:
    """What exiftool says of a file's metadata: values by group and name."""
    path.write_bytes(content)
    groups = ("IFD0", "IFD1", "ExifIFD", "GPS", "InteropIFD", "IPTC", "XMP-xmp", "Photoshop")
    command = ["exiftool", "-json", "-G1", "-a", "-n", *(f"-{group}:all" for group in groups), str(path)]
    done = subprocess.run(command, capture_output=True, check=True, encoding="utf-8")
    found: dict[str, Any] = json.loads(done.stdout)[0]
    return found


PIXEL_NAMES = {
    "ImageWidth", "ImageHeight", "BitsPerSample", "Compression", "PhotometricInterpretation", "StripOffsets",
    "SamplesPerPixel", "RowsPerStrip", "StripByteCounts", "PlanarConfiguration", "SampleFormat", "SourceFile",
    "SubfileType", "NewSubfileType",
}  # fmt: skip


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
@pytest.mark.parametrize("target", ["classic", "big-endian"])  # exiftool reads no GPS folder of a BigTIFF
@pytest.mark.parametrize("source", ["tags", "folders", "big-endian folders"])
def test_exiftool_agrees(source: str, target: str, tmp_path: Path) -> None:
    if source == "tags":
        given_file = tiff(GRAY, extratags=EXTRA_TAGS, metadata=None, software=False)
    else:
        given_file = with_folders("I;16B" if source == "big-endian folders" else "L")
    before = judged(given_file, tmp_path / "before.tif")
    after = judged(carried(given_file, colour_file(**LAYOUTS[target])), tmp_path / "after.tif")
    before, after = (
        {name: value for name, value in found.items() if name.rpartition(":")[2] not in PIXEL_NAMES}
        for found in (before, after)
    )
    assert after == before
    if source == "tags":
        assert after["IPTC:ObjectName"] == "Title"
    else:
        assert after["ExifIFD:ExposureTime"] == 0.008
        assert after["GPS:GPSLatitude"] == pytest.approx(52.517, abs=0.001)
        assert after["InteropIFD:InteropIndex"] == "R98"
    checked = subprocess.run(
        ["exiftool", "-validate", "-warning", "-a", "-s3", str(tmp_path / "after.tif")], capture_output=True, text=True
    )
    for complaint in ("sequence", "odd offset", "Bad", "overlap", "Suspicious", "IFD0 pointer", "Illegal"):
        assert complaint not in checked.stdout, checked.stdout


def by_hand(*entries: tuple[int, int, int, int], following: int = 0, rest: bytes = b"") -> bytes:
    """A classic TIFF of one folder at 8, `rest` behind it. entries: code, type, count, field."""
    rows = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + rows + struct.pack("<I", following) + rest


MAKE = (271, 2, 4, 0x414141)  # "AAA"
MAKE_TAG = Tag(271, 2, 4, b"AAA\0")
BEHIND = 8 + 2 + 2 * 12 + 4  # where `rest` begins after two entries
INNER = struct.pack("<HHHIIHHIII", 2, 33434, 5, 1, BEHIND, 36864, 7, 4, 0x32333230, 0)
SINGLE_DAMAGE: dict[str, tuple[bytes, tuple[Tag, ...], tuple[int, ...]]] = {
    "beyond the end": (by_hand(MAKE, (315, 2, 5, 10_000)), (MAKE_TAG,), (315,)),
    "in the header": (by_hand(MAKE, (315, 2, 5, 2)), (MAKE_TAG,), (315,)),
    "too many values": (by_hand(MAKE, (315, 4, 2**32 - 1, 8)), (MAKE_TAG,), (315,)),
    "unknown type": (by_hand(MAKE, (315, 99, 1, 8)), (MAKE_TAG,), (315,)),
    "a pointer": (by_hand(MAKE, (315, 13, 1, 8)), (MAKE_TAG,), (315,)),
    "twice": (by_hand(MAKE, (271, 2, 2, 0x42)), (MAKE_TAG,), (271,)),
    "no value": (by_hand(MAKE, (315, 2, 0, 0)), (MAKE_TAG,), ()),
    "folder is its own page": (by_hand(MAKE, (EXIF, 4, 1, 8)), (MAKE_TAG,), (EXIF,)),
    "folder beyond the end": (by_hand(MAKE, (GPS, 4, 1, 10_000)), (MAKE_TAG,), (GPS,)),
    "folder of no type": (by_hand(MAKE, (EXIF, 2, 1, BEHIND), rest=INNER), (MAKE_TAG,), (EXIF,)),
    "folder cut off": (by_hand(MAKE, (EXIF, 4, 1, BEHIND), rest=INNER[:20]), (MAKE_TAG,), (EXIF,)),
    "folder in the wrong place": (
        by_hand(MAKE, (EXIF, 4, 1, BEHIND), rest=struct.pack("<HHHIIHHII", 2, GPS, 4, 1, 8, 36864, 7, 4, 0x32333230)),
        (MAKE_TAG, Tag(EXIF, 4, 1, folder=(Tag(36864, 7, 4, b"0232"),))),
        (GPS,),
    ),
    "folders in a circle": (
        by_hand(MAKE, (EXIF, 4, 1, BEHIND), rest=struct.pack("<HHHII", 1, INTEROPERABILITY, 4, 1, BEHIND)),
        (MAKE_TAG,),
        (EXIF, INTEROPERABILITY),
    ),
    "no damage": (
        by_hand(MAKE, (EXIF, 4, 1, BEHIND), rest=INNER),
        (MAKE_TAG, Tag(EXIF, 4, 1, folder=(Tag(33434, 5, 1, INNER[:8]), Tag(36864, 7, 4, b"0232")))),
        (),
    ),
}


@pytest.mark.parametrize("name", SINGLE_DAMAGE)
def test_single_damage_is_left_out_and_reported(name: str) -> None:
    content, tags, damaged = SINGLE_DAMAGE[name]
    assert read_tags(io.BytesIO(content)) == [Tags(tags, damaged)]


def test_values_of_a_page_have_a_limit() -> None:
    size = 40 * 2**20
    content = by_hand((270, 7, size, 100), (315, 7, size, 100), rest=bytes(size + 200))
    [page] = read_tags(io.BytesIO(content))
    assert [tag.code for tag in page.tags] == [270]
    assert page.damaged == (315,)


FOLDER_DAMAGE = {
    "empty": (b"", "does not start as a TIFF"),
    "a text": (b"A text that is no TIFF at all", "does not start as a TIFF"),
    "short BigTIFF": (b"II+\0\x08\0\0\0\x08", "does not start as a TIFF"),
    "no pages": (b"II*\0\0\0\0\0", "no pages"),
    "beyond the end": (b"MM\0*\0\0\1\0", "beyond the end"),
    "no entries": (by_hand(), "has 0 entries"),
    "many entries": (by_hand(*[MAKE] * (MAX_ENTRIES + 1)), f"has {MAX_ENTRIES + 1} entries"),
    "cut off": (by_hand(MAKE, MAKE)[:-10], "is cut off"),
    "circle": (by_hand(MAKE, following=8), "in a circle"),
    "next beyond the end": (by_hand(MAKE, following=500), "beyond the end"),
}


@pytest.mark.parametrize("name", FOLDER_DAMAGE)
def test_damaged_pages_are_refused(name: str) -> None:
    content, reason = FOLDER_DAMAGE[name]
    with pytest.raises(PhotoError, match=reason):
        read_tags(io.BytesIO(content))
    out = io.BytesIO(content)
    with pytest.raises(PhotoError, match=reason):
        write_tags(out, [[]])
    assert out.getvalue() == content


def test_pages_and_tags_of_a_file_have_limits() -> None:
    size = 2 + 12 + 4
    folders = [struct.pack("<HHHIII", 1, *MAKE, 8 + (page + 1) * size) for page in range(MAX_PAGES + 1)]
    with pytest.raises(PhotoError, match=f"more than {MAX_PAGES} pages"):
        read_tags(io.BytesIO(b"II*\0\x08\0\0\0" + b"".join(folders)))
    size = 2 + MAX_ENTRIES * 12 + 4
    rows = b"".join(struct.pack("<HHII", *MAKE) for _ in range(MAX_ENTRIES))
    folders = [struct.pack("<H", MAX_ENTRIES) + rows + struct.pack("<I", 8 + page * size) for page in range(1, 502)]
    with pytest.raises(PhotoError, match="more than 1000000 tags"):
        read_tags(io.BytesIO(b"II*\0\x08\0\0\0" + b"".join(folders)))


def test_a_file_may_end_with_its_last_entry() -> None:
    assert read_tags(io.BytesIO(by_hand(MAKE)[:-4])) == [Tags((MAKE_TAG,))]


MUTATED = [
    with_folders(),
    with_folders(big_tiff=True),
    with_folders("I;16B"),
    carried(with_folders(), colour_file(bigtiff=True, byteorder=">")),
    tiff(np.stack([GRAY] * 3), photometric="minisblack", byteorder=">"),
]
# Near the header and folders, where a change matters most, and anywhere.
PLACES = st.one_of(st.integers(0, 700), st.integers(-900, -1), st.integers(0, 10_000))
BYTES = st.one_of(
    st.sampled_from([b"\0", b"\1", b"\x08", b"\xff", b"\xff\xff\xff\xff", b"\0\0\0\0"]), st.binary(max_size=9)
)


@settings(deadline=2_000, max_examples=300)
@given(
    content=st.sampled_from(MUTATED),
    changes=st.lists(st.tuples(PLACES, BYTES), max_size=6),
    cut=st.one_of(st.none(), st.integers(0, 3_000)),
)
def test_damage_never_breaks_out(content: bytes, changes: list[tuple[int, bytes]], cut: int | None) -> None:
    damaged = bytearray(content)
    for place, data in changes:
        place %= len(damaged)
        damaged[place : place + len(data)] = data
    source = bytes(damaged[:cut])
    try:
        pages = [page.tags for page in read_tags(io.BytesIO(source))]
    except PhotoError:
        return
    result = io.BytesIO(colour_file(len(pages)) if len(pages) < 10 else source)
    write_tags(result, pages)
    assert [values(page.tags) for page in read_tags(result)] == [values(tags) for tags in pages]
    with contextlib.suppress(PhotoError):
        write_tags(io.BytesIO(source), pages)


KINDS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 129: 1}


@st.composite
def tag(draw: st.DrawFn, codes: st.SearchStrategy[int]) -> Tag:
    kind, count = draw(st.sampled_from(sorted(KINDS))), draw(st.integers(1, 9))
    size = KINDS[kind] * count
    return Tag(draw(codes), kind, count, draw(st.binary(min_size=size, max_size=size)))


@settings(deadline=2_000)
@given(
    layout=st.sampled_from(sorted(LAYOUTS)),
    main=st.lists(tag(st.sampled_from([270, 271, 282, 700, 33723, 40095])), unique_by=lambda tag: tag.code),
    exif=st.lists(tag(st.integers(33434, 34664)), unique_by=lambda tag: tag.code, min_size=1),
)
def test_any_values_come_back(layout: str, main: list[Tag], exif: list[Tag]) -> None:
    tags = [*main, Tag(EXIF, 4, 1, folder=tuple(exif))]
    out = io.BytesIO(colour_file(**LAYOUTS[layout]))
    write_tags(out, [tags])
    [page] = read_tags(out)
    assert not page.damaged
    assert values(page.tags) == values(tags)


def test_what_tifffile_adds_to_a_description_is_no_damage() -> None:
    page = read_tags(io.BytesIO(tiff(GRAY, description="Oma", metadata={"axes": "YX"})))[0]
    assert page.damaged == ()
    assert [tag.data for tag in page.tags if tag.code == 270] == [b"Oma\0"]


def test_a_tag_that_comes_twice_with_the_same_value_is_no_damage() -> None:
    assert read_tags(io.BytesIO(by_hand(MAKE, MAKE))) == [Tags((MAKE_TAG,))]
    assert read_tags(io.BytesIO(by_hand((270, 2, 2, 0x41), (270, 2, 2, 0x42))))[0].damaged == (270,)
