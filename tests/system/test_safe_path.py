"""Nothing of the current folder is run, whatever files are called there: by no command, and not by the worker."""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from photo.pictures import gray, saved, scene

from bwcolor.batch.transport import COMMAND
from bwcolor.system.safe_path import find_program, protect_imports, safe_python_path

# As pip writes it; its folder is the first of the import path.
CONSOLE_SCRIPT = "import sys\nfrom bwcolor.__main__ import main\nsys.exit(main())\n"
PROGRAMS = ("nvidia-smi", "uname", "ldconfig", "gcc", "git")
LONG = 120.0  # seconds after which a test gives up waiting


def modules() -> set[str]:
    """The names of all modules that could be imported here: Python's own, and those of every installed package."""
    return {
        name
        for name in {*sys.stdlib_module_names, *metadata.packages_distributions(), "bwcolor", "bwcolor_training"}
        if name.isidentifier()
    } | {"bwcolor_export", "sitecustomize", "usercustomize", "pillow_heif", "tensorboard"}


@pytest.fixture(scope="module")
def trapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photos with a trap under every name; what steps into one leaves its name in `sprung`."""
    base = tmp_path_factory.mktemp("trapped")
    folder = base / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(saved(gray(scene(24, 32, 1)), "PNG"))
    trap = f"import sys\nopen({str(base / 'sprung')!r}, 'a').write(__name__ + ' ')\n"
    for name in modules():
        (folder / f"{name}.py").write_text(trap, encoding="utf-8")
    for name in PROGRAMS:
        program = folder / name
        program.write_text(f"#!/bin/sh\necho {name} >> {base / 'sprung'}\n", encoding="utf-8")
        program.chmod(0o755)
    return folder


@pytest.fixture
def sprung(trapped: Path) -> Callable[[], str]:
    """What was run of the folder's files."""
    told = trapped.parent / "sprung"
    told.unlink(missing_ok=True)
    return lambda: told.read_text(encoding="utf-8") if told.exists() else ""


