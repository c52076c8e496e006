"""What holds for every generator without MobileNet: sizes, scale of its head, learning, export."""

import logging
import warnings
from collections.abc import Callable

import onnxruntime
import pytest
import torch
from bwcolor_export.wrapper import AnySize
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.networks.pix2pix import Pix2PixUNet
from bwcolor_training.networks.resnet18 import ResNetUNet, ResNetUpsampler
from bwcolor_training.networks.unet import ClassicUNet
from numpy.testing import assert_allclose
from torch import Tensor, nn

Generator = ClassicUNet | Pix2PixUNet | ResNetUNet | ResNetUpsampler

SMALL: dict[str, Callable[[int], Generator]] = {
    "transposed": lambda outputs: ClassicUNet((8, 16), "transposed", outputs=outputs),
    "bilinear": lambda outputs: ClassicUNet((8, 8, 16), "bilinear", outputs=outputs),
    "pix2pix": lambda outputs: Pix2PixUNet((8, 16), outputs=outputs),
    "resnet18-unet": lambda outputs: ResNetUNet((8, 8, 8, 8, 8), outputs=outputs),
    "resnet18-upsampler": lambda outputs: ResNetUpsampler((8, 8, 8), outputs=outputs),
}
STRIDES = {"transposed": 2, "bilinear": 4, "pix2pix": 4, "resnet18-unet": 32, "resnet18-upsampler": 8}
every_generator = pytest.mark.parametrize("name", SMALL)


def small(name: str, outputs: int = 2) -> Generator:
    torch.manual_seed(0)
    return SMALL[name](outputs).eval()


def lively(network: Generator) -> Generator:
    """The same with a larger head, so that its output is neither flat nor tiny before training."""
    with torch.no_grad():
        network.head.weight.mul_(100 if isinstance(network, Pix2PixUNet) else 10)
    return network


@every_generator
@torch.no_grad()
def test_chroma_has_the_size_of_the_photo(name: str) -> None:
    network = lively(small(name))
    stride = network.stride
    assert stride == STRIDES[name]
    for height, width in ((stride, stride), (2 * stride, 3 * stride), (5 * stride, stride)):
        chroma = network(torch.rand(2, 1, height, width))
        assert chroma.shape == (2, 2, height, width)
        assert chroma.std() > 1e-3


@every_generator
@torch.no_grad()
def test_photos_of_a_batch_are_treated_separately(name: str) -> None:
    network = lively(small(name))
    batch = torch.rand(3, 1, 2 * network.stride, 2 * network.stride)
    assert_allclose(network(batch)[1:2], network(batch[1:2]), atol=1e-5)


@every_generator
@pytest.mark.parametrize("outputs", [1, 2, 5])
@torch.no_grad()
def test_two_outputs_are_chroma_and_others_plain_logits(name: str, outputs: int) -> None:
    network = small(name, outputs)
    network.head.weight.zero_()
    assert network.head.bias is not None
    network.head.bias.copy_(torch.arange(outputs) + 3.0)
    logits = network.head.bias
    if outputs == 2:
        expected = 0.5 * torch.tanh(logits) if name == "pix2pix" else 0.1 * logits
    else:
        expected = logits
    raw = network(torch.rand(1, 1, network.stride, 2 * network.stride))
    assert_allclose(raw, expected.view(1, outputs, 1, 1).expand_as(raw), rtol=1e-6)


@every_generator
def test_every_weight_takes_part_in_training_in_bf16(name: str) -> None:
    network = small(name).train().to(memory_format=torch.channels_last)
    luma = torch.rand(2, 1, 2 * network.stride, 2 * network.stride).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        predicted = network(luma)
    (predicted.float() - torch.rand_like(luma)).pow(2).mean().backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        if parameter.dim() > 1:
            assert parameter.grad.abs().max() > 0, parameter_name


def checkerboard(side: int) -> tuple[Tensor, Tensor]:
    """Luma (2, 1, side, side) in 4 px squares, and a chroma for each of its two shades.

    The best single colour leaves 88 % of the error that no colour at all has.
    """
    board = (torch.arange(side)[:, None] // 4 + torch.arange(side) // 4) % 2 * 1.0
    luma = torch.stack([board, 1 - board])[:, None] * 0.6 + 0.2
    return luma, torch.cat([0.3 * luma - 0.15, 0.1 - 0.4 * luma], 1)


@every_generator
def test_colours_are_learned(name: str) -> None:
    network = small(name).train()
    luma, chroma = checkerboard(max(16, network.stride))
    optimizer = torch.optim.Adam(network.parameters(), 1e-2, (0.5, 0.999))
    errors = []
    for _ in range(20):
        error = (network(luma) - chroma).abs().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.6 * errors[0]


@pytest.mark.parametrize("name", [name for name in SMALL if name != "bilinear"])  # its parts are in the others
@torch.no_grad()
def test_onnx_takes_any_size(name: str) -> None:
    network = lively(small(name))
    stride = network.stride
    exportable = AnySize(network, stride, 1.0).eval()
    session = onnxruntime.InferenceSession(_to_onnx(exportable, stride), providers=["CPUExecutionProvider"])
    for photos, height, width in ((1, stride, stride), (3, 3 * stride + 1, stride - 1), (2, 5, 4 * stride)):
        luma = torch.rand(photos, 1, height, width)
        expected = exportable(luma).numpy()
        assert expected.shape == (photos, 2, height, width)
        assert expected.std() > 1e-3
        assert_allclose(session.run(None, {"luma": luma.numpy()})[0], expected, atol=1e-5)


def _to_onnx(network: nn.Module, stride: int) -> bytes:
    example = torch.rand(2, 1, 2 * stride + 3, 3 * stride + 5)
    shapes = {0: torch.export.Dim("batch"), 2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations inside the exporter
        program = torch.onnx.export(
            network, (example,), dynamo=True, dynamic_shapes=(shapes,), input_names=["luma"], verbose=False
        )
    assert program is not None
    return bytes(program.model_proto.SerializeToString())


@pytest.mark.parametrize(
    ("build", "widths"),
    [
        *((ClassicUNet, widths) for widths in ((), (8,), (8, 0))),
        *((Pix2PixUNet, widths) for widths in ((), (8,), (-8, 8))),
        *((ResNetUNet, widths) for widths in ((), (8, 8, 8, 8), (8, 8, 8, 8, 0))),
        *((ResNetUpsampler, widths) for widths in ((), (8, 8), (8, 8, 8, 8), (8, 0, 8))),
    ],
)
def test_widths_that_make_no_network_are_a_sentence(build: type[Generator], widths: tuple[int, ...]) -> None:
    with pytest.raises(TrainingInputError, match=r"^The widths of .* must be .* numbers of channels") as raised:
        build(widths)
    assert str(raised.value).endswith(f", not {list(widths)}.")
