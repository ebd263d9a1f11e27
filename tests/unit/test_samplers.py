"""Sampler and schedule names between the three worlds."""

from pathlib import Path

import pytest

from queue_agent.wire.samplers import (
    DEFAULT_SAMPLER,
    SAMPLERS,
    SCHEDULES,
    as_markdown,
    choose,
    find_sampler,
    find_schedule,
)

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "samplers.md"


def test_the_docs_show_the_table_as_it_is() -> None:
    assert PAGE.read_text() == as_markdown(), "run: python -m queue_agent.wire.samplers > " + str(
        PAGE
    )


@pytest.mark.parametrize(
    "name", ["DPM++ 2M", "dpm++ 2m", "dpmpp_2m", "DPMSolverMultistepScheduler"]
)
def test_a_sampler_is_found_by_its_name_in_any_world(name: str) -> None:
    sampler = find_sampler(name)
    assert sampler is not None
    assert sampler.webui == "DPM++ 2M"


@pytest.mark.parametrize("name", ["SGM Uniform", "SGMUniform", "sgm_uniform"])
def test_a_schedule_is_found_however_it_is_spelled(name: str) -> None:
    schedule = find_schedule(name)
    assert schedule is not None
    assert schedule.webui == "SGM Uniform"


def test_every_name_leads_back_to_a_row_with_that_name() -> None:
    for sampler in SAMPLERS:
        for name in filter(None, (sampler.webui, sampler.comfyui)):
            assert find_sampler(name) is sampler
    for schedule in SCHEDULES:
        assert find_schedule(schedule.webui) is schedule


@pytest.mark.parametrize(
    ("sampler_name", "scheduler", "expected"),
    [
        (None, None, ("Euler", None)),
        ("Euler a", None, ("Euler a", None)),
        ("Euler a", "Karras", ("Euler a", "Karras")),
        ("DPM++ 2M", None, ("DPM++ 2M", "Karras")),
        ("DPM++ 2M", "Automatic", ("DPM++ 2M", "Karras")),
        ("DPM++ 2M", "Simple", ("DPM++ 2M", "Simple")),
        ("DPM++ 2M SDE Heun Karras", None, ("DPM++ 2M SDE Heun", "Karras")),
        ("DPM++ 2M Karras", "Beta", ("DPM++ 2M", "Beta")),
        ("DPM++ 3M SDE", None, ("DPM++ 3M SDE", "Exponential")),
    ],
)
def test_the_two_fields_are_read_as_the_web_ui_reads_them(
    sampler_name: str | None, scheduler: str | None, expected: tuple[str, str | None]
) -> None:
    choice = choose(sampler_name, scheduler)
    assert choice.sampler is not None
    schedule = choice.schedule.webui if choice.schedule else None
    assert (choice.sampler.webui, schedule) == expected


def test_names_outside_the_table_are_said_to_be_so() -> None:
    choice = choose("res_multistep", "linear_quadratic")
    assert choice.sampler is None
    assert choice.schedule is None
    assert choice.unknown_schedule == "linear_quadratic"


def test_without_a_name_the_sampler_is_that_of_the_web_uis_api() -> None:
    assert choose(None, None).sampler is DEFAULT_SAMPLER
    assert DEFAULT_SAMPLER.webui == "Euler"
