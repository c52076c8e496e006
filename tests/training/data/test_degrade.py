"""From colour to what old scans look like: ranges, what each damage does, and what must not change."""

import dataclasses
import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from bwcolor_training.config import TrainConfig, from_mapping
from bwcolor_training.data import degrade
from bwcolor_training.data.degrade import Degradation, Degraded
from bwcolor_training.loop import prepare
from numpy.testing import assert_allclose
from PIL import Image
from torch import Tensor

from bwcolor.imaging import levels
from bwcolor.imaging.color import luma, rgb_to_chroma

SWITCHES = [field.name for field in dataclasses.fields(Degradation)]
NOTHING = Degradation(**dict.fromkeys(SWITCHES, 0.0))
ALL = {"tone_jitter": 0.35, "blur": 0.02, "grain": 20.0, "fade": 0.4, "full_tones": 0.5}  # the others are shares of 1


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photos(count: int = 32) -> Tensor:
    """Noise: (count, 3, 24, 16), 0..1."""
    return torch.rand(count, 3, 24, 16, generator=seeded(1))


def scenes(count: int = 32, size: int = 64) -> Tensor:
    """Slopes and edges, like photos, between 0.1 and 0.9: (count, 1, size, size)."""
    y, x = torch.meshgrid(torch.linspace(0, 1, size), torch.linspace(0, 1, size), indexing="ij")
    phase = torch.rand(count, 1, 1, 1, generator=seeded(2)) * 6
    return 0.5 + 0.25 * torch.sin(9 * x + 4 * y + phase) + 0.15 * torch.sign(torch.sin(11 * y - 5 * x + phase))


def one(switch: str, value: float) -> Degradation:
    """That switch alone."""
    return dataclasses.replace(NOTHING, **{switch: value})


def test_luma_and_chroma_are_the_runtimes() -> None:
    rgb = photos(2)
    flat = rgb.permute(0, 2, 3, 1).numpy()
    assert_allclose(degrade.to_luma(rgb)[:, 0], luma(flat), atol=1e-6)
    assert_allclose(degrade.to_chroma(rgb).permute(0, 2, 3, 1), rgb_to_chroma(flat), atol=1e-6)


def test_all_switches_off_is_plain_luma_and_chroma() -> None:
    rgb = photos()
    untouched = degrade.degrade(rgb, NOTHING, seeded())
    assert torch.equal(untouched.gray, degrade.to_luma(rgb))
    assert torch.equal(untouched.luma, degrade.to_luma(rgb))
    assert torch.equal(untouched.chroma, degrade.to_chroma(rgb))


@pytest.mark.parametrize("switch", SWITCHES)
def test_every_switch_does_something_and_the_generator_decides_what(switch: str) -> None:
    rgb, strengths = 0.4 * photos(), one(switch, ALL.get(switch, 1.0))  # dark, so that there is something to stretch
    first, again, other = (degrade.degrade(rgb, strengths, seeded(seed)).gray for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, degrade.to_luma(rgb))


@pytest.mark.parametrize("switch", [name for name in SWITCHES if name.endswith("_share")])
def test_a_share_of_a_half_changes_about_half_of_the_photos(switch: str) -> None:
    rgb = photos(400)
    changed = degrade.degrade(rgb, one(switch, 0.5), seeded()).gray - degrade.to_luma(rgb)
    number = int((changed.abs().amax((1, 2, 3)) > 1e-5).sum())
    assert 150 < number < 250  # 5 standard deviations; one in 20 of the dusty and framed got no visible mark


@pytest.mark.parametrize("switch", [name for name in SWITCHES if name != "frame_share"])
def test_only_frames_change_the_truth(switch: str) -> None:
    rgb = photos()
    degraded = degrade.degrade(rgb, one(switch, ALL.get(switch, 1.0)), seeded())
    assert torch.equal(degraded.luma, degrade.to_luma(rgb))
    assert torch.equal(degraded.chroma, degrade.to_chroma(rgb))


