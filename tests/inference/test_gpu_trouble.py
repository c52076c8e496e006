"""When a GPU fails in the middle of a run: less at a time, a new session, the CPU, and what the user is told."""

import dataclasses
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from inference.gpus import (
    ARENA,
    ILLEGAL,
    SPEC,
    TILES,
    Gpu,
    RuntimeException,
    check_colour,
    colour,
    install,
    tiles,
    write_files,
)
from numpy.testing import assert_allclose
from photo.pictures import FakeModel, flat

from bwcolor.errors import DeviceError, ModelError
from bwcolor.imaging.color import Array
from bwcolor.inference import failover
from bwcolor.inference.device_errors import SharedSession, Trouble
from bwcolor.inference.devices import THREADS_ON_GPU
from bwcolor.inference.failover import run_with_failover
from bwcolor.inference.onnx_model import Network, OnnxModel
from bwcolor.inference.session import Average, Choice, load_chosen, troubles_of


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """A machine with a GPU."""
    found = Gpu()
    install(monkeypatch, found)
    return found


@pytest.fixture
def choose(tmp_path: Path) -> Callable[[str], Choice]:
    return write_files(tmp_path)


def test_a_batch_that_is_too_large_is_halved_for_good(gpu: Gpu, choose: Callable[[str], Choice]) -> None:
    model = load_chosen(choose, "auto")
    untroubled = colour(model)
    batches = [count for count, _ in tiles(gpu.fed)]
    assert sum(batches) == TILES
    assert max(batches) > 1
    assert (untroubled.by, troubles_of(model)) == (model, ())
    gpu.rule = lambda number, shape: ARENA if shape[0] > 1 else ""
    first = colour(model)
    assert_allclose(first.chroma, untroubled.chroma, atol=1e-6)
    assert troubles_of(model) == ("out of memory on cuda:0: fewer pictures at a time",)
    tried = len(gpu.fed)
    again = colour(model)
    assert_allclose(again.chroma, untroubled.chroma, atol=1e-6)
    assert {shape[0] for _, shape in gpu.fed[tried:]} == {1}, "large batches are not tried again"
    assert len(gpu.opened) == 1
    assert (first.by.label, first.by.sha256) == (model.label, model.sha256)


