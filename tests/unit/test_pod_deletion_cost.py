"""The agent's mark on its own pod, against a small fake of the Kubernetes API."""

import asyncio
import datetime
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from harness import until
from queue_agent.wire.errors import SettingsError
from queue_agent.worker.pod_deletion_cost import PodDeletionCost

BUSY = {
    "controller.kubernetes.io/pod-deletion-cost": "1000",
    "karpenter.sh/do-not-disrupt": "true",
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
}


@dataclass
class FakeKubernetes:
    """Pods' annotations behind PATCH, with the real server's demands on the request."""

    token: str = "first"
    annotations: dict[str, str] = field(default_factory=lambda: {"team": "images"})
    failure: int | None = None
    answers_are_lost: bool = False
    patches: int = 0

    def application(self) -> web.Application:
        application = web.Application()
        application.add_routes([web.patch("/api/v1/namespaces/images/pods/webui-1", self._patch)])
        return application

    def renew(self, path: Path, token: str) -> None:
        self.token = token
        path.write_text(token + "\n")

    async def _patch(self, request: web.Request) -> web.Response:
        self.patches += 1
        if self.failure:
            return web.json_response({"kind": "Status", "reason": "Broken"}, status=self.failure)
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"kind": "Status", "reason": "Unauthorized"}, status=401)
        if request.content_type != "application/merge-patch+json":
            return web.json_response({"kind": "Status"}, status=415)
        patch = await request.json()
        for name, value in patch["metadata"]["annotations"].items():
            if value is None:
                self.annotations.pop(name, None)
            else:
                self.annotations[name] = value
        if self.answers_are_lost:
            return web.json_response({"kind": "Status", "reason": "Timeout"}, status=504)
        return web.json_response({"kind": "Pod", "metadata": {"annotations": self.annotations}})


@pytest.fixture
def kubernetes() -> FakeKubernetes:
    return FakeKubernetes()


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first\n")
    return path


@pytest.fixture
async def mark(kubernetes: FakeKubernetes, token: Path) -> AsyncIterator[PodDeletionCost]:
    async with TestServer(kubernetes.application()) as server:
        client = httpx.AsyncClient(base_url=str(server.make_url("/")))
        cost = PodDeletionCost(client, namespace="images", pod="webui-1", token=token)
        yield cost
        await cost.aclose()


async def test_a_busy_pod_is_marked_for_all_three_parties(
    mark: PodDeletionCost, kubernetes: FakeKubernetes
) -> None:
    await mark.busy()
    assert kubernetes.annotations == {"team": "images", **BUSY}


async def test_on_spot_nodes_karpenter_may_tell_a_busy_pod_to_stop(
    kubernetes: FakeKubernetes, token: Path
) -> None:
    kubernetes.annotations["karpenter.sh/do-not-disrupt"] = "true"  # of an agent before
    async with TestServer(kubernetes.application()) as server:
        client = httpx.AsyncClient(base_url=str(server.make_url("/")))
        cost = PodDeletionCost(
            client, namespace="images", pod="webui-1", token=token, do_not_disrupt=False
        )
        await cost.idle()
        await cost.busy()
        await cost.aclose()
    without = {name: value for name, value in BUSY.items() if not name.startswith("karpenter")}
    assert kubernetes.annotations == {"team": "images", **without}


async def test_an_idle_pod_loses_the_marks_and_keeps_the_rest(
    mark: PodDeletionCost, kubernetes: FakeKubernetes
) -> None:
    await mark.busy()
    await mark.idle()
    assert kubernetes.annotations == {"team": "images"}


async def test_the_server_is_asked_only_when_the_mark_changes(
    mark: PodDeletionCost, kubernetes: FakeKubernetes
) -> None:
    for _ in range(3):
        await mark.busy()
    assert kubernetes.patches == 1


@pytest.mark.parametrize("status", [403, 404, 409, 500])
async def test_a_refusal_is_logged_and_tried_again_the_next_time(
    mark: PodDeletionCost, kubernetes: FakeKubernetes, status: int
) -> None:
    kubernetes.failure = status
    with structlog.testing.capture_logs() as logs:
        await mark.busy()
    assert [(line["log_level"], line["event"]) for line in logs] == [("warning", "pod not marked")]
    assert str(status) in logs[0]["reason"]
    kubernetes.failure = None
    await mark.busy()
    assert kubernetes.annotations.keys() >= BUSY.keys()


