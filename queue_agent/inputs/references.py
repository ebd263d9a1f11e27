"""Inputs named by URL: fetched within limits, and only from where they may come.

Every redirect is followed by hand and checked from scratch. See `queue_agent.inputs.addresses` for
what is refused, and `queue_agent.inputs.guarded_http` for how the refusal is kept to.
"""

import asyncio
import zlib
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

from pydantic import JsonValue

from queue_agent.cloud import Bucket
from queue_agent.inputs.addresses import (
    Allowlist,
    HttpLocation,
    ObjectLocation,
    forbidden,
    scheme_of,
)
from queue_agent.inputs.guarded_http import GuardedHttp, Resolver, refusal_for_now
from queue_agent.inputs.inline import check_carried, find_carried
from queue_agent.inputs.room import Room
from queue_agent.media.asset import Asset, Spool
from queue_agent.media.facts import MAX_PIXELS, BrokenImage, TooManyPixels, facts_of
from queue_agent.wire.errors import ObjectNotFound, QueueAgentError, Rejected, TimedOut, Unavailable
from queue_agent.wire.layout import is_quarantined
from queue_agent.wire.reference import MediaKind, Reference, spelled

if TYPE_CHECKING:
    import httpx

_CONCURRENCY: Final = 8
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class ReferencePolicy:
    """What the operator allows inputs to be.

    Raises:
        ValueError: an entry of `allow` is no network, address, host name or ``*.suffix``.
    """

    allow: tuple[str, ...] = ()
    """Networks (CIDR), addresses, hosts and ``*.suffix`` hosts trusted although private."""
    buckets: frozenset[str] = frozenset()
    """Buckets that s3 references may name; ``bucket/prefix/`` opens no more than the prefix."""
    max_bytes: int = 64 * 2**20
    max_pixels: int = MAX_PIXELS
    timeout: float = 30.0
    """Seconds for one input, redirects and body included."""
    max_redirects: int = 3
    max_total_bytes: int = 256 * 2**20
    """All inputs of one job together."""
    max_held_bytes: int = 2 * 2**30
    """Of the files in which the inputs of all jobs lie that are held at a time."""

    def __post_init__(self) -> None:
        Allowlist.parse(self.allow)

    @cached_property
    def allowlist(self) -> Allowlist:
        return Allowlist.parse(self.allow)

    def opens(self, place: ObjectLocation) -> bool:
        """Whether references and offloaded payloads may name this object.

        None names what was put aside: files that were withheld, messages of others.
        """
        wanted = f"{place.bucket}/{place.key}"
        if is_quarantined(place.key):
            return False
        return any(wanted.startswith(entry.rstrip("/") + "/") for entry in self.buckets)


