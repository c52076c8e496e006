"""The main command: colorize folders and photos.

Heavy packages are imported inside the command, so that --help stays quick.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bwcolor.arguments import (
    ColorInput,
    Depth,
    Detail,
    DetailChoice,
    Device,
    LabelChoice,
    MaxPixels,
    ModelName,
    ProgressStyle,
    Redo,
    Sampling,
    Strength,
)
from bwcolor.colorize_arguments import (
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
    Suffix,
    Tile,
    Timeout,
    Verbose,
    Watch,
)
from bwcolor.exits import EXIT_SOME_FAILED, errors_as_sentences

if TYPE_CHECKING:
    from bwcolor.plan import Plan
    from bwcolor.progress import Style
    from bwcolor.runs.judge import Policy
    from bwcolor.runs.ledger import Making


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
    format_: FormatChoice = None,
    depth: DepthChoice = Depth.SAME,
    chroma: ChromaChoice = Sampling.HALF,
    chroma_quality: ChromaQuality = 92,
    color_input: ColorInputChoice = ColorInput.SKIP,
    label: LabelOption = LabelChoice.XMP,
    include: Include = None,
    exclude: Exclude = None,
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
    max_pages: MaxPages = 1_000,
    max_memory: MaxMemory = 0,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Colorize folders of black-and-white photos, or single ones. This is the main job."""
    with errors_as_sentences("run the same command again to go on; what is done is skipped", debug):
        from bwcolor.errors import UsageError
        from bwcolor.names import Naming
        from bwcolor.options import ColorizeOptions
        from bwcolor.plan import find_jobs, settle
        from bwcolor.progress import RunView
        from bwcolor.runs.judge import Policy
        from bwcolor.runs.ledger import making
        from bwcolor.runs.messages import Setup
        from bwcolor.runs.records import on_stdout, opened_records, report_path
        from bwcolor.runs.run import Run, opened_ledger, stoppable
        from bwcolor.runs.supervise import Supervisor
        from bwcolor.runs.watch import arrivals, remembered
        from bwcolor.walk import Choice, read_list

        options = ColorizeOptions(
            strength=strength, saturation=saturation, detail=detail.value, overwrite=overwrite, max_pixels=max_pixels,
            max_pages=max_pages, jobs=jobs, tile=tile, batch=batch, format=format_.value if format_ else None,
            eight_bit=depth is Depth.EIGHT, sampling=chroma.value, chroma_quality=chroma_quality,
            color_input=color_input.value, label=label.value,
        )  # fmt: skip
        policy = Policy(overwrite, redo is Redo.STALE, retry_failed, color_input.value, limit)
        listed = read_list(from_file, null) if from_file is not None else None
        choice, naming = Choice(tuple(include or ()), tuple(exclude or ()), listed), Naming(flat, suffix)
        if watch and limit is not None:
            raise UsageError("--limit and --watch don't go together: a watch has no end that a limit could count to.")
        if null and from_file is None:
            raise UsageError("-0 says how names in a list end; name the list with --from-file.")
        setup = Setup(model, device, options, max_memory * 1_000_000, debug)
        with Supervisor(setup, timeout) as worker, stoppable(worker):
            look = remembered(worker.look) if watch else worker.look

            def find() -> "Plan":
                plan = find_jobs(photos, out, overwrite, choice, naming, may_be_empty=watch)
                return settle(plan, options, look(plan.jobs))

            plan = find()
            ready = worker.ready()
            if dry_run:
                _print_plan(plan, making(ready, options), options.jobs, policy, ledger)
                return
            run = Run(worker, ready, options, policy)
            view = RunView(0, plan.root, verbose - quiet, STYLES[progress])
            with (
                opened_ledger(plan, ledger) as run.ledger,
                opened_records(report_path(report, plan.folder)) as records,
                run.told(plan, view, records, on_stdout(progress is ProgressStyle.JSON)),
            ):
                run.carry_out(arrivals(find, worker.rest, view.warn) if watch else [plan])
        if view.failed:
            raise typer.Exit(EXIT_SOME_FAILED)


def _print_plan(plan: "Plan", making: "Making", jobs: int, policy: "Policy", ledger: Path | None) -> None:
    from bwcolor.plan import Job
    from bwcolor.printable import printable
    from bwcolor.runs.estimate import needs
    from bwcolor.runs.run import foreseen

    wanted = []
    for job, verdict in foreseen(plan, making, policy, ledger):
        wanted += [verdict] if isinstance(verdict, Job) else []
        end = "" if isinstance(verdict, Job) else f" ({verdict.state}: {verdict.reason})"
        typer.echo(printable(f"{job.source} -> {job.target}{end}"))
    for left in plan.left_out:
        typer.echo(printable(f"{'failed' if left.failed else 'left out'}: {left.path}: {left.reason}"))
    if plan.unwanted:
        typer.echo(f"{plan.unwanted} not chosen (--include, --exclude)")
    if plan.renamed:
        typer.echo(f"{plan.renamed} got names of their own: others want the same, or no disk takes names as long")
    if wanted:
        typer.echo(f"to do: {needs(wanted, plan.out, jobs).in_words()}")
    typer.echo(f"{len(plan.jobs)} photos, {len(wanted)} to do; nothing was written (--dry-run)")
