"""Which images in the Web UI's reports of its progress are those of the run under way."""

import base64
from typing import Any

import pytest

from queue_agent.testing import sample_png
from queue_agent_runtimes.webui.previews import SETTLING_SECONDS, LivePreviews

FIRST, SECOND = sample_png(16, 16), sample_png(16, 8)


def by_task(image: bytes | None, number: int) -> dict[str, Any]:
    """As `/internal/progress` tells."""
    text = None if image is None else f"data:image/png;base64,{base64.b64encode(image).decode()}"
    return {"active": True, "progress": 0.5, "live_preview": text, "id_live_preview": number}


def of_all(image: bytes | None) -> dict[str, Any]:
    """As `/sdapi/v1/progress` tells."""
    text = None if image is None else base64.b64encode(image).decode()
    return {"progress": 0.5, "state": {"job_count": 1}, "current_image": text}


def test_each_image_is_taken_once_and_asked_for_by_its_number() -> None:
    previews = LivePreviews()
    assert previews.last_id == -1
    assert previews.take(by_task(None, -1), 0.0) is None
    assert previews.take(by_task(FIRST, 1), 2.0) == FIRST
    assert previews.last_id == 1
    assert previews.take(by_task(None, 1), 2.5) is None
    assert previews.take(by_task(SECOND, 2), 3.0) == SECOND
    assert previews.last_id == 2


def test_servers_that_know_no_tasks_send_the_same_image_again_and_again() -> None:
    previews = LivePreviews()
    reports = [of_all(None), of_all(FIRST), of_all(FIRST), of_all(SECOND)]
    taken = [previews.take(report, 2.0 * moment) for moment, report in enumerate(reports)]
    assert taken == [None, FIRST, None, SECOND]


@pytest.mark.parametrize("report", [by_task(FIRST, 1), of_all(FIRST)])
def test_an_image_that_is_there_when_the_run_begins_may_be_of_the_run_before(
    report: dict[str, Any],
) -> None:
    previews = LivePreviews()
    assert previews.take(report, 5.0) is None
    assert previews.take(report, 5.0 + 2 * SETTLING_SECONDS) is None, "nor is it later"
    late = LivePreviews()
    assert late.take(by_task(None, -1), 5.0) is None
    assert late.take(report, 5.0 + SETTLING_SECONDS / 2) is None, "drawn when the other ended"


@pytest.mark.parametrize("image", [7, "", "not base64!", "data:image/png;base64,&&", ["x"], {}])
def test_what_is_no_image_is_not_taken(image: Any) -> None:
    previews = LivePreviews()
    previews.take(by_task(None, -1), 0.0)
    taken = previews.take({"live_preview": image, "id_live_preview": image}, 9.0)
    assert not taken
