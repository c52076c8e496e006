"""The command line: parse, call the library, say what happened, exit. Only command modules exit (see `exits`).

Heavy packages are imported inside the commands, so that --help stays quick.
"""

import io
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bwcolor import __version__
from bwcolor.cli.colorize import colorize
from bwcolor.cli.doctor import doctor
from bwcolor.cli.evaluate import evaluate
from bwcolor.cli.models import models
from bwcolor.cli.train import average, export, train
from bwcolor.cli.verify import verify
from bwcolor.errors import UsageError

MAIN_COMMAND = "colorize"
GROUP_OPTIONS = ("--help", "-h", "--version")

EPILOG = (
    "A folder that is called like a command is written ./train. Exit codes: 0 all done or skipped,"
    " 1 some photos failed, 2 usage, 3 device or package missing, 4 model, 5 folder or disk,"
    " 6 no photos found, 7 another run holds the output, 130 interrupted."
)


# What to type, for those who typed nothing.
START = """\
Colorize old black-and-white photos. Your originals are never changed. Type:
  bwcolor PHOTOS              for a folder of photos; the results go to PHOTOS_colored, beside it
  bwcolor PHOTOS --out OTHER  the same, but the results go to the folder OTHER
  bwcolor PHOTO.jpg           for a single photo; the result is PHOTO_colored.jpg, beside it
  bwcolor --help              for everything else that bwcolor can do"""


class MainCommandGroup(TyperGroup):
    """A group whose command `colorize` runs when no command is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args:
            typer.echo(START, err=True)
            ctx.exit(UsageError.exit_code)  # a script whose $FOLDER is unset has done nothing
        if "" in args:  # an unset "$FOLDER" in a script: taken for a path, it would be the current folder
            raise typer.BadParameter("an argument is empty. Name a folder, or ./ for the one you are in.")
        if args and args[0] not in self.commands and args[0] not in GROUP_OPTIONS:
            args = [MAIN_COMMAND, *args]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        main = self.commands[MAIN_COMMAND]
        rows = [row for parameter in main.get_params(ctx) if (row := parameter.get_help_record(ctx))]
        with formatter.section("Options of the main job"):
            formatter.write_dl([row for row in rows if "--help" not in row[0]])
        super().format_options(ctx, formatter)


app = typer.Typer(
    cls=MainCommandGroup, rich_markup_mode=None, add_completion=False,
    subcommand_metavar="PHOTOS | COMMAND ...", context_settings={"help_option_names": ["--help", "-h"]},
    epilog=EPILOG,
)  # fmt: skip


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bwcolor {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Colorize folders of old black-and-white photographs: bwcolor ./photos --out ./colored"""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names that the terminal's encoding lacks


app.command(MAIN_COMMAND)(colorize)
app.command("eval")(evaluate)
app.command()(verify)
app.command()(doctor)
app.command()(train)
app.command()(export)
app.command()(average)
app.add_typer(models, name="models")