async def test_after_a_lost_answer_the_mark_is_set_anew(
    mark: PodDeletionCost, kubernetes: FakeKubernetes
) -> None:
    await mark.busy()
    kubernetes.answers_are_lost = True
    await mark.idle()
    kubernetes.answers_are_lost = False
    await mark.busy()
    assert kubernetes.annotations.keys() >= BUSY.keys()


async def test_a_renewed_token_is_used(
    mark: PodDeletionCost, kubernetes: FakeKubernetes, token: Path
) -> None:
    await mark.busy()
    kubernetes.renew(token, "second")
    await mark.idle()
    assert kubernetes.annotations == {"team": "images"}


async def test_a_missing_token_and_a_silent_server_are_only_logged(tmp_path: Path) -> None:
    async with httpx.AsyncClient(base_url="http://127.0.0.1:1") as client:
        for token in (tmp_path / "none", tmp_path):
            cost = PodDeletionCost(client, namespace="images", pod="webui-1", token=token)
            with structlog.testing.capture_logs() as logs:
                await cost.busy()
            assert [line["event"] for line in logs] == ["pod not marked"]
        (tmp_path / "token").write_text("first")
        cost = PodDeletionCost(client, namespace="images", pod="webui-1", token=tmp_path / "token")
        with structlog.testing.capture_logs() as logs:
            await cost.busy()
        assert logs[0]["reason"]


async def test_in_a_pod_the_servers_certificate_is_checked_and_the_pods_own_token_sent(
    kubernetes: FakeKubernetes, token: Path
) -> None:
    certificate, key = self_signed(token.parent)
    certificate.rename(token.parent / "ca.crt")
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(token.parent / "ca.crt", key)
    server = TestServer(kubernetes.application(), scheme="https")
    await server.start_server(ssl=server_tls)
    environment = {
        "POD_NAME": "webui-1",
        "POD_NAMESPACE": "images",
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(server.port),
    }
    cost = PodDeletionCost.in_cluster(environment, service_account=token.parent)
    try:
        await cost.busy()
        assert kubernetes.annotations.keys() >= BUSY.keys()
    finally:
        await cost.aclose()
        await server.close()


def test_outside_a_pod_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"POD_NAMESPACE, KUBERNETES_SERVICE_HOST"):
        PodDeletionCost.in_cluster({"POD_NAME": "webui-1"})
    with pytest.raises(SettingsError, match="NODE_NAME"):
        PodDeletionCost.in_cluster({"POD_NAME": "webui-1"}, watch_node=True)
    environment = dict.fromkeys(
        ("POD_NAME", "POD_NAMESPACE", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"), "1"
    )
    with pytest.raises(SettingsError, match="needs a token"):
        PodDeletionCost.in_cluster(environment, service_account=tmp_path)


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubernetes")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


@pytest.mark.looptime
async def test_a_mark_that_was_refused_is_set_as_soon_as_the_server_takes_it(
    token: Path,
) -> None:
    busy, idle = asyncio.Event(), asyncio.Event()
    seen: list[object] = []

    def answer(request: httpx.Request) -> httpx.Response:
        marks = json.loads(request.content)["metadata"]["annotations"]
        seen.append(marks["karpenter.sh/do-not-disrupt"])
        return httpx.Response(500 if len(seen) in {2, 3, 5} else 200)

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://api")
    mark = PodDeletionCost(client, namespace="images", pod="webui-1", token=token)
    following = asyncio.create_task(mark.follow(busy=busy, idle=idle))
    await asyncio.sleep(1)
    assert seen == [None], "what a crashed agent has left is taken away"
    busy.set()
    await asyncio.sleep(60)
    assert seen == [None, "true", "true", "true"]
    busy.clear()
    idle.set()
    await asyncio.sleep(60)
    assert seen == [None, "true", "true", "true", None, None]
    following.cancel()
    await asyncio.wait({following})
    await mark.aclose()


async def test_it_follows_the_agent_from_busy_to_idle(
    mark: PodDeletionCost, kubernetes: FakeKubernetes
) -> None:
    busy, idle = asyncio.Event(), asyncio.Event()
    following = asyncio.create_task(mark.follow(busy=busy, idle=idle))

    async def is_marked() -> bool:
        return BUSY.items() <= kubernetes.annotations.items()

    async def is_unmarked() -> bool:
        return not BUSY.keys() & kubernetes.annotations.keys()

    busy.set()
    await until(is_marked, what="the mark")
    busy.clear()
    idle.set()
    await until(is_unmarked, what="the end of the mark")
    following.cancel()
    await asyncio.wait({following})
    assert kubernetes.annotations == {"team": "images"}
