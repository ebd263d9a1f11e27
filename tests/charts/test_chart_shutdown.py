"""The runtime's hook, run as Kubernetes runs it."""

import socket
import subprocess
import sys

from chart_rendering import BASE, containers, example, merged, pod_templates, render

from queue_agent.testing.process import HOST, free_port


def hook(port: int, grace: int) -> list[str]:
    own = {"agent": {"healthPort": port, "shutdownGrace": grace}}
    pod = containers(next(pod_templates(render(merged(example(BASE), own)))))
    command: list[str] = pod["runtime"]["lifecycle"]["preStop"]["exec"]["command"]
    assert command[0] == "python3"
    return [sys.executable, *command[1:]]


def test_the_runtime_stays_while_the_agent_drains_and_ends_with_it() -> None:
    with socket.create_server((HOST, 0)) as agent:
        agent.settimeout(90)
        waiting = subprocess.Popen(hook(agent.getsockname()[1], 3600))
        for _ in range(2):
            agent.accept()[0].close()
        assert waiting.poll() is None
    assert waiting.wait(90) == 0


def test_the_runtime_does_not_wait_for_an_agent_that_is_gone() -> None:
    assert subprocess.run(hook(free_port(), 3600), check=False, timeout=90).returncode == 0


def test_the_runtime_does_not_wait_longer_than_the_agents_grace() -> None:
    with socket.create_server((HOST, 0)) as agent:
        port = agent.getsockname()[1]
        assert subprocess.run(hook(port, 1), check=False, timeout=90).returncode == 0
