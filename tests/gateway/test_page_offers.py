"""What the page's form has by what runtimes tell of themselves, in a real browser."""

import base64
import json
from typing import Final

import pytest

from gateway_site import Site
from page_visit import Seen, visit

DOT: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
URL: Final = f"data:image/png;base64,{base64.b64encode(DOT).decode()}"


@pytest.fixture(scope="module")
def seen(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    dot = base64.b64encode(DOT).decode()
    return visit(site, "offers", tmp_path_factory.mktemp("offers"), DOT=dot)


def test_what_operators_have_paused_is_said_where_the_runtime_is_chosen(seen: Seen) -> None:
    assert seen["paused"] == "Paused, and jobs wait. silent: the runtime (new nodes)"


def test_a_workflow_is_asked_for_by_its_inputs(seen: Seen) -> None:
    assert seen["hint"] == "Gives a picture another style"
    assert seen["portable"] is False
    assert seen["missing"] == ["This is needed.", "input-start", 0]
    assert seen["sent"]["metadata"]["tasktype"] == "pipeline"
    assert json.loads(seen["text"])["content"] == {
        "workflow": "restyle",
        "inputs": {
            "prompt": "as a woodcut", "seed": 1152921504606846977, "tiled": True, "start": URL,
            "sound": "https://example.com/rain.ogg",
        },
    }  # fmt: skip


def test_a_file_of_a_workflow_is_uploaded_used_once_more_and_taken_back(seen: Seen) -> None:
    assert seen["addressField"] is True
    assert seen["used"] == ["restyle", "1152921504606846977", "of that job"]
    assert seen["sentAgain"] == seen["text"]
    assert seen["byAddress"]["start"] == "s3://images/inputs/cat.png"


def test_a_variation_of_a_workflow_has_another_seed_and_nothing_else(seen: Seen) -> None:
    inputs = json.loads(seen["text"])["content"]["inputs"]
    assert seen["variation"].pop("seed") != inputs.pop("seed")
    assert seen["variation"] == inputs


def test_a_graph_of_ones_own_is_sent_as_json_with_exact_numbers(seen: Seen) -> None:
    assert seen["noJson"].startswith("This is no object in JSON")
    node = {"class_type": "KSampler", "inputs": {"seed": 2**64 - 1}}
    assert json.loads(seen["graph"])["content"] == {"1": node}
    tasktype, content = seen["usedGraph"]
    assert (tasktype, json.loads(content)) == ("pipeline", {"1": node})


def test_lists_are_those_of_the_runtime_and_any_text_will_do_without(seen: Seen) -> None:
    bounded, silent, shortened = (
        seen["kinds"][name] for name in ("bounded", "silent", "shortened")
    )
    assert bounded["model"][0] == "SELECT"
    assert (bounded["workflow"], bounded["scheduler"], bounded["loras-part"]) == (None, None, None)
    assert silent["model"] == silent["sampler_name"] == ["INPUT", 0]
    assert silent["loras-part"] is not None
    assert shortened["model"] == ["INPUT", 2], "suggestions"
    assert shortened["sampler_name"][0] == "SELECT"


def test_models_that_need_not_be_loaded_first_are_marked(seen: Seen) -> None:
    assert seen["loaded"] == 1


def test_what_was_written_is_kept_when_the_runtime_changes(seen: Seen) -> None:
    assert seen["kept"] == "a model of mine"
    assert seen["unlisted"] == ["a model of mine", "a model of mine (not in the runtime's list)"]


def test_sizes_are_within_the_runtimes_bounds(seen: Seen) -> None:
    assert seen["sizes"] == [
        "Width: At least 256.", "Width: At most 1024.",
        "Width: Multiples of 64 only, such as 512.",
    ]  # fmt: skip
    assert "1024x1024" in seen["presets"]
    assert "1216x832" not in seen["presets"]
    assert seen["sizeHint"] == "Multiples of 64, from 256 to 1024 pixels"


def test_what_the_gateway_refuses_of_a_field_stands_beside_it(seen: Seen) -> None:
    words, focus, elsewhere = seen["refused"]
    assert "'bounded' is none of" in words
    assert (focus, elsewhere) == ("runtime", False)
    assert seen["mended"] is False


def test_nothing_of_it_breaks_or_is_asked_of_other_hosts(seen: Seen) -> None:
    assert seen["outside"] == []
    assert seen["complaints"] == []
