"""A content check behind HTTP, asked over a real connection."""

import hashlib
import runpy
import threading
from collections.abc import Iterator
from contextlib import closing
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image
from pydantic_core import from_json

from output_samples import gradient, saved
from queue_agent.cli.check import check
from queue_agent.cli.options import (
    content_check_policy,
    content_checker,
    output_stage,
    preview_interval,
)
from queue_agent.cloud.memory import MemoryCloud
from queue_agent.media.signatures import sniff
from queue_agent.outputs.check_endpoint import EndpointChecker
from queue_agent.outputs.checkers import CheckedFile, ContentVerdict, load_check
from queue_agent.runtime import Asset, Spool
from queue_agent.settings.agent import Settings
from queue_agent.wire.errors import SettingsError, Unavailable
from queue_agent.worker.content_check import ContentCheck

PICTURE = saved(gradient("RGB"), "PNG")
OTHER = saved(gradient("L"), "JPEG")
BMP = saved(gradient("RGB", (700, 700)), "BMP")

Answer = tuple[int, str, bytes]
JSON = "application/json"


class _Server(ThreadingHTTPServer):
    answer: Answer = (200, JSON, b'{"verdict": "pass"}')

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/check?policy=strict"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((dict(self.headers), body))
        status, kind, data = self.server.answer
        self.send_response(status)
        if kind:
            self.send_header("Content-Type", kind)
        if status in {301, 302, 307}:
            self.send_header("Location", self.server.url)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Not told."""


@pytest.fixture(scope="module")
def listening() -> Iterator[_Server]:
    with _Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def server(listening: _Server) -> _Server:
    listening.answer = _Server.answer
    listening.asked.clear()
    return listening


def file(asset: Asset, prompt: str | None = None) -> CheckedFile:
    digest = hashlib.sha256(asset.data).hexdigest()
    return CheckedFile(
        asset, digest, 1, "output", "order-1", "text-to-image", "sdruntime", 48, 32, prompt=prompt
    )


async def verdict_of(server: _Server, asked: CheckedFile | None = None) -> ContentVerdict:
    checker = EndpointChecker(server.url, headers={"X-Key": "a secret"})
    try:
        return await checker.check(asked or file(Asset(PICTURE, "image/png")))
    finally:
        await checker.aclose()


async def test_the_endpoint_is_given_the_file_and_its_facts(server: _Server) -> None:
    asked = file(Asset(PICTURE, "image/png"), prompt='a "lighthouse"\r\n… at dusk')
    assert await verdict_of(server, asked) == ContentVerdict.passed()
    [(headers, body)] = server.asked
    assert headers["X-Key"] == "a secret"
    head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
    _, facts, sent = message_from_bytes(head + body).walk()
    told, bytes_sent = (part.get_payload(decode=True) for part in (facts, sent))
    assert isinstance(told, bytes)
    assert from_json(told) == asked.facts
    assert (sent.get_content_type(), bytes_sent) == ("image/png", PICTURE)


async def test_a_large_file_is_sent_from_the_disk(server: _Server) -> None:
    with closing(Spool()) as spool:
        await spool.write(BMP)
        asset = Asset((await spool.asset()).content, "image/bmp")
        assert asset.is_a_file
        await verdict_of(server, file(asset))
    assert BMP in server.asked[0][1]


async def test_a_file_may_be_withheld_with_words(server: _Server) -> None:
    server.answer = (200, JSON, b'{"verdict": "withhold", "reason": "No.", "score": 0.9}')
    assert await verdict_of(server) == ContentVerdict.withheld("No.")


@pytest.mark.parametrize(
    ("data", "kind"), [(OTHER, "image/jpeg"), (BMP, "image/bmp")], ids=["small", "large"]
)
async def test_another_file_may_be_answered_of_the_kind_that_it_is(
    server: _Server, data: bytes, kind: str
) -> None:
    server.answer = (200, "image/png; name=x", data)
    by = (await verdict_of(server)).replacement
    assert by is not None
    assert (by.media_type, by.data) == (kind, data)
    by.close()


@pytest.mark.parametrize(
    "answer",
    [
        (200, JSON, b""),
        (200, JSON, b"{}"),
        (200, JSON, b'{"verdict": "replace"}'),
        (200, JSON, b'{"verdict": "ok"}'),
        (200, JSON, b"[" * 100_000),
        (200, JSON, b'{"verdict": "pass", "x": "' + b"x" * 70_000 + b'"}'),
        (200, "text/html", b"<p>Please log in.</p>"),
        (200, "", b'{"verdict": "pass"}'),
        (204, "", b""),
        (302, JSON, b'{"verdict": "pass"}'),
        (401, JSON, b'{"verdict": "pass"}'),
        (422, JSON, b'{"verdict": "withhold"}'),
        (500, "image/png", PICTURE),
    ],
)
async def test_anything_else_is_no_verdict(server: _Server, answer: Answer) -> None:
    server.answer = answer
    with pytest.raises(Unavailable) as caught:
        await verdict_of(server)
    assert caught.value.type == "content_check_unavailable"
    assert len(server.asked) == 1


async def test_an_endpoint_that_is_not_there_is_no_verdict() -> None:
    checker = EndpointChecker("http://127.0.0.1:1/")
    with pytest.raises(Unavailable, match="cannot be reached"):
        await checker.check(file(Asset(PICTURE, "image/png")))
    await checker.aclose()


ENVIRONMENT = {
    "QUEUE_AGENT_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/111122223333/jobs",
    "QUEUE_AGENT_TOPIC_ARN": "arn:aws:sns:eu-central-1:111122223333:told",
    "QUEUE_AGENT_BUCKET": "results",
    "QUEUE_AGENT_RUNTIME": "comfyui",
}


@pytest.mark.parametrize(
    "named", ["ftp://host/", "http://user:word@host/", "https://", "no such thing", "http://a b/"]
)
def test_what_is_neither_an_address_nor_a_name_is_refused(named: str) -> None:
    with pytest.raises(SettingsError, match="QUEUE_AGENT_CONTENT_CHECK"):
        Settings.load({**ENVIRONMENT, "QUEUE_AGENT_CONTENT_CHECK": named})


def test_a_check_that_is_not_installed_ends_the_start() -> None:
    settings = Settings.load({**ENVIRONMENT, "QUEUE_AGENT_CONTENT_CHECK": "elsewhere"})
    with pytest.raises(SettingsError, match="No content check is called 'elsewhere'"):
        content_checker(settings)
    with pytest.raises(SettingsError):
        load_check("elsewhere")


def test_files_are_checked_before_anything_else_and_no_preview_is_shown_unchecked() -> None:
    settings = Settings.load({**ENVIRONMENT, "QUEUE_AGENT_CONTENT_CHECK": "https://host/"})
    bucket = MemoryCloud().bucket("results")
    check = ContentCheck(content_check_policy(settings), EndpointChecker("https://host/"), bucket)
    assert output_stage(settings, check).steps[0] is check
    assert preview_interval(settings) is None
    assert preview_interval(Settings.load(ENVIRONMENT)) == 2.0


@pytest.mark.parametrize(
    ("answer", "works", "said"),
    [
        ((200, JSON, b'{"verdict": "pass"}'), True, "pass for a grey picture"),
        ((200, JSON, b'{"verdict": "withhold"}'), True, "withhold for a grey picture"),
        ((200, "image/jpeg", OTHER), True, "replace for a grey picture"),
        ((401, JSON, b"{}"), False, "The content check answered HTTP 401."),
        ((200, "text/html", b"<p>Log in"), False, "neither JSON nor media"),
    ],
)
async def test_the_check_command_asks_the_content_check(
    server: _Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: Answer,
    works: bool,
    said: str,
) -> None:
    server.answer = answer
    monkeypatch.setattr("queue_agent.cli.check.connect", lambda *_, **__: MemoryCloud())
    settings = Settings.load({**ENVIRONMENT, "QUEUE_AGENT_CONTENT_CHECK": server.url})
    await check(settings, with_runtime=False)
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{'✓' if works else '✗'} content check: " in shown
    assert said in shown
    [(_, body)] = server.asked
    assert b'"job_id":"queue-agent-check"' in body
    assert sniff(body[body.index(b"\x89PNG") :]) == "image/png"


async def test_header_fields_come_from_their_file(server: _Server, tmp_path: Path) -> None:
    secrets = tmp_path / "headers"
    secrets.write_text("Authorization: Bearer planted")
    settings = Settings.load(
        {
            **ENVIRONMENT,
            "QUEUE_AGENT_CONTENT_CHECK": server.url,
            "QUEUE_AGENT_CONTENT_CHECK_HEADERS_FILE": str(secrets),
        }
    )
    checker = content_checker(settings)
    assert checker is not None
    await checker.check(file(Asset(PICTURE, "image/png")))
    await checker.aclose()
    assert server.asked[0][0]["Authorization"] == "Bearer planted"
    secrets.unlink()
    with pytest.raises(SettingsError, match="QUEUE_AGENT_CONTENT_CHECK_HEADERS_FILE"):
        content_checker(settings)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where the checker of `examples/` listens."""
    program = Path(__file__).parents[3] / "examples" / "content_check" / "checker.py"
    handler = runpy.run_path(str(program))["Handler"]
    monkeypatch.setattr(handler, "log_message", lambda *_: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


async def test_the_example_withholds_what_is_too_dark_to_see(example: str) -> None:
    checker = EndpointChecker(example)
    dark = saved(Image.new("RGB", (48, 32), (3, 3, 3)), "PNG")
    try:
        passed = await checker.check(file(Asset(PICTURE, "image/png")))
        withheld = await checker.check(file(Asset(dark, "image/png")))
    finally:
        await checker.aclose()
    assert passed == ContentVerdict.passed()
    assert withheld == ContentVerdict.withheld("There is nothing to be seen in it.")
