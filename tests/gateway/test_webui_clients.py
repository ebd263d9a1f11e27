"""A well-known client of the Web UI, `webuiapi`, which needs nothing but the gateway's address."""

import asyncio
import base64
import io
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import httpx
import pytest
from PIL import Image
from webuiapi import WebUIApi

from diffusers_servers import tiny_server
from gateway_site import Site, site_of
from harness import PATIENCE
from queue_agent.gateway.keys import new_key
from queue_agent.testing.aws import EmbeddedCloud
from queue_agent.testing.process import ServerProcess
from webui_recording import exchange, recorded, same_shape

SMALL: Final[dict[str, Any]] = {"steps": 2, "width": 64, "height": 64, "seed": 7}
PHOTO: Final = Image.effect_noise((64, 64), 40).convert("RGB")
MASK: Final = Image.new("L", (64, 64), 255)
LISTS: Final = {**recorded("lists"), **recorded("lists_filled"), **recorded("script_info")}
IDLE: Final = exchange("auth", "right")["response"]["json"]


class Refused(NamedTuple):
    """What the client raises, with some words of the answer."""

    words: str = ""


Check = Callable[[Any], bool]


def images(*sizes: tuple[int, int]) -> Check:
    """So many images, of these sizes, with parameters and information."""

    def check(result: Any) -> bool:
        assert [image.size for image in result.images] == [*sizes]
        assert result.parameters["prompt"] == result.info["prompt"]
        assert result.info["all_seeds"] == [7 + number for number in range(len(sizes))]
        return len(result.info["infotexts"]) == len(sizes)

    return check


def sized(*sizes: tuple[int, int]) -> Check:
    def check(result: Any) -> bool:
        assert isinstance(result.info, str)
        return [image.size for image in result.images] == [*sizes]

    return check


def shaped_as(name: str) -> Check:
    """As the real server's list, whatever it holds."""
    return lambda listed: same_shape(listed, LISTS[name])


def holding(name: str, key: str = "name") -> Check:
    """Such a list, with an entry of that name."""
    return lambda listed: name in {entry[key] for entry in listed}


def equals(value: object) -> Check:
    return lambda answer: bool(answer == value)


def warned_of(words: str) -> Check:
    def check(result: Any) -> bool:
        assert result.info["warnings"] == result.json["warnings"]
        return any(words in warning for warning in result.info["warnings"])

    return check


class Case(NamedTuple):
    """One call of the client, and what must come of it on each runtime."""

    call: Callable[[WebUIApi], Any]
    webui: Check | Refused
    bundled: Check | Refused


def both(call: Callable[[WebUIApi], Any], expected: Check | Refused) -> Case:
    return Case(call, expected, expected)


def listing(call: Callable[[WebUIApi], Any], name: str) -> Case:
    return both(call, shaped_as(name))


