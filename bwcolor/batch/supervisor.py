"""Watching the worker process: it is fed, timed, and begun anew when it dies; what killed it costs one photo."""

import contextlib
import math
import re
import signal
import subprocess
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Literal, cast

from bwcolor.batch.clock import TICK, Clock
from bwcolor.batch.ledger import fingerprint
from bwcolor.batch.memory_budget import threads_for
from bwcolor.batch.messages import Answer, Beat, Broken, Ended, Go, Intent, NoMore, Order, Pulse, Ready, Setup, Task
from bwcolor.batch.outcome import Outcome
from bwcolor.batch.plan import Job
from bwcolor.batch.transport import COMMAND, Gone, Wake, connect, start
from bwcolor.errors import DeviceError, ModelError
from bwcolor.photo.formats.known import Header
from bwcolor.system.atomic import link_above, remove_leftovers

START = 300.0  # seconds to open a model in, or to begin anything at all
SILENT = 1.5  # seconds without a Pulse after which no thread of the worker can do anything
WINDOW = 2  # tasks sent ahead, for each photo in work
GRACE = 1.5  # seconds after Ctrl-C for the photos in hand
TRIES = 3  # times that a photo is tried alone when the worker is killed
KILLED = "SIGKILL"
DEATHS = 3  # of the worker in a row without any photo in work, after which it is not begun again
MEMORY = re.compile(r"(not enough|insufficient|out of) memory|bad_alloc", re.IGNORECASE)
DOCTOR = "`bwcolor doctor` looks for the cause."

Kind = Literal["look", "colorize"]
Result = Outcome | Header | str


