"""The adapter of inference servers: tensors, names, answers, pictures and refusals."""

import base64
import io
import json
import struct
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence

import pytest
from multidict import CIMultiDict
from PIL import Image
from pydantic import JsonValue

from queue_agent.media.asset import Asset, Spools
from queue_agent.runtime import RuntimeOptions
from queue_agent.runtime.http import Response, StreamedResponse
from queue_agent.testing import sample_png
from queue_agent.wire.errors import Rejected, RuntimeSick, SettingsError, Unavailable
from queue_agent.wire.job import Job
from queue_agent_runtimes.triton import TritonRuntime
from queue_agent_runtimes.triton.answer import read_answer
from queue_agent_runtimes.triton.content import AskedTensors, pipeline_tensors, portable_tensors
from queue_agent_runtimes.triton.datatypes import pack, unpack
from queue_agent_runtimes.triton.failures import error_from
from queue_agent_runtimes.triton.models import (
    InferenceModel,
    TensorSpec,
    read_index,
    read_metadata,
    with_config,
)
from queue_agent_runtimes.triton.options import TritonOptions
from queue_agent_runtimes.triton.outputs import artifacts_of, told_or_made
from queue_agent_runtimes.triton.pixels import as_pixels, layout_of, pictures_of
from queue_agent_runtimes.triton.readiness import readiness_by
from queue_agent_runtimes.triton.request import InputTensor, values_tensor
from queue_agent_runtimes.triton.tensor_roles import image_output, inputs_by_role

USUAL = TritonOptions()
PNG = sample_png()
PNG_TEXT = base64.b64encode(PNG).decode()


def spec(name: str, datatype: str, *shape: int) -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=[*shape])


def model(
    *inputs: TensorSpec,
    outputs: Sequence[TensorSpec] = (),
    optional: Collection[str] = (),
    required: Collection[str] = (),
) -> InferenceModel:
    outputs = outputs or [spec("image", "UINT8", -1, -1, 3)]
    return InferenceModel(
        "sd",
        {one.name: one for one in inputs},
        {one.name: one for one in outputs},
        frozenset(optional),
        frozenset(required),
    )


PROMPT = spec("prompt", "BYTES", 1)
STEPS = spec("steps", "INT32", 1)
SEED = spec("seed", "INT64", -1, 1)


def data_of(tensor: InputTensor) -> bytes:
    return b"".join(part if isinstance(part, bytes) else part.data for part in tensor.parts)


def values_of(asked: AskedTensors, number: int = 0) -> dict[str, object]:
    return {
        one.name: data_of(one)[4:].decode()
        if one.datatype == "BYTES"
        else unpack(data_of(one), one.datatype)[0]
        for one in asked.requests[number]
    }


async def portable(
    served: InferenceModel,
    task_type: str = "text-to-image",
    options: TritonOptions = USUAL,
    **content: JsonValue,
) -> AskedTensors:
    return await portable_tensors({"prompt": "a cat", **content}, task_type, served, options, {})


async def pipeline(served: InferenceModel, **content: JsonValue) -> AskedTensors:
    return await pipeline_tensors(content, served, USUAL, {})


# Values and bytes


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        ("BOOL", [True, False]),
        ("UINT8", [0, 255]),
        ("UINT16", [65535]),
        ("UINT32", [2**32 - 1]),
        ("UINT64", [2**64 - 1]),
        ("INT8", [-128, 127]),
        ("INT16", [-32768]),
        ("INT32", [-(2**31)]),
        ("INT64", [-(2**63), 2**63 - 1]),
        ("FP16", [0.5, -2.0]),
        ("BF16", [1.0, -0.5]),
        ("FP32", [0.25]),
        ("FP64", [0.1]),
    ],
)
def test_every_datatype_of_numbers_comes_back(datatype: str, values: list[JsonValue]) -> None:
    assert unpack(pack(values, datatype), datatype) == values


def test_texts_have_their_length_before_them() -> None:
    assert pack(["é", ""], "BYTES") == b"\2\0\0\0\xc3\xa9\0\0\0\0"


