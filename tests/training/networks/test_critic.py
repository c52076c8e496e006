"""The PatchGAN critic: how many verdicts it gives, and what each of them sees."""

import pytest
import torch
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.networks.critic import PatchCritic
from torch import Tensor, nn


@torch.no_grad()
def test_256_px_get_30_by_30_verdicts() -> None:
    critic = PatchCritic().eval()
    assert critic(torch.rand(2, 1, 256, 256), torch.rand(2, 2, 256, 256) - 0.5).shape == (2, 1, 30, 30)
    assert critic(torch.rand(1, 1, 64, 96), torch.rand(1, 2, 64, 96) - 0.5).shape == (1, 1, 6, 10)


@pytest.mark.parametrize(("levels", "side"), [(3, 70), (2, 34), (1, 16)])
def test_a_verdict_sees_a_patch_of_this_side(levels: int, side: int) -> None:
    """The pixels whose change would change one verdict in the middle: all of a square, none beside it."""
    torch.manual_seed(0)
    critic = PatchCritic(8, levels).double().eval()  # in training, batch norm ties all pixels together
    luma = torch.rand(1, 1, 256, 256, dtype=torch.float64, requires_grad=True)
    chroma = (torch.rand(1, 2, 256, 256, dtype=torch.float64) - 0.5).requires_grad_()
    verdicts = critic(luma, chroma)
    verdicts[0, 0, verdicts.shape[2] // 2, verdicts.shape[3] // 2].backward()
    assert luma.grad is not None
    assert chroma.grad is not None
    for seen in torch.cat([luma.grad, chroma.grad], 1)[0] != 0:
        rows, columns = seen.any(1).nonzero().flatten(), seen.any(0).nonzero().flatten()
        assert int(rows[-1] - rows[0]) + 1 == int(columns[-1] - columns[0]) + 1 == side
        assert int(seen.sum()) == side * side


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_first_and_last_convolution_have_no_norm_and_the_end_no_activation(levels: int) -> None:
    kinds = [type(layer) for layer in PatchCritic(4, levels).layers]
    block = [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU]
    assert kinds == [nn.Conv2d, nn.LeakyReLU, *block * levels, nn.Conv2d]


def test_widths_double_up_to_eight_times_the_first() -> None:
    convs = [layer for layer in PatchCritic(4, 5).layers if isinstance(layer, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels) for c in convs] == [(3, 4), (4, 8), (8, 16), (16, 32), (32, 32), (32, 32),
                                                                (32, 1)]  # fmt: skip
    assert [c.stride[0] for c in convs] == [2, 2, 2, 2, 2, 1, 1]


def test_all_weights_are_drawn_from_the_papers_normal_distribution() -> None:
    torch.manual_seed(0)
    critic = PatchCritic()
    convs = [m for m in critic.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in critic.modules() if isinstance(m, nn.BatchNorm2d)]
    scales = torch.cat([norm.weight for norm in norms])
    for weights, mean in [*((conv.weight, 0.0) for conv in convs), (scales, 1.0)]:
        assert abs(float(weights.detach().mean()) - mean) < 5 * 0.02 / weights.numel() ** 0.5
        assert abs(float(weights.detach().std()) - 0.02) < 5 * 0.02 / (2 * weights.numel()) ** 0.5
    biases = [parameter for name, parameter in critic.named_parameters() if name.endswith("bias")]
    assert len(biases) == 5
    assert not any(bias.any() for bias in biases)


def test_luma_and_chroma_are_brought_to_one_scale() -> None:
    critic = PatchCritic(4, 1).eval()
    seen: list[Tensor] = []
    critic.layers.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    luma = torch.linspace(0, 1, 256).view(1, 1, 16, 16)
    critic(luma, torch.cat([luma - 0.5, 0.5 - luma], 1))
    assert torch.allclose(seen[0].amin((0, 2, 3)), torch.tensor([-1.0]))
    assert torch.allclose(seen[0].amax((0, 2, 3)), torch.tensor([1.0]))
    assert torch.allclose(seen[0][0, 1], 2 * luma[0, 0] - 1)
    assert torch.allclose(seen[0][0, 2], 1 - 2 * luma[0, 0])


@pytest.mark.parametrize("levels", [1, 2, 3])
@torch.no_grad()
def test_the_smallest_input_gets_one_verdict(levels: int) -> None:
    critic = PatchCritic(4, levels).train()  # with the batch norm of a single photo
    side = critic.smallest
    assert critic(torch.rand(1, 1, side, side), torch.zeros(1, 2, side, side)).shape == (1, 1, 1, 1)
    with pytest.raises(RuntimeError):
        critic(torch.rand(1, 1, side - 1, side), torch.zeros(1, 2, side - 1, side))


def test_true_colours_are_told_from_wrong_ones() -> None:
    """Where luma is bright the true colour is warm: nothing but luma and chroma together can tell."""
    torch.manual_seed(0)
    critic = PatchCritic(8, 2)
    optimizer = torch.optim.Adam(critic.parameters(), 2e-3, (0.5, 0.999))
    loss = nn.BCEWithLogitsLoss()
    for _ in range(40):
        luma = torch.rand(8, 1, 1, 1).expand(8, 1, 32, 32) + 0.02 * torch.randn(8, 1, 32, 32)
        true, false = ((sign * (luma - 0.5)).repeat(1, 2, 1, 1) for sign in (0.8, -0.8))
        error = loss(critic(luma, true), torch.ones(8, 1, 6, 6)) + loss(critic(luma, false), torch.zeros(8, 1, 6, 6))
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    bright = torch.full((1, 1, 32, 32), 0.9)
    dark = torch.full((1, 1, 32, 32), 0.1)
    warm, cold = torch.full((1, 2, 32, 32), 0.32), torch.full((1, 2, 32, 32), -0.32)
    critic.eval()
    with torch.no_grad():
        assert critic(bright, warm).mean() > critic(bright, cold).mean() + 1
        assert critic(dark, cold).mean() > critic(dark, warm).mean() + 1


@pytest.mark.parametrize(("width", "levels"), [(0, 3), (64, 0), (-1, -1)])
def test_a_critic_without_layers_is_a_sentence(width: int, levels: int) -> None:
    with pytest.raises(TrainingInputError, match=rf"1 or more, not {width} and {levels}\."):
        PatchCritic(width, levels)
