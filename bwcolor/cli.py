"""The command line: parse, call the library, say what happened, exit. Only command modules exit (see `exits`).

Heavy packages are imported inside the commands, so that --help stays quick.
"""

import enum
import io
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from bwcolor import __version__
from bwcolor.errors import DeviceError, ModelError, NoPhotosError, PhotoError, UsageError
from bwcolor.exits import EXIT_SOME_FAILED
from bwcolor.exits import errors_as_sentences as _errors_as_sentences
from bwcolor.models_cli import models

if TYPE_CHECKING:
    from bwcolor.evaluate import Evaluation
    from bwcolor.plan import Plan
    from bwcolor.progress import RunView
    from bwcolor.session import Average, OnnxModel

MAIN_COMMAND = "colorize"
GROUP_OPTIONS = ("--help", "-h", "--version")
TRAINING_PACKAGES = ("torch", "torchvision", "onnx", "onnxscript", "matplotlib")

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

app.add_typer(models, name="models")

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; an explicit cuda never runs on the CPU.")]
ModelName = Annotated[
    str,
    typer.Option(
        "--model", metavar="NAME|FILE.onnx|A+B",
        help="A model's name (`bwcolor models` lists them), an ONNX file, or two of those, whose colours are averaged.",
    ),
]  # fmt: skip
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
    card: Annotated[
        bool, typer.Option("--card", help="Write the figures beside the model too, for `bwcolor models info`.")
    ] = False,
    max_pixels: MaxPixels = 300_000_000,
) -> None:
    """Measure a model: make colour photos gray, colorize them, compare with the truth."""
    with _errors_as_sentences():
        from bwcolor.card import with_card, write_card
        from bwcolor.evaluate import evaluate_photo
        from bwcolor.options import ColorizeOptions
        from bwcolor.plan import find_jobs
        from bwcolor.progress import RunView, printable

        options = ColorizeOptions(strength, detail.value, max_pixels=max_pixels)
        plan = find_jobs(photos, None)
        paths = [job.source for job in plan.jobs]
        results: list[Evaluation] = []
        with RunView(len(paths), photos.absolute(), 0) as view:
            network = _load(model, device, view)
            measured = with_card(network) if card else None
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
        protocol += f"; BT.601 gray input; detail {detail.value}; strength {strength:g}"
        typer.echo(printable(f"Model {network.label}"))
        typer.echo(f"Protocol: {protocol}; means over {len(results)} photos")
        _print_scores(results, worst)
        if measured:
            written = write_card(measured, photos, protocol, results, len(paths) - len(results))
            typer.echo(printable(f"Written to {written}"))
        if len(results) < len(paths) or any(left.failed for left in plan.left_out):
            raise typer.Exit(EXIT_SOME_FAILED)


@app.command()
def train(
    photos: Annotated[
        str, typer.Argument(help="A folder of colour photos (with its sub-folders), or the name of a data set.")
    ] = "",
    out: Annotated[Path | None, typer.Option(help="Folder for checkpoints and logs; by default runs/RECIPE.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Name of a recipe; 'default' for a folder, 'unet-cifar' without photos.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List recipes and data sets.")] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    init_from: Annotated[Path | None, typer.Option(help="Take the first weights from this checkpoint.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Train for this long in all instead of the recipe's number of steps.")
    ] = None,
    fit: Annotated[
        list[str] | None, typer.Option(help="Only photos whose manifest says this of fit_for_training, such as yes.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="The manifest (CSV); by default MANIFEST.csv in the folder or above.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder for downloads and decoded photos.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="Processor threads; 0: as many as there are cores.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Write the log files only.")] = False,
) -> None:
    """Train a generator on colour photos (needs the extra bwcolor[train])."""
    chosen = recipe or ("default" if photos else "unet-cifar")
    folder = out or Path("runs", chosen)
    with _errors_as_sentences(f"add --resume to go on from the last checkpoint in {folder}"):
        if list_:
            _print_recipes()
            return
        _need_training_packages()
        from bwcolor_training.config import load_recipe
        from bwcolor_training.datasets import default_cache
        from bwcolor_training.loop import Source, is_main
        from bwcolor_training.loop import train as run_training
        from bwcolor_training.progress import TrainingLog

        if resume and (settings or init_from):
            raise UsageError(
                "--resume goes on with the settings and weights of last.pt: leave out --set and --init-from."
            )
        config = None if resume and recipe is None else load_recipe(chosen, settings or [])
        source = Source(photos, cache or default_cache(), frozenset(fit) if fit else None, manifest)
        with TrainingLog(folder, is_main(), quiet) as log:
            checkpoint = run_training(
                source, folder, config, resume=resume, init_from=init_from, minutes=minutes, log=log,
                device=device, threads=threads,
            )  # fmt: skip
        if is_main():
            from bwcolor_export.onnx import ExportOptions, export_onnx

            model = checkpoint.with_suffix(".onnx")
            export_onnx(checkpoint, model, ExportOptions(), overwrite=True)
            typer.echo(f"{folder / 'report.html'}: how it went. {folder / 'samples'}: what it looks like.")
            typer.echo(f"{model} colorizes: bwcolor PHOTOS --model {model}")