@pytest.mark.parametrize("size", [(8, 8), (9, 23), (40, 11), (64, 64)])
@pytest.mark.parametrize("shade", [None, 0.0, 1.0])
def test_all_at_once_stays_in_range_at_any_size(size: tuple[int, int], shade: float | None) -> None:
    rgb = torch.rand(24, 3, *size, generator=seeded(3)) if shade is None else torch.full((24, 3, *size), shade)
    strengths = Degradation(**{name: ALL.get(name, 1.0) for name in SWITCHES})
    degraded = degrade.degrade(rgb, strengths, seeded())
    assert degraded.gray.shape == degraded.luma.shape == (24, 1, *size)
    assert degraded.chroma.shape == (24, 2, *size)
    assert {degraded.gray.dtype, degraded.luma.dtype, degraded.chroma.dtype} == {torch.float32}
    assert torch.isfinite(degraded.gray).all()
    assert 0 <= degraded.gray.min() <= degraded.gray.max() <= 1


@pytest.mark.parametrize("switch", [name for name in SWITCHES if name not in ("dust_share", "frame_share")])
def test_nothing_moves(switch: str) -> None:
    """An upright edge stays where it is: the brightest half of the photo is still its right half."""
    rgb = torch.full((16, 3, 32, 32), 0.25)
    rgb[..., 16:] = 0.75
    columns = degrade.degrade(rgb, one(switch, ALL.get(switch, 1.0)), seeded()).gray.mean((0, 1, 2))
    middle = (columns[:8].mean() + columns[-8:].mean()) / 2
    assert torch.equal(columns > middle, torch.arange(32) >= 16)


RED, GREEN, BLUE = (colour.view(1, 3, 1, 1).expand(1, 3, 8, 8) * 0.8 + 0.1 for colour in torch.eye(3))


@pytest.mark.parametrize("film", degrade.FILMS)
def test_white_and_grays_look_the_same_on_every_film(film: str) -> None:
    gray = torch.linspace(0, 1, 64).view(1, 1, 8, 8).expand(-1, 3, -1, -1)
    assert_allclose(degrade.expose(gray, weights_of(film)), gray[:, :1], atol=1e-6)


def weights_of(film: str) -> Tensor:
    """The middle of a film's channel weights: (1, 3)."""
    return torch.tensor([degrade.FILMS[film]]).mean(2)


def test_films_see_red_and_blue_as_they_should() -> None:
    lightness = {
        film: [float(degrade.expose(colour, weights_of(film)).mean()) for colour in (RED, GREEN, BLUE)]
        for film in degrade.FILMS
    }
    red, green, blue = lightness["orthochromatic"]
    assert red < 0.5 * blue
    assert red < 0.5 * green
    red, green, blue = lightness["ordinary"]
    assert red < 0.3 * blue
    assert green < 0.5 * blue
    red, green, blue = lightness["panchromatic"]
    assert red > 0.75 * blue
    assert red > lightness["orthochromatic"][0] + 0.2


def test_film_adds_up_light() -> None:
    """Two equal halves of the light of white are brighter than half of white's code value."""
    yellow = torch.tensor([1.0, 1.0, 0.0]).view(1, 3, 1, 1)
    assert float(degrade.expose(yellow, torch.tensor([[1.0, 0.0, 1.0]]))) == pytest.approx(0.5**0.5)


def test_film_gray_is_a_mix_of_the_kinds_of_film() -> None:
    n = 4000
    reds, blues = (degrade.film_gray(colour.repeat(n, 1, 1, 1), 1.0, seeded())[:, 0, 0, 0] for colour in (RED, BLUE))
    blind = float((reds < 0.5 * blues).float().mean())
    assert blind == pytest.approx(sum(degrade.FILM_MIX[1:]), abs=0.05)
    assert len(set(reds.tolist())) > n / 2, "a film of its own for each photo"
    assert sum(degrade.FILM_MIX) == pytest.approx(1)
    assert len(degrade.FILM_MIX) == len(degrade.FILMS)


def test_film_gray_stays_between_the_channels() -> None:
    rgb = photos()
    gray = degrade.film_gray(rgb, 1.0, seeded())
    assert (gray >= rgb.amin(1, keepdim=True) - 1e-6).all()
    assert (gray <= rgb.amax(1, keepdim=True) + 1e-6).all()


