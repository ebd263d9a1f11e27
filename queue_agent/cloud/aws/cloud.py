"""A client for each of the services, shared by all ports.

Credentials come from the SDK's own chain (environment, web identity, pod identity, instance
role, …) and are refreshed without blocking the event loop.
"""

import asyncio
import os
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
from queue_agent.cloud.aws.credentials import life_of
from queue_agent.cloud.aws.dates import Dates
from queue_agent.cloud.aws.errors import translated
from queue_agent.cloud.aws.handlers import leave_out_idle_steps, send_small_bodies_at_once
from queue_agent.cloud.aws.left_subscriptions import (
    left_queues,
    left_subscriptions,
    remove_queue,
    remove_subscription,
)
from queue_agent.cloud.aws.s3 import S3Bucket
from queue_agent.cloud.aws.signing import sign_at_less_cost
from queue_agent.cloud.aws.sns import SnsTopic
from queue_agent.cloud.aws.sqs import SqsQueue
from queue_agent.cloud.aws.stores import StoreFacts

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
        self._dates = Dates()
        self._stores = StoreFacts(self._credentials_life)

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
        return S3Bucket(partial(self.client, "s3"), name, self._stores)

    def now(self) -> float:
        return self._dates.now()

    async def left_listeners(self, *, age: float) -> list[str]:
        sqs, sns = await self.client("sqs"), await self.client("sns")
        queues = await left_queues(sqs, now=self.now, age=age)
        return [*queues, *await left_subscriptions(sqs, sns)]

    async def remove_listener(self, name: str) -> None:
        sqs, sns = await self.client("sqs"), await self.client("sns")
        if name.startswith("arn:"):
            await remove_subscription(sns, name)
        else:
            await remove_queue(sqs, sns, name)

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
        options: Mapping[str, Any] = {}
        if service == "s3" and ".amazonaws." not in (url := await self._endpoint(service, region)):
            options = _for_other_servers(self._session, url)
        client = await self._stack.enter_async_context(self._context(service, region, options))
        sign_at_less_cost(client)
        leave_out_idle_steps(client)
        self._dates.watch(client, service)
        if service == "s3":
            self._stores.watch(client)
            send_small_bodies_at_once(client)
        return client

    async def _endpoint(self, service: str, region: str) -> str:
        """Where the SDK finds the service, by environment, configuration files or its rules."""
        async with self._context(service, region, {}) as client:
            return str(client.meta.endpoint_url)

    def _context(self, service: str, region: str, options: Mapping[str, Any]) -> Any:
        config = _config(service).merge(AioConfig(**options))
        return self._session.create_client(service, region, config=config, **self._options)

    async def _credentials_life(self) -> float | None:
        if "aws_access_key_id" in self._options:
            return None
        with translated("find credentials"):
            return await life_of(await self._session.get_credentials())


def _config(service: str) -> AioConfig:
    return AioConfig(
        user_agent=_USER_AGENT,
        signature_version="s3v4" if service == "s3" else None,  # also for presigned links
        connect_timeout=5,
        read_timeout=_LONGEST_POLL + 10 if service == "sqs" else 30,
        max_pool_connections=50,
        parameter_validation=False,  # the types that the ports take, and names that were read
        # a publication that may have arrived is repeated by those who can mark it
        retries={"mode": "standard", "total_max_attempts": 1 if service == "sns" else 3},
    )


def _for_other_servers(session: AioSession, url: str) -> dict[str, Any]:
    """What stores other than S3 want, unless the SDK's environment or configuration says so.

    Few answer to BUCKET.HOST, and one to nothing else:
    https://help.aliyun.com/en/oss/developer-reference/use-aws-sdks-to-access-oss. Some refuse
    the checksums that the SDK adds since 2025:
    https://docs.aws.amazon.com/sdkref/latest/guide/feature-dataintegrity.html
    """
    written = session.get_scoped_config()
    options: dict[str, Any] = {
        name: "when_required"
        for name in ("request_checksum_calculation", "response_checksum_validation")
        if name not in written and f"AWS_{name.upper()}" not in os.environ
    }
    if "addressing_style" not in written.get("s3", {}):
        style = "virtual" if url.endswith(".aliyuncs.com") else "path"
        options["s3"] = {"addressing_style": style}
    return options
