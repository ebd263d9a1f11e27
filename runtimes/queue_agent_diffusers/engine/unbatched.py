"""Models that share nothing: each request is one call, from its beginning to its end."""

from collections.abc import Callable, Collection, Hashable, Sequence

from PIL import Image

from queue_agent_diffusers.engine.model import OnStep
from queue_agent_diffusers.engine.requests import ImageRequest, Pictures


class UnbatchedCall:
    """All images of a request."""

    rows = 1
    skipped_by = None

    def __init__(self, run: Callable[["UnbatchedCall"], Pictures]) -> None:
        self.step = 0
        self.steps: int | None = None
        self.done = False
        self.pictures: Pictures | None = None
        self._run = run

    def start(self) -> None:
        """`run` does all that there is to do."""

    def run(self) -> None:
        """Do all the work."""
        self.pictures = self._run(self)
        self.step = self.steps = self.steps or 1
        self.done = True

    def stop(self) -> None:
        """The call was unwound by what its step callback raised."""

    def preview(self) -> Callable[[], Image.Image] | None:
        """Steps are not seen from outside."""
        return None


class UnbatchedModel:
    """Makes pictures by one function; subclasses say how."""

    max_batch = 1
    memory = 0
    turn = 1
    takes_samplers = True
    takes_loras = False
    control_nets: Collection[str] = ()
    ip_adapters: Collection[str] = ()

    def check(self, request: ImageRequest) -> None:
        """Raise `InvalidRequest` for what this model can never do."""

    def generate(self, request: ImageRequest, on_step: OnStep) -> Pictures:
        """Make the images; called in the engine's thread only.

        Raises:
            OutOfMemory: they do not fit in the device's memory.
        """
        raise NotImplementedError

    def batch_key(self, request: ImageRequest) -> Hashable:
        """All wait for the one before them."""
        del request
        return "one by one"

    def max_rows(self, request: ImageRequest) -> int:
        """One call at a time."""
        del request
        return 1

    def begin(self, request: ImageRequest, on_step: OnStep) -> Sequence[UnbatchedCall]:
        """One sample for all images."""

        def run(call: UnbatchedCall) -> Pictures:
            def advance(step: int, steps: int) -> None:
                call.step, call.steps = step, steps
                on_step(step, steps)

            return self.generate(request, advance)

        return [UnbatchedCall(run)]

    def predict(self, samples: Sequence[UnbatchedCall]) -> Sequence[Callable[[], None]]:
        """Nothing is common to two calls."""
        return [sample.run for sample in samples]

    def finish(
        self, request: ImageRequest, samples: Sequence[UnbatchedCall]
    ) -> Callable[[], Pictures]:
        """The call made the pictures already."""
        del request
        [pictures] = [sample.pictures for sample in samples]
        if pictures is None:
            raise RuntimeError("the call has not ended")
        return lambda: pictures

    def close(self) -> None:
        """Nothing to free."""