@pytest.mark.parametrize(
    ("value", "datatype"),
    [
        (256, "UINT8"),
        (-1, "UINT64"),
        (2**63, "INT64"),
        (1.5, "INT32"),
        (True, "INT32"),
        (1, "BOOL"),
        ("7", "INT32"),
        (7, "BYTES"),
        (None, "FP32"),
        (1e6, "FP16"),
        (10**400, "FP32"),
        (-(10**400), "FP64"),
        (10**400, "BF16"),
        (1, "STRUCT"),
        ("\ud800", "BYTES"),
    ],
)
def test_a_value_that_is_none_of_the_datatype_is_refused(value: JsonValue, datatype: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        pack([value], datatype)


def test_one_value_takes_the_shape_of_the_input() -> None:
    assert values_tensor(spec("steps", "INT32", -1, 1), 4).shape == (1, 1)
    assert values_tensor(spec("steps", "INT32", 1), 4.0).shape == (1,)


def test_lists_have_a_shape_of_their_own_behind_the_batch() -> None:
    tensor = values_tensor(spec("x", "FP32", -1, -1, 2), [[1, 2], [3, 4], [5, 6]])
    assert tensor.shape == (1, 3, 2)


@pytest.mark.parametrize("value", [[[1], [2, 3]], [[1], 2]])
def test_lists_of_different_lengths_are_refused(value: JsonValue) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        values_tensor(spec("x", "INT32", -1, -1), value)


# Which tensor is what


@pytest.mark.parametrize(
    ("name", "field"),
    [("PROMPT", "prompt"), ("text_input", "prompt"), ("NUM_INFERENCE_STEPS", "steps"),
     ("guidance_scale", "cfg_scale"), ("Init_Image", "init_images")],
)  # fmt: skip
def test_inputs_are_known_by_their_usual_names_in_any_case(name: str, field: str) -> None:
    assert inputs_by_role([name], {}) == {field: name}


def test_the_operators_word_wins_over_usual_names() -> None:
    named = {"prompt": "caption"}
    assert inputs_by_role(["prompt", "caption", "steps"], named) == {
        "prompt": "caption",
        "steps": "steps",
    }


def test_the_output_is_the_named_or_usual_or_only_one() -> None:
    assert image_output(["latents", "IMAGES"], None) == "IMAGES"
    assert image_output(["result"], None) == "result"
    assert image_output(["a", "b"], None) is None
    assert image_output(["a", "b"], "b") == "b"
    assert image_output(["a", "image"], "c") is None


def test_wrong_options_are_named() -> None:
    with pytest.raises(SettingsError, match=r"QUEUE_AGENT_RUNTIME_OPTIONS: model: .* name of"):
        TritonRuntime(RuntimeOptions(own={"model": "../other"}))
    with pytest.raises(SettingsError, match="concurrency: "):
        TritonRuntime(RuntimeOptions(own={"concurrency": 0}))


# From a job to tensors


async def test_the_usual_model_gets_prompt_and_steps() -> None:
    asked = await portable(model(PROMPT, STEPS, optional={"steps"}), steps=7)
    assert values_of(asked) == {"prompt": "a cat", "steps": 7}
    assert asked.outputs == ("image",)
    assert not asked.warnings


async def test_what_a_job_does_not_say_is_the_models_where_that_may_choose() -> None:
    assert values_of(await portable(model(PROMPT, STEPS, optional={"steps"}))) == {
        "prompt": "a cat"
    }
    assert values_of(await portable(model(PROMPT, STEPS)))["steps"] == 50


async def test_each_image_has_a_seed_of_its_own() -> None:
    asked = await portable(model(PROMPT, SEED), seed=7, batch_size=2, n_iter=2)
    assert [values_of(asked, number)["seed"] for number in range(4)] == [7, 8, 9, 10]
    assert asked.seeds == (7, 8, 9, 10)


async def test_a_seed_that_no_job_names_is_drawn_and_told() -> None:
    asked = await portable(model(PROMPT, SEED), batch_size=2)
    assert asked.seeds[0] is not None
    assert asked.seeds[1] == asked.seeds[0] + 1
    assert values_of(asked)["seed"] == asked.seeds[0]


async def test_a_model_that_makes_several_images_is_asked_once() -> None:
    asked = await portable(model(PROMPT, spec("num_images", "INT32", 1)), batch_size=3)
    assert len(asked.requests) == 1
    assert values_of(asked)["num_images"] == 3


async def test_what_the_model_has_no_input_for_is_said() -> None:
    asked = await portable(
        model(PROMPT), steps=4, seed=3, loras=[{"name": "x"}], init_images=[PNG_TEXT], hires=True
    )
    assert sorted(warning.partition(":")[0] for warning in asked.warnings) == [
        "hires",
        "init_images",
        "loras",
        "seed",
        "steps",
    ]


async def test_a_seed_that_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(Rejected, match=r"seed: .* does not fit into INT32"):
        await portable(model(PROMPT, spec("seed", "INT32", 1)), seed=2**40)


async def test_an_input_that_nothing_of_the_job_is_for_is_named() -> None:
    """Triton counts the inputs only, and would run the model without it."""
    style = spec("style", "BYTES", 1)
    served = model(PROMPT, style, required={"prompt", "style"})
    with pytest.raises(Rejected, match="needs style"):
        await portable(served)
    with pytest.raises(Rejected, match="needs prompt"):
        await pipeline(served, inputs={"style": "oil"})


async def test_a_model_that_paints_nothing_is_refused() -> None:
    with pytest.raises(Rejected, match="no input for a prompt"):
        await portable(model(STEPS))
    two = [spec("a", "FP32", 1), spec("b", "FP32", 1)]
    with pytest.raises(Rejected, match="no output for images"):
        await portable(model(PROMPT, outputs=two))


async def test_a_start_image_goes_as_a_file_or_as_pixels_by_the_datatype() -> None:
    as_file = model(PROMPT, spec("image", "BYTES", 1), spec("strength", "FP32", 1))
    start: dict[str, JsonValue] = {"init_images": [PNG_TEXT], "denoising_strength": 0.5}
    asked = await portable(as_file, "image-to-image", USUAL, **start)
    tensors = {one.name: one for one in asked.requests[0]}
    assert data_of(tensors["image"]) == struct.pack("<I", len(PNG)) + PNG
    assert unpack(data_of(tensors["strength"]), "FP32") == [0.5]
    as_values = model(PROMPT, spec("image", "UINT8", -1, -1, -1, 3))
    asked = await portable(as_values, "image-to-image", init_images=[PNG_TEXT])
    tensor = {one.name: one for one in asked.requests[0]}["image"]
    with Image.open(io.BytesIO(PNG)) as image:
        assert tensor.shape == (1, image.height, image.width, 3)
        assert data_of(tensor) == image.convert("RGB").tobytes()


async def test_a_model_without_an_image_starts_from_none() -> None:
    with pytest.raises(Rejected, match="takes no image"):
        await portable(model(PROMPT), "image-to-image", init_images=[PNG_TEXT])
    with pytest.raises(Rejected, match="an image is required"):
        await portable(model(PROMPT, spec("image", "BYTES", 1)), "image-to-image")


async def test_a_pipeline_gives_tensors_by_name() -> None:
    asked = await pipeline(
        model(spec("TEXT", "BYTES", -1), spec("scale", "FP16", 1)),
        inputs={"TEXT": ["a", "b"], "scale": 2},
        outputs=["image"],
    )
    assert [(one.name, one.shape) for one in asked.requests[0]] == [("TEXT", (2,)), ("scale", (1,))]
    assert data_of(asked.requests[0][0]) == b"\1\0\0\0a\1\0\0\0b"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "inputs: must be an object"),
        ({"inputs": {"nothing": 1}}, "no input 'nothing'; it has: prompt"),
        ({"inputs": {"prompt": 3}}, "inputs.prompt: 3 is no text"),
        ({"inputs": {}, "outputs": "image"}, "outputs: must be a list"),
        ({"inputs": {}, "prompt": "a cat"}, "prompt: a pipeline has inputs, model, outputs only"),
    ],
)
async def test_a_pipeline_of_another_form_is_refused(
    content: dict[str, JsonValue], words: str
) -> None:
    with pytest.raises(Rejected, match=words):
        await pipeline(model(PROMPT), **content)


