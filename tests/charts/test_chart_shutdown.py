"""The runtime's hook, run as Kubernetes runs it."""

import subprocess
import sys

import pytest
from chart_rendering import BASE, containers, example, merged, pod_templates, render

from queue_agent.testing.process import ServerProcess, free_port


def hook(port: int, grace: int) -> list[str]:
    own = {"agent": {"healthPort": port, "shutdownGrace": grace}}
    pod = containers(next(pod_templates(render(merged(example(BASE), own)))))
    command: list[str] = pod["runtime"]["lifecycle"]["preStop"]["exec"]["command"]
    assert command[0] == "python3"
    return [sys.executable, *command[1:]]


@pytest.fixture
def agent() -> ServerProcess:
    command = [sys.executable, "-m", "http.server", "{port}", "--bind", "127.0.0.1"]
    return ServerProcess(command)


def test_the_runtime_stays_while_the_agent_drains_and_ends_with_it(agent: ServerProcess) -> None:
    with agent:
        waiting = subprocess.Popen(hook(agent.port, 60))
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(1)
        agent.stop()
        assert waiting.wait(90) == 0


def test_the_runtime_does_not_wait_for_an_agent_that_is_gone() -> None:
    assert subprocess.run(hook(free_port(), 3600), check=False, timeout=90).returncode == 0


def test_the_runtime_does_not_wait_longer_than_the_agents_grace(agent: ServerProcess) -> None:
    with agent:
        assert subprocess.run(hook(agent.port, 1), check=False, timeout=90).returncode == 0
