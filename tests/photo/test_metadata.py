"""Metadata through the real pipeline, with exiftool as the judge where it is installed."""

import io
import json
import os
import shutil
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checks.test_verify import gray_profile
from photo.pictures import SRGB_PROFILE, FakeModel, flat, gray, png, png_chunk, rgb, saved, scene, tiff
from PIL import Image

from bwcolor.batch.outcome import Outcome
from bwcolor.batch.plan import find_jobs, settle
from bwcolor.batch.thread_pool import run
from bwcolor.checks.verify import verify_photo
from bwcolor.errors import PhotoError
from bwcolor.options import ColorizeOptions
from bwcolor.photo.formats import jp2
from bwcolor.photo.formats.tifftags import Tag, read_tags, write_tags
from bwcolor.photo.metadata import exif as exifs
from bwcolor.photo.metadata.exiftags import described
from bwcolor.photo.metadata.icc import gray_to_rgb
from bwcolor.photo.metadata.photoshop import resources_in
from bwcolor.photo.metadata.read import READERS, Metadata, in_colour, read_metadata
from bwcolor.photo.metadata.write import (
    for_pillow,
    image_resources_of,
    lost_in_tiff,
    put_into_jpeg,
    put_into_png,
    resolutions,
    tiff_tags,
)
from bwcolor.photo.scan import open_scan

EXIFTOOL = shutil.which("exiftool")
needs_exiftool = pytest.mark.skipif(EXIFTOOL is None, reason="exiftool is not installed")

HEIGHT, WIDTH = 60, 84
GRAY = scene(HEIGHT, WIDTH)
NOTE = b"MAKER\0\1\2" + bytes(range(200))
PACKET = b"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:my="http://example.org/my/"
 xmp:Rating="4" my:Box="7">
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">Harbour</rdf:li>
<rdf:li xml:lang="de">Hafen</rdf:li></rdf:Alt></dc:title>
<dc:subject><rdf:Bag><rdf:li>ship</rdf:li><rdf:li>Stra\xc3\x9fe</rdf:li></rdf:Bag></dc:subject>
<Iptc4xmpExt:LocationShown><rdf:Bag><rdf:li rdf:parseType="Resource"><Iptc4xmpExt:City>Kiel</Iptc4xmpExt:City>
<Iptc4xmpExt:CountryName>Germany</Iptc4xmpExt:CountryName></rdf:li></rdf:Bag></Iptc4xmpExt:LocationShown>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""
TEXTS = ((80, b"Liese"), (25, b"harbour"), (25, b"1931"), (90, b"Kiel"), (120, b"Hafen"))
BLOCK = b"".join(b"\x1c\x02" + struct.pack(">BH", number, len(text)) + text for number, text in TEXTS)
RESOURCES = [(1028, BLOCK), (1005, struct.pack(">IHHIHH", 300 << 16, 1, 1, 300 << 16, 1, 1)), (1036, b"gray preview"),
             (1034, b"\1")]  # fmt: skip


def photoshop() -> bytes:
    """Image resources: IPTC, the resolution, a preview, a copyright flag."""
    parts = (
        b"8BIM" + struct.pack(">HHI", number, 0, len(data)) + data + bytes(len(data) % 2) for number, data in RESOURCES
    )
    return b"".join(parts)


def thumbnail() -> bytes:
    return saved(gray(GRAY).resize((42, 30)), "JPEG")


def full_exif(orientation: int = 1, preview: bool = True) -> bytes:
    """A block with Exif and GPS folders, a maker note and a JPEG preview, little-endian, as a camera lays it out."""
    folders: list[list[tuple[int, int, int, bytes]]] = [
        [(270, 2, 0, b"Harbour\0"), (271, 2, 0, b"Leica\0"), (274, 3, 1, struct.pack("<H", orientation)),
         (282, 5, 1, struct.pack("<II", 300, 1)), (283, 5, 1, struct.pack("<II", 300, 1)), (296, 3, 1, b"\2\0"),
         (305, 2, 0, b"VueScan 9\0"), (306, 2, 0, b"2020:02:03 04:05:06\0"), (315, 2, 0, b"Lieselotte\0"),
         (33432, 2, 0, b"public domain\0"), (34665, 4, 1, b""), (34853, 4, 1, b"")],
        [(33434, 5, 1, struct.pack("<II", 1, 125)), (36864, 7, 0, b"0232"), (36867, 2, 0, b"1931:07:14 12:00:00\0"),
         (36868, 2, 0, b"2020:02:03 04:05:06\0"), (37500, 7, 0, NOTE), (37510, 7, 0, b"ASCII\0\0\0from album 3"),
         (37521, 2, 0, b"17\0")],
        [(0, 1, 4, b"\2\3\0\0"), (1, 2, 0, b"N\0"), (2, 5, 3, struct.pack("<6I", 54, 1, 19, 1, 30, 1)),
         (3, 2, 0, b"E\0"), (4, 5, 3, struct.pack("<6I", 10, 1, 8, 1, 4, 1)), (29, 2, 0, b"1931:07:14\0")],
        [(259, 3, 1, b"\6\0"), (513, 4, 1, b""), (514, 4, 1, b"")],
    ]  # fmt: skip
    folders = folders if preview else folders[:3]
    starts, at = [], 8
    for folder in folders:
        starts.append(at)
        at += 2 + 12 * len(folder) + 4 + sum(len(data) + len(data) % 2 for *_, data in folder if len(data) > 4)
    small = thumbnail()
    pointers = {34665: starts[1], 34853: starts[2], 513: at, 514: len(small)}
    block = b"II*\0" + struct.pack("<I", 8)
    for number, folder in enumerate(folders):
        table, values = struct.pack("<H", len(folder)), b""
        behind = starts[number] + 2 + 12 * len(folder) + 4
        for code, kind, count, data in folder:
            data = data or struct.pack("<I", pointers[code])
            field = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<I", behind + len(values))
            values += data + bytes(len(data) % 2) if len(data) > 4 else b""
            table += struct.pack("<HHI", code, kind, count or len(data)) + field
        following = starts[3] if number == 0 and preview else 0
        block += table + struct.pack("<I", following) + values
    return block + (small if preview else b"")


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def jpeg(image: Image.Image, orientation: int = 1, profile: bytes | None = None, **settings: Any) -> bytes:
    """A JPEG with all that this module knows."""
    plain = saved(image, "JPEG", quality=90, dpi=(300, 300), **settings)
    parts = [segment(0xE1, b"Exif\0\0" + full_exif(orientation)),
             segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + PACKET),
             segment(0xE2, b"ICC_PROFILE\0\1\1" + profile) if profile else b"",
             segment(0xED, b"Photoshop 3.0\0" + photoshop()),
             segment(0xFE, b"Album 3"), segment(0xFE, b"page 7")]  # fmt: skip
    return plain[:20] + b"".join(parts) + plain[20:]


