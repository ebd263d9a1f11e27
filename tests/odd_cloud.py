"""A server that speaks what the ports need of SQS, SNS and S3, and whose store can be odd."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web
from aiohttp.test_utils import TestServer

_SCOPE: Final = re.compile(r"Credential=[^/]+/\d+/([\w-]+)/(\w+)/aws4_request")
_ACTION: Final = re.compile(r"Action=(\w+)")


@dataclass
class OddCloud:
    """What is asked of it, and how its store answers."""

    ignores_conditions: bool = False
    knows_no_conditions: bool = False
    """Answers 501 to every condition."""
    crossing: tuple[int, ...] = ()
    """Numbers of the writes, from 1, that are all judged before one is done: all of them win."""
    broken: bool = False
    """Answers 500 to all that concerns objects."""
    exists: tuple[int, str] = (412, "PreconditionFailed")
    """Status and code for a create of what exists; without a code the body is empty."""
    refuses_streams: bool = False
    """Answers 501 to bodies in ``aws-chunked``, and to checksums."""
    ignores_start_after: bool = False
    most_keys: int = 1000
    region: str | None = None
    """Where the buckets are; None: wherever they are asked for."""
    credentials: dict[str, str] = field(default_factory=dict)
    """Given to who asks for a pod's."""
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[web.Request] = field(default_factory=list)
    url: str = ""
    _writes: int = 0
    _judged: int = 0
    _all_judged: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def scopes(self) -> list[tuple[str, str]]:
        """Service and region that each request was signed for."""
        found = [_SCOPE.search(one.headers.get("Authorization", "")) for one in self.requests]
        return [(scope[2], scope[1]) for scope in found if scope]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["OddCloud"]:
        """Serve for the block, at `url`."""
        app = web.Application(client_max_size=2**26)
        app.router.add_get("/credentials", self._lent)
        app.router.add_route("*", "/{key:.*}", self._answer)
        async with TestServer(app) as server:
            self.url = str(server.make_url("")).rstrip("/")
            yield self

    async def _lent(self, _: web.Request) -> web.StreamResponse:
        return web.json_response(self.credentials)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        scope = _SCOPE.search(request.headers.get("Authorization", ""))
        if scope and scope[2] == "sns":
            found = _ACTION.search(await request.text())
            name = found[1] if found else ""
            text = f"<{name}Response><{name}Result/></{name}Response>"
            return web.Response(text=text, content_type="text/xml")
        if scope and scope[2] == "sqs":
            return web.json_response({"MessageId": "1", "MD5OfMessageBody": ""})
        if scope and self.region and scope[1] != self.region:
            return _error(400, "AuthorizationHeaderMalformed", f"<Region>{self.region}</Region>")
        return await self._stored(request)

    async def _stored(self, request: web.Request) -> web.StreamResponse:
        key = request.match_info["key"]
        if self.broken:
            return _error(500, "InternalError")
        if "list-type" in request.query:
            return self._listed(f"{key.rstrip('/')}/", request)
        if request.method == "PUT":
            return await self._put(key, request)
        if request.method == "DELETE":
            self.objects.pop(key, None)
            return web.Response(status=204)
        if key not in self.objects:
            return _error(404, "NoSuchKey")
        return web.Response(body=self.objects[key])

    async def _put(self, key: str, request: web.Request) -> web.StreamResponse:
        data = await request.read()
        exists = key in self.objects
        self._writes += 1
        if self._writes in self.crossing:
            self._judged += 1
            if self._judged == len(self.crossing):
                self._all_judged.set()
            await self._all_judged.wait()
        if self.refuses_streams and _is_streamed(request):
            return _error(501, "NotImplemented")
        if "If-None-Match" in request.headers and not self.ignores_conditions:
            if self.knows_no_conditions:
                return _error(501, "NotImplemented")
            if exists:
                return _error(*self.exists)
        self.objects[key] = data
        return web.Response(headers={"ETag": '"1"'})

    def _listed(self, bucket: str, request: web.Request) -> web.StreamResponse:
        query = request.query
        after = query.get("continuation-token", "")
        if not self.ignores_start_after:
            after = max(after, query.get("start-after", ""))
        most = min(int(query.get("max-keys", "1000")), self.most_keys)
        names = sorted(key.removeprefix(bucket) for key in self.objects if key.startswith(bucket))
        found = [key for key in names if key.startswith(query.get("prefix", "")) and key > after]
        page = found[:most]
        more = f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if page else ""
        contents = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in page)
        truncated = str(len(found) > most).lower()
        return web.Response(
            text=f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{more}{contents}"
            "</ListBucketResult>",
            content_type="application/xml",
        )


def _is_streamed(request: web.Request) -> bool:
    names = {name.lower() for name in request.headers}
    return "aws-chunked" in request.headers.get("Content-Encoding", "") or any(
        name.startswith(("x-amz-checksum-", "x-amz-trailer", "x-amz-sdk-checksum"))
        for name in names
    )


def _error(status: int, code: str, more: str = "") -> web.Response:
    if not code:
        return web.Response(status=status)
    text = f"<Error><Code>{code}</Code><Message>{code}</Message>{more}</Error>"
    return web.Response(status=status, text=text, content_type="application/xml")
