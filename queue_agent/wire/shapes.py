"""The names of shapes that are no jobs and are not opened, so that publishers see their mistake.

Nothing that a body holds is repeated, since the answer may go to others than who wrote it.
"""

import re
from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

__all__ = ["shape_of", "shape_of_text"]

_OBJECTS: Final[Mapping[frozenset[str], str]] = {
    frozenset(fields.split()): name
    for fields, name in {
        "apiVersion kind": "a Kubernetes object",
        "task args kwargs": "a Celery task",
        "body content-encoding properties": "a Celery task",
        "actor_name args": "a Dramatiq message",
        "class args jid": "a Sidekiq job",
        "displayName job data": "a Laravel job",
        "jsonrpc method": "a JSON-RPC request",
        "AlarmName NewStateValue": "an alarm of CloudWatch",
        "notificationType mail": "a notification of SES",
        "detail-type source": "an EventBridge event without a job in 'detail'",
        "subscription message": "a push of Pub/Sub",
        "eventType data subject": "an event of Event Grid",
        "requestContext body": "a request that API Gateway passed on",
        "httpMethod body": "a request that API Gateway passed on",
        "awslogs": "logs of CloudWatch",
        "schema payload": "a record of Kafka Connect",
        "offloadedPayloadPointer": "a pointer to a payload that names no bucket",
        "payloadRef": "a pointer to a payload that names no bucket",
        "S3BodyKey": "a pointer to a payload that names no bucket",
        "model messages": "a request for a chat's completion",
        "query variables": "a GraphQL request",
        "mediaType layers": "a manifest of a container image",
        "Records": "several records in one message",
        "records": "several records in one message",
        "jobs": "several jobs in one message",
        "messages": "several messages in one",
        "input": "a request for a prediction (Replicate, RunPod)",
        "prompt": "a job's content without its metadata",
        "workflow": "a job's content without its metadata",
        "init_images": "a job's content without its metadata",
    }.items()
}

_TEXTS: Final[Mapping[str, re.Pattern[str]]] = {
    "nothing": re.compile(r"\s*\Z"),
    "binary data": re.compile(r"[\s\S]{0,1000}[\x00-\x08\x0e-\x1f]"),
    "an HTML page": re.compile(r"\s*<(!doctype html|html)\b", re.IGNORECASE),
    "XML": re.compile(r"\s*<[?!A-Za-z]"),
    "a multipart form": re.compile(r"--[^\r\n]{1,80}\r?\nContent-Disposition:", re.IGNORECASE),
    "several JSON texts, one a line": re.compile(r"\s*\{[^\n]*\}[ \t\r]*\n\s*\{"),
    "a value of Python, not of JSON": re.compile(r"\s*[\[{(]\s*'|\s*(None|True|False)\s*\Z"),
    "JSON in backquotes": re.compile(r"\s*`"),
    "data compressed by gzip, in base64": re.compile(r"H4sI[A-Za-z0-9+/=]{8}"),
    "a signed token (JWT)": re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*\s*\Z"),
    "text of a form (a=b&c=d)": re.compile(r"[\w.%+*~\[\]-]{1,200}=[^\s&]*(&|\Z)"),
    "YAML": re.compile(r"(---\s*\n)?[A-Za-z_][\w-]*:([ \t][^\n]*)?(\n|\Z)"),
    "the address of something": re.compile(r"[a-z][a-z0-9]{1,9}://\S+\Z"),
}


def shape_of(value: JsonValue) -> str | None:
    """What a JSON value looks like that is no job; None: nothing known, or a broken job."""
    if isinstance(value, list):
        return _list(value)
    if not isinstance(value, dict):
        kind = {str: "a text", bool: "true or false", type(None): "null"}
        return f"JSON that is only {kind.get(type(value), 'a number')}"
    fields = value.keys()
    if _is_part_of_a_job(value):
        return None
    if fields and all(isinstance(node, dict) and "class_type" in node for node in value.values()):
        return "a workflow of ComfyUI without a job around it"
    return next((name for marks, name in _OBJECTS.items() if marks <= fields), None)


def shape_of_text(text: str | bytes) -> str | None:
    """What a text looks like that is no JSON; None: nothing known, or broken JSON."""
    if isinstance(text, bytes):
        text = text[:4096].decode(errors="replace")
    head = text[:4096]
    return next((name for name, pattern in _TEXTS.items() if pattern.match(head)), None)


def _is_part_of_a_job(value: Mapping[str, JsonValue]) -> bool:
    metadata = value.get("metadata")
    if isinstance(metadata, dict):
        return bool(metadata.keys() & {"tasktype", "id", "prefix"})
    return "content" in value


def _list(value: list[JsonValue]) -> str:
    if not value:
        return "an empty list"
    first = value[0]
    if isinstance(first, dict):
        if {"metadata", "content"} <= first.keys():
            return "a list of jobs, each of which needs a message of its own"
        return "a list of objects"
    if len(value) == 3 and isinstance(first, list) and isinstance(value[1], dict):
        return "a Celery task"
    if len(value) == 2 and isinstance(first, str) and isinstance(value[1], dict):
        return "a pointer to a payload, of a library that is not known"
    return "a list"
