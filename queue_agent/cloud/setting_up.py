"""Makes what a deployment needs of a cloud, where it is not there yet."""

from queue_agent.cloud.addresses import NatsAddress, is_nats, region_of
from queue_agent.cloud.connect import on_nats
from queue_agent.cloud.deployment import Deployment
from queue_agent.cloud.resources import Resources, SetupStep, Tell
from queue_agent.wire.errors import SettingsError


async def set_up(wanted: Resources, tell: Tell, *, dry: bool, change: bool) -> Deployment | None:
    """Make what is missing, or with `dry` only find it, and `tell` of it, one after the other.

    What is there stays as it is, but on AWS with `change`: then it is changed where that is
    possible. Nothing is ever deleted. Returns what clients and agents are told on AWS, where not
    all of it is known before, unless `dry`.

    Raises:
        SettingsError: these cannot be wanted together, or are on two clouds.
        Unavailable: the cloud does not answer, or refuses.
    """
    if is_nats(wanted.queue_url) != is_nats(wanted.notification_topic):
        raise SettingsError("setup makes queue and topics on one cloud: both on NATS, or neither.")
    if not is_nats(wanted.queue_url):
        return await _on_aws(wanted, tell, dry=dry, change=change)
    await _on_nats(wanted, tell, dry=dry)
    return None


async def _on_aws(wanted: Resources, tell: Tell, *, dry: bool, change: bool) -> Deployment | None:
    from queue_agent.cloud.aws import AwsCloud  # noqa: PLC0415  its SDK is slow to import
    from queue_agent.cloud.aws.making import Making  # noqa: PLC0415
    from queue_agent.cloud.aws.setting_up import AwsSetup  # noqa: PLC0415

    addresses = (wanted.job_topic, wanted.queue_url, wanted.notification_topic)
    named = {region for one in addresses if one and (region := region_of(one))}
    if len(named) > 1:
        raise SettingsError(f"Topics and queue are in several regions: {', '.join(sorted(named))}.")
    region = next(iter(named), wanted.region)
    if not region:
        raise SettingsError("QUEUE_AGENT_REGION or AWS_REGION is not set: no address names one.")
    cloud = AwsCloud(region)
    try:
        setup = AwsSetup(cloud.client, wanted, Making(tell, dry=dry, change=change))
        made = await setup.run(region)
    finally:
        await cloud.aclose()
    return None if dry else made


async def _on_nats(wanted: Resources, tell: Tell, *, dry: bool) -> None:
    from queue_agent.cloud.nats import making  # noqa: PLC0415  an extra

    queue = NatsAddress.parse(wanted.queue_url)
    dead = NatsAddress.parse(wanted.dead_letter_queue_url or dead_letters_of(wanted.queue_url))
    notifications = NatsAddress.parse(wanted.notification_topic).stream
    resources = [
        making.job_stream(queue.stream, replicas=wanted.replicas),
        making.job_stream(dead.stream, replicas=wanted.replicas),
        making.notification_stream(notifications, replicas=wanted.replicas),
        making.consumer(
            queue, lease=wanted.lease, max_receives=wanted.max_receives, dead_letters=dead.stream
        ),
        making.consumer(dead),
    ]
    if is_nats(wanted.bucket):
        name = NatsAddress.parse(wanted.bucket).stream
        resources += making.bucket(name, replicas=wanted.replicas)
    cloud = on_nats(queue.servers)
    try:
        for resource in await making.lacking(cloud.connection, resources):
            if not dry:
                await making.make(cloud.connection, resource)
            tell(SetupStep(str(resource), "made"))
    finally:
        await cloud.aclose()


def dead_letters_of(queue_url: str) -> str:
    """The address of the dead letters of a queue on NATS that names none."""
    rest, _, name = queue_url.rstrip("/").rpartition("/")
    return f"{rest}-dead/{name}"