TEXT = {"prompt": "a lighthouse", **SMALL}
CASES: Final[dict[str, Case]] = {
    "an image": both(lambda api: api.txt2img(**TEXT), images((64, 64))),
    "an image of another size": both(
        lambda api: api.txt2img(**TEXT | {"width": 128, "height": 72}), images((128, 72))
    ),
    "two images": both(lambda api: api.txt2img(**TEXT, batch_size=2), images((64, 64), (64, 64))),
    "two batches": both(lambda api: api.txt2img(**TEXT, n_iter=2), images((64, 64), (64, 64))),
    "a negative prompt": both(
        lambda api: api.txt2img(**TEXT, negative_prompt="blue"), images((64, 64))
    ),
    "a null prompt": both(
        lambda api: api.custom_post("txt2img", {**SMALL, "prompt": None}, baseurl=True),
        lambda result: len(result.images) == 1,
    ),
    "another sampler and schedule": both(
        lambda api: api.txt2img(**TEXT, sampler_name="DPM++ 2M", scheduler="karras"),
        images((64, 64)),
    ),
    "no images wanted": both(
        lambda api: api.txt2img(**TEXT, send_images=False), lambda result: result.images == []
    ),
    "a checkpoint by override": Case(
        lambda api: api.txt2img(
            **TEXT, override_settings={"sd_model_checkpoint": api.get_sd_models()[-1]["title"]}
        ),
        images((64, 64)),
        images((64, 64)),
    ),
    "an unknown checkpoint": both(
        lambda api: api.txt2img(**TEXT, override_settings={"sd_model_checkpoint": "nope"}),
        Refused("nope"),
    ),
    "an unknown sampler": Case(
        lambda api: api.txt2img(**TEXT, sampler_name="No such sampler"),
        Refused("ampler"),
        warned_of("sampler_name"),
    ),
    "an unknown script": Case(
        lambda api: api.txt2img(**TEXT, script_name="nope"),
        Refused("nope"),
        warned_of("script_name"),
    ),
    "a size that is none": both(lambda api: api.txt2img(**TEXT | {"width": "wide"}), Refused()),
    "text for a number": both(lambda api: api.txt2img(**TEXT | {"steps": "many"}), Refused()),
    "what only a Web UI can do": Case(
        lambda api: api.txt2img(**TEXT, tiling=True), images((64, 64)), warned_of("tiling")
    ),
    "image to image": both(lambda api: api.img2img(images=[PHOTO], **TEXT), images((64, 64))),
    "inpainting": both(
        lambda api: api.img2img(images=[PHOTO], mask_image=MASK, **TEXT), images((64, 64))
    ),
    "image to image without an image": both(
        lambda api: api.img2img(images=[], **TEXT), Refused("Init image not found")
    ),
    "one image enlarged": both(
        lambda api: api.extra_single_image(PHOTO, upscaler_1="Lanczos", upscaling_resize=2),
        sized((128, 128)),
    ),
    "an unknown upscaler": both(
        lambda api: api.extra_single_image(PHOTO, upscaler_1="nope"), Refused()
    ),
    "two images enlarged": Case(
        lambda api: api.extra_batch_images([PHOTO, PHOTO], upscaler_1="Lanczos"),
        sized((128, 128), (128, 128)),
        Refused("extra-batch-images"),
    ),
    "no images enlarged": both(lambda api: api.extra_batch_images([]), sized()),
    "what is written in an image": Case(
        lambda api: api.png_info(api.txt2img(**TEXT).image),
        lambda result: result.parameters["Seed"] == "7" and "a lighthouse" in result.info,
        lambda result: result.parameters["Clip skip"] == "1",
    ),
    "asking what is seen": both(lambda api: api.interrogate(PHOTO), Refused("Not Found")),
    "interrupting nothing": both(lambda api: api.interrupt(), equals({})),
    "skipping nothing": both(lambda api: api.skip(), equals(None)),
    "progress of nothing": both(lambda api: api.get_progress(), equals(IDLE)),
    "waiting until it is ready": both(lambda api: api.util_wait_for_ready(), equals(None)),
    "options": both(
        lambda api: api.get_options(), lambda options: "sd_model_checkpoint" in options
    ),
    "the present model": both(
        lambda api: api.util_get_current_model(),
        lambda name: isinstance(name, str) and name != "",
    ),
    "flags": both(lambda api: api.get_cmd_flags(), lambda flags: flags["api"] is True),
    "samplers": listing(lambda api: api.get_samplers(), "samplers"),
    "a sampler": both(lambda api: api.get_samplers(), holding("Euler a")),
    "names of samplers": both(
        lambda api: api.util_get_sampler_names(), lambda names: "Euler" in names
    ),
    "schedulers": listing(lambda api: api.get_schedulers(), "schedulers"),
    "models": listing(lambda api: api.get_sd_models(), "sd-models"),
    "a model": Case(
        lambda api: api.get_sd_models(),
        holding("v1-5", "model_name"),
        lambda listed: listed[0]["model_name"].startswith("tiny"),
    ),
    "VAEs": listing(lambda api: api.get_sd_vae(), "sd-vae"),
    "upscalers": listing(lambda api: api.get_upscalers(), "upscalers"),
    "latent upscale modes": listing(
        lambda api: api.get_latent_upscale_modes(), "latent-upscale-modes"
    ),
    "LoRAs": listing(lambda api: api.get_loras(), "loras"),
    "hypernetworks": listing(lambda api: api.get_hypernetworks(), "hypernetworks"),
    "face restorers": listing(lambda api: api.get_face_restorers(), "face-restorers"),
    "Real-ESRGAN models": listing(lambda api: api.get_realesrgan_models(), "realesrgan-models"),
    "styles": listing(lambda api: api.get_prompt_styles(), "prompt-styles"),
    "embeddings": both(
        lambda api: api.get_embeddings(), lambda found: found.keys() == {"loaded", "skipped"}
    ),
    "scripts": both(
        lambda api: api.get_scripts(), lambda found: found.keys() == {"txt2img", "img2img"}
    ),
    "memory": both(lambda api: api.get_memory(), lambda found: found.keys() == {"ram", "cuda"}),
    "refreshing": both(lambda api: api.refresh_checkpoints(), equals(None)),
    "a route of an extension": both(
        lambda api: api.custom_post("controlnet/detect", {}), Refused("Not Found")
    ),
}


def client_for(gateway: ServerProcess, **options: Any) -> WebUIApi:
    """The client, once the agents have told what there is."""
    with httpx.Client(base_url=gateway.url, timeout=PATIENCE) as http:
        while http.get("/sdapi/v1/samplers").status_code == 503:
            pass  # each answer takes a while
    return WebUIApi(baseurl=f"{gateway.url}/sdapi/v1", **options)


@pytest.fixture(scope="module")
def before_a_web_ui(gateway: ServerProcess) -> WebUIApi:
    return client_for(gateway)


