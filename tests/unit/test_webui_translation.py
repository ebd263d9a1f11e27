"""From portable and native content to the Web UI's request, and from its answers back."""

import base64
import json
import os
import tempfile

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import JsonValue

from queue_agent.runtime import Asset, Assets, RuntimeOptions
from queue_agent.runtime.http import Response, RuntimeClient
from queue_agent.wire.errors import QueueAgentError, Rejected, Unavailable
from queue_agent.wire.job import Job
from queue_agent.wire.portable import DEFAULT_DENOISING_STRENGTH, PortableContent
from queue_agent_runtimes.webui.answer import error_of
from queue_agent_runtimes.webui.request import (
    Translated,
    body_of,
    references,
    translate,
    with_checkpoint,
    with_defaults,
    without_images,
)

Json = dict[str, JsonValue]
URL = "https://images.example.com/cat.png"
CAT = Asset(b"cat", "image/png")
CAT_BASE64 = "Y2F0"
FIELDS = {"cfg_scale", "width", "height", "batch_size", "n_iter", "seed"}


def job(content: Json, task_type: str = "text-to-image") -> Job:
    return Job.model_validate({"metadata": {"id": "1", "tasktype": task_type}, "content": content})


def translated(content: Json, task_type: str = "text-to-image") -> Translated:
    return translate(job(content, task_type), {URL: CAT}, switch_models=True)


@pytest.mark.parametrize(
    "name",
    [
        "samples_save",
        "grid_save",
        "save_init_img",
        "save_mask",
        "save_images_before_highres_fix",
        "save_to_dirs",
        "grid_save_to_dirs",
        "outdir_samples",
        "outdir_txt2img_samples",
        "temp_dir",
        "profiling_filename",
        "control_net_detectmap_autosaving",
        "control_net_detectedmap_dir",
        "ad_save_previews",
    ],
)
def test_a_job_has_nothing_saved_on_the_server_by_options(name: str) -> None:
    found = translated({"prompt": "a cat", "override_settings": {name: True, "eta_ancestral": 0.5}})
    assert found.request["override_settings"] == {"eta_ancestral": 0.5}
    assert found.warnings == (
        f"override_settings.{name} has no effect: nothing is saved on the runtime.",
    )


@pytest.mark.parametrize(
    "name", ["sd_vae", "CLIP_stop_at_last_layers", "eta_noise_seed_delta", "return_grid", "saved"]
)
def test_options_that_save_nothing_are_passed_on(name: str) -> None:
    found = translated({"prompt": "a cat", "override_settings": {name: "x"}})
    assert (found.request["override_settings"], found.warnings) == ({name: "x"}, ())


@pytest.mark.parametrize("sizes", [{}, {"batch_size": 1}, {"n_iter": 1, "batch_size": None}])
def test_one_image_is_not_saved_on_the_server(sizes: Json) -> None:
    found = translated({"prompt": "a cat", "save_images": True, **sizes})
    assert "save_images" not in found.request
    assert "override_settings" not in found.request


@pytest.mark.parametrize("task_type", ["text-to-image", "image-to-image"])
@pytest.mark.parametrize("sizes", [{"batch_size": 2}, {"n_iter": 3}])
def test_a_grid_is_made_and_neither_it_nor_its_images_are_saved(
    sizes: Json, task_type: str
) -> None:
    content: Json = {"save_images": True, "init_images": [URL], **sizes}
    own: Json = {"override_settings": {"samples_save": True}}
    for asked in (content, {**content, **own}):
        request = translated(asked, task_type).request
        assert request["save_images"] is True
        assert request["override_settings"] == {"samples_save": False, "grid_save": False}


