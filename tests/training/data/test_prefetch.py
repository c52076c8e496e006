"""Batches that are made ahead."""

import itertools
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from bwcolor_training.data.prefetch import AHEAD, Prefetcher
from numpy.typing import NDArray

CPU = torch.device("cpu")
PATIENCE = 10.0  # seconds


class Maker:
    """Endless batches of one pixel that count up, and how many of them were asked for."""

    def __init__(self, first: int = 0) -> None:
        self.made = 0
        self.first = first

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for number in itertools.count(self.first):
            self.made += 1
            yield np.full((1, 1, 1, 3), number, np.uint8)


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "next batches"]


def test_batches_come_in_their_order() -> None:
    with Prefetcher() as prefetcher:
        prefetcher.start(iter(Maker()))
        taken = [prefetcher.next(CPU) for _ in range(20)]
    assert [int(batch[0, 0, 0, 0]) for batch in taken] == list(range(20))
    assert taken[0].dtype == torch.uint8
    assert taken[0].shape == (1, 1, 1, 3)


def test_a_few_are_made_ahead_and_no_more() -> None:
    maker = Maker()
    with Prefetcher() as prefetcher:
        prefetcher.start(iter(maker))
        prefetcher.next(CPU)
        end = time.monotonic() + PATIENCE
        while maker.made < AHEAD + 2 and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.3)
        assert maker.made == AHEAD + 2, "one taken, the queue, and one in hand"


def test_a_new_start_drops_what_is_left_of_the_old() -> None:
    with Prefetcher() as prefetcher:
        prefetcher.start(iter(Maker()))
        prefetcher.next(CPU)
        prefetcher.start(iter(Maker(100)))
        assert [int(prefetcher.next(CPU)[0, 0, 0, 0]) for _ in range(5)] == [100, 101, 102, 103, 104]
        assert len(workers()) == 1


def test_what_fails_in_the_thread_is_raised_where_the_batch_is_taken() -> None:
    def broken() -> Iterator[NDArray[np.uint8]]:
        yield np.zeros((1, 1, 1, 3), np.uint8)
        raise OSError("the disk is gone")

    with Prefetcher() as prefetcher:
        prefetcher.start(broken())
        prefetcher.next(CPU)
        with pytest.raises(OSError, match="the disk is gone"):
            prefetcher.next(CPU)


def test_no_thread_stays_behind() -> None:
    def fail() -> None:
        with Prefetcher() as prefetcher:
            prefetcher.start(iter(Maker()))
            assert len(workers()) == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not workers()


def test_it_need_not_be_started() -> None:
    with Prefetcher():
        pass
    assert not workers()
