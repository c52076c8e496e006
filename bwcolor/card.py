"""Writing what `bwcolor eval` measured into the card beside a model."""

from datetime import UTC, datetime
from pathlib import Path

from bwcolor import __version__
from bwcolor.errors import FolderError, UsageError
from bwcolor.evaluate import Evaluation
from bwcolor.metrics import summarize
from bwcolor.session import Average, OnnxModel
from bwcolor.sidecar import Measurement, card_content, card_path, is_ours
from bwcolor.zoo import write_file


def with_card(model: OnnxModel | Average) -> OnnxModel:
    """The model, where it can have a card; else raises UsageError, before anything is measured."""
    if isinstance(model, Average):
        raise UsageError("--card: a card belongs to one file, not to several models. Measure them one by one.")
    path = card_path(model.path)
    if not is_ours(path):
        raise UsageError(f"{path}: in the way, not a card of bwcolor. Move it away.")
    return model


def write_card(model: OnnxModel, data: Path, protocol: str, results: list[Evaluation], failed: int) -> Path:
    """Adds a measurement to the model's card; raises FolderError where its folder can't be written.

    data: the folder of photos, of which only the name is kept. failed: photos that could not be measured.
    """
    summary, gray = summarize([result.model for result in results]), summarize([result.gray for result in results])
    measurement = Measurement(
        data=data.absolute().name,
        protocol=protocol,
        photos=len(results),
        failed=failed,
        date=datetime.now(UTC).date().isoformat(),
        bwcolor=__version__,
        device=model.device,
        psnr=summary.psnr,
        de00=summary.de00,
        colourfulness=summary.colourfulness,
        colourfulness_truth=summary.colourfulness_truth,
        gray_psnr=gray.psnr,
        gray_de00=gray.de00,
    )
    path = card_path(model.path)
    try:
        write_file(path, card_content(model.path, model.sha256, measurement))
    except FolderError as error:
        raise FolderError(f"{error} The figures above stand; to keep them, measure a copy of the model.") from error
    return path
