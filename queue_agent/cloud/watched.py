"""Ports whose calls are watched: what each of them came to, whoever made it."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

from queue_agent.cloud.ports import Bucket, Cloud, Queue, Topic
from queue_agent.wire.errors import QueueAgentError, Unavailable

P = TypeVar("P", Queue, Topic, Bucket)

Watch = Callable[[str, Unavailable | None], None]
"""Told after each call: the operation (``"topic.publish"``), and the refusal, if it was one.

An answer that is not the one hoped for (there is no such object, the lease is lost) is none.
"""


def watched(port: P, service: str, watch: Watch) -> P:
    """The same port, of whose calls `watch` is told by the name of the `service`."""
    return cast("P", _Watched(port, service, watch))


class _Watched:
    """Every method of the port that is a coroutine, those included that ports get later."""

    def __init__(self, port: object, service: str, watch: Watch) -> None:
        self._port = port
        self._service = service
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not inspect.iscoroutinefunction(found):
            return found
        method = _telling(found, f"{self._service}.{name}", self._watch)
        setattr(self, name, method)  # not looked up again
        return method


def _telling(
    method: Callable[..., Awaitable[Any]], operation: str, watch: Watch
) -> Callable[..., Awaitable[Any]]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        try:
            answer = await method(*args, **kwargs)
        except Unavailable as error:
            watch(operation, error)
            raise
        except QueueAgentError:
            watch(operation, None)
            raise
        watch(operation, None)
        return answer

    return call


class WatchedCloud(Cloud):
    """A cloud whose ports are all watched."""

    def __init__(self, cloud: Cloud, watch: Watch) -> None:
        self._cloud = cloud
        self._watch = watch

    def queue(self, url: str) -> Queue:
        return watched(self._cloud.queue(url), "queue", self._watch)

    def topic(self, name: str) -> Topic:
        return watched(self._cloud.topic(name), "topic", self._watch)

    def bucket(self, name: str) -> Bucket:
        return watched(self._cloud.bucket(name), "bucket", self._watch)

    async def durability(self, addresses: Sequence[str], *, bucket: str | None = None) -> str:
        return await self._cloud.durability(addresses, bucket=bucket)

    def now(self) -> float:
        return self._cloud.now()

    async def aclose(self) -> None:
        await self._cloud.aclose()
