"""Nothing secret is told: planted secrets are looked for in all that an agent leaves behind.

The agent's own secrets must appear nowhere. What a publisher sent stays where the publisher's
own data is kept (the body of a quarantined message; `metadata` and `context` of a manifest),
and gets into no log, no notification and no message of an error.
"""

import asyncio
import io
import json
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from PIL import Image

from harness import PATIENCE, JsonObject, Scene, scene, webui_process
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.process import ServerProcess, free_port
from queue_agent.wire.layout import QUARANTINE

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOST = "127.0.0.2"
"""The one loopback address that the operator of these tests allows."""
PLANTED = "planted"

AWS_SECRET = f"{PLANTED}AwsSecretKey"
SESSION_TOKEN = f"{PLANTED}AwsSessionToken"
PASSWORD = f"{PLANTED}RuntimePassword"
API_KEY = f"{PLANTED}ApiKey"
WEBHOOK_SECRET = f"whsec_{PLANTED}WebhookSecret{'0' * 12}"
OWN = (AWS_SECRET, SESSION_TOKEN, PASSWORD, API_KEY, WEBHOOK_SECRET.removeprefix("whsec_"))

SIGNATURE = "X-Amz-Expires=60&X-Amz-Signature=plantedSignature&X-Amz-Security-Token=plantedToken"

BROKEN_ADAPTER = '''
from queue_agent_runtimes.webui import WebUIRuntime

class BrokenRuntime(WebUIRuntime):
    """Quotes the job where it fails, as foreign exceptions do."""

    async def prepare(self, job, assets):
        if job.content["prompt"] == "bug":
            raise KeyError(f"no idea of {job.content} or http://u:plantedInBug@example.com/")
        return await super().prepare(job, assets)
'''


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(file, "PNG")
    return file.getvalue()


