"""Other people's models: contracts made of what the user says, and files that don't fit theirs."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_model import TINY_SPEC, ddcolor_onnx, deoldify_onnx, pointwise_onnx, write_tiny, zhang_onnx

from bwcolor.errors import ModelError, UsageError
from bwcolor.inference.session import load_model
from bwcolor.models.onnx_reader import read_onnx
from bwcolor.models.sidecar import Contract, contract_content, contract_path
from bwcolor.models.spec import ModelSpec
from bwcolor.models.third_party import KINDS, Told, foreign_spec, suggestion

Weight = Sequence[Sequence[float]]
ZHANG = dataclasses.replace(
    TINY_SPEC, input_kind="l", output_kind="ab", input_range=(0, 100), output_range=(-128, 128), network_size=64,
    multiple=8, shape="square",
)  # fmt: skip
DEOLDIFY = dataclasses.replace(
    ZHANG, input_kind="gray-rgb", output_kind="rgb", input_range=(0, 255), output_range=(0, 255), multiple=16
)
IDENTITY: Weight = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def described(spec: ModelSpec, weight: Weight, bias: Sequence[float], side: int | None = 64, **how: Any) -> bytes:
    return pointwise_onnx(weight, bias, side, metadata=spec.to_metadata(), **how)


FIT_MODELS = {
    "l to ab": described(ZHANG, [[0], [0]], [30, -20]),
    "l to ab at a quarter of the size": described(ZHANG, [[0], [0]], [30, -20], stride=4),
    "l to ab, a little beyond the range": described(ZHANG, [[0], [0]], [135, -20]),
    "any square": described(ZHANG, [[0], [0]], [30, -20], side=None),
    "rgb": described(DEOLDIFY, IDENTITY, [20, 0, -20]),
    "rgb at any size": described(
        dataclasses.replace(DEOLDIFY, shape="any"), IDENTITY, [20, 0, -20], None, pictures="n"
    ),
    "rgb, imagenet": described(
        dataclasses.replace(DEOLDIFY, input_range="imagenet", output_range="imagenet"), IDENTITY, [0.2, 0, -0.2]
    ),
}


@pytest.mark.parametrize("name", FIT_MODELS)
def test_other_peoples_models_load(name: str, tmp_path: Path) -> None:
    model = load_model(written(tmp_path / "other.onnx", FIT_MODELS[name]), "cpu")
    assert model.spec.output_kind in ("ab", "rgb")


UNFIT_FOREIGN = {
    "a million": (described(ZHANG, [[0], [0]], [1e6, 0]), "go from 0 to 1e\\+06 on a test picture.* says -128 to 128"),
    "minus a million": (described(ZHANG, [[0], [0]], [0, -1e6]), "go from -1e\\+06 to 0"),
    "NaN": (described(ZHANG, [[0], [0]], [float("nan"), 0]), "not numbers"),
    "three channels in": (described(ZHANG, [[0] * 3] * 2, [0, 0]), "not float N x 1 x H x W"),
    "three channels out": (described(ZHANG, [[0]] * 3, [0] * 3), "not float N x 2 x H x W"),
    "another size": (described(ZHANG, [[0], [0]], [0, 0], side=96), "says 64 x 64 px, but its input is .* 96 x 96"),
    "fixed, but any is said": (
        described(dataclasses.replace(ZHANG, shape="any"), [[0], [0]], [0, 0]), "says any size, but its input is",
    ),
    "a size that is no part of the input's": (described(ZHANG, [[0], [0]], [0, 0], None, stride=5), "of their size"),
    "smaller, at any size": (
        described(dataclasses.replace(ZHANG, shape="any"), [[0], [0]], [0, 0], None, stride=2, pictures="n"),
        "of their size",
    ),
    "rgb 0..1 said to be 0..255": (described(DEOLDIFY, [[1 / 255, 0, 0]] * 3, [0, 0, 0]), "not as bright"),
    "rgb 0..255 said to be 0..1": (
        described(dataclasses.replace(DEOLDIFY, output_range=(0, 1)), IDENTITY, [0, 0, 0]), "go from .* says 0 to 1",
    ),
    "rgb 0..1 said to be imagenet": (
        described(dataclasses.replace(DEOLDIFY, input_range=(0, 1), output_range="imagenet"), IDENTITY, [0, 0, 0]),
        "not as bright",
    ),
    "rgb that is fed another range than it knows": (
        described(dataclasses.replace(DEOLDIFY, input_range=(0, 1)), IDENTITY, [0, 0, 0]), "not as bright",
    ),
    "rgb that is far too bright": (described(DEOLDIFY, IDENTITY, [100, 100, 100]), "not as bright"),
    "rgb that is a negative": (
        described(DEOLDIFY, (-np.eye(3)).tolist(), [255, 255, 255]), "not as bright",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNFIT_FOREIGN)
def test_other_peoples_models_that_do_not_fit_their_contract(name: str, tmp_path: Path) -> None:
    content, sentence = UNFIT_FOREIGN[name]
    with pytest.raises(ModelError, match=sentence) as caught:
        load_model(written(tmp_path / "other.onnx", content), "cpu")
    assert str(caught.value).startswith(f"{tmp_path / 'other.onnx'}: ")


def test_a_file_without_a_contract_says_what_it_looks_like(tmp_path: Path) -> None:
    path = written(tmp_path / "dd.onnx", ddcolor_onnx())
    with pytest.raises(ModelError, match=r"input \(float 1 x 3 x 512 x 512\) .* looks like gray-rgb-to-ab"):
        load_model(path, "cpu")


def test_the_contract_beside_a_file_is_used_and_only_for_that_file(tmp_path: Path) -> None:
    path = written(tmp_path / "zhang.onnx", pointwise_onnx([[0], [0]], [30, -20], 64))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    contract_path(path).write_bytes(contract_content(Contract(sha256, ZHANG)))
    model = load_model(path, "cpu")
    assert (model.spec, model.sha256, model.path) == (ZHANG, sha256, path)
    path.write_bytes(pointwise_onnx([[0], [0]], [31, -20], 64))
    with pytest.raises(ModelError, match="written for another file"):
        load_model(path, "cpu")


def test_the_contract_inside_a_file_comes_before_one_beside_it(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "tiny.onnx")
    contract_path(path).write_text("anything")
    assert load_model(path, "cpu").spec == TINY_SPEC


@pytest.mark.parametrize(
    ("content", "told", "size", "multiple"),
    [
        (zhang_onnx(), Told("l-to-ab", "x"), 256, 1),
        (zhang_onnx(side=224), Told("l-to-ab", "x"), 224, 1),
        (zhang_onnx(side=None), Told("l-to-ab", "x"), 256, 8),
        (ddcolor_onnx(), Told("gray-rgb-to-ab", "x"), 512, 1),
        (ddcolor_onnx(side=None), Told("gray-rgb-to-ab", "x", shape="any"), 512, 32),
        (
            deoldify_onnx((0, 0, 0)),
            Told("gray-rgb-to-rgb", "x", size=352, input_range="0,255", output_range="0,255"),
            352,
            16,
        ),
    ],
)
def test_sizes_come_from_the_user_the_file_or_what_is_usual(
    content: bytes, told: Told, size: int, multiple: int
) -> None:
    spec = foreign_spec(told, read_onnx(content))
    assert (spec.network_size, spec.tile_size, spec.multiple) == (size, size, multiple)
    assert spec.shape == told.shape
    kind = KINDS[told.kind]
    assert (spec.input_kind, spec.output_kind) == (kind.input_kind, kind.output_kind)


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("0,1", (0, 1)),
        ("-50,50", (-50, 50)),
        (" -1.5 , +2e1", (-1.5, 20)),
        (".5,1.", (0.5, 1)),
        ("imagenet", "imagenet"),
    ],
)
def test_ranges_as_people_write_them(text: str, ends: object) -> None:
    told = Told("gray-rgb-to-rgb", "x", input_range=text, output_range=text)
    spec = foreign_spec(told, read_onnx(deoldify_onnx((0, 0, 0))))
    assert spec.input_range == spec.output_range == ends


@pytest.mark.parametrize("text", ["", "1", "0,1,2", "a,b", "0;1", "inf,1", "1,0", "0,0", "0,1e99", "Imagenet"])
def test_ranges_that_are_none(text: str) -> None:
    told = Told("gray-rgb-to-rgb", "x", input_range="0,1", output_range=text)
    with pytest.raises(UsageError, match=r"--output-range|range must rise"):
        foreign_spec(told, read_onnx(deoldify_onnx((0, 0, 0))))


def test_what_a_file_looks_like() -> None:
    assert suggestion(read_onnx(zhang_onnx())).endswith("which looks like l-to-ab.")
    assert suggestion(read_onnx(deoldify_onnx((0, 0, 0)))).endswith("which looks like gray-rgb-to-rgb.")
    four = suggestion(read_onnx(pointwise_onnx([[0] * 4], [0])))
    assert (
        four
        == " It takes input (float 1 x 4 x height x width) and gives output (float 1 x 1 x height_out x width_out)."
    )
