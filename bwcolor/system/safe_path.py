"""Where code may come from: the installation and what the user names by its full path, never the current folder.

A folder of photos may hold files that are called like modules or programs. Until `protect_imports` has run, each of
them would be taken for the real one, so that only what Python itself has loaded by then is imported here.
"""

import os
import site
import sys


def protect_imports() -> None:
    """Takes the current folder, and the folder of the script that was started, off the import path.

    Folders that PYTHONPATH names by their full path stay, even where one of them is the current folder; so does the
    archive of a zipapp. What `python -m` and PYTHONPATH's `sitecustomize` have imported by now can't be undone.
    """
    if sys.path and not sys.flags.safe_path and (_is_current(sys.path[0]) or sys.path[0] == _script_folder()):
        del sys.path[0]
    asked = [] if sys.flags.ignore_environment else _named_in("PYTHONPATH")
    if any(_is_current(folder) for folder in asked if not os.path.isabs(folder)):
        own = {*site.getsitepackages(), site.getusersitepackages(), *filter(os.path.isabs, asked)}
        sys.path[:] = [folder for folder in sys.path if folder in own or not _is_current(folder)]


def safe_python_path() -> str:
    """Returns PYTHONPATH for a child process: full paths, without those that stand for the current folder."""
    folders = [folder for folder in _named_in("PYTHONPATH") if os.path.isabs(folder) or not _is_current(folder)]
    try:
        return os.pathsep.join(map(os.path.abspath, folders))
    except FileNotFoundError:  # the current folder was deleted, and with it what lay below
        return os.pathsep.join(filter(os.path.isabs, folders))


def find_program(name: str) -> str | None:
    """Finds a program in the folders that PATH names by their full path; None where there is none.

    `shutil.which` looks into the current folder too: first on Windows, elsewhere where PATH has an empty entry.
    """
    ending = ".exe" if os.name == "nt" else ""
    for folder in filter(os.path.isabs, _named_in("PATH")):
        program = os.path.join(folder, name + ending)
        if os.path.isfile(program) and os.access(program, os.X_OK):
            return program
    return None


def _script_folder() -> str | None:
    """Finds the folder of the script that was started; None where its path began in a folder that was deleted."""
    try:
        return os.path.dirname(os.path.realpath(sys.argv[0]))
    except FileNotFoundError:
        return None


def _named_in(variable: str) -> list[str]:
    """Returns the folders in an environment variable; Python and shells take an empty one for the current folder."""
    value = os.environ.get(variable, "")
    return value.split(os.pathsep) if value else []


def _is_current(folder: str) -> bool:
    try:
        return not folder or os.path.samefile(folder, os.curdir)
    except OSError:  # one that is not there
        return False
