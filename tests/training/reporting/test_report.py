"""report.html: all of a run in one file that loads nothing, whatever the run lacks."""

import base64
import io
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bwcolor_training.errors import TrainingInputError
from bwcolor_training.reporting import report
from bwcolor_training.reporting.report import GRIDS, LOG_LINES, ROWS, write_report
from PIL import Image


class Page(HTMLParser):
    """What a browser would see: tags, attributes, the text by tag, the rows of the tables."""

    VOID = ("meta", "img")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.rows: list[list[str]] = []
        self.best: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self.marked = ("class", "best") in attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        tag = self.open[-1] if self.open else ""
        self.texts.append((tag, data))
        if tag in ("td", "th"):
            self.rows[-1][-1] += data
            self.best += [data] if self.marked else []

    def of(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]

    def pictures(self) -> list[Image.Image]:
        sources = [value for name, value in self.attributes if name == "src"]
        return [Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))) for source in sources]


@pytest.fixture(autouse=True)
def _quick_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing curves takes half a second and has tests of its own."""

    def draw(metrics: Path, target: Path) -> None:
        assert metrics.name == "metrics.jsonl"
        Image.new("RGB", (180, 120), "white").save(target)

    monkeypatch.setattr(report, "draw_curves", draw)


def validation(step: int, loss: float = 0.4, **scores: Any) -> dict[str, Any]:
    return {
        "kind": "validation", "step": step, "size": 96, "photos": 12, "psnr": 21.0, "de00": 9.0,
        "colourfulness": 20.0, "colourfulness_truth": 40.0, "colourfulness_ratio": 0.5,
        "losses": {"huber": loss}, "loss": loss, "mean_colour_loss": 0.5, **scores,
    }  # fmt: skip


def metrics(folder: Path, *records: dict[str, Any]) -> Path:
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    return folder


def grids(folder: Path, *steps: int, size: tuple[int, int] = (30, 10)) -> None:
    """Pictures as wide as their step is large."""
    (folder / "samples").mkdir()
    for step in steps:
        Image.new("RGB", (size[0] + step, size[1]), (200, 30, 30)).save(folder / "samples" / f"step-{step:06d}.png")


def test_an_empty_folder_gives_a_page_that_says_what_is_missing(tmp_path: Path) -> None:
    assert write_report(tmp_path, {}) == tmp_path / "report.html"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    text = " ".join(Page(tmp_path / "report.html").of("p"))
    for sentence in ("No records", "No curves", "No validation was made", "No samples were drawn", "no train.log"):
        assert sentence in text


def test_a_run_without_validation_shows_its_curves(tmp_path: Path) -> None:
    record = {"kind": "train", "step": 50, "loss": 0.5, "photos": 3200, "seconds": 75.0}
    page = Page(write_report(metrics(tmp_path, record), {}))
    assert page.of("p")[0] == "The run came to step 50 (3,200 photos seen, 1 min 15 s)."
    assert "No validation was made" in " ".join(page.of("p"))
    assert [picture.size for picture in page.pictures()] == [(180, 120)]


def test_hostile_facts_stay_text(tmp_path: Path) -> None:
    evil = "<script>alert('1')</script>&amp;\"><img src=x onerror=alert(1)>"
    folder = tmp_path / "run <b>"
    folder.mkdir()
    (folder / "train.log").write_text(f"can't be read: {evil}\n", encoding="utf-8")
    metrics(folder, validation(1, losses={evil: 0.25}), validation(2, losses={evil: 0.5}))
    page = Page(write_report(folder, {evil: evil, "Network": f"first line\n{evil}"}))
    assert not {"script", "b", "iframe", "link"} & set(page.tags)
    assert page.tags.count("img") == 1  # the curves
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert page.of("h1") == page.of("title") == ["Training run run <b>"]
    assert page.rows[0] == [evil, evil]
    assert evil in page.rows[1]
    assert page.of("pre") == [f"first line\n{evil}", f"can't be read: {evil}"]


def test_names_that_are_no_text_are_written(tmp_path: Path) -> None:
    page = Page(write_report(tmp_path, {"data set": "/photos/\udcff\u6f22"}))
    assert page.rows == [["data set", "/photos/\\udcff\u6f22"]]


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    grids(tmp_path, 100)
    path = write_report(metrics(tmp_path, validation(100)), {"recipe": "default"})
    page = Page(path)
    sources = [value for name, value in page.attributes if name in ("src", "href", "srcset", "data", "action")]
    assert len(sources) == 2
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"url\(|@import|https?:", path.read_text(encoding="utf-8"))
    assert any("default-src 'none'" in value for name, value in page.attributes if name == "content")


def test_dark_screens_and_paper_have_rules() -> None:
    assert "@media screen and (prefers-color-scheme: dark)" in report.STYLE
    assert "@media print" in report.STYLE


def test_the_story_tells_the_last_scores_and_the_mean_colour(tmp_path: Path) -> None:
    (story, *_) = Page(write_report(metrics(tmp_path, validation(100), validation(1200, 0.3)), {})).of("p")
    assert story == (
        "The run came to step 1,200. Last validation, at step 1,200: PSNR 21.00 dB, CIEDE2000 9.00,"
        " colourfulness 50 % of the truth's. Its loss, 0.3, is 40 % lower than when every pixel gets the mean colour"
        " of the training photos (0.5)."
    )


def test_a_loss_worse_than_the_mean_colour_is_called_so(tmp_path: Path) -> None:
    assert "is 20 % higher than" in Page(write_report(metrics(tmp_path, validation(100, 0.6)), {})).of("p")[0]


def test_the_best_of_each_column_is_marked(tmp_path: Path) -> None:
    metrics(
        tmp_path,
        validation(100, 0.4, psnr=22.0, de00=8.5, colourfulness_ratio=1.3),
        validation(200, 0.2, psnr=24.0, de00=8.0, colourfulness_ratio=0.9),
        validation(300, 0.3, psnr=23.0, de00=7.5, colourfulness_ratio=0.7),
    )
    page = Page(write_report(tmp_path, {}))
    assert page.rows == [
        ["step", "total loss", "huber", "PSNR, dB", "CIEDE2000", "colourfulness, % of the truth's"],
        ["100", "0.40000", "0.40000", "22.00", "8.50", "130"],
        ["200", "0.20000\xa0\u2605", "0.20000\xa0\u2605", "24.00\xa0\u2605", "8.00", "90\xa0\u2605"],
        ["300", "0.30000", "0.30000", "23.00", "7.50\xa0\u2605", "70"],
    ]
    assert len(page.best) == 5
    assert "Measured on 12 photos at 96 px" in " ".join(page.of("p"))


def test_values_that_are_absent_or_not_finite_never_win(tmp_path: Path) -> None:
    metrics(
        tmp_path,
        validation(100, math.nan, psnr=math.inf, losses={"huber": -math.inf}),
        validation(200, 0.5, losses={"huber": 0.7}, de00=None),
        validation(300, 0.6, losses={"l1": 0.1}, psnr=20.0),
    )
    page = Page(write_report(tmp_path, {}))
    assert page.rows[1:] == [
        ["100", "not finite", "not finite", "\u2013", "not finite", "9.00\xa0\u2605", "50\xa0\u2605"],
        ["200", "0.50000\xa0\u2605", "0.70000", "\u2013", "21.00\xa0\u2605", "\u2013", "50"],
        ["300", "0.60000", "\u2013", "0.10000", "20.00", "9.00", "50"],
    ]


def test_a_single_validation_is_no_contest(tmp_path: Path) -> None:
    page = Page(write_report(metrics(tmp_path, validation(100)), {}))
    assert page.best == []
    assert page.rows[1][0] == "100"


def test_losses_that_are_not_finite_are_told(tmp_path: Path) -> None:
    records = [{"kind": "train", "step": n, "loss": loss} for n, loss in enumerate((0.5, math.nan, math.inf))]
    story = Page(write_report(metrics(tmp_path, *records), {})).of("p")[0]
    assert "In 2 of its records the training loss is not finite." in story


def test_of_many_validations_first_last_and_best_are_shown(tmp_path: Path) -> None:
    count = 10 * ROWS + 3
    best = 123
    records = [validation(n, 0.1 if n == best else 0.4) for n in range(count)]
    page = Page(write_report(metrics(tmp_path, *records), {}))
    steps = [int(row[0].replace(",", "")) for row in page.rows[1:]]
    assert steps == sorted(steps)
    assert {0, best, count - 1} <= set(steps)
    assert ROWS <= len(steps) <= ROWS + 1
    assert f"{len(steps)} of {count} validations are shown" in " ".join(page.of("p"))


def test_sample_grids_go_from_the_first_to_the_last(tmp_path: Path) -> None:
    grids(tmp_path, *range(100, 2100, 100), 1_000_000)
    (tmp_path / "samples" / "other.png").write_bytes(b"not ours")
    (tmp_path / "samples" / ".step-000050.png.part").write_bytes(b"not whole")
    page = Page(write_report(tmp_path, {}))
    steps = [int(text.removeprefix("step ").replace(",", "")) for text in page.of("figcaption")]
    assert len(steps) == GRIDS
    assert (steps[0], steps[-1]) == (100, 1_000_000)
    assert steps == sorted(steps)
    assert [picture.width - 30 for picture in page.pictures()] == steps
    assert f"{GRIDS} of 21 evaluations are shown" in " ".join(page.of("p"))


def test_few_sample_grids_are_all_shown(tmp_path: Path) -> None:
    grids(tmp_path, 200, 400)
    page = Page(write_report(tmp_path, {}))
    assert page.of("figcaption") == ["step 200", "step 400"]
    assert "evaluations are shown" not in " ".join(page.of("p"))


def test_a_damaged_grid_is_named(tmp_path: Path) -> None:
    grids(tmp_path, 200, 400)
    damaged = tmp_path / "samples" / "step-000200.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    page = Page(write_report(tmp_path, {}))
    assert "step-000200.png can't be read." in page.of("p")
    assert [picture.width for picture in page.pictures()] == [430]


def test_a_large_grid_is_put_in_smaller_with_its_colours(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (500, 600, 3)).astype(np.uint8)
    noise[:100] = (200, 30, 30)
    path = tmp_path / "samples" / "step-000200.png"
    Image.fromarray(noise).save(path)
    (picture,) = Page(write_report(tmp_path, {})).pictures()
    assert path.stat().st_size > report.PICTURE_BYTES
    assert (picture.format, picture.size) == ("JPEG", (600, 500))
    assert np.abs(np.asarray(picture)[10:80, 10:-10].astype(int) - (200, 30, 30)).max() <= 3


def test_the_end_of_the_log_is_shown(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text("".join(f"line {n}\n" for n in range(1000)), encoding="utf-8")
    (text,) = Page(write_report(tmp_path, {})).of("pre")
    assert text.splitlines() == [f"line {n}" for n in range(1000 - LOG_LINES, 1000)]


def test_a_huge_log_with_broken_text_is_cut_at_a_line(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_bytes(b"x" * 100_000 + b"\nlast \xff line\n")
    (text,) = Page(write_report(tmp_path, {})).of("pre")
    assert text == "last \ufffd line"


def test_an_empty_log_is_told(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_bytes(b"")
    assert "It is empty." in Page(write_report(tmp_path, {})).of("p")


def test_texts_of_several_lines_keep_their_columns(tmp_path: Path) -> None:
    page = Page(write_report(tmp_path, {"recipe": "default\n", "Network": "\n  layer   output\n  first   64\n"}))
    assert page.rows == [["recipe", "default\n"]]
    assert page.of("pre") == ["  layer   output\n  first   64"]
    assert "Network" in page.of("h2")


def test_a_second_report_replaces_the_first(tmp_path: Path) -> None:
    write_report(tmp_path, {"recipe": "first"})
    assert Page(write_report(tmp_path, {"recipe": "second"})).rows == [["recipe", "second"]]
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_page_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(TrainingInputError, match=r"report\.html: could not be written"):
        write_report(tmp_path, {})
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_real_curves_are_drawn_anew_and_put_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    (tmp_path / "curves.png").write_bytes(b"old")
    (picture,) = Page(write_report(metrics(tmp_path, validation(100)), {})).pictures()
    with Image.open(tmp_path / "curves.png") as image:
        assert np.array_equal(np.asarray(picture), np.asarray(image))
    assert picture.width == 1800
