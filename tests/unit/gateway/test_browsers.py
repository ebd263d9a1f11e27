"""A page of others gets nothing from a gateway by its visitor's browser."""

import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse

from gateway_bench import Gateways, client_of
from queue_agent.wire.web_origin import TrustedHosts

OURS = [
    "localhost", "localhost:8000", "LocalHost:8000", "localhost.", "localhost.:80", "127.0.0.1",
    "127.0.0.1:8000", "127.8.9.10", "[::1]", "[::1]:8000",
]  # fmt: skip
HOSTILE = [
    "rebound.example", "rebound.example:8000", "", ".", "localhost.rebound.example",
    "127.0.0.1.rebound.example", "evil.localhost", "localhost..", "localhost:8000:8000",
    "localhost:", "localhost:99999", "localhost:-1", "localhost@rebound.example",
    "rebound.example@localhost", "localhost#rebound.example", "localhost/rebound.example",
    "localhost\\rebound.example", "localhost rebound.example", "localhost,rebound.example",
    "::1", "[::1", "[::1]rebound.example", "[::1]:", "[2001:db8::1]", "[fe80::1%25lo]", "10.0.0.1",
    "169.254.169.254", "0x7f000001", "2130706433", "l\u043ecalhost",
]  # fmt: skip
FOREIGN = [
    "http://rebound.example", "https://rebound.example", "null", "", "file://", "http://localhost",
    "http://localhost:8001", "http://localhost:8000.rebound.example", "http://127.0.0.1:8000",
    "http://user@localhost:8000", "chrome-extension://localhost:8000", "localhost:8000",
    "http://localhost:8000/path", "http://[::1]:8000",
]  # fmt: skip
JOB = {"content": {"prompt": "a lighthouse"}}


@pytest.mark.parametrize("host", OURS)
async def test_a_gateway_without_keys_is_called_by_names_of_the_loopback_interface(
    gateways: Gateways, host: str
) -> None:
    async with client_of(await gateways.start(), Host=host) as client:
        assert (await client.get("/v1/jobs")).status_code == 200
        assert (await client.post("/v1/jobs", json=JOB)).status_code == 202


@pytest.mark.parametrize("host", [host for host in HOSTILE if host.isascii()])
async def test_a_gateway_without_keys_has_no_other_name(gateways: Gateways, host: str) -> None:
    async with client_of(await gateways.start(), Host=host) as client:
        for path in ("/", "/v1/jobs", "/v1/jobs/a", "/openapi.json", "/static/app.js"):
            assert (await client.get(path)).status_code == 421
        assert (await client.post("/v1/jobs", json=JOB)).status_code == 421
        assert (await client.get("/healthz")).status_code == 200
    assert gateways.cloud.topic("jobs").published == []


@pytest.mark.parametrize("host", HOSTILE)
def test_what_only_looks_like_a_name_of_ours_is_none(host: str) -> None:
    assert not TrustedHosts(["images.example"], addresses=False).trust(host)


async def test_two_names_are_none(gateways: Gateways) -> None:
    async with client_of(await gateways.start()) as client:
        hosts = [("Host", "localhost"), ("Host", "rebound.example")]
        assert (await client.get("/v1/jobs", headers=hosts)).status_code == 421


@pytest.mark.parametrize("host", ["images.example", "Images.Example.:443", "localhost"])
@pytest.mark.parametrize("keys", [False, True])
async def test_the_operator_gives_a_gateway_names(
    gateways: Gateways, host: str, keys: bool
) -> None:
    app = await gateways.start(keys=keys, trusted_hosts=("images.example",))
    async with client_of(app, "one", Host=host) as client:
        assert (await client.get("/v1/jobs")).status_code == 200
        other = await client.get("/v1/jobs", headers={"Host": "other.example"})
    assert other.status_code == 421


async def test_any_name_will_do_where_the_operator_says_so_or_keys_are_asked_for(
    gateways: Gateways,
) -> None:
    for settings in ({"trusted_hosts": ("*",)}, {"keys": True}):
        app = await gateways.start(**settings)
        async with client_of(app, "one", Host="any.example") as client:
            assert (await client.get("/v1/jobs")).status_code == 200


async def test_a_gateway_that_others_may_use_is_called_by_any_address(gateways: Gateways) -> None:
    app = await gateways.start(host="0.0.0.0", open=True)
    async with client_of(app, Host="10.0.0.1:8000") as client:
        assert (await client.get("/v1/jobs")).status_code == 200
        name = await client.get("/v1/jobs", headers={"Host": "rebound.example"})
    assert name.status_code == 421


@pytest.mark.parametrize("origin", FOREIGN)
@pytest.mark.parametrize("keys", [False, True])
async def test_a_page_of_others_changes_nothing(
    gateways: Gateways, origin: str, keys: bool
) -> None:
    app = await gateways.start(keys=keys)
    async with client_of(app, "one", Host="localhost:8000", Origin=origin) as client:
        for path in ("/v1/jobs", "/task", "/sdapi/v1/txt2img", "/v1/images/generations"):
            assert (await client.post(path, json=JOB)).status_code == 403
        assert (await client.delete("/v1/jobs/a")).status_code == 403
    assert gateways.cloud.topic("jobs").published == []


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8000", "http://localhost:8000"),
        ("LOCALHOST:8000", "http://localhost:8000"),
        ("localhost", "http://localhost:80"),
        ("localhost", "https://localhost"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("localhost", "https://page.example"),
        ("localhost", "https://PAGE.example"),
    ],
)
async def test_its_own_page_and_pages_that_the_operator_names_may_ask_for_images(
    gateways: Gateways, host: str, origin: str
) -> None:
    app = await gateways.start(cors_origins=("https://page.example",))
    async with client_of(app, Host=host, Origin=origin) as client:
        assert (await client.post("/v1/jobs", json=JOB)).status_code == 202


async def test_two_origins_are_none(gateways: Gateways) -> None:
    async with client_of(await gateways.start()) as client:
        origins = [("Origin", "http://localhost"), ("Origin", "http://rebound.example")]
        assert (await client.post("/v1/jobs", json=JOB, headers=origins)).status_code == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://rebound.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:8000"}, 403),
        ({"Host": "rebound.example", "Origin": "http://rebound.example"}, 421),
        ({"Host": "rebound.example"}, 421),
    ],
)
def test_a_page_of_others_reads_no_job_by_web_socket(
    gateways: Gateways, headers: dict[str, str], status: int
) -> None:
    with TestClient(gateways.app(), base_url="http://localhost") as client:
        job = client.post("/v1/jobs", json=JOB).json()
        url = f"/v1/jobs/{job['id']}/events"
        with (
            pytest.raises(WebSocketDenialResponse) as denied,
            client.websocket_connect(url, headers={"Host": "localhost", **headers}),
        ):
            pass
        assert denied.value.status_code == status
        for own in ({}, {"Origin": "http://localhost"}):
            with client.websocket_connect(url, headers={"Host": "localhost", **own}) as socket:
                assert socket.receive_json()["id"] == job["id"]
                socket.close()
