"""Generators on ResNet-18: the encoder is torchvision's, and its weights come from a file or a server."""

import hashlib
import io
import os
import pickle
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse

import pytest
import torch
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.networks.resnet18 import (
    STAGE_WIDTHS,
    UNET_WIDTHS,
    UPSAMPLER_STAGES,
    UPSAMPLER_WIDTHS,
    ResNet18Encoder,
    ResNetUNet,
    ResNetUpsampler,
    UpBlock,
    load_resnet18,
)
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, resnet18
from training.local_server import Server, running

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])  # torchvision's documentation
WAYS_OUT = r"--set encoder=FILE\.pth.*--set encoder=none"


@pytest.fixture(scope="module")
def torchvisions() -> nn.Module:
    """torchvision's network with random weights, and batch norms that do something."""
    torch.manual_seed(0)
    network = resnet18(weights=None).eval()
    assert isinstance(network, nn.Module)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.3)
    return network


@pytest.fixture(scope="module")
def weights_file(torchvisions: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its weights, 45 MB, named as torchvision names files: with the beginning of their hash."""
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(torchvisions.state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return path.rename(path.with_name(f"resnet18-{digest[:8]}.pth"))


@pytest.fixture(scope="module")
def arrays(torchvisions: nn.Module) -> dict[str, Tensor]:
    """What the first stages need, and no more: 2.7 MB."""
    names = ResNet18Encoder(UPSAMPLER_STAGES).state_dict()
    return {name: t for name, t in torchvisions.state_dict().items() if name in names}


@torch.no_grad()
def test_the_encoder_computes_what_torchvision_computes(torchvisions: nn.Module, weights_file: Path) -> None:
    encoder = ResNet18Encoder(5).eval()
    load_resnet18(encoder, str(weights_file))
    gray = torch.rand(2, 1, 64, 96)
    expected = torchvisions((gray.repeat(1, 3, 1, 1) - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1))
    assert expected.std() > 0.1
    head = torchvisions.get_submodule("fc")
    torch.testing.assert_close(head(encoder(gray)[-1].mean((2, 3))), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_maps_come_from_full_detail_to_coarse() -> None:
    maps = ResNet18Encoder(5).eval()(torch.rand(1, 1, 64, 128))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (width, 32 >> level, 64 >> level) for level, width in enumerate(STAGE_WIDTHS)
    ]
    assert len(ResNet18Encoder(UPSAMPLER_STAGES).eval()(torch.rand(1, 1, 64, 128))) == 3


@torch.no_grad()
def test_256_px_of_gray_become_256_px_of_chroma() -> None:
    for network in (ResNetUNet(UNET_WIDTHS), ResNetUpsampler(UPSAMPLER_WIDTHS)):
        assert network.eval()(torch.rand(1, 1, 256, 256)).shape == (1, 2, 256, 256)


@torch.no_grad()
def test_the_upsampler_sees_only_the_first_stages_and_the_unet_also_the_luma() -> None:
    assert not any("layer3" in name for name, _ in ResNetUpsampler((8, 8, 8)).named_parameters())
    torch.manual_seed(0)
    network = ResNetUNet((8, 8, 8, 8, 8)).eval()
    seen: list[Tensor] = []
    network.ups[-1].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[1]))
    luma = torch.rand(1, 1, 32, 32)
    network(luma)
    torch.testing.assert_close(seen[0], luma - 0.5)


@torch.no_grad()
def test_the_upsampler_repeats_pixels() -> None:
    network = ResNetUpsampler((8, 8, 8)).eval()
    seen: list[Tensor] = []
    network.head.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    network(torch.rand(1, 1, 32, 32))
    corners = seen[0][:, :, ::2, ::2]
    assert corners.std() > 1e-3
    assert torch.equal(seen[0], corners.repeat_interleave(2, 2).repeat_interleave(2, 3))


@torch.no_grad()
def test_the_unet_keeps_things_where_they_are() -> None:
    """A ramp stays a ramp about the same centre: pixel i of the small map covers pixels 2i and 2i + 1."""
    block = UpBlock(1, 1, 4)
    seen: list[Tensor] = []
    block.convs.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    block(torch.arange(8.0).expand(1, 1, 8, 8), torch.zeros(1, 1, 16, 16))
    torch.testing.assert_close(seen[0][0, 0, 5, 1:-1], ((torch.arange(16) - 0.5) / 2)[1:-1])


def test_the_upsampler_needs_only_the_arrays_of_its_stages(arrays: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(arrays, tmp_path / "first.pth")
    network = ResNetUpsampler((8, 8, 8))
    load_resnet18(network.encoder, str(tmp_path / "first.pth"))
    for name, tensor in network.encoder.state_dict().items():
        assert torch.equal(tensor, arrays[name]), name
    with pytest.raises(TrainingInputError, match=rf"first\.pth: .*layer3\.0\.conv1\.weight.* more missing.*{WAYS_OUT}"):
        load_resnet18(ResNetUNet((8, 8, 8, 8, 8)).encoder, str(tmp_path / "first.pth"))


def test_files_that_do_not_count_batches_are_taken(arrays: dict[str, Tensor], tmp_path: Path) -> None:
    old = {name: t for name, t in arrays.items() if not name.endswith("num_batches_tracked")}
    assert len(old) < len(arrays)
    torch.save(old, tmp_path / "old.pth")
    encoder = ResNet18Encoder(UPSAMPLER_STAGES)
    load_resnet18(encoder, str(tmp_path / "old.pth"))
    assert all(torch.equal(t, encoder.state_dict()[name]) for name, t in old.items())


@pytest.mark.parametrize("change", ["missing", "other shape", "other type", "no array"])
def test_unfit_arrays_are_named_and_nothing_is_loaded(arrays: dict[str, Tensor], tmp_path: Path, change: str) -> None:
    name = "layer2.0.downsample.1.running_var"
    changed = {"other shape": arrays[name][:7], "other type": arrays[name].long(), "no array": "a word"}.get(change)
    state = {key: t for key, t in arrays.items() if key != name} | ({} if changed is None else {name: changed})
    torch.save(state, tmp_path / "resnet.pth")
    encoder = ResNet18Encoder(UPSAMPLER_STAGES)
    before = encoder.conv1.weight.clone()
    with pytest.raises(TrainingInputError, match=rf"resnet\.pth: .*: {name} missing or of another shape.*{WAYS_OUT}"):
        load_resnet18(encoder, str(tmp_path / "resnet.pth"))
    assert torch.equal(encoder.conv1.weight, before)


def test_another_resnet_is_refused_with_a_few_names(tmp_path: Path) -> None:
    torch.save({"module." + name: t for name, t in nn.Linear(2, 2).state_dict().items()}, tmp_path / "other.pth")
    with pytest.raises(TrainingInputError, match=r"conv1\.weight, bn1\.weight, bn1\.bias and 47 more missing"):
        load_resnet18(ResNet18Encoder(UPSAMPLER_STAGES), str(tmp_path / "other.pth"))


class Intruder:
    """Runs code when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 broken", pickle.dumps({"conv1.weight": 1}, 2)])
def test_files_that_hold_no_weights_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "resnet.pth"
    path.write_bytes(content)
    with pytest.raises(TrainingInputError, match=r"resnet\.pth"):
        load_resnet18(ResNet18Encoder(UPSAMPLER_STAGES), str(path))


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    torch.save({"conv1.weight": Intruder(tmp_path / "broken in")}, tmp_path / "evil.pth")
    with pytest.raises(TrainingInputError, match=r"evil\.pth: not a PyTorch file of weights alone"):
        load_resnet18(ResNet18Encoder(UPSAMPLER_STAGES), str(tmp_path / "evil.pth"))
    assert not (tmp_path / "broken in").exists()


def test_a_single_array_is_refused(tmp_path: Path) -> None:
    torch.save(torch.zeros(3), tmp_path / "one.pth")
    with pytest.raises(TrainingInputError, match=r"one\.pth: holds a Tensor"):
        load_resnet18(ResNet18Encoder(UPSAMPLER_STAGES), str(tmp_path / "one.pth"))


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TrainingInputError, match=r"none\.pth: no such encoder file\. Check --set encoder=FILE\.pth\."):
        load_resnet18(ResNet18Encoder(UPSAMPLER_STAGES), str(tmp_path / "none.pth"))


