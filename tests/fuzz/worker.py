"""The process in which inputs are tried: `worker.py FOLDER INPUTS FIRST COUNT`. It may crash; fuzz.py watches it.

INPUTS: the seed of damaged files, or a folder of files, each of which is tried in all formats. It writes a line of JSON
for each input: [number, kind, words, seconds of processor time, which file and what was done to it]. What is tried lies
in FOLDER, as "source", and what was made of it as "target"; a finding's file stays there by its number.
"""

import json
import logging
import os
import re
import resource
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import cv2
from fuzz.fuzz_target import FORMS, End, journey
from fuzz.mutate import Input, mutated
from fuzz.seeds import SEEDS

from bwcolor.imaging.arrays import Pixels
from bwcolor.photo.formats.known import Format
from bwcolor.photo.scan import open_scan

MEMORY = 1 << 30  # bytes that an input may take
SECONDS = 5.0  # of processor time that it may take
LONGEST_NOISE = 300  # characters
Try = tuple[int, Input, Format | None, list[Pixels] | None]  # number, input, what it is written as, luma if known
# What libtiff says of the few kinds of TIFF that are left to it, and of damaged fax codes, can't be turned off.
KNOWN_NOISE = re.compile(rb"(_?TIFF|tempfile\.tif|Fax[34]|LZW|OJPEG|ZIP|ZSTD|PackBits|Predictor)\w*: [^\n]*\n+")


def luma_of(path: Path) -> list[Pixels]:
    """Of each page."""
    with open_scan(path, 10**6) as scan:
        return [scan.photo(number).luma for number in range(scan.header.pages)]


def tried(
    one: Input, form: Format | None, folder: Path, expected: list[Pixels] | None, noise: int
) -> tuple[End, float]:
    """How an input ends, and the processor time that it took, s. noise: descriptor of what codecs print to."""
    source, target = folder / "source", folder / "target"
    source.write_bytes(one.content)
    started = time.process_time()
    end = journey(source, target, form, expected)
    seconds = time.process_time() - started
    printed = os.fstat(noise).st_size
    if printed:
        words = KNOWN_NOISE.sub(b"", os.pread(noise, printed, 0)).decode(errors="replace").strip()
        os.ftruncate(noise, 0)
        end = end if end.is_finding or not words else End("printed something", words[:LONGEST_NOISE])
    if seconds > SECONDS and not end.is_finding:
        end = End("slow", f"{end.kind}, {end.words}")
    return end, seconds


def limit_memory() -> None:
    """From here on no more than MEMORY beyond what is in use; no core files."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    most = int(fields["VmData"].split()[0]) * 1024 + MEMORY
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def quiet() -> None:
    """As the command is: damaged files make libraries warn."""
    warnings.simplefilter("ignore")
    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)


def damaged(base: int, folder: Path, numbers: range) -> Iterator[Try]:
    """Inputs of these numbers, with the luma of the whole file where theirs must be the same."""
    seeds = {name: make() for name, make in SEEDS.items()}
    whole = {}
    for name, content in seeds.items():
        (folder / "source").write_bytes(content)
        whole[name] = luma_of(folder / "source")
    for number in numbers:
        one = mutated(seeds, base, number)
        yield number, one, FORMS[number // len(seeds) % len(FORMS)], whole[one.seed] if one.same else None


def as_they_are(files: Path, numbers: range) -> Iterator[Try]:
    """Each file of a folder in each format."""
    tries = [(file, form) for file in sorted(files.iterdir()) for form in dict.fromkeys(FORMS)]
    for number in numbers[: len(tries)]:
        file, form = tries[number]
        yield number, Input(file.read_bytes(), file.name, f"as {form or 'its own format'}", False), form, None


def main(folder: Path, inputs: str, first: int, count: int) -> None:
    report = os.fdopen(os.dup(1), "w")
    noise = os.open(folder / "noise", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    os.dup2(noise, 1)
    os.dup2(noise, 2)
    quiet()
    numbers = range(first, count)
    tries = damaged(int(inputs), folder, numbers) if inputs.isdigit() else as_they_are(Path(inputs), numbers)
    limit_memory()
    report.write("ready\n")
    report.flush()
    for number, one, form, expected in tries:
        end, seconds = tried(one, form, folder, expected, noise)
        if end.is_finding:
            (folder / str(number)).write_bytes(one.content)
        report.write(json.dumps([number, end.kind, end.words, round(seconds, 4), f"{one.seed}: {one.how}"]) + "\n")
        report.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
