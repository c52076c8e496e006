"""Which files are photos: by name, else by their first bytes; and what becomes of pictures that can't be read."""

import io
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import imagecodecs
import numpy as np
import pytest
import tifffile
from photo.pictures import gray, png, saved, scene, scene16, tiff
from PIL import Image
from typer.testing import CliRunner, Result

import bwcolor.photo.recognize
from bwcolor.batch.discovery import Choice, Found, walk
from bwcolor.batch.plan import find_jobs
from bwcolor.cli.app import app
from bwcolor.errors import NoPhotosError
from bwcolor.photo.formats.header import header_of
from bwcolor.photo.formats.known import EXTENSIONS, Format
from bwcolor.photo.formats.signatures import LOOK, UNREADABLE, ending, format_in, unreadable_in
from bwcolor.photo.recognize import first_bytes, recognized, why_no_photo

G8 = scene(40, 60)
JPEG = saved(gray(G8), "JPEG")
PICTURES: dict[str, tuple[bytes, Format]] = {
    "jpeg": (JPEG, "jpeg"),
    "png": (saved(gray(G8), "PNG"), "png"),
    "tiff": (tiff(G8), "tiff"),
    "big-endian BigTIFF": (tiff(G8, bigtiff=True, byteorder=">"), "tiff"),
    "webp": (saved(gray(G8), "WEBP"), "webp"),
    "bmp": (saved(gray(G8), "BMP"), "bmp"),
    "gif": (saved(gray(G8), "GIF"), "gif"),
    "jp2": (saved(gray(G8), "JPEG2000"), "jp2"),
    "j2k": (bytes(imagecodecs.jpeg2k_encode(G8, codecformat="j2k")), "jp2"),
    "avif": (saved(gray(G8), "AVIF"), "avif"),
    "pbm": (saved(gray(G8).convert("1"), "PPM"), "pnm"),
    "pgm": (saved(gray(G8), "PPM"), "pnm"),
    "pgm of SANE": (b"P5\n# SANE data follows\n60 40\n255\n" + G8.tobytes(), "pnm"),
    "pgm in one line": (b"P5 60 40 255 " + G8.tobytes(), "pnm"),
}
NO_PICTURES = [
    b"",
    b"x",
    b"P5",
    b"P1 is the first of four points",
    b"P2 2nd meeting",
    b"BM",
    b"BMW 2002 tii, 1973",
    b"RIFF\0\0\0\0WAVEfmt ",
    b"\0\0\0\x18ftypmp42\0\0\0\0isom",
    b"\0\0\0\x14ftypqt  ",
    b"\xff\xd8",
    b"II*",
    b"GIF87",
    bytes(4096),
    b"PK\3\4",
    b"\x7fELF",
    b"<html>",
    b"{}",
    b"\x89PNG\n",
]
STARTS = {
    "Olympus raw": b"IIRO\x08\0\0\0",
    "Panasonic raw": b"IIU\0\x18\0\0\0",
    "Fuji raw": b"FUJIFILMCCD-RAW 0201",
    "Canon raw 1": b"II\x1a\0\0\0HEAPCCDR",
    "Canon raw 2": b"II*\0\x10\0\0\0CR\2\0",
    "Canon raw 3": b"\0\0\0\x18ftypcrx \0\0",
    "Photoshop": b"8BPS\0\1",
    "GIMP": b"gimp xcf v011\0",
    "PDF": b"%PDF-1.4",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0",
    "JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n",
    "JPEG XR": b"II\xbc\1",
    "FITS": b"SIMPLE  =        T",
    "SGI": b"\1\xda\1\1\0\2",
    "PAM": b"P7\nWIDTH 4\n",
}