async def sent(request: Json, assets: Assets) -> Json:
    """The request as it reaches the server."""

    async def echo(asked: web.Request) -> web.Response:
        body = await asked.read()
        assert asked.content_length == len(body)
        assert asked.content_type == "application/json"
        return web.Response(body=body)

    application = web.Application(client_max_size=2**30)
    application.add_routes([web.post("/", echo)])
    async with TestServer(application) as server:
        client = RuntimeClient(RuntimeOptions(base_url=f"{server.make_url('/')}"), "")
        answer = await client.send("POST", "/", body=body_of(request, assets))
        await client.aclose()
    return answer.json_object()


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"prompt": "http://example.com is a prompt", "steps": 20, "unknown": {"a": [None]}},
        {"prompt": "a", "alwayson_scripts": {"Seed": {"args": [1]}}, "override_settings": {"x": 1}},
        {"image": "QUJD", "init_images": "not a list", "sampler_name": 5},
    ],
)
def test_native_fields_pass_untouched(content: Json) -> None:
    assert translated(content).request == content


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"prompt": "a", "loras": [{"name": "ink"}]}, {"prompt": "a <lora:ink:1>"}),
        (
            {"loras": [{"name": "ink.safetensors", "weight": 0.5}, {"name": "b", "weight": -1}]},
            {"prompt": "<lora:ink:0.5> <lora:b:-1>"},
        ),
    ],
)
def test_the_portable_form_is_said_in_the_web_uis_words(content: Json, expected: Json) -> None:
    assert translated(content).request == expected


@pytest.mark.parametrize(
    ("content", "checkpoint"),
    [
        ({}, None),
        ({"model": "a"}, "a"),
        ({"override_settings": {"sd_model_checkpoint": "b"}}, "b"),
        ({"model": "a", "override_settings": {"sd_model_checkpoint": "b"}}, "a"),
        ({"model": "", "override_settings": {"sd_model_checkpoint": None}}, None),
        ({"alwayson_scripts": {"sd_model_checkpoint": "c"}}, "c"),
        (
            {
                "alwayson_scripts": {"sd_model_checkpoint": "c"},
                "override_settings": {"sd_model_checkpoint": "b"},
            },
            "b",
        ),
        ({"alwayson_scripts": {"override_settings": {"sd_model_checkpoint": "d"}}}, "d"),
    ],
)
def test_the_checkpoint_is_found_wherever_it_is_named(
    content: Json, checkpoint: str | None
) -> None:
    found = translated(content)
    assert found.checkpoint == checkpoint
    assert "sd_model_checkpoint" not in json.dumps(found.request)


def test_a_checkpoint_is_asked_for_beside_the_other_options() -> None:
    assert with_checkpoint({}, "a") == {"override_settings": {"sd_model_checkpoint": "a"}}
    request = with_checkpoint({"override_settings": {"x": 1}}, "a")
    assert request["override_settings"] == {"x": 1, "sd_model_checkpoint": "a"}


def test_no_job_leaves_its_options_to_the_next() -> None:
    found = translated({"override_settings_restore_afterwards": False})
    request = with_defaults(found.request, of_images=False)
    assert request["override_settings_restore_afterwards"] is True
    assert "override_settings_restore_afterwards" in found.warnings[0]


def test_what_counts_where_a_field_is_absent_is_said() -> None:
    """Forks have other defaults; these are of the portable form."""
    said = with_defaults({"steps": 20}, of_images=False)
    assert said == {
        "steps": 20,
        "cfg_scale": 7.0,
        "width": 512,
        "height": 512,
        "batch_size": 1,
        "n_iter": 1,
        "seed": -1,
        "sampler_name": "Euler",
        "send_images": True,
        "override_settings_restore_afterwards": True,
    }
    assert PortableContent().model_dump().items() >= {
        (name, value)
        for name, value in with_defaults({}, of_images=False).items()
        if name in FIELDS
    }
    masked = with_defaults({"mask": "QUJD", "denoising_strength": 0.1}, of_images=True)
    assert masked["denoising_strength"] == 0.1
    assert masked["inpaint_full_res"] is True
    assert with_defaults({}, of_images=True)["denoising_strength"] == DEFAULT_DENOISING_STRENGTH


@pytest.mark.parametrize("content", [{"infotext": "a\nSteps: 3"}, {"sampler_index": "Heun"}])
def test_what_another_field_says_is_not_said_again(content: Json) -> None:
    assert "sampler_name" not in with_defaults(content, of_images=False)


def test_images_are_asked_for_and_options_restored_beside_an_infotext_too() -> None:
    said = with_defaults({"infotext": "a", "send_images": False}, of_images=False)
    assert said == {
        "infotext": "a",
        "send_images": True,
        "override_settings_restore_afterwards": True,
    }


