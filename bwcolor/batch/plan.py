"""Which photos there are and where each one's output goes, settled before any work."""

import functools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from stat import S_ISDIR

from bwcolor.batch.discovery import EVERYTHING, Choice, LeftOut, walk
from bwcolor.batch.naming import Naming, Wanted, told_apart
from bwcolor.errors import FolderError, NoPhotosError, PhotoError, UsageError
from bwcolor.options import ColorizeOptions, OutputFormat
from bwcolor.photo.formats.known import WRITABLE, Format, Header, check_size, output_format
from bwcolor.photo.formats.signatures import ending, has_photo_name
from bwcolor.photo.hidden import NAME_THEM, NOTHING, Hidden, together
from bwcolor.photo.recognize import why_no_photo
from bwcolor.system.disk import Disk, any_case, mode_of, same_name

# How an output may be called so that its format is that of the name.
NAMED_FORMATS: dict[str, OutputFormat] = {
    ".jpg": "jpeg", ".jpeg": "jpeg", ".jpe": "jpeg", ".jfif": "jpeg", ".png": "png", ".tif": "tiff", ".tiff": "tiff",
    ".webp": "webp", ".avif": "avif", ".bmp": "bmp", ".jif": "jpeg", ".apng": "png", ".dib": "bmp",
}  # fmt: skip
KINDS = "JPEG, PNG, TIFF, WebP, BMP, GIF, JPEG 2000, AVIF, HEIC, and PNM"  # in words
MOST_ENDINGS = 5  # that are named in a sentence


