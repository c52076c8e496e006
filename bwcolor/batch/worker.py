"""The process that opens the user's files: decoders, the network and encoders live and die here.

Its parent (supervise.py) sends what is to be done through a pipe and gets back what became of it. Messages are pickled
values of the classes in messages.py. A decoder that crashes takes this process with it, and nothing else.
"""

import contextlib
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import BinaryIO, NoReturn

from bwcolor.batch.messages import Answer, Beat, Broken, Ended, Go, Intent, NoMore, Order, Pulse, Ready, Setup, Task
from bwcolor.batch.outcome import Outcome
from bwcolor.batch.plan import look
from bwcolor.errors import BwcolorError, ModelError

SHARE, HUGE = 0.8, 1 << 50  # of the memory; bytes that no machine has
BUG = "an error inside bwcolor ({}); please report it, with what --debug shows"
MEMORY = "not enough memory"
PULSE = 0.5  # seconds


class Line:
    """The worker's end of the pipes. Any thread may say something."""

    def __init__(self, orders: BinaryIO, answers: BinaryIO) -> None:
        self._orders, self._answers = orders, answers
        self._speaking = threading.Lock()
        self._allowed: dict[int, threading.Event] = {}
        self.tasks: SimpleQueue[Task | NoMore] = SimpleQueue()

    def say(self, answer: Answer) -> None:
        """To the parent. When it is dead, so is this process."""
        content = pickle.dumps(answer)
        try:
            with self._speaking:
                self._answers.write(content)
                self._answers.flush()
        except OSError:
            os._exit(1)

    def ask(self, intent: Intent) -> None:
        """Waits until the parent lets an output have its name."""
        allowed = self._allowed[intent.number] = threading.Event()
        self.say(intent)
        allowed.wait()

    def listen(self) -> None:
        """Hears the parent until it is gone; runs in a thread of its own."""
        try:
            while True:
                order: Order = pickle.load(self._orders)
                if isinstance(order, Go):
                    self._allowed.pop(order.number).set()
                    continue
                if isinstance(order, NoMore):
                    self._forget()
                self.tasks.put(order)
        except BaseException:  # the parent is gone, or can't be understood: nothing is to be done without it
            os._exit(1)

    def pulse(self) -> None:
        """Says for ever that threads can run."""
        while True:
            with contextlib.suppress(MemoryError):
                self.say(Pulse())
            time.sleep(PULSE)

    def _forget(self) -> None:
        """Lets go of tasks that nobody has begun."""
        with contextlib.suppress(Empty):
            while True:
                self.tasks.get_nowait()

    def in_order(self) -> Iterator[Task]:
        """The tasks, until there are no more."""
        while not isinstance(task := self.tasks.get(), NoMore):
            yield task
        self.tasks.put(task)  # for the other threads


@dataclass(frozen=True, slots=True)
class Watched:
    """Tells the parent how a photo gets on; see colorize.Watch."""

    number: int
    line: Line

    def beat(self, waiting: bool = False) -> None:
        """See Watch."""
        self.line.say(Beat(self.number, waiting))

    def about_to_commit(self, outcome: Outcome) -> None:
        """See Watch."""
        self.line.ask(Intent(self.number, outcome))


def main() -> None:
    """Does what comes through standard input until there is no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    nowhere = os.open(os.devnull, os.O_RDWR)  # first: standard error may be closed, and its number is not for a pipe
    orders, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)  # what a codec prints must not come between the messages
    setup: Setup = pickle.load(orders)
    if not setup.debug:
        os.dup2(nowhere, 2)
    _die_with_parent()
    line = Line(orders, answers)
    for do in (line.listen, line.pulse):
        threading.Thread(target=do, daemon=True).start()
    try:
        _work(setup, line)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)  # without waiting for the thread that listens


def _work(setup: Setup, line: Line) -> None:
    from bwcolor.batch.memory_budget import PixelBudget, pixels_at_once, threads_for
    from bwcolor.batch.process_photo import colorize_photo
    from bwcolor.batch.thread_pool import in_threads
    from bwcolor.inference.batching import portioned
    from bwcolor.inference.registry import load
    from bwcolor.inference.session import Model, files_of, on_gpu, summary, troubles_of

    model: Future[Model] = Future()
    budget = PixelBudget(pixels_at_once(setup.options.jobs, setup.memory))

    def work(task: Task) -> Ended:
        try:
            if task.kind == "look":
                line.say(Beat(task.number))
                return Ended(task.number, look(task.job))
            watch = Watched(task.number, line)
            outcome = colorize_photo(task.job, model.result(), setup.options, budget, watch)
            return Ended(task.number, outcome, troubles_of(model.result()))
        except BwcolorError as error:  # such as a full disk
            _give_up(line, error)
        except MemoryError:
            words = MEMORY
        except Exception as error:  # a bug on one photo must not cost the others
            words = BUG.format(traceback.format_exc() if setup.debug else f"{type(error).__name__}: {error}")
        return Ended(task.number, words if task.kind == "look" else Outcome(task.job, "failed", words))

    def open_model() -> None:
        try:
            options = setup.options
            opened = load(setup.model, setup.device)
            files = files_of(opened)
            opened = portioned(opened, options.tile, options.batch, threads_for(options.jobs), setup.memory)
            _limit_memory(setup.memory, on_gpu(opened))
            line.say(Ready(summary(opened), opened.lines, opened.label, opened.sha256, files))
            model.set_result(opened)
        except BwcolorError as error:
            _give_up(line, error)
        except BaseException as error:
            _give_up(line, ModelError(f"{setup.model}: can't be opened ({type(error).__name__}: {error})."))

    if setup.model:
        threading.Thread(target=open_model, daemon=True).start()
    else:
        _limit_memory(setup.memory, gpu=False)
    for ended in in_threads(work, line.in_order(), setup.options.jobs, budget):
        line.say(ended)


def _give_up(line: Line, error: BwcolorError) -> NoReturn:
    """Ends this process, because the run can't go on; whatever else is in hand comes again in another run."""
    line.say(Broken(error))
    os._exit(1)


def _die_with_parent() -> None:
    """Ends this process when its parent dies in whatever way, and makes it the first to go when memory runs out."""
    if sys.platform != "linux":
        return  # the closed pipe tells
    import ctypes

    set_parent_death_signal = 1  # PR_SET_PDEATHSIG, prctl(2)
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL, 0, 0, 0)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def _limit_memory(limit: int, gpu: bool) -> None:
    """Makes the system refuse more memory than that, so that one photo fails instead of the machine.

    Not on a GPU, whose driver maps more than it uses.
    """
    if sys.platform != "linux" or gpu:
        return
    import resource

    from bwcolor.system.machine import memory

    limit = limit or int(SHARE * (memory().most or HUGE))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
