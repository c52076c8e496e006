"""The main command: colorize folders and photos.

Heavy packages are imported inside the command, so that --help stays quick.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bwcolor.cli.colorize_options import (
    Batch,
    ChromaChoice,
    ChromaQuality,
    ColorInputChoice,
    Debug,
    DepthChoice,
    DryRun,
    Exclude,
    Flat,
    FormatChoice,
    FromFile,
    Hidden,
    Include,
    Jobs,
    LabelOption,
    Ledger,
    Limit,
    MaxMemory,
    MaxPages,
    Null,
    Out,
    Overwrite,
    Photos,
    ProgressChoice,
    Quiet,
    RedoChoice,
    Report,
    RetryFailed,
    Saturation,
    Sidecars,
    Suffix,
    Tile,
    Timeout,
    Verbose,
    Watch,
)
from bwcolor.cli.exit_codes import EXIT_SOME_FAILED, errors_as_sentences
from bwcolor.cli.options import (
    ColorInput,
    Depth,
    Detail,
    DetailChoice,
    Device,
    LabelChoice,
    MaxFilePixels,
    MaxPixels,
    ModelName,
    ProgressStyle,
    Redo,
    Sampling,
    SidecarChoice,
    Strength,
    Tones,
    TonesChoice,
)
from bwcolor.options import MAX_FILE_PIXELS

if TYPE_CHECKING:
    from bwcolor.batch.discovery import Choice
    from bwcolor.batch.ledger import Making
    from bwcolor.batch.messages import Setup
    from bwcolor.batch.naming import Naming
    from bwcolor.batch.plan import Plan
    from bwcolor.batch.progress import Style
    from bwcolor.batch.skip_policy import Policy
    from bwcolor.options import ColorizeOptions


STYLES: dict[ProgressStyle, "Style"] = {
    ProgressStyle.AUTO: "auto", ProgressStyle.RICH: "rich", ProgressStyle.PLAIN: "plain", ProgressStyle.JSON: "none",
    ProgressStyle.NONE: "none",
}  # fmt: skip


def colorize(
    photos: Photos,
    out: Out = None,
    model: ModelName = "default",
    device: Device = "auto",
    strength: Strength = 1.0,
    saturation: Saturation = 1.0,
    detail: DetailChoice = Detail.AUTO,
    tones: TonesChoice = Tones.FULL,
    format_: FormatChoice = None,
    depth: DepthChoice = Depth.SAME,
    chroma: ChromaChoice = Sampling.HALF,
    chroma_quality: ChromaQuality = 92,
    color_input: ColorInputChoice = ColorInput.SKIP,
    label: LabelOption = LabelChoice.XMP,
    sidecars: Sidecars = SidecarChoice.COPY,
    include: Include = None,
    exclude: Exclude = None,
    hidden: Hidden = False,
    from_file: FromFile = None,
    null: Null = False,
    limit: Limit = None,
    flat: Flat = False,
    suffix: Suffix = "",
    redo: RedoChoice = None,
    retry_failed: RetryFailed = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    watch: Watch = False,
    ledger: Ledger = None,
    report: Report = None,
    progress: ProgressChoice = ProgressStyle.AUTO,
    timeout: Timeout = 600,
    jobs: Jobs = 0,
    tile: Tile = 0,
    batch: Batch = 0,
    max_pixels: MaxPixels = 300_000_000,
    max_file_pixels: MaxFilePixels = MAX_FILE_PIXELS,
    max_pages: MaxPages = 1_000,
    max_memory: MaxMemory = 0,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Colorize folders of black-and-white photos, or single ones. This is the main job."""
    with errors_as_sentences("run the same command again to continue; finished photos are skipped", debug):
        from bwcolor.batch.discovery import Choice, read_list
        from bwcolor.batch.messages import Setup
        from bwcolor.batch.naming import Naming
        from bwcolor.batch.plan import NAMED_FORMATS
        from bwcolor.batch.skip_policy import Policy
        from bwcolor.errors import UsageError
        from bwcolor.options import ColorizeOptions

        options = ColorizeOptions(
            strength=strength, saturation=saturation, detail=detail.value, overwrite=overwrite, max_pixels=max_pixels,
            max_file_pixels=max_file_pixels, max_pages=max_pages, jobs=jobs, tile=tile, batch=batch,
            format=NAMED_FORMATS[f".{format_}"] if format_ else None, eight_bit=depth is Depth.EIGHT,
            sampling=chroma.value, chroma_quality=chroma_quality, color_input=color_input.value, label=label.value,
            sidecars=sidecars.value, tones=tones.value,
        )  # fmt: skip
        policy = Policy(overwrite, redo is Redo.STALE, retry_failed, color_input.value, limit)
        listed = read_list(from_file, null) if from_file is not None else None
        if watch and limit is not None:
            raise UsageError("--limit and --watch don't go together: a watch has no end that a limit could count to.")
        if null and from_file is None:
            raise UsageError("-0 (--null) says how the names in a list are separated: it needs --from-file LIST.")
        failed = _carry_out(
            Setup(model, device, options, max_memory * 1_000_000, debug),
            _Order(
                photos, out, Choice(tuple(include or ()), tuple(exclude or ()), listed, hidden), Naming(flat, suffix),
                policy, timeout, watch, dry_run, ledger, report, progress, verbose - quiet,
            ),
        )  # fmt: skip
        if failed:
            raise typer.Exit(EXIT_SOME_FAILED)


