"""The default generator: its encoder against two implementations of others, its contract."""

from pathlib import Path

import numpy as np
import pytest
import torch
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.networks.decoder import GuidedEnding
from bwcolor_training.networks.mobilenet_unet import (
    SKIP_BLOCKS,
    TENSORFLOW,
    TORCHVISION,
    WIDTHS,
    Conv,
    EncoderConvention,
    MobileNetV2Encoder,
    MobileUNet,
    load_npz_encoder,
    load_torchvision_encoder,
)
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import mobilenet_v2

SHARED_ENCODER = Path(__file__).resolve().parents[3] / "shared" / "encoder"
NARROW_BLOCKS = (0, 2, 5, 12, 16)  # whose outputs the reference describes
SYMMETRIC = EncoderConvention(TENSORFLOW.mean, TENSORFLOW.std, same_padding=False)
OTHER_SCALE = EncoderConvention(TORCHVISION.mean, TORCHVISION.std, same_padding=True)


def reference_photo() -> Tensor:
    """The pattern that the reference was computed for: (1, 3, 224, 224), 0..1."""
    y, x = np.mgrid[0:224, 0:224].astype(np.float32)
    pattern = np.stack([255 * x / 223, 255 * y / 223, 4 * ((x + y) % 64)])
    return torch.from_numpy(pattern / np.float32(255))[None]


def described(encoder: MobileNetV2Encoder) -> dict[str, NDArray[np.float32]]:
    """Figures of the encoder's maps, named as in reference.npz."""
    maps: dict[str, Tensor] = {}
    x = reference_photo()
    with torch.no_grad():
        *expanded, maps["last"] = encoder(x)
        maps |= {f"expand{number}": skip for number, skip in zip(SKIP_BLOCKS, expanded, strict=True)}
        x = nn.functional.relu6(encoder.stem((x - encoder.mean) / encoder.std))
        for number, block in enumerate(encoder.blocks):
            x, _ = block(x)
            maps[f"block{number}"] = x
    figures = {f"{name}_mean_std": np.array([m.mean(), m.std()], np.float32) for name, m in maps.items()}
    for number in NARROW_BLOCKS:
        m = maps[f"block{number}"]
        figures[f"block{number}_c0_c1_center"] = m[0, :2, m.shape[2] // 2, m.shape[3] // 2].numpy()
    return figures


def largest_difference(convention: EncoderConvention) -> float:
    """Between the published encoder under this convention and its reference, relative to each map's deviation."""
    if not SHARED_ENCODER.is_dir():
        pytest.skip(f"{SHARED_ENCODER} is not there")
    encoder = MobileNetV2Encoder(convention)
    load_npz_encoder(encoder, next(SHARED_ENCODER.glob("mobilenet*.npz")))
    ours = described(encoder)
    with np.load(SHARED_ENCODER / "reference.npz") as reference:
        names = [name for name in reference if name in ours]
        assert len(names) == len(reference) - 1, "all but logits_top5"
        return max(
            float(np.abs(ours[n] - reference[n]).max() / reference[n.partition("_")[0] + "_mean_std"][1]) for n in names
        )


def test_the_encoder_equals_the_published_one() -> None:
    assert largest_difference(TENSORFLOW) < 1e-3


@pytest.mark.parametrize("convention", [SYMMETRIC, OTHER_SCALE], ids=["padding", "scale"])
def test_a_wrong_convention_does_not_equal_it(convention: EncoderConvention) -> None:
    assert largest_difference(convention) > 0.05


def test_gray_equals_three_equal_channels() -> None:
    encoder = MobileNetV2Encoder(TORCHVISION)
    gray = torch.rand(1, 1, 64, 32)
    with torch.no_grad():
        for one, three in zip(encoder(gray), encoder(gray.repeat(1, 3, 1, 1)), strict=True):
            assert_allclose(one, three, atol=1e-6)


def torchvision_features(width: float = 1.0) -> nn.Module:
    """torchvision's network with random weights, and batch norms that do something."""
    torch.manual_seed(0)
    features = mobilenet_v2(weights=None, width_mult=width).features.eval()
    assert isinstance(features, nn.Module)
    for module in features.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.5, 0.3)
    return features


