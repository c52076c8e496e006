"""Archives, also those that can't be trusted: unpacked whole or not at all."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from bwcolor_training.data import fetch as module
from bwcolor_training.data.fetch import unpack
from bwcolor_training.errors import TrainingInputError


def tar(path: Path, members: dict[str, bytes | tarfile.TarInfo], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as out:  # type: ignore[call-overload]
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                out.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                out.addfile(info, io.BytesIO(content))
    return path


def special(name: str, kind: bytes, link: str = "") -> dict[str, bytes | tarfile.TarInfo]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return {name: info}


def zipped(path: Path, members: dict[str, bytes], attributes: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = attributes
            info.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(info, content)
    return path


def unpacked(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


FILES = {"set/a.jpg": b"first", "set/more/b.jpg": b"second", "set/ä ö.jpg": b"third"}


@pytest.mark.parametrize("mode", ["w:gz", "w:xz", "w:bz2", "w"])
def test_tar_archives_are_unpacked(tmp_path: Path, mode: str) -> None:
    members = special("set", tarfile.DIRTYPE) | FILES
    seen: list[tuple[int, int]] = []
    archive = tar(tmp_path / "a.tgz", members, mode)
    unpack(archive, tmp_path / "out", lambda done, total: seen.append((done, total)))
    assert unpacked(tmp_path / "out") == FILES
    assert len(seen) == 3
    assert 0 < seen[-1][0] <= seen[-1][1] == archive.stat().st_size


def test_zip_archives_are_unpacked(tmp_path: Path) -> None:
    unpack(zipped(tmp_path / "a.zip", {"set/": b""} | FILES), tmp_path / "out")
    assert unpacked(tmp_path / "out") == FILES


def test_what_is_unpacked_stays(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    unpack(tmp_path / "absent.tgz", tmp_path / "out")
    assert unpacked(tmp_path / "out") == {}


def test_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / "half.jpg").write_bytes(b"half")
    unpack(tar(tmp_path / "a.tgz", dict(FILES)), tmp_path / "out")
    assert unpacked(tmp_path / "out") == FILES
    assert not (tmp_path / "out.part").exists()


WAYS_OUT = ["../a.jpg", "/a.jpg", "set/../../a.jpg", "..\\a.jpg", "C:\\a.jpg", "c:a.jpg", "\\a.jpg"]
SPECIAL = {
    "symbolic link": special("link.jpg", tarfile.SYMTYPE, "/etc/passwd"),
    "hard link": special("link.jpg", tarfile.LNKTYPE, "set/a.jpg"),
    "pipe": special("pipe.jpg", tarfile.FIFOTYPE),
    "device": special("device.jpg", tarfile.CHRTYPE),
}


def refused(archive: Path, target: Path, message: str) -> None:
    before = set(target.parent.parent.rglob("*"))
    with pytest.raises(TrainingInputError, match=message):
        unpack(archive, target)
    assert {p for p in set(target.parent.parent.rglob("*")) - before if p.suffix != ".lock"} == set()


@pytest.mark.parametrize("name", WAYS_OUT)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_way_out_of_the_folder_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / "cache").mkdir()
    members = FILES | {name: b"evil"}
    archive = tar(tmp_path / "a", dict(members)) if kind == "tar" else zipped(tmp_path / "a", members)
    refused(archive, tmp_path / "cache" / "out", "no file below its own folder; nothing was unpacked")


@pytest.mark.parametrize("kind", SPECIAL)
def test_links_and_devices_are_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "cache").mkdir()
    archive = tar(tmp_path / "a", {**FILES, **SPECIAL[kind]})
    refused(archive, tmp_path / "cache" / "out", "no file below its own folder")


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    archive = zipped(tmp_path / "a", {"link.jpg": b"/etc/passwd"}, attributes=0o120777 << 16)
    refused(archive, tmp_path / "cache" / "out", "no file below its own folder")


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_an_archive_that_swells_is_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_EXTRA", 1000)
    (tmp_path / "cache").mkdir()
    members = {"bomb.jpg": bytes(1_000_000)}
    archive = tar(tmp_path / "a", dict(members)) if kind == "tar" else zipped(tmp_path / "a", members)
    refused(archive, tmp_path / "cache" / "out", "far more than an archive of photos")


def test_an_archive_of_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_FILES", 2)
    (tmp_path / "cache").mkdir()
    refused(tar(tmp_path / "a", dict(FILES)), tmp_path / "cache" / "out", "far more than an archive of photos")


@pytest.mark.parametrize("kind", ["no archive", "cut tar", "cut zip", "bad zip", "empty"])
def test_a_damaged_archive_is_a_sentence(tmp_path: Path, kind: str) -> None:
    (tmp_path / "cache").mkdir()
    archive = tmp_path / "a"
    noise = {"noise.jpg": os.urandom(5000)}
    if kind == "cut tar":
        archive.write_bytes(tar(tmp_path / "b", dict(noise)).read_bytes()[:2000])
    elif kind == "cut zip":
        archive.write_bytes(zipped(tmp_path / "b", noise).read_bytes()[:2000])
    elif kind == "bad zip":
        content = bytearray(zipped(tmp_path / "b", noise).read_bytes())
        content[1000:1100] = bytes(100)
        archive.write_bytes(content)
    else:
        archive.write_bytes(b"" if kind == "empty" else b"no archive at all")
    refused(archive, tmp_path / "cache" / "out", r"a: not a tar or zip archive, or damaged .*Delete it and run again")


def test_a_disk_that_fills_up_leaves_nothing_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "cache").mkdir()
    monkeypatch.setattr(module, "_write", full)
    refused(tar(tmp_path / "a", dict(FILES)), tmp_path / "cache" / "out", "No space left on device.*BWCOLOR_CACHE")
