"""The chart on NATS: what starts with just what is rendered, what KEDA reads, what is refused."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import helm_python
import httpx
import pytest
from chart_rendering import (
    BASE,
    Manifest,
    Values,
    containers,
    example,
    kinds,
    manifests_of,
    merged,
    only,
    pod_templates,
    render,
    values_of,
)

from gateway_site import OPEN
from harness import PATIENCE, webui_process
from queue_agent.cloud.nats.subjects import token
from queue_agent.testing.nats import NatsServer
from queue_agent.testing.process import HOST, ServerProcess, free_port
from tls_servers import certified

KEPT: Final = ("PATH", "HOME", "PYTHONPATH")
"""What the image would bring; nothing else of the tests' environment reaches a program."""
RUNTIME: Final = "portraits.v2"
"""A consumer is called otherwise than this, since its dot has a meaning in NATS."""
AGENT, GATEWAY, SCALER, CHECK = (
    f"demo-queue-agent{part}" for part in ("", "-gateway", "-scaler", "-check")
)


@dataclass(frozen=True)
class Cluster:
    """A server of NATS that wants a password and speaks TLS, and what a cluster knows of it."""

    address: str
    monitoring: str
    secrets: Mapping[str, Mapping[str, str]]
    """Contents of Secrets by their names."""
    folder: Path

    def values(self, **own: Any) -> Values:
        cloud = {
            "queueUrl": f"{self.address}/jobs/{RUNTIME}",
            "topicArn": f"{self.address}/notifications",
            "bucket": f"{self.address}/results",
            "nats": {
                "credentials": {"secretName": ""},
                "user": {"secretName": "nats-user"},
                "ca": {"secretName": "nats-ca"},
                "monitoring": {"endpoint": self.monitoring, "account": "$G"},
                "setup": {"replicas": 1},
            },
        }
        image = {"repository": "webui", "tag": "1"}
        served = {"preset": "webui", "name": RUNTIME, "model": "", "image": image}
        gateway = {
            "jobTopicArn": f"{self.address}/jobs",
            "keys": {"secretName": ""},
            "settings": {"open": True},
        }
        base = merged(example("nats"), {"cloud": cloud, "runtime": served, "gateway": gateway})
        return merged(base, own)

    def environment(self, pod: Manifest, container: Manifest) -> dict[str, str]:
        """What the container is started with; its Secrets' files lie in a folder here."""
        root = self.folder / container["name"]
        given = {}
        for one in container["env"]:
            if "value" in one:
                given[one["name"]] = one["value"]
            else:
                wanted = one["valueFrom"]["secretKeyRef"]
                given[one["name"]] = self.secrets[wanted["name"]][wanted["key"]]
        mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
        for volume in pod["volumes"]:
            if "secret" in volume and (path := mounts.get(volume["name"])):
                (root / path[1:]).mkdir(parents=True, exist_ok=True)
                for key, text in self.secrets[volume["secret"]["secretName"]].items():
                    (root / path[1:] / key).write_text(text)
                given = {
                    name: value.replace(path, f"{root}{path}") for name, value in given.items()
                }
        return given

    def start(self, pod: Manifest, name: str, port: int) -> ServerProcess:
        container = containers({"spec": pod})[name]
        whole = {**_system(), **self.environment(pod, container)}
        given = [f"{key}={value}" for key, value in whole.items()]
        program = [sys.executable, "-m", "queue_agent", *container["args"]]
        log = self.folder / f"{name}.log"
        return ServerProcess(["env", "-i", *given, *program], port=port, log=log)

    def lag(self, trigger: Manifest) -> int:
        """What KEDA's scaler reckons from the servers' answer: what waits and what is at work."""
        told = trigger["metadata"]
        address = f"http://{told['natsServerMonitoringEndpoint']}/jsz"
        asked = {"acc": told["account"], "consumers": "true", "config": "true"}
        (account,) = httpx.get(address, params=asked, timeout=PATIENCE).json()["account_details"]
        assert account["name"] == told["account"]
        (stream,) = (it for it in account["stream_detail"] if it["name"] == told["stream"])
        (found,) = (it for it in stream["consumer_detail"] if it["name"] == told["consumer"])
        return int(found["num_pending"] + found["num_ack_pending"])