@torch.no_grad()
def test_torchvision_weights_give_torchvisions_maps() -> None:
    features = torchvision_features()
    encoder = MobileNetV2Encoder(TORCHVISION)
    load_torchvision_encoder(encoder, features)
    gray = torch.rand(2, 1, 64, 96)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])  # torchvision's documentation
    expected = features((gray.repeat(1, 3, 1, 1) - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    assert expected.std() > 0.1
    assert_allclose(encoder(gray)[-1], expected, atol=1e-3)


def test_another_torchvision_network_is_refused() -> None:
    with pytest.raises(TrainingInputError, match="mobilenet_v2"):
        load_torchvision_encoder(MobileNetV2Encoder(TORCHVISION), torchvision_features(width=0.5))


def encoder_arrays() -> dict[str, NDArray[np.float16]]:
    return {name: t.numpy().astype(np.float16) for name, t in MobileNetV2Encoder(TENSORFLOW).state_dict().items()}


def save_arrays(path: Path, arrays: dict[str, NDArray[np.float16]]) -> None:
    np.savez(path, allow_pickle=False, **arrays)


def test_npz_arrays_are_taken_by_name(tmp_path: Path) -> None:
    arrays = encoder_arrays()
    save_arrays(tmp_path / "encoder.npz", arrays | {"unused": np.zeros(3, np.float16)})
    encoder = MobileNetV2Encoder(TENSORFLOW)
    load_npz_encoder(encoder, tmp_path / "encoder.npz")
    for name, tensor in encoder.state_dict().items():
        assert_allclose(tensor, arrays[name], rtol=0, atol=0)


@pytest.mark.parametrize("change", ["missing", "other shape"])
def test_unfit_npz_arrays_are_named(tmp_path: Path, change: str) -> None:
    arrays = encoder_arrays()
    weight = arrays.pop("blocks.3.dw.weight")
    if change == "other shape":
        arrays["blocks.3.dw.weight"] = weight[:7]
    save_arrays(tmp_path / "encoder.npz", arrays)
    with pytest.raises(TrainingInputError, match=r"encoder\.npz: array blocks\.3\.dw\.weight"):
        load_npz_encoder(MobileNetV2Encoder(TENSORFLOW), tmp_path / "encoder.npz")


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 broken", b"\x93NUMPY broken"])
def test_files_that_are_no_npz_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "encoder.npz"
    path.write_bytes(content)
    with pytest.raises(TrainingInputError, match=r"encoder\.npz"):
        load_npz_encoder(MobileNetV2Encoder(TENSORFLOW), path)


def test_a_single_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "encoder.npy", np.zeros(3))
    with pytest.raises(TrainingInputError, match=r"encoder\.npy"):
        load_npz_encoder(MobileNetV2Encoder(TENSORFLOW), tmp_path / "encoder.npy")


def test_a_missing_encoder_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TrainingInputError, match="no such encoder file"):
        load_npz_encoder(MobileNetV2Encoder(TENSORFLOW), tmp_path / "none.npz")


@torch.no_grad()
@pytest.mark.parametrize("convention", [TENSORFLOW, TORCHVISION], ids=["tensorflow", "torchvision"])
def test_the_generator_turns_luma_into_chroma_of_the_same_size(convention: EncoderConvention) -> None:
    network = MobileUNet(convention, (16, 16, 8, 8), (8, 8, 8, 8)).eval()
    for height, width in ((32, 32), (64, 96), (160, 32)):
        chroma = network(torch.rand(2, 1, height, width))
        assert chroma.shape == (2, 2, height, width)
        assert chroma.std() > 0


@torch.no_grad()
def test_the_generator_treats_photos_of_a_batch_separately() -> None:
    network = MobileUNet(TENSORFLOW, (16, 16, 8, 8), (8, 8, 8, 8)).eval()
    batch = torch.rand(3, 1, 64, 64)
    assert_allclose(network(batch)[1:2], network(batch[1:2]), atol=1e-5)


