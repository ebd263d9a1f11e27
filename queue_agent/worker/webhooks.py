"""Notifications sent to the `callback_url` of a job, beside the topic.

A convenience for who cannot subscribe: best effort, within seconds, after the topic has the
notification. Only hosts that the operator lists are called, under the same guard as
references, and every request is signed (`queue_agent.wire.signing`). Where a callback is not
made, the notification on the topic says so; why one failed is for the logs. Neither repeats
more of the URL than its host: paths and queries of webhooks are often secrets.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from queue_agent.inputs.addresses import Allowlist, HttpLocation
from queue_agent.inputs.guarded_http import GuardedHttp, Resolver, refusal_for_now
from queue_agent.wire.errors import Rejected, Unavailable
from queue_agent.wire.notification import Notification
from queue_agent.wire.signing import SigningSecret
from queue_agent.worker.retry import retry_in_place

log = structlog.get_logger()

_CONNECTIONS: Final = 20


@dataclass(frozen=True)
class WebhookPolicy:
    """What the operator allows. Durations are in seconds."""

    hosts: tuple[str, ...] = ()
    """Hosts, ``*.suffix`` hosts, addresses and networks that may be called; empty: none."""
    secret: SigningSecret | None = None
    trusted: tuple[str, ...] = ()
    """Those of `hosts` that may be private, and spoken to without TLS."""
    timeout: float = 8.0
    """For one request."""
    patience: float = 28.0
    """For all requests that one notification takes."""


class Webhooks:
    """Calls back under one policy."""

    def __init__(
        self,
        policy: WebhookPolicy,
        *,
        resolve: Resolver | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._policy = policy
        self._listed = Allowlist.parse(policy.hosts)
        self._trusted = Allowlist.parse(policy.trusted)
        self._now = now
        self._http = GuardedHttp(
            self._trusted, timeout=policy.timeout, connections=_CONNECTIONS, resolve=resolve
        )

    def checked(self, notification: Notification) -> Notification:
        """The notification without a callback that must not be made, and with a warning why."""
        if notification.callback_url is None:
            return notification
        try:
            self._place(notification.callback_url)
        except Rejected as error:
            warning = f"metadata.callback_url: not called: {error.message}."
            warnings = [*notification.warnings, warning]
            return notification.model_copy(update={"callback_url": None, "warnings": warnings})
        return notification

    async def send(self, notification: Notification) -> None:
        """Send the (checked) notification where it wants to go, too; failures are logged only."""
        if notification.callback_url is None or self._policy.secret is None:
            return
        place = self._place(notification.callback_url)
        message_id, secret = _message_id(notification), self._policy.secret
        body = notification.to_json().encode()

        async def post() -> None:
            await self._post(place, message_id, body, secret)

        try:
            async with asyncio.timeout(self._policy.patience):
                await retry_in_place(post)
        except (Rejected, Unavailable) as error:
            log.warning("webhook failed", host=place.host, reason=error.message)
        except TimeoutError:
            log.warning("webhook failed", host=place.host, reason="took too long")
        else:
            log.info("webhook sent", host=place.host, webhook_id=message_id)

    async def aclose(self) -> None:
        """Close what is open."""
        await self._http.aclose()

    def _place(self, url: str) -> HttpLocation:
        """Where a callback goes; raises `Rejected` if it must not be made."""
        if not self._policy.hosts:
            raise Rejected("webhooks are off")
        try:
            place = HttpLocation.parse(url)
        except Rejected as error:
            raise Rejected(f"the URL {error.message}") from error
        if not self._listed.names(place):
            raise Rejected(f"the operator's list of hosts has no {place.host}")
        if place.scheme != "https" and not self._trusted.names(place):
            raise Rejected(f"{place.host} is called by https only")
        return place

    async def _post(
        self, place: HttpLocation, message_id: str, body: bytes, secret: SigningSecret
    ) -> None:
        headers = {
            "Content-Type": "application/json",
            **secret.headers(message_id, int(self._now()), body),
        }
        try:
            async with (
                asyncio.timeout(self._policy.timeout),
                self._http.exchange("POST", place, headers=headers, content=body) as response,
            ):
                refusal, status = refusal_for_now(response), response.status_code
        except TimeoutError as error:
            raise Unavailable(f"no answer within {self._policy.timeout:g} s") from error
        if refusal:
            raise Unavailable(f"HTTP {status}", retry_after=refusal.retry_after)
        if not 200 <= status < 300:  # a redirect, too, is not what was agreed on
            raise Rejected(f"HTTP {status}")


def _message_id(notification: Notification) -> str:
    """The same for the same outcome, however often it is told, so that receivers can tell."""
    outcome = notification.model_dump_json(exclude={"attempt", "redelivered", "images"})
    return f"msg_{hashlib.sha256(outcome.encode()).hexdigest()[:32]}"
