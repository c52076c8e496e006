"""Names in a recipe, and what they stand for."""

import dataclasses
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
import torch
from bwcolor_training import colours
from bwcolor_training.config import TrainConfig, from_mapping
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.networks import build
from bwcolor_training.networks.build import GENERATORS, build_critic, build_generator, colorizer, decode, stride
from bwcolor_training.networks.mobilenet_unet import TENSORFLOW, TORCHVISION, MobileUNet
from bwcolor_training.networks.pretrained import announcement, imagenet_weights
from numpy.testing import assert_allclose
from torch import nn
from torchvision.models import mobilenet_v2

# Toy widths for each generator, and what its sizes must be multiples of then.
WIDTHS = {
    "classic-unet": ((4, 8, 16), 4),
    "lite-unet": ((16, 8, 8), 32),
    "mobilenet-unet": ((16, 16, 8, 8), 32),
    "pix2pix-unet": ((4, 8, 8, 8), 16),
    "resnet18-unet": ((16, 16, 8, 8, 8), 32),
    "resnet18-upsampler": ((16, 8, 8), 8),
}


def settings(small: TrainConfig, generator: str, **more: Any) -> TrainConfig:
    skips = small.skip_widths[:3] if generator == "lite-unet" else small.skip_widths
    return dataclasses.replace(small, generator=generator, widths=WIDTHS[generator][0], skip_widths=skips, **more)


@pytest.mark.parametrize("setting", ["generator", "convention"])
def test_unknown_names_list_the_known_ones(small: TrainConfig, setting: str) -> None:
    config = from_mapping(dataclasses.asdict(small) | {setting: "nonsense"}, "a test")
    with pytest.raises(TrainingInputError, match=r"nonsense.*Known: \w"):
        build_generator(config, pretrained=False)


@torch.no_grad()
@pytest.mark.parametrize("generator", sorted(GENERATORS))
@pytest.mark.parametrize("head", ["chroma", "classes"])
def test_every_generator_can_be_built_and_gives_chroma(small: TrainConfig, generator: str, head: str) -> None:
    config = settings(small, generator, head=head, losses={"classes" if head == "classes" else "mse": 1.0})
    network = build_generator(config, pretrained=True).eval()  # encoder="none" in these settings
    assert stride(network) == WIDTHS[generator][1]
    luma = torch.rand(1, 1, 32, 64)
    raw = network(luma)
    assert raw.shape == (1, 2 if head == "chroma" else colours.BINS, 32, 64)
    chroma = decode(raw, luma, config)
    assert chroma.shape == (1, 2, 32, 64)
    assert chroma.abs().max() <= 0.5
    assert_allclose(colorizer(network, config)(luma), chroma, atol=1e-6)


@pytest.mark.parametrize("generator", sorted(GENERATORS))
@pytest.mark.parametrize("setting", ["sizes", "validation_size"])
def test_sizes_that_do_not_fit_the_stride_are_refused(small: TrainConfig, generator: str, setting: str) -> None:
    multiple = WIDTHS[generator][1]
    size = 64 + multiple // 2
    config = settings(small, generator, **{setting: (size,) if setting == "sizes" else size})
    words = f"sizes and validation_size must be multiples of {multiple} for {generator}, not {size}"
    with pytest.raises(TrainingInputError, match=words):
        build_generator(config, pretrained=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"widths": (16, 16, 16)}, "4 numbers"),
        ({"widths": (16, 16, 16, 0)}, "4 numbers"),
        ({"skip_widths": (16, 16, 16, 0)}, "4 numbers"),
        ({"widths": (18, 16, 8, 8)}, "multiple of 4"),
    ],
)
def test_widths_that_do_not_fit_are_refused(small: TrainConfig, change: dict[str, Any], words: str) -> None:
    with pytest.raises(TrainingInputError, match=words):
        build_generator(dataclasses.replace(small, **change), pretrained=False)


def test_the_annealed_mean_has_the_recipes_temperature(small: TrainConfig) -> None:
    config = dataclasses.replace(small, head="classes", losses={"classes": 1.0}, temperature=1.0)
    luma, logits = torch.full((1, 1, 2, 2), 0.5), torch.zeros(1, colours.BINS, 2, 2)
    logits[:, 5] = 3.0
    cold, warm = (decode(logits, luma, dataclasses.replace(config, temperature=t)) for t in (0.1, 1.0))
    pure = colours.ab_to_chroma(luma, colours.bin_centres()[5].view(1, 2, 1, 1).expand(1, 2, 2, 2))
    assert_allclose(cold, pure, atol=0.01)
    assert (warm - pure).abs().max() > 0.02


