"""The command line: parse, call the library, say what happened, exit. Only command modules exit (see `exits`).

Heavy packages are imported inside the commands, so that --help stays quick.
"""

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from bwcolor import __version__
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
    Sampling,
    Strength,
)
from bwcolor.eval_cli import evaluate
from bwcolor.exits import EXIT_SOME_FAILED, errors_as_sentences
from bwcolor.models_cli import models
from bwcolor.train_cli import export, train
from bwcolor.verify_cli import verify

if TYPE_CHECKING:
    from bwcolor.plan import Plan

MAIN_COMMAND = "colorize"
GROUP_OPTIONS = ("--help", "-h", "--version")

EPILOG = (
    "A folder that is called like a command is written ./train. Exit codes: 0 all done or skipped,"
    " 1 some photos failed, 2 usage, 3 device or package missing, 4 model, 5 folder or disk,"
    " 6 no photos found, 130 interrupted."
)


class MainCommandGroup(TyperGroup):
    """A group whose command `colorize` runs when no command is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "" in args:  # an unset "$FOLDER" in a script: taken for a path, it would be the current folder
            raise typer.BadParameter("an argument is empty. Name a folder, or ./ for the one you are in.")
        if args and args[0] not in self.commands and args[0] not in GROUP_OPTIONS:
            args = [MAIN_COMMAND, *args]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        main = self.commands[MAIN_COMMAND]
        rows = [row for parameter in main.get_params(ctx) if (row := parameter.get_help_record(ctx))]
        with formatter.section("Options of the main job"):
            formatter.write_dl([row for row in rows if "--help" not in row[0]])
        super().format_options(ctx, formatter)


app = typer.Typer(
    cls=MainCommandGroup, rich_markup_mode=None, add_completion=False, no_args_is_help=True,
    subcommand_metavar="PHOTOS | COMMAND ...", context_settings={"help_option_names": ["--help", "-h"]},
    epilog=EPILOG,
)  # fmt: skip


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bwcolor {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Colorize folders of old black-and-white photographs: bwcolor ./photos --out ./colored"""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names that the terminal's encoding lacks


@app.command(MAIN_COMMAND)
def colorize(
    photos: Annotated[Path, typer.Argument(readable=False, help="A folder, taken with its sub-folders, or one photo.")],
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
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be done.")] = False,
    jobs: Annotated[int, typer.Option(min=0, help="Photos worked on at once; 0: one per core, at most 4.")] = 0,
    max_pixels: MaxPixels = 300_000_000,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only what failed or was left out.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print a line for every photo.")] = False,
) -> None:
    """Colorize a folder of black-and-white photos, or one photo. This is the main job."""
    with errors_as_sentences("run the same command again to go on; what is done is skipped"):
        from bwcolor.options import ColorizeOptions
        from bwcolor.pipeline import run
        from bwcolor.plan import find_jobs, settle
        from bwcolor.progress import RunView
        from bwcolor.zoo import load

        options = ColorizeOptions(
            strength=strength, saturation=saturation, detail=detail.value, overwrite=overwrite, max_pixels=max_pixels,
            jobs=jobs, format=format_.value if format_ else None,
            eight_bit=depth is Depth.EIGHT, sampling=chroma.value, chroma_quality=chroma_quality,
            color_input=color_input.value, label=label.value,
        )  # fmt: skip
        plan = settle(find_jobs(photos, out, overwrite), options)
        if dry_run:
            _print_plan(plan, overwrite)
            return
        with RunView(len(plan.jobs), photos.absolute(), verbose - quiet) as view:
            network = load(model, device)
            view.say(*network.lines)
            for left in plan.left_out:
                view.leave_out(left)
            for outcome in run(plan.jobs, network, options):
                view.show(outcome)
            view.summarize(plan.out)
        if view.report.states["failed"] or any(left.failed for left in plan.left_out):
            raise typer.Exit(EXIT_SOME_FAILED)


app.command("eval")(evaluate)
app.command()(verify)
app.command()(train)
app.command()(export)
app.add_typer(models, name="models")


def _print_plan(plan: "Plan", overwrite: bool) -> None:
    from bwcolor.progress import printable

    for job in plan.jobs:
        exists = os.path.lexists(job.target) and not overwrite
        typer.echo(printable(f"{job.source} -> {job.target}") + (" (exists: skipped)" if exists else ""))
    for left in plan.left_out:
        typer.echo(printable(f"left out: {left.path}: {left.reason}"))
    typer.echo(f"{len(plan.jobs)} photos; nothing was written (--dry-run)")
