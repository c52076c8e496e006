"""Masks, infrared planes and previews that scanners put behind a photo: what is no picture is copied as it is."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal
from photo.pictures import GRAY_PROFILE, FakeModel, flat, scene, scene16
from tifffile import PHOTOMETRIC

from bwcolor.batch.outcome import Outcome
from bwcolor.batch.plan import find_jobs
from bwcolor.batch.thread_pool import run
from bwcolor.checks.verify import in_colour_already, verify_photo
from bwcolor.options import ColorizeOptions
from bwcolor.photo.page_role import role_of

LIMIT = 10**8
HEIGHT, WIDTH = 90, 131
PHOTO, PREVIEW = scene16(HEIGHT, WIDTH), scene(45, 65)
COLOURS = np.dstack([scene(HEIGHT, WIDTH, seed) for seed in (1, 2, 3)])
RNG = np.random.default_rng(1)
# Nearly all of one tone, with a little shading, grain and a scratch.
INFRARED = (46_000 + np.linspace(0, 2500, WIDTH) + RNG.normal(0, 300, (HEIGHT, WIDTH))).astype(np.uint16)
INFRARED[40, 20:90] = 9000
BITS = (scene(HEIGHT, WIDTH, 4) > 120).astype(np.uint8)


def pages(*written: tuple[Any, dict[str, Any]], byteorder: Any = "<") -> bytes:
    """A TIFF of pages with tifffile's settings; those with a `kind` get it as NewSubfileType, whatever they are."""
    out = io.BytesIO()
    with tifffile.TiffWriter(out, byteorder=byteorder) as writer:
        for pixels, settings in written:
            kind = settings.get("kind", 0)
            rest = {name: value for name, value in settings.items() if name != "kind"}
            writer.write(pixels, metadata=None, extratags=[(254, 4, 1, kind, True)] if kind else [], **rest)
    return out.getvalue()


def colorized(tmp_path: Path, content: bytes, **options: Any) -> Outcome:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.tif").write_bytes(content)
    (outcome,) = run(find_jobs(photos, tmp_path / "out").jobs, FakeModel(flat(0.1, 0.1)), ColorizeOptions(**options))
    return outcome


def page_of(outcome: Outcome, number: int) -> tuple[Any, tifffile.TiffPage]:
    assert outcome.path is not None
    with tifffile.TiffFile(outcome.path) as made:
        page = made.pages[number].aspage()
        page.tags.valueof(34675)  # while the file is open
        return page.asarray(), page


def test_a_scanners_photo_preview_and_infrared_plane(tmp_path: Path) -> None:
    content = pages((PHOTO, {}), (PREVIEW, {"kind": 1}), (INFRARED, {"kind": 4}), (INFRARED, {"compression": "zlib"}))
    outcome = colorized(tmp_path, content)
    assert outcome.state == "done", outcome.reason
    shapes = [(values.shape, int(page.subfiletype)) for values, page in (page_of(outcome, n) for n in range(4))]
    assert shapes == [((HEIGHT, WIDTH, 3), 0), ((45, 65, 3), 1), ((HEIGHT, WIDTH), 4), ((HEIGHT, WIDTH), 0)]
    for number in (2, 3):
        assert_array_equal(page_of(outcome, number)[0], INFRARED)
    assert [note.split(",")[0] for note in outcome.notes] == ["masks and the like were copied as they are",
                                                              "pages of one tone"]  # fmt: skip
    assert outcome.path is not None
    assert all(check.ok is not False for check in verify_photo(outcome.path, outcome.job.source, LIMIT))


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(
    ("mask", "settings"),
    [
        (BITS.astype(bool), {"photometric": "miniswhite"}),
        (BITS.astype(bool), {"photometric": "minisblack", "compression": "packbits"}),
        (BITS * 9, {"bitspersample": 4, "photometric": "miniswhite"}),
        (BITS.astype(np.uint16) * 3000, {"bitspersample": 12}),
        (scene(HEIGHT, WIDTH), {"compression": "lzw", "predictor": True}),
        (scene(HEIGHT, WIDTH), {"compression": "zlib", "tile": (64, 64)}),
        (PHOTO, {"photometric": "miniswhite", "compression": "lzw"}),
        (PHOTO, {"compression": "zstd", "iccprofile": GRAY_PROFILE}),
    ],
)
def test_a_mask_keeps_values_bits_and_meaning(
    mask: Any, settings: dict[str, Any], byteorder: Any, tmp_path: Path
) -> None:
    content = pages((PHOTO, {}), (mask, {"kind": 4, **settings}), byteorder=byteorder)
    outcome = colorized(tmp_path, content, eight_bit=True)
    assert outcome.state == "done", outcome.reason
    values, page = page_of(outcome, 1)
    with tifffile.TiffFile(io.BytesIO(content)) as source:
        before = source.pages[1].aspage()
        assert_array_equal(values, before.asarray())
        assert (page.bitspersample, page.photometric) == (before.bitspersample, before.photometric)
        assert page.tags.valueof(34675) == before.tags.valueof(34675)
    assert page.subfiletype == 4
    assert outcome.path is not None
    assert all(check.ok is not False for check in verify_photo(outcome.path, outcome.job.source, LIMIT))


