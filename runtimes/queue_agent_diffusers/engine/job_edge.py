"""The edge that keeps the engine alive: whatever goes wrong in a job's work is its answer."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from queue_agent.runtime.failures import is_beyond_repair
from queue_agent_diffusers.engine.jobs import EngineJob
from queue_agent_diffusers.errors import DeviceBroken, GenerationFailed, ServerError

_log = logging.getLogger(__name__)


class JobEdge:
    """Hands a job what was raised in its name; any thread."""

    def __init__(self, on_broken: Callable[[str], None]) -> None:
        """`on_broken` is told what the device says that no other job would survive."""
        self.on_broken = on_broken

    @contextmanager
    def answering(
        self, job: EngineJob, *, pass_on: type[Exception] | None = None
    ) -> Iterator[None]:
        """Make what is raised in the block the job's answer, except what is to be passed on."""
        try:
            yield
        except Exception as error:
            if pass_on is not None and isinstance(error, pass_on):
                raise
            if breaks_device(error):
                self.on_broken(str(error))
                error = DeviceBroken(str(error))
            if not isinstance(error, ServerError):
                _log.exception("job %s failed", job.id)
                error = GenerationFailed(f"{type(error).__name__}: {error}")
            job.fail(error)


def breaks_device(error: Exception) -> bool:
    """Whether torch says so; other exceptions may repeat what a job asked for."""
    return isinstance(error, RuntimeError) and is_beyond_repair(str(error))
