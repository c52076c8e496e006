"""One model on several GPUs: which of them does a photo, and what becomes of photos when one of them fails."""

import dataclasses
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from inference.gpus import ARENA, ILLEGAL, TILES, Gpu, check_colour, colour, install, tiles, write_files
from numpy.testing import assert_allclose

from bwcolor.errors import DeviceError, ModelError, UsageError
from bwcolor.inference.device_errors import Trouble
from bwcolor.inference.devices import THREADS_ON_GPU, all_of, gpus_named
from bwcolor.inference.failover import LoadedModel, Spread, run_with_failover
from bwcolor.inference.onnx_model import Network, OnnxModel
from bwcolor.inference.registry import load
from bwcolor.inference.session import Average, Choice, load_chosen, on_gpu, summary, troubles_of

LEFT_OUT = "this GPU is left out, its photos go to the others"


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> tuple[Gpu, Gpu]:
    """A machine with two GPUs."""
    found = Gpu(), Gpu()
    install(monkeypatch, *found)
    return found


@pytest.fixture
def choose(tmp_path: Path) -> Callable[[str], Choice]:
    return write_files(tmp_path)


def device_of(network: Network) -> str:
    assert isinstance(network, OnnxModel)
    return network.device


def where(model: OnnxModel) -> str:
    """The GPU that the next piece of work would be given to."""
    return run_with_failover(model, device_of)[0]


@pytest.mark.parametrize(
    ("device", "gpus"),
    [
        ("cpu", ()),
        ("auto", ("cuda:0",)),
        ("cuda", ("cuda:0",)),
        ("cuda:3", ("cuda:3",)),
        ("cuda:0,1", ("cuda:0", "cuda:1")),
        ("cuda:2,00,3", ("cuda:2", "cuda:0", "cuda:3")),
    ],
)
def test_gpus_are_named(device: str, gpus: tuple[str, ...]) -> None:
    assert gpus_named(device) == gpus
    assert not gpus or gpus_named(all_of(gpus)) == gpus


@pytest.mark.parametrize("device", ["cuda:0,0", "cuda:1,01"])
def test_a_gpu_that_is_named_twice_is_a_usage_error(choose: Callable[[str], Choice], device: str) -> None:
    with pytest.raises(UsageError, match=rf"^--device {device}: a GPU is named twice; .* as in cuda:0,1\.$"):
        load_chosen(choose, device)


def test_each_gpu_has_a_session_for_the_same_file(gpus: tuple[Gpu, Gpu], choose: Callable[[str], Choice]) -> None:
    one, model = load_chosen(choose, "cuda"), load_chosen(choose, "cuda:1,0")
    assert [options["device_id"] for options in gpus[0].opened] == ["0", "0"]
    assert [options["device_id"] for options in gpus[1].opened] == ["1"]
    assert (model.label, model.sha256, model.path) == (one.label, one.sha256, one.path)
    assert model.lines == (f"model {model.label}, device cuda:1,0: as asked",)
    assert summary(one)[0].endswith(" on the GPU cuda:0.")
    assert summary(model)[0].endswith(" on the GPUs cuda:1,0.")
    assert on_gpu(one)
    assert on_gpu(model)
    assert gpus[0].cpu_sessions == 0
    by = colour(model).by
    assert (by.label, by.sha256) == (model.label, model.sha256)


def test_a_file_that_changes_between_two_gpus_is_refused(
    gpus: tuple[Gpu, Gpu], choose: Callable[[str], Choice]
) -> None:
    path = choose("cuda:0").path
    other = choose("cpu").path.read_bytes()
    gpus[0].rule = lambda number, shape: "" if path.write_bytes(other) else "not written"
    with pytest.raises(ModelError, match="changed or damaged"):
        load_chosen(choose, "cuda:0,1")


@pytest.mark.parametrize(("device", "reason"), [("cuda:0,5", "Invalid device ID: 5"), ("cuda:0,1", "memory on cuda:1")])
def test_a_gpu_that_can_not_be_used_is_named_before_the_first_photo(
    gpus: tuple[Gpu, Gpu], choose: Callable[[str], Choice], device: str, reason: str
) -> None:
    gpus[1].rule = lambda number, shape: ARENA
    with pytest.raises(
        DeviceError, match=rf"^--device {device}: .*{reason}.* Use --device cpu, or fix the problem first\.$"
    ):
        load_chosen(choose, device)
    assert gpus[0].cpu_sessions == 0


