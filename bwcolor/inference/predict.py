"""From a photo's luma to its chroma: a pass over the whole photo, tiles, and how they are joined."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from bwcolor.imaging.arrays import Pixels
from bwcolor.imaging.borders import border_weight
from bwcolor.imaging.color import Array, unit
from bwcolor.imaging.levels import AS_IS, Stretch, full_tones
from bwcolor.imaging.orientation import as_stored, upright
from bwcolor.imaging.resizing import reduced_to, resized, scaled_size
from bwcolor.inference.device_errors import Trouble
from bwcolor.inference.failover import run_with_failover
from bwcolor.inference.onnx_model import Network
from bwcolor.inference.session import Average, Model, networks
from bwcolor.inference.tiling import feather, plan_tiles
from bwcolor.models.model_io import network_chroma, network_input
from bwcolor.options import Detail, Tones

WORKING_SCALE = 2  # tiles see the photo at up to this many times the scale of the whole-photo pass
TILES_FROM = 1.5  # a working image must have this many times the whole pass's pixels to be tiled
# A second look, at two thirds of the network's size, counts that much: 0.07 dB on photos kept for validation.
SECOND_SIZE, SECOND_SHARE = 2 / 3, 0.4
OVERLAP = 0.25  # of a tile's side


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """The chroma of a photo, see predict_chroma. by: what made it, whose label and SHA-256 belong into its metadata.

    That is the model itself, unless the CPU took over from a GPU that failed, with a file of its own. doubt: how far
    apart the network's colours were when it looked twice, mean distance of (Cb, Cr) in levels of 255; None where it
    looked once. Large where the network guesses.
    """

    chroma: Array
    by: Model
    doubt: float | None = None


def predict(luma: Pixels, orientation: int, model: Model, detail: Detail, tones: Tones = "full") -> Prediction:
    """As predict_chroma, with what really made the chroma, and unless detail is "fast" how doubtful it is."""
    passes = [
        run_with_failover(network, lambda now: PASSES[now.spec.shape](luma, orientation, now, detail, tones))
        for network in networks(model)
    ]
    chroma = as_stored(_mean([found.chroma for found, _ in passes]), orientation)
    by = tuple(network for _, network in passes)
    doubts = [found.doubt for found, _ in passes if found.doubt is not None]
    return Prediction(
        chroma,
        Average(by, model.lines) if isinstance(model, Average) else by[0],
        sum(doubts) / len(doubts) if doubts else None,
    )


def predict_chroma(luma: Pixels, orientation: int, model: Model, detail: Detail, tones: Tones = "full") -> Array:
    """Chroma of a photo at network scale; the network sees it upright.

    luma: (height, width), uint8 or uint16, as stored. orientation: EXIF's 1..8. Returns (h, w, 2),
    Cb and Cr in -0.5..0.5, as stored, h and w at most height and width. Several networks see the photo
    at their own sizes; the mean of their chroma has the size of the largest. Plain margins stay neutral. tones:
    "full" shows it a copy with full tones, the same ones in all looks and tiles.
    """
    return predict(luma, orientation, model, detail, tones).chroma


def _mean(chromas: list[Array]) -> Array:
    if len(chromas) == 1:
        return chromas[0]
    height, width = (max(chroma.shape[axis] for chroma in chromas) for axis in (0, 1))
    mean = np.mean([resized(chroma, height, width) for chroma in chromas], 0)
    return np.asarray(np.clip(mean, -0.5, 0.5), np.float32)  # cubic enlargement overshoots


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """What one network made of a photo: upright chroma, and doubt as in Prediction."""

    chroma: Array
    doubt: float | None = None


def _aspect_kept(luma: Pixels, orientation: int, network: Network, detail: Detail, tones: Tones) -> _Look:
    """Chroma (h, w, 2), h / w about height / width.

    The whole-photo pass alone decides the colours at its own scale; tiles only add detail below it.
    """
    height, width = luma.shape
    size = network.spec.network_size
    whole_size = scaled_size(height, width, size)
    working_size = scaled_size(height, width, WORKING_SCALE * size)
    tiled = detail == "max" and math.prod(working_size) > TILES_FROM * math.prod(whole_size)
    working = upright(unit(resized(luma, *(working_size if tiled else whole_size))), orientation)
    weight = border_weight(working)
    height, width = working.shape
    small = scaled_size(height, width, size)
    whole, inside = (resized(working, *small), resized(weight, *small)) if tiled else (working, weight)
    stretch = _stretch(whole, inside, tones)
    found = _looks(stretch.tones(whole), inside, network, detail)
    chroma = _tiled_under(found.chroma, stretch.tones(working), network) if tiled else found.chroma
    return _Look(stretch.chroma(chroma) * weight[..., None], found.doubt)


def _stretch(whole: Array, weight: Array, tones: Tones) -> Stretch:
    """How all of a photo is stretched that looks like this at the network's scale."""
    return full_tones(whole, weight) if tones == "full" else AS_IS


