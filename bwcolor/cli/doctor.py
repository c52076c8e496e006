"""The command `bwcolor doctor`: whether bwcolor works on this machine, in lines that an issue can hold.

Heavy packages are imported inside the command, so that --help stays quick.
"""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bwcolor import __version__
from bwcolor.cli.exit_codes import errors_as_sentences

if TYPE_CHECKING:
    from bwcolor.checks.doctor import Finding

MARKS = {"ok": "ok", "absent": "-", "bad": "FAIL"}
FORMAT = 1  # of the JSON; a key that is there keeps its meaning


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with the same content.")] = False,
) -> None:
    """Say what this machine has, what is missing, and what to do about it; try every device and model.

    Lines begin with ok, with - for what is not there and not needed, or with FAIL. Nothing names you or your computer:
    the home folder is ~. The exit code is 0 if photos can be colorized on the CPU at least.
    \f

    JSON: format (1), bwcolor (version), exit_code, devices (those that the default model ran on), and findings:
    section -> name -> state ("ok", "absent", "bad"), words, step (what to do next, or empty), facts (the values in the
    words, with names of their own). Sections and names are those of the text; packages are called as they are
    installed. "check" is a section that could not be looked at. Sizes are bytes, times are seconds.
    """
    with errors_as_sentences("nothing was changed"):
        from bwcolor.checks.doctor import devices, examine, exit_code

        found: list[Finding] = []
        for finding in examine():
            if not as_json:
                _show(finding, first=not found or found[-1].section != finding.section)
            found.append(finding)
        code = exit_code(found)
        if as_json:
            typer.echo(json.dumps(_as_json(found, code, devices(found)), indent=1))
        elif code:
            typer.echo("\nPhotos can't be colorized here: see the lines that begin with FAIL.")
        else:
            typer.echo(f"\nPhotos can be colorized here, on {', '.join(devices(found))}.")
        if code:
            raise typer.Exit(code)


def _show(finding: "Finding", first: bool) -> None:
    """One line, at once, so that what comes last is known if the next one crashes."""
    if first:
        typer.echo(f"\n{finding.section}")
    step = f". Next: {finding.step}" if finding.step else ""
    typer.echo(_printable(f"{MARKS[finding.state]:5}{finding.name:22}  {finding.words}{step}"))


def _as_json(found: "list[Finding]", code: int, devices: list[str]) -> dict[str, Any]:
    sections: dict[str, dict[str, Any]] = {}
    for one in found:
        entry = {"state": one.state, "words": one.words, "step": one.step, "facts": one.facts}
        sections.setdefault(one.section, {})[one.name] = entry
    return {"format": FORMAT, "bwcolor": __version__, "exit_code": code, "devices": devices, "findings": sections}


def _printable(text: str) -> str:
    try:
        from bwcolor.system.text import printable
    except Exception:  # the view of a run needs packages, which may be what is missing or broken
        return ascii(text)[1:-1]
    return printable(text)