def put(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def reasons(found: Found) -> dict[str, tuple[str, bool]]:
    return {left.path.name: (left.reason, left.failed) for left in found.left_out}


@pytest.mark.parametrize("name", PICTURES)
def test_content_tells_what_names_do_not(name: str, tmp_path: Path) -> None:
    content, form = PICTURES[name]
    assert format_in(content[:LOOK]) == form
    assert unreadable_in(content[:LOOK]) is None
    assert header_of(io.BytesIO(content)).format == form, "the same as whoever opens it finds"
    for called in ("IMG_0001", "letter.txt", "a.jpg_original", "a.dat", "a.JPG ", "scan.", "ümlaut\udcff"):
        path = put(tmp_path, called, content)
        assert recognized(path, path.lstat()) is True
        assert why_no_photo(path) is None


@pytest.mark.parametrize("content", NO_PICTURES)
def test_other_files_are_no_photos(content: bytes, tmp_path: Path) -> None:
    assert format_in(content[:LOOK]) is None
    path = put(tmp_path, "file", content)
    assert recognized(path, path.lstat()) is False
    found = walk(tmp_path, tmp_path / "out")
    assert (found.photos, found.left_out, dict(found.passed)) == ([], [], {"": 1})


@pytest.mark.parametrize("kind", STARTS)
def test_unreadable_pictures_are_named_by_content(kind: str, tmp_path: Path) -> None:
    put(tmp_path, "no ending", STARTS[kind] + bytes(200))
    ((reason, failed),) = reasons(walk(tmp_path, tmp_path / "out")).values()
    assert ", which can't be read; " in reason
    assert not failed
    with pytest.raises(Exception, match="which can't be read; "):  # under a photo's name
        header_of(io.BytesIO(STARTS[kind] + bytes(200)))


@pytest.mark.parametrize(
    "suffix",
    [
        "pef",
        "SRW",
        "crw",
        "nrw",
        "x3f",
        "iiq",
        "3fr",
        "fff",
        "mef",
        "rwl",
        "raw",
        "NEF",
        "dng",
        "eps",
        "sgi",
        "fits",
        "jxr",
        "pcd",
        "tga",
        "psd",
    ],
)
def test_unreadable_pictures_are_named_by_name(suffix: str, tmp_path: Path) -> None:
    put(tmp_path, f"a.{suffix}", tiff(G8))  # most raw files begin like a TIFF, whose only page is a small preview
    found = walk(tmp_path, tmp_path / "out")
    assert found.photos == []
    assert "which can't be read; " in reasons(found)[f"a.{suffix}"][0]
    with pytest.raises(NoPhotosError, match="which can't be read; "):
        find_jobs(tmp_path / f"a.{suffix}", None)


def raw() -> bytes:
    """As most cameras write it: a small preview as the page, with the picture inside it."""
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        writer.write(scene(12, 16), photometric="minisblack", subifds=1, subfiletype=1, metadata=None)
        writer.write(scene16(40, 60), photometric="minisblack", metadata=None)
    return out.getvalue()


@pytest.mark.parametrize("name", ["a.tif", "no ending"])
def test_raw_files_without_their_names_do_not_become_their_previews(
    name: str, tmp_path: Path, tiny_model: Path
) -> None:
    put(tmp_path / "photos", name, raw())
    result = run(tmp_path / "photos", "--out", tmp_path / "out", "--model", tiny_model)
    assert result.exit_code == 1
    assert f"failed: {name}: is a camera raw file, which can't be read; develop it" in result.stderr


def test_no_ending_is_in_both_lists() -> None:
    assert not EXTENSIONS & set(UNREADABLE)
    assert all(name == name.lower() and name.startswith(".") for name in {*EXTENSIONS, *UNREADABLE})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", ".jpg"), ("A.JPG", ".jpg"), ("a.jpg ", ".jpg"), ("a.jpg\t\r\n", ".jpg"), ("a", ""), ("a.b c", ".b c"),
        (".jpg", ""),
    ],
)  # fmt: skip
def test_endings(name: str, expected: str) -> None:
    assert ending(Path(name)) == expected


# What is not looked into.


def test_at_most_64_bytes_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, asked = put(tmp_path, "big", JPEG * 100), list[int]()
    reading = os.read

    def counted(file: int, size: int) -> bytes:
        asked.append(size)
        return reading(file, size)

    monkeypatch.setattr(os, "read", counted)
    assert walk(tmp_path, tmp_path / "out").photos == [path]
    assert asked == [64]


