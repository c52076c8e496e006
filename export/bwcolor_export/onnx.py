"""From a checkpoint to one verified ONNX file that carries its ModelSpec."""

import hashlib
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from bwcolor_training.build import build_generator
from bwcolor_training.checkpoint import Checkpoint, load_checkpoint, load_weights
from torch import nn

from bwcolor import __version__
from bwcolor.errors import ModelError, UsageError
from bwcolor.output import commit
from bwcolor.spec import ModelSpec
from bwcolor_export.verify import Parity, check_parity
from bwcolor_export.wrapper import AnySize

OPSET = 20


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What the file says of itself, and how it is to be used.

    name: of the model; empty takes the recipe's. version: of the model. licence: SPDX identifier of
    the weights' licence.
    network_size, tile_size: px, see ModelSpec. gain: factor on all chroma, part of the graph.
    """

    name: str = ""
    version: str = "1"
    licence: str = "not stated"
    network_size: int = 256
    tile_size: int = 256
    gain: float = 1.0


@dataclass(frozen=True, slots=True)
class ExportResult:
    """The written file's size in bytes and SHA-256, and how exactly it was shown to compute."""

    size: int
    sha256: str
    parity: list[Parity]


def export_onnx(checkpoint: Path, target: Path, options: ExportOptions, overwrite: bool) -> ExportResult:
    """Exports the moving average of a checkpoint's weights; the file appears only when it is proven equal.

    Raises TrainingInputError for a file that is no checkpoint, ModelError when parity fails,
    UsageError when the target exists.
    """
    if target.exists() and checkpoint.exists() and target.samefile(checkpoint):
        raise UsageError(f"{target} is the checkpoint itself: choose another name with -o.")
    if target.exists() and not overwrite:
        raise UsageError(f"{target} exists already: choose another name with -o, or add --overwrite.")
    state = load_checkpoint(checkpoint)
    network, stride = _network(state, checkpoint, options.gain)
    spec = ModelSpec(
        name=options.name or state.config.recipe,
        version=options.version,
        licence=options.licence,
        input_kind="luma",
        output_kind="cbcr",
        input_range=(0.0, 1.0),
        output_range=(-0.5, 0.5),
        network_size=options.network_size,
        multiple=stride,
        tile_size=options.tile_size,
        training_sha256=state.config.sha256(),
    )
    content = _to_onnx(network, stride, spec)
    try:
        parity = check_parity(network, content)
    except ModelError as error:
        raise ModelError(f"{checkpoint}: {error}; nothing was written.") from error
    commit(content, target, overwrite)
    return ExportResult(len(content), hashlib.sha256(content).hexdigest(), parity)


def _network(state: Checkpoint, path: Path, gain: float) -> tuple[nn.Module, int]:
    generator = build_generator(state.config, pretrained=False)
    load_weights(generator, state.ema, path)
    stride = int(generator.stride)  # type: ignore[arg-type]
    return AnySize(generator, stride, gain).eval(), stride


def _to_onnx(network: nn.Module, stride: int, spec: ModelSpec) -> bytes:
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
    onnx.helper.set_model_props(model, spec.to_metadata())
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


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
