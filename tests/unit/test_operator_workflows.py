"""Workflows that the operator gave a name, without a server."""

import json
from pathlib import Path

import pytest
from pydantic import JsonValue

from queue_agent.wire.errors import Rejected, SettingsError
from queue_agent_runtimes.comfyui.operator_files import parse_operator_workflow, read_library
from queue_agent_runtimes.comfyui.operator_library import Library
from queue_agent_runtimes.comfyui.operator_workflow import OperatorWorkflow
from queue_agent_runtimes.comfyui.workflow import inputs_of

Json = dict[str, JsonValue]
URL = "https://images.example.com/cat.png"


def node(class_type: str, **inputs: JsonValue) -> Json:
    return {"class_type": class_type, "inputs": inputs}


GRAPH: Json = {
    "3": node("RandomNoise", noise_seed=1, sharp=False),
    "5": node("Flux2Scheduler", steps=20, width=1024, sampler="euler"),
    "6": node("CLIPTextEncode", text="a dog", clip=["5", 0]),
    "8": node("CLIPTextEncode", text="a dog", clip=["5", 0]),
    "12": node("LoadImage", image="example.png"),
    "57:1": node("FetchText", url="https://operator.example.com/words", value="x"),
}


def text(inputs: JsonValue = None, **more: JsonValue) -> bytes:
    return json.dumps({"workflow": GRAPH, "inputs": inputs or {}, **more}).encode()


def parsed(inputs: JsonValue = None, **more: JsonValue) -> OperatorWorkflow:
    own = parse_operator_workflow("flux", text(inputs, **more))
    assert isinstance(own, OperatorWorkflow)
    return own


def filled(own: OperatorWorkflow, given: Json, node_id: str) -> Json:
    return inputs_of(own.filled(given, random_seed=99).graph[node_id])


def faults(inputs: JsonValue = None, **more: JsonValue) -> list[str]:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  each line is looked at
        parsed(inputs, **more)
    return str(caught.value).splitlines()


def refusal(own: OperatorWorkflow, given: Json) -> str:
    with pytest.raises(Rejected) as caught:
        own.filled(given, random_seed=99)
    assert caught.value.type == "invalid_workflow"
    return caught.value.message


def write(folder: Path, **files: bytes) -> Path:
    for name, content in files.items():
        (folder / f"{name}.json").write_bytes(content)
    return folder


def test_an_input_goes_to_every_place_that_it_leads_to() -> None:
    own = parsed({"prompt": ["6.text", "8.text"], "steps": "5.steps"})
    given: Json = {"prompt": "a cat", "steps": 4}
    assert filled(own, given, "6")["text"] == filled(own, given, "8")["text"] == "a cat"
    assert filled(own, given, "5") == {"steps": 4, "width": 1024, "sampler": "euler"}


def test_what_a_job_leaves_out_is_the_files_default_else_the_workflows_own() -> None:
    own = parsed({"steps": {"to": "5.steps", "default": 8}, "width": "5.width"})
    assert filled(own, {}, "5") == {"steps": 8, "width": 1024, "sampler": "euler"}
    assert filled(own, {"steps": None, "width": None}, "5")["steps"] == 8


def test_filling_one_job_changes_nothing_for_the_next() -> None:
    own = parsed({"prompt": "6.text"})
    assert filled(own, {"prompt": "a cat"}, "6")["text"] == "a cat"
    assert filled(own, {}, "6")["text"] == "a dog"


def test_node_ids_of_subgraphs_are_inputs_places_too() -> None:
    assert filled(parsed({"words": "57:1.value"}), {"words": "y"}, "57:1")["value"] == "y"


@pytest.mark.parametrize("given", [{}, {"seed": -1}, {"seed": None}])
def test_a_seed_that_is_not_named_is_a_random_one_and_recorded(given: Json) -> None:
    workflow = parsed({"seed": "3.noise_seed"}).filled(given, random_seed=99)
    assert inputs_of(workflow.graph["3"])["noise_seed"] == 99
    assert workflow.seeds["12"] == 99


