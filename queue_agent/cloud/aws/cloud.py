"""A client for each of the services, shared by all ports.

Credentials come from the SDK's own chain (environment, web identity, pod identity, instance
role, …) and are refreshed without blocking the event loop.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final

import botocore
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session

from queue_agent import __version__
from queue_agent.cloud import Cloud
from queue_agent.cloud.aws.addresses import region_of
from queue_agent.cloud.aws.batching import BatchingQueue, BatchingTopic
from queue_agent.cloud.aws.dates import Dates
from queue_agent.cloud.aws.errors import translated
from queue_agent.cloud.aws.handlers import send_small_bodies_at_once
from queue_agent.cloud.aws.regions import BucketRegions
from queue_agent.cloud.aws.s3 import S3Bucket
from queue_agent.cloud.aws.signing import sign_at_less_cost
from queue_agent.cloud.aws.sns import SnsTopic
from queue_agent.cloud.aws.sqs import SqsQueue

_LONGEST_POLL: Final = 20.0
_USER_AGENT: Final = f"sd-queue-agent/{__version__} Botocore/{botocore.__version__}"
"""Given whole: the SDK would put its own together for every request."""


class AwsCloud(Cloud):
    """One client per service and region, made on first use and shared by all ports.

    Queues and topics are asked for in the region that their addresses name, all else in the
    region given. The SDK finds by itself where a bucket is.
    """

    def __init__(
        self, region: str, *, batching: Callable[[], bool] | None = None, **options: str
    ) -> None:
        """`options` go to the SDK's clients; what is not given it finds in the environment.

        `batching` is asked before each call that could share a request with others: whether
        it may wait for them a moment; calls that come close together wait in any case.
        Without it none does.
        """
        self._batching = batching
        self._region = region
        self._options = options
        self._session: AioSession = get_session()
        self._stack = AsyncExitStack()
        self._clients: dict[tuple[str, str], Any] = {}
        self._creating = asyncio.Lock()
        self._bucket_regions = BucketRegions()
        self._dates = Dates()

    def queue(self, url: str) -> SqsQueue:
        client = partial(self.client, "sqs", region_of(url))
        if self._batching:
            return BatchingQueue(client, url, self._batching)
        return SqsQueue(client, url)

    def topic(self, name: str) -> SnsTopic:
        client = partial(self.client, region=region_of(name))
        if self._batching:
            return BatchingTopic(client, name, self._batching)
        return SnsTopic(client, name)

    def bucket(self, name: str) -> S3Bucket:
        return S3Bucket(partial(self.client, "s3"), name, self._bucket_regions)

    def now(self) -> float:
        return self._dates.now()

    async def aclose(self) -> None:
        self._clients.clear()
        await self._stack.aclose()

    async def client(self, service: str, region: str | None = None) -> Any:
        """The process's client for ``"sqs"``, ``"sns"`` or ``"s3"``; in the cloud's own region
        unless one is given.

        Raises:
            Unavailable: it cannot be made now; credentials, for one, may come from a server.
        """
        key = service, region or self._region
        if key not in self._clients:
            async with self._creating:
                if key not in self._clients:
                    with translated(f"make a client for {service}"):
                        self._clients[key] = await self._create(*key)
        return self._clients[key]

    async def _create(self, service: str, region: str) -> Any:
        # other servers rarely answer to BUCKET.HOST
        by_path = service == "s3" and ".amazonaws." not in await self._endpoint(service, region)
        client = await self._stack.enter_async_context(
            self._context(service, region, {"addressing_style": "path"} if by_path else {})
        )
        sign_at_less_cost(client)
        self._dates.watch(client, service)
        if service == "s3":
            self._bucket_regions.watch(client)
            send_small_bodies_at_once(client)
        return client

    async def _endpoint(self, service: str, region: str) -> str:
        """Where the SDK finds the service, by environment, configuration files or its rules."""
        async with self._context(service, region, {}) as client:
            return str(client.meta.endpoint_url)

    def _context(self, service: str, region: str, s3: Mapping[str, str]) -> Any:
        return self._session.create_client(
            service, region, config=_config(service, s3), **self._options
        )


def _config(service: str, s3: Mapping[str, str]) -> AioConfig:
    return AioConfig(
        user_agent=_USER_AGENT,
        signature_version="s3v4" if service == "s3" else None,  # also for presigned links
        connect_timeout=5,
        read_timeout=_LONGEST_POLL + 10 if service == "sqs" else 30,
        max_pool_connections=50,
        # a publication that may have arrived is repeated by those who can mark it
        retries={"mode": "standard", "total_max_attempts": 1 if service == "sns" else 3},
        s3=dict(s3) or None,
    )
