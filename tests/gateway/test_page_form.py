"""What the page asks for jobs by, in a real browser."""

import re
from typing import Final

import pytest

from gateway_site import Site
from page_visit import Seen, visit

LONG: Final = f"a very long walk along the sea, {'and on, ' * 600}home"


@pytest.fixture(scope="module")
def seen(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return visit(site, "form", tmp_path_factory.mktemp("form"))


def test_a_key_is_asked_for_before_everything_else(seen: Seen) -> None:
    assert seen["key"] == {"page": False, "focus": "key"}
    assert seen["wrongKey"] == {
        "page": False,
        "focus": "key",
        "words": "The gateway does not know this key, or it was revoked.",
        "invalid": "true",
    }
    assert seen["rightKey"] == {"asked": False, "focus": "prompt"}


def test_a_key_that_is_revoked_meanwhile_costs_nothing_that_was_written(seen: Seen) -> None:
    assert seen["unsent"] == "unsent"


def test_what_the_fields_say_is_what_the_job_asks_for(seen: Seen, site: Site) -> None:
    content = dict(seen["sent"]["content"])
    assert content.pop("model"), "one of the runtime's"
    assert content.pop("scheduler").lower() == "karras"
    (lora,) = content.pop("loras")
    assert lora["name"]
    assert lora["weight"] == 0.75
    assert content == {
        "prompt": "a heron in the reeds", "negative_prompt": "fog", "width": 768, "height": 512,
        "steps": 3, "cfg_scale": 6.25, "sampler_name": "DPM++ 2M", "seed": 4294967295,
        "batch_size": 2,
    }  # fmt: skip
    assert seen["sent"]["metadata"]["runtime"] == site.deployment.runtime_name


def test_what_a_job_would_take_is_told_before_it_is_asked_for(seen: Seen) -> None:
    told = seen["expected"]
    assert re.fullmatch(
        r"(About|Perhaps) [\d.]+ (s|min) on the GPU, done in [\d.]+ (s|min) "
        r"\([\d.]+ (s|min) to [\d.]+ (s|min)\)",
        told["words"],
    )
    assert told["asked"]["steps"] == 7
    assert told["asked"]["prompt"] == "a", "which costs nothing, whatever it says"
    assert told["jobs"] == 0


def test_a_size_is_chosen_and_swapped(seen: Seen) -> None:
    assert seen["swapped"] == ["768", "512", "768x512"]


def test_what_is_wrong_is_said_beside_its_field(seen: Seen) -> None:
    assert seen["faults"] == {
        "Width": ["width", "true", "Width: Multiples of 8 only, such as 504."],
        "Height": ["height", "true", "Height: At least 16."],
        "Steps": ["steps", "true", "At least 1."],
        "Seed": ["seed", "true", "Whole numbers only."],
        "Prompt": ["prompt", "true", "This is needed."],
        "other": 'This is no object in JSON, such as {"restore_faces": true}.',
    }
    assert seen["sentFaulty"] == 0


def test_again_and_a_variation_ask_for_all_that_the_job_asked_for(seen: Seen) -> None:
    asked = seen["long"]["content"]
    assert (asked["prompt"], asked["tiling"]) == (LONG, True)
    assert seen["again"]["content"] == asked
    seed = seen["variation"]["content"]["seed"]
    assert seed >= 0
    assert seen["variation"]["content"] == {**asked, "seed": seed}
    for request in (seen["again"], seen["variation"]):
        assert request["metadata"]["runtime"] == seen["long"]["metadata"]["runtime"]


def test_settings_used_once_more_are_those_of_the_job(seen: Seen) -> None:
    assert seen["used"] == seen["sent"]
    seed = int(seen["usedSeed"])
    assert seed >= 0, "the one that made its image"
    assert seen["usedLong"]["content"] == {**seen["long"]["content"], "seed": seed}
    assert seen["asked"]["content"] == seen["usedLong"]["content"]


def test_a_phone_shows_all_of_it_with_enough_contrast(seen: Seen) -> None:
    assert seen["phone"] == {"contrast": [], "overflow": 0, "faultAfterSwap": False, "height": 64}


def test_nothing_of_the_form_breaks_or_is_asked_of_other_hosts(seen: Seen) -> None:
    assert seen["outside"] == []
    assert seen["complaints"] == []
