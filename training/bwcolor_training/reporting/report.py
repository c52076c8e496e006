"""report.html: all that is known of a training run in one file, without scripts or anything from elsewhere."""

import base64
import io
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path

from bwcolor_training.reporting.plots import (
    Record,
    draw_curves,
    loss_names,
    number,
    progress,
    read_metrics,
    write_atomically,
)
from PIL import Image

ROWS = 40  # of the table of validations
GRIDS = 8  # of samples
LOG_LINES = 40
LOG_BYTES = 64 * 1024  # read of the end of train.log
PICTURE_BYTES = 512 * 1024  # a larger picture becomes a JPEG: 8 of several MB would make the page too big to hand on
JPEG_QUALITY = 90  # with full chroma: colours are what the pictures are for
SAMPLE_NAME = re.compile(r"step-(\d+)\.png")

STYLE = """
:root { --paper: #ffffff; --ink: #1d1f23; --faint: #5c6370; --line: #d9dce1; --panel: #f5f6f8; --best: #0b6e4f; }
@media screen { :root { color-scheme: light dark } }
@media screen and (prefers-color-scheme: dark) {
  :root { --paper: #17191d; --ink: #e4e6ea; --faint: #9aa1ad; --line: #353a43; --panel: #20242a; --best: #5fd3a5; }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 76rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4rem; overflow-wrap: anywhere }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .7rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line) }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; overflow-wrap: anywhere }
p { margin: .5rem 0; max-width: 50rem }
.missing, figcaption, .note { color: var(--faint) }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem }
th, td { padding: .28rem .8rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
.facts th { font-weight: 500; color: var(--faint); padding-left: 0; max-width: 16rem }
.facts td { overflow-wrap: anywhere }
.scores th, .scores td { text-align: right; white-space: nowrap }
.scores thead th { white-space: normal; max-width: 9rem; border-bottom: 2px solid var(--line); vertical-align: bottom }
.best { color: var(--best); font-weight: 700 }
pre { margin: 0; padding: .8rem 1rem; max-height: 32rem; overflow: auto; background: var(--panel); border-radius: 6px;
  font: .8rem/1.45 ui-monospace, "SF Mono", Consolas, "DejaVu Sans Mono", monospace }
.log { max-height: none; white-space: pre-wrap; overflow-wrap: anywhere }
figure { margin: 1rem 0 }
figcaption { font-size: .9rem; margin-bottom: .3rem }
img { display: block; max-width: 100%; height: auto; border-radius: 4px }
@media print {
  body { max-width: none; padding: 0; font-size: 10.5pt }
  pre { max-height: none; white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid var(--line) }
  .wide { overflow: visible }
  .scores { font-size: 8.5pt }
  .scores th, .scores td { padding: .15rem .45rem }
  figure, tr { break-inside: avoid }
  h2, h3, figcaption { break-after: avoid }
}
"""


@dataclass(frozen=True, slots=True)
class _Column:
    """Of the table of validations. rank: the lower, the better."""

    name: str
    unit: str
    keys: tuple[str, ...]
    digits: int
    factor: float
    rank: Callable[[float], float]


def write_report(run_folder: Path, facts: dict[str, str]) -> Path:
    """Writes run_folder/report.html from what lies in the folder; also draws its curves.png anew.

    facts: names and values for the table at the top; a value of several lines gets a section of its own.
    What a short or interrupted run lacks is named in the page. Raises TrainingInputError when it can't be written.
    """
    records = read_metrics(run_folder / "metrics.jsonl")
    texts = {name: text.strip("\n") for name, text in facts.items() if "\n" in text.strip()}
    title = f"Training run {run_folder.resolve().name}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        _story(records),
        _facts({name: text for name, text in facts.items() if name not in texts}),
        "<h2>Curves</h2>",
        _curves(run_folder, records),
        "<h2>Validations</h2>",
        _validations([record for record in records if record["kind"] == "validation"]),
        "<h2>Validation photos: gray, output, truth</h2>",
        _samples(run_folder / "samples"),
        *(_text(name, text) for name, text in texts.items()),
        "<h2>End of train.log</h2>",
        _log(run_folder / "train.log"),
    ]
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:;'
        " style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )
    target = run_folder / "report.html"
    write_atomically(target, page.encode("utf-8", "backslashreplace"))  # names of files may not be valid text
    return target