def png_file(image: Image.Image, profile: bytes | None = None, orientation: int = 1) -> bytes:
    plain = saved(image, "PNG", dpi=(300, 300), icc_profile=profile)
    chunks = [(b"tEXt", b"Comment\0Album 3"), (b"zTXt", b"Description\0\0" + zlib.compress(b"Hafen")),
              (b"iTXt", b"Title\0\0\0de\0Titel\0" + "Straße".encode()), (b"tIME", b"\x07\xe4\2\3\4\5\6"),
              (b"gAMA", struct.pack(">I", 45455)), (b"eXIf", full_exif(orientation)),
              (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + PACKET)]  # fmt: skip
    return plain[:33] + b"".join(png_chunk(*chunk) for chunk in chunks) + plain[33:]


def tiff_file(pixels: Any, profile: bytes | None = None, **settings: Any) -> bytes:
    tags: list[tuple[int, int, int, bytes, bool]] = [
        (271, 2, 6, b"Leica\0", True), (306, 2, 20, b"2020:02:03 04:05:06\0", True),
        (315, 2, 11, b"Lieselotte\0", True), (700, 1, len(PACKET), PACKET, True),
        (33432, 2, 14, b"public domain\0", True), (33723, 7, len(RESOURCES[0][1]), RESOURCES[0][1], True),
        (34377, 7, len(photoshop()), photoshop(), True),
    ]  # fmt: skip
    plain = tiff(pixels, extratags=tags, resolution=(300, 300), resolutionunit=2, description="Harbour",
                 software="VueScan 9", metadata=None, iccprofile=profile, **settings)  # fmt: skip
    file = io.BytesIO(plain)  # EXIF and GPS folders, which tifffile does not write
    inner = [tag for tag in described(full_exif()) if tag.folder]
    write_tags(file, [[*read_tags(file)[0].tags, *inner]])
    return file.getvalue()


def webp_file(image: Image.Image, profile: bytes | None = None, orientation: int = 1, **settings: Any) -> bytes:
    return saved(image, "WEBP", exif=full_exif(orientation), xmp=PACKET, icc_profile=profile, **settings)


def avif_file(image: Image.Image, profile: bytes | None = None, orientation: int = 1) -> bytes:
    parts, _ = for_pillow(Metadata(full_exif(orientation), PACKET, profile))  # Pillow alone rewrites EXIF
    return saved(image, "AVIF", quality=90, **parts)


def colorize(path: Path, content: bytes, **settings: Any) -> tuple[Path, Outcome]:
    """The output that the pipeline makes of one photo, whose file time is of 1999."""
    path.write_bytes(content)
    os.utime(path, (920_000_000, 920_000_000))
    options = ColorizeOptions(jobs=1, **settings)
    plan = settle(find_jobs(path, path.parent / "out"), options)
    (outcome,) = run(plan.jobs, FakeModel(flat(-0.12, 0.1)), options)
    assert outcome.state == "done", outcome.reason
    return plan.jobs[0].target, outcome


def told(*paths: Path) -> list[dict[str, str]]:
    """What exiftool says of each file: group:name -> value."""
    assert EXIFTOOL
    command = [EXIFTOOL, "-j", "-G1", "-a", "-u", "-charset", "iptc=utf8", *map(str, paths)]
    answer = subprocess.run(command, capture_output=True, check=True, timeout=120).stdout
    return [{name: str(value) for name, value in facts.items()} for facts in json.loads(answer)]


