"""What a training run is made of. A recipe is a TOML file that names only its differences."""

import dataclasses
import hashlib
import json
import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any

from bwcolor_training.errors import TrainingInputError

# Smallest and largest value of settings that are single numbers.
RANGES: dict[str, tuple[float, float]] = {
    "minutes": (0, 1e6), "learning_rate": (0, 1e6), "encoder_lr": (0, 1), "encoder_warmup": (0, 1), "final_lr": (0, 1),
    "warmup": (0, 1e9), "weight_decay": (0, 10), "clip": (1e-9, 1e9), "ema": (0, 1), "huber_beta": (1e-6, 1),
    "chroma_weight_floor": (0, 100), "chroma_weight_unit": (1e-3, 1e6), "chroma_weight_cap": (1e-3, 1e6),
    "gray_jitter": (0, 1), "tone_jitter": (0, 2), "grain": (0, 255), "frame_share": (0, 1), "min_scale": (0.05, 1),
    "validation": (0, 1), "checkpoint_seconds": (0, 1e6), "seed": (0, 1e8),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Every setting of a run with its unit and default.

    generator: a name in build.GENERATORS. encoder: "torchvision" (its own download of ImageNet
    weights), "none" (random weights) or an .npz file. convention: how an .npz encoder was trained
    ("tensorflow" or "torchvision"). decoder_widths, skip_widths: channels from coarse to fine.

    sizes: training crops in px, one stage after the other. batches: photos a step in each stage,
    per process. shares: the part of the run that each stage takes. steps: optimiser steps of the
    whole run; minutes, unless 0, is its length in wall time instead. learning_rate: of decoder and
    head at its peak; the encoder's is encoder_lr times it, and rises to that over the first
    encoder_warmup of the run: its folded batch norm leaves nothing that would keep its activations
    from dying under larger steps. warmup: steps until the peak; then half a cosine down to final_lr
    times the peak. weight_decay: of AdamW. clip: largest norm of the gradient. ema: how much of the
    moving average of weights a step keeps.

    loss: a name in build.LOSSES. huber_beta: chroma error (0..1) where the loss turns from quadratic
    to linear. chroma_weight_floor, chroma_weight_unit, chroma_weight_cap: a
    pixel's error weighs floor + chroma / unit, at most cap; chroma in 8-bit levels of Cb, Cr.

    gray_jitter: share of photos whose gray is made by random film-like channel weights.
    tone_jitter: largest change of gamma, as a factor's natural logarithm, and of contrast.
    grain: largest standard deviation of added grain, 8-bit levels. frame_share: share of
    photos that get neutral borders. min_scale: smallest share of a photo's short side that a crop covers.

    validation: share of photos kept for validation, by content hash. checkpoint_seconds: between
    two saves. validate_steps: between two validations. seed: of everything random.
    """

    recipe: str = "default"
    generator: str = "mobilenet-unet"
    encoder: str = "torchvision"
    convention: str = "tensorflow"
    decoder_widths: tuple[int, ...] = (256, 160, 96, 48)
    skip_widths: tuple[int, ...] = (192, 96, 48, 32)
    sizes: tuple[int, ...] = (64, 96, 128)
    batches: tuple[int, ...] = (64, 32, 24)
    shares: tuple[float, ...] = (0.6, 0.25, 0.15)
    steps: int = 20_000
    minutes: float = 0.0
    learning_rate: float = 1e-3
    encoder_lr: float = 0.1
    encoder_warmup: float = 0.1
    final_lr: float = 0.02
    warmup: int = 300
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.999
    loss: str = "weighted-huber"
    huber_beta: float = 0.05
    chroma_weight_floor: float = 0.5
    chroma_weight_unit: float = 15.0
    chroma_weight_cap: float = 4.0
    gray_jitter: float = 0.3
    tone_jitter: float = 0.35
    grain: float = 8.0
    frame_share: float = 0.15
    min_scale: float = 0.5
    validation: float = 0.02
    checkpoint_seconds: float = 180.0
    validate_steps: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if not len(self.sizes) == len(self.batches) == len(self.shares) or not self.sizes:
            raise TrainingInputError("sizes, batches and shares must name the same number of stages.")
        if abs(sum(self.shares) - 1) > 1e-6 or min(self.shares) < 0:
            raise TrainingInputError(f"shares must be positive and add up to 1, not {list(self.shares)}.")
        if any(size < 32 or size % 32 for size in self.sizes):
            raise TrainingInputError(f"sizes must be multiples of 32, not {list(self.sizes)}.")
        if min(self.batches) < 1 or self.steps < 1 or self.validate_steps < 1:
            raise TrainingInputError("batches, steps and validate_steps must be 1 or more.")
        if any(len(widths) != 4 or min(widths) < 1 for widths in (self.decoder_widths, self.skip_widths)):
            raise TrainingInputError("decoder_widths and skip_widths must name 4 numbers of channels each.")
        for name, (low, high) in RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise TrainingInputError(f"{name} must be between {low:g} and {high:g}, not {getattr(self, name):g}.")
        if self.decoder_widths[0] % 4:  # the heads of the attention
            raise TrainingInputError(
                f"The first of decoder_widths must be a multiple of 4, not {self.decoder_widths[0]}."
            )

    def sha256(self) -> str:
        """Hash of all settings but the place of the encoder's file, for the model's metadata."""
        settings = dataclasses.asdict(self) | {"encoder": self.encoder.replace("\\", "/").split("/")[-1]}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def from_mapping(settings: dict[str, Any], source: str) -> TrainConfig:
    """Builds a config from plain values; raises TrainingInputError on unknown keys and wrong types."""
    fields = {field.name: field for field in dataclasses.fields(TrainConfig)}
    values: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in fields:
            raise TrainingInputError(f"{source}: unknown key {key!r}. Known: {', '.join(sorted(fields))}.")
        default = fields[key].default
        try:
            values[key] = _cast(value, default)
        except (TypeError, ValueError, OverflowError):
            raise TrainingInputError(f"{source}: {key} must be like {default!r}, not {value!r}.") from None
    return TrainConfig(**values)


def _cast(value: Any, default: Any) -> Any:
    if isinstance(default, tuple):
        if not isinstance(value, list | tuple):
            raise TypeError
        return tuple(_cast(item, default[0]) for item in value)
    if isinstance(value, bool) or isinstance(default, str) != isinstance(value, str):
        raise TypeError
    if isinstance(default, int) and int(value) != value:
        raise ValueError
    return type(default)(value)


def load_recipe(name: str, overrides: list[str]) -> TrainConfig:
    """A recipe of the package by name, changed by `key=value` strings (values in TOML)."""
    folder = resources.files("bwcolor_training") / "recipes"
    known = sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))
    if name not in known:
        raise TrainingInputError(f"No recipe is called {name!r}. Known: {', '.join(known)}.")
    settings = tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise TrainingInputError(f"--set {override}: write it as key=value.")
        try:
            settings[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            settings[key.strip()] = text
    return from_mapping({"recipe": name} | settings, f"recipe {name}")
