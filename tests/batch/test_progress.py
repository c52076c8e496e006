"""What a run shows: names are data, and the counts are right."""

import dataclasses
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bwcolor.batch.discovery import LeftOut
from bwcolor.batch.ledger import State
from bwcolor.batch.outcome import Outcome
from bwcolor.batch.plan import Job
from bwcolor.batch.progress import RunView
from bwcolor.system.text import printable

ROOT = Path("/photos")
NASTY = "bad[red]x[/]\x1b[31m\r\n\u202egpj.\udcff\u2028.jpg"
MASKED = "bad[red]x[/]\\u001b[31m\\u000d\\u000a\\u202egpj.\\udcff\\u2028.jpg"


def outcome(name: str, state: State, reason: str = "", *notes: str) -> Outcome:
    return Outcome(Job(ROOT / name, Path("/out") / name), state, reason, notes, seconds=0.5)


def shown(capsys: pytest.CaptureFixture[str], level: int, *outcomes: Outcome) -> list[str]:
    """Lines on stderr of a run with these outcomes."""
    with RunView(len(outcomes), ROOT, level) as view:
        for one in outcomes:
            view.show(one)
        view.summarize(Path.cwd())
    captured = capsys.readouterr()
    assert captured.out == "", "stdout is for results"
    return captured.err.split("\n")[:-1]


@settings(deadline=None)
@given(st.text(st.characters(), max_size=30))
def test_nothing_printable_is_ever_a_control_or_direction_mark(text: str) -> None:
    result = printable(text)
    assert not {unicodedata.category(char) for char in result} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert printable(result) == result
    assert len(result.splitlines()) <= 1
    result.encode("utf-8")


@pytest.mark.parametrize(
    "name", ["Großmutter & Söhne.jpg", "写真 1931.png", "[bold]a[/bold] <b>.tif", "e\u0301té 👵.webp"]
)
def test_ordinary_names_stay_as_they_are(name: str) -> None:
    assert printable(name) == name
    assert printable(Path(name)) == name


def test_a_nasty_name_is_one_line_of_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, -1, outcome(NASTY, "failed", "damaged"))
    assert lines == [f"failed: {MASKED}: damaged"]


def test_what_a_file_says_of_itself_is_masked_too(capsys: pytest.CaptureFixture[str]) -> None:
    with RunView(1, ROOT, 0) as view:
        view.say("model \x1b]0;evil\x07 [bold]1[/bold]")
        view.warn("left out: a\u202eb.jpg")
    assert capsys.readouterr().err == "model \\u001b]0;evil\\u0007 [bold]1[/bold]\nleft out: a\\u202eb.jpg\n"


ENDS = (
    outcome("a.jpg", "done", "", "colour profile (GRAY) left out"),
    outcome("b.jpg", "done", "", "colour profile (GRAY) left out", "pages left out"),
    outcome("c.jpg", "skipped", "output exists; --overwrite replaces it"),
    outcome("sub/d.jpg", "failed", "the file is empty"),
)


def test_the_summary_counts_every_end(capsys: pytest.CaptureFixture[str]) -> None:
    counts, *notes, failed = shown(capsys, 0, *ENDS)
    assert failed == "failed: sub/d.jpg: the file is empty"
    assert counts.startswith("2 colorized, 1 skipped (output exists; --overwrite replaces it), 1 failed in ")
    assert counts.endswith(f" s. Output: {Path.cwd()}")
    assert notes == ["note: 2 of them: colour profile (GRAY) left out", "note: 1 of them: pages left out"]


def test_quiet_shows_failures_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, -1, *ENDS) == ["failed: sub/d.jpg: the file is empty"]


def test_verbose_shows_every_photo(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, 1, *ENDS)
    assert [*lines[:3], lines[-1]] == [
        "done: a.jpg: 0.50 s; colour profile (GRAY) left out",
        "done: b.jpg: 0.50 s; colour profile (GRAY) left out; pages left out",
        "skipped: c.jpg: output exists; --overwrite replaces it",
        "failed: sub/d.jpg: the file is empty",
    ]


def test_failures_come_last_and_once(capsys: pytest.CaptureFixture[str]) -> None:
    with RunView(3, ROOT, 0) as view:
        view.leave_out(LeftOut(ROOT / "raw.dng", "can't be read yet"))
        view.leave_out(LeftOut(ROOT / "huge.tif", "is too large", failed=True))
        for one in (outcome("a.jpg", "failed", "damaged"), outcome("b.jpg", "done"), ENDS[2]):
            view.show(one)
        view.summarize(Path.cwd())
    left_out, counts, *failed = capsys.readouterr().err.splitlines()
    assert left_out == "left out: raw.dng: can't be read yet"
    assert counts.startswith(
        "1 colorized, 1 skipped (output exists; --overwrite replaces it), 2 failed, 1 left out in "
    )
    assert failed == ["failed: huge.tif: is too large", "failed: a.jpg: damaged"]
    assert view.failed


def test_failures_can_be_told_before_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    """As a watched folder needs it, whose run has no end."""
    with RunView(1, ROOT, 0) as view:
        view.show(ENDS[3])
        assert capsys.readouterr().err == ""
        view.tell_failures()
        assert capsys.readouterr().err == "failed: sub/d.jpg: the file is empty\n"
    assert capsys.readouterr().err == ""


def test_a_long_run_without_a_terminal_says_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bwcolor.batch.progress.PLAIN_INTERVAL", -1.0)
    lines = shown(capsys, 0, *ENDS[:2])
    assert lines[:2] == ["1 of 2 photos", "2 of 2 photos"]
    assert shown(capsys, 0, ENDS[3], ENDS[0])[:2] == ["1 of 2 photos, 1 failed", "2 of 2 photos, 1 failed"]


def test_on_a_terminal_a_bar_names_the_photo_as_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("FORCE_COLOR", "1"), ("TTY_COMPATIBLE", "1"), ("TERM", "xterm"), ("COLUMNS", "120")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    with RunView(3, ROOT, 0) as view:
        view.show(outcome("b.jpg", "failed", "damaged"))
        view.show(outcome("[red]\u202ea.jpg", "done"))
    screen = capsys.readouterr().err
    assert "2/3" in screen
    assert "1 failed" in screen
    assert screen.rstrip().endswith("failed: b.jpg: damaged\x1b[0m"), "the bar is gone by then"
    assert "[red]\\u202ea.jpg" in screen
    assert "\u202e" not in screen


def test_the_most_doubtful_photos_are_named_first(capsys: pytest.CaptureFixture[str]) -> None:
    unsure = [dataclasses.replace(outcome(f"{doubt}.jpg", "done"), doubt=float(doubt)) for doubt in range(5, 25)]
    unknown = outcome("unknown.jpg", "done")
    named = shown(capsys, 0, *unsure, unknown)[-1]
    expected = ", ".join(f"{doubt}.jpg" for doubt in range(24, 14, -1))
    assert named == f"Check these first; their colors are the least certain (others may be wrong, too): {expected}"
    assert not any("Look at these" in line for line in shown(capsys, 0, *unsure[:5], unknown)), "all below the limit"
    assert shown(capsys, -1, *unsure) == []
