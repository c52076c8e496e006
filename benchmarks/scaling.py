"""Does cost grow in line with pixels and with photos, and memory not at all? What do more threads bring?

    python benchmarks/scaling.py [--only sizes folders threads] [--kinds jpeg tiff16] [--json FILE] [--plot FILE]

sizes: gray photos of 1 to 140 megapixels, one after the other (--jobs 1), small ones several times over so that each
run has work for seconds. folders: 10 to 1,000 photos of 96 x 64 px in four formats, as benchmarks/soak.py makes them
(--folders 10 100 1000 10000 for more). threads: photos of 12 megapixels with --jobs 1 and more. Each figure is of the
fastest of several runs of the command line, less start-up (a run over one photo). The exponents are those of power
laws (least squares of logarithms): 1 is linear growth, less is cheaper. Of sizes there are two: of all that a photo
costs, and of what exceeds a photo that is no larger than the network sees it, which costs the network as much as any.
"""

import argparse
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import soak
from children import Cost, apart, bwcolor_command, cost_of, environment, keep, this_machine
from memory import make_photo

MEGAPIXELS = (1, 3, 12, 24, 50, 100, 140)
FOLDERS = (10, 100, 1000)  # photos
THREADS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
KINDS = {"jpeg": (".jpg", 8), "tiff16": (".tif", 16)}
WORK = 200  # megapixels that a run has at least
SMALL = (256, 192)  # px: as large as the default model sees any photo
SMALL_PHOTOS = 101  # of which one run measures what each costs
LARGE_FOLDER = 1000  # photos from which one round is enough
PER_PHOTO = ("wall s a photo", "cpu s a photo")


def power_law(amounts: Sequence[float], costs: Sequence[float]) -> tuple[float, float]:
    """Exponent and factor of costs = factor * amounts ** exponent, by least squares of the logarithms."""
    x, y = [math.log(amount) for amount in amounts], [math.log(cost) for cost in costs]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - mean_x) ** 2 for a in x)
    exponent = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread
    return exponent, math.exp(mean_y - exponent * mean_x)


def fastest(photos: Path, out: Path, rounds: int, *options: str) -> Cost:
    """The fastest of several runs over a folder, each into a new one."""
    costs = []
    for _ in range(rounds):
        shutil.rmtree(out, ignore_errors=True)
        cost = cost_of(bwcolor_command(photos, out, "-q", *options))
        if cost.exit_code:
            raise SystemExit(f"bwcolor failed on {photos}")
        costs.append(cost)
    shutil.rmtree(out)
    return min(costs, key=lambda cost: cost.wall)


def filled(folder: Path, copies: int, width: int, height: int, ending: str, bits: int) -> Path:
    """A folder with one made-up photo several times over."""
    folder.mkdir()
    first = folder / f"000{ending}"
    apart(make_photo, first, width, height, bits)
    for number in range(1, copies):
        shutil.copy(first, first.with_name(f"{number:03}{ending}"))
    return folder


def by_size(kind: str, megapixels: list[float], work: Path, rounds: int) -> dict[str, Any]:
    """Costs of a photo by its size, one photo at a time."""
    ending, bits = KINDS[kind]
    start, small = started(work, rounds, ending, bits)
    points = []
    for size in megapixels:
        width = round(math.sqrt(size * 1e6 * 4 / 3))
        copies = max(1, math.ceil(WORK / size))
        photos = filled(work / "photos", copies, width, round(size * 1e6 / width), ending, bits)
        cost = fastest(photos, work / "out", rounds, "--jobs", "1")
        shutil.rmtree(photos)
        points.append({
            "megapixels": size, "photos": copies, "wall s a photo": (cost.wall - start.wall) / copies,
            "cpu s a photo": (cost.cpu - start.cpu) / copies,
            "cpu s a megapixel": (cost.cpu - start.cpu) / copies / size, "peak MB": cost.peak,
        })  # fmt: skip
        tell(f"{kind}, {size:g} megapixels", points[-1])
    beyond = [{**point, **{key: point[key] - small[key] for key in PER_PHOTO}} for point in points]
    return {
        "start wall s": start.wall, "small photo": small, "points": points,
        "exponents": exponents(points, "megapixels"), "exponents beyond a small photo": exponents(beyond, "megapixels"),
    }  # fmt: skip


def started(work: Path, rounds: int, ending: str, bits: int) -> tuple[Cost, dict[str, float]]:
    """A run over one small photo, and what each of many costs beyond that."""
    one = filled(work / "one", 1, *SMALL, ending, bits)
    many = filled(work / "many", SMALL_PHOTOS, *SMALL, ending, bits)
    start, cost = (fastest(photos, work / "out", rounds, "--jobs", "1") for photos in (one, many))
    for folder in (one, many):
        shutil.rmtree(folder)
    wall, cpu = ((a - b) / (SMALL_PHOTOS - 1) for a, b in ((cost.wall, start.wall), (cost.cpu, start.cpu)))
    return start, dict(zip(PER_PHOTO, (wall, cpu), strict=True))


