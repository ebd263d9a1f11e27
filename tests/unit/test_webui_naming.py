"""Names in requests, looked up in the lists that a real Web UI 1.10.1 answered with."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from queue_agent.runtime import RuntimeOptions
from queue_agent.runtime.http import Response, RuntimeClient
from queue_agent.wire.errors import Rejected
from queue_agent_runtimes.webui.lists import ServerLists
from queue_agent_runtimes.webui.naming import settle_generation, settle_upscaling

ANYTHING = "sub/anything-tiny.safetensors [e085244238]"
Json = dict[str, JsonValue]
RECORDINGS = Path(__file__).parents[1] / "recordings" / "webui-1.10.1"


def recorded() -> dict[str, JsonValue]:
    """The answers by route; of those that are in both, the filled ones."""
    found: dict[str, JsonValue] = {}
    for name in ("lists", "lists_filled", "script_info"):
        for exchange in json.loads((RECORDINGS / f"{name}.json").read_text())["exchanges"]:
            if exchange["request"]["method"] == "GET":
                path = exchange["request"]["path"].removeprefix("/sdapi/v1/")
                found[path] = exchange["response"].get("json")
    return found


class Recorded(RuntimeClient):
    """Answers with the recordings, but for what is left out."""

    def __init__(self, *left_out: str, **changed: JsonValue) -> None:
        super().__init__(RuntimeOptions(), "http://127.0.0.1:1")
        self.answers = {**recorded(), **changed}
        self.asked: list[str] = []
        for name in left_out:
            del self.answers[name]

    async def send(self, method: str, path: str, **_: Any) -> Response:
        name = path.removeprefix("/sdapi/v1/")
        self.asked.append(f"{method} {name}")
        if method == "POST":
            return Response(200, b"null")
        if name not in self.answers:
            return Response(404, b'{"detail": "Not Found"}')
        return Response(200, json.dumps(self.answers[name]).encode())


async def settled(request: Json, *left_out: str) -> tuple[Json, tuple[str, ...]]:
    warnings = await settle_generation(request, ServerLists(Recorded(*left_out)))
    return request, warnings


@pytest.mark.parametrize(
    ("asked", "taken"),
    [
        ({"sampler_name": "Euler a"}, {"sampler_name": "Euler a"}),
        ({"sampler_name": "EULER A"}, {"sampler_name": "Euler a"}),
        ({"sampler_name": "k_euler_a"}, {"sampler_name": "Euler a"}),
        ({"sampler_name": "euler_ancestral"}, {"sampler_name": "Euler a"}),
        ({"sampler_name": "ddim cfg++"}, {"sampler_name": "DDIM CFG++"}),
        ({"sampler_index": "HEUN"}, {"sampler_index": "Heun"}),
        (
            {"sampler_name": "DPM++ 2M Karras"},
            {"sampler_name": "DPM++ 2M", "scheduler": "Karras"},
        ),
        (
            {"sampler_name": "dpmpp_2m sgm_uniform", "scheduler": "Karras"},
            {"sampler_name": "DPM++ 2M", "scheduler": "Karras"},
        ),
        ({"scheduler": "KARRAS"}, {"scheduler": "Karras"}),
        ({"scheduler": "sgm_uniform"}, {"scheduler": "SGM Uniform"}),
        ({"scheduler": "Automatic"}, {"scheduler": "Automatic"}),
        ({"refiner_checkpoint": "anything"}, {"refiner_checkpoint": ANYTHING}),
        ({"refiner_checkpoint": "None"}, {"refiner_checkpoint": "None"}),
        ({"prompt": "a <lora:TINY-LORA:0.5>"}, {"prompt": "a <lora:tiny-lora:0.5>"}),
        (
            {"prompt": "<lora:tiny-lora-alias> <other:x>"},
            {"prompt": "<lora:tiny-lora-alias> <other:x>"},
        ),
        ({"styles": ["Warm", ""]}, {"styles": ["warm"]}),
        (
            {"override_settings": {"sd_vae": "automatic"}},
            {"override_settings": {"sd_vae": "Automatic"}},
        ),
        (
            {"enable_hr": True, "hr_upscaler": "latent"},
            {"enable_hr": True, "hr_upscaler": "Latent"},
        ),
        (
            {"script_name": "Prompt matrix", "script_args": [1, 2, 3, 4, 5]},
            {"script_name": "Prompt matrix", "script_args": [1, 2, 3, 4, 5]},
        ),
    ],
)
async def test_names_become_those_of_the_server(asked: Json, taken: Json) -> None:
    assert await settled(asked) == (taken, ())


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"sampler_name": "Nonsense"}, "sampler_name"),
        ({"sampler_index": "Nonsense"}, "sampler_index"),
        ({"hr_sampler_name": "Nonsense"}, "hr_sampler_name"),
        ({"scheduler": "Nonsense"}, "scheduler"),
        ({"prompt": "<lora:nope:1>"}, "LoRA 'nope'"),
        ({"hr_prompt": "<lyco:nope:1>"}, "hr_prompt"),
        ({"prompt": "<hypernet:nope:1>"}, "hypernetwork"),
        ({"styles": ["nope"]}, "styles"),
        ({"override_settings": {"sd_vae": "nope.pt"}}, "sd_vae"),
        ({"override_settings": {"face_restoration_model": "nope"}}, "face_restoration_model"),
        ({"refiner_checkpoint": "nope"}, "nope"),
        ({"hr_checkpoint_name": "nope"}, "nope"),
        ({"enable_hr": True, "hr_upscaler": "nope"}, "hr_upscaler"),
        ({"script_name": "prompt matrix"}, "script_args"),
        ({"script_name": "prompt matrix", "script_args": [1]}, "5 arguments, not 1"),
    ],
)
async def test_what_the_server_does_not_have_is_refused_by_name(request_: Json, words: str) -> None:
    with pytest.raises(Rejected) as caught:
        await settled(request_)
    assert words in caught.value.message


@pytest.mark.parametrize("asked", [{"sampler_name": "ddpm"}, {"sampler_name": "ipndm"}])
async def test_a_sampler_of_other_runtimes_is_the_default_with_a_warning(asked: Json) -> None:
    name = asked["sampler_name"]
    request, warnings = await settled(asked)
    assert request == {}
    assert warnings == (f"sampler_name: the runtime has no sampler {name!r}; Euler was taken",)


async def test_without_lists_names_are_sent_as_they_are() -> None:
    names = ("samplers", "schedulers", "loras", "prompt-styles", "sd-vae", "sd-models")
    asked: Json = {
        "sampler_name": "of a plugin",
        "prompt": "<lora:nope:1>",
        "styles": ["nope"],
        "override_settings": {"sd_vae": "nope.pt"},
        "refiner_checkpoint": "nope",
    }
    assert await settled(dict(asked), *names) == (asked, ())


async def test_up_to_1_8_a_schedule_is_a_part_of_the_samplers_name() -> None:
    old: JsonValue = [{"name": "Euler", "aliases": []}, {"name": "DPM++ 2M Karras", "aliases": []}]
    client = Recorded("schedulers", samplers=old)
    request: Json = {"sampler_name": "DPM++ 2M Karras"}
    await settle_generation(request, ServerLists(client))
    assert request == {"sampler_name": "DPM++ 2M Karras"}


async def test_lists_are_asked_once_and_again_for_names_not_found() -> None:
    client = Recorded()
    lists = ServerLists(client)
    for _ in range(2):
        await settle_generation({"prompt": "<lora:tiny-lora:1>"}, lists)
    assert client.asked == ["GET loras"]
    with pytest.raises(Rejected):
        await settle_generation({"prompt": "<lora:nope:1>"}, lists)
    assert client.asked == ["GET loras", "POST refresh-loras", "GET loras"]


async def test_upscalers_are_those_of_the_server() -> None:
    request: Json = {"upscaler_1": "r-esrgan 4x+", "upscaler_2": "None"}
    await settle_upscaling(request, ServerLists(Recorded()))
    assert request == {"upscaler_1": "R-ESRGAN 4x+", "upscaler_2": "None"}
    with pytest.raises(Rejected):
        await settle_upscaling({"upscaler_1": "nope"}, ServerLists(Recorded()))
