"""Portable jobs as ComfyUI workflows, without a server."""

import pytest
from pydantic import JsonValue

from queue_agent.wire.portable import Lora, parse_portable
from queue_agent_runtimes.comfyui.builder import (
    Ingredients,
    Recipe,
    build_generation,
    build_upscaling,
    split_lora_tags,
)
from queue_agent_runtimes.comfyui.names import match_file, match_upscaler
from queue_agent_runtimes.comfyui.workflow import Node, class_of, inputs_of, read_workflow

CHECKPOINT = "model.safetensors"


def generation(ingredients: Ingredients | None = None, **content: JsonValue) -> Recipe:
    recipe = build_generation(
        parse_portable(content), ingredients or Ingredients(checkpoint=CHECKPOINT, seed=7)
    )
    assert read_workflow({**recipe.graph}).graph == recipe.graph
    return recipe


def nodes_of(recipe: Recipe, class_type: str) -> list[Node]:
    return [node for node in recipe.graph.values() if class_of(node) == class_type]


def the_node(recipe: Recipe, class_type: str) -> dict[str, JsonValue]:
    (node,) = nodes_of(recipe, class_type)
    return inputs_of(node)


def source_of(recipe: Recipe, link: JsonValue) -> Node:
    assert isinstance(link, list)
    return recipe.graph[str(link[0])]


def test_every_field_reaches_its_node() -> None:
    recipe = generation(
        prompt="a cat",
        negative_prompt="a dog",
        steps=9,
        cfg_scale=3.5,
        sampler_name="DPM++ 2M Karras",
        width=640,
        height=384,
        batch_size=3,
    )
    sampler = the_node(recipe, "KSampler")
    assert [sampler[name] for name in ("seed", "steps", "cfg", "denoise")] == [7, 9, 3.5, 1.0]
    assert (sampler["sampler_name"], sampler["scheduler"]) == ("dpmpp_2m", "karras")
    assert inputs_of(source_of(recipe, sampler["positive"]))["text"] == "a cat"
    assert inputs_of(source_of(recipe, sampler["negative"]))["text"] == "a dog"
    assert the_node(recipe, "EmptyLatentImage") == {"width": 640, "height": 384, "batch_size": 3}
    assert the_node(recipe, "CheckpointLoaderSimple") == {"ckpt_name": CHECKPOINT}
    assert recipe.warnings == []


def test_batches_count_their_seeds_as_the_web_ui_does() -> None:
    recipe = generation(batch_size=4, n_iter=3)
    assert [inputs_of(node)["seed"] for node in nodes_of(recipe, "KSampler")] == [7, 11, 15]
    assert list(recipe.seeds.values()) == [7, 11, 15]
    assert len(nodes_of(recipe, "CheckpointLoaderSimple")) == 1


def test_seeds_beyond_64_bits_start_again() -> None:
    recipe = generation(Ingredients(checkpoint=CHECKPOINT, seed=2**64 - 1), n_iter=2)
    assert list(recipe.seeds.values()) == [2**64 - 1, 0]


def test_loras_form_a_chain() -> None:
    loras = (Lora(name="a.safetensors", weight=0.5), Lora(name="b.safetensors"))
    recipe = generation(Ingredients(checkpoint=CHECKPOINT, loras=loras))
    last = source_of(recipe, the_node(recipe, "KSampler")["model"])
    first = source_of(recipe, inputs_of(last)["model"])
    assert inputs_of(last)["lora_name"] == "b.safetensors"
    assert (inputs_of(first)["lora_name"], inputs_of(first)["strength_model"]) == (
        "a.safetensors",
        0.5,
    )
    assert class_of(source_of(recipe, inputs_of(first)["clip"])) == "CheckpointLoaderSimple"


def test_lora_tags_in_the_prompt_are_loras() -> None:
    content = parse_portable(
        {
            "prompt": "a cat <lora:ink:0.7>, big<lora:styles/paint>",
            "loras": [{"name": "first", "weight": 2}],
        }
    )
    prompt, loras = split_lora_tags(content)
    assert prompt == "a cat , big"
    assert [(lora.name, lora.weight) for lora in loras] == [
        ("first", 2.0),
        ("ink", 0.7),
        ("styles/paint", 1.0),
    ]


