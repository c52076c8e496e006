"""From colour crops to what a scan of an old black-and-white print looks like, on torch tensors."""

import torch
from torch import Tensor

from bwcolor.color import CB_SCALE, CR_SCALE, LUMA_WEIGHTS


def to_luma(rgb: Tensor) -> Tensor:
    """BT.601 luma: N3HW in 0..1 -> N1HW in 0..1."""
    weights = torch.tensor(LUMA_WEIGHTS, device=rgb.device).view(1, 3, 1, 1)
    return (rgb * weights).sum(1, keepdim=True)


def to_chroma(rgb: Tensor) -> Tensor:
    """Cb and Cr of full-range YCbCr (ITU-T T.871): N3HW in 0..1 -> N2HW in -0.5..0.5."""
    y = to_luma(rgb)
    return torch.cat([(rgb[:, 2:] - y) / CB_SCALE, (rgb[:, :1] - y) / CR_SCALE], 1)


def film_gray(rgb: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Gray as film saw it: N3HW -> N1HW in 0..1.

    A `share` of the photos gets random channel weights (orthochromatic film saw little red, early
    plates little but blue); the others BT.601 luma.
    """
    n = rgb.shape[0]
    weights = torch.rand(n, 3, generator=generator, device=rgb.device) + 0.05
    weights = weights / weights.sum(1, keepdim=True)
    standard = torch.tensor(LUMA_WEIGHTS, device=rgb.device).expand(n, 3)
    chosen = torch.rand(n, 1, generator=generator, device=rgb.device) < share
    weights = torch.where(chosen, weights, standard)
    return (rgb * weights.view(n, 3, 1, 1)).sum(1, keepdim=True)


def tone(gray: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Random gamma and contrast, one per photo: N1HW in 0..1 -> the same."""
    n = gray.shape[0]
    draw = torch.rand(2, n, 1, 1, 1, generator=generator, device=gray.device) * 2 - 1
    curved = gray.clamp(1e-4, 1) ** torch.exp(draw[0] * amount)
    return ((curved - 0.5) * torch.exp(draw[1] * amount) + 0.5).clamp(0, 1)


def grain(gray: Tensor, levels: float, generator: torch.Generator) -> Tensor:
    """Gaussian grain, one strength per photo, at most `levels` of 255: N1HW in 0..1 -> the same."""
    n = gray.shape[0]
    strength = torch.rand(n, 1, 1, 1, generator=generator, device=gray.device) * levels / 255
    noise = torch.randn(gray.shape, generator=generator, device=gray.device)
    return (gray + strength * noise).clamp(0, 1)


def frame(gray: Tensor, chroma: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Neutral borders, as scans of film and of album pages have: N1HW and N2HW -> the same.

    A `share` of the photos gets up to an eighth of black, gray or white on any of its sides.
    """
    n, _, height, width = gray.shape
    draw = torch.rand(n, 6, generator=generator, device=gray.device)
    sides = torch.where(draw[:, :4] < 0.3, 0.0, (draw[:, :4] - 0.3) / 0.7 * 0.125)
    sides = torch.where(draw[:, 4:5] < share, sides, 0.0).view(n, 4, 1, 1, 1)
    rows = ((torch.arange(height, device=gray.device) + 0.5) / height).view(1, 1, height, 1)
    columns = ((torch.arange(width, device=gray.device) + 0.5) / width).view(1, 1, 1, width)
    inside = (rows > sides[:, 0]) & (rows < 1 - sides[:, 1]) & (columns > sides[:, 2]) & (columns < 1 - sides[:, 3])
    steep = 2 * draw[:, 5].view(n, 1, 1, 1) - 1  # most borders are near black or near white
    shade = 0.5 + 0.5 * steep.sign() * steep.abs() ** 0.25
    return torch.where(inside, gray, shade), torch.where(inside, chroma, 0.0)
