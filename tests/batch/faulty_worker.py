"""bwcolor with decoders that misbehave on photos that say so; never imported, only run.

    python faulty_worker.py worker           the worker process
    python faulty_worker.py run ARGUMENTS    the command line, with such workers

A photo says so in a PNG's text chunk (see processes.photo), or by its name where it is about its output. What an
environment variable BWCOLOR_TROUBLE holds applies to the whole process.
"""

import ctypes
import errno
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

MARKER = re.compile(rb"trouble:(\S+?)[;\s]")
FLAG = "BWCOLOR_TROUBLE_FLAG"  # a file that remembers across processes that something has happened once
WHOLE = os.environ.get("BWCOLOR_TROUBLE", "")


def segv() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(10)


def kill(process: int | None = None) -> None:
    os.kill(process or os.getpid(), signal.SIGKILL)
    time.sleep(10)


def once(process: int | None = None) -> None:
    """Killed from outside, as by a system short of memory; the photo means no harm."""
    flag = Path(os.environ[FLAG])
    if not flag.exists():
        flag.touch()
        kill(process)


def eat() -> None:
    """Takes memory until there is none, and holds it for a while."""
    kept = []
    try:
        while True:
            kept.append(bytes(20_000_000))
    except MemoryError:
        time.sleep(1)
        raise


def need() -> None:
    """Takes much, but no more than there is."""
    time.sleep(0.4)
    bytes(200_000_000)


def clutch() -> None:
    """A hang in which no other thread of the process can do anything."""
    re.match(r"(a+)+$", "a" * 100 + "b")


def chatter() -> None:
    """Prints as a C library would, and as Python does."""
    libc = ctypes.CDLL(None)
    libc.printf(b"corrupt data: %s\n", b"x" * 5000)
    libc.fflush(None)
    os.write(1, b"\x80\x04noise" * 100)
    print("premature end", flush=True)  # noqa: T201
    os.write(2, b"libpng warning\n")


TROUBLES: dict[str, Callable[[], None]] = {
    "segv": segv, "kill": kill, "abort": os.abort, "exit": lambda: os._exit(3), "once": once,
    "sleep": lambda: time.sleep(1000), "nap": lambda: time.sleep(0.7), "doze": lambda: time.sleep(0.15), "eat": eat,
    "need": need, "clutch": clutch, "chatter": chatter,
}  # fmt: skip


def misbehave(content: bytes, prefix: str = "") -> None:
    for found in MARKER.findall(content):
        name = found.decode()
        if name.startswith(prefix) and (do := TROUBLES.get(name.removeprefix(prefix))):
            do()


def patch_decoders() -> None:
    """Troubles while a photo is decoded, while its header is read ("look-..."), and a bug of ours ("bug")."""
    import bwcolor.batch.process_photo
    import bwcolor.photo.encode
    import bwcolor.photo.formats.header
    from bwcolor.photo.formats.decoders import DECODE

    decode, read_header, encode = DECODE["png"], bwcolor.photo.formats.header.read_header, bwcolor.photo.encode.encode

    def decoded(content: bytes, header: Any) -> Any:
        misbehave(content)
        return decode(content, header)

    def header(path: Path) -> Any:
        misbehave(path.read_bytes(), "look-")
        return read_header(path)

    def encoded(scan: Any, *rest: Any) -> Any:
        if b"trouble:bug;" in scan.read():
            raise ZeroDivisionError("a\x1b[31mb")
        return encode(scan, *rest)

    DECODE["png"] = decoded
    bwcolor.photo.formats.header.read_header = header
    bwcolor.batch.process_photo.encode = encoded  # type: ignore[assignment,attr-defined]


def patch_naming() -> None:
    """Dies once before, or after, an output of a certain name gets it; or its parent does."""
    link = os.link

    def linked(part: Any, target: Any) -> None:
        name = Path(target).name
        if "before-name" in name:
            once(os.getppid() if "parent" in name else os.getpid())
        link(part, target)
        if "after-name" in name:
            once(os.getppid() if "parent" in name else os.getpid())

    os.link = linked  # type: ignore[assignment]


def full(*_: object) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def patch_process() -> None:
    """What BWCOLOR_TROUBLE holds."""
    if WHOLE == "full":
        import bwcolor.system.atomic

        bwcolor.system.atomic.os.fsync = full  # type: ignore[attr-defined]
    elif WHOLE == "one-at-a-time":
        import bwcolor.batch.memory_budget

        bwcolor.batch.memory_budget.LEAST_PIXELS = bwcolor.batch.memory_budget.PIXELS_A_JOB = 1
    elif WHOLE == "model":
        import bwcolor.inference.registry

        bwcolor.inference.registry.load = lambda *_: 1 / 0  # type: ignore[assignment]
    elif WHOLE == "slow-model":
        time.sleep(30)


def main() -> None:
    if sys.argv[1] == "worker":
        import bwcolor.batch.worker

        patch_decoders()
        patch_naming()
        patch_process()
        bwcolor.batch.worker.main()
    else:
        import bwcolor.batch.supervisor
        from bwcolor.cli.app import app

        if WHOLE == "patient":
            bwcolor.batch.supervisor.GRACE = 30
        bwcolor.batch.supervisor.Supervisor.__init__.__defaults__ = ((sys.executable, __file__, "worker"),)
        app(sys.argv[2:])


if __name__ == "__main__":
    main()
