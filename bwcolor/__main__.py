"""`python -m bwcolor` is the same as `bwcolor`, but for what Python itself looks for in the current folder."""

import sys

from bwcolor.system.safe_path import protect_imports


def main() -> None:
    """The program; Ctrl-C ends it quietly even while it is loaded."""
    try:
        protect_imports()  # before anything else is imported
        from bwcolor.cli.app import app

        app()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
