"""Inputs named by URL: fetched within limits, and only from where they may come.

A host is resolved once, all its addresses are checked, and the connection goes to one of
the checked addresses, so that a second answer of the name server cannot lead elsewhere.
Every redirect is followed by hand and checked from scratch. See `queue_agent.addresses`
for what is refused, and why.
"""

import asyncio
import io
import socket
import zlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from queue_agent.addresses import (
    Address,
    Allowlist,
    HttpLocation,
    ObjectLocation,
    forbidden,
    scheme_of,
)
from queue_agent.cloud import Bucket
from queue_agent.errors import ObjectNotFound, QueueAgentError, Rejected, Unavailable
from queue_agent.runtime import Asset, MediaKind, Reference

if TYPE_CHECKING:
    import httpx
    from PIL.ImageFile import ImageFile

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a host name and a port to addresses; raises `socket.gaierror` as getaddrinfo does."""

_CONCURRENCY: Final = 8
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# Not every C library knows EAI_NODATA.
_NO_SUCH_HOST: Final = frozenset(
    {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
)


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
    max_pixels: int = 64_000_000
    timeout: float = 30.0
    """Seconds for one input, redirects and body included."""
    max_redirects: int = 3
    max_total_bytes: int = 256 * 2**20
    """All inputs of one job together."""

    def __post_init__(self) -> None:
        Allowlist.parse(self.allow)

    @cached_property
    def allowlist(self) -> Allowlist:
        return Allowlist.parse(self.allow)

    def opens(self, place: ObjectLocation) -> bool:
        """Whether references may name this object."""
        wanted = f"{place.bucket}/{place.key}"
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
        self._resolve = resolve or _resolve
        self._slots = asyncio.Semaphore(_CONCURRENCY)
        self._opened: httpx.AsyncHTTPTransport | None = None

    async def fetch(self, references: Iterable[Reference]) -> dict[str, Asset]:
        """The assets by URL, fetched at the same time and each URL once.

        Raises:
            Rejected: of type ``reference_forbidden``, ``reference_not_found``,
                ``reference_too_large``, ``reference_refused`` or
                ``reference_not_image`` (``_video``, ``_audio``).
            Unavailable: of type ``reference_unavailable``, where trying again may help.
        """
        assets: dict[str, Asset] = {}

        async def add(reference: Reference) -> None:
            async with self._slots:
                assets[reference.url] = await self._fetch_one(reference)
            if sum(len(asset.data) for asset in assets.values()) > self._policy.max_total_bytes:
                raise Rejected(
                    f"The inputs have more than {self._policy.max_total_bytes} bytes together.",
                    type="reference_too_large",
                )

        distinct = {(reference.url, reference.kind): reference for reference in references}
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
        return assets

    async def aclose(self) -> None:
        """Close what is open; a later `fetch` opens anew."""
        if self._opened:
            await self._opened.aclose()
            self._opened = None

    async def _fetch_one(self, reference: Reference) -> Asset:
        field = _spelled(reference.path)
        try:
            place = _place(reference.url)
        except Rejected as error:
            # The URL is not repeated: what cannot be read may hold a secret anywhere.
            raise Rejected(f"{field}: the URL {error.message}.", type=error.type) from error
        subject = f"{field}: {place.public[:300]}"
        try:
            async with asyncio.timeout(self._policy.timeout):
                if isinstance(place, ObjectLocation):
                    data = await self._read_object(place)
                else:
                    data = await self._download(place)
                media_type = await asyncio.to_thread(
                    _inspect, data, reference.kind, self._policy.max_pixels
                )
        except TimeoutError as error:
            raise Unavailable(
                f"{subject} did not come within {self._policy.timeout:g} s.",
                type="reference_unavailable",
            ) from error
        except Rejected as error:
            raise Rejected(f"{subject} {error.message}.", type=error.type) from error
        except Unavailable as error:
            raise Unavailable(
                f"{subject} {error.message}.", type="reference_unavailable"
            ) from error
        return Asset(data, media_type)

    async def _read_object(self, place: ObjectLocation) -> bytes:
        if not self._policy.opens(place):
            raise forbidden("is in no bucket that references may name")
        try:
            data = await self._bucket(place.bucket).read(place.key, limit=self._policy.max_bytes)
        except ObjectNotFound as error:
            raise Rejected("does not exist", type="reference_not_found") from error
        except Rejected as error:
            raise self._too_large() from error
        except Unavailable as error:
            raise Unavailable(f"cannot be read: {error.message.rstrip('.')}") from error
        if len(data) > self._policy.max_bytes:
            raise self._too_large()
        return data

    async def _download(self, place: HttpLocation) -> bytes:
        import httpx  # noqa: PLC0415  a tenth of a second that most commands need not pay

        try:
            for _ in range(self._policy.max_redirects + 1):
                response = await self._ask(place)
                try:
                    if response.status_code not in _REDIRECTS:
                        _check_status(response.status_code)
                        return await self._body(response)
                    place = place.redirected(response.headers.get("Location", ""))
                finally:
                    await response.aclose()
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise Unavailable(f"cannot be fetched: {reason}") from error
        raise Rejected(
            f"is redirected more than {self._policy.max_redirects} times", type="reference_refused"
        )

    async def _ask(self, place: HttpLocation) -> "httpx.Response":
        """The response of the first address that can be connected to; its body is unread."""
        import httpx  # noqa: PLC0415

        addresses = await self._checked_addresses(place)
        each = self._policy.timeout / len(addresses)
        timeouts = httpx.Timeout(self._policy.timeout, connect=each).as_dict()
        extensions: dict[str, object] = {"timeout": timeouts}
        if place.address is None:
            # Names the certificate that the server must show, too.
            extensions["sni_hostname"] = place.host
        for address in addresses:
            request = httpx.Request(
                "GET",
                place.at(address),
                headers={
                    "Host": place.authority,
                    "Accept-Encoding": "identity",
                    "User-Agent": "queue-agent",
                },
                extensions=extensions,
            )
            try:
                return await self._transport.handle_async_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if address == addresses[-1]:
                    raise
        raise AssertionError("unreachable: there is at least one address")

    async def _checked_addresses(self, place: HttpLocation) -> Sequence[Address]:
        """All addresses of the host, if every one of them may be contacted.

        One bad address condemns the name: no honest host is public and private at once,
        and picking the good ones would leave the choice to whoever wrote the answer.
        """
        if place.address is not None:
            addresses = [place.address]
        else:
            try:
                found = await self._resolve(place.host, place.port)
            except socket.gaierror as error:
                if error.errno in _NO_SUCH_HOST:
                    raise _no_such_host(place) from error
                raise Unavailable(f"cannot be fetched: {place.host} is not resolved") from error
            addresses = [ip_address(address) for address in found]
            if not addresses:
                raise _no_such_host(place)
        if not all(self._policy.allowlist.permits(place.host, address) for address in addresses):
            raise forbidden(f"leads to {place.host}, which is not on the public internet")
        return addresses

    async def _body(self, response: "httpx.Response") -> bytes:
        limit = self._policy.max_bytes
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) > limit:
            raise self._too_large()
        unpack = _decoder(response.headers.get("Content-Encoding", "identity").strip().lower())
        received = 0
        # Unlike a bytearray, it gives its content away as bytes without copying it.
        body = io.BytesIO()
        async for chunk in response.aiter_raw():
            received += len(chunk)
            body.write(unpack(chunk, limit + 1 - body.tell()))
            if received > limit or body.tell() > limit:
                raise self._too_large()
        return body.getvalue()

    def _too_large(self) -> Rejected:
        return Rejected(
            f"has more than {self._policy.max_bytes} bytes, the limit", type="reference_too_large"
        )

    @property
    def _transport(self) -> "httpx.AsyncHTTPTransport":
        """Only httpx's transport: no proxies, cookies, redirects, or logged query strings.

        Connections are not kept: they are pooled by address, and one that was made for
        (and whose certificate names) one host must not serve another at the same address.
        """
        if self._opened is None:
            import httpx  # noqa: PLC0415

            self._opened = httpx.AsyncHTTPTransport(
                verify=httpx.create_ssl_context(),
                limits=httpx.Limits(max_connections=_CONCURRENCY, max_keepalive_connections=0),
            )
        return self._opened


async def _resolve(host: str, port: int) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


def _place(url: str) -> HttpLocation | ObjectLocation:
    return ObjectLocation.parse(url) if scheme_of(url) == "s3" else HttpLocation.parse(url)


def _no_such_host(place: HttpLocation) -> Rejected:
    return Rejected(f"leads to {place.host}, which does not exist", type="reference_not_found")


def _check_status(status: int) -> None:
    if status in {404, 410}:
        raise Rejected(f"does not exist (HTTP {status})", type="reference_not_found")
    if status in {408, 425, 429} or status >= 500:
        raise Unavailable(f"is not available now (HTTP {status})")
    if not 200 <= status < 300:
        raise Rejected(f"is refused by its server (HTTP {status})", type="reference_refused")


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


def _inspect(data: bytes, kind: MediaKind, max_pixels: int) -> str:
    """The media type, after checking that the bytes are of that kind and not too large."""
    import filetype  # noqa: PLC0415

    found = filetype.guess(data)
    media_type = str(found.mime) if found else "application/octet-stream"
    if not media_type.startswith(f"{kind}/"):
        raise Rejected(
            f"is no {kind} (its bytes look like {media_type})", type=f"reference_not_{kind}"
        )
    if kind == "image":
        width, height = _image_size(data, media_type)
        if width * height > max_pixels:
            raise Rejected(
                f"has {width} x {height} pixels; the limit is {max_pixels}",
                type="reference_too_large",
            )
    return media_type


def _image_size(data: bytes, media_type: str) -> tuple[int, int]:
    """Width and height from the header alone: no pixel is decoded, whatever it claims."""
    reader = _image_readers().get(media_type)
    if reader is None:
        raise Rejected(
            f"is an image of a format that is not read ({media_type})", type="reference_not_image"
        )
    try:
        with reader(io.BytesIO(data)) as image:
            return image.size
    except (SyntaxError, OSError, ValueError, OverflowError) as error:
        raise Rejected(f"is a broken image ({media_type})", type="reference_not_image") from error


def _image_readers() -> "dict[str, Callable[[io.BytesIO], ImageFile]]":
    """Pillow's readers, by media type, that read no more than the header when opened.

    Named one by one, since `Image.open` also tries formats that decode at once (ICO).
    """
    from PIL import (  # noqa: PLC0415
        AvifImagePlugin,
        BmpImagePlugin,
        GifImagePlugin,
        Jpeg2KImagePlugin,
        JpegImagePlugin,
        PngImagePlugin,
        TiffImagePlugin,
        WebPImagePlugin,
    )

    return {
        "image/apng": PngImagePlugin.PngImageFile,
        "image/avif": AvifImagePlugin.AvifImageFile,
        "image/bmp": BmpImagePlugin.BmpImageFile,
        "image/gif": GifImagePlugin.GifImageFile,
        "image/jpeg": JpegImagePlugin.JpegImageFile,
        "image/jpx": Jpeg2KImagePlugin.Jpeg2KImageFile,
        "image/png": PngImagePlugin.PngImageFile,
        "image/tiff": TiffImagePlugin.TiffImageFile,
        "image/webp": WebPImagePlugin.WebPImageFile,
    }


def _spelled(path: Sequence[str | int]) -> str:
    """A field's place as people write it: ``init_images[0]``."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(steps).removeprefix(".") or "content"