def _system() -> dict[str, str]:
    return {name: os.environ[name] for name in KEPT if name in os.environ}


def _run(
    arguments: Sequence[str], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "queue_agent", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    _, pem = certified("localhost", tmp_path)
    monitoring = free_port()
    configuration = f"""
        http: "{HOST}:{monitoring}"
        tls {{ cert_file: "{pem}", key_file: "{pem}" }}
        authorization {{ users: [{{user: agents, password: "s3cret"}}] }}
    """
    secrets = {
        "nats-user": {"username": "agents", "password": "s3cret"},
        "nats-ca": {"ca.crt": pem.read_text()},
    }
    with NatsServer(tmp_path / "nats", configuration=configuration) as server:
        address = f"tls://localhost:{server.port}"
        yield Cluster(address, f"{HOST}:{monitoring}", secrets, tmp_path)


def test_agent_gateway_scaler_and_check_work_with_what_is_rendered(cluster: Cluster) -> None:
    ports = {name: free_port() for name in ("runtime", "agent", "gateway", "scaler")}
    settled = {"name": "QUEUE_AGENT_SCALER_SETTLE", "value": "0"}
    work = {"port": ports["scaler"], "extraEnv": [settled]}
    values = cluster.values(
        runtime={"port": ports["runtime"]},
        agent={"healthPort": ports["agent"]},
        gateway={"port": ports["gateway"]},
        scaling={"work": work},
        podDeletionCost={"enabled": False},  # there is no Kubernetes to mark pods in
    )
    manifests = render(values)
    agents, gateways, scalers = (
        only(manifests, "Deployment", name)["spec"]["template"]["spec"]
        for name in (AGENT, GATEWAY, SCALER)
    )
    for pod in (
        only(manifests, "Job")["spec"]["template"]["spec"],
        only(manifests, "Pod", CHECK)["spec"],
    ):
        (container,) = pod["containers"]
        environment = {**_system(), **cluster.environment(pod, container), "COLUMNS": "200"}
        while (ended := _run(container["args"], environment)).returncode != 0:
            said = ended.stdout + ended.stderr
            assert "no answer came" in said, said  # of a busy server: again, as Kubernetes does
    assert "✓ queue: " in ended.stdout
    trigger = only(manifests, "ScaledObject")["spec"]["triggers"][0]
    assert trigger["metadata"]["consumer"] == token(RUNTIME) != RUNTIME
    assert cluster.lag(trigger) == 0, "no pod"
    with ExitStack() as started:
        gateway = started.enter_context(cluster.start(gateways, "gateway", ports["gateway"]))
        asked = started.enter_context(httpx.Client(base_url=gateway.url, timeout=PATIENCE))
        while asked.get("/readyz").status_code != 200:
            assert gateway.lives
        answer = asked.post("/v1/jobs", json={"content": {"prompt": "a lighthouse", "steps": 1}})
        assert answer.status_code == 202, answer.text
        assert cluster.lag(trigger) == 1, "the first pod"
        scaler = started.enter_context(cluster.start(scalers, "scaler", ports["scaler"]))
        while (wanted := httpx.get(f"{scaler.url}/pods", timeout=PATIENCE)).status_code != 200:
            assert scaler.lives
        assert (wanted.json()["pods"], wanted.json()["waiting"]) == (1, 1)
        started.enter_context(webui_process(port=ports["runtime"]))
        started.enter_context(cluster.start(agents, "agent", ports["agent"]))
        job = f"/v1/jobs/{answer.json()['id']}"
        while (told := asked.post(f"{job}/wait", params={"timeout": 60}).json())["status"] in OPEN:
            assert gateway.lives
        assert told["status"] == "completed", told
        image = asked.get(f"{job}/images/1")
        assert image.status_code == 200
        assert image.headers["content-type"].startswith("image/")
        assert cluster.lag(trigger) == 0, "to zero"


def test_nothing_of_aws_is_rendered_where_nothing_lies_there() -> None:
    manifests = manifests_of("nats")
    text = str(manifests)
    assert not [word for word in ("AWS_", "amazonaws", "sqs", "169.254.170") if word in text]
    assert "TriggerAuthentication" not in kinds(manifests)


@pytest.mark.parametrize("name", ["nats", "job-on-nats"])
def test_whoever_talks_to_the_servers_has_their_secrets_and_may_reach_their_ports(
    name: str,
) -> None:
    manifests = manifests_of(name)
    templates = [*pod_templates(manifests), only(manifests, "Pod")]
    templates += [it["spec"]["template"] for it in manifests if it["kind"] == "Job"]
    pods = [it["spec"] for it in templates]
    expected = {
        "nats": {"NATS_CREDS": "credentials/nats.creds", "NATS_CA": "ca/ca.crt"},
        "job-on-nats": {"NATS_CERT": "certificate/tls.crt", "NATS_KEY": "certificate/tls.key"},
    }[name]
    talking = 0
    for pod in pods:
        for container in containers({"spec": pod}).values():
            variables = {one["name"]: one for one in container.get("env", [])}
            if "QUEUE_AGENT_BUCKET" not in variables:
                assert not [mount for mount in container["volumeMounts"] if "nats" in mount["name"]]
                continue
            talking += 1
            mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
            for variable, path in expected.items():
                assert variables[variable]["value"] == f"/etc/nats/{path}"
                volume = f"nats-{path.partition('/')[0]}"
                assert mounts[volume] == f"/etc/nats/{path.partition('/')[0]}"
                assert volume in {one["name"] for one in pod["volumes"]}
    assert talking == {"nats": 5, "job-on-nats": 2}[name]
    ports = {"nats": [4222], "job-on-nats": [4222, 4333]}[name]
    for policy in (it for it in manifests if it["kind"] == "NetworkPolicy"):
        (rule,) = (it for it in policy["spec"]["egress"] if it["ports"][0]["port"] == 4222)
        assert [port["port"] for port in rule["ports"]] == ports
        assert rule.get("to", []) == values_of(name)["cloud"]["nats"].get("servers", [])


def test_results_in_s3_have_what_s3_needs_beside_what_nats_needs() -> None:
    manifests = manifests_of("job-on-nats")
    agent = containers(next(pod_templates(manifests)))["agent"]
    variables = {one["name"]: one.get("value") for one in agent["env"]}
    assert variables["AWS_REGION"] == "us-west-2"
    assert only(manifests, "ServiceAccount")["metadata"]["annotations"]
    (trigger,) = only(manifests, "ScaledJob")["spec"]["triggers"]
    assert (trigger["type"], trigger["metadata"]["lagThreshold"]) == ("nats-jetstream", "1")
    with pytest.raises(helm_python.HelmError, match=r"cloud\.region"):
        render(merged(values_of("job-on-nats"), {"cloud": {"region": ""}}))


def test_what_the_streams_are_made_with_is_said_by_the_values_and_they_are_made_first() -> None:
    job = only(manifests_of("nats"), "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    wanted = ["setup", "--change", "--lease", "60", "--max-receives", "3", "--replicas", "3"]
    assert container["args"] == wanted
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert "serviceAccountName" not in job["spec"]["template"]["spec"], "not there yet"
    limits = {"streamBytes": 5 * 2**30, "bucketBytes": 2**20}
    limited = only(render(merged(values_of("nats"), {"cloud": {"nats": {"setup": limits}}})), "Job")
    (container,) = limited["spec"]["template"]["spec"]["containers"]
    of_limits = ["--stream-bytes", "5368709120", "--bucket-bytes", "1048576"]
    assert container["args"] == [*wanted, *of_limits]
    off = {"cloud": {"nats": {"setup": {"enabled": False}}}}
    assert "Job" not in kinds(render(merged(values_of("nats"), off)))


def test_keda_is_told_where_the_servers_are_by_an_authentication_of_your_own() -> None:
    own = {
        "cloud": {"nats": {"monitoring": {"endpoint": ""}}},
        "scaling": {"authentication": {"existing": "monitoring"}},
    }
    trigger = only(render(merged(values_of("nats"), own)), "ScaledObject")["spec"]["triggers"][0]
    assert trigger["authenticationRef"] == {"name": "monitoring"}
    assert "natsServerMonitoringEndpoint" not in trigger["metadata"]


@pytest.mark.parametrize("name", ["diffusers", "a_b-9", "a.b", "über/x y", "%=*>"])
def test_the_consumer_is_called_as_the_agent_calls_it(name: str) -> None:
    values = merged(values_of("nats"), {"cloud": {"queueUrl": f"{SERVERS}/jobs/{name}"}})
    trigger = only(render(values), "ScaledObject")["spec"]["triggers"][0]
    assert trigger["metadata"]["consumer"] == token(name)


SERVERS: Final = "tls://nats.nats.svc.cluster.local:4222"
OTHER: Final = "tls://elsewhere.example.com:4222"
SNS: Final = "arn:aws:sns:us-west-2:111122223333:jobs"


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"cloud": {"queueUrl": ""}}, r"cloud\.queueUrl: where do jobs come from"),
        ({"cloud": {"topicArn": ""}}, r"cloud\.topicArn: where do notifications go"),
        ({"cloud": {"bucket": ""}}, r"cloud\.bucket: where do results go"),
        ({"gateway": {"jobTopicArn": ""}}, r"gateway\.jobTopicArn: which topic"),
        ({"gateway": {"jobTopicArn": SNS}}, r"gateway\.jobTopicArn: .* no address of NATS"),
        (
            {"cloud": {"queueUrl": "https://sqs.example.com/1/q"}},
            r"queueUrl: .* no address of NATS",
        ),
        ({"cloud": {"queueUrl": f"{SERVERS}/jobs"}}, r"names no queue"),
        ({"cloud": {"topicArn": f"{SERVERS}/jobs/x"}}, r"is a queue's address"),
        ({"cloud": {"bucket": f"{SERVERS}/my.bucket"}}, r"names no stream or bucket"),
        ({"cloud": {"queueUrl": f"{SERVERS}/jobs/x.fifo"}}, r"no FIFO"),
        ({"cloud": {"topicArn": f"{SERVERS}/told.fifo"}}, r"no FIFO"),
        ({"cloud": {"topicArn": "tls://me:pw@nats.example.com/told"}}, r"belong in a Secret"),
        ({"cloud": {"bucket": f"{OTHER}/results"}}, r"different servers"),
        ({"cloud": {"bucket": f"{SERVERS.replace('tls', 'nats')}/results"}}, r"different servers"),
        ({"gateway": {"runtimes": [{"name": "x", "queueUrl": f"{OTHER}/jobs/x"}]}}, r"different"),
        ({"gateway": {"settings": {"onDemand": ["x"]}}}, r"onDemand: .* capacity type"),
        ({"gateway": {"settings": {"onDemandStays": True}}}, r"onDemandStays: .* capacity type"),
        ({"gateway": {"settings": {"linkSeconds": 60}}}, r"linkSeconds: .* no links"),
        ({"agent": {"settings": {"presign": 60}}}, r"presign: .* no links"),
        ({"scaling": {"queue": {"endpoint": "http://sqs"}}}, r"queue\.endpoint: it is of SQS"),
        ({"scaling": {"queue": {"scaleOnInFlight": False}}}, r"scaleOnInFlight"),
        ({"cloud": {"nats": {"monitoring": {"endpoint": ""}}}}, r"monitoring\.endpoint: where"),
        ({"serviceAccount": {"roleArn": "arn:aws:iam::1:role/a"}}, r"^.*serviceAccount\.roleArn"),
        (
            {"gateway": {"serviceAccount": {"roleArn": "arn:aws:iam::1:role/a"}}},
            r"gateway\.serviceAccount\.roleArn: nothing",
        ),
    ],
)
def test_what_cannot_be_on_nats_is_refused_in_words(own: Values, words: str) -> None:
    with pytest.raises(helm_python.HelmError, match=words):
        render(merged(values_of("nats"), own))


@pytest.mark.parametrize("value", ["queueUrl", "topicArn", "bucket"])
def test_an_address_of_nats_is_refused_where_the_provider_is_aws(value: str) -> None:
    address = f"{SERVERS}/jobs/x" if value == "queueUrl" else f"{SERVERS}/jobs"
    with pytest.raises(helm_python.HelmError, match=rf"cloud\.{value}: .* cloud\.provider: nats"):
        render(merged(example(BASE), {"cloud": {value: address}}))
