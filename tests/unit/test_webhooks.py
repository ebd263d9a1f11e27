"""Notifications as signed webhooks, sent to a real server on the loopback interface."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from queue_agent.cli.options import webhook_policy
from queue_agent.inputs.guarded_http import Resolver
from queue_agent.settings.agent import Settings
from queue_agent.wire.errors import SettingsError
from queue_agent.wire.notification import ErrorReport, Image, Notification
from queue_agent.wire.signing import SigningSecret
from queue_agent.worker.webhooks import WebhookPolicy, Webhooks

KEY = bytes(range(32))
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
SIGNING = SigningSecret.parse(SECRET)
HOST = "hooks.example.com"
POLICY = WebhookPolicy(hosts=(HOST,), secret=SIGNING, trusted=(HOST,))


@dataclass
class Receiver:
    """A server that notes what it gets and answers with these statuses in turn."""

    statuses: list[int]
    port: int = 0
    hangs: bool = False
    retry_after: str = "0"
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        if self.hangs:
            await asyncio.Event().wait()
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return web.Response(
            status=status, headers={"Location": "/elsewhere", "Retry-After": self.retry_after}
        )

    def url(self, path: str = "/planted-path?token=planted") -> str:
        return f"http://{HOST}:{self.port}{path}"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    server = Receiver([204])
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", server.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0)
    await listener.start()
    server.port = runner.addresses[0][1]
    yield server
    await runner.cleanup()


def leading_to(*addresses: str) -> Resolver:
    async def resolve(host: str, port: int) -> Sequence[str]:
        del host, port
        return addresses

    return resolve


def notification(callback_url: str | None, **fields: object) -> Notification:
    known = {"runtime": "r", "id": "a.b", "status": "completed", "result": True, **fields}
    return Notification.model_validate({**known, "callback_url": callback_url})


async def tell(
    told: Notification, policy: WebhookPolicy = POLICY, resolve: Resolver | None = None
) -> tuple[Notification, list[str]]:
    """Check and send as the journey does: what was published, and what was logged."""
    webhooks = Webhooks(policy, resolve=resolve or leading_to("127.0.0.1"), now=lambda: 1000.7)
    checked = webhooks.checked(told)
    try:
        with capture_logs() as logs:
            await webhooks.send(checked)
    finally:
        await webhooks.aclose()
    assert "planted" not in str(logs)
    assert "planted" not in checked.to_json()
    return checked, [f"{entry['event']}: {entry.get('reason', '')}" for entry in logs]


def test_the_signature_is_that_of_the_scheme() -> None:
    """A known example, as the scheme's own libraries sign it."""
    secret = SigningSecret.parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = secret.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize(
    "planted", ["", "whsec_", "whsec_planted", "planted!", SECRET[6:], f"whsec_{'A' * 100}"]
)
def test_a_secret_of_another_form_is_refused_and_not_repeated(planted: str) -> None:
    with pytest.raises(ValueError, match="must be whsec_") as caught:
        SigningSecret.parse(planted)
    assert not planted or planted not in str(caught.value).replace("whsec_", "", 1)
    assert "KEY" not in repr(SIGNING)
    assert str(KEY) not in repr(SIGNING)


