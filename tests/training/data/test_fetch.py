"""Downloads: resumed, checked, and every way in which they fail."""

import hashlib
import os
import shutil
import socket
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from bwcolor_training.data import fetch as module
from bwcolor_training.data.fetch import Checksum, fetch
from bwcolor_training.errors import TrainingInputError
from training.local_server import Server, running

CONTENT = bytes(range(256)) * 40  # 10,240 bytes
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as server:
        server.files["/photos.tgz"] = CONTENT
        yield server


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "photos.tgz"


def names(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def partly(server: Server, target: Path, size: int) -> None:
    """Leaves the first `size` bytes of the file behind, as a run that was killed does."""
    server.breaks[:] = [size]
    server.statuses[:] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TRIES", 1)
        patch.setattr(time, "sleep", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fetch(f"{server.url}/photos.tgz", target)
    server.asked.clear()


def test_a_file_is_fetched_once_with_its_checksum(server: Server, target: Path) -> None:
    seen: list[tuple[int, int]] = []
    for _ in range(2):
        fetch(f"{server.url}/photos.tgz", target, progress=lambda done, total: seen.append((done, total)))
    assert target.read_bytes() == CONTENT
    assert server.asked == [""]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert names(target) == ["photos.tgz", "photos.tgz.lock", "photos.tgz.sha256"]
    record = (target.parent / "photos.tgz.sha256").read_text()
    assert record == f"{hashlib.sha256(CONTENT).hexdigest()}  photos.tgz\n"


def test_a_broken_download_goes_on_where_it_broke_off(server: Server, target: Path) -> None:
    server.breaks = [1000, 2000]
    fetch(f"{server.url}/photos.tgz", target)
    assert server.asked == ["", "bytes=1000-", "bytes=3000-"]
    assert target.read_bytes() == CONTENT


def test_a_later_run_goes_on_where_the_first_was_killed(server: Server, target: Path) -> None:
    partly(server, target, 4096)
    assert names(target) == ["photos.tgz.lock", "photos.tgz.part", "photos.tgz.part.version"]
    seen: list[tuple[int, int]] = []
    fetch(f"{server.url}/photos.tgz", target, progress=lambda done, total: seen.append((done, total)))
    assert server.asked == ["bytes=4096-"]
    assert target.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_date_serves_where_there_is_no_tag(server: Server, target: Path) -> None:
    server.etag, server.last_modified = "", "Wed, 01 Jan 2020 00:00:00 GMT"
    partly(server, target, 4096)
    fetch(f"{server.url}/photos.tgz", target)
    assert server.asked == ["bytes=4096-"]
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("etag", ["", 'W/"1"'])
def test_without_a_version_that_can_be_trusted_it_starts_again(server: Server, target: Path, etag: str) -> None:
    server.etag = etag
    partly(server, target, 4096)
    fetch(f"{server.url}/photos.tgz", target)
    assert server.asked == [""]
    assert target.read_bytes() == CONTENT


def test_a_server_that_ignores_range_sends_all_again(server: Server, target: Path) -> None:
    partly(server, target, 4096)
    server.ranges = False
    fetch(f"{server.url}/photos.tgz", target)
    assert server.asked == ["bytes=4096-"]
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("if_range", [True, False])
def test_a_file_that_changed_meanwhile_is_not_mixed_with_the_old_one(
    server: Server, target: Path, if_range: bool
) -> None:
    partly(server, target, 4096)
    server.files["/photos.tgz"] = bytes(reversed(CONTENT))
    server.etag, server.if_range = '"2"', if_range
    fetch(f"{server.url}/photos.tgz", target)
    assert target.read_bytes() == bytes(reversed(CONTENT))


def test_a_server_that_sends_another_part_is_not_believed(server: Server, target: Path) -> None:
    partly(server, target, 4096)
    server.shift = 7
    fetch(f"{server.url}/photos.tgz", target)
    assert server.asked == ["bytes=4096-", ""]
    assert target.read_bytes() == CONTENT


def test_a_part_that_nobody_asked_for_is_not_believed(server: Server, target: Path) -> None:
    server.unasked = 5
    with pytest.raises(TrainingInputError, match=r"broke off \(the server sent another part"):
        fetch(f"{server.url}/photos.tgz", target)


@pytest.mark.parametrize("extra", [b"", b"more"])
def test_a_part_as_long_as_the_file_or_longer(server: Server, target: Path, extra: bytes) -> None:
    partly(server, target, 4096)
    part = target.with_name("photos.tgz.part")
    part.write_bytes(CONTENT + extra)
    fetch(f"{server.url}/photos.tgz", target)
    assert target.read_bytes() == CONTENT
    assert len(server.asked) == (2 if extra else 1)


def test_a_file_of_unknown_length(server: Server, target: Path) -> None:
    server.length = False
    seen: list[tuple[int, int]] = []
    fetch(f"{server.url}/photos.tgz", target, progress=lambda done, total: seen.append((done, total)))
    assert target.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), 0)


