"""GPUs: photos a second of whole runs beside the CPU and beside the codec alone, and what the network's calls cost.

    python benchmarks/gpu.py [--device cuda:0,1] [--photos 200] [--jobs N] [--model NAME|FILE.onnx] [--json FILE]

Whole runs: gray JPEGs of 12 megapixels, each run a process of its own, in turns, start-up left out (a run over one
photo is subtracted). The codec alone is the same pipeline in as many threads, with a network that costs nothing.
While a GPU works, nvidia-smi says how busy it is: the share of time in which at least one kernel ran, from the first
sample with work to the last. Calls: the network alone on the first GPU, by threads, batch and way (WAYS); copies are
timed around calls whose input and output are bound to fixed addresses on the GPU. Every way's output is compared with
the CPU's. Without a GPU it says so, and exits with 2.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from children import apart, bwcolor_command, cost_of, environment, this_machine
from memory import make_photo

from bwcolor.errors import BwcolorError
from bwcolor.inference.devices import CUDA_OPTIONS, THREADS_ON_GPU, gpus_named, no_cuda, open_session
from bwcolor.system.machine import cores

WIDTH, HEIGHT = 4000, 3000  # px
BATCHES = (1, 4, 16)  # pictures a call; tiles come in fours
SAMPLED = 200  # ms between two looks at the GPU; its own period is 167 ms to 1 s (NVML's documentation)
WARM_UP = 12  # calls that don't count: convolutions are chosen, memory is taken, a graph is captured
ENOUGH = 80  # %, of what the codec alone can do, or of the time that the GPU is busy


@dataclass(frozen=True, slots=True)
class Way:
    """How the network is called. options: of onnxruntime's CUDA provider, beside bwcolor's own. bound: input and
    output lie at fixed addresses on the GPU, as CUDA graphs need them (onnxruntime.ai, CUDA execution provider)."""

    name: str
    options: Mapping[str, str] = field(default_factory=dict)
    bound: bool = False
    threads: int = 1


NHWC, GRAPH, TF32_OFF = {"prefer_nhwc": "1"}, {"enable_cuda_graph": "1"}, {"use_tf32": "0"}
WAYS = (
    Way("run"),
    Way(f"run, {THREADS_ON_GPU} threads", threads=THREADS_ON_GPU),
    Way(f"run, {2 * THREADS_ON_GPU} threads", threads=2 * THREADS_ON_GPU),
    Way("run, NHWC", NHWC),
    Way("run, no TF32", TF32_OFF),
    Way("bound", bound=True),
    Way("bound, NHWC", NHWC, bound=True),
    Way("bound, graph", GRAPH, bound=True),
    Way("bound, NHWC, graph", NHWC | GRAPH, bound=True),
)


class Bound:
    """A session whose input and output stay where they are in the device's memory, and seconds spent in each part."""

    def __init__(self, session: Any, device: str, fed: Any, given: Any) -> None:
        import onnxruntime as ort

        where = device.partition(":")[0], int(device.partition(":")[2] or 0)
        self._session, self._binding = session, session.io_binding()
        self._in = ort.OrtValue.ortvalue_from_shape_and_type(fed.shape, fed.dtype, *where)
        self._out = ort.OrtValue.ortvalue_from_shape_and_type(given.shape, given.dtype, *where)
        self._binding.bind_ortvalue_input(session.get_inputs()[0].name, self._in)
        self._binding.bind_ortvalue_output(session.get_outputs()[0].name, self._out)
        self.copying = self.computing = 0.0

    def __call__(self, fed: Any) -> Any:
        started = time.perf_counter()
        self._in.update_inplace(fed)
        self._binding.synchronize_inputs()
        copied = time.perf_counter()
        self._session.run_with_iobinding(self._binding)
        computed = time.perf_counter()
        out = self._out.numpy()
        self.copying += copied - started + time.perf_counter() - computed
        self.computing += computed - copied
        return out


