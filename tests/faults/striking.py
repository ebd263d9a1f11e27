"""Faults and matchers beside the proxy's own, for events instead of moments."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from nats_proxy import Sent
from queue_agent.testing.fault_proxy import (
    Exchange,
    Fault,
    Matcher,
    Request,
    aws_operation,
    on_path,
)


class Hold(Fault):
    """Keeps requests from the server until they are let go.

    The server never sees those whose client leaves before.
    """

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self._go = asyncio.Event()

    def let_go(self) -> None:
        self._go.set()

    async def strike(self, exchange: Exchange) -> None:
        self.arrived.set()
        leaving = asyncio.create_task(exchange.until_the_client_leaves())
        going = asyncio.create_task(self._go.wait())
        try:
            await asyncio.wait({leaving, going}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            left = leaving.done()
            for task in (leaving, going):
                task.cancel()
            await asyncio.gather(leaving, going, return_exceptions=True)
        if not left:
            await exchange.relay()


class HoldMessages(Fault):
    """Keeps messages that the queue has given out from their receiver until they are let go."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.given = asyncio.Event()
        self._go = asyncio.Event()

    def let_go(self) -> None:
        self._go.set()

    async def strike(self, exchange: Exchange) -> None:
        self.asked.set()
        answer = await exchange.answer()
        if json.loads(answer.partition(b"\r\n\r\n")[2]).get("Messages"):
            self.given.set()
            await self._go.wait()
        await exchange.send(answer)


class DeliverTwice(Fault):
    """Relays `ReceiveMessage`; the first message that comes is in its answer twice."""

    def __init__(self) -> None:
        self._done = False

    async def strike(self, exchange: Exchange) -> None:
        body = (await exchange.answer()).partition(b"\r\n\r\n")[2]
        answer = json.loads(body)
        if messages := answer.get("Messages"):
            answer["Messages"] = messages if self._done else [messages[0], *messages]
            self._done = True
        headers = {"content-type": "application/x-amz-json-1.0"}
        await exchange.send_answer(200, json.dumps(answer).encode(), headers)


def either(*matchers: Matcher) -> Matcher:
    """Matches what any of these matches."""

    def matches(request: Request) -> bool:
        return any(matcher(request) for matcher in matchers)

    return matches


def both(*matchers: Matcher) -> Matcher:
    """Matches what all of these match."""

    def matches(request: Request) -> bool:
        return all(matcher(request) for matcher in matchers)

    return matches


def naming(text: str) -> Matcher:
    """Matches requests that hold this text in their body, e.g. the id of a job."""
    wanted = text.encode()
    return lambda request: wanted in request.body


def _operation(name: str) -> Matcher:
    """Matches an operation on one message or on several."""
    return either(aws_operation(name), aws_operation(f"{name}Batch"))


def _on_nats(wanted: Callable[[Sent], bool], elsewhere: Matcher) -> Matcher:
    """Matches a message to NATS, or a request to AWS, for the same purpose."""

    def matches(request: Any) -> bool:
        return wanted(request) if isinstance(request, Sent) else elsewhere(request)

    return matches


def _of_store(sent: Sent) -> bool:
    return sent.subject.startswith(("$KV.", "$O.")) or ".KV_" in sent.subject


def _entry(ending: str) -> Callable[[Sent], bool]:
    return lambda sent: sent.subject.startswith("$KV.") and sent.subject.endswith(ending)


def _said(*words: bytes) -> Callable[[Sent], bool]:
    return lambda sent: sent.subject.startswith("$JS.ACK.") and sent.body.startswith(words)


RECEIVE = _on_nats(
    lambda sent: sent.subject.startswith("$JS.API.CONSUMER.MSG.NEXT."),
    aws_operation("ReceiveMessage"),
)
HEARTBEAT = _on_nats(_said(b"+WPI", b"-NAK {"), _operation("ChangeMessageVisibility"))
DELETE = _on_nats(_said(b"+ACK"), _operation("DeleteMessage"))
PUBLISH = _on_nats(
    lambda sent: "-notifications." in sent.subject and not sent.subject.startswith("$"),
    _operation("Publish"),
)
BURY = _on_nats(lambda sent: "-dead." in sent.subject, lambda _: False)
"""Agents move dead letters on NATS alone."""
ARTIFACTS = _on_nats(_entry("=2Epng"), on_path("*.png", "PUT"))
MANIFESTS = _on_nats(_entry("=2Eout"), on_path("*.out", "PUT"))
S3 = _on_nats(_of_store, on_path("/*-results*"))
MARKERS = _on_nats(
    lambda sent: ".KV_" in sent.subject and b"cancelled" in sent.body,
    either(on_path("/*-results", "GET"), on_path("*/cancelled/*", "HEAD")),
)
"""Looks for cancel markers: of all jobs, of one."""
GENERATIONS = on_path("/sdapi/v1/txt2img", "POST")
READINESS = on_path("/sdapi/v1/progress", "GET")
