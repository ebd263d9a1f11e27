"""The provider that a process's settings name, or both."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from queue_agent.cloud.addresses import NatsAddress, is_nats, region_of
from queue_agent.cloud.ports import Bucket, Cloud, Queue, Topic
from queue_agent.wire.errors import SettingsError

if TYPE_CHECKING:
    from queue_agent.cloud.nats import NatsCloud


def connect(
    *addresses: str | None,
    bucket: str | None = None,
    region: str | None = None,
    batching: Callable[[], bool] | None = None,
) -> Cloud:
    """The cloud that the topics and queues with these addresses belong to; contacts nobody.

    Their schemes say whether that is AWS or NATS; where queues and topics are on NATS, the
    `bucket` may lie on either. On AWS each is asked for in the region that its address names;
    those that name none, and buckets, in `region`, or without it in the first that an address
    names. `batching` is asked before each call to AWS that could share a request with others:
    whether it may wait for them a moment. Without it none does.

    Raises:
        SettingsError: nothing names a region, or what a provider needs is not installed.
    """
    given = [address for address in (*addresses, bucket) if address]
    servers = [NatsAddress.parse(address).servers for address in given if is_nats(address)]
    on_aws = [address for address in given if not is_nats(address)]
    if not servers:
        return _aws(on_aws, region, batching)
    named = {frozenset(several): ", ".join(several) for several in servers}
    if len(named) > 1:
        raise SettingsError(
            "Queues, topics and bucket name different servers of NATS, and must name the same: "
            f"{'; '.join(named.values())}."
        )
    nats = on_nats(servers[0])
    return _BothClouds(nats, _aws(on_aws, region, batching), bucket) if on_aws else nats


def _aws(
    addresses: Sequence[str], region: str | None, batching: Callable[[], bool] | None
) -> Cloud:
    from queue_agent.cloud.aws import AwsCloud  # noqa: PLC0415  its SDK is slow to import

    region = region or next(filter(None, map(region_of, addresses)), None)
    if not region:
        raise SettingsError("QUEUE_AGENT_REGION or AWS_REGION is not set: no topic names one.")
    return AwsCloud(region, batching=batching)


def on_nats(servers: Sequence[str]) -> "NatsCloud":
    """The cloud of these servers.

    Raises:
        SettingsError: the extra is not installed, or credentials cannot be used.
    """
    try:
        from queue_agent.cloud.nats import NatsCloud  # noqa: PLC0415  an extra
    except ModuleNotFoundError as error:
        raise SettingsError(
            "Addresses of NATS need the extra nats: pip install 'sd-queue-agent[nats]' "
            f"({error.name} is missing)."
        ) from error
    return NatsCloud(servers)


class _BothClouds(Cloud):
    """Queues and topics by the schemes of their addresses; bare buckets where the process's is."""

    def __init__(self, nats: Cloud, aws: Cloud, bucket: str | None) -> None:
        self._nats = nats
        self._aws = aws
        self._bucket = bucket

    def queue(self, url: str) -> Queue:
        return self._of(url).queue(url)

    def topic(self, name: str) -> Topic:
        return self._of(name).topic(name)

    def bucket(self, name: str) -> Bucket:
        return self._of(self._bucket or name).bucket(name)

    def now(self) -> float:
        return self._aws.now()

    async def durability(self, addresses: Sequence[str], *, bucket: str | None = None) -> str:
        named = self._bucket or bucket
        return await self._nats.durability(
            [address for address in addresses if is_nats(address)],
            bucket=bucket if named and is_nats(named) else None,
        )

    async def left_listeners(self, *, age: float) -> Sequence[str]:
        return await self._aws.left_listeners(age=age)

    async def remove_listener(self, name: str) -> None:
        await self._aws.remove_listener(name)

    async def aclose(self) -> None:
        await self._nats.aclose()
        await self._aws.aclose()

    def _of(self, address: str) -> Cloud:
        return self._nats if is_nats(address) else self._aws
