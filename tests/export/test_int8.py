"""int8: what stays float, that rounding keeps the outputs, and that the colours stay near fp32."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from bwcolor_export.calibrate import BINS, MAX_PATCH, Histogram, Patches, calibrate
from bwcolor_export.graph import Convolution, Floats, Graph
from bwcolor_export.int8 import ALIGNMENT, align_channels, choose_range, measure
from bwcolor_export.onnx import ExportOptions, export_onnx
from bwcolor_export.qdq import Steps
from bwcolor_export.rounding import LARGEST, round_weights
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from small_networks import GAIN, Exported

from bwcolor.errors import FolderError, ModelError, NoPhotosError
from bwcolor.inference.predict import predict_chroma
from bwcolor.inference.session import load_model

WIDTH = 6  # channels between the convolutions below


def small_network() -> onnx.ModelProto:
    """Convolution - ReLU - (pooled and enlarged again, beside itself, beside the input) - depthwise - last one."""
    rng = np.random.default_rng(0)
    weights = {
        "first": rng.normal(0, 0.5, (WIDTH, 1, 3, 3)), "second": rng.normal(0, 0.3, (WIDTH, WIDTH, 1, 1)),
        "third": rng.normal(0, 0.2, (8, 2 * WIDTH + 1, 3, 3)), "depth": rng.normal(0, 0.3, (8, 1, 3, 3)),
        "last": rng.normal(0, 0.1, (2, 8, 1, 1)),
    }  # fmt: skip
    biases = {f"{name}.bias": rng.normal(0, 0.1, len(weight)) for name, weight in weights.items()}
    scales = {"scales": np.array([1, 1, 2, 2])}
    constants = [
        numpy_helper.from_array(np.asarray(value, np.float32), name)
        for name, value in (weights | biases | scales).items()
    ]
    node = helper.make_node
    nodes = [
        _convolution("first", "luma", pads=[1, 1, 1, 1]), node("Relu", ["first.out"], ["a"], "relu"),
        node("MaxPool", ["a"], ["pooled"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        _convolution("second", "pooled"), node("Relu", ["second.out"], ["b"], "relu2"),
        node("Resize", ["b", "", "scales"], ["up"], "up", mode="nearest"),
        node("Concat", ["a", "up", "luma"], ["both"], "both", axis=1),
        _convolution("third", "both", pads=[1, 1, 1, 1]), node("Clip", ["third.out"], ["c"], "clip"),
        _convolution("depth", "c", pads=[1, 1, 1, 1], group=8), _convolution("last", "depth.out"),
    ]  # fmt: skip
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, "h", "w"])
        for name, channels in (("luma", 1), ("last.out", 2))
    ]
    graph = helper.make_graph(nodes, "small", tensors[:1], tensors[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def _convolution(name: str, source: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node("Conv", [source, name, f"{name}.bias"], [f"{name}.out"], name, **attributes)


def run(model: onnx.ModelProto, photo: Floats) -> Floats:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"luma": photo})[0])


@pytest.fixture(scope="module")
def photos() -> list[Floats]:
    rng = np.random.default_rng(1)
    return [rng.random((1, 1, height, 40), np.float32) for height in (32, 48)]


def types(model: onnx.ModelProto) -> dict[str, np.dtype[np.generic]]:
    """Type of the weights that each convolution reads, by its name."""
    constants = {tensor.name: numpy_helper.to_array(tensor).dtype for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    found = {}
    for node in model.graph.node:
        if node.op_type == "Conv":
            weight = node.input[1]
            found[node.name] = constants[makers[weight].input[0] if weight in makers else weight]
    return found


def test_the_quantised_network_computes_nearly_the_same(photos: list[Floats]) -> None:
    model = small_network()
    quantised, share = measure(model, photos).quantise(0.0)
    onnx.checker.check_model(quantised)
    assert share == 1
    for photo in photos:
        expected = run(model, photo)
        error = run(quantised, photo) - expected
        assert 0 < np.sqrt(np.mean(error**2)) < 0.02 * expected.std()
        assert abs(error.mean()) < 0.005 * expected.std(), "the bias takes up what rounding moves"


def test_all_but_the_first_and_the_last_convolution_are_int8(photos: list[Floats]) -> None:
    quantiser = measure(small_network(), photos)
    eight, float32 = np.dtype(np.int8), np.dtype(np.float32)
    assert types(quantiser.quantise(0.0)[0]) == {
        "first": eight, "second": eight, "third": eight, "depth": eight, "last": float32
    }  # fmt: skip
    work = quantiser.work
    assert work["first"] == 9 * WIDTH * 40 * 40, "multiplications a photo, the mean of two sizes"
    model, share = quantiser.quantise(1.01 * work["first"] / sum(work.values()))
    assert types(model)["first"] == float32
    assert types(model)["second"] == eight
    assert share == pytest.approx(1 - work["first"] / sum(work.values()))
    assert not types(model).keys() - work.keys() - {"last"}


@pytest.mark.parametrize(("float_share", "int8"), [(0.0, 4), (0.045, 3), (0.2, 2), (0.99, 1)])
def test_onnxruntime_computes_in_int8_just_what_is_meant(
    float_share: float, int8: int, photos: list[Floats], tmp_path: Path
) -> None:
    model, _ = measure(small_network(), photos).quantise(float_share)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 4
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    run_as = {node.name: node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node}
    assert sum(kind == np.int8 for kind in types(model).values()) == int8
    assert sum(kind == "QLinearConv" for kind in run_as.values()) == int8
    assert sum(kind in ("Conv", "FusedConv") for kind in run_as.values()) == 5 - int8


def test_the_same_photos_give_the_same_file(photos: list[Floats]) -> None:
    first, second = (measure(small_network(), photos).quantise(0.1)[0].SerializeToString() for _ in range(2))
    assert first == second


def test_a_network_without_convolutions_is_refused(photos: list[Floats]) -> None:
    model = small_network()
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("Concat", ["luma", "luma"], ["last.out"], axis=1))
    with pytest.raises(ModelError, match="no convolutions"):
        measure(model, photos)


def test_channels_are_filled_up_without_changing_anything(photos: list[Floats]) -> None:
    model = small_network()
    aligned = align_channels(Graph(model))
    onnx.checker.check_model(aligned)
    widths = {c.name: c.weight.shape[1] for c in Graph(aligned).convolutions()}
    assert 2 * WIDTH + 1 == 13
    assert widths["third"] == 16
    assert widths["third"] % ALIGNMENT == 0
    assert widths["second"] == WIDTH, "nothing of one channel is concatenated there"
    assert_allclose(run(aligned, photos[0]), run(model, photos[0]), atol=1e-6)


def test_calibration_sees_what_the_network_computes(photos: list[Floats]) -> None:
    graph = Graph(small_network())
    convolutions = {c.name: c for c in graph.convolutions()}
    found = calibrate(graph, list(convolutions.values()), ["up"], photos)
    assert set(found.histograms) == {"luma", "a", "pooled", "b", "both", "up", "c", "depth.out", "last.out"}
    luma = found.histograms["luma"]
    assert (luma.low, luma.high) == (min(p.min() for p in photos), max(p.max() for p in photos))
    assert luma.counts.sum() == sum(p.size for p in photos)
    first = found.patches["first"]
    assert first.mean.shape == (1, 9)
    assert first.covariance is not None
    assert first.covariance.shape == (1, 9, 9)
    assert first.mean[0, 4] == pytest.approx(0.5, abs=0.03), "the middle of noise in 0..1"
    assert_allclose(np.diag(first.covariance[0])[4], 1 / 12, rtol=0.1)
    assert found.patches["depth"].mean.shape == (8, 9)


def _patches(size: int, mean: float, spread: float, common: float) -> Patches:
    """Inputs that vary each for itself by `spread`, and all together by `common`: a flat sky is light or dark."""
    covariance = spread**2 * np.eye(size) + common**2
    return Patches(np.full((1, size), mean), covariance[None], 1.0)


def _one(weight: NDArray[np.float64]) -> Convolution:
    shaped = weight.reshape(1, 1, 1, -1).astype(np.float32)
    return Convolution("one", "in", "out", shaped, np.array([0.25], np.float32), 1, (0,) * 4, (1, 1), (1, 1))


def test_weights_that_cancel_out_still_do_when_rounded() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 1, 9)
    weight -= weight.mean()  # an edge detector: blind to brightness
    plain = np.round(weight / (np.abs(weight).max() / LARGEST)) * (np.abs(weight).max() / LARGEST)
    rounded = round_weights(_one(weight), _patches(9, 3.0, 0.01, 1.0))
    ours = rounded.codes.reshape(-1) * rounded.scales[0]
    assert abs(ours.sum()) < 0.1 * abs(plain.sum())
    assert np.abs(ours - weight).max() < 2 * rounded.scales[0]


def test_the_bias_takes_up_the_mean_of_the_error() -> None:
    weight = np.random.default_rng(1).normal(0, 1, 5)
    patches = Patches(np.full((1, 5), 2.0), None, 1.0)
    rounded = round_weights(_one(weight), patches)
    ours = rounded.codes.reshape(-1) * rounded.scales[0]
    assert ours @ np.full(5, 2.0) + rounded.bias[0] == pytest.approx(weight @ np.full(5, 2.0) + 0.25, abs=1e-5)
    assert_allclose(ours, weight, atol=0.51 * rounded.scales[0])


def test_rounding_finds_the_best_of_all_choices_where_they_can_be_counted() -> None:
    weight = np.array([0.31, -0.52, 1.0])
    patches = _patches(3, 0.0, 0.05, 1.0)
    assert patches.covariance is not None
    rounded = round_weights(_one(weight), patches)
    scale = float(rounded.scales[0])
    codes = np.round(weight / scale)
    moves = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), -1).reshape(-1, 3)
    errors = [((codes + m) * scale - weight) @ patches.covariance[0] @ ((codes + m) * scale - weight) for m in moves]
    ours = rounded.codes.reshape(-1) * scale - weight
    assert ours @ patches.covariance[0] @ ours <= 1.2 * min(errors)


def test_weights_of_zero_and_very_many_inputs_are_fine() -> None:
    assert not round_weights(_one(np.zeros(4)), _patches(4, 1.0, 1.0, 0.0)).codes.any()
    many = MAX_PATCH + 1
    rounded = round_weights(_one(np.linspace(-1, 1, many)), Patches(np.zeros((1, many)), None, 1.0))
    assert rounded.codes.min() == -LARGEST
    assert rounded.codes.max() == LARGEST


@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (-1.0, 3.0), (-5.0, -1.0), (2.0, 3.0), (0.0, 0.0)])
def test_zero_is_always_a_step(low: float, high: float) -> None:
    steps = Steps.of_range(low, high)
    assert 0 <= steps.zero <= 255
    assert steps.scale > 0
    ends = (-steps.zero * steps.scale, (255 - steps.zero) * steps.scale)
    assert ends[0] <= min(low, 0) + 0.51 * steps.scale
    assert ends[1] >= max(high, 0) - 0.51 * steps.scale


def test_a_range_leaves_rare_values_out_but_keeps_what_is_common() -> None:
    counts = np.zeros(BINS)
    counts[: BINS // 10] = 100_000
    counts[-1] = 1
    low, high = choose_range(Histogram(0.0, 10.0, counts))
    assert low == 0
    assert 0.9 < high < 2
    assert choose_range(Histogram(-3.0, 5.0, np.ones(BINS))) == pytest.approx((-3, 5), rel=0.06)
    assert choose_range(Histogram(2.0, 2.0, np.zeros(BINS))) == (2, 2)


@dataclass(frozen=True, slots=True)
class Pictures:
    """A photo's luma, and the chroma that a file makes of it."""

    luma: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

    def chroma(self, path: Path) -> Floats:
        return predict_chroma(self.luma, 1, load_model(path, "cpu"), "fast")


