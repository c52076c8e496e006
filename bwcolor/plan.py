"""Which photos there are and where each one's output goes, settled before any work."""

import functools
import os
import stat
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bwcolor.errors import FolderError, NoPhotosError, PhotoError, UsageError
from bwcolor.formats.header import EXTENSIONS, Format, read_header
from bwcolor.options import ColorizeOptions
from bwcolor.output import WRITABLE, output_format
from bwcolor.photo import check_size

# Pictures that a user may expect to be colorized: named, not passed over in silence.
OTHER_PICTURES = frozenset({
    ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".psd", ".psb", ".psp", ".tga", ".pcx",
    ".ppm", ".pgm", ".pbm", ".hif", ".jpf", ".jpc", ".jp2k", ".exr", ".dcm", ".xcf", ".svg", ".pdf",
})  # fmt: skip
# How an output may be called so that its format is that of the name.
NAMED_FORMATS: dict[str, Format] = {
    ".jpg": "jpeg", ".jpeg": "jpeg", ".jpe": "jpeg", ".jfif": "jpeg", ".png": "png", ".tif": "tiff", ".tiff": "tiff",
    ".webp": "webp", ".avif": "avif", ".bmp": "bmp",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Job:
    """One photo to colorize: source is read, target is written. format: of the target, or None while nobody has
    looked into the source. copy: the name under which the photo itself would be copied, if it is in colour already;
    target's where none is given."""

    source: Path
    target: Path
    format: Format | None = None
    copy: Path = Path()

    def __post_init__(self) -> None:
        if self.copy == Path():
            object.__setattr__(self, "copy", self.target)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that is not opened, and why. failed: whether that counts as a failure of the run."""

    path: Path
    reason: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do, in the order of the names. out: the folder that gets the outputs, or one file. single: the
    photo, when it is just one that was named. named: whether the user said how its output is called."""

    jobs: list[Job]
    left_out: list[LeftOut]
    out: Path
    single: Path | None = None
    named: bool = False


def find_jobs(photos: Path, out: Path | None, overwrite: bool = False) -> Plan:
    """Walks a folder, or takes one file, and mirrors it under `out`.

    out: by default `<photos>_colored` beside the input. For a single file it may also be the name
    of the output. overwrite: whether outputs may replace files. Raises FolderError, NoPhotosError or
    UsageError before anything is written.
    """
    photos = Path(os.path.abspath(photos))  # keeps links in the path, unlike resolve()
    if photos.is_file():
        return _single(photos, out)
    if not photos.is_dir():
        raise FolderError(f"{photos}: no such file or folder.")
    out = Path(os.path.abspath(out)) if out else photos.with_name(f"{photos.name}_colored")
    if out.exists() and out.samefile(photos):
        raise UsageError(f"--out {out} is the input folder itself: outputs would replace your originals.")
    if out.exists() and not out.is_dir():
        raise FolderError(f"--out {out} is a file, not a folder.")
    if overwrite and out.exists() and photos.resolve() in out.resolve().parents:
        raise UsageError(
            f"--overwrite: {out} lies inside the input folder, where photos of yours could be taken for outputs."
            " Choose an --out elsewhere."
        )
    files, left_out = _walk(photos, out)
    if not files:
        known = ", ".join(sorted(EXTENSIONS))
        others = f" Left out: {left_out[0].path.name} {left_out[0].reason}" if left_out else ""
        others += f", and {len(left_out) - 1} more." if len(left_out) > 1 else ""
        raise NoPhotosError(f"{photos}: no photos found. Known kinds: {known}.{others}")
    jobs, doubles = _one_output_each([Job(path, out / path.relative_to(photos)) for path in files], out, False)
    plan = Plan(jobs, left_out + doubles, out)
    _refuse_replacing(plan, False)
    return plan


def settle(plan: Plan, options: ColorizeOptions) -> Plan:
    """Looks into each photo's header: what it is written as and how that is called; what is too large is left out.

    An output of another format gets a second ending (scan.gif.png), so that no two photos ever share one. What can't
    be read stays in the plan: its own failure will tell why. Raises UsageError when an output would then replace one
    of the photos, or is to be of another format than its name says.
    """
    _refuse_other_ending(plan, options)
    jobs, left_out = [], list(plan.left_out)
    for job in plan.jobs:
        try:
            header = read_header(job.source)
        except PhotoError:
            jobs.append(job)
            continue
        named = NAMED_FORMATS.get(job.target.suffix.lower()) if job.target == plan.out else None
        differs = job.target.suffix.lower() != job.source.suffix.lower()
        try:
            check_size(header, options.max_pixels)
            form = output_format(header, (named if differs else None) or options.format, options.eight_bit)
        except PhotoError as error:
            left_out.append(LeftOut(job.source, str(error), failed=True))
            continue
        own_name = form == header.format or (differs and named == form)
        target = job.target if own_name else job.target.with_name(job.target.name + WRITABLE[form])
        jobs.append(Job(job.source, target, form, target if form == header.format else _as_source(target, job.source)))
    copies = options.color_input == "copy"
    jobs, doubles = _one_output_each(jobs, plan.out, copies)
    out = jobs[0].target if len(jobs) == 1 and jobs[0].source == plan.single else plan.out
    settled = Plan(jobs, left_out + doubles, out, plan.single, plan.named)
    _refuse_replacing(settled, copies)
    return settled


def _refuse_other_ending(plan: Plan, options: ColorizeOptions) -> None:
    named = NAMED_FORMATS.get(plan.out.suffix.lower()) if plan.named else None
    if named and options.format and named != options.format:
        raise UsageError(
            f"--out {plan.out.name} is a name for {named.upper()}, and --format asks for {options.format.upper()}."
            " Leave one of them out, or make them agree."
        )


def _as_source(target: Path, source: Path) -> Path:
    """The name of an output of another format -> that of one of the source's own: scan.gif.png -> scan.gif."""
    bare, ending = target.with_suffix(""), source.suffix
    return bare if bare.suffix.lower() == ending.lower() else target.with_suffix(ending)


def originals_of(out: Path, originals: Path | None) -> list[tuple[Path, Path | None]]:
    """Outputs, one or all of a folder, each with the original that its name says, or None where there is none.

    Raises FolderError or NoPhotosError where there is nothing to look at.
    """
    outputs = [job.source for job in find_jobs(out, None).jobs]
    if originals is None or originals.is_file():
        return [(path, originals) for path in outputs]
    root = Path(os.path.abspath(out))
    pairs: list[tuple[Path, Path | None]] = []
    for path in outputs:
        name = path.relative_to(root) if root.is_dir() else Path(path.name)
        # An output of another format has a second ending: scan.gif.png.
        found = (originals / name, (originals / name).with_suffix(""))
        pairs.append((path, next((one for one in found if one.is_file() and one.suffix.lower() in EXTENSIONS), None)))
    return pairs


def _refuse_replacing(plan: Plan, copies: bool) -> None:
    """Raises UsageError where links or nested folders let an output fall on one of the photos, done or left out.

    copies: whether photos may be copied. A copy that falls on its own photo is told when it comes to that.
    """
    real, fold = functools.cache(lambda folder: Path(os.path.realpath(folder))), _folding(plan.out)
    sources = [job.source for job in plan.jobs] + [left.path for left in plan.left_out]
    photos = {fold(str(real(path.parent) / path.name)): path for path in sources}
    for job in plan.jobs:
        for target in dict.fromkeys((job.target, job.copy) if copies else (job.target,)):
            hit = photos.get(fold(str(real(target.parent) / target.name)))
            if hit is not None and (hit != job.source or target == job.target):
                raise UsageError(f"{target}: this output would replace one of your originals. Choose another --out.")


def _single(photo: Path, out: Path | None) -> Plan:
    if photo.suffix.lower() not in EXTENSIONS:
        raise NoPhotosError(f"{photo}: not a kind of photo that can be read ({', '.join(sorted(EXTENSIONS))}).")
    named = out is not None and not out.is_dir() and out.suffix.lower() in EXTENSIONS
    if out is None:
        target = photo.with_name(f"{photo.stem}_colored{photo.suffix}")
    elif not named:
        target = Path(os.path.abspath(out)) / photo.name
    else:
        target = Path(os.path.abspath(out))
        if target.suffix.lower() != photo.suffix.lower() and target.suffix.lower() not in NAMED_FORMATS:
            raise UsageError(f"--out {out}: outputs can be {', '.join(sorted(NAMED_FORMATS))}.")
    if target.exists() and target.samefile(photo):
        raise UsageError(f"--out {target} is the input itself: the output would replace your original.")
    return Plan([Job(photo, target)], [], target, photo, named)


def _walk(photos: Path, out: Path) -> tuple[list[Path], list[LeftOut]]:
    files: list[Path] = []
    left_out: list[LeftOut] = []
    pending = [photos]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            if folder == photos:
                raise FolderError(f"{photos}: can't be listed ({error.strerror}).") from error
            left_out.append(LeftOut(folder, f"folder can't be listed ({error.strerror})", failed=True))
            continue
        folders = []
        for entry in entries:
            path = folder / entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    if path == out or (out.exists() and path.samefile(out)):  # a link may lead to either
                        left_out.append(LeftOut(path, "is the output folder"))
                    else:
                        folders.append(path)
                elif _is_resource_fork(entry.name):
                    continue
                elif reason := _why_not(entry):
                    left_out.append(LeftOut(path, reason))
                elif path.suffix.lower() in EXTENSIONS:
                    files.append(path)
            except OSError as error:
                left_out.append(LeftOut(path, f"can't be looked at ({error.strerror})", failed=True))
        pending.extend(reversed(folders))
    return files, left_out


def _is_resource_fork(name: str) -> bool:
    return name.startswith("._")  # macOS puts a file's resource fork beside it under this name


def _why_not(entry: os.DirEntry[str]) -> str:
    """Why a directory entry that may hold photos is not opened; empty for files to open or to pass over."""
    suffix = Path(entry.name).suffix.lower()
    if entry.is_symlink():
        leads_to_photos = suffix in EXTENSIONS or Path(entry.path).is_dir()
        return "is a link, and links are not followed" if leads_to_photos else ""
    if suffix in OTHER_PICTURES:
        return f"{suffix} is a kind of picture that can't be read yet"
    if suffix in EXTENSIONS and not stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
        return "is not a regular file"
    return ""


def _one_output_each(jobs: list[Job], out: Path, copies: bool) -> tuple[list[Job], list[LeftOut]]:
    """Leaves out photos whose output's name is, or the disk takes for, another's: `a.jpg` beside `A.JPG`.

    copies: whether photos may be copied, so that the names of copies count too.
    """
    fold = _folding(out)
    taken: dict[str, Job] = {}
    kept, left_out = [], []
    for job in jobs:
        names = [fold(str(path)) for path in ((job.target, job.copy) if copies else (job.target,))]
        first = next((taken[name] for name in names if name in taken), None)
        if first is None:
            taken |= dict.fromkeys(names, job)
            kept.append(job)
        else:
            reason = f"its output would replace that of {first.source.name}; rename one of them"
            left_out.append(LeftOut(job.source, reason, failed=True))
    return kept, left_out


def _folding(out: Path) -> Callable[[str], str]:
    """What makes names the same that the disk of `out` takes for the same."""
    return (lambda name: unicodedata.normalize("NFC", name).casefold()) if _ignores_case(out) else str


def _ignores_case(out: Path) -> bool:
    """Whether the disk of `out`, or of the nearest folder above it that exists, ignores upper and lower case."""
    folder = next(path for path in (out, *out.parents) if path.exists())
    other = folder.with_name(folder.name.swapcase())
    try:
        return other != folder and other.samefile(folder)
    except OSError:
        return False
