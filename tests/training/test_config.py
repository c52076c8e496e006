"""Recipes: read, checked, told apart."""

import dataclasses
from importlib import resources
from typing import Any

import pytest
import torch
from bwcolor_training.config import CHOICES, RANGES, TrainConfig, from_mapping, load_recipe, recipes
from bwcolor_training.data.datasets import DATASETS
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.losses import check_losses
from bwcolor_training.networks.build import build_generator

RECIPES = ["default", "mobilenet", "pix2pix", "resnet18-gan", "resnet18-regression", "unet-31m", "unet-cifar"]
DEFAULTS = TrainConfig()


def test_the_recipes_are_there_with_their_purposes() -> None:
    known = recipes()
    assert list(known) == RECIPES
    for name, purpose in known.items():
        assert purpose.endswith("."), name
        assert purpose[0].isupper(), name


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_load_and_begin_with_their_purpose(name: str) -> None:
    assert load_recipe(name, []).recipe == name
    text = (resources.files("bwcolor_training") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")
    assert text.startswith("# ")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_names_what_exists_and_fits_together(name: str) -> None:
    config = load_recipe(name, [])
    check_losses(config)
    with torch.device("meta"):  # shapes without numbers
        build_generator(config, pretrained=False)
    assert config.dataset in DATASETS or (config.dataset == "" and name in ("default", "mobilenet"))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_only_what_is_not_the_default(name: str) -> None:
    """But for what its reader would wonder about: where it starts from and what it minimises."""
    text = (resources.files("bwcolor_training") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")
    config = load_recipe(name, [])
    keys = {line.partition("=")[0].strip() for line in text.splitlines() if not line.startswith("#")}
    same = {key for key in keys if getattr(config, key) == getattr(DEFAULTS, key)}
    assert same <= {"generator", "losses", "upsampling", "gan_start", "widths"}


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
        ("precision", 16),
        ("losses", "mse"),
        ("losses", ["mse"]),
        ("losses", {"mse": "much"}),
        ("losses", {"mse": True}),
        ("sizes", 64),
        ("sizes", ["64"]),
        ("shares", [None]),
        ("widths", [8.5]),
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
        ({"shares": [0.6, 0.4, float("nan")]}, "add up to 1"),
        ({"sizes": [64, 96, 0]}, "sizes must be 1 or more"),
        ({"sizes": [64, 96, -32]}, "sizes must be 1 or more"),
        ({"batches": [64, 32, 0]}, "batches must be 1 or more"),
        ({"losses": {}}, "at least one loss"),
        ({"losses": {"mse": 1.0, "l1": -0.1}}, "negative"),
        ({"losses": {"mse": float("inf")}}, "finite"),
        ({"losses": {"mse": float("nan")}}, "finite"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(TrainingInputError, match=words):
        from_mapping(settings, "mine.toml")


@pytest.mark.parametrize("key", RANGES)
def test_numbers_out_of_their_range_are_refused(key: str) -> None:
    low, high = RANGES[key]
    kind = type(getattr(DEFAULTS, key))
    assert getattr(from_mapping({key: kind(low)}, "mine.toml"), key) == low
    assert getattr(from_mapping({key: kind(high)}, "mine.toml"), key) == high
    for value in (low - 1, high + 1):
        with pytest.raises(TrainingInputError, match=f"{key} must be between"):
            from_mapping({key: value}, "mine.toml")
    with pytest.raises(TrainingInputError, match=f"{key} must be"):
        from_mapping({key: float("nan")}, "mine.toml")


@pytest.mark.parametrize("key", CHOICES)
def test_words_without_a_meaning_are_refused_with_the_choices(key: str) -> None:
    with pytest.raises(TrainingInputError, match=f"{key} must be {CHOICES[key][0]} or .*'nonsense'"):
        from_mapping({key: "nonsense"}, "mine.toml")


def test_every_single_number_has_a_range() -> None:
    numbers = {f.name for f in dataclasses.fields(TrainConfig) if isinstance(getattr(DEFAULTS, f.name), int | float)}
    assert numbers == RANGES.keys()


def test_whole_numbers_may_stand_for_fractions_and_back() -> None:
    config = from_mapping({"clip": 2, "steps": 100.0, "shares": [1, 0, 0], "losses": {"mse": 1}}, "mine.toml")
    assert (config.clip, config.steps, config.shares) == (2.0, 100, (1.0, 0.0, 0.0))
    assert [type(v) for v in (config.clip, config.steps, config.shares[0])] == [float, int, float]
    assert type(config.losses["mse"]) is float


def test_settings_are_given_as_toml_or_as_bare_words() -> None:
    config = load_recipe(
        "default",
        ["steps=7", " seed = 3", "skip_widths=[8, 8, 4, 4]", "losses={ mse = 1, bce = 0.01 }",
         'precision="fp32"', "pixel_weight=rare", "encoder=C:\\my files\\a=b.npz"],
    )  # fmt: skip
    assert (config.steps, config.seed, config.skip_widths) == (7, 3, (8, 8, 4, 4))
    assert (config.losses, config.precision, config.pixel_weight) == ({"mse": 1.0, "bce": 0.01}, "fp32", "rare")
    assert config.encoder == "C:\\my files\\a=b.npz"


@pytest.mark.parametrize("setting", ["steps", "steps=", "steps=seven", "stepz=7", "=7"])
def test_a_setting_that_makes_no_sense_is_refused(setting: str) -> None:
    with pytest.raises(TrainingInputError):
        load_recipe("default", [setting])


def test_a_config_survives_the_way_through_plain_values() -> None:
    config = TrainConfig(steps=12, shares=(0.5, 0.25, 0.25), encoder="none", losses={"l1": 100.0, "bce": 1.0})
    assert from_mapping(dataclasses.asdict(config), "a checkpoint") == config


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"steps": 1}, {"shares": (0.5, 0.25, 0.25)}, {"encoder": "none"}, {"losses": {"huber": 2.0}}],
)
def test_the_hash_changes_with_a_setting(change: dict[str, Any]) -> None:
    assert TrainConfig(**change).sha256() != TrainConfig().sha256()


def test_the_hash_leaves_out_where_the_encoder_lies() -> None:
    places = ["encoder.npz", "/home/me/encoder.npz", "D:\\work\\encoder.npz"]
    assert len({TrainConfig(encoder=place).sha256() for place in places}) == 1
    assert TrainConfig(encoder="/home/me/other.npz").sha256() != TrainConfig(encoder=places[0]).sha256()


def test_the_hash_leaves_out_the_order_of_losses() -> None:
    first, second = TrainConfig(losses={"l1": 1.0, "bce": 0.1}), TrainConfig(losses={"bce": 0.1, "l1": 1.0})
    assert first.sha256() == second.sha256()