def calls(way: Way, content: bytes, device: str, fed: Any, expected: Any, seconds: float) -> dict[str, Any]:
    """Calls a second by one way. fed: a batch. expected: what the CPU makes of it, which sets the output's shape."""
    import numpy as np

    row: dict[str, Any] = {"way": way.name, "pictures": len(fed)}
    try:
        session = open_session(content, device, {**CUDA_OPTIONS, **way.options})
        name = session.get_inputs()[0].name
        bound = Bound(session, device, fed, expected) if way.bound else None
        call: Callable[[Any], Any] = bound or (lambda batch: session.run(None, {name: batch})[0])
        other = np.ascontiguousarray(fed[..., ::-1])  # a graph that was captured must see what comes after it
        for _ in range(WARM_UP):
            call(other)
        if bound:
            bound.copying = bound.computing = 0.0
        rate = calls_a_second(call, fed, way.threads, seconds)
        out = call(fed)
    except Exception as error:  # a way that this GPU or this network can't go is a finding, not the end
        return row | {"failed": str(error).strip().splitlines()[-1][:300]}
    row |= {
        "calls/s": rate, "pictures/s": rate * len(fed),
        "furthest from the CPU": float(np.abs(out - expected).max()),
    }  # fmt: skip
    return row | ({"copy share": bound.copying / (bound.copying + bound.computing)} if bound else {})


def calls_a_second(call: Callable[[Any], Any], fed: Any, threads: int, seconds: float) -> float:
    """Of all threads together. One thread is this one: CUDA graphs belong to the thread that captured them."""
    ready = threading.Barrier(threads, timeout=60)

    def rate(warm_up: int) -> float:
        for _ in range(warm_up):
            call(fed)
        ready.wait()
        started, spent, done = time.perf_counter(), 0.0, 0
        while spent < seconds:
            call(fed)
            done += 1
            spent = time.perf_counter() - started
        return done / spent

    if threads == 1:
        return rate(0)
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(rate, [WARM_UP] * threads))  # each thread has handles of its own to make


def all_calls(model: str, gpu: str, seconds: float) -> dict[str, Any]:
    """The network by every way, on pictures of the size that it sees of a whole photo."""
    from bwcolor.inference.registry import choose, find_model
    from bwcolor.models.model_io import network_input
    from bwcolor.models.modelfile import read_model_file
    from bwcolor.models.selfcheck import trial_pictures

    file = read_model_file(choose(find_model(model), gpu).path)
    spec = file.spec()
    on_cpu = open_session(file.content, "cpu")
    rows = []
    for pictures in BATCHES:
        fed = network_input(trial_pictures(pictures, spec.network_size, spec.network_size), spec)
        expected = on_cpu.run(None, {on_cpu.get_inputs()[0].name: fed})[0]
        rows += [calls(way, file.content, gpu, fed, expected, seconds) for way in WAYS]
    return {"model": file.path.name, "precision": spec.precision, "side": spec.network_size, "ways": rows}


class Free:
    """A network that gives the same colours for every picture of a size, at the cost of looking them up."""

    label, sha256 = "free", "0" * 64

    def __init__(self, spec: Any) -> None:
        self.spec = spec
        self._made: dict[tuple[int, ...], Any] = {}

    def run(self, batch: Any) -> Any:
        import numpy as np

        from bwcolor.models.selfcheck import trial_pictures

        if batch.shape not in self._made:
            shapes = trial_pictures(len(batch), *batch.shape[2:]) - 0.5
            self._made[batch.shape] = np.stack([0.3 * shapes, -0.3 * shapes], 1).astype(np.float32)
        return self._made[batch.shape]


