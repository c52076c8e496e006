"""The run: plan, ledger and worker together; one Outcome for each photo."""

import contextlib
import functools
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from bwcolor import __version__
from bwcolor.batch.discovery import refuse_photo
from bwcolor.batch.earlier_outputs import OtherFormats
from bwcolor.batch.estimate import needs
from bwcolor.batch.ledger import Ledger, Making, Record, State, making
from bwcolor.batch.messages import Ready
from bwcolor.batch.naming import marks_in_words
from bwcolor.batch.outcome import Outcome
from bwcolor.batch.plan import Job, Plan
from bwcolor.batch.progress import RunView
from bwcolor.batch.quota import Quota
from bwcolor.batch.run_report import FILE as REPORT
from bwcolor.batch.run_report import Records, earlier_record, left_out_record, now, photo_record
from bwcolor.batch.sidecars import Sidecars
from bwcolor.batch.skip_policy import Policy, judged, recorded
from bwcolor.batch.supervisor import Stopped, Supervisor
from bwcolor.errors import BwcolorError, FolderError
from bwcolor.options import ColorizeOptions
from bwcolor.system.atomic import THROUGH_LINK, link_above, remove_leftovers
from bwcolor.system.filesystem import OWN_FOLDER, held

LOCK = "lock"
STATES: tuple[State, ...] = ("done", "skipped", "failed")
UNKNOWN = "a file of this name exists but is not in the ledger; the run will check whether its label names this photo"


