"""1-bit scans, pages of text and halftone prints are told from photographs, and not counted as colorized photos."""

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from photo.pictures import FakeModel, gray, rgb, saved, scene, scene16
from PIL import Image, ImageDraw, ImageFont

from bwcolor.batch.outcome import Outcome
from bwcolor.batch.plan import find_jobs
from bwcolor.batch.progress import RunView
from bwcolor.batch.thread_pool import run
from bwcolor.imaging.material import material_of
from bwcolor.options import ColorizeOptions

WORDS = ("harbor", "lay", "still", "in", "the", "morning", "and", "nobody", "spoke", "of", "what", "had", "come")


def text(height: int, width: int, size: int, paper: int = 235, ink: int = 40) -> Any:
    """A page of print, blurred a little and with a scanner's noise."""
    rng = np.random.default_rng(size)
    page = Image.new("L", (width, height), paper)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size)
    for top in range(height // 12, height * 11 // 12, size * 3 // 2):
        line = " ".join(rng.choice(WORDS, width // size))
        draw.text((width // 12, top), line, fill=ink, font=font)
    draw.rectangle((width * 11 // 12, 0, width, height), fill=paper)
    blurred = cv2.GaussianBlur(np.asarray(page, np.float32), (0, 0), 0.7) + rng.normal(0, 3, (height, width))
    return blurred.clip(0, 255).astype(np.uint8)


def halftone(photo: Any, period: float, angle: float = 45, blur: float = 0.7) -> Any:
    """A print of dots, scanned."""
    rows, columns = np.indices(photo.shape, np.float32)
    turn = np.radians(angle)
    across = (columns * np.cos(turn) + rows * np.sin(turn)) / period
    down = (rows * np.cos(turn) - columns * np.sin(turn)) / period
    screen = (np.cos(2 * np.pi * across) + np.cos(2 * np.pi * down)) / 4 + 0.5
    dots = 1 / (1 + np.exp(-36 * (photo / 255 - screen)))
    noise = np.random.default_rng(0).normal(0, 3, photo.shape)
    return (cv2.GaussianBlur((30 + 200 * dots).astype(np.float32), (0, 0), blur) + noise).clip(0, 255).astype(np.uint8)


SCENE = scene(500, 700)
BITS = np.where(SCENE > 128, 255, 0).astype(np.uint8)


@pytest.mark.parametrize("size", [16, 28, 44])
@pytest.mark.parametrize(("paper", "ink"), [(235, 40), (255, 0), (190, 90)])
def test_text_is_text(size: int, paper: int, ink: int) -> None:
    page = text(900, 700, size, paper, ink)
    assert material_of(page) == "text"
    assert material_of(page.astype(np.uint16) * 257) == "text"


@pytest.mark.parametrize("period", [2.6, 3.5, 6, 11])
@pytest.mark.parametrize("angle", [45, 38, 52])
@pytest.mark.parametrize("blur", [0.5, 1.0])
def test_dots_are_a_halftone_print(period: float, angle: float, blur: float) -> None:
    assert material_of(halftone(SCENE, period, angle, blur)) == "halftone"


def dithered() -> Any:
    return np.asarray(Image.fromarray(SCENE).convert("1").convert("L"))


@pytest.mark.parametrize("picture", [BITS, dithered(), np.zeros_like(BITS), BITS.astype(np.uint16) * 257])
def test_two_tones_are_pure_black_and_white(picture: Any) -> None:
    assert material_of(picture) == "bilevel"


def test_a_two_tone_scan_stays_one_as_jpeg() -> None:
    with Image.open(io.BytesIO(saved(gray(text(900, 700, 44, 255, 0)), "JPEG", quality=90))) as image:
        assert material_of(np.asarray(image)) in ("bilevel", "text")


def stripes(period: float, angle: float) -> Any:
    """A fence or a fabric: one direction."""
    rows, columns = np.indices(SCENE.shape)
    turn = np.radians(angle)
    wave = np.sin(2 * np.pi * (columns * np.cos(turn) + rows * np.sin(turn)) / period)
    return (SCENE * 0.7 + 38 * (1 + wave)).clip(0, 255).astype(np.uint8)


def bricks() -> Any:
    rows, columns = np.indices(SCENE.shape)
    joints = (rows % 9 < 2) | ((columns + 13 * (rows // 9 % 2)) % 26 < 2)
    return np.where(joints, 230, SCENE * 0.6).astype(np.uint8)


PHOTOS = {
    "scene": SCENE, "16 bit": scene16(500, 700), "small": scene(60, 80), "faded": 150 + SCENE // 4, "dark": SCENE // 3,
    "stripes": stripes(5, 0), "slanted stripes": stripes(5, 45), "bricks": bricks(),
    "high key": (255 - (255 - SCENE.astype(int)) // 8).astype(np.uint8),
    "JPEG blocks": np.kron(scene(63, 88), np.ones((8, 8), np.uint8)),
}  # fmt: skip


@pytest.mark.parametrize("name", PHOTOS)
def test_photos_are_photos(name: str) -> None:
    assert material_of(PHOTOS[name]) == "photo"


def unsure(batch: Any) -> Any:
    """Chroma that differs from one look to the next, whose batches have another size."""
    chroma = np.zeros((len(batch), 2, *batch.shape[2:]), np.float32)
    chroma[:, 0] = 0.2 if batch.shape[2] % 64 else -0.2
    return chroma


def colorized(tmp_path: Path, **options: Any) -> dict[str, Outcome]:
    outcomes = run(find_jobs(tmp_path / "photos", tmp_path / "out").jobs, FakeModel(unsure), ColorizeOptions(**options))
    return {outcome.job.source.stem: outcome for outcome in outcomes}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, picture in (("bits", BITS), ("text", text(900, 700, 28)), ("dots", halftone(SCENE, 6)), ("photo", SCENE)):
        (photos / f"{name}.png").write_bytes(saved(gray(picture), "PNG"))
    color = np.dstack([scene(200, 300, seed) for seed in (1, 2, 3)])
    (photos / "color.png").write_bytes(saved(Image.fromarray(color), "PNG"))
    return tmp_path


def test_each_is_done_and_said_for_what_it_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = colorized(folder, color_input="copy")
    assert {name: (outcome.state, outcome.done_as) for name, outcome in outcomes.items()} == {
        "bits": ("done", "bilevel"), "text": ("done", "text"), "dots": ("done", "halftone"),
        "photo": ("done", "colorized"), "color": ("done", "copied"),
    }  # fmt: skip
    assert {name for name, outcome in outcomes.items() if outcome.doubt is not None} <= {"photo"}
    view = RunView(5, folder / "photos", 0)
    for outcome in outcomes.values():
        view.show(outcome)
    view.summarize(folder / "out")
    said = capsys.readouterr().err
    assert "1 colorized, 1 in pure black and white, 1 of text or drawings, 1 of halftone prints, 1 copied" in said
    for words in ("pure black and white, with", "looks like a page of text", "looks like a halftone print"):
        assert f"note: 1 of them: {words}" in said


def test_a_book_with_one_photo_counts_as_colorized(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with tifffile.TiffWriter(tmp_path / "photos" / "book.tif") as writer:
        for picture in (text(900, 700, 28), SCENE, BITS):
            writer.write(picture, metadata=None, compression="zlib")
    outcome = colorized(tmp_path)["book"]
    assert (outcome.state, outcome.done_as) == ("done", "colorized")
    assert len(outcome.notes) == 2


def test_toned_text_is_text_too(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "page.png").write_bytes(saved(rgb(text(900, 700, 28)), "PNG"))
    assert colorized(tmp_path)["page"].done_as == "text"
