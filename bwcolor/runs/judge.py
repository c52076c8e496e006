"""What is to be done with each photo of a plan, by what the ledger says of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from bwcolor.options import ColorInput
from bwcolor.plan import Job
from bwcolor.report import ADOPTED, COLOUR, EXISTS, Outcome
from bwcolor.runs.ledger import NO_FILE, Fingerprint, Ledger, Making, Record, fingerprint

DONE = "done already"
EDITED = "its output was changed by somebody; --overwrite replaces it"
OTHER_PHOTO = "its output was made from another folder's photo of this name; --overwrite replaces it"
STALE = "made with {}; --redo stale makes them anew"
FAILED_BEFORE = "{} (so it was before; --retry-failed tries again)"


@dataclass(frozen=True, slots=True)
class Policy:
    """What happens to photos that were dealt with before. overwrite: all are done, whatever lies in the output folder.
    redo_stale: those of another model or other settings too. retry_failed: and those that failed for good. color_input:
    see ColorizeOptions. limit: photos to be worked on in this run, or None for all."""

    overwrite: bool = False
    redo_stale: bool = False
    retry_failed: bool = False
    color_input: ColorInput = "skip"
    limit: int | None = None


def judged(job: Job, ledger: Ledger, root: Path, making: Making | None, policy: Policy) -> Job | Outcome:
    """The job, where there is work to do, or the outcome where there is none.

    root: the folder that the photo was found in. making: what outputs would be made with now; None if that does not
    matter.
    """
    record = None if policy.overwrite else ledger.find(job.target)
    if record is None:
        return job
    path = ledger.out / record.path
    there = fingerprint(path)
    exists = there != NO_FILE
    if exists and not _is(record.output, there, path, lambda now: ledger.write(replace(record, output=now))):
        return Outcome(job, "skipped", EXISTS if record.output == NO_FILE else EDITED, unexpected=True)
    now = fingerprint(job.source)
    changed = not _is(record.input, now, job.source, lambda now: ledger.write(replace(record, input=now)))
    if exists and changed and record.root != root:
        return Outcome(job, "skipped", OTHER_PHOTO, unexpected=True)
    job = replace(job, replace=path if exists else None)
    return job if changed else JUDGES[record.state](job, record, making, policy)


def _of_done(job: Job, record: Record, making: Making | None, policy: Policy) -> Job | Outcome:
    stale = _stale(record.making, making)
    if job.replace is None or (stale and policy.redo_stale):
        return job
    reason = STALE.format(stale) if stale else DONE
    return Outcome(job, "skipped", reason, input=record.input, output=record.output, path=job.replace)


def _of_skipped(job: Job, record: Record, making: Making | None, policy: Policy) -> Job | Outcome:
    if policy.color_input != "skip":
        return job
    return Outcome(job, "skipped", record.reason, unexpected=True, input=record.input)


def _of_failed(job: Job, record: Record, making: Making | None, policy: Policy) -> Job | Outcome:
    if not record.lasting or policy.retry_failed or _stale(record.making, making):
        return job
    return Outcome(job, "failed", FAILED_BEFORE.format(record.reason), input=record.input)


JUDGES = {"done": _of_done, "skipped": _of_skipped, "failed": _of_failed}


def _stale(then: Making, now: Making | None) -> str:
    """What differs between then and now, in words; empty where nothing does, or neither mattered."""
    if now is None or not then.model or (then.model == now.model and then.settings == now.settings):
        return ""
    return f"model {then.label}" if then.model != now.model else "other settings"


def _is(known: Fingerprint, now: Fingerprint, path: Path, keep: Callable[[Fingerprint], None]) -> bool:
    """Whether a file is the known one: by size and time, or where only the time differs by its bytes, and then the new
    time is kept."""
    if (known.size, known.mtime_ns) == (now.size, now.mtime_ns):
        return True
    if known.size != now.size or not known.sha256:
        return False
    now = fingerprint(path, read=True)
    if now.sha256 != known.sha256:
        return False
    keep(now)
    return True


def recorded(outcome: Outcome, ledger: Ledger, root: Path, making: Making) -> Record | None:
    """What the ledger is to keep of a photo's end; None for what teaches nothing."""
    job = outcome.job
    adopted = outcome.state == "skipped" and outcome.reason == ADOPTED
    if outcome.state == "skipped" and outcome.reason not in (ADOPTED, COLOUR):
        return None
    before = ledger.find(job.target)
    output = outcome.output
    if outcome.state == "failed" and before is not None:
        output = before.output  # an earlier one may lie there still
    made_by = outcome.made_by or (making if outcome.state == "failed" else Making("", "", ""))
    return Record(
        job.target, outcome.path or job.target, job.name, root, outcome.input, output, made_by,
        "done" if adopted else outcome.state, outcome.reason, outcome.lasting, outcome.seconds,
    )  # fmt: skip
