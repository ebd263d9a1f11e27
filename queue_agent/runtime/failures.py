"""What the words of a failure say of the process that uttered them."""

import re
from typing import Final

__all__ = ["is_beyond_repair", "is_of_the_device", "is_out_of_memory"]

_BEYOND_REPAIR: Final = re.compile(
    # Kernels that broke the context: CUDA's word is that "the process must be terminated and
    # relaunched" (cudaErrorIllegalAddress and its neighbours in the runtime API's error list).
    # Every CUDA error of torch ends with a hint at "device-side assertions": that is none.
    r"device-side assert\b"
    r"|illegal memory access|illegal instruction was encountered|misaligned address"
    r"|unspecified launch failure|invalid program counter|hardware stack error"
    r"|operation not supported on global/shared address space|launch timed out and was terminated"
    r"|(?:CUDA|HIP)(?: error:)? unknown error|context is destroyed|driver shutting down"
    r"|cudaError(?:IllegalAddress|IllegalInstruction|MisalignedAddress|InvalidPc|Assert"
    r"|HardwareStackError|InvalidAddressSpace|LaunchFailure|LaunchTimeout|Unknown)\b"
    r"|CUDA_ERROR_(?:ILLEGAL_ADDRESS|ILLEGAL_INSTRUCTION|MISALIGNED_ADDRESS|INVALID_PC|ASSERT"
    r"|HARDWARE_STACK_ERROR|INVALID_ADDRESS_SPACE|LAUNCH_FAILED|LAUNCH_TIMEOUT|DEINITIALIZED"
    r"|CONTEXT_IS_DESTROYED|UNKNOWN)\b"
    r"|hipError(?:IllegalAddress|IllegalState|Assert|LaunchFailure|LaunchTimeOut|Deinitialized"
    r"|ContextIsDestroyed|Unknown)\b"
    # Libraries that can no longer use it.
    r"|CU(?:DNN|BLAS|FFT|SOLVER|SPARSE|RAND)_(?:STATUS_)?"
    r"(?:EXECUTION_FAILED|INTERNAL_ERROR|MAPPING_ERROR|EXEC_FAILED|LAUNCH_FAILURE)"
    r"|MIOPEN_STATUS_(?:INTERNAL_ERROR|UNKNOWN_ERROR)|miopenStatus(?:InternalError|UnknownError)"
    r"|nccl(?:UnhandledCuda|System|Internal|Remote)Error|NCCL communicator was aborted"
    r"|NCCL error: unhandled (?:cuda|system) error"
    # The device is gone, or broken.
    r"|no CUDA-capable device is detected|No CUDA GPUs are available|Found no NVIDIA driver"
    r"|CUDA-capable device.{0,16}busy or unavailable|No HIP GPUs are available"
    r"|(?:cudaError|hipError)(?:NoDevice|DevicesUnavailable|SystemDriverMismatch)\b"
    r"|CUDA_ERROR_(?:NO_DEVICE|DEVICE_UNAVAILABLE)\b"
    r"|fallen off the bus|GPU is lost|uncorrectable (?:ECC|NVLink|memory) error"
    r"|(?:ECC|Nvlink)Uncorrectable|hipErrorECCNotCorrectable|CUDA_ERROR_ECC_UNCORRECTABLE"
    r"|DEVICE_LOST\b|vk::DeviceLostError|ErrorDeviceLost",
    re.IGNORECASE,
)

_MEMORY: Final = re.compile(
    r"out of memory|OutOfMemory|(?:STATUS_|CUFFT_)ALLOC_FAILED|MemoryAllocation\b"
    # The machine's own: Python's and NumPy's class, torch's allocator, the system's words.
    r"|MemoryError\b|(?:can't|cannot) allocate memory|DefaultCPUAllocator: not enough memory",
    re.IGNORECASE,
)

_OF_THE_DEVICE: Final = re.compile(
    r"\b(?:CUDA|HIP|cuDNN|NCCL|MIOpen)(?: driver| runtime)? error\b|\bCU(?:BLAS|DNN)_STATUS_",
    re.IGNORECASE,
)


def is_beyond_repair(text: str) -> bool:
    """Whether a server's words tell of a process that fails until it is started anew.

    Of a broken CUDA or HIP context, that is, of libraries that lost theirs, or of a device that
    is gone. For adapters: such a failure is `RuntimeSick`, and lies in no job. Memory that ran
    out passes, and is none of it. Ask it of failures only, and of the part of an answer that is
    the server's own: what a request is refused for may repeat the publisher's words.
    """
    return _BEYOND_REPAIR.search(text) is not None


def is_out_of_memory(text: str) -> bool:
    """Whether a server's words tell of too little memory for this job, at this time."""
    return _MEMORY.search(text) is not None


def is_of_the_device(text: str) -> bool:
    """Whether a server's words tell of a failure in or beneath the GPU's libraries."""
    return _OF_THE_DEVICE.search(text) is not None or is_beyond_repair(text)
