"""Where the runtimes of the chart keep models and files, and what of it the agent shares."""

from typing import Any

import pytest
import yaml
from chart_rendering import containers, environment, example, merged, pod_templates, render

from queue_agent.inputs.references import ReferencePolicy
from queue_agent.runtime.http import ANSWER_LIMIT
from queue_agent.worker.slots import OUTPUTS_LIMIT
from queue_agent_runtimes.comfyui.outputs import MOST_BYTES

PRESETS = ["comfyui", "webui", "diffusers"]


def rendered(preset: str, **values: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The agent's container and the runtime's."""
    (pod,) = pod_templates(render(merged(example(preset), values)))
    found = containers(pod)
    return found["agent"], found["runtime"]


def mounts(container: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Volume and folder in it, by where they are mounted."""
    return {
        mount["mountPath"]: (mount["name"], mount.get("subPath", ""))
        for mount in container["volumeMounts"]
    }


def test_the_agent_has_comfyuis_files_where_it_is_told_to_remove_what_jobs_leave() -> None:
    agent, runtime = rendered("comfyui")
    place = environment(agent)["QUEUE_AGENT_RUNTIME_FILES"]
    assert mounts(agent)[place] == mounts(runtime)["/data"]


def test_comfyuis_folders_are_called_as_the_agent_expects_them() -> None:
    _, runtime = rendered("comfyui")
    folders = {
        name.removeprefix("--").removesuffix("-directory"): path
        for name, _, path in (argument.partition("=") for argument in runtime["args"])
        if name.endswith("-directory")
    }
    assert folders["output"] == "/data/output"
    assert folders["input"] == "/data/input"
    assert f"{folders['temp']}/temp" == "/data/temp", "the server adds a folder of that name"


@pytest.mark.parametrize(
    ("preset", "values"),
    [
        ("webui", {}),
        ("diffusers", {}),
        ("comfyui", {"runtime": {"shareFiles": False}}),
        ("comfyui", {"runtime": {"adapter": "of-another"}}),
    ],
)
def test_elsewhere_the_agent_shares_nothing_of_the_runtimes(
    preset: str, values: dict[str, Any]
) -> None:
    agent, runtime = rendered(preset, **values)
    assert "QUEUE_AGENT_RUNTIME_FILES" not in environment(agent)
    scratch = {place for place, (name, _) in mounts(runtime).items() if name == "scratch"}
    assert scratch
    assert "scratch" not in {name for name, _ in mounts(agent).values()}


def test_agent_and_runtime_are_the_same_user_so_that_one_may_remove_the_others_files() -> None:
    (pod,) = pod_templates(render(example("comfyui")))
    assert pod["spec"]["securityContext"]["runAsUser"]
    assert not [
        name
        for name, container in containers(pod).items()
        if {"runAsUser", "runAsGroup"} & set(container["securityContext"])
    ]


@pytest.mark.parametrize("preset", PRESETS)
def test_models_are_looked_for_where_they_are_mounted(preset: str) -> None:
    (pod,) = pod_templates(render(merged(example(preset), {"models": {"mountPath": "/srv/m"}})))
    files = [
        manifest
        for manifest in render(merged(example(preset), {"models": {"mountPath": "/srv/m"}}))
        if manifest["kind"] == "ConfigMap"
    ]
    runtime = containers(pod)["runtime"]
    assert "/srv/m" in mounts(runtime)
    text = yaml.safe_dump([runtime["args"], runtime.get("env"), files])
    assert "/srv/m" in text
    assert "/models" not in text


def test_the_agents_scratch_holds_all_that_inputs_and_outputs_can_take() -> None:
    (pod,) = pod_templates(render(example("comfyui")))
    sizes = {
        volume["name"]: volume["emptyDir"]["sizeLimit"]
        for volume in pod["spec"]["volumes"]
        if "emptyDir" in volume
    }
    gigabytes = int(sizes["agent-tmp"].removesuffix("Gi"))
    inputs = ReferencePolicy().max_held_bytes
    comfyui = 2 * (MOST_BYTES + ANSWER_LIMIT)  # one runs, one waits there
    others = 8 * ANSWER_LIMIT * 3 // 4  # eight at a time, in base64
    assert inputs + OUTPUTS_LIMIT + max(comfyui, others) < gigabytes * 2**30
