"""Files that workflows in the editor's format name, by URL or as data: fetched and uploaded.

Classes are those of a real server, see `tests/recordings`, and one of a custom node.
"""

import base64

import pytest
from pydantic import JsonValue

from comfyui_recording import recorded_object_info
from media_files import IMAGES, OTHERS
from queue_agent.media.facts import media_type_of
from queue_agent.runtime import Asset, RuntimeOptions
from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import Job, job_of
from queue_agent_runtimes.comfyui.api import ComfyUIApi
from queue_agent_runtimes.comfyui.clean_up import CleanUp
from queue_agent_runtimes.comfyui.editor import Conversions, SavedWorkflow, saved_in
from queue_agent_runtimes.comfyui.file_inputs import FileInputs
from queue_agent_runtimes.comfyui.uploads import Uploads, with_uploads
from queue_agent_runtimes.comfyui.workflow import Graph, inputs_of

Json = dict[str, JsonValue]

CUSTOM: Json = {
    "input": {
        "required": {
            "strength": ["FLOAT", {"default": 1.0}],
            "splat": ["COMBO", {"options": [], "file_upload": True}],
        }
    },
    "python_module": "custom_nodes.splats",
}
INFO: Json = {**recorded_object_info(), "SplatFrom": CUSTOM}
KNOWN = FileInputs.of(INFO)
PNG, MP3, MP4, GLB = IMAGES["png"][0], OTHERS["mp3"][0], OTHERS["mp4"][0], OTHERS["glb"][0]
LATENT = b"safetensors" * 9


class Recorded(ComfyUIApi):
    """A server that tells its classes, and remembers what is uploaded."""

    def __init__(self) -> None:
        super().__init__(RuntimeOptions(), "http://127.0.0.1:9")
        self.uploaded: list[tuple[bytes, str]] = []

    async def object_info(self) -> Json:
        return INFO

    async def upload(self, asset: Asset, *, filename: str, subfolder: str, folder: str) -> str:
        self.uploaded.append((asset.data, f"{folder}/{subfolder}/{filename}"))
        return f"uploaded-{filename}"


def saved(*nodes: Json, inputs: Json | None = None, **more: JsonValue) -> SavedWorkflow:
    document: Json = {"nodes": [*nodes], "links": [], **more}
    found = saved_in({"workflow": document, "inputs": inputs or {}})
    assert found is not None
    return found


async def prepared(workflow: SavedWorkflow, data: bytes) -> tuple[Graph, Recorded, list[str]]:
    """The graph as it is sent, the server, and of which kind what was fetched has to be."""
    api = Recorded()
    try:
        references = list(workflow.references(KNOWN))
        workflow.check_places(KNOWN)
        assets = {found.url: Asset(data, media_type_of(data)) for found in references}
        made = await Conversions(api).converted(workflow, assets)
        traces = CleanUp(api, None).traces(job())
        graph = await with_uploads(made, assets, Uploads(api, traces), KNOWN)
        return graph, api, [found.kind for found in references]
    finally:
        await api.aclose()


def job() -> Job:
    return job_of({"metadata": {"id": "a", "tasktype": "pipeline"}, "content": {"1": {}}})


LOADING: dict[str, tuple[list[JsonValue] | Json, str, bytes, str]] = {
    "LoadImage": (["{}", "image"], "image", PNG, "image"),
    "LoadImage, by name": ({"image": "{}", "upload": "image"}, "image", PNG, "image"),
    "LoadImageMask": (["{}", "alpha", "image"], "image", PNG, "image"),
    "LoadImageOutput": (["{}"], "image", PNG, "image"),
    "LoadAudio": (["{}", None, ""], "audio", MP3, "audio"),
    "LoadAudio, of a video": (["{}", None, ""], "audio", OTHERS["webm"][0], "audio"),
    "LoadVideo": (["{}", "image"], "file", MP4, "video"),
    "Load3D": (["{}", "", 1024, 1024], "model_file", GLB, "file"),
    "LoadLatent": (["{}"], "latent", LATENT, "file"),
    "Painter": (["{}", 64, 64, "#000000"], "mask", PNG, "image"),
    "SplatFrom": ([0.5, "{}"], "splat", LATENT, "file"),
}


