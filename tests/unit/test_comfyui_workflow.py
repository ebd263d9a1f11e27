"""Workflows in ComfyUI's API format, without a server."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from queue_agent.wire.errors import Rejected
from queue_agent_runtimes.comfyui.workflow import (
    Graph,
    find_references,
    inputs_of,
    read_workflow,
    with_files,
    with_unique_prefixes,
)

Json = dict[str, JsonValue]
URL = "https://images.example.com/cat.png"
EDITOR_FORMAT: Json = {
    "last_node_id": 9,
    "last_link_id": 9,
    "nodes": [{"id": 9, "type": "SaveImage", "inputs": [], "widgets_values": ["ComfyUI"]}],
    "links": [[9, 8, 0, 9, 0, "IMAGE"]],
    "version": 0.4,
}


def node(class_type: str, **inputs: JsonValue) -> Json:
    return {"class_type": class_type, "inputs": inputs}


def saved(**nodes: Json) -> Json:
    return {"1": node("EmptyImage"), "2": node("SaveImage", images=["1", 0]), **nodes}


def rejection(content: Json) -> Rejected:
    with pytest.raises(Rejected) as caught:
        read_workflow(content)
    assert caught.value.type == "invalid_workflow"
    return caught.value


def test_the_guidances_sample_is_read_as_it_is() -> None:
    sample = Path(__file__).parents[1] / "messages" / "guidance-pipeline.json"
    content = json.loads(sample.read_text())["task"]["content"]
    assert read_workflow(content).graph == content
    assert list(find_references(content)) == []


def test_the_body_of_prompt_is_unwrapped() -> None:
    wrapped: Json = {"prompt": saved(), "extra_data": {"a": 1}, "client_id": "me"}
    workflow = read_workflow(wrapped)
    assert workflow.graph == saved()
    assert workflow.extra_data == {"a": 1}


def test_a_node_called_prompt_is_a_node() -> None:
    content = saved(prompt=node("CLIPTextEncode", text="a"))
    assert read_workflow(content).graph == content


def test_inputs_override_the_workflows_own() -> None:
    content: Json = {
        "workflow": saved(**{"3": node("KSampler", seed=1, steps=2)}),
        "inputs": {"3.seed": 7},
    }
    before = json.dumps(content)
    assert inputs_of(read_workflow(content).graph["3"]) == {"seed": 7, "steps": 2}
    assert json.dumps(content) == before


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"9.seed": 1}, "inputs.9.seed: the workflow has no node 9"),
        ({"3.sede": 1}, "inputs.3.sede: node 3 has no input 'sede'; it has: seed"),
        ({"3": 1}, "node 3 has no input ''"),
        ({"3.seed": ["9", 0]}, "node 3, input seed: links to node 9, which does not exist"),
        ([], "inputs must be an object"),
    ],
)
def test_an_override_of_what_is_not_there_is_rejected(inputs: JsonValue, words: str) -> None:
    workflow = saved(**{"3": node("KSampler", seed=1)})
    assert words in rejection({"workflow": workflow, "inputs": inputs}).message


@pytest.mark.parametrize("content", [EDITOR_FORMAT, {"prompt": EDITOR_FORMAT}])
def test_the_editors_format_is_rejected_with_how_to_export(content: Json) -> None:
    assert "Export (API)" in rejection(content).message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "The workflow has no nodes"),
        ({"1": 5}, "node 1: must be an object with class_type and inputs"),
        ({"1": {"inputs": {}}}, "node 1: class_type is missing"),
        ({"1": {"class_type": "SaveImage"}}, "node 1: inputs must be an object"),
        (
            saved(**{"3": node("SaveImage", images=[1, 0])}),
            'node 3, input images: the node id in a link is text: ["1", 0] instead of [1, 0]',
        ),
        (
            saved(**{"3": node("SaveImage", images=["9", 0])}),
            "node 3, input images: links to node 9, which does not exist",
        ),
        ({"prompt": saved(), "extra_data": 1}, "extra_data must be an object"),
        ({"prompt": []}, "node prompt: must be an object"),
    ],
)
def test_a_workflow_that_cannot_work_is_rejected_with_where(content: Json, words: str) -> None:
    assert words in rejection(content).message


def test_of_a_thousand_faults_ten_are_named_and_the_rest_counted() -> None:
    message = rejection({str(number): 0 for number in range(1000)}).message
    assert message.count("must be an object") == 10
    assert "and 990 more" in message


def test_a_circle_of_links_is_rejected_and_named() -> None:
    content = saved(
        **{
            "3": node("ImageInvert", image=["5", 0]),
            "4": node("ImageInvert", image=["3", 0]),
            "5": node("ImageInvert", image=["4", 0]),
            "6": node("SaveImage", images=["5", 0]),
        }
    )
    message = rejection(content).message
    assert "circle" in message
    assert all(f"{number}" in message for number in (3, 4, 5))


def test_a_node_that_links_to_itself_is_a_circle() -> None:
    assert "3 -> 3" in rejection(saved(**{"3": node("ImageInvert", image=["3", 0])})).message


def test_a_chain_of_5000_nodes_is_no_circle() -> None:
    chain: Json = {"0": node("EmptyImage")}
    chain.update({str(n): node("ImageInvert", image=[str(n - 1), 0]) for n in range(1, 5000)})
    assert len(read_workflow(chain).graph) == 5000


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=20))
def test_links_that_all_lead_to_lower_nodes_are_never_a_circle(
    links: list[tuple[int, int]],
) -> None:
    graph: Json = {str(number): node("Any") for number in range(10)}
    for end, source in links:
        if end > source:
            graph[str(end)] = node("Any", first=[str(source), 0], second=[str(end // 2), 0])
    assert read_workflow(graph).graph == graph


def test_lists_that_are_no_links_are_left_alone() -> None:
    content = saved(**{"3": node("Any", names=["a", "b"], sizes=[1, 2, 3])})
    assert read_workflow(content).graph == content


def references_of(graph: Graph) -> set[tuple[str, str]]:
    return {(str(found.path[-1]), found.kind) for found in find_references(graph)}


def test_references_stand_in_the_inputs_that_take_files() -> None:
    graph: Graph = {
        "1": node("LoadImage", image=URL),
        "2": node("LoadImageMask", image="s3://bucket/mask.png", channel="red"),
        "3": node("LoadVideo", file="http://images.example.com/a.mp4"),
        "4": node("LoadAudio", audio=URL),
        "5": node("VHS_LoadVideo", video=URL),
    }
    assert references_of(graph) == {
        ("image", "image"),
        ("file", "video"),
        ("audio", "audio"),
        ("video", "video"),
    }
    assert len(list(find_references(graph))) == 5


@pytest.mark.parametrize(
    "inputs",
    [
        {"text": URL},
        {"filename_prefix": URL},
        {"image": f"see {URL}"},
        {"image": "cat.png"},
        {"image": "file:///etc/passwd"},
        {"image": ["1", 0]},
        {"image": None},
        {"images": URL},
    ],
)
def test_nothing_else_is_a_reference(inputs: Json) -> None:
    assert references_of({"1": node("Any", **inputs)}) == set()


def test_references_are_replaced_by_the_files_of_their_folder() -> None:
    graph: Graph = {
        "1": node("LoadImage", image=URL),
        "2": node("LoadImageOutput", image=URL),
        "3": node("CLIPTextEncode", text=URL),
    }
    files = {(URL, "input"): "a/1.png", (URL, "output"): "a/2.png [output]"}
    changed = with_files(graph, files)
    assert [next(iter(inputs_of(each).values())) for each in changed.values()] == [
        "a/1.png",
        "a/2.png [output]",
        URL,
    ]
    assert inputs_of(graph["1"])["image"] == URL


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("ComfyUI", "tag-ComfyUI"),
        ("sub/x", "sub/tag-x"),
        ("a/b/", "a/b/tag-"),
        ("", "tag-"),
        ("sub\\x", "sub\\tag-x"),
        ("a/b\\c\\x", "a/b\\c\\tag-x"),
        ("\\x", "\\tag-x"),
        ("y" * 300, "tag-" + "y" * 160),
        ("s/" + "ä" * 200, "s/tag-" + "ä" * 80),
        ("xä" * 200, "tag-" + "xä" * 53 + "x"),
    ],
)
def test_prefixes_get_the_tag_and_keep_their_folder(prefix: str, expected: str) -> None:
    graph: Graph = {"1": node("SaveImage", filename_prefix=prefix)}
    assert inputs_of(with_unique_prefixes(graph, "tag")["1"])["filename_prefix"] == expected


def test_a_prefix_that_another_node_gives_is_left_alone() -> None:
    graph: Graph = {"1": node("SaveImage", filename_prefix=["2", 0])}
    assert with_unique_prefixes(graph, "tag") == graph


def test_a_sound_output_needs_nothing_of_what_is_broken() -> None:
    circle = {"5": node("ImageInvert", image=["6", 0]), "6": node("ImageInvert", image=["5", 0])}
    assert read_workflow(saved(**circle), {"SaveImage"}).graph == saved(**circle)
    for outputs in (frozenset[str](), {"PreviewImage"}):
        with pytest.raises(Rejected, match="circle"):
            read_workflow(saved(**circle), outputs)
    behind = {**circle, "7": node("Any", x=["6", 0]), "2": node("SaveImage", images=["7", 0])}
    with pytest.raises(Rejected, match="circle"):
        read_workflow(saved(**behind), {"SaveImage"})
    far = {"1": node("Any", x=["99", 0]), "3": node("Any", x=["1", 0])}
    with pytest.raises(Rejected, match="links to node 99"):
        read_workflow({**far, "2": node("SaveImage", images=["3", 0])}, {"SaveImage"})