def codec_rate(photos: Path, out: Path, jobs: int) -> float:
    """Photos a second of the pipeline without a network's costs, in this process."""
    from bwcolor.batch.memory_budget import PixelBudget
    from bwcolor.batch.plan import Job
    from bwcolor.batch.process_photo import colorize_photo
    from bwcolor.batch.thread_pool import in_threads
    from bwcolor.inference.registry import choose, find_model
    from bwcolor.models.modelfile import read_model_file
    from bwcolor.options import ColorizeOptions

    free = Free(read_model_file(choose(find_model("default-fp16"), "cpu").path).spec())
    work = [Job(photo, out / photo.name) for photo in sorted(photos.iterdir())]
    out.mkdir()
    options, budget = ColorizeOptions(overwrite=True), PixelBudget(sys.maxsize)

    def colorized(job: Job) -> str:
        return colorize_photo(job, free, options, budget).state

    colorized(work[0])  # what is imported and looked up once
    started = time.monotonic()
    states = set(in_threads(colorized, work, jobs, budget))
    if states != {"done"}:
        raise SystemExit(f"the codec alone failed: {states}")
    return len(work) / (time.monotonic() - started)


def whole_run(device: str, photos: Path, out: Path, jobs: int) -> tuple[float, float]:
    """Wall and processor seconds of a run over a folder. jobs: photos at once beside those that wait for a GPU."""
    shutil.rmtree(out, ignore_errors=True)
    at_once = str(jobs + THREADS_ON_GPU * len(gpus_named(device)))
    command = bwcolor_command(photos, out, "-q", "--device", device, "--jobs", at_once)  # the last --device counts
    cost = cost_of(command, environment(CUDA_DEVICE_ORDER="PCI_BUS_ID"))  # as nvidia-smi counts GPUs
    if cost.exit_code or len(list(out.glob("*.jpg"))) < len(list(photos.iterdir())):
        raise SystemExit(f"--device {device} failed on {photos}")
    return cost.wall, cost.cpu


def whole_runs(devices: tuple[str, ...], photos: Path, one: Path, out: Path, jobs: int, rounds: int) -> dict[str, Any]:
    """Photos a second on each device: the fastest of several rounds in turns, less the fastest run over one photo."""
    count = len(list(photos.iterdir()))
    walls: dict[str, list[float]] = {device: [] for device in devices}
    starts: dict[str, list[float]] = {device: [] for device in devices}
    busy: dict[str, float | None] = {}
    cpu: dict[str, list[float]] = {device: [] for device in devices}
    for _ in range(rounds):
        for device in devices:
            starts[device].append(whole_run(device, one, out, jobs)[0])
            with gpu_samples(gpus_named(device)) as samples:
                wall, processor = whole_run(device, photos, out, jobs)
            walls[device].append(wall)
            cpu[device].append(processor)
            if wall == min(walls[device]):
                busy |= {gpu: busy_share(lines) for gpu, lines in samples.items()}
    return {
        device: {
            "photos/s": (count - 1) / (min(walls[device]) - min(starts[device])),
            "run over one photo s": min(starts[device]),
            "cores busy": min(cpu[device]) / min(walls[device]),
            "busy": {gpu: busy.get(gpu) for gpu in gpus_named(device)},
        }
        for device in devices
    }


@contextlib.contextmanager
def gpu_samples(gpus: tuple[str, ...]) -> Iterator[dict[str, list[str]]]:
    """What nvidia-smi says of each GPU's use while the body runs: percentages as it prints them, there at the end."""
    said: dict[str, list[str]] = {gpu: [] for gpu in gpus}
    program = shutil.which("nvidia-smi")
    if not gpus or not program:
        yield said
        return
    numbers = ",".join(gpu.partition(":")[2] for gpu in gpus)
    query = ["--query-gpu=index,utilization.gpu", "--format=csv,noheader,nounits", f"--loop-ms={SAMPLED}"]
    with tempfile.TemporaryFile("w+") as text:
        watching = subprocess.Popen([program, f"--id={numbers}", *query], stdout=text, stderr=subprocess.DEVNULL)
        try:
            yield said
        finally:
            watching.terminate()
            watching.wait(10)
            text.seek(0)
            for line in text:
                index, _, use = line.strip().partition(", ")
                if f"cuda:{index}" in said:
                    said[f"cuda:{index}"].append(use)


def busy_share(samples: list[str]) -> float | None:
    """Mean percentage from the first sample with work to the last; None where nothing was said, or nothing was done."""
    uses = [int(use) for use in samples if use.isdigit()]
    working = [at for at, use in enumerate(uses) if use]
    if not working:
        return None
    during = uses[working[0] : working[-1] + 1]
    return sum(during) / len(during)


