"""Archives of photos: fetched once, resumable, checked, and unpacked without trusting what is in them."""

import contextlib
import errno
import hashlib
import http.client
import lzma
import re
import shutil
import stat
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from bwcolor_training.errors import TrainingInputError

import bwcolor

Progress = Callable[[int, int], None]  # bytes done, bytes in all or 0 when nobody knows

TIMEOUT = 30  # seconds without an answer or without a byte
TRIES = 5  # without a single byte of progress, before giving up
PAUSE = 2.0  # seconds before the second try, twice that before the third, and so on
BUSY = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses that may pass (RFC 9110; RFC 6585; RFC 8470)
BLOCK = 1 << 20  # bytes that are received or written at once
MOST_RATIO, MOST_EXTRA = 20, 1 << 26  # an archive may unpack to this many times its size, plus these bytes
MOST_FILES = 500_000


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a publisher says of a file. algorithm: of hashlib. value: hex. first: bytes that it covers, 0 for all.
    size: of the whole file in bytes, 0 if not said."""

    algorithm: str
    value: str
    first: int = 0
    size: int = 0


def fetch(url: str, target: Path, published: Checksum | None = None, progress: Progress | None = None) -> None:
    """Downloads `url` to `target`, going on where an earlier try broke off; a file that is there is only checked.

    The SHA-256 is kept in `target`.sha256, and a later download must have the same unless the publisher gives a
    checksum of the whole file: then that one counts. Raises TrainingInputError, a sentence with the ways out.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with only_one(target):
            part = target.with_name(target.name + ".part")
            if target.exists():
                _check(url, target, target, published)
                return
            _download(url, part, target, progress)
            _check(url, part, target, published)
            part.replace(target)
            _mark(part).unlink(missing_ok=True)
    except OSError as error:
        raise _disk_error(target, error) from error


@contextlib.contextmanager
def only_one(target: Path) -> Iterator[None]:
    """Waits until no other process is at work on `target`. On disks that know no locks it goes on without."""
    with target.with_name(target.name + ".lock").open("ab") as lock:
        with contextlib.suppress(OSError):
            _lock(lock)
        yield  # closing the file unlocks it, and so does the end of the process, however it comes


def _lock(lock: IO[bytes]) -> None:
    if sys.platform == "win32":
        import msvcrt

        while True:
            try:
                msvcrt.locking(lock.fileno(), msvcrt.LK_LOCK, 1)
                return
            except OSError as error:
                if error.errno != errno.EDEADLK:  # which it gives after ten tries in ten seconds
                    raise
    else:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)


def _download(url: str, part: Path, target: Path, progress: Progress | None) -> None:
    started = _size(part)
    failures = 0
    while True:
        before = _size(part)
        try:
            _receive(url, part, progress)
            return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                if error.headers.get("Content-Range") == f"bytes */{before}":
                    return  # nothing is missing
                part.unlink(missing_ok=True)  # longer than the file: not a part of it
            elif error.code not in BUSY:
                raise TrainingInputError(
                    f"{url}: the server answers {error.code} {error.reason}, so the file may have moved."
                    f" {_way_out(target)}"
                ) from error
            reason: object = f"{error.code} {error.reason}"
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError) as error:
            reason = getattr(error, "reason", None) or error
            reason = getattr(reason, "strerror", None) or reason
            if _size(part) == started and isinstance(error, urllib.error.URLError):
                raise TrainingInputError(
                    f"{url}: no connection ({reason}). Without a network: {_way_out(target)}"
                    " Behind a proxy: set HTTPS_PROXY and HTTP_PROXY."
                ) from error
        failures = 0 if _size(part) > before else failures + 1
        if failures >= TRIES:
            again = f"Run again to go on from {_size(part) / 1e6:.0f} MB" if _mark(part).exists() else "Run again"
            raise TrainingInputError(f"{url}: the download broke off ({reason}). {again}, or: {_way_out(target)}")
        time.sleep(PAUSE * max(1, failures))


