"""Outputs that a runtime names by URL, rather than carrying them in its answer.

What such a URL is may be in the hands of whoever asked for the job, by a model that repeats its
prompt say; so it is fetched as carefully as a job's own references are.
"""

import asyncio
from typing import TYPE_CHECKING, Final

from yarl import URL

from queue_agent.inputs.addresses import Allowlist, HttpLocation
from queue_agent.inputs.guarded_http import GuardedHttp, refusal_for_now
from queue_agent.media.asset import Asset, Spool
from queue_agent.media.facts import typed
from queue_agent.runtime.contract import RuntimeOptions
from queue_agent.runtime.http.answers import error_from
from queue_agent.runtime.http.client import ANSWER_LIMIT, DOWNLOAD, RuntimeClient
from queue_agent.wire.errors import Rejected, Unavailable

if TYPE_CHECKING:
    import httpx

FETCH_SECONDS: Final = 300.0
"""For one output, redirects and body included."""
MOST_REDIRECTS: Final = 3

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CONNECTIONS: Final = 8


class OutputFetcher:
    """Fetches outputs from the runtime itself, from the public internet and from trusted hosts.

    `RuntimeOptions.output_hosts` are those trusted. URLs below the runtime's own address are asked
    for with its credentials, all others without any.
    """

    def __init__(
        self, options: RuntimeOptions, client: RuntimeClient, *, limit: int = ANSWER_LIMIT
    ) -> None:
        self._client = client
        self._limit = limit
        self._http = GuardedHttp(
            Allowlist.parse(options.output_hosts), timeout=FETCH_SECONDS, connections=_CONNECTIONS
        )

    def whole(self, url: str) -> str:
        """A URL of an answer as it is meant where it may be relative to the runtime's address.

        Raises:
            Unavailable: it is none (type ``output_forbidden``).
        """
        try:
            return str(self._client.url("/").join(URL(url)))
        except ValueError as error:
            raise Unavailable(
                f"The output {url[:200]!r} has no address that can be understood.",
                type="output_forbidden",
            ) from error

    async def fetch(self, url: str, spool: Spool) -> Asset:
        """The bytes behind an http(s) URL, of the type that they show.

        Raises:
            Unavailable: they do not come (type ``output_unavailable``), there are too many
                (``answer_too_large``), or the URL leads where nothing is fetched from
                (``output_forbidden``): where a runtime keeps its outputs is no job's fault.
        """
        own = f"{self._client.url('/')}"
        if url.startswith(own):
            async with self._client.stream(
                "GET", "/" + url.removeprefix(own), timeout=DOWNLOAD, limit=self._limit
            ) as answer:
                if not answer.ok:
                    raise error_from(await answer.read(), faults_of_the_job=())
                return await answer.into(spool)
        subject = f"The output {url.partition('?')[0][:200]}"
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                await self._download(HttpLocation.parse(url), spool)
        except TimeoutError as error:
            raise _unavailable(f"{subject} did not come within {FETCH_SECONDS:g} s.") from error
        except Rejected as error:
            forbidden = error.type == "reference_forbidden"
            raise Unavailable(
                f"{subject} {error.message}.",
                type="output_forbidden" if forbidden else "output_unavailable",
            ) from error
        except Unavailable as error:
            if error.type == "disk_full":
                raise
            kind = error.type if error.type == "answer_too_large" else "output_unavailable"
            raise Unavailable(
                f"{subject} {error.message}.", type=kind, retry_after=error.retry_after
            ) from error
        return typed(await spool.asset())

    async def aclose(self) -> None:
        """Close what is open."""
        await self._http.aclose()

    async def _download(self, place: HttpLocation, spool: Spool) -> None:
        for _ in range(MOST_REDIRECTS + 1):
            async with self._http.exchange("GET", place) as response:
                if response.status_code not in _REDIRECTS:
                    await self._take_in(response, spool)
                    return
                place = place.redirected(response.headers.get("Location", ""))
        raise _unavailable(f"is redirected more than {MOST_REDIRECTS} times")

    async def _take_in(self, response: "httpx.Response", spool: Spool) -> None:
        if refusal := refusal_for_now(response):
            raise refusal
        if not 200 <= response.status_code < 300:
            raise _unavailable(f"is not given by its server (HTTP {response.status_code})")
        async for chunk in response.aiter_raw():
            await spool.write(chunk)
            if spool.size > self._limit:
                raise Unavailable(
                    f"has more than {self._limit} bytes, the limit", type="answer_too_large"
                )


def _unavailable(message: str) -> Unavailable:
    return Unavailable(message, type="output_unavailable")
