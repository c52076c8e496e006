"""The command line: parse, call the library, say what happened, exit. The only module that exits.

Heavy packages are imported inside the commands, so that --help stays quick.
"""

import enum
import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from bwcolor import __version__
from bwcolor.errors import BwcolorError, DeviceError, ModelError, NoPhotosError, PhotoError, UsageError

if TYPE_CHECKING:
    from bwcolor.evaluate import Evaluation
    from bwcolor.plan import Plan
    from bwcolor.progress import RunView
    from bwcolor.session import OnnxModel

MAIN_COMMAND = "colorize"
GROUP_OPTIONS = ("--help", "-h", "--version")
TRAINING_PACKAGES = ("torch", "torchvision", "onnx", "onnxscript")
EXIT_SOME_FAILED, EXIT_INTERRUPTED = 1, 130

EPILOG = (
    "A folder that is called like a command is written ./train. Exit codes: 0 all done or skipped,"
    " 1 some photos failed, 2 usage, 3 device or package missing, 4 model, 5 folder or disk,"
    " 6 no photos found, 130 interrupted."
)


class Detail(enum.StrEnum):
    """The choices of --detail."""

    FAST = "fast"
    AUTO = "auto"
    MAX = "max"


class MainCommandGroup(TyperGroup):
    """A group whose command `colorize` runs when no command is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
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

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; an explicit cuda never runs on the CPU.")]
ModelName = Annotated[str, typer.Option("--model", metavar="NAME|FILE.onnx", help="A bundled model or an ONNX file.")]
Strength = Annotated[float, typer.Option(help="How much colour: 0 (gray) to 1 (as the model says).")]
DetailChoice = Annotated[
    Detail, typer.Option(help="fast: one pass over the photo. max: tiles add detail. auto: what measured best.")
]
MaxPixels = Annotated[int, typer.Option(min=1, help="Refuse photos with more pixels than this.")]


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
    detail: DetailChoice = Detail.AUTO,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be done.")] = False,
    jobs: Annotated[int, typer.Option(min=0, help="Photos worked on at once; 0: one per core, at most 4.")] = 0,
    max_pixels: MaxPixels = 300_000_000,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only what failed or was left out.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print a line for every photo.")] = False,
) -> None:
    """Colorize a folder of black-and-white photos, or one photo. This is the main job."""
    with _errors_as_sentences("run the same command again to go on; what is done is skipped"):
        from bwcolor.options import ColorizeOptions
        from bwcolor.pipeline import run
        from bwcolor.plan import find_jobs
        from bwcolor.progress import RunView

        options = ColorizeOptions(strength, detail.value, overwrite, max_pixels, jobs)
        plan = find_jobs(photos, out, overwrite)
        if dry_run:
            _print_plan(plan, overwrite)
            return
        with RunView(len(plan.jobs), photos.absolute(), verbose - quiet) as view:
            network = _load(model, device, view)
            for left in plan.left_out:
                view.leave_out(left)
            for outcome in run(plan.jobs, network, options):
                view.show(outcome)
            view.summarize(plan.out)
        if view.report.states["failed"] or any(left.failed for left in plan.left_out):
            raise typer.Exit(EXIT_SOME_FAILED)


@app.command("eval")
def evaluate(
    photos: Annotated[Path, typer.Argument(help="A folder of colour photos, or one.")],
    model: ModelName = "default",
    device: Device = "auto",
    strength: Strength = 1.0,
    detail: DetailChoice = Detail.AUTO,
    size: Annotated[
        int, typer.Option(min=0, help="px of the centre square that each photo is reduced to; 0: as it is.")
    ] = 256,
    worst: Annotated[int, typer.Option(min=0, help="Also list this many photos with the largest error.")] = 0,
    max_pixels: MaxPixels = 300_000_000,
) -> None:
    """Measure a model: make colour photos gray, colorize them, compare with the truth."""
    with _errors_as_sentences():
        from bwcolor.evaluate import evaluate_photo
        from bwcolor.options import ColorizeOptions
        from bwcolor.plan import find_jobs
        from bwcolor.progress import RunView

        options = ColorizeOptions(strength, detail.value, max_pixels=max_pixels)
        plan = find_jobs(photos, None)
        paths = [job.source for job in plan.jobs]
        results: list[Evaluation] = []
        with RunView(len(paths), photos.absolute(), 0) as view:
            network = _load(model, device, view)
            for left in plan.left_out:
                view.leave_out(left)
            for path in paths:
                try:
                    results.append(evaluate_photo(path, network, options, size))
                except (PhotoError, ModelError) as error:
                    view.warn(f"failed: {path}: {error}")
                view.advance(path)
        if not results:
            raise NoPhotosError(f"{photos}: none of its {len(paths)} photos can be evaluated.")
        protocol = f"centre crop to a square, area resize to {size} px" if size else "whole photos at their own size"
        typer.echo(f"Model {network.spec.name} {network.spec.version} ({network.sha256[:12]}), detail {detail.value}")
        typer.echo(f"Protocol: {protocol}; BT.601 gray input; means over {len(results)} photos; strength {strength:g}")
        _print_scores(results, worst)
        if len(results) < len(paths) or any(left.failed for left in plan.left_out):
            raise typer.Exit(EXIT_SOME_FAILED)


@app.command()
def train(
    photos: Annotated[Path, typer.Argument(help="A folder of colour photos (with its sub-folders).")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, logs and decoded photos.")] = Path("runs/default"),
    recipe: Annotated[str, typer.Option(help="Name of a recipe.")] = "default",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    init_from: Annotated[Path | None, typer.Option(help="Take the first weights from this checkpoint.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Train for this long in all instead of the recipe's number of steps.")
    ] = None,
    threads: Annotated[int, typer.Option(min=0, help="Processor threads; 0: as many as there are cores.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Write the log files only.")] = False,
) -> None:
    """Train a generator on a folder of colour photos (needs the extra bwcolor[train])."""
    with _errors_as_sentences(f"add --resume to go on from the last checkpoint in {out}"):
        _need_training_packages()
        from bwcolor_training.config import load_recipe
        from bwcolor_training.loop import is_main
        from bwcolor_training.loop import train as run_training
        from bwcolor_training.progress import TrainingLog

        if resume and (settings or init_from):
            raise UsageError(
                "--resume goes on with the settings and weights of last.pt: leave out --set and --init-from."
            )
        config = load_recipe(recipe, settings or [])
        with TrainingLog(out, is_main(), quiet) as log:
            checkpoint = run_training(
                photos, out, config, resume=resume, init_from=init_from, minutes=minutes, log=log, threads=threads
            )
        if is_main():
            typer.echo(f"{checkpoint} is ready for: bwcolor export {checkpoint}")


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint of bwcolor train, such as runs/default/model.pt.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The ONNX file; by default beside the checkpoint.")
    ] = None,
    name: Annotated[str, typer.Option(help="The model's name, written into the file.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the weights, written into the file.")] = "not stated",
    model_version: Annotated[str, typer.Option(help="The model's version, written into the file.")] = "1",
    network_size: Annotated[int, typer.Option(min=32, help="px; the scale at which it sees whole photos.")] = 256,
    tile_size: Annotated[int, typer.Option(min=32, help="px; side of its tiles.")] = 256,
    gain: Annotated[float, typer.Option(min=0.01, help="Factor on all chroma, built into the file.")] = 1.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the ONNX file if it exists.")] = False,
) -> None:
    """Turn a checkpoint into one ONNX file that says how to use it (needs the extra bwcolor[train])."""
    with _errors_as_sentences():
        _need_training_packages()
        from bwcolor_export.onnx import ExportOptions, export_onnx

        target = output or checkpoint.with_suffix(".onnx")
        options = ExportOptions(name, model_version, licence, network_size, tile_size, gain)
        result = export_onnx(checkpoint, target, options, overwrite)
        for parity in result.parity:
            typer.echo(
                f"parity of {parity.pictures} at {parity.height} x {parity.width}:"
                f" largest difference {parity.largest:.2e}, mean {parity.mean:.2e} (chroma, -0.5..0.5)"
            )
        typer.echo(f"{target}: {result.size / 1e6:.1f} MB, SHA-256 {result.sha256}")


def _load(model: str, device: str, view: "RunView") -> "OnnxModel":
    from bwcolor.session import load_model
    from bwcolor.zoo import find_model

    network = load_model(find_model(model), device)
    spec = network.spec
    view.say(
        f"model {spec.name} {spec.version} (SHA-256 {network.sha256[:12]}…), device {network.device}: {network.why}"
    )
    return network


def _print_plan(plan: "Plan", overwrite: bool) -> None:
    from bwcolor.progress import printable

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names that the terminal's encoding lacks
    for job in plan.jobs:
        exists = os.path.lexists(job.target) and not overwrite
        typer.echo(printable(f"{job.source} -> {job.target}") + (" (exists: skipped)" if exists else ""))
    for left in plan.left_out:
        typer.echo(printable(f"left out: {left.path}: {left.reason}"))
    typer.echo(f"{len(plan.jobs)} photos; nothing was written (--dry-run)")


def _print_scores(results: "list[Evaluation]", worst: int) -> None:
    from bwcolor.metrics import summarize
    from bwcolor.progress import printable

    typer.echo(f"{'':8}{'PSNR dB':>10}{'CIEDE2000':>12}{'colourfulness':>16}{'of truth':>11}")
    for name, summary in (
        ("model", summarize([r.model for r in results])),
        ("gray", summarize([r.gray for r in results])),
    ):
        ratio = f"{100 * summary.colourfulness_ratio:.1f} %"
        typer.echo(f"{name:8}{summary.psnr:10.2f}{summary.de00:12.2f}{summary.colourfulness:16.2f}{ratio:>11}")
    typer.echo(f"{'truth':8}{'':22}{summary.colourfulness_truth:16.2f}")
    for result in sorted(results, key=lambda r: -r.model.de00)[:worst]:
        typer.echo(
            printable(f"{result.path}: CIEDE2000 {result.model.de00:.2f} (gray {result.gray.de00:.2f}),")
            + f" PSNR {result.model.psnr:.2f} dB (gray {result.gray.psnr:.2f})"
        )


def _need_training_packages() -> None:
    missing = [name for name in TRAINING_PACKAGES if find_spec(name) is None]
    if missing:
        raise DeviceError(
            f"This command needs {', '.join(missing)}: pip install 'bwcolor[train]',"
            " or '.[train]' where bwcolor's source is."
        )


@contextmanager
def _errors_as_sentences(interrupted: str = "nothing was written") -> Iterator[None]:
    """Turns our own errors into one line and their exit code; anything else is a bug and propagates.

    interrupted: what to say after Ctrl-C.
    """
    try:
        with warnings.catch_warnings():  # decoders warn of odd metadata; a damaged photo raises
            warnings.simplefilter("ignore")
            yield
    except BwcolorError as error:
        from bwcolor.progress import printable

        typer.echo(f"error: {printable(error)}", err=True)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        typer.echo(f"interrupted: {interrupted}", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
