"""Inputs fetched from a real server on the loopback interface, within limits."""

import asyncio
import gzip
import io
import logging
import os
import socket
import ssl
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest
from PIL import Image

from media_files import ebml, iso_media, wav
from queue_agent.cloud.memory import MemoryBucket, MemoryCloud
from queue_agent.inputs.guarded_http import Resolver
from queue_agent.inputs.references import ReferenceFetcher, ReferencePolicy
from queue_agent.media.asset import IN_MEMORY
from queue_agent.runtime import Asset, MediaKind, Reference
from queue_agent.wire.errors import QueueAgentError, Rejected, TimedOut, Unavailable
from tls_servers import certified

LOOPBACK = ("127.0.0.1/32",)
PATIENCE = 90.0
"""Seconds that only what hangs exceeds."""
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def picture(format_: str = "PNG", size: tuple[int, int] = (8, 8)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "teal").save(file, format_)
    return file.getvalue()


def temporary_files() -> int:
    """How many nameless files this process has open."""
    links = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
    return sum("(deleted)" in str(link.readlink()) for link in links if link.is_symlink())


def noise(size: int) -> bytes:
    """A picture of more than so many bytes."""
    file = io.BytesIO()
    Image.effect_noise((1024, size // 1024 // 3 + 1), 50).convert("RGB").save(file, "BMP")
    return file.getvalue()


def claimed_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims any size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + b"\0" * 4


class Site:
    """A web server whose answers are written byte by byte by the test."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[str] = []
        self.left: asyncio.Queue[str] = asyncio.Queue()
        """Paths whose clients have hung up."""
        self.url = ""
        self.port = 0

    def serve(self, path: str, body: bytes = b"", *headers: str, status: str = "200 OK") -> str:
        """Answer with this; the URL."""
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]

        async def answer(writer: asyncio.StreamWriter) -> None:
            writer.write("\r\n".join(lines).encode() + body)

        self.answers[path] = answer
        return self.url + path

    def redirect(self, path: str, target: str, status: str = "302 Found") -> str:
        return self.serve(path, b"", f"Location: {target}", status=status)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = ""
        try:
            while True:
                request = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.requests.append(request)
                path = request.split(" ")[1].partition("?")[0]
                await self.answers[path](writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            await self.left.put(path)
        finally:
            writer.close()


@asynccontextmanager
async def site(
    host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Site]:
    place = Site()
    server = await asyncio.start_server(place.handle, host, port, ssl=tls)
    place.port = server.sockets[0].getsockname()[1]
    place.url = f"{'https' if tls else 'http'}://{host}:{place.port}"
    async with server:
        yield place


@pytest.fixture
async def web() -> AsyncIterator[Site]:
    async with site() as place:
        yield place


def answering(*answers: Sequence[str]) -> Resolver:
    """A resolver that gives these answers in turn, and the last one for ever."""
    left = list(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        del host, port
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


async def fetch(
    *urls: str,
    policy: ReferencePolicy | None = None,
    kind: MediaKind = "image",
    resolve: Resolver | None = None,
    buckets: dict[str, MemoryBucket] | None = None,
) -> dict[str, Asset]:
    policy = policy or ReferencePolicy(allow=LOOPBACK, timeout=90)
    fetcher = ReferenceFetcher(policy, (buckets or {}).__getitem__, resolve=resolve)
    references = [Reference(url, ("init_images", index), kind) for index, url in enumerate(urls)]
    try:
        with ExitStack() as keep:
            return await fetcher.fetch(references, keep)
    finally:
        await fetcher.aclose()


async def failure(
    *urls: str,
    policy: ReferencePolicy | None = None,
    kind: MediaKind = "image",
    resolve: Resolver | None = None,
    buckets: dict[str, MemoryBucket] | None = None,
) -> QueueAgentError:
    with pytest.raises(QueueAgentError) as caught:
        await fetch(*urls, policy=policy, kind=kind, resolve=resolve, buckets=buckets)
    return caught.value


@pytest.mark.parametrize(
    ("format_", "media_type"),
    [
        ("PNG", "image/png"),
        ("JPEG", "image/jpeg"),
        ("WEBP", "image/webp"),
        ("GIF", "image/gif"),
        ("BMP", "image/bmp"),
        ("TIFF", "image/tiff"),
        ("AVIF", "image/avif"),
        ("JPEG2000", "image/jpx"),
    ],
)
async def test_the_media_type_is_found_from_the_bytes(
    web: Site, format_: str, media_type: str
) -> None:
    data = picture(format_)
    url = web.serve("/a", data, "Content-Type: text/html")
    assert await fetch(url) == {url: Asset(data, media_type)}


async def test_each_url_is_fetched_once_and_several_together(web: Site) -> None:
    first, second = web.serve("/1.png", picture()), web.serve("/2.jpg", picture("JPEG"))
    assets = await fetch(first, second, first)
    assert {url: asset.media_type for url, asset in assets.items()} == {
        first: "image/png",
        second: "image/jpeg",
    }
    assert len(web.requests) == 2


@pytest.mark.parametrize("scheme", ["http", "s3"])
async def test_a_large_input_lies_in_a_file_until_its_job_ends(web: Site, scheme: str) -> None:
    data = noise(2 * IN_MEMORY)
    inputs = MemoryBucket("inputs")
    inputs.put("a.bmp", data)
    url = web.serve("/a.bmp", data) if scheme == "http" else "s3://inputs/a.bmp"
    policy = ReferencePolicy(allow=LOOPBACK, buckets=frozenset({"inputs"}))
    fetcher = ReferenceFetcher(policy, {"inputs": inputs}.__getitem__)
    before = temporary_files()
    with ExitStack() as keep:
        (asset,) = (await fetcher.fetch([Reference(url, ("mask",))], keep)).values()
        assert asset.media_type == "image/bmp"
        assert not isinstance(asset.content, bytes)
        assert asset.data == data
        assert temporary_files() == before + 1
    await fetcher.aclose()
    assert temporary_files() == before


async def test_of_an_input_that_is_refused_nothing_is_left(web: Site) -> None:
    policy = ReferencePolicy(allow=LOOPBACK, max_bytes=2 * IN_MEMORY)
    before = temporary_files()
    urls = [
        web.serve("/bomb", gzip.compress(bytes(3 * IN_MEMORY)), "Content-Encoding: gzip"),
        web.serve("/zeros", bytes(2 * IN_MEMORY)),
    ]
    for url in urls:
        error = await failure(url, policy=policy)
        assert error.type in {"reference_too_large", "reference_not_image"}
    assert temporary_files() == before


async def test_no_references_are_no_assets() -> None:
    assert await fetch() == {}


async def test_the_host_is_named_though_the_connection_goes_to_its_address(web: Site) -> None:
    web.serve("/a.png", picture())
    url = f"http://images.example.com:{web.port}/a.png?signature=1"
    await fetch(url, resolve=answering(["127.0.0.1"]))
    assert f"host: images.example.com:{web.port}\r\n" in web.requests[0].lower()
    assert web.requests[0].startswith("GET /a.png?signature=1 HTTP/1.1\r\n")


async def test_a_trusted_host_may_be_private(web: Site) -> None:
    web.serve("/a.png", picture())
    policy = ReferencePolicy(allow=("*.internal.example",))
    url = f"http://store.internal.example:{web.port}/a.png"
    assert await fetch(url, policy=policy, resolve=answering(["127.0.0.1"]))


async def test_the_next_address_is_tried_where_one_refuses(web: Site) -> None:
    web.serve("/a.png", picture())
    policy = ReferencePolicy(allow=("127.0.0.0/8",))
    url = f"http://images.example.com:{web.port}/a.png"
    assert await fetch(url, policy=policy, resolve=answering(["127.0.0.9", "127.0.0.1"]))


async def test_redirects_are_followed_three_times(web: Site) -> None:
    web.serve("/end.png", picture())
    web.redirect("/3", "/end.png", "308 Permanent Redirect")
    web.redirect("/2", "3")
    web.redirect("/1", f"{web.url}/2", "301 Moved Permanently")
    assert await fetch(web.url + "/1")
    error = await failure(web.redirect("/0", "/1"))
    assert (type(error), error.type) == (Rejected, "reference_refused")


async def test_a_redirect_loop_ends(web: Site) -> None:
    error = await failure(web.redirect("/loop", "/loop"))
    assert error.type == "reference_refused"
    assert len(web.requests) == 4


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "http://127.0.0.2/",
        "http://2130706433/",
        "//user:password@127.0.0.1/",
        "file:///etc/passwd",
        "s3://bucket/key",
    ],
)
async def test_a_redirect_is_checked_like_the_reference_itself(web: Site, target: str) -> None:
    error = await failure(web.redirect("/a.png", target))
    assert (type(error), error.type) == (Rejected, "reference_forbidden")


async def test_a_second_answer_of_the_name_server_leads_nowhere(web: Site) -> None:
    async with site("127.0.0.2", web.port) as trusted:
        trusted.serve("/a.png", picture())
        trusted.redirect("/again", "/a.png")
        policy = ReferencePolicy(allow=("127.0.0.2/32",))
        host = f"http://rebinding.example.com:{web.port}"

        answers = answering(["127.0.0.2"], ["127.0.0.1"])
        assert await fetch(f"{host}/a.png", policy=policy, resolve=answers)

        answers = answering(["127.0.0.2"], ["127.0.0.1"])
        error = await failure(f"{host}/again", policy=policy, resolve=answers)
        assert error.type == "reference_forbidden"

        error = await failure(
            f"{host}/a.png", policy=policy, resolve=answering(["127.0.0.2", "127.0.0.1"])
        )
        assert error.type == "reference_forbidden"
    assert web.requests == []


@pytest.mark.parametrize(
    ("status", "kind", "type_"),
    [
        ("404 Not Found", Rejected, "reference_not_found"),
        ("410 Gone", Rejected, "reference_not_found"),
        ("400 Bad Request", Rejected, "reference_refused"),
        ("401 Unauthorized", Rejected, "reference_refused"),
        ("403 Forbidden", Rejected, "reference_refused"),
        ("304 Not Modified", Rejected, "reference_refused"),
        ("408 Request Timeout", Unavailable, "reference_unavailable"),
        ("425 Too Early", Unavailable, "reference_unavailable"),
        ("429 Too Many Requests", Unavailable, "reference_unavailable"),
        ("500 Internal Server Error", Unavailable, "reference_unavailable"),
        ("503 Service Unavailable", Unavailable, "reference_unavailable"),
    ],
)
async def test_each_status_has_its_meaning(
    web: Site, status: str, kind: type[QueueAgentError], type_: str
) -> None:
    error = await failure(web.serve("/a.png", status=status))
    assert (type(error), error.type) == (kind, type_)


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
@pytest.mark.parametrize(
    ("header", "asked"),
    [
        ("Retry-After: 17", 17.0),
        ("retry-after:  0 ", 0.0),
        ("Retry-After: 86400", 300.0),
        ("Retry-After: Fri, 31 Dec 2100 23:59:59 GMT", 300.0),
        ("Retry-After: Fri, 31 Dec 1999 23:59:59 GMT", 0.0),
        ("Retry-After: 1e9", 0.0),
        ("Retry-After: -5", 0.0),
        ("Retry-After: soon", 0.0),
    ],
)
async def test_an_input_is_asked_for_again_when_its_host_says_so(
    web: Site, status: str, header: str, asked: float
) -> None:
    error = await failure(web.serve("/a.png", b"", header, status=status))
    assert isinstance(error, Unavailable)
    assert error.retry_after == asked


async def test_a_host_that_refuses_for_good_is_not_asked_again_whatever_else_it_says(
    web: Site,
) -> None:
    error = await failure(web.serve("/a.png", b"", "Retry-After: 5", status="403 Forbidden"))
    assert type(error) is Rejected


@pytest.mark.parametrize(
    ("number", "kind", "type_"),
    [
        (socket.EAI_NONAME, Rejected, "reference_not_found"),
        (socket.EAI_AGAIN, Unavailable, "reference_unavailable"),
        (socket.EAI_FAIL, Unavailable, "reference_unavailable"),
    ],
)
async def test_a_name_that_is_not_resolved(
    number: int, kind: type[QueueAgentError], type_: str
) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(number, f"{host}:{port}")

    error = await failure("https://nowhere.example.com/a.png", resolve=resolve)
    assert (type(error), error.type) == (kind, type_)


async def test_localhost_is_refused_by_the_real_resolver(web: Site) -> None:
    error = await failure(f"http://localhost:{web.port}/", policy=ReferencePolicy())
    assert error.type == "reference_forbidden"
    assert web.requests == []


async def test_a_closed_port_is_unavailable(web: Site) -> None:
    async with site() as other:
        closed = other.url
    del web
    error = await failure(closed + "/a.png")
    assert (type(error), error.type) == (Unavailable, "reference_unavailable")


async def test_a_body_that_trickles_is_given_up(web: Site) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n\x89PNG")

    web.answers["/slow"] = answer
    policy = ReferencePolicy(allow=LOOPBACK, timeout=0.3)
    error = await failure(web.url + "/slow", policy=policy)
    assert (type(error), error.type) == (TimedOut, "reference_unavailable")
    assert "within 0.3 s" in error.message


async def test_half_a_body_is_unavailable(web: Site) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n\x89PNG")
        writer.close()

    web.answers["/half"] = answer
    error = await failure(web.url + "/half")
    assert (type(error), error.type) == (Unavailable, "reference_unavailable")


async def test_a_body_that_claims_to_be_too_large_is_not_read(web: Site) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n")

    web.answers["/huge"] = answer
    assert (await failure(web.url + "/huge")).type == "reference_too_large"


async def test_a_body_without_a_length_is_cut_off_at_the_limit(web: Site) -> None:
    written = 0

    async def answer(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + picture())
        while written < 100 * 2**20:
            writer.write(bytes(2**16))
            written += 2**16
            await writer.drain()

    web.answers["/huge"] = answer
    policy = ReferencePolicy(allow=LOOPBACK, max_bytes=2**20)
    assert (await failure(web.url + "/huge", policy=policy)).type == "reference_too_large"
    assert written < 50 * 2**20


async def test_the_inputs_of_one_job_have_a_limit_together(web: Site) -> None:
    urls = [web.serve(f"/{n}.png", picture()) for n in range(3)]
    policy = ReferencePolicy(allow=LOOPBACK, max_total_bytes=2 * len(picture()))
    assert await fetch(*urls[:2], policy=policy)
    assert (await failure(*urls, policy=policy)).type == "reference_too_large"


async def test_inputs_that_are_too_large_together_are_cut_off_as_they_come(web: Site) -> None:
    written = 0

    async def answer(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + picture())
        while written < 100 * 2**20:
            writer.write(bytes(2**16))
            written += 2**16
            await writer.drain()

    urls = [f"{web.url}/huge-{number}" for number in range(4)]
    for number in range(4):
        web.answers[f"/huge-{number}"] = answer
    policy = ReferencePolicy(allow=LOOPBACK, max_bytes=90 * 2**20, max_total_bytes=2 * 2**20)
    refused = await failure(*urls, policy=policy)
    assert refused.type == "reference_too_large"
    assert "together" in refused.message
    assert written < 50 * 2**20


async def test_objects_that_are_too_large_together_are_cut_off_as_they_come() -> None:
    bucket = MemoryCloud().bucket("inputs")
    for number in range(3):
        await bucket.write(f"{number}.bmp", noise(2**21), media_type="image/bmp")
    policy = ReferencePolicy(buckets=frozenset({"inputs"}), max_total_bytes=5 * 2**20)
    urls = [f"s3://inputs/{number}.bmp" for number in range(3)]
    refused = await failure(*urls, policy=policy, buckets={"inputs": bucket})
    assert (refused.type, "together" in refused.message) == ("reference_too_large", True)


async def test_inputs_of_other_jobs_wait_while_those_held_fill_the_disk() -> None:
    cloud = MemoryCloud()
    bucket = cloud.bucket("inputs")
    await bucket.write("a.bmp", noise(2**21), media_type="image/bmp")
    await bucket.write("a.png", picture(), media_type="image/png")
    policy = ReferencePolicy(
        buckets=frozenset({"inputs"}), max_total_bytes=3 * 2**20, max_held_bytes=4 * 2**20
    )
    fetcher = ReferenceFetcher(policy, {"inputs": bucket}.__getitem__)
    large = [Reference("s3://inputs/a.bmp", ("image",))]
    with ExitStack() as first, ExitStack() as second:
        await fetcher.fetch(large, first)
        waiting = asyncio.create_task(fetcher.fetch(large, second))
        for _ in range(20):
            await asyncio.sleep(0)
        assert [call.operation for call in cloud.calls].count("bucket.read") == 1
        assert await fetcher.fetch([], ExitStack()) == {}, "jobs without inputs do not wait"
        first.close()
        assert await waiting
    small = [Reference("s3://inputs/a.png", ("image",))]
    with ExitStack() as kept:
        for _ in range(8):  # what lies in memory takes no room on the disk
            async with asyncio.timeout(PATIENCE):
                await fetcher.fetch(small, kept)


@pytest.mark.parametrize("key", ["nothing.png", "a.txt"])
async def test_a_job_whose_inputs_are_refused_takes_no_room(key: str) -> None:
    bucket = MemoryCloud().bucket("inputs")
    await bucket.write("a.txt", b"no image", media_type="text/plain")
    policy = ReferencePolicy(buckets=frozenset({"inputs"}), max_held_bytes=1)
    fetcher = ReferenceFetcher(policy, {"inputs": bucket}.__getitem__)
    for _ in range(3):
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(Rejected), ExitStack() as keep:
                await fetcher.fetch([Reference(f"s3://inputs/{key}", ("image",))], keep)


async def test_a_compressed_body_is_unpacked_within_the_limit(web: Site) -> None:
    data = picture("BMP", (64, 64))
    policy = ReferencePolicy(allow=LOOPBACK, max_bytes=2**20)
    url = web.serve("/a.bmp", gzip.compress(data), "Content-Encoding: gzip")
    assert (await fetch(url, policy=policy))[url].data == data
    bomb = web.serve("/bomb", gzip.compress(bytes(40 * 2**20)), "Content-Encoding: gzip")
    assert (await failure(bomb, policy=policy)).type == "reference_too_large"
    assert "accept-encoding: identity" in web.requests[0].lower()


@pytest.mark.parametrize(("encoding", "body"), [("br", b"\x0b\x80"), ("gzip", b"no gzip")])
async def test_a_body_that_cannot_be_unpacked_is_refused(
    web: Site, encoding: str, body: bytes
) -> None:
    error = await failure(web.serve("/a", body, f"Content-Encoding: {encoding}"))
    assert (type(error), error.type) == (Rejected, "reference_refused")


async def test_an_image_of_too_many_pixels_is_refused_by_its_header(web: Site) -> None:
    error = await failure(web.serve("/bomb.png", claimed_png(30_000, 30_000)))
    assert (type(error), error.type) == (Rejected, "reference_too_large")
    assert "30000 x 30000" in error.message
    assert await fetch(web.serve("/fine.png", claimed_png(8_000, 8_000)))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<!doctype html><title>Not found</title>",
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        b"%PDF-1.7",
        picture()[:20],
        picture("ICO", (16, 16)),
        b"\xff\xd8\xff\xe0" + bytes(100),
        b"RIFF\x00\x00\x00\x00WEBPVP8 " + bytes(100),
        b"ID3\x04" + bytes(200),
    ],
)
async def test_what_is_no_image_is_rejected(web: Site, body: bytes) -> None:
    error = await failure(web.serve("/a.png", body, "Content-Type: image/png"))
    assert (type(error), error.type) == (Rejected, "reference_not_image")


async def test_video_and_audio_must_be_what_the_field_wants(web: Site) -> None:
    wave = web.serve("/a.wav", b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(28))
    film = web.serve("/a.webm", b"\x1a\x45\xdf\xa3\x01\x00\x00\x00\x00\x00\x00\x1f\x42\x82\x84webm")
    assert (await fetch(wave, kind="audio"))[wave].media_type.startswith("audio/")
    assert (await fetch(film, kind="video"))[film].media_type == "video/webm"
    assert (await failure(wave, kind="video")).type == "reference_not_video"
    picture_of = web.serve("/a.png", picture())
    assert (await failure(picture_of, kind="audio")).type == "reference_not_audio"


async def test_sound_may_come_in_the_container_of_a_video(web: Site) -> None:
    for film in (ebml(b"webm"), ebml(b"matroska"), iso_media(b"isom", b"isom", b"mp42")):
        url = web.serve("/a", film)
        assert (await fetch(url, kind="audio"))[url].media_type.startswith("video/")


async def test_where_a_file_is_wanted_any_will_do(web: Site) -> None:
    for data in (b"some numbers", wav(), ebml(b"webm"), picture()):
        url = web.serve("/a", data)
        assert (await fetch(url, kind="file"))[url].data == data


async def test_neither_messages_nor_logs_repeat_secrets(
    web: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    found = web.serve("/a.png", picture()) + "?X-Amz-Signature=planted"
    await fetch(found)
    missing = (
        web.serve("/private/b.png", status="404 Not Found") + "?X-Amz-Signature=planted#planted"
    )
    error = await failure(missing)
    assert error.message == (f"init_images[0]: {web.url}/private/b.png does not exist (HTTP 404).")
    with_password = f"http://planted:planted@127.0.0.1:{web.port}/a.png"
    for url in (with_password, f"http://user:plan/ted@127.0.0.1:{web.port}/", "ftp://u:planted@a/"):
        error = await failure(url)
        assert error.type == "reference_forbidden"
        assert "plan" not in error.message
        assert "init_images[0]" in error.message
    assert "credentials" in (await failure(with_password)).message
    assert "planted" not in caplog.text


async def test_cookies_are_not_kept(web: Site) -> None:
    web.serve("/end.png", picture())
    await fetch(web.serve("/1", b"", "Location: /end.png", "Set-Cookie: a=1", status="302 Found"))
    assert "cookie" not in "".join(web.requests).lower()


async def test_the_environments_proxies_are_not_used(
    web: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("NO_PROXY", "")
        assert await fetch(web.serve("/a.png", picture()))
    assert proxy.requests == []


async def test_objects_are_read_from_open_buckets_and_prefixes_only() -> None:
    buckets = {name: MemoryBucket(name) for name in ("inputs", "tenants", "foreign")}
    for bucket in buckets.values():
        for key in ("a/x.png", "ab/x.png", "odd ?#%20.png"):
            bucket.put(key, picture())
    policy = ReferencePolicy(buckets=frozenset({"inputs", "tenants/a"}), max_bytes=2**20)
    for url in ("s3://inputs/a/x.png", "s3://inputs/odd ?#%20.png", "s3://tenants/a/x.png"):
        assert url in await fetch(url, policy=policy, buckets=buckets)
    for url in ("s3://foreign/a/x.png", "s3://tenants/ab/x.png", "s3://tenants/a/../ab/x.png"):
        error = await failure(url, policy=policy, buckets=buckets)
        assert (type(error), error.type) == (Rejected, "reference_forbidden")


async def test_an_object_that_is_missing_or_too_large_is_rejected() -> None:
    buckets = {"inputs": MemoryBucket("inputs")}
    buckets["inputs"].put("big.png", picture() + bytes(2**20))
    policy = ReferencePolicy(buckets=frozenset(buckets), max_bytes=2**20)
    missing = await failure("s3://inputs/none.png", policy=policy, buckets=buckets)
    assert (type(missing), missing.type) == (Rejected, "reference_not_found")
    large = await failure("s3://inputs/big.png", policy=policy, buckets=buckets)
    assert (type(large), large.type) == (Rejected, "reference_too_large")


@pytest.mark.parametrize(
    ("cause", "kind", "type_"),
    [
        ("cloud_unauthorized", Rejected, "reference_refused"),
        ("cloud_unavailable", Unavailable, "reference_unavailable"),
    ],
)
async def test_an_object_that_the_agent_may_not_read_is_rejected_at_once(
    cause: str, kind: type[QueueAgentError], type_: str
) -> None:
    cloud = MemoryCloud()
    cloud.faults.fail("bucket.read", Unavailable("Could not read it.", type=cause))
    policy = ReferencePolicy(buckets=frozenset({"inputs"}))
    buckets = {"inputs": cloud.bucket("inputs")}
    error = await failure("s3://inputs/a.png", policy=policy, buckets=buckets)
    assert (type(error), error.type) == (kind, type_)


async def test_one_bad_reference_fails_the_job_and_stops_the_others(web: Site) -> None:
    slow_was_asked = asyncio.Event()

    async def slow(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        slow_was_asked.set()

    async def bad(writer: asyncio.StreamWriter) -> None:
        await slow_was_asked.wait()
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    web.answers |= {"/slow": slow, "/bad": bad}
    error = await failure(web.url + "/slow", web.url + "/bad")
    assert error.type == "reference_not_found"
    assert {await web.left.get(), await web.left.get()} == {"/slow", "/bad"}


async def test_the_certificate_must_name_the_host_on_every_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, pem = certified("good.example.com", tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    policy = ReferencePolicy(allow=LOOPBACK)
    async with site(tls=context) as secure:
        secure.serve("/a.png", picture())
        keep = ExitStack()
        fetcher = ReferenceFetcher(policy, MemoryBucket, resolve=answering(["127.0.0.1"]))
        good = Reference(f"https://good.example.com:{secure.port}/a.png", ("mask",))
        evil = Reference(f"https://evil.example.com:{secure.port}/a.png", ("mask",))
        try:
            assert await fetcher.fetch([good], keep)
            with pytest.raises(Unavailable, match=r"(?i)certificate"):
                await fetcher.fetch([evil], keep)
            with pytest.raises(Unavailable, match=r"(?i)certificate"):
                await fetcher.fetch([Reference(f"{secure.url}/a.png", ("mask",))], keep)
        finally:
            await fetcher.aclose()
    assert len(secure.requests) == 1
