"""Loading a model: the device that is really used, and files that can't be used."""

import dataclasses
import hashlib
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.testing import assert_allclose
from onnx import TensorProto, helper, numpy_helper
from tiny_model import TINY_SPEC, pointwise_onnx, tiny_onnx, write_tiny

from bwcolor.errors import DeviceError, ModelError, UsageError
from bwcolor.inference import devices, session
from bwcolor.inference.predict import predict_chroma
from bwcolor.inference.session import Choice, load_chosen, load_model, on_gpu, summary
from bwcolor.models import selfcheck


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without an NVIDIA GPU, wherever the tests run."""
    for module in (devices, session):
        monkeypatch.setattr(module, "has_nvidia_gpu", lambda: False)


class CpuOnlySession:
    """What onnxruntime gives when CUDA can't be started: a session that quietly runs on the CPU."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]

    def disable_fallback(self) -> None:
        pass


def test_a_model_loads_and_runs(tiny_model: Path) -> None:
    model = load_model(tiny_model, "cpu")
    assert model.spec == TINY_SPEC
    assert (model.device, model.why) == ("cpu", "as asked")
    assert model.sha256 == hashlib.sha256(tiny_model.read_bytes()).hexdigest()
    out = model.run(np.full((3, 1, 32, 64), 0.5, np.float32))
    assert out.shape == (3, 2, 32, 64)
    assert_allclose(out[:, :, 5, 5], np.broadcast_to([-0.1 - 0.025, 0.08 + 0.025], (3, 2)), atol=1e-6)


@pytest.mark.parametrize(
    "device",
    [
        "",
        "gpu",
        "CPU",
        "cuda:",
        "cuda:-1",
        "cuda:x",
        "cuda:0 ",
        "cpu:0",
        "auto\n",
        "cuda:0,",
        "cuda:,1",
        "cuda:0, 1",
        "cuda:0,cuda:1",
        "cuda:٣",
        "cpu,cuda:0",
    ],
)
def test_an_unknown_device_is_a_usage_error(tiny_model: Path, device: str) -> None:
    with pytest.raises(UsageError, match=r"choose auto, cpu, cuda or cuda:N .* as in cuda:0,1\."):
        load_model(tiny_model, device)


