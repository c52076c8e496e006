"""What `bwcolor doctor` finds: what decides whether photos can be colorized on this machine, and on which devices.

Nothing heavy is imported before it is needed, because packages may be what is missing; torch is never imported.
"""

import contextlib
import hashlib
import io
import locale
import os
import platform
import secrets
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bwcolor import __version__
from bwcolor.errors import BusyError, BwcolorError, DeviceError, FolderError, ModelError
from bwcolor.system import packages
from bwcolor.system.atomic import TEMPORARY_PREFIX
from bwcolor.system.filesystem import held, kind_of_disk, on_network
from bwcolor.system.machine import cores, gigabytes, memory, processor_name, system_name, without_names

if TYPE_CHECKING:
    from bwcolor.inference.registry import Entry

State = Literal["ok", "absent", "bad"]

AGAIN = "install bwcolor again, as at first, with pip's --force-reinstall"
MODEL = "default"
RUNS = 7  # of which the median is told
MIN_PYTHON = (3, 11)
STEPS = {True: "fix what is marked FAIL under packages first", False: "report it, with these lines"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    section, name: where it stands; they never change their meaning. state: "ok", "absent" (not there, and not needed),
    or "bad". words: what was found. step: what to do next. facts: the same as values for programs. exit_code: what the
    command exits with because of it; 0 where colorizing works on the CPU all the same.
    """

    section: str
    name: str
    state: State
    words: str
    step: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    exit_code: int = 0


def examine() -> Iterator[Finding]:
    """All findings, each as soon as it is known, without names of people."""
    for section, check in CHECKS.items():
        found = check()
        try:
            while finding := _quietly(found):
                yield _nameless(finding)
        except Exception as error:  # whatever is broken here, the rest of the report is worth having
            code = DeviceError.exit_code if section in ("packages", "devices", "models") else 0
            words = " ".join(f"can't be looked at ({type(error).__name__}: {error})".split())
            yield _nameless(Finding(section, "check", "bad", words, STEPS[isinstance(error, ImportError)], {}, code))


def exit_code(findings: list[Finding]) -> int:
    """Of the first finding that stops colorizing on the CPU; 0 when none does."""
    return next((finding.exit_code for finding in findings if finding.exit_code), 0)


def devices(findings: list[Finding]) -> list[str]:
    """The devices on which the default model ran."""
    return [finding.name for finding in findings if finding.facts.get("ran")]


def _quietly(found: Iterator[Finding]) -> Finding | None:
    """The next finding; what packages print on stdout when something lacks is not part of the report."""
    with contextlib.redirect_stdout(io.StringIO()):
        return next(found, None)


def _nameless(finding: Finding) -> Finding:
    words, step, facts = (without_names(value) for value in (finding.words, finding.step, finding.facts))
    return replace(finding, words=words, step=step, facts=facts)


def _system() -> Iterator[Finding]:
    def fine(name: str, words: str, /, **facts: Any) -> Finding:
        return Finding("system", name, "ok", words, facts=facts)

    folder = str(Path(__file__).parents[1])
    yield fine("bwcolor", f"{__version__}, in {folder}", version=__version__, folder=folder)
    kind, bits = platform.python_implementation(), 64 if sys.maxsize > 2**32 else 32
    version, alone = platform.python_version(), sys.prefix != sys.base_prefix
    words = f"{version} ({kind}, {bits} bit), {sys.executable}{', a virtual environment' if alone else ''}"
    facts = {"version": version, "implementation": kind, "bits": bits, "executable": sys.executable, "virtual": alone}
    if sys.version_info[:2] >= MIN_PYTHON and bits == 64:
        yield fine("python", words, **facts)
    else:
        yield Finding("system", "python", "bad", words, "install Python 3.11 or newer with 64 bit", facts)
    yield fine("os", system_name(), name=system_name(), machine=platform.machine())
    found = cores()
    limit = f", limited to the time of {found.limit:g}" if found.limit else ""
    name = processor_name()
    words = f"{name}; {found.usable} of {found.present} cores can be used{limit}"
    yield fine("processor", words, name=name, cores=found.present, usable=found.usable, limit=found.limit)
    has = memory()
    said = (("in total", has.total), ("free", has.free), ("may be taken by this container", has.limit))
    words = ", ".join(f"{gigabytes(size)} {what}" for what, size in said if size) or "not known"
    yield fine("memory", words, total=has.total, free=has.free, limit=has.limit)
    names, text = sys.getfilesystemencoding(), locale.getencoding()
    words, facts = f"file names in {names}, texts in {text}", {"file_names": names, "texts": text}
    if names.lower() == "utf-8":
        yield fine("encoding", words, **facts)
    else:
        step = "set LC_ALL=C.UTF-8 (or PYTHONUTF8=1), or names with accents may not be found"
        yield Finding("system", "encoding", "bad", words, step, facts)


def _packages() -> Iterator[Finding]:
    needed = packages.needed()
    for module in packages.PACKAGES:
        yield _package(module, packages.installed(module), needed)
    if version := packages.version("pillow-heif"):
        yield Finding("packages", "pillow-heif", "ok", version, facts={"versions": {"pillow-heif": version}})
    else:
        step = f"only for HEIC photos: {packages.install_line('heic')}"
        yield Finding("packages", "pillow-heif", "absent", "not installed", step, {"versions": {}})
    for name in packages.ONLY_NAMED:
        if version := packages.version(name):
            words = f"{version}, for training only"
            yield Finding("packages", name, "ok", words, facts={"versions": {name: version}})


def _package(module: str, found: dict[str, str], needed: Mapping[str, str]) -> Finding:
    """One module that is needed. found: the installed packages that bring it, and their versions."""
    usual = next((name for name in packages.PACKAGES[module] if name in needed), packages.PACKAGES[module][0])
    asked = f'"{usual}>={needed[usual]}"' if needed.get(usual) else usual
    several = ", ".join(f"{name} {version}" for name, version in found.items())
    facts = {"module": module, "versions": found, "needed": needed.get(usual, "")}
    name = next(iter(found)) if len(found) == 1 else usual
    trouble = packages.import_trouble(module)
    if trouble and not found:
        return Finding("packages", name, "bad", "not installed", f"pip install {asked}", facts, DeviceError.exit_code)
    if len(found) > 1:
        words = f"several packages that break each other: {several}"
        step = f"pip uninstall -y {' '.join(found)}, and then pip install {asked}"
        return Finding("packages", name, "bad", words, step, facts, DeviceError.exit_code if trouble else 0)
    if trouble:
        words, step = f"{several}, can't be loaded ({trouble})", f"pip install --force-reinstall {asked}"
        return Finding("packages", name, "bad", words, step, facts, DeviceError.exit_code)
    lowest = needed.get(name, "")
    if lowest and packages.numbers(found.get(name, lowest)) < packages.numbers(lowest):
        step = f"pip install --upgrade {asked}"
        return Finding("packages", name, "bad", f"{several}, older than {lowest}, which is needed", step, facts)
    return Finding("packages", name, "ok", found.get(name, "there, but its version is not on record"), facts=facts)


def _formats() -> Iterator[Finding]:
    from bwcolor.photo.formats.known import WRITABLE

    lacks = {name: missing for name in packages.CODECS if (missing := packages.lacking(name))}
    heic = ["heic"] if packages.version("pillow-heif") and not packages.import_trouble("pillow_heif") else []
    for name, wanted in (("read", [*packages.CODECS, *heic]), ("written", list(WRITABLE))):
        works = [one for one in wanted if one not in lacks]
        broken = {one: lacks[one] for one in wanted if one in lacks}
        words, facts = ", ".join(works), {"formats": works, "lacking": broken}
        if broken:
            words += "".join(f"; not {one}: {', '.join(missing)} is missing" for one, missing in broken.items())
            step = "pip install --force-reinstall pillow imagecodecs"
            yield Finding("formats", name, "bad", words, step, facts)
        else:
            yield Finding("formats", name, "ok", words, facts=facts)


def _devices() -> Iterator[Finding]:
    from bwcolor.system.processor import fast_int8

    instructions = fast_int8()
    words = instructions or "no fast int8 instructions were found; the larger model file is used"
    yield Finding("devices", "int8", "ok" if instructions else "absent", words, facts={"instructions": instructions})
    yield _run_on("cpu")
    yield from _cuda()


def _cuda() -> Iterator[Finding]:
    from bwcolor.system import nvidia

    driver = nvidia.driver()
    if driver is None:
        facts: dict[str, Any] = {"version": "", "cuda": "", "gpus": []}
        if nvidia.gpu_without_driver():
            words, step = "an NVIDIA GPU is there, but no driver for it", "install NVIDIA's driver to use it"
            yield Finding("devices", "nvidia driver", "bad", words, step, facts)
        else:
            words = "no NVIDIA driver was found; photos are colorized on the CPU"
            yield Finding("devices", "nvidia driver", "absent", words, facts=facts)
        return
    newest = ".".join(map(str, driver.cuda))
    gpus = [{"name": gpu.name, "memory": gpu.memory} for gpu in driver.gpus]
    facts = {"version": driver.version, "cuda": newest if driver.cuda > (0, 0) else "", "gpus": gpus}
    called = driver.version or "version not known"
    if driver.obstacle:
        step = "see what nvidia-smi says; give a container its GPUs (docker run --gpus all); restart after updates"
        yield Finding("devices", "nvidia driver", "bad", f"{called}: {driver.obstacle}", step, facts)
    else:
        shown = ", ".join(f"{gpu.name} ({gigabytes(gpu.memory)})" for gpu in driver.gpus)
        yield Finding("devices", "nvidia driver", "ok", f"{called}, up to CUDA {newest}; {shown}", facts=facts)
    yield _cuda_libraries(driver.cuda)
    for number in range(max(1, len(driver.gpus))):
        yield _run_on(f"cuda:{number}")


def _cuda_libraries(newest: tuple[int, int]) -> Finding:
    """Whether onnxruntime can use the driver. newest: the newest CUDA that the driver knows; (0, 0): not known."""
    from bwcolor.system import nvidia

    built = nvidia.cuda_of_onnxruntime()
    facts: dict[str, Any] = {"onnxruntime_cuda": built, "missing": []}
    if not built:
        step = "pip uninstall -y onnxruntime, and then pip install onnxruntime-gpu"
        return Finding("devices", "cuda libraries", "bad", "this onnxruntime is built without CUDA", step, facts)
    if (0, 0) < newest < (int(built.partition(".")[0]), 0):
        words = f"onnxruntime needs CUDA {built}, the driver is too old for it"
        return Finding("devices", "cuda libraries", "bad", words, "update NVIDIA's driver", facts)
    if missing := nvidia.missing_libraries(built):
        words = f"onnxruntime needs CUDA {built}; missing or damaged: {', '.join(missing)}"
        return Finding(
            "devices", "cuda libraries", "bad", words, packages.install_line("cuda"), {**facts, "missing": missing}
        )
    return Finding("devices", "cuda libraries", "ok", f"all there, for CUDA {built}", facts=facts)


def _run_on(device: str) -> Finding:
    """Opens the default model on a device and runs it, as a run of bwcolor does."""
    code = DeviceError.exit_code if device == "cpu" else 0
    facts: dict[str, Any] = {"ran": False}
    try:
        import numpy as np

        from bwcolor.inference.registry import choose, find_model, try_out
        from bwcolor.inference.session import load_chosen
        from bwcolor.models.model_io import network_input

        entry = find_model(MODEL)
        started = time.perf_counter()
        model = load_chosen(lambda where: choose(entry, where), device)
        opened = time.perf_counter() - started
        trial = try_out(model)
        side = model.spec.network_size
        fed = network_input(np.linspace(0, 1, side * side, dtype=np.float32).reshape(1, side, side), model.spec)
        median = statistics.median(_seconds(lambda: model.run(fed)) for _ in range(RUNS))
    except BwcolorError as error:
        words, step = str(error).rstrip("."), "fix what is marked FAIL in the other lines; if nothing is, report this"
        return Finding("devices", device, "bad", words, step, facts, code and error.exit_code)
    except ImportError as error:
        return Finding("devices", device, "bad", f"can't be tried ({error})", STEPS[True], facts, code)
    facts = {
        "ran": trial.has_colour, "model": model.label, "opened_seconds": round(opened, 4), "side": side,
        "median_seconds": round(median, 6), "runs": RUNS, "colourfulness": round(trial.colourfulness, 2),
    }  # fmt: skip
    words = (
        f"{model.spec.name} {model.spec.version} {model.spec.precision} opened in {opened:.2f} s; a picture of"
        f" {side} x {side} px in {1000 * median:.1f} ms (median of {RUNS}); colourfulness {trial.colourfulness:.1f}"
    )
    if trial.has_colour:
        return Finding("devices", device, "ok", words, facts=facts)
    code = code and ModelError.exit_code
    return Finding("devices", device, "bad", f"{words}: hardly any colour", AGAIN, facts, code)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _models() -> Iterator[Finding]:
    from bwcolor.inference.registry import added_names, bundled_models, find_added

    for entry in bundled_models().values():
        yield from _model_files(entry)
    try:
        names = added_names()
    except FolderError as error:
        yield Finding("models", "added", "bad", str(error))
        return
    for name in names:
        try:
            yield from _model_files(find_added(name))
        except ModelError as error:
            yield Finding("models", f"{name}.onnx", "bad", str(error))


def _model_files(entry: "Entry") -> Iterator[Finding]:
    """The files of a model, hashed now. A bundled one that is not as it came is a broken installation."""
    bundled = entry.origin == "bundled"
    code, step = (ModelError.exit_code, AGAIN) if bundled else (0, "add it again with `bwcolor models add`")
    for precision, path in entry.files.items():
        record = entry.sha256.get(precision, "")
        facts: dict[str, Any] = {"origin": entry.origin, "precision": precision, "sha256": "", "on_record": record}
        try:
            with path.open("rb") as file:
                found, size = hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size
        except OSError as error:
            words = f"can't be read ({error.strerror})"
            yield Finding("models", path.name, "bad", words, step, facts, code)
            continue
        facts |= {"sha256": found, "bytes": size}
        words = f"{entry.origin}, {precision}, {size / 1e6:.1f} MB, SHA-256 {found}"
        if found == record:
            yield Finding("models", path.name, "ok", f"{words} as on record", facts=facts)
        else:
            yield Finding("models", path.name, "bad", f"{words}, on record is {record}", step, facts, code)


def _disk() -> Iterator[Finding]:
    yield _current_folder()
    try:
        yield _place("temporary folder", Path(tempfile.gettempdir()), "set TMPDIR to another folder")
    except OSError as error:
        step = "make room on the disk, or set TMPDIR to a folder"
        yield Finding("disk", "temporary folder", "bad", str(error), step, {"writable": False})
    from bwcolor.inference.registry import FOLDER_VARIABLE, models_folder

    try:
        yield _place("models folder", models_folder(), f"set {FOLDER_VARIABLE} to another folder before adding models")
    except FolderError as error:
        yield Finding("disk", "models folder", "bad", str(error), facts={"writable": False})


def _place(name: str, folder: Path, step: str) -> Finding:
    folder = folder.resolve()  # on Windows it may be in a short form, which holds a part of the user's name
    there = next(place for place in (folder, *folder.parents) if place.is_dir())
    writable, free = _writable(there), shutil.disk_usage(there).free
    facts = {"folder": str(folder), "exists": there == folder, "writable": writable, "free": free}
    made = "" if there == folder else ", created when needed"
    if writable:
        return Finding("disk", name, "ok", f"{folder}{made}, free {gigabytes(free)}", facts=facts)
    return Finding("disk", name, "bad", f"{folder}: can't be written", step, facts)


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _current_folder() -> Finding:
    """Whether the disk of the current folder can do what a run's files and its ledger depend on."""
    here, disk = Path(), "its disk"
    facts: dict[str, Any] = {
        "kind": "",
        "network": False,
        "writable": True,
        "fsync": False,
        "hard_links": False,
        "locks": False,
    }
    part = here / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}.part"
    twin = part.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}.part")
    try:
        facts |= {"kind": kind_of_disk(here), "network": on_network(here)}
        where = "on the network" if facts["network"] else "local" if facts["kind"] else "whether local is not known"
        disk = f"{facts['kind'] or 'kind of disk not known'}, {where}"
        with part.open("xb") as file, contextlib.suppress(OSError):
            os.fsync(file.fileno())
            facts["fsync"] = True
        with contextlib.suppress(OSError):
            os.link(part, twin)
            facts["hard_links"] = True
        with contextlib.suppress(FolderError, BusyError), held(part):
            facts["locks"] = True
    except OSError as error:
        step = "to try the disk of the outputs, run this in their folder"
        words = f"{disk}; can't be written ({error.strerror})"
        return Finding("disk", "current folder", "absent", words, step, {**facts, "writable": False})
    finally:
        for path in (part, twin):
            with contextlib.suppress(OSError):
                path.unlink()
    lacks = [name.replace("_", " ") for name in ("fsync", "hard_links", "locks") if not facts[name]]
    if lacks:
        step = "write outputs to another disk: runs that are cut off, or two at once, are not safe here"
        return Finding("disk", "current folder", "bad", f"{disk}, without {' and '.join(lacks)}", step, facts)
    return Finding("disk", "current folder", "ok", f"{disk}; fsync, hard links and locks work", facts=facts)


CHECKS: dict[str, Callable[[], Iterator[Finding]]] = {
    "system": _system, "packages": _packages, "formats": _formats, "devices": _devices, "models": _models,
    "disk": _disk,
}  # fmt: skip
