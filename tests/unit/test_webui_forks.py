"""What Forge and SD.Next want otherwise, looked up in what real ones answered with."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from queue_agent.runtime import Artifact, RuntimeOptions
from queue_agent.runtime.http import Response, RuntimeClient
from queue_agent.testing import sample_png
from queue_agent.wire.errors import Rejected
from queue_agent_runtimes.webui.answer import error_of
from queue_agent_runtimes.webui.comparison import differences
from queue_agent_runtimes.webui.forks import is_other_sampler
from queue_agent_runtimes.webui.lists import ServerLists
from queue_agent_runtimes.webui.naming import settle_generation, settle_upscaling

Json = dict[str, JsonValue]
RECORDINGS = Path(__file__).parents[1] / "recordings" / "webui-forks"
VAE = "other-tiny.vae.safetensors"


def exchanges(fork: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((RECORDINGS / f"{fork}.json").read_text())["exchanges"]
    return found


def said(fork: str, what: str) -> tuple[Response, dict[str, Any]]:
    """The last answer to that question, as it came and as it reads."""
    answer = [one["response"] for one in exchanges(fork) if one["what"] == what][-1]
    return Response(answer["status"], json.dumps(answer["json"]).encode()), answer["json"]


class Recorded(RuntimeClient):
    """Answers with what the fork's lists were."""

    def __init__(self, fork: str) -> None:
        super().__init__(RuntimeOptions(), "http://127.0.0.1:1")
        self.answers = {
            one["request"]["path"]: one["response"]
            for one in exchanges(fork)
            if one["request"]["method"] == "GET"
        }

    async def send(self, method: str, path: str, **_: Any) -> Response:
        answer = self.answers.get(path, {"status": 404, "json": {"detail": "Not Found"}})
        return Response(
            answer["status"] if method == "GET" else 200, json.dumps(answer["json"]).encode()
        )


async def settled(fork: str, request: Json) -> Json:
    assert await settle_generation(request, ServerLists(Recorded(fork))) == ()
    return request


HIRES: Json = {"enable_hr": True, "hr_upscaler": "Latent"}


@pytest.mark.parametrize(
    ("asked", "taken"),
    [
        ({"sd_vae": VAE}, {"forge_additional_modules": [VAE]}),
        ({"sd_vae": VAE.upper()}, {"forge_additional_modules": [VAE]}),
        (
            {"sd_vae": VAE, "forge_additional_modules": [f"/models/{VAE}"]},
            {"forge_additional_modules": [VAE, VAE]},
        ),
        ({"sd_vae": "Automatic"}, {}),
        ({"forge_additional_modules": []}, {"forge_additional_modules": []}),
        ({"forge_additional_modules": [rf"C:\models\{VAE}"]}, {"forge_additional_modules": [VAE]}),
        ({"forge_additional_modules": "x"}, {"forge_additional_modules": "x"}),
    ],
)
async def test_a_vae_is_one_of_the_modules_of_forge(asked: Json, taken: Json) -> None:
    assert await settled("forge", {"override_settings": asked}) == {"override_settings": taken}


@pytest.mark.parametrize(
    "asked",
    [
        {"override_settings": {"sd_vae": "nope.pt"}},
        {"override_settings": {"forge_additional_modules": ["nope.pt"]}},
        {**HIRES, "hr_additional_modules": ["nope.pt"]},
    ],
)
async def test_a_module_that_forge_does_not_have_is_refused(asked: Json) -> None:
    with pytest.raises(Rejected) as caught:
        await settled("forge", asked)
    assert (caught.value.type, "nope.pt" in caught.value.message) == ("unknown_model", True)


async def test_forge_is_told_the_modules_without_which_it_cannot_enlarge() -> None:
    answer, _ = said("forge", "hires")
    assert answer.status == 500
    taken = await settled("forge", dict(HIRES))
    assert taken == {**HIRES, "hr_additional_modules": ["Use same choices"]}
    assert said("forge", "hires with modules")[0].ok
    named = await settled("forge", {**HIRES, "hr_additional_modules": [VAE]})
    assert named == {**HIRES, "hr_additional_modules": [VAE]}


async def test_what_forge_alone_has_is_sent_to_forge_alone() -> None:
    assert await settled("sdnext", {"prompt": "x"}) == {"prompt": "x"}
    nearest = await settled("sdnext", {"enable_hr": True, "hr_upscaler": "Latent (nearest)"})
    assert nearest == {"enable_hr": True, "hr_upscaler": "Latent Nearest"}


@pytest.mark.parametrize(
    ("asked", "side", "warned"),
    [
        ({}, 64, True),
        ({"hr_scale": 1.5}, 64, True),
        ({}, 128, False),
        ({"hr_scale": 1.55}, 96, False),
        ({"hr_scale": 1}, 64, False),
        ({"hr_scale": 0, "hr_resize_x": 100}, 96, False),
    ],
)
def test_an_image_that_was_not_enlarged_is_warned_of(asked: Json, side: int, warned: bool) -> None:
    request = {"width": 64, "height": 64, **HIRES, **asked}
    made = Artifact(sample_png(side, side), "image/png")
    words = differences(request, None, {}, (made,))
    assert [found.partition(":")[0] for found in words] == ["enable_hr"] * warned


def test_an_infotext_that_forge_stumbles_over_is_refused_at_once() -> None:
    answer, _ = said("forge", "infotext")
    assert isinstance(error_of(answer), Rejected)
    assert not isinstance(error_of(said("forge", "hires")[0]), Rejected)