@dataclass(frozen=True, slots=True)
class Job:
    """One photo to colorize: source is read, target is written. format: of the target, or None while nobody has
    looked into the source. copy: the name under which the photo itself would be copied, if it is in colour already;
    target's where none is given. name: the photo's path below the folder that the user gave. pixels: of the photo's
    largest page times its pages, 0 while nobody has looked. bytes: of its file. replace: the file that its output
    may take the place of, as long as size and time of its last change (ns) are still those of `replaced`.
    changed: whether that was made from the photo as it was before. out: the output folder, below which nothing is
    written through links; None while nobody has said what is to be done."""

    source: Path
    target: Path
    format: Format | None = None
    copy: Path = Path()
    name: Path = Path()
    pixels: int = 0
    pages: int = 1
    bytes: int = 0
    replace: Path | None = None
    replaced: tuple[int, int] = (-1, 0)
    changed: bool = False
    out: Path | None = None

    def __post_init__(self) -> None:
        if self.copy == Path():
            object.__setattr__(self, "copy", self.target)
        if self.name == Path():
            object.__setattr__(self, "name", Path(self.source.name))


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do, in the order of the names. out: the folder that gets the outputs, or one file. root: the
    folder or the photo that all photos lie in. folder: of outputs; None for one photo whose output lies beside it, or
    was named. unwanted: number of photos that were not chosen. hidden: what the walk left alone as such. passed: see
    Found. single: the photo, when it is just one that was named. named: whether the user said how its output is called.
    renamed: number of photos whose outputs got names of their own, because others wanted the same or the disk refuses
    it. disk: what it makes of names. bare: how many photos, chosen or not, want an output of this name before its
    ending, in any case."""

    jobs: list[Job]
    left_out: list[LeftOut]
    out: Path
    root: Path
    folder: Path | None = None
    unwanted: int = 0
    hidden: Hidden = NOTHING
    passed: Counter[str] = field(default_factory=Counter)
    single: Path | None = None
    named: bool = False
    renamed: int = 0
    disk: Disk = field(default_factory=lambda: Disk(Path()))
    bare: Counter[str] = field(default_factory=Counter)


def find_jobs(
    photos: Path | Sequence[Path],
    out: Path | None,
    overwrite: bool = False,
    choice: Choice = EVERYTHING,
    naming: Naming = Naming(),  # noqa: B008 - frozen
    may_be_empty: bool = False,
    disk_of: Callable[[Path], Disk] = Disk,
) -> Plan:
    """Walks folders, or takes single photos, and mirrors them under `out`.

    photos: one folder, one photo, or several of both, of which each folder gets one of its name under `out`.
    out: by default `<photos>_colored` beside the input; needed for several. For a single photo it may also be the name
    of the output. overwrite: whether outputs may replace files. choice: which photos of a folder are wanted.
    may_be_empty: whether there may be no photos. disk_of: what tells of an output folder's disk. Raises FolderError,
    NoPhotosError or UsageError before any output is written.
    """
    # abspath keeps links in the path, unlike resolve()
    inputs = [Path(os.path.abspath(path)) for path in ([photos] if isinstance(photos, Path) else photos)]
    inputs = list(dict.fromkeys(inputs))
    for path in inputs:
        if not path.is_file() and not path.is_dir():
            raise FolderError(f"{path}: no such file or folder.")
    if choice.listed is not None and (len(inputs) > 1 or not inputs[0].is_dir()):
        raise UsageError("--from-file names photos below one folder: name that folder, and no other.")
    if len(inputs) == 1 and inputs[0].is_file():
        return _single(inputs[0], out, naming, disk_of)
    if len(inputs) > 1 and out is None:
        raise UsageError("for several folders or photos, name a folder for the results with --out FOLDER.")
    out = Path(os.path.abspath(out)) if out else inputs[0].with_name(f"{inputs[0].name}_colored")
    for path in inputs:
        _refuse_output(path, out, overwrite)
    plan = _found(inputs, out, choice, naming, disk_of(out))
    if not plan.jobs and not may_be_empty:
        raise NoPhotosError(_nothing_found(plan))
    return plan


def _refuse_output(photos: Path, out: Path, overwrite: bool) -> None:
    if not mode_of(out):
        return
    real, real_out, disk = photos.resolve(), out.resolve(), Disk(out)  # which writes nothing: it may be the photos' own
    if out.samefile(photos) or same_name(real, real_out, disk):  # exFAT through FUSE numbers each spelling anew
        raise UsageError(f"--out {out} is the input folder itself: outputs would replace your originals.")
    if not out.is_dir():
        raise FolderError(f"--out {out} is a file, not a folder.")
    if overwrite and any(
        same_name(one, above, disk) for one, other in ((real, real_out), (real_out, real)) for above in other.parents
    ):
        raise UsageError(
            f"--overwrite: {out} and {photos} lie inside one another, where photos of yours could be taken for outputs."
            " Choose an --out elsewhere."
        )


def _found(inputs: list[Path], out: Path, choice: Choice, naming: Naming, disk: Disk) -> Plan:
    jobs: dict[Path, Job] = {}
    left_out: list[LeftOut] = []
    others: set[Path] = set()
    hidden: list[Hidden] = []
    passed = Counter[str]()
    names_tell = len({path.name for path in inputs}) == len(inputs)
    for root in inputs:  # several folders keep their names, and where these are the same those of the folders above
        above = root if len(inputs) == 1 else root.parent if names_tell else Path(os.path.commonpath(inputs))
        if root.is_dir():
            found = walk(root, out, choice)
            photos, left_out, others = (
                [*found.photos, *found.others],
                left_out + found.left_out,
                others | {*found.others},
            )
            hidden.append(found.hidden)
            passed.update(found.passed)
        else:
            why = why_no_photo(root)
            photos = [root] if why is None else []
            left_out += [] if why is None else [LeftOut(root, why, failed=True)]
        for path in photos:
            name = path.relative_to(above)
            jobs.setdefault(path, Job(path, naming.target(out, name), name=name))
    root = inputs[0] if len(inputs) == 1 else Path(os.path.commonpath(inputs))
    plan = Plan(list(jobs.values()), left_out, out, root, out, len(others), together(hidden), passed, disk=disk)
    plan = _one_output_each(plan, False)  # of all, so that what is chosen changes no names
    bare = Counter(any_case(str(_bare(job.target))) for job in plan.jobs)
    plan = replace(plan, jobs=[job for job in plan.jobs if job.source not in others], bare=bare)
    _refuse_replacing(plan, False)
    return plan


def _nothing_found(plan: Plan) -> str:
    words = f"{plan.root}: no photos found."
    if plan.passed:
        words += f" {_passed_in_words(plan.passed)}."
    elif not plan.unwanted and not plan.hidden and not plan.left_out:
        words += " It holds no files."
    words += f" Kinds that can be read: {KINDS}."
    if plan.unwanted:
        words += f" {plan.unwanted} photos were not chosen (--include, --exclude)."
    if plan.hidden:
        words += f" {plan.hidden.without_advice()}; {NAME_THEM}."  # of all commands only some have --hidden
    if plan.left_out:
        words += f" Left out: {plan.left_out[0].path} {plan.left_out[0].reason}"
        words += f", and {len(plan.left_out) - 1} more." if len(plan.left_out) > 1 else ""
    return words


def _passed_in_words(passed: Counter[str]) -> str:
    """How many files there are that are no pictures, by the endings of their names."""
    by_count = sorted(passed.items(), key=lambda item: (-item[1], item[0]))
    told = [f"{count:,} {name or 'without an ending'}" for name, count in by_count[:MOST_ENDINGS]]
    if more := sum(count for _, count in by_count[MOST_ENDINGS:]):
        told.append(f"{more:,} more")
    return f"{passed.total():,} other file{'' if passed.total() == 1 else 's'}: {', '.join(told)}"


Looked = tuple[Job, Header | str]  # a job with what its photo's header says, or why that can't be read


def look(job: Job) -> Header | str:
    """Reads a photo's header; a sentence when it can't be read."""
    from bwcolor.photo.formats.header import read_header  # here, because it takes time to load

    try:
        return read_header(job.source)
    except PhotoError as error:
        return str(error)


def settle(plan: Plan, options: ColorizeOptions, looks: Iterable[Looked] | None = None) -> Plan:
    """Decides by each photo's header what it is written as and how that is called; what is too large is left out.

    looks: the headers, in any order; by default they are read here. An output of another format gets a second ending
    (scan.gif.png), so that no two photos ever share one. Where the user chose the format, the ending takes the place of
    the photo's own (scan.png), unless another photo has the same name before its ending (scan.tif). What can't be read
    stays in the plan: its own failure will tell why. Raises UsageError when an output would then replace one of the
    photos, or is to be of another format than its name says.
    """
    _refuse_other_ending(plan, options)
    headers = dict(looks) if looks is not None else {job: look(job) for job in plan.jobs}
    jobs, left_out = [], list(plan.left_out)
    for job in plan.jobs:
        header = headers[job]
        if isinstance(header, str):
            jobs.append(replace(job, bytes=_bytes(job.source)))
            continue
        try:
            jobs.append(_settled(job, header, plan, options))
        except PhotoError as error:
            left_out.append(LeftOut(job.source, str(error), failed=True))
    copies = options.color_input == "copy"
    settled = replace(plan, jobs=jobs, left_out=left_out)
    settled = settled if plan.named else _one_output_each(settled, copies)
    if len(settled.jobs) == 1 and settled.jobs[0].source == plan.single:
        settled = replace(settled, out=settled.jobs[0].target)
    _refuse_replacing(settled, copies)
    return settled


def _settled(job: Job, header: Header, plan: Plan, options: ColorizeOptions) -> Job:
    """The job with format and names; PhotoError when the photo is too large, or the format can't hold it."""
    named = NAMED_FORMATS.get(job.target.suffix.lower()) if job.target == plan.out else None
    differs = ending(job.target) != ending(job.source)
    check_size(header, options.max_pixels, options.max_file_pixels, options.max_pages)
    form = output_format(header, (named if differs else None) or options.format, options.eight_bit)
    known_name = ending(job.source) in NAMED_FORMATS
    own_name = (form == header.format and known_name) or (differs and named == form)
    target = job.target if own_name else _with_ending(job.target, WRITABLE[form], plan, options)
    copy_is_called_so = form == header.format and (known_name or not has_photo_name(job.source))
    copy = target if copy_is_called_so else _as_source(target, job.source)
    pixels = header.pixels * header.pages
    return replace(
        job, target=target, format=form, copy=copy, pixels=pixels, pages=header.pages, bytes=_bytes(job.source)
    )