@pytest.fixture(scope="module")
def bundled_site(
    embedded_cloud: EmbeddedCloud, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("bundled")
    with site_of(embedded_cloud, folder, tiny_server(), "diffusers") as site:
        yield site


@pytest.fixture(scope="module")
def before_the_bundled_runtime(bundled_site: Site) -> WebUIApi:
    return client_for(bundled_site.start_gateway())


def try_out(api: WebUIApi, call: Callable[[WebUIApi], Any], expected: Check | Refused) -> None:
    if isinstance(expected, Refused):
        with pytest.raises(RuntimeError) as caught:
            call(api)
        status, text = caught.value.args
        assert 400 <= status < 500
        assert expected.words in text
    else:
        assert expected(call(api))


@pytest.mark.parametrize("name", CASES)
def test_a_client_of_the_web_ui_needs_only_another_address(
    before_a_web_ui: WebUIApi, name: str
) -> None:
    try_out(before_a_web_ui, CASES[name].call, CASES[name].webui)


@pytest.mark.parametrize("name", CASES)
def test_so_it_does_where_the_runtime_is_no_web_ui(
    before_the_bundled_runtime: WebUIApi, name: str
) -> None:
    try_out(before_the_bundled_runtime, CASES[name].call, CASES[name].bundled)


def test_usual_requests_of_the_client_are_warned_of_nothing(
    before_a_web_ui: WebUIApi, before_the_bundled_runtime: WebUIApi
) -> None:
    for api in (before_a_web_ui, before_the_bundled_runtime):
        for result in (api.txt2img(**TEXT), api.img2img(images=[PHOTO], **TEXT)):
            assert "warnings" not in result.info
            assert "warnings" not in result.json


def test_a_model_that_was_set_is_that_of_the_jobs_that_follow(before_a_web_ui: WebUIApi) -> None:
    api = before_a_web_ui
    try:
        api.util_set_model("dreamy")
        assert api.util_get_current_model().startswith("dreamy")
        assert api.txt2img(**TEXT).info["sd_model_name"] == "dreamy"
        refused = api.set_options({"sd_model_checkpoint": "nope"})
        assert refused["error"] == "RuntimeError"
        assert api.util_get_current_model().startswith("dreamy")
    finally:
        api.set_options({"sd_model_checkpoint": None})
    assert api.txt2img(**TEXT).info["sd_model_name"] == "v1-5"


def test_what_runs_is_shown_and_interrupted(before_a_web_ui: WebUIApi) -> None:
    api, ended = before_a_web_ui, []

    def paint() -> None:
        try:
            api.txt2img(**TEXT | {"steps": 10_000})
        except RuntimeError as error:
            ended.append(error.args[0])

    painting = threading.Thread(target=paint)
    painting.start()
    while (shown := api.get_progress())["progress"] <= 0.01:
        assert painting.is_alive()
    assert same_shape(shown, IDLE)
    assert shown["state"]["sampling_steps"] == 10_000
    assert api.interrupt() == {}
    painting.join(PATIENCE)
    assert ended == [410]
    assert api.get_progress() == IDLE


def test_what_runs_is_seen_where_the_operator_allows_previews(site: Site) -> None:
    gateway = site.start_gateway(QUEUE_AGENT_GATEWAY_PREVIEWS="true")
    try:
        api = client_for(gateway)
        painting = threading.Thread(target=lambda: api.txt2img(**TEXT | {"steps": 600}))
        painting.start()
        while (image := api.get_progress()["current_image"]) is None:
            assert painting.is_alive()
        with Image.open(io.BytesIO(base64.b64decode(image))) as shown:
            assert (shown.format, shown.size) == ("JPEG", (16, 16))
        painting.join(PATIENCE)
        assert api.get_progress()["current_image"] is None
    finally:
        gateway.stop()


def test_its_requests_that_wait_for_nothing_are_answered_too(before_a_web_ui: WebUIApi) -> None:
    async def both() -> list[Any]:
        first = before_a_web_ui.txt2img(**TEXT, use_async=True)
        second = before_a_web_ui.extra_single_image(PHOTO, upscaler_1="Lanczos", use_async=True)
        return [await first, await second]

    made, enlarged = asyncio.run(both())
    assert (made.image.size, enlarged.image.size) == ((64, 64), (128, 128))


def test_the_key_is_the_password_of_its_credentials(site: Site) -> None:
    key, entry = new_key("team-a")
    file = site.folder / "keys-of-clients.json"
    file.write_text(f'{{"keys": [{entry.model_dump_json()}]}}')
    gateway = site.start_gateway(QUEUE_AGENT_GATEWAY_KEYS_FILE=str(file))
    try:
        url = f"{gateway.url}/sdapi/v1"
        right = WebUIApi(baseurl=url, username="anyone", password=key)
        wrong = WebUIApi(baseurl=url, username="anyone", password="qag_wrong")
        assert right.txt2img(**TEXT).image.size == (64, 64)
        with pytest.raises(RuntimeError) as caught:
            wrong.txt2img(**TEXT)
        assert caught.value.args[0] == 401
        assert set(wrong.get_options()) == {"error", "detail", "body", "errors"}
    finally:
        gateway.stop()