async def found(fork: str, what: str, asked: Json) -> list[str]:
    """What the comparison says of a recorded answer."""
    _, answer = said(fork, what)
    return differences(asked, None, json.loads(answer["info"]), ())


@pytest.mark.parametrize(
    ("fork", "what", "asked", "field"),
    [
        ("forge", "tiling", {"tiling": True}, "tiling"),
        (
            "sdnext",
            "an override",
            {"override_settings": {"CLIP_stop_at_last_layers": 2}},
            "override_settings.CLIP_stop_at_last_layers",
        ),
        ("sdnext", "another sampler", {"sampler_name": "Heun"}, "sampler_name"),
        ("sdnext", "another sampler", {"sampler_name": "LMSD"}, "sampler_name"),
        (
            "sdnext",
            "an unknown checkpoint",
            {"override_settings": {"sd_model_checkpoint": "nope"}},
            "override_settings",
        ),
    ],
)
async def test_what_a_fork_did_otherwise_is_warned_of(
    fork: str, what: str, asked: Json, field: str
) -> None:
    (words,) = await found(fork, what, asked)
    assert words.startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("asked", "used_class", "other"),
    [
        ("Heun", "EulerDiscreteScheduler", True),
        ("LMSD", "EulerDiscreteScheduler", True),
        ("Euler a", "EulerDiscreteScheduler", True),
        ("DPM++ 2M", "PNDMScheduler", True),
        ("LMSD", "LMSDiscreteScheduler", False),
        ("DPM++ SDE", "DPMSolverMultistepScheduler", False),
        ("Euler FlowMatch", "EulerDiscreteScheduler", False),
        ("DPM fast", "EulerDiscreteScheduler", False),
        ("Euler", "FlowMatchEulerDiscreteScheduler", False),
        ("Euler", None, False),
    ],
)
def test_a_class_tells_another_sampler_where_both_are_known(
    asked: str, used_class: str | None, other: bool
) -> None:
    assert is_other_sampler(asked, used_class) is other


@pytest.mark.parametrize(
    ("fork", "what", "asked"),
    [
        ("forge", "text to image", {"sampler_name": "Euler", "tiling": False}),
        ("forge", "hires with modules", {"sampler_name": "Euler", "enable_hr": True}),
        ("sdnext", "text to image", {"sampler_name": "Euler"}),
        ("sdnext", "the field for it", {"sampler_name": "euler", "clip_skip": 2}),
        ("sdnext", "sigmas", {"sampler_name": "Euler", "schedulers_sigma": "karras"}),
    ],
)
async def test_what_was_done_as_asked_is_not(fork: str, what: str, asked: Json) -> None:
    assert await found(fork, what, asked) == []


@pytest.mark.parametrize(
    ("asked", "taken"),
    [
        ({"sampler_name": "k_euler_a"}, {"sampler_name": "Euler a"}),
        ({"sampler_name": "LMS"}, {"sampler_name": "LMSD"}),
        ({"sampler_name": "dpm_2"}, {"sampler_name": "KDPM2"}),
        ({"sampler_name": "PLMS"}, {"sampler_name": "PNDM"}),
        (
            {"sampler_name": "DPM++ 2M Karras"},
            {"sampler_name": "DPM++ 2M", "schedulers_sigma": "karras"},
        ),
        (
            {"sampler_name": "Euler", "scheduler": "exponential"},
            {"sampler_name": "Euler", "schedulers_sigma": "exponential"},
        ),
        (
            {"sampler_name": "Euler", "scheduler": "Beta", "schedulers_sigma": "default"},
            {"sampler_name": "Euler", "schedulers_sigma": "default"},
        ),
        (
            {"sampler_name": "DDIM", "scheduler": "Karras"},
            {"sampler_name": "DDIM", "scheduler": "Karras"},
        ),
        (
            {"override_settings": {"CLIP_stop_at_last_layers": 2}},
            {"override_settings": {}, "clip_skip": 2},
        ),
        (
            {"override_settings": {"CLIP_stop_at_last_layers": 2}, "clip_skip": 1},
            {"override_settings": {}, "clip_skip": 1},
        ),
    ],
)
async def test_what_is_an_option_of_the_web_ui_is_a_field_of_sd_next(
    asked: Json, taken: Json
) -> None:
    assert await settled("sdnext", asked) == taken


async def test_a_script_that_sd_next_would_pass_over_is_refused() -> None:
    assert said("sdnext", "an unknown script")[0].ok
    with pytest.raises(Rejected, match="no script 'nope'"):
        await settled("sdnext", {"script_name": "nope"})


async def test_upscalers_without_models_have_other_names_in_sd_next() -> None:
    lists = ServerLists(Recorded("sdnext"))
    request: Json = {"upscaler_1": "Lanczos", "upscaler_2": "None"}
    await settle_upscaling(request, lists)
    assert request == {"upscaler_1": "Resize Lanczos", "upscaler_2": "None"}
    for asked in ({"upscaler_1": "nope"}, {"gfpgan_visibility": 1}, {"codeformer_visibility": 0.5}):
        with pytest.raises(Rejected):
            await settle_upscaling(dict[str, JsonValue](asked), lists)
    await settle_upscaling({"gfpgan_visibility": 1}, ServerLists(Recorded("forge")))


def test_extras_that_sd_next_cannot_answer_are_not_tried_again() -> None:
    answer, _ = said("sdnext", "an image enlarged")
    assert isinstance(error_of(answer), Rejected)
