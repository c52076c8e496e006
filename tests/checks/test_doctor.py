"""What `bwcolor doctor` is told by the system, the packages and NVIDIA's driver, on machines that there are."""

import ctypes
import getpass
import os
import sys
import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import onnxruntime as ort
import pytest

from bwcolor.checks import doctor
from bwcolor.errors import FolderError
from bwcolor.photo.formats.known import Format
from bwcolor.system import machine, nvidia, packages

LINUX = sys.platform == "linux"
MEMINFO = "MemTotal:       24732000 kB\nMemFree:  1000 kB\nMemAvailable:   20000000 kB\n"
CLOSED = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\nGCC version: 12.2.0\n"
)
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (dvs-builder)\n"


def _write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.skipif(not LINUX, reason="Linux' own files")
@pytest.mark.parametrize(
    ("groups", "files", "cpu", "limit"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n", "memory.max": "8000000000\n"}, 1.5, 8_000_000_000),
        ("0::/\n", {"cpu.max": "max 100000\n", "memory.max": "max\n"}, None, None),
        # The tightest of all groups above counts.
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "3000\n", "memory.max": "9000\n"}, None, 3000),
        # Version 1, as the host calls the group, which the container sees as the topmost.
        (
            "5:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n0::/\n",
            {"memory/memory.limit_in_bytes": "5000\n", "cpu/cpu.cfs_quota_us": "50000\n",
             "cpu/cpu.cfs_period_us": "100000\n"},
            0.5, 5000,
        ),
        # No limit of version 1: a number beyond all memory, and -1.
        (
            "5:memory:/\n3:cpu:/\n",
            {"memory/memory.limit_in_bytes": "9223372036854771712\n", "cpu/cpu.cfs_quota_us": "-1\n",
             "cpu/cpu.cfs_period_us": "100000\n"},
            None, None,
        ),
    ],
)  # fmt: skip
def test_limits_of_containers(
    groups: str, files: dict[str, str], cpu: float | None, limit: int | None,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    _write(tmp_path / "proc", {"self/cgroup": groups, "meminfo": MEMINFO})
    _write(tmp_path / "groups", files)
    monkeypatch.setattr(machine, "PROC", tmp_path / "proc")
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "groups")
    assert machine.memory() == machine.Memory(24732000 * 1024, 20000000 * 1024, limit)
    assert machine.cores().limit == cpu
    assert 1 <= machine.cores().usable <= machine.cores().present


def test_a_machine_without_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PROC", tmp_path)
    assert machine.processor_name()
    assert machine.cores().limit is None
    if LINUX:
        assert machine.memory() == machine.Memory(None, None, None)


