"""Recipes: read, checked, told apart."""

import dataclasses
from importlib import resources
from typing import Any

import pytest
from bwcolor_training.config import TrainConfig, from_mapping, load_recipe
from bwcolor_training.errors import TrainingInputError

RECIPES = sorted(
    entry.name.removesuffix(".toml") for entry in (resources.files("bwcolor_training") / "recipes").iterdir()
)


def test_there_is_a_default_recipe() -> None:
    assert "default" in RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_load_and_begin_with_their_purpose(name: str) -> None:
    assert load_recipe(name, []).recipe == name
    text = (resources.files("bwcolor_training") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")
    assert text.startswith("# ")


def test_an_unknown_recipe_lists_the_known_ones() -> None:
    with pytest.raises(TrainingInputError, match=r"'best'.*Known: .*default"):
        load_recipe("best", [])


def test_an_unknown_key_lists_the_known_ones() -> None:
    with pytest.raises(TrainingInputError, match=r"mine\.toml: unknown key 'learnin_rate'.*learning_rate"):
        from_mapping({"learnin_rate": 1}, "mine.toml")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("steps", "many"),
        ("steps", 10.5),
        ("steps", float("inf")),
        ("steps", True),
        ("steps", [10]),
        ("learning_rate", "fast"),
        ("loss", 3),
        ("sizes", 64),
        ("sizes", ["64"]),
        ("shares", [None]),
    ],
)
def test_a_wrong_type_names_key_and_value(key: str, value: Any) -> None:
    with pytest.raises(TrainingInputError, match=f"{key} must be like"):
        from_mapping({key: value}, "mine.toml")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sizes": [64, 96]}, "same number of stages"),
        ({"sizes": [], "batches": [], "shares": []}, "same number of stages"),
        ({"shares": [0.6, 0.25, 0.25]}, "add up to 1"),
        ({"shares": [1.5, -0.25, -0.25]}, "positive"),
        ({"sizes": [64, 96, 100]}, "multiples of 32"),
        ({"sizes": [64, 96, 0]}, "multiples of 32"),
        ({"batches": [64, 32, 0]}, "1 or more"),
        ({"steps": 0}, "1 or more"),
        ({"validate_steps": 0}, "1 or more"),
        ({"decoder_widths": [16, 16, 16]}, "4 numbers"),
        ({"skip_widths": [16, 16, 16, 0]}, "4 numbers"),
        ({"decoder_widths": [18, 16, 8, 8]}, "multiple of 4"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(TrainingInputError, match=words):
        from_mapping(settings, "mine.toml")


def test_whole_numbers_may_stand_for_fractions_and_back() -> None:
    config = from_mapping({"clip": 2, "steps": 100.0, "shares": [1, 0, 0]}, "mine.toml")
    assert (config.clip, config.steps, config.shares) == (2.0, 100, (1.0, 0.0, 0.0))
    assert [type(v) for v in (config.clip, config.steps, config.shares[0])] == [float, int, float]


def test_settings_are_given_as_toml_or_as_bare_words() -> None:
    config = load_recipe(
        "default", ["steps=7", " seed = 3", "skip_widths=[8, 8, 4, 4]", 'loss="mse"', "encoder=C:\\my files\\a=b.npz"]
    )
    assert (config.steps, config.seed, config.skip_widths, config.loss) == (7, 3, (8, 8, 4, 4), "mse")
    assert config.encoder == "C:\\my files\\a=b.npz"


@pytest.mark.parametrize("setting", ["steps", "steps=", "steps=seven", "stepz=7", "=7"])
def test_a_setting_that_makes_no_sense_is_refused(setting: str) -> None:
    with pytest.raises(TrainingInputError):
        load_recipe("default", [setting])


def test_a_config_survives_the_way_through_plain_values() -> None:
    config = TrainConfig(steps=12, shares=(0.5, 0.25, 0.25), encoder="none")
    assert from_mapping(dataclasses.asdict(config), "a checkpoint") == config


@pytest.mark.parametrize("change", [{"seed": 1}, {"steps": 1}, {"shares": (0.5, 0.25, 0.25)}, {"encoder": "none"}])
def test_the_hash_changes_with_a_setting(change: dict[str, Any]) -> None:
    assert TrainConfig(**change).sha256() != TrainConfig().sha256()


def test_the_hash_leaves_out_where_the_encoder_lies() -> None:
    places = ["encoder.npz", "/home/me/encoder.npz", "D:\\work\\encoder.npz"]
    assert len({TrainConfig(encoder=place).sha256() for place in places}) == 1
    assert TrainConfig(encoder="/home/me/other.npz").sha256() != TrainConfig(encoder=places[0]).sha256()