# What may differ: about the file, how pixels are stored, previews, the label.
FREE_GROUPS = ("System:", "ExifTool:", "XMP-bwcolor:", "Composite:", "SourceFile")
FREE = {
    "File:FileType", "File:FileTypeExtension", "File:MIMEType", "File:ColorComponents", "File:EncodingProcess",
    "File:YCbCrSubSampling", "File:BitsPerSample", "JFIF:JFIFVersion", "XMP-x:XMPToolkit",
    "XMP-iptcExt:DigitalSourceType", "IFD1:ThumbnailLength", "IFD1:ThumbnailOffset", "IFD1:ThumbnailImage",
    "Photoshop:PhotoshopThumbnail", "Photoshop:PhotoshopBGRThumbnail", "PNG:ColorType", "PNG:BitDepth", "PNG:Filter",
    "IFD0:PhotometricInterpretation", "IFD0:SamplesPerPixel", "IFD0:BitsPerSample", "IFD0:StripOffsets",
    "IFD0:StripByteCounts", "IFD0:RowsPerStrip", "IFD0:PlanarConfiguration", "IFD0:Compression", "IFD0:Predictor",
    "IFD0:SubfileType", "IFD0:SampleFormat", "QuickTime:MediaData", "QuickTime:MediaDataSize",
    "QuickTime:MediaDataOffset", "File:ExifByteOrder",
}  # fmt: skip


def different(before: dict[str, str], after: dict[str, str], gray_icc: bool) -> dict[str, tuple[str, str]]:
    """Names of what differs, that must not: the two values."""
    free = (*FREE_GROUPS, *(("ICC",) if gray_icc else ()))
    names = [name for name in before | after if not name.startswith(free) and name not in FREE]
    return {
        name: (before.get(name, "missing"), after.get(name, "missing"))
        for name in names
        if before.get(name) != after.get(name)
    }