def test_tone_stays_in_range_and_in_order() -> None:
    gray = torch.linspace(0, 1, 64).view(1, 1, 1, 64).repeat(50, 1, 1, 1)
    for amount in (0.35, 2.0):
        toned = degrade.tone(gray, amount, seeded())
        assert toned.amin() >= 0
        assert toned.amax() <= 1
        assert (toned.diff(dim=3) >= -1e-6).all()
    mild = degrade.tone(gray, 0.35, seeded())
    middle = mild[:, 0, 0, 32]
    assert middle.min() < 0.42
    assert middle.max() > 0.58
    slope = mild[..., 36] - mild[..., 28]
    assert slope.max() / slope.min() > 1.5, "flat and steep ones"


def test_blur_removes_detail_and_keeps_the_mean() -> None:
    gray = torch.rand(64, 1, 64, 64, generator=seeded(3)) * 0.6 + 0.2
    blurred = degrade.blur(gray, 0.03, seeded())
    assert_allclose(blurred.mean((1, 2, 3)), gray.mean((1, 2, 3)), atol=0.01)
    left = blurred.diff(dim=3).std(dim=(1, 2, 3)) / gray.diff(dim=3).std(dim=(1, 2, 3))
    assert left.max() <= 1.001
    assert left.min() < 0.15
    assert (left > 0.95).float().mean() > 0.15, "many stay sharp"


def test_blur_is_a_gaussian_of_the_width_asked() -> None:
    dot = torch.zeros(400, 1, 65, 65)
    dot[:, :, 32, 32] = 1
    spread = degrade.blur(dot, 0.03, seeded())
    place = torch.arange(65) - 32.0
    deviations = (spread * place.square()).sum((1, 2, 3)).sqrt()
    assert_allclose((spread * place.square().view(1, 1, -1, 1)).sum((1, 2, 3)).sqrt(), deviations, atol=1e-3)
    assert 0.95 * 0.03 * 65 < deviations.max() < 1.01 * 0.03 * 65
    assert_allclose(spread.sum((1, 2, 3)), 1, atol=1e-5)


def test_grain_is_at_most_as_strong_as_asked() -> None:
    gray = torch.full((60, 1, 64, 64), 0.5)
    deviations = 255 * (degrade.grain(gray, 8.0, seeded()) - gray).std(dim=(1, 2, 3))
    assert deviations.max() < 8.4
    assert deviations.max() > 6
    assert deviations.min() < 2


def test_grain_is_weakest_in_black_and_white_and_hangs_together() -> None:
    noise = [degrade.grain(torch.full((64, 1, 64, 64), shade), 8.0, seeded()) - shade for shade in (0.05, 0.5, 0.95)]
    dark, middle, light = (float(part.std()) for part in noise)
    assert dark < 0.6 * middle
    assert light < 0.6 * middle
    beside = (noise[1][..., 1:] * noise[1][..., :-1]).mean((1, 2, 3)) / noise[1].square().mean((1, 2, 3))
    assert beside.max() > 0.4
    assert beside.min() < 0.1


def test_fading_lifts_black_lowers_white_and_does_no_more() -> None:
    gray = torch.linspace(0, 1, 11).view(1, 1, 1, 11).repeat(300, 1, 1, 1)
    faded = degrade.fade(gray, 0.3, seeded())
    black, white = faded[..., 0], 1 - faded[..., -1]
    for part in (black, white):
        assert 0 <= part.min() < 0.01
        assert 0.25 < part.max() <= 0.3
        assert part.median() < 0.1
    assert_allclose(faded.diff(n=2, dim=3), 0, atol=1e-6)
    assert (degrade.fade(gray, 1.0, seeded()).diff(dim=3) >= 0).all(), "never a negative"


def test_paper_is_a_smooth_darkening() -> None:
    white = torch.ones(64, 1, 64, 64)
    stained = degrade.paper(white, 1.0, seeded())
    assert stained.max() <= 1
    assert 0.5 < stained.min() < 0.75
    assert torch.maximum(stained.diff(dim=2).abs().max(), stained.diff(dim=3).abs().max()) < 0.08
    ranges = stained.amax((1, 2, 3)) - stained.amin((1, 2, 3))
    assert ranges.max() > 0.15, "some are clouded"
    assert ranges.min() < 0.03, "some are even"
    assert_allclose(degrade.paper(white / 2, 1.0, seeded()), stained / 2, atol=1e-6)