@pytest.fixture(scope="module")
def picture(repository: Path) -> Pictures:
    with Image.open(repository / "examples" / "photos" / "portrait.jpg") as image:
        return Pictures(np.asarray(image.convert("L").resize((120, 90))))


@pytest.mark.parametrize(("precision", "limit"), [("fp16", 0.002), ("int8", 0.02)])
def test_other_precisions_colorize_nearly_like_fp32(
    precision: str, limit: float, unet_fp32: Exported, picture: Pictures, request: pytest.FixtureRequest
) -> None:
    exported: Exported = request.getfixturevalue(f"unet_{precision}")
    expected, actual = picture.chroma(unet_fp32.path), picture.chroma(exported.path)
    assert expected.std() > 0.02
    assert 0 < np.abs(actual - expected).mean() < limit
    spec, difference = exported.result.spec, exported.result.difference
    assert difference is not None
    assert spec == load_model(exported.path, "cpu").spec
    assert (spec.precision, spec.de00_mean, spec.de00_p99) == (precision, difference.mean, difference.p99)
    assert 0 < difference.mean <= difference.worst
    assert difference.mean < difference.p99
    assert spec.parity_max > unet_fp32.result.spec.parity_max
    assert exported.result.lines()[5].startswith("CIEDE2000 against fp32 on 7 photos: mean ")