@torch.no_grad()
def test_any_other_number_of_outputs_are_plain_values() -> None:
    torch.manual_seed(0)
    network = MobileUNet(TENSORFLOW, (16, 16, 8, 8), (8, 8, 8, 8), outputs=5).eval()
    luma = torch.rand(1, 1, 32, 32)
    logits = network(luma)
    assert logits.shape == (1, 5, 32, 32)
    network.scale = 0.1
    assert_allclose(network(luma), 0.1 * logits, atol=1e-7)


@pytest.mark.parametrize(
    ("widths", "skips", "words"),
    [
        ((16, 16, 8), (8, 8, 8, 8), "4 numbers"),
        ((16, 16, 8, 8), (8, 8, 8, 0), "4 numbers"),
        ((18, 16, 8, 8), (8, 8, 8, 8), "multiple of 4"),
    ],
)
def test_widths_that_do_not_fit_are_refused(widths: tuple[int, ...], skips: tuple[int, ...], words: str) -> None:
    with pytest.raises(TrainingInputError, match=words):
        MobileUNet(TENSORFLOW, widths, skips)


def test_widths_that_are_left_out_are_its_own() -> None:
    network = MobileUNet(TENSORFLOW)
    weights = network.state_dict()
    assert len(weights["bottom.0.weight"]) == WIDTHS[0]
    assert [len(weights[f"ups.{level}.convs.0.weight"]) for level in range(4)] == list(WIDTHS)


@pytest.mark.parametrize("same_padding", [True, False])
def test_training_computes_what_is_exported(same_padding: bool) -> None:
    """Strided depthwise convolutions go another way while training on a CPU."""
    torch.manual_seed(0)
    conv = Conv(6, 6, 3, stride=2, groups=6, same_padding=same_padding)
    x = torch.rand(2, 6, 12, 8, requires_grad=True)
    ways = [conv.train()(x), conv.eval()(x)]
    assert ways[0].shape == (2, 6, 6, 4)
    assert torch.allclose(ways[0], ways[1], atol=1e-6)
    gradients = [torch.autograd.grad(way.square().sum(), [x, *conv.parameters()]) for way in ways]
    for trained, exported in zip(*gradients, strict=True):
        assert torch.allclose(trained, exported, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("strides", [(), (32,), (16,), (32, 16)])
def test_attention_sits_where_it_is_asked_for(strides: tuple[int, ...]) -> None:
    network = MobileUNet(TENSORFLOW, (16, 16, 8, 8), (8, 8, 8, 8), strides).eval()
    names = {name.partition(".")[0] for name in network.state_dict()}
    assert ("attention" in names, "finer_attention" in names) == (32 in strides, 16 in strides)
    assert network(torch.rand(1, 1, 64, 32)).shape == (1, 2, 64, 32)
    with pytest.raises(TrainingInputError, match="strides of 32 and 16"):
        MobileUNet(TENSORFLOW, attention=(8,))


@torch.no_grad()
def test_the_guided_ending_follows_edges_of_luma_by_its_slope() -> None:
    """With a value of 0.2 and a slope of 3 everywhere, worked out by hand."""
    ending = GuidedEnding(8, outputs=2)
    for parameter in ending.parameters():
        parameter.zero_()
    last = ending.head[-1]
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    last.bias.copy_(torch.tensor([0.2, 0.2, 3.0, 3.0]))
    luma = torch.zeros(1, 1, 8, 8)
    luma[..., 4:] = 1
    out = ending(torch.rand(1, 8, 4, 4), luma)
    smooth = functional.interpolate(functional.avg_pool2d(luma, 2), size=(8, 8), mode="bilinear", align_corners=False)
    assert_allclose(out[:, :1], 0.2 + 3 * (luma - smooth), atol=1e-6)
    assert float(out[0, 0, 0, 0]) == pytest.approx(0.2)
    step = out[0, 0, 0, 4] - out[0, 0, 0, 3]
    assert float(step) > 1, "sharper than an enlarged step would be"


@torch.no_grad()
def test_the_guided_ending_takes_any_batch_and_size() -> None:
    network = MobileUNet(TENSORFLOW, (16, 16, 8, 8), (8, 8, 8, 8), ending="guided")
    for outputs in (network(torch.rand(2, 1, 64, 32)), network.eval()(torch.rand(1, 1, 32, 32))):
        assert outputs.shape[1] == 2
        assert outputs.std() > 0