@pytest.mark.parametrize(
    ("settings", "output"),
    [
        ({"samples_format": "jpg", "jpeg_quality": 60}, {"format": "jpeg", "quality": 60}),
        ({"samples_format": "webp", "webp_lossless": True}, {"format": "webp", "lossless": True}),
        ({"samples_format": "png", "jpeg_quality": 80}, {"format": "png"}),
        ({"samples_format": "jpg", "webp_lossless": True}, {"format": "jpeg"}),
        ({"jpeg_quality": 60}, {"quality": 60}),
    ],
)
def test_options_that_are_forgotten_before_they_count_are_the_agents(
    settings: Json, output: Json
) -> None:
    """They would be in force while the images of the job before are encoded."""
    found = translated({"override_settings": {**settings, "sd_vae": "None"}})
    assert found.request["override_settings"] == {"sd_vae": "None"}
    assert found.warnings == ()
    assert found.output is not None
    assert found.output.said == output


@pytest.mark.parametrize(
    ("name", "value"),
    [("samples_format", "gif"), ("jpeg_quality", "jpg"), ("webp_lossless", "jpg")],
)
def test_an_encoding_that_nobody_knows_is_left_out_with_a_word(name: str, value: str) -> None:
    found = translated({"override_settings": {name: value, "sd_vae": "None"}})
    assert found.request["override_settings"] == {"sd_vae": "None"}
    assert found.output is None
    assert f"override_settings.{name}" in found.warnings[0]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"steps": None, "negative_prompt": None, "prompt": "a"}, {"prompt": "a"}),
        ({"override_settings": {"sd_vae": None}}, {"override_settings": {}}),
        ({"loras": [{"name": "ink", "weight": None}, None]}, {"prompt": "<lora:ink:1>"}),
        ({"styles": [None, "warm"]}, {"styles": ["warm"]}),
        (
            {"alwayson_scripts": {"a": None, "ControlNet": {"args": [{"mask": None, "x": 1}]}}},
            {"alwayson_scripts": {"ControlNet": {"args": [{"x": 1}]}}},
        ),
        (
            {"script_name": "s", "script_args": [None, 1]},
            {"script_name": "s", "script_args": [None, 1]},
        ),
        ({"alwayson_scripts": None, "send_images": None, "seed": None}, {}),
    ],
)
def test_nulls_count_as_absent_at_any_depth(content: Json, expected: Json) -> None:
    assert translated(content).request == expected


def test_nulls_among_images_are_left_out() -> None:
    content: Json = {"init_images": [None, "QUJD"], "mask": None}
    assert translated(content, "image-to-image").request == {"init_images": ["QUJD"]}


FAULTS: list[tuple[str, Json, str]] = [
    ("text-to-image", {"steps": 0}, "steps"),
    ("text-to-image", {"steps": -1}, "steps"),
    ("text-to-image", {"steps": "0"}, "steps"),
    ("text-to-image", {"steps": 2.5}, "whole number"),
    ("text-to-image", {"steps": "nan"}, "must be a number"),
    ("text-to-image", {"width": "-Infinity"}, "must be a number"),
    ("text-to-image", {"hr_scale": "1e999"}, "must be a number"),
    ("text-to-image", {"width": 10**400}, "width"),
    ("image-to-image", {"batch_size": 10**400, "init_images": ["a", "b"]}, "batch_size"),
    ("text-to-image", {"hr_scale": -(10**400)}, "hr_scale"),
    ("text-to-image", {"steps": 10**9}, "steps"),
    ("text-to-image", {"batch_size": 0}, "batch_size"),
    ("text-to-image", {"n_iter": 0}, "n_iter"),
    ("text-to-image", {"n_iter": 5000, "batch_size": 3}, "15000 images"),
    ("text-to-image", {"width": 0}, "width"),
    ("text-to-image", {"width": 7}, "width"),
    ("text-to-image", {"height": -64}, "height"),
    ("text-to-image", {"width": 160_000, "height": 160_000}, "width"),
    ("text-to-image", {"width": 16_384, "height": 16_384, "batch_size": 2}, "pixels"),
    ("text-to-image", {"batch_size": 10_000}, "pixels"),
    ("text-to-image", {"seed_resize_from_w": 10**6}, "seed_resize_from_w"),
    ("text-to-image", {"seed": 2**64}, "seed"),
    ("text-to-image", {"denoising_strength": 2}, "denoising_strength"),
    ("text-to-image", {"enable_hr": True, "hr_scale": 2}, "denoising_strength"),
    (
        "text-to-image",
        {"enable_hr": True, "hr_scale": 16, "denoising_strength": 0.5, "width": 2048},
        "side",
    ),
    (
        "text-to-image",
        {"enable_hr": True, "hr_resize_x": 99_999, "denoising_strength": 0.5},
        "hr_resize_x",
    ),
    ("text-to-image", {"firstpass_image": "QUJD"}, "firstpass_image"),
    ("image-to-image", {}, "init_images"),
    ("image-to-image", {"init_images": []}, "init_images"),
    ("image-to-image", {"init_images": [None]}, "init_images"),
    ("image-to-image", {"init_images": ["QUJD", "QUJD"]}, "init_images"),
    ("image-to-image", {"init_images": ["QUJD"] * 2, "batch_size": 3}, "init_images"),
    ("image-to-image", {"init_images": ["data:image/png,abc"]}, "data URL"),
    ("image-to-image", {"init_images": ["QUJD"], "mask": "data:,x"}, "data URL"),
    ("extra-single-image", {}, "image"),
    ("extra-single-image", {"image": ""}, "image"),
    ("extra-single-image", {"image": "QUJD", "upscaling_resize": 1000}, "upscaling_resize"),
    ("extra-single-image", {"image": "QUJD", "upscaling_resize_w": 10**6}, "upscaling_resize_w"),
    ("extra-batch-images", {"imageList": []}, "imageList"),
    ("extra-batch-images", {"imageList": None}, "imageList"),
]


