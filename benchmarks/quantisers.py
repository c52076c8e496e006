"""Our int8 beside that of onnxruntime.quantization: does writing our own pay?

    python benchmarks/quantisers.py MODEL.onnx --out FOLDER

MODEL.onnx: in fp32. Writes int8 files into FOLDER, all calibrated on the photos of the package; compare them with

    python benchmarks/precisions.py MODEL.onnx FOLDER/*.onnx --photos PHOTOS

ours: as `bwcolor export --precision int8` makes it with the first share of multiplications left to float32.
library-*: quantize_static, QDQ, uint8 activations, int8 weights by channel, after its own preprocessing; `all` of its
operators or `conv`olutions only, ranges by smallest and largest value, entropy, or percentile. library-same-*: with
the convolutions left in float32 that ours leaves. rounded-*: the same, its weights and biases rounded and corrected
by ours before: what is then left is due to ranges and to the rounded tensors between convolutions.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from bwcolor_export.graph import CONVOLUTIONS, Floats
from bwcolor_export.int8 import Quantiser, measure
from bwcolor_export.onnx import FLOAT_SHARES
from bwcolor_export.photos import bundled_lumas, cut_to, exposures
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from bwcolor.inference.session import load_model
from bwcolor.models.model_io import network_input

SIDE = 256  # px: the library's histograms want photos of one size
METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}


class Photos(CalibrationDataReader):  # type: ignore[misc]  # the library is untyped
    def __init__(self, name: str, photos: list[Floats]) -> None:
        self.feeds: Iterator[dict[str, Floats]] = ({name: photo} for photo in photos)

    def get_next(self) -> dict[str, Floats] | None:
        return next(self.feeds, None)


def with_our_weights(path: Path, quantiser: Quantiser, names: set[str]) -> onnx.ModelProto:
    """The float model with the weights and biases that our int8 would have in the named convolutions."""
    model = onnx.load(path)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.name not in names:
            continue
        rounded = quantiser.weights[node.name]
        weights = rounded.codes.astype(np.float32) * rounded.scales[:, None, None, None]
        inputs = numpy_helper.to_array(constants[node.input[1]]).shape[1]  # ours may have got zeros behind them
        for name, values in zip(node.input[1:], (weights[:, :inputs], rounded.bias), strict=True):
            constants[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), name))
    return model


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    spec = load_model(arguments.model, "cpu").spec
    cuts = [cut_to(one, SIDE, SIDE) for luma in bundled_lumas() for one in exposures(luma)]
    photos = [network_input(cut[None], spec) for cut in cuts]
    network = onnx.load(arguments.model)
    quantiser = measure(network, photos)
    ours, share = quantiser.quantise(FLOAT_SHARES[0])
    nodes = [node for node in ours.graph.node if node.op_type == "Conv"]
    int8 = {node.name for node in nodes if f"{node.name}.weight.values" in node.input}
    floats = [n.name for n in network.graph.node if n.op_type in CONVOLUTIONS and n.name not in int8]
    sys.stdout.write(f"{len(int8)} convolutions in int8 ({share:.0%} of the work), {len(floats)} in float32\n")

    def write(model: onnx.ModelProto, name: str) -> None:
        onnx.helper.set_model_props(model, spec.to_metadata())
        onnx.save(model, arguments.out / f"{name}.onnx")

    def by_library(source: Path, name: str, **options: Any) -> None:
        made = Path(folder) / "made.onnx"
        quantize_static(
            source, made, Photos(network.graph.input[0].name, photos), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, **options,
        )  # fmt: skip
        write(onnx.load(made), name)

    write(ours, "ours")
    with tempfile.TemporaryDirectory() as folder:
        plain, rounded = Path(folder) / "plain.onnx", Path(folder) / "rounded.onnx"
        quant_pre_process(arguments.model, plain, skip_symbolic_shape=True)
        onnx.save(with_our_weights(plain, quantiser, int8), rounded)
        convolutions: dict[str, Any] = {"op_types_to_quantize": ["Conv"]}
        by_library(plain, "library-all-minmax", calibrate_method=METHODS["minmax"])
        for name, method in METHODS.items():
            by_library(plain, f"library-conv-{name}", calibrate_method=method, **convolutions)
            same = convolutions | {"calibrate_method": method, "nodes_to_exclude": floats}
            by_library(plain, f"library-same-{name}", **same)
            by_library(rounded, f"rounded-{name}", **same)
    return 0


if __name__ == "__main__":
    sys.exit(main())