def test_half_a_batch_is_tried_before_single_pictures(gpu: Gpu, choose: Callable[[str], Choice]) -> None:
    model = load_chosen(choose, "cuda")
    gpu.rule = lambda number, shape: ARENA if shape[0] > 3 else ""
    colour(model)
    tried, *worked = (count for count, _ in tiles(gpu.fed))
    assert (max(worked), sum(worked)) == (tried // 2, TILES)


def test_tiles_that_are_too_large_get_smaller_under_the_same_whole_pass(
    gpu: Gpu, choose: Callable[[str], Choice]
) -> None:
    model = load_chosen(choose, "auto")
    untroubled = colour(model)
    gpu.rule = lambda number, shape: ARENA if shape[2:] == (128, 128) else ""
    smaller = colour(model)
    assert tiles(gpu.fed)[-1][1] == 64
    assert troubles_of(model) == (
        "out of memory on cuda:0: fewer pictures at a time",
        "out of memory on cuda:0: smaller tiles",
    )
    assert smaller.chroma.shape == untroubled.chroma.shape
    assert_allclose(smaller.chroma, untroubled.chroma, atol=1e-5)
    assert len(gpu.opened) == 1


def test_tiles_never_get_smaller_than_networks_learn_from(gpu: Gpu, choose: Callable[[str], Choice]) -> None:
    model = load_chosen(choose, "cuda")
    gpu.rule = lambda number, shape: ARENA if shape[2] == shape[3] else ""
    with pytest.raises(Trouble):
        colour(model)
    assert min(shape[2] for _, shape in gpu.fed[2:]) == failover.SMALLEST_TILE == 64
    assert all(side % SPEC.multiple == 0 for _, shape in gpu.fed for side in shape[2:])
    colour(model, "fast")  # without tiles it fits


def test_a_session_that_stays_broken_is_opened_anew_and_its_memory_is_free_by_then(
    gpu: Gpu, choose: Callable[[str], Choice]
) -> None:
    model = load_chosen(choose, "auto")
    untroubled = colour(model)
    gpu.rule = lambda number, shape: ARENA if number == 1 else ""
    after = colour(model)
    assert_allclose(after.chroma, untroubled.chroma, atol=1e-6)
    assert gpu.alive == [False]
    assert troubles_of(model) == ("out of memory on cuda:0: the model was opened anew, for one photo at a time",)
    assert gpu.opened[0].items() < gpu.opened[1].items(), "with the options that spare memory"
    assert gpu.opened[1]["arena_extend_strategy"] == "kSameAsRequested"
    assert after.by.sha256 == model.sha256


def test_auto_goes_on_with_the_cpus_own_file(gpu: Gpu, choose: Callable[[str], Choice]) -> None:
    model = load_chosen(choose, "auto")
    gpu.rule = lambda number, shape: ARENA
    one = colour(model)
    check_colour(one.chroma, "cpu")
    on_cpu = one.by
    assert isinstance(on_cpu, OnnxModel)
    assert (on_cpu.device, on_cpu.spec.precision, on_cpu.path) == ("cpu", "int8", choose("cpu").path)
    assert on_cpu.sha256 != model.sha256
    assert len(gpu.opened) == 2, "a new session comes first"
    assert gpu.last() is None, "other programs have its memory"
    assert troubles_of(model) == (
        "out of memory on cuda:0: the model was opened anew, for one photo at a time",
        f"out of memory on cuda:0: the rest of the run is on the CPU, with model {on_cpu.label}",
    )
    fed = len(gpu.fed)
    gpu.rule = lambda number, shape: ""
    assert colour(model).by is on_cpu, "for the rest of the run"
    assert len(gpu.fed) == fed
    assert (model.device, model.spec.precision) == ("cuda:0", "fp16"), "what was loaded stays what it says"


def test_the_cpu_takes_over_with_tiles_and_batches_of_the_same_size(gpu: Gpu, choose: Callable[[str], Choice]) -> None:
    loaded = load_chosen(choose, "auto")
    model = dataclasses.replace(loaded, spec=dataclasses.replace(loaded.spec, tile_size=96), pictures=3)
    gpu.rule = lambda number, shape: ARENA
    on_cpu = colour(model).by
    assert isinstance(on_cpu, OnnxModel)
    assert (on_cpu.device, on_cpu.spec.tile_size, on_cpu.pictures) == ("cpu", 96, 3)
    assert on_cpu.spec.precision == "int8", "in all else it is the CPU's own"


def test_a_photo_in_the_middle_of_the_switch_is_all_of_one_file(gpu: Gpu, choose: Callable[[str], Choice]) -> None:
    """Its whole pass went well on the GPU; its tiles don't."""
    model = load_chosen(choose, "auto")
    gpu.rule = lambda number, shape: ARENA if shape[2] == shape[3] else ""
    one = colour(model)
    assert any(shape[2] != shape[3] for _, shape in gpu.fed[1:])
    check_colour(one.chroma, "cpu")
    assert one.by.label.split()[2] == "int8"


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_a_device_that_was_asked_for_never_becomes_the_cpu(
    gpu: Gpu, choose: Callable[[str], Choice], device: str
) -> None:
    model = load_chosen(choose, device)
    gpu.rule = lambda number, shape: ARENA
    advice = r"^out of memory on cuda:0\. Close other programs that use the GPU, or use --jobs 1 or --device cpu\.$"
    for _ in range(3):
        with pytest.raises(ModelError, match=advice):
            colour(model)
    assert gpu.cpu_sessions == 0
    assert len(gpu.opened) == 2, "a session that never worked is not opened once more"
    gpu.rule = lambda number, shape: ""
    check_colour(colour(model).chroma, "cuda:0")
    gpu.rule = lambda number, shape: ARENA if number == 2 else ""
    check_colour(colour(model).chroma, "cuda:0")
    assert len(gpu.opened) == 3, "one that did is"
    assert model.failover.troubles == troubles_of(model), "the list does not grow with the run"


def test_one_photo_opens_one_new_session_whatever_the_others_do_on_it(
    gpu: Gpu, choose: Callable[[str], Choice]
) -> None:
    """Else a photo that never fits would go on for as long as there are others that do."""
    model = load_chosen(choose, "cuda")
    tries = 0

    def work(network: Network) -> None:
        nonlocal tries
        tries += 1
        assert tries < 5
        with ThreadPoolExecutor(1) as other:
            other.submit(colour, model, "fast").result(20)
        raise Trouble("memory", "cuda:0", "", 1)

    with pytest.raises(Trouble):
        run_with_failover(model, work)
    assert (tries, len(gpu.opened)) == (2, 2)


def test_a_session_that_another_thread_closed_is_no_reason_for_smaller_tiles(
    gpu: Gpu, choose: Callable[[str], Choice]
) -> None:
    """The other found no room for a new one; this one was about to do its tiles."""
    model = load_chosen(choose, "cuda")
    gpu.opening = "CUDA failure 2: out of memory ; GPU=0"

    def work(network: Network) -> Array:
        model.shared.close()
        try:
            return network.run(np.zeros((1, 1, 128, 128), np.float32))
        except Trouble as trouble:
            trouble.tiled = True
            raise

    with pytest.raises(Trouble):
        run_with_failover(model, work)
    assert troubles_of(model) == ()


def test_a_gpu_that_has_no_room_for_a_new_session_is_tried_again_for_the_next_photo(
    gpu: Gpu, choose: Callable[[str], Choice]
) -> None:
    model = load_chosen(choose, "cuda")
    gpu.rule = lambda number, shape: ARENA if number == 1 else ""
    gpu.opening = "Exception during initialization: CUDA failure 2: out of memory ; GPU=0"
    for _ in range(2):
        with pytest.raises(ModelError, match=r"out of memory on cuda:0\. Close"):
            colour(model)
    gpu.opening = ""
    check_colour(colour(model).chroma, "cuda:0")
    assert troubles_of(model)


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_lost_device(gpu: Gpu, choose: Callable[[str], Choice], device: str) -> None:
    model = load_chosen(choose, device)
    colour(model)
    fed = len(gpu.fed)
    gpu.rule = lambda number, shape: ILLEGAL if shape[0] > 1 or number > 1 else ""
    lost = "cuda:0 is lost (CUDA failure 700: an illegal memory access was encountered)"
    if device == "cuda":
        with pytest.raises(Trouble) as caught:
            colour(model)
        assert str(caught.value) == f"{lost}. Run bwcolor again for the photos that are left, or use --device cpu."
        assert caught.value.kind == "lost"
        assert gpu.cpu_sessions == 0
    else:
        check_colour(colour(model).chroma, "cpu")
        assert troubles_of(model)[-1].startswith(f"{lost}: the rest of the run is on the CPU")
    assert [number for number, _ in gpu.fed[fed:]] == [1, 1, 1, 2], "fewer pictures can't help"
    assert gpu.alive == [True], "closing the session of a lost device can end the process"
    assert gpu.last() is not None


def test_a_failure_that_says_nothing_of_memory_takes_the_same_steps(gpu: Gpu, choose: Callable[[str], Choice]) -> None:
    model = load_chosen(choose, "auto")
    gpu.rule = lambda number, shape: "CUDNN failure 9: CUDNN_STATUS_NOT_SUPPORTED ; GPU=0" if shape[0] > 1 else ""
    check_colour(colour(model).chroma, "cuda:0")
    assert troubles_of(model) == (
        "cuda:0 failed, perhaps for lack of memory (CUDNN failure 9: CUDNN_STATUS_NOT_SUPPORTED):"
        " fewer pictures at a time",
    )


def test_a_cpu_that_can_not_take_over_is_named_and_the_run_goes_on(gpu: Gpu, choose: Callable[[str], Choice]) -> None:
    model = load_chosen(choose, "auto")
    content = choose("cpu").path.read_bytes()
    choose("cpu").path.write_bytes(b"")
    gpu.rule = lambda number, shape: ARENA
    with pytest.raises(ModelError, match=r"^out of memory on cuda:0, and the CPU can't take over \(.*int8\.onnx: "):
        colour(model)
    choose("cpu").path.write_bytes(content)
    check_colour(colour(model).chroma, "cpu")


def test_threads_that_fail_at_the_same_time_open_one_new_session(gpu: Gpu, choose: Callable[[str], Choice]) -> None:
    model = load_chosen(choose, "cuda")
    threads = THREADS_ON_GPU
    together = threading.Barrier(threads, timeout=20)
    inside = most = 0
    lock = threading.Lock()

    def rule(number: int, shape: tuple[int, ...]) -> str:
        nonlocal inside, most
        if number == 1:
            together.wait()
            return ARENA
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.005)
        with lock:
            inside -= 1
        return ""

    gpu.rule = rule
    with ThreadPoolExecutor(threads) as pool:
        predictions = list(pool.map(lambda _: colour(model, "fast"), range(threads)))
    for one in predictions:
        check_colour(one.chroma, "cuda:0")
    assert len(gpu.opened) == 2
    assert gpu.alive == [False]
    assert len({id(one.by) for one in predictions}) == 1
    assert most == 1, "one photo at a time by then"