class ReferenceFetcher:
    """Fetches inputs under one policy; shares its limits among all jobs."""

    def __init__(
        self,
        policy: ReferencePolicy,
        bucket: Callable[[str], Bucket],
        *,
        resolve: Resolver | None = None,
    ) -> None:
        self._policy = policy
        self._bucket = bucket
        self._slots = asyncio.Semaphore(_CONCURRENCY)
        self._room = Room(policy.max_held_bytes)
        self._http = GuardedHttp(
            policy.allowlist, timeout=policy.timeout, connections=_CONCURRENCY, resolve=resolve
        )

    def may_read(self, bucket: str, key: str) -> bool:
        """Whether references and offloaded payloads may name this object."""
        try:
            return self._policy.opens(ObjectLocation(bucket, key))
        except Rejected:
            return False

    async def check_carried(self, content: JsonValue) -> int:
        """The bytes of all images and other media that a content carries in itself.

        Raises:
            Rejected: see `queue_agent.inputs.inline`.
        """
        carried = find_carried(content)
        if not carried:
            return 0
        return await asyncio.to_thread(
            check_carried,
            carried,
            max_bytes=self._policy.max_bytes,
            max_pixels=self._policy.max_pixels,
            max_total_bytes=self._policy.max_total_bytes,
        )

    async def fetch(
        self, references: Iterable[Reference], keep: ExitStack, *, carried: int = 0
    ) -> dict[str, Asset]:
        """The assets by URL, fetched at the same time and each URL once; good until `keep` ends.

        Waits until there is room for as much as a job may have. `carried` are the bytes of the
        job's other inputs, which count among all inputs' together.

        Raises:
            Rejected: of type ``reference_forbidden``, ``reference_not_found``,
                ``reference_too_large``, ``reference_refused`` or
                ``reference_not_image`` (``_video``, ``_audio``, ``_file``).
            Unavailable: of type ``reference_unavailable``, where trying again may help;
                `TimedOut` where it would only take as long again.
        """
        assets: dict[str, Asset] = {}
        count = _Count(self._policy.max_total_bytes, carried)

        async def add(reference: Reference) -> None:
            async with self._slots:
                assets[reference.url] = await self._fetch_one(
                    reference, keep.enter_context(_CountedSpool(count))
                )

        distinct = {(reference.url, reference.kind): reference for reference in references}
        if not distinct:
            return assets
        place = keep.enter_context(await self._room.place(self._policy.max_total_bytes))
        try:
            async with asyncio.TaskGroup() as group:
                for reference in distinct.values():
                    group.create_task(add(reference))
        except ExceptionGroup as failures:
            known = failures.subgroup(QueueAgentError)
            if known is None:
                raise
            first = known.exceptions[0]
            raise first from first.__cause__
        place.shrink(sum(asset.size for asset in assets.values() if asset.is_a_file))
        return assets

    async def aclose(self) -> None:
        """Close what is open; a later `fetch` opens anew."""
        await self._http.aclose()

    async def _fetch_one(self, reference: Reference, spool: Spool) -> Asset:
        field = spelled(reference.path)
        try:
            place = _place(reference.url)
        except Rejected as error:
            # The URL is not repeated: what cannot be read may hold a secret anywhere.
            raise Rejected(f"{field}: the URL {error.message}.", type=error.type) from error
        subject = f"{field}: {place.public[:300]}"
        try:
            async with asyncio.timeout(self._policy.timeout):
                if isinstance(place, ObjectLocation):
                    await self._read_object(place, spool)
                else:
                    await self._download(place, spool)
                asset = await spool.asset()
                media_type = await asyncio.to_thread(
                    _inspect, asset, reference.kind, self._policy.max_pixels
                )
        except TimeoutError as error:
            raise TimedOut(
                f"{subject} did not come within {self._policy.timeout:g} s.",
                type="reference_unavailable",
            ) from error
        except _TooMuch:
            raise
        except Rejected as error:
            raise Rejected(f"{subject} {error.message}.", type=error.type) from error
        except Unavailable as error:
            raise Unavailable(
                f"{subject} {error.message}.",
                type="reference_unavailable",
                retry_after=error.retry_after,
            ) from error
        return replace(asset, media_type=media_type)

    async def _read_object(self, place: ObjectLocation, spool: Spool) -> None:
        if not self._policy.opens(place):
            raise forbidden("is in no bucket that references may name")
        try:
            bucket = self._bucket(place.bucket)
            await bucket.read_into(place.key, spool.write, limit=self._policy.max_bytes)
        except ObjectNotFound as error:
            raise Rejected("does not exist", type="reference_not_found") from error
        except _TooMuch:
            raise
        except Rejected as error:
            raise self._too_large() from error
        except Unavailable as error:
            if error.type == "cloud_unauthorized":
                raise Rejected("may not be read by the agent", type="reference_refused") from error
            raise Unavailable(f"cannot be read: {error.message.rstrip('.')}") from error

    async def _download(self, place: HttpLocation, spool: Spool) -> None:
        for _ in range(self._policy.max_redirects + 1):
            async with self._http.exchange("GET", place) as response:
                if response.status_code not in _REDIRECTS:
                    _check_status(response)
                    await self._take_in(response, spool)
                    return
                place = place.redirected(response.headers.get("Location", ""))
        raise Rejected(
            f"is redirected more than {self._policy.max_redirects} times", type="reference_refused"
        )

    async def _take_in(self, response: "httpx.Response", spool: Spool) -> None:
        limit = self._policy.max_bytes
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) > limit:
            raise self._too_large()
        unpack = _decoder(response.headers.get("Content-Encoding", "identity").strip().lower())
        received = 0
        async for chunk in response.aiter_raw():
            received += len(chunk)
            await spool.write(unpack(chunk, limit + 1 - spool.size))
            if received > limit or spool.size > limit:
                raise self._too_large()

    def _too_large(self) -> Rejected:
        return Rejected(
            f"has more than {self._policy.max_bytes} bytes, the limit", type="reference_too_large"
        )