@dataclass(frozen=True, slots=True)
class _Order:
    """What a run is to do and to tell, as the user said."""

    photos: list[Path]
    out: Path | None
    choice: "Choice"
    naming: "Naming"
    policy: "Policy"
    timeout: float
    watch: bool
    dry_run: bool
    ledger: Path | None
    report: str | None
    progress: ProgressStyle
    loudness: int


def _carry_out(setup: "Setup", order: _Order) -> bool:
    """Plans and carries out a run, or says what it would do; returns whether any photo failed."""
    from bwcolor.batch.hot_folder import arrivals, remembered
    from bwcolor.batch.ledger import making
    from bwcolor.batch.plan import find_jobs, settle
    from bwcolor.batch.progress import RunView
    from bwcolor.batch.run import Run, opened_ledger, removed_if_useless, stoppable
    from bwcolor.batch.run_report import on_stdout, opened_records, report_path
    from bwcolor.batch.supervisor import Supervisor
    from bwcolor.system.disk import Disk

    options = setup.options
    with Supervisor(setup, order.timeout) as worker, stoppable(worker):
        look = remembered(worker.look) if order.watch else worker.look
        disk_of = functools.cache(functools.partial(Disk, may_write=not order.dry_run))

        def find() -> "Plan":
            plan = find_jobs(
                order.photos, order.out, options.overwrite, order.choice, order.naming, order.watch, disk_of
            )
            return settle(plan, options, look(plan.jobs))

        plan = find()
        ready = worker.ready()
        if order.dry_run:
            _print_plan(plan, making(ready, options), options, order.policy, order.ledger)
            return False
        run = Run(worker, ready, options, order.policy)
        report = report_path(order.report, plan.folder)
        view = RunView(0, plan.root, order.loudness, STYLES[order.progress], report)
        with (
            removed_if_useless(plan.folder, view),
            opened_ledger(plan, order.ledger) as run.ledger,
            opened_records(report) as records,
            run.told(plan, view, records, on_stdout(order.progress is ProgressStyle.JSON)),
        ):
            if order.watch:
                view.say(f"Watching {', '.join(map(str, order.photos))} for photos. Press Ctrl-C to stop.")
            run.carry_out(arrivals(find, worker.rest, view.warn) if order.watch else [plan], endless=order.watch)
    return view.failed


def _print_plan(
    plan: "Plan", making: "Making", options: "ColorizeOptions", policy: "Policy", ledger: Path | None
) -> None:
    from bwcolor.batch.estimate import needs
    from bwcolor.batch.naming import marks_in_words
    from bwcolor.batch.plan import Job
    from bwcolor.batch.progress import sidecars_in_words
    from bwcolor.batch.run import foreseen
    from bwcolor.batch.sidecars import Sidecars
    from bwcolor.system.text import printable

    wanted: list[Job] = []
    left = 0
    for job, verdict in foreseen(plan, making, policy, ledger):
        if isinstance(verdict, Job) and policy.limit is not None and len(wanted) >= policy.limit:
            left += 1
            continue
        wanted += [verdict] if isinstance(verdict, Job) else []
        end = "" if isinstance(verdict, Job) else f" ({verdict.state}: {verdict.reason})"
        typer.echo(printable(f"{job.source} -> {job.target}{end}"))
    for other in plan.left_out:
        typer.echo(printable(f"{'failed' if other.failed else 'left out'}: {other.path}: {other.reason}"))
    if left:
        typer.echo(f"{left:,} left for another run (--limit)")
    if plan.unwanted:
        typer.echo(f"{plan.unwanted:,} not chosen (--include, --exclude)")
    if plan.hidden:
        typer.echo(printable(plan.hidden.in_words()))
    if plan.renamed:
        typer.echo(marks_in_words(plan.renamed))
    if options.sidecars == "copy" and (count := Sidecars(plan).count(wanted)):
        typer.echo(f"{sidecars_in_words(count)} to copy (XMP, JSON)")
    if wanted:
        records = plan.folder is not None and ledger is None
        typer.echo(f"to do: {needs(wanted, plan.out, options.jobs, options.detail, records).in_words()}")
    photos = "1 photo" if len(plan.jobs) == 1 else f"{len(plan.jobs):,} photos"
    typer.echo(f"{photos}, {len(wanted):,} to do; nothing was written (--dry-run)")
