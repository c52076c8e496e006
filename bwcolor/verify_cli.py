"""The command `bwcolor verify`: whether outputs hold what their originals held.

Heavy packages are imported inside the command, so that --help stays quick.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bwcolor.arguments import MaxPixels
from bwcolor.exits import EXIT_SOME_FAILED, errors_as_sentences

if TYPE_CHECKING:
    from bwcolor.verify import Check


def verify(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A colorized photo, or a folder of them.")],
    original: Annotated[
        Path | None, typer.Argument(metavar="[IN]", help="The original, or the folder of originals.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only what is not as it should be.")] = False,
    max_pixels: MaxPixels = 300_000_000,
) -> None:
    """Prove that outputs keep brightness and metadata of their originals, and say who coloured them."""
    with errors_as_sentences():
        from bwcolor.errors import PhotoError, UsageError
        from bwcolor.plan import originals_of
        from bwcolor.progress import printable
        from bwcolor.verify import verify_photo

        if out.is_dir() and original is not None and not original.is_dir():
            raise UsageError(f"{original}: {out} is a folder, so its originals must be one too.")
        bad = total = 0
        for path, source in originals_of(out, original):
            total += 1
            try:
                if original is not None and source is None:
                    raise PhotoError(f"no original for it in {original}")
                checks = verify_photo(path, source, max_pixels)
            except PhotoError as error:
                bad += 1
                typer.echo(printable(f"NO   {path}: {error}"))
                continue
            fine = all(check.ok is not False for check in checks)
            bad += not fine
            if not (quiet and fine):
                typer.echo(printable(f"{'yes' if fine else 'NO':4} {path}"))
                for line in _lines(checks):
                    typer.echo(printable(line))
        typer.echo(f"{total - bad} of {total} as they should be")
        if bad:
            raise typer.Exit(EXIT_SOME_FAILED)


def _lines(checks: "list[Check]") -> list[str]:
    answers = {True: "yes", False: "NO", None: "?"}
    return [f"     {check.name:11}{answers[check.ok]:4}{check.words}" for check in checks]