def test_a_busy_server_is_asked_again(server: Server, target: Path) -> None:
    server.statuses = [503, 429]
    fetch(f"{server.url}/photos.tgz", target)
    assert target.read_bytes() == CONTENT


def test_a_server_that_stays_busy_is_given_up(server: Server, target: Path) -> None:
    server.statuses = [503] * 20
    with pytest.raises(
        TrainingInputError, match=r"/photos\.tgz: the download broke off \(503 .*Run again, or: get the"
    ):
        fetch(f"{server.url}/photos.tgz", target)
    assert len(server.asked) == module.TRIES


def test_a_connection_that_keeps_breaking_off_is_given_up(server: Server, target: Path) -> None:
    server.breaks = [1_000, *[0] * 20]
    with pytest.raises(
        TrainingInputError, match=r"bytes are missing\). Run again to go on from 0 MB, or: get the file"
    ):
        fetch(f"{server.url}/photos.tgz", target)
    assert len(server.asked) == 1 + module.TRIES


def test_a_missing_file_is_a_sentence_with_the_ways_out(server: Server, target: Path) -> None:
    with pytest.raises(
        TrainingInputError, match=r"gone\.tgz: the server answers 404 Not Found.*put it at .*photos\.tgz"
    ):
        fetch(f"{server.url}/gone.tgz", target)
    assert len(server.asked) == 1


