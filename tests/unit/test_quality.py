"""How much steps may be sped up: one field, in the words of each door and each runtime."""

import pytest
from pydantic import JsonValue

from queue_agent.wire.errors import Rejected
from queue_agent.wire.job import Job
from queue_agent.wire.portable import parse_portable
from queue_agent.wire.quality import QUALITIES, parse_quality
from queue_agent.wire.work import work_of
from queue_agent.worker.forecast import kind_of
from queue_agent_runtimes.openai_images.fields import BUNDLED, COMMON, translate


def job_of(quality: JsonValue) -> Job:
    content = {"prompt": "a cat", "steps": 20, "quality": quality}
    metadata = {"id": "job-1", "tasktype": "text-to-image"}
    return Job.model_validate({"metadata": metadata, "content": content})


@pytest.mark.parametrize(
    ("word", "quality"),
    [
        *((quality, quality) for quality in QUALITIES),
        ("high", "exact"),
        ("hd", "exact"),
        ("medium", "balanced"),
        ("low", "fast"),
        ("auto", None),
        ("standard", None),
        ("", None),
        (None, None),
    ],
)
def test_openais_words_for_a_quality_are_understood(word: object, quality: object) -> None:
    assert parse_quality(word) == quality


@pytest.mark.parametrize("word", ["best", "Fast", 90, True, ["fast"], {}])
def test_any_other_quality_is_refused_with_those_there_are(word: object) -> None:
    with pytest.raises(ValueError, match="must be exact, balanced or fast"):
        parse_quality(word)


@pytest.mark.parametrize("word", ["fast", "low", "exact"])
def test_the_bundled_runtime_is_asked_for_a_quality(word: str) -> None:
    request, warnings = translate({"quality": word}, "text-to-image", BUNDLED)
    assert request["quality"] == word
    assert warnings == []


def test_a_quality_that_the_bundled_runtime_has_not_is_refused_before_it_is_asked() -> None:
    with pytest.raises(Rejected, match="quality: must be exact, balanced or fast") as refused:
        translate({"quality": "best"}, "text-to-image", BUNDLED)
    assert refused.value.type == "invalid_content"


@pytest.mark.parametrize(
    ("word", "sent", "warnings"),
    [
        ("exact", {}, []),
        ("balanced", {}, ["quality: the server computes each step; ignored."]),
        ("low", {"quality": "low"}, []),
    ],
)
def test_other_servers_of_the_dialect_are_asked_in_their_own_words(
    word: str, sent: dict[str, JsonValue], warnings: list[str]
) -> None:
    request, told = translate({"quality": word}, "text-to-image", COMMON)
    assert {name: value for name, value in request.items() if name == "quality"} == sent
    assert told == warnings


@pytest.mark.parametrize(("word", "unknown"), [("fast", ["quality"]), ("exact", [])])
def test_runtimes_that_know_no_quality_do_all_exactly(word: str, unknown: list[str]) -> None:
    assert parse_portable({"prompt": "a cat", "quality": word}).unknown_fields == unknown


def test_what_jobs_of_a_quality_take_says_nothing_of_others() -> None:
    kinds = {work_of(job_of(quality)).kind for quality in QUALITIES}
    assert kinds == {"text-to-image", "text-to-image balanced", "text-to-image fast"}
    assert work_of(job_of("low")).kind == "text-to-image fast"
    assert work_of(job_of(90)).kind == "text-to-image"
    assert len({kind_of(job_of(quality)) for quality in QUALITIES}) == len(QUALITIES)
