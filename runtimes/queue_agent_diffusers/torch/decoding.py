"""From latents to pictures: in full for results, by a linear map for previews."""

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

import torch
from PIL import Image

from queue_agent_diffusers.torch.memory import is_out_of_memory, release_memory
from queue_agent_diffusers.torch.suspended import DecodeCall, Undecoded

cuda: Any = torch.cuda
"""Not all of it is annotated."""
_FIT_SIDE: Final = 16
"""Side of the latents that the linear map is fitted on."""
_FIT_SAMPLES: Final = 4
_STILL: Final = 3
"""Latent frames of the videos that it is fitted on."""


class LatentDecoder:
    """An autoencoder's decoder, used in one thread beside the engine's."""

    def __init__(self, vae: Any) -> None:
        self._vae = vae
        self._lock = threading.Lock()
        self._stream: Any = _new_stream(vae.device)

    def hand_over(self, latents: torch.Tensor) -> Callable[[], torch.Tensor]:
        """Latents for another thread: what gives them there once the device has made them."""
        if self._stream is None:
            return lambda: latents
        made: Any = cuda.Event()
        made.record()
        stream = self._stream

        def receive() -> torch.Tensor:
            stream.wait_event(made)
            latents.record_stream(stream)
            return latents

        return receive

    @contextmanager
    def _working(self) -> Iterator[None]:
        with self._lock, torch.no_grad(), _on(self._stream):
            yield

    def _decoded(self, latent: torch.Tensor, *arguments: Any) -> torch.Tensor:
        """The whole picture at once where that fits, else in tiles from then on."""
        try:
            return self._decode(latent, *arguments)
        except (RuntimeError, MemoryError) as error:
            can_tile = hasattr(self._vae, "enable_tiling") and not self._vae.use_tiling
            if not can_tile or not is_out_of_memory(error):
                raise
        release_memory()
        self._vae.enable_tiling()
        return self._decode(latent, *arguments)

    def _decode(self, latent: torch.Tensor, *arguments: Any) -> torch.Tensor:
        decoded: torch.Tensor = self._vae.decode(latent, *arguments, return_dict=False)[0]
        return decoded