def bwcolor(folder: Path, *arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The command as an installed script, run in `folder`."""
    script = folder.parent / "bin" / "bwcolor"
    script.parent.mkdir(exist_ok=True)
    script.write_text(CONSOLE_SCRIPT, encoding="utf-8")
    return subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=LONG,
    )  # fmt: skip


def test_the_traps_spring(trapped: Path, sprung: Callable[[], str]) -> None:
    subprocess.run([sys.executable, "-c", "import queue, imagecodecs"], cwd=trapped, check=True, timeout=LONG)
    assert {"queue", "imagecodecs"} <= set(sprung().split())


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["."], 0),
        (["verify", "../bin", "."], 6),
        (["models"], 0),
        (["eval", "."], 0),
        (["train", ".", "--out", "../run"], 2),
        (["export", "no.pt"], 2),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_no_command_runs_what_lies_in_the_current_folder(
    arguments: list[str], code: int, trapped: Path, sprung: Callable[[], str], tiny_model: Path
) -> None:
    extra = ["--out", "../out", "--model", str(tiny_model)] if arguments == ["."] else []
    ended = bwcolor(trapped, *arguments, *extra)
    assert sprung() == ""
    assert "Traceback" not in ended.stderr
    assert ended.returncode == code, ended.stderr


def test_doctor_starts_no_program_and_no_module_of_the_current_folder(trapped: Path, sprung: Callable[[], str]) -> None:
    ended = bwcolor(trapped, "doctor", PATH=f":.:{os.environ['PATH']}")
    assert "Traceback" not in ended.stderr
    assert sprung() == ""


@pytest.fixture
def innocent(tmp_path: Path) -> Path:
    """A folder with a photo, and files that are called like modules that Python itself does not need to start."""
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(saved(gray(scene(24, 32, 1)), "PNG"))
    for name in ("queue", "imagecodecs", "numpy", "typer", "secrets", "PIL"):
        (folder / f"{name}.py").write_text("raise SystemExit('trapped')", encoding="utf-8")
    return folder


@pytest.mark.parametrize("named", ["", "."])
def test_a_python_path_that_stands_for_the_current_folder_is_not_followed(
    named: str, innocent: Path, tiny_model: Path
) -> None:
    python_path = os.pathsep.join([named, str(innocent.parent)])
    ended = bwcolor(innocent, ".", "--out", "../out", "--model", tiny_model, PYTHONPATH=python_path)
    assert ended.returncode == 0, ended.stderr


def test_python_m_is_protected_as_far_as_it_can_be(innocent: Path, tiny_model: Path) -> None:
    command = [sys.executable, "-m", "bwcolor", ".", "--out", "../out", "--model", str(tiny_model)]
    ended = subprocess.run(command, cwd=innocent, capture_output=True, text=True, check=False, timeout=LONG)
    assert ended.returncode == 0, ended.stderr


# The import path.


@pytest.fixture
def path_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[str]]:
    """What becomes of an import path. `here` is the current folder, `bin` that of the script."""
    for name in ("here", "bin", "lib"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "bin" / "bwcolor")])

    def after(path: list[str], python_path: str = "") -> list[str]:
        monkeypatch.setenv("PYTHONPATH", python_path)
        monkeypatch.setattr(sys, "path", list(path))
        protect_imports()
        return sys.path

    return after


def test_the_current_folder_and_the_scripts_go(path_of: Callable[..., list[str]], tmp_path: Path) -> None:
    here, script, lib = str(tmp_path / "here"), str(tmp_path / "bin"), str(tmp_path / "lib")
    for first in ("", ".", here, script):
        assert path_of([first, lib]) == [lib]
    assert path_of([lib, here]) == [lib, here], "the installation itself is the current folder"
    assert path_of([f"{script}/bwcolor.pyz", lib]) == [f"{script}/bwcolor.pyz", lib], "a zipapp"
    assert path_of([]) == []


def test_what_python_path_names_in_full_stays(path_of: Callable[..., list[str]], tmp_path: Path) -> None:
    here, script, lib = str(tmp_path / "here"), str(tmp_path / "bin"), str(tmp_path / "lib")
    assert path_of([script, here, lib], f":{lib}") == [lib]
    assert path_of([script, here, lib], f".:{lib}") == [lib]
    assert path_of([script, here, lib], f"{here}:{lib}") == [here, lib], "it was meant"
    assert path_of([script, f"{here}/sub", lib], "sub") == [f"{here}/sub", lib], "a folder in it was meant"


def test_a_childs_python_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for given, safe in (("", ""), (":/x", "/x"), (".:/x:sub", f"/x:{tmp_path / 'sub'}"), (str(tmp_path),) * 2):
        monkeypatch.setenv("PYTHONPATH", given.replace(":", os.pathsep))
        assert safe_python_path() == safe.replace(":", os.pathsep)
    monkeypatch.delenv("PYTHONPATH")
    assert safe_python_path() == ""


@pytest.mark.skipif(os.name == "nt", reason="the current folder can't be deleted there")
def test_a_current_folder_that_is_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setenv("PYTHONPATH", "/x:sub:")
    assert safe_python_path() == "/x"
    for started in ("-c", "bin/bwcolor", "/x/bin/bwcolor"):
        monkeypatch.setattr(sys, "argv", [started])
        for before in (["", "/x"], ["/x"]):  # the script's own folder is asked for only where the first is another
            monkeypatch.setattr(sys, "path", before)
            protect_imports()
            assert sys.path == ["/x"]


# Programs.


@pytest.mark.skipif(os.name == "nt", reason="programs are known by their ending there")
def test_programs_are_found_by_full_paths_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here, tools = tmp_path / "here", tmp_path / "tools"
    for folder in (here, tools):
        folder.mkdir()
        (folder / "tool").touch(0o755)
    monkeypatch.chdir(here)
    for path in ("", ".", ":", f"{here.name}:..", "."):
        monkeypatch.setenv("PATH", path)
        assert find_program("tool") is None
    monkeypatch.setenv("PATH", f":.:{tools}:{here}")
    assert find_program("tool") == str(tools / "tool")
    (tools / "tool").chmod(0o644)
    assert find_program("tool") == str(here / "tool"), "PATH names it in full"
    (here / "tool").unlink()
    (here / "tool").mkdir()
    assert find_program("tool") is None


def test_windows_adds_the_ending(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tool.exe").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("bwcolor.system.safe_path.os.name", "nt")
    found = find_program("tool")
    monkeypatch.undo()
    assert found == str(tmp_path / "tool.exe")


def test_the_worker_imports_nothing_from_the_folder_of_its_own_file(trapped: Path) -> None:
    """Which Python puts first on the import path, unless it is told not to."""
    *interpreter, file = COMMAND
    assert Path(file).is_file()
    told = subprocess.run(
        [*interpreter, "-c", "import sys; print(sys.flags.safe_path, '' in sys.path)"],
        cwd=trapped, capture_output=True, text=True, timeout=LONG, check=True,
    )  # fmt: skip
    assert told.stdout.split() == ["True", "False"]
