"""Names of files on a terminal."""

import unicodedata

MASKED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})  # Unicode categories never printed as they are


def printable(name: object) -> str:
    """A file name as data: control characters, line ends, bidi marks and undecodable bytes made visible."""
    return "".join(char if unicodedata.category(char) not in MASKED else f"\\u{ord(char):04x}" for char in str(name))
