"""What to install is told in a way that fits however bwcolor was installed."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from bwcolor.system.packages import install_line


@pytest.mark.parametrize("extra", ["heic", "cuda", "train"])
def test_the_line_names_what_the_extra_brings(extra: str, repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {entry.partition(";")[0].strip() for entry in project["optional-dependencies"][extra]}
    line = install_line(extra)
    assert line.startswith("pip install ")
    assert set(re.findall(r'"([^"]+)"', line)) == wanted


def test_run_from_its_source_the_line_names_that_folder(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    def missing(_: str) -> None:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "requires", missing)
    assert install_line("heic") == f'pip install "{repository}[heic]"'


def test_nobody_is_sent_to_an_index_for_bwcolor_itself(repository: Path) -> None:
    """It is not known whether it came from there, and a stranger's package of that name would be installed."""
    sources = [path for name in ("bwcolor", "training", "export") for path in (repository / name).rglob("*.py")]
    texts = [*sources, *repository.glob("*.md"), *repository.glob("*/README.md"), *repository.glob("docs/*.md")]
    assert len(texts) > 80
    for path in texts:
        assert not re.search(r"pip install ['\"]?bwcolor\b", path.read_text(encoding="utf-8")), path