class _TooMuch(Rejected):
    """The inputs of a job are too large together."""

    default_type = "reference_too_large"


@dataclass
class _Count:
    """The bytes of one job's inputs, counted as they come."""

    most: int
    size: int

    def add(self, size: int) -> None:
        self.size += size
        if self.size > self.most:
            raise _TooMuch(f"The inputs have more than {self.most} bytes together.")


class _CountedSpool(Spool):
    """A spool for one of a job's inputs."""

    def __init__(self, count: _Count) -> None:
        super().__init__()
        self._count = count

    async def write(self, chunk: bytes) -> None:
        self._count.add(len(chunk))
        await super().write(chunk)


def _place(url: str) -> HttpLocation | ObjectLocation:
    return ObjectLocation.parse(url) if scheme_of(url) == "s3" else HttpLocation.parse(url)


def _check_status(response: "httpx.Response") -> None:
    status = response.status_code
    if status in {404, 410}:
        raise Rejected(f"does not exist (HTTP {status})", type="reference_not_found")
    if refusal := refusal_for_now(response):
        raise refusal
    if not 200 <= status < 300:
        raise Rejected(f"is refused by its server (HTTP {status})", type="reference_refused")


def _inspect(asset: Asset, kind: MediaKind, max_pixels: int) -> str:
    """The media type, after checking that the bytes are of that kind and not too large.

    Raises:
        Rejected: its message continues "https://… ".
    """
    wrong = f"reference_not_{kind}"
    try:
        found = facts_of(asset)
    except TooManyPixels as error:
        raise Rejected(str(error), type="reference_too_large") from error
    except BrokenImage as error:
        raise Rejected(str(error), type=wrong) from error
    if kind == "file":
        return found.media_type
    # Sound comes in a video's container, too: what browsers record is video/webm.
    if found.kind != kind and (kind, found.kind) != ("audio", "video"):
        raise Rejected(f"is no {kind} (its bytes look like {found.media_type})", type=wrong)
    if kind == "image":
        if found.width is None or found.height is None:
            raise Rejected(
                f"is an image of a format that is not read ({found.media_type})", type=wrong
            )
        if found.width * found.height > max_pixels:
            raise Rejected(
                f"has {found.width} x {found.height} pixels; the limit is {max_pixels}",
                type="reference_too_large",
            )
    return found.media_type


def _decoder(encoding: str) -> Callable[[bytes, int], bytes]:
    """A function from a chunk and the most bytes wanted to content.

    `identity` is asked for, but objects that were stored compressed are sent so anyway.
    """
    if encoding in {"", "identity"}:
        return lambda chunk, _: chunk
    if encoding not in {"gzip", "x-gzip"}:
        raise Rejected(
            f"is sent with the encoding {encoding[:20]!r}, which was not asked for",
            type="reference_refused",
        )
    stream = zlib.decompressobj(16 + zlib.MAX_WBITS)  # 16: a gzip header

    def unpack(chunk: bytes, most: int) -> bytes:
        try:
            return stream.decompress(chunk, most)
        except zlib.error as error:
            raise Rejected("is broken gzip data", type="reference_refused") from error

    return unpack