@dataclass(slots=True)
class _Flight:
    """A task that the worker has. begun: whether it is in work. since: the Clock's time of its last sign of life;
    infinite while nobody works on it. intent: its output, once that may have its name."""

    task: Task
    begun: bool = False
    since: float = math.inf
    intent: Outcome | None = None


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM came, and what was in hand is finished or thrown away."""


class Supervisor:
    """A worker process and what it has in hand. To be used by one thread, in a `with` block.

    timeout: seconds that a photo, or a page of one, may take. `troubles` fills with sentences on what happened to the
    worker and its device.
    """

    def __init__(self, setup: Setup, timeout: float, command: tuple[str, ...] = COMMAND) -> None:
        self._setup, self._timeout, self._command = setup, timeout, command
        self._threads = threads_for(setup.options.jobs)
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: SimpleQueue[Answer | Gone | Wake] = SimpleQueue()
        self._orders: SimpleQueue[Order | Setup | None] = SimpleQueue()
        self._clock = Clock()
        self._heard = 0.0  # when the worker began, or last said or was told something
        self._alive = 0.0  # when its last message came, which may be a Pulse
        self._flights: dict[int, _Flight] = {}
        self._number = 0
        self._stops = 0
        self._in_work = False  # whether photos are being colorized, which a stop gives time to end
        self._told_to_stop = False
        self._stop_at = math.inf
        self._deaths = 0
        self._lone = -1  # the task that nothing is done beside
        self._tries: Counter[Job] = Counter()  # of jobs that were alone when the worker was killed
        self._ready: Ready | None = None
        self.troubles: list[str] = []

    def __enter__(self) -> "Supervisor":
        self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()

    @property
    def stopped(self) -> bool:
        """Whether anybody asked for an end."""
        return self._stops > 0

    def stop(self) -> None:
        """Asks for an end: photos in hand get GRACE seconds. Where there are none, and the second time, Stopped is
        raised from here. For signal handlers of the thread that uses this."""
        self._stops += 1
        if self._stops == 1 and self._in_work:
            self._stop_at = time.monotonic() + GRACE
            self._answers.put(Wake())  # all else is for the loop to do: it may be in the middle of a message
        elif self._stops <= 2:  # later ones would only disturb the clearing up
            raise Stopped

    def rest(self, seconds: float) -> None:
        """Waits; raises Stopped when asked to stop."""
        until = self._clock.now() + seconds
        while (left := until - self._clock.now()) > 0:
            answer = self._next(left)
            if isinstance(answer, Gone):  # killed while nothing was to be done
                self._kill()
                self._begin_again(self._last_words(), in_work=False)
            elif isinstance(answer, Ready):
                self._deaths = 0
                self._take(answer)
            elif isinstance(answer, Broken):
                raise answer.error

    def ready(self) -> Ready:
        """Waits until the model is open; raises what kept it from being opened."""
        while self._ready is None:
            answer = self._next(START)
            if answer is None:
                raise DeviceError(f"the process that runs the model did not answer for {START:g} s. {DOCTOR}")
            if isinstance(answer, Gone):
                self._kill()
                self._begin_again(self._last_words(), in_work=False)
            elif isinstance(answer, Broken):
                raise answer.error
            else:
                self._take(answer)
        return self._ready

    def look(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Header | str]]:
        """Each job, in any order, with its photo's header, or why that can't be read. Raises as `colorize`."""
        for job, result in self._results(jobs, "look", lambda _: None):
            assert not isinstance(result, Outcome)
            yield job, result

    def colorize(self, jobs: Iterable[Job], intended: Callable[[Outcome], None]) -> Iterator[Outcome]:
        """What became of each job, as it ends, in any order. intended: called before an output gets its name.

        jobs: asked again after each end, even if there were no more for the moment (see Quota).
        Raises what ends the whole run, and Stopped.
        """
        self._in_work = True
        try:
            for _, result in self._results(jobs, "colorize", intended):
                assert isinstance(result, Outcome)
                yield result
        finally:
            self._in_work = False

    def _results(
        self, jobs: Iterable[Job], kind: Kind, intended: Callable[[Outcome], None]
    ) -> Iterator[tuple[Job, Result]]:
        waiting, alone = iter(jobs), deque[Job]()  # alone: what was in work when the worker died, and may be why
        again = deque[Job]()
        while True:
            self._fill(kind, waiting, again, alone)
            if not self._flights:
                if self._stops:
                    raise Stopped
                return
            answer = self._next(self._patience())
            if isinstance(answer, Intent):
                intended(answer.outcome)
                flight = self._flights[answer.number]
                flight.intent, flight.since = answer.outcome, self._clock.now()
                self._tell(Go(answer.number))
            elif isinstance(answer, Ended):
                flight = self._flights.pop(answer.number)
                self._deaths = 0
                self._note(answer.troubles)
                result, lacked_memory = answer.result, _lacked_memory(answer.result)
                if lacked_memory and answer.number != self._lone:
                    alone.append(flight.task.job)  # others may have had it
                else:
                    passing = lacked_memory and isinstance(result, Outcome)
                    yield flight.task.job, replace(cast(Outcome, result), lasting=False) if passing else result
            elif isinstance(answer, Gone) or answer is None:
                yield from self._bury(answer is None, kind, again, alone)
            elif isinstance(answer, Broken):
                yield from _ends([flight for flight in self._kill() if _has_its_name(flight)])
                raise answer.error
            else:
                self._take(answer)

    def _fill(self, kind: Kind, waiting: Iterator[Job], again: deque[Job], alone: deque[Job]) -> None:
        """Sends tasks until the worker has enough; suspects go one by one, with nothing beside them."""
        if self._stops:
            if not self._told_to_stop:
                self._told_to_stop = True
                self._tell(NoMore())
            return
        if alone or self._lone in self._flights:
            if not self._flights:
                self._lone = self._number
                self._send(kind, alone.popleft())
            return
        while len(self._flights) < (WINDOW + 1) * self._threads:
            job = again.popleft() if again else next(waiting, None)
            if job is None:
                return
            self._send(kind, job)

    def _send(self, kind: Kind, job: Job) -> None:
        task = Task(self._number, kind, job)
        self._flights[self._number] = _Flight(task)
        self._number += 1
        self._heard = self._clock.now()
        self._tell(task)

    def _patience(self) -> float:
        """Seconds to wait for an answer: until the first deadline of what is in work, or where nothing is in work, of
        the worker to begin something."""
        working = [flight.since + self._timeout for flight in self._flights.values() if flight.since < math.inf]
        return min(working, default=self._heard + START) - self._clock.now()

    def _next(self, seconds: float) -> Answer | Gone | Wake | None:
        """The next answer; None when there is none within so many seconds, or before the time to stop comes."""
        until = self._clock.now() + seconds
        while True:
            left = max(0.0, min(until - self._clock.now(), self._stop_at - time.monotonic()))
            try:
                answer = self._answers.get(timeout=min(left, TICK / 2))
            except Empty:
                if self._clock.now() >= until or time.monotonic() >= self._stop_at:
                    return None
            else:
                self._alive = self._clock.now()
                if not isinstance(answer, Pulse):
                    self._heard = self._alive
                    return answer

    def _take(self, answer: Answer | Wake) -> None:
        """Answers that are the same whatever is being done."""
        if isinstance(answer, Beat) and answer.number in self._flights:
            flight = self._flights[answer.number]
            flight.begun, flight.since = True, math.inf if answer.waiting else self._clock.now()
        elif isinstance(answer, Ready):
            if self._ready is None:
                self._ready = answer
            self._must_be_the_same(answer, self._ready)

    def _must_be_the_same(self, now: Ready, first: Ready) -> None:
        """Raises ModelError when a new worker finds another model in a file than the first one did.

        Another file, such as that for the CPU after a GPU is gone, is what `--device auto` asks for, and is told.
        """
        for path in now.files.keys() & first.files.keys():
            if now.files[path] != first.files[path]:
                raise ModelError(
                    f"{path}: was replaced while the run went on. Put the first file back, or go on with the new one:"
                    " run the same command again."
                )
        if now.label != first.label:
            self._note((f"the rest of the run is made with model {now.label}",))

    def _note(self, troubles: tuple[str, ...]) -> None:
        self.troubles += [trouble for trouble in troubles if trouble not in self.troubles]

    def _bury(
        self, late: bool, kind: Kind, again: deque[Job], alone: deque[Job]
    ) -> Iterator[tuple[Job, Outcome | str]]:
        """After the worker died, or must: what is lost, what is tried again, and a new worker."""
        now = self._clock.now()
        lone = self._lone in self._flights
        flights = self._kill()
        named = [flight for flight in flights if _has_its_name(flight)]
        yield from _ends(named)
        if self._stops:
            return
        flights = [flight for flight in flights if flight not in named]
        begun = [flight.task.job for flight in flights if flight.begun]
        lost = [flight.task.job for flight in flights if late and now >= flight.since + self._timeout]
        again.extendleft(reversed([flight.task.job for flight in flights if not flight.begun]))
        how = f"did not answer for {now - min(self._heard, self._alive):.0f} s" if late else self._last_words()
        if late and not lone and now - self._alive > min(SILENT, self._timeout / 2):
            lost = []  # whatever hangs keeps all others from going on
        if lost:
            again.extendleft(job for job in begun if job not in lost)  # they did nothing wrong
            reason = f"took longer than {self._timeout:g} s (--timeout)"
            self._note((f"a photo {reason}; the worker process was begun anew",))
        else:
            reason = f"made the process that reads photos end: it {how}"
            self._note((f"the worker process {how} and was begun anew",))
            self._tries.update(begun if lone else ())
            # Whoever kills a process, the system short of memory or a person, may not mean the photo.
            lost = [job for job in begun if lone and (KILLED not in how or self._tries[job] >= TRIES)]
            alone.extend(job for job in begun if job not in lost)
        self._begin_again(how, in_work=bool(begun))
        for job in lost:
            yield job, reason if kind == "look" else _failed(job, reason, lasting=KILLED not in how)

    def _begin_again(self, how: str, in_work: bool) -> None:
        """A new worker after one that died; not for ever. in_work: whether it had a photo in work."""
        self._deaths = 0 if in_work else self._deaths + 1
        if self._deaths >= DEATHS:
            raise DeviceError(f"the process that runs the model {how}, again and again. {DOCTOR}")
        self._begin()

    def _begin(self) -> None:
        self._answers, self._orders = SimpleQueue(), SimpleQueue()
        try:
            self._process = start(self._command)
        except OSError as error:
            raise DeviceError(f"the process that runs the model can't be begun ({error.strerror}). {DOCTOR}") from error
        connect(self._process, self._answers, self._orders)
        self._heard = self._alive = self._clock.now()
        self._tell(self._setup)

    def _tell(self, order: Order | Setup) -> None:
        self._orders.put(order)  # a dead worker is found by its last answer

    def _kill(self) -> list[_Flight]:
        """Ends the worker, and removes the files that it was writing. Returns what it had."""
        if self._process is None:
            return []
        self._process.kill()
        self._process.wait()
        self._orders.put(None)
        flights = list(self._flights.values())
        self._flights.clear()
        jobs = [flight.task.job for flight in flights if flight.begun and flight.task.kind == "colorize"]
        for folder, out in {(path.parent, job.out) for job in jobs for path in (job.target, job.copy)}:
            if out is None or not link_above(folder, out):
                remove_leftovers(folder)
        return flights

    def _last_words(self) -> str:
        """How the worker ended."""
        assert self._process is not None
        code = self._process.wait()
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"ended by {signal.Signals(-code).name}"
        return f"ended with code {code}"


def _failed(job: Job, reason: str, lasting: bool) -> Outcome:
    return Outcome(job, "failed", reason, lasting=lasting, input=fingerprint(job.source))


def _ends(named: list[_Flight]) -> Iterator[tuple[Job, Outcome]]:
    """What is done although nobody said so."""
    for flight in named:
        yield flight.task.job, cast(Outcome, flight.intent)


def _has_its_name(flight: _Flight) -> bool:
    """Whether an output that was about to get its name has it."""
    made = flight.intent
    return made is not None and fingerprint(cast(Path, made.path), read=True).sha256 == made.output.sha256


def _lacked_memory(result: Result) -> bool:
    """Whether a photo failed because there was not enough memory, which others may have had."""
    failed = isinstance(result, Outcome) and result.state == "failed"
    words = cast(Outcome, result).reason if failed else result
    return isinstance(words, str) and bool(MEMORY.search(words))