def by_exiftool(name: str, plain: bytes) -> bytes:
    """The file with metadata that exiftool writes, in its own layout."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(plain)
        Path(folder, "small.jpg").write_bytes(thumbnail())
        facts = [
            "-EXIF:Artist=Lieselotte", "-EXIF:DateTimeOriginal=1931:07:14 12:00:00", "-EXIF:OffsetTimeOriginal=+01:00",
            "-EXIF:UserComment=Großmutter", "-EXIF:ISO=100", "-EXIF:LensModel=Elmar", "-GPS:GPSLatitude=54.325",
            "-GPS:GPSLatitudeRef=N", "-GPS:GPSLongitude=10.134", "-GPS:GPSLongitudeRef=E",
            "-GPS:GPSDateStamp=1931:07:14",
            "-EXIF:XResolution=600", "-EXIF:YResolution=600", "-EXIF:ResolutionUnit=inches", "-EXIF:Copyright=none",
            "-XMP-dc:Title=Hafen", "-XMP-dc:Title-fr=Port",
            "-XMP-iptcExt:LocationShown={City=Kiel,CountryName=Germany}",
            "-XMP-xmpMM:History={action=scanned,when=2020:01:02},{action=saved,parameters=a\\, b}",
            "-XMP-mwg-rs:RegionInfo={RegionList=[{Name=Liese,Type=Face,Area={X=0.5,Y=0.5,W=0.1,H=0.1,Unit=normalized}}]}",
            "-IPTC:By-line=Liese", "-IPTC:Keywords=Kiel", "-IPTC:Keywords=1931", "-IPTC:City=Kiel",
            "-Comment=Album 3", f"-ThumbnailImage<={folder}/small.jpg",
        ]  # fmt: skip
        assert EXIFTOOL
        subprocess.run([EXIFTOOL, "-q", "-m", *facts, str(path)], capture_output=True, check=True, timeout=120)
        return path.read_bytes()


SOURCES: dict[str, tuple[str, Any, bool]] = {
    "jpeg, gray profile": ("a.jpg", lambda: jpeg(gray(GRAY), profile=gray_profile()), True),
    "jpeg, turned": ("a.jpg", lambda: jpeg(gray(GRAY), 6), False),
    "jpeg, three components": ("a.jpg", lambda: jpeg(rgb(GRAY), profile=SRGB_PROFILE), False),
    "jpeg, all by exiftool": ("a.jpg", lambda: by_exiftool("a.jpg", saved(gray(GRAY), "JPEG")), False),
    "png, all by exiftool": ("a.png", lambda: by_exiftool("a.png", saved(gray(GRAY), "PNG")), False),
    "tiff, all by exiftool": ("a.tif", lambda: by_exiftool("a.tif", tiff(GRAY, metadata=None)), False),
    "tiff, big-endian": ("a.tif", lambda: by_exiftool("a.tif", tiff(GRAY, metadata=None, byteorder=">")), False),
    "webp, all by exiftool": ("a.webp", lambda: by_exiftool("a.webp", saved(rgb(GRAY), "WEBP")), False),
    "avif, all by exiftool": ("a.avif", lambda: by_exiftool("a.avif", saved(rgb(GRAY), "AVIF")), False),
    "jpeg, progressive": ("a.jpg", lambda: jpeg(gray(GRAY), 8, progressive=True), False),
    "png": ("a.png", lambda: png_file(gray(GRAY), gray_profile()), True),
    "png, three channels": ("a.png", lambda: png_file(rgb(GRAY), SRGB_PROFILE, 3), False),
    "tiff": ("a.tif", lambda: tiff_file(GRAY, gray_profile()), True),
    "tiff, three channels": ("a.tif", lambda: tiff_file(np.stack([GRAY] * 3, -1), SRGB_PROFILE), False),
    "tiff 16": ("a.tif", lambda: tiff_file(GRAY.astype(np.uint16) * 257), False),
    "webp": ("a.webp", lambda: webp_file(rgb(GRAY), SRGB_PROFILE, 6, lossless=True), False),
    "webp, lossy": ("a.webp", lambda: webp_file(rgb(GRAY), quality=90), False),
    "avif": ("a.avif", lambda: avif_file(rgb(GRAY), SRGB_PROFILE), False),
    "avif, turned": ("a.avif", lambda: avif_file(rgb(GRAY), None, 6), False),
}


@needs_exiftool
@pytest.mark.parametrize("name", SOURCES)
def test_exiftool_finds_the_same_in_the_output(name: str, tmp_path: Path) -> None:
    file, content, gray_icc = SOURCES[name]
    output, outcome = colorize(tmp_path / file, content())
    before, after = told(tmp_path / file, output)
    assert len(before) > 40
    assert different(before, after, gray_icc) == {}
    assert outcome.notes == ()
    assert output.stat().st_mtime_ns == (tmp_path / file).stat().st_mtime_ns == 920_000_000 * 10**9
    if "exiftool" not in name and "big" not in name:
        assert NOTE in output.read_bytes()


# Fields that must arrive in another format, or be named in the run's notes.
EXIF_FIELDS = ("IFD0:Artist", "IFD0:Copyright", "IFD0:Software", "IFD0:XResolution", "ExifIFD:DateTimeOriginal",
               "ExifIFD:UserComment", "GPS:GPSLatitude", "GPS:GPSLongitude", "GPS:GPSDateStamp")  # fmt: skip
XMP_FIELDS = ("XMP-dc:Title", "XMP-dc:Title-de", "XMP-dc:Subject", "XMP-iptcExt:LocationShownCity", "XMP-xmp:Rating")
IPTC_FIELDS = ("IPTC:By-line", "IPTC:Keywords", "IPTC:City", "IPTC:Caption-Abstract")
CROSSINGS = [
    ("a.tif", "jpeg"), ("a.tif", "png"), ("a.tif", "webp"), ("a.tif", "avif"), ("a.tif", "bmp"), ("a.jpg", "tiff"),
    ("a.jpg", "png"), ("a.jpg", "webp"), ("a.jpg", "avif"), ("a.jpg", "bmp"), ("a.png", "jpeg"), ("a.png", "tiff"),
    ("a.png", "webp"), ("a.webp", "jpeg"), ("a.webp", "tiff"), ("a.avif", "png"),
]  # fmt: skip


@needs_exiftool
@pytest.mark.parametrize(("file", "form"), CROSSINGS)
def test_fields_arrive_in_another_format_or_are_named(file: str, form: Any, tmp_path: Path) -> None:
    sources = {
        "a.jpg": lambda: jpeg(gray(GRAY)),
        "a.png": lambda: png_file(gray(GRAY)),
        "a.tif": lambda: tiff_file(GRAY),
        "a.webp": lambda: webp_file(rgb(GRAY), lossless=True),
        "a.avif": lambda: avif_file(rgb(GRAY)),
    }
    output, outcome = colorize(tmp_path / file, sources[file](), format=form)
    before, after = told(tmp_path / file, output)
    notes = " ".join(outcome.notes)

    def lacking(names: tuple[str, ...]) -> list[str]:
        return [name for name in names if name in before and before[name] != after.get(name)]

    assert [name for name in (*EXIF_FIELDS, *XMP_FIELDS) if name in before]
    if form == "bmp":
        assert outcome.notes == (
            "metadata left out: BMP has no place for it",
            "label left out: BMP has no place for it",
        )
        return
    assert lacking(EXIF_FIELDS) == []
    assert lacking(XMP_FIELDS) == []
    assert not lacking(IPTC_FIELDS) or "IPTC" in notes
    texts = [name for name in before if name.startswith("PNG:") and name.split(":")[1] in ("Comment", "Title-de")]
    assert not texts or form == "tiff" or "texts of the PNG left out" in notes
    if "File:Comment" in before:
        assert "comments" in notes or form == "tiff" or after.get("PNG:Comment") is not None
    if form != "tiff":
        assert NOTE in output.read_bytes()


def resolution(metadata: Metadata) -> tuple[float, float] | None:
    return next(iter(resolutions(metadata)), None)


def read(path: Path) -> list[Metadata]:
    with open_scan(path, 10**9) as scan:
        return read_metadata(scan)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.avif"])
def test_previews_are_in_colour_and_turned_as_the_photo(name: str, orientation: int, tmp_path: Path) -> None:
    sources = {
        "a.jpg": lambda: jpeg(gray(GRAY), orientation),
        "a.png": lambda: png_file(gray(GRAY), orientation=orientation),
        "a.webp": lambda: webp_file(rgb(GRAY), orientation=orientation, lossless=True),
        "a.avif": lambda: avif_file(rgb(GRAY), orientation=orientation),
    }
    output, _ = colorize(tmp_path / name, sources[name]())
    block = read(output)[0].exif
    assert block is not None
    assert exifs.orientation(block) == orientation
    small = exifs.thumbnail(block)
    assert small is not None
    with Image.open(io.BytesIO(small)) as preview, Image.open(output) as photo:
        pixels = np.asarray(preview, int)
        assert preview.width > preview.height, "as stored, not upright"
        if name != "a.avif":  # Pillow's plugin turns those itself
            assert np.abs(pixels - np.asarray(photo.convert("RGB").resize(preview.size), int)).mean() < 6
    assert np.abs(pixels[..., 0] - pixels[..., 2]).mean() > 10, "in colour"


def test_a_preview_of_pixels_is_left_out_and_named(tmp_path: Path) -> None:
    block = full_exif(preview=False)
    table = int.from_bytes(block[8:10], "little")
    behind = 10 + 12 * table
    second = struct.pack("<HHHII", 1, 273, 4, 1, 8) + bytes(4)
    block = block[:behind] + struct.pack("<I", len(block)) + block[behind + 4 :] + second
    source = saved(gray(GRAY), "JPEG", exif=b"Exif\0\0" + block)
    output, outcome = colorize(tmp_path / "a.jpg", source)
    assert outcome.notes == ("small gray preview left out",)
    assert not exifs.has_uncompressed_thumbnail(read(output)[0].exif or b"")


def test_iptc_of_a_tiff_tag_goes_among_a_jpegs_resources_and_back(tmp_path: Path) -> None:
    iptc = RESOURCES[0][1]
    page = Metadata(tags=(Tag(33723, 7, len(iptc), iptc),))
    resources = image_resources_of(page)
    assert resources is not None
    assert [(number, data) for number, data, _ in resources_in(resources)] == [(1028, iptc)]
    tags = {tag.code: tag.data for tag in tiff_tags(Metadata(photoshop=photoshop()))}
    assert tags[33723] == iptc
    assert [number for number, *_ in resources_in(tags[34377])] == [1005, 1036, 1034]
    both = Metadata(tags=(*page.tags, Tag(34377, 7, len(photoshop()), photoshop())))
    assert image_resources_of(both) == photoshop(), "it is there already"


@pytest.mark.parametrize(
    "damaged", [b"", b"8BIM", b"8BIM\4\4", b"8BIM\4\x0c\xff\0\0\0", b"8BIM\4\x0c\0\0\xff\xff\xff\xff12"]
)
def test_damaged_resources_in(damaged: bytes) -> None:
    for metadata in (Metadata(photoshop=damaged), Metadata(tags=(Tag(34377, 7, len(damaged), damaged),))):
        made = in_colour(metadata, None, None)
        assert len(image_resources_of(made) or b"") <= len(damaged)
        assert list(resources_in(damaged)) is not None


def test_previews_of_photoshop_are_left_out_of_every_format(tmp_path: Path) -> None:
    for name, content in (("a.jpg", jpeg(gray(GRAY))), ("a.tif", tiff_file(GRAY))):
        output, _ = colorize(tmp_path / name, content)
        assert b"gray preview" in content
        assert b"gray preview" not in output.read_bytes()


def test_a_damaged_folder_of_the_preview_spoils_nothing_else(tmp_path: Path) -> None:
    block = full_exif(preview=False)
    behind = 10 + 12 * int.from_bytes(block[8:10], "little")
    damaged = block[:behind] + struct.pack("<I", len(block) + 1000) + block[behind + 4 :]
    assert {tag.code for tag in described(damaged)} == {tag.code for tag in described(block)}
    assert {tag.code for tag in tiff_tags(Metadata(exif=damaged))} >= {315, 34665, 34853}
    assert lost_in_tiff(Metadata(exif=damaged)) == ()


@pytest.mark.parametrize("block", [b"", b"II", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"x" * 50])
def test_damaged_exif_raises_nothing_but_a_photo_error(block: bytes) -> None:
    with pytest.raises(PhotoError):
        described(block)
    assert [tag.code for tag in tiff_tags(Metadata(exif=block))] == []
    assert lost_in_tiff(Metadata(exif=block)) == ("damaged EXIF left out",)
    assert resolution(Metadata(exif=block, dpi=(72, 72))) == (72, 72)


def test_damaged_exif_stays_as_it_is_and_fails_no_photo(tmp_path: Path) -> None:
    block = b"II*\0\xff\xff\xff\0 damaged"
    for number, (name, form) in enumerate([("a.jpg", None), ("a.jpg", "avif"), ("a.jpg", "webp"), ("a.jpg", "png"),
                                           ("a.jpg", "tiff")]):  # fmt: skip
        folder = tmp_path / str(number)
        folder.mkdir()
        output, _ = colorize(folder / name, saved(gray(GRAY), "JPEG", exif=b"Exif\0\0" + block), format=form)
        assert (block in output.read_bytes()) == (form != "tiff")


def test_what_has_no_place_in_a_tiff() -> None:
    text = png_chunk(b"tEXt", b"Title\0Hafen")
    assert lost_in_tiff(Metadata(comments=(b"Album",), native=(text,))) == (
        "comments left out: the format has no place for them", "texts of the PNG left out",
    )  # fmt: skip


RESOLUTIONS = {
    "inches": ((282, 300, 1), (283, 200, 1), 2, (300, 200)),
    "centimetres": ((282, 1181, 10), (283, 1181, 10), 3, (299.974, 299.974)),
    "no unit": ((282, 300, 1), (283, 300, 1), 1, None),
    "nothing": ((282, 0, 1), (283, 0, 1), 2, None),
    "divided by nothing": ((282, 300, 0), (283, 300, 0), 2, None),
    "absurd": ((282, 4_000_000_000, 1), (283, 4_000_000_000, 1), 2, None),
}


@pytest.mark.parametrize("name", RESOLUTIONS)
def test_resolution_by_tags(name: str) -> None:
    across, down, unit, dots = RESOLUTIONS[name]
    tags = [Tag(code, 5, 1, struct.pack("<II", upper, lower)) for code, upper, lower in (across, down)]
    found = resolution(Metadata(tags=(*tags, Tag(296, 3, 1, struct.pack("<H", unit)))))
    assert found == (None if dots is None else pytest.approx(dots))


CROSSED = [("a.tif", "jpeg"), ("a.tif", "png"), ("a.tif", "webp"), ("a.tif", "avif"), ("a.png", "webp"),
           ("a.png", "avif"), ("a.png", "tiff"), ("a.png", "jpeg"), ("a.jpg", "webp"), ("a.jpg", "png")]  # fmt: skip


@pytest.mark.parametrize(("name", "form"), CROSSED)
def test_the_resolution_arrives_in_every_format(name: str, form: Any, tmp_path: Path) -> None:
    sources = {"a.tif": lambda: tiff(GRAY, resolution=(400, 300), resolutionunit=2, metadata=None),
               "a.png": lambda: saved(gray(GRAY), "PNG", dpi=(400, 300)),
               "a.jpg": lambda: saved(gray(GRAY), "JPEG", dpi=(400, 300))}  # fmt: skip
    output, _ = colorize(tmp_path / name, sources[name](), format=form)
    assert resolution(read(output)[0]) == pytest.approx((400, 300), rel=0.001)
    if form in ("jpeg", "png"):  # where most programs look
        with Image.open(output) as image:
            assert image.info["dpi"] == pytest.approx((400, 300), rel=0.001)


def test_no_resolution_is_made_up(tmp_path: Path) -> None:
    output, _ = colorize(
        tmp_path / "a.jpg", saved(gray(GRAY), "JPEG", exif=full_exif_without_resolution()), format="tiff"
    )
    assert resolution(read(output)[0]) is None


def full_exif_without_resolution() -> bytes:
    data = Image.Exif()
    data[315] = "Lieselotte"
    return data.tobytes()


def test_a_resolution_without_a_place_is_named() -> None:
    parts, lost = for_pillow(Metadata(exif=full_exif_without_resolution()[6:], dpi=(300, 300)))
    assert lost == ("resolution left out: EXIF does not tell it, and the format has no other place for it",)
    assert for_pillow(Metadata(exif=full_exif(), dpi=(300, 300)))[1] == ()
    assert parts.keys() == {"exif"}


def test_comments_become_texts_of_a_png(tmp_path: Path) -> None:
    output, outcome = colorize(tmp_path / "a.gif", saved(gray(GRAY), "GIF", comment=b"Album 3"))
    assert output.name == "a.gif.png"
    assert outcome.notes == ()
    with Image.open(output) as image:
        assert image.info["Comment"] == "Album 3"


def test_comments_that_have_no_place_are_named(tmp_path: Path) -> None:
    _, outcome = colorize(tmp_path / "a.gif", saved(gray(GRAY), "GIF", comment=b"Album 3"), format="webp")
    assert outcome.notes == ("comments left out: the format has no place for them",)


def test_large_blocks_are_named_when_a_jpeg_has_no_room() -> None:
    pieces = [b"\xff\xd8", saved(gray(GRAY), "JPEG")[2:20], b"rest"]
    big = Metadata(exif=full_exif(preview=False) + bytes(70_000), xmp=b"<" + b"x" * 70_000,
                   photoshop=b"8BIM" + bytes(100_000), icc=SRGB_PROFILE * 300)  # fmt: skip
    made, lost = put_into_jpeg(big, pieces)
    assert lost == ("EXIF left out: more than a JPEG can hold", "XMP left out: more than a JPEG can hold")
    parts = b"".join(bytes(part) for part in made)
    assert parts.count(b"Photoshop 3.0\0") == 2
    assert parts.count(b"ICC_PROFILE\0") > 2
    with_preview = full_exif()
    large = exifs.with_thumbnail(with_preview, thumbnail() + bytes(66_000))
    made, lost = put_into_jpeg(Metadata(exif=large), pieces)
    assert lost == ("small preview left out: more than a JPEG can hold",)
    assert NOTE in b"".join(bytes(part) for part in made)


def test_metadata_that_no_parser_takes_costs_no_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a parser raises."""

    def odd(_: bytes) -> Metadata:
        raise ValueError("Decompressed data too large for PngImagePlugin.MAX_TEXT_CHUNK")

    monkeypatch.setitem(READERS, "png", odd)
    _, outcome = colorize(tmp_path / "a.png", png_file(gray(GRAY)))
    assert outcome.notes == ("damaged metadata left out",)