@pytest.mark.usefixtures("no_gpu")
def test_auto_without_a_gpu_says_why_it_is_the_cpu(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    model = load_model(tiny_model)
    assert (model.device, model.why) == ("cpu", "no NVIDIA GPU was found")
    assert summary(model) == ("Using model tiny 1 on the CPU.",)
    assert not on_gpu(model)
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    model = load_model(tiny_model, "auto")
    assert (model.device, model.why) == ("cpu", "this onnxruntime is built without CUDA")


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:3"])
def test_cuda_without_a_gpu_never_runs_on_the_cpu(
    tiny_model: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_session(*_: object, **__: object) -> None:
        raise AssertionError("a session was opened")

    monkeypatch.setattr(ort, "InferenceSession", no_session)
    with pytest.raises(DeviceError, match=rf"--device {device}: .* Use --device cpu"):
        load_model(tiny_model, device)


def test_cuda_that_quietly_falls_back_is_noticed(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime opens a CPU session when CUDA's libraries are missing; only get_providers() tells."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    for module in (devices, session):
        monkeypatch.setattr(module, "has_nvidia_gpu", lambda: True)
    monkeypatch.setattr(ort, "preload_dlls", lambda: None, raising=False)
    real = ort.InferenceSession

    def fall_back(content: bytes, options: object, providers: list[object]) -> object:
        cuda = len(providers) > 1
        return CpuOnlySession() if cuda else real(content, options, providers=providers)

    monkeypatch.setattr(ort, "InferenceSession", fall_back)
    with pytest.raises(DeviceError, match=r"CUDA device 1 can't be used; .*pip install \"onnxruntime-gpu\[cuda"):
        load_model(tiny_model, "cuda:1")
    model = load_model(tiny_model, "auto")
    assert model.device == "cpu"
    assert "CUDA device 0 can't be used" in model.why
    using, note = summary(model)
    assert using.endswith(" on the CPU.")
    assert note.startswith("note: the NVIDIA GPU is not used: CUDA device 0 can't be used; ")


def test_cuda_that_fails_to_start_is_a_device_error(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA driver version is insufficient\nand much more")

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(devices, "has_nvidia_gpu", lambda: True)
    monkeypatch.setattr(ort, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(ort, "InferenceSession", broken)
    with pytest.raises(DeviceError, match="driver version is insufficient") as caught:
        load_model(tiny_model, "cuda")
    assert "\n" not in str(caught.value)


def graph_of(nodes: list[onnx.NodeProto], **channels: int) -> bytes:
    """A model whose inputs and outputs have these channel counts; names of outputs begin with `out`."""
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", count, "h", "w"])
        for name, count in channels.items()
    }
    weights = [
        numpy_helper.from_array(np.ones((2, 1, 1, 1), np.float32), "to_two"),
        numpy_helper.from_array(np.ones((3, 1, 1, 1), np.float32), "to_three"),
        numpy_helper.from_array(np.ones((2, 3, 1, 1), np.float32), "from_three"),
    ]
    inputs = [value for name, value in values.items() if not name.startswith("out")]
    outputs = [value for name, value in values.items() if name.startswith("out")]
    graph = helper.make_graph(nodes, "unfit", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, TINY_SPEC.to_metadata())
    return bytes(model.SerializeToString())


def conv(source: str, weight: str, out: str, stride: int = 1) -> onnx.NodeProto:
    return helper.make_node("Conv", [source, weight], [out], strides=[stride, stride])


UNFIT_MODELS: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "not an ONNX model"),
    "text": (lambda: b"version https://git-lfs.github.com/spec/v1\n", "not an ONNX model"),
    "pickle": (lambda: pickle.dumps({"weights": [1, 2, 3]}), "not an ONNX model"),
    "zip of a checkpoint": (lambda: b"PK\x03\x04" + bytes(100), "not an ONNX model"),
    "half": (lambda: tiny_onnx()[: len(tiny_onnx()) // 2], "not an ONNX model"),
    "no metadata": (lambda: tiny_onnx({}), "no bwcolor metadata"),
    "damaged metadata": (lambda: tiny_onnx({"bwcolor.spec": "{"}), "metadata is damaged"),
    "NaN": (lambda: tiny_onnx(bias=(float("nan"), 0)), "not numbers"),
    "infinite": (lambda: tiny_onnx(bias=(0, float("inf"))), "not numbers"),
    "three channels in": (lambda: graph_of([conv("x", "from_three", "out")], x=3, out=2), "not float N x 1"),
    "three channels out": (lambda: graph_of([conv("x", "to_three", "out")], x=1, out=3), "not float N x 2"),
    "half the size": (lambda: graph_of([conv("x", "to_two", "out", 2)], x=1, out=2), "not two channels of their size"),
    "two inputs": (
        lambda: graph_of([helper.make_node("Add", ["x", "y"], ["z"]), conv("z", "to_two", "out")], x=1, y=1, out=2),
        "it has 2 and 1",
    ),
    "two outputs": (
        lambda: graph_of([conv("x", "to_two", "out"), conv("x", "to_two", "out2")], x=1, out=2, out2=2),
        "it has 1 and 2",
    ),
}


@pytest.mark.parametrize("name", UNFIT_MODELS)
def test_an_unfit_file_is_refused_by_name(name: str, tmp_path: Path) -> None:
    content, sentence = UNFIT_MODELS[name]
    path = tmp_path / "model [1].onnx"
    path.write_bytes(content())
    with pytest.raises(ModelError) as caught:
        load_model(path, "cpu")
    assert str(caught.value).startswith(f"{path}: ")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_truncated_anywhere_is_refused(tmp_path: Path) -> None:
    content = tiny_onnx()
    path = tmp_path / "cut.onnx"
    for length in range(0, len(content), max(1, len(content) // 25)):
        path.write_bytes(content[:length])
        with pytest.raises(ModelError, match=r"cut\.onnx"):
            load_model(path, "cpu")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.onnx", tmp_path):
        with pytest.raises(ModelError, match="can't be read"):
            load_model(path, "cpu")


def test_weights_in_a_second_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would not be covered by the SHA-256, and would be looked for in the current folder."""
    model = onnx.load_from_string(tiny_onnx())
    big = np.zeros((2, 1, 63, 63), np.float32)  # small ones end up inside the file
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(big, "weight"))
    model.graph.node[0].attribute[0].CopyFrom(helper.make_attribute("pads", [31] * 4))
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    assert load_model(path, "cpu").spec == TINY_SPEC
    onnx.save_model(model, str(path), save_as_external_data=True, location="weights.bin", size_threshold=1000)
    assert (tmp_path / "weights.bin").stat().st_size == big.nbytes
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"model\.onnx"):
        load_model(path, "cpu")


def test_a_failure_on_a_photo_is_a_model_error(tiny_model: Path) -> None:
    model = load_model(tiny_model, "cpu")
    with pytest.raises(ModelError, match="not numbers"):
        model.run(np.full((1, 1, 32, 32), np.nan, np.float32))
    with pytest.raises(ModelError, match="the model failed on a photo"):
        model.run(np.zeros((1, 3, 32, 32), np.float32))


def test_a_model_that_can_not_be_fed_its_own_multiple_is_refused(tmp_path: Path) -> None:
    spec = dataclasses.replace(TINY_SPEC, multiple=1)
    model = onnx.load_from_string(tiny_onnx(spec.to_metadata()))
    model.graph.node[0].attribute[0].CopyFrom(helper.make_attribute("pads", [0] * 4))  # 3 x 3 needs 3 px
    path = tmp_path / "hungry.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"hungry\.onnx: the model failed"):
        load_model(path, "cpu")


def test_a_device_that_fails_later_is_an_error_and_not_a_move_to_the_cpu(tiny_model: Path) -> None:
    """onnxruntime's Python session answers EPFail by opening itself anew on the CPU, unless told not to."""
    model = load_model(tiny_model, "cpu")

    class Failing:
        def __getattr__(self, name: str) -> Callable[[], bool]:
            return lambda: False  # whatever else the wrapper asks for

        def run(self, *_: object) -> None:
            raise ort.capi.onnxruntime_pybind11_state.EPFail("CUDA failure 700")

    model.shared._session._sess = Failing()  # type: ignore[union-attr]
    with pytest.raises(ModelError, match="CUDA failure 700"):
        model.run(np.zeros((1, 1, 32, 32), np.float32))


def test_a_model_for_one_picture_at_a_time_is_fed_one_at_a_time(tmp_path: Path) -> None:
    loaded = onnx.load_from_string(tiny_onnx())
    for value in (*loaded.graph.input, *loaded.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    path = tmp_path / "one.onnx"
    path.write_bytes(loaded.SerializeToString())
    batch = np.random.default_rng(0).uniform(0, 1, (3, 1, 32, 32)).astype(np.float32)
    assert_allclose(load_model(path, "cpu").run(batch), load_model(write_tiny(tmp_path / "any.onnx"), "cpu").run(batch))


def test_a_model_for_four_pictures_at_a_time_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "four.onnx"
    path.write_bytes(pointwise_onnx([[0], [0]], [0, 0], pictures=4, metadata=TINY_SPEC.to_metadata()))
    with pytest.raises(ModelError, match="takes 4 pictures at a time"):
        load_model(path, "cpu")


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_auto_asks_for_the_cpus_file_when_cuda_can_not_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    for module in (devices, session):
        monkeypatch.setattr(module, "has_nvidia_gpu", lambda: True)
    monkeypatch.setattr(ort, "preload_dlls", lambda: None, raising=False)
    real = ort.InferenceSession

    def no_cuda(content: bytes, options: object, providers: list[object]) -> object:
        return CpuOnlySession() if len(providers) > 1 else real(content, options, providers=providers)

    monkeypatch.setattr(ort, "InferenceSession", no_cuda)
    files = {device: write_tiny(tmp_path / f"{device[:4]}.onnx") for device in ("cuda:0", "cpu")}
    asked = []

    def choose(device: str) -> Choice:
        asked.append(device)
        return Choice(files[device], f"made for {device}")

    model = load_chosen(choose, "auto")
    assert asked == ["cuda:0", "cpu"]
    assert (model.path, model.device) == (files["cpu"], "cpu")
    assert "CUDA device 0 can't be used" in model.why
    using, note = summary(model)
    assert using.endswith(" on the CPU.")
    assert note.startswith("note: the NVIDIA GPU is not used: CUDA device 0 can't be used; ")
    assert model.why.endswith("; made for cpu")
    with pytest.raises(DeviceError):
        load_chosen(choose, "cuda:0")
    assert asked[2:] == ["cuda:0"]


def test_a_file_with_another_sha256_than_on_record_is_refused(tiny_model: Path) -> None:
    right = hashlib.sha256(tiny_model.read_bytes()).hexdigest()
    assert load_chosen(lambda _: Choice(tiny_model, sha256=right), "cpu").sha256 == right
    with pytest.raises(ModelError, match="changed or damaged"):
        load_chosen(lambda _: Choice(tiny_model, sha256="0" * 64), "cpu")


def test_a_pipe_and_a_file_of_more_than_2_gb_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(ModelError, match="not a file"):
        load_model(tmp_path / "pipe.onnx", "cpu")
    with (tmp_path / "huge.onnx").open("wb") as huge:
        huge.truncate(2**31)  # a hole: it takes no space
    with pytest.raises(ModelError, match="larger than an ONNX file can be"):
        load_model(tmp_path / "huge.onnx", "cpu")


def endless() -> bytes:
    """A model whose loop goes round 2**62 times."""
    scalar = {name: helper.make_tensor_value_info(name, kind, []) for name, kind in (
        ("i", TensorProto.INT64), ("go_on", TensorProto.BOOL), ("went_on", TensorProto.BOOL),
        ("sum", TensorProto.FLOAT), ("more", TensorProto.FLOAT),
    )}  # fmt: skip
    body = helper.make_graph(
        [helper.make_node("Identity", ["go_on"], ["went_on"]), helper.make_node("Add", ["sum", "sum"], ["more"])],
        "body", [scalar["i"], scalar["go_on"], scalar["sum"]], [scalar["went_on"], scalar["more"]],
    )  # fmt: skip
    model = onnx.load_from_string(tiny_onnx())
    for name, value in (("times", np.array(2**62)), ("yes", np.array(True)), ("zero", np.array(0, np.float32))):
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    model.graph.node[0].output[0] = "first"
    model.graph.node.append(helper.make_node("Loop", ["times", "yes", "zero"], ["last"], body=body))
    model.graph.node.append(helper.make_node("Add", ["first", "last"], ["chroma"]))
    return bytes(model.SerializeToString())


def test_a_model_that_never_ends_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(selfcheck, "TRIAL_LIMIT", 0.3)
    started = time.monotonic()
    with pytest.raises(ModelError, match=r"endless\.onnx: not done with a test picture after 0\.3 s"):
        load_model(written(tmp_path / "endless.onnx", endless()), "cpu")
    assert time.monotonic() - started < 20
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("dims", [[2**31, 1, 3, 3], [2**62, 4, 3, 3], [-2, 1, 3, 3], [2, 1, 3, 3]])
def test_weights_that_claim_more_than_there_is_are_refused(dims: list[int], tmp_path: Path) -> None:
    loaded = onnx.load_from_string(tiny_onnx())
    weight = loaded.graph.initializer[0]
    weight.ClearField("raw_data")
    del weight.dims[:]
    weight.dims.extend(dims)
    with pytest.raises(ModelError, match=r"claims\.onnx: not an ONNX model that can be run"):
        load_model(written(tmp_path / "claims.onnx", loaded.SerializeToString()), "cpu")


class OddNetwork:
    """Gives what it should for the test pictures, and an output of another shape for whatever comes later."""

    closed = False

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def run(self, batch: object, options: object) -> object:
        return np.zeros(self.shape, np.float32)


@pytest.mark.parametrize(
    "shape", [(2, 2, 64, 64), (1, 1, 64, 64), (1, 3, 64, 64), (1, 2, 32, 32), (1, 2, 64), (1, 2), (), (0, 2, 64, 64)]
)
def test_an_output_of_another_shape_is_the_models_fault(shape: tuple[int, ...], tiny_model: Path) -> None:
    odd = dataclasses.replace(load_model(tiny_model, "cpu"), shared=OddNetwork(shape))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"the model is unfit: pictures \(1, 1, 64, 64\) gave .*, not two channels of"):
        odd.run(np.zeros((1, 1, 64, 64), np.float32))
    luma = np.full((64, 64), 100, np.uint8)
    with pytest.raises(ModelError, match="the model is unfit"):
        predict_chroma(luma, 1, odd, "fast")
