"""`queue-agent schema`: JSON Schema of the wire formats."""

import json
from enum import StrEnum

from pydantic import BaseModel

from queue_agent.wire.job import Job
from queue_agent.wire.notification import Notification
from queue_agent.wire.result import Result


class Format(StrEnum):
    """The wire formats."""

    JOB = "job"
    NOTIFICATION = "notification"
    RESULT = "result"


_MODELS: dict[Format, type[BaseModel]] = {
    Format.JOB: Job,
    Format.NOTIFICATION: Notification,
    Format.RESULT: Result,
}


def schema(wire_format: Format) -> str:
    """The JSON Schema (draft 2020-12) of one wire format."""
    written = wire_format is not Format.JOB
    return json.dumps(
        _MODELS[wire_format].model_json_schema(mode="serialization" if written else "validation"),
        indent=2,
    )
