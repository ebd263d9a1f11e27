"""Connections: how many there may be, and how long one may take to say what it wants."""

import asyncio
from typing import Final

import h11
import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol

log = structlog.get_logger()

_BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\n"
    b"Content-Length: 0\r\n\r\n"
)


def guarded(*, limit: int, header_seconds: float) -> type[H11Protocol]:
    """The server's protocol for connections that are counted and do not wait for ever.

    A connection over the limit is answered 503 and closed before it has said a word. One whose
    next request has begun, or that has not had any yet, must have sent all of its headers within
    `header_seconds`; else it is closed without an answer. Requests under way, event streams and
    WebSockets are not concerned; idle connections have the server's own time.
    """

    class Guarded(_Guarded):
        most = limit
        patience = header_seconds

    return Guarded


class _Guarded(H11Protocol):
    most: int
    patience: float
    _end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most:
            log.warning("too many connections", limit=self.most)
            transport.write(_BUSY)
            transport.close()
            return
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._unset_keepalive_if_required()  # the next request has begun before this ended
        self._watch()

    def _watch(self) -> None:
        """Let the time run while headers are awaited, unless that of idle connections runs."""
        awaited = self.conn.their_state is h11.IDLE and self.timeout_keep_alive_task is None
        if not awaited:
            self._unwatch()
        elif self._end is None:
            self._end = self.loop.call_later(self.patience, self._give_up)

    def _unwatch(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None

    def _give_up(self) -> None:
        log.info("headers did not come in time", seconds=self.patience)
        self.transport.abort()
