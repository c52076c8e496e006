"""Whether a network does what its contract says: its signature, and test pictures before the first photo."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime as ort

from bwcolor.errors import ModelError
from bwcolor.imaging.color import Array, luma
from bwcolor.models.model_io import INPUTS, OUTPUTS, network_input, output_bounds, output_rgb
from bwcolor.models.onnx_reader import OnnxFile, Tensor
from bwcolor.models.spec import ModelSpec

OVERSHOOT = 1.0  # outputs may reach this far beyond the contract's range on a test picture, in widths of the range
# RGB that a colorizer gives is the gray it was fed, with colours: a line through (gray fed, luma given) has a slope
# near 1 and the means agree. A wrong range gives slopes of 0.004, 0.22 or 4.4, or means that are far apart.
SLOPES = (0.4, 2.5)
BRIGHTNESS_OFF = 0.3  # of 0..1
TRIAL_LIMIT = 120.0  # seconds for a test picture; the largest colorizers take 5 on two cores
MIN_SIDE_FOR_BRIGHTNESS = 64  # px; on less a network may do as it likes

Run = Callable[[Array, ort.RunOptions], Array]  # a batch as the network takes it -> what it gives


def check_signature(onnx: OnnxFile, spec: ModelSpec) -> bool:
    """Whether the file takes one picture a call; raises ModelError when it can't be fed as its contract says."""
    if len(onnx.inputs) != 1 or len(onnx.outputs) != 1:
        raise ModelError(f"needs one input and one output, it has {len(onnx.inputs)} and {len(onnx.outputs)}")
    fed, given = onnx.inputs[0], onnx.outputs[0]
    _check_tensor(fed, INPUTS[spec.input_kind].channels)
    _check_tensor(given, OUTPUTS[spec.output_kind].channels)
    pictures, _, height, width = fed.shape
    if isinstance(pictures, int) and pictures != 1:
        raise ModelError(f"takes {pictures} pictures at a time, which can't be fed")
    fixed = [side for side in (height, width) if isinstance(side, int)]
    if fixed and spec.shape == "any":
        raise ModelError(f"its contract says any size, but its input is {fed}")
    if any(side != spec.network_size for side in fixed):
        raise ModelError(f"its contract says {spec.network_size} x {spec.network_size} px, but its input is {fed}")
    return pictures == 1


def _check_tensor(tensor: Tensor, channels: int) -> None:
    fits = len(tensor.shape) == 4 and (not isinstance(tensor.shape[1], int) or tensor.shape[1] == channels)
    if tensor.type != "float" or not fits:
        raise ModelError(f"{tensor} is not float N x {channels} x H x W")


def check_output(fed: tuple[int, ...], out: Array, spec: ModelSpec) -> None:
    """Raises ModelError when what a network gave for pictures of the shape `fed` has not the shape that it should."""
    channels = OUTPUTS[spec.output_kind].channels
    given = np.shape(out)
    if given[:2] != (fed[0], channels) or not _side_fits(given[2:], fed[2:], spec.shape):
        count = {2: "two", 3: "three"}[channels]
        raise ModelError(f"the model is unfit: pictures {fed} gave {given}, not {count} channels of their size")


def try_network(run: Run, spec: ModelSpec) -> None:
    """Raises ModelError when what comes back from test pictures is not what the contract says."""
    for pictures, height, width in _test_sizes(spec):
        _try(run, spec, trial_pictures(pictures, height, width))


def _test_sizes(spec: ModelSpec) -> list[tuple[int, int, int]]:
    """Pictures, height and width of the test pictures: what the model will be fed, at its extremes."""
    whole = (1, spec.network_size, spec.network_size)
    if spec.shape == "square":
        return [whole]
    # Two pictures, because tiles come in batches; not square, so that swapped axes show.
    smallest = (2, spec.multiple, 2 * spec.multiple)
    return [smallest] if spec.output_kind == "cbcr" else [smallest, whole]  # cbcr is ours: proven at export


def trial_pictures(pictures: int, height: int, width: int) -> Array:
    """Soft shapes, an edge and a gradient instead of photos: lumas (pictures, height, width) in 0..1."""
    rows, columns = np.mgrid[0:height, 0:width]
    down, across = (rows + 0.5) / height, (columns + 0.5) / width
    waves = np.sin(9 * down + 2 * across) * np.cos(7 * across) + 0.4 * np.sin(40 * across * down)
    picture = 0.5 + 0.22 * waves + 0.25 * (across - 0.5) + 0.12 * (down > 0.6)
    turned = [np.roll(picture, number * width // 2, 1) for number in range(pictures)]
    return np.asarray(np.clip(np.stack(turned), 0, 1), np.float32)


def _try(run: Run, spec: ModelSpec, lumas: Array) -> None:
    """Raises ModelError when what comes back is not what the contract says."""
    fed = network_input(lumas, spec)
    out = _run_within_limit(run, fed)
    low, high = output_bounds(spec)
    slack = OVERSHOOT * (high - low)
    if out.min() < low - slack or out.max() > high + slack:
        raise ModelError(
            f"its values go from {out.min():.3g} to {out.max():.3g} on a test picture, its contract says"
            f" {low:.3g} to {high:.3g}"
        )
    if spec.output_kind == "rgb" and min(lumas.shape[1:]) >= MIN_SIDE_FOR_BRIGHTNESS:
        _check_brightness(luma(output_rgb(out, spec)), lumas)


def _run_within_limit(run: Run, fed: Array) -> Array:
    """Runs the network in a thread, so that one that never ends can be stopped, by its time or by Ctrl-C."""
    options = ort.RunOptions()
    options.log_severity_level = 4
    with ThreadPoolExecutor(1) as pool:
        try:
            return pool.submit(run, fed, options).result(TRIAL_LIMIT)
        except TimeoutError as error:
            raise ModelError(f"not done with a test picture after {TRIAL_LIMIT:g} s") from error
        finally:
            options.terminate = True


def _side_fits(given: tuple[int, ...], fed: tuple[int, ...], shape: str) -> bool:
    """Whether an output's height and width fit; a network of a fixed size may give chroma at 1/2, 1/3 ... of it."""
    if shape == "any":
        return given == fed
    return len(given) == 2 and given[0] == given[1] and given[0] >= 1 and fed[0] % given[0] == 0


def _check_brightness(given: Array, fed: Array) -> None:
    """Raises ModelError where the luma of the RGB that came back is not about the gray that was fed."""
    slope, base = np.polyfit(fed.ravel(), given.ravel(), 1)
    off = float(np.abs(given - fed).mean())
    if not SLOPES[0] <= slope <= SLOPES[1] or off > BRIGHTNESS_OFF:
        raise ModelError(
            "the picture that it gives is not as bright as the one that it was fed"
            f" ({slope:.2g} x gray {base:+.2g}, of 0..1): the contract's input or output range is wrong"
        )