def test_the_files_are_as_small_as_their_precision(
    unet_fp32: Exported, unet_fp16: Exported, unet_int8: Exported
) -> None:
    def weights(exported: Exported) -> dict[np.dtype[np.generic], int]:
        sizes: dict[np.dtype[np.generic], int] = {}
        for tensor in onnx.load(exported.path).graph.initializer:
            array = numpy_helper.to_array(tensor)
            if array.ndim == 4:
                sizes[array.dtype] = sizes.get(array.dtype, 0) + array.size
        return sizes

    (parameters,) = weights(unet_fp32).values()
    assert weights(unet_fp16) == {np.dtype(np.float16): parameters}
    # All but the last convolution and the transposed one, which onnxruntime does not compute in int8.
    assert weights(unet_int8)[np.dtype(np.int8)] > 0.8 * parameters


def test_attention_stays_float(
    small_checkpoint: Path, small_fp32: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("bwcolor_export.onnx._to_onnx", lambda *_: onnx.load(small_fp32.path))
    monkeypatch.chdir(tmp_path)
    target = tmp_path / "small.onnx"
    options = ExportOptions(precision="int8", gain=GAIN, max_de00=3.0, max_de00_p99=20.0)  # random weights
    result = export_onnx(small_checkpoint, target, options, overwrite=False)
    assert result.int8_share > 0.9
    model = onnx.load(target)
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    read = [makers.get(name, "") for node in model.graph.node if node.op_type == "MatMul" for name in node.input]
    assert read
    assert "DequantizeLinear" not in read
    assert [path.name for path in tmp_path.iterdir()] == ["small.onnx"]
    assert capfd.readouterr() == ("", ""), "calibration is quiet"


@pytest.mark.parametrize("limit", ["max_de00", "max_de00_p99"])
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_colours_beyond_the_limit_are_refused(
    precision: str, limit: str, unet_checkpoint: Path, unet_fp32: Exported, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("bwcolor_export.onnx._to_onnx", lambda *_: onnx.load(unet_fp32.path))
    if precision == "fp16":  # what the file above is not
        monkeypatch.setattr("bwcolor_export.verify.Exported.__call__", lambda _, batch: np.repeat(batch * np.nan, 2, 1))
    options = ExportOptions(precision=precision, **{limit: 1e-9})  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=rf"unet\.pt: .*{precision} changes the colours by CIEDE2000 .*nothing"):
        export_onnx(unet_checkpoint, tmp_path / "model.onnx", options, overwrite=False)
    assert not list(tmp_path.iterdir())


def test_own_photos_set_the_ranges(
    unet_checkpoint: Path, unet_fp32: Exported, unet_int8: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bwcolor_export.onnx._to_onnx", lambda *_: onnx.load(unet_fp32.path))
    photos = tmp_path / "photos" / "sub"
    photos.mkdir(parents=True)
    Image.fromarray(np.full((64, 64), 40, np.uint8)).save(photos / "dark.png")
    options = ExportOptions(precision="int8", calibrate=tmp_path / "photos", max_de00=99, max_de00_p99=99)
    result = export_onnx(unet_checkpoint, tmp_path / "model.onnx", options, overwrite=False)
    assert result.difference is not None
    assert unet_int8.result.difference is not None
    assert result.difference.photos == 8, "compared on the package's photos as well"
    assert result.difference.mean > 2 * unet_int8.result.difference.mean


@pytest.mark.parametrize(("name", "error"), [("none", FolderError), ("empty", NoPhotosError), ("bad", NoPhotosError)])
def test_folders_without_photos_are_refused(
    name: str, error: type[Exception], unet_checkpoint: Path, unet_fp32: Exported, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("bwcolor_export.onnx._to_onnx", lambda *_: onnx.load(unet_fp32.path))
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jpg").write_bytes(b"no photo")
    options = ExportOptions(precision="int8", calibrate=tmp_path / name)
    with pytest.raises(error, match=f"--calibrate .*{name}"):
        export_onnx(unet_checkpoint, tmp_path / "model.onnx", options, overwrite=False)
    assert not (tmp_path / "model.onnx").exists()
