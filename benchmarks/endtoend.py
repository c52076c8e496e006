"""Photos a second of whole runs, side by side with the script that people write and with DDColor's way.

    python benchmarks/endtoend.py [--photos 24] [--peers naive ddcolor-tiny] [--json FILE] [--plot FILE.png|webp]

Makes gray photos of 12 megapixels (JPEG at 8 bits, TIFF at 16, uncompressed, LZW that noise makes larger, and LZW of
8 bits in 16 that pays), runs each way as a process of its own over the folder in turns, and prints wall and processor
seconds a photo, start-up left out (a run over a tiny photo is subtracted), with ratios to bwcolor. Then what the stages
cost alone (benchmarks/stages.py) against the processor time of the run, the wall time against the slowest resource, and
what was asked of bwcolor beside what was measured.

The peers ddcolor-tiny and ddcolor-large need torch and, in a folder of their own, other packages:

    pip install --no-deps --target PEERS spandrel spandrel_extra_arches safetensors einops
    python benchmarks/endtoend.py --peers naive ddcolor-tiny --peer-packages PEERS
"""

import argparse
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from children import Cost, apart, bwcolor_command, cost_of, environment, keep, this_machine
from memory import make_photo

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT = 4000, 3000  # px
TINY = (64, 48)  # px
KINDS = {  # how names end, bits, and by how much photos are fewer
    "jpeg": (".jpg", 8, 1), "tiff16": (".tif", 16, 2), "tiff16-lzw": ("_lzw.tif", 16, 2),
    "tiff16-lzw-8-in-16": ("_8_in_16_lzw.tif", 16, 2),
}  # fmt: skip
FAST, AUTO, NAIVE, DDCOLOR = "bwcolor fast", "bwcolor auto", "naive", "ddcolor-tiny"
PEERS = (NAIVE, DDCOLOR, "ddcolor-large")
SLOW_PHOTOS = 5  # at most, for DDColor, of which each takes seconds


@dataclass(frozen=True, slots=True)
class Folders:
    """photos: all of a kind. few: some of them. tiny: one that costs next to nothing. work: where outputs go."""

    photos: Path
    few: Path
    tiny: Path
    work: Path

    def of(self, way: str) -> Path:
        return self.few if way.startswith("ddcolor") else self.photos


@dataclass(frozen=True, slots=True)
class Asked:
    """One line of what was asked. most: whether the figure is to be below, not above, `limit`."""

    what: str
    limit: float
    measured: float
    most: bool = False
    unit: str = ""

    def met(self) -> bool:
        return self.measured <= self.limit if self.most else self.measured >= self.limit

    def __str__(self) -> str:
        bound = "at most" if self.most else "at least"
        state = "" if self.met() else "  (missed)"
        return f"{self.what}: asked {bound} {self.limit:g}{self.unit}, measured {self.measured:.3g}{self.unit}{state}"


def default_file() -> str:
    """The file of the default model that bwcolor takes on this processor, for the naive script to take the same."""
    from bwcolor.inference.registry import choose, find_model

    return str(choose(find_model("default"), "cpu").path)


def command(way: str, photos: Path, out: Path, model: str) -> list[str]:
    """What runs the way over a folder."""
    if way == NAIVE:
        return [sys.executable, str(HERE / "peers" / "naive.py"), str(photos), str(out), model]
    if way.startswith("ddcolor-"):
        return [sys.executable, str(HERE / "peers" / "ddcolor.py"), str(photos), str(out), way.partition("-")[2]]
    return bwcolor_command(photos, out, "-q", "--detail", way.partition(" ")[2])


def run(way: str, photos: Path, work: Path, model: str, peer_packages: Path | None) -> Cost:
    """One run in a process of its own; ends the program when it fails or leaves a photo out."""
    out = work / "out"
    shutil.rmtree(out, ignore_errors=True)
    env = environment()
    if way.startswith("ddcolor"):
        env = environment(os.cpu_count() or 1, **({"PYTHONPATH": str(peer_packages)} if peer_packages else {}))
    cost = cost_of(command(way, photos, out, model), env)
    if cost.exit_code or not all((out / photo.name).is_file() for photo in photos.iterdir()):
        raise SystemExit(f"{way} failed on {photos}")
    return cost


