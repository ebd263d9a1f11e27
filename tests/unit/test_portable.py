"""The portable form of a job's content."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from queue_agent.runtime import Asset
from queue_agent.runtime.images import image_bytes
from queue_agent.wire.errors import Rejected
from queue_agent.wire.portable import parse_portable

URL = "https://images.example.com/cat.png"


def test_what_is_left_out_is_what_the_web_ui_assumes() -> None:
    content = parse_portable({})
    assert (content.steps, content.cfg_scale, content.seed) == (50, 7.0, -1)
    assert (content.width, content.height, content.image_count) == (512, 512, 1)
    assert content.strength == 0.75
    assert content.checkpoint is None


def test_null_counts_as_absent() -> None:
    content = parse_portable({"seed": None, "negative_prompt": None, "loras": None})
    assert (content.seed, content.negative_prompt, content.loras) == (-1, "", [])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"steps": 0}, "steps: Input should be greater than or equal to 1"),
        ({"steps": "many"}, "steps: Input should be a valid integer"),
        ({"width": 500}, "width: Input should be a multiple of 8"),
        ({"height": 100_000}, "height: Input should be less than or equal to 16384"),
        ({"cfg_scale": -1}, "cfg_scale: Input should be greater than or equal to 0"),
        ({"seed": -2}, "seed: Input should be greater than or equal to -1"),
        ({"seed": 2**64}, "seed: Input should be less than or equal to"),
        ({"batch_size": 0}, "batch_size: Input should be greater than or equal to 1"),
        ({"denoising_strength": 1.5}, "denoising_strength: Input should be less than"),
        ({"prompt": ["a"]}, "prompt: Input should be a valid string"),
        ({"init_images": "a"}, "init_images: Input should be a valid list"),
        ({"init_images": [""]}, "init_images.0: String should have at least 1 character"),
        ({"loras": [{"weight": 1}]}, "loras.0.name: Field required"),
        ({"loras": [{"name": "ink", "wieght": 1}]}, "loras.0.wieght: Extra inputs"),
        ({"override_settings": []}, "override_settings: Input should be"),
    ],
)
def test_a_faulty_field_is_named(content: dict[str, JsonValue], words: str) -> None:
    with pytest.raises(Rejected) as caught:
        parse_portable(content)
    assert words in caught.value.message
    assert caught.value.type == "invalid_content"


def test_all_faulty_fields_are_named_at_once() -> None:
    with pytest.raises(Rejected, match=r"steps: .*; width: "):
        parse_portable({"steps": 0, "width": 1})


def test_the_checkpoint_may_be_named_in_two_places() -> None:
    settings: JsonValue = {"sd_model_checkpoint": "older"}
    assert parse_portable({"override_settings": settings}).checkpoint == "older"
    assert parse_portable({"model": "newer", "override_settings": settings}).checkpoint == "newer"
    assert parse_portable({"override_settings": {"sd_model_checkpoint": ""}}).checkpoint is None


def test_unknown_fields_are_those_that_ask_for_something() -> None:
    content = parse_portable(
        {
            "tiling": True,
            "alwayson_scripts": {},
            "script_args": [],
            "restore_faces": False,
            "resize_mode": 0,
            "upscaler_2": "None",
            "upscaling_crop": True,
            "send_images": True,
            "hr_scale": 2,
            "override_settings_restore_afterwards": False,
            "override_settings": {"sd_model_checkpoint": "m", "CLIP_stop_at_last_layers": 2},
        }
    )
    assert content.unknown_fields == [
        "hr_scale",
        "override_settings.CLIP_stop_at_last_layers",
        "tiling",
    ]


def test_fields_of_a_second_pass_that_is_not_wanted_ask_for_nothing() -> None:
    fields: JsonValue = {"hr_scale": 2, "hr_upscaler": "Latent", "firstphase_width": 64}
    assert isinstance(fields, dict)
    assert parse_portable({"enable_hr": False, **fields}).unknown_fields == []
    asked = parse_portable({"enable_hr": True, **fields}).unknown_fields
    assert asked == sorted(["enable_hr", *fields])


def test_the_samplers_former_name_is_taken_where_the_present_one_is_not_there() -> None:
    assert parse_portable({"sampler_index": "Euler a"}).sampler_name == "Euler a"
    both = parse_portable({"sampler_index": "Euler", "sampler_name": "Heun"})
    assert (both.sampler_name, both.unknown_fields) == ("Heun", [])
    assert parse_portable({"sampler_index": None}).sampler_name is None


def test_a_known_field_turned_off_against_its_default_asks_for_something() -> None:
    assert parse_portable({"inpaint_full_res": 8}).unknown_fields == ["inpaint_full_res"]


@given(st.binary())
def test_images_are_decoded_from_base64_and_data_urls(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    assert image_bytes(text, {}, field="image") == data
    assert image_bytes(f"data:image/png;base64,{text}", {}, field="image") == data


def test_an_image_behind_a_url_is_its_asset() -> None:
    assert image_bytes(URL, {URL: Asset(b"cat", "image/png")}, field="image") == b"cat"


@pytest.mark.parametrize("value", [URL, "no base64!", "data:image/png;base64,%%%"])
def test_an_image_that_is_neither_asset_nor_base64_is_rejected(value: str) -> None:
    with pytest.raises(Rejected, match=r"init_images\.0: neither"):
        image_bytes(value, {}, field="init_images.0")
