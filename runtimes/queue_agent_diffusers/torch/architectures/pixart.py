"""PixArt-alpha and -Sigma: made at the nearest trained size, and cut to the one asked for."""

from typing import Any, Final

import torch

from queue_agent_diffusers.torch.architectures.architecture import Architecture, Finish


def cut_to_size(width: int, height: int) -> Finish:
    """For pipelines that do not make the size asked for."""

    def cut(processor: Any, decoded: torch.Tensor) -> torch.Tensor:
        sized: torch.Tensor = processor.resize_and_crop_tensor(decoded, width, height)
        return sized

    return cut


PIXART: Final = Architecture(
    host_timesteps=True,
    pipelines=("PixArtAlphaPipeline", "PixArtSigmaPipeline"),
    doubled_above=1.0,
    finish=cut_to_size,
)
