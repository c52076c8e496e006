"""The worker's process: how it is started, and the pipes that messages go through."""

import contextlib
import os
import pickle
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO, cast

from bwcolor.batch.messages import Answer, Order, Setup
from bwcolor.system.safe_path import safe_python_path

# -P: nothing is imported from the current folder, or from that of the file that is started. -E, -s: as of this process.
COMMAND = (
    sys.executable, "-P", *(["-E"] if sys.flags.ignore_environment else []),
    *(["-s"] if sys.flags.no_user_site else []), str(Path(__file__).with_name("start_worker.py")),
)  # fmt: skip

# Photos share the cores: numpy's libraries must not use all of them for each small product, and wait for one another.
ONE_THREAD_EACH = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1")
# glibc gives each thread a heap of its own, which keeps what a large photo's file took after the photo is done.
ONE_HEAP = {"MALLOC_ARENA_MAX": "1"}


@dataclass(frozen=True, slots=True)
class Gone:
    """Put behind a worker's last answer."""


@dataclass(frozen=True, slots=True)
class Wake:
    """Put among the answers by a signal handler."""


Answers = SimpleQueue[Answer | Gone | Wake]
Orders = SimpleQueue[Order | Setup | None]


def start(command: tuple[str, ...]) -> "subprocess.Popen[bytes]":
    """Starts a worker; raises OSError when the system can't."""
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**ONE_HEAP, **os.environ, **ONE_THREAD_EACH, "PYTHONPATH": safe_python_path()},
        start_new_session=os.name != "nt",  # Ctrl-C reaches the parent alone
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )  # fmt: skip


def connect(process: "subprocess.Popen[bytes]", answers: Answers, orders: Orders) -> None:
    """Lets a worker's answers come into one queue, and what is put into the other go to the worker.

    In threads, so that a worker that neither reads nor writes holds up nobody who wants to stop it.
    """
    hear, tell = cast(BinaryIO, process.stdout), cast(BinaryIO, process.stdin)
    threading.Thread(target=_listen, args=(hear, answers), daemon=True).start()
    threading.Thread(target=_speak, args=(tell, orders), daemon=True).start()


def _listen(pipe: BinaryIO, answers: Answers) -> None:
    """Hears a worker until it is gone."""
    with pipe:
        try:
            while True:
                answers.put(pickle.load(pipe))
        except Exception:  # the pipe has ended, or what came through it is no message
            answers.put(Gone())


def _speak(pipe: BinaryIO, orders: Orders) -> None:
    """Tells a worker what is in the queue, until it is gone or there is None."""
    with contextlib.suppress(OSError), pipe:
        while (order := orders.get()) is not None:
            pipe.write(pickle.dumps(order))
            pipe.flush()
