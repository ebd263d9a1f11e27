"""Portable jobs for videos and meshes as inputs of the operator's workflow, without a server."""

import json

import pytest
from pydantic import JsonValue

from queue_agent.wire.errors import Rejected
from queue_agent_runtimes.comfyui.operator_files import parse_operator_workflow
from queue_agent_runtimes.comfyui.operator_portable import PortableInputs
from queue_agent_runtimes.comfyui.operator_video import parse_content, video_inputs
from queue_agent_runtimes.comfyui.operator_workflow import OperatorWorkflow

Json = dict[str, JsonValue]
URL = "https://images.example.com/sea.png"
GRAPH: Json = {
    "1": {"class_type": "Video", "inputs": {"length": 81, "rate": 16, "long": 5.0, "guide": 6.0}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a sea"}},
    "3": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
}


def own(**inputs: JsonValue) -> OperatorWorkflow:
    told = {"workflow": GRAPH, "inputs": {"prompt": "2.text", **inputs}}
    found = parse_operator_workflow("wan", json.dumps(told).encode())
    assert isinstance(found, OperatorWorkflow)
    return found


def mapped(own: OperatorWorkflow, **content: JsonValue) -> PortableInputs:
    whole: Json = {"prompt": "waves", **content}
    return video_inputs(own, parse_content(whole, "text-to-video"))


FRAMES: Json = {"frames": "1.length"}
RATED: Json = {**FRAMES, "fps": "1.rate"}
TEN: JsonValue = {"to": "1.rate", "default": 10}


@pytest.mark.parametrize(
    ("inputs", "content", "expected", "warned"),
    [
        (RATED, {"frames": 49, "fps": 8}, {"frames": 49, "fps": 8}, []),
        (RATED, {"seconds": 4}, {"frames": 64}, []),
        (RATED, {"seconds": 4, "fps": 8}, {"frames": 32, "fps": 8}, []),
        ({**FRAMES, "fps": TEN}, {"seconds": 4}, {"frames": 40}, []),
        (RATED, {"seconds": 4, "frames": 49}, {"frames": 49}, []),
        (FRAMES, {"seconds": 4, "fps": 8}, {"frames": 32}, ["fps"]),
        (FRAMES, {"seconds": 4}, {}, ["seconds"]),
        ({"seconds": "1.long"}, {"seconds": 4}, {"seconds": 4.0}, []),
        ({"seconds": "1.long"}, {"frames": 40, "fps": 8}, {"seconds": 5.0}, ["fps"]),
        ({}, {"frames": 40, "fps": 8}, {}, ["fps", "frames"]),
        ({"guidance_scale": "1.guide"}, {"cfg_scale": 4}, {"guidance_scale": 4.0}, []),
        ({"cfg_scale": "1.guide"}, {"guidance_scale": 4}, {"cfg_scale": 4.0}, []),
        ({}, {"guidance_scale": 4}, {}, ["guidance_scale"]),
        ({"zeal": "1.guide"}, {"zeal": 2}, {"zeal": 2}, []),
        ({}, {"zeal": 2, "loras": [{"name": "a"}], "seed": 7}, {}, ["loras", "seed", "zeal"]),
        ({}, {"seed": -1, "negative_prompt": ""}, {}, []),
    ],
)
def test_fields_go_to_the_inputs_of_their_names(
    inputs: Json, content: Json, expected: Json, warned: list[str]
) -> None:
    found = mapped(own(**inputs), **content)
    assert found.inputs == {"prompt": "waves", **expected}
    assert sorted(words.partition(":")[0] for words in found.warnings) == warned


def test_a_last_frame_that_no_input_takes_ends_the_job() -> None:
    content: Json = {"first_frame": URL, "last_frame": URL}
    with pytest.raises(Rejected, match="the workflow wan takes none"):
        video_inputs(own(first_frame="3.image"), parse_content(content, "image-to-video"))


@pytest.mark.parametrize(
    ("task_type", "inputs", "fault"),
    [
        ("text-to-video", {"prompt": "2.text"}, None),
        ("image-to-video", {"first_frame": "3.image"}, None),
        ("image-to-3d", {"image": "3.image"}, None),
        ("image-to-video", {"image": "3.image"}, "an input 'first_frame' must be exposed"),
        ("image-to-3d", {"prompt": "2.text"}, "an input 'image' must be exposed"),
        ("image-to-video", {"first_frame": "2.text"}, "must lead to an image"),
        ("text-to-video", {"prompt": "2.text", "frames": "2.text"}, "must lead to a number"),
        ("text-to-sound", {"prompt": "2.text"}, "is none of"),
    ],
)
def test_a_workflow_must_expose_what_it_answers_with(
    task_type: str, inputs: Json, fault: str | None
) -> None:
    text = json.dumps({"workflow": GRAPH, "inputs": inputs, "answers": [task_type]}).encode()
    if fault is None:
        assert parse_operator_workflow("wan", text).answers == (task_type,)
    else:
        with pytest.raises(ValueError, match=fault):
            parse_operator_workflow("wan", text)