def _missing(text: str) -> str:
    return f'<p class="missing">{escape(text)}</p>'


def _story(records: list[Record]) -> str:
    """How far the run came and how good it was then, in words."""
    if not records:
        return _missing("No records: the run ended before its first one.")
    came, *further = progress(records)
    sentences = [f"The run came to {came}" + (f" ({', '.join(further)})." if further else ".")]
    broken = sum(math.isnan(number(r, "loss") or 0) for r in records if r["kind"] == "train")
    if broken:
        sentences.append(f"In {broken:,} of its records the training loss is not finite.")
    last = next((r for r in reversed(records) if r["kind"] == "validation"), None)
    if last is not None:
        scores = [f"{c.name} {_cell(last, c)} {c.unit}".strip() for c in SCORES if _value(last, c) is not None]
        sentences.append(f"Last validation, at step {last['step']:,}: {', '.join(scores)}." if scores else "")
        loss, mean_colour = number(last, "loss"), number(last, "mean_colour_loss")
        if loss is not None and mean_colour and math.isfinite(loss + mean_colour):
            change = 100 * (loss / mean_colour - 1)
            sentences.append(
                f"Its loss, {loss:.4g}, is {abs(change):.0f} % {'lower' if change < 0 else 'higher'} than when every"
                f" pixel gets the mean colour of the training photos ({mean_colour:.4g})."
            )
    return f"<p>{escape(' '.join(filter(None, sentences)))}</p>"


def _facts(facts: dict[str, str]) -> str:
    rows = [f'<tr><th scope="row">{escape(name)}</th><td>{escape(text)}</td></tr>' for name, text in facts.items()]
    return f'<h2>Facts</h2>\n<table class="facts">{"".join(rows)}</table>' if rows else ""


def _text(name: str, text: str) -> str:
    return f'<h2>{escape(name)}</h2>\n<pre tabindex="0">{escape(text)}</pre>'


def _curves(folder: Path, records: list[Record]) -> str:
    if not records:
        return _missing("No curves: metrics.jsonl holds no records.")
    draw_curves(folder / "metrics.jsonl", folder / "curves.png")
    return f"<figure>{_picture(folder / 'curves.png', 'Curves of losses and scores over the steps')}</figure>"


def _nearest_to_all(percent: float) -> float:
    return abs(percent - 100)


def _highest(value: float) -> float:
    return -value


def _lowest(value: float) -> float:
    return value


ABSENT = "\u2013"
SCORES = (
    _Column("PSNR", "dB", ("psnr",), 2, 1, _highest),
    _Column("CIEDE2000", "", ("de00",), 2, 1, _lowest),
    _Column("colourfulness", "% of the truth's", ("colourfulness_ratio",), 0, 100, _nearest_to_all),
)


def _validations(records: list[Record]) -> str:
    """The table; of many validations a choice that holds the first, the last and the best."""
    if not records:
        return _missing("No validation was made: the run was too short, or no photo was kept for validation.")
    losses = [_Column(name, "", ("losses", name), 5, 1, _lowest) for name in loss_names(records)]
    columns = [_Column("total loss", "", ("loss",), 5, 1, _lowest), *losses, *SCORES]
    columns = [c for c in columns if any(number(record, *c.keys) is not None for record in records)]
    best = [_best(records, column) for column in columns]
    head = "".join(f'<th scope="col">{escape(f"{c.name}, {c.unit}" if c.unit else c.name)}</th>' for c in columns)
    chosen = sorted({*_spread(len(records), ROWS), *(row for row in best if row is not None)})
    rows = []
    for row in chosen:
        cells = [
            f'<td class="best">{_cell(records[row], column)}&nbsp;\u2605</td>'
            if row == place
            else f"<td>{_cell(records[row], column)}</td>"
            for column, place in zip(columns, best, strict=True)
        ]
        rows.append(f'<tr><th scope="row">{records[row]["step"]:,}</th>{"".join(cells)}</tr>')
    return (
        f'<div class="wide"><table class="scores"><thead><tr><th scope="col">step</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>\n" + _notes(records, len(chosen))
    )


