"""What is compared before a file appears: at which sizes, on which photos, in which units."""

from pathlib import Path

import numpy as np
import pytest
import torch
from bwcolor_export.graph import Floats
from bwcolor_export.photos import MOST_PHOTOS, as_seen, bundled_lumas, cut_to, folder_lumas
from bwcolor_export.verify import check_parity, colour_difference, sizes
from PIL import Image
from tiny_model import TINY_SPEC, tiny_onnx
from torch import Tensor, nn

from bwcolor.errors import ModelError
from bwcolor.imaging.color import compose, rgb_to_lab
from bwcolor.imaging.metrics import ciede2000


class Off(nn.Module):
    """What tiny_onnx computes, and `error` more."""

    def __init__(self, error: float) -> None:
        super().__init__()
        self.error = error

    def forward(self, luma: Tensor) -> Tensor:
        mean = nn.functional.avg_pool2d(nn.functional.pad(luma, (1, 1, 1, 1)), 3, stride=1)
        return torch.cat([-0.1 - 0.05 * mean, 0.08 + 0.05 * mean], 1) + self.error


@pytest.fixture(scope="module")
def gray() -> list[Floats]:
    """A photo of one gray, in which every pixel has the same error."""
    return [np.full((70, 90), 0.5, np.float32)]


@pytest.mark.parametrize("stride", [1, 8, 16, 32, 256])
@pytest.mark.parametrize("network_size", [32, 64, 256, 512])
def test_sizes_are_of_all_sorts(stride: int, network_size: int) -> None:
    found = sizes(stride, network_size)
    assert {pictures for pictures, _, _ in found} == {1, 4}
    fits = [height % stride == 0 and width % stride == 0 for _, height, width in found]
    assert fits == [True, True, True] + [stride == 1] * 2
    for wanted in (True, False):
        shapes = [(height, width) for (_, height, width), fit in zip(found, fits, strict=True) if fit == wanted]
        if stride > 1:
            assert any(height > width for height, width in shapes)
            assert any(height < width for height, width in shapes)
    assert all(1 <= side <= 2 * max(stride, 256) for size in found for side in size[1:])


@pytest.mark.parametrize("error", [0.0, 0.001, 0.01])
def test_parity_is_measured_in_ab_units(error: float, gray: list[Floats]) -> None:
    middle = np.array([-0.125, 0.105], np.float32)  # what tiny_onnx gives for 0.5, away from the border
    y = np.array([0.5], np.float32)
    expected = np.abs(
        rgb_to_lab(compose(y, middle[None] + np.float32(error))) - rgb_to_lab(compose(y, middle[None]))
    )[0, 1:]  # fmt: skip
    for parity in check_parity(Off(error), tiny_onnx(), TINY_SPEC, gray):
        assert parity.mean == pytest.approx(expected.mean(), rel=0.03, abs=1e-4)
        assert parity.largest == pytest.approx(expected.max(), rel=0.2, abs=1e-4)
    if error:
        assert expected.max() > 100 * error, "a*b* units are not those of chroma"


def test_networks_whose_outputs_do_not_fit_are_refused(
    gray: list[Floats],
) -> None:
    with pytest.raises(ModelError, match=r"gives \(1, 2, 64, 64\) .*torch \(1, 2, 32, 32\)"):
        check_parity(nn.Sequential(Off(0), nn.AvgPool2d(2)), tiny_onnx(), TINY_SPEC, gray)


def test_colours_are_compared_over_all_pixels() -> None:
    left = np.zeros((40, 60), np.float32)
    left[:, 20:] = 0.6  # of black no colour is seen
    difference = colour_difference(Off(0.02), tiny_onnx(), TINY_SPEC, [left, np.zeros((30, 30), np.float32)])
    middle = np.array([[-0.13, 0.11]], np.float32)
    y = np.array([0.6], np.float32)
    one = ciede2000(rgb_to_lab(compose(y, middle)), rgb_to_lab(compose(y, middle + np.float32(0.02))))[0]
    assert difference.photos == 2
    assert difference.worst == pytest.approx(one * 2 / 3, rel=0.05)
    assert difference.mean == pytest.approx(one * 1600 / 3300, rel=0.05)
    assert difference.p99 == pytest.approx(one, rel=0.05)


def test_numbers_that_are_none_show(gray: list[Floats]) -> None:
    assert np.isnan(check_parity(Off(float("nan")), tiny_onnx(), TINY_SPEC, gray)[0].largest)
    assert np.isnan(colour_difference(Off(float("nan")), tiny_onnx(), TINY_SPEC, gray).mean)


def test_the_bundled_photos_are_real_ones() -> None:
    lumas = bundled_lumas()
    assert len(lumas) == 7
    for luma in lumas:
        assert luma.dtype == np.float32
        assert 0 <= luma.min() < 0.2
        assert 0.7 < luma.max() <= 1
        assert luma.std() > 0.1
        assert 250**2 < luma.size < 260**2
    assert {luma.shape[0] > luma.shape[1] for luma in lumas} == {True, False}


def test_a_folder_is_read_evenly_upright_and_without_what_is_broken(tmp_path: Path) -> None:
    folder = tmp_path
    for number in range(2 * MOST_PHOTOS + 1):
        Image.fromarray(np.full((4, 6), number, np.uint8)).save(folder / f"{number:03}.png")
    lumas = folder_lumas(folder)
    assert [round(255 * float(luma.mean())) for luma in lumas[:2]] == [0, 2]
    assert round(255 * float(lumas[-1].mean())) == 2 * MOST_PHOTOS
    assert len(lumas) == MOST_PHOTOS
    (folder / "000.png").write_bytes(b"broken")
    assert len(folder_lumas(folder)) == MOST_PHOTOS - 1
    Image.fromarray(np.zeros((4, 6), np.uint16)).save(folder / "sixteen.png")
    turned = Image.Exif()
    turned[274] = 6
    sub = folder / "sub"
    sub.mkdir()
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(sub / "turned.jpg", exif=turned)
    assert folder_lumas(sub)[0].shape == (6, 4)


def test_photos_are_reduced_and_cut() -> None:
    photo = np.tile(np.linspace(0, 1, 400, dtype=np.float32), (200, 1))
    assert as_seen(photo, 100).shape == (71, 141)
    assert as_seen(photo, 1000).shape == (200, 400)
    middle = cut_to(photo, 50, 50)
    assert middle.shape == (50, 50)
    assert (middle[0, 0], middle[0, -1]) == pytest.approx((0.25, 0.75), abs=0.01)
    assert cut_to(photo, 300, 900).shape == (300, 900)


def test_hidden_folders_calibrate_nothing(tmp_path: Path) -> None:
    for name in ("a.png", "@eaDir/a.png", ".thumbnails/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((4, 6), np.uint8)).save(tmp_path / name)
    assert len(folder_lumas(tmp_path)) == 1
    assert len(folder_lumas(tmp_path / "@eaDir")) == 1
