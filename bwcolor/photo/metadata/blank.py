"""Metadata that is there and holds nothing."""

NOTHING = b"\0 \t\r\n"  # what programs fill room up with


def is_blank(data: bytes | None) -> bool:
    """Tell whether there is nothing but zeros and white space; None holds nothing either."""
    return data is None or not data.strip(NOTHING)