def test_a_text_bomb_in_a_16_bit_png_fails_no_run(tmp_path: Path) -> None:
    plain = png(GRAY.astype(np.uint16) * 257, 0)
    bomb = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(40_000_000)))
    (tmp_path / "a.png").write_bytes(plain[:33] + bomb + plain[33:])
    options = ColorizeOptions(jobs=1)
    plan = settle(find_jobs(tmp_path / "a.png", tmp_path / "out"), options)
    assert all(outcome.state in ("done", "failed") for outcome in run(plan.jobs, FakeModel(flat(0, 0)), options))


def test_a_tiffs_own_description_of_the_array_is_left_out(tmp_path: Path) -> None:
    output, _ = colorize(tmp_path / "a.tif", tiff(GRAY))
    assert 270 not in {tag.code for tag in read(output)[0].tags}
    output, _ = colorize(tmp_path / "b.tif", tiff(GRAY, metadata=None, description="Hafen"))
    assert 270 in {tag.code for tag in read(output)[0].tags}


def test_a_png_keeps_its_chunks_and_gets_no_second_ones() -> None:
    encoded = saved(gray(GRAY), "PNG")
    own = (png_chunk(b"pHYs", struct.pack(">IIB", 1, 2, 0)), png_chunk(b"sRGB", b"\0"))
    made, _ = put_into_png(Metadata(native=own, dpi=(300, 300), icc=SRGB_PROFILE), encoded)
    content = b"".join(bytes(part) for part in made)
    assert content.count(b"pHYs") == 1
    assert b"sRGB\0" not in content.partition(b"iCCP")[0]
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        assert image.info["icc_profile"] == SRGB_PROFILE


