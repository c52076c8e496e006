"""Which packages are installed, and whether they work; a package that is only named is not imported."""

import importlib
import platform
import re
import sys
import warnings
from importlib import metadata
from pathlib import Path

# Modules that must be there, and the packages that bring them, the usual one first. Two packages that bring the same
# module write into one folder and break each other.
PACKAGES: dict[str, tuple[str, ...]] = {
    "numpy": ("numpy",),
    "onnxruntime": ("onnxruntime-gpu", "onnxruntime", "onnxruntime-directml", "onnxruntime-openvino",
                    "onnxruntime-qnn", "onnxruntime-training", "ort-nightly", "ort-nightly-gpu"),
    "cv2": ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python"),
    "PIL": ("pillow", "pillow-simd"),
    "imagecodecs": ("imagecodecs",),
    "simplejpeg": ("simplejpeg",),
    "tifffile": ("tifffile",),
    "rich": ("rich",),
    "typer": ("typer",),
}  # fmt: skip
ONLY_NAMED = ("torch", "torchvision")  # for training; looked up, never imported
# Formats, and what they need of Pillow (its names of features) and of imagecodecs (its names of codecs).
CODECS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "jpeg": (("jpg",), ("JPEG8",)), "png": (("zlib",), ()), "tiff": (("libtiff",), ("LZW", "ZLIB", "ZSTD", "CCITTRLE")),
    "webp": (("webp",), ()), "bmp": ((), ()), "gif": ((), ()), "jp2": (("jpg_2000",), ("JPEG2K",)),
    "avif": (("avif",), ("AVIF",)), "pnm": ((), ()),
}  # fmt: skip


def installed(module: str) -> dict[str, str]:
    """The installed packages that bring a module, and their versions."""
    return {name: found for name in PACKAGES[module] if (found := version(name))}


def lacking(form: str) -> list[str]:
    """What is missing of what a format needs, in words. form: of CODECS."""
    import imagecodecs
    from PIL import features

    of_pillow, of_imagecodecs = CODECS[form]
    lacks = [f"Pillow's {name}" for name in of_pillow if not features.check(name)]
    return lacks + [f"imagecodecs' {name}" for name in of_imagecodecs if not getattr(imagecodecs, name).available]


def needed() -> dict[str, str]:
    """The packages that bwcolor needs on this platform, and their lowest versions."""
    gpu = sys.platform == "linux" or (sys.platform == "win32" and platform.machine() == "AMD64")
    other = "onnxruntime" if gpu else "onnxruntime-gpu"
    try:
        said = metadata.requires("bwcolor") or []
    except metadata.PackageNotFoundError:  # run from its source
        said = []
    rows = [re.match(r"([\w.-]+)>=([\d.]+)", line) for line in said if "extra ==" not in line]
    needed = {row[1].lower(): row[2] for row in rows if row}
    usual = {names[0]: "" for names in PACKAGES.values()} if gpu else {"onnxruntime": ""}
    return {name: version for name, version in {**usual, **needed}.items() if name != other}


def install_line(extra: str) -> str:
    """Returns the command that installs what an extra of bwcolor needs, however bwcolor itself was installed.

    It names the packages: `bwcolor[heic]` is another project, or none, to pip where bwcolor came from a folder or a
    wheel. Run from its source without being installed, bwcolor only knows that folder.
    """
    try:
        said = metadata.requires("bwcolor") or []
    except metadata.PackageNotFoundError:
        return f'pip install "{Path(__file__).resolve().parents[2]}[{extra}]"'
    wanted = [row.partition(";")[0].strip() for row in said if re.search(rf"""extra == ['"]{extra}['"]""", row)]
    return " ".join(["pip install", *(f'"{one}"' for one in wanted)])


def version(name: str) -> str:
    """Of an installed package, without importing it; empty where there is none."""
    try:
        return metadata.version(name) or "?"
    except metadata.PackageNotFoundError:
        return ""


def import_trouble(module: str) -> str:
    """Why a module can't be loaded; empty when it can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(module)
    except Exception as error:  # packages that are broken raise whatever they like
        return " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return ""


def numbers(version: str) -> tuple[int, ...]:
    """The first three of a version, to be compared."""
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3])
