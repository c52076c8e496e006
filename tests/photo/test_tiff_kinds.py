"""What a TIFF page calls itself stays: page of a document, smaller version. A colour picture is no mask."""

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from photo.pictures import colorized, scene


@pytest.mark.parametrize("kind", [0, 1, 2, 3])
def test_the_kind_of_a_page_stays(kind: int, tmp_path: Path) -> None:
    source = io.BytesIO()
    tifffile.imwrite(source, scene(30, 40), subfiletype=kind, metadata=None)
    _, content, _ = colorized(tmp_path / "a.tif", source.getvalue(), np.zeros((3, 4, 2), np.float32))
    with tifffile.TiffFile(io.BytesIO(content)) as made:
        assert int(made.pages.first.subfiletype) == kind
