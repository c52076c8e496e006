"""A case through a real run, and what became of its brightness, colours, alpha and metadata."""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from matrix.expected import Case
from matrix.photos import Source, Unavailable
from matrix.rendered import TURNS, Pixels, decoded, facts, form, luma, y_plane
from photo.pictures import FakeModel
from tiny_model import TINY_SPEC

from bwcolor.batch.plan import find_jobs, settle
from bwcolor.batch.thread_pool import run
from bwcolor.imaging.color import Array
from bwcolor.photo.formats.jpeg import luma_parts

# Cb and Cr of the model's four quarters: top left, top right, bottom left, bottom right of the upright photo.
COLOURS = ((-0.10, 0.08), (0.08, -0.04), (-0.04, -0.06), (0.03, 0.09))
MIDTONES = (0.2, 0.8)  # of luma; darker and lighter pixels have no room for all of these colours
SPEC = replace(TINY_SPEC, multiple=1)  # so that nothing is padded, and quarters stay quarters
JPEG_START = b"\xff\xd8"


@dataclass(slots=True)
class Row:
    """What came of a case; see Expected. state: done, refused or skipped, with the reason in words. size: whether it is
    the photo's, upright. parts: whether the coded luma of a JPEG is the source's, bit for bit. alpha: None for photos
    without. held: what describes the photo. lost: of that, what is not the same in the output, and transparency that is
    missing or was added. label: whether the output tells who made its colours. notes: what the run says of losses."""

    state: str
    words: str = ""
    form: str = ""
    bits: int = 0
    size: bool = False
    most: float = 0.0
    mean: float = 0.0
    stored: float | None = None
    parts: bool = False
    colour: float | None = None
    alpha: float | None = None
    held: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    upright: bool = False
    label: bool = False
    notes: tuple[str, ...] = ()


def measure(case: Case, folder: Path) -> Row:
    """Runs one case in an empty folder."""
    try:
        source = case.make()
    except Unavailable as reason:
        return Row("skipped", str(reason))
    photo = folder / "photos" / f"photo{case.suffix}"
    photo.parent.mkdir()
    photo.write_bytes(source.content)
    plan = settle(find_jobs(photo.parent, folder / "out"), case.options)
    outcomes = list(run(plan.jobs, FakeModel(four_colours, SPEC), case.options))
    reasons = [one.reason for one in plan.left_out] + [one.reason for one in outcomes if one.state != "done"]
    if reasons:
        return Row("refused", reasons[0])
    content = plan.jobs[0].target.read_bytes()
    row = Row("done", notes=outcomes[0].notes)
    pages, alpha = decoded(content)
    row.form, row.bits = form(content), 8 * max(page.itemsize for page in pages)
    _judge_pixels(row, source, pages, alpha)
    if content.startswith(JPEG_START):
        _judge_jpeg(row, source, content)
    _judge_facts(row, source, content)
    return row


def four_colours(batch: Array) -> Array:
    """The model: COLOURS in the quarters of each picture."""
    chroma = np.empty((len(batch), 2, *batch.shape[2:]), np.float32)
    middle, centre = batch.shape[2] // 2, batch.shape[3] // 2
    for number, colour in enumerate(COLOURS):
        rows = slice(middle, None) if number > 1 else slice(middle)
        columns = slice(centre, None) if number % 2 else slice(centre)
        chroma[:, :, rows, columns] = np.array(colour)[:, None, None]
    return chroma


def _judge_pixels(row: Row, source: Source, pages: list[Pixels], alpha: Pixels | None) -> None:
    turn = TURNS[source.orientation]
    meant = [turn(page) for page in source.pages]
    row.size = [page.shape[:2] for page in pages] == [page.shape for page in meant]
    if not row.size:
        return
    tops = [float(np.iinfo(page.dtype).max) for page in pages]
    together = list(zip(pages, meant, tops, strict=True))
    differences = [np.abs(luma(made) - wanted * top) for made, wanted, top in together]
    row.most = max(float(page.max()) for page in differences)
    row.mean = float(np.mean([page.mean() for page in differences]))
    colours = [_off_colour(made / top, wanted) for made, wanted, top in together]
    row.colour = max((one for one in colours if one is not None), default=None)
    if (source.alpha is None) != (alpha is None):
        row.lost = ("transparency",)
    elif source.alpha is not None and alpha is not None:
        row.alpha = float(np.abs(alpha - turn(source.alpha) * tops[0]).max())


def _off_colour(made: Pixels, wanted: Pixels) -> float | None:
    """How far the mean Cb and Cr of a quarter's middle tones are from the model's; None without such tones."""
    y = luma(made)
    chroma = np.stack([(made[..., 2] - y) / 1.772, (made[..., 0] - y) / 1.402], -1)
    around = np.ones((5, 5), np.uint8)  # a pixel may share its stored colour with its neighbours
    room = (cv2.erode(wanted, around) > MIDTONES[0]) & (cv2.dilate(wanted, around) < MIDTONES[1])
    off = []
    for number, colour in enumerate(COLOURS):
        rows, columns = (
            slice(int(side * start), int(side * (start + 0.3)))
            for side, start in zip(wanted.shape, (0.1 + 0.5 * (number > 1), 0.1 + 0.5 * (number % 2)), strict=True)
        )
        found = chroma[rows, columns][room[rows, columns]]
        if len(found):
            off.append(float(np.abs(found.mean(0) - colour).max()))
    return max(off, default=None)


def _judge_jpeg(row: Row, source: Source, content: bytes) -> None:
    plane = y_plane(content)
    row.stored = float(np.abs(plane - source.pages[0] * 255).max()) if plane.shape == source.pages[0].shape else None
    parts = luma_parts(source.content) if source.content.startswith(JPEG_START) else None
    row.parts = parts is not None and parts == luma_parts(content)


def _judge_facts(row: Row, source: Source, content: bytes) -> None:
    before, after = facts(source.content), facts(content)
    row.held = tuple(name for name in before if name != "label")
    # Without the mark, pixels that are compared upright are stored so.
    row.upright = "orientation" in before and "orientation" not in after
    same = {name for name in row.held if after.get(name) == before[name]}
    same |= {"orientation"} if row.upright else set()
    row.lost += tuple(name for name in row.held if name not in same)
    row.label = "label" in after
