"""The U-Net on EfficientNet-Lite2: its contract, its queries, its ending."""

import pytest
import torch
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.networks.decoder import ColorQueries, GuidedEnding, attend
from bwcolor_training.networks.lite_unet import LiteUNet
from numpy.testing import assert_allclose
from torch.nn import functional


def small(queries: int = 0) -> LiteUNet:
    return LiteUNet((16, 8, 8), (8, 8, 8), queries)


@pytest.mark.parametrize("queries", [0, 4])
def test_luma_becomes_chroma_of_its_size(queries: int) -> None:
    network = small(queries).eval()
    with torch.no_grad():
        assert network(torch.rand(2, 1, 64, 96)).shape == (2, 2, 64, 96)
        assert network(torch.rand(1, 1, 96, 32)).shape == (1, 2, 96, 32)


def test_new_queries_change_nothing_until_they_are_trained() -> None:
    torch.manual_seed(0)
    plain, with_queries = small().eval(), small(4).eval()
    missing, unexpected = with_queries.load_state_dict(plain.state_dict(), strict=False)
    assert unexpected == []
    assert missing
    assert all(name.startswith("queries.") for name in missing)
    luma = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert_allclose(with_queries(luma), plain(luma), atol=1e-7)
    assert with_queries.queries is not None
    with torch.no_grad():
        with_queries.queries.mix.normal_()
        assert (with_queries(luma) - plain(luma)).abs().max() > 1e-4


def test_every_weight_learns() -> None:
    torch.manual_seed(0)
    network = small(4)
    assert network.queries is not None
    torch.nn.init.normal_(network.queries.mix)
    network(torch.rand(2, 1, 64, 64)).square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_attention_is_that_of_torch() -> None:
    torch.manual_seed(0)
    queries, keys, values = torch.randn(2, 5, 8), torch.randn(2, 7, 8), torch.randn(2, 7, 8)
    q, k, v = (t.view(2, -1, 4, 2).transpose(1, 2) for t in (queries, keys, values))
    expected = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    assert_allclose(attend(queries, keys, values, heads=4), expected, atol=1e-6)


def test_queries_see_the_photo_and_not_where_things_are() -> None:
    torch.manual_seed(0)
    queries = ColorQueries(3, 8, (6,), 6, 4).eval()
    torch.nn.init.normal_(queries.mix)
    x = torch.randn(1, 6, 4, 8)
    with torch.no_grad():
        out = queries([x], x)
        assert out.shape == (1, 4, 4, 8)
        assert_allclose(queries([x.flip(3)], x.flip(3)), out.flip(3), atol=1e-5)
        assert (queries([torch.randn(1, 6, 4, 8)], x) - out).abs().max() > 1e-4


def test_the_ending_follows_luma_where_it_has_a_slope() -> None:
    ending = GuidedEnding(4, 2, reduction=4)
    for p in ending.parameters():
        torch.nn.init.zeros_(p)
    luma, features = torch.rand(1, 1, 32, 32), torch.zeros(1, 4, 8, 8)
    value_and_slope = torch.tensor([0.5, -0.25, 1.0, 0.0]).view(1, 4, 1, 1).expand(1, 4, 8, 8)
    out = ending(features, luma, value_and_slope)
    low = functional.interpolate(functional.avg_pool2d(luma, 4), size=(32, 32), mode="bilinear", align_corners=False)
    assert_allclose(out[:, :1].detach(), 0.5 + (luma - low), atol=1e-6)
    assert_allclose(out[:, 1:].detach(), torch.full_like(luma, -0.25), atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": (16, 8)}, "must name 3 numbers"),
        ({"widths": (16, 8, 8), "skips": (8,)}, "must name 3 numbers"),
        ({"widths": (10, 8, 8)}, "multiple of 4, not 10"),
    ],
)
def test_sizes_that_do_not_fit_are_a_sentence(settings: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(TrainingInputError, match=message):
        LiteUNet(widths=settings["widths"], skips=settings.get("skips", ()))
