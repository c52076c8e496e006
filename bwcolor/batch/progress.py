"""The view of a run on stderr: a bar on a terminal, plain lines elsewhere."""

import contextlib
import os
import time
from collections import Counter
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from bwcolor.batch.discovery import LeftOut
from bwcolor.batch.outcome import DoneAs, LeftAlone, Outcome, Report
from bwcolor.system.text import printable

PLAIN_INTERVAL = 30.0  # seconds between two lines where there is no terminal
DOUBTFUL = 10.0  # levels; twice as many of these photos are far off (bwcolor/models/README.md)
MOST_DOUBTFUL = 10  # photos named at the end of a run
NAME_WIDTH = 32  # columns of the bar's line for the name of a photo
FAILURE_STYLE = "bold red"  # on terminals
OTHER_WAYS = "--color-input recolor colorizes them anyway, copy copies them."


# Outputs that are not counted as colorized photos; notes say more of them.
NOT_PHOTOS: dict[DoneAs, str] = {
    "bilevel": "in pure black and white", "text": "of text or drawings", "halftone": "of halftone prints",
    "copied": "copied",
}  # fmt: skip
Style = Literal["auto", "rich", "plain", "none"]  # rich: a bar; plain: lines; auto: a bar where there is a terminal


class _Stderr(Console):
    """Standard error, which nobody may read any more: the photos still count."""

    def on_broken_pipe(self) -> None:
        """Rich would end the program here."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


class RunView:
    """Shows outcomes as they come, and failures at the end, where nothing pushes them off the screen.

    level: -1 only failures, 0 the usual, 1 every photo. report: the file that names each photo, if there is one.
    """

    def __init__(self, total: int, root: Path, level: int, style: Style = "auto", report: Path | None = None) -> None:
        self._console = _Stderr(stderr=True, highlight=False, soft_wrap=True)
        self._root = root
        self._level = level
        self._total = total
        self._style = style
        self._report_file = report
        self.left_out = self.left_by_limit = self._done = 0
        self._failures: list[str] = []  # that are still to be told
        self._failed = 0
        self.failed = False  # whether any photo, or anything that may hold photos
        self._started = self._last_line = time.monotonic()
        self.report = Report()
        self._doubtful: list[tuple[float, str]] = []
        self._bar = Progress(
            BarColumn(bar_width=24), MofNCompleteColumn(), _Rate(), TimeRemainingColumn(), TextColumn("left"),
            _Failed(), _Name(),
            console=self._console, transient=True,
            disable=level < 0 or style in ("plain", "none") or (style == "auto" and not self._console.is_terminal),
        )  # fmt: skip
        self._task = self._bar.add_task("photos", total=total, name="", failed=0)

    def __enter__(self) -> "RunView":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        self.tell_failures()

    def say(self, *lines: str) -> None:
        """Lines of the usual kind."""
        if self._level >= 0:
            for line in lines:
                self.warn(line)

    def detail(self, *lines: str) -> None:
        """Lines that only --verbose shows."""
        if self._level > 0:
            self.say(*lines)

    def warn(self, text: str) -> None:
        """A line that even --quiet shows."""
        self._print(text)

    def _print(self, text: str, style: str = "") -> None:
        with contextlib.suppress(OSError):  # nobody reads stderr any more: the photos still count
            self._console.print(Text(printable(text), style))

    def fail(self, path: Path, reason: str) -> None:
        """Keeps a line for something that failed; the bar counts it."""
        self.failed = True
        self._failures.append(f"failed: {_relative(path, self._root)}: {reason}")
        self._failed += 1
        self._bar.update(self._task, failed=self._failed)

    def tell_failures(self) -> None:
        """Shows what has failed and was not told yet, a line each."""
        for line in self._failures:
            self._print(line, FAILURE_STYLE)
        self._failures.clear()

    def leave_out(self, left: LeftOut) -> None:
        """One line for something that the walk found and the run does not open."""
        self.left_out += not left.failed
        self.report.states["failed"] += left.failed
        if left.failed:
            self.fail(left.path, left.reason)
        else:
            self.warn(f"left out: {_relative(left.path, self._root)}: {left.reason}")

    def put_off(self, photos: int) -> None:
        """Counts photos that the limit leaves for another run."""
        self.left_by_limit += photos

    def show(self, outcome: Outcome) -> None:
        """Counts a photo and moves the bar."""
        self.report.add(outcome)
        name = _relative(outcome.job.source, self._root)
        if outcome.state == "failed":
            self.fail(outcome.job.source, outcome.reason)
        elif self._level > 0 or (outcome.unexpected and self._level == 0):
            detail = outcome.reason or f"{outcome.seconds:.2f} s{_doubt_in_words(outcome.doubt)}"
            notes = "".join(f"; {note}" for note in outcome.notes)
            self.warn(f"{outcome.state}: {name}: {detail}{notes}")
        if outcome.doubt is not None and outcome.doubt >= DOUBTFUL:
            self._doubtful = sorted([*self._doubtful, (-outcome.doubt, str(name))])[:MOST_DOUBTFUL]
        self.advance(outcome.job.source)

    def advance(self, photo: Path) -> None:
        """Moves the bar by one photo; where there is no bar, a line every half minute."""
        self._bar.update(self._task, advance=1, name=printable(_relative(photo, self._root)))
        self._done += 1
        now = time.monotonic()
        if self._bar.disable and self._style != "none" and now - self._last_line > PLAIN_INTERVAL:
            self._last_line = now
            self.say(f"{self._done} of {self._total} photos" + (f", {self._failed} failed" if self._failed else ""))

    def more(self, photos: int) -> None:
        """There are so many photos more than was known."""
        self._total += photos
        self._bar.update(self._task, total=self._total)

    def summarize(self, out: Path) -> None:
        """The last lines before those of failures: how many photos ended how, what was left out, how long it took."""
        states = self.report.states
        if self.report.only_outputs:
            self.say(f"{self._root}: {_all_left_alone(self.report.left_alone)}")
            return
        seconds = time.monotonic() - self._started
        shown = self.report.done_as
        parts = [f"{shown['colorized']} colorized"]
        parts += [f"{shown[kind]} {words}" for kind, words in NOT_PHOTOS.items() if shown[kind]]
        parts += [f"{count} skipped ({reason})" for reason, count in self.report.skipped.items()]
        parts += [f"{states['failed']} failed"] if states["failed"] else []
        parts += [f"{self.left_out} left out"] if self.left_out else []
        parts += [f"{sidecars_in_words(self.report.sidecars)} copied"] if self.report.sidecars else []
        parts += [f"{self.left_by_limit:,} left for another run (--limit)"] if self.left_by_limit else []
        where = f"Output: {out}" if out.exists() else "Nothing was written."
        self.say(f"{', '.join(parts)} in {seconds:.1f} s. {where}")
        self._tell_left_alone()
        for note, count in self.report.notes.items():
            self.say(f"note: {count} of them: {note}")
        if self._doubtful:
            names = ", ".join(name for _, name in self._doubtful)
            self.say(f"Check these first; their colors are the least certain (others may be wrong, too): {names}")

    def _tell_left_alone(self) -> None:
        """How many photos kept their own colors, and where to see which, unless they were shown."""
        if not self.report.left_alone:
            return
        which = "-v shows which" + (f", and so does {self._report_file}" if self._report_file else "")
        shown = "" if self._level > 0 else f"{which}. "
        self.say(f"{_left_alone(self.report.left_alone)}. {shown}{OTHER_WAYS}")


def _photos(count: int, *, one: str, more: str) -> str:
    """Says how many photos were something. one, more: the verb for one and for several."""
    return f"1 photo {one}" if count == 1 else f"{count:,} photos {more}"


def _left_alone(counts: Counter[LeftAlone]) -> str:
    """Says how many photos kept the colors that they have."""
    colored, ours = counts["in color"], counts["made by bwcolor"]
    made = _photos(ours, one="was", more="were") + " made by bwcolor"
    if not colored:
        return f"{made} and {'was' if ours == 1 else 'were'} left alone"
    there = _photos(colored, one="is", more="are") + " in color already"
    if not ours:
        return f"{there} and {'was' if colored == 1 else 'were'} left alone"
    return f"{there}, and {made}; all {counts.total():,} were left alone"


def _all_left_alone(counts: Counter[LeftAlone]) -> str:
    """Says that the photos are outputs, with copies among them or not, so that there was nothing to do."""
    count, ours = counts.total(), counts["made by bwcolor"]
    which = "this photo was made by bwcolor" if count == 1 else f"all {count:,} photos were made by bwcolor"
    if ours < count:
        which = f"all {count:,} photos are in color already, {ours:,} of them made by bwcolor"
    return (
        f"{which}, so nothing was done. Name the original photos, or add --color-input recolor to colorize these again."
    )


def sidecars_in_words(count: int) -> str:
    """Counts sidecars: 1 sidecar, 2 sidecars."""
    return "1 sidecar" if count == 1 else f"{count:,} sidecars"


def _doubt_in_words(doubt: float | None) -> str:
    return "" if doubt is None else f", doubt {doubt:.0f}"


def _relative(path: Path, root: Path) -> Path:
    """How a photo is called: by its path below the folder that the user gave."""
    if path == root:
        return Path(path.name)
    return path.relative_to(root) if path.is_relative_to(root) else path


class _Rate(ProgressColumn):
    """Photos a second, or seconds a photo when slower."""

    def render(self, task: Task) -> Text:
        if not task.speed:
            return Text("")
        return Text(f"{task.speed:.1f} photos/s" if task.speed >= 1 else f"{1 / task.speed:.1f} s/photo")


class _Failed(ProgressColumn):
    """How many photos have failed; their lines come at the end."""

    def render(self, task: Task) -> Text:
        failed = task.fields["failed"]
        return Text(f"{failed:,} failed", FAILURE_STYLE) if failed else Text("")


class _Name(ProgressColumn):
    """The photo that ended last; as Text, because markup in a file name must stay text."""

    def render(self, task: Task) -> Text:
        name = str(task.fields["name"])
        return Text(name if len(name) <= NAME_WIDTH else "…" + name[1 - NAME_WIDTH :])
