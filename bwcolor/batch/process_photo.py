"""One photo from file to file."""

import hashlib
import io
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from bwcolor import __version__
from bwcolor.batch.ledger import NO_FILE, Fingerprint, Making, fingerprint, making
from bwcolor.batch.memory_budget import PixelBudget
from bwcolor.batch.outcome import ADOPTED, ADOPTED_STALE, COLOUR, COPIED, EXISTS, OURS, DoneAs, Outcome
from bwcolor.batch.plan import Job
from bwcolor.errors import ModelError, PassingError, PhotoError
from bwcolor.imaging.material import Material, material_of
from bwcolor.imaging.watermark import marked
from bwcolor.inference.predict import Prediction, predict
from bwcolor.inference.session import Model
from bwcolor.options import ColorizeOptions
from bwcolor.photo.encode import Coding, Page, encode, rounded_to_eight_bits, small_picture
from bwcolor.photo.formats.known import output_format
from bwcolor.photo.metadata.read import Metadata, has_preview, in_colour, read_metadata
from bwcolor.photo.metadata.write import label_in
from bwcolor.photo.metadata.xmp import Label
from bwcolor.photo.page_role import Role
from bwcolor.photo.scan import Photo, Scan, open_scan
from bwcolor.system.atomic import committed, remove_placeholder

REMADE = "made anew, because the photo has changed since"
TIME_LOST = "has another file time than its photo: the output's disk can't hold that"
COARSEST_TIME = 2 * 10**9  # ns; FAT keeps times in steps of two seconds
OWN_COLORS = "pages that are in colour already keep their colours (--color-input recolor)"
MATERIALS: dict[Material, str] = {
    "bilevel": "pure black and white, with no tones between that could take color",
    "text": "looks like a page of text or a drawing, on which colors mean little",
    "halftone": "looks like a halftone print, on whose dots colors may be weak or wrong",
}
NOT_COLORED: dict[Role, str] = {
    "picture": OWN_COLORS, "preview": OWN_COLORS, "mask": "masks and the like were copied as they are",
    "blank": "pages of one tone, as infrared ones are, were copied as they are",
}  # fmt: skip
OTHER_SETTINGS = "other"  # of an output whose label names other settings than this run's


class Watch(Protocol):
    """Whoever looks after a photo in work."""

    def beat(self, waiting: bool = False) -> None:
        """Work on the photo, or on its next page, begins, or waits for memory that others use."""

    def about_to_commit(self, outcome: Outcome) -> None:
        """The output is complete and gets its name as soon as this returns."""


class Unwatched:
    """Nobody looks."""

    def beat(self, waiting: bool = False) -> None:
        """See Watch."""

    def about_to_commit(self, outcome: Outcome) -> None:
        """See Watch."""


def colorize_photo(
    job: Job, model: Model, options: ColorizeOptions, budget: PixelBudget, watch: Watch | None = None
) -> Outcome:
    """Reads, colorizes and writes a photo. One that can't be done becomes an Outcome with the reason."""
    started = time.monotonic()
    watch = watch or Unwatched()
    try:
        outcome = _colorized(job, model, options, budget, watch)
    except MemoryError:
        outcome = Outcome(job, "failed", "not enough memory")
    except (PhotoError, ModelError) as error:
        lasting = not isinstance(error, PassingError | ModelError)
        outcome = Outcome(job, "failed", str(error), lasting=lasting, input=fingerprint(job.source))
    return replace(outcome, seconds=time.monotonic() - started)


def _colorized(job: Job, model: Model, options: ColorizeOptions, budget: PixelBudget, watch: Watch) -> Outcome:
    may_replace = options.overwrite or job.replace == job.target
    watch.beat()
    for name in {job.target, job.copy}:
        remove_placeholder(name)
    with open_scan(job.source, options.max_pixels, options.max_file_pixels) as scan:
        if not may_replace and os.path.lexists(job.target):
            return _existing(job, scan, model, options)
        watch.beat(waiting=True)
        with budget.hold(scan.header.pixels):
            watch.beat()
            source, described = input_of(scan), read_metadata(scan)
            label = label_in(described)  # of photos that bwcolor has made
            if label and options.color_input == "skip":  # which is known without decoding
                return _left_alone(job, scan, source, label, options, watch)
            first = scan.photo()
            label = label if options.color_input == "copy" else None
            if label or _nothing_to_color(scan, first, options, watch):
                return _left_alone(job, scan, source, label, options, watch)
            form = job.format or output_format(scan.header, options.format, options.eight_bit)
            made = _Made()
            pages = _pages(scan, first, described, source, model, options, watch, made)
            coding = Coding(form, options.sampling, options.chroma_quality)
            with committed(job.target, may_replace, scan.times, _mode(scan), job.out) as out:
                notes = (*encode(scan, pages, coding, out), *made.notes)
                outcome = _done(job, scan, source, job.target, out, notes)
                if job.changed:
                    outcome = replace(outcome, notes=(*outcome.notes, REMADE))
                assert made.by is not None
                outcome = replace(outcome, made_by=making(made.by, options), doubt=made.doubt, done_as=made.done_as)
                _must_be_replaceable(job, options)
                watch.about_to_commit(outcome)
    return _in_place(outcome)