@dataclass
class Site:
    """A server that references and callbacks may name."""

    port: int
    callbacks: dict[str, str] = field(default_factory=dict)
    """What was sent, by path."""

    def url(self, path: str) -> str:
        return f"http://{HOST}:{self.port}/{path}?{SIGNATURE}"

    async def answer(self, request: web.Request) -> web.Response:
        match request.path:
            case "/cat.png" | "/bug.png":
                return web.Response(body=picture())
            case "/busy.png":
                return web.Response(status=503, text=SIGNATURE)
            case "/moved.png":
                raise web.HTTPFound(self.url("gone.png"))
            case "/metadata":
                raise web.HTTPFound(f"http://169.254.169.254/?{SIGNATURE}")
            case "/page":
                return web.Response(text=SIGNATURE)
            case "/plantedHook/ok" | "/plantedHook/broken":
                self.callbacks[request.path] = await request.text()
                return web.Response(status=200 if request.path.endswith("ok") else 500)
        raise web.HTTPNotFound


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[Site]:
    server = Site(free_port())
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", server.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, HOST, server.port).start()
    yield server
    await runner.cleanup()


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the broken adapter, installed as far as entry points are concerned."""
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "broken_adapter.py").write_text(BROKEN_ADAPTER)
    installed = folder / "broken_adapter-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-adapter\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(
        "[queue_agent.runtimes]\nbroken = broken_adapter:BrokenRuntime\n"
    )
    return folder


@pytest.fixture(scope="module")
def guarded_webui() -> Iterator[ServerProcess]:
    with webui_process("--step-seconds", "0.01", "--api-auth", f"agent:{PASSWORD}") as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["json", "console"])
async def watched(
    request: pytest.FixtureRequest,
    embedded_cloud: EmbeddedCloud,
    guarded_webui: ServerProcess,
    plugins: Path,
    site: Site,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Scene]:
    """A stage after one agent, full of secrets and logging all it can, has seen everything."""
    settings = {
        "PYTHONPATH": str(plugins),
        "AWS_SECRET_ACCESS_KEY": AWS_SECRET,
        "AWS_SESSION_TOKEN": SESSION_TOKEN,
        "QUEUE_AGENT_RUNTIME": "broken",
        "QUEUE_AGENT_RUNTIME_URL": guarded_webui.url,
        "QUEUE_AGENT_RUNTIME_AUTH": f"agent:{PASSWORD}",
        "QUEUE_AGENT_RUNTIME_API_KEY": f"{API_KEY}\n",
        "QUEUE_AGENT_WEBHOOK_HOSTS": f"{HOST}/32",
        "QUEUE_AGENT_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "QUEUE_AGENT_REFERENCE_ALLOW": f"{HOST}/32",
        "QUEUE_AGENT_LOG_LEVEL": "DEBUG",
        "QUEUE_AGENT_LOG_FORMAT": request.param,
        "QUEUE_AGENT_RETRY_DELAY": "0.1",
    }
    name, folder = f"rt-{secrets.token_hex(4)}", tmp_path_factory.mktemp("secrets")
    async with scene(embedded_cloud, name, folder, settings, max_receives=2) as stage:
        stage.start_agent()
        await exercise(stage, site)
        yield stage


def image_job(stage: Scene, job_id: str, image: str, **metadata: object) -> JsonObject:
    content = {"prompt": job_id, "steps": 1, "width": 64, "height": 64, "init_images": [image]}
    return stage.job(job_id, content, tasktype="image-to-image", **metadata)


def failing_jobs(stage: Scene, site: Site) -> dict[str, JsonObject]:
    """Jobs that end badly in every way that has to do with what publishers keep secret."""
    references = {
        "gone": site.url("gone.png"),
        "busy": site.url("busy.png"),
        "moved": site.url("moved.png"),
        "metadata": site.url("metadata"),
        "page": site.url("page"),
        "bug": site.url("bug.png"),
        "loopback": f"http://127.0.0.1:{site.port}/?{SIGNATURE}",
        "closed": f"http://{HOST}:1/a.png?{SIGNATURE}",
        "no-port": f"http://{HOST}:99999/a.png?{SIGNATURE}",
        "basic-auth": f"http://user:plantedPassword@{HOST}:{site.port}/a.png",
        "odd-auth": f"http://user:planted/Password@{HOST}:{site.port}/a.png",
        "ftp": "ftp://user:plantedPassword@example.com/a.png",
        "object": f"s3://{stage.deployment.bucket}/none.png?{SIGNATURE}",
        "foreign-object": f"s3://foreign/none.png?{SIGNATURE}",
    }
    return {name: image_job(stage, name, url) for name, url in references.items()}


MALFORMED: dict[str, JsonObject] = {
    "odd": {
        "metadata": {"id": "odd", "tasktype": "a", "callback_url": ["plantedInBody"]},
        "content": "plantedInBody",
    },
    "late": {
        "metadata": {"id": "late", "tasktype": "a", "expires_at": "plantedInBody"},
        "content": {},
    },
}
"""Jobs that cannot be understood, by the id that can."""
UNREADABLE = (
    '{"metadata": {"id": "x"}, "content": {"image": "?plantedInBody',
    '{"metadata": {"tasktype": "plantedInBody"}, "content": {}}',
    '["plantedInBody"]',
    '{"content": {"plantedInBody": 1e999}}',
)


async def exercise(stage: Scene, site: Site) -> None:
    """Have the agent answer jobs of every kind."""
    good = {
        "cat": image_job(stage, "cat", site.url("cat.png"), secret="plantedInMetadata"),
        "called": stage.job(
            "called",
            callback_url=f"http://{HOST}:{site.port}/plantedHook/ok?token=plantedInCallback",
        ),
        "called-in-vain": stage.job(
            "called-in-vain",
            callback_url=f"http://{HOST}:{site.port}/plantedHook/broken?token=plantedInCallback",
        ),
        "elsewhere": stage.job("elsewhere", callback_url="https://example.com/plantedHook"),
        "with-password": stage.job(
            "with-password", callback_url=f"https://user:plantedPassword@{HOST}/plantedHook"
        ),
    }
    bad = {**failing_jobs(stage, site), **MALFORMED}
    for message in (*good.values(), *bad.values()):
        await stage.send(json.dumps(message))
    unreadable = [await stage.send(body) for body in UNREADABLE]
    assert {(await stage.answer(name))["status"] for name in good} == {"completed"}
    assert {(await stage.answer(name))["status"] for name in (*bad, *unreadable)} == {"failed"}
    assert (await stage.answer("bug"))["error"]["type"] == "internal_error"
    await stage.emptied()
    assert set(site.callbacks) == {"/plantedHook/ok", "/plantedHook/broken"}


def assert_clean(text: str, what: str) -> None:
    at = text.find(PLANTED)
    assert at < 0, f"{what} tells a secret: …{text[max(0, at - 300) : at + 100]}…"


async def objects(stage: Scene, ending: str) -> dict[str, str]:
    """The texts of the bucket's objects, by key."""
    bucket = stage.cloud.bucket(stage.deployment.bucket)
    keys = [key for key in await stage.bucket_keys() if key.endswith(ending)]
    return {key: (await bucket.read(key)).decode(errors="replace") for key in keys}


