"""Which models a job names, in templates, in other workflows and beside them."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import JsonValue

from queue_agent.runtime import ModelFile, RuntimeOptions
from queue_agent.wire.errors import Rejected, SettingsError
from queue_agent.wire.job import Job
from queue_agent_runtimes.comfyui import ComfyUIRuntime
from queue_agent_runtimes.comfyui.models import MODEL_FOLDERS
from queue_agent_runtimes.comfyui.operator_files import read_library

Json = dict[str, Any]
URL: Final = "https://models.example.org"
KNOWN: Final[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "charts" / "comfyui-0.33.0-folders.json").read_text()
)


def runtime(workflows: Path | None = None) -> ComfyUIRuntime:
    return ComfyUIRuntime(RuntimeOptions(base_url="http://127.0.0.1:9", workflows=workflows))


def job(content: Json, task_type: str = "pipeline", **metadata: JsonValue) -> Job:
    told = {"id": "job-1", "tasktype": task_type, **metadata}
    return Job.model_validate({"metadata": told, "content": content})


def found(content: Json, task_type: str = "pipeline", **metadata: JsonValue) -> list[ModelFile]:
    asked = job(content, task_type, **metadata)
    runtime().check_places(asked)
    return list(runtime().model_files(asked))


def told(name: str, directory: str = "loras", **more: JsonValue) -> Json:
    return {"name": name, "url": f"{URL}/{name}", "directory": directory, **more}


def loader(node_id: int, *values: JsonValue, models: Any = None, **more: JsonValue) -> Json:
    return {
        "id": node_id,
        "type": "LoraLoader",
        "widgets_values": [*values],
        "properties": {"models": models},
        **more,
    }


def saved(*nodes: Json, **more: JsonValue) -> Json:
    return {"nodes": [*nodes], "links": [], **more}


def graph(**inputs: JsonValue) -> Json:
    return {"1": {"class_type": "LoraLoader", "inputs": inputs}}


# Templates


def templates() -> Iterator[tuple[str, Json]]:
    package = pytest.importorskip("comfyui_workflow_templates_json")
    for path in sorted(Path(package.__file__).parent.rglob("*.json")):
        read = json.loads(path.read_text())
        if isinstance(read, dict) and isinstance(read.get("nodes"), list):
            yield path.stem, read


def declared(template: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What nodes say that are neither muted nor bypassed, in subgraphs that are used so."""
    subgraphs = {
        definition["id"]: definition
        for definition in template.get("definitions", {}).get("subgraphs", [])
    }
    waiting = list(template["nodes"])
    while waiting:
        node = waiting.pop()
        if node.get("mode") in {2, 4}:
            continue
        if node["type"] in subgraphs:
            waiting += subgraphs[node["type"]]["nodes"]
        yield from (node.get("properties") or {}).get("models") or []


def test_every_model_of_the_templates_is_found_with_its_url_in_a_folder_that_is_known() -> None:
    every = 0
    for name, template in templates():
        models = [model for model in runtime().model_files(job(template)) if model.url]
        wanted = {(one["directory"], one["name"], one["url"]) for one in declared(template)}
        assert {(model.folder, model.name, model.url) for model in models} == wanted, name
        assert {model.folder for model in models} <= MODEL_FOLDERS, name
        every += len(wanted)
    assert every > 900


def test_the_hashes_of_templates_are_read() -> None:
    hashed = [
        model
        for _, template in templates()
        for model in runtime().model_files(job(template))
        if model.sha256
    ]
    assert hashed
    assert all(len(model.sha256) == 64 for model in hashed)


def test_the_folders_are_those_of_the_real_server_in_which_models_are_files() -> None:
    assert set(KNOWN["models"]) - {
        "custom_nodes", "configs", "datasets", "diffusers",
    } == MODEL_FOLDERS  # fmt: skip


# Other workflows


def test_a_node_tells_of_the_models_that_its_widgets_hold_and_of_no_others() -> None:
    both = [told("a.safetensors"), told("b.safetensors")]
    assert found(saved(loader(1, "b.safetensors", 1.0, models=both))) == [
        ModelFile("b.safetensors", "loras", f"{URL}/b.safetensors"),
        ModelFile("b.safetensors"),
    ]


@pytest.mark.parametrize("mode", [2, 4])
def test_nodes_that_do_not_run_need_no_models(mode: int) -> None:
    content = saved(loader(1, "a.safetensors", models=[told("a.safetensors")], mode=mode))
    assert found(content) == []


def test_a_subgraphs_own_widget_says_which_model_its_node_loads() -> None:
    inner = {
        **loader(3, "a.safetensors", models=[told("a.safetensors"), told("b.safetensors")]),
        "inputs": [{"name": "lora_name", "type": "COMBO", "link": 9, "widget": {"name": "x"}}],
    }
    definition: Json = {
        "id": "sub",
        "name": "Sub",
        "nodes": [inner],
        "links": [{"id": 9, "origin_id": -10, "origin_slot": 0, "target_id": 3, "target_slot": 0}],
        "inputs": [{"name": "lora_name", "type": "COMBO", "linkIds": [9]}],
        "outputs": [],
    }
    instance: Json = {"id": 7, "type": "sub", "widgets_values": ["b.safetensors"], "inputs": []}
    content = saved(instance, definitions={"subgraphs": [definition]})
    assert ModelFile("b.safetensors", "loras", f"{URL}/b.safetensors") in found(content)


