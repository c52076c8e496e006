"""Names in a recipe, and what they stand for."""

import dataclasses

import pytest
import torch
from bwcolor_training import build
from bwcolor_training.build import build_generator, build_loss
from bwcolor_training.config import TrainConfig, from_mapping
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.losses import LOSSES
from bwcolor_training.mobilenet_unet import TENSORFLOW, TORCHVISION, MobileUNet
from torch import nn
from torchvision.models import mobilenet_v2


@pytest.mark.parametrize("setting", ["generator", "loss", "convention"])
def test_unknown_names_list_the_known_ones(small: TrainConfig, setting: str) -> None:
    config = from_mapping(dataclasses.asdict(small) | {setting: "nonsense"}, "a test")
    with pytest.raises(TrainingInputError, match=r"nonsense.*Known: \w"):
        build_loss(config) if setting == "loss" else build_generator(config, pretrained=False)


def test_every_loss_can_be_built(small: TrainConfig) -> None:
    for name, loss in LOSSES.items():
        assert build_loss(dataclasses.replace(small, loss=name)) is loss


def test_torchvisions_weights_are_used_under_torchvisions_convention(
    small: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = mobilenet_v2(weights=None).features
    monkeypatch.setattr(build, "_download_mobilenet", lambda: features)
    network = build_generator(dataclasses.replace(small, encoder="torchvision"), pretrained=True)
    assert isinstance(network, MobileUNet)
    assert torch.equal(network.encoder.mean.flatten(), torch.tensor(TORCHVISION.mean))
    scale = features[0][1].weight / torch.sqrt(features[0][1].running_var + features[0][1].eps)
    assert torch.allclose(network.encoder.stem.weight, features[0][0].weight * scale.view(-1, 1, 1, 1))


def test_without_a_network_the_way_out_is_named(small: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(**_: object) -> nn.Module:
        raise OSError("Name or service not known")

    monkeypatch.setattr("torchvision.models.mobilenet_v2", offline)
    with pytest.raises(TrainingInputError, match="--set encoder="):
        build_generator(dataclasses.replace(small, encoder="torchvision"), pretrained=True)


def test_weights_that_come_later_need_no_encoder_file(small: TrainConfig) -> None:
    network = build_generator(dataclasses.replace(small, encoder="/gone/encoder.npz"), pretrained=False)
    assert isinstance(network, MobileUNet)
    assert torch.equal(network.encoder.mean.flatten(), torch.tensor(TENSORFLOW.mean))
