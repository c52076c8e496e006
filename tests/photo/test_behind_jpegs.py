"""What cameras put behind the end of a JPEG is not carried over, and the run says so."""

import io
from pathlib import Path

import numpy as np
import pytest
from photo.pictures import colorized, gray, rgb, saved, scene
from PIL import Image

from bwcolor.imaging.color import Array
from bwcolor.photo.formats.jpeg import end_of_picture

CHROMA: Array = np.zeros((40, 60, 2), np.float32)
PICTURES = "pictures behind the first of a JPEG left out"
FILM = "a film clip behind the photo left out"
DATA = "data behind the end of the photo left out"


def jpeg(**settings: object) -> bytes:
    return saved(gray(scene(40, 60)), "JPEG", **settings)


def mpo() -> bytes:
    """Two pictures in one file, as stereo cameras write them."""
    out = io.BytesIO()
    gray(scene(40, 60)).save(out, "MPO", save_all=True, append_images=[gray(scene(40, 60, 1))])
    return out.getvalue()


def film() -> bytes:
    return b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + bytes(300)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (jpeg(), ()),
        (jpeg() + bytes(4096), ()),  # some programs fill files up
        (jpeg() + b"\xff\xff\r\n", ()),
        (mpo(), (PICTURES,)),
        (jpeg() + jpeg(progressive=True), (PICTURES,)),  # without an index
        (jpeg() + b"\0" * 700 + jpeg(), (PICTURES,)),
        (jpeg() + b"maker's own" + jpeg(), (PICTURES,)),
        (jpeg() + film(), (FILM,)),
        (jpeg() + jpeg() + film(), (PICTURES, FILM)),
        (jpeg() + b"SEFH" + bytes(20) + b"SEFT", (DATA,)),
        (jpeg(progressive=True) + jpeg(), (PICTURES,)),
        (jpeg(restart_marker_rows=1) + jpeg(), (PICTURES,)),
        (saved(rgb(scene(40, 60)), "JPEG") + jpeg(), (PICTURES,)),  # encoded anew instead of carried over
    ],
)
def test_what_lies_behind_is_named(content: bytes, expected: tuple[str, ...], tmp_path: Path) -> None:
    _, made, lost = colorized(tmp_path / "a.jpg", content, CHROMA)
    assert lost == expected
    assert end_of_picture(made) == len(made)
    with Image.open(io.BytesIO(made)) as image:
        assert getattr(image, "n_frames", 1) == 1


@pytest.mark.parametrize("content", [jpeg(), jpeg(progressive=True), mpo()])
def test_the_end_is_behind_the_end_marker(content: bytes) -> None:
    end = end_of_picture(content)
    assert content[end - 2 : end] == b"\xff\xd9"
    with Image.open(io.BytesIO(content[:end])) as image:
        image.load()
    assert end_of_picture(content[: end - 2]) == end - 2, "a missing end marker is the end of the file"
