"""Starts the worker process. It is run by its path, never imported.

That path decides which bwcolor the worker is: the supervisor's own, however that was installed. Neither the current
folder nor a folder of that name elsewhere on the import path has a say.
"""

import importlib.util
import sys
from pathlib import Path


def main() -> None:
    """Loads the package that this file belongs to, and does the worker's job."""
    package = Path(__file__).resolve().parents[1]
    spec = importlib.util.spec_from_file_location(
        package.name, package / "__init__.py", submodule_search_locations=[str(package)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules[package.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    from bwcolor.batch.worker import main as work

    work()


if __name__ == "__main__":
    main()