def test_a_seed_that_is_named_is_kept_and_recorded() -> None:
    own = parsed({"seed": "3.noise_seed"})
    assert own.filled({"seed": 0}, random_seed=99).seeds["12"] == 0
    fixed = parsed({"seed": {"to": "3.noise_seed", "default": 5}})
    assert fixed.filled({}, random_seed=99).seeds["12"] == 5
    assert parsed({}).filled({}, random_seed=99).seeds == {}


def test_unknown_inputs_are_refused_with_those_that_are_known() -> None:
    own = parsed({"prompt": "6.text", "seed": "3.noise_seed"})
    said = refusal(own, {"promt": "a cat", "6.text": "b"})
    assert "inputs.promt: the workflow flux has no such input; it has: prompt, seed" in said
    assert "inputs.6.text" in said, "nothing is set that the operator did not expose"
    assert len(refusal(own, {"x" * 10_000: 1})) < 300


def test_what_must_be_given_is_asked_for() -> None:
    own = parsed({"image": {"to": "12.image", "required": True}})
    assert "inputs.image: must be given (image)" in refusal(own, {})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("steps", "4", "must be a number"),
        ("steps", True, "must be a number"),
        ("steps", ["3", 0], "must be a number"),
        ("prompt", 7, "must be a text"),
        ("prompt", ["3", 0], "must be a text"),
        ("sharp", 1, "must be true or false"),
        ("image", {"url": URL}, "must name an image"),
        ("seed", 1.5, "must be a whole number"),
        ("seed", -2, "must be a whole number"),
        ("seed", 2**64, "must be a whole number"),
    ],
)
def test_values_of_another_kind_are_refused(name: str, value: JsonValue, words: str) -> None:
    own = parsed(
        {
            "steps": "5.steps",
            "prompt": "6.text",
            "sharp": "3.sharp",
            "image": "12.image",
            "seed": "3.noise_seed",
        }
    )
    assert f"inputs.{name}: {words}" in refusal(own, {name: value})


def test_urls_go_to_loading_nodes_and_prompts_only() -> None:
    own = parsed({"image": "12.image", "prompt": "57:1.value", "sampler": "5.sampler"})
    own.check_places({"image": URL, "prompt": "http://example.com is a prompt"})
    parsed({"words": "6.text"}).check_places({"words": "http://example.com is a prompt"})
    for given in ({"sampler": URL}, {"image": "file:///etc/passwd"}, {"sampler": "//host/x"}):
        with pytest.raises(Rejected) as caught:
            own.check_places(dict(given))
        assert caught.value.type == "reference_forbidden"
        assert f"inputs.{next(iter(given))}" in caught.value.message


def test_what_the_operator_wrote_into_a_workflow_is_not_looked_at() -> None:
    parsed({"prompt": "6.text"}).check_places({"prompt": "a cat"})


@pytest.mark.parametrize(
    ("inputs", "line"),
    [
        ({"prompt": "7.text"}, "inputs.prompt: 7.text: the workflow has no node '7'"),
        (
            {"prompt": "6.txt"},
            "inputs.prompt: 6.txt: node 6 has no input 'txt'; it has: text, clip",
        ),
        ({"prompt": "6.clip"}, "inputs.prompt: 6.clip: is linked to another node"),
        ({"x": ["6.text", "5.steps"]}, "inputs.x: leads to inputs of several kinds: number, text"),
        ({"steps": {"to": "5.steps", "default": "8"}}, "inputs.steps: default: must be a number"),
        ({"steps": {"to": []}}, "inputs.steps.to: "),
        ({"steps": {"from": "5.steps"}}, "inputs.steps.to: Field required"),
        ({"two words": "5.steps"}, "inputs.two words"),
    ],
)
def test_a_fault_of_a_file_is_named(inputs: JsonValue, line: str) -> None:
    assert faults(inputs)[0].startswith(line)


