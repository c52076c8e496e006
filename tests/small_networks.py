"""Small networks that stand for trained ones where models are exported."""

from dataclasses import dataclass
from pathlib import Path

from bwcolor_export.onnx import ExportResult
from bwcolor_training.config import TrainConfig

SMALL = TrainConfig(
    recipe="small", encoder="none", widths=(16, 16, 8, 8), skip_widths=(8, 8, 8, 8), network_size=96
)  # fmt: skip
UNET = TrainConfig(
    recipe="tiny-unet", generator="classic-unet", encoder="none", widths=(8, 12), sizes=(32,), batches=(4,),
    shares=(1.0,), network_size=64, validation_size=32,
)  # fmt: skip
PHOTOS = "6 photos of a test"
GAIN = 2.5


@dataclass(frozen=True, slots=True)
class Exported:
    """An exported file and what its export said."""

    path: Path
    result: ExportResult
