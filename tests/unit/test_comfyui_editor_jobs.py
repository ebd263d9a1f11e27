"""Pipeline jobs in the editor's format: which of their texts are fetched, and which refused."""

import copy
from contextlib import nullcontext

import pytest
from pydantic import JsonValue

from queue_agent.runtime import Asset, RuntimeOptions
from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import Job
from queue_agent_runtimes.comfyui import ComfyUIRuntime
from queue_agent_runtimes.comfyui.api import ComfyUIApi
from queue_agent_runtimes.comfyui.editor import Conversions, saved_in

Json = dict[str, JsonValue]
URL = "https://images.example.com/cat.png"
OTHER = "https://internal.example.com/secret"

EDITED: Json = {
    "nodes": [
        {"id": 1, "type": "LoadImage", "inputs": [], "widgets_values": [URL, "image"]},
        {"id": 2, "type": "CLIPTextEncode", "widgets_values": [f"like {OTHER}"]},
        {"id": 3, "type": "MarkdownNote", "widgets_values": [f"see {OTHER}"]},
        {"id": 4, "type": "SaveImage", "widgets_values": ["cat"], "inputs": []},
    ],
    "links": [],
    "extra": {"made_with": OTHER},
}


def job(content: Json) -> Job:
    return Job.model_validate(
        {"metadata": {"id": "job-1", "tasktype": "pipeline"}, "content": content}
    )


def with_node(node: Json, **more: JsonValue) -> Json:
    edited = copy.deepcopy(EDITED)
    nodes = edited["nodes"]
    assert isinstance(nodes, list)
    return {**edited, **more, "nodes": [*nodes, node]}


def runtime() -> ComfyUIRuntime:
    return ComfyUIRuntime(RuntimeOptions(base_url="http://127.0.0.1:9"))


def references(content: Json) -> list[tuple[str, str]]:
    return [(found.url, found.kind) for found in runtime().references(job(content))]


@pytest.mark.parametrize(
    "content",
    [EDITED, {"workflow": EDITED}, {"prompt": EDITED}, {"workflow": EDITED, "extra_data": {}}],
)
def test_a_saved_workflow_is_found_in_each_form_with_what_it_loads(content: Json) -> None:
    assert saved_in(content) is not None
    assert references(content) == [(URL, "image")]
    runtime().check_places(job(content))


def test_a_saved_workflow_beside_a_prompt_is_not_looked_at() -> None:
    prompt: Json = {"4": {"class_type": "SaveImage", "inputs": {}}}
    content: Json = {"prompt": prompt, "extra_data": {"extra_pnginfo": {"workflow": EDITED}}}
    assert saved_in(content) is None
    assert references(content) == []


@pytest.mark.parametrize(
    ("node", "kind"),
    [
        ({"type": "LoadImageMask", "widgets_values": [URL, "alpha", "image"]}, "image"),
        ({"type": "LoadVideo", "widgets_values": [URL]}, "video"),
        ({"type": "LoadAudio", "widgets_values": [URL, None, ""]}, "audio"),
        ({"type": "VHS_LoadVideo", "widgets_values": {"video": URL, "force_rate": 0}}, "video"),
        ({"type": "VHS_LoadAudioUpload", "widgets_values": {"audio": URL}}, "audio"),
    ],
)
def test_classes_that_load_name_files_first_or_by_name(node: Json, kind: str) -> None:
    content = with_node({"id": 9, **node})
    assert references(content) == [(URL, "image"), (URL, kind)]
    runtime().check_places(job(content))


def test_inputs_beside_the_workflow_name_files_too() -> None:
    content: Json = {"workflow": EDITED, "inputs": {"1.image": OTHER, "57:8.text": "http://a cat"}}
    assert references(content) == [(URL, "image"), (OTHER, "image")]
    runtime().check_places(job(content))


