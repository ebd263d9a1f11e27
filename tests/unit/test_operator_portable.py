"""Portable jobs as inputs of the operator's workflow, without a server."""

import json

import pytest
from pydantic import JsonValue

from queue_agent.wire.portable import parse_portable
from queue_agent_runtimes.comfyui.operator_files import parse_operator_workflow
from queue_agent_runtimes.comfyui.operator_portable import PortableInputs, portable_inputs
from queue_agent_runtimes.comfyui.operator_workflow import OperatorWorkflow

Json = dict[str, JsonValue]
GRAPH: Json = {
    "1": {
        "class_type": "Sampling",
        "inputs": {"noise": 1, "count": 20, "guide": 3.5, "wide": 8, "sampler": "euler", "s": "a"},
    },
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a dog", "unwanted": ""}},
    "3": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux.safetensors"}},
    "4": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
}
ALL: Json = {
    "prompt": "2.text",
    "negative_prompt": "2.unwanted",
    "seed": "1.noise",
    "steps": "1.count",
    "cfg_scale": "1.guide",
    "width": "1.wide",
    "sampler_name": "1.sampler",
    "scheduler": "1.s",
    "model": "3.unet_name",
    "tiling": "1.count",
}


def own(**inputs: JsonValue) -> OperatorWorkflow:
    told = {"workflow": GRAPH, "inputs": {"prompt": "2.text", **inputs}}
    own = parse_operator_workflow("flux", json.dumps(told).encode())
    assert isinstance(own, OperatorWorkflow)
    return own


def mapped(own: OperatorWorkflow, **content: JsonValue) -> PortableInputs:
    return portable_inputs(own, parse_portable(content))


def test_fields_go_to_the_inputs_of_their_names() -> None:
    content: Json = {
        "prompt": "a cat",
        "negative_prompt": "blurry",
        "seed": 7,
        "steps": 8,
        "cfg_scale": 2.5,
        "width": 64,
        "model": "other",
    }
    assert mapped(own(**ALL), **content) == PortableInputs(content, ())


def test_what_a_job_leaves_out_is_the_workflows_own_and_not_the_forms_default() -> None:
    assert mapped(own(**ALL), prompt="a cat", steps=None).inputs == {"prompt": "a cat"}


def test_a_job_without_a_prompt_is_not_drawn_by_the_workflows_example() -> None:
    assert mapped(own()).inputs == {"prompt": ""}


def test_fields_that_are_not_exposed_are_warnings() -> None:
    found = mapped(
        own(), prompt="a cat", steps=8, seed=7, width=64, model="x", sampler_name="Euler"
    )
    assert found.inputs == {"prompt": "a cat"}
    assert [warning.partition(":")[0] for warning in found.warnings] == [
        "seed",
        "steps",
        "width",
        "model",
        "sampler_name",
    ]
    assert "the workflow flux does not take it" in found.warnings[0]


def test_fields_that_ask_for_nothing_are_no_warnings() -> None:
    assert mapped(own(), prompt="a", negative_prompt="", seed=-1, n_iter=1, batch_size=1) == (
        PortableInputs({"prompt": "a"}, ())
    )


@pytest.mark.parametrize(
    ("content", "inputs"),
    [
        ({"sampler_name": "DPM++ 2M"}, {"sampler_name": "dpmpp_2m"}),
        ({"sampler_name": "DPM++ 2M Karras"}, {"sampler_name": "dpmpp_2m", "scheduler": "karras"}),
        ({"scheduler": "SGM Uniform"}, {"scheduler": "sgm_uniform"}),
        ({"sampler_name": "res_multistep"}, {"sampler_name": "res_multistep"}),
        ({"scheduler": "Automatic"}, {}),
    ],
)
def test_samplers_and_schedules_are_put_in_comfyuis_words(content: Json, inputs: Json) -> None:
    found = mapped(own(**ALL), prompt="", **content)
    assert found == PortableInputs({"prompt": "", **inputs}, ())


def test_a_sampler_that_comfyui_lacks_is_a_warning() -> None:
    (warning,) = mapped(own(**ALL), sampler_name="Restart").warnings
    assert warning == "sampler_name: ComfyUI has no 'Restart'; flux has its own"


def test_loras_are_taken_from_the_prompt_and_warned_of() -> None:
    found = mapped(own(), prompt="a cat <lora:ink:0.5>")
    assert found.inputs == {"prompt": "a cat"}
    assert found.warnings == ("loras: the workflow flux does not take it; none was applied",)


def test_fields_beyond_the_form_reach_what_is_exposed_by_their_name() -> None:
    found = mapped(own(tiling="1.count"), tiling=4, hr_scale=2)
    assert found.inputs == {"prompt": "", "tiling": 4}
    assert found.warnings == ("hr_scale: the workflow flux does not take it",)


def test_files_are_given_by_the_forms_own_fields_alone() -> None:
    found = mapped(own(image="4.image", control="4.image"), image="QUJD", control="a.png")
    assert found.inputs == {"prompt": ""}


def test_inputs_called_as_the_forms_fields_hold_the_like() -> None:
    told = {
        "workflow": GRAPH,
        "inputs": {"prompt": "2.text", "steps": "1.s", "seed": "2.text", "image": "2.text"},
        "answers": ["text-to-image"],
    }
    with pytest.raises(ValueError) as caught:  # noqa: PT011  each line is looked at
        parse_operator_workflow("flux", json.dumps(told).encode())
    assert sorted(str(caught.value).splitlines()) == [
        "inputs.image: to answer portable jobs, it must lead to an image",
        "inputs.seed: to answer portable jobs, it must lead to a number",
        "inputs.steps: to answer portable jobs, it must lead to a number",
    ]
