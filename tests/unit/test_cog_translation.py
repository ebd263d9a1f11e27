"""From a job to the input of a model in cog, by what the model says of itself."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import JsonValue

from queue_agent.media.asset import Asset
from queue_agent.runtime import RuntimeOptions, Spools
from queue_agent.runtime.http import OutputFetcher, RuntimeClient
from queue_agent.testing import sample_png
from queue_agent.wire.errors import QueueAgentError, Rejected, RunLost, RuntimeSick, Unavailable
from queue_agent.wire.job import Job
from queue_agent_runtimes.cog import CogRuntime
from queue_agent_runtimes.cog.answer import read_output
from queue_agent_runtimes.cog.failures import failure_of
from queue_agent_runtimes.cog.logs import progress_of
from queue_agent_runtimes.cog.predictions import CogPrepared, body_of
from queue_agent_runtimes.cog.schema import ModelSchema
from queue_agent_runtimes.cog.translation import TranslatedInput, media_fields, translate

Json = dict[str, JsonValue]

PNG = base64.b64encode(sample_png()).decode()
ASSET = Asset(sample_png(), "image/png")
URI: Json = {"type": "string", "format": "uri"}
INTEGER: Json = {"type": "integer"}
NUMBER: Json = {"type": "number"}
TEXT: Json = {"type": "string"}
FLUX: Json = {
    "prompt": TEXT,
    "aspect_ratio": {"allOf": [{"$ref": "#/components/schemas/aspect_ratio"}], "default": "1:1"},
    "num_outputs": {"type": "integer", "minimum": 1, "maximum": 4},
    "num_inference_steps": {"anyOf": [{"type": "integer", "maximum": 50}, {"type": "null"}]},
    "guidance": NUMBER,
    "go_fast": {"type": "boolean"},
    "images": {"type": "array", "items": URI},
    "output_format": {"enum": ["webp", "png"], "type": "string"},
}


def schema(
    inputs: Mapping[str, JsonValue],
    output: JsonValue = None,
    required: tuple[str, ...] = ("prompt",),
) -> ModelSchema:
    described: Json = {"type": "object", "properties": {**inputs}, "required": list(required)}
    schemas: Json = {
        "Input": described,
        "aspect_ratio": {"enum": ["1:1", "16:9"], "type": "string"},
    }
    if output is not None:
        schemas["Output"] = output
    return ModelSchema.parse({"components": {"schemas": schemas}})


def job(task_type: str, **content: JsonValue) -> Job:
    metadata = {"id": "job-1", "tasktype": task_type}
    return Job.model_validate({"metadata": metadata, "content": content})


def translated(
    inputs: Json,
    task_type: str = "text-to-image",
    assets: Mapping[str, Asset] | None = None,
    **content: Any,
) -> TranslatedInput:
    found = schema(inputs, required=())
    return translate(job(task_type, prompt="a cat", **content), assets or {}, found)


def test_a_size_is_said_as_the_ratio_that_a_model_has() -> None:
    made = translated(FLUX, width=1280, height=720, cfg_scale=3, go_fast=True, steps=4)
    assert made.input == {
        "prompt": "a cat",
        "aspect_ratio": "16:9",
        "num_inference_steps": 4,
        "guidance": 3.0,
        "go_fast": True,
    }
    assert made.warnings == []


def test_a_size_is_said_as_the_text_that_a_model_has() -> None:
    sizes: Json = {"prompt": TEXT, "size": {"type": "string", "enum": ["512x512", "512x768"]}}
    assert translated(sizes, width=512, height=768).input["size"] == "512x768"
    made = translated(sizes, width=1024, height=768)
    assert made.warnings == ["width, height: the model has no such size; ignored."]


def test_what_the_publisher_does_not_say_is_left_to_the_model() -> None:
    assert translated(FLUX).input == {"prompt": "a cat"}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"n_iter": 5}, "num_outputs: 5 is greater than the maximum of 4"),
        ({"steps": 51}, "num_inference_steps: 51 is greater than the maximum of 50"),
        ({"output_format": "bmp"}, "output_format: 'bmp' is not one of: 'webp', 'png'"),
        ({"go_fast": "yes"}, "go_fast: 'yes' is not of type 'boolean'"),
        ({"go_fast": None}, "go_fast: must not be null"),
    ],
)
def test_what_the_model_does_not_take_is_refused_before_the_run(asked: Any, words: str) -> None:
    with pytest.raises(Rejected) as caught:
        translated(FLUX, **asked)
    assert caught.value.message == words
    assert caught.value.type == "invalid_content"


def test_each_fault_is_told_and_what_is_missing_too() -> None:
    inputs: Json = {"prompt": TEXT, "image": URI, "scale": {"type": "number", "minimum": 1}}
    with pytest.raises(Rejected) as caught:
        translate(job("pipeline", scale=0), {}, schema(inputs, required=("prompt", "image")))
    told = "prompt: is required; image: is required; scale: 0 is less than the minimum of 1"
    assert caught.value.message == told


def test_a_model_without_an_input_for_the_matter_says_which_it_has() -> None:
    with pytest.raises(Rejected, match="its inputs: text, image") as caught:
        translated({"text": TEXT, "image": URI})
    assert caught.value.type == "unsupported_by_model"
    with pytest.raises(Rejected, match="mask: the model has no input for it"):
        translated({"prompt": TEXT, "image": URI}, "image-to-image", init_images=[PNG], mask=PNG)


def test_images_go_to_a_model_that_takes_several_or_one() -> None:
    several = translated(FLUX, "image-to-image", init_images=[PNG, PNG])
    assert several.files.keys() == {("images", 0), ("images", 1)}
    one = translated({"prompt": TEXT, "image": URI}, "image-to-image", init_images=[PNG, PNG])
    assert one.files.keys() == {("image",)}
    assert one.warnings == ["init_images[1]: the model takes one image; ignored."]
    with pytest.raises(Rejected, match="init_images: an image is required"):
        translated(FLUX, "image-to-image")


def test_a_strength_has_no_meaning_without_an_image() -> None:
    made = translated({"prompt": TEXT, "image": URI}, denoising_strength=0.5, image=PNG)
    assert made.files == {}
    assert made.warnings == [
        "image: has no meaning for text-to-image; ignored.",
        "denoising_strength: has no meaning for text-to-image; ignored.",
    ]


@pytest.mark.parametrize("asked", ["Euler a", "K_EULER_ANCESTRAL", "euler_ancestral"])
def test_samplers_are_known_by_any_of_their_names(asked: str) -> None:
    choices: Json = {"type": "string", "enum": ["DDIM", "K_EULER_ANCESTRAL", "PNDM"]}
    made = translated({"prompt": TEXT, "scheduler": choices}, sampler_name=asked)
    assert made.input["scheduler"] == "K_EULER_ANCESTRAL"
    other = translated({"prompt": TEXT, "scheduler": choices}, sampler_name="UniPC")
    assert other.warnings == ["sampler_name: 'UniPC' is none of the model's; ignored."]


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({"num_frames": INTEGER, "fps": INTEGER}, {"num_frames": 48, "fps": 16}),
        (
            {"duration": INTEGER, "frames_per_second": INTEGER},
            {"duration": 3, "frames_per_second": 16},
        ),
        ({"duration": {"type": "string", "enum": ["3", "5"]}}, {"duration": "3"}),
    ],
)
def test_the_length_of_a_video_is_said_as_the_model_measures_it(
    inputs: Json, expected: Json
) -> None:
    inputs = {"prompt": TEXT, **inputs}
    made = translated(inputs, "text-to-video", seconds=3.0, fps=16)
    assert made.input == {"prompt": "a cat", **expected}


def test_a_video_begins_and_ends_with_the_images_of_the_job() -> None:
    inputs: Json = {"prompt": TEXT, "image": URI, "end_image": URI}
    made = translated(inputs, "image-to-video", first_frame=PNG, last_frame=PNG)
    assert made.files.keys() == {("image",), ("end_image",)}


def test_only_inputs_that_are_files_are_references() -> None:
    inputs: Json = {
        "prompt": TEXT,
        "photo": URI,
        "more": {"type": "array", "items": URI},
        "site": TEXT,
    }
    urls = [f"https://example.com/{number}.png" for number in range(4)]
    asked = job("pipeline", prompt=urls[0], photo=urls[1], more=[PNG, urls[2]], site=urls[3])
    found = dict(media_fields(asked, schema(inputs)))
    assert found == {("photo",): urls[1], ("more", 0): PNG, ("more", 1): urls[2]}


@pytest.mark.parametrize(
    ("content", "refused"),
    [
        ({"photo": "https://example.com/a.png"}, False),
        ({"prompt": "https://example.com/ is a prompt"}, False),
        ({"input": {"photo": "https://example.com/a.png"}}, False),
        ({"photo": "//host/share.png"}, True),
        ({"site": "https://example.com/"}, True),
        ({"site": "file:/etc/passwd"}, True),
        ({"input": {"more": {"site": "s3://bucket/key"}}}, True),
    ],
)
def test_a_model_is_sent_no_place_that_it_would_fetch_itself(content: Any, refused: bool) -> None:
    runtime = CogRuntime(RuntimeOptions())
    runtime._health.schema = schema({"prompt": TEXT, "photo": URI, "site": TEXT})
    told = []
    try:
        runtime.check_places(job("pipeline", **content))
    except Rejected as error:
        told.append(error.type)
    assert told == ["reference_forbidden"] * refused


def test_an_input_may_stand_as_in_a_request_to_the_server() -> None:
    inputs: Json = {"prompt": TEXT, "photo": URI}
    url = "https://example.com/a.png"
    asked = job("pipeline", input={"prompt": "a cat", "photo": url, "extra": 1})
    assert dict(media_fields(asked, schema(inputs))) == {("input", "photo"): url}
    made = translate(asked, {url: ASSET}, schema(inputs))
    assert made.input == {"prompt": "a cat", "photo": ""}
    assert made.warnings == ["input.extra: the model has no such input; ignored."]
    named = {"input": TEXT}
    assert translate(job("pipeline", input="x"), {}, schema(named, required=())).input == {
        "input": "x"
    }


async def test_files_are_sent_as_data_urls_in_their_places() -> None:
    url = "https://example.com/a.png"
    asked = job("pipeline", prompt="a", more=[url, f"data:image/png;base64,{PNG}", PNG])
    made = translate(
        asked, {url: ASSET}, schema({"prompt": TEXT, "more": {"type": "array", "items": URI}})
    )
    sent = _Sent()
    await body_of({"input": made.input}, made.files).write(sent)  # type: ignore[arg-type]
    assert json.loads(sent.text) == {
        "input": {"prompt": "a", "more": [f"data:image/png;base64,{PNG}"] * 3}
    }


class _Sent:
    def __init__(self) -> None:
        self.text = b""

    async def write(self, piece: bytes) -> None:
        self.text += piece


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ({"type": "array", "items": URI}, True),
        ({"type": "object", "properties": {"text": TEXT, "mesh": URI}}, True),
        ({"title": "Output"}, True),
        (None, True),
        (TEXT, False),
        ({"type": "array", "items": TEXT}, False),
        ({"type": "object", "properties": {"text": TEXT}}, False),
    ],
)
def test_texts_of_an_output_are_files_unless_it_says_that_they_are_words(
    output: JsonValue, expected: bool
) -> None:
    assert schema(FLUX, output).gives_files is expected


@pytest.mark.parametrize(
    "document", [{}, {"components": []}, {"components": {"schemas": {"Input": 1}}}]
)
def test_a_document_that_describes_no_input_is_as_good_as_none(document: Json) -> None:
    assert not ModelSchema.parse(document).is_known


@pytest.mark.parametrize(
    ("logs", "expected"),
    [
        ("", None),
        ("loading weights", None),
        ("30%", (0.3, None, None)),
        ("seed 42\n  5%|▌  | 1/20 [00:01<00:19]\r 10%|█  | 2/20 [00:02<00:18]", (0.1, 2, 20)),
        ("Loading: 100%|██| 7/7 [00:01<00:00]\n", (0.99, 7, 7)),
        ("step 12.5% of it", (0.12, None, None)),
        ("a 300% zoom", None),
        ("CPU at 1234%", None),
    ],
)
def test_progress_is_the_last_percentage(
    logs: str, expected: tuple[float, int | None, int | None] | None
) -> None:
    found = progress_of(logs)
    assert (found and (found.fraction, found.step, found.steps)) == expected


@pytest.mark.parametrize(
    ("words", "error", "kind"),
    [
        ("ValueError: width must be a multiple of 8", Rejected, "prediction_failed"),
        ("ValueError: out of memory, says the prompt", Rejected, "prediction_failed"),
        ("RuntimeError: shapes cannot be multiplied", Rejected, "prediction_failed"),
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate", Unavailable, "out_of_memory"),
        ("RuntimeError: CUDA error: an illegal memory access", RuntimeSick, "runtime_sick"),
        ("RuntimeError: cuDNN error: CUDNN_STATUS_BAD_PARAM", Unavailable, "prediction_failed"),
        ("ConnectionError: HTTPSConnectionPool(host='x')", Unavailable, "prediction_failed"),
        ("Worker crashed", RunLost, "runtime_crashed"),
        ("NSFW content detected. Try running it again, or try a different", Rejected, "withheld"),
        ("All generated images contained NSFW content. Try running", Rejected, "withheld"),
        ("RuntimeError: Potential NSFW content was detected", Rejected, "withheld"),
        ("ValueError: no style is called NSFW content detected", Rejected, "prediction_failed"),
        ("", Rejected, "prediction_failed"),
    ],
)
def test_a_failure_is_the_jobs_unless_it_may_not_come_again(
    words: str, error: type[QueueAgentError], kind: str
) -> None:
    said = f"Prediction failed: Prediction failed: {words}" if ":" in words else words
    found = failure_of({"status": "failed", "error": said})
    assert type(found) is error
    assert found.type == kind


def test_a_prediction_that_somebody_stopped_is_tried_again() -> None:
    found = failure_of({"status": "canceled"})
    assert isinstance(found, Unavailable)
    assert found.type == "runtime_interrupted"


async def test_a_text_that_is_an_address_is_a_file_only_where_the_output_may_hold_some() -> None:
    options = RuntimeOptions()
    client = RuntimeClient(options, "http://127.0.0.1:9")
    fetcher = OutputFetcher(options, client)
    answer: Json = {"status": "succeeded", "output": ["http://127.0.0.1/a.png"]}
    prepared = CogPrepared(job("pipeline", prompt="a"), {"input": {}})
    with Spools() as spools:
        output = await read_output(answer, prepared, fetcher, spools, gives_files=False)
        assert output.response["output"] == answer["output"]
        with pytest.raises(Unavailable) as caught:
            await read_output(answer, prepared, fetcher, spools, gives_files=True)
    assert caught.value.type == "output_forbidden"
    await fetcher.aclose()
    await client.aclose()
