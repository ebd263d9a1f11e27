"""Who may be contacted for an input; no case of these tables reaches the server beside it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address

import pytest

from queue_agent.cloud import Bucket
from queue_agent.inputs.addresses import Allowlist, HttpLocation, ObjectLocation, is_public
from queue_agent.inputs.references import ReferenceFetcher, ReferencePolicy
from queue_agent.runtime import Reference
from queue_agent.wire.errors import Rejected

NOT_PUBLIC = [
    # loopback, unspecified, this network
    *("127.0.0.1", "127.0.0.2", "127.255.255.254", "0.0.0.0", "0.1.2.3", "::1", "::"),
    # private, shared, link-local
    *("10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("100.64.0.1", "100.127.255.255", "169.254.0.1", "fe80::1", "fe80::1%eth0", "febf::1"),
    *("fc00::1", "fd12:3456:789a::1", "fec0::1"),
    # metadata services
    *("169.254.169.254", "fd00:ec2::254", "169.254.170.2", "169.254.170.23", "fd00:ec2::23"),
    *("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd20:ce::254"),
    # special purposes, documentation, reserved
    *("192.0.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "192.88.99.1"),
    *("198.18.0.1", "198.19.255.255", "240.0.0.1", "255.255.255.255"),
    *("100::1", "2001:db8::1", "3fff::1", "2001:2::1", "5f00::1", "4000::1"),
    # multicast
    *("224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"),
    # IPv4 inside IPv6: mapped, compatible, translated, NAT64, 6to4, Teredo
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1", "::7f00:1"),
    *("::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254"),
    *("64:ff9b:1::1", "64:ff9b:1::8.8.8.8", "2002:7f00:1::", "2002:a00:1::1", "2002:a9fe:a9fe::"),
    *("2001:0:4136:e378:8000:63bf:80ff:fffe", "2001:0:7f00:1::"),
]

PUBLIC = [
    *("8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "169.253.0.1", "11.0.0.1"),
    *("2606:4700::1111", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"),
    *("2002:808:808::1",),
]

TRICKS = [
    # every other spelling of 127.0.0.1 that inet_aton, a browser or a careless parser takes
    *("http://127.1:{port}/", "http://127.0.1:{port}/", "http://127:{port}/"),
    *("http://2130706433:{port}/", "http://0x7f000001:{port}/", "http://0x7f.1:{port}/"),
    *("http://0x7F.0.0.1:{port}/", "http://0177.0.0.1:{port}/", "http://017700000001:{port}/"),
    *("http://127.0.0.01:{port}/", "http://127.0.0.1.:{port}/", "http://127.0.0.0x1:{port}/"),
    *("http://0:{port}/", "http://0x:{port}/", "http://127.0.0.1.5:{port}/"),
    *("http://127.0.0.256:{port}/", "http://a.127:{port}/", "http://4294967297:{port}/"),
    # other scripts and escapes
    "http://\uff11\uff12\uff17.0.0.1:{port}/",
    "http://127\u30020\u30020\u30021:{port}/",
    "http://\u2460\u2461\u2466.0.0.1:{port}/",
    "http://loc\u00adalhost:{port}/",
    "http://ex\u0430mple.com:{port}/",
    *("http://%31%32%37.0.0.1:{port}/", "http://127.0.0.1%00.example.com:{port}/"),
    # brackets and zone ids
    *("http://[::1]:{port}/", "http://[0:0:0:0:0:0:0:1]:{port}/", "http://[::ffff:7f00:1]:{port}/"),
    *("http://[127.0.0.1]:{port}/", "http://[::1%25lo]:{port}/", "http://[fe80::1%25eth0]:{port}/"),
    *("http://[::1]example.com:{port}/", "http://[::1:{port}/", "http://::1:{port}/"),
    "http://[v1.127]:{port}/",
    # credentials and parsers' disagreements
    *("http://user:password@127.0.0.1:{port}/", "http://example.com@127.0.0.1:{port}/"),
    *("http://127.0.0.1:{port}\\@example.com/", "http://example.com\\@127.0.0.1:{port}/"),
    *("http://127.0.0.1:{port}#@example.com/", "http://127.0.0.1:{port}?@example.com/"),
    *(
        "http://example.com#@127.0.0.1:{port}/",
        "http:///127.0.0.1:{port}/",
        "http:127.0.0.1:{port}",
    ),
    *("http://", "http://:{port}/", "http:// 127.0.0.1:{port}/", " http://127.0.0.1:{port}/"),
    *(
        "http://127.0.0.1\t:{port}/",
        "http://127.0.0.1\r\nHost: x:{port}/",
        "http://127.0.0.1:{port}/\0",
    ),
    *(
        "http://localhost:99999/",
        "http://localhost:0/",
        "http://localhost:+{port}/",
        "http://a..b/",
    ),
    # names that lead home; the resolver says 127.0.0.1 to each
    *("http://localhost:{port}/", "http://localhost.:{port}/", "http://LOCALHOST:{port}/"),
    *("http://example.com:{port}/", "http://127.0.0.1.example.com:{port}/", "http://redis:{port}/"),
    # other schemes
    *("file:///etc/passwd", "FILE:///etc/passwd", "ftp://127.0.0.1:{port}/", "gopher://127.0.0.1/"),
    *("dict://127.0.0.1:{port}/", "data://text/plain,x", "unix:///run/docker.sock", "://127.0.0.1"),
    *("ws://127.0.0.1:{port}/", "jar:http://127.0.0.1:{port}/!/", "http+unix://%2Frun%2Fx/"),
]


@dataclass
class Door:
    """A server on the loopback interface that counts who knocks."""

    port: int = 0
    knocks: int = 0


@asynccontextmanager
async def opened() -> AsyncIterator[Door]:
    door = Door()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        door.knocks += 1
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1")
    door.port = server.sockets[0].getsockname()[1]
    async with server:
        yield door


def no_bucket(name: str) -> Bucket:
    raise AssertionError(f"the bucket {name} is not to be touched")


async def refusal(url: str, answer: Sequence[str] = ("127.0.0.1",)) -> Rejected:
    async def resolve(host: str, port: int) -> Sequence[str]:
        del host, port
        return answer

    fetcher = ReferenceFetcher(ReferencePolicy(timeout=90), no_bucket, resolve=resolve)
    try:
        with pytest.raises(Rejected) as caught:
            await fetcher.fetch([Reference(url, ("init_images", 0))], ExitStack())
    finally:
        await fetcher.aclose()
    return caught.value


@pytest.mark.parametrize("address", NOT_PUBLIC)
async def test_a_name_that_leads_to_an_address_that_is_not_public_is_refused(address: str) -> None:
    async with opened() as door:
        error = await refusal(f"http://images.example.com:{door.port}/a.png", [address])
        assert (error.type, door.knocks) == ("reference_forbidden", 0)


@pytest.mark.parametrize("address", [a for a in NOT_PUBLIC if "%" not in a])
async def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    async with opened() as door:
        error = await refusal(f"http://{host}:{door.port}/a.png")
        assert (error.type, door.knocks) == ("reference_forbidden", 0)


@pytest.mark.parametrize("url", TRICKS)
async def test_a_trick_reaches_no_server(url: str) -> None:
    async with opened() as door:
        error = await refusal(url.replace("{port}", str(door.port)))
        assert (error.type, door.knocks) == ("reference_forbidden", 0)


async def test_one_bad_address_among_good_ones_condemns_the_name() -> None:
    async with opened() as door:
        error = await refusal(f"http://a.example.com:{door.port}/", ["8.8.8.8", "127.0.0.1"])
        assert (error.type, door.knocks) == ("reference_forbidden", 0)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_permitted(address: str) -> None:
    assert is_public(ip_address(address))
    assert Allowlist.parse(()).permits("example.com", ip_address(address))


@pytest.mark.parametrize(
    ("allow", "host", "address", "permitted"),
    [
        ("10.0.0.0/8", "minio", "10.1.2.3", True),
        ("10.0.0.0/8", "minio", "11.1.2.3", True),
        ("10.0.0.0/8", "minio", "192.168.0.1", False),
        ("10.0.0.0/8", "minio", "::ffff:10.0.0.1", True),
        ("10.0.0.0/8", "minio", "64:ff9b::10.0.0.1", True),
        ("fd00::/8", "minio", "fd12::1", True),
        ("192.168.0.1", "192.168.0.1", "192.168.0.1", True),
        ("192.168.0.1", "192.168.0.2", "192.168.0.2", False),
        ("minio", "minio", "10.0.0.1", True),
        ("MinIO.", "minio", "10.0.0.1", True),
        ("minio", "minio.evil.example", "10.0.0.1", False),
        ("*.svc.cluster.local", "minio.store.svc.cluster.local", "10.0.0.1", True),
        ("*.svc.cluster.local", "svc.cluster.local", "10.0.0.1", False),
        ("*.svc.cluster.local", "evilsvc.cluster.local", "10.0.0.1", False),
        ("*.svc.cluster.local", "svc.cluster.local.evil.example", "10.0.0.1", False),
        # what holds a metadata service unnoticed does not open it
        ("169.254.0.0/16", "a", "169.254.169.254", False),
        ("169.254.0.0/16", "a", "169.254.1.1", True),
        ("100.64.0.0/10", "a", "100.100.100.200", False),
        ("fd00::/8", "a", "fd00:ec2::254", False),
        ("0.0.0.0/0", "a", "::ffff:169.254.169.254", False),
        ("*.ec2.internal", "instance-data.ec2.internal", "169.254.169.254", False),
        ("169.254.169.254", "a", "169.254.169.254", True),
    ],
)
def test_the_operator_opens_networks_and_hosts(
    allow: str, host: str, address: str, permitted: bool
) -> None:
    assert Allowlist.parse([allow]).permits(host, ip_address(address)) is permitted


@pytest.mark.parametrize(
    "entry", ["10.0.0.1/8", "10.0.0.0/33", "127.1", "a b", "*", "*.*.example.com", "minio:9000", ""]
)
def test_an_allow_entry_that_means_nothing_is_an_error(entry: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        ReferencePolicy(allow=(entry,))


@pytest.mark.parametrize(
    ("url", "authority", "asked"),
    [
        ("HTTPS://Example.COM./a%20b?q=1#f", "example.com", "https://8.8.8.8:443/a%20b?q=1"),
        ("http://example.com:8080", "example.com:8080", "http://8.8.8.8:8080/"),
        ("http://example.com:/?q", "example.com", "http://8.8.8.8:80/?q"),
        ("https://xn--bcher-kva.example/\u00e9.png", "xn--bcher-kva.example", None),
        ("https://[2606:4700::1111]:444/a", "[2606:4700::1111]:444", None),
        ("https://my_bucket.s3.example.com/a", "my_bucket.s3.example.com", None),
    ],
)
def test_a_sound_url_keeps_its_meaning(url: str, authority: str, asked: str | None) -> None:
    location = HttpLocation.parse(url)
    assert location.authority == authority
    if asked:
        assert location.at(ip_address("8.8.8.8")) == asked


def test_a_redirect_may_be_relative_but_not_leave_https() -> None:
    here = HttpLocation.parse("https://example.com/a/b.png?token=1")
    assert here.redirected("../c.png?x=2").public == "https://example.com/c.png"
    assert here.redirected("//cdn.example.com/d").public == "https://cdn.example.com/d"
    for target in (
        "http://example.com/a/b.png",
        "s3://bucket/key",
        "file:///etc/passwd",
        "//[",
        "//u@h/",
    ):
        with pytest.raises(Rejected):
            here.redirected(target)


@pytest.mark.parametrize(
    "url",
    [
        *("s3://", "s3://bucket", "s3://bucket/", "s3:///key", "s3://Bucket_/key", "s3://a@b/key"),
        *("s3://bucket/a/../b", "s3://bucket/..", "s3://bucket/./a", "s3://bucket/a\\..\\b"),
        "s3://bucket/a\nb",
    ],
)
def test_an_s3_url_that_names_no_object_or_leaves_its_prefix_is_refused(url: str) -> None:
    with pytest.raises(Rejected):
        ObjectLocation.parse(url)
