"""Runs every kind of photo file and writes the figures for readers: `python tests/format_matrix.py > docs/formats.md`.

tests/test_formats.py holds the same photos to their limits.
"""

import sys

from matrix.document import document

if __name__ == "__main__":
    sys.stdout.write(document())
