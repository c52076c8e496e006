"""JPEGs that have their whole picture, and lack what decoders need to know of it: their end, or their height."""

from bwcolor.photo.formats.jpeg import DNL, EOI, FRAMES, SOI, SOS, later_height, segments

END = bytes([0xFF, EOI])
NO_END = "the end marker of the JPEG was missing; all of its picture is there"
# Frames whose decoders take what is missing for zeros, so that nobody can tell whether a scan is whole (D.2.6).
ARITHMETIC = frozenset(range(0xC9, 0xD0)) - {0xCC}
FILLED = b"\0\0"  # how files end whose rest was never written; scans end in set bits (ITU-T T.81, F.1.2.3)


def lacks_end(source: bytes) -> bool:
    """Tell whether a JPEG ends in the data of a scan, without an end marker. Whether the scan is whole, decoding shows.

    One that was filled up with zeros lacks more than its end: zeros can be decoded, to something that was never there.
    """
    if not source.startswith(SOI) or source.endswith((END, FILLED)):
        return False
    last = None
    for last in segments(source):
        if last.marker in ARITHMETIC:
            return False
    if last is None or last.marker != SOS:
        return False
    start = source.rfind(last.head) + len(last.head)
    return start + len(last.data) == len(source)


def mended(source: bytes) -> bytes:
    """Add the end marker that a JPEG lacks, and the height that stands behind its first scan; others stay as they are.

    A DNL marker there tells the number of lines when the frame header doesn't (ITU-T T.81, B.2.5).
    """
    if not source.startswith(SOI):
        return source
    frame = next((part.head for part in segments(source, until=SOS) if part.marker in FRAMES), b"")
    if frame[5:7] == b"\0\0" and (height := later_height(source)):
        source = _with_height(source, height)
    # A half marker, or bytes that fill up, would hide what is put behind them.
    return source.rstrip(b"\xff") + END if lacks_end(source) else source


def _with_height(source: bytes, height: int) -> bytes:
    pieces: list[bytes | memoryview] = [SOI]
    for marker, head, data in segments(source):
        if marker in FRAMES:
            head = head[:5] + height.to_bytes(2, "big") + head[7:]
        pieces += [head, data] if marker != DNL else []
    return b"".join(pieces)