@pytest.mark.parametrize(("task_type", "content", "words"), FAULTS)
def test_the_jobs_own_faults_are_refused_in_words(
    task_type: str, content: Json, words: str
) -> None:
    with pytest.raises(Rejected) as caught:
        translated(content, task_type)
    assert caught.value.type == "invalid_content"
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("content", "upscaler"),
    [
        ({}, "Lanczos"),
        ({"upscaling_resize": 3}, "Lanczos"),
        ({"upscaler_1": "None"}, "None"),
        ({"gfpgan_visibility": 1}, None),
    ],
)
def test_an_image_is_enlarged_as_on_other_runtimes_where_no_upscaler_is_named(
    content: Json, upscaler: str | None
) -> None:
    found = translated({"image": "QUJD", **content}, "extra-single-image")
    assert found.request.get("upscaler_1") == upscaler
    assert bool(found.warnings) is (upscaler == "Lanczos")


def test_no_field_makes_the_server_load_another_model_where_it_may_not() -> None:
    content: Json = {"refiner_checkpoint": "b", "hr_checkpoint_name": "c"}
    found = translate(job(content), {}, switch_models=False)
    assert found.request == {}
    assert [warning[:3] for warning in found.warnings] == ["'b'", "'c'"]


def test_a_checkpoint_that_may_not_be_loaded_is_a_warning() -> None:
    found = translate(job({"model": "a"}), {}, switch_models=False)
    assert found.checkpoint is None
    assert found.request == {}
    assert "'a'" in found.warnings[0]


@pytest.mark.parametrize(
    ("content", "task_type", "field"),
    [
        ({"init_images": [URL]}, "image-to-image", "init_images"),
        ({"alwayson_scripts": {"image_link": URL}}, "image-to-image", "init_images"),
        ({"image": URL}, "extra-single-image", "image"),
        ({"alwayson_scripts": {"image_link": URL}}, "extra-single-image", "image"),
        ({"imageList": [{"data": URL, "name": "a"}]}, "extra-batch-images", "imageList"),
        ({"mask": URL, "init_images": ["QUJD"]}, "image-to-image", "mask"),
        (
            {"alwayson_scripts": {"ControlNet": {"args": [{"image": {"image": URL}}]}}},
            "text-to-image",
            "alwayson_scripts",
        ),
    ],
)
async def test_references_are_replaced_by_their_bytes(
    content: Json, task_type: str, field: str
) -> None:
    asked = job(content, task_type)
    assert [found.url for found in references(asked)] == [URL]
    request = await sent(translated(content, task_type).request, {URL: CAT})
    assert CAT_BASE64 in json.dumps(request[field])
    assert URL not in json.dumps(request)
    assert asked.content == content
    with pytest.raises(Rejected, match="was not fetched"):
        translate(asked, {}, switch_models=True)


