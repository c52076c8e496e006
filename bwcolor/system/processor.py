"""What the processor can do that decides between a model's precisions."""

import ctypes
import platform
import sys
from pathlib import Path

import cv2

CPU_AVX_512VNNI = 23  # OpenCV's numbers for cv2.checkHardwareSupport (interface.h); the bindings don't name them
CPU_NEON_DOTPROD = 101
ARM_DOT_PRODUCT = 43  # PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE of Windows' IsProcessorFeaturePresent (winnt.h)
ARM = frozenset({"arm64", "aarch64"})
CPUINFO = Path("/proc/cpuinfo")


def fast_int8() -> str:
    """The instructions for int8 dot products that this processor has, by name; empty when none is known to be there.

    Without them int8 is neither fast nor, on AVX2, exact: its 8-bit products are added in 16 bits, which
    saturate. AVX-VNNI without AVX-512 (Intel's laptop chips) only shows on Linux.
    """
    return _arm_dot_product() if platform.machine().lower() in ARM else _vnni()


def _vnni() -> str:
    if cv2.checkHardwareSupport(CPU_AVX_512VNNI):
        return "AVX-512 VNNI"
    return "AVX-VNNI" if "avx_vnni" in _linux_flags() else ""


def _arm_dot_product() -> str:
    name = "Arm dot products"
    if sys.platform == "darwin":
        return name  # every Mac with an Arm processor (M1 is Armv8.5)
    if sys.platform == "win32":
        return name if ctypes.windll.kernel32.IsProcessorFeaturePresent(ARM_DOT_PRODUCT) else ""
    return name if "asimddp" in _linux_flags() or cv2.checkHardwareSupport(CPU_NEON_DOTPROD) else ""


def _linux_flags() -> set[str]:
    try:
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux, or a locked-down container
        return set()
    lines = [line for line in text.splitlines() if line.lower().startswith(("flags", "features"))]
    return {word for line in lines for word in line.split()}