def verdict(runs: Mapping[str, Any], codec: float, device: str) -> str:
    """What was asked of the GPU, beside what was measured."""
    share = 100 * runs[device]["photos/s"] / codec
    known = [use for use in runs[device]["busy"].values() if use is not None]
    busy = min(known) if known else None
    met = share >= ENOUGH or (busy or 0) >= ENOUGH
    said = "not known" if busy is None else f"{busy:.0f} %"
    return (
        f"--device {device}: asked at least {ENOUGH} % of the codec alone, or {ENOUGH} % busy;"
        f" measured {share:.0f} % and {said}{'' if met else '  (missed)'}"
    )


def told(runs: Mapping[str, Any], codec: float, network: Mapping[str, Any]) -> str:
    """Everything in lines."""
    lines = [f"JPEG, {WIDTH} x {HEIGHT} px, photos/s: codec alone {codec:.1f}"]
    for device, row in runs.items():
        busy = ", ".join(
            f"{gpu} busy {'not known' if use is None else f'{use:.0f} %'}" for gpu, use in row["busy"].items()
        )
        lines.append(
            f"{device:10} {row['photos/s']:.1f}, {row['cores busy']:.1f} cores busy,"
            f" one photo {row['run over one photo s']:.2f} s{f'; {busy}' if busy else ''}"
        )
    lines.append(f"\n{network['model']} ({network['precision']}), {network['side']} x {network['side']} px")
    for row in network["ways"]:
        figures = row.get("failed") or "  ".join(
            f"{name} {value:.3g}" for name, value in row.items() if name not in ("way", "pictures")
        )
        lines.append(f"{row['pictures']:3} x {row['way']:20} {figures}")
    return "\n".join(lines) + "\n"


def measured(chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All of it."""
    photos, one = folder / "photos", folder / "one"
    photos.mkdir()
    one.mkdir()
    apart(make_photo, one / "0.jpg", WIDTH, HEIGHT, 8)
    for number in range(chosen.photos):
        shutil.copy(one / "0.jpg", photos / f"{number}.jpg")
    runs = whole_runs((chosen.device, "cpu"), photos, one, folder / "out", chosen.jobs, chosen.rounds)
    codec = apart(codec_rate, photos, folder / "codec", chosen.jobs)
    network = apart(all_calls, chosen.model, gpus_named(chosen.device)[0], chosen.seconds)
    return {"runs": runs, "codec photos/s": codec, "network": network}


def gpu_names(device: str) -> list[str]:
    """The GPUs, as their driver calls them; raises DeviceError when those of `device` can't be used."""
    from bwcolor.inference.registry import load
    from bwcolor.system.nvidia import driver

    load("default", device)
    found = driver()
    return [gpu.name for gpu in found.gpus] if found else []


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0", help="cuda:N or cuda:N,M")
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=cores().usable, help="photos at once")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each way to call the network")
    parser.add_argument("--model", default="default", help="for the calls; whole runs take the default one")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    os.environ.update(environment(CUDA_DEVICE_ORDER="PCI_BUS_ID"))  # for what runs `apart`
    try:
        obstacle = no_cuda() or ("" if gpus_named(chosen.device) else f"--device {chosen.device} names no GPU")
        if not obstacle:
            with tempfile.TemporaryDirectory() as folder:
                found = {"benchmark": "cuda", "machine": this_machine() | {"gpus": apart(gpu_names, chosen.device)}}
                found |= measured(chosen, Path(folder))
    except BwcolorError as error:
        obstacle = str(error).rstrip(".")
    if obstacle:
        sys.stderr.write(f"Nothing is measured: {obstacle}.\n")
        return 2
    lines = verdict(found["runs"], found["codec photos/s"], chosen.device)
    sys.stdout.write(told(found["runs"], found["codec photos/s"], found["network"]) + f"\n{lines}\n")
    if chosen.json:
        chosen.json.write_text(json.dumps(found | {"asked": [lines]}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
