"""Latents as small pictures: one pixel for each cell, in about the right colours."""

from collections.abc import Callable
from typing import Any, Final

import torch
from PIL import Image

_SIDE: Final = 16
"""Of the latents that an image's map is fitted on, in cells."""
_VIDEO_SIDE: Final = 8
"""Likewise of a video's, of which a cell is many more pixels."""
_COARSE: Final = 4
"""Of the noise that is smoothed to these sizes, so that a sample has its square of patterns."""
_PATTERNS: Final = 3
"""For each number that is fitted for a colour."""
_LEAST_SAMPLES: Final = 4
_STILL: Final = 3
"""Latent frames of the videos that are fitted on."""


class LinearPreview:
    """A linear map from cells to colours, fitted at its first use to what a decoder makes."""

    def __init__(self, vae: Any, decode: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """`decode` gives pictures, from -1 to 1, of cells as the decoder takes them."""
        self._vae = vae
        self._decode = decode
        self._map: torch.Tensor | None = None

    def draw(self, cells: torch.Tensor) -> Image.Image:
        """The picture of an image's cells, or of a video's middle frame, as pipelines scale them.

        They are (1, channels, rows, columns), with the frames before rows of a video.
        """
        video = cells.dim() == 5
        scaled = unscaled(self._vae, cells.float())[0]
        latent = scaled[:, scaled.shape[1] // 2] if video else scaled
        if self._map is None:
            self._map = self._fit(len(latent), video=video)
        ones = torch.ones_like(latent[:1])
        colours = torch.einsum("chw,cr->hwr", torch.cat([latent, ones]), self._map)
        grey_levels = ((colours / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        return Image.fromarray(grey_levels.cpu().numpy(), "RGB")

    def _fit(self, channels: int, *, video: bool) -> torch.Tensor:
        """Channels (and a constant) to red, green and blue.

        The latents are smooth noise, since it is smooth areas that a preview can show.
        """
        samples = max(_LEAST_SAMPLES, -(-_PATTERNS * (channels + 1) // _COARSE**2))
        noise = torch.Generator("cpu").manual_seed(0)
        coarse = torch.randn(samples, channels, _COARSE, _COARSE, generator=noise)
        side = _VIDEO_SIDE if video else _SIDE
        smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")
        known, wanted = [], []
        for sample in smooth.to(self._vae.device):
            one = sample[None]
            if video:
                latent = unscaled(self._vae, one[:, :, None])
                seen = self._last_frame(latent)
                latent = latent[:, :, 0]
            else:
                latent = unscaled(self._vae, one)
                seen = self._decode(latent)
            colours = torch.nn.functional.adaptive_avg_pool2d(seen.float(), (side, side))
            with_one = torch.cat([latent, torch.ones_like(latent[:, :1])], 1)
            known.append(with_one.movedim(1, -1).reshape(-1, channels + 1))
            wanted.append(colours.movedim(1, -1).reshape(-1, 3))
        # Solved on the host: so small a system is not worth a kernel of its own.
        solution: torch.Tensor = torch.linalg.lstsq(
            torch.cat(known).cpu(), torch.cat(wanted).cpu()
        ).solution
        return solution.to(self._vae.device)

    def _last_frame(self, still: torch.Tensor) -> torch.Tensor:
        """Of a short video that stands still.

        The first of a video is decoded by itself, unlike those that follow.
        """
        return self._decode(still.repeat(1, 1, _STILL, 1, 1))[:, :, -1]


def unscaled(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """What pipelines give their autoencoder to decode, of cells as they step them."""
    if hasattr(vae, "bn"):  # of two by two cells at once, in Flux.2's
        mean = vae.bn.running_mean.view(1, -1, 1, 1).to(latents)
        variance = vae.bn.running_var.view(1, -1, 1, 1) + vae.config.batch_norm_eps
        squares = torch.nn.functional.pixel_unshuffle(latents, 2)
        return torch.nn.functional.pixel_shuffle(squares * variance.sqrt().to(latents) + mean, 2)
    factor = getattr(vae.config, "scaling_factor", None) or 1.0
    centre, deviation = _statistics(vae, latents)
    if centre is not None and deviation is not None:
        return latents * deviation / factor + centre
    shift = getattr(vae.config, "shift_factor", None)
    return latents / factor + shift if shift else latents / factor


def _statistics(vae: Any, latents: torch.Tensor) -> list[torch.Tensor | None]:
    """Mean and deviation of each channel, where the autoencoder has them."""
    shape = (1, -1, *(1 for _ in latents.shape[2:]))
    buffers = dict(vae.named_buffers(recurse=False))  # which LTX's has
    found = [
        getattr(vae.config, name, None) or buffers.get(name)
        for name in ("latents_mean", "latents_std")
    ]
    return [
        None if values is None else torch.as_tensor(values).to(latents).view(shape)
        for values in found
    ]
