"""Pipelines for videos, whose requests share forward passes as those for images do."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch

from queue_agent_diffusers.engine.quality import QualityPolicy
from queue_agent_diffusers.engine.requests import ImageRequest, Pictures
from queue_agent_diffusers.torch import forward
from queue_agent_diffusers.torch.architectures.video import VideoArchitecture
from queue_agent_diffusers.torch.conditioning import Conditioning
from queue_agent_diffusers.torch.lora_cache import LoraCache
from queue_agent_diffusers.torch.memory import memory_watched
from queue_agent_diffusers.torch.step_sample import StepSample
from queue_agent_diffusers.torch.suspended import DecodeCall
from queue_agent_diffusers.torch.transformer import TransformerModel
from queue_agent_diffusers.torch.video_family import VideoFamily
from queue_agent_diffusers.torch.video_file import write_video


class VideoModel(TransformerModel):
    """A pipeline for videos with its siblings."""

    def __init__(
        self,
        pipeline: Any,
        architecture: VideoArchitecture,
        *,
        max_batch: int,
        loras: LoraCache | None = None,
        conditioning: Conditioning | None = None,
        networks: Mapping[str, forward.Network] | None = None,
        buckets: Sequence[int] = (),
        quality: QualityPolicy | None = None,
    ) -> None:
        """`networks` stand for the pipeline's own in forward passes, `buckets` are its rows."""
        self.videos = VideoFamily(pipeline, architecture)
        self._cells = architecture.cells
        natural = self.videos.natural_shape()
        super().__init__(
            pipeline,
            architecture,
            max_batch=max_batch,
            loras=loras,
            conditioning=conditioning,
            networks=networks,
            buckets=buckets,
            family=self.videos,
            quality=quality,
            side=math.isqrt(natural.width * natural.height),
        )

    def batch_key(self, request: ImageRequest) -> Hashable:
        """The same size, the same number of frames and the same LoRAs."""
        shape = self.videos.shape(request)
        return (shape.width, shape.height, shape.frames, request.loras)

    def max_rows(self, request: ImageRequest) -> int:
        """As many as `max_batch` guided videos of the natural shape take, fewer of larger ones."""
        share = self.videos.natural_shape().pixels / self.videos.shape(request).pixels
        return max(2, int(2 * self.max_batch * min(1.0, share)))

    def smallest_request(self) -> ImageRequest:
        """See `BatchedModel.smallest_request`."""
        return self.videos.with_what_it_needs(super().smallest_request())

    def finish(
        self, request: ImageRequest, samples: Sequence[StepSample]
    ) -> Callable[[], Pictures]:
        """What decodes them, one after the other, and encodes their frames as MP4."""
        calls: list[DecodeCall] = [sample.result for sample in samples]
        received = [self.decoder.hand_over(call.latents) for call in calls]
        shape, decoder = self.videos.shape(request), self.decoder
        warnings = self._warnings(request)

        def make() -> Pictures:
            videos = []
            for receive, call in zip(received, calls, strict=True):
                with memory_watched(1, request):
                    frames = decoder.frames(receive, call.arguments)
                videos.append(write_video(frames, shape.fps))
            return Pictures([], tuple(warnings), tuple(videos))

        return make

    def cells(self, sample: StepSample) -> torch.Tensor:
        """The latents of a sample that has taken a step, of which the middle frame is drawn."""
        if sample.latents is None:
            raise RuntimeError("a sample that has taken no step has no latents")
        shape = self.videos.shape(sample.request)
        pipeline = self.videos.choose(sample.request)
        return self._cells(pipeline, sample.latents, shape.width, shape.height, shape.frames)

    def close(self) -> None:
        """Free the weights' memory."""
        del self.videos
        super().close()

    def tensor(self, sample: StepSample) -> torch.Tensor:
        """The frames of a finished sample before they are quantised, from 0 to 1."""
        return self.decoder.frame_tensors(sample.result)
