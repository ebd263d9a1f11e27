"""`queue-agent runtimes --bucket`: what the agents of runtimes say that these have."""

from collections.abc import AsyncIterator, Iterator
from typing import Final

from pydantic import ValidationError

from queue_agent.cloud import Bucket
from queue_agent.cloud.connect import connect
from queue_agent.settings.client import ClientSettings
from queue_agent.settings.shared import BUCKET
from queue_agent.wire.layout import OFFERS, is_offer
from queue_agent.wire.offer import LARGEST, Capabilities, Offer

_SHOWN: Final = 20
"""Names of a list."""


async def offer_lines(name: str) -> list[str]:
    """Some lines for each runtime that agents have told of in the bucket of that name.

    Raises:
        QueueAgentError: it cannot be read.
    """
    settings = ClientSettings.load(given={BUCKET.names[0]: name})
    cloud = connect(
        settings.job_topic,
        settings.notification_topic,
        bucket=settings.bucket,
        region=settings.region,
    )
    try:
        bucket = cloud.bucket(settings.bucket or name)
        return [line async for offer in offers_in(bucket) for line in lines_of(offer)]
    finally:
        await cloud.aclose()


async def offers_in(bucket: Bucket) -> AsyncIterator[Offer]:
    """All that can be read."""
    last = ""
    while keys := await bucket.keys(OFFERS, after=last):
        for key in filter(is_offer, keys):
            try:
                yield Offer.model_validate_json(await bucket.read(key, limit=LARGEST))
            except ValidationError:
                continue
        last = keys[-1]


def lines_of(offer: Offer) -> Iterator[str]:
    """For people: names only, and not too many of them."""
    version = f" {offer.version}" if offer.version else ""
    adapter = offer.adapter or "unknown"
    yield f"{offer.runtime} ({adapter}{version}): {', '.join(offer.task_types)}"
    for workflow in offer.workflows:
        yield f"  {workflow}"
    for field in Capabilities.model_fields:
        listed = getattr(offer, field)
        if isinstance(listed, tuple) and listed:
            names = [entry if isinstance(entry, str) else entry.name for entry in listed]
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            yield f"  {field.replace('_', ' ')}: {', '.join(names[:_SHOWN])}{more}"