def test_dust_marks_few_pixels_in_both_directions_and_leaves_the_others() -> None:
    gray = torch.full((200, 1, 64, 64), 0.5)
    dusty = degrade.dust(gray, 1.0, seeded())
    marked = dusty != gray
    share = marked.float().mean((1, 2, 3))
    assert 0.005 < share.mean() < 0.08
    assert share.max() < 0.25
    assert (share > 0).float().mean() > 0.85
    everywhere = torch.nn.functional.avg_pool2d(marked.float().mean(0), 16)
    assert everywhere.max() < 3 * everywhere.min()
    dark, light = (dusty < 0.5).sum(), (dusty > 0.5).sum()
    assert 1.3 * dark < light < 4 * dark
    low, high = degrade.MARK_SHADES
    assert low <= dusty.min() < low + 0.1
    assert high - 0.1 < dusty.max() <= high


def test_scratches_are_upright_and_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(degrade, "MARKS", {"scratch": degrade.MARKS["scratch"]})
    marked = degrade.dust(torch.full((300, 1, 64, 64), 0.5), 1.0, seeded()) != 0.5
    tall = marked.any(3).sum((1, 2)).float()  # rows that have a mark
    wide = marked.any(2).sum((1, 2)).float()
    assert tall[tall > 0].median() > 30
    assert wide[wide > 0].median() < 12


def test_frames_are_neutral_and_narrow() -> None:
    untouched = Degraded(torch.full((64, 1, 32, 48), 2.0), torch.full((64, 1, 32, 48), 3.0),
                         torch.full((64, 2, 32, 48), 0.3))  # fmt: skip  # no frame has such shades
    framed = degrade.frame(untouched, 1.0, seeded())
    replaced = framed.gray != 2.0
    assert torch.equal(framed.luma, torch.where(replaced, framed.gray, 3.0)), "the border is part of the truth"
    assert torch.equal(framed.chroma, torch.where(replaced, 0.0, untouched.chroma))
    assert 0 <= framed.gray[replaced].min() <= framed.gray[replaced].max() <= 1
    assert not replaced[:, :, 4:-4, 6:-6].any(), "an eighth of each side at most"
    assert replaced.any(3).any(2).float().mean() > 0.9
    for number in range(64):
        assert len(set(framed.gray[number][replaced[number]].tolist())) <= 1, "one shade a photo"


@pytest.mark.parametrize("quality", [10, 30, 49, 50, 75, 90, 95])
@pytest.mark.parametrize("size", [(64, 64), (37, 50)])
def test_compression_is_pillows(quality: int, size: tuple[int, int]) -> None:
    """But for a coefficient here and there that lies half-way between two steps."""
    pixels = torch.rand(1, 1, *size, generator=seeded()) * 0.4 + scenes(1)[..., : size[0], : size[1]] * 0.6
    pixels = (pixels * 255).round()
    file = io.BytesIO()
    Image.fromarray(pixels[0, 0].byte().numpy()).save(file, "JPEG", quality=quality)
    theirs = torch.from_numpy(np.asarray(Image.open(file), np.float32))
    ours = degrade.compress(pixels / 255, torch.tensor([float(quality)]))[0, 0] * 255
    our_loss, their_loss = (float((result - pixels[0, 0]).abs().mean()) for result in (ours, theirs))
    assert our_loss == pytest.approx(their_loss, rel=0.02)
    assert float((ours - theirs).abs().mean()) < 0.15 * their_loss + 0.25
    assert float((ours - theirs).abs().median()) < 0.5


def steps(gray: Tensor) -> tuple[float, float]:
    """Mean absolute step between neighbouring columns: at the borders of blocks of 8, and inside them."""
    step = gray.diff(dim=3).abs().mean((0, 1, 2))
    border = torch.arange(1, gray.shape[3]) % 8 == 0
    return float(step[border].mean()), float(step[~border].mean())