def _must_be_replaceable(job: Job, options: ColorizeOptions) -> None:
    """Raises PassingError when the earlier output was changed since it was decided that it may be replaced."""
    if job.replace is None or options.overwrite:
        return
    there = fingerprint(job.replace)
    if (there.size, there.mtime_ns) not in (job.replaced, (NO_FILE.size, NO_FILE.mtime_ns)):
        raise PassingError("its output was modified by another program during the run; --overwrite replaces it")


def _done(job: Job, scan: Scan, source: Fingerprint, path: Path, out: BinaryIO, notes: tuple[str, ...]) -> Outcome:
    """The outcome of a photo whose output is complete and has no name yet; PhotoError when the photo has changed."""
    out.flush()
    out.seek(0)
    sha256 = hashlib.file_digest(cast(io.BytesIO, out), "sha256").hexdigest()
    size = out.seek(0, os.SEEK_END)
    scan.must_be_unchanged()
    written = Fingerprint(size, scan.times[1], sha256)
    return Outcome(job, "done", notes=notes, path=path, input=source, output=written)


def _in_place(outcome: Outcome) -> Outcome:
    """With the output's time as its disk keeps it, and a note where that is not the photo's."""
    assert outcome.path is not None
    there = fingerprint(outcome.path)
    kept = abs(there.mtime_ns - outcome.output.mtime_ns) <= COARSEST_TIME
    notes = outcome.notes if kept else (*outcome.notes, TIME_LOST)
    return replace(outcome, output=replace(there, sha256=outcome.output.sha256), notes=notes)


def input_of(scan: Scan) -> Fingerprint:
    """The photo's fingerprint, all of it read."""
    return Fingerprint(scan.size, scan.times[1], scan.sha256())


def _existing(job: Job, scan: Scan, model: Model, options: ColorizeOptions) -> Outcome:
    """An output without a record: ours if its label names this very photo, whatever model and settings it names."""
    source = input_of(scan)
    found = _label_of(job.target, options)
    if found is None or found.source_sha256 != source.sha256:
        return Outcome(job, "skipped", EXISTS, unexpected=True, input=source)
    made_by = _made_as(found, options)
    stale = made_by.differs_from(making(model, options))
    reason = ADOPTED_STALE.format(stale) if stale else ADOPTED
    output = fingerprint(job.target, read=True)
    return Outcome(job, "skipped", reason, path=job.target, input=source, output=output, made_by=made_by, adopted=True)


def _made_as(label: Label, options: ColorizeOptions) -> Making:
    """Reads from a label how its output was made; of settings it only tells whether they are those of `options`."""
    settings = options.as_json() if label.settings == options.in_words() else OTHER_SETTINGS
    return Making(label.model_sha256, label.model, settings)


def _label_of(output: Path, options: ColorizeOptions) -> Label | None:
    if not output.is_file() or output.is_symlink():
        return None
    try:
        with open_scan(output, options.max_pixels, options.max_file_pixels) as made:
            return label_in(read_metadata(made))
    except Exception:  # somebody's file, in whatever state; parsers raise whatever they like on it
        return None


def _nothing_to_color(scan: Scan, first: Photo, options: ColorizeOptions, watch: Watch) -> bool:
    """Whether each page is in color already, or no picture, so that the whole file can stay as it is."""
    if not _stays(first, options):
        return False
    for number in range(1, scan.header.pages):
        watch.beat()
        if not _stays(scan.photo(number), options):
            return False
    return True