def _looks(whole: Array, weight: Array, network: Network, detail: Detail) -> _Look:
    """One look at a whole photo at the network's scale, or two, the second at a smaller one.

    Their mean, with the detail of the first, is nearer the truth than either (test-time augmentation); how far they
    are apart says how doubtful it is. A photo that is as small as the second look gets one. weight: see border_weight.
    """
    height, width = whole.shape
    first = _whole_pass(whole, network)
    small = scaled_size(height, width, SECOND_SIZE * network.spec.network_size)
    if detail == "fast" or small == (height, width):
        return _Look(first)
    apart = _whole_pass(resized(whole, *small), network) - resized(first, *small)
    mean = first + SECOND_SHARE * resized(apart, height, width)
    weight = resized(weight, *small)  # margins stay neutral, whatever the network thinks of them
    doubt = float(255 * (weight * np.sqrt(np.square(apart).sum(-1))).sum() / max(weight.sum(), 1e-6))
    return _Look(np.asarray(np.clip(mean, -0.5, 0.5), np.float32), doubt)  # cubic enlargement overshoots


def _squashed(luma: Pixels, orientation: int, network: Network, detail: Detail, tones: Tones) -> _Look:
    """Chroma of a photo squashed, and a small one enlarged, to the one square that the network takes.

    At most the photo's height and width. There are no tiles: to a network that learned from whole squashed photos a
    piece at another aspect is a strange photo. Nor is there a second look: it takes one size only.
    """
    side = network.spec.network_size
    seen = upright(unit(reduced_to(luma, side, side)), orientation)
    weight = border_weight(seen)
    stretch = _stretch(seen, weight, tones)
    square = np.clip(resized(stretch.tones(seen), side, side), 0, 1)  # cubic enlargement overshoots
    chroma = stretch.chroma(reduced_to(_run(square[None], network)[0], *seen.shape))
    return _Look(np.asarray(chroma * resized(weight, *chroma.shape[:2])[..., None], np.float32))


def _tiled_under(whole: Array, working: Array, network: Network) -> Array:
    """Chroma of the working image from tiles, whose low frequencies are those of the whole photo's chroma."""
    height, width = working.shape
    tiled = _tiled_pass(working, network)
    difference = whole - resized(tiled, *whole.shape[:2])
    return np.clip(tiled + resized(difference, height, width), -0.5, 0.5)


def _whole_pass(luma: Array, network: Network) -> Array:
    """Chroma of a picture that is reduced to the network's scale already."""
    height, width = luma.shape
    multiple = network.spec.multiple
    padded = _pad(luma, -(-height // multiple) * multiple, -(-width // multiple) * multiple)
    return _run(padded[None], network)[0, :height, :width]


def _tiled_pass(luma: Array, network: Network) -> Array:
    try:
        return _tiled(luma, network)
    except Trouble as trouble:
        trouble.tiled = True  # there may be smaller ones
        raise


def _tiled(luma: Array, network: Network) -> Array:
    height, width = luma.shape
    multiple = network.spec.multiple
    size = min(network.spec.tile_size, -(-max(height, width) // multiple) * multiple)
    overlap = int(size * OVERLAP)
    padded = _pad(luma, max(height, size), max(width, size))
    tiles = plan_tiles(padded.shape[0], padded.shape[1], size, overlap)
    window = feather(size, overlap)[..., None]
    total: Array = np.zeros((*padded.shape, 2), np.float32)
    weight: Array = np.zeros((*padded.shape, 1), np.float32)
    views = [(slice(tile.top, tile.top + size), slice(tile.left, tile.left + size)) for tile in tiles]
    for view, chroma in zip(views, _run(np.stack([padded[view] for view in views]), network), strict=True):
        total[view] += window * chroma
        weight[view] += window
    return np.asarray((total / weight)[:height, :width], np.float32)


def _run(lumas: Array, network: Network) -> Array:
    """Lumas N,H,W in 0..1 -> chroma N,H,W,2 in -0.5..0.5, through what the network takes and gives."""
    return network_chroma(network.run(network_input(lumas, network.spec)), lumas, network.spec)


PASSES = {"any": _aspect_kept, "square": _squashed}  # a spec's shape -> how a photo is shown to the network


def _pad(luma: Array, height: int, width: int) -> Array:
    """Mirrors a picture beyond its right and bottom edge until it has this size."""
    bottom, right = height - luma.shape[0], width - luma.shape[1]
    if not bottom and not right:
        return luma
    return np.asarray(cv2.copyMakeBorder(luma, 0, bottom, 0, right, cv2.BORDER_REFLECT_101), np.float32)
