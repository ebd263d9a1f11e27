"""The policy that the documents give for `queue-agent setup` allows what it asks for, no more."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from botocore import xform_name

from queue_agent.cloud.aws.refusals import refusal_of

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = ("making_queues", "making_buckets", "setting_up", "wiring")
NO_CALLS_OF_SETUP: Final = {"s3:GetBucketNotification"}
"""`wiring` looks at buckets for `check`, too."""


def test_the_policy_names_each_right_that_a_call_needs() -> None:
    assert allowed() == set(needed())


def test_a_refusal_names_the_right_that_is_missing() -> None:
    for service, operation in calls():
        refusal = refusal_of("AccessDenied", "no", operation=operation, status=403)
        assert refusal is not None
        assert f"{service}:" in refusal.remedy, operation


def allowed() -> set[str]:
    page = (ROOT / "docs/deploying.md").read_text()
    section = page.split("### Without the CDK app")[1].split("\n## ")[0]
    (block,) = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
    return {action for one in json.loads(block)["Statement"] for action in one["Action"]}


def needed() -> Iterator[str]:
    for _, operation in calls():
        refusal = refusal_of("AccessDenied", "no", operation=operation, status=403)
        assert refusal is not None
        yield from re.findall(r"right (\w+:\w+)", refusal.remedy)


def calls() -> set[tuple[str, str]]:
    """Service and operation of every request in the sources."""
    found = set()
    for source in SOURCES:
        text = (ROOT / f"queue_agent/cloud/aws/{source}.py").read_text()
        for service, method in re.findall(r"await (sns|sqs|s3)\.(\w+)\(", text):
            operation = "".join(word.capitalize() for word in method.split("_"))
            assert xform_name(operation) == method
            if f"{service}:{operation.removesuffix('Configuration')}" not in NO_CALLS_OF_SETUP:
                found.add((service, operation))
    assert len(found) > 10
    return found
