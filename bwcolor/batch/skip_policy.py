"""What is to be done with each photo of a plan, by what the ledger says of it."""

from dataclasses import dataclass, replace
from pathlib import Path

from bwcolor.batch.ledger import NO_FILE, Fingerprint, Ledger, Making, Record, fingerprint
from bwcolor.batch.outcome import ADOPTED, ADOPTED_STALE, LeftAlone, Outcome
from bwcolor.batch.plan import Job
from bwcolor.options import ColorInput
from bwcolor.system.atomic import is_placeholder

DONE = "done already"
EDITED = "its output was modified since it was written; --overwrite replaces it"
OTHER_PHOTO = (
    "an output of this name was made from another photo, {}; choose another --out, or replace it with --overwrite"
)
TAKEN_OVER = "its output is known only by its label and may have been modified since; --overwrite replaces it"
STALE = "made with {}; --redo stale makes them again"
COPIED_BEFORE = "copied unchanged in an earlier run; --redo stale colorizes them"
UNMADE = Making("", "", "")  # of photos that no model has colored
FAILED_BEFORE = "{} (also in an earlier run; --retry-failed tries again)"


@dataclass(frozen=True, slots=True)
class Policy:
    """What happens to photos that were dealt with before. overwrite: all are done, whatever lies in the output folder.
    redo_stale: those of another model or other settings too. retry_failed: and those that failed for good. color_input:
    see ColorizeOptions. limit: photos to be worked on in this run, see Quota; None for all."""

    overwrite: bool = False
    redo_stale: bool = False
    retry_failed: bool = False
    color_input: ColorInput = "skip"
    limit: int | None = None


def root_of(job: Job) -> Path:
    """The folder that a photo's name starts at."""
    return Path(*job.source.parts[: len(job.source.parts) - len(job.name.parts)])


def judged(job: Job, ledger: Ledger, making: Making, policy: Policy) -> Job | Outcome:
    """The job, where there is work to do, or the outcome where there is none.

    making: what outputs would be made with now.
    """
    before = record = None if policy.overwrite else ledger.find(job.target)
    if record is None:
        return job
    path = ledger.out / record.path
    there = NO_FILE if is_placeholder(path) else fingerprint(path)
    source = fingerprint(job.source)
    exists = there != NO_FILE
    if exists and record.output == NO_FILE:
        return job  # nobody knows the file, but its label may tell
    output, made_from = _same(record.output, there, path), record.root / record.source
    if exists and output is None:
        return _edited(job)
    if made_from == job.source:
        input_ = _same(record.input, source, job.source)
    else:  # moved since, or another photo of this name: size and time prove nothing
        input_ = replace(source, sha256=record.input.sha256) if _has_bytes_of(record.input, job.source) else None
        if exists and input_ is None:
            return Outcome(job, "failed", OTHER_PHOTO.format(made_from))
        record = replace(record, source=job.name, root=root_of(job))
    known = replace(record, output=output or record.output, input=input_ or record.input)
    if known != before:
        ledger.write(known)
    job = replace(job, replace=path, replaced=(there.size, there.mtime_ns), changed=input_ is None) if exists else job
    verdict = job if input_ is None else JUDGES[record.state](job, known, making, policy)
    if isinstance(verdict, Job) and exists and record.reason == ADOPTED:
        return Outcome(job, "skipped", TAKEN_OVER, unexpected=True)
    if isinstance(verdict, Job) and exists and not _has_bytes_of(record.output, path):
        return _edited(job)  # who keeps size and time may still have changed it
    return verdict


def _edited(job: Job) -> Outcome:
    return Outcome(job, "skipped", EDITED, unexpected=True)


def _of_done(job: Job, record: Record, making: Making, policy: Policy) -> Job | Outcome:
    stale = _stale(record.making, making)
    copied = not record.making.model and policy.color_input == "recolor"
    if job.replace is None or ((stale or copied) and policy.redo_stale):
        return job
    words = ADOPTED_STALE if record.reason == ADOPTED else STALE
    reason = COPIED_BEFORE if copied else words.format(stale) if stale else DONE
    return Outcome(
        job, "skipped", reason, input=record.input, output=record.output, path=job.replace, doubt=record.doubt
    )


def _of_skipped(job: Job, record: Record, making: Making, policy: Policy) -> Job | Outcome:
    if policy.color_input != "skip":
        return job
    why: LeftAlone = "in color" if record.making == UNMADE else "made by bwcolor"
    return Outcome(job, "skipped", record.reason, input=record.input, left_alone=why)


def _of_failed(job: Job, record: Record, making: Making, policy: Policy) -> Job | Outcome:
    if not record.lasting or policy.retry_failed or _stale(record.making, making):
        return job
    return Outcome(job, "failed", FAILED_BEFORE.format(record.reason), input=record.input)


JUDGES = {"done": _of_done, "skipped": _of_skipped, "failed": _of_failed}


def _stale(then: Making, now: Making) -> str:
    """What differs between then and now, in words; empty where nothing does, or neither mattered."""
    return then.differs_from(now) if then.model else ""


def _same(known: Fingerprint, now: Fingerprint, path: Path) -> Fingerprint | None:
    """The fingerprint to know a file by from now on; None where it is not the known one.

    It is by size and time, or where only the time differs by its bytes.
    """
    if (known.size, known.mtime_ns) == (now.size, now.mtime_ns):
        return known
    if known.size != now.size or not _has_bytes_of(known, path):
        return None
    return replace(now, sha256=known.sha256)


def _has_bytes_of(known: Fingerprint, path: Path) -> bool:
    return bool(known.sha256) and fingerprint(path, read=True).sha256 == known.sha256


def recorded(outcome: Outcome, ledger: Ledger, making: Making) -> Record | None:
    """What the ledger is to keep of a photo's end; None for what teaches nothing."""
    job = outcome.job
    if outcome.state == "skipped" and not outcome.adopted and outcome.left_alone is None:
        return None
    source, path, output = outcome.input, outcome.path or job.target, outcome.output
    before = ledger.find(job.target)
    if output == NO_FILE and before is not None:
        path, output = before.path, before.output  # an earlier one may lie there still
    if source == NO_FILE:  # whoever looked at it died
        source = fingerprint(job.source)
    reason = ADOPTED if outcome.adopted else outcome.reason
    made_by = outcome.made_by or (making if outcome.state == "failed" else UNMADE)
    return Record(
        job.target, path, job.name, root_of(job), source, output, made_by,
        "done" if outcome.adopted else outcome.state, reason, outcome.lasting, outcome.seconds,
        doubt=outcome.doubt, notes=outcome.notes, pixels=job.pixels,
    )  # fmt: skip
