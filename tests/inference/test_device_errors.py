"""What onnxruntime says when a device fails, sessions that can be closed in time, and a real lack of memory."""

import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from inference.gpus import ARENA, ILLEGAL, RUNNING, RuntimeException

from bwcolor.imaging.color import Array
from bwcolor.inference.device_errors import Kind, SessionClosed, SharedSession, Trouble, trouble_kind, what_it_said

# What onnxruntime said on people's machines: the text, what it means, and what the user is shown of it. Addresses of
# the threads are on github.com; OR stands for microsoft/onnxruntime/issues.
REPORTED: list[tuple[str, Kind, str]] = [
    (ARENA, "memory", "Failed to allocate memory for requested buffer of size 4585490524328388608"),
    (  # OR/23121, infiniflow/ragflow/issues/10295: an arena with a limit
        f"{RUNNING} Conv node. Name:'C' Status Message: bfc_arena.cc:376 onnxruntime::BFCArena::AllocateRawInternal"
        " Available memory of 0 is smaller than requested bytes of 135383040",
        "memory", "",
    ),
    (  # hacksider/Deep-Live-Cam/issues/584
        r"[ONNXRuntimeError] : 1 : FAIL : D:\a\_work\1\s\onnxruntime\core\providers\cuda\cuda_call.cc:121"
        r" onnxruntime::CudaCall D:\a\_work\1\s\onnxruntime\core\providers\cuda\cuda_call.cc:114 onnxruntime::CudaCall"
        " CUDA failure 2: out of memory ; GPU=0 ; hostname=DESKTOP-QUBEI ; file=cuda_stream_handle.cc ; line=175 ;"
        " expr=cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);",
        "memory", "CUDA failure 2: out of memory",
    ),
    (  # hacksider/Deep-Live-Cam/issues/383
        f"{RUNNING} Gemm node. Name:'fullyconnected0' Status Message: cuda_call.cc:121 CUBLAS failure 3:"
        " CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; hostname=Vanillarch ; expr=cublasCreate(&cublas_handle_); ",
        "memory", "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
    ),
    (  # cuDNN 9's names for 4003 and 4004, docs.nvidia.com/deeplearning/cudnn
        f"{RUNNING} Conv node. Status Message: CUDNN failure 4004:"
        " CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED ; GPU=0 ; hostname=a ; expr=cudnnConvolutionForward",
        "memory", "CUDNN failure 4004: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    ),
    (f"{RUNNING} FusedMatMul node. Name:'MatMul' Status Message: bad allocation", "memory", ""),  # OR/16305, Windows
    ("std::bad_alloc", "memory", "std::bad_alloc"),  # OR/1725
    (ILLEGAL, "lost", "CUDA failure 700: an illegal memory access was encountered"),
    (  # C0untFloyd/roop-unleashed/issues/32, OR/6986: the driver was restarted
        "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 719: unspecified launch failure ; GPU=0 ; hostname=BALYN-OMAVEL",
        "lost", "CUDA failure 719: unspecified launch failure",
    ),
    ("CUDA failure 999: unknown error ; GPU=32766 ; hostname=dltpsz ; expr=cudaSetDevice", "lost", ""),  # OR/10378
    ("CUDA failure 710: device-side assert triggered ; GPU=0 ; hostname=a", "lost", ""),  # cudaErrorAssert's text
    (  # OR/17337, OR/26322: often for lack of memory (haotian-liu/LLaVA/issues/392), often not
        "cuda_call.cc:129 onnxruntime::CudaCall CUDNN failure 1001: CUDNN_STATUS_NOT_INITIALIZED ; GPU=0 ; hostname=PC"
        " ; expr=cudnnCreate(&cudnn_handle_);",
        "unclear", "CUDNN failure 1001: CUDNN_STATUS_NOT_INITIALIZED",
    ),
    (  # OR/11592, hacksider/Deep-Live-Cam/issues/383: went away with fewer threads
        "CUDNN failure 4: CUDNN_STATUS_INTERNAL_ERROR ; GPU=0 ; hostname=a ; expr=cudnnCreate(&cudnn_handle_);",
        "unclear", "CUDNN failure 4: CUDNN_STATUS_INTERNAL_ERROR",
    ),
    (  # OR/23301, OR/26274
        "[ONNXRuntimeError] : 11 : EP_FAIL : Non-zero status code returned while running Conv node. Name:'/features/"
        "features.0/Conv' Status Message: Failed to initialize CUDNN Frontend/onnxruntime/core/providers/cuda/"
        "cudnn_fe_call.cc:99 CUDNN_FE failure 11: CUDNN_BACKEND_API_FAILED ; GPU=0 ; hostname=sg-gpu-1",
        "unclear", "CUDNN_FE failure 11: CUDNN_BACKEND_API_FAILED",
    ),
    (  # OR/15715: 32 pictures at a time were not, 31 were
        f"{RUNNING} Conv node. Status Message: CUDNN failure 9: CUDNN_STATUS_NOT_SUPPORTED ; GPU=0 ; hostname=a",
        "unclear", "CUDNN failure 9: CUDNN_STATUS_NOT_SUPPORTED",
    ),
    (  # OR/4008: fewer pictures at a time went well
        "[ONNXRuntimeError] : 1 : FAIL : CUDA error executing cudaMemcpy(dst_data, src_data, bytes)",
        "unclear", "CUDA error executing cudaMemcpy",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "kind", "said"), REPORTED, ids=range(len(REPORTED)))
def test_what_onnxruntime_says_is_understood(text: str, kind: Kind, said: str) -> None:
    error = RuntimeException(text)
    assert trouble_kind(error, "cuda:1") == kind
    assert trouble_kind(error, "cpu") == ("memory" if kind == "memory" else None), "no CUDA trouble without CUDA"
    assert said in what_it_said(error)
    assert "\n" not in what_it_said(error)
    assert not said or "hostname" not in what_it_said(error)


@pytest.mark.parametrize(
    "text",
    [
        "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input: luma for the following indices",
        f"{RUNNING} Concat node. Name:'c' Status Message: concat.cc:159 Non concat axis dimensions must match: Axis 2",
        "",
    ],
)
def test_other_failures_are_no_trouble_of_the_device(text: str) -> None:
    assert trouble_kind(RuntimeException(text), "cuda:0") is None
    assert what_it_said(RuntimeException(text)) in (text, "RuntimeException")


def test_trouble_goes_from_one_process_to_another() -> None:
    trouble = pickle.loads(pickle.dumps(Trouble("lost", "cuda:0", "CUDA failure 700", 4)))
    assert (trouble.kind, trouble.pictures) == ("lost", 4)
    assert str(trouble) == str(Trouble("lost", "cuda:0", "CUDA failure 700", 4))


def test_a_closed_session_turns_away_those_who_wait_for_it() -> None:
    release, entered = threading.Event(), threading.Event()

    class Slow:
        def get_inputs(self) -> list[Any]:
            return [type("Input", (), {"name": "x"})]

        def run(self, *_: object) -> list[Array]:
            entered.set()
            assert release.wait(20)
            return [np.zeros(1, np.float32)]

    shared = SharedSession(Slow(), threads=1)
    with ThreadPoolExecutor(3) as pool:
        running = pool.submit(shared.run, np.zeros(1, np.float32), None)
        assert entered.wait(20)
        waiting = pool.submit(shared.run, np.zeros(1, np.float32), None)
        closing = pool.submit(shared.close)
        with pytest.raises(SessionClosed):
            waiting.result(20)
        assert not closing.done()
        release.set()
        assert running.result(20).shape == (1,)
        closing.result(20)
    assert shared.closed


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_so_many_threads_are_inside_at_once(threads: int) -> None:
    """A barrier that only opens when as many have met; then none more than that was there."""
    together = threading.Barrier(threads, timeout=20)
    inside = most = 0
    lock = threading.Lock()

    class Counted:
        def get_inputs(self) -> list[Any]:
            return [type("Input", (), {"name": "x"})]

        def run(self, *_: object) -> list[Array]:
            nonlocal inside, most
            with lock:
                inside += 1
                most = max(most, inside)
            together.wait()
            time.sleep(0.005)
            with lock:
                inside -= 1
            return [np.zeros(1, np.float32)]

    shared = SharedSession(Counted(), threads)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: shared.run(np.zeros(1, np.float32), None), range(12)))
    assert most == threads


SCARCE = """
import resource, numpy as np
from bwcolor.inference.failover import run_with_failover
from bwcolor.inference.session import troubles_of
from bwcolor.inference.registry import load

model = load("default", "cpu")
batch = np.random.default_rng(0).uniform(0, 1, (1, 1, 640, 640)).astype(np.float32).repeat(4, 0)
larger = batch[:1].repeat(3, 2)
with open("/proc/self/statm") as numbers:
    held = int(numbers.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 200_000_000,) * 2)
out, by = run_with_failover(model, lambda network: network.run(batch))
print(out.shape, by.pictures in (1, 2), all(np.array_equal(out[0], one) for one in out), *troubles_of(model))
resource.setrlimit(resource.RLIMIT_AS, (held, held + 200_000_000))
try:
    run_with_failover(model, lambda network: network.run(larger))
except Exception as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits its own memory as Linux does")
def test_a_machine_that_is_really_short_of_memory() -> None:
    """Four pictures take about 450 MB, one takes less than 120; then nothing is left for a larger one."""
    done = subprocess.run([sys.executable, "-c", SCARCE], capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.splitlines() == [
        "(4, 2, 640, 640) True True not enough memory: fewer pictures at a time",
        "not enough memory",
    ], done.stderr
