"""Who may ask, and how much."""

import base64
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from gateway_site import Content, Site, client_of, finished
from harness import PATIENCE
from queue_agent.gateway.keys import new_key
from queue_agent.testing.process import ServerProcess


class Keys:
    """A keys file that the tests write."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.entries: list[dict[str, Any]] = []

    def add(self, name: str, **limits: int) -> str:
        key, entry = new_key(name)
        self.entries.append({**entry.model_dump(exclude_defaults=True), **limits})
        self.write()
        return key

    def revoke(self, name: str) -> None:
        for entry in self.entries:
            if entry["name"] == name:
                entry["revoked"] = True
        self.write()

    def write(self) -> None:
        written = self.file.with_suffix(".new")
        written.write_text(json.dumps({"keys": self.entries}))
        written.replace(self.file)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    made = Keys(tmp_path_factory.mktemp("keys") / "keys.json")
    made.write()
    return made


@pytest.fixture(scope="module")
def guarded(site: Site, keys: Keys) -> ServerProcess:
    """A gateway that asks for keys."""
    gateway: ServerProcess = site.start_gateway(QUEUE_AGENT_GATEWAY_KEYS_FILE=str(keys.file))
    return gateway


@pytest.mark.parametrize("key", [None, "wrong", "qag_" + "A" * 43, "é", "x" * 5000])
@pytest.mark.parametrize(
    "path", ["/v1/jobs", "/v1/jobs/x", "/v1/jobs/x/events", "/v1/runtimes", "/v1/jobs/x/images/1"]
)
async def test_without_a_valid_key_nothing_is_told(
    guarded: ServerProcess, key: str | None, path: str
) -> None:
    headers = {} if key is None else {b"authorization": f"Bearer {key}".encode()}
    async with client_of(guarded) as api:
        answer = await api.get(path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_key_works_as_bearer_token_as_header_and_as_password(
    guarded: ServerProcess, keys: Keys
) -> None:
    key = keys.add("three-ways")
    basic = base64.b64encode(f"anyone:{key}".encode()).decode()
    given = [
        {"Authorization": f"Bearer {key}"},
        {"X-Api-Key": key},
        {"Authorization": f"Basic {basic}"},
    ]
    async with client_of(guarded) as api:
        statuses = [(await api.get("/v1/jobs", headers=way)).status_code for way in given]
    assert statuses == [200, 200, 200]


async def test_a_key_is_revoked_without_a_restart(guarded: ServerProcess, keys: Keys) -> None:
    key = keys.add("revoked-soon")
    async with client_of(guarded, key) as api:
        assert (await api.get("/v1/jobs")).status_code == 200
        keys.revoke("revoked-soon")
        assert (await api.get("/v1/jobs")).status_code == 401


async def test_a_broken_keys_file_leaves_the_last_keys_in_force(
    guarded: ServerProcess, keys: Keys
) -> None:
    key = keys.add("kept")
    async with client_of(guarded, key) as api:
        assert (await api.get("/v1/jobs")).status_code == 200
        keys.file.write_text("{")
        assert (await api.get("/v1/jobs")).status_code == 200
    keys.write()


async def test_a_job_is_nobody_elses_business(
    guarded: ServerProcess, keys: Keys, content: Content
) -> None:
    one, other = keys.add("owner"), keys.add("stranger")
    async with client_of(guarded, one) as mine, client_of(guarded, other) as theirs:
        job = (await mine.post("/v1/jobs", json={"content": content("private")})).json()
        url = f"/v1/jobs/{job['id']}"
        assert (await mine.get(url)).status_code == 200
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/events"), ("POST", "/wait")):
            assert (await theirs.request(method, url + path)).status_code == 404
        assert (await theirs.get("/v1/jobs")).json()["jobs"] == []


async def test_too_many_requests_a_minute_are_refused_with_the_time_to_wait(
    guarded: ServerProcess, keys: Keys
) -> None:
    async with client_of(guarded, keys.add("hasty", rate=3)) as api:
        answers = [await api.get("/v1/runtimes") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 20


async def test_unfinished_jobs_are_limited_for_all_gateways_together(
    site: Site, guarded: ServerProcess, keys: Keys, content: Content
) -> None:
    other = site.start_gateway(QUEUE_AGENT_GATEWAY_KEYS_FILE=str(keys.file))
    key = keys.add("greedy", jobs_in_flight=2)
    body = {"content": content("in flight", steps=1000)}
    async with client_of(guarded, key) as one, client_of(other, key) as two:
        jobs = [(await api.post("/v1/jobs", json=body)).json()["id"] for api in (one, two)]
        refused = await one.post("/v1/jobs", json=body)
        assert (refused.status_code, refused.json()["type"]) == (
            429,
            "urn:queue-agent:problem:too-many-jobs",
        )
        for job_id in jobs:
            await one.delete(f"/v1/jobs/{job_id}")
        for job_id in jobs:
            await finished(one, job_id)
        assert (await two.post("/v1/jobs", json={"content": content("free")})).status_code == 202
    other.stop()


async def test_a_websocket_without_a_key_is_refused_and_with_one_as_subprotocol_is_not(
    guarded: ServerProcess, keys: Keys, content: Content
) -> None:
    key = keys.add("socket")
    async with client_of(guarded, key) as api:
        job = (await api.post("/v1/jobs", json={"content": content("by socket")})).json()
    url = f"ws://127.0.0.1:{guarded.port}/v1/jobs/{job['id']}/events"
    with pytest.raises(InvalidStatus) as refusal:
        await connect(url, open_timeout=PATIENCE)
    assert refusal.value.response.status_code == 401
    protocols = [Subprotocol(f"queue-agent.key.{key}")]
    async with connect(url, subprotocols=protocols, open_timeout=PATIENCE) as socket:
        views = [json.loads(message) async for message in socket]
    assert views[-1]["status"] == "completed"


def test_the_command_makes_a_key_whose_entry_opens_a_gateway() -> None:
    name = f"made-{secrets.token_hex(4)}"
    command = [sys.executable, "-m", "queue_agent", "gateway-key", name]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    entry = json.loads(made.stdout)
    assert entry["name"] == name
    assert made.stderr.strip() not in made.stdout
    bad = subprocess.run([*command[:-1], "no/name"], capture_output=True, text=True, check=False)
    assert bad.returncode == 2


def test_a_gateway_that_others_can_reach_does_not_start_without_keys(site: Site) -> None:
    command = [sys.executable, "-m", "queue_agent", "gateway", "--host", "0.0.0.0"]
    ended = subprocess.run(
        command,
        env={**os.environ, **site.environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 2
    assert "QUEUE_AGENT_GATEWAY_KEYS_FILE" in ended.stderr
