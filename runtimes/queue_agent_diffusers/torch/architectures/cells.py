"""How latents lie while pipelines step them: as cells, or as tokens that stand for some."""

from typing import Any, Final

import torch

TOKEN_SIDE: Final = 2
"""Cells of a side of the square that an image's token stands for."""


def image_cells(
    _pipeline: Any, latents: torch.Tensor, width: int, height: int, _frames: int = 1
) -> torch.Tensor:
    """Latents of an image of that shape, (1, channels, rows, columns)."""
    if latents.dim() == 5:  # a video of one frame
        return latents[:, :, 0]
    if latents.dim() == 4:
        return latents
    rows, columns = _grid(latents.shape[1], width, height)
    squares = latents.transpose(1, 2).reshape(len(latents), -1, rows, columns)
    return torch.nn.functional.pixel_shuffle(squares, TOKEN_SIDE)


def video_cells(_pipeline: Any, latents: torch.Tensor, *_shape: int) -> torch.Tensor:
    """Latents of a video that are no tokens, (1, channels, frames, rows, columns)."""
    return latents


def _grid(tokens: int, width: int, height: int) -> tuple[int, int]:
    """Rows and columns of so many tokens, in the proportions that come next to these sides.

    Some pipelines make images of another size than they are asked for.
    """
    by_distance = sorted(
        (abs(rows * width * rows - height * tokens), rows)
        for rows in range(1, tokens + 1)
        if tokens % rows == 0
    )
    rows = by_distance[0][1]
    return rows, tokens // rows
