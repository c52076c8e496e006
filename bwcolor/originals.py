"""Which original each output was made from."""

import os
from pathlib import Path

from bwcolor.plan import find_jobs
from bwcolor.recognize import why_no_photo
from bwcolor.runs.ledger import Ledger
from bwcolor.walk import Choice

ALL_OUTPUTS = Choice(hidden=True)  # a run may have been told to take hidden photos, whose outputs are called alike


def originals_of(out: Path, originals: Path | None) -> list[tuple[Path, Path | None]]:
    """Outputs, one or all of a folder, each with its original, or None where there is none.

    originals: the folder that they lie in, or the one original. The ledger in the output folder says which one it is;
    without one, the name does. Raises FolderError or NoPhotosError where there is nothing to look at.
    """
    outputs = [job.source for job in find_jobs(out, None, choice=ALL_OUTPUTS).jobs]
    if originals is None or originals.is_file():
        return [(path, originals) for path in outputs]
    root = Path(os.path.abspath(out))
    known = _known(root) if root.is_dir() else {}
    pairs: list[tuple[Path, Path | None]] = []
    for path in outputs:
        name = path.relative_to(root) if root.is_dir() else Path(path.name)
        # An output of another format has a second ending: scan.gif.png.
        named = (originals / name, (originals / name).with_suffix(""))
        found = (originals / known[path], *named) if path in known else named
        pairs.append((path, next((one for one in found if one.is_file() and why_no_photo(one) is None), None)))
    return pairs


def _known(out: Path) -> dict[Path, Path]:
    """Outputs with the paths of their originals below the input folder, as the ledger has them."""
    ledger = Ledger.peek(out)
    if ledger is None:
        return {}
    with ledger:
        return {out / record.path: record.source for record in ledger.records()}
