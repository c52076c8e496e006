"""The command `bwcolor verify`: whether outputs hold what their originals held.

Heavy packages are imported inside the command, so that --help stays quick.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bwcolor.cli.exit_codes import EXIT_SOME_FAILED, errors_as_sentences
from bwcolor.cli.options import LabelChoice, MaxFilePixels, MaxPixels
from bwcolor.options import MAX_FILE_PIXELS

if TYPE_CHECKING:
    from bwcolor.batch.discovery import LeftOut

ANSWERS = {True: "PASS", False: "FAIL", None: "-"}


def verify(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A colorized photo, or a folder of them.")],
    original: Annotated[
        Path | None, typer.Argument(metavar="[IN]", help="The original, or the folder of originals.")
    ] = None,
    label: Annotated[
        LabelChoice, typer.Option(help="none: outputs need not say that software made their colors.")
    ] = LabelChoice.XMP,
    hidden: Annotated[
        bool, typer.Option("--hidden", help="Originals in hidden, trash, and thumbnail folders need outputs too.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only what failed.")] = False,
    max_pixels: MaxPixels = 300_000_000,
    max_file_pixels: MaxFilePixels = MAX_FILE_PIXELS,
) -> None:
    """Prove that outputs keep brightness and metadata of their originals, and say how they were made.

    Originals of a folder that have no output count as FAIL, except what a run leaves alone: photos that are in color
    already, and hidden ones (unless --hidden).
    """
    with errors_as_sentences():
        from bwcolor.batch.discovery import Choice
        from bwcolor.batch.plan import find_jobs
        from bwcolor.checks.originals import ALL_OUTPUTS, originals_of
        from bwcolor.checks.verify import verify_photo
        from bwcolor.errors import FolderError, PhotoError, UsageError

        if label is LabelChoice.VISIBLE:
            raise UsageError(
                "--label visible: a visible mark can't be verified. --label xmp looks for the label in the metadata."
            )
        if original is not None:
            if not original.exists():
                raise FolderError(f"{original}: no such file or folder.")
            if out.exists() and out.samefile(original):
                raise UsageError(f"{original}: is the same as what is to be verified. Name the original after it.")
            if out.is_dir() and not original.is_dir():
                raise UsageError(f"{original}: {out} is a folder, so its originals must be one too.")
        bad = total = 0
        found: set[Path] = set()
        for path, source in originals_of(out, original):
            total += 1
            try:
                if original is not None and (source is None or source.samefile(path)):
                    raise PhotoError(f"no original for it in {original}")
                found |= {Path(os.path.abspath(source))} if source is not None else set()
                checks = verify_photo(path, source, max_pixels, label is not LabelChoice.NONE, max_file_pixels)
            except PhotoError as error:
                bad += 1
                _say(f"FAIL {path}: {error}")
                continue
            fine = all(check.ok is not False for check in checks)
            bad += not fine
            if not (quiet and fine):
                _say(f"{ANSWERS[fine]:5}{path}")
                for check in checks:
                    _say(f"     {check.name:11}{ANSWERS[check.ok]:5}{check.words}")
        for left in find_jobs(out, None, choice=ALL_OUTPUTS).left_out if out.is_dir() else ():
            total, bad = total + 1, bad + 1
            _say(f"FAIL {left.path}: {left.reason}")
        typer.echo(f"{total - bad} of {total} passed")
        if original is not None and original.is_dir() and out.is_dir():
            plan = find_jobs(original, out, choice=Choice(hidden=hidden))
            missing = [job.source for job in plan.jobs if job.source not in found]
            unopened = [left for left in plan.left_out if left.failed and left.path not in found]
            bad += _name_missing(missing, unopened, max_pixels, max_file_pixels, quiet)
        if bad:
            raise typer.Exit(EXIT_SOME_FAILED)


def _say(line: str) -> None:
    from bwcolor.system.text import printable

    typer.echo(printable(line))


def _name_missing(
    originals: Iterable[Path], unopened: Sequence["LeftOut"], max_pixels: int, max_file_pixels: int, quiet: bool
) -> int:
    """Name the originals without an output; returns how many of them should have one. unopened: those that must not be
    opened, such as placeholders of a cloud."""
    from bwcolor.checks.verify import in_colour_already
    from bwcolor.errors import PhotoError

    missing, in_colour = len(unopened), 0
    for left in unopened:
        _say(f"FAIL {left.path}: has no output ({left.reason})")
    for path in originals:
        try:
            colour, reason = in_colour_already(path, max_pixels, max_file_pixels), "has no output"
        except PhotoError as error:
            colour, reason = False, f"has no output ({error})"
        missing, in_colour = missing + (not colour), in_colour + colour
        if not colour:
            _say(f"FAIL {path}: {reason}")
        elif not quiet:
            _say(f"-    {path}: has no output; it is already in color")
    if missing:
        typer.echo(f"{missing} {_originals(missing)} no output")
    if in_colour and not quiet:
        typer.echo(f"{in_colour} {_originals(in_colour)} no output and {'is' if in_colour == 1 else 'are'} in color")
    return missing


def _originals(count: int) -> str:
    return "original has" if count == 1 else "originals have"
