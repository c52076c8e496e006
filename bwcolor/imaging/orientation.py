"""Turning pixels as EXIF's orientation says."""

from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

Turned = TypeVar("Turned", bound=NDArray[Any])


def upright(picture: Turned, orientation: int) -> Turned:
    """Turns pixels as stored, (height, width, ...), so that they are seen as meant (EXIF 2.32, tag 274)."""
    turned: NDArray[Any] = picture.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else picture
    flip_rows, flip_columns = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return cast(Turned, np.ascontiguousarray(turned[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]))


def as_stored(picture: Turned, orientation: int) -> Turned:
    """The inverse of `upright`."""
    return upright(picture, {6: 8, 8: 6}.get(orientation, orientation))
