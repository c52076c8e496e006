"""The contract inside a model file: what is written is read back, and nothing else is believed."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import TINY_SPEC

from bwcolor.errors import ModelError
from bwcolor.models.spec import MAX_JSON, METADATA_KEY, ModelSpec

# What bwcolor 0.1 wrote, and nothing since may need more than.
OLD_FIELDS = frozenset({
    "format", "name", "version", "licence", "input_kind", "output_kind", "input_range", "output_range",
    "network_size", "multiple", "tile_size", "training_sha256",
})  # fmt: skip
GOOD: dict[str, Any] = json.loads(TINY_SPEC.to_metadata()[METADATA_KEY])


def read(values: object) -> ModelSpec:
    return ModelSpec.from_metadata({METADATA_KEY: values if isinstance(values, str) else json.dumps(values)})


@settings(max_examples=30, deadline=None)
@given(
    name=st.text(max_size=20),
    multiple=st.integers(1, 64),
    factors=st.tuples(st.integers(1, 64), st.integers(1, 64)),
    low=st.floats(-1e6, 0),
    high=st.floats(1e-3, 1e6),
)
def test_round_trip(name: str, multiple: int, factors: tuple[int, int], low: float, high: float) -> None:
    network, tile = (multiple * factor for factor in factors)
    spec = ModelSpec(
        name, "2.0", "MIT", "luma", "cbcr", (low, high), (-high, high), network, multiple, tile, training_sha256="ab"
    )
    assert ModelSpec.from_metadata({"other": "key", **spec.to_metadata()}) == spec


def test_what_the_damaged_cases_start_from_is_whole() -> None:
    assert read(GOOD) == TINY_SPEC


def test_a_file_without_metadata_is_told_so() -> None:
    with pytest.raises(ModelError, match=r"no bwcolor metadata.*bwcolor export"):
        ModelSpec.from_metadata({})


def test_every_field_is_read_back() -> None:
    spec = ModelSpec(
        "n", "2", "MIT", "gray-rgb", "rgb", "imagenet", "imagenet", 512, 64, 256, "ab", "square", "int8", "pix2pix",
        "8,000 photos of COCO.", 0.02, 0.001, 0.3, 1.5,
    )  # fmt: skip
    assert all(value != dataclasses.asdict(TINY_SPEC)[name] for name, value in dataclasses.asdict(spec).items())
    assert ModelSpec.from_metadata(spec.to_metadata()) == spec


def test_files_of_bwcolor_0_1_are_still_read() -> None:
    assert read({name: value for name, value in GOOD.items() if name in OLD_FIELDS}) == TINY_SPEC


def test_fields_of_later_versions_are_passed_over() -> None:
    assert read({**GOOD, "invented_later": [1, 2]}) == TINY_SPEC


@pytest.mark.parametrize("missing", sorted(OLD_FIELDS))
def test_a_missing_field(missing: str) -> None:
    with pytest.raises(ModelError, match=missing):
        read({key: value for key, value in GOOD.items() if key != missing})


def test_another_format_names_the_version() -> None:
    with pytest.raises(ModelError, match="another bwcolor version"):
        read({**GOOD, "format": 2})


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", '"text"', "1", "{}", "[" * 100_000, "\ud800", json.dumps({**GOOD, "x": "y" * MAX_JSON})],
)
def test_damaged_json(text: str) -> None:
    with pytest.raises(ModelError):
        read(text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 1),
        ("name", None),
        ("input_kind", "rgb"),
        ("input_kind", "gray-rgb "),
        ("output_kind", "lab"),
        ("output_kind", ["ab"]),
        ("shape", "round"),
        ("shape", None),
        ("precision", "fp64"),
        ("recipe", 5),
        ("training_data", "x" * 3_000),
        ("licence", ["MIT"]),
        ("parity_max", -0.5),
        ("parity_mean", float("nan")),
        ("de00_mean", float("inf")),
        ("de00_p99", "0.5"),
        ("de00_p99", True),
        ("input_range", "imagenet"),
        ("output_range", "imagenet"),
        ("output_range", "x" * 500),
        ("input_range", [True, 2]),
        ("input_range", ["0", "1"]),
        ("input_range", [0, 1e9]),
        ("input_range", [0, 1e-300]),
        ("network_size", "64"),
        ("network_size", 64.0),
        ("network_size", 0),
        ("network_size", -64),
        ("network_size", 65),
        ("network_size", 2**40),
        ("multiple", 0),
        ("multiple", True),
        ("multiple", -32),
        ("multiple", 8192),
        ("tile_size", 33),
        ("tile_size", 2**31),
        ("input_range", 1),
        ("input_range", [0]),
        ("input_range", [0, 1, 2]),
        ("input_range", ["a", "b"]),
        ("input_range", [None, 1]),
        ("input_range", [1, 0]),
        ("input_range", [0, 0]),
        ("input_range", [0, float("inf")]),
        ("output_range", [float("-inf"), 0]),
        ("output_range", [float("nan"), 1]),
        ("output_range", [0, 10**400]),
    ],
)
def test_absurd_values_are_refused(field: str, value: object) -> None:
    with pytest.raises(ModelError) as caught:
        read({**GOOD, field: value})
    assert len(str(caught.value)) < 300


def test_imagenet_is_for_rgb_only() -> None:
    good = {**GOOD, "input_kind": "gray-rgb", "output_kind": "rgb"}
    assert read({**good, "input_range": "imagenet", "output_range": "imagenet"}).input_range == "imagenet"
    for wrong in ("ImageNet", "", "imagenet2"):
        with pytest.raises(ModelError, match="only RGB can be normalised"):
            read({**good, "input_range": wrong})