def test_an_init_image_is_scaled_encoded_and_denoised_in_part() -> None:
    recipe = generation(
        Ingredients(checkpoint=CHECKPOINT, init_image="a/1.png"),
        init_images=["x"],
        denoising_strength=0.4,
        width=256,
        height=128,
        batch_size=2,
    )
    sampler = the_node(recipe, "KSampler")
    assert sampler["denoise"] == 0.4
    assert class_of(source_of(recipe, sampler["latent_image"])) == "RepeatLatentBatch"
    scaled = source_of(recipe, the_node(recipe, "VAEEncode")["pixels"])
    assert (inputs_of(scaled)["width"], inputs_of(scaled)["height"]) == (256, 128)
    assert the_node(recipe, "LoadImage") == {"image": "a/1.png"}


def test_a_mask_limits_the_noise() -> None:
    recipe = generation(Ingredients(checkpoint=CHECKPOINT, init_image="a/1.png", mask="a/2.png"))
    latent = source_of(recipe, the_node(recipe, "KSampler")["latent_image"])
    assert class_of(latent) == "SetLatentNoiseMask"
    assert inputs_of(source_of(recipe, inputs_of(latent)["mask"]))["image"] == "a/2.png"


@pytest.mark.parametrize(
    ("content", "sampler", "scheduler", "warned"),
    [
        ({}, "euler", "normal", []),
        ({"sampler_name": "Restart"}, "euler", "normal", ["sampler_name"]),
        ({"scheduler": "Align Your Steps"}, "euler", "normal", ["scheduler"]),
        ({"sampler_name": "res_multistep"}, "res_multistep", "normal", []),
        ({"scheduler": "linear_quadratic"}, "euler", "linear_quadratic", []),
    ],
)
def test_a_sampler_that_comfyui_lacks_is_warned_of(
    content: dict[str, JsonValue], sampler: str, scheduler: str, warned: list[str]
) -> None:
    recipe = generation(None, **content)
    inputs = the_node(recipe, "KSampler")
    assert (inputs["sampler_name"], inputs["scheduler"]) == (sampler, scheduler)
    assert [warning.partition(":")[0] for warning in recipe.warnings] == warned


@pytest.mark.parametrize("upscaler", [None, "RealESRGAN_x4plus.pth"])
def test_upscaling_ends_at_the_size_asked_for(upscaler: str | None) -> None:
    content = parse_portable({"upscaling_resize": 3, "upscaler_1": "R-ESRGAN 4x+"})
    ingredients = Ingredients(upscaler=upscaler, image="a/1.png", image_size=(100, 50))
    recipe = build_upscaling(content, ingredients)
    scale = the_node(recipe, "ImageScale")
    assert (scale["width"], scale["height"]) == (300, 150)
    assert len(nodes_of(recipe, "ImageUpscaleWithModel")) == (1 if upscaler else 0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sd15.safetensors", "sd15.safetensors"),
        ("sd15", "sd15.safetensors"),
        ("SD15", "sd15.safetensors"),
        ("sd15.safetensors [6ce0161689]", "sd15.safetensors"),
        ("turbo", "xl/turbo.ckpt"),
        ("xl\\turbo.ckpt", "xl/turbo.ckpt"),
        ("sd1", None),
        ("v1.5", "v1.5.safetensors"),
    ],
)
def test_files_are_found_by_what_people_call_them(name: str, expected: str | None) -> None:
    files = ["xl/turbo.ckpt", "sd15.safetensors", "v1.5.safetensors"]
    assert match_file(name, files) == expected


def test_upscalers_are_found_by_the_web_uis_names() -> None:
    assert match_upscaler("R-ESRGAN 4x+", ["a.pth", "RealESRGAN_x4plus.pth"]) == (
        "RealESRGAN_x4plus.pth"
    )
    assert match_upscaler("4x-UltraSharp", ["4x-UltraSharp.pth"]) == "4x-UltraSharp.pth"