def _with_ending(target: Path, ending: str, plan: Plan, options: ColorizeOptions) -> Path:
    """The name of an output of another format than its photo's."""
    bare = _bare(target)
    alone = plan.bare[any_case(str(bare))] <= 1
    return target.with_name((bare if options.format and alone else target).name + ending)


def _bare(target: Path) -> Path:
    """The path without a photo's ending, if it has one."""
    return target.with_suffix("") if has_photo_name(target) else target


def _bytes(photo: Path) -> int:
    try:
        return photo.stat().st_size
    except OSError:  # gone since the walk: its own failure will tell
        return 0


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


def _refuse_replacing(plan: Plan, copies: bool) -> None:
    """Raises UsageError where links or nested folders let an output fall on one of the photos, done or left out.

    copies: whether photos may be copied. A copy that falls on its own photo is told when it comes to that.
    """
    real = functools.cache(lambda folder: Path(os.path.realpath(folder)))
    sources = [job.source for job in plan.jobs] + [left.path for left in plan.left_out]
    photos: dict[str, list[Path]] = {}
    for path in sources:
        photos.setdefault(any_case(str(real(path.parent) / path.name)), []).append(path)
    for job in plan.jobs:
        for target in dict.fromkeys((job.target, job.copy) if copies else (job.target,)):
            place = real(target.parent) / target.name
            for hit in photos.get(any_case(str(place)), ()):
                own_copy = hit == job.source and target != job.target
                if not own_copy and same_name(real(hit.parent) / hit.name, place, plan.disk):
                    raise UsageError(
                        f"{target}: this output would replace one of your originals. Choose another --out."
                    )


