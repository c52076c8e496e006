"""What this machine is: system, processor, cores, memory; and texts that don't say whose it is."""

import contextlib
import ctypes
import getpass
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
MACOS_PROCESSOR = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
# Folders of whose sub-folders each belongs to one person; such a name may hold spaces.
PEOPLE = re.compile(
    r"""((?:^|(?<=[\s'"(,:=]))(?:/home|/Users|/media|/run/media|[A-Za-z]:[\\/]Users)[\\/])"""
    r"""(?:[^\\/\s'"]+(?:\ [^\\/\s'"]+)*(?=[\\/])|[^\\/\s'"]+)"""
)


@dataclass(frozen=True, slots=True)
class Cores:
    """present: in the machine. usable: by this process. limit: cores' worth of time that a container may take; None
    for no limit."""

    present: int
    usable: int
    limit: float | None


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes; None where it is not known, or there is no limit. limit: of this container."""

    total: int | None
    free: int | None
    limit: int | None

    @property
    def most(self) -> int | None:
        """What this process may ever take."""
        return min((size for size in (self.total, self.limit) if size), default=None)


class _WindowsMemory(ctypes.Structure):
    """MEMORYSTATUSEX (sysinfoapi.h)."""

    _fields_ = (
        ("length", ctypes.c_uint32), ("load", ctypes.c_uint32), ("total", ctypes.c_uint64), ("free", ctypes.c_uint64),
        ("others", ctypes.c_uint64 * 5),
    )  # fmt: skip


def system_name() -> str:
    """Operating system, its release and the processor's kind; no name of the machine."""
    words = f"{platform.system()} {platform.release()}"
    if sys.platform == "darwin":
        words = f"macOS {platform.mac_ver()[0]}"
    elif sys.platform == "win32":
        words = f"Windows {platform.release()} ({platform.version()})"
    else:
        with contextlib.suppress(OSError):  # no such file in tiny containers
            words += f" ({platform.freedesktop_os_release().get('PRETTY_NAME', 'Linux')})"
        words += f", {' '.join(platform.libc_ver()) or 'another C library than glibc'}"
    return f"{words}, {platform.machine()}"


def processor_name() -> str:
    """As its maker calls it; the kind of machine where nobody says more."""
    for line in _text(PROC / "cpuinfo").splitlines():
        title, _, name = line.partition(":")
        if title.strip() == "model name" and name.strip():
            return name.strip()
    if sys.platform == "darwin":
        return _said(MACOS_PROCESSOR).strip() or platform.machine()
    return (platform.processor() if sys.platform == "win32" else "") or platform.machine()


def cores() -> Cores:
    """The processor's cores, and what of them this process may use."""
    present = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else present
    limits = []
    for quota in _limits("cpu", "cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"):
        words = quota.split()
        if len(words) == 2 and all(word.isdigit() and int(word) for word in words):
            limits.append(int(words[0]) / int(words[1]))
    return Cores(present, usable, min(limits, default=None))


def memory() -> Memory:
    """Of the machine, and what this process may take of it at most."""
    if sys.platform == "win32":
        state = _WindowsMemory(length=ctypes.sizeof(_WindowsMemory))
        ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(state))
        return Memory(state.total, state.free, None)
    if sys.platform == "darwin":
        return Memory(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), None, None)
    said = dict(re.findall(r"^(\w+):\s+(\d+) kB", _text(PROC / "meminfo"), re.MULTILINE))
    total, free = (int(said[name]) * 1024 if name in said else None for name in ("MemTotal", "MemAvailable"))
    limits = [int(text) for text in _limits("memory", "memory.max", "memory.limit_in_bytes") if text.isdigit()]
    limit = min(limits, default=None)
    return Memory(total, free, None if limit is None or (total and limit >= total) else limit)


def _limits(controller: str, second: str, *first: str) -> Iterator[str]:
    """What the control groups of this process say, and those above them.

    second: the file that says it in version 2 of Linux's control groups. first: the files of version 1.
    """
    for line in _text(PROC / "self" / "cgroup").splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        root, names = (CGROUPS / controller, first) if controllers else (CGROUPS, (second,))
        here = PurePosixPath("/", path)
        for folder in (here, *here.parents):  # a container may see its own group as the topmost
            yield " ".join(_text(root / str(folder).lstrip("/") / name).strip() for name in names)


def gigabytes(size: float | None) -> str:
    """Bytes in words."""
    return f"{(size or 0) / 1e9:.1f} GB"


def without_names(value: Any) -> Any:
    """A text, or all texts in a mapping or a list, without saying whose the paths in it are: ~ for the home folder,
    USER for names of people."""
    if isinstance(value, str):
        return _nameless(value)
    if isinstance(value, Mapping):
        return {key: without_names(one) for key, one in value.items()}
    return [without_names(one) for one in value] if isinstance(value, list | tuple) else value


def _nameless(text: str) -> str:
    flags = re.IGNORECASE if sys.platform == "win32" else 0
    for home in _homes():
        text = re.sub(rf"(?<![\w.~-]){re.escape(home)}(?![\w.-])", "~", text, flags=flags)
    text = PEOPLE.sub(r"\1USER", text)
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # one without a name
        return text
    return re.sub(rf"(?<=[\\/]){re.escape(user)}(?=[\\/]|$)", "USER", text, flags=flags)


def _homes() -> list[str]:
    """The home folder, however it may be written, longest first; never the whole disk."""
    found = set()
    for name in ("~", f"~{os.environ.get('SUDO_USER', '')}"):
        with contextlib.suppress(RuntimeError):  # nobody knows it
            home = Path(name).expanduser()
            found |= {str(home), os.path.realpath(home)} if home.is_absolute() else set()
    if sys.platform != "win32":
        import pwd

        with contextlib.suppress(KeyError):  # a user without a name, as in containers
            found.add(os.path.normpath(pwd.getpwuid(os.getuid()).pw_dir))
    return sorted((home for home in found if len(Path(home).parts) > 1), key=len, reverse=True)


def _said(command: list[str]) -> str:
    """What a command of the system prints; empty where it is not there."""
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=5, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # another system, or a locked-down container
        return ""
