"""A file under its final name is complete or not there, and nothing is clobbered."""

import errno
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import bwcolor.system.atomic as commit_module
from bwcolor.errors import FolderError, PassingError, PhotoError
from bwcolor.system.atomic import NO_LINKS, PLACEHOLDER, commit, committed


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def files_below(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def test_commit_writes_a_complete_file_into_new_folders(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "Großmutter.png"
    commit(b"content", target, overwrite=False)
    assert files_in(target.parent) == {"Großmutter.png": b"content"}


def test_commit_never_clobbers_unless_told_to(tmp_path: Path) -> None:
    target = tmp_path / "photo.png"
    target.write_bytes(b"old")
    with pytest.raises(PhotoError, match=r"photo\.png exists already; --overwrite"):
        commit(b"new", target, overwrite=False)
    assert files_in(tmp_path) == {"photo.png": b"old"}
    commit(b"new", target, overwrite=True)
    assert files_in(tmp_path) == {"photo.png": b"new"}


@pytest.mark.parametrize("error", [OSError(errno.EINVAL, "Invalid argument"), OverflowError("out of range")])
def test_a_disk_that_can_not_hold_the_time_gets_the_file(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(os, "utime", refuse)
    with committed(tmp_path / "photo.png", False, (1, 1)) as out:
        out.write(b"content")
    assert files_in(tmp_path) == {"photo.png": b"content"}


WAYS = {"link": (), "move": ("link",), "placeholder": ("link", "move")}  # what a disk can do, and what it can't


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """How an output gets its name on a disk that lacks the better ways."""
    (tmp_path / "one").touch()
    if request.param == "move" and commit_module._rename(tmp_path / "one", tmp_path / "two") in NO_LINKS:
        pytest.skip("this disk has no move that replaces nothing")
    for path in tmp_path.iterdir():
        path.unlink()
    if "link" in WAYS[request.param]:
        monkeypatch.setattr(os, "link", refusing(errno.EPERM))
    if "move" in WAYS[request.param]:
        monkeypatch.setattr(commit_module, "_move_to_free_name", refusing(errno.EINVAL))
    return str(request.param)


def refusing(number: int) -> Callable[..., None]:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def test_nothing_is_replaced_in_whatever_way_a_name_is_given(way: str, tmp_path: Path) -> None:
    target = tmp_path / "photo.png"
    commit(b"first", target, overwrite=False)
    with pytest.raises(PhotoError, match="exists already"):
        commit(b"second", target, overwrite=False)
    assert files_in(tmp_path) == {"photo.png": b"first"}
    commit(b"third", target, overwrite=True)
    assert files_in(tmp_path) == {"photo.png": b"third"}


def test_of_many_writers_of_one_name_exactly_one_wins(way: str, tmp_path: Path) -> None:
    target = tmp_path / "photo.png"
    refused: list[bytes] = []
    start = threading.Barrier(8)

    def write(content: bytes) -> None:
        start.wait()
        try:
            commit(content, target, overwrite=False)
        except PhotoError:
            refused.append(content)

    contents = [bytes([number]) * 10_000 for number in range(8)]
    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 7
    (winner,) = set(contents) - set(refused)
    assert files_in(tmp_path) == {"photo.png": winner}


@pytest.mark.parametrize("moment", ["before the placeholder", "after the placeholder"])
def test_what_appears_meanwhile_is_never_replaced(moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "photo.png"
    look = commit_module.is_placeholder

    def appear(*_: object) -> None:
        target.write_bytes(b"theirs")
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def replaced(path: Path) -> bool:
        target.write_bytes(b"theirs")
        return look(path)

    monkeypatch.setattr(os, "link", refusing(errno.EPERM))
    if moment == "before the placeholder":
        monkeypatch.setattr(commit_module, "_move_to_free_name", appear)
    else:
        monkeypatch.setattr(commit_module, "_move_to_free_name", refusing(errno.EINVAL))
        monkeypatch.setattr(commit_module, "is_placeholder", replaced)
    with pytest.raises(PhotoError, match="exists already"):
        commit(b"ours", target, overwrite=False)
    assert files_in(tmp_path) == {"photo.png": b"theirs"}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "Input/output error")])
def test_a_placeholder_goes_when_its_file_does_not_come(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, "link", refusing(errno.EPERM))
    monkeypatch.setattr(commit_module, "_move_to_free_name", refusing(errno.ENOSYS))
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises((KeyboardInterrupt, FolderError)):
        commit(b"content", tmp_path / "photo.png", overwrite=False)
    assert files_in(tmp_path) == {}


def test_a_placeholder_of_a_killed_run_is_known_and_nothing_else(tmp_path: Path) -> None:
    for content in (b"", PLACEHOLDER[:-1], PLACEHOLDER + b" ", PLACEHOLDER.swapcase()):
        (tmp_path / "photo.png").write_bytes(content)
        commit_module.remove_placeholder(tmp_path / "photo.png")
        assert files_in(tmp_path) == {"photo.png": content}
    (tmp_path / "photo.png").write_bytes(PLACEHOLDER)
    (tmp_path / "link.png").symlink_to(tmp_path / "photo.png")
    commit_module.remove_placeholder(tmp_path / "link.png")
    assert len(files_in(tmp_path)) == 2
    commit_module.remove_placeholder(tmp_path / "photo.png")
    assert [path.name for path in tmp_path.iterdir()] == ["link.png"]
    commit_module.remove_placeholder(tmp_path / "nothing.png")


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EINVAL, errno.EILSEQ])
def test_a_folder_that_a_disk_refuses_costs_one_photo(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = os.mkdir

    def refuse(path: Path, *rest: int) -> None:
        if Path(path).name == "x?":
            raise OSError(number, os.strerror(number))
        make(path, *rest)

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(PassingError, match=r"does not take the name of its folder x\?"):
        commit(b"content", tmp_path / "a" / "x?" / "photo.png", overwrite=False)
    commit(b"content", tmp_path / "a" / "y" / "photo.png", overwrite=False)


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_full_disk_is_a_folder_error_and_leaves_nothing(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(FolderError, match=r"No space left.*--out.*what is done is skipped"):
        commit(b"content", tmp_path / "photo.png", overwrite=False)
    assert files_in(tmp_path) == {}


def test_an_interrupt_while_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        commit(b"content", tmp_path / "photo.png", overwrite=True)
    assert files_in(tmp_path) == {}


def test_what_a_killed_run_left_behind_is_in_nobodys_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container every run has the same process id: names must differ all the same."""
    monkeypatch.setattr(os, "unlink", lambda *_, **__: None)  # as if killed before cleaning up
    for number in range(3):
        commit(b"content", tmp_path / f"{number}.png", overwrite=False)
    left = [name for name in files_in(tmp_path) if name.endswith(".part")]
    assert len(left) == 3


def test_a_file_or_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for target in (tmp_path / "file" / "photo.png", tmp_path / "file" / "deep" / "photo.png"):
        with pytest.raises(FolderError, match=r"file.*--out"):
            commit(b"content", target, overwrite=False)
    (tmp_path / "folder.png").mkdir()
    for overwrite in (False, True):
        with pytest.raises(PhotoError, match=r"folder\.png"):
            commit(b"content", tmp_path / "folder.png", overwrite)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.png"]


def test_overwriting_a_link_replaces_the_link_only(tmp_path: Path) -> None:
    original = tmp_path / "original.png"
    original.write_bytes(b"original")
    target = tmp_path / "out" / "photo.png"
    target.parent.mkdir()
    target.symlink_to(original)
    with pytest.raises(PhotoError, match="exists already"):
        commit(b"content", target, overwrite=False)
    commit(b"content", target, overwrite=True)
    assert original.read_bytes() == b"original"
    assert not target.is_symlink()
    assert target.read_bytes() == b"content"


def test_names_up_to_the_disks_limit(tmp_path: Path) -> None:
    longest = "é" * 125 + ".png"
    commit(b"content", tmp_path / longest, overwrite=False)
    assert files_in(tmp_path) == {longest: b"content"}
    with pytest.raises(PhotoError, match="too long"):
        commit(b"content", tmp_path / ("é" + longest), overwrite=False)
    assert files_in(tmp_path) == {longest: b"content"}


def test_file_modes_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        commit(b"content", tmp_path / "folder" / "photo.png", overwrite=False)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "folder" / "photo.png").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o750


def test_a_disk_that_cannot_flush_folders_is_good_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    commit(b"photo", tmp_path / "a.jpg", overwrite=False)
    assert (tmp_path / "a.jpg").read_bytes() == b"photo"


def test_a_name_that_the_disk_refuses_costs_one_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EILSEQ, "Illegal byte sequence")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(PhotoError, match="does not take its name"):
        commit(b"photo", tmp_path / "a.jpg", overwrite=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
@pytest.mark.parametrize(
    ("original", "expected"), [(0o100640, 0o640), (0o600, 0o600), (0o400, 0o600), (0o777, 0o644), (0o004, 0o604)]
)
def test_nobody_gets_more_than_of_the_original(original: int, expected: int, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with committed(tmp_path / "photo.png", False, mode=original) as out:
            (part,) = tmp_path.iterdir()
            assert stat.S_IMODE(part.stat().st_mode) == expected, "from the start"
            out.write(b"content")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "photo.png").stat().st_mode) == expected


def test_a_disk_without_permissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with committed(tmp_path / "photo.png", False, mode=0o600) as out:
        out.write(b"content")
    assert files_in(tmp_path) == {"photo.png": b"content"}


def test_a_file_that_can_not_be_replaced_costs_one_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, where a file is read-only or open elsewhere."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Access is denied")

    (tmp_path / "photo.png").write_bytes(b"old")
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(PhotoError, match=r"photo\.png can't be replaced \(Access is denied\): it may be read-only"):
        commit(b"new", tmp_path / "photo.png", overwrite=True)
    assert files_in(tmp_path) == {"photo.png": b"old"}
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(FolderError, match="can't be written"):
        commit(b"new", tmp_path / "photo.png", overwrite=True)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there, and a folder in use can't be moved")
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("to", ["elsewhere", "nowhere", "moved"])
def test_a_folder_that_becomes_a_link_meanwhile_is_not_written_through(
    to: str, overwrite: bool, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (tmp_path / "elsewhere").mkdir()

    def write() -> None:
        with committed(out / "roll" / "1931" / "photo.png", overwrite, out=out) as file:
            file.write(b"content")
            (out / "roll").rename(tmp_path / "moved")
            (out / "roll").symlink_to(tmp_path / to)

    with pytest.raises(PassingError, match=r"roll is a link, and nothing is written through links"):
        write()
    assert files_below(tmp_path) == [], "nor is anything unfinished left in the folder that was moved"


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_on_the_way_down_is_not_written_through(tmp_path: Path) -> None:
    out, named = tmp_path / "out", tmp_path / "named"
    out.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (out / "roll").symlink_to(tmp_path / "elsewhere")
    with (
        pytest.raises(PassingError, match="roll is a link"),
        committed(out / "roll" / "1931" / "a.png", False, out=out),
    ):
        pytest.fail("nothing is to be made")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    named.symlink_to(tmp_path / "elsewhere")
    with committed(named / "sub" / "a.png", False, out=named) as file:
        file.write(b"the user named this link")
    assert files_below(tmp_path) == ["a.png"]