def test_photos_go_where_the_fewest_are_in_work(gpus: tuple[Gpu, Gpu], choose: Callable[[str], Choice]) -> None:
    model = load_chosen(choose, "cuda:0,1")
    together = threading.Barrier(2 * THREADS_ON_GPU, timeout=20)

    def met(number: int, shape: tuple[int, ...]) -> str:
        together.wait()  # only reached by all when no GPU has more photos than threads may be inside
        return ""

    loaded = [len(gpu.fed) for gpu in gpus]
    for gpu in gpus:
        gpu.rule = met
    with ThreadPoolExecutor(2 * THREADS_ON_GPU) as pool:
        done = list(pool.map(lambda _: colour(model, "fast"), range(2 * THREADS_ON_GPU)))
    for one in done:
        assert_allclose(one.chroma, done[0].chroma, atol=1e-6)
        check_colour(one.chroma, "cuda:1")
    assert [len(gpu.fed) - before for gpu, before in zip(gpus, loaded, strict=True)] == [THREADS_ON_GPU] * 2
    assert troubles_of(model) == ()


def test_a_gpu_is_free_again_after_a_photo_and_after_a_failure(
    gpus: tuple[Gpu, Gpu], choose: Callable[[str], Choice]
) -> None:
    model = load_chosen(choose, "cuda:0,1")

    def bad(network: Network) -> None:
        raise ModelError("not a number")

    for _ in range(3):
        with pytest.raises(ModelError, match="not a number"):
            run_with_failover(model, bad)
        assert where(model) == "cuda:0"
    assert run_with_failover(model, lambda network: (where(model), where(model)))[0] == ("cuda:1", "cuda:1")


def test_what_is_no_trouble_of_the_device_is_not_tried_on_another(
    gpus: tuple[Gpu, Gpu], choose: Callable[[str], Choice]
) -> None:
    model = load_chosen(choose, "cuda:0,1")
    fed = len(gpus[1].fed)
    gpus[0].rule = lambda number, shape: "Non-zero status code: Concat: axis dimensions must match"
    with pytest.raises(ModelError, match="the model failed on a photo"):
        colour(model)
    assert len(gpus[1].fed) == fed
    assert troubles_of(model) == ()


@pytest.mark.parametrize(("device", "threads"), [("cuda", THREADS_ON_GPU), ("cuda:0,1", THREADS_ON_GPU)])
def test_two_threads_at_once_are_inside_a_session_at_most(
    gpus: tuple[Gpu, Gpu], choose: Callable[[str], Choice], device: str, threads: int
) -> None:
    model = load_chosen(choose, device)
    inside = [0, 0]
    most = [0, 0]
    lock = threading.Lock()

    def watched(at: int) -> Callable[[int, tuple[int, ...]], str]:
        def rule(number: int, shape: tuple[int, ...]) -> str:
            with lock:
                inside[at] += 1
                most[at] = max(most[at], inside[at])
            time.sleep(0.02)
            with lock:
                inside[at] -= 1
            return ""

        return rule

    for at, gpu in enumerate(gpus):
        gpu.rule = watched(at)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: colour(model, "fast"), range(16)))
    assert most == ([threads, 0] if device == "cuda" else [threads, threads])


def test_sizes_of_tiles_and_batches_hold_on_all_gpus(gpus: tuple[Gpu, Gpu], choose: Callable[[str], Choice]) -> None:
    loaded = load_chosen(choose, "cuda:0,1")
    model = dataclasses.replace(loaded, spec=dataclasses.replace(loaded.spec, tile_size=64), pictures=2)
    gpus[0].rule = lambda number, shape: ILLEGAL
    check_colour(colour(model).chroma, "cuda:1")
    assert {side for _, side in tiles(gpus[1].fed)} == {64}
    assert max(count for count, _ in tiles(gpus[1].fed)) == 2


