"""Gray photos on which exported models are measured and calibrated.

A handful comes with the package: the example photos of the repository, public domain or CC0 (see
examples/README.md there), as a network with a view of 256 px sees them. All lumas here are (height, width),
float32, BT.601, 0..1.
"""

from importlib import resources
from pathlib import Path

import cv2
import numpy as np

from bwcolor.batch.discovery import walk
from bwcolor.errors import FolderError, NoPhotosError, PhotoError
from bwcolor.imaging.orientation import upright
from bwcolor.imaging.resizing import scaled_size
from bwcolor.photo.scan import read_photo
from bwcolor.system.filesystem import OWN_FOLDER
from bwcolor_export.graph import Floats

MOST_PHOTOS = 32  # of a folder: calibrating on three times as many changed nothing (0.01 CIEDE2000)
# Calibrating on these exposures instead of the first alone lowered the error on photos that were not among them from
# 1.1 to 0.4 CIEDE2000 for the ResNet-18 U-Net; gammas of 1.8 and 0.55 were worse for the default model.
GAMMAS = (1.0, 1.35, 0.75)
MAX_PIXELS = 300_000_000  # as `bwcolor` refuses by default


def bundled_lumas() -> list[Floats]:
    """The photos of the package."""
    return folder_lumas(Path(str(resources.files("bwcolor_export") / "photos")))


def folder_lumas(folder: Path) -> list[Floats]:
    """At most MOST_PHOTOS photos of a folder and its sub-folders, hidden ones left out, evenly spread over their names.

    Raises FolderError when there is no such folder, NoPhotosError when none of the photos can be read.
    """
    if not folder.is_dir():
        raise FolderError(f"--calibrate {folder}: no such folder. Name one with photos.")
    paths = sorted(walk(folder, folder / OWN_FOLDER).photos)
    lumas = []
    for number in np.unique(np.linspace(0, len(paths) - 1, min(MOST_PHOTOS, len(paths))).round().astype(int)):
        try:
            photo = read_photo(paths[number], MAX_PIXELS)
        except PhotoError:  # the others will do
            continue
        white = np.float32(np.iinfo(photo.luma.dtype).max)
        lumas.append(upright(photo.luma, photo.orientation).astype(np.float32) / white)
    if not lumas:
        raise NoPhotosError(f"--calibrate {folder}: none of its {len(paths)} photos can be read. Name another folder.")
    return lumas


def exposures(luma: Floats) -> list[Floats]:
    """A luma as it is, darker and lighter: scans differ more in that than a handful of photos does."""
    return [np.asarray(luma**gamma, np.float32) for gamma in GAMMAS]


def as_seen(luma: Floats, network_size: int) -> Floats:
    """A luma reduced to what the whole-photo pass shows a network."""
    rows, columns = luma.shape
    height, width = scaled_size(rows, columns, network_size)
    return np.asarray(cv2.resize(luma, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def cut_to(luma: Floats, height: int, width: int) -> Floats:
    """The middle of a luma with this aspect, at this size."""
    scale = min(luma.shape[0] / height, luma.shape[1] / width)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (luma.shape[0] - rows) // 2, (luma.shape[1] - columns) // 2
    piece = np.ascontiguousarray(luma[top : top + rows, left : left + columns])
    how = cv2.INTER_AREA if scale >= 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(piece, (width, height), interpolation=how), np.float32)