def jp2_file(orientation: int = 1) -> bytes:
    """A JPEG 2000 picture with boxes for EXIF, XMP, IPTC, and a gray profile in place of the enumerated colours."""
    plain = saved(gray(GRAY), "JPEG2000")
    colours = plain.index(b"colr") - 4
    length = int.from_bytes(plain[colours : colours + 4], "big")
    header = plain.index(b"jp2h") - 4
    size = int.from_bytes(plain[header : header + 4], "big")
    colour = box(b"colr", b"\2\0\0" + gray_profile())
    inner = plain[header + 8 : colours] + colour + plain[colours + length : header + size]
    extra = (
        box(b"uuid", jp2.EXIF + full_exif(orientation))
        + box(b"uuid", jp2.XMP + PACKET)
        + box(b"uuid", jp2.IPTC + BLOCK)
    )
    return plain[:header] + box(b"jp2h", inner) + extra + plain[header + size :]


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


@needs_exiftool
def test_what_a_jpeg_2000_tells_arrives(tmp_path: Path) -> None:
    output, outcome = colorize(tmp_path / "a.jp2", jp2_file(6), format="tiff")
    before, after = told(tmp_path / "a.jp2", output)
    names = [name for name in (*EXIF_FIELDS, *XMP_FIELDS, *IPTC_FIELDS) if name in before]
    assert len(names) == len(EXIF_FIELDS) + len(XMP_FIELDS) + len(IPTC_FIELDS)
    assert {name: after.get(name) for name in names} == {name: before[name] for name in names}
    assert outcome.notes == ()
    assert read(output)[0].icc == gray_to_rgb(gray_profile())
    checks = verify_photo(output, tmp_path / "a.jp2", 10**9)
    assert [check for check in checks if check.ok is False] == []


