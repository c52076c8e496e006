"""The documentation is tested against the code: commands, options, links, exit codes."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from bwcolor import errors
from bwcolor.cli.app import EPILOG, MAIN_COMMAND, app

USER_LINE = "pip install . && bwcolor examples/photos --out colored"
DEVELOPER_LINE = 'pip install -e ".[dev]" && pytest'
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "*/README.md", "bwcolor/models/README.md", "docs/*.md")
    for path in Path(__file__).resolve().parent.parent.glob(pattern)
)


def _shell_lines(text: str) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]


def test_readme_has_the_two_lines_that_ci_runs(repository: Path) -> None:
    lines = _shell_lines((repository / "README.md").read_text(encoding="utf-8"))
    assert USER_LINE in lines
    assert DEVELOPER_LINE in lines
    script = (repository / ".ci" / "run").read_text(encoding="utf-8")
    patterns = re.findall(r"readme_line '(.+?)'", script)
    assert [any(re.match(pattern, line) for line in (USER_LINE, DEVELOPER_LINE)) for pattern in patterns] == [True] * 2


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.name))
def test_every_command_in_the_documents_is_one_of_ours(document: Path) -> None:
    group = typer.main.get_command(app)
    commands = vars(group)["commands"]
    for line in _shell_lines(document.read_text(encoding="utf-8")):
        for part in re.split(r"&&|\|", line):
            words = shlex.split(part, comments=True)
            if not words or words[0] != "bwcolor":
                continue
            command = commands[words[1] if words[1] in commands else MAIN_COMMAND]
            command = vars(command).get("commands", {}).get(words[2] if len(words) > 2 else "", command)
            known = {option for parameter in command.params for option in parameter.opts}
            used = {word.partition("=")[0] for word in words if word.startswith("-")}
            assert used <= known | {"--help", "--version"}, f"{document.name}: {line}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.name))
def test_every_link_leads_to_a_file(document: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text(encoding="utf-8")):
        if not target.startswith(("http", "#")):
            assert (document.parent / target.partition("#")[0]).exists(), f"{document.name}: {target}"


def test_the_tests_that_hold_the_promises_exist(repository: Path) -> None:
    text = (repository / "docs" / "reliability.md").read_text(encoding="utf-8")
    found = {path.name: path.read_text(encoding="utf-8") for path in (repository / "tests").rglob("test_*.py")}
    named = re.findall(r"(test_\w+\.py)(?:::(\w+))?", text)
    assert len(named) > 20
    for file, test in named:
        assert f"def {test}" in found[file] if test else file in found, f"{file}::{test}"


def test_readme_lists_every_option_of_the_main_job(repository: Path) -> None:
    text = (repository / "README.md").read_text(encoding="utf-8")
    main = vars(typer.main.get_command(app))["commands"][MAIN_COMMAND]
    for parameter in main.params:
        for option in parameter.opts:
            if option.startswith("-"):
                assert f"`{option}" in text or f"`{option.lstrip('-')}" in text or option in ("--quiet", "--verbose")


def test_exit_codes_are_the_same_in_readme_help_and_code(repository: Path) -> None:
    text = " ".join((repository / "README.md").read_text(encoding="utf-8").split())
    codes = re.search(r"Exit codes: .*? 130 interrupted", EPILOG)
    assert codes is not None
    assert codes[0] in text
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    for code in {kind.exit_code for kind in kinds if issubclass(kind, errors.BwcolorError)}:
        assert re.search(rf"\b{code} ", codes[0])