def by_folder(counts: list[int], work: Path, rounds: int) -> dict[str, Any]:
    """Costs of a folder by its number of small photos, default settings. A run over one photo is subtracted."""

    def one(count: int, times: int) -> dict[str, Any]:
        photos = work / "small"
        apart(soak.make_photos, photos, count)
        runs = []
        for _ in range(times):
            runs.append(soak.run(photos, work / "out"))
            shutil.rmtree(work / "out")
        shutil.rmtree(photos)
        best: dict[str, Any] = min(runs, key=lambda run: run["seconds"])
        if best["exit_code"] or best["states"] != {"done": count}:
            raise SystemExit(f"bwcolor failed on {count} small photos: {best['states']}")
        return best

    start = one(1, rounds)
    points: list[dict[str, float]] = []
    for count in counts:
        best = one(count, rounds if count < LARGE_FOLDER else 1)
        wall, cpu = best["seconds"] - start["seconds"], best["cpu_seconds"] - start["cpu_seconds"]
        points.append({
            "photos": count, "wall s": best["seconds"], "wall s a photo": wall / (count - 1),
            "cpu s a photo": cpu / (count - 1), "peak MB": best["peak_mb"],
        })  # fmt: skip
        tell(f"{count:,} small photos", points[-1])
    laws = [{**point, **{key: point[key] * (point["photos"] - 1) for key in PER_PHOTO}} for point in points]
    return {"start s": start["seconds"], "points": points, "exponents": exponents(laws, "photos", -1)}


def exponents(points: list[dict[str, float]], amount: str, offset: float = 0) -> dict[str, float]:
    """Of wall and processor seconds over the amount; none where there are fewer than two points, or noise hides one."""
    amounts = [point[amount] + offset for point in points]
    costs = {key.split()[0]: [point[key] for point in points] for key in PER_PHOTO}
    return {
        name: power_law(amounts, each)[0] for name, each in costs.items() if len(each) > 1 and min(each) > 0
    }  # fmt: skip


def by_threads(threads: list[int], work: Path, rounds: int) -> dict[str, Any]:
    """Speed and memory by --jobs, 12-megapixel JPEGs."""
    copies = 6 * max(threads)
    photos = filled(work / "photos", copies, 4000, 3000, ".jpg", 8)
    one = filled(work / "one", 1, *SMALL, ".jpg", 8)
    points = []
    for jobs in threads:
        start = fastest(one, work / "out", rounds, "--jobs", str(jobs))
        cost = fastest(photos, work / "out", rounds, "--jobs", str(jobs))
        wall, cpu = cost.wall - start.wall, cost.cpu - start.cpu
        points.append({
            "jobs": jobs, "photos a second": copies / wall, "cpu s a photo": cpu / copies, "cores busy": cpu / wall,
            "peak MB": cost.peak,
        })  # fmt: skip
        tell(f"--jobs {jobs}", points[-1])
    for folder in (photos, one):
        shutil.rmtree(folder)
    return {"points": points}


def tell(title: str, row: dict[str, float]) -> None:
    sys.stdout.write(f"{title:24}" + "  ".join(f"{name} {value:.4g}" for name, value in row.items()) + "\n")
    sys.stdout.flush()


def main() -> None:
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=("sizes", "folders", "threads"), metavar="WHAT")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=["jpeg"])
    parser.add_argument("--megapixels", nargs="+", type=float, default=list(MEGAPIXELS))
    parser.add_argument("--folders", nargs="+", type=int, default=list(FOLDERS), metavar="PHOTOS")
    default_threads = [jobs for jobs in THREADS if jobs <= max(4, cores)]
    parser.add_argument("--threads", nargs="+", type=int, default=default_threads, metavar="JOBS")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    chosen = parser.parse_args()
    os.environ.update(environment())  # for what runs `apart`
    wanted = chosen.only or ("sizes", "folders", "threads")
    found: dict[str, Any] = {"benchmark": "scaling", "machine": this_machine()}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if "sizes" in wanted:
            found["sizes"] = {kind: by_size(kind, chosen.megapixels, work, chosen.rounds) for kind in chosen.kinds}
            for kind, sizes in found["sizes"].items():
                tell(f"{kind}, exponent", sizes["exponents"])
                tell(f"{kind}, the same beyond a small photo", sizes["exponents beyond a small photo"])
        if "folders" in wanted:
            found["folders"] = by_folder(chosen.folders, work, chosen.rounds)
            tell("folders, exponent", found["folders"]["exponents"])
        if "threads" in wanted:
            found["threads"] = by_threads(chosen.threads, work, chosen.rounds)
    keep(found, chosen.json, chosen.plot)


if __name__ == "__main__":
    main()
