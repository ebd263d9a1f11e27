"""Who reads the tensors of `.safetensors` files, beside the libraries that the model is made of.

Both packages read with many threads and bring each tensor to the device as it comes:
https://github.com/run-ai/runai-model-streamer and
https://github.com/foundation-model-stack/fastsafetensors
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from queue_agent_diffusers.options import WeightsBy

Reader = Callable[[Sequence[Path], torch.device], Iterator[tuple[str, torch.Tensor]]]
"""The names and tensors of files, on the device, as they come; the tensors are the caller's."""


def stream(
    files: Sequence[str], device: torch.device, credentials: object = None
) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of paths, or of ``s3://`` addresses, as Run:ai's streamer brings them.

    `credentials` are its `S3Credentials`.
    """
    from runai_model_streamer import SafetensorsStreamer  # noqa: PLC0415  an extra

    # It tells its rate at every call, which is once a component.
    logging.getLogger("runai_model_streamer").setLevel(logging.WARNING)
    streamer: Any
    with SafetensorsStreamer() as streamer:
        streamer.stream_files(list(files), s3_credentials=credentials, device=str(device))
        yield from streamer.get_tensors()


def _by_runai(files: Sequence[Path], device: torch.device) -> Iterator[tuple[str, torch.Tensor]]:
    yield from stream([str(file) for file in files], device)


def _by_fastsafetensors(
    files: Sequence[Path], device: torch.device
) -> Iterator[tuple[str, torch.Tensor]]:
    from fastsafetensors import fastsafe_open  # noqa: PLC0415  an extra

    # GPUDirect storage is used where it is; without, it reads through the host's memory by itself.
    host = device.type == "cpu"
    for file in files:
        opened: Any
        with fastsafe_open([str(file)], device=str(device), nogds=host) as opened:
            for name in opened.keys():  # noqa: SIM118  it is no mapping
                yield name, opened.get_tensor(name)


READERS: Final[Mapping[WeightsBy, Reader]] = {
    "fastsafetensors": _by_fastsafetensors,
    "runai": _by_runai,
}
