"""What a plan is likely to take: time, memory, room on the disk. Rough, and said to be."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bwcolor.batch.memory_budget import pixels_at_once, threads_for
from bwcolor.batch.plan import Job
from bwcolor.options import Detail
from bwcolor.photo.formats.known import Format


@dataclass(frozen=True, slots=True)
class Cost:
    """seconds: of a processor core, for each million pixels. memory, disk: bytes for each pixel."""

    seconds: float
    memory: float
    disk: float


# By output format, as `python benchmarks/costs.py` gives them with the default model on made-up scans of 12 megapixels
# (for PNG and TIFF the mean of 8 and 16 bit); memory from benchmarks/memory.py.
COSTS: dict[Format, Cost] = {
    "jpeg": Cost(0.01, 2.0, 0.2), "png": Cost(0.21, 10.0, 3.1), "tiff": Cost(0.015, 3.0, 4.5),
    "webp": Cost(0.18, 10.0, 0.23), "avif": Cost(0.7, 12.0, 0.24), "bmp": Cost(0.029, 10.0, 3.0),
}  # fmt: skip
EACH = 0.01  # seconds of a core for a photo of any size: 0.006 as the benchmark says, and ledger and supervision
# Seconds of a core that the network takes for a page that is no smaller than it sees it, SEEN pixels; less in
# proportion.
NETWORK: dict[Detail, float] = {"fast": 0.02, "auto": 0.03, "max": 0.22}
SEEN = 192 * 192
START = 1.0  # seconds until the first photo is begun, at most
BASE = 250_000_000  # bytes that the program takes before the first photo

# Bytes that the ledger takes for a photo (720, measured with 5,000) and the report (900). While a run goes on there is
# also the ledger's log, which grows by 19 kB a photo until SQLite empties it at 1,000 pages, and 50 kB of empty tables.
RECORD = 1_620
LOG_EACH, LOG, EMPTY = 19_000, 4_200_000, 50_000


@dataclass(frozen=True, slots=True)
class Needs:
    """photos, pixels, read: number of photos, their pixels, and bytes of their files. seconds: of wall time. memory:
    bytes at most. disk: bytes of the outputs, with ledger and report. free: bytes on their disk."""

    photos: int
    pixels: int
    read: int
    seconds: float
    memory: int
    disk: int
    free: int

    def in_words(self) -> str:
        """One line for the user."""
        photos = "1 photo" if self.photos == 1 else f"{self.photos:,} photos"
        return (
            f"{photos} ({_number(self.pixels / 1e6)} megapixels, {size_in_words(self.read)}); takes about"
            f" {time_in_words(self.seconds)}, {size_in_words(self.memory)} of memory, and {size_in_words(self.disk)}"
            f" of disk space ({size_in_words(self.free)} free)"
        )


def needs(photos: Sequence[Job], out: Path, threads: int, detail: Detail = "auto", records: bool = False) -> Needs:
    """Of the jobs of a settled plan. out: where outputs go. threads: as the user said, see budget.threads_for.
    records: whether a ledger and a report lie beside the outputs."""
    cost = {job: COSTS[job.format] for job in photos if job.format}
    cores = min(threads_for(threads), threads_for(0))
    each = sorted((job.pixels // job.pages * one.memory for job, one in cost.items()), reverse=True)
    together = min(
        sum(each[: threads_for(threads)]),
        pixels_at_once(threads) * max((one.memory for one in cost.values()), default=0),
    )
    outputs = sum(max(job.bytes, job.pixels * one.disk) for job, one in cost.items())
    return Needs(
        photos=len(photos),
        pixels=sum(job.pixels for job in photos),
        read=sum(job.bytes for job in photos),
        seconds=(START + sum(_seconds(job, one, detail) for job, one in cost.items()) / cores) if photos else 0,
        memory=BASE + int(max(each[0] if each else 0, together)),
        disk=int(outputs) + (_records(len(photos)) if records else 0),
        free=shutil.disk_usage(next((path for path in (out, *out.parents) if path.exists()), Path())).free,
    )


def _records(photos: int) -> int:
    """Bytes of ledger and report at the most, which is while the run goes on."""
    return EMPTY + RECORD * photos + min(LOG, LOG_EACH * photos) if photos else 0


def _seconds(job: Job, cost: Cost, detail: Detail) -> float:
    """Of a core, for a photo with all its pages."""
    network = NETWORK[detail] * min(job.pages, job.pixels / SEEN)
    return EACH + network + job.pixels / 1e6 * cost.seconds


def _number(value: float) -> str:
    """12 and 1,234; 0.6 where that is less than 10."""
    return f"{value:,.0f}" if value >= 9.95 or not value else f"{value:.1f}"


def size_in_words(size: float) -> str:
    """Bytes -> 12 MB."""
    for unit in ("bytes", "kB", "MB"):
        if round(size) < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"


def time_in_words(seconds: float) -> str:
    """Seconds -> 2 h 5 min."""
    if round(seconds) < 60:
        return f"{max(1, round(seconds))} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min"
