"""From trained weights to one verified ONNX file that carries its ModelSpec."""

import dataclasses
import hashlib
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from torch import nn

from bwcolor import __version__
from bwcolor.errors import ModelError, UsageError
from bwcolor.inference.session import open_model
from bwcolor.models.model_io import network_input
from bwcolor.models.modelfile import ModelFile
from bwcolor.models.names import check_not_reserved, name_of
from bwcolor.models.onnx_reader import read_onnx
from bwcolor.models.spec import PRECISIONS, ModelSpec
from bwcolor.system.atomic import commit
from bwcolor_export.contract import Contract, our_contract
from bwcolor_export.graph import Floats
from bwcolor_export.int8 import measure
from bwcolor_export.photos import as_seen, bundled_lumas, exposures, folder_lumas
from bwcolor_export.verify import ColourDifference, Parity, check_parity, colour_difference
from bwcolor_export.weights import Trained, from_checkpoint, from_state_dict
from bwcolor_export.wrapper import AnySize, HalfInside

OPSET = 20
# Shares of the multiplications that int8 leaves to float32, tried in turn until the colours stay within the limits.
FLOAT_SHARES = (0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6)

Made = tuple[onnx.ModelProto, ColourDifference | None, float]  # the model, its difference from fp32, its share of int8


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What the file says of itself, how it is to be used, and what it must stand.

    name: of the model; empty takes that of its run, see modelnames.name_of. version: of the model. licence: SPDX
    identifier of the weights' licence. training_data: one sentence; empty takes the checkpoint's.
    network_size, tile_size: px, see ModelSpec; 0 takes the recipe's. gain: factor on all chroma, part of the graph.
    cast: how much of each picture's mean chroma stays, likewise.
    precision: see spec.PRECISIONS. calibrate: folder of photos that set the ranges of int8; None takes
    the package's own. contract: of a state dict that `bwcolor train` did not make.
    atol: largest difference from torch of an fp32 file, a*b* units. max_de00, max_de00_p99: largest CIEDE2000
    of an fp16 or int8 file against fp32, mean and 99th percentile over all pixels.
    """

    name: str = ""
    version: str = "1"
    licence: str = "not stated"
    training_data: str = ""
    network_size: int = 0
    tile_size: int = 0
    gain: float = 1.0
    cast: float = 1.0
    precision: str = "fp32"
    calibrate: Path | None = None
    contract: Contract | None = None
    atol: float = 0.05
    max_de00: float = 0.5
    max_de00_p99: float = 2.0


@dataclass(frozen=True, slots=True)
class ExportResult:
    """The written file's size in bytes and SHA-256, and how near it is to torch and to fp32.

    difference: None for fp32. int8_share: of the convolutions' multiplications; 0 for the other precisions.
    """

    size: int
    sha256: str
    spec: ModelSpec
    parity: list[Parity]
    difference: ColourDifference | None
    int8_share: float

    def lines(self) -> list[str]:
        """What the user is told."""
        said = [
            f"parity of {one.pictures} at {one.height} x {one.width}: largest difference {one.largest:.2g},"
            f" mean {one.mean:.2g} (a*b* units)"
            for one in self.parity
        ]
        if self.difference:
            said.append(
                f"CIEDE2000 against fp32 on {self.difference.photos} photos: mean {self.difference.mean:.2g},"
                f" 99th percentile {self.difference.p99:.2g}; mean of the worst photo {self.difference.worst:.2g}"
            )
        if self.int8_share:
            said.append(f"int8: {100 * self.int8_share:.0f} % of the convolutions' multiplications")
        return said


def export_onnx(source: Path, target: Path, options: ExportOptions, overwrite: bool) -> ExportResult:
    """Exports a checkpoint's moving average, or a state dict; the file appears only when it is proven near enough.

    Raises TrainingInputError for a file that holds no such weights, ModelError when a limit is passed,
    UsageError when the target exists or options do not fit together.
    """
    if target.exists() and source.exists() and target.samefile(source):
        raise UsageError(f"{target} is the checkpoint itself: choose another name with --out.")
    if target.exists() and not overwrite:
        raise UsageError(f"{target} already exists: choose another name with --out, or add --overwrite.")
    check_not_reserved(options.name)
    if options.precision not in PRECISIONS:
        raise UsageError(f"--precision {options.precision}: choose {', '.join(PRECISIONS)}.")
    if options.calibrate and options.precision != "int8":
        raise UsageError("--calibrate sets the ranges of int8: add --precision int8, or leave it out.")
    trained = _load(source, options.contract)
    spec = _spec(trained, source, options)
    network = AnySize(trained.network, trained.stride, options.gain, options.cast).eval()
    lumas = bundled_lumas()
    try:
        model, difference, int8_share = MAKERS[options.precision](network, spec, options, lumas)
        parity = check_parity(network, model.SerializeToString(), spec, lumas)
        _check_limits(parity, difference, options)
    except ModelError as error:
        raise ModelError(f"{source}: {error}; nothing was written.") from error
    spec = _with_figures(spec, parity, difference)
    onnx.helper.set_model_props(model, spec.to_metadata())
    onnx.checker.check_model(model)
    content = bytes(model.SerializeToString())
    sha256 = hashlib.sha256(content).hexdigest()
    open_model(ModelFile(target, content, sha256, read_onnx(content)), spec)  # what colorizes must take it
    commit(content, target, overwrite)
    return ExportResult(len(content), sha256, spec, parity, difference, int8_share)


def _load(source: Path, contract: Contract | None) -> Trained:
    if contract is None:
        return from_checkpoint(source)
    return from_state_dict(source, contract.arch, contract.plain)


def _spec(trained: Trained, source: Path, options: ExportOptions) -> ModelSpec:
    config = trained.config
    contract = options.contract or our_contract(config.recipe)
    network_size = options.network_size or config.network_size
    return ModelSpec(
        name=options.name or name_of(source),
        version=options.version,
        licence=options.licence,
        input_kind=contract.input_kind,
        output_kind=contract.output_kind,
        input_range=contract.input_range,
        output_range=contract.output_range,
        network_size=network_size,
        multiple=trained.stride,
        tile_size=options.tile_size or network_size,
        training_sha256=config.sha256() if trained.ours else "",
        precision=options.precision,
        recipe=config.recipe,
        training_data=options.training_data or trained.training_data,
    )


def _make_fp32(network: nn.Module, spec: ModelSpec, options: ExportOptions, lumas: list[Floats]) -> Made:
    return _to_onnx(network, spec.multiple), None, 0.0


def _make_fp16(network: nn.Module, spec: ModelSpec, options: ExportOptions, lumas: list[Floats]) -> Made:
    model = _to_onnx(HalfInside(network).eval(), spec.multiple)
    return model, colour_difference(network, model.SerializeToString(), spec, lumas), 0.0


def _make_int8(network: nn.Module, spec: ModelSpec, options: ExportOptions, lumas: list[Floats]) -> Made:
    """With as much in int8 as the limits allow."""
    given = folder_lumas(options.calibrate) if options.calibrate else []
    seen = [as_seen(one, spec.network_size) for luma in given or lumas for one in exposures(luma)]
    photos = [network_input(one[None], spec) for one in seen]
    quantiser = measure(_to_onnx(network, spec.multiple), photos)
    for float_share in FLOAT_SHARES:
        model, int8_share = quantiser.quantise(float_share)
        difference = colour_difference(network, model.SerializeToString(), spec, lumas + given)
        if _within(difference, options):
            break
    return model, difference, int8_share


MAKERS = {"fp32": _make_fp32, "fp16": _make_fp16, "int8": _make_int8}


def _within(difference: ColourDifference, options: ExportOptions) -> bool:
    return difference.mean <= options.max_de00 and difference.p99 <= options.max_de00_p99


def _check_limits(parity: list[Parity], difference: ColourDifference | None, options: ExportOptions) -> None:
    worst = max(result.largest for result in parity)
    if difference is None and not worst <= options.atol:  # also true for NaN
        raise ModelError(f"the exported model differs from torch by {worst:.2g} a*b* units, more than {options.atol:g}")
    if difference is not None and not _within(difference, options):
        raise ModelError(
            f"{options.precision} changes the colours by CIEDE2000 {difference.mean:.2g} on average and"
            f" {difference.p99:.2g} at the 99th percentile, more than {options.max_de00:g} or {options.max_de00_p99:g}"
        )


def _with_figures(spec: ModelSpec, parity: list[Parity], difference: ColourDifference | None) -> ModelSpec:
    pixels = [result.pictures * result.height * result.width for result in parity]
    mean = sum(result.mean * count for result, count in zip(parity, pixels, strict=True)) / sum(pixels)
    return dataclasses.replace(
        spec,
        parity_max=max(result.largest for result in parity),
        parity_mean=mean,
        de00_mean=difference.mean if difference else 0.0,
        de00_p99=difference.p99 if difference else 0.0,
    )


def _to_onnx(network: nn.Module, stride: int) -> onnx.ModelProto:
    example = torch.rand(2, 1, 2 * stride + 3, 3 * stride + 5)
    shapes = {0: torch.export.Dim("batch"), 2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations inside the exporter
        program = torch.onnx.export(
            network, (example,), dynamo=True, dynamic_shapes=(shapes,), opset_version=OPSET,
            input_names=["luma"], output_names=["chroma"], external_data=False, verbose=False,
        )  # fmt: skip
    assert program is not None
    model = program.model_proto
    _strip_paths(model)
    model.producer_name, model.producer_version = "bwcolor", __version__
    return model


def _strip_paths(model: onnx.ModelProto) -> None:
    """Drops the exporter's notes on nodes and values: they hold local paths and double the loading time."""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    model.graph.doc_string = model.doc_string = ""
