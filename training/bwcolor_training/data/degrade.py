"""From colour crops to what a scan of an old black-and-white print looks like, on torch tensors.

Each function imitates one kind of damage, has a switch of its own in `Degradation`, and returns its
input when the switch is 0. All draw from the generator they are given and from nothing else. None
moves a pixel, so the true chroma still fits. "Photo" means the crop that the network sees, and
"side" the shorter of its two. Grays are gamma-encoded, 0..1, as BT.601 luma is.

The defaults were set by looking, and by these figures. At 256 px, 97 scans of old photos (negatives of the
1930s and 40s, prints of 1850 to 1960) have their first percentile at a luma of 0.06 (highest tenth:
0.16), their 99th at 0.88 (lowest tenth: 0.76) and a noise of 4 levels of 255 (highest tenth: 10). Of
120 modern photos degraded with the defaults these are 0.11 (0.24), 0.85 (0.68) and 3 (7); before, 0.06, 0.92
and 3. Archives mend levels and keep the sharpest prints; a family's album is worse.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from bwcolor.imaging.color import CB_SCALE, CR_SCALE, LUMA_WEIGHTS
from bwcolor.imaging.levels import BLACK, NARROWEST, PERCENTILES, WHITE

# What red, green and blue light add to the exposure: lowest and highest weight of each, before they
# are scaled to a sum of 1. Ordinary plates answer to blue and violet, orthochromatic ones to green and
# part of yellow too and to red no more than those ("Studio Light", Eastman Kodak 1916; Langford, Basic
# Photography, 7th ed., ch. 9: nothing beyond about 590 nm, where the red of sRGB still has a little).
# Panchromatic: the range of the channel-mixer settings in use for films from Tri-X (0.25, 0.35, 0.40) to
# the red-extended SFX (0.36, 0.31, 0.33), which were tuned by eye; less blue where a yellow filter was used.
FILMS = {
    "panchromatic": ((0.18, 0.40), (0.30, 0.55), (0.10, 0.42)),
    "orthochromatic": ((0.0, 0.05), (0.30, 0.60), (0.40, 0.70)),
    "ordinary": ((0.0, 0.02), (0.0, 0.15), (0.85, 1.0)),
}
# How many of the photos that film made are of each kind, in the order of FILMS: ordinary plates until about
# 1900; amateurs' roll film mostly orthochromatic until the 1950s (Photographic Historical Society of Canada,
# "Seeing red": Ansco went over to panchromatic film in 1955, Kodak in 1956). The shares themselves are a guess.
FILM_MIX = (0.5, 0.35, 0.15)

S_CURVE = 1.5  # share of a smoothstep in the tone curve, per unit of tone_jitter
GRAIN_FLOOR = 0.3  # noise of pure black and white against mid-gray: no grain there, but that of the scanner
GRAIN_CLUMPING = 0.5  # highest weight of each neighbour's noise against the pixel's own: clumps of about two pixels

# Yellow-brown paper: what its stain absorbs of red, green and blue, lowest and highest, blue being 1. At full
# depth its white is (0.85, 0.67, 0.45), in scans of toned and yellowed prints (0.71-0.93, 0.62-0.90, 0.41-0.94).
STAIN = ((0.1, 0.35), (0.35, 0.65), (1.0, 1.0))
STAIN_DEPTH = 0.8  # natural logarithm of what is left of blue, at most
STAIN_GRID = 4  # random values along each edge, from which the stain is drawn: clouds of about a third of a photo

# Most of each kind of mark on a photo; length and thickness, in sides, from and to; then in radians: largest angle
# from upright, bend along the whole, and how far the heading wanders. A photo has a random part of them.
MARKS = {
    "speck": (10, 0.004, 0.02, 0.004, 0.02, 3.2, 6.0, 2.0),
    "scratch": (2, 0.3, 1.5, 0.001, 0.005, 0.05, 0.05, 0.05),
    "hair": (2, 0.05, 0.25, 0.001, 0.004, 3.2, 4.0, 1.0),
    "crack": (2, 0.2, 0.8, 0.002, 0.008, 3.2, 0.5, 1.5),
}
BRIGHT_MARKS = 0.7  # share of marks that are bright: dust on the negative and cracks are; dust on the print is dark
MARK_SHADES = (0.08, 0.95)  # of dark and of bright ones: not quite black, and the white of paper

JPEG_QUALITY = (25, 95)  # libjpeg's scale, from web copies of old scans to good ones
# ITU-T T.81, table K.1: quantisation of luminance, steps of 8-bit samples, row by row from the lowest frequency.
LUMINANCE_TABLE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Degradation:
    """What is done to the photos; every field is a switch of its own, and 0 turns it off.

    film_share: share of photos whose gray film made (see FILMS), not BT.601. tone_jitter: largest change
    of gamma, as a factor's natural logarithm; contrast rises half as much. blur: largest standard
    deviation, share of the side. grain: largest standard deviation in mid-gray, 8-bit levels. fade: most by
    which black rises and white sinks, of 0..1; half of the photos get a quarter of it or less. paper_share, dust_share,
    frame_share, jpeg_share: shares of photos on stained paper, with dust and scratches, with
    neutral borders, and compressed. full_tones: share of photos that are stretched to full tones before they get
    a border.
    """

    film_share: float = 0.4
    tone_jitter: float = 0.35
    blur: float = 0.006
    grain: float = 10.0
    fade: float = 0.2
    paper_share: float = 0.2
    dust_share: float = 0.15
    frame_share: float = 0.15
    jpeg_share: float = 0.25
    full_tones: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Degraded:
    """gray: what the network sees, N1HW in 0..1. luma, chroma: the truth, N1HW in 0..1 and N2HW in -0.5..0.5."""

    gray: Tensor
    luma: Tensor
    chroma: Tensor


def degrade(rgb: Tensor, strengths: Degradation, generator: torch.Generator) -> Degraded:
    """Photos N3HW in 0..1, damaged in the order in which it befalls them: film, printing, ageing, scanning, storing."""
    gray = film_gray(rgb, strengths.film_share, generator)
    gray = tone(gray, strengths.tone_jitter, generator)
    gray = blur(gray, strengths.blur, generator)
    gray = grain(gray, strengths.grain, generator)
    gray = fade(gray, strengths.fade, generator)
    gray = paper(gray, strengths.paper_share, generator)
    gray = dust(gray, strengths.dust_share, generator)
    gray = scanned(gray, strengths.full_tones, generator)
    photos = frame(Degraded(gray, to_luma(rgb), to_chroma(rgb)), strengths.frame_share, generator)
    return replace(photos, gray=jpeg(photos.gray, strengths.jpeg_share, generator))


def scanned(gray: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A `share` of the photos with enough contrast, as bwcolor shows them to a network: N1HW in 0..1 -> the same."""
    if share >= 1:
        return full_tones(gray)
    chosen = _some(gray, share, generator)
    return gray.index_copy(0, chosen, full_tones(gray[chosen])) if len(chosen) else gray