def _notes(records: list[Record], shown: int) -> str:
    last = records[-1]
    photos, size = number(last, "photos"), number(last, "size")
    notes = ["\u2605 best of its column; of the colourfulness, that is the one nearest to 100 %."]
    if photos and size and math.isfinite(photos + size):
        notes.append(f"Measured on {photos:,.0f} photos at {size:.0f} px that were kept out of training.")
    if shown < len(records):
        notes.append(f"{shown} of {len(records):,} validations are shown; metrics.jsonl holds all.")
    return f'<p class="note">{" ".join(notes)}</p>'


def _value(record: Record, column: _Column) -> float | None:
    value = number(record, *column.keys)
    return None if value is None else column.factor * value


def _cell(record: Record, column: _Column) -> str:
    value = _value(record, column)
    if value is None:
        return ABSENT
    return f"{value:.{column.digits}f}" if math.isfinite(value) else "not finite"


def _best(records: list[Record], column: _Column) -> int | None:
    """The first of the best rows; None when there is nothing to choose from."""
    values = [_value(record, column) for record in records]
    ranks = {row: column.rank(v) for row, v in enumerate(values) if v is not None and math.isfinite(v)}
    return min(ranks, key=lambda row: ranks[row]) if len(ranks) > 1 else None


def _spread(count: int, most: int) -> list[int]:
    """At most `most` numbers below `count`, evenly from the first to the last."""
    if count <= most:
        return list(range(count))
    return [round(place * (count - 1) / (most - 1)) for place in range(most)]


def _samples(folder: Path) -> str:
    found = {int(match[1]): path for path in folder.glob("*.png") if (match := SAMPLE_NAME.fullmatch(path.name))}
    if not found:
        return _missing("No samples were drawn: no validation was made, or no photo was kept for it.")
    steps = sorted(found)
    figures = [
        f"<figure><figcaption>step {step:,}</figcaption>{_picture(found[step], f'Validation photos at step {step}')}"
        "</figure>"
        for step in (steps[place] for place in _spread(len(steps), GRIDS))
    ]
    more = f'<p class="note">{GRIDS} of {len(steps):,} evaluations are shown; the folder samples holds all.</p>'
    return "\n".join([*figures, more] if len(steps) > GRIDS else figures)


def _picture(path: Path, description: str) -> str:
    """The picture inside the page, or a sentence when it can't be read."""
    try:
        content, kind = path.read_bytes(), "png"
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
            if len(content) > PICTURE_BYTES:
                smaller = io.BytesIO()
                image.convert("RGB").save(smaller, "JPEG", quality=JPEG_QUALITY, subsampling=0)
                content, kind = smaller.getvalue(), "jpeg"
            else:
                image.load()  # finds damage
    except (OSError, SyntaxError):  # Pillow's two ways
        return _missing(f"{path.name} can't be read.")
    data = base64.b64encode(content).decode("ascii")
    return f'<img src="data:image/{kind};base64,{data}" alt="{escape(description)}" width="{width}" height="{height}">'


def _log(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(max(0, size - LOG_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return _missing("There is no train.log.")
    lines = lines[size > LOG_BYTES :][-LOG_LINES:]  # the first may have been cut in two
    return f'<pre class="log" tabindex="0">{escape(chr(10).join(lines))}</pre>' if lines else _missing("It is empty.")