def _receive(url: str, part: Path, progress: Progress | None) -> None:
    """One request: what is missing of `part`, or all of it when the file has changed or the server can't resume."""
    mark = _mark(part)
    version = mark.read_text(encoding="utf-8") if mark.exists() else ""
    have = _size(part) if version else 0
    headers = {"User-Agent": f"bwcolor/{bwcolor.__version__}", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    with _network():
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    with response:
        if response.headers.get_content_type() == "text/html":
            raise TrainingInputError(
                f"{url}: a web page came instead of the file; perhaps this network wants a login in a browser first,"
                " or the file has moved."
            )
        length = response.length or 0
        if response.status == http.client.PARTIAL_CONTENT:
            begins = re.match(rf"bytes {have}-", response.headers.get("Content-Range", ""))
            if not (have and begins and _version(response.headers) in (version, "")):
                mark.unlink(missing_ok=True)  # not what was asked for: next time from the beginning
                raise ConnectionError("the server sent another part than the missing one")
        else:
            have = 0
            mark.unlink(missing_ok=True)
        _room(part, length)
        with part.open("ab" if have else "wb", buffering=0) as out:
            if not have and (version := _version(response.headers)):
                mark.write_text(version, encoding="utf-8")
            done, total = have, have + length if length else 0
            while block := _read(response):
                _write(out, block)
                done += len(block)
                if progress is not None:
                    progress(done, total)
        if total and done < total:
            raise ConnectionError(f"{total - done:,} bytes are missing")


def _read(response: http.client.HTTPResponse) -> bytes:
    with _network():
        return response.read(BLOCK)


@contextlib.contextmanager
def _network() -> Iterator[None]:
    """Tells what goes wrong with the connection from what goes wrong with the disk: both are OSErrors."""
    try:
        yield
    except urllib.error.URLError:
        raise
    except OSError as error:
        raise ConnectionError(str(error)) from error


def _version(headers: Message) -> str:
    """What tells one version of a file from another in If-Range (RFC 9110, 13.1.5); empty when nothing can."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def _write(out: IO[bytes], block: bytes) -> None:
    rest = memoryview(block)
    while rest:  # an unbuffered file may take only a part, when the disk is nearly full
        rest = rest[out.write(rest) :]


def _room(part: Path, length: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if length > free:
        raise OSError(errno.ENOSPC, f"{length / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")


def _check(url: str, path: Path, target: Path, published: Checksum | None) -> None:
    """Compares `path`, which is or will be `target`, with what the publisher says or the first download was."""
    if published is not None and not _matches(path, published):
        if path != target:
            path.unlink()
            _mark(path).unlink(missing_ok=True)
        raise TrainingInputError(
            f"{url}: {path.name} is not what its publisher says ({published.algorithm} {published.value})."
            f" {'Delete ' + str(path) if path == target else 'It was removed'} and run again; if that does not help:"
            f" {_way_out(target)}"
        )
    record = target.with_name(target.name + ".sha256")
    digest = _digest(path, "sha256", 0)
    if not record.exists():
        part = record.with_name(record.name + ".part")
        part.write_text(f"{digest}  {target.name}\n", encoding="utf-8")  # as sha256sum writes and reads it
        part.replace(record)
    elif published is None or published.first:
        first = record.read_text(encoding="utf-8").split(" ")[0]
        if first != digest:
            raise TrainingInputError(
                f"{path}: has the SHA-256 {digest}, but the first download from {url} had {first}."
                f" Delete {path} to fetch it again, or {record} if you trust the new one."
            )


def _matches(path: Path, published: Checksum) -> bool:
    if published.size and path.stat().st_size != published.size:
        return False
    return _digest(path, published.algorithm, published.first) == published.value


def _digest(path: Path, algorithm: str, first: int) -> str:
    """Of the first bytes of a file, 0 for all."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as source:
        if first:
            digest.update(source.read(first))
        else:
            while block := source.read(BLOCK):
                digest.update(block)
    return digest.hexdigest()


def _mark(part: Path) -> Path:
    """Where it is kept which version of a file `part` is a part of."""
    return part.with_name(part.name + ".version")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _way_out(target: Path) -> str:
    return f"get the file in a browser or on another machine and put it at {target}, or train on a folder of photos."


def _disk_error(target: Path, error: OSError) -> TrainingInputError:
    return TrainingInputError(
        f"{target}: can't be written or read ({error.strerror or error}); free some space there,"
        " or name another folder in the environment variable BWCOLOR_CACHE."
    )


def unpack(archive: Path, target: Path, progress: Progress | None = None) -> None:
    """Unpacks a tar (plain or compressed) or zip file into the new folder `target`, which appears only when complete.

    Only plain files and folders below `target` are taken: an archive that holds links, devices or ways out of the
    folder, or far more than its size explains, is refused. Raises TrainingInputError.
    """
    part = target.with_name(target.name + ".part")
    try:
        with only_one(target):
            if target.exists():
                return
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            try:
                _unpack_all(archive, part, progress)
                part.rename(target)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, RuntimeError) as error:
        raise _damaged(archive, error) from error  # RuntimeError: of zipfile, for encryption and unknown methods
    except OSError as error:
        if error.errno is None:  # of gzip and bz2, which have no error of their own
            raise _damaged(archive, error) from error
        raise _disk_error(target, error) from error