@pytest.mark.skipif(os.name == "nt", reason="HOME is not what names the home folder")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data/old anna/photos/x", "~/photos/x"),
        ("can't open '/data/old anna'", "can't open '~'"),
        ("/data/old anna2/x", "/data/old anna2/x"),
        ("/srv/data/old anna/x", "/srv/data/old anna/x"),
        ("/home/bob/env/bin/python", "/home/USER/env/bin/python"),
        ("in /Users/Bob Smith/env, and more", "in /Users/USER/env, and more"),
        ("/home/bob is gone", "/home/USER is gone"),
        (r"C:\Users\Bob Smith\bwcolor", r"C:\Users\USER\bwcolor"),
        ("/run/media/bob/USB", "/run/media/USER/USB"),
        ("/tmp/anna/x and /tmp/annabel", "/tmp/USER/x and /tmp/annabel"),
        ("Linux 6.1, anna", "Linux 6.1, anna"),
    ],
)
def test_texts_do_not_say_whose_they_are(text: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/data/old anna")
    monkeypatch.setattr(getpass, "getuser", lambda: "anna")
    assert machine.without_names(text) == expected


@pytest.mark.skipif(os.name == "nt", reason="HOME is not what names the home folder")
@pytest.mark.parametrize("home", ["", "/", "relative"])
def test_a_home_that_is_none_changes_no_text(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("uid not found")

    monkeypatch.setenv("HOME", home)
    monkeypatch.setattr(getpass, "getuser", nobody)
    text = f"{Path.cwd()}/x and /usr/bin"
    if not str(Path.cwd()).startswith("/home"):
        assert machine.without_names(text) == text


@pytest.mark.parametrize(
    ("text", "smi", "version"),
    [(CLOSED, None, "535.183.01"), (OPEN, None, "580.95.05"), (None, "581.29\n", "581.29"), (None, None, "")],
)
def test_the_version_of_the_driver(
    text: str | None, smi: str | None, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if text is not None:
        (tmp_path / "version").write_text(text)
    program = tmp_path / "nvidia-smi"
    if smi is not None:
        if os.name == "nt":
            pytest.skip("a script is no program there")
        program.write_text(f"#!/bin/sh\nprintf '{smi}'\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep + "/bin" if smi else str(tmp_path))
    monkeypatch.setattr(nvidia, "DRIVER_VERSION", tmp_path / "version")
    monkeypatch.setattr(nvidia, "DRIVER_LIBRARY", "libno-such-driver.so.1")
    found = nvidia.driver()
    if not version:
        assert found is None
    else:
        assert found is not None
        assert (found.version, found.gpus) == (version, ())
        assert "its library can't be loaded" in found.obstacle


def _cuda(code: int = 0, gpus: tuple[tuple[str, int], ...] = (("NVIDIA T4", 16 * 10**9),)) -> SimpleNamespace:
    """Answers as libcuda does: through pointers."""

    def answer(pointer: Any, value: int) -> int:
        pointer._obj.value = value
        return 0

    def name(buffer: Any, size: int, device: Any) -> int:
        buffer.value = gpus[device.value][0].encode()[: size - 1]
        return 0

    return SimpleNamespace(
        cuInit=lambda flags: code,
        cuDriverGetVersion=lambda pointer: answer(pointer, 12040),
        cuDeviceGetCount=lambda pointer: answer(pointer, len(gpus)),
        cuDeviceGet=answer,
        cuDeviceGetName=name,
        cuDeviceTotalMem_v2=lambda pointer, device: answer(pointer, gpus[device.value][1]),
    )


def test_what_the_driver_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "version").write_text(CLOSED)
    monkeypatch.setattr(nvidia, "DRIVER_VERSION", tmp_path / "version")
    two = (("NVIDIA T4", 16 * 10**9), ("NVIDIA L4", 24 * 10**9))
    for library, expected in (
        (_cuda(gpus=two), nvidia.Driver("535.183.01", (12, 4), tuple(nvidia.Gpu(*gpu) for gpu in two), "")),
        (_cuda(999), nvidia.Driver("535.183.01", (0, 0), (), "it can't be started (CUDA error 999)")),
        (_cuda(gpus=()), nvidia.Driver("535.183.01", (12, 4), (), "it shows no GPU to this process")),
    ):
        monkeypatch.setattr(ctypes, "CDLL", lambda name, library=library: library)
        assert nvidia.driver() == expected
    monkeypatch.setattr(nvidia, "DRIVER_VERSION", tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: _cuda(100))
    assert nvidia.driver() is None, "only the library is installed"


def test_a_gpu_without_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "PCI_DEVICES", tmp_path)
    assert not nvidia.gpu_without_driver()
    _write(tmp_path, {"a/vendor": "0x10de\n", "a/class": "0x040300\n"})  # the sound of a GPU
    _write(tmp_path, {"b/vendor": "0x8086\n", "b/class": "0x030000\n"})
    assert not nvidia.gpu_without_driver()
    _write(tmp_path, {"c/vendor": "0x10de\n", "c/class": "0x030200\n"})
    assert nvidia.gpu_without_driver()


def test_missing_libraries_are_those_that_cannot_be_loaded(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    there = "msvcrt.dll" if os.name == "nt" else "libSystem.dylib" if sys.platform == "darwin" else "libc.so.6"
    monkeypatch.setattr(nvidia, "LIBRARIES", {sys.platform: (there, "libno-such.so.{major}")})
    assert nvidia.missing_libraries("13.0") == ["libno-such.so.13"]
    assert capfd.readouterr() == ("", ""), "what onnxruntime prints about it would be in the midst of JSON"


def test_the_libraries_are_those_that_onnxruntime_is_linked_to() -> None:
    library = Path(ort.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
    if not library.exists():
        pytest.skip("this onnxruntime is built without CUDA")
    content = library.read_bytes()
    for name in nvidia.LIBRARIES["linux"]:
        wanted = name.format(major=nvidia.cuda_of_onnxruntime().partition(".")[0])
        wanted = wanted.partition(".")[0] if "cudnn" in name else wanted  # its ending is put there at run time
        assert wanted.encode() in content, name


def test_the_packages_are_those_that_are_required(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = {line.partition(">")[0] for line in project["dependencies"]}
    known = {name for names in packages.PACKAGES.values() for name in names}
    assert required <= known
    assert all(required & set(names) for names in packages.PACKAGES.values()), "none that is not needed"
    assert set(packages.needed()) <= required
    assert set(packages.CODECS) | {"heic"} == set(get_args(Format))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Says which packages are installed, and what bwcolor requires."""

    def say(versions: dict[str, str]) -> None:
        def version(name: str) -> str:
            if name not in versions:
                raise metadata.PackageNotFoundError(name)
            return versions[name]

        monkeypatch.setattr(metadata, "version", version)
        monkeypatch.setattr(metadata, "requires", lambda _: ["numpy>=2.0", "opencv-python-headless>=4.10"])

    return say


def _packages() -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in doctor.CHECKS["packages"]()}


def test_an_old_package_and_another_opencv(installed: Callable[[dict[str, str]], None]) -> None:
    installed({"numpy": "1.26.4", "opencv-python": "4.12.0.1"})
    found = _packages()
    assert (found["numpy"].state, found["numpy"].exit_code) == ("bad", 0)
    assert 'pip install --upgrade "numpy>=2.0"' in found["numpy"].step
    assert (found["opencv-python"].state, found["opencv-python"].words) == ("ok", "4.12.0.1")
    assert "opencv-python-headless" not in found
    assert found["simplejpeg"].state == "ok", "it can be imported, whatever is on record"


def test_two_packages_in_one_folder(installed: Callable[[dict[str, str]], None]) -> None:
    installed({"opencv-python-headless": "5.0", "opencv-python": "4.12"})
    finding = _packages()["opencv-python-headless"]
    assert (finding.state, finding.exit_code) == ("bad", 0)
    assert "opencv-python-headless 5.0, opencv-python 4.12" in finding.words
    assert finding.step == (
        "pip uninstall -y opencv-python-headless opencv-python,"
        ' and then pip install "opencv-python-headless>=4.10"'
    )  # fmt: skip


def test_a_package_that_is_there_and_broken(
    installed: Callable[[dict[str, str]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed({"simplejpeg": "1.9.0"})
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    finding = _packages()["simplejpeg"]
    assert (finding.state, finding.exit_code) == ("bad", 3)
    assert "can't be loaded" in finding.words
    assert finding.step == "pip install --force-reinstall simplejpeg"
    installed({})
    finding = _packages()["simplejpeg"]
    assert (finding.state, finding.exit_code, finding.words) == ("bad", 3, "not installed")
    assert finding.step == "pip install simplejpeg"
    assert _packages()["pillow-heif"].state == "absent"
    assert "torch" not in _packages()


def _here(monkeypatch: pytest.MonkeyPatch, folder: Path) -> doctor.Finding:
    monkeypatch.chdir(folder)
    return next(finding for finding in doctor.CHECKS["disk"]() if finding.name == "current folder")


def test_the_current_folder_is_tried_and_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finding = _here(monkeypatch, tmp_path)
    assert finding.state == "ok"
    assert all(finding.facts[name] for name in ("writable", "fsync", "hard_links", "locks"))
    assert not list(tmp_path.iterdir())


def test_a_disk_without_hard_links_or_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    def no_locks(*_: object) -> None:
        raise FolderError("this disk has no locks")

    monkeypatch.setattr(os, "link", refuse)
    finding = _here(monkeypatch, tmp_path)
    assert (finding.state, finding.exit_code) == ("bad", 0)
    assert finding.words.endswith("without hard links")
    assert finding.step
    monkeypatch.setattr(doctor, "held", no_locks)
    finding = _here(monkeypatch, tmp_path)
    assert finding.words.endswith("without hard links and locks")
    assert not finding.facts["locks"]
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="a folder in use can't be deleted there")
def test_a_current_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    finding = next(iter(doctor.CHECKS["disk"]()))
    monkeypatch.chdir(tmp_path)
    assert (finding.name, finding.state, finding.facts["writable"]) == ("current folder", "absent", False)


def test_a_check_that_breaks_does_not_end_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise RuntimeError("of\na bug")
        yield

    monkeypatch.setattr(doctor, "CHECKS", {"system": broken, "devices": broken, "disk": doctor.CHECKS["disk"]})
    found = list(doctor.examine())
    assert [finding.section for finding in found[:2]] == ["system", "devices"]
    assert found[0].words == "can't be looked at (RuntimeError: of a bug)"
    assert [finding.exit_code for finding in found[:2]] == [0, 3]
    assert doctor.exit_code(found) == 3, "nobody knows whether the CPU works"
    assert found[2].section == "disk"