def full_tones(gray: Tensor) -> Tensor:
    """Stretched as bwcolor stretches what it shows a network: N1HW in 0..1 -> the same.

    See bwcolor.imaging.levels.full_tones, of which this is the form for a batch of photos without margins.
    """
    shares = torch.tensor(PERCENTILES, device=gray.device) / 100
    low, high = torch.quantile(gray.flatten(1), shares, dim=1).view(2, -1, 1, 1, 1).unbind()
    black, white = low.clamp(max=BLACK), high.clamp(min=WHITE)
    full, span = white - black, high - low
    contrast = full / span.clamp(min=NARROWEST)
    left = full - contrast * span
    base = black + left * (low - black) / (full - span).clamp(min=1e-6) - contrast * low
    return torch.where(contrast == 1, gray, contrast * gray + base).clamp(0, 1)


def to_luma(rgb: Tensor) -> Tensor:
    """BT.601 luma: N3HW in 0..1 -> N1HW in 0..1."""
    weights = torch.tensor(LUMA_WEIGHTS, device=rgb.device).view(1, 3, 1, 1)
    return (rgb * weights).sum(1, keepdim=True)


def to_chroma(rgb: Tensor) -> Tensor:
    """Cb and Cr of full-range YCbCr (ITU-T T.871): N3HW in 0..1 -> N2HW in -0.5..0.5."""
    y = to_luma(rgb)
    return torch.cat([(rgb[:, 2:] - y) / CB_SCALE, (rgb[:, :1] - y) / CR_SCALE], 1)