class Run:
    """A run with all that it goes by. ledger: None where there is none. `told` is where its outcomes go."""

    def __init__(self, worker: Supervisor, ready: Ready, options: ColorizeOptions, policy: Policy) -> None:
        self._worker, self._ready, self._policy = worker, ready, policy
        self._options = options
        self._making = making(ready, options)
        self.ledger: Ledger | None = None
        self._view: RunView | None = None
        self._records: list[Records] = []
        self._other_formats = OtherFormats(policy.overwrite)
        self._met: set[Path] = set()  # targets of photos that this run has told of

    @contextlib.contextmanager
    def told(self, plan: Plan, view: RunView, report: Records | None, stream: Records | None = None) -> Iterator[None]:
        """Shows the run in `view`, and writes it to the report and to whoever reads the stream.

        At the end, whatever it is, the report gets what the ledger has of other photos, and both get the sums.
        """
        self._view, self._records = view, [one for one in (report, stream) if one]
        started, code = now(), 1
        try:
            with view:
                view.say(*self._ready.summary)
                view.detail(*self._ready.lines)
                if self.ledger and self.ledger.damaged:
                    view.warn(f"note: the ledger was damaged; it was put aside as {self.ledger.damaged}")
                try:
                    yield
                    code = int(view.failed)
                except BaseException as error:
                    code = _exit_code(error)
                    raise
                finally:
                    view.say(*(f"note: {words}" for words in self._other_formats.in_words()))
                    view.summarize(plan.out)
        finally:
            with contextlib.suppress(*([FolderError] if code not in (0, 1) else [])):  # a full disk has been told
                self._tell_of_others(report)
                self._write(self._sums(plan, view, started, code))

    def carry_out(self, plans: Iterable[Plan], endless: bool = False) -> None:
        """Does what the plans say. Raises what ends the run: FolderError, DeviceError, Stopped.

        endless: whether plans go on coming, so that failures can't wait for the end to be shown.
        """
        assert self._view is not None
        said, hidden_told = 0, False
        for plan in plans:
            self._view.more(len(plan.jobs))
            if plan.hidden and not hidden_told:  # once, however often the folders are looked at
                self._view.say(plan.hidden.in_words())
                hidden_told = True
            for left in plan.left_out:
                self._view.leave_out(left)
                self._write(left_out_record(left))
            sidecars = Sidecars(plan) if self._options.sidecars == "copy" else None
            for ended, known in self._outcomes(plan):
                outcome = sidecars.copied(ended) if sidecars else ended
                self._view.show(outcome)
                replaced = self._other_formats.settle(outcome, self.ledger)
                if sidecars:
                    sidecars.remove_copies(outcome, replaced)
                self._met.add(outcome.job.target)
                self._write(photo_record(outcome, known))
                for trouble in self._worker.troubles[said:]:
                    self._view.warn(f"note: {trouble}")
                said = len(self._worker.troubles)
            if endless:
                self._view.tell_failures()

    def _outcomes(self, plan: Plan) -> Iterator[tuple[Outcome, Record | None]]:
        """What becomes of each photo: first those that need no work, with what the ledger has of them, then the others
        as they end, in any order.

        Each end is in the ledger before it is told.
        """
        assert self._view is not None
        wanted: list[Job] = []
        for _, verdict in verdicts(plan, self.ledger, self._making, self._policy):
            if isinstance(verdict, Job):
                wanted.append(verdict)
            else:
                yield verdict, self._known(verdict.job.target)
        quota = Quota(wanted, self._policy.limit)
        self._view.more(quota.ready - len(wanted))
        if wanted:
            self._foresee(wanted[: quota.ready], plan)
        for outcome in self._worker.colorize(quota, lambda made: self._note(plan, made, intent=True)):
            self._note(plan, outcome)
            if outcome.state == "skipped":
                quota.give_back()
                self._view.more(min(1, quota.left))
            yield outcome, None
        self._view.put_off(quota.left)

    def _foresee(self, wanted: list[Job], plan: Plan) -> None:
        """Says what is likely to come, and that the disk is too small."""
        assert self._view is not None
        records = self.ledger is not None and self.ledger.path.is_relative_to(plan.out)
        found = needs(wanted, plan.out, self._options.jobs, self._options.detail, records)
        self._view.say(f"to do: {found.in_words()}")
        if plan.unwanted:
            self._view.say(f"{plan.unwanted:,} not chosen (--include, --exclude)")
        if plan.renamed:
            self._view.say(marks_in_words(plan.renamed))
        if found.disk > found.free:
            self._view.warn(f"note: {plan.out} may run out of space: the outputs need about as much as stated above")

    def _known(self, target: Path) -> Record | None:
        """What the ledger has of a photo, with the full path of its output."""
        known = self.ledger.find(target) if self.ledger else None
        return replace(known, path=self.ledger.out / known.path) if self.ledger and known else None

    def _tell_of_others(self, report: Records | None) -> None:
        """Writes what the ledger has of photos that this run did not meet, as far as their outputs are there still."""
        if report is None or self.ledger is None:
            return
        for known in self.ledger.records():
            path = self.ledger.out / known.path
            if self.ledger.out / known.target not in self._met and (known.state != "done" or os.path.lexists(path)):
                report.write(earlier_record(replace(known, path=path)))

    def _write(self, record: dict[str, Any]) -> None:
        for one in tuple(self._records):
            try:
                one.write(record)
            except FolderError as error:
                if not isinstance(error.__cause__, BrokenPipeError):
                    raise
                self._records.remove(one)  # nobody reads standard output any more: the photos still count
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is held back finds its end there

    def _note(self, plan: Plan, outcome: Outcome, intent: bool = False) -> None:
        record = recorded(outcome, self.ledger, self._making) if self.ledger else None
        if self.ledger and record:
            (self.ledger.intend if intent else self.ledger.write)(record)

    def _sums(self, plan: Plan, view: RunView, started: str, code: int) -> dict[str, Any]:
        states = view.report.states
        return {
            "record": "run", "version": __version__, "started": started, "ended": now(), "exit_code": code,
            "input": str(plan.root), "output": str(plan.out), "model": self._making.label,
            "model_sha256": self._making.model, "device": list(self._ready.lines),
            "settings": self._options.of_outputs(), **{state: states[state] for state in STATES},
            "left_out": view.left_out, "left_by_limit": view.left_by_limit, "not_chosen": plan.unwanted,
            "hidden": plan.hidden.count, "sidecars": view.report.sidecars, "troubles": self._worker.troubles,
        }  # fmt: skip


