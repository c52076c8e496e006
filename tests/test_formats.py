"""Every kind of photo file through a real run: the limits of its case hold, and docs/formats.md lists it."""

from pathlib import Path

import pytest
from matrix.cases import CASES
from matrix.document import written_as
from matrix.expected import EXACT, Case
from matrix.measure import measure

NO_LABEL = {"bmp"}  # formats without a place for it


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_limits_hold(case: Case, tmp_path: Path) -> None:
    row, expected = measure(case, tmp_path), case.expected
    if row.state == "skipped":
        pytest.skip(row.words)
    if expected.refused:
        assert (row.state, expected.refused in row.words) == ("refused", True), row.words
        return
    assert row.state == "done", row.words
    assert row.size, "of another size, or turned otherwise"
    assert (row.form, row.bits) == (expected.form, expected.bits)
    assert row.most <= expected.most
    assert row.mean <= expected.mean
    if expected.stored is not None:
        assert row.stored is not None
        assert row.stored <= expected.stored
    assert row.parts == (expected.stored == EXACT)
    assert (row.alpha or 0.0) <= expected.alpha
    assert (row.colour is None) == (expected.colour is None)
    assert (row.colour or 0.0) <= (expected.colour or 0.0)
    assert set(row.held) == set(expected.holds)  # else the comparison below would look at nothing
    assert set(row.lost) <= set(expected.loses)
    assert row.notes or not row.lost, "lost without a word"
    if "transparency" in row.lost:
        assert any("transparency" in note for note in row.notes)
    assert row.upright == expected.upright
    assert row.label == (row.form not in NO_LABEL)


def test_names_are_unique() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))


def test_document_lists_the_cases(repository: Path) -> None:
    lines = (repository / "docs" / "formats.md").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| Photo |"))
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[start:] if line.startswith("| ")]
    rows = [row for row in cells if row[0] != "Photo"]
    assert [row[0] for row in rows] == [case.name for case in CASES]
    for row, case in zip(rows, CASES, strict=True):
        written = written_as(case.expected.form, case.expected.bits)
        assert row[1] in ("refused" if case.expected.refused else written, "skipped"), row[0]
