"""The commands `bwcolor train` and `bwcolor export`, which need the packages of the extra `train`.

Heavy packages are imported inside the commands, so that --help stays quick.
"""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from bwcolor.cli.exit_codes import errors_as_sentences
from bwcolor.errors import DeviceError, FolderError, UsageError
from bwcolor.models.names import check_not_reserved

TRAINING_PACKAGES = ("torch", "torchvision", "onnx", "onnxscript", "matplotlib")


def train(
    photos: Annotated[
        list[str] | None,
        typer.Argument(help="Folders of color photos (with their sub-folders), or names of data sets."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for checkpoints and logs; by default runs/RECIPE.")
    ] = None,
    name: Annotated[str, typer.Option(help="What the model is called; by default like its folder.")] = "",
    recipe: Annotated[
        str | None, typer.Option(help="Name of a recipe; 'default' for a folder, 'unet-cifar' without photos.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List recipes and data sets.")] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint in --out.")] = False,
    init_from: Annotated[Path | None, typer.Option(help="Take the first weights from this checkpoint.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Train for this long in all instead of the recipe's steps or epochs.")
    ] = None,
    fit: Annotated[
        list[str] | None, typer.Option(help="Only photos whose manifest says this of fit_for_training, such as yes.")
    ] = None,
    manifest: Annotated[
        list[Path] | None, typer.Option(help="A manifest (CSV); by default MANIFEST.csv in each folder or above.")
    ] = None,
    held_out: Annotated[
        list[Path] | None,
        typer.Option(help="A folder of photos that are kept for evaluation: refuse to train on any of them."),
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder for downloads and decoded photos.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="Processor threads; 0: as many as there are cores.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only write the log files.")] = False,
) -> None:
    """Train a generator on color photos (needs PyTorch)."""
    chosen = recipe or ("default" if photos else "unet-cifar")
    folder = out or Path("runs", chosen)
    with errors_as_sentences(f"add --resume to continue from the last checkpoint in {folder}"):
        if list_:
            _print_recipes()
            return
        check_not_reserved(name)
        _need_training_packages()
        from bwcolor_training.config import load_recipe
        from bwcolor_training.data.datasets import default_cache
        from bwcolor_training.loop import Source, is_main
        from bwcolor_training.loop import train as run_training
        from bwcolor_training.reporting.progress import TrainingLog

        if resume and (settings or init_from):
            raise UsageError(
                "--resume goes on with the settings and weights of last.pt: leave out --set and --init-from."
            )
        config = None if resume and recipe is None else load_recipe(chosen, settings or [])
        source = Source(
            tuple(photos or ()), cache or default_cache(), frozenset(fit) if fit else None,
            tuple(manifest or ()), tuple(held_out or ()),
        )  # fmt: skip
        with TrainingLog(folder, is_main(), quiet) as log:
            checkpoint = run_training(
                source, folder, config, resume=resume, init_from=init_from, minutes=minutes, log=log,
                device=device, threads=threads,
            )  # fmt: skip
        if is_main():
            from bwcolor_export.onnx import ExportOptions, export_onnx

            model = checkpoint.with_suffix(".onnx")
            if not quiet:
                typer.echo(f"exporting {model}", err=True)
            export_onnx(checkpoint, model, ExportOptions(name), overwrite=True)
            typer.echo(f"{folder / 'report.html'}: how it went. {folder / 'samples'}: what it looks like.")
            typer.echo(f"{model} colorizes: bwcolor PHOTOS --model {model}")
            if log.shortcoming:
                typer.echo(f"note: {log.shortcoming}", err=True)


def _print_recipes() -> None:
    from bwcolor_training.config import recipes
    from bwcolor_training.data.datasets import DATASETS

    typer.echo("Recipes (--recipe NAME):")
    for name, purpose in recipes().items():
        typer.echo(f"  {name:20}{purpose}")
    typer.echo("Data sets (by name instead of a folder):")
    for name, about in DATASETS.items():
        size = f"{about.gigabytes:g} GB" if about.url or about.torchvision else "unpacked by hand"
        typer.echo(
            f"  {name:20}{about.purpose} {about.photos:,} photos, {size}, licence: {about.licence}; {about.page}"
        )


def export(
    checkpoint: Annotated[
        Path, typer.Argument(help="A checkpoint of bwcolor train, such as runs/default/model.pt; or see --arch.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The ONNX file; by default beside the checkpoint.")
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32, fp16 (for GPUs) or int8 (for CPUs).")] = "fp32",
    name: Annotated[
        str, typer.Option(help="The model's name, written into the file; by default like its run's folder.")
    ] = "",
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
    cast: Annotated[
        float, typer.Option(min=0, max=2, help="How much of a photo's mean color stays, built into the file.")
    ] = 1.0,
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
    """Turn a checkpoint into one ONNX file that says how to use it (needs PyTorch)."""
    with errors_as_sentences():
        _need_training_packages()
        from bwcolor_export.contract import told_contract
        from bwcolor_export.onnx import ExportOptions, export_onnx

        from bwcolor.system.text import printable

        target = out or checkpoint.with_suffix(".onnx")
        contract = told_contract(arch, input_kind, output_kind, input_range, output_range)
        options = ExportOptions(
            name, model_version, licence, training_data, network_size, tile_size, gain, cast, precision, calibrate,
            contract, atol, max_de00, max_de00_p99,
        )  # fmt: skip
        result = export_onnx(checkpoint, target, options, overwrite)
        for line in result.lines():
            typer.echo(line)
        typer.echo(printable(f"{target}: {result.size / 1e6:.1f} MB, SHA-256 {result.sha256}"))


def average(
    checkpoints: Annotated[
        list[Path], typer.Argument(help="Two or more, such as model.pt of runs that began with the same weights.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The new checkpoint.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the new checkpoint if it exists.")] = False,
) -> None:
    """Make one checkpoint of the mean weights of several runs (needs PyTorch)."""
    with errors_as_sentences():
        _need_training_packages()
        from bwcolor_training.checkpoint import averaged, save_checkpoint

        from bwcolor.system.text import printable

        if len(checkpoints) < 2:
            raise UsageError("Name at least two checkpoints.")
        if out.exists() and not overwrite:
            raise UsageError(f"{out} exists; --overwrite replaces it.")
        mean = averaged(checkpoints)
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FolderError(f"{out.parent}: can't be made ({error.strerror}); name another --out.") from error
        save_checkpoint(mean, out)
        typer.echo(printable(f"{out}: the mean of {len(checkpoints)}; bwcolor export and --init-from take it"))


def _need_training_packages() -> None:
    os.getcwd()  # noqa: PTH109 - raises where the current folder was deleted: torch would end the process there
    missing = [name for name in TRAINING_PACKAGES if find_spec(name) is None]
    if missing:
        from bwcolor.system.packages import install_line

        raise DeviceError(f"This command needs {', '.join(missing)}. Install what is missing: {install_line('train')}")
