"""What a bucket does not do that the rest of the package stands on, in words for operators."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from queue_agent.cloud.ports import Bucket, Cloud
from queue_agent.wire.errors import QueueAgentError

log = structlog.get_logger()

CREATES: Final = (
    "The store takes several creates of one key. It is looked before each, yet of two at the same "
    "moment both may win: a job that two agents end then is told twice, and the later images "
    "stand; quotas of the gateway are not exact."
)
_PAUSES: Final = (1.0, 5.0, 30.0, 300.0)
"""Seconds until what could not be tried out is tried again."""
_SHORTEST_LINK: Final = 900
"""Seconds that the SDK's credentials still last when it gets new ones."""


async def of_creates(bucket: Bucket, key: str) -> str | None:
    """What it means that not exactly one create wins; None where one does.

    Raises:
        Unavailable: it could not be tried out.
    """
    return None if await bucket.creates_once(key) else CREATES


async def of_links(bucket: Bucket, seconds: float) -> str | None:
    """What ends links now sooner than after so long; None where nothing does.

    Raises:
        Unavailable: credentials cannot be had.
    """
    if not seconds or (longest := await bucket.longest_link()) is None or longest >= seconds:
        return None
    if not longest:
        return "Links are wanted, and the store has none: fetch images from a gateway instead."
    return (
        f"Links are to work for {seconds:g} s, and end with the credentials of a role that sign "
        f"them: now in {longest:.0f} s at most. For longer ones give a user's keys."
    )


async def of_renewals(bucket: Bucket, seconds: float) -> str | None:
    """What may end links sooner than after so long, now and then; raises like `of_links`."""
    if seconds <= _SHORTEST_LINK or await bucket.longest_link() is None:
        return None
    return (
        "Links end with the credentials of a role that sign them: before "
        f"{seconds:g} s are over where these are soon renewed."
    )


async def warn(bucket: Bucket, key: str, *, links: float) -> None:
    """Try the bucket out, and log what it does not do; never raises.

    Refusals are heard where the `bucket` is watched.

    `key` is one that nobody uses, `links` for how many seconds links are to work.
    """
    for trial in (lambda: of_creates(bucket, key), lambda: of_links(bucket, links)):
        if (reason := await _tried(trial)) is not None:
            log.warning("store falls short", bucket=bucket.name, reason=reason)


async def warn_of_losses(cloud: Cloud, addresses: Sequence[str], bucket: str) -> None:
    """Log what the cloud may lose of what it has acknowledged; never raises."""
    if reason := await _tried(lambda: cloud.durability(addresses, bucket=bucket)):
        log.warning("cloud may lose messages", reason=reason)


async def _tried(trial: Callable[[], Awaitable[str | None]]) -> str | None:
    for pause in (*_PAUSES, None):
        try:
            return await trial()
        except QueueAgentError as error:
            log.debug("store not tried out", reason=error.message)
        if pause is not None:
            await asyncio.sleep(pause)
    return None