def test_a_thread_that_comes_late_uses_what_another_has_opened(gpu: Gpu, choose: Callable[[str], Choice]) -> None:
    """It works on the old session while the other closes it, which waits, and comes back for another call."""
    model = load_chosen(choose, "cuda")
    working, failed = threading.Event(), threading.Event()

    def rule(number: int, shape: tuple[int, ...]) -> str:
        if number == 1 and threading.current_thread().name.startswith("late"):
            working.set()
            assert failed.wait(20)
            time.sleep(0.05)  # the other is waiting for this call to end
            return ""
        if number == 1:
            assert working.wait(20)
            failed.set()
            return ARENA
        return ""

    gpu.rule = rule
    with ThreadPoolExecutor(1, "late") as late, ThreadPoolExecutor(1) as other:
        slow, fast = late.submit(colour, model), other.submit(colour, model, "fast")
        assert slow.result().by is fast.result().by
    assert len(gpu.opened) == 2
    assert gpu.alive == [False]
    assert len(troubles_of(model)) == 1


@pytest.mark.parametrize("error", [MemoryError(), RuntimeException(ARENA), RuntimeException("std::bad_alloc")])
def test_without_a_gpu_less_is_tried_and_then_the_photo_fails(
    choose: Callable[[str], Choice], error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_chosen(choose, "cpu")
    fed = []

    def run(self: SharedSession, batch: Array, options: object) -> Array:
        fed.append(batch.shape)
        if batch.shape[2] == batch.shape[3]:
            raise error
        return flat(0, 0)(batch)

    monkeypatch.setattr(SharedSession, "run", run)
    with pytest.raises(ModelError, match=r"^not enough memory$"):
        colour(model)
    tried = [count for count, side in tiles([(1, shape) for shape in fed]) if side == 128]
    assert tried[0] > tried[-1] == 1
    assert [count // 2 for count in tried[:-1]] == tried[1:]
    assert fed[-1][2:] == (64, 64)
    assert troubles_of(model) == (
        "not enough memory: fewer pictures at a time",
        "not enough memory: smaller tiles",
    )


def test_a_gpu_without_room_for_a_test_picture_is_no_fault_of_the_file(
    gpu: Gpu, choose: Callable[[str], Choice]
) -> None:
    gpu.rule = lambda number, shape: ARENA
    with pytest.raises(DeviceError, match=r"--device cuda: a test picture failed: out of memory on cuda:0\. Use --dev"):
        load_chosen(choose, "cuda")
    model = load_chosen(choose, "auto")
    assert (model.device, model.spec.precision) == ("cpu", "int8")
    assert model.why == "a test picture failed: out of memory on cuda:0"


def test_troubles_of_averages_and_of_networks_that_have_none(gpu: Gpu, choose: Callable[[str], Choice]) -> None:
    models = load_chosen(choose, "auto"), load_chosen(choose, "auto")
    fake = FakeModel(flat(0, 0), SPEC)
    average = Average((*models, fake), ("line",))
    assert troubles_of(average) == troubles_of(fake) == ()
    gpu.rule = lambda number, shape: ARENA if number == 2 or shape[0] > 1 else ""
    colour(average)
    assert troubles_of(average) == (*troubles_of(models[0]), troubles_of(models[1])[0])
    gpu.rule = lambda number, shape: ARENA if number > 1 else ""
    one = colour(average)
    assert isinstance(one.by, Average)
    assert [network.label.split()[2] for network in one.by.networks[:2]] == ["fp16", "int8"]
    assert one.by.label == " + ".join(network.label for network in one.by.networks)
    assert one.by.sha256 != average.sha256
    assert one.by.lines == ("line",)
    assert one.by.networks[2] is fake
