"""Where agents and publishers have what was seen of a runtime's jobs: numbered files in the bucket.

The latest counts, which is the first in a listing. Who has something to add makes the next, with
all of it; who finds that another has made that, reads and tries again. So nothing is lost, with no
other means than that an object is created once. Former ones are removed.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from pydantic import ValidationError

from queue_agent.cloud import Bucket
from queue_agent.estimates.runs import LARGEST, SeenRuns
from queue_agent.wire.errors import ObjectExists, ObjectNotFound, QueueAgentError, Unavailable
from queue_agent.wire.layout import number_of_seen_runs, seen_runs_folder, seen_runs_key

_TRIES: Final = 8
_LOOKED_AT: Final = 10
_KEPT: Final = 1
"""Former files that stay, for those who are just about to read one."""


async def read_seen(bucket: Bucket, runtime: str) -> SeenRuns:
    """What all agents of a runtime of that name know; nothing where none has told.

    Raises:
        Unavailable: the bucket refuses or does not answer.
    """
    return (await _latest(bucket, runtime))[1]


async def add_seen(bucket: Bucket, runtime: str, added: Callable[[SeenRuns], SeenRuns]) -> SeenRuns:
    """Write what is known with what is added to it; that.

    Raises:
        Unavailable: the bucket refuses or does not answer, or others were faster each time.
    """
    for _ in range(_TRIES):
        keys, known = await _latest(bucket, runtime)
        number = number_of_seen_runs(keys[0]) + 1 if keys else 1
        whole = added(known)
        try:
            await bucket.write(
                seen_runs_key(runtime, number),
                whole.to_json(),
                media_type="application/json",
                create_only=True,
            )
        except ObjectExists:
            continue
        for key in keys[_KEPT:]:
            with suppress(QueueAgentError):  # the next one tries again
                await bucket.delete(key)
        return whole
    raise Unavailable("Other agents wrote what they have seen each time.", type="too_many_writers")


async def _latest(bucket: Bucket, runtime: str) -> tuple[list[str], SeenRuns]:
    """The files there are, and what the latest of them that can be read says."""
    for _ in range(_TRIES):
        keys = list(await bucket.keys(seen_runs_folder(runtime), limit=_LOOKED_AT))
        if not keys:
            return [], SeenRuns()
        try:
            return keys, SeenRuns.model_validate_json(await bucket.read(keys[0], limit=LARGEST))
        except ObjectNotFound:
            continue  # it was removed just now, since there are newer ones
        except (ValidationError, QueueAgentError) as error:
            if isinstance(error, Unavailable):
                raise
            return keys, SeenRuns()
    raise Unavailable("What was seen of runs changes all the time.", type="too_many_writers")