def test_trouble_on_one_gpu_steps_down_on_that_one_alone(
    gpus: tuple[Gpu, Gpu], choose: Callable[[str], Choice]
) -> None:
    model = load_chosen(choose, "cuda:0,1")
    gpus[0].rule = lambda number, shape: ARENA if shape[0] > 1 else ""
    check_colour(colour(model).chroma, "cuda:0")
    assert tiles(gpus[0].fed)[-TILES:] == [(1, 128)] * TILES
    assert len(gpus[1].fed) == 1, "its test picture"
    by_other, _ = run_with_failover(model, lambda network: colour(model))
    check_colour(by_other.chroma, "cuda:1")
    assert max(count for count, _ in tiles(gpus[1].fed)) > 1
    assert troubles_of(model) == ("out of memory on cuda:0: fewer pictures at a time",)


def test_a_gpu_with_nothing_left_to_try_is_left_out_and_its_photo_starts_anew(
    gpus: tuple[Gpu, Gpu], choose: Callable[[str], Choice]
) -> None:
    """Its whole pass went well; its tiles don't fit, however small."""
    model = load_chosen(choose, "cuda:0,1")
    untroubled = colour(model)
    gpus[0].rule = lambda number, shape: ARENA if shape[2] == shape[3] else ""
    everything = {shape[2:] for _, shape in gpus[0].fed[1:]}
    before = len(gpus[1].fed)
    after = colour(model)
    assert_allclose(after.chroma, untroubled.chroma, atol=1e-6)
    assert sum(count for count, _ in tiles(gpus[1].fed[before:])) == TILES
    assert {shape[2:] for _, shape in gpus[1].fed[before:]} == everything, "all of the photo is done there"
    assert isinstance(after.by, OnnxModel)
    assert (after.by.device, after.by.label, after.by.sha256) == ("cuda:1", model.label, model.sha256)
    assert len(gpus[0].opened) == 2, "a new session comes first"
    assert troubles_of(model)[-1] == f"out of memory on cuda:0: {LEFT_OUT}"
    assert gpus[0].cpu_sessions == 0
    fed, told = len(gpus[0].fed), troubles_of(model)
    gpus[0].rule = lambda number, shape: ""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: colour(model, "fast"), range(8)))
    assert len(gpus[0].fed) == fed, "for the rest of the run"
    assert troubles_of(model) == told


def test_a_lost_gpu_is_left_out_without_closing_its_session(
    gpus: tuple[Gpu, Gpu], choose: Callable[[str], Choice]
) -> None:
    model = load_chosen(choose, "cuda:0,1")
    colour(model)
    gpus[0].rule = lambda number, shape: ILLEGAL
    check_colour(colour(model).chroma, "cuda:1")
    lost = "cuda:0 is lost (CUDA failure 700: an illegal memory access was encountered)"
    assert troubles_of(model)[-1] == f"{lost}: {LEFT_OUT}"
    assert gpus[0].alive == [True], "closing the session of a lost device can end the process"
    assert where(model) == "cuda:1"


def test_when_all_gpus_fail_the_photo_fails_and_none_is_left_out(
    gpus: tuple[Gpu, Gpu], choose: Callable[[str], Choice]
) -> None:
    """The photo may be too large for all; the next one is not."""
    model = load_chosen(choose, "cuda:0,1")
    for gpu in gpus:
        gpu.rule = lambda number, shape: ARENA
    for _ in range(2):
        with pytest.raises(Trouble, match=r"^out of memory on cuda:0\. Close other programs .* or --device cpu\.$"):
            colour(model)
    assert gpus[0].cpu_sessions == gpus[1].cpu_sessions == 0, "an explicit cuda never ends on the CPU"
    assert not [sentence for sentence in troubles_of(model) if LEFT_OUT in sentence]
    for gpu in gpus:
        gpu.rule = lambda number, shape: ""
    check_colour(colour(model).chroma, "cuda:0")
    assert run_with_failover(model, lambda network: where(model))[0] == "cuda:1"