@pytest.mark.parametrize(
    "damaged", [b"", b"\0\0\0\x0cjP  ", b"\0\0\0\1uuid\0", b"\0\0\0\0uuid", b"\xff\x4f\xff\x51" * 9]
)
def test_damaged_boxes_tell_nothing(damaged: bytes) -> None:
    assert jp2.described(damaged) == {}


def with_segments(source: bytes, *bodies: tuple[int, bytes]) -> bytes:
    parts = [bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body for marker, body in bodies]
    return source[:2] + b"".join(parts) + source[2:]


def test_what_a_bmp_has_no_place_for_is_told_apart(tmp_path: Path) -> None:
    about = "metadata left out: BMP has no place for it"
    label = "label left out: BMP has no place for it"
    plain, with_xmp = saved(gray(GRAY), "JPEG"), saved(gray(GRAY), "JPEG", xmp=PACKET)
    for number, (content, kind, notes) in enumerate([
        (plain, "xmp", (label,)), (plain, "none", ()), (with_xmp, "xmp", (about, label)), (with_xmp, "none", (about,)),
    ]):  # fmt: skip
        _, outcome = colorize(tmp_path / f"{number}.jpg", content, format="bmp", label=kind)
        assert outcome.notes == notes


MANIFEST = "content credentials (C2PA) left out: they hold for the original's pixels only"
DESCRIPTION_BOX = b"\0\0\0\x1ejumdc2pa" + bytes.fromhex("00110010800000aa00389b71") + b"\3c2pa\0"


