"""What comes by mistake or on purpose: answered, never a crash, never lost."""

import json
import secrets
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from harness import JsonObject, Scene, scene, webui_settings
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.process import ServerProcess, free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

SITE = "127.0.0.2"
"""The one loopback address that the operator of these tests allows."""


@dataclass(frozen=True)
class Site:
    """A web server that references may name."""

    port: int
    visits: list[str]

    def url(self, path: str) -> str:
        return f"http://{SITE}:{self.port}/{path}"


def claimed_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims any size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + b"\0" * 4


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[Site]:
    visits: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        visits.append(request.path)
        match request.path:
            case "/page":
                return web.Response(text="<html>no image</html>", content_type="image/png")
            case "/bomb.png":
                return web.Response(body=claimed_png(30_000, 30_000), content_type="image/png")
            case "/metadata":
                raise web.HTTPFound("http://169.254.169.254/latest/meta-data/")
            case "/huge.png":
                response = web.StreamResponse()
                await response.prepare(request)
                for _ in range(100):
                    await response.write(bytes(2**20))
                return response
        raise web.HTTPNotFound

    application = web.Application()
    application.router.add_get("/{tail:.*}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, SITE, port).start()
    yield Site(port, visits)
    await runner.cleanup()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def busy(
    embedded_cloud: EmbeddedCloud, webui: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    """A stage whose one agent sees all of this module's messages."""
    name, folder = f"rt-{secrets.token_hex(4)}", tmp_path_factory.mktemp("bad-input")
    async with scene(embedded_cloud, name, Path(folder), webui_settings(webui.url)) as stage:
        stage.start_agent(QUEUE_AGENT_REFERENCE_ALLOW=f"{SITE}/32")
        yield stage


def job(**metadata: object) -> JsonObject:
    known = {"id": "odd", "tasktype": "text-to-image", **metadata}
    return {"metadata": known, "content": {"prompt": "odd", "steps": 1}}


MISUNDERSTOOD: dict[str, str] = {
    "nothing": " ",
    "no JSON": "draw me a lighthouse",
    "half of a JSON text": '{"metadata": {"id": "x"',
    "a list": "[1, 2, 3]",
    "a string": '"text-to-image"',
    "the wrong shape": '{"foo": {"bar": 1}}',
    "no metadata": json.dumps({"content": {"prompt": "x"}}),
    "metadata that is a list": json.dumps({"metadata": [], "content": {}}),
    "no id": json.dumps({"metadata": {"tasktype": "text-to-image"}, "content": {}}),
    "an empty id": json.dumps(job(id="")),
    "a long id": json.dumps(job(id="x" * 129)),
    "an id with slashes": json.dumps(job(id="a/b")),
    "an id that climbs": json.dumps(job(id="..")),
    "an id that stays": json.dumps(job(id=".")),
    "an id that is a number": json.dumps(job(id=7)),
    "nesting 10,000 deep": '{"content":' * 10_000 + "1" + "}" * 10_000,
    "lists nested 10,000 deep": "[" * 10_000 + "]" * 10_000,
    "a number without end": '{"metadata": {}, "content": {"steps": 1e999}}',
    "an integer of 5,000 digits": '{"content": {"seed": ' + "9" * 5_000 + "}}",
    "not a number": '{"metadata": {"id": "n"}, "content": {"cfg_scale": NaN}}',
    "half a surrogate pair": '{"metadata": {"id": "s"}, "content": {"prompt": "\\ud83d"}}',
    "an envelope without a message": json.dumps({"Type": "Notification", "Message": None}),
    "a pointer to nowhere": json.dumps(
        ["software.amazon.payloadoffloading.PayloadS3Pointer", {"s3BucketName": "b"}]
    ),
    "a pointer into a foreign bucket": json.dumps(
        [
            "software.amazon.payloadoffloading.PayloadS3Pointer",
            {"s3BucketName": "somebody-elses", "s3Key": "k"},
        ]
    ),
}


@pytest.mark.parametrize("body", MISUNDERSTOOD.values(), ids=MISUNDERSTOOD.keys())
async def test_a_message_that_cannot_be_understood_is_quarantined_and_answered(
    busy: Scene, body: str
) -> None:
    message_id = await busy.send(body)
    answer = await busy.answer(message_id)
    assert (answer["status"], answer["error"]["retryable"]) == ("failed", False)
    record = json.loads(await busy.read(answer["output_url"]))
    assert record["body"] == body
    assert "/quarantine/" in answer["output_url"]


SALVAGED: dict[str, JsonObject] = {
    "no content": {"metadata": {"id": "known", "tasktype": "text-to-image", "context": [1]}},
    "no task type": {"metadata": {"id": "known", "context": [1]}, "content": {}},
    "content that is a list": {
        "metadata": {"id": "known", "tasktype": "text-to-image", "context": [1]},
        "content": ["prompt"],
    },
    "a prefix that climbs": job(id="known", prefix="../other", context=[1]),
    "an expiry that is no time": job(id="known", expires_at="tomorrow", context=[1]),
    "an expiry without a zone": job(id="known", expires_at="2030-01-01T00:00:00", context=[1]),
    "a deadline that is no time": job(id="known", deadline="tomorrow", context=[1]),
    "a deadline without a zone": job(id="known", deadline="2030-01-01T00:00:00", context=[1]),
}


@pytest.mark.parametrize("message", SALVAGED.values(), ids=SALVAGED.keys())
async def test_a_faulty_job_is_answered_under_its_own_id_and_context(
    busy: Scene, message: JsonObject
) -> None:
    job_id = f"known-{secrets.token_hex(4)}"
    message = {**message, "metadata": {**message["metadata"], "id": job_id}}
    await busy.send(json.dumps(message))
    answer = await busy.answer(job_id)
    assert answer["error"]["type"] == "invalid_message"
    assert answer["context"] == [1]
    assert "/quarantine/" in answer["output_url"]


async def refusal(stage: Scene, content: JsonObject, **metadata: object) -> JsonObject:
    """The error of a job that is understood but refused."""
    job_id = f"refused-{secrets.token_hex(4)}"
    await stage.publish(stage.job(job_id, content, **metadata))
    answer = await stage.answer(job_id)
    assert answer["status"] == "failed"
    assert (await stage.manifest(answer))["id"] == job_id
    error: JsonObject = answer["error"]
    assert error["retryable"] is False
    return error


async def test_an_unknown_task_type_is_refused(busy: Scene) -> None:
    error = await refusal(busy, {"prompt": "x"}, tasktype="text-to-music")
    assert error["type"] == "unknown_task_type"
    assert "text-to-image" in error["message"]


async def test_a_task_type_of_another_runtime_is_refused(busy: Scene) -> None:
    assert (await refusal(busy, {"1": {}}, tasktype="pipeline"))["type"] == "unknown_task_type"


async def test_a_job_for_another_runtime_is_refused(busy: Scene) -> None:
    job_id = f"lost-{secrets.token_hex(4)}"
    await busy.send(json.dumps(job(id=job_id, runtime="elsewhere")))
    assert (await busy.answer(job_id))["error"]["type"] == "wrong_runtime"


REFERENCES: dict[str, tuple[Callable[[Site], str], str]] = {
    "is not there": (lambda site: site.url("gone.png"), "reference_not_found"),
    "is not an image": (lambda site: site.url("page"), "reference_not_image"),
    "has 100 MB": (lambda site: site.url("huge.png"), "reference_too_large"),
    "is a bomb": (lambda site: site.url("bomb.png"), "reference_too_large"),
    "leads to metadata": (lambda site: site.url("metadata"), "reference_forbidden"),
    "resolves to loopback": (
        lambda site: f"http://localhost:{site.port}/page",
        "reference_forbidden",
    ),
    "is loopback": (lambda site: f"http://127.0.0.1:{site.port}/page", "reference_forbidden"),
    "is a file": (lambda _: "file:///etc/passwd", "reference_forbidden"),
    "lies in a foreign bucket": (lambda _: "s3://somebody-elses/cat.png", "reference_forbidden"),
}


@pytest.mark.parametrize(("url", "expected"), REFERENCES.values(), ids=REFERENCES.keys())
async def test_a_reference_is_refused_that(
    busy: Scene, site: Site, url: Callable[[Site], str], expected: str
) -> None:
    content = {"prompt": "x", "steps": 1, "init_images": [url(site)]}
    error = await refusal(busy, content, tasktype="image-to-image")
    assert error["type"] == expected


async def test_a_prompt_that_begins_with_http_is_a_prompt(busy: Scene, site: Site) -> None:
    job_id, address = f"prompt-{secrets.token_hex(4)}", site.url("never")
    content = {"prompt": address, "steps": 1, "width": 64, "height": 64}
    await busy.publish(busy.job(job_id, content))
    assert (await busy.answer(job_id))["status"] == "completed"
    assert "/never" not in site.visits


async def test_a_body_of_a_megabyte_and_a_nul_is_worked_on(busy: Scene) -> None:
    job_id = f"large-{secrets.token_hex(4)}"
    prompt = "long \0" + "x" * 1_000_000
    content = {"prompt": prompt, "steps": 1, "width": 64, "height": 64}
    await busy.send(json.dumps(busy.job(job_id, content)))
    answer = await busy.answer(job_id)
    assert answer["status"] == "completed"
    assert (await busy.manifest(answer))["response"]["parameters"]["prompt"] == prompt


async def test_after_all_of_it_the_queue_is_empty_and_the_agent_works(busy: Scene) -> None:
    await busy.publish(busy.job("still-there"))
    assert (await busy.answer("still-there"))["status"] == "completed"
    await busy.emptied()
    assert await busy.dead_letters() == 0