async def test_a_notification_arrives_signed_and_as_it_was_published(receiver: Receiver) -> None:
    checked, logs = await tell(notification(receiver.url()))
    assert receiver.bodies == [checked.to_json().encode()]
    headers = receiver.headers[0]
    signed = f"{headers['webhook-id']}.1000.".encode() + receiver.bodies[0]
    expected = base64.b64encode(hmac.digest(KEY, signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["webhook-timestamp"] == "1000"
    assert "." not in headers["webhook-id"]
    assert headers["content-type"] == "application/json"
    assert headers["host"] == f"{HOST}:{receiver.port}"
    assert logs == ["webhook sent: "]


async def test_without_a_callback_nothing_is_sent(receiver: Receiver) -> None:
    checked, logs = await tell(notification(None))
    assert (checked.warnings, logs, receiver.bodies) == ([], [], [])


async def test_the_callback_is_no_part_of_the_wire_format() -> None:
    assert "planted" not in notification("https://planted.example.com/").to_json()


async def test_what_is_told_again_has_the_same_id_and_another_outcome_has_not(
    receiver: Receiver,
) -> None:
    url = receiver.url()
    image = Image(url="s3://b/1", media_type="image/png", bytes=1, sha256="", presigned_url="x")
    error = ErrorReport(type="timeout", message="No.", retryable=True, final=True)
    for fields in (
        {},
        {"redelivered": True, "attempt": 2, "images": [image]},
        {"status": "failed", "result": False, "error": error},
        {"timings": {"run": 2.0}},
    ):
        await tell(notification(url, **fields))
    first, again, failed, newer = [headers["webhook-id"] for headers in receiver.headers]
    assert first == again
    assert len({first, failed, newer}) == 3


REFUSED = {
    "webhooks are off": (WebhookPolicy(), "https://hooks.example.com/planted", "webhooks are off"),
    "another host": (POLICY, "https://evil.example.com/planted", "no evil.example.com"),
    "a host below": (POLICY, "https://x.hooks.example.com/planted", "no x.hooks.example.com"),
    "an address": (POLICY, "https://127.0.0.1/planted", "no 127.0.0.1"),
    "credentials": (POLICY, "https://u:planted@hooks.example.com/", "carries credentials"),
    "another scheme": (POLICY, "file:///planted", "has the scheme 'file'"),
    "no URL": (POLICY, "planted", "has the scheme ''"),
    "no TLS": (
        WebhookPolicy(hosts=(HOST,), secret=SIGNING),
        "http://hooks.example.com/planted",
        "by https only",
    ),
}


@pytest.mark.parametrize(("policy", "url", "reason"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_callback_that_is_not_allowed_is_a_warning_on_the_topic(
    receiver: Receiver, policy: WebhookPolicy, url: str, reason: str
) -> None:
    checked, logs = await tell(notification(url, warnings=["first"]), policy)
    assert checked.warnings[0] == "first"
    assert checked.warnings[1].startswith("metadata.callback_url: not called: ")
    assert reason in checked.warnings[1]
    assert (logs, receiver.bodies) == ([], [])


async def test_hosts_are_listed_by_suffix_address_and_network_too(receiver: Receiver) -> None:
    listed = ("*.example.com", "127.0.0.0/8")
    policy = WebhookPolicy(hosts=listed, secret=SIGNING, trusted=listed)
    await tell(notification(receiver.url()), policy)
    await tell(notification(f"http://127.0.0.1:{receiver.port}/"), policy)
    assert len(receiver.bodies) == 2


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::1"])
async def test_a_listed_host_leads_to_the_public_internet_only(
    receiver: Receiver, address: str
) -> None:
    policy = WebhookPolicy(hosts=(HOST,), secret=SIGNING)
    url = f"https://{HOST}:{receiver.port}/planted"
    checked, logs = await tell(notification(url), policy, leading_to("93.184.215.14", address))
    assert checked.warnings == []
    assert logs == [f"webhook failed: leads to {HOST}, which is not on the public internet"]
    assert receiver.bodies == []


async def test_what_may_pass_is_tried_again_under_the_same_id(receiver: Receiver) -> None:
    receiver.statuses = [503, 429, 200]
    _, logs = await tell(notification(receiver.url()))
    assert logs == ["webhook sent: "]
    assert len({headers["webhook-id"] for headers in receiver.headers}) == 1
    assert len(receiver.bodies) == 3


async def test_three_failures_are_enough(receiver: Receiver) -> None:
    receiver.statuses = [500]
    _, logs = await tell(notification(receiver.url()))
    assert logs == ["webhook failed: HTTP 500"]
    assert len(receiver.bodies) == 3


async def test_a_host_that_wants_more_time_than_there_is_is_not_asked_again(
    receiver: Receiver,
) -> None:
    receiver.statuses, receiver.retry_after = [429], "60"
    _, logs = await tell(notification(receiver.url()))
    assert logs == ["webhook failed: HTTP 429"]
    assert len(receiver.bodies) == 1


@pytest.mark.parametrize("status", [302, 400, 401, 404, 410])
async def test_a_refusal_and_a_redirect_are_final(receiver: Receiver, status: int) -> None:
    receiver.statuses = [status]
    _, logs = await tell(notification(receiver.url()))
    assert logs == [f"webhook failed: HTTP {status}"]
    assert len(receiver.bodies) == 1


async def test_a_host_that_does_not_answer_is_given_up_soon(receiver: Receiver) -> None:
    receiver.hangs = True
    once = WebhookPolicy(hosts=(HOST,), secret=SIGNING, trusted=(HOST,), timeout=0.2)
    _, logs = await tell(notification(receiver.url()), once)
    assert logs == ["webhook failed: no answer within 0.2 s"]

    patient = WebhookPolicy(hosts=(HOST,), secret=SIGNING, trusted=(HOST,), patience=0.2)
    _, logs = await tell(notification(receiver.url()), patient)
    assert logs == ["webhook failed: took too long"]


async def test_a_host_that_is_not_there_is_given_up(receiver: Receiver) -> None:
    _, logs = await tell(notification(f"http://{HOST}:1/planted"))
    assert [line.partition(":")[0] for line in logs] == ["webhook failed"]
    assert receiver.bodies == []


def settings(**environment: str) -> Settings:
    known = {
        "QUEUE_URL": "https://sqs.example.com/1/jobs",
        "TOPIC_ARN": "arn:aws:sns:us-east-1:1:results",
        "BUCKET": "results",
        "RUNTIME": "webui",
    }
    given = {**known, **environment}
    return Settings.load({f"QUEUE_AGENT_{name}": value for name, value in given.items()})


def test_webhooks_are_off_unless_hosts_are_listed() -> None:
    assert webhook_policy(settings()) == WebhookPolicy()
    policy = webhook_policy(settings(WEBHOOK_HOSTS=f"{HOST}, *.x.example", WEBHOOK_SECRET=SECRET))
    assert policy == WebhookPolicy(hosts=(HOST, "*.x.example"), secret=SIGNING)


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"WEBHOOK_HOSTS": HOST}, "must be set where"),
        ({"WEBHOOK_HOSTS": HOST, "WEBHOOK_SECRET": "planted"}, "must be whsec_"),
        ({"WEBHOOK_HOSTS": "a b", "WEBHOOK_SECRET": SECRET}, "is no network"),
    ],
)
def test_hosts_without_a_good_secret_are_a_wrong_setting(
    environment: dict[str, str], reason: str
) -> None:
    with pytest.raises(SettingsError, match="QUEUE_AGENT_WEBHOOK_") as caught:
        settings(**environment)
    assert reason in caught.value.message
    assert "planted" not in caught.value.message
