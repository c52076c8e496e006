"""The contract inside a model file: what is written is read back, and nothing else is believed."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import TINY_SPEC

from bwcolor.errors import ModelError
from bwcolor.spec import METADATA_KEY, ModelSpec

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


@pytest.mark.parametrize("missing", sorted(GOOD))
def test_a_missing_field(missing: str) -> None:
    with pytest.raises(ModelError, match=missing):
        read({key: value for key, value in GOOD.items() if key != missing})


def test_another_format_names_the_version() -> None:
    with pytest.raises(ModelError, match="another bwcolor version"):
        read({**GOOD, "format": 2})


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '"text"', "1", "{}", "[" * 100_000, "\ud800"])
def test_damaged_json(text: str) -> None:
    with pytest.raises(ModelError):
        read(text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 1),
        ("name", None),
        ("input_kind", "rgb"),
        ("output_kind", "ab"),
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
    with pytest.raises(ModelError):
        read({**GOOD, field: value})
