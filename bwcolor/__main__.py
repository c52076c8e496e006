"""`python -m bwcolor` is the same as `bwcolor`."""

import sys


def main() -> None:
    """The program; Ctrl-C ends it quietly even while it is loaded."""
    try:
        from bwcolor.cli import app

        app()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
