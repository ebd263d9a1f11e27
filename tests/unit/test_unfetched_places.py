"""Nothing but the agent fetches: what a runtime could take for a place is refused."""

import pytest
from pydantic import JsonValue

from queue_agent.runtime import Reference, Runtime, RuntimeOptions
from queue_agent.runtime.places import names_a_place, refuse_unfetched
from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import Job
from queue_agent_runtimes.comfyui import ComfyUIRuntime
from queue_agent_runtimes.openai_images import DiffusersRuntime, OpenAIImagesRuntime
from queue_agent_runtimes.webui import WebUIRuntime

Json = dict[str, JsonValue]
URL = "https://images.example.com/cat.png?secret=1"

PLACES = [
    "http://10.0.0.1/",
    "HTTPS://a",
    "  http://a",
    "\u00a0\u2003http://a",
    "\ufeffhttp://a",
    "\u200bhttp://a",
    "\x00\x1fhttp://a",
    "ht\ntp://a",
    "http:\t//a",
    "http:/a",
    "http:\\\\a",
    "http:a",
    "URL:http://a",
    "<http://a>",
    "<URL:file:/etc/passwd>",
    '"http://a"',
    "file:///etc/passwd",
    "file:/etc/passwd",
    "ftp://a/b",
    "s3://bucket/key",
    "gs://bucket/key",
    "smb://host/share",
    "concat:a|b",
    "\\\\host\\share\\a.png",
    "//host/share/a.png",
    "a.png\nhttp://a",
    '{"image": "http://a"}',
    "subfile,,start,0,end,0,,:http://a",
    "gopher://a",
    "gopher:\t//a",
    "\u200bfile:/etc/passwd",
    "fi\u00adle:/etc/passwd",
    "\x00\\\\host\\share",
]
NO_PLACES = [
    "",
    "a cat",
    "Euler a",
    "C:\\models\\a.safetensors",
    "C:/models/a.safetensors",
    "models/sd/a.safetensors",
    "sub\\folder\\a.png",
    "/absolute/path.png",
    "<lora:ink:0.8>",
    "1:2, 3 : 4",
    "16:9",
    "data:image/png;base64,iVBORw0KGgo//8A",
    "iVBORw0KGgo//8A" * 1000,
    "AND a (dog:1.2)",
    "url(x) and http",
]


@pytest.mark.parametrize("text", PLACES)
def test_what_may_be_taken_for_a_place_is_one(text: str) -> None:
    assert names_a_place(text)


@pytest.mark.parametrize("text", NO_PLACES)
def test_names_paths_images_and_words_are_no_places(text: str) -> None:
    assert not names_a_place(text)


def test_a_reference_is_let_through_in_its_own_field_alone() -> None:
    own = [Reference(URL, ("init_images", 0))]
    refuse_unfetched({"init_images": [URL]}, fetched=own)
    with pytest.raises(Rejected) as caught:
        refuse_unfetched({"init_images": [URL], "script_args": [1, {"x": [URL]}]}, fetched=own)
    assert caught.value.type == "reference_forbidden"
    assert caught.value.message.startswith("script_args[1].x[0]: ")
    assert "example.com" not in caught.value.message


def test_however_deep_it_stands_it_is_found() -> None:
    deep: JsonValue = URL
    for _ in range(2_000):
        deep = [deep]
    with pytest.raises(Rejected):
        refuse_unfetched({"a": deep})


def job(content: Json, task_type: str) -> Job:
    return Job.model_validate({"metadata": {"id": "1", "tasktype": task_type}, "content": content})


def refusal(adapter: type[Runtime], content: Json, task_type: str) -> str | None:
    """What it says of a job's places; None where they may stand."""
    try:
        adapter(RuntimeOptions()).check_places(job(content, task_type))
    except Rejected as error:
        return error.message if error.type == "reference_forbidden" else error.type
    return None


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"mask_image": URL}, "mask_image"),
        ({"init_images": URL}, "init_images"),
        ({"init_images": [[URL]]}, "init_images[0][0]"),
        ({"init_images": [{"image": URL}]}, "init_images[0].image"),
        ({"mask": {"url": URL}}, "mask.url"),
        ({"prompt": [URL]}, "prompt[0]"),
        ({"alwayson_scripts": {"reactor": {"args": [URL]}}}, "alwayson_scripts.reactor.args[0]"),
        (
            {"alwayson_scripts": {"ControlNet": {"args": [{"mask_image": URL}]}}},
            "alwayson_scripts.ControlNet.args[0].mask_image",
        ),
        ({"script_args": ["", 1, " " + URL]}, "script_args[2]"),
        ({"override_settings": {"sd_vae": URL}}, "override_settings.sd_vae"),
        ({"init_images": [URL], "firstpass_image": URL}, "firstpass_image"),
        ({"model": "file:///etc/passwd"}, "model"),
    ],
)
def test_the_web_ui_is_sent_no_place(content: Json, field: str) -> None:
    told = refusal(WebUIRuntime, content, "image-to-image")
    assert told is not None
    assert told.startswith(f"{field}: ")