def test_each_fault_of_a_file_has_a_line() -> None:
    lines = faults({"prompt": "7.text", "seed": "9.seed"}, answers=["to-dance", "text-to-image"])
    assert len(lines) == 3, lines
    assert lines[2].startswith("answers: 'to-dance' is none of: text-to-image")


def test_a_workflow_answers_a_task_type_only_with_the_inputs_that_it_needs() -> None:
    assert faults({"seed": "3.noise_seed"}, answers=["text-to-image"]) == [
        "answers: for text-to-image an input 'prompt' must be exposed"
    ]
    assert faults({"prompt": "6.text"}, answers=["image-to-image"]) == [
        "answers: for image-to-image an input 'image' must be exposed"
    ]


def test_a_folder_is_read_without_what_is_no_workflow(tmp_path: Path) -> None:
    write(tmp_path, flux=text({"prompt": "6.text"}), wan=text())
    (tmp_path / "README.md").write_text("words")
    (tmp_path / "..data").mkdir()
    library = read_library(tmp_path)
    assert list(library.workflows) == ["flux", "wan"]
    assert [str(offer) for offer in library.offers()] == [
        "flux: prompt (text)",
        "wan: no inputs",
    ]


def test_a_folder_is_refused_with_a_line_for_each_fault(tmp_path: Path) -> None:
    write(tmp_path, a=b"{", b=text({"prompt": "7.text", "seed": "9.seed"}), c=text())
    with pytest.raises(SettingsError) as caught:
        read_library(tmp_path)
    lines = caught.value.message.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"{tmp_path}/a.json",
        f"{tmp_path}/b.json",
        f"{tmp_path}/b.json",
    ]


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_folder_that_holds_nothing_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match=name):
        read_library(tmp_path / name)


def test_one_workflow_answers_a_task_type(tmp_path: Path) -> None:
    answer = text({"prompt": "6.text"}, answers=["text-to-image"])
    assert (own := read_library(write(tmp_path, flux=answer)).answering("text-to-image"))
    assert own.name == "flux"
    with pytest.raises(SettingsError, match="wan and flux both answer text-to-image"):
        read_library(write(tmp_path, wan=answer))


def test_a_job_asks_for_a_workflow_by_its_name() -> None:
    library = Library({"flux": parsed({"prompt": "6.text"}, extra_data={"a": 1, "b": 1})})
    asked = library.asked(
        {"workflow": "flux", "inputs": {"prompt": "a cat"}, "extra_data": {"b": 2}, "front": True}
    )
    assert asked is not None
    workflow = asked.filled(random_seed=99)
    assert inputs_of(workflow.graph["6"])["text"] == "a cat"
    assert workflow.extra_data == {"a": 1, "b": 2}
    assert workflow.warnings == ("front: has no effect beside a workflow's name",)
    assert library.asked({"workflow": GRAPH, "inputs": {}}) is None
    assert library.asked(GRAPH) is None


def test_a_name_that_is_not_known_is_refused_with_those_that_are() -> None:
    library = Library({"flux": parsed(), "wan": parsed()})
    with pytest.raises(Rejected, match="there is no 'flax' here; known: flux, wan"):
        library.asked({"workflow": "flax"})
    with pytest.raises(Rejected, match="known: none by name"):
        Library().asked({"workflow": "flux"})
    with pytest.raises(Rejected, match="must be objects"):
        library.asked({"workflow": "flux", "inputs": ["a cat"]})


def test_a_workflow_may_be_asked_for_within_an_input() -> None:
    library = Library({"flux": parsed({"prompt": "6.text"})})
    asked = library.asked({"input": {"workflow": "flux", "inputs": {"prompt": "a cat"}}})
    assert asked is not None
    assert asked.inputs == {"prompt": "a cat"}
    assert asked.warnings == ()