def job(task_type: str, **content: JsonValue) -> Job:
    return Job.model_validate({"metadata": {"id": "j", "tasktype": task_type}, "content": content})


def test_references_of_a_pipeline_are_tensors_that_hold_images() -> None:
    runtime = TritonRuntime(RuntimeOptions(own={"inputs": {"init_images": "photo"}}))
    url = "https://example.com/a.png"
    asked = job("pipeline", inputs={"photo": url, "mask": [url], "PROMPT": url})
    assert [one.path for one in runtime.references(asked)] == [
        ("inputs", "photo"),
        ("inputs", "mask", 0),
    ]
    runtime.check_places(asked)
    with pytest.raises(Rejected, match=r"inputs\.style: names a place"):
        runtime.check_places(job("pipeline", inputs={"style": url}))


# What a server says of its models


METADATA: JsonValue = {
    "name": "sd",
    "inputs": [{"name": "prompt", "datatype": "BYTES", "shape": [-1, 1]}],
    "outputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, -1, -1, 3]}],
}


@pytest.mark.parametrize(
    ("config", "places"),
    [
        ({}, 1),
        ({"max_batch_size": 8}, 1),
        ({"max_batch_size": 8, "dynamic_batching": {}}, 8),
        ({"max_batch_size": 0, "dynamic_batching": {}}, 1),
        ({"instance_group": [{"count": 2, "gpus": []}, {"count": 1}]}, 3),
        (
            {
                "max_batch_size": 4,
                "dynamic_batching": {},
                "instance_group": [{"count": 2, "gpus": [0, 1]}],
            },
            16,
        ),
        ({"instance_group": "none", "max_batch_size": "many", "input": 3}, 1),
        ({"instance_group": [{"count": 10**9}]}, 256),
        ({"max_batch_size": 10**300, "dynamic_batching": {}}, 256),
    ],
)
def test_a_configuration_says_how_many_jobs_fit(config: dict[str, JsonValue], places: int) -> None:
    assert with_config(read_metadata("sd", METADATA), config).places == places


