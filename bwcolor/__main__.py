"""`python -m bwcolor` is the same as `bwcolor`."""

from bwcolor.cli import app

app()
