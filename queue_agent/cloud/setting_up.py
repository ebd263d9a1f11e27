"""Makes what a deployment needs of a cloud, where it is not there yet."""

from dataclasses import replace
from functools import partial

from queue_agent.cloud.addresses import NatsAddress, is_nats, region_of
from queue_agent.cloud.connect import on_nats
from queue_agent.cloud.deployment import Deployment
from queue_agent.cloud.making import Making
from queue_agent.cloud.resources import Resources, Tell
from queue_agent.wire.errors import SettingsError


async def set_up(wanted: Resources, tell: Tell, *, dry: bool, change: bool) -> Deployment | None:
    """Make what is missing, or with `dry` only find it, and `tell` of it, one after the other.

    What is there stays as it is, but with `change`: then it is changed where that is possible.
    Nothing is ever deleted. Returns what clients and agents are told on AWS, where not
    all of it is known before, unless `dry`.

    Raises:
        SettingsError: these cannot be wanted together, or are on two clouds.
        Unavailable: the cloud does not answer, or refuses.
    """
    if is_nats(wanted.queue_url) != is_nats(wanted.notification_topic):
        raise SettingsError("setup makes queue and topics on one cloud: both on NATS, or neither.")
    making = Making(tell, dry=dry, change=change)
    if not is_nats(wanted.queue_url):
        made = await _on_aws(wanted, making)
        return None if dry else made
    await _on_nats(wanted, making)
    if wanted.bucket and not is_nats(wanted.bucket):
        await _bucket_on_aws(wanted.bucket, wanted.region, making)
    return None


async def _on_aws(wanted: Resources, making: Making) -> Deployment:
    from queue_agent.cloud.aws import AwsCloud  # noqa: PLC0415  its SDK is slow to import
    from queue_agent.cloud.aws.setting_up import AwsSetup  # noqa: PLC0415

    addresses = (wanted.job_topic, wanted.queue_url, wanted.notification_topic)
    named = {region for one in addresses if one and (region := region_of(one))}
    if len(named) > 1:
        raise SettingsError(f"Topics and queue are in several regions: {', '.join(sorted(named))}.")
    region = _region(next(iter(named), wanted.region))
    cloud = AwsCloud(region)
    try:
        return await AwsSetup(cloud.client, wanted, making).run(region)
    finally:
        await cloud.aclose()


async def _bucket_on_aws(bucket: str, named: str | None, making: Making) -> None:
    from queue_agent.cloud.aws import AwsCloud  # noqa: PLC0415  its SDK is slow to import
    from queue_agent.cloud.aws.setting_up import make_bucket_alone  # noqa: PLC0415

    region = _region(named)
    cloud = AwsCloud(region)
    try:
        await make_bucket_alone(cloud.client, bucket, region, making)
    finally:
        await cloud.aclose()


def _region(found: str | None) -> str:
    if not found:
        raise SettingsError("QUEUE_AGENT_REGION or AWS_REGION is not set: no address names one.")
    return found


async def _on_nats(wanted: Resources, making: Making) -> None:
    queue = NatsAddress.parse(wanted.queue_url)
    cloud = on_nats(queue.servers)

    from queue_agent.cloud.nats import making as nats  # noqa: PLC0415  an extra
    from queue_agent.cloud.nats.comparing import differences  # noqa: PLC0415

    dead = NatsAddress.parse(wanted.dead_letter_queue_url or dead_letters_of(wanted.queue_url))
    notifications = NatsAddress.parse(wanted.notification_topic).stream
    queues, all_dead = (
        [one, *(replace(one, priority=name) for name in wanted.priorities)] for one in (queue, dead)
    )
    resources = [
        nats.job_stream(
            queue.stream,
            replicas=wanted.replicas,
            most_bytes=wanted.stream_bytes,
            queues=queues,
            fair=queues if wanted.fair else (),
        ),
        nats.job_stream(
            dead.stream,
            replicas=wanted.replicas,
            most_bytes=wanted.stream_bytes,
            queues=all_dead,
        ),
        nats.notification_stream(
            notifications, replicas=wanted.replicas, most_bytes=wanted.stream_bytes
        ),
        *(
            nats.consumer(
                one,
                lease=wanted.lease,
                max_receives=wanted.max_receives,
                dead_letters=dead.stream,
                fair=wanted.fair,
            )
            for one in queues
        ),
        *(nats.turns(one, lease=wanted.lease) for one in queues if wanted.fair),
        *map(nats.consumer, all_dead),
    ]
    if wanted.bucket and is_nats(wanted.bucket):
        name = NatsAddress.parse(wanted.bucket).stream
        resources += nats.bucket(name, replicas=wanted.replicas, most_bytes=wanted.bucket_bytes)
    try:
        found = [(one, await differences(cloud.connection, one)) for one in resources]
        # consumers that are there do not look back for what a stream takes from now on
        for resource, differing in sorted(
            found, key=lambda it: it[1] is None or not it[0].is_consumer
        ):
            if differing is None:
                await making.make(str(resource), partial(nats.make, cloud.connection, resource))
            else:
                await making.adjust(str(resource), differing)
    finally:
        await cloud.aclose()


def dead_letters_of(queue_url: str) -> str:
    """The address of the dead letters of a queue on NATS that names none."""
    rest, _, name = queue_url.rstrip("/").rpartition("/")
    return f"{rest}-dead/{name}"