def _stays(photo: Photo, options: ColorizeOptions) -> bool:
    """Whether a page keeps what it has: it is no picture, or in color already where such pages are left alone."""
    return photo.stays or (photo.kind == "colour" and options.color_input != "recolor")


def _left_alone(
    job: Job, scan: Scan, source: Fingerprint, label: Label | None, options: ColorizeOptions, watch: Watch
) -> Outcome:
    """What becomes of a photo that is in colour already, under color_input skip and copy. label: bwcolor's, if any."""
    may_replace = options.overwrite or job.replace == job.copy
    if options.color_input == "skip":
        if label is None:
            return Outcome(job, "skipped", COLOUR, input=source, left_alone="in color")
        by = _made_as(label, options)
        return Outcome(job, "skipped", OURS, input=source, made_by=by, left_alone="made by bwcolor")
    target = job.copy
    if target.exists() and target.samefile(job.source):
        raise PhotoError(f"in colour already; a copy as {target.name} would replace the photo itself")
    if not may_replace and os.path.lexists(target):
        there = fingerprint(target, read=True)
        if there.sha256 == source.sha256:
            return Outcome(job, "skipped", ADOPTED, path=target, input=source, output=there, adopted=True)
        return Outcome(job, "skipped", EXISTS, unexpected=True, input=source)
    with committed(target, may_replace, scan.times, _mode(scan), job.out) as out:
        out.write(scan.read())
        outcome = replace(_done(job, scan, source, target, out, (COPIED,)), done_as="copied")
        _must_be_replaceable(job, options)
        watch.about_to_commit(outcome)
    return _in_place(outcome)


@dataclass(slots=True)
class _Made:
    """What the model made of a photo's pages. by: who colored the last one. doubt: of the most doubtful one. notes: on
    pages that it did not color, each once."""

    by: Model | None = None
    doubt: float | None = None
    notes: dict[str, None] = field(default_factory=dict)
    materials: list[Material] = field(default_factory=list)

    def add(self, photo: Photo, prediction: Prediction) -> None:
        """One more page. Doubt is that of photographs; a preview's tells nothing that the picture's own would not."""
        self.by = prediction.by
        if photo.role != "picture":
            return
        material = material_of(photo.luma)
        self.materials.append(material)
        if material != "photo":
            self.notes[MATERIALS[material]] = None
        elif prediction.doubt is not None:
            self.doubt = max(self.doubt or 0.0, prediction.doubt)

    @property
    def done_as(self) -> DoneAs:
        """What counts: photographs, where there is one among the pages."""
        first = self.materials[0] if self.materials else "photo"
        return "colorized" if first == "photo" or "photo" in self.materials else first


def _pages(
    scan: Scan, first: Photo, described: Sequence[Metadata], source: Fingerprint, model: Model,
    options: ColorizeOptions, watch: Watch, made: _Made,
) -> Iterator[Page]:  # fmt: skip
    """Each page with its colours and what describes it. made: gets what the model made of them."""
    for number in range(scan.header.pages):
        watch.beat()
        photo = first if number == 0 else scan.photo(number)
        photo = _in_eight_bits(photo) if options.eight_bit and not photo.stays else photo
        metadata = described[min(number, len(described) - 1)]
        if _stays(photo, options):
            made.notes[NOT_COLORED[photo.role]] = None
            yield Page(photo, None, metadata if photo.stays else in_colour(metadata, None, None))
            continue
        prediction = predict(photo.luma, photo.orientation, model, options.detail, options.tones)
        made.add(photo, prediction)
        chroma = options.strength * options.saturation * prediction.chroma
        label = _label(source, prediction.by, options) if options.label != "none" else None
        if options.label == "visible":
            chroma = marked(chroma, photo.luma, photo.orientation)
        preview = small_picture(photo, chroma) if has_preview(metadata) else None
        yield Page(photo, chroma, in_colour(metadata, label, preview))


def _mode(scan: Scan) -> int:
    return os.fstat(scan.file.fileno()).st_mode


def _in_eight_bits(photo: Photo) -> Photo:
    alpha = None if photo.alpha is None else rounded_to_eight_bits(photo.alpha)
    return replace(photo, luma=rounded_to_eight_bits(photo.luma), alpha=alpha)


def _label(source: Fingerprint, model: Model, options: ColorizeOptions) -> Label:
    return Label(f"bwcolor {__version__}", model.label, model.sha256, options.in_words(), source.sha256)
