"""The next batches, made in a thread while the network works on the present one."""

import contextlib
import queue
import threading
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

AHEAD = 3  # batches


class Prefetcher:
    """A context: `start` it with batches as often as they change, take each with `next`."""

    def __init__(self) -> None:
        self._queue: queue.Queue[NDArray[np.uint8] | BaseException] = queue.Queue()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Prefetcher":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def start(self, batches: Iterator[NDArray[np.uint8]]) -> None:
        """Begins with `batches` (each N,H,W,3 uint8) and drops what is left of those before."""
        self._stop()
        self._queue = queue.Queue(maxsize=AHEAD)
        self._stopped.clear()
        self._thread = threading.Thread(target=self._work, args=(batches,), name="next batches", daemon=True)
        self._thread.start()

    def next(self, device: torch.device) -> Tensor:
        """The next batch on `device`; raises what making it raised."""
        item = self._queue.get()
        if isinstance(item, BaseException):
            raise item
        batch = torch.from_numpy(item)
        return batch if device.type == "cpu" else batch.pin_memory().to(device, non_blocking=True)

    def _work(self, batches: Iterator[NDArray[np.uint8]]) -> None:
        while not self._stopped.is_set():
            item: NDArray[np.uint8] | BaseException
            try:
                item = next(batches)
            except BaseException as error:
                item = error
            while not self._stopped.is_set():
                with contextlib.suppress(queue.Full):
                    self._queue.put(item, timeout=0.2)
                    break
            if isinstance(item, BaseException):
                return

    def _stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
