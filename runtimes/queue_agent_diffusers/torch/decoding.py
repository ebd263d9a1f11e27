"""From latents to pictures: in full for results, by a linear map for previews."""

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

import torch
from cachetools import LRUCache
from PIL import Image

from queue_agent_diffusers.torch.finite import check_finite
from queue_agent_diffusers.torch.foreseen import GENEROUS, NARROW, peak_bytes
from queue_agent_diffusers.torch.memory import (
    free_memory,
    is_out_of_memory,
    release_memory,
    trim_memory,
)
from queue_agent_diffusers.torch.previews import LinearPreview, unscaled
from queue_agent_diffusers.torch.suspended import DecodeCall, Undecoded

_WORKSPACE: Final = 1.5
"""What convolutions take, times their tensors: 1.2 to 1.4 was seen for large ones on a CPU."""
_SHAPES: Final = 256
"""How many are remembered."""
cuda: Any = torch.cuda
"""Not all of it is annotated."""


class LatentDecoder:
    """An autoencoder's decoder, used in one thread beside the engine's."""

    def __init__(self, vae: Any) -> None:
        self._vae = vae
        self._lock = threading.Lock()
        self._stream: Any = _new_stream(vae.device)
        self._needs: LRUCache[torch.Size, int | None] = LRUCache(_SHAPES)
        """Bytes that decoding latents of a shape takes, as far as it was asked for."""

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
        """The whole picture at once where that fits, else in tiles.

        Where a device told so by an error, which costs time, all are decoded in tiles from then on.

        Raises:
            NotFinite: there is no picture in it.
        """
        decoded = self._as_it_fits(latent, *arguments)
        check_finite(latent, decoded)
        return decoded

    def _as_it_fits(self, latent: torch.Tensor, *arguments: Any) -> torch.Tensor:
        can_tile = hasattr(self._vae, "enable_tiling") and not self._vae.use_tiling
        if can_tile and self._is_short(latent, *arguments):
            self._vae.enable_tiling()
            try:
                return self._decode(latent, *arguments)
            finally:
                self._vae.disable_tiling()
        try:
            return self._decode(latent, *arguments)
        except (RuntimeError, MemoryError) as error:
            if not can_tile or not is_out_of_memory(error):
                raise
        release_memory()
        self._vae.enable_tiling()
        return self._decode(latent, *arguments)

    def _is_short(self, latent: torch.Tensor, *arguments: Any) -> bool:
        """Whether the host's memory will not hold it, which is told by the process's end."""
        if latent.device.type != "cpu":
            return False
        free = free_memory(latent.device)
        if free is None or latent.numel() * GENEROUS <= free:
            return False
        if latent.shape not in self._needs:
            given = latent.to(self._vae.dtype)
            self._needs[latent.shape] = peak_bytes(
                self._vae, lambda vae: vae.decode(given, *arguments, return_dict=False)
            )
        need = self._needs[latent.shape]
        if need is None or need * NARROW <= free:
            return False
        trim_memory()
        return need * _WORKSPACE > (free_memory(latent.device) or 0)

    def _decode(self, latent: torch.Tensor, *arguments: Any) -> torch.Tensor:
        decoded: torch.Tensor = self._vae.decode(latent, *arguments, return_dict=False)[0]
        return decoded


class PipelineDecoder(LatentDecoder):
    """Decodes what pipelines asked their autoencoder for."""

    def __init__(self, pipeline: Any) -> None:
        vae = pipeline.vae
        halved = hasattr(pipeline, "upcast_vae") and vae.dtype == torch.float16
        if halved and vae.config.force_upcast:
            vae.float()  # as the pipeline would in the engine's thread, at its first call's end
        super().__init__(vae)
        self._processor: Any = getattr(pipeline, "video_processor", None)
        self._processor = self._processor or pipeline.image_processor
        self._previews = LinearPreview(self._vae, self._seen)

    def stand_in(self, seed: int) -> Undecoded:
        """For the autoencoder in a pipeline's call for an image of that seed."""
        return Undecoded(self._vae, self._lock, seed)

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

    def preview(self, receive: Callable[[], torch.Tensor]) -> Image.Image:
        """Cells as a picture; see `LinearPreview.draw`."""
        with self._working():
            return self._previews.draw(receive())

    def _seen(self, cells: torch.Tensor) -> torch.Tensor:
        """What the autoencoder makes of cells as it takes them, from -1 to 1."""
        vae = self._vae
        cells = cells.to(vae.dtype)
        timed = getattr(vae.config, "timestep_conditioning", False)
        time = (torch.zeros(1, dtype=cells.dtype, device=cells.device),) if timed else ()
        of_videos = any(weight.dim() == 5 for weight in vae.parameters())
        if of_videos and cells.dim() == 4:
            return self._decode(cells[:, :, None], *time)[:, :, 0]
        return self._decode(cells, *time)

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
        super().__init__(_unshared(pipeline))
        self._pipeline = pipeline
        self._previews = LinearPreview(self._vae, self._seen)

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
            return self._previews.draw(receive()[:1])

    def _seen(self, cells: torch.Tensor) -> torch.Tensor:
        """What the autoencoder makes of cells as it takes them, from -1 to 1."""
        return super()._decode(cells.to(self._vae.dtype))

    def _decode(self, latent: torch.Tensor, *arguments: Any) -> torch.Tensor:
        latent = unscaled(self._vae, latent.to(self._vae.dtype))
        return super()._decode(latent, *arguments)

    def _checked(self, image: torch.Tensor) -> tuple[torch.Tensor, bool]:
        watermark = getattr(self._pipeline, "watermark", None)
        if watermark is not None:
            image = watermark.apply_watermark(image)
        if getattr(self._pipeline, "safety_checker", None) is None:
            return image, False
        image, flags = self._pipeline.run_safety_checker(image, image.device, image.dtype)
        return image, bool(flags and flags[0])


def _unshared(pipeline: Any) -> Any:
    """An autoencoder that the pipeline does not change while it decodes here.

    XL's overflows in float16. Its pipelines turn their own to float32 and back in each call that
    encodes an image, in whichever half, and to float32 where they decode in float16.
    """
    vae = pipeline.vae
    turned = vae.config.force_upcast and getattr(pipeline, "text_encoder_2", None) is not None
    if not turned or vae.dtype == torch.float32:
        return vae
    own = copy.deepcopy(vae)
    return own.float() if vae.dtype == torch.float16 else own


def _new_stream(device: torch.device) -> object:
    """A stream beside the engine's, so that decoding and stepping overlap; None on the CPU."""
    return cuda.Stream(device) if device.type == "cuda" else None


def _on(stream: object) -> AbstractContextManager[object]:
    return nullcontext() if stream is None else cuda.stream(stream)


def _singly(latents: torch.Tensor) -> list[torch.Tensor]:
    return [latents[place : place + 1] for place in range(len(latents))]
