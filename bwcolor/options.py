"""What a user can choose for a run."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Literal

from bwcolor.errors import UsageError

# The version of the way from a photo's luma to its chroma, in ledgers and labels. Raise it whenever that way, or a
# default on it, changes: outputs of another version are stale. 1: until tones were stretched; it was not recorded.
COLOR_PATH = 2
MAX_FILE_PIXELS = 15_000_000_000  # px of all pages of a file, by default: 1,000 pages of 15 megapixels
Detail = Literal["fast", "auto", "max"]
Tones = Literal["full", "as-is"]
OutputFormat = Literal["jpeg", "png", "tiff", "webp", "avif", "bmp"]
Sampling = Literal["420", "444"]
LabelKind = Literal["xmp", "visible", "none"]
ColorInput = Literal["skip", "copy", "recolor"]
SidecarChoice = Literal["copy", "skip"]
NOT_OF_OUTPUTS = frozenset(
    {"overwrite", "max_pixels", "max_file_pixels", "max_pages", "jobs", "batch", "color_input", "sidecars"}
)  # settings that leave outputs the same


@dataclass(frozen=True, slots=True)
class ColorizeOptions:
    """Settings of one run.

    strength: how much colour, 0 (gray) to 1 (as the model says). saturation: a further factor on chroma, 0 to 4.
    detail: "fast" is one look at the whole reduced photo; "auto" two, whose colours are averaged and which tell how
    doubtful they are; "max" adds tiles, where the photo is larger than the network's view. No kind of photo was
    found for which tiles lower the error (benchmarks/tiles.py).
    tones: "full" shows the network a copy of the photo that is stretched to full tones, see levels; "as-is" does not.
    overwrite: replace outputs that exist instead of skipping them.
    max_pixels: photos with more pixels than this are refused before they are decoded.
    max_file_pixels: files whose pages have more pixels than this in all are refused.
    max_pages: TIFFs with more pages than this are refused.
    jobs: photos worked on at once; 0 means one per processor core, at most 16.
    tile: px, side of the tiles; 0 for the model's own, or as memory allows. batch: tiles a call of the network; 0 for
    as many as memory allows, at most 4.
    format: of the outputs; None keeps each photo's own where we can write it, else PNG, or TIFF from 9 bits up.
    eight_bit: write 8 bits of photos that have more.
    sampling: of chroma, "420" or "444", where the format has a choice; chroma_quality: 1 to 100, of JPEG's chroma.
    color_input: what becomes of photos that are in colour already: left alone, copied, or colorized anew.
    label: outputs say in their XMP that their colours were made by software; "visible" writes it on the photo too.
    sidecars: whether XMP and JSON files that describe photos are copied beside the outputs.
    """

    strength: float = 1.0
    saturation: float = 1.0
    detail: Detail = "auto"
    tones: Tones = "full"
    overwrite: bool = False
    max_pixels: int = 300_000_000
    max_file_pixels: int = MAX_FILE_PIXELS
    max_pages: int = 1_000
    jobs: int = 0
    tile: int = 0
    batch: int = 0
    format: OutputFormat | None = None
    eight_bit: bool = False
    sampling: Sampling = "420"
    chroma_quality: int = 92
    color_input: ColorInput = "skip"
    label: LabelKind = "xmp"
    sidecars: SidecarChoice = "copy"

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise UsageError(f"--strength must be between 0 and 1, not {self.strength:g}.")
        if not 0 <= self.saturation <= 4:
            raise UsageError(f"--saturation must be between 0 and 4, not {self.saturation:g}.")
        if not 1 <= self.chroma_quality <= 100:
            raise UsageError(f"--chroma-quality must be between 1 and 100, not {self.chroma_quality}.")
        for name, value in (("jobs", self.jobs), ("tile", self.tile), ("batch", self.batch)):
            if value < 0:
                raise UsageError(f"--{name} must be 0 or more, not {value}.")

    def as_json(self) -> str:
        """The settings that change outputs and are not the defaults, in a fixed order, and the color path's version."""
        usual = {field.name: field.default for field in fields(self)}
        settings = {name: value for name, value in self.of_outputs().items() if value != usual.get(name)}
        return json.dumps(settings, sort_keys=True)

    def of_outputs(self) -> dict[str, object]:
        """The settings that change outputs, and the color path's version."""
        values = {name: value for name, value in asdict(self).items() if name not in NOT_OF_OUTPUTS}
        return values | {"tile": self.tile if self.detail == "max" else 0, "color_path": COLOR_PATH}

    def in_words(self) -> str:
        """The settings that change colors, and the color path's version, for the label."""
        return (
            f"strength {self.strength:g}, saturation {self.saturation:g}, detail {self.detail}, tones {self.tones},"
            f" color path {COLOR_PATH}"
        )
