"""The one connection of a process to the servers of a cloud, made anew when it is lost."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoServersError, SecureConnWantedError, UnexpectedEOF
from nats.js import JetStreamContext

from queue_agent import __version__
from queue_agent.cloud.clock import CloudClock
from queue_agent.cloud.nats.credentials import Credentials
from queue_agent.cloud.nats.dates import DatedJetStream
from queue_agent.cloud.nats.errors import FAILURES, translated, unauthorized
from queue_agent.cloud.refusals import type_of
from queue_agent.wire.errors import SettingsError, Unanswered, Unavailable

_CONNECT: Final = 5.0
_ANSWER: Final = 10.0
"""Seconds within which the servers answer."""
_CLOSE: Final = 2.0
_FLUSH: Final = 1.0
"""Seconds for which the client waits until what it sends has left its own buffer.

It loses a cancellation that meets this, as at the end of the seconds above, and waits for the
answer afterwards anyway.
"""
_PING: Final = 5
_LARGEST_PAYLOAD: Final = 2**20
"""Unless they are configured otherwise."""
_REFUSED: Final = ("authorization violation", "authentication", "user authentication")
_TLS_REMEDIES: Final = {
    "certificate required": "The servers ask for a certificate of ours: set NATS_CERT and "
    "NATS_KEY.",
    "ssl: ": "Is NATS_CA the certificate of the authority to trust, and do the addresses call the "
    "servers as their certificates do?",
    "secure connection not available": "The servers speak no TLS: set it up there, or let the "
    "addresses begin with nats://.",
}
"""What to do, by what is said where TLS cannot be agreed upon."""


class _Client(Client):
    """Tells of the end of its connection where the library's own would not."""

    async def _process_pong(self) -> None:
        """Of a ping, too, for whose answer nobody waits any longer."""
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    async def _read_loop(self) -> None:
        """A connection of which nothing more is read is lost."""
        await super()._read_loop()
        await self._process_op_err(UnexpectedEOF())

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        """To the end, also where the socket is closed already and takes the rest no more."""
        try:
            await super()._close(status, do_cbs)
        except FAILURES:
            self._pending, self._pending_data_size = [], 0
            self._status = Client.DISCONNECTED  # else there would be nothing to do
            await super()._close(status, do_cbs)


class _TlsClient(_Client):
    """Says nothing to servers that want no TLS: whoever is between could have taken it away."""

    def _connect_command(self) -> bytes:
        """What is sent, with credentials, after the server has said what it wants."""
        if not self._server_info.get("tls_required"):
            raise SecureConnWantedError
        return super()._connect_command()


class _Link:
    """One connection, until it is lost; nothing waits for it any longer then."""

    def __init__(self, *, tls: bool) -> None:
        self.client = _TlsClient() if tls else _Client()
        self.refusals = 0
        """How often the servers said that the user may not do something."""
        self.error: Exception | None = None
        """The last that no call raised."""
        self._waiting: set[asyncio.Timeout] = set()

    @property
    def lost(self) -> bool:
        """Also while the client still tries to send the rest to a server that reads nothing."""
        return bool(self.client.is_closed)

    async def told(self, error: Exception) -> None:
        """The client calls it with each error that no call raises."""
        self.error = error
        if "permissions violation" in str(error).lower():
            self.refusals += 1

    async def closed(self) -> None:
        """The client calls it when the connection is lost, or was closed."""
        for scope in self._waiting:
            scope.reschedule(0)

    @asynccontextmanager
    async def waiting(self, seconds: float | None) -> AsyncIterator[None]:
        """Raise `TimeoutError` when the time is over, or the connection is lost."""
        async with asyncio.timeout(seconds) as scope:
            self._waiting.add(scope)
            try:
                yield
            finally:
                self._waiting.discard(scope)

    def abandon(self) -> None:
        """Close the socket at once.

        A client that was interrupted in closing it leaves it open, and one that has more to send
        until the server has read that, which one that stands still never does.
        """
        writer = getattr(self.client._transport, "_io_writer", None)  # noqa: SLF001  no other way
        if writer is not None:
            writer.transport.abort()

    async def close(self) -> None:
        try:
            with suppress(*FAILURES):
                async with asyncio.timeout(_CLOSE):
                    await self.client.close()
        finally:
            self.abandon()


