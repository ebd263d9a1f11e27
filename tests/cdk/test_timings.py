"""Everything that depends on how long a job takes follows from `job_seconds`, in one place."""

from typing import Any

import pytest
from image_service.config import RuntimeConfig
from image_service.timings import RuntimeTimes
from pydantic import ValidationError

DAY = 86_400
ON_DEMAND = {"karpenter": {"capacityTypes": ["on-demand"]}}
SELECTED = {"pod": {"nodeSelector": {"karpenter.sh/capacity-type": "on-demand"}}}


def runtime(**fields: Any) -> RuntimeConfig:
    return RuntimeConfig.model_validate(
        {"name": "a", "preset": "webui", "image": {"repository": "webui"}, **fields}
    )


def grace(seconds: int) -> dict[str, Any]:
    return {"agent": {"shutdownGrace": seconds}}


def run_timeout(seconds: object) -> dict[str, Any]:
    return {"agent": {"settings": {"runTimeout": seconds}}}


def by_type(*entries: str) -> dict[str, Any]:
    return {**ON_DEMAND, "agent": {"settings": {"runTimeouts": list(entries)}}}


@pytest.mark.parametrize(
    ("job_seconds", "values", "expected"),
    [
        (1, {}, RuntimeTimes(50, 900, 60, 10 * DAY)),
        (40, {}, RuntimeTimes(80, 900, 80, 10 * DAY)),
        (600, {}, RuntimeTimes(100, 1_800, 1_200, 10 * DAY)),
        (600, ON_DEMAND, RuntimeTimes(1_200, 1_800, 1_200, 10 * DAY)),
        (600, SELECTED, RuntimeTimes(1_200, 1_800, 1_200, 10 * DAY)),
        (600, {"pod": {"stopSeconds": 30}}, RuntimeTimes(80, 1_800, 1_200, 10 * DAY)),
        (3_600, ON_DEMAND, RuntimeTimes(3_590, 10_800, 7_200, 10 * DAY)),
        (21_600, {}, RuntimeTimes(100, 41_400, 43_200, 10 * DAY)),
        (10, by_type("a=60", "b=3600"), RuntimeTimes(2_400, 900, 2_400, 10 * DAY)),
        (2_000, by_type("b=3600.5"), RuntimeTimes(3_590, 6_000, 4_000, 10 * DAY)),
        (10, by_type("b=300"), RuntimeTimes(50, 900, 60, 10 * DAY)),
    ],
)
def test_a_jobs_length_decides(
    job_seconds: int, values: dict[str, Any], expected: RuntimeTimes
) -> None:
    assert runtime(job_seconds=job_seconds, values=values).timings == expected


def test_a_queue_keeps_a_job_for_all_attempts_at_the_longest_kind_of_job() -> None:
    found = runtime(job_seconds=30, max_receives=14, values=by_type("a=41400")).timings
    assert found.retention == 14 * (41_400 + found.visibility)


def test_a_queue_keeps_a_job_for_all_attempts_at_it() -> None:
    found = runtime(job_seconds=21_600, max_receives=12).timings
    assert found.retention == 12 * (found.run_timeout + found.visibility)
    assert 10 * DAY < found.retention < 13 * DAY


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"visibility_seconds": 45}, RuntimeTimes(60, 900, 45, 10 * DAY)),
        ({"retention_days": 2}, RuntimeTimes(60, 900, 60, 2 * DAY)),
        ({"values": grace(20)}, RuntimeTimes(20, 900, 60, 10 * DAY)),
        ({"values": run_timeout(60)}, RuntimeTimes(60, 60, 60, 10 * DAY)),
    ],
)
def test_what_the_operator_says_wins(fields: dict[str, Any], expected: RuntimeTimes) -> None:
    assert runtime(job_seconds=30, **fields).timings == expected


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"job_seconds": 90, "values": run_timeout(60)}, "60 s end the usual job"),
        ({"values": run_timeout(43_000)}, "hold a message for longer than 12 hours"),
        ({"values": run_timeout("long")}, "runTimeout: 'long' is no whole number of seconds"),
        ({"values": by_type("a=43000")}, "runTimeouts: at most 41400 s"),
        ({"values": by_type("a=long")}, "runTimeouts: must be TASK_TYPE=SECONDS"),
        ({"values": grace(300)}, "gone two minutes after the notice, so at most 100 s"),
        (
            {"values": {**ON_DEMAND, **grace(4_000)}},
            "longer than values.karpenter.terminationGracePeriod leaves",
        ),
        ({"retention_days": 14}, "retention_days: at most 13, because dead letters"),
        (
            {"job_seconds": 21_600, "max_receives": 5, "retention_days": 2},
            "max_receives: 5 attempts of up to 41400 s each take longer than the 2 days",
        ),
        ({"job_seconds": 21_600, "max_receives": 100}, "longer than the 13 days"),
    ],
)
def test_what_cannot_be_meant_together_is_refused_in_words(
    fields: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValidationError, match=told):
        runtime(**fields)


def test_longer_than_usual_graces_are_allowed_where_karpenter_waits_for_them() -> None:
    values = {"karpenter": {"capacityTypes": ["on-demand"], "terminationGracePeriod": "3h"}}
    assert runtime(job_seconds=3_600, values=values).timings.shutdown_grace == 7_200
