"""What adapters tell of their servers, from what the real servers answer."""

from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import JsonValue

from comfyui_recording import recorded_object_info
from diffusers_servers import SteppingModel
from queue_agent.runtime import (
    Capabilities,
    OfferedEmbedding,
    OfferedLora,
    OfferedModel,
    OfferedSampler,
    OfferedSchedule,
    OfferedSizes,
    OfferedStyle,
    OfferedUpscaler,
    RuntimeOptions,
)
from queue_agent.wire.errors import Unavailable
from queue_agent.wire.offer import LARGEST, Offer
from queue_agent_diffusers.engine.names import Names
from queue_agent_diffusers.engine.pool import ModelPool
from queue_agent_diffusers.http.offered import capabilities_of as of_server
from queue_agent_diffusers.options import Options
from queue_agent_runtimes.comfyui.api import ComfyUIApi
from queue_agent_runtimes.comfyui.offered import capabilities_of as of_comfyui
from queue_agent_runtimes.openai_images.answer import read_capabilities, read_models
from queue_agent_runtimes.webui.offered import capabilities_of as of_webui
from webui_recording import recorded
from webui_recording import recorded_webui as webui


async def test_what_a_web_ui_lists_is_told() -> None:
    answers = {**recorded("lists"), **recorded("lists_filled"), **recorded("script_info")}
    title = "v1-5-tiny.safetensors [d8daf80662]"
    known = await of_webui(webui({**answers, "options": {"sd_model_checkpoint": title}}))
    assert [model.name for model in known.models or ()] == [
        "dreamy-tiny",
        "v1-5-tiny",
        "sub_anything-tiny",
    ]
    assert [model.loaded for model in known.models or ()] == [False, True, False]
    assert known.models is not None
    assert known.models[1] == OfferedModel(
        name="v1-5-tiny",
        title=title,
        hash="d8daf80662",
        sha256="d8daf806627221212c76b80d18ba8e654504ca3e7d77e2c6b0851583c57dd056",
        loaded=True,
    )
    assert known.samplers is not None
    assert known.samplers[0] == OfferedSampler(
        name="DPM++ 2M", aliases=("k_dpmpp_2m",), options={"scheduler": "karras"}
    )
    assert OfferedSchedule(name="sgm_uniform", label="SGM Uniform", aliases=("SGMUniform",)) in (
        known.schedules or ()
    )
    assert known.loras == (OfferedLora(name="tiny-lora", alias="tiny-lora-alias"),)
    assert OfferedUpscaler(name="ESRGAN_4x", model="ESRGAN_4x", scale=4.0) in (
        known.upscalers or ()
    )
    assert known.vaes == ("tiny-vae.safetensors",)
    assert known.styles == (
        OfferedStyle(name="warm", prompt="{prompt}, warm light", negative_prompt="blue"),
    )
    assert known.embeddings == (
        OfferedEmbedding(name="tiny-word", shape=768, vectors=2),
        OfferedEmbedding(name="other-shape", shape=1024, vectors=2, usable=False),
    )
    assert "Latent (nearest)" in (known.latent_upscalers or ())
    assert known.face_restorers == ("CodeFormer", "GFPGAN")
    assert known.hypernetworks == ()
    scripts = {(script.of, script.name): script for script in known.scripts or ()}
    assert len(scripts["txt2img", "x/y/z plot"].args) == 18
    assert scripts["img2img", "soft inpainting"].always_on
    assert scripts["txt2img", "Hypertile"].always_on is None
    assert len(scripts) == 22


async def test_nothing_of_a_servers_disk_is_told() -> None:
    answers = {**recorded("lists"), **recorded("lists_filled"), **recorded("script_info")}
    known = await of_webui(webui(answers))
    assert "/srv/" not in known.model_dump_json()


@pytest.mark.parametrize("name", sorted({*recorded("lists"), "script-info", "options"}))
@pytest.mark.parametrize("nonsense", [None, 1, [1, None, {}], {"a": [1]}, [{"name": 7}], "words"])
async def test_a_list_that_makes_no_sense_harms_no_other(name: str, nonsense: JsonValue) -> None:
    answers = {**recorded("lists"), **recorded("script_info")}
    known = await of_webui(webui({**answers, name: nonsense}))
    whole = await of_webui(webui(answers))
    changed = {
        field
        for field in type(known).model_fields
        if getattr(known, field) != getattr(whole, field)
    }
    assert len(changed) <= 1
    Offer.model_validate_json(Offer(**dict(known), runtime="here").to_json())


