"""The commands `bwcolor models ...`: which models there are, what they say of themselves, adding and removing.

Heavy packages are imported inside the commands, so that --help stays quick.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bwcolor.cli.exit_codes import errors_as_sentences
from bwcolor.cli.options import Device
from bwcolor.errors import FolderError, ModelError, UsageError

if TYPE_CHECKING:
    from bwcolor.inference.registry import Entry, Trial
    from bwcolor.models.modelfile import ModelFile
    from bwcolor.models.spec import ModelSpec, Range

NOTHING_SAID = "not stated"

models = typer.Typer(
    rich_markup_mode=None, add_completion=False, context_settings={"help_option_names": ["--help", "-h"]},
    help="The models: list them, look into one, add another project's, remove, verify.",
)  # fmt: skip


@models.callback(invoke_without_command=True)
def root(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_models()


@models.command("list")
def list_models() -> None:
    """All models, and which file of a bundled one is used on this machine and why. The default."""
    with errors_as_sentences():
        from bwcolor.inference.registry import (
            FOLDER_VARIABLE,
            added_names,
            bundled_models,
            find_added,
            load,
            models_folder,
        )

        for entry in bundled_models().values():
            _list_entry(entry)
        for name in added_names():
            try:
                _list_entry(find_added(name))
            except ModelError as error:
                _say(f"{name:20}  unusable: {error}")
        for name in bundled_models():
            try:
                model = load(name)
                _say(f"On this machine --model {name} is {model.lines[0].removeprefix('model ')}")
            except ModelError as error:
                _say(f"On this machine --model {name} can't be used: {error}")
        _say(f"Added models are kept in {models_folder()} (or where {FOLDER_VARIABLE} says).")


@models.command()
def info(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE.onnx", help="A model, or a model's file.")],
) -> None:
    """What a model says of itself, what was measured with it, and the model card of a bundled one.

    Nothing of it is run.
    """
    with errors_as_sentences():
        from bwcolor.inference.registry import find_model, model_card
        from bwcolor.models.modelfile import read_model_file

        entry = find_model(name)
        card = model_card(entry)
        for number, (precision, path) in enumerate(entry.files.items()):
            file = read_model_file(path, entry.sha256.get(precision, ""))
            if number:
                _say("")
            for title, text in _rows(file, file.spec(), card):
                _say(f"{title:14}{text}")
        if card:
            typer.echo("\n" + card.read_text(encoding="utf-8").rstrip())


@models.command()
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE.onnx", help="An ONNX file; it is copied, never changed.")],
    kind: Annotated[
        str, typer.Option(help="l-to-ab (Zhang), gray-rgb-to-ab (DDColor) or gray-rgb-to-rgb (DeOldify).")
    ] = "",
    size: Annotated[int, typer.Option(min=0, help="px of the network's view; 0: as fixed in the file, or usual.")] = 0,
    input_range: Annotated[
        str, typer.Option("--range", metavar="LOW,HIGH", help="What it is fed for black and white; or imagenet.")
    ] = "",
    output_range: Annotated[
        str, typer.Option(metavar="LOW,HIGH", help="What it gives for a* and b* of -128 and 128, or for RGB 0 and 1.")
    ] = "",
    licence: Annotated[str, typer.Option("--license", "--licence", help="Licence of the weights.")] = NOTHING_SAID,
    name: Annotated[str, typer.Option(help="What to call it; by default like the file.")] = "",
    model_version: Annotated[str, typer.Option(help="The model's version.")] = "1",
    training_data: Annotated[str, typer.Option(help="One sentence about what it was trained on.")] = "",
    shape: Annotated[
        str, typer.Option(help="square: photos are squashed to size x size. any: their aspect is kept.")
    ] = "square",
    multiple: Annotated[int, typer.Option(min=0, help="px; sides it is fed are multiples of it; 0: usual.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an added model of this name.")] = False,
) -> None:
    """Make a model known by name. One that bwcolor did not export needs --kind and the rest of its contract.

    The contract is written beside it (FILE.onnx.json) after the model ran with it.
    """
    with errors_as_sentences():
        from bwcolor.inference.registry import add_model, check_new_name, name_from, try_out, write_contract_beside
        from bwcolor.inference.session import open_model
        from bwcolor.models.modelfile import read_model_file
        from bwcolor.models.sidecar import contract_path, is_ours
        from bwcolor.models.third_party import Told, foreign_spec

        name = name or name_from(file)
        check_new_name(name, overwrite)
        read = read_model_file(file)
        told = Told(kind, name, model_version, licence, training_data, size, multiple, shape, input_range, output_range)
        if not read.describes_itself:
            if not is_ours(contract_path(file)):
                raise UsageError(f"{contract_path(file)}: in the way, not a contract of bwcolor. Move it away.")
            spec = foreign_spec(told, read.onnx)
        elif told == Told("", name):
            spec = read.spec()
        else:
            raise UsageError(f"{file} says itself how to use it: only --name and --overwrite can be added.")
        trial = try_out(open_model(read, spec))
        target = add_model(read, spec, name)
        _say(f"{name}: added as {target}. Use it with --model {name}")
        if not read.describes_itself:
            try:
                _say(f"contract: {write_contract_beside(read, spec)}")
            except FolderError as error:
                _say(f"note: only the copy has its contract: {error}")
        _say(_trial(trial))


@models.command()
def remove(names: Annotated[list[str], typer.Argument(metavar="NAME ...", help="Models that you added.")]) -> None:
    """Delete models that were added. The file that one was added from stays."""
    with errors_as_sentences("what was named as removed is gone, the rest stays"):
        from bwcolor.inference.registry import remove_model

        for name in names:
            _say(f"{name}: removed {remove_model(name)}")


@models.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME|FILE.onnx ...]", help="By default all.")] = None,
    device: Device = "auto",
) -> None:
    """Hash models again, compare with what is on record, and run each on a test picture."""
    with errors_as_sentences():
        from bwcolor.inference.registry import added_names, bundled_models

        failed = 0
        for name in names or [*bundled_models(), *added_names()]:
            try:
                for line in _verify(name, device):
                    _say(f"{name}: {line}")
            except ModelError as error:
                failed += 1
                _say(f"{name}: FAILED: {error}")
        if failed:
            raise ModelError(f"{failed} of the models can't be used.")


def _verify(name: str, device: str) -> Iterator[str]:
    from bwcolor.inference.registry import find_model, try_out
    from bwcolor.inference.session import Choice, load_chosen

    entry = find_model(name)
    choices = [Choice(path, sha256=entry.sha256.get(precision, "")) for precision, path in entry.files.items()]
    for choice in choices:
        model = load_chosen(choice.anywhere, device)
        known = "as on record" if choice.sha256 else "not on record"
        yield f"{choice.path.name}: SHA-256 {model.sha256} ({known}); {_trial(try_out(model))} on {model.device}"


def _list_entry(entry: "Entry") -> None:
    from bwcolor.models.modelfile import read_model_file
    from bwcolor.models.sidecar import read_contract

    for precision, path in entry.files.items():
        try:
            contract = read_contract(path) if entry.origin == "added" else None
            spec = contract.spec if contract else read_model_file(path, entry.sha256.get(precision, "")).spec()
            name = entry.name if len(entry.files) == 1 else f"{entry.name}-{precision}"
            kind = f"{spec.input_kind} to {spec.output_kind}"
            _say(
                f"{name:20}  {entry.origin:8}  {spec.precision:5}  {kind:16}  {path.stat().st_size / 1e6:8.1f} MB"
                f"  {spec.licence or NOTHING_SAID}"
            )
        except (ModelError, OSError) as error:
            _say(f"{entry.name:20}  unusable: {error}")


def _rows(file: "ModelFile", spec: "ModelSpec", card: Path | None) -> list[tuple[str, str]]:
    """What is known of a model file, as titles and texts."""
    onnx = file.onnx
    opsets = ", ".join(f"{domain} {version}".strip() for domain, version in onnx.opsets.items())
    rows = [
        ("model", f"{spec.name} {spec.version}"),
        ("file", f"{file.path} ({len(file.content) / 1e6:.1f} MB)"),
        ("SHA-256", file.sha256),
        ("license", spec.licence or NOTHING_SAID),
        ("trained on", spec.training_data or NOTHING_SAID),
        ("recipe", spec.recipe or NOTHING_SAID),
        ("configuration", f"SHA-256 {spec.training_sha256}" if spec.training_sha256 else NOTHING_SAID),
        ("takes", f"{INPUT_WORDS[spec.input_kind]} as {_ends(spec.input_range)}; {_seen(spec)}"),
        ("gives", f"{OUTPUT_WORDS[spec.output_kind]} as {_ends(spec.output_range)}"),
        ("precision", spec.precision),
        ("parity", _errors("a*b* units from PyTorch: at most", spec.parity_max, "mean", spec.parity_mean)),
        ("against fp32", _errors("CIEDE2000: mean", spec.de00_mean, "99th percentile", spec.de00_p99)),
        ("ONNX", f"opset {opsets}; IR {onnx.ir_version}; written by {onnx.producer or NOTHING_SAID}"),
        ("input", ", ".join(map(str, onnx.inputs))),
        ("output", ", ".join(map(str, onnx.outputs))),
        ("contract", "in the file" if file.describes_itself else "beside the file"),
    ]
    return [*rows, *([("model card", str(card))] if card else []), *_measured(file)]


INPUT_WORDS = {"luma": "luma from black to white", "l": "L* from 0 to 100", "gray-rgb": "gray RGB from black to white"}
OUTPUT_WORDS = {"cbcr": "Cb and Cr from -0.5 to 0.5", "ab": "a* and b* from -128 to 128", "rgb": "RGB from 0 to 1"}


def _ends(ends: "Range") -> str:
    return "normalized by ImageNet's mean and deviation" if isinstance(ends, str) else f"{ends[0]:g} to {ends[1]:g}"


def _seen(spec: "ModelSpec") -> str:
    if spec.shape == "square":
        return f"photos squashed to {spec.network_size} x {spec.network_size} px"
    size = f"photos at {spec.network_size} px (geometric mean)"
    return f"{size}, sides multiples of {spec.multiple}, tiles of {spec.tile_size}"


def _errors(first: str, one: float, second: str, other: float) -> str:
    known = [f"{what} {value:.3g}" for what, value in ((first, one), (second, other)) if value >= 0]
    return ", ".join(known) or "not measured"


def _measured(file: "ModelFile") -> list[tuple[str, str]]:
    """The card of `bwcolor eval --card`."""
    from bwcolor.models.sidecar import read_card

    try:
        card = read_card(file.path, file.sha256)
    except ModelError as error:
        return [("measured", f"not known: {error}")]
    rows = []
    for one in card:
        failed = f" ({one.failed} more failed)" if one.failed else ""
        rows += [
            ("measured", f"{one.data}, {one.photos} photos{failed}; {one.protocol}"),
            ("", f"{one.date}, bwcolor {one.bwcolor}, {one.device}"),
            ("", f"PSNR {one.psnr:.2f} dB (left gray {one.gray_psnr:.2f})"),
            ("", f"CIEDE2000 {one.de00:.2f} (left gray {one.gray_de00:.2f})"),
            ("", f"colourfulness {one.colourfulness:.2f} (truth {one.colourfulness_truth:.2f})"),
        ]
    return rows or [("measured", "nothing yet: bwcolor eval PHOTOS --card")]


def _trial(trial: "Trial") -> str:
    scale = "gray has 0, a typical photo 40"
    text = f"a test picture took {trial.seconds:.2f} s, colourfulness {trial.colourfulness:.1f} ({scale})"
    return text if trial.has_colour else f"{text}: hardly any colour; is its output range right?"


def _say(text: str) -> None:
    from bwcolor.system.text import printable

    typer.echo(printable(text))
