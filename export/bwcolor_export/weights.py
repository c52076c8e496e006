"""Where a generator comes from: a checkpoint of `bwcolor train`, or a state dict made elsewhere."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from bwcolor_training.checkpoint import load_checkpoint, load_weights
from bwcolor_training.config import TrainConfig, load_recipe
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.networks.build import build_generator, colorizer, stride
from bwcolor_training.torchfile import UNREADABLE, read_torch_file
from torch import Tensor, nn

WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys under which other programs keep a state dict
PREFIXES = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before each key
OPTIONAL = "num_batches_tracked"  # of batch norm: old state dicts lack it, and nothing depends on it
NAMED = 3  # misfits named in a message
PADDING = 1 << 20  # bytes of a file beside its tensors, generously
CHECKPOINT_MARK = "bwcolor-checkpoint"  # how the "format" of our own checkpoints begins


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A network with its weights. network: luma N1HW -> N2HW, at multiples of `stride` px.

    config: of the training or of the named recipe. training_data: one sentence, or empty. ours: whether
    the configuration is how it was trained, and not only what it looks like.
    """

    network: nn.Module
    stride: int
    config: TrainConfig
    training_data: str
    ours: bool


def from_checkpoint(path: Path) -> Trained:
    """The moving average of a checkpoint's weights; raises TrainingInputError for a file that is none."""
    _refuse_bombs(path)
    checkpoint = load_checkpoint(path)
    if not (_is_state_dict(checkpoint.ema) and all(map(_is_whole, checkpoint.ema.values()))):
        raise TrainingInputError(f"{path}: holds no weights. Export another checkpoint of the run.")
    with torch.device("meta"):  # takes no memory, whatever size the settings claim
        misfits = _misfits(build_generator(checkpoint.config, pretrained=False), checkpoint.ema)
    if misfits:
        raise TrainingInputError(f"{path}: its weights are those of another network than its settings name: {misfits}.")
    generator = build_generator(checkpoint.config, pretrained=False)
    load_weights(generator, checkpoint.ema, path)
    return _trained(generator, checkpoint.config, path, str(checkpoint.data), ours=True)


def from_state_dict(path: Path, recipe: str, plain: bool) -> Trained:
    """A plain state dict in the generator of a recipe; raises TrainingInputError when it does not fit.

    plain: its last layer's own values are what counts. Our generators multiply theirs by a constant.
    """
    config = load_recipe(recipe, [])
    generator = build_generator(config, pretrained=False)
    weights = _read_state_dict(path)
    missing = {name: t for name, t in generator.state_dict().items() if name.endswith(OPTIONAL)}
    weights = missing | weights
    misfits = _misfits(generator, weights)
    if misfits:
        raise TrainingInputError(f"{path}: does not fit recipe {recipe}: {misfits}. Another --arch may.")
    load_weights(generator, weights, path)
    if plain and config.head == "chroma":
        generator = _Plain(generator)
    return _trained(generator, config, path, "", ours=False)


class _Plain(nn.Module):
    """A generator without the factor that ours put behind their last layer."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator
        self.stride = stride(generator)
        self.factor = 1 / float(getattr(generator, "scale", 0.5))  # pix2pix halves its tanh

    def forward(self, luma: Tensor) -> Tensor:
        out: Tensor = self.generator(luma)
        return self.factor * out


def _trained(generator: nn.Module, config: TrainConfig, path: Path, training_data: str, ours: bool) -> Trained:
    if not all(t.isfinite().all() for t in generator.state_dict().values()):
        raise TrainingInputError(f"{path}: some of its weights are not numbers (NaN or infinite). Train it again.")
    return Trained(colorizer(generator, config).eval(), stride(generator), config, training_data, ours)


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    """A dict of tensors by name, without the wrappings that other programs add."""
    if not path.is_file():
        raise TrainingInputError(f"{path}: no such file.")
    _refuse_bombs(path)
    content = read_torch_file(
        path,
        "not a state dict of tensors that can be read safely, or damaged. Save one with"
        " torch.save(network.state_dict(), FILE).",
    )
    if isinstance(content, dict) and str(content.get("format", "")).startswith(CHECKPOINT_MARK):
        raise TrainingInputError(f"{path}: a checkpoint of bwcolor train, which names its network: leave out --arch.")
    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not _is_state_dict(content):
        raise TrainingInputError(f"{path}: holds no state dict, which is a dict of tensors by name.")
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in content):
            content = {name.removeprefix(prefix): tensor for name, tensor in content.items()}
    return dict(content)


def _is_state_dict(content: Any) -> bool:
    return isinstance(content, dict) and bool(content) and all(_is_weight(*item) for item in content.items())


def _is_weight(name: Any, value: Any) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided


def _is_whole(value: Tensor) -> bool:
    """Whether all numbers of a tensor are there; one number may claim to be billions."""
    return value.untyped_storage().nbytes() >= value.numel() * value.element_size()


def _misfits(network: nn.Module, weights: dict[str, Tensor]) -> str:
    """What of these weights does not fit, in words; empty when all do. Reads shapes only, which may be absurd."""
    own = network.state_dict()
    shapes = [name for name in own if name in weights and own[name].shape != weights[name].shape]
    parts = [
        _named("missing", [name for name in own if name not in weights]),
        _named("unknown", [name for name in weights if name not in own]),
        _named(
            "of another shape",
            [f"{name} {list(weights[name].shape)} instead of {list(own[name].shape)}" for name in shapes],
        ),
    ]
    return "; ".join(part for part in parts if part)


def _named(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = ", …" if len(names) > NAMED else ""
    return f"{len(names)} {what} ({', '.join(names[:NAMED])}{more})"


def _refuse_bombs(path: Path) -> None:
    """Refuses an archive that would unpack to far more than its own size; torch itself compresses nothing."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except UNREADABLE:
        return  # torch will say what is wrong
    if unpacked > path.stat().st_size + PADDING:
        raise TrainingInputError(f"{path}: unpacks to {unpacked / 1e6:,.0f} MB, which no file of weights does.")