def node_of(name: str, value: str) -> Json:
    values = LOADING[name][0]
    held: JsonValue
    if isinstance(values, dict):
        held = {key: value if one == "{}" else one for key, one in values.items()}
    else:
        held = [value if one == "{}" else one for one in values]
    return {"id": 1, "type": name.partition(",")[0], "widgets_values": held}


@pytest.mark.parametrize("name", LOADING)
@pytest.mark.parametrize("begin", ["https://x.example/", "http://x.example/", "s3://inputs/"])
async def test_a_url_in_a_widget_is_fetched_and_uploaded(name: str, begin: str) -> None:
    _, into, data, kind = LOADING[name]
    graph, api, kinds = await prepared(saved(node_of(name, f"{begin}some.file")), data)
    assert kinds == [kind]
    assert [content for content, _ in api.uploaded] == [data]
    assert str(inputs_of(graph["1"])[into]).startswith("uploaded-")


@pytest.mark.parametrize("name", LOADING)
async def test_data_in_a_widget_are_uploaded(name: str) -> None:
    _, into, data, _ = LOADING[name]
    url = f"data:application/octet-stream;base64,{base64.b64encode(data).decode()}"
    graph, api, kinds = await prepared(saved(node_of(name, url)), data)
    assert kinds == []
    assert [content for content, _ in api.uploaded] == [data]
    assert str(inputs_of(graph["1"])[into]).startswith("uploaded-")


async def test_files_lie_where_their_nodes_look_for_them() -> None:
    places = {}
    for name in ("LoadImage", "LoadImageOutput", "Load3D"):
        _, api, _ = await prepared(saved(node_of(name, "s3://b/a.bin")), LOADING[name][2])
        places[name] = api.uploaded[0][1].split("/queue-agent/")[0]
    assert places == {"LoadImage": "input", "LoadImageOutput": "output", "Load3D": "input/3d"}


@pytest.mark.parametrize(
    ("node_type", "name", "kind"),
    [
        ("LoadLatent", "latent", "file"),
        ("Load3D", "model_file", "file"),
        ("Painter", "mask", "image"),
    ],
)
async def test_inputs_beside_the_workflow_name_files_of_every_class(
    node_type: str, name: str, kind: str
) -> None:
    data = PNG if kind == "image" else LATENT
    node: Json = {"id": 7, "type": node_type, "widgets_values": ["old"]}
    workflow = saved(node, inputs={f"7.{name}": "s3://inputs/new.bin"})
    graph, api, kinds = await prepared(workflow, data)
    assert kinds == [kind]
    assert [content for content, _ in api.uploaded] == [data]
    assert str(inputs_of(graph["7"])[name]).startswith("uploaded-")


def subgraph(value: str) -> SavedWorkflow:
    """A latent that is loaded in a subgraph, whose name is handed in by the instance."""
    inner: Json = {
        "id": "sub",
        "inputs": [{"name": "which", "type": "COMBO"}],
        "outputs": [],
        "links": [{"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 8, "target_slot": 0}],
        "nodes": [
            {
                "id": 8,
                "type": "LoadLatent",
                "inputs": [
                    {"name": "latent", "type": "COMBO", "link": 1, "widget": {"name": "latent"}}
                ],
                "widgets_values": ["a.latent"],
            }
        ],
    }
    instance: Json = {"id": 57, "type": "sub", "inputs": [], "widgets_values": [value]}
    return saved(instance, definitions={"subgraphs": [inner]})


async def test_an_instance_hands_a_url_to_the_node_within_under_its_own_name() -> None:
    graph, api, kinds = await prepared(subgraph("s3://inputs/a.latent"), LATENT)
    assert kinds == ["file"]
    assert [content for content, _ in api.uploaded] == [LATENT]
    assert inputs_of(graph["57:8"])["latent"] == "uploaded-1.latent"


@pytest.mark.parametrize(
    "node",
    [
        {"type": "PreviewAny", "widgets_values": ["https://x.example/a"]},
        {"type": "LoadLatent", "widgets_values": ["file:///etc/passwd"]},
        {"type": "SplatFrom", "widgets_values": [1.0, "ftp://x.example/a"]},
    ],
)
async def test_whatever_else_names_a_place_is_refused_before_or_after_the_conversion(
    node: Json,
) -> None:
    with pytest.raises(Rejected) as caught:
        await prepared(saved({"id": 1, **node}), LATENT)
    assert caught.value.type in {"reference_forbidden", "invalid_workflow"}
