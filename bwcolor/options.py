"""What a user can choose for a run."""

from dataclasses import dataclass
from typing import Literal

from bwcolor.errors import UsageError

Detail = Literal["fast", "auto", "max"]


@dataclass(frozen=True, slots=True)
class ColorizeOptions:
    """Settings of one run.

    strength: factor on the predicted chroma, 0 (gray) to 1 (as the model says).
    detail: "fast" is one pass over the whole reduced photo; "max" adds tiles to every photo that is
    larger than the network's view; "auto" adds them where they were measured to pay.
    overwrite: replace outputs that exist instead of skipping them.
    max_pixels: photos with more pixels than this are refused before they are decoded.
    jobs: photos worked on at once; 0 means one per processor core, at most 4.
    """

    strength: float = 1.0
    detail: Detail = "auto"
    overwrite: bool = False
    max_pixels: int = 300_000_000
    jobs: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise UsageError(f"--strength must be between 0 and 1, not {self.strength:g}.")
        if self.jobs < 0:
            raise UsageError(f"--jobs must be 0 or more, not {self.jobs}.")