@pytest.mark.parametrize(
    "models",
    ["a list", [1], [{}], [{"name": "a.safetensors"}], [told("a.safetensors", sha256="no")], {}],
)
def test_what_a_node_says_amiss_is_passed_over(models: JsonValue) -> None:
    assert found(saved(loader(1, "a.safetensors", models=models))) == [ModelFile("a.safetensors")]


def test_older_files_tell_of_their_models_at_the_top() -> None:
    content = saved(
        loader(1, "a.safetensors"), models=[told("a.safetensors"), told("unused.safetensors")]
    )
    assert found(content)[0] == ModelFile("a.safetensors", "loras", f"{URL}/a.safetensors")
    assert len(found(content)) == 2


def test_workflows_in_the_api_format_name_their_models_and_prompts_name_none() -> None:
    content = graph(lora_name="sub\\a.safetensors", text="like b.safetensors", seed=1)
    assert found(content) == [ModelFile("sub/a.safetensors")]


@pytest.mark.parametrize("workflow", [graph(lora_name="a.gguf"), saved(loader(1, "a.gguf"))])
@pytest.mark.parametrize("key", ["workflow", "prompt"])
def test_models_may_stand_beside_a_workflow_of_either_format(workflow: Json, key: str) -> None:
    entry = told("a.gguf", "unet", hash="A" * 64, hash_type="SHA256", size=12)
    models = found({key: workflow, "models": [entry]})
    wanted = ModelFile("a.gguf", "diffusion_models", f"{URL}/a.gguf", "a" * 64, 12)
    assert wanted in models


def test_models_may_stand_in_the_metadata_of_any_job() -> None:
    entry = told("a.ckpt", "clip")
    assert found(graph(), models=[told("a", "Lora")])[0].folder == "loras"
    for content, task_type in ((graph(), "pipeline"), ({"prompt": "a cat"}, "text-to-image")):
        assert found(content, task_type, models=[entry]) == [
            ModelFile("a.ckpt", "text_encoders", f"{URL}/a.ckpt")
        ]


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ("x", "models: must be a list"),
        ([told("a") | {"size": -1}], r"models\[0\]: size"),
        ([{"name": "a", "url": "u"}], r"models\[0\]: directory"),
        ([told("a", sha256="0" * 63)], r"models\[0\]: the SHA-256"),
        ([told(str(number)) for number in range(101)], "over 100"),
    ],
)
def test_a_list_that_cannot_be_understood_is_refused(models: JsonValue, words: str) -> None:
    for content in ({"prompt": graph(), "models": models}, {"workflow": saved(), "models": models}):
        with pytest.raises(Rejected, match=words):
            list(runtime().model_files(job(content)))
    with pytest.raises(Rejected, match=words):
        list(runtime().model_files(job(graph(), models=models)))


def test_other_hashes_than_sha256_are_passed_over() -> None:
    entry = told("a.safetensors", hash="0123abcd", hash_type="AutoV2")
    assert found(graph(), models=[entry])[0].sha256 == ""


def test_portable_jobs_name_a_checkpoint_and_loras() -> None:
    content: Json = {
        "prompt": "a cat <lora:ink:0.5>",
        "model": "sdxl\\base.safetensors [31e35c80fc]",
        "loras": [{"name": "details"}],
    }
    assert found(content, "text-to-image") == [
        ModelFile("sdxl/base.safetensors", "checkpoints"),
        ModelFile("details", "loras"),
        ModelFile("ink", "loras"),
    ]


def test_the_operators_workflows_bring_their_models(tmp_path: Path) -> None:
    told_file = {
        "workflow": {
            "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux.safetensors"}},
            "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a dog"}},
        },
        "inputs": {"prompt": "6.text", "model": "1.unet_name"},
        "answers": ["text-to-image"],
        "models": [told("flux.safetensors", "unet")],
    }
    (tmp_path / "flux.json").write_text(json.dumps(told_file))
    own = ModelFile(
        "flux.safetensors", "diffusion_models", f"{URL}/flux.safetensors", by_operator=True
    )
    by_name = job({"workflow": "flux", "inputs": {"model": "other.safetensors"}})
    assert list(runtime(tmp_path).model_files(by_name)) == [own, ModelFile("other.safetensors")]
    portable = job({"prompt": "a cat"}, "text-to-image")
    assert list(runtime(tmp_path).model_files(portable)) == [own, ModelFile("flux.safetensors")]


def test_an_operators_workflow_as_the_editor_saved_it_brings_what_its_nodes_say(
    tmp_path: Path,
) -> None:
    node = {**loader(1, "a.safetensors", models=[told("a.safetensors")]), "type": "LoraOnly"}
    (tmp_path / "flux.json").write_text(json.dumps({"workflow": saved(node)}))
    own = read_library(tmp_path).on(LORA_ONLY).workflows["flux"]
    assert own.models == (
        ModelFile("a.safetensors", "loras", f"{URL}/a.safetensors", by_operator=True),
    )


def test_a_faulty_list_in_an_operators_file_is_a_line_of_its_faults(tmp_path: Path) -> None:
    file = {"workflow": graph(lora_name="a.safetensors"), "models": [{"name": "a"}]}
    (tmp_path / "flux.json").write_text(json.dumps(file))
    with pytest.raises(SettingsError, match=r"flux.json: models\[0\]: directory"):
        runtime(tmp_path)


LORA_ONLY: Final[Json] = {
    "LoraOnly": {
        "input": {"required": {"lora_name": [["b.safetensors"], {}]}},
        "input_order": {"required": ["lora_name"]},
        "output": ["MODEL"],
        "output_node": True,
    }
}
