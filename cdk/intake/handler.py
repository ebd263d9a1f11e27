"""What Lambda calls: an event of API Gateway's proxy integration in, an answer out."""

import base64
import binascii
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from intake.answers import ProxyResponse, accepted, refused
from intake.capacity import CapacityChoice
from intake.publishing import JobTopic, clients_of_the_sdk
from intake.settings import IntakeSettings
from intake.tracing import traceparent
from queue_agent.wire.errors import QueueAgentError, Rejected
from queue_agent.wire.problems import problem_of
from queue_agent.wire.submission import INVALID_JSON, complete, read_body

log = logging.getLogger()
log.setLevel(logging.INFO)

# Made while the function starts, which costs callers less than its first request would.
_SETTINGS: Final = IntakeSettings.read(os.environ)
_TOPIC: Final = JobTopic(_SETTINGS.topic_arn, _SETTINGS.bucket)
_CAPACITY: Final = CapacityChoice(
    _SETTINGS.spot, _SETTINGS.topic_arn.split(":")[3], clients_of_the_sdk
)


def handle(event: dict[str, Any], _context: object) -> ProxyResponse:
    """Take a job: `POST /task` (API version v1alpha2) or `POST /v1/jobs`."""
    context = event.get("requestContext", {})
    request_id = str(context.get("requestId", ""))
    try:
        job = complete(read_body(_body(event)), replace(_SETTINGS.terms, tenant=_key_id(context)))
        headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
        job = _CAPACITY.chosen(job)
        trace = traceparent(headers, os.environ.get("_X_AMZN_TRACE_ID", ""))
        _TOPIC.publish(job, trace, fair=_SETTINGS.fair)
    except Rejected as error:
        return refused(problem_of(error), request_id)
    except QueueAgentError as error:
        log.exception("job not published")
        return refused(problem_of(error), request_id)
    log.info("job published", extra={"job": job.id, "runtime": job.metadata.runtime})
    status = 200 if event.get("resource") == "/task" else 202
    return accepted(job, _SETTINGS.bucket, status=status)


def _key_id(context: Mapping[str, Any]) -> str | None:
    """Whose API key it was, by its id, which is no secret.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
    """
    return (context.get("identity") or {}).get("apiKeyId")


def _body(event: dict[str, Any]) -> str | bytes:
    body = str(event.get("body") or "")
    if not event.get("isBase64Encoded"):
        return body
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise Rejected(f"The body is not base64: {error}", type=INVALID_JSON) from error