def _single(photo: Path, out: Path | None, naming: Naming, disk_of: Callable[[Path], Disk]) -> Plan:
    if why := why_no_photo(photo):
        raise NoPhotosError(f"{photo} {why}. Kinds that can be read: {KINDS}.")
    named = out is not None and not S_ISDIR(mode_of(out)) and has_photo_name(out)
    folder = Path(os.path.abspath(out)) if out is not None and not named else None
    if out is None:
        target = photo.with_name(f"{photo.stem}{naming.suffix or '_colored'}{photo.suffix}")
    elif folder:
        target = naming.target(folder, Path(photo.name))
    else:
        target = Path(os.path.abspath(out))
        if target.suffix.lower() != photo.suffix.lower() and target.suffix.lower() not in NAMED_FORMATS:
            raise UsageError(f"--out {out}: outputs can be {', '.join(sorted(NAMED_FORMATS))}.")
    disk = disk_of(folder) if folder else Disk(target.parent)
    if mode_of(target) and (
        target.samefile(photo) or same_name(target.resolve(), photo.resolve(), Disk(target.parent))
    ):
        raise UsageError(f"--out {target} is the input itself: the output would replace your original.")
    return Plan([Job(photo, target)], [], target, photo, folder, single=photo, named=named, disk=disk)


def _one_output_each(plan: Plan, copies: bool) -> Plan:
    """All outputs with names of their own. copies: whether photos may be copied, so that their names count too."""
    jobs = plan.jobs
    out = plan.folder or plan.out.parent
    ends = [(job.target, job.copy) if copies else (job.target,) for job in jobs]
    wanted = [
        Wanted(tuple(path.relative_to(out) for path in paths), job.name) for job, paths in zip(jobs, ends, strict=True)
    ]
    told = []
    rules = plan.disk.rules(name for one in wanted for name in one.names)
    for job, names in zip(jobs, told_apart(wanted, rules), strict=True):
        target = out / names[0]
        copy = out / names[1] if copies else target if job.copy == job.target else job.copy
        told.append(replace(job, target=target, copy=copy))
    renamed = sum(job.target != one.target for job, one in zip(jobs, told, strict=True))
    return replace(plan, jobs=told, renamed=plan.renamed + renamed)
