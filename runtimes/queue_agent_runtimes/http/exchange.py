"""Requests to the server, each answered or an error of the tree, and each told to who watches."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from pydantic import JsonValue

from queue_agent.runtime import RuntimeOptions, Spools
from queue_agent.runtime.http import ASK, Response, RuntimeClient, StreamedResponse, Timeout
from queue_agent_runtimes.http.bodies import HttpRequest, request_of, shown
from queue_agent_runtimes.http.declaration import Declaration, HttpCall
from queue_agent_runtimes.http.failures import error_of
from queue_agent_runtimes.http.template import Rendered

__all__ = ["HttpExchange", "Watcher", "outline"]

Watcher = Callable[[str, JsonValue], None]
"""Takes what happens as it does: a step's name, and what there is to see."""

_SHORT: Final = 80
_FEW: Final = 3


class HttpExchange:
    """Sends the calls of a declaration."""

    def __init__(
        self, declaration: Declaration, options: RuntimeOptions, watcher: Watcher | None = None
    ) -> None:
        self.client = RuntimeClient(options, declaration.url)
        self._errors = declaration.errors
        self._watch = watcher or (lambda _step, _seen: None)

    async def ask(self, call: HttpCall, values: Mapping[str, Rendered], *, step: str) -> JsonValue:
        """The JSON of a small answer; an empty body is null.

        Raises:
            QueueAgentError: what an answer without success means; `Unavailable`: it is no JSON.
        """
        request = request_of(call, values)
        async with self.answered(request, step=step, timeout=ASK, limit=_SMALL) as answer:
            body = await answer.read()
        value = body.json() if body.body else None
        self._watch(f"{step}: answer", outline(value))
        return value

    async def json(self, answer: StreamedResponse, spools: Spools, *, step: str) -> JsonValue:
        """The JSON of a large answer."""
        value = await answer.json(spools)
        self._watch(f"{step}: answer", outline(value))
        return value

    @asynccontextmanager
    async def answered(
        self,
        request: HttpRequest,
        *,
        step: str,
        timeout: Timeout,  # noqa: ASYNC109  aiohttp's own, per phase
        limit: int,
    ) -> AsyncIterator[StreamedResponse]:
        """The answer to a request, which is a success; raises like `ask`."""
        self._watch(step, self._seen(request))
        async with self.client.stream(
            request.method,
            request.path,
            body=request.body(),
            params=request.query or None,
            headers=request.headers,
            timeout=timeout,
            limit=limit,
        ) as answer:
            kind = answer.headers.get("content-type", "")
            self._watch(f"{step}: answered", {"status": answer.status, "type": kind})
            if not answer.ok:
                whole: Response = await answer.read()
                self._watch(f"{step}: refused", whole.body[:2000].decode(errors="replace"))
                raise error_of(whole, self._errors, may_blame_job=step == "request")
            yield answer

    def _seen(self, request: HttpRequest) -> JsonValue:
        """A request as it is sent, without what may be secret."""
        seen: dict[str, JsonValue] = {
            "request": f"{request.method} {self.client.url(request.path)}",
        }
        if request.query:
            seen["query"] = {**request.query}
        headers = dict.fromkeys(self.client.headers, "(hidden)") | dict(request.headers)
        if headers:
            seen["headers"] = {**headers}
        if request.content is not None:
            seen[request.kind] = shown(request.content)
        return seen

    def tell(self, step: str, seen: JsonValue) -> None:
        """Tell of something else."""
        self._watch(step, seen)

    async def aclose(self) -> None:
        await self.client.aclose()


_SMALL: Final = 16 * 2**20
"""Bytes of an answer that holds no file."""


def outline(value: JsonValue) -> JsonValue:
    """An answer's shape: long texts and lists shortened."""
    if isinstance(value, str):
        return value if len(value) <= _SHORT else f"{value[:20]}… ({len(value)} characters)"
    if isinstance(value, list):
        more = [f"… {len(value) - _FEW} more"] if len(value) > _FEW else []
        return [*map(outline, value[:_FEW]), *more]
    if isinstance(value, dict):
        return {name[:_SHORT]: outline(entry) for name, entry in value.items()}
    return value