def film_gray(rgb: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Gray as film saw it, for a `share` of the photos a random film each, else BT.601 luma: N3HW -> N1HW in 0..1."""
    luma = to_luma(rgb)
    if not share:
        return luma
    n, device = rgb.shape[0], rgb.device
    chosen = torch.rand(n, 1, 1, 1, generator=generator, device=device) < share
    kinds = torch.multinomial(torch.tensor(FILM_MIX, device=device), n, replacement=True, generator=generator)
    low, high = torch.tensor(list(FILMS.values()), device=device)[kinds].unbind(2)
    weights = low + (high - low) * torch.rand(n, 3, generator=generator, device=device)
    return torch.where(chosen, expose(rgb, weights), luma)


def expose(rgb: Tensor, weights: Tensor) -> Tensor:
    """Gray of photos N3HW that a film with channel weights (N, 3) of any sum takes: N1HW in 0..1.

    Film adds up light, not gamma-encoded values. Squares stand for light: they are cheap, sRGB's own curve
    is only a tenth steeper, and the tone curve of film and print is random here anyway.
    """
    n, _, height, width = rgb.shape
    weights = weights / weights.sum(1, keepdim=True)
    light = torch.bmm(weights.view(n, 1, 3), rgb.square().view(n, 3, -1))  # faster than a product and a sum
    return light.view(n, 1, height, width).clamp(0, 1).sqrt()


def tone(gray: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Exposure, paper grade and film curve, one of each per photo: N1HW in 0..1 -> the same, order kept.

    Gamma changes by a factor of e to the power of -amount..amount. Contrast around mid-gray rises by at most the
    square root of that, which burns out what is lightest and darkest (`fade` lowers it). An S-curve
    with toe and shoulder, as film has, or its opposite is mixed in.
    """
    if not amount:
        return gray
    draw = torch.rand(3, gray.shape[0], 1, 1, 1, generator=generator, device=gray.device) * 2 - 1
    curved = gray.clamp(1e-4, 1) ** torch.exp(draw[0] * amount)
    curved = ((curved - 0.5) * torch.exp(draw[1].abs() * amount / 2) + 0.5).clamp(0, 1)
    shape = (draw[2] * amount * S_CURVE).clamp(-1, 1)  # beyond 1 the inverse would not keep the order
    return torch.lerp(curved, _smoothstep(curved), shape).clamp(0, 1)


def blur(gray: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Softness of lens, print and scan: a Gaussian, one width per photo: N1HW in 0..1 -> the same.

    Its standard deviation is at most `amount` of the side (softness belongs to the picture, so a larger
    view of it shows more pixels of it) times the square of an even random number: most photos are sharp.
    """
    if not amount:
        return gray
    n, _, height, width = gray.shape
    side = min(height, width)
    sigma = torch.rand(n, 1, generator=generator, device=gray.device).square() * amount * side
    radius = math.ceil(3 * amount * side)
    offsets = torch.arange(-radius, radius + 1, device=gray.device)
    kernels = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-3)).square())
    kernels = (kernels / kernels.sum(1, keepdim=True)).view(n, 1, 1, -1)
    padded = functional.pad(gray, (radius,) * 4, mode="replicate").view(1, n, height + 2 * radius, -1)
    across = functional.conv2d(padded, kernels, groups=n)
    return functional.conv2d(across, kernels.transpose(2, 3), groups=n).view(gray.shape).clamp(0, 1)


def grain(gray: Tensor, levels: float, generator: torch.Generator) -> Tensor:
    """Grain of at most `levels` of 255 (standard deviation), one strength and size per photo: N1HW in 0..1 -> the same.

    Strongest in mid-gray: in clear film there is no silver, and in black no light comes through it.
    """
    if not levels:
        return gray
    n, _, height, width = gray.shape
    strength, clumping = torch.rand(2, n, 1, 1, 1, generator=generator, device=gray.device).unbind()
    noise = torch.randn(n, 1, height + 2, width + 2, generator=generator, device=gray.device)
    beside = clumping * GRAIN_CLUMPING
    noise = noise[..., 1:-1] + beside * (noise[..., :-2] + noise[..., 2:])
    noise = noise[..., 1:-1, :] + beside * (noise[..., :-2, :] + noise[..., 2:, :])
    strength = strength * (levels / 255) / (1 + 2 * beside.square())  # the sums above have that standard deviation
    visible = GRAIN_FLOOR + (1 - GRAIN_FLOOR) * 4 * gray * (1 - gray)
    return (gray + strength * visible * noise).clamp(0, 1)


def fade(gray: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Silver and paper that aged: black rises and white sinks, by at most `amount` each: N1HW in 0..1 -> the same.

    The squares of even random numbers, so half of the photos fade by less than a quarter of `amount`.
    """
    if not amount:
        return gray
    draw = torch.rand(2, gray.shape[0], 1, 1, 1, generator=generator, device=gray.device)
    black, white = (draw.square() * amount).unbind()
    return (black + (1 - black) * (1 - white) * gray).clamp(0, 1)


def paper(gray: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Toned, yellowed and stained paper, on a `share` of the photos: N1HW in 0..1 -> the same.

    A cloudy yellow-brown layer, denser towards the edges, where air gets at it, lies over the gray. The
    network gets the luma of that, so a stain is a smooth darkening of its own.
    """
    chosen = _some(gray, share, generator)
    if not len(chosen):
        return gray
    n, _, height, width = gray[chosen].shape
    draw = torch.rand(6, n, 1, 1, 1, generator=generator, device=gray.device)
    low, high = torch.tensor(STAIN, device=gray.device).view(3, 2, 1, 1, 1, 1).unbind(1)
    absorption = low + (high - low) * draw[:3]
    depth, evenness, border = STAIN_DEPTH * draw[3], draw[4].square(), draw[5]
    grid = torch.rand(n, 1, STAIN_GRID, STAIN_GRID, generator=generator, device=gray.device)
    clouds = functional.interpolate(grid, (height, width), mode="bicubic", align_corners=True)
    clouds = _smoothstep((2 * clouds - 0.5).clamp(0, 1))  # a quarter clean, a quarter at full depth, slopes between
    rows, columns = (torch.linspace(-1, 1, length, device=gray.device).abs() for length in (height, width))
    edge = torch.maximum(rows.view(1, 1, -1, 1), columns.view(1, 1, 1, -1)) ** 6  # the outer tenth, mostly
    layer = depth * (evenness + (1 - evenness) * torch.maximum(clouds, border * edge))
    weights = torch.tensor(LUMA_WEIGHTS, device=gray.device).view(3, 1, 1, 1, 1)
    transmission = (weights * torch.exp(-layer * absorption)).sum(0)
    return gray.index_copy(0, chosen, gray[chosen] * transmission)


def dust(gray: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Specks, upright scratches, hairs and cracks, on a `share` of the photos: N1HW in 0..1 -> the same.

    Each is a path of points along a heading that bends and wanders, spread over the four pixels around
    each point. What is thinner than a pixel is fainter instead.
    """
    chosen = _some(gray, share, generator)
    if not len(chosen):
        return gray
    n, device = len(chosen), gray.device
    height, width = gray.shape[2:]
    side = min(height, width)
    kinds = torch.tensor([row[1:] for row in MARKS.values() for _ in range(int(row[0]))], device=device)
    shortest, longest, thinnest, thickest, spread, bend, wander = kinds.T
    draw = torch.rand(8, n, len(kinds), generator=generator, device=device)
    present = draw[0] < torch.rand(n, 1, generator=generator, device=device)
    steps = 3 * side  # half a pixel apart along the longest mark, so that it is no row of beads
    walk = torch.randn(n, len(kinds), steps, generator=generator, device=device).cumsum(2) / math.sqrt(steps)
    along = torch.linspace(-0.5, 0.5, steps, device=device)
    heading = (spread * (2 * draw[1] - 1) + math.pi * draw[2].round())[..., None]  # 0: downwards
    heading = heading + (bend * (2 * draw[3] - 1))[..., None] * along + wander[:, None] * walk
    step = ((shortest + (longest - shortest) * draw[4]) * side / steps)[..., None]
    y, x = (trace.cumsum(2) * step for trace in (heading.cos(), heading.sin()))
    y = y - y.mean(2, keepdim=True) + draw[5, ..., None] * height
    x = x - x.mean(2, keepdim=True) + draw[6, ..., None] * width
    opacity = present * ((thinnest + (thickest - thinnest) * draw[7]) * side).clamp(max=1)
    bright = torch.rand(n, len(kinds), generator=generator, device=device) < BRIGHT_MARKS
    cover = _splat(y, x, opacity[..., None].expand_as(y), bright[..., None].expand_as(y), height, width)
    marked = gray[chosen]
    for layer, shade in enumerate(MARK_SHADES):
        marked = torch.lerp(marked, torch.full_like(marked, shade), cover[:, layer : layer + 1])
    return gray.index_copy(0, chosen, marked)


def frame(photos: Degraded, share: float, generator: torch.Generator) -> Degraded:
    """Neutral borders, as scans of film and of album pages have; they are part of the truth.

    A `share` of the photos gets up to an eighth of black, gray or white on any of its sides.
    """
    if not share:
        return photos
    gray, luma, chroma = photos.gray, photos.luma, photos.chroma
    n, _, height, width = gray.shape
    draw = torch.rand(n, 6, generator=generator, device=gray.device)
    sides = torch.where(draw[:, :4] < 0.3, 0.0, (draw[:, :4] - 0.3) / 0.7 * 0.125)
    sides = torch.where(draw[:, 4:5] < share, sides, 0.0).view(n, 4, 1, 1, 1)
    rows = ((torch.arange(height, device=gray.device) + 0.5) / height).view(1, 1, height, 1)
    columns = ((torch.arange(width, device=gray.device) + 0.5) / width).view(1, 1, 1, width)
    inside = (rows > sides[:, 0]) & (rows < 1 - sides[:, 1]) & (columns > sides[:, 2]) & (columns < 1 - sides[:, 3])
    steep = 2 * draw[:, 5].view(n, 1, 1, 1) - 1  # most borders are near black or near white
    shade = 0.5 + 0.5 * steep.sign() * steep.abs() ** 0.25
    return Degraded(
        torch.where(inside, gray, shade), torch.where(inside, luma, shade), torch.where(inside, chroma, 0.0)
    )


def jpeg(gray: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """JPEG compression of a random quality, on a `share` of the photos: N1HW in 0..1 -> the same.

    The grid of blocks starts anywhere, for a crop is cut from anywhere; it is one grid for the batch.
    """
    chosen = _some(gray, share, generator)
    if not len(chosen):
        return gray
    lowest, highest = JPEG_QUALITY
    quality = lowest + (highest - lowest) * torch.rand(len(chosen), generator=generator, device=gray.device)
    top, left = torch.randint(0, 8, (2,), generator=generator, device=gray.device).tolist()
    return gray.index_copy(0, chosen, compress(gray[chosen], quality.round(), top, left))


def compress(gray: Tensor, quality: Tensor, top: int = 0, left: int = 0) -> Tensor:
    """What baseline JPEG (ITU-T T.81) leaves of gray N1HW in 0..1, in steps of 1/255.

    quality: (N) in 1..100, as libjpeg counts. top, left: 0..7, rows and columns of the first blocks that lie
    outside the photo. Blocks that it does not fill are filled with its edge.
    """
    n, _, height, width = gray.shape
    samples = (gray * 255).round() - 128
    samples = functional.pad(samples, (left, -(left + width) % 8, top, -(top + height) % 8), mode="replicate")
    rows, columns = samples.shape[2] // 8, samples.shape[3] // 8
    blocks = samples.view(n, rows, 8, columns, 8).transpose(2, 3).reshape(n, -1, 64)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality).floor().view(n, 1)  # per cent
    table = torch.tensor(LUMINANCE_TABLE, dtype=torch.float32, device=gray.device)
    table = ((table * scale + 50) / 100).floor().clamp(1, 255).view(n, 1, 64)
    transform = _cosines(gray.device)
    blocks = (((blocks @ transform.T) / table).round() * table) @ transform
    samples = blocks.view(n, rows, columns, 8, 8).transpose(2, 3).reshape(n, 1, rows * 8, columns * 8)
    return (samples[:, :, top : top + height, left : left + width] + 128).round().clamp(0, 255) / 255


def _cosines(device: torch.device) -> Tensor:
    """The discrete cosine transform of 8 x 8 samples, orthonormal, as one matrix (64, 64): frequencies from samples."""
    step = torch.arange(8, device=device)
    waves = torch.cos((2 * step + 1) * step.view(8, 1) * (math.pi / 16)) / 2
    waves[0] /= math.sqrt(2)
    return torch.kron(waves, waves)


def _splat(y: Tensor, x: Tensor, opacity: Tensor, bright: Tensor, height: int, width: int) -> Tensor:
    """How much points cover of each pixel: (N, marks, steps) rows, columns, 0..1, which layer -> (N, 2, H, W) in 0..1.

    A pixel takes the most that any point covers of it, so the order of the points does not matter.
    """
    n = y.shape[0]
    top, left = y.floor(), x.floor()
    photo = torch.arange(n, device=y.device).view(n, 1, 1)
    cover = torch.zeros(n * 2 * height * width, device=y.device)
    for down in (0, 1):
        for right in (0, 1):
            row, column = top + down, left + right
            part = (1 - (y - row).abs()) * (1 - (x - column).abs()) * opacity
            part = part * ((row >= 0) & (row < height) & (column >= 0) & (column < width))
            index = ((photo * 2 + bright) * height + row.long().clamp(0, height - 1)) * width
            index = index + column.long().clamp(0, width - 1)
            cover.scatter_reduce_(0, index.flatten(), part.flatten(), "amax")
    return cover.view(n, 2, height, width)


def _smoothstep(values: Tensor) -> Tensor:
    """0..1 -> 0..1, level at both ends."""
    return values.square() * (3 - 2 * values)


def _some(gray: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """The numbers of a random `share` of the photos of a batch N1HW, for work that only they cause."""
    if not share:
        return torch.empty(0, dtype=torch.long, device=gray.device)
    return (torch.rand(gray.shape[0], generator=generator, device=gray.device) < share).nonzero()[:, 0]