def test_what_a_subgraph_loads_is_found_where_its_instance_says_so() -> None:
    inner: Json = {
        "id": "sub",
        "inputs": [{"name": "image", "type": "COMBO"}],
        "outputs": [],
        "links": [{"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 8, "target_slot": 0}],
        "nodes": [
            {
                "id": 8,
                "type": "LoadImage",
                "inputs": [
                    {"name": "image", "type": "COMBO", "link": 1, "widget": {"name": "image"}}
                ],
                "widgets_values": ["a.png"],
            }
        ],
    }
    instance: Json = {"id": 9, "type": "sub", "inputs": [], "widgets_values": [OTHER]}
    content = with_node(instance, definitions={"subgraphs": [inner]})
    assert references(content) == [(URL, "image"), (OTHER, "image")]
    runtime().check_places(job(content))


@pytest.mark.parametrize(
    "node",
    [
        {"type": "LoadFromUrl", "widgets_values": ["a", OTHER]},
        {"type": "SaveImage", "widgets_values": [OTHER]},
        {"type": "PrimitiveStringMultiline", "widgets_values": [OTHER]},
        {"type": "PrimitiveNode", "widgets_values": [OTHER]},
        {"type": "Fetcher", "widgets_values": {"address": OTHER}},
        {"type": "Fetcher", "widgets_values": [], "widgets_values_named": {"address": OTHER}},
        {"type": "Fetcher", "widgets_values": [{"deep": [OTHER]}]},
        {"type": "Fetcher", "widgets_values": [{"text": OTHER}]},
        {"type": "Fetcher", "widgets_values": ["file:/etc/passwd"]},
        {"type": "LoadImage", "widgets_values": [f" {OTHER}"]},
        {"type": "CheckpointLoaderSimple", "widgets_values": [OTHER]},
        {"type": "Load3D", "widgets_values": ["\\\\host\\share\\a.glb"]},
    ],
)
def test_whatever_else_names_a_place_is_refused(node: Json) -> None:
    content = with_node({"id": 9, **node})
    with pytest.raises(Rejected) as caught:
        runtime().check_places(job(content))
    assert caught.value.type == "reference_forbidden"
    assert "example.com" not in caught.value.message


@pytest.mark.parametrize("mode", [2, 4])
def test_what_does_not_run_is_neither_fetched_nor_refused(mode: int) -> None:
    content = with_node({"id": 9, "type": "LoadImage", "widgets_values": [OTHER], "mode": mode})
    assert references(content) == [(URL, "image")]
    runtime().check_places(job(content))


def test_overrides_that_name_a_place_are_refused() -> None:
    content: Json = {"workflow": EDITED, "inputs": {"4.filename_prefix": OTHER}}
    with pytest.raises(Rejected) as caught:
        runtime().check_places(job(content))
    assert caught.value.type == "reference_forbidden"


def test_a_workflow_that_cannot_be_read_is_refused_before_anything_is_fetched() -> None:
    with pytest.raises(Rejected) as caught:
        runtime().references(job({"nodes": [{"id": 1}], "links": []}))
    assert caught.value.type == "invalid_workflow"


class TellingApi(ComfyUIApi):
    """A server that says only what its classes are, and has the second only when asked again."""

    asked = 0

    async def object_info(self) -> Json:
        self.asked += 1

        def known(*names: str) -> Json:
            required: Json = {name: ["STRING", {}] for name in names}
            return {"input": {"required": required}, "python_module": "nodes"}

        first: Json = {"Prompts": known("text", "address"), "LoadImage": known("image")}
        return first if self.asked == 1 else {**first, "New": known("text")}


async def test_a_place_that_is_no_prompt_by_its_input_is_refused_after_the_conversion() -> None:
    api = TellingApi(RuntimeOptions(), "http://127.0.0.1:9")
    conversions = Conversions(api)
    assets = {URL: Asset(b"", "image/png")}
    for values, refused in (([f"see {OTHER}", "x"], False), (["x", OTHER], True)):
        nodes: list[JsonValue] = [
            {"id": 1, "type": "LoadImage", "widgets_values": [URL]},
            {"id": 2, "type": "Prompts", "widgets_values": [*values]},
        ]
        saved = saved_in({"nodes": nodes, "links": []})
        assert saved is not None
        saved.check_places()
        with pytest.raises(Rejected) if refused else nullcontext() as caught:
            made = await conversions.converted(saved, assets)
            assert made.graph["1"]["inputs"] == {"image": URL}
        if caught is not None:
            assert caught.value.type == "reference_forbidden"
            assert caught.value.message.startswith("2.inputs.address")
    await api.aclose()


async def test_the_classes_are_asked_for_again_where_one_is_not_known() -> None:
    api = TellingApi(RuntimeOptions(), "http://127.0.0.1:9")
    conversions = Conversions(api)

    async def convert(class_type: str) -> None:
        nodes: list[JsonValue] = [{"id": 1, "type": class_type, "widgets_values": ["a"]}]
        saved = saved_in({"nodes": nodes, "links": []})
        assert saved is not None
        await conversions.converted(saved, {})

    await convert("Prompts")
    await convert("New")
    await convert("Prompts")
    assert api.asked == 2
    with pytest.raises(Rejected, match="no such class"):
        await convert("Never")
    await api.aclose()