def test_a_gpu_that_was_left_out_is_better_than_none(gpus: tuple[Gpu, Gpu], choose: Callable[[str], Choice]) -> None:
    model = load_chosen(choose, "cuda:0,1")
    gpus[0].rule = lambda number, shape: ARENA
    colour(model)
    assert where(model) == "cuda:1"
    gpus[0].rule = lambda number, shape: ""
    gpus[1].rule = lambda number, shape: ARENA
    check_colour(colour(model).chroma, "cuda:0")
    busy = run_with_failover(model, lambda network: where(model))[0]
    assert busy == "cuda:0", "and now it is the other that is left out"
    assert [sentence for sentence in troubles_of(model) if LEFT_OUT in sentence] == [
        f"out of memory on cuda:0: {LEFT_OUT}",
        f"out of memory on cuda:1: {LEFT_OUT}",
    ]


def test_photos_of_all_threads_survive_a_gpu(gpus: tuple[Gpu, Gpu], choose: Callable[[str], Choice]) -> None:
    model = load_chosen(choose, "cuda:0,1")
    expected = colour(model).chroma
    calls = 0

    def rule(number: int, shape: tuple[int, ...]) -> str:
        nonlocal calls
        calls += 1
        return ILLEGAL if calls > 5 else ""

    gpus[1].rule = rule
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda _: colour(model), range(24)))
    for one in done:
        assert_allclose(one.chroma, expected, atol=1e-6)
        assert one.by.sha256 == model.sha256
    assert calls > 5
    assert [sentence for sentence in troubles_of(model) if "cuda:0" in sentence] == []


def test_an_average_of_two_models_shares_the_gpus(gpus: tuple[Gpu, Gpu], choose: Callable[[str], Choice]) -> None:
    files = [choose("cuda:0").path, choose("cpu").path]
    average = load("+".join(map(str, files)), "cuda:0,1")
    assert isinstance(average, Average)
    assert [line.partition(", device ")[2] for line in average.lines] == ["cuda:0,1: as asked"] * 2
    assert summary(average) == ("Using models tiny 1 + tiny 1 on the GPUs cuda:0,1.",)
    assert on_gpu(average)
    first, second = average.networks
    assert isinstance(second, OnnxModel)
    assert run_with_failover(first, lambda _: where(second))[0] == "cuda:1", "one model's work counts for the other"
    made = colour(average)
    singles = [colour(load_chosen(Choice(path).anywhere, "cuda")).chroma for path in files]
    assert_allclose(made.chroma, np.mean(singles, 0), atol=1e-5)
    assert (made.by.label, made.by.sha256) == (average.label, average.sha256)
    gpus[0].rule = lambda number, shape: ARENA
    after = colour(average)
    assert_allclose(after.chroma, made.chroma, atol=1e-5)
    assert isinstance(after.by, Average)
    assert [device_of(network) for network in after.by.networks] == ["cuda:1", "cuda:1"]
    assert troubles_of(average)[-1] == f"out of memory on cuda:0: {LEFT_OUT}"


def test_work_that_was_in_flight_brings_no_gpu_back(gpus: tuple[Gpu, Gpu], choose: Callable[[str], Choice]) -> None:
    model = load_chosen(choose, "cuda:0,1")
    begun, may_end = threading.Event(), threading.Event()

    def slow(network: Network) -> str:
        begun.set()
        assert may_end.wait(10)
        return device_of(network)

    def fails_on_first(network: Network) -> str:
        if device_of(network) == "cuda:0":
            raise Trouble("lost", "cuda:0", "", 1)
        return device_of(network)

    with ThreadPoolExecutor(2) as pool:
        in_flight = pool.submit(run_with_failover, model, slow)
        assert begun.wait(10)
        with ThreadPoolExecutor(1) as other:  # while cuda:0 is busy this one is given to cuda:1, the next to cuda:0
            holding = other.submit(run_with_failover, model, slow)
            while gpus_in_hand(model) < 2:
                time.sleep(0.01)
            assert run_with_failover(model, fails_on_first)[0] == "cuda:1"
            may_end.set()
            assert {in_flight.result()[0], holding.result()[0]} == {"cuda:0", "cuda:1"}
    assert where(model) == "cuda:1", "it stays left out"


def gpus_in_hand(model: LoadedModel) -> int:
    assert isinstance(model.failover, Spread)
    return sum(model.failover._in_work._count.values())