@pytest.fixture
def unopened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a file is a failure of the test."""

    def refuse(path: Path) -> bytes:
        raise AssertionError(f"{path} was opened")

    monkeypatch.setattr(bwcolor.photo.recognize, "first_bytes", refuse)


@pytest.mark.usefixtures("unopened")
def test_photos_by_name_are_not_opened(tmp_path: Path) -> None:
    for suffix in EXTENSIONS | set(UNREADABLE):
        put(tmp_path, f"a{suffix}", JPEG)
    assert len(walk(tmp_path, tmp_path / "out").photos) == len(EXTENSIONS)


@pytest.mark.usefixtures("unopened")
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("away", [
    {"st_file_attributes": 0x1000}, {"st_file_attributes": 0x400020}, {"st_file_attributes": 0x40000},
    {"st_flags": 0x40000000},
])  # fmt: skip
def test_placeholders_of_the_system_are_never_opened(away: dict[str, int], named: bool, tmp_path: Path) -> None:
    status = SimpleNamespace(st_mode=stat.S_IFREG, st_size=9, st_blocks=8, st_dev=1, **away)
    for name, expected in (("a.jpg", True), ("film", False)):
        reason = recognized(tmp_path / name, status, named)  # type: ignore[arg-type]
        assert bool(reason) is expected
        assert not expected or "download it first" in reason.words  # type: ignore[union-attr]


@pytest.mark.usefixtures("unopened")
def test_files_without_blocks_are_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 20)
    if path.stat().st_blocks:
        pytest.skip("this disk has no sparse files")
    assert walk(tmp_path, tmp_path / "out").passed == {"": 1}


def test_files_on_network_disks_are_opened_only_when_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bwcolor.photo.recognize._lies_on_network.cache_clear()
    monkeypatch.setattr(bwcolor.photo.recognize, "on_network", lambda folder: True)
    path = put(tmp_path, "scan", JPEG)
    put(tmp_path, "a.jpg", JPEG)
    assert [photo.name for photo in walk(tmp_path, tmp_path / "out").photos] == ["a.jpg"]
    assert walk(tmp_path, tmp_path / "out", Choice(listed=(Path("scan"),))).photos == [path]
    assert find_jobs(path, None).jobs[0].source == path
    bwcolor.photo.recognize._lies_on_network.cache_clear()


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # would wait for ever
    (tmp_path / "link").symlink_to(put(tmp_path.parent, "elsewhere", JPEG))
    assert first_bytes(tmp_path / "pipe") == b""
    assert first_bytes(tmp_path / "link") == b""
    assert first_bytes(tmp_path) == b""
    found = walk(tmp_path, tmp_path / "out")
    assert (found.photos, found.left_out) == ([], [])


@pytest.mark.parametrize("name", [".a.jpg.icloud", ".IMG_1.HEIC.icloud", "a.tif.nextcloud", "a.nef.owncloud"])
def test_placeholders_of_clouds_are_named(name: str, tmp_path: Path) -> None:
    put(tmp_path, name, b"bplist00")
    put(tmp_path, "notes.txt.icloud", b"bplist00")
    assert reasons(walk(tmp_path, tmp_path / "out")) == {
        name: ("is only a placeholder for a photo that lies in a cloud; download it first", True)
    }


def test_unfinished_downloads_are_named(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg.part", JPEG)
    put(tmp_path, "film.mp4.part", b"x")
    ((name, (reason, failed)),) = reasons(walk(tmp_path, tmp_path / "out")).items()
    assert (name, failed) == ("a.jpg.part", True)
    assert "unfinished download" in reason


# Whole runs.


def test_names_of_outputs_get_the_ending_that_they_lack(tmp_path: Path, tiny_model: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    for name, content in {
        "scan": JPEG,
        "letter.txt": JPEG,
        "space.jpg ": JPEG,
        "sane": PICTURES["pgm"][0],
        "deep.pnm": b"P5 9 9 65535 " + bytes(range(162)),
        "film.jif": JPEG,
        "paint.dib": PICTURES["bmp"][0],
        "old.jpf": PICTURES["jp2"][0],
        "stereo.mpo": JPEG,
        "still.apng": PICTURES["png"][0],
        "notes.txt": b"no photo",
    }.items():
        put(photos, name, content)
    before = {path: path.read_bytes() for path in photos.iterdir()}
    result = run(photos, "--out", out, "--model", tiny_model)
    assert result.exit_code == 0, result.stderr
    assert "10 colorized" in result.stderr
    expected = {
        "scan.jpg", "letter.txt.jpg", "space.jpg", "sane.png", "deep.pnm.tif", "film.jif", "paint.dib", "old.jpf.png",
        "stereo.mpo.jpg", "still.apng",
    }  # fmt: skip
    assert {path.name for path in out.iterdir() if path.name[0] != "." and path.suffix != ".jsonl"} == expected
    assert {path: path.read_bytes() for path in photos.iterdir()} == before
    assert "0 colorized, 10 skipped (done already)" in run(photos, "--out", out, "--model", tiny_model).stderr
    assert "10 of 10 passed" in run("verify", out, photos).stdout


def test_zero_filled_files_are_told_from_damaged_ones(tmp_path: Path, tiny_model: Path) -> None:
    put(tmp_path / "photos", "cloud.jpg", bytes(5000))
    put(tmp_path / "photos", "a.tif", bytes(64))
    result = run(tmp_path / "photos", "--out", tmp_path / "out", "--model", tiny_model)
    assert result.exit_code == 1
    assert result.stderr.count("holds zeros where a picture would begin") == 2
    assert "download or copy it again" in result.stderr


def test_verify_does_not_open_placeholders(tmp_path: Path, tiny_model: Path) -> None:
    put(tmp_path / "photos", "a.jpg", JPEG)
    put(tmp_path / "photos", ".b.jpg.icloud", JPEG)
    run(tmp_path / "photos", "--out", tmp_path / "out", "--model", tiny_model)
    result = run("verify", tmp_path / "out", tmp_path / "photos", "-q")
    assert result.exit_code == 1
    assert ".b.jpg.icloud: has no output (is only a placeholder for a photo" in result.stdout
    assert "1 original has no output" in result.stdout


def test_an_animated_png_is_refused_by_any_name(tmp_path: Path, tiny_model: Path) -> None:
    frames = [gray(scene(20, 20, seed)) for seed in (1, 2)]
    frames[0].save(tmp_path / "a.apng", "PNG", save_all=True, append_images=frames[1:])
    result = run(tmp_path / "a.apng", "--model", tiny_model)
    assert result.exit_code == 1
    assert "is an animation of 2 frames" in result.stderr


def test_a_second_picture_of_a_pnm_is_not_lost_in_silence(tmp_path: Path, tiny_model: Path) -> None:
    put(tmp_path / "photos", "two.pgm", 2 * PICTURES["pgm"][0])
    result = run(tmp_path / "photos", "--out", tmp_path / "out", "--model", tiny_model)
    assert result.exit_code == 0
    assert "pictures behind the first of a PNM left out" in result.stderr


def test_a_dib_without_a_file_header(tmp_path: Path, tiny_model: Path) -> None:
    """As programs that take one out of a resource or the clipboard save it."""
    path = put(tmp_path, "a.dib", PICTURES["bmp"][0][14:])
    result = run(path, "--model", tiny_model)
    assert result.exit_code == 0, result.stderr
    with Image.open(tmp_path / "a_colored.dib") as image:
        assert image.size == (60, 40)


def test_a_color_photo_of_an_odd_name_is_copied_as_it_is(tmp_path: Path, tiny_model: Path) -> None:
    rng = np.random.default_rng(0)
    color = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((160, 120), 2)
    content = saved(color, "PNG")
    put(tmp_path / "photos", "no ending", content)
    put(tmp_path / "photos", "a.ppm", saved(color, "PPM"))
    result = run(tmp_path / "photos", "--out", tmp_path / "out", "--model", tiny_model, "--color-input", "copy")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "out" / "no ending.png").read_bytes() == content
    assert (tmp_path / "out" / "a.ppm").read_bytes() == saved(color, "PPM")


def test_a_folder_of_other_things_says_what_it_holds(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.MP4", "c.txt", "README", *(f"x.{letter}" for letter in "defghi")):
        put(tmp_path / "films", name, b"x")
    result = run(tmp_path / "films")
    assert result.exit_code == 6
    assert "no photos found. 10 other files: 2 .mp4, 1 " in result.stderr
    assert "4 more. Kinds that can be read: JPEG, PNG," in result.stderr


def test_a_picture_that_is_listed_is_read_whatever_its_name(tmp_path: Path) -> None:
    path = put(tmp_path, "scan", png(G8, 0))
    put(tmp_path, "notes", b"x")
    found = walk(tmp_path, tmp_path / "out", Choice(listed=(Path("scan"), Path("notes"))))
    assert found.photos == [path]
    assert reasons(found) == {"notes": ("is on the list, and not a kind of photo that can be read", True)}