def compared(ways: list[str], folders: Folders, rounds: int, peer_packages: Path | None) -> dict[str, dict[str, float]]:
    """Costs of a photo by each way: the fastest of several rounds in turns, less the fastest run over a tiny photo."""
    model = apart(default_file)
    found: dict[str, list[tuple[Cost, Cost]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            start = run(way, folders.tiny, folders.work, model, peer_packages)
            found[way].append((start, run(way, folders.of(way), folders.work, model, peer_packages)))
    shutil.rmtree(folders.work / "out")
    table = {}
    for way, costs in found.items():
        photos = len(list(folders.of(way).iterdir()))
        start = min((start for start, _ in costs), key=lambda cost: cost.wall)
        best = min((many for _, many in costs), key=lambda cost: cost.wall)
        wall, cpu = (best.wall - start.wall) / photos, (best.cpu - start.cpu) / photos
        table[way] = {
            "photos": photos, "wall s a photo": wall, "cpu s a photo": cpu, "cores busy": cpu / wall,
            "start s": start.wall, "peak MB": max(many.peak for _, many in costs),
        }  # fmt: skip
    for row in table.values():
        row["times bwcolor auto"] = row["wall s a photo"] / table[AUTO]["wall s a photo"]
    return table


def limits(row: dict[str, float], stages: dict[str, Any]) -> dict[str, float]:
    """Wall seconds that each resource needs for a photo at least, and how near the run came to the slowest.

    processor: the run's processor time spread over all cores. disk: output written and flushed.
    """
    processor, disk = row["cpu s a photo"] / (os.cpu_count() or 1), stages["disk s a photo"]
    return {
        "processor s": processor, "disk s": disk, "wall s": row["wall s a photo"],
        "wall over slowest": row["wall s a photo"] / max(processor, disk),
    }  # fmt: skip


def shares(row: dict[str, float], stages: dict[str, Any]) -> dict[str, float]:
    """Sums of the stages alone, ms, beside the processor time of the run."""
    from stages import CODEC, PARTS

    alone, run_ms = stages["ms"], 1000 * row["cpu s a photo"]
    parts = sum(value for name, value in alone.items() if name in PARTS)
    codec = sum(value for name, value in alone.items() if name in CODEC)
    return {
        "run ms": run_ms, "parts ms": parts, "run over parts": run_ms / parts,
        "codec share of parts": codec / parts, "rest ms": max(0.0, run_ms - sum(alone.values())),
    }  # fmt: skip


def asked(kinds: dict[str, dict[str, Any]]) -> list[Asked]:
    """What was asked of bwcolor, as far as this run measured it."""
    lines: list[Asked] = []
    for kind, found in kinds.items():
        table = found["ways"]

        def times(peer: str, way: str, table: dict[str, dict[str, float]] = table) -> float:
            return table[peer]["wall s a photo"] / table[way]["wall s a photo"]

        if NAIVE in table:
            lines += [
                Asked(f"{kind}, --detail fast, times the naive script", 8 if kind == "jpeg" else 3, times(NAIVE, FAST)),
                Asked(f"{kind}, default, times the naive script", 4 if kind == "jpeg" else 3, times(NAIVE, AUTO)),
            ]
        if DDCOLOR in table:
            lines.append(Asked(f"{kind}, default, times {DDCOLOR}", 15, times(DDCOLOR, AUTO)))
        if kind == "jpeg":
            fast = table[FAST]
            busy, peak = (
                100 * fast["cores busy"] / (os.cpu_count() or 1),
                max(table[FAST]["peak MB"], table[AUTO]["peak MB"]),
            )
            lines += [
                Asked(
                    "jpeg, --detail fast, processor time over its parts", 1.6, found["shares"]["run over parts"], True
                ),
                Asked("jpeg, --detail fast, all cores busy", 85, busy, unit=" %"),
                Asked("jpeg, peak memory", 350, peak, True, " MB"),
            ]
    return lines


def measured(
    kind: str, work: Path, photos: int, peers: list[str], rounds: int, packages: Path | None
) -> dict[str, Any]:
    """All of a kind."""
    ending, bits, fewer = KINDS[kind]
    photos = max(2, photos // fewer)
    folders = Folders(*(work / kind / name for name in ("photos", "few", "tiny", "work")))
    for folder in (folders.photos, folders.few, folders.tiny, folders.work):
        folder.mkdir(parents=True)
    first = folders.photos / f"00{ending}"
    apart(make_photo, first, WIDTH, HEIGHT, bits)
    for number in range(1, photos):
        shutil.copy(first, first.with_name(f"{number:02}{ending}"))
    for number in range(min(SLOW_PHOTOS, photos)):
        shutil.copy(first, folders.few / f"{number:02}{ending}")
    apart(make_photo, folders.tiny / first.name, *TINY, bits)
    ways = [FAST, AUTO, *(peer for peer in peers if kind == "jpeg" or peer == NAIVE)]
    table = compared(ways, folders, rounds, packages)
    from_stages = apart(_stage_costs, first, folders.work)
    shutil.rmtree(work / kind)
    return {
        "ways": table, "stages": from_stages,
        "shares": apart(shares, table[FAST], from_stages), "limits": limits(table[FAST], from_stages),
    }  # fmt: skip


def _stage_costs(photo: Path, folder: Path) -> dict[str, object]:
    from stages import stage_costs

    return stage_costs(photo, folder)


def told(kind: str, found: dict[str, Any]) -> str:
    """A kind's figures in lines."""
    lines = [f"\n{kind}, {WIDTH} x {HEIGHT} px"]
    for way, row in found["ways"].items():
        lines.append(f"{way:14}" + "  ".join(f"{name} {value:.3g}" for name, value in row.items()))
    alone, summed, limit = found["stages"]["ms"], found["shares"], found["limits"]
    lines += [
        "stages alone, ms: " + ", ".join(f"{name} {value:.0f}" for name, value in alone.items()),
        f"--detail fast: {summed['run ms']:.0f} ms of processor time a photo, {summed['run over parts']:.2f} times"
        f" its parts' {summed['parts ms']:.0f}, of which the codec {100 * summed['codec share of parts']:.0f} %",
        f"wall {1000 * limit['wall s']:.0f} ms a photo, {limit['wall over slowest']:.2f} times the slowest resource:"
        f" processor {1000 * limit['processor s']:.0f}, disk {1000 * limit['disk s']:.0f}",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=[NAIVE])
    parser.add_argument("--peer-packages", type=Path, metavar="FOLDER")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    chosen = parser.parse_args()
    os.environ.update(environment())  # for what runs `apart`
    kinds: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in chosen.kinds:
            kinds[kind] = measured(kind, Path(folder), chosen.photos, chosen.peers, chosen.rounds, chosen.peer_packages)
            sys.stdout.write(told(kind, kinds[kind]))
            sys.stdout.flush()
    lines = [str(line) for line in asked(kinds)]
    sys.stdout.write("\n" + "\n".join(lines) + "\n")
    found = {"benchmark": "endtoend", "machine": this_machine(), "kinds": kinds, "asked": lines}
    keep(found, chosen.json, chosen.plot)


if __name__ == "__main__":
    main()