async def test_lists_that_a_web_ui_does_not_have_are_not_known() -> None:
    known = await of_webui(webui({"sd-models": []}))
    assert known.models == ()
    assert (known.schedules, known.loras, known.scripts) == (None, None, None)


async def test_what_a_comfyui_lists_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    info = recorded_object_info()
    api = ComfyUIApi(RuntimeOptions(), "http://127.0.0.1:1")

    async def ask(method: str, path: str, **_: Any) -> dict[str, JsonValue]:
        assert method == "GET"
        if path == "/system_stats":
            return {"system": {"comfyui_version": "0.33.0"}}
        name = path.removeprefix("/object_info/")
        return {name: info[name]}

    monkeypatch.setattr(api, "_ask", ask)
    known = await of_comfyui(api)
    assert known.version == "0.33.0"
    assert known.models is not None
    assert len(known.models) == 1
    samplers = {sampler.name: sampler.aliases for sampler in known.samplers or ()}
    assert samplers["euler_ancestral"] == ("Euler a",)
    assert samplers["dpmpp_2m_sde_gpu"] == ()
    schedules = {schedule.name: schedule.aliases for schedule in known.schedules or ()}
    assert schedules["normal"] == ("Normal", "Uniform")
    assert "bislerp" in (known.latent_upscalers or ())
    assert known.sizes == OfferedSizes(smallest=16, largest=16384, multiple_of=8)
    assert len(Offer(**dict(known), runtime="here").to_json()) < LARGEST


def test_models_of_the_openai_dialect_are_told() -> None:
    listed: JsonValue = [{"id": "tiny", "object": "model"}, {"object": "model"}, 7]
    assert read_models({"object": "list", "data": listed}) == (OfferedModel(name="tiny"),)
    assert read_models({"data": None}) == ()


def test_capabilities_of_another_form_are_no_answer() -> None:
    with pytest.raises(Unavailable):
        read_capabilities({"models": "many"})
    assert read_capabilities({"a later field": 1}).models is None


class Pool:
    """Some served models, of which those that are given are loaded."""

    def __init__(self, **loaded: SteppingModel | None) -> None:
        self.names = tuple(loaded)
        self.find = loaded.get

    def state(self, name: str) -> str:
        return "unloaded" if self.find(name) is None else "loaded"


def of_bundled(loras: Path | None = None, **loaded: SteppingModel | None) -> Capabilities:
    pool = Pool(**loaded)
    options = Options(lora_dir=loras, control_nets={"edges": "a", "depth": "b"})
    return of_server(cast("ModelPool", pool), Names(pool.names), options)


def stepping(**options: object) -> SteppingModel:
    model = SteppingModel()
    for name, value in options.items():
        setattr(model, name, value)
    return model


def test_what_the_bundled_runtime_has_is_told(tmp_path: Path) -> None:
    for name in ("ink.safetensors", "b.safetensors", "notes.txt"):
        (tmp_path / name).touch()
    known = of_bundled(tmp_path, one=stepping(), two=None)
    assert known.models == (
        OfferedModel(name="one", loaded=True),
        OfferedModel(name="two", loaded=False),
    )
    assert known.loras == (OfferedLora(name="b"), OfferedLora(name="ink"))
    samplers = {sampler.name for sampler in known.samplers or ()}
    assert samplers >= {"Euler", "DPM++ 2M", "DDPMScheduler"}
    assert OfferedSchedule(name="Karras") in (known.schedules or ())
    assert known.sizes == OfferedSizes(smallest=64, largest=2048, multiple_of=8)
    assert of_bundled(tmp_path / "nowhere", one=None).loras == ()
    assert of_bundled(one=None).controls == ("depth", "edges")
    assert of_bundled(one=stepping(control_nets=["edges"])).controls == ("edges",)


def test_what_no_loaded_model_can_use_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "ink.safetensors").touch()
    fixed = stepping(takes_samplers=False, takes_loras=False)
    known = of_bundled(tmp_path, one=fixed)
    assert (known.samplers, known.schedules, known.loras) == ((), (), ())
    both = of_bundled(tmp_path, one=fixed, two=stepping())
    assert both.samplers
    assert both.loras
    assert of_bundled(tmp_path, one=None).samplers, "nobody knows before one is loaded"
