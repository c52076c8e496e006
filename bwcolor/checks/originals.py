"""Which original each output was made from."""

import functools
import os
from collections.abc import Callable
from pathlib import Path

from bwcolor.batch.discovery import Choice
from bwcolor.batch.ledger import Ledger
from bwcolor.batch.plan import find_jobs
from bwcolor.photo.formats.signatures import has_photo_name
from bwcolor.photo.recognize import why_no_photo

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
    photos_in = functools.cache(_photos)
    pairs: list[tuple[Path, Path | None]] = []
    for path in outputs:
        name = path.relative_to(root) if root.is_dir() else Path(path.name)
        # An output of another format has a second ending, scan.gif.png, or another one, scan.png.
        named = (originals / name, (originals / name).with_suffix(""), *_alone(originals / name, photos_in))
        found = (originals / known[path], *named) if path in known else named
        pairs.append((path, next((one for one in found if one.is_file() and why_no_photo(one) is None), None)))
    return pairs


def _alone(name: Path, photos_in: Callable[[Path], list[Path]]) -> list[Path]:
    """The photo of this name but for its ending, if there is just one."""
    found = [path for path in photos_in(name.parent) if path.stem == name.stem]
    return found if len(found) == 1 else []


def _photos(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if has_photo_name(path)]
    except OSError:
        return []


def _known(out: Path) -> dict[Path, Path]:
    """Outputs with the paths of their originals below the input folder, as the ledger has them."""
    ledger = Ledger.peek(out)
    if ledger is None:
        return {}
    with ledger:
        return {out / record.path: record.source for record in ledger.records()}
