"""What was done of a job, on its way out: between two steps, unless that takes too long."""

import threading
from collections.abc import Callable
from concurrent.futures import Future

from queue_agent_diffusers.engine.jobs import EngineJob
from queue_agent_diffusers.engine.model import Resumable

Serialize = Callable[[Callable[[], bytes | None], "Future[bytes | None]"], None]


class HandingOut(Future["bytes | None"]):
    """Becomes a job's checkpoint; None where nothing was done that could be taken up."""

    def __init__(self, job: EngineJob, serialize: Serialize, *, stop: bool, limit: int) -> None:
        """`serialize` has bytes made in another thread; with `stop` the job ends at that step."""
        super().__init__()
        self.set_running_or_notify_cancel()  # who asked may go; who makes it does not look
        self.job = job
        self._serialize = serialize
        self._stop = stop
        self._limit = limit
        self._begun = threading.Lock()

    def now(self) -> None:
        """Take what is there, once, in any thread.

        In the engine's that is between two steps, and all of the work. In another it is without
        the step under way: a step may take longer than the one who asks has.
        """
        if not self._begun.acquire(blocking=False):
            return
        work, make = self.job.work, None
        if work is not None and isinstance(work[0], Resumable) and not self.job.ended:
            make = work[0].checkpoint(self.job.request, work[1], self._limit)
        if self._stop:
            self.job.cancel()
        if make is None:
            self.set_result(None)
        else:
            self._serialize(make, self)