@pytest.mark.parametrize("answer", [None, [], {"inputs": [{"name": "x"}]}, {"outputs": 3}])
def test_metadata_of_another_form_are_the_runtimes_fault(answer: JsonValue) -> None:
    with pytest.raises(Unavailable, match="makes no sense"):
        read_metadata("sd", answer)


def test_why_a_model_is_not_ready_is_told() -> None:
    index = read_index(
        [
            {"name": "a", "version": "1", "state": "READY"},
            {"name": "b", "version": "1", "state": "UNAVAILABLE", "reason": "Internal: no weights"},
            {"name": "c", "state": "LOADING"},
            {"name": "d", "state": "UNAVAILABLE", "reason": "unloaded"},
            "nonsense",
        ]
    )
    assert readiness_by("b", index).reason == "the model 'b' does not load: Internal: no weights"
    assert readiness_by(None, index).state == "misconfigured"
    assert readiness_by("c", index).state == "starting"
    assert readiness_by("d", index).state == "starting"
    assert readiness_by("e", index).reason == "the runtime has no model 'e'; it has: a, b, c, d"
    assert readiness_by("a", []).state == "starting"


# Answers


class Answer(StreamedResponse):
    """One in memory, in pieces of a few bytes."""

    def __init__(self, body: bytes, headers: Mapping[str, str]) -> None:
        self.status = 200
        self.headers = CIMultiDict(headers)
        self._body = body

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        for place in range(0, len(self._body), 5):
            yield self._body[place : place + 5]


