"""The JSON files beside a model: written, read back, and never believed further than they are checked."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
from tiny_model import TINY_SPEC

from bwcolor.errors import ModelError
from bwcolor.models.sidecar import (
    Contract,
    Measurement,
    card_content,
    card_path,
    contract_content,
    contract_path,
    is_ours,
    read_card,
    read_contract,
)
from bwcolor.models.spec import MAX_JSON

SHA256, OTHER = "ab" * 32, "cd" * 32
CONTRACT = Contract(SHA256, TINY_SPEC)
MEASURED = Measurement("kodak", "256 px", 24, 0, "2025-11-21", "0.1.0", "cpu", 22.1, 11.9, 30.5, 46.5, 21.7, 12.0)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


def test_a_contract_is_read_back(model: Path) -> None:
    assert read_contract(model) is None
    contract_path(model).write_bytes(contract_content(CONTRACT))
    assert contract_path(model).name == "model.onnx.json"
    assert read_contract(model) == CONTRACT


GOOD: dict[str, Any] = json.loads(contract_content(CONTRACT))
HOSTILE: dict[str, str | bytes] = {
    "empty": "",
    "no JSON": "{",
    "another kind": "[]",
    "text": '"format"',
    "nothing": "null",
    "deep": "[" * 60_000,
    "deep objects": '{"a":' * 10_000,
    "huge": json.dumps({**GOOD, "x": "y" * MAX_JSON}),
    "not UTF-8": b"\xff\xfe{}",
    "another format": json.dumps({**GOOD, "format": 2}),
    "no format": json.dumps({"spec": GOOD["spec"]}),
    "number for the hash": json.dumps({**GOOD, "model_sha256": 5}),
    "short hash": json.dumps({**GOOD, "model_sha256": "ab"}),
    "list for the spec": json.dumps({**GOOD, "spec": [1]}),
    "text for the spec": json.dumps({**GOOD, "spec": "luma"}),
    "no spec": json.dumps({"format": 1, "model_sha256": SHA256}),
    "wrong type inside": json.dumps({**GOOD, "spec": {**GOOD["spec"], "network_size": "../../etc"}}),
    "infinite": json.dumps({**GOOD, "spec": {**GOOD["spec"], "output_range": [0, float("inf")]}}),
    "many digits": json.dumps(GOOD).replace('"multiple": 32', '"multiple": ' + "9" * 5000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_contract_gets_a_sentence(name: str, model: Path) -> None:
    content = HOSTILE[name]
    contract_path(model).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ModelError) as caught:
        read_contract(model)
    assert str(caught.value).startswith(f"{contract_path(model)}: ")
    assert len(str(caught.value)) < 500


def test_pipes_and_folders_are_not_read(model: Path) -> None:
    os.mkfifo(contract_path(model))
    card_path(model).mkdir()
    with pytest.raises(ModelError, match="not a file of bwcolor"):
        read_contract(model)
    with pytest.raises(ModelError, match="not a file of bwcolor"):
        read_card(model, SHA256)
    assert not is_ours(contract_path(model))
    assert not is_ours(card_path(model))


def test_a_card_collects_data_sets_and_protocols(model: Path) -> None:
    assert read_card(model, SHA256) == []
    others = [dataclasses.replace(MEASURED, data="clic"), dataclasses.replace(MEASURED, protocol="512 px")]
    for measured in (MEASURED, *others):
        card_path(model).write_bytes(card_content(model, SHA256, measured))
    assert read_card(model, SHA256) == [MEASURED, *others]
    again = dataclasses.replace(MEASURED, psnr=25.0)
    card_path(model).write_bytes(card_content(model, SHA256, again))
    assert read_card(model, SHA256) == [*others, again]


def test_the_card_of_another_file_is_not_shown_and_not_carried_on(model: Path) -> None:
    card_path(model).write_bytes(card_content(model, OTHER, MEASURED))
    with pytest.raises(ModelError, match="measured with another file"):
        read_card(model, SHA256)
    card_path(model).write_bytes(card_content(model, SHA256, MEASURED))
    assert read_card(model, SHA256) == [MEASURED]


@pytest.mark.parametrize(
    "entry",
    [
        5, [], {}, {"data": "x"}, {"psnr": "22"}, {"photos": 2.5}, {"photos": True}, {"data": 5}, {"psnr": 1e300},
        {"data": "x" * 5000}, {"surprise": 1},
    ],
)  # fmt: skip
def test_a_hostile_card_gets_a_sentence(entry: Any, model: Path) -> None:
    good = dataclasses.asdict(MEASURED)
    measured = {**good, **entry} if isinstance(entry, dict) and len(entry) == 1 and entry != {"data": "x"} else entry
    values = {"format": 1, "model_sha256": SHA256, "measurements": [measured]}
    card_path(model).write_text(json.dumps(values))
    with pytest.raises(ModelError, match="not a card of bwcolor"):
        read_card(model, SHA256)


def test_nothing_but_ours_may_be_replaced(model: Path) -> None:
    path = contract_path(model)
    assert is_ours(path)
    path.write_bytes(contract_content(CONTRACT))
    assert is_ours(path)
    for other in ("{}", "[1]", "words", '{"model_sha256": 3}'):
        path.write_text(other)
        assert not is_ours(path)
    card_path(model).write_text("{}")
    with pytest.raises(ModelError, match="in the way"):
        card_content(model, SHA256, MEASURED)
