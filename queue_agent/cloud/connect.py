"""The provider that a process's settings name."""

from collections.abc import Callable

from queue_agent.cloud.addresses import region_of
from queue_agent.cloud.ports import Cloud
from queue_agent.wire.errors import SettingsError


def connect(
    *addresses: str | None, region: str | None = None, batching: Callable[[], bool] | None = None
) -> Cloud:
    """The cloud that the topics and queues with these addresses belong to; contacts nobody.

    Each is asked for in the region that its address names; those that name none, and buckets,
    in `region`, or without it in the first that an address names. `batching` is asked before each
    call that could share a request with others: whether it may wait for them a moment. Without
    it none does.

    Raises:
        SettingsError: nothing names a region.
    """
    from queue_agent.cloud.aws import AwsCloud  # noqa: PLC0415  its SDK is slow to import

    named = (region_of(address) for address in addresses if address)
    region = region or next(filter(None, named), None)
    if not region:
        raise SettingsError("QUEUE_AGENT_REGION or AWS_REGION is not set: no topic names one.")
    return AwsCloud(region, batching=batching)