def binary(data: bytes, *outputs: JsonValue, head: bytes | None = None) -> Answer:
    text = json.dumps({"outputs": [*outputs]}).encode() if head is None else head
    return Answer(text + data, {"inference-header-content-length": str(len(text))})


def output(datatype: str, shape: Sequence[int], size: int, name: str = "image") -> JsonValue:
    sizes: JsonValue = {"binary_data_size": size}
    return {"name": name, "datatype": datatype, "shape": [*shape], "parameters": sizes}


async def pictures(answer: Answer) -> list[Image.Image]:
    with Spools() as spools:
        _, outputs = await read_answer(answer, spools)
        made = [one for output in outputs for one in await artifacts_of(output, None)]
        return [Image.open(io.BytesIO(one.data)) for one in made]


async def test_pixels_become_a_png() -> None:
    (image,) = await pictures(binary(bytes(range(12)), output("UINT8", (2, 2, 3), 12)))
    assert (image.format, image.size, image.mode) == ("PNG", (2, 2), "RGB")
    assert image.tobytes() == bytes(range(12))


@pytest.mark.parametrize(
    ("shape", "size", "mode", "count"),
    [
        ((1, 2, 4, 3), (4, 2), "RGB", 1),
        ((2, 2, 4, 3), (4, 2), "RGB", 2),
        ((1, 2, 2, 4, 3), (4, 2), "RGB", 2),
        ((2, 4, 4), (4, 2), "RGBA", 1),
        ((2, 5), (5, 2), "L", 1),
        ((1, 2, 5), (5, 2), "L", 1),
        ((2, 5, 1), (5, 2), "L", 1),
        ((3, 2, 5), (5, 2), "RGB", 1),
        ((2, 3, 2, 5), (5, 2), "RGB", 2),
    ],
)
async def test_a_shape_says_how_many_pictures_of_what_size(
    shape: Sequence[int], size: tuple[int, int], mode: str, count: int
) -> None:
    values = 1
    for side in shape:
        values *= side
    images = await pictures(binary(bytes(values), output("UINT8", shape, values)))
    assert [(image.size, image.mode) for image in images] == [(size, mode)] * count


def test_channels_that_stand_first_are_put_last() -> None:
    layout = layout_of([3, 1, 2])
    assert layout is not None
    (file,) = pictures_of(bytes([1, 2, 3, 4, 5, 6]), "UINT8", layout)
    with Image.open(io.BytesIO(file)) as image:
        assert image.tobytes() == bytes([1, 3, 5, 2, 4, 6])


@pytest.mark.parametrize("datatype", ["FP32", "FP16", "FP64", "BF16"])
async def test_floats_from_0_to_1_become_pixels(datatype: str) -> None:
    data = pack([0.0, 0.5, 1.0, 1.004, -0.004, 0.25], datatype)
    (image,) = await pictures(binary(data, output(datatype, (1, 2, 3), len(data))))
    assert image.tobytes() == bytes([0, 128, 255, 255, 0, 64])


@pytest.mark.parametrize("values", [[0.0, 255.0, 3.0], [-1.0, 0.0, 1.0], [float("nan")] * 3])
async def test_floats_of_another_range_are_not_guessed_at(values: list[JsonValue]) -> None:
    data = pack(values, "FP32")
    with pytest.raises(Unavailable, match="not from 0 to 1"):
        await pictures(binary(data, output("FP32", (1, 1, 3), len(data))))


async def test_files_come_as_they_are_or_in_base64() -> None:
    elements = [PNG, base64.b64encode(PNG), b"data:image/png;base64," + base64.b64encode(PNG)]
    data = b"".join(struct.pack("<I", len(one)) + one for one in elements)
    with Spools() as spools:
        _, outputs = await read_answer(binary(data, output("BYTES", (3,), len(data))), spools)
        made = await artifacts_of(outputs[0], 5)
        assert [one.data for one in made] == [PNG] * 3
        assert [one.seed for one in made] == [5, None, None]


