"""Fax-coded strips of TIFF pages (ITU-T T.4 and T.6): whether they are whole, and their pixels.

libtiff decodes them, each in a small TIFF that is made for it: what it thinks of a file's other tags, it prints.
"""

import io
import struct
from typing import BinaryIO

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from tifffile import COMPRESSION

from bwcolor.errors import PhotoError
from bwcolor.photo.formats.tiffchecks import CUT_OFF, read_segment

FAX = frozenset({COMPRESSION.CCITTRLE, COMPRESSION.CCITTFAX3, COMPRESSION.CCITTFAX4})
END_OF_LINE_ZEROS = 11  # before the 1 of an end of line; no other code words make as many (ITU-T T.4, 4.1.2)
T4_OPTIONS = 292
TWO_DIMENSIONAL = 1  # bit of T4Options
REVERSED = 2  # of FillOrder: the first pixel is in a byte's lowest bit
LONG = 4  # TIFF field type


def check_fax(page: tifffile.TiffPage, file: BinaryIO) -> None:
    """Raises PhotoError when fax-coded strips lack rows, as far as their structure tells: G4 by its mark at the end, G3
    by the number of its line ends, and those without any by zeros that no code words make and by what more data do."""
    rows_left = page.imagelength
    if page.bitspersample != 1 or page.samplesperpixel != 1:
        raise PhotoError("damaged: fax-coded pixels have one bit")
    if len(page.dataoffsets) != len(page.databytecounts):
        raise PhotoError("damaged: it tells the places of some strips, but not their sizes")
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        data = read_segment(file, offset, count)
        rows = min(page.rowsperstrip, rows_left) if not page.is_tiled else page.tilelength
        rows_left -= rows
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little" if page.fillorder == REVERSED else "big")
        ones = np.flatnonzero(bits)
        zeros = np.diff(ones, prepend=-1) - 1  # before each one
        ends = ones[zeros >= END_OF_LINE_ZEROS]
        if page.compression == COMPRESSION.CCITTFAX4:
            whole = len(ends) == 2 and ends[1] - ends[0] == END_OF_LINE_ZEROS + 1  # EOFB, ITU-T T.6, 2.4.1.1
        elif page.compression == COMPRESSION.CCITTFAX3 and len(ends):
            tagged = _t4_options(page) & TWO_DIMENSIONAL != 0
            apart = np.diff(ends, prepend=-100) > END_OF_LINE_ZEROS + 1 + tagged  # six in a row end the page
            whole = int(apart.sum()) >= rows - (ends[0] > END_OF_LINE_ZEROS + 8)
        else:
            # At most, two code words meet and the filling up of a byte; at the end, that of a word.
            sound = zeros.max(initial=0) < 24 and bits.size - ones.max(initial=0) <= 64
            whole = sound and (page.is_tiled or _brings_all_rows(np.packbits(bits).tobytes(), rows, page.imagewidth))
        if not whole:
            raise PhotoError(CUT_OFF + ", or damaged")


def _brings_all_rows(data: bytes, rows: int, width: int) -> bool:
    """Whether run lengths (TIFF 6.0, section 10) end with the last row; if not, what follows changes the picture."""
    followed = imagecodecs.ccittrle_decode(data + bytes(len(data)), height=rows, width=width)
    return bool(np.array_equal(followed, imagecodecs.ccittrle_decode(data + data, height=rows, width=width)))


def fax_pixels(page: tifffile.TiffPage, data: bytes, rows: int, width: int) -> NDArray[np.uint8]:
    """One strip or tile as stored, (rows, width), 0 or 1."""
    if page.fillorder == REVERSED:
        data = np.packbits(np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")).tobytes()
    values = {256: width, 257: rows, 258: 1, 259: page.compression, 262: 1, 277: 1, 278: rows, 279: len(data)}
    values |= {T4_OPTIONS: _t4_options(page)} if page.compression == COMPRESSION.CCITTFAX3 else {}
    values[273] = 8 + 2 + 12 * (len(values) + 1) + 4  # where the strip starts
    entries = b"".join(struct.pack("<HHII", code, LONG, 1, value) for code, value in sorted(values.items()))
    small = b"II*\0" + struct.pack("<IH", 8, len(values)) + entries + bytes(4) + data
    with Image.open(io.BytesIO(small), formats=["TIFF"]) as image:
        return np.asarray(image, np.uint8)


def _t4_options(page: tifffile.TiffPage) -> int:
    tag = page.tags.get(T4_OPTIONS)
    return tag.value if tag is not None and isinstance(tag.value, int) and 0 <= tag.value < 8 else 0