def test_the_critic_is_as_wide_and_deep_as_the_recipe_says(small: TrainConfig) -> None:
    critic = build_critic(dataclasses.replace(small, critic_width=6, critic_levels=2))
    convs = [layer for layer in critic.modules() if isinstance(layer, nn.Conv2d)]
    assert [conv.out_channels for conv in convs] == [6, 12, 24, 1]
    assert [conv.stride[0] for conv in convs] == [2, 2, 1, 1]


@torch.no_grad()
@pytest.mark.parametrize(("levels", "smallest"), [(1, 6), (2, 12), (3, 24)])
def test_sizes_too_small_for_the_critic_are_refused(small: TrainConfig, levels: int, smallest: int) -> None:
    config = dataclasses.replace(small, critic_width=2, critic_levels=levels, sizes=(smallest,))
    assert build_critic(config)(torch.rand(2, 1, smallest, smallest), torch.rand(2, 2, smallest, smallest)).numel() == 2
    with pytest.raises(TrainingInputError, match=f"sizes must be {smallest} or more with critic_levels={levels}"):
        build_critic(dataclasses.replace(config, sizes=(64, smallest - 1), batches=(1, 1), shares=(0.5, 0.5)))


def test_torchvisions_weights_are_used_under_torchvisions_convention(
    small: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    donor = mobilenet_v2(weights=None)
    features = donor.features
    monkeypatch.setattr(build, "download", lambda weights, file: donor.state_dict())
    network = build_generator(dataclasses.replace(small, encoder="torchvision"), pretrained=True)
    assert isinstance(network, MobileUNet)
    assert torch.equal(network.encoder.mean.flatten(), torch.tensor(TORCHVISION.mean))
    scale = features[0][1].weight / torch.sqrt(features[0][1].running_var + features[0][1].eps)
    assert torch.allclose(network.encoder.stem.weight, features[0][0].weight * scale.view(-1, 1, 1, 1))


def test_without_a_network_the_way_out_is_named(small: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> nn.Module:
        raise OSError("Name or service not known")

    monkeypatch.setattr("torchvision.models.MobileNet_V2_Weights.get_state_dict", offline)
    with pytest.raises(TrainingInputError, match=r"not known.*--set encoder=FILE\.npz.*--set encoder=none"):
        build_generator(dataclasses.replace(small, encoder="torchvision"), pretrained=True)


@pytest.mark.parametrize(
    ("generator", "megabytes"), [("mobilenet-unet", 14), ("resnet18-unet", 45), ("resnet18-upsampler", 45)]
)
def test_a_download_is_announced_unless_its_file_is_there(
    small: TrainConfig, generator: str, megabytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    config = settings(small, generator, encoder="torchvision")
    said = announcement(config)
    assert f"({megabytes} MB, only once) from download.pytorch.org" in said
    assert "--set encoder=none" in said
    for encoder in ("none", "mine.pth"):
        assert announcement(dataclasses.replace(config, encoder=encoder)) == ""
    kept = tmp_path / "hub" / "checkpoints" / Path(urlparse(imagenet_weights(generator).url).path).name
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert announcement(config) == ""


def test_networks_without_a_pretrained_part_announce_nothing(small: TrainConfig) -> None:
    for generator in ("classic-unet", "pix2pix-unet"):
        assert announcement(dataclasses.replace(small, generator=generator, encoder="torchvision")) == ""


@pytest.mark.parametrize("generator", ["resnet18-unet", "resnet18-upsampler"])
def test_the_encoder_of_a_resnet_comes_from_where_the_recipe_says(
    small: TrainConfig, generator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources: list[str] = []
    monkeypatch.setattr(build, "load_resnet18", lambda encoder, source: sources.append(source))
    for encoder in ("torchvision", "none", "mine.pth"):
        build_generator(settings(small, generator, encoder=encoder), pretrained=True)
    build_generator(settings(small, generator, encoder="mine.pth"), pretrained=False)
    assert sources == ["torchvision", "mine.pth"]


@pytest.mark.parametrize("generator", ["mobilenet-unet", "resnet18-unet", "resnet18-upsampler"])
def test_weights_that_come_later_need_no_encoder_file(small: TrainConfig, generator: str) -> None:
    config = settings(small, generator, encoder="/gone/encoder.file")
    network = build_generator(config, pretrained=False)
    if isinstance(network, MobileUNet):
        assert torch.equal(network.encoder.mean.flatten(), torch.tensor(TENSORFLOW.mean))
    with pytest.raises(TrainingInputError, match=r"/gone/encoder\.file: no such encoder file"):
        build_generator(config, pretrained=True)