async def test_a_large_image_is_sent_from_its_file_and_the_length_is_told_before() -> None:
    data = os.urandom(1_000_001)
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        assets = {URL: Asset(file, "image/png"), URL + "2": CAT}
        images: list[JsonValue] = [URL, "data:image/png;base64,QUJD", URL + "2", URL]
        request = await sent({"init_images": images, "mask": URL, "prompt": URL}, assets)
    encoded = base64.b64encode(data).decode()
    assert request == {
        "init_images": [encoded, "data:image/png;base64,QUJD", CAT_BASE64, encoded],
        "mask": encoded,
        "prompt": URL,
    }


@pytest.mark.parametrize(
    "content",
    [
        {"model": 5},
        {"override_settings": "x"},
        {"loras": "ink"},
        {"loras": [{"name": "a:1><lora:b"}]},
        {"loras": [{"name": "a"}], "prompt": 5},
    ],
)
def test_a_field_that_cannot_be_understood_is_rejected(content: Json) -> None:
    with pytest.raises(Rejected) as caught:
        translated(content)
    assert caught.value.type == "invalid_content"


@pytest.mark.parametrize(
    ("status", "body", "error", "type_", "words"),
    [
        (422, {"detail": [{"loc": ["body", "steps"], "msg": "wrong"}]}, Rejected, None, "steps"),
        (404, {"detail": "Sampler not found"}, Rejected, None, "Sampler not found"),
        (404, {"detail": "Not Found"}, Unavailable, "runtime_api_missing", "--api"),
        (405, {"detail": "Method Not Allowed"}, Unavailable, "runtime_api_missing", "--api"),
        (401, {"detail": "Incorrect"}, Unavailable, "runtime_unauthorized", "Incorrect"),
        (403, {}, Unavailable, "runtime_unauthorized", "403"),
        (429, {"detail": "later"}, Unavailable, None, "later"),
        (500, {"error": "OutOfMemoryError", "errors": "e"}, Unavailable, "out_of_memory", "e"),
        (500, {"error": "E", "errors": "CUDA out of memory"}, Unavailable, "out_of_memory", "CUDA"),
        (500, {"error": "HTTPException", "detail": "Invalid encoded image"}, Rejected, None, "Inv"),
        (500, {"error": "OSError", "errors": "image file is truncated"}, Rejected, None, "trunc"),
        (500, {"error": "ValueError", "errors": "Unknown prompt type start"}, Rejected, None, "U"),
        (500, {"error": "E", "errors": "Prompt S/R did not find 1 in"}, Rejected, None, "S/R"),
        (500, {"error": "RuntimeError", "errors": "Unknown sampler: x"}, Rejected, None, "sampler"),
        (500, {"error": "KeyError", "errors": "'model'"}, Unavailable, None, "model"),
        (500, {"error": "E", "errors": "model 'x' not found"}, Rejected, "unknown_model", "'x'"),
        (500, {"error": "E", "detail": "", "errors": "boom"}, Unavailable, None, "boom"),
        (502, "<html>Bad Gateway</html>", Unavailable, None, "Bad Gateway"),
        (500, "", Unavailable, None, "500"),
    ],
)
def test_every_shape_of_error_is_sorted_and_quoted(
    status: int, body: JsonValue, error: type[QueueAgentError], type_: str | None, words: str
) -> None:
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    found = error_of(Response(status, data))
    assert type(found) is error
    assert found.type == (type_ or error.default_type)
    assert words in found.message


def test_an_option_that_there_is_not_is_the_jobs_fault() -> None:
    body = json.dumps({"error": "KeyError", "errors": "'no_such_option'"}).encode()
    found = error_of(Response(500, body), {"override_settings": {"no_such_option": 1}})
    assert type(found) is Rejected
    assert "no_such_option" in found.message


def test_the_repeated_request_is_shown_without_its_images() -> None:
    shown = without_images({"prompt": "a", "init_images": ["QUJD", URL], "mask": "QUJD"})
    assert shown == {"prompt": "a", "init_images": [None, URL], "mask": None}