def _print_recipes() -> None:
    from bwcolor_training.config import recipes
    from bwcolor_training.datasets import DATASETS

    typer.echo("Recipes (--recipe NAME):")
    for name, purpose in recipes().items():
        typer.echo(f"  {name:20}{purpose}")
    typer.echo("Data sets (by name instead of a folder):")
    for name, about in DATASETS.items():
        size = f"{about.gigabytes:g} GB" if about.url or about.torchvision else "unpacked by hand"
        typer.echo(
            f"  {name:20}{about.purpose} {about.photos:,} photos, {size}, licence: {about.licence}; {about.page}"
        )


@app.command()
def export(
    checkpoint: Annotated[
        Path, typer.Argument(help="A checkpoint of bwcolor train, such as runs/default/model.pt; or see --arch.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The ONNX file; by default beside the checkpoint.")
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32, fp16 (for GPUs) or int8 (for CPUs).")] = "fp32",
    name: Annotated[str, typer.Option(help="The model's name, written into the file.")] = "",
    licence: Annotated[
        str, typer.Option("--licence", "--license", help="Licence of the weights, written into the file.")
    ] = "not stated",
    model_version: Annotated[str, typer.Option(help="The model's version, written into the file.")] = "1",
    training_data: Annotated[
        str, typer.Option(help="One sentence on what it was trained on; by default what the checkpoint says.")
    ] = "",
    network_size: Annotated[
        int, typer.Option(min=0, help="px; the scale at which it sees whole photos; 0: the recipe's.")
    ] = 0,
    tile_size: Annotated[int, typer.Option(min=0, help="px; side of its tiles; 0: the network's size.")] = 0,
    gain: Annotated[float, typer.Option(min=0.01, help="Factor on all chroma, built into the file.")] = 1.0,
    calibrate: Annotated[
        Path | None, typer.Option(help="A folder of photos that set the ranges of int8; by default a bundled handful.")
    ] = None,
    atol: Annotated[
        float, typer.Option(min=0, help="fp32: largest difference from PyTorch, a*b* units; above, there is no file.")
    ] = 0.05,
    max_de00: Annotated[
        float, typer.Option("--max-de00", min=0, help="fp16, int8: largest mean CIEDE2000 against fp32.")
    ] = 0.5,
    max_de00_p99: Annotated[
        float, typer.Option("--max-de00-p99", min=0, help="fp16, int8: the same, 99th percentile over pixels.")
    ] = 2.0,
    arch: Annotated[
        str, typer.Option(metavar="RECIPE", help="The file is a plain state dict of this recipe's network.")
    ] = "",
    input_kind: Annotated[str, typer.Option(help="With --arch: what it was fed, luma or l (L* of CIELAB).")] = "",
    input_range: Annotated[
        str, typer.Option(metavar="LOW,HIGH", help="With --arch: what it was fed for black and white.")
    ] = "",
    output_kind: Annotated[str, typer.Option(help="With --arch: what it gives, cbcr or ab (a*b* of CIELAB).")] = "",
    output_range: Annotated[
        str, typer.Option(metavar="LOW,HIGH", help="With --arch: the ends of Cb and Cr, or a* and b* of -128 and 128.")
    ] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the ONNX file if it exists.")] = False,
) -> None:
    """Turn a checkpoint into one ONNX file that says how to use it (needs the extra bwcolor[train])."""
    with _errors_as_sentences():
        _need_training_packages()
        from bwcolor_export.contract import told_contract
        from bwcolor_export.onnx import ExportOptions, export_onnx

        from bwcolor.progress import printable

        target = output or checkpoint.with_suffix(".onnx")
        contract = told_contract(arch, input_kind, output_kind, input_range, output_range)
        options = ExportOptions(
            name, model_version, licence, training_data, network_size, tile_size, gain, precision, calibrate,
            contract, atol, max_de00, max_de00_p99,
        )  # fmt: skip
        result = export_onnx(checkpoint, target, options, overwrite)
        for line in result.lines():
            typer.echo(line)
        typer.echo(printable(f"{target}: {result.size / 1e6:.1f} MB, SHA-256 {result.sha256}"))


def _load(model: str, device: str, view: "RunView") -> "OnnxModel | Average":
    from bwcolor.zoo import load

    network = load(model, device)
    for line in network.lines:
        view.say(line)
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
