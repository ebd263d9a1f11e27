"""Models that the agent brings into the chart's volume of models."""

from typing import Any

import helm_python
import pytest
from chart_rendering import (
    containers,
    environment,
    example,
    merged,
    pod_templates,
    render,
    values_of,
)

from queue_agent.settings.agent import Settings

HOSTS: dict[str, Any] = {"agent": {"models": {"hosts": ["huggingface.co"]}}}


def agent_and_runtime(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    (pod,) = pod_templates(render(values))
    found = containers(pod)
    return found["agent"], found["runtime"]


def mount_of_models(container: dict[str, Any]) -> dict[str, Any]:
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "models"]
    return dict(mount)


def test_the_agent_writes_where_the_runtime_reads() -> None:
    agent, runtime = agent_and_runtime(values_of("fetched-models"))
    assert mount_of_models(agent) == mount_of_models(runtime)
    assert environment(agent)["QUEUE_AGENT_MODELS_FOLDER"] == mount_of_models(agent)["mountPath"]


def test_the_agent_reads_what_it_is_told() -> None:
    agent, _ = agent_and_runtime(values_of("fetched-models"))
    settings = Settings.load(environment(agent))
    assert settings.model_hosts == ("huggingface.co", "*.hf.co")
    assert settings.models_limit == 400 * 2**30
    mounted = {mount["mountPath"] for mount in agent["volumeMounts"]}
    assert settings.models is not None
    assert settings.model_credentials is not None
    assert {str(settings.models.parent), str(settings.model_credentials.parent)} <= mounted


def test_what_is_fetched_leaves_room_in_the_volume() -> None:
    agent, _ = agent_and_runtime(merged(example("comfyui"), merged(HOSTS, SCRATCH)))
    limit = int(environment(agent)["QUEUE_AGENT_MODELS_LIMIT"])
    assert limit <= 0.8 * 100 * 2**30, "of models.size, beyond which the pod is evicted"


def test_without_hosts_and_list_the_agent_has_no_volume_of_models() -> None:
    agent, _ = agent_and_runtime(merged(example("comfyui"), SCRATCH))
    assert not [name for name in environment(agent) if "MODEL" in name]
    assert "models" not in {mount["name"] for mount in agent["volumeMounts"]}


SCRATCH: dict[str, Any] = {"models": {"source": "scratch"}}


@pytest.mark.parametrize(
    "models",
    [
        {"source": "s3", "bucket": "models"},
        {"source": "download", "bucket": "models"},
        {"source": "none"},
        {"source": "claim", "claim": {"name": "models"}},
    ],
)
def test_a_volume_that_cannot_be_written_is_refused(models: dict[str, Any]) -> None:
    with pytest.raises(helm_python.errors.HelmRenderError, match="to be written"):
        render(merged(example("comfyui"), merged(HOSTS, {"models": models})))


def test_a_list_and_a_configmap_are_one_too_many() -> None:
    both = {"agent": {"models": {"list": "[]", "configMap": "own"}}}
    with pytest.raises(helm_python.errors.HelmRenderError, match="not both"):
        render(merged(example("comfyui"), merged(both, SCRATCH)))
