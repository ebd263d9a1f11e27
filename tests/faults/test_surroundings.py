"""What a pod does to its processes: clocks that jump, credentials that expire, full disks."""

import platform
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from faults.rig import Rig
from harness import until
from queue_agent.testing.fault_proxy import Request, Status
from queue_agent.testing.process import HOST, free_port

FAKETIME = next(Path("/usr/lib").glob(f"{platform.machine()}-*/faketime/libfaketime.so.1"), None)


@pytest.mark.skipif(FAKETIME is None, reason="Debian's libfaketime is not installed")
@pytest.mark.parametrize(("first", "then"), [("+0", "+1h"), ("+1h", "-1h"), ("-1h", "+0")])
async def test_jobs_expire_by_the_cloud_whatever_the_wall_clock_says(
    any_rig: Rig, tmp_path: Path, first: str, then: str
) -> None:
    rig = any_rig
    clock = tmp_path / "clock"
    clock.write_text(first)
    await rig.agent(
        LD_PRELOAD=str(FAKETIME),
        FAKETIME_TIMESTAMP_FILE=str(clock),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )
    soon = (datetime.now(UTC) + timedelta(minutes=30)).isoformat()
    just_now = (datetime.now(UTC) - timedelta(minutes=30)).isoformat()
    (job_id,) = await rig.publish("steady", steps=25, expires_at=soon)
    await rig.publish("late", ends={"expired"}, expires_at=just_now)
    await rig.running(job_id)
    clock.write_text(then)
    await rig.publish("after-the-jump", steps=25, expires_at=soon)
    await rig.publish("later", ends={"expired"}, expires_at=just_now)
    (await rig.settled()).check()

    async def warned() -> bool:
        (agent,) = rig.started
        return "clock differs from the cloud's" in agent.log.read_text()

    await until(warned, what="a word about the clock")


@dataclass
class CredentialsEndpoint:
    """What pod identity offers: keys that are good for a while, here until `expire`."""

    url: str
    handed_out: int = 0
    expired: set[str] = field(default_factory=set)

    async def answer(self, _request: web.Request) -> web.Response:
        self.handed_out += 1
        soon = datetime.now(UTC) + timedelta(minutes=1)  # the SDK renews ten minutes before
        return web.json_response(
            {
                "AccessKeyId": f"KEY{self.handed_out}",
                "SecretAccessKey": "secret",
                "Token": "token",
                "Expiration": soon.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        )

    def expire(self) -> None:
        """All keys so far are refused from now on."""
        self.expired = {f"KEY{number}" for number in range(1, self.handed_out + 1)}

    def refuses(self, request: Request) -> bool:
        signature = request.headers.get("authorization", "")
        return any(f"Credential={key}/" in signature for key in self.expired)


@asynccontextmanager
async def credentials_endpoint() -> AsyncIterator[CredentialsEndpoint]:
    port = free_port()
    endpoint = CredentialsEndpoint(f"http://{HOST}:{port}/credentials")
    application = web.Application()
    application.router.add_get("/credentials", endpoint.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port).start()
        yield endpoint
    finally:
        await runner.cleanup()


async def test_credentials_that_expire_during_a_run_are_renewed(rig: Rig) -> None:
    refused = Status(403, b"<Error><Code>ExpiredToken</Code></Error>")
    async with credentials_endpoint() as endpoint:
        await rig.agent(
            AWS_ACCESS_KEY_ID=None,
            AWS_SECRET_ACCESS_KEY=None,
            AWS_SESSION_TOKEN=None,
            AWS_CONTAINER_CREDENTIALS_FULL_URI=endpoint.url,
        )
        with rig.cloud.fault(refused, endpoint.refuses):
            (job_id,) = await rig.publish("lasting", steps=50)
            await rig.running(job_id)
            endpoint.expire()
            (await rig.settled()).check()
        assert endpoint.handed_out > len(endpoint.expired) > 0


async def test_an_agent_needs_no_room_on_any_disk(rig: Rig) -> None:
    await rig.agent(may_write_files=False, TMPDIR="/nowhere")
    await rig.publish("diskless", "diskless")
    (await rig.settled()).check()