def _damaged(archive: Path, error: Exception) -> TrainingInputError:
    return TrainingInputError(f"{archive}: not a tar or zip archive, or damaged ({error}). Delete it and run again.")


def _unpack_all(archive: Path, part: Path, progress: Progress | None) -> None:
    size = archive.stat().st_size
    left = MOST_RATIO * size + MOST_EXTRA
    with archive.open("rb") as source:
        for number, (name, content) in enumerate(_files(archive, source)):
            path = _inside(archive, part, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb", buffering=0) as out:
                while block := content.read(BLOCK):
                    left -= len(block)
                    if left < 0:
                        raise _bomb(archive)
                    _write(out, block)
            if number >= MOST_FILES:
                raise _bomb(archive)
            if progress is not None:
                progress(source.tell(), size)


def _bomb(archive: Path) -> TrainingInputError:
    return TrainingInputError(f"{archive}: unpacks to far more than an archive of photos of its size can; stopped.")


def _files(archive: Path, source: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    """Names and contents of the files in an archive, in the order in which they lie there."""
    try:
        tar = tarfile.open(fileobj=source, mode="r:*")  # noqa: SIM115 (closed by _tar_files)
    except tarfile.ReadError:
        return _zip_files(archive, source)
    return _tar_files(archive, tar)


def _tar_files(archive: Path, tar: tarfile.TarFile) -> Iterator[tuple[str, IO[bytes]]]:
    with tar:
        for member in tar:
            content = tar.extractfile(member) if member.isreg() else None
            if content is not None:
                with content:
                    yield member.name, content
            elif not member.isdir():
                raise _hostile(archive, member.name)


def _zip_files(archive: Path, source: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(source) as zipped:
        for entry in zipped.infolist():
            kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 when it was made on Windows
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _hostile(archive, entry.filename)
            if not entry.is_dir():
                with zipped.open(entry) as content:
                    yield entry.filename, content


def _inside(archive: Path, folder: Path, name: str) -> Path:
    windows, posix = PureWindowsPath(name), PurePosixPath(name.replace("\\", "/"))
    if windows.drive or windows.root or posix.is_absolute() or ".." in posix.parts or not posix.parts:
        raise _hostile(archive, name)
    return folder.joinpath(*posix.parts)


def _hostile(archive: Path, name: str) -> TrainingInputError:
    return TrainingInputError(
        f"{archive}: holds {name!r}, which is no file below its own folder; nothing was unpacked. Delete the archive,"
        " and don't trust the place it came from."
    )