def jumbf(number: int, sequence: int, payload: bytes) -> bytes:
    return b"JP" + struct.pack(">HI", number, sequence) + struct.pack(">I", 9999) + b"jumb" + payload


def test_content_credentials_are_left_out_and_named(tmp_path: Path) -> None:
    content = with_segments(
        saved(gray(GRAY), "JPEG"), (0xEB, jumbf(1, 1, DESCRIPTION_BOX)), (0xEB, jumbf(1, 2, b"signature")),
        (0xEB, jumbf(2, 1, b"\0\0\0\x1ejumdother")), (0xEB, b"HDR_RI"),
    )  # fmt: skip
    output, outcome = colorize(tmp_path / "a.jpg", content)
    assert outcome.notes == (MANIFEST,)
    made = output.read_bytes()
    assert b"signature" not in made
    assert b"c2pa" not in made
    assert b"jumdother" in made
    assert b"HDR_RI" in made
    assert [check for check in verify_photo(output, tmp_path / "a.jpg", 10**9) if check.ok is False] == []
    _, outcome = colorize(tmp_path / "b.png", png(GRAY, 0, (b"caBX", b"\0\0\0\0jumb" + DESCRIPTION_BOX)))
    assert outcome.notes == (MANIFEST,)


def test_a_damaged_profile_of_a_png_is_named(tmp_path: Path) -> None:
    _, outcome = colorize(tmp_path / "a.png", png(GRAY, 0, (b"iCCP", b"ICC\0\0no zlib")))
    assert outcome.notes == ("damaged color profile left out",)
    _, outcome = colorize(tmp_path / "b.png", png_file(gray(GRAY)))
    assert outcome.notes == ()


@pytest.mark.parametrize("form", ["png", "jpeg", "tiff", "webp", "avif", "bmp"])
def test_an_absurd_resolution_costs_no_photo(form: Any, tmp_path: Path) -> None:
    dots = struct.pack(">IIB", 0xFFFFFFFF, 0xFFFFFFFF, 1)
    output, outcome = colorize(tmp_path / "a.png", png(GRAY, 0, (b"pHYs", dots)), format=form, label="none")
    assert outcome.notes == ("absurd resolution left out",)
    if form == "png":
        assert b"pHYs" not in output.read_bytes()


def test_what_is_too_large_for_a_jpeg_costs_no_photo(tmp_path: Path) -> None:
    profile = SRGB_PROFILE[:128] + bytes(20_000_000)
    _, outcome = colorize(
        tmp_path / "a.webp", saved(rgb(GRAY), "WEBP", lossless=True, icc_profile=profile), format="jpeg"
    )
    assert outcome.notes == ("colour profile left out: more than a JPEG can hold; viewers may show other tones",)
    _, outcome = colorize(tmp_path / "b.gif", saved(gray(GRAY), "GIF", comment=b"x" * 70_000), format="jpeg")
    assert outcome.notes == ("comment left out: more than a JPEG can hold",)


def gif_with_xmp(trailer: bytes) -> bytes:
    plain = saved(gray(GRAY), "GIF")
    at = plain.index(b"\x2c", 13 + 3 * 2 ** ((plain[10] & 7) + 1))  # behind the colours: the picture
    return plain[:at] + b"\x21\xff\x0bXMP DataXMP" + PACKET + trailer + plain[at:]


def test_the_xmp_of_a_gif_arrives(tmp_path: Path) -> None:
    trailer = b"\1" + bytes(range(255, -1, -1)) + b"\0"
    output, outcome = colorize(tmp_path / "a.gif", gif_with_xmp(trailer), label="none")
    assert outcome.notes == ()
    assert read(output)[0].xmp == PACKET


@pytest.mark.parametrize(
    ("chunks", "told"),
    [([(b"gAMA", struct.pack(">I", 100_000))], True), ([(b"gAMA", struct.pack(">I", 45_455))], False),
     ([(b"gAMA", struct.pack(">I", 100_000)), (b"sRGB", b"\0")], False), ([(b"cICP", b"\x0c\x10\0\1")], True),
     ([(b"cICP", b"\1\x0d\0\1")], False)],
)  # fmt: skip
def test_tones_that_a_png_alone_can_tell(chunks: list[tuple[bytes, bytes]], told: bool, tmp_path: Path) -> None:
    for form in ("webp", "tiff"):
        _, outcome = colorize(tmp_path / "a.png", png(GRAY, 0, *chunks), format=form)
        assert outcome.notes == ("the PNG's own brightness curve left out: tones may be shown differently",) * told
    output, outcome = colorize(tmp_path / "b.png", png(GRAY, 0, *chunks))
    assert outcome.notes == ()
    assert all(kind + body in output.read_bytes() for kind, body in chunks)


def test_a_disk_that_fails_is_no_damaged_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bad_disk(_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("bwcolor.photo.metadata.read.read_tags", bad_disk)
    (tmp_path / "a.tif").write_bytes(tiff(GRAY))
    with pytest.raises(PhotoError, match="can't be read"):
        read(tmp_path / "a.tif")