@pytest.fixture
def server() -> Iterator[Server]:
    """A local stand-in for torchvision's server of weights."""
    with running() as server:
        yield server


def redirect(monkeypatch: pytest.MonkeyPatch, home: Path, server: str, name: str) -> Path:
    """Points torchvision's address of the weights to another server; returns where torch would keep the file."""
    monkeypatch.setenv("TORCH_HOME", str(home))
    monkeypatch.setenv("no_proxy", "*")
    weights = ResNet18_Weights.IMAGENET1K_V1
    assert urlparse(weights.url).scheme == "https"
    monkeypatch.setattr(weights.value, "url", f"{server}/{name}")
    return home / "hub" / "checkpoints" / name


def test_weights_are_downloaded_once(
    server: Server, weights_file: Path, torchvisions: nn.Module, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    kept = redirect(monkeypatch, tmp_path, server.url, weights_file.name)
    server.files[f"/{weights_file.name}"] = weights_file.read_bytes()
    network = ResNetUNet((8, 8, 8, 8, 8))
    load_resnet18(network.encoder, "torchvision")
    theirs = torchvisions.state_dict()
    for name, parameter in network.encoder.named_parameters():
        assert torch.equal(parameter, theirs[name]), name
    out, err = capfd.readouterr()
    assert out == ""
    assert str(kept) in err
    assert "%" not in err  # no progress bar of torch's own
    assert kept.read_bytes() == weights_file.read_bytes()

    server.files.clear()
    small = ResNetUpsampler((8, 8, 8))
    load_resnet18(small.encoder, "torchvision")
    assert len(server.asked) == 1
    assert torch.equal(small.encoder.conv1.weight, theirs["conv1.weight"])


@pytest.mark.parametrize("fault", ["other content", "cut off", "not found"])
def test_a_download_that_fails_leaves_nothing_and_names_the_ways_out(
    server: Server, arrays: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    whole = io.BytesIO()
    torch.save(arrays, whole)
    name = f"resnet18-{hashlib.sha256(whole.getvalue()).hexdigest()[:8]}.pth"
    kept = redirect(monkeypatch, tmp_path, server.url, name)
    if fault == "other content":
        torch.save({key: t + 1 for key, t in arrays.items()}, whole := io.BytesIO())
    server.files = {} if fault == "not found" else {f"/{name}": whole.getvalue()}
    server.breaks = [1000] if fault == "cut off" else []
    reason = "404" if fault == "not found" else ""
    with pytest.raises(TrainingInputError, match=rf"could not be downloaded \(.*{reason}.*\)\. .*{WAYS_OUT}"):
        load_resnet18(ResNet18Encoder(UPSAMPLER_STAGES), "torchvision")
    assert len(server.asked) == 1
    assert list(kept.parent.iterdir()) == []


def test_without_a_network_the_ways_out_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but nobody listens
        redirect(monkeypatch, tmp_path, f"http://127.0.0.1:{unused.getsockname()[1]}", "resnet18-00000000.pth")
        with pytest.raises(TrainingInputError, match=rf"could not be downloaded \(.*refused.*\)\. .*{WAYS_OUT}"):
            load_resnet18(ResNet18Encoder(UPSAMPLER_STAGES), "torchvision")


def test_a_damaged_file_in_torchs_cache_is_named(
    arrays: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = redirect(monkeypatch, tmp_path, "http://127.0.0.1:1", "resnet18-00000000.pth")
    kept.parent.mkdir(parents=True)
    torch.save(arrays, kept)
    kept.write_bytes(kept.read_bytes()[:-1000])
    with pytest.raises(TrainingInputError, match=r"resnet18-00000000\.pth: damaged, or can't be read\. Delete it"):
        load_resnet18(ResNet18Encoder(UPSAMPLER_STAGES), "torchvision")
    assert kept.exists()
