"""The main command: colorize folders and photos.

Heavy packages are imported inside the command, so that --help stays quick.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    OutputFormat,
    ProgressStyle,
    Redo,
    Sampling,
    Strength,
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
    photos: Annotated[
        list[Path],
        typer.Argument(metavar="PHOTOS...", readable=False, help="Folders, taken with their sub-folders, or photos."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where the colour photos go; by default PHOTOS_colored beside the input, for one photo NAME_colored."
        ),
    ] = None,
    model: ModelName = "default",
    device: Device = "auto",
    strength: Strength = 1.0,
    saturation: Annotated[float, typer.Option(help="A further factor on colour, 0 to 4.")] = 1.0,
    detail: DetailChoice = Detail.AUTO,
    format_: Annotated[
        OutputFormat | None, typer.Option("--format", help="Of the outputs; by default each photo's own.")
    ] = None,
    depth: Annotated[Depth, typer.Option(help="8 writes 8 bits of photos that have more.")] = Depth.SAME,
    chroma: Annotated[
        Sampling, typer.Option(help="Resolution of colour in JPEG and AVIF: half (420) or full (444).")
    ] = Sampling.HALF,
    chroma_quality: Annotated[int, typer.Option(min=1, max=100, help="JPEG quality of colour.")] = 92,
    color_input: Annotated[
        ColorInput, typer.Option(help="What becomes of photos that are in colour already.")
    ] = ColorInput.SKIP,
    label: Annotated[
        LabelChoice, typer.Option(help="xmp: outputs say in metadata how they were made. visible: so does a mark.")
    ] = LabelChoice.XMP,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Take only what fits, such as '*.tif'. Repeatable."),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Leave out files and folders that fit. Repeatable.")
    ] = None,
    from_file: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Take only the photos that a file lists; - is standard input."),
    ] = None,
    null: Annotated[bool, typer.Option("--null", "-0", help="Names in LIST end with NUL instead of lines.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Work on at most N photos in this run.")] = None,
    flat: Annotated[bool, typer.Option("--flat", help="Put all outputs into one folder.")] = False,
    suffix: Annotated[str, typer.Option(metavar="TEXT", help="Put before the ending of outputs: _colored.")] = "",
    redo: Annotated[
        Redo | None, typer.Option(help="stale: photos made with another model or other settings are made anew.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try photos again that failed for good in an earlier run.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Make all anew, and replace whatever has their names.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be done.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on with photos that come into the folders later.")] = False,
    ledger: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Record of what is done; by default in the output folder.")
    ] = None,
    report: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Report, .jsonl, .csv or none; by default in the output folder."),
    ] = None,
    progress: Annotated[
        ProgressStyle, typer.Option(help="rich: a bar. plain: lines. json: records on standard output.")
    ] = ProgressStyle.AUTO,
    timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="Give up a photo, or a page, after so long.")
    ] = 600,
    jobs: Annotated[int, typer.Option(min=0, help="Photos worked on at once; 0: one per core, at most 4.")] = 0,
    max_pixels: MaxPixels = 300_000_000,
    max_pages: Annotated[int, typer.Option(min=1, help="Refuse TIFFs with more pages than this.")] = 1_000,
    max_memory: Annotated[
        int, typer.Option(min=0, metavar="MB", help="Memory that may be used; 0: four fifths of the computer's.")
    ] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only what failed or was left out.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print a line for every photo.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where inside bwcolor an error came from.")] = False,
) -> None:
    """Colorize folders of black-and-white photos, or single ones. This is the main job."""
    with errors_as_sentences("run the same command again to go on; what is done is skipped", debug):
        from bwcolor.errors import UsageError
        from bwcolor.names import Naming
        from bwcolor.options import ColorizeOptions
        from bwcolor.plan import find_jobs, settle
        from bwcolor.progress import RunView
        from bwcolor.runs.judge import Policy
        from bwcolor.runs.ledger import Making
        from bwcolor.runs.messages import Setup
        from bwcolor.runs.records import on_stdout, opened_records, report_path
        from bwcolor.runs.run import Run, opened_ledger, stoppable
        from bwcolor.runs.supervise import Supervisor
        from bwcolor.runs.watch import arrivals, remembered
        from bwcolor.walk import Choice, read_list

        options = ColorizeOptions(
            strength=strength, saturation=saturation, detail=detail.value, overwrite=overwrite, max_pixels=max_pixels,
            max_pages=max_pages, jobs=jobs, format=format_.value if format_ else None,
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
            look = remembered(worker.look)

            def find() -> "Plan":
                plan = find_jobs(photos, out, overwrite, choice, naming, may_be_empty=watch)
                return settle(plan, options, look(plan.jobs))

            plan = find()
            ready = worker.ready()
            if dry_run:
                _print_plan(plan, Making(ready.sha256, ready.label, options.as_json()), options.jobs, policy, ledger)
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