def test_prompts_and_references_of_the_web_ui_may_be_urls() -> None:
    content: Json = {
        "prompt": URL,
        "negative_prompt": URL,
        "hr_prompt": URL,
        "init_images": [URL],
        "mask": URL,
        "alwayson_scripts": {
            "image_link": URL,
            "controlnet": {"args": [{"input_image": URL, "image": {"image": URL, "mask": URL}}]},
            "ADetailer": {"args": [True, {"ad_prompt": URL}]},
        },
    }
    assert refusal(WebUIRuntime, content, "image-to-image") is None
    content = {"imageList": [{"data": URL, "name": "a.png"}]}
    assert refusal(WebUIRuntime, content, "extra-batch-images") is None


def node(**inputs: JsonValue) -> Json:
    return {"1": {"class_type": "Any", "inputs": inputs, "_meta": {"title": URL}}}


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (node(url=URL), "1.inputs.url"),
        (node(image=" " + URL), "1.inputs.image"),
        (node(image=[URL, URL]), "1.inputs.image[0]"),
        (node(value=URL), "1.inputs.value"),
        (node(urls={"text": URL}), "1.inputs.urls.text"),
        (node(lora_name="HTTPS://a"), "1.inputs.lora_name"),
        (node(image="\\\\host\\share\\a.png"), "1.inputs.image"),
        ({"prompt": node(url=URL), "extra_data": {}}, "1.inputs.url"),
        ({"workflow": node(url=""), "inputs": {"1.url": URL}}, "1.inputs.url"),
    ],
)
def test_comfyui_is_sent_no_place(content: Json, field: str) -> None:
    told = refusal(ComfyUIRuntime, content, "pipeline")
    assert told is not None
    assert told.startswith(f"{field}: ")


@pytest.mark.parametrize(
    "content",
    [
        node(text=URL, text_g=URL, prompt=URL),
        node(image=URL, video=URL, audio=URL),
        {"prompt": node(text=""), "extra_data": {"extra_pnginfo": {"workflow": {"note": URL}}}},
        {"workflow": node(text=""), "inputs": {"1.text": URL}},
    ],
)
def test_prompts_and_references_of_workflows_may_be_urls(content: Json) -> None:
    assert refusal(ComfyUIRuntime, content, "pipeline") is None


@pytest.mark.parametrize("adapter", [OpenAIImagesRuntime, DiffusersRuntime])
@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"user": URL}, "user"),
        ({"extra_params": {"image_url": URL}}, "extra_params.image_url"),
        ({"lora": {"local_path": "hf:someone/lora"}}, "lora.local_path"),
        ({"diffusers_kwargs": {"a": [URL]}}, "diffusers_kwargs.a[0]"),
        ({"style": "file:///etc/passwd"}, "style"),
    ],
)
def test_servers_of_openais_dialect_are_sent_no_place(
    adapter: type[Runtime], content: Json, field: str
) -> None:
    told = refusal(adapter, {"prompt": "a cat", **content}, "text-to-image")
    assert told is not None
    assert told.startswith(f"{field}: ")


@pytest.mark.parametrize("adapter", [OpenAIImagesRuntime, DiffusersRuntime])
def test_the_dialects_prompts_references_and_served_models_may_be_urls(
    adapter: type[Runtime],
) -> None:
    content: Json = {"prompt": URL, "init_images": [URL], "mask": URL, "model": "s3://models/tiny"}
    assert refusal(adapter, content, "image-to-image") is None


@pytest.mark.parametrize("field", ["sampler_name", "mask_image", "model"])
def test_a_portable_job_for_comfyui_names_no_place(field: str) -> None:
    told = refusal(ComfyUIRuntime, {"prompt": URL, field: URL}, "text-to-image")
    assert told is not None
    assert told.startswith(f"{field}: ")


@pytest.mark.parametrize("word", ["a", "1", "1a", "a.", "://", ":"])
def test_texts_of_any_length_are_looked_through_once(word: str) -> None:
    """Base64 is one long word; each of its letters could begin a scheme."""
    long = word * 1_000_000
    assert not names_a_place(f"a {long}//")
    assert names_a_place(f"{long} http://a")
