"""Which photos a licence clears for training: a CSV beside the photos with a row for each."""

import csv
import functools
import os
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

from bwcolor_training.errors import TrainingInputError

NAME = "MANIFEST.csv"
LEVELS_UP = 2  # folders above the photos that are searched for it
PATH, FIT = "path", "fit_for_training"  # the columns that are read: the rest is for people


def find_manifest(folder: Path) -> Path | None:
    """MANIFEST.csv in the folder or up to two levels above it; the nearest."""
    folder = folder.resolve()
    places = [folder, *folder.parents][: LEVELS_UP + 1]
    return next((place / NAME for place in places if (place / NAME).is_file()), None)


def allowed(manifest: Path, fit: frozenset[str]) -> frozenset[str]:
    """Absolute paths, as `absolute` writes them, of the rows whose fit_for_training is one of `fit`.

    Paths in the manifest start at its own folder. Raises TrainingInputError when it can't be used or clears nothing.
    """
    wanted = {value.strip().lower() for value in fit}
    seen: set[str] = set()
    paths = set()
    real = functools.cache(os.path.realpath)
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as text:  # spreadsheets put a mark before UTF-8
            rows = csv.DictReader(text)
            columns = rows.fieldnames or []
            if missing := [name for name in (PATH, FIT) if name not in columns]:
                raise TrainingInputError(
                    f"{manifest}: has no column {' and no column '.join(missing)}, only {', '.join(columns) or 'none'}."
                    " A manifest is a CSV file, with commas, whose first line names them."
                )
            for row in rows:
                value = (row[FIT] or "").strip().lower()
                seen.add(value)
                if value in wanted and row[PATH]:
                    paths.add(absolute(manifest.parent / row[PATH].strip(), real))
    except (OSError, ValueError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise TrainingInputError(f"{manifest}: can't be read as a CSV file in UTF-8 ({reason}).") from error
    if not paths:
        raise TrainingInputError(
            f"{manifest}: no row has {FIT} = {' or '.join(sorted(wanted))};"
            f" the column holds {', '.join(sorted(seen - {''})) or 'nothing'}."
        )
    return frozenset(paths)


def cleared(files: list[Path], folder: Path, fit: frozenset[str], manifests: Sequence[Path]) -> list[Path]:
    """Those of `files`, all below `folder`, that one of the manifests (or the one that belongs to it) clears."""
    if not manifests and (own := find_manifest(folder)) is not None:
        manifests = [own]
    if not manifests:
        raise TrainingInputError(
            f"{folder}: no {NAME} there or up to {LEVELS_UP} folders above, so nothing says which photos are fit"
            " for training; name one with --manifest, or leave --fit out."
        )
    paths = frozenset[str]().union(*(allowed(manifest, fit) for manifest in manifests))
    real = functools.cache(os.path.realpath)
    chosen = [path for path in files if absolute(path, real) in paths]
    if not chosen:
        raise TrainingInputError(
            f"{', '.join(map(str, manifests))}: none of its {len(paths)} rows with {FIT} = {' or '.join(sorted(fit))}"
            f" is one of the {len(files)} photos in {folder}; paths in it start at {manifests[0].parent}."
        )
    return chosen


def absolute(path: Path, real: Callable[[Path], str]) -> str:
    """A path as it is compared: links in its folders resolved by `real`, accented letters in one of their spellings."""
    return unicodedata.normalize("NFC", os.path.normcase(Path(real(path.parent), path.name)))