class Connection:
    """Shared by all ports of a cloud.

    A connection that breaks ends what waits for its answers, at once; whatever is asked next
    makes another, to whichever server answers. The client's own way of reconnecting would send
    later what a caller has given up.
    """

    def __init__(
        self,
        servers: Sequence[str],
        credentials: Credentials,
        *,
        clock: CloudClock | None = None,
    ) -> None:
        """`clock` learns the servers' time.

        Raises:
            SettingsError: the credentials cannot be used.
        """
        credentials.options(tls=_asks_for_tls(servers))
        self._servers = tuple(servers)
        self._clock = clock or CloudClock()
        self._credentials = credentials
        self._link: _Link | None = None
        self._connecting = asyncio.Lock()
        self.largest_payload = _LARGEST_PAYLOAD
        """Bytes of a message that the servers take, headers included, once one was reached."""

    async def reach(self) -> None:
        """Connect, where no connection is; raises `Unavailable` where that fails."""
        await self._linked()

    @asynccontextmanager
    async def using(
        self, action: str, *, seconds: float | None = _ANSWER
    ) -> AsyncIterator[JetStreamContext]:
        """JetStream for one exchange that is over within so many seconds.

        Raises:
            Unanswered: it is not, or the connection broke meanwhile.
            QueueAgentError: what the servers said, in our words.
        """
        async with self.exchange(action, seconds=seconds) as client:
            yield DatedJetStream(client, self._clock, timeout=2 * (seconds or _ANSWER))

    async def request(self, action: str, subject: str, payload: bytes = b"") -> Msg:
        """What is answered to a message; raises like `using`."""
        async with self.exchange(action) as client:
            return await client.request(subject, payload, timeout=2 * _ANSWER)

    @asynccontextmanager
    async def exchange(
        self, action: str, *, seconds: float | None = _ANSWER
    ) -> AsyncIterator[Client]:
        """The connected client, for what JetStream's own calls do not do; raises like `using`.

        The client waits by `asyncio.wait_for`, of which Python 3.11's loses a cancellation that
        meets a result: it is raised here, once the exchange is over.
        """
        link = await self._linked()
        refusals = link.refusals
        task = asyncio.current_task()
        cancelled = task.cancelling() if task else 0
        try:
            with translated(action):
                async with link.waiting(seconds):
                    yield link.client
        except Unanswered as error:
            if link.refusals > refusals:
                raise unauthorized(action, str(link.error)) from error
            if link.lost:
                raise Unanswered(f"Could not {action}: the connection was lost.") from error
            raise
        if task is not None and task is asyncio.current_task() and task.cancelling() > cancelled:
            raise asyncio.CancelledError

    async def aclose(self) -> None:
        """Close it."""
        if self._link is not None:
            await self._link.close()
            self._link = None

    async def _linked(self) -> _Link:
        if self._link is None or self._link.lost:
            async with self._connecting:
                if self._link is None or self._link.lost:
                    if self._link is not None:
                        self._link.abandon()
                    self._link = None
                    self._link = await self._connect()
        return self._link

    async def _connect(self) -> _Link:
        try:
            options = self._credentials.options(tls=_asks_for_tls(self._servers))
        except SettingsError as error:  # the files have changed since the start
            raise Unavailable(error.message, type=type_of("unauthenticated")) from error
        reasons = []
        for server in random.sample(self._servers, len(self._servers)):
            link = _Link(tls=server.startswith("tls:"))
            try:
                async with asyncio.timeout(_CONNECT):
                    await link.client.connect(
                        [server],
                        name=f"sd-queue-agent/{__version__}",
                        error_cb=link.told,
                        closed_cb=link.closed,
                        allow_reconnect=False,
                        max_reconnect_attempts=1,
                        reconnect_time_wait=0,
                        ping_interval=_PING,
                        flush_timeout=_FLUSH,
                        **options,
                    )
            except (*FAILURES, ValueError) as error:
                await link.close()
                cause = link.error if isinstance(error, NoServersError) and link.error else error
                reasons.append(f"{server}: {_told(cause)}")
                continue
            except BaseException:
                await asyncio.shield(link.close())
                raise
            self.largest_payload = link.client.max_payload
            return link
        raise self._unreachable("; ".join(reasons))

    def _unreachable(self, text: str) -> Unavailable:
        words = text.lower()
        refused = any(word in words for word in _REFUSED)
        by_tls = (remedy for word, remedy in _TLS_REMEDIES.items() if word in words)
        return Unavailable(
            f"Could not reach NATS: {text}",
            type=type_of("unauthenticated" if refused else "unavailable"),
            remedy=self._credentials.remedy if refused else next(by_tls, ""),
        )


def _asks_for_tls(servers: Sequence[str]) -> bool:
    return any(server.startswith("tls:") for server in servers)


def _told(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no server of NATS answered within {_CONNECT:g} s"
    return str(error) or type(error).__name__
