"""The edge at which faults of our own become errors of the tree."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from queue_agent.wire.errors import QueueAgentError, Unavailable

log = structlog.get_logger()


@contextmanager
def no_surprises(*, quietly: bool = False) -> Iterator[None]:
    """The one edge: no fault of ours may end the agent or leave a job unanswered.

    It is logged with its trace, unless `quietly`: where the same was logged a moment ago.
    """
    try:
        yield
    except QueueAgentError:
        raise
    except Exception as error:
        if not quietly:
            log.exception("unexpected error")
        raise Unavailable(
            f"Unexpected {type(error).__name__} in the agent.", type="internal_error"
        ) from error
