"""What is read in the words of a runtime that failed."""

import json
from collections.abc import Callable

import pytest
from pydantic import JsonValue

from queue_agent.runtime.failures import is_beyond_repair, is_of_the_device, is_out_of_memory
from queue_agent.runtime.http import Response, error_from
from queue_agent.wire.errors import QueueAgentError, Rejected, RuntimeSick, Unavailable
from queue_agent_runtimes.cog.failures import refused as refused_by_cog
from queue_agent_runtimes.comfyui.failures import failure_of, refused
from queue_agent_runtimes.http.declaration import ErrorRule, Errors
from queue_agent_runtimes.http.failures import error_of as error_of_declared
from queue_agent_runtimes.openai_images.answer import error_from as error_of_dialect
from queue_agent_runtimes.openai_videos.records import created_record, found_record
from queue_agent_runtimes.triton.failures import error_from as error_of_triton
from queue_agent_runtimes.webui.answer import error_of

HINT = (
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the "
    "stacktrace below might be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
    "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
)
"""What torch adds to every error of CUDA."""

BEYOND_REPAIR = [
    "CUDA error: device-side assert triggered" + HINT,
    "CUDA error: an illegal memory access was encountered" + HINT,
    "CUDA error: unspecified launch failure" + HINT,
    "CUDA error: misaligned address" + HINT,
    "CUDA error: an illegal instruction was encountered" + HINT,
    "CUDA error: the launch timed out and was terminated" + HINT,
    "CUDA error: uncorrectable ECC error encountered" + HINT,
    "CUDA error: unknown error" + HINT,
    "CUDA error: all CUDA-capable devices are busy or unavailable" + HINT,
    "CUDA-capable device(s) is/are busy or unavailable",
    "CUDA unknown error - this may be due to an incorrectly set up environment",
    "No CUDA GPUs are available",
    "no CUDA-capable device is detected",
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx( handle, opa, opb)`",
    "cuFFT error: CUFFT_EXEC_FAILED",
    "cudaErrorIllegalAddress: an illegal memory access was encountered",
    "CUDA driver error: CUDA_ERROR_ILLEGAL_ADDRESS",
    "CUDA_ERROR_LAUNCH_FAILED",
    "HIP error: the operation cannot be performed: hipErrorIllegalAddress",
    "hipErrorLaunchFailure",
    "HIP error: an illegal memory access was encountered",
    "MIOpen error: miopenStatusUnknownError",
    "NCCL error: unhandled cuda error",
    "ncclUnhandledCudaError: Call to CUDA function failed.",
    "NVRM: Xid 79, GPU has fallen off the bus.",
    "GPU is lost. Reboot the system to recover this GPU",
    "vk::Device::waitForFences: ErrorDeviceLost",
    "level_zero backend failed with error: 20 (UR_RESULT_ERROR_DEVICE_LOST)",
]
MEMORY = [
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 7.78 GiB",
    "CUDA error: out of memory" + HINT,
    "HIP out of memory. Tried to allocate 2.00 GiB",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cudaErrorMemoryAllocation: out of memory",
    "torch.OutOfMemoryError",
    "MemoryError",
    "numpy._core._exceptions._ArrayMemoryError",
    "alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to",
    "OSError: [Errno 12] Cannot allocate memory",
    "[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried to",
]
PASSING = [
    "CUDA error: invalid configuration argument" + HINT,
    "CUDA error: invalid argument" + HINT,
    "mat1 and mat2 shapes cannot be multiplied (77x2048 and 768x320)",
    "Expected all tensors to be on the same device, but found cuda:0 and cpu!",
    "Sampler not found",
    "an unknown error occurred",
    "",
]


@pytest.mark.parametrize("text", BEYOND_REPAIR)
def test_a_broken_context_or_device_is_beyond_repair(text: str) -> None:
    assert is_beyond_repair(text)
    assert is_of_the_device(text)
    assert not is_out_of_memory(text)


@pytest.mark.parametrize("text", MEMORY)
def test_memory_that_ran_out_is_not(text: str) -> None:
    assert is_out_of_memory(text)
    assert not is_beyond_repair(text)


@pytest.mark.parametrize("text", PASSING)
def test_what_the_next_job_would_not_meet_is_not(text: str) -> None:
    assert not is_beyond_repair(text)
    assert not is_out_of_memory(text)


def webui(words: str, name: str = "RuntimeError", status: int = 500) -> QueueAgentError:
    body = {"error": name, "detail": "", "body": "", "errors": words}
    return error_of(Response(status, json.dumps(body).encode()))


def comfyui(words: str, name: str = "RuntimeError") -> QueueAgentError:
    told: dict[str, JsonValue] = {"exception_type": name, "exception_message": words}
    messages: list[JsonValue] = [["execution_error", {"node_id": "5", **told}]]
    failure = failure_of({"status": {"status_str": "error", "messages": messages}})
    assert failure is not None
    return failure


def openai(words: str, status: int = 500) -> QueueAgentError:
    return error_from(Response(status, json.dumps({"error": {"message": words}}).encode()))


@pytest.mark.parametrize("text", BEYOND_REPAIR)
def test_every_adapter_says_so(text: str) -> None:
    for error in (webui(text), comfyui(text), openai(text), openai(text, status=503)):
        assert type(error) is RuntimeSick
        assert error.type == "runtime_sick"
    assert type(comfyui(text, "torch.AcceleratorError")) is RuntimeSick


@pytest.mark.parametrize("text", MEMORY)
def test_no_adapter_says_so_of_memory(text: str) -> None:
    for error in (webui(text), comfyui(text), openai(text)):
        assert type(error) is Unavailable


def test_what_repeats_the_publishers_words_says_nothing_of_the_runtime() -> None:
    words = "No file 'device-side assert triggered.png': an illegal memory access"
    assert type(openai(words, status=422)) is Rejected
    assert type(webui(words, status=422)) is Rejected
    assert type(webui(words, name="HTTPException")) is Unavailable
    assert type(comfyui(words, "FileNotFoundError")) is Rejected
    assert type(comfyui(words, "ValueError")) is Rejected


def test_a_node_that_fails_beneath_is_not_the_jobs_fault() -> None:
    error = comfyui("CUDA error: invalid configuration argument" + HINT)
    assert type(error) is Unavailable


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 30 ", 30.0),
        ("86400", 300.0),
        ("-1", 0.0),
        ("1.5", 0.0),
        ("soon", 0.0),
        ("", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 300.0),
        ("9" * 400, 0.0),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_the_server_says_when_to_ask_again(status: int, header: str, seconds: float) -> None:
    error = error_from(Response(status, b"", {"retry-after": header}))
    assert isinstance(error, Unavailable)
    assert error.retry_after == seconds


def _raised(read: Callable[[Response], object]) -> Callable[[Response], QueueAgentError]:
    def error(answer: Response) -> QueueAgentError:
        with pytest.raises(QueueAgentError) as caught:
            read(answer)
        return caught.value

    return error


def _declared(*rules: ErrorRule) -> Callable[[Response], QueueAgentError]:
    errors = Errors(message="$.error", rules=rules)
    return lambda answer: error_of_declared(answer, errors, may_blame_job=True)


def _triton(answer: Response) -> QueueAgentError:
    return error_of_triton(answer, "sd", chosen=False)


@pytest.mark.parametrize("words", ["busy", "CUDA out of memory", "<html>Bad Gateway</html>"])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        *((error_of, status) for status in (429, 500, 502, 503)),
        *((refused_by_cog, status) for status in (429, 500, 503)),
        *((refused, status) for status in (429, 500, 503)),
        *((error_of_dialect, status) for status in (409, 429, 503)),
        *((_raised(created_record), status) for status in (409, 429, 503)),
        *((_raised(found_record), status) for status in (400, 409, 429, 503)),
        *((_triton, status) for status in (429, 500, 503)),
        *((_declared(), status) for status in (429, 500, 503)),
        (_declared(ErrorRule(status=(422,), means="retry")), 422),
    ],
)
def test_no_adapter_forgets_when_its_server_wants_to_be_asked_again(
    error: Callable[[Response], QueueAgentError], status: int, words: str
) -> None:
    bodies = [json.dumps({"error": words}), words]
    for body in bodies:
        said = error(Response(status, body.encode(), {"retry-after": "41"}))
        assert isinstance(said, Unavailable)
        assert said.retry_after == 41


def test_a_model_of_triton_that_is_loaded_is_asked_for_when_triton_says() -> None:
    body = b'{"error": "Request for unknown model: \'sd\' has no available versions"}'
    said = _triton(Response(400, body, {"retry-after": "41"}))
    assert isinstance(said, Unavailable)
    assert said.retry_after == 41
