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
from queue_agent_runtimes.webui.answer import error_of
from queue_agent_runtimes.webui.request import (
    Translated,
    body_of,
    references,
    translate,
    with_checkpoint,
    without_images,
)

Json = dict[str, JsonValue]
URL = "https://images.example.com/cat.png"
CAT = Asset(b"cat", "image/png")
CAT_BASE64 = "Y2F0"


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
        {"image": "QUJD", "mask": None, "init_images": "not a list", "sampler_name": 5},
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
        ({"sampler_name": "euler_ancestral"}, {"sampler_name": "Euler a"}),
        ({"sampler_name": "DPM++ 2M Karras"}, {"sampler_name": "DPM++ 2M Karras"}),
        ({"scheduler": "karras"}, {"scheduler": "Karras"}),
        ({"scheduler": "of_a_plugin"}, {"scheduler": "of_a_plugin"}),
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


def test_a_checkpoint_stays_loaded_unless_the_job_says_else() -> None:
    assert with_checkpoint({}, "a") == {
        "override_settings": {"sd_model_checkpoint": "a"},
        "override_settings_restore_afterwards": False,
    }
    kept = with_checkpoint({"override_settings_restore_afterwards": True}, "a")
    assert kept["override_settings_restore_afterwards"] is True


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
        ({"mask": URL}, "image-to-image", "mask"),
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


def test_the_repeated_request_is_shown_without_its_images() -> None:
    shown = without_images({"prompt": "a", "init_images": ["QUJD", URL], "mask": "QUJD"})
    assert shown == {"prompt": "a", "init_images": [None, URL], "mask": None}