def test_a_transparency_mask_is_known_by_its_photometric_too(tmp_path: Path) -> None:
    mask = (BITS.astype(bool), {"photometric": "mask", "subfiletype": 4})
    outcome = colorized(tmp_path, pages((PHOTO, {}), mask))
    values, page = page_of(outcome, 1)
    assert_array_equal(values, BITS.astype(bool))
    assert page.photometric == PHOTOMETRIC.MASK


def test_pages_that_are_pictures_are_colorized_whatever_is_between(tmp_path: Path) -> None:
    outcome = colorized(tmp_path, pages((PHOTO, {}), (INFRARED, {}), (scene(50, 70, 9), {"kind": 2})))
    assert [page_of(outcome, number)[0].ndim for number in range(3)] == [3, 2, 3]


@pytest.mark.parametrize("color_input", ["skip", "recolor"])
def test_a_color_photo_with_an_infrared_plane_counts_as_in_color(color_input: Any, tmp_path: Path) -> None:
    content = pages((COLOURS, {}), (COLOURS[::2, ::2], {"kind": 1}), (INFRARED, {"kind": 4}))
    outcome = colorized(tmp_path, content, color_input=color_input)
    assert in_colour_already(outcome.job.source, LIMIT)
    assert outcome.state == ("skipped" if color_input == "skip" else "done")
    if color_input == "recolor":
        assert_array_equal(page_of(outcome, 2)[0], INFRARED)


def test_the_first_page_is_a_picture_whatever_it_says(tmp_path: Path) -> None:
    outcome = colorized(tmp_path, pages((INFRARED, {"kind": 4}), (PHOTO, {})))
    values, page = page_of(outcome, 0)
    assert values.ndim == 3
    assert page.subfiletype == 0
    assert "a mask became a picture like the others" in outcome.notes


def test_doubt_is_that_of_the_pictures(tmp_path: Path) -> None:
    """The stand-in for the network sees anything in a preview; the photo is sure."""

    def unsure_of_large_ones(batch: Any) -> Any:
        return flat(0.1 if batch.shape[2] * batch.shape[3] > 128 * 128 else -0.1, 0.0)(batch)

    small, large = scene(40, 40), scene(400, 400)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.tif").write_bytes(pages((small, {}), (large, {"kind": 1})))
    jobs = find_jobs(tmp_path / "photos", tmp_path / "out").jobs
    (outcome,) = run(jobs, FakeModel(unsure_of_large_ones), ColorizeOptions())
    assert outcome.state == "done"
    assert outcome.doubt is None or outcome.doubt < 1


@pytest.mark.parametrize("lightest", [64, 150, 255])
def test_photos_faded_to_a_quarter_are_pictures(lightest: int) -> None:
    faded = (lightest - 64 + scene(300, 400) // 4).astype(np.uint8)
    assert role_of(0, faded) == "picture"
    assert role_of(1, faded) == "preview"
    assert role_of(5, faded) == "mask"


@pytest.mark.parametrize("tone", [0, 128, 255])
def test_blank_pages_are_blank_with_dust_and_a_holders_edge(tone: int) -> None:
    page = np.full((300, 400), tone, np.int64) + RNG.integers(-3, 4, (300, 400))
    page[RNG.random(page.shape) < 0.003] = 255 - tone
    assert role_of(0, page.clip(0, 255).astype(np.uint8)) == "blank"
    page[:, :40] = page[:, -40:] = page[:30] = page[-30:] = abs(tone - 128)
    assert role_of(0, page.clip(0, 255).astype(np.uint8)) == "blank"
