"""Cards of jobs of every kind, in a real browser."""

import re
from datetime import datetime
from pathlib import Path
from typing import Final

import pytest

import queue_agent
import queue_agent_runtimes
from page_visit import Seen, visit_exhibition

SIZES: Final = ("desktop", "phone")
REASONS: Final = Path(queue_agent.__path__[0]) / "gateway" / "static" / "reasons.js"
ERRORS: Final = re.compile(
    r"(?:Rejected|Malformed|Unavailable|TimedOut|QueueAgentError|Runtime\w+|RunLost|JobExpired)\("
    r'[^()]*(?:\([^()]*\)[^()]*)*\btype="([a-z_]+)"|default_type = "([a-z_]+)"'
)
NO_FAILURES: Final = {
    "cancelled",
    "creates",
    "moved_on_demand",
    "no_job",
    "too_many_malformed",
    "too_many_writers",
}
"""Types of errors that no job of a gateway ends with."""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return visit_exhibition("cards", tmp_path_factory.mktemp("cards"))


@pytest.mark.parametrize("size", SIZES)
def test_all_images_of_a_job_are_seen_and_none_is_cut(seen: Seen, size: str) -> None:
    assert seen[size]["hills"] == 12
    assert seen[size]["cut"] == 0
    assert seen[size]["heron"] == [512, 768]
    assert seen[size]["heronBox"] == [True, "contain"]


@pytest.mark.parametrize("size", SIZES)
def test_the_work_under_way_is_shown_with_its_step_or_stage(seen: Seen, size: str) -> None:
    assert seen[size]["preview"] == [96, 96]
    assert seen[size]["step"] == "Running, 42 % · step 21 of 50"
    assert seen[size]["stage"] == "Fetching model dreamy.safetensors, 42 %"


@pytest.mark.parametrize("size", SIZES)
def test_films_and_sound_play_and_other_files_are_downloaded(seen: Seen, size: str) -> None:
    assert seen[size]["film"] == [96, True]
    assert seen[size]["posters"] == 1, "the film with its poster, and no picture beside it"
    assert seen[size]["sound"] == [2, True]
    assert seen[size]["mixed"] == 2
    assert seen[size]["file"] == "a-lamp-to-turn-about.glb"


@pytest.mark.parametrize("size", SIZES)
def test_a_heavy_film_is_fetched_only_if_it_is_wanted(seen: Seen, size: str) -> None:
    assert seen[size]["heavy"] == 0
    assert seen[size]["heavyPoster"] == [False, True]


@pytest.mark.parametrize("size", SIZES)
def test_a_file_that_is_gone_is_said_to_be(seen: Seen, size: str) -> None:
    assert seen[size]["lost"] == "This file cannot be loaded."


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_wider_than_the_window(seen: Seen, size: str) -> None:
    assert seen[size]["overflow"] <= 0


def test_a_card_tells_when_where_and_for_how_long(seen: Seen) -> None:
    words, exactly, machine = seen["time"]
    assert re.fullmatch(r"\d+ minutes ago", words)
    assert exactly
    assert datetime.fromisoformat(machine).tzinfo is not None
    assert seen["runtime"] == "comfyruntime"
    assert seen["took"] == "13 s"
    assert seen["tookWhole"] == "waited 3.2 s, prepared 0.4 s, ran 13 s, stored 0.3 s"


def test_the_id_can_be_taken_along(seen: Seen) -> None:
    assert seen["copied"] == "page.heron"


def test_warnings_are_shown(seen: Seen) -> None:
    assert len(seen["warnings"]) == 2
    assert seen["warnings"][1] == "tiling: not honoured."


def test_reasons_are_told_in_words_with_those_of_the_other_side(seen: Seen) -> None:
    sentence, message, hint = seen["a very large city"]
    assert sentence == "There was not enough memory: try smaller or fewer images."
    assert "CUDA out of memory" in message
    assert hint == "The same again may succeed."
    assert seen["a face"][0] == "There is no model of that name."
    assert seen["an odd failure"] == ["The job failed.", "The plugin said no."]
    assert seen["a late train"][0] == "Nobody began with it in time."
    assert seen["cancelled"] == "Cancelled"


def test_every_type_of_error_has_its_sentence() -> None:
    runtimes = Path(queue_agent_runtimes.__path__[0])
    folders = [*(Path(path) for path in queue_agent.__path__), runtimes]
    folders.append(runtimes.with_name("queue_agent_diffusers"))
    types: set[str] = set()
    for file in (file for folder in folders for file in folder.rglob("*.py")):
        if {"gateway", "cli", "testing", "settings"}.isdisjoint(file.parts):
            types |= {a or b for a, b in ERRORS.findall(file.read_text())}
    assert len(types) > 30, "the pattern finds them"
    told = set(re.findall(r'"([a-z_]+)"', REASONS.read_text()))
    assert types - told - NO_FAILURES == set()


def test_jobs_are_found_by_words_id_state_and_runtime(seen: Seen) -> None:
    assert seen["byWords"] == ["a tall heron in the reeds <lora:ink:0.8>"]
    assert seen["byId"] == ["rain on a roof"]
    assert seen["none"] == []
    assert seen["failed"][-1] == "a late train"
    assert seen["comfy"] == ["a miner", "a moving lamp", "rain on a roof"]


def test_a_job_is_found_among_many_that_are_not_shown(seen: Seen) -> None:
    assert seen["amongMany"] == ["study 299"]


def test_all_open_jobs_are_cancelled_if_that_is_meant(seen: Seen) -> None:
    assert seen["question"] == "Cancel all 3 of your open jobs, 2 of which are being worked on?"
    assert seen["kept"] == 0
    assert seen["hiddenWithoutOpen"] is True
    assert seen["told"] == "3 cancelled"


def test_of_hundreds_of_cards_only_those_near_hold_their_images(seen: Seen) -> None:
    assert seen["crowd"] == 300
    assert 0 < seen["loadedAtTop"] < 40
    assert 0 < seen["loadedAtEnd"] < 40


def test_of_dozens_of_open_jobs_some_are_followed_and_all_are_heard_of(seen: Seen) -> None:
    assert seen["followed"] == 32
    assert seen["unfollowed"] == [f"busy.turn-{turn}" for turn in range(15, 7, -1)], "no oldest one"
    assert seen["heardOf"] == 2


def test_nothing_is_asked_of_other_hosts_and_no_card_breaks(seen: Seen) -> None:
    assert seen["outside"] == []
    assert seen["complaints"] == []