async def test_a_large_file_lies_on_disk() -> None:
    large = PNG + bytes(2**21)
    data = struct.pack("<I", len(large)) + large
    with Spools() as spools:
        answer = Answer(data, {})
        head = json.dumps({"outputs": [output("BYTES", (1,), len(data))]}).encode()
        answer = Answer(head + data, {"inference-header-content-length": str(len(head))})
        _, outputs = await read_answer(answer, spools)
        (made,) = await artifacts_of(outputs[0], None)
        assert made.is_a_file
        assert made.media_type == "image/png"


async def test_answers_without_binary_data_are_read_too() -> None:
    pixels: dict[str, JsonValue] = {"name": "image", "datatype": "UINT8", "shape": [1, 2, 3]}
    pixels["data"] = [[[1, 2, 3], [4, 5, 6]]]
    (image,) = await pictures(Answer(json.dumps({"outputs": [pixels]}).encode(), {}))
    assert image.tobytes() == bytes([1, 2, 3, 4, 5, 6])
    file = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [PNG_TEXT]}
    (image,) = await pictures(Answer(json.dumps({"outputs": [file]}).encode(), {}))
    assert image.format == "PNG"


NONSENSE: dict[str, Answer] = {
    "cut short": binary(bytes(11), output("UINT8", (2, 2, 3), 12)),
    "too much": binary(bytes(13), output("UINT8", (2, 2, 3), 12)),
    "another size than its shape": binary(bytes(11), output("UINT8", (2, 2, 3), 11)),
    "a negative side": binary(b"", output("UINT8", (-1, 2, 3), 0)),
    "an unknown datatype": binary(b"1", output("FP8", (1,), 1)),
    "a length that is none": Answer(b"{}", {"inference-header-content-length": "-2"}),
    "a length that is too large": Answer(b"{}", {"inference-header-content-length": "9" * 12}),
    "a head that ends too early": Answer(b"{}", {"inference-header-content-length": "5"}),
    "a head that is no JSON": binary(b"", head=b"{"),
    "a head that is a list": binary(b"", head=b"[]"),
    "no outputs": binary(b"", head=b"{}"),
    "outputs that are none": binary(b"", head=b'{"outputs": [3]}'),
    "a negative number of bytes": binary(b"", output("UINT8", (1,), -1)),
    "an element that is too long": binary(b"\5\0\0\0a", output("BYTES", (1,), 5)),
    "half a length": binary(b"\0\0\0", output("BYTES", (1,), 3)),
    "an element too few": binary(b"\0\0\0\0", output("BYTES", (2,), 4)),
    "more than fits": binary(b"", output("UINT8", (2**16, 2**16, 3), 3 * 2**32)),
    "too many elements": binary(bytes(4 * 2000), output("BYTES", (2000,), 8000)),
    "numbers that are none": Answer(
        b'{"outputs": [{"name": "image", "datatype": "UINT8", "shape": [1], "data": ["a"]}]}', {}
    ),
    "too few numbers": Answer(
        b'{"outputs": [{"name": "image", "datatype": "UINT8", "shape": [2], "data": [1]}]}', {}
    ),
}


TOO_LARGE = {"a length that is too large", "more than fits", "too many elements"}


@pytest.mark.parametrize("name", NONSENSE)
async def test_an_answer_that_makes_no_sense_is_the_runtimes_fault(name: str) -> None:
    with Spools() as spools, pytest.raises(Unavailable) as caught:
        await read_answer(NONSENSE[name], spools)
    assert caught.value.type == ("answer_too_large" if name in TOO_LARGE else "invalid_answer")


@pytest.mark.parametrize(
    ("datatype", "shape", "data"),
    [
        ("BYTES", (1,), b"\5\0\0\0words"),
        ("UINT8", (2, 2, 5), bytes(20)),
        ("INT32", (1, 1, 3), bytes(12)),
        ("UINT8", (0, 2, 3), b""),
        ("UINT8", (12,), bytes(12)),
    ],
)
async def test_outputs_that_are_no_pictures_are_the_runtimes_fault(
    datatype: str, shape: Sequence[int], data: bytes
) -> None:
    with pytest.raises(Unavailable) as caught:
        await pictures(binary(data, output(datatype, shape, len(data))))
    assert caught.value.type == "invalid_answer"


