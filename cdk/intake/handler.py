"""What Lambda calls: an event of API Gateway's proxy integration in, an answer out."""

import base64
import binascii
import logging
import os
from typing import Any, Final

from intake.answers import ProxyResponse, accepted, problem
from intake.jobs import new_id, read_job
from intake.publishing import JobTooLarge, JobTopic, Throttled
from intake.settings import IntakeSettings
from intake.tracing import traceparent
from queue_agent.wire.errors import Malformed, Rejected, Unavailable

log = logging.getLogger()
log.setLevel(logging.INFO)

# Made while the function starts, which costs callers less than its first request would.
_SETTINGS: Final = IntakeSettings.read(os.environ)
_TOPIC: Final = JobTopic(_SETTINGS.topic_arn)


def handle(event: dict[str, Any], _context: object) -> ProxyResponse:
    """Take a job: `POST /task` (API version v1alpha2) or `POST /v1/jobs`."""
    request_id = str(event.get("requestContext", {}).get("requestId", ""))
    guidance = event.get("resource") == "/task"
    try:
        job = read_job(_body(event), _SETTINGS, make_id=None if guidance else new_id)
        headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
        _TOPIC.publish(job, traceparent(headers, os.environ.get("_X_AMZN_TRACE_ID", "")))
    except (Malformed, Rejected) as error:
        return problem(400, error.type, error.message, request_id)
    except JobTooLarge as error:
        return problem(413, error.type, error.message, request_id)
    except Throttled as error:
        return problem(429, error.type, error.message, request_id, retry_after=1)
    except Unavailable as error:
        log.exception("job not published")
        detail = "The service is not available now."
        return problem(503, error.type, detail, request_id, retry_after=5)
    log.info("job published", extra={"job": job.id, "runtime": job.metadata.runtime})
    return accepted(job, _SETTINGS.bucket, status=200 if guidance else 202)


def _body(event: dict[str, Any]) -> str:
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return str(body)
    try:
        return base64.b64decode(body, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Malformed(f"The body is not UTF-8 text: {error}") from error