def test_no_network_is_a_sentence_with_the_ways_out(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_name(*_: object, **__: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_name)
    with pytest.raises(TrainingInputError) as caught:
        fetch("https://photos.example/photos.tgz", target)
    said = str(caught.value)
    assert said.startswith("https://photos.example/photos.tgz: no connection (")
    for part in ("(Temporary failure in name resolution)", str(target), "a folder of photos", "HTTPS_PROXY"):
        assert part in said


def test_a_server_that_is_down_is_not_asked_again(target: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and never listens
        with pytest.raises(TrainingInputError, match=r"no connection .*refused"):
            fetch(f"http://127.0.0.1:{held.getsockname()[1]}/photos.tgz", target)


def test_a_server_that_says_nothing_is_given_up(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.05)
    monkeypatch.setattr(module, "TRIES", 2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(TrainingInputError, match=r"broke off \(timed out\)"):
            fetch(f"http://127.0.0.1:{silent.getsockname()[1]}/photos.tgz", target)


def test_a_page_instead_of_the_file_is_seen(server: Server, target: Path) -> None:
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(TrainingInputError, match="a web page came instead"):
        fetch(f"{server.url}/photos.tgz", target)
    assert not target.exists()


GOOD = [
    Checksum("md5", MD5),
    Checksum("sha256", hashlib.sha256(CONTENT).hexdigest(), size=len(CONTENT)),
    Checksum("md5", hashlib.md5(CONTENT[:1000]).hexdigest(), first=1000, size=len(CONTENT)),
]
BAD = [Checksum("md5", "0" * 32), Checksum("md5", MD5, size=1), Checksum("md5", MD5, first=1000)]


@pytest.mark.parametrize("published", GOOD)
def test_what_its_publisher_says_is_taken(server: Server, target: Path, published: Checksum) -> None:
    fetch(f"{server.url}/photos.tgz", target, published)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("published", BAD)
def test_what_its_publisher_does_not_say_is_removed(server: Server, target: Path, published: Checksum) -> None:
    with pytest.raises(TrainingInputError, match=r"not what its publisher says .*removed and run again.*put it at"):
        fetch(f"{server.url}/photos.tgz", target, published)
    assert names(target) == ["photos.tgz.lock"]


def test_a_file_put_there_by_hand_is_checked_and_taken(target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    fetch("http://127.0.0.1:1/photos.tgz", target, Checksum("md5", MD5))
    assert (target.parent / "photos.tgz.sha256").exists()
    target.write_bytes(CONTENT[:-1])
    with pytest.raises(TrainingInputError, match=r"not what its publisher says .*Delete .*photos\.tgz and run again"):
        fetch("http://127.0.0.1:1/photos.tgz", target, Checksum("md5", MD5))
    assert target.exists()


def test_another_file_than_the_first_time_is_a_sentence_and_may_be_accepted(server: Server, target: Path) -> None:
    fetch(f"{server.url}/photos.tgz", target)
    target.unlink()
    server.files["/photos.tgz"], server.etag = b"other photos", '"2"'
    record = target.parent / "photos.tgz.sha256"
    with pytest.raises(TrainingInputError, match=rf"but the first download from .*, or {record} if you trust"):
        fetch(f"{server.url}/photos.tgz", target)
    assert not target.exists()
    record.unlink()
    server.asked.clear()
    fetch(f"{server.url}/photos.tgz", target)
    assert target.read_bytes() == b"other photos"
    assert server.asked == ["bytes=12-"]  # nothing was sent a second time


def test_a_checksum_of_the_beginning_alone_does_not_hide_a_change(server: Server, target: Path) -> None:
    fetch(f"{server.url}/photos.tgz", target, GOOD[2])
    target.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(TrainingInputError, match="but the first download"):
        fetch(f"{server.url}/photos.tgz", target, GOOD[2])


def test_a_full_disk_is_seen_before_anything_is_loaded(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(TrainingInputError, match=r"photos\.tgz: can't be written .*GB are free\).*BWCOLOR_CACHE"):
        fetch(f"{server.url}/photos.tgz", target)


def test_a_disk_that_fills_up_keeps_what_was_loaded(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 4096)
    write = module._write

    def full(out: Callable[..., int], block: bytes) -> None:
        if os.fstat(out.fileno()).st_size:  # type: ignore[attr-defined]
            raise OSError(28, "No space left on device")
        write(out, block)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(TrainingInputError, match="No space left on device"):
        fetch(f"{server.url}/photos.tgz", target)
    monkeypatch.undo()
    server.asked.clear()
    fetch(f"{server.url}/photos.tgz", target)
    assert server.asked == ["bytes=4096-"]
    assert target.read_bytes() == CONTENT


def test_a_folder_that_cannot_be_made_is_a_sentence(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(TrainingInputError, match="BWCOLOR_CACHE"):
        fetch(f"{server.url}/photos.tgz", tmp_path / "cache" / "photos.tgz")


def test_two_at_once_load_it_once(server: Server, target: Path) -> None:
    threads = [threading.Thread(target=fetch, args=(f"{server.url}/photos.tgz", target)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_bytes() == CONTENT
    assert server.asked == [""]


def test_an_error_of_the_connection_is_not_taken_for_one_of_the_disk() -> None:
    with pytest.raises(ConnectionError), module._network():
        raise OSError(113, "No route to host")
    with pytest.raises(urllib.error.URLError), module._network():
        raise urllib.error.URLError("unreachable")