async def test_values_of_a_pipeline_are_told() -> None:
    data = pack([7, 8], "INT64") + b"\2\0\0\0ok"
    answer = binary(data, output("INT64", (2,), 16, "seeds"), output("BYTES", (1,), 6, "log"))
    with Spools() as spools:
        _, outputs = await read_answer(answer, spools)
        assert [await told_or_made(one) for one in outputs] == [([], [7, 8]), ([], ["ok"])]


# Start images as pixels


@pytest.mark.parametrize(
    ("shape", "expected"),
    [([-1, -1, -1, 3], [1, 2, 4, 3]), ([-1, 3, -1, -1], [1, 3, 2, 4]), ([-1, -1, 1], [2, 4, 1]),
     ([8, 6, 4], [8, 6, 4]), ([-1, -1], [2, 4])],
)  # fmt: skip
def test_a_start_image_has_the_inputs_shape(shape: list[int], expected: list[int]) -> None:
    image = Image.effect_noise((4, 2), 50).convert("RGB")
    file = io.BytesIO()
    image.save(file, "PNG")
    made, data = as_pixels(Asset(file.getvalue(), "image/png"), shape, "UINT8", "init_images")
    assert made == expected
    assert len(data) == expected[-1] * expected[-2] * (expected[-3] if len(expected) > 2 else 1)


def test_a_start_image_of_floats_is_from_0_to_1() -> None:
    file = io.BytesIO()
    Image.frombytes("RGB", (1, 1), bytes([0, 51, 255])).save(file, "PNG")
    _, data = as_pixels(Asset(file.getvalue(), "image/png"), [3, -1, -1], "FP32", "init_images")
    assert unpack(data, "FP32") == pytest.approx([0.0, 0.2, 1.0])


def test_a_start_image_that_is_none_is_the_jobs_fault() -> None:
    with pytest.raises(Rejected, match="init_images: "):
        as_pixels(Asset(b"words", "text/plain"), [-1, -1, 3], "UINT8", "init_images")
    with pytest.raises(Rejected, match="takes no picture"):
        as_pixels(Asset(PNG, "image/png"), [1], "INT32", "init_images")


# Refusals


def refused(status: int, words: str, *, chosen: bool = True) -> Exception:
    body = json.dumps({"error": words}).encode()
    return error_from(Response(status, body), "sd", chosen=chosen)


def test_what_the_job_asked_wrongly_is_rejected() -> None:
    assert isinstance(refused(400, "unexpected shape for input 'steps'"), Rejected)
    error = refused(404, "Request for unknown model: 'sd' is not found")
    assert isinstance(error, Rejected)
    assert error.type == "unknown_model"


def test_a_model_that_the_operator_named_is_no_jobs_fault() -> None:
    error = refused(404, "Request for unknown model: 'sd' is not found", chosen=False)
    assert isinstance(error, Unavailable)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (404, "Request for unknown model: 'sd' has no available versions"),
        (400, "Request for unknown model: 'sd' version 1 is not at ready state"),
        (503, "Exceeds maximum queue size"),
        (500, "Failed to process the request(s) for model 'sd_0_0', message: ValueError"),
    ],
)
def test_a_model_that_cannot_now_is_unavailable(status: int, words: str) -> None:
    assert isinstance(refused(status, words), Unavailable)


def test_memory_that_ran_out_is_named_so() -> None:
    error = refused(500, "CUDA out of memory. Tried to allocate 20.00 GiB.")
    assert isinstance(error, Unavailable)
    assert error.type == "out_of_memory"


def test_a_models_process_that_ended_is_sick_since_triton_starts_no_other() -> None:
    assert isinstance(refused(500, "Stub process 'sd_0_0' is not healthy."), RuntimeSick)
