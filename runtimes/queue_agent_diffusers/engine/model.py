"""What the engine needs of a model; it knows no more of torch than this.

Every image of a request is a `Sample`. The engine starts samples, advances those of one batch
together by `Model.predict`, and hands the finished ones of a job to `Model.finish`.
"""

from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from PIL import Image

from queue_agent.wire.quality import Quality
from queue_agent_diffusers.engine.requests import ImageRequest, Pictures

OnStep = Callable[[int, int], None]
"""Told after each step how many are done, of how many; may raise to stop the work."""


class Sample(Protocol):
    """One image on its way, or all of an unbatched call; used in the engine's thread only."""

    rows: int
    """How many rows it takes in a forward pass: two with guidance, else one."""
    step: int
    steps: int | None
    """None until it is started."""
    done: bool
    skipped_by: Quality | None
    """By which its last step was answered without all of a pass, from earlier steps' answers."""

    def start(self) -> None:
        """Do what comes before the first step: encode, make noise."""

    def stop(self) -> None:
        """Let go of everything; harmless at any time."""

    def preview(self) -> Callable[[], Image.Image] | None:
        """What draws the image as it stands, small, in any thread; None where nothing can."""


S = TypeVar("S", bound=Sample)


class ModelOf(Protocol[S]):
    """A loaded model, with samples of its own kind."""

    max_batch: int
    """How many guided images of the natural size share a step."""
    memory: int
    """Bytes of its weights."""
    turn: int
    """How many steps a batch takes at a time while others wait."""
    takes_samplers: bool
    """Whether requests may name a scheduler."""
    takes_loras: bool

    @property
    def control_nets(self) -> Collection[str]:
        """Names of those that requests may use."""

    @property
    def ip_adapters(self) -> Collection[str]:
        """Names of those that requests may use."""

    def check(self, request: ImageRequest) -> None:
        """Raise `InvalidRequest` for what this model can never do; does no work. Any thread."""

    def batch_key(self, request: ImageRequest) -> Hashable:
        """Requests of equal keys may share steps. Any thread."""

    def max_rows(self, request: ImageRequest) -> int:
        """How many rows of such requests may share a step."""

    def begin(self, request: ImageRequest, on_step: OnStep) -> Sequence[S]:
        """The request's samples, not started; `on_step` is for those that step by themselves."""

    def predict(self, samples: Sequence[S]) -> Sequence[Callable[[], None]]:
        """Do the common part of a step; what then moves each sample on by one.

        Whatever it raises, `OutOfMemory` above all, no sample was changed.
        """

    def finish(self, request: ImageRequest, samples: Sequence[S]) -> Callable[[], Pictures]:
        """What makes the pictures of a job's finished samples, in any one other thread."""

    def close(self) -> None:
        """Free its memory; it is not used afterwards."""


@runtime_checkable
class Resumable(Protocol):
    """What a model can do beside, whose samples can go on where others ended."""

    checkpoint_limit: int
    """Bytes that are kept of each sample, of its first steps; 0 for none."""

    def checkpoint(
        self, request: ImageRequest, samples: Sequence[Any], limit: int
    ) -> Callable[[], bytes | None]:
        """What makes a checkpoint of a request's samples, started or not, in any one other thread.

        Of what is there when this is called, from any thread, as much as `limit` bytes hold. It
        makes None where that is nothing.
        """

    def restore(self, request: ImageRequest, samples: Sequence[Any], checkpoint: bytes) -> None:
        """Have samples that were not started go on from a checkpoint, once they are.

        Raises:
            CheckpointUnusable: it is of something else, or damaged; the samples are as before.
        """


Model = ModelOf[Any]
"""Any model; who is handed samples hands back those of the same model."""


class Observer:
    """Told what the engine does, in the threads that do it; does nothing unless overridden."""

    def stepped(self, images: int, rows: int, seconds: float) -> None:
        """One forward pass advanced so many images, in so many rows."""

    def skipped(self, quality: Quality, rows: int) -> None:
        """So many rows of a step were answered by what jobs of that quality keep."""

    def finished(self, state: str, images: int, videos: int, seconds: float) -> None:
        """A job for so many of them ended in that state, so long after it came."""

    def loaded(self, model: str, seconds: float, size: int) -> None:
        """A model was loaded, with weights of so many bytes."""

    def unloaded(self, model: str) -> None:
        """A model was let go."""

    def resumed(self, steps: int) -> None:
        """An image goes on after so many steps, which another engine took."""

    def checkpoint_ignored(self) -> None:
        """A job's checkpoint could not be used, so that it begins anew."""

    def checkpointed(self, size: int) -> None:
        """A checkpoint of so many bytes was handed out."""

    def halved(self) -> None:
        """The device's memory did not hold a batch."""
