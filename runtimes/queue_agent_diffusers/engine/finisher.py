"""What is made of samples beside the step loop: previews on the way, pictures at the end.

And checkpoints, in a thread of their own: who asks for one must end, and pictures take long.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from PIL import Image

from queue_agent_diffusers.engine.batch_scheduler import Member
from queue_agent_diffusers.engine.job_edge import JobEdge
from queue_agent_diffusers.engine.jobs import EngineJob, Preview
from queue_agent_diffusers.engine.model import Model, Observer
from queue_agent_diffusers.engine.requests import Pictures
from queue_agent_diffusers.errors import GenerationFailed

_log = logging.getLogger(__name__)


class Finisher:
    """Two more threads; all methods but `serialize` are for the engine's own."""

    def __init__(
        self, edge: JobEdge, observer: Observer, hand_in: Callable[[Callable[[], None]], None]
    ) -> None:
        """`hand_in` has something done in the engine's thread."""
        self._observer = observer
        self._edge = edge
        self._hand_in = hand_in
        self._delivering: Counter[Model] = Counter()
        self._thread = ThreadPoolExecutor(1, "finisher")
        self._writer = ThreadPoolExecutor(1, "checkpoints")

    def deliver(self, job: EngineJob, model: Model, make: Callable[[], Pictures]) -> None:
        """Have a job's pictures made and handed out."""
        self._delivering[model] += 1
        self._thread.submit(self._deliver, job, model, make)

    def uses(self, model: Model) -> bool:
        """Whether pictures are made by this model."""
        return self._delivering[model] > 0

    @property
    def idle(self) -> bool:
        """Whether no pictures are made."""
        return not any(self._delivering.values())

    def wait(self) -> None:
        """Until the pictures that are to be made by now are; `idle` is so in the next turn."""
        self._thread.submit(lambda: None).result()

    def show(self, member: Member) -> None:
        """Have a preview drawn where one is due."""
        wanted, sample = member.job.request.previews, member.sample
        if not sample.steps or sample.done:
            return
        if member.number == 0 and member.job.wants_look(time.monotonic()):
            look = sample.preview()
            if look is not None:
                self._thread.submit(self._keep_preview, member.job, look)
        if not wanted:
            return
        due = [sample.steps * (number + 1) // (wanted + 1) for number in range(wanted)]
        draw = sample.preview() if sample.step in due else None
        if draw is not None:
            number = due.index(sample.step)
            self._thread.submit(self._deliver_preview, member, number, draw)

    def serialize(self, make: Callable[[], bytes | None], made: "Future[bytes | None]") -> None:
        """Have bytes made; what goes wrong is for who asked, and no job's fault. Any thread."""
        self._writer.submit(self._serialize, make, made)

    def close(self, *, wait: bool) -> None:
        """End the threads, once they have done what they were given."""
        self._writer.shutdown(wait=wait)
        self._thread.shutdown(wait=wait)

    def _serialize(self, make: Callable[[], bytes | None], made: "Future[bytes | None]") -> None:
        try:
            data = make()
        except Exception as error:
            _log.exception("no checkpoint was made")
            made.set_exception(GenerationFailed(f"{type(error).__name__}: {error}"))
        else:
            if data is not None:
                self._observer.checkpointed(len(data))
            made.set_result(data)

    def _deliver(self, job: EngineJob, model: Model, make: Callable[[], Pictures]) -> None:
        with self._edge.answering(job):
            try:
                pictures = _made(job, make)
            finally:  # before others hear of the end, and ask for more
                self._hand_in(lambda: self._note_end(model))
            job.finish(pictures)

    def _note_end(self, model: Model) -> None:
        self._delivering[model] -= 1

    def _deliver_preview(
        self, member: Member, number: int, draw: Callable[[], Image.Image]
    ) -> None:
        with self._edge.answering(member.job):
            member.job.tell(Preview(member.number, number, draw()))

    def _keep_preview(self, job: EngineJob, draw: Callable[[], Image.Image]) -> None:
        with self._edge.answering(job):
            job.keep(draw())


def _made(job: EngineJob, make: Callable[[], Pictures]) -> Pictures:
    """Decoding may take as long as steps do, and nobody may want it any more."""
    if job.unwanted:
        raise job.stopped()
    return make()