def test_compression_has_blocks_at_low_quality_and_shows_nothing_at_high() -> None:
    gray = scenes() + 0.02 * torch.randn(32, 1, 64, 64, generator=seeded())
    border, inside = steps(degrade.compress(gray, torch.full((32,), 10.0)))
    clean_border, clean_inside = steps(gray)
    assert border / inside > 1.3 * clean_border / clean_inside
    fine = degrade.compress(scenes(), torch.full((32,), 95.0))
    assert (fine - scenes()).abs().mean() < 1.2 / 255
    assert (fine - scenes()).abs().max() < 12 / 255


def test_the_grid_of_blocks_starts_where_it_is_told() -> None:
    gray = scenes()
    moved = degrade.compress(gray, torch.full((32,), 10.0), top=3, left=5)
    same = degrade.compress(torch.nn.functional.pad(gray, (5, 3, 3, 5), mode="replicate"), torch.full((32,), 10.0))
    assert torch.equal(moved, same[..., 3:67, 5:69])


def test_jpeg_qualities_differ_from_photo_to_photo() -> None:
    gray = scenes()
    errors = (degrade.jpeg(gray, 1.0, seeded()) - gray).square().mean((1, 2, 3)).sqrt() * 255
    assert errors.max() > 2 * errors.min() > 0


@pytest.mark.parametrize("function", [degrade.paper, degrade.dust, degrade.jpeg])
def test_a_share_that_meets_no_photo_changes_nothing(function: Callable[..., Tensor]) -> None:
    gray = scenes(2)
    assert torch.equal(function(gray, 1e-9, seeded()), gray)


def batch() -> Tensor:
    """N,H,W,3 uint8."""
    return (255 * photos(6)).byte().permute(0, 2, 3, 1).contiguous()


def test_prepare_without_degradation_is_luma_and_chroma() -> None:
    off = from_mapping(dict.fromkeys(SWITCHES, 0.0), "no degradation")
    gray, truth = prepare(batch(), off, seeded())
    rgb = np.asarray(batch().numpy() / 255, np.float32)
    assert_allclose(gray[:, 0], luma(rgb), atol=1e-6)
    assert_allclose(truth.luma[:, 0], luma(rgb), atol=1e-6)
    assert_allclose(truth.chroma.permute(0, 2, 3, 1), rgb_to_chroma(rgb), atol=1e-5)


def test_prepare_stays_in_range() -> None:
    gray, truth = prepare(batch(), TrainConfig(frame_share=1.0, grain=60.0), seeded())
    assert gray.shape == (6, 1, 24, 16)
    assert truth.chroma.shape == (6, 2, 24, 16)
    assert 0 <= gray.min() <= gray.max() <= 1
    assert truth.chroma.abs().max() <= 0.5 + 1e-6


@pytest.mark.parametrize(("seed", "same"), [(0, True), (1, False)])
def test_the_generator_decides_all_that_is_random(seed: int, same: bool) -> None:
    first, second = (prepare(batch(), TrainConfig(film_share=1.0), seeded(s))[0] for s in (0, seed))
    assert torch.equal(first, second) is same


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_degradation_runs_where_the_photos_are() -> None:
    strengths = Degradation(**{name: ALL.get(name, 1.0) for name in SWITCHES})
    grays = []
    for _ in range(2):
        generator = torch.Generator("cuda").manual_seed(0)
        grays.append(degrade.degrade(photos().cuda(), strengths, generator).gray)
    assert grays[0].is_cuda
    assert (grays[0] - grays[1]).abs().mean() < 1e-3


@pytest.mark.parametrize("low", [0.0, 0.1, 0.4, 0.9])
@pytest.mark.parametrize("span", [0.01, 0.1, 0.5, 1.0])
def test_full_tones_are_those_of_the_runtime(low: float, span: float) -> None:
    gray = (low + span * scenes(4)).clamp(0, 1)
    for photo, stretched in zip(gray, degrade.full_tones(gray), strict=True):
        luma = photo[0].numpy()
        expected = levels.full_tones(luma, np.ones_like(luma)).tones(luma)
        assert_allclose(stretched[0], expected, atol=2e-5)
