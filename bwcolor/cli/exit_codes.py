"""How the commands end: our own errors as one line and an exit code."""

import os
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from bwcolor.errors import BwcolorError, FolderError

EXIT_SOME_FAILED, EXIT_INTERRUPTED = 1, 130

CURRENT_FOLDER_GONE = "the folder that you are in no longer exists. Change to another one and run the command again."


@contextmanager
def errors_as_sentences(interrupted: str = "nothing was written", debug: bool = False) -> Iterator[None]:
    """Turns our own errors, and a current folder that was deleted, into one line and their exit code.

    Anything else is a bug and propagates.
    interrupted: what to say after Ctrl-C. debug: our own errors come with their tracebacks.
    """
    try:
        with warnings.catch_warnings():  # decoders warn of odd metadata; a damaged photo raises
            warnings.simplefilter("ignore")
            yield
    except BwcolorError as error:
        _end(error, debug)
    except FileNotFoundError:
        if _current_folder_exists():
            raise
        _end(FolderError(CURRENT_FOLDER_GONE), debug)
    except KeyboardInterrupt:
        typer.echo(f"interrupted: {interrupted}", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _end(error: BwcolorError, debug: bool) -> NoReturn:
    from bwcolor.system.text import printable

    if debug:
        traceback.print_exc()
    typer.echo(f"error: {printable(error)}", err=True)
    raise typer.Exit(error.exit_code) from None


def _current_folder_exists() -> bool:
    try:
        os.getcwd()  # noqa: PTH109 - Path.cwd() is the same
    except FileNotFoundError:
        return False
    return True
