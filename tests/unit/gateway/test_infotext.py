"""The text that the Web UI writes into images is read as the Web UI reads it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queue_agent.gateway.compatibility.webui.infotext import parse_infotext

SETTINGS = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x768"


def test_prompts_may_have_several_lines() -> None:
    read = parse_infotext(f"one\ntwo\nNegative prompt: three\nfour\n{SETTINGS}")
    assert (read["Prompt"], read["Negative prompt"]) == ("one\ntwo", "three\nfour")
    assert (read["Steps"], read["Sampler"]) == ("20", "Euler a")
    assert (read["Size-1"], read["Size-2"]) == ("512", "768")


def test_values_in_quotes_may_hold_commas_and_quotes() -> None:
    quoted = r'"a \"b\", c\nSteps: 3"'
    read = parse_infotext(f"one\n{SETTINGS}, Hires prompt: {quoted}, Version: v1.10.1")
    assert read["Hires prompt"] == 'a "b", c\nSteps: 3'
    assert (read["Version"], read["Steps"]) == ("v1.10.1", "20")
    assert parse_infotext(f'one\n{SETTINGS}, Model: "open, Version: 2')["Model"] == '"open'


@pytest.mark.parametrize("text", ["", "a lighthouse", "a: b, cc: d", "ratio: 2, three"])
def test_a_text_without_settings_is_a_prompt(text: str) -> None:
    read = parse_infotext(text)
    assert read["Prompt"] == text
    assert read["Clip skip"] == "1"
    assert "ratio" not in read


@given(st.text(alphabet='a1 :,"\\\n-/x絵', max_size=400))
def test_any_text_can_be_read(text: str) -> None:
    assert isinstance(parse_infotext(text)["Prompt"], str)


@pytest.mark.parametrize("part", ["a", " ", 'k: "', "ab:", "\\", 'x1: "\\"', "a b-", "\n"])
def test_reading_takes_no_more_of_a_long_text_than_its_beginning(part: str) -> None:
    read = parse_infotext(part * 3_000_000)
    assert sum(len(str(value)) for value in read.values()) < 100_000
