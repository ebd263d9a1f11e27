"""Descriptions of HTTP servers, as the chart hands them to the agent."""

import json
from typing import Any

import pytest
from chart_rendering import (
    FEATURES,
    containers,
    environment,
    example,
    kinds,
    merged,
    only,
    pod_templates,
    render,
    values_of,
)

from queue_agent_runtimes.http.loading import parse_declaration

SERVER: dict[str, Any] = {
    "preset": "custom",
    "adapter": "http",
    "image": {"repository": "example.com/paint", "tag": "1.0"},
}


def rendered(told: dict[str, Any], **runtime: Any) -> list[dict[str, Any]]:
    values = {"runtime": {**SERVER, **runtime}, "agent": told}
    return render(merged(example("diffusers"), values))


def told_of(manifests: list[dict[str, Any]]) -> str:
    (pod,) = pod_templates(manifests)
    options = environment(containers(pod)["agent"])["QUEUE_AGENT_RUNTIME_OPTIONS"]
    adapter: str = json.loads(options)["adapter"]
    return adapter


def test_a_shipped_description_is_named() -> None:
    manifests = rendered({"httpAdapter": {"name": "torchserve"}})
    assert told_of(manifests) == "torchserve"
    assert "ConfigMap" not in kinds(manifests)


def test_a_description_of_ones_own_lies_where_the_agent_is_told() -> None:
    manifests = render(values_of("http-adapter"))
    config = only(manifests, "ConfigMap")
    (pod,) = pod_templates(manifests)
    agent = containers(pod)["agent"]
    mounted = {mount["name"]: mount["mountPath"] for mount in agent["volumeMounts"]}
    (volume,) = (entry for entry in pod["spec"]["volumes"] if entry["name"] == "http-adapter")
    assert volume["configMap"]["name"] == config["metadata"]["name"]
    ((key, text),) = config["data"].items()
    assert told_of(manifests) == f"{mounted['http-adapter']}/{key}"
    assert set(parse_declaration(text, key).tasks) == {"text-to-image"}
    assert pod["metadata"]["annotations"]["checksum/http-adapter"]


def test_a_config_map_of_ones_own_makes_none() -> None:
    manifests = rendered({"httpAdapter": {"configMap": "mine", "key": "paint.yaml"}})
    assert told_of(manifests).endswith("/paint.yaml")
    assert "ConfigMap" not in kinds(manifests)
    (pod,) = pod_templates(manifests)
    assert {"name": "http-adapter", "configMap": {"name": "mine"}} in pod["spec"]["volumes"]


@pytest.mark.parametrize(
    ("told", "runtime", "words"),
    [
        ({}, {}, "needs a name, a file or a configMap"),
        ({"httpAdapter": {"name": "a", "file": "b"}}, {}, "one of name, file and configMap"),
        ({"httpAdapter": {"name": "a"}}, {"adapter": ""}, "of the adapter http alone"),
        (
            {"httpAdapter": {"name": "a"}, "settings": {"runtimeOptions": "{}"}},
            {},
            "or agent.settings.runtimeOptions",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(
    told: dict[str, Any], runtime: dict[str, Any], words: str
) -> None:
    with pytest.raises(Exception, match=words):
        rendered(told, **runtime)


def test_the_feature_is_among_those_that_are_checked() -> None:
    assert "http-adapter" in FEATURES