def verdicts(plan: Plan, ledger: Ledger | None, making: Making, policy: Policy) -> Iterator[tuple[Job, Job | Outcome]]:
    """Each job of the plan with what is to be done, or why nothing is."""
    first_link = functools.cache(lambda folder: link_above(folder, plan.out))
    for job in (replace(job, out=plan.out) for job in plan.jobs):
        if link := first_link(job.target.parent):
            yield job, Outcome(job, "failed", THROUGH_LINK.format(link))
            continue
        yield job, judged(job, ledger, making, policy) if ledger else job


def _exit_code(error: BaseException) -> int:
    return error.exit_code if isinstance(error, BwcolorError) else 130 if isinstance(error, Stopped) else 1


def foreseen(plan: Plan, making: Making, policy: Policy, path: Path | None) -> Iterator[tuple[Job, Job | Outcome]]:
    """The same without writing anything.

    path: of the ledger, if the user chose one. An output without a record counts as one to keep.
    """
    ledger = Ledger.peek(plan.folder or plan.out.parent, _chosen(path))
    with ledger or contextlib.nullcontext():
        for job, verdict in verdicts(plan, ledger, making, policy):
            kept = isinstance(verdict, Job) and not policy.overwrite and verdict.replace is None
            if kept and os.path.lexists(job.target):
                verdict = Outcome(job, "skipped", UNKNOWN)
            yield job, verdict


def _chosen(ledger: Path | None) -> Path | None:
    """The full path of a ledger that the user chose; raises UsageError where it has the name of a photo."""
    if ledger is None:
        return None
    refuse_photo("--ledger", ledger, ".sqlite")
    return Path(os.path.abspath(ledger))


@contextlib.contextmanager
def opened_ledger(plan: Plan, path: Path | None) -> Iterator[Ledger | None]:
    """The ledger of the plan's output folder, which nobody else writes meanwhile; files that a killed run left
    unfinished are gone.

    path: of the ledger, if the user chose one. None is given for a single photo whose output lies beside it, unless a
    path was chosen. Raises BusyError when another run holds the folder, FolderError when it can't be written.
    """
    with contextlib.ExitStack() as stack:
        if plan.folder is not None:
            stack.enter_context(held(plan.folder / OWN_FOLDER / LOCK))
        for folder in {folder for job in plan.jobs for folder in (job.target.parent, job.copy.parent)}:
            if not link_above(folder, plan.out):
                remove_leftovers(folder)
        if plan.folder is None and path is None:
            yield None
        else:
            yield stack.enter_context(Ledger.open(plan.folder or plan.out.parent, _chosen(path)))


@contextlib.contextmanager
def removed_if_useless(folder: Path | None, view: RunView) -> Iterator[None]:
    """Removes the output folder, with ledger and report, if the run made it and met nothing but outputs of bwcolor.

    folder: of outputs; None where there is none to remove. Enter it before anything is written.
    """
    made = [one for one in (folder, *folder.parents) if not one.exists()] if folder is not None else []
    yield
    if folder in made and view.report.only_outputs and not folder.is_symlink():
        shutil.rmtree(folder / OWN_FOLDER, ignore_errors=True)
        with contextlib.suppress(OSError):  # such as one that holds a file of somebody else's by now
            (folder / REPORT).unlink(missing_ok=True)
            for one in made:
                one.rmdir()


@contextlib.contextmanager
def stoppable(worker: Supervisor) -> Iterator[None]:
    """Lets Ctrl-C, SIGTERM and a closed terminal stop the worker in good order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        worker.stop()

    wanted = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]
    before = {
        number: signal.getsignal(number)
        for number in wanted
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN  # as nohup wants it
    }
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            # After a stop the program ends: one more Ctrl-C must not cut the clearing up short.
            signal.signal(number, signal.SIG_IGN if worker.stopped else handler)
