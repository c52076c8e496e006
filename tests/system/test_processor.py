"""Whether the processor is fast at int8, on the platforms that there are."""

import ctypes
import platform
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest

from bwcolor.system import processor
from bwcolor.system.processor import CPU_AVX_512VNNI, CPU_NEON_DOTPROD, fast_int8

INTEL_LAPTOP = "processor\t: 0\nflags\t\t: fpu sse2 avx2 avx_vnni\n"
OLD_INTEL = "processor\t: 0\nmodel name\t: avx_vnni in a name\nflags\t\t: fpu sse2 avx2 avx512f\n"
PI_5 = "processor\t: 0\nFeatures\t: fp asimd aes asimddp\n"
PI_4 = "processor\t: 0\nFeatures\t: fp asimd\n"


@pytest.mark.parametrize(
    ("system", "machine", "cpuinfo", "opencv", "windows", "expected"),
    [
        ("linux", "x86_64", OLD_INTEL, {CPU_AVX_512VNNI}, False, "AVX-512 VNNI"),
        ("linux", "x86_64", INTEL_LAPTOP, set(), False, "AVX-VNNI"),
        ("linux", "x86_64", OLD_INTEL, set(), False, ""),
        ("linux", "x86_64", None, set(), False, ""),
        ("win32", "AMD64", None, {CPU_AVX_512VNNI}, False, "AVX-512 VNNI"),
        ("win32", "AMD64", None, set(), True, ""),
        ("darwin", "x86_64", None, set(), False, ""),
        ("linux", "aarch64", PI_5, set(), False, "Arm dot products"),
        ("linux", "aarch64", None, {CPU_NEON_DOTPROD}, False, "Arm dot products"),
        ("linux", "aarch64", PI_4, {CPU_AVX_512VNNI}, False, ""),
        ("darwin", "arm64", None, set(), False, "Arm dot products"),
        ("win32", "ARM64", None, set(), True, "Arm dot products"),
        ("win32", "ARM64", None, set(), False, ""),
    ],
)
def test_int8_is_fast_where_its_instructions_are(
    system: str, machine: str, cpuinfo: str | None, opencv: set[int], windows: bool, expected: str,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    if cpuinfo is not None:
        (tmp_path / "cpuinfo").write_text(cpuinfo)
    kernel = SimpleNamespace(IsProcessorFeaturePresent=lambda feature: int(windows and feature == 43))
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(cv2, "checkHardwareSupport", lambda feature: feature in opencv)
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    assert fast_int8() == expected


def test_opencv_and_linux_agree_on_this_machine() -> None:
    if not Path("/proc/cpuinfo").exists():
        pytest.skip("only Linux says it in two ways")
    words = Path("/proc/cpuinfo").read_text().split()
    assert cv2.checkHardwareSupport(CPU_AVX_512VNNI) == ("avx512_vnni" in words)
