"""How the commands end: our own errors as one line and an exit code."""

import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from bwcolor.errors import BwcolorError

EXIT_SOME_FAILED, EXIT_INTERRUPTED = 1, 130


@contextmanager
def errors_as_sentences(interrupted: str = "nothing was written", debug: bool = False) -> Iterator[None]:
    """Turns our own errors into one line and their exit code; anything else is a bug and propagates.

    interrupted: what to say after Ctrl-C. debug: our own errors come with their tracebacks.
    """
    try:
        with warnings.catch_warnings():  # decoders warn of odd metadata; a damaged photo raises
            warnings.simplefilter("ignore")
            yield
    except BwcolorError as error:
        from bwcolor.printable import printable

        if debug:
            traceback.print_exc()
        typer.echo(f"error: {printable(error)}", err=True)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        typer.echo(f"interrupted: {interrupted}", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