class PipelineDecoder(LatentDecoder):
    """Decodes what pipelines asked their autoencoder for."""

    def __init__(self, pipeline: Any) -> None:
        super().__init__(pipeline.vae)
        self._processor: Any = getattr(pipeline, "video_processor", None)
        self._processor = self._processor or pipeline.image_processor
        self._map: torch.Tensor | None = None
        self._token_side = 2 * int(getattr(pipeline, "vae_scale_factor", 0))
        """Of the square of pixels that an image's token stands for: two by two cells."""

    def stand_in(self) -> Undecoded:
        """For the autoencoder in a pipeline's call."""
        return Undecoded(self._vae, self._lock)

    def picture(
        self,
        receive: Callable[[], torch.Tensor],
        arguments: Sequence[Any],
        finish: Callable[[Any, torch.Tensor], torch.Tensor],
    ) -> Image.Image:
        """The picture of one call's latents; `finish` is what its pipeline does after decoding.

        Raises:
            OutOfMemory … as torch raises it: not even one tile fits.
        """
        with self._working():
            decoded = finish(self._processor, self._decoded(receive(), *arguments))
            [image] = self._processor.postprocess(decoded, output_type="pil")
        picture: Image.Image = image
        return picture

    def frames(
        self, receive: Callable[[], torch.Tensor], arguments: Sequence[Any]
    ) -> list[Image.Image]:
        """The frames of a video's latents, as pictures: three bytes for each of their pixels."""
        with self._working():
            [decoded] = self._decoded(receive(), *arguments)
            return [
                self._processor.postprocess(decoded[:, [number]].transpose(0, 1), "pil")[0]
                for number in range(decoded.shape[1])
            ]

    def can_preview(self, latents: torch.Tensor) -> bool:
        """Whether these are a video's, as `frame_preview` draws them: not tokens, say."""
        return latents.dim() == 5 and getattr(self._vae.config, "latents_mean", None) is not None

    def frame_preview(self, receive: Callable[[], torch.Tensor]) -> Image.Image:
        """The middle frame of a video's latents, as `Decoder.preview` draws an image's."""
        with self._working():
            frames = receive()[0].float()
            if self._map is None:
                self._map = _fit_map(self._still, len(frames), self._vae.device)
            return _painted(frames[:, frames.shape[1] // 2], self._map)

    def can_draw(self, latents: torch.Tensor, width: int, height: int) -> bool:
        """Whether these are an image's, as cells or as tokens of two by two cells."""
        # Flux.2's are normalised by statistics that no configuration names.
        return not hasattr(self._vae, "bn") and self._cells(latents, width, height) is not None

    def image_preview(
        self, receive: Callable[[], torch.Tensor], width: int, height: int
    ) -> Image.Image:
        """An image's latents, as `Decoder.preview` draws them; of so many pixels."""
        with self._working():
            cells = self._cells(receive(), width, height)
            if cells is None:
                raise ValueError("these latents are no image of that size")
            latent = cells[0].float()
            if self._map is None:
                self._map = _fit_map(self._picture_of, len(latent), self._vae.device)
            return _painted(latent, self._map)

    def _cells(self, latents: torch.Tensor, width: int, height: int) -> torch.Tensor | None:
        if latents.dim() == 4:
            return latents
        if latents.dim() == 5 and latents.shape[2] == 1:
            return latents[:, :, 0]
        rows, columns = height // self._token_side, width // self._token_side
        if latents.dim() != 3 or latents.shape[1] != rows * columns or latents.shape[2] % 4:
            return None
        tokens = latents.reshape(len(latents), rows, columns, -1, 2, 2).permute(0, 3, 1, 4, 2, 5)
        return tokens.reshape(len(latents), -1, 2 * rows, 2 * columns)

    def _picture_of(self, latent: torch.Tensor) -> torch.Tensor:
        """What the autoencoder makes of cells, as pipelines scale them, from -1 to 1."""
        config = self._vae.config
        mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
        if mean is not None and std is not None:
            mean, std = (
                torch.tensor(values).view(1, -1, 1, 1).to(latent) for values in (mean, std)
            )
            latent = latent * std + mean
        else:
            shift = getattr(config, "shift_factor", None) or 0.0
            latent = latent / config.scaling_factor + shift
        latent = latent.to(self._vae.dtype)
        if any(weight.dim() == 5 for weight in self._vae.parameters()):  # made for videos
            return self._decode(latent[:, :, None])[:, :, 0]
        return self._decode(latent)

    def _still(self, latent: torch.Tensor) -> torch.Tensor:
        """The last frame of a short video that stands still, from -1 to 1.

        The first of a video is decoded by itself, unlike those that follow.
        """
        config = self._vae.config
        mean, std = (
            torch.tensor(values).view(1, -1, 1, 1).to(latent)
            for values in (config.latents_mean, config.latents_std)
        )
        scaled = (latent * std + mean).to(self._vae.dtype)
        return self._decode(scaled[:, :, None].repeat(1, 1, _STILL, 1, 1))[:, :, -1]

    def frame_tensors(self, call: DecodeCall) -> torch.Tensor:
        """The decoded frames before they are quantised, from 0 to 1."""
        with self._working():
            decoded = self._decoded(call.latents, *call.arguments)
            [frames] = self._processor.postprocess_video(decoded, output_type="pt")
        made: torch.Tensor = frames
        return made

    def tensor(
        self, call: DecodeCall, finish: Callable[[Any, torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """The decoded picture before it is quantised, from 0 to 1."""
        with self._working():
            decoded = finish(self._processor, self._decoded(call.latents, *call.arguments))
            [image] = self._processor.postprocess(decoded, output_type="pt")
        picture: torch.Tensor = image
        return picture


class Decoder(LatentDecoder):
    """Decodes Stable Diffusion's latents, with its safety checker and watermark."""

    def __init__(self, pipeline: Any) -> None:
        shared = pipeline.vae
        # XL's decoder overflows in float16. Its pipelines turn it to float32 for each call, which
        # would take it out of the hands of the engine's thread.
        overflows = shared.dtype == torch.float16 and shared.config.force_upcast
        upcast = overflows and getattr(pipeline, "text_encoder_2", None) is not None
        super().__init__(copy.deepcopy(shared).float() if upcast else shared)
        self._pipeline = pipeline
        self._map: torch.Tensor | None = None

    def pictures(self, receive: Callable[[], torch.Tensor]) -> tuple[list[Image.Image], list[bool]]:
        """The pictures of latents, and which of them the safety checker withheld.

        Raises:
            OutOfMemory … as torch raises it: not even one tile fits.
        """
        with self._working():
            images, withheld = [], []
            for latent in _singly(receive()):
                decoded, flagged = self._checked(self._decoded(latent))
                images += self._pipeline.image_processor.postprocess(
                    decoded, output_type="pil", do_denormalize=[not flagged]
                )
                withheld.append(flagged)
            return images, withheld

    def tensors(self, latents: torch.Tensor) -> torch.Tensor:
        """The decoded pictures before they are quantised, from -1 to 1."""
        with self._lock, torch.no_grad():
            return torch.cat([self._decode(latent) for latent in _singly(latents)])

    def preview(self, receive: Callable[[], torch.Tensor]) -> Image.Image:
        """One latent as a picture of one pixel per cell, in about the right colours."""
        with self._working():
            latent = receive()[0].float()
            if self._map is None:
                channels = self._vae.config.latent_channels
                self._map = _fit_map(self._decode, channels, self._vae.device)
            return _painted(latent, self._map)

    def _decode(self, latent: torch.Tensor, *arguments: Any) -> torch.Tensor:
        config = self._vae.config
        latent = latent.to(self._vae.dtype)
        mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
        if mean is not None and std is not None:
            mean, std = (
                torch.tensor(values).view(1, -1, 1, 1).to(latent) for values in (mean, std)
            )
            latent = latent * std / config.scaling_factor + mean
        else:
            latent = latent / config.scaling_factor
        return super()._decode(latent, *arguments)

    def _checked(self, image: torch.Tensor) -> tuple[torch.Tensor, bool]:
        watermark = getattr(self._pipeline, "watermark", None)
        if watermark is not None:
            image = watermark.apply_watermark(image)
        if getattr(self._pipeline, "safety_checker", None) is None:
            return image, False
        image, flags = self._pipeline.run_safety_checker(image, image.device, image.dtype)
        return image, bool(flags and flags[0])


def _painted(latent: torch.Tensor, colour_map: torch.Tensor) -> Image.Image:
    """A pixel for each cell of a latent."""
    ones = torch.ones_like(latent[:1])
    colours = torch.einsum("chw,cr->hwr", torch.cat([latent, ones]), colour_map)
    grey_levels = ((colours / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(grey_levels.cpu().numpy(), "RGB")


def _fit_map(
    decode: Callable[[torch.Tensor], torch.Tensor], channels: int, device: torch.device
) -> torch.Tensor:
    """Channels (and a constant) to red, green and blue, fitted to what the decoder makes.

    The latents are smooth noise, since it is smooth areas that a preview can show.
    """
    noise = torch.Generator("cpu").manual_seed(0)
    coarse = torch.randn(_FIT_SAMPLES, channels, 4, 4, generator=noise)
    size = (_FIT_SIDE, _FIT_SIDE)
    latents = torch.nn.functional.interpolate(coarse, size=size, mode="bicubic").to(device)
    decoded = torch.cat([decode(latent) for latent in _singly(latents)]).float()
    seen = torch.nn.functional.adaptive_avg_pool2d(decoded, size)
    ones = torch.ones_like(latents[:, :1])
    known = torch.cat([latents, ones], 1).movedim(1, -1).reshape(-1, channels + 1)
    wanted = seen.movedim(1, -1).reshape(-1, 3)
    # Solved on the host: so small a system is not worth a kernel of its own.
    solution: torch.Tensor = torch.linalg.lstsq(known.cpu(), wanted.cpu()).solution
    return solution.to(device)


def _new_stream(device: torch.device) -> object:
    """A stream beside the engine's, so that decoding and stepping overlap; None on the CPU."""
    return cuda.Stream(device) if device.type == "cuda" else None


def _on(stream: object) -> AbstractContextManager[object]:
    return nullcontext() if stream is None else cuda.stream(stream)


def _singly(latents: torch.Tensor) -> list[torch.Tensor]:
    return [latents[place : place + 1] for place in range(len(latents))]