async def test_the_logs_tell_no_secret(watched: Scene) -> None:
    [log] = [path.read_text() for path in watched.folder.glob("agent-*.log")]
    for event in ("unexpected error", "attempt failed", "refused", "quarantined", "webhook failed"):
        assert event in log
    assert "no idea of" in log, "the quoted job is blanked out only where it must be"
    assert_clean(log, "the log")


async def test_notifications_tell_no_secret(watched: Scene, site: Site) -> None:
    for notification in watched.notifications:
        assert_clean(json.dumps(notification), "a notification")
    for body in site.callbacks.values():
        assert_clean(body, "a webhook")


async def test_manifests_keep_the_publishers_metadata_and_no_other_secret(watched: Scene) -> None:
    manifests = await objects(watched, ".out")
    assert any(PLANTED in manifest for manifest in manifests.values())
    for key, text in manifests.items():
        manifest = json.loads(text)
        del manifest["metadata"]
        assert_clean(json.dumps(manifest), key)


async def test_quarantine_keeps_the_publishers_message_and_no_other_secret(watched: Scene) -> None:
    found = await objects(watched, ".json")
    records = {key: text for key, text in found.items() if key.startswith(f"{QUARANTINE}/")}
    assert len(records) == len(MALFORMED) + len(UNREADABLE)
    for key, text in records.items():
        record = json.loads(text)
        assert PLANTED in record.pop("body")
        assert_clean(json.dumps(record), key)


async def test_the_agents_own_secrets_are_in_no_object(watched: Scene) -> None:
    for key, text in (await objects(watched, "")).items():
        assert not [secret for secret in OWN if secret in text], key


def command(name: str, environment: dict[str, str]) -> str:
    """What a command of ours prints, on both channels."""
    done = subprocess.run(
        [sys.executable, "-m", "queue_agent", name],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    return done.stdout + done.stderr


async def test_the_check_shows_the_settings_without_secrets(watched: Scene) -> None:
    environment = {
        **watched.embedded.environment(),
        **watched.deployment.environment(),
        **watched.settings,
        "COLUMNS": "300",
    }
    shown = await asyncio.to_thread(command, "check", environment)
    assert "QUEUE_AGENT_WEBHOOK_SECRET" in shown
    assert "✓ runtime" in shown
    assert_clean(shown, "check")


@pytest.mark.parametrize("name", ["check", "run"])
async def test_wrong_secrets_are_not_repeated(name: str) -> None:
    wrong = {
        "QUEUE_AGENT_RUNTIME_AUTH": PASSWORD,
        "QUEUE_AGENT_RUNTIME_API_KEY": f"{API_KEY} and more",
        "QUEUE_AGENT_RUNTIME_URL": f"http://user:{PASSWORD}@127.0.0.1:7860",
        "QUEUE_AGENT_WEBHOOK_SECRET": f"{PLANTED}WebhookSecret",
    }
    said = await asyncio.to_thread(command, name, wrong)
    assert not [setting for setting in wrong if setting not in said]
    assert_clean(said, name)
