"""Messages that reach a job queue by a wrong wiring, as those who write them do."""

import base64
import json
from typing import Any, Final

from queue_agent.wire.foreign import ForeignKind
from queue_agent.wire.notification import ErrorReport, Image, Notification
from queue_agent.wire.result import Result

JsonObject = dict[str, Any]

NAME: Final = "sdruntime"
JOB: Final[JsonObject] = {
    "metadata": {"id": "order-1", "tasktype": "text-to-image", "runtime": NAME, "prefix": "out"},
    "content": {"prompt": "a lighthouse", "steps": 20},
}
FAILURE: Final = ErrorReport(type="timeout", message="too long", retryable=True, final=True)
IMAGE: Final = Image(url="s3://b/out/a/a-1.png", media_type="image/png", bytes=1, sha256="0" * 64)


def told(status: str, **fields: Any) -> Notification:
    """A notification of ours."""
    whole = {"runtime": NAME, "id": "a", "status": status, "result": status == "completed"}
    return Notification.model_validate({**whole, **fields})


def later(note: Notification, **fields: Any) -> str:
    """The same of a later version."""
    return json.dumps({**json.loads(note.to_json()), "version": "2", **fields})


def s3_record(event: str = "ObjectCreated:Put", key: str = "quarantine/x.json") -> JsonObject:
    """A record of S3's events."""
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "eu-central-1",
        "eventTime": "2026-11-28T12:00:00.000Z",
        "eventName": event,
        "userIdentity": {"principalId": "AWS:AIDA"},
        "requestParameters": {"sourceIPAddress": "10.0.0.1"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "all",
            "bucket": {"name": "results", "arn": "arn:aws:s3:::results"},
            "object": {"key": key, "size": 3, "eTag": "0", "sequencer": "1"},
        },
    }


def sns(text: str, **fields: Any) -> str:
    """A text in the envelope that SNS puts around what it delivers."""
    return json.dumps(
        {
            "Type": "Notification",
            "MessageId": "7f2a",
            "TopicArn": "arn:aws:sns:eu-central-1:111122223333:topic",
            "Message": text,
            "Timestamp": "2026-11-28T12:00:00.000Z",
            "SignatureVersion": "1",
            "Signature": "EXAMPLE",
            "UnsubscribeURL": "https://sns.eu-central-1.amazonaws.com/?Action=Unsubscribe",
            **fields,
        }
    )


def event_bridge(detail: Any, *, source: str = "shop", kind: str = "ImageOrdered") -> str:
    """An event of EventBridge."""
    return json.dumps(
        {
            "version": "0",
            "id": "17793124-05d4-b198-2fde-7ededc63b103",
            "detail-type": kind,
            "source": source,
            "account": "111122223333",
            "time": "2026-11-28T12:00:00Z",
            "region": "eu-central-1",
            "resources": ["arn:aws:s3:::results"],
            "detail": detail,
        }
    )


def cloud_event(**fields: Any) -> str:
    """A CloudEvent in structured mode."""
    return json.dumps(
        {"specversion": "1.0", "type": "shop.ordered", "source": "/shop", "id": "1", **fields}
    )


S3_DETAIL: Final[JsonObject] = {
    "version": "0",
    "bucket": {"name": "results"},
    "object": {"key": "quarantine/x.json", "size": 5, "etag": "0", "sequencer": "0"},
    "request-id": "N4N7",
    "reason": "PutObject",
}
COMPLETED: Final = told("completed", images=[IMAGE], image_url=[IMAGE.url], output_url="s3://b/x")
MANIFEST: Final = Result.model_validate(
    {
        **json.loads(COMPLETED.to_json()),
        "digest": "0" * 64,
        "metadata": JOB["metadata"],
        "response": {"seed": 7},
    }
)
QUARANTINED: Final[JsonObject] = {
    "message_id": "message-1",
    "receive_count": 1,
    "received_at": "2026-11-28T12:00:00+00:00",
    "attributes": {},
    "error": {"type": "invalid_message", "message": "…"},
    "body": json.dumps(JOB),
}
TEST_EVENT: Final[JsonObject] = {
    "Service": "Amazon S3",
    "Event": "s3:TestEvent",
    "Time": "2026-11-28T12:00:00.000Z",
    "Bucket": "results",
    "RequestId": "5582815E1AEA5ADF",
    "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR",
}
CONFIRMATION: Final[JsonObject] = {
    "Type": "SubscriptionConfirmation",
    "MessageId": "165545c9",
    "Token": "2336412f37",
    "TopicArn": "arn:aws:sns:eu-central-1:111122223333:topic",
    "Message": "You have chosen to subscribe to the topic …",
    "SubscribeURL": "https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription",
}

_NOTIFICATION, _RESULT = ForeignKind.NOTIFICATION, ForeignKind.RESULT
_QUARANTINE, _STORAGE = ForeignKind.QUARANTINE, ForeignKind.STORAGE_EVENT
_SUBSCRIPTION, _TEST = ForeignKind.SUBSCRIPTION, ForeignKind.TEST_EVENT

FOREIGN: Final[dict[str, tuple[ForeignKind, str]]] = {
    "completed": (_NOTIFICATION, COMPLETED.to_json()),
    "running": (_NOTIFICATION, told("running", progress=0.5).to_json()),
    "failed": (_NOTIFICATION, told("failed", error=FAILURE).to_json()),
    "cancelled": (_NOTIFICATION, told("cancelled").to_json()),
    "expired": (_NOTIFICATION, told("expired", context=JOB).to_json()),
    "redelivered": (_NOTIFICATION, told("completed", redelivered=True).to_json()),
    "made to fit": (_NOTIFICATION, COMPLETED.fitted(10).to_json()),
    "of a later version": (
        _NOTIFICATION,
        later(COMPLETED, tasktype="pipeline", prompt="x", cost=0.01),
    ),
    "of a later status": (_NOTIFICATION, later(told("running"), status="paused", queue=[])),
    "least": (
        _NOTIFICATION,
        '{"version": "1", "runtime": "r", "id": "a", "status": "failed", "result": false}',
    ),
    "least of a version that numbers none": (
        _NOTIFICATION,
        '{"runtime": "r", "id": "a", "status": "completed", "result": true}',
    ),
    "of the guidance's agent": (
        _NOTIFICATION,
        json.dumps(
            {
                "runtime": NAME,
                "id": "a",
                "result": True,
                "image_url": ["s3://b/output/a/1.png"],
                "output_url": "s3://b/output/a/a.out",
                "context": {},
            }
        ),
    ),
    "in an envelope": (_NOTIFICATION, sns(COMPLETED.to_json())),
    "in two envelopes": (_NOTIFICATION, sns(sns(COMPLETED.to_json()))),
    "by an event bus": (_NOTIFICATION, event_bridge(json.loads(COMPLETED.to_json()))),
    "as a cloud event": (_NOTIFICATION, cloud_event(data=json.loads(COMPLETED.to_json()))),
    "with a byte order mark": (_NOTIFICATION, "\ufeff" + COMPLETED.to_json()),
    "manifest": (_RESULT, MANIFEST.model_dump_json()),
    "manifest of a failure": (
        _RESULT,
        MANIFEST.model_copy(update={"status": "failed", "result": False}).model_dump_json(),
    ),
    "manifest without metadata": (
        _RESULT,
        MANIFEST.model_copy(update={"metadata": {}}).model_dump_json(),
    ),
    "manifest in an envelope": (_RESULT, sns(MANIFEST.model_dump_json())),
    "quarantined": (_QUARANTINE, json.dumps(QUARANTINED)),
    "quarantined in an envelope": (_QUARANTINE, sns(json.dumps(QUARANTINED))),
    "quarantined quarantined": (
        _QUARANTINE,
        json.dumps({**QUARANTINED, "body": json.dumps(QUARANTINED)}),
    ),
    "S3": (_STORAGE, json.dumps({"Records": [s3_record()]})),
    "S3, several": (_STORAGE, json.dumps({"Records": [s3_record(), s3_record("ObjectRemoved:*")]})),
    "S3 by SNS": (_STORAGE, sns(json.dumps({"Records": [s3_record()]}), Subject="Amazon S3")),
    "S3 by SNS by SNS": (_STORAGE, sns(sns(json.dumps({"Records": [s3_record()]})))),
    "one record of S3": (_STORAGE, json.dumps(s3_record("ObjectRestore:Post"))),
    "S3 by EventBridge": (
        _STORAGE,
        event_bridge(S3_DETAIL, source="aws.s3", kind="Object Created"),
    ),
    "S3's removal by EventBridge": (
        _STORAGE,
        event_bridge(S3_DETAIL, source="aws.s3", kind="Object Deleted"),
    ),
    "S3 by EventBridge by SNS": (
        _STORAGE,
        sns(event_bridge(S3_DETAIL, source="aws.s3", kind="Object Created")),
    ),
    "S3 by EventBridge as a text": (
        _STORAGE,
        event_bridge(json.dumps(S3_DETAIL), source="aws.s3", kind="Object Created"),
    ),
    "S3 by CloudTrail": (
        _STORAGE,
        event_bridge(
            {"eventSource": "s3.amazonaws.com", "eventName": "PutObject"},
            source="aws.s3",
            kind="AWS API Call via CloudTrail",
        ),
    ),
    "several in a list": (_STORAGE, json.dumps([s3_record(), s3_record(key="output/a.png")])),
    "notifications in a list": (_NOTIFICATION, f"[{COMPLETED.to_json()}]"),
    "S3 as a cloud event": (_STORAGE, cloud_event(type="com.amazonaws.s3.x", data=s3_record())),
    "MinIO": (
        _STORAGE,
        json.dumps(
            {
                "EventName": "s3:ObjectCreated:Put",
                "Key": "results/quarantine/x.json",
                "Records": [{**s3_record("s3:ObjectCreated:Put"), "eventSource": "minio:s3"}],
            }
        ),
    ),
    "MinIO, short": (_STORAGE, '{"EventName": "s3:ObjectRemoved:Delete", "Key": "b/k"}'),
    "Ceph": (_STORAGE, json.dumps({"Records": [{**s3_record(), "eventSource": "ceph:s3"}]})),
    "Ceph without a source": (
        _STORAGE,
        json.dumps({"Records": [{"eventName": "ObjectCreated:Put", "s3": s3_record()["s3"]}]}),
    ),
    "R2": (
        _STORAGE,
        json.dumps(
            {
                "account": "3f4b7e3dcab231cbfdaa90a6a28bd548",
                "action": "PutObject",
                "bucket": "results",
                "object": {"key": "k", "size": 1, "eTag": "0"},
                "eventTime": "2026-11-28T12:00:00.000Z",
            }
        ),
    ),
    "OSS": (
        _STORAGE,
        json.dumps(
            {
                "events": [
                    {
                        "eventName": "ObjectCreated:PutObject",
                        "eventSource": "acs:oss",
                        "oss": {"bucket": {"name": "b"}, "object": {"key": "k"}},
                    }
                ]
            }
        ),
    ),
    "OSS in base64": (
        _STORAGE,
        base64.b64encode(
            json.dumps({"events": [{"eventSource": "acs:oss", "oss": {}}]}).encode()
        ).decode(),
    ),
    "COS": (
        _STORAGE,
        json.dumps({"Records": [{"event": {}, "cos": {"cosBucket": {}, "cosObject": {}}}]}),
    ),
    "Google": (_STORAGE, '{"kind": "storage#object", "bucket": "b", "name": "k"}'),
    "Azure": (
        _STORAGE,
        cloud_event(
            type="Microsoft.Storage.BlobCreated",
            data={"api": "PutBlob", "blobType": "BlockBlob", "url": "https://a/b"},
        ),
    ),
    "Event Grid": (
        _STORAGE,
        '{"eventType": "Microsoft.Storage.BlobCreated", "data": {"api": "PutBlob"}}',
    ),
    "confirmation": (_SUBSCRIPTION, json.dumps(CONFIRMATION)),
    "end of a subscription": (
        _SUBSCRIPTION,
        json.dumps({**CONFIRMATION, "Type": "UnsubscribeConfirmation"}),
    ),
    "S3's test": (_TEST, json.dumps(TEST_EVENT)),
    "S3's test by SNS": (_TEST, sns(json.dumps(TEST_EVENT), Subject="Amazon S3 Notification")),
    "Auto Scaling's test": (
        _TEST,
        '{"Event": "autoscaling:TEST_NOTIFICATION", "Service": "AWS Auto Scaling"}',
    ),
}
"""By a name: what it is, and its text."""

RESEMBLING: Final[dict[str, JsonObject]] = {
    name: {**JOB, **beside}
    for name, beside in {
        "a notification": json.loads(COMPLETED.to_json()),
        "a manifest": {**json.loads(MANIFEST.model_dump_json()), "metadata": JOB["metadata"]},
        "a quarantine object": QUARANTINED,
        "an event of S3": {"Records": [s3_record()]},
        "a record of S3": s3_record(),
        "an event of MinIO": {"EventName": "s3:ObjectCreated:Put", "Key": "b/k"},
        "an event of R2": {"action": "PutObject", "bucket": "b", "object": {"key": "k"}},
        "an event of Google": {"kind": "storage#object", "bucket": "b"},
        "an event by EventBridge": json.loads(event_bridge(S3_DETAIL, source="aws.s3")),
        "a confirmation": CONFIRMATION,
        "a test event": TEST_EVENT,
        "an envelope": json.loads(sns("{}")),
        "a cloud event": json.loads(cloud_event(data={})),
        "a Kubernetes object": {"apiVersion": "v1", "kind": "Event"},
        "a pointer": {"S3Payload": {"Bucket": "b", "Key": "k"}},
    }.items()
}
"""Jobs that also have the fields of something else."""


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def sqs_record(body: str) -> JsonObject:
    """A record of SQS, as pipes and functions pass it on."""
    return {
        "messageId": "059f36b4",
        "receiptHandle": "AQEBwJnK",
        "body": body,
        "attributes": {"ApproximateReceiveCount": "1"},
        "messageAttributes": {},
        "md5OfBody": "0",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-central-1:111122223333:queue",
        "awsRegion": "eu-central-1",
    }


def sns_record(text: str) -> JsonObject:
    """A record of SNS, as functions get it."""
    return {"EventSource": "aws:sns", "EventVersion": "1.0", "Sns": json.loads(sns(text))}


_JOB: Final = json.dumps(JOB)

OPENED: Final[dict[str, str]] = {
    "raw": _JOB,
    "with blanks": f"\n {_JOB} \r\n",
    "with a byte order mark": f"\ufeff{_JOB}",
    "as the guidance's task": json.dumps({"task": JOB}),
    "as JSON in JSON": json.dumps(_JOB),
    "as JSON in JSON in an envelope": sns(json.dumps(_JOB)),
    "in base64": base64_of(_JOB),
    "in base64, by lines": "\n".join(
        base64_of(_JOB)[n : n + 76] for n in range(0, len(base64_of(_JOB)), 76)
    ),
    "in an envelope": sns(_JOB),
    "in an envelope with a mark inside": sns(f"\ufeff{_JOB}"),
    "in two envelopes": sns(sns(_JOB)),
    "in three envelopes": sns(sns(sns(_JOB))),
    "as an EventBridge detail": event_bridge(JOB),
    "as the text of an EventBridge detail": event_bridge(_JOB),
    "as the task of an EventBridge detail": event_bridge({"task": JOB}),
    "as an EventBridge detail by SNS": sns(event_bridge(JOB)),
    "as a record in an EventBridge detail": event_bridge(sqs_record(_JOB)),
    "as a cloud event": cloud_event(datacontenttype="application/json", data=JOB),
    "as a cloud event's text": cloud_event(data=_JOB),
    "as a cloud event's bytes": cloud_event(data_base64=base64_of(_JOB)),
    "as a cloud event's bytes with a mark": cloud_event(data_base64=base64_of(f"\ufeff{_JOB}")),
    "as a cloud event by SNS": sns(cloud_event(data=JOB)),
    "as a cloud event in an event": event_bridge(json.loads(cloud_event(data=JOB))),
    "as a text for all protocols": json.dumps({"default": _JOB}),
    "as a text for queues": sns(json.dumps({"default": "hello", "sqs": _JOB})),
    "as a record of SQS": json.dumps(sqs_record(_JOB)),
    "as the one record of SQS": json.dumps({"Records": [sqs_record(_JOB)]}),
    "as the one record of SQS behind SNS": json.dumps({"Records": [sqs_record(sns(_JOB))]}),
    "as the one record of SNS": json.dumps({"Records": [sns_record(_JOB)]}),
}
"""The same job, in what others put around it."""

_PLACE: Final[JsonObject] = {"s3BucketName": "results", "s3Key": "payloads/a.json"}

POINTERS: Final[dict[str, str]] = {
    "Java 2, Python, SNS": json.dumps(
        ["software.amazon.payloadoffloading.PayloadS3Pointer", _PLACE]
    ),
    "Java 1": json.dumps(["com.amazon.sqs.javamessaging.MessageS3Pointer", _PLACE]),
    "a class of others": json.dumps(["Amazon.SQS.ExtendedClient.MessageS3Pointer", _PLACE]),
    "with more": json.dumps(["x", {**_PLACE, "s3BucketRegion": "eu-central-1"}]),
    "without a class": json.dumps(_PLACE),
    ".NET": json.dumps({"S3BucketName": "results", "S3Key": "payloads/a.json"}),
    "Node": json.dumps(
        {
            "S3Payload": {
                "Id": "7f2a",
                "Bucket": "results",
                "Key": "payloads/a.json",
                "Location": "https://results.s3.amazonaws.com/payloads/a.json",
            }
        }
    ),
    "Node in an envelope": sns(
        json.dumps({"S3Payload": {"Bucket": "results", "Key": "payloads/a.json"}})
    ),
    "in an envelope": sns(json.dumps(["x", _PLACE])),
    "as an EventBridge detail": event_bridge(_PLACE),
    "as a cloud event": cloud_event(data=["x", _PLACE]),
    "as a text": json.dumps(json.dumps(_PLACE)),
}
"""The same place, as libraries write it."""

NAMED: Final[dict[str, tuple[str, str]]] = {
    "a Kubernetes object": (
        "Kubernetes",
        '{"apiVersion": "v1", "kind": "Event", "metadata": {"name": "a"}, "reason": "Failed"}',
    ),
    "a Kubernetes object with an id": (
        "Kubernetes",
        '{"apiVersion": "batch/v1", "kind": "Job", "metadata": {"uid": "1", "labels": {}}}',
    ),
    "a Celery task": ("Celery", '[[2, 2], {}, {"callbacks": null, "chord": null}]'),
    "an old Celery task": ("Celery", '{"id": "1", "task": "t.add", "args": [1], "kwargs": {}}'),
    "a Celery task by kombu": (
        "Celery",
        base64_of(
            '{"body": "W1tdLHt9XQ==", "content-encoding": "utf-8", "headers": {}, "properties": {}}'
        ),
    ),
    "a list of jobs": ("list of jobs", json.dumps([JOB, JOB])),
    "a list of one job": ("list of jobs", json.dumps([JOB])),
    "a list": ("a list", "[1, 2]"),
    "an empty list": ("empty list", "[]"),
    "a batch of cloud events": ("list of objects", f"[{cloud_event(data=JOB)}]"),
    "several records": (
        "several records",
        json.dumps({"Records": [sqs_record(_JOB), sqs_record(_JOB)]}),
    ),
    "a notification and a job": ("list of", f"[{COMPLETED.to_json()}, {_JOB}]"),
    "a number": ("a number", "42"),
    "true": ("true or false", "true"),
    "null": ("null", "null"),
    "a text": ("a text", '"hello"'),
    "nothing": ("nothing", ""),
    "a form": ("form", "prompt=a+lighthouse&steps=20"),
    "a form with JSON": ("form", "payload=%7B%22metadata%22%3A%7B%7D%7D"),
    "a multipart form": (
        "multipart",
        '--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--',
    ),
    "XML": ("XML", '<?xml version="1.0"?><job><id>a</id></job>'),
    "HTML": ("HTML", "<!DOCTYPE html><html><body>504</body></html>"),
    "YAML": ("YAML", "metadata:\n  id: a\ncontent:\n  prompt: x\n"),
    "JSON lines": ("one a line", f"{_JOB}\n{_JOB}\n"),
    "Python": ("Python", "{'metadata': {'id': 'a'}, 'content': {}}"),
    "a code block": ("backquotes", f"```json\n{_JOB}\n```"),
    "gzip in base64": ("gzip", "H4sIAAAAAAAAA6tWKkktLlGyUlAqS8wpTtVRUMpMU7JSMlKqBQBWSqJ3HgAAAA=="),
    "binary": ("binary", "\x00\x01\x02{}"),
    "a token": ("JWT", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"),
    "an address": ("address", "s3://results/payloads/a.json"),
    "a workflow": (
        "ComfyUI",
        '{"1": {"class_type": "LoadImage", "inputs": {}}, "2": {"class_type": "SaveImage"}}',
    ),
    "content alone": ("without its metadata", '{"prompt": "x", "steps": 20}'),
    "an alarm": ("alarm", '{"AlarmName": "a", "NewStateValue": "ALARM", "Trigger": {}}'),
    "a prediction": ("prediction", '{"input": {"prompt": "x"}, "webhook": "https://a"}'),
    "a chat": ("chat", '{"model": "m", "messages": []}'),
    "a request by API Gateway": (
        "API Gateway",
        json.dumps({"requestContext": {}, "headers": {}, "body": _JOB}),
    ),
    "a pointer without a bucket": ("no bucket", '{"offloadedPayloadPointer": "a"}'),
    "an event without a job": ("EventBridge", event_bridge(5)),
    "a scheduled event": ("EventBridge", event_bridge(None, kind="Scheduled Event")),
    "a cloud event without data": ("CloudEvent", cloud_event()),
    "a cloud event of broken bytes": ("data_base64", cloud_event(data_base64="!")),
    "a cloud event of XML": ("XML", cloud_event(data="<job/>")),
    "a text for all protocols that is no job": ("not usable JSON", '{"default": "hello"}'),
    "too many envelopes": ("wrappings", sns(sns(sns(sns(sns(sns(_JOB))))))),
}
"""What is not opened: a word of the name that it is given, and its text."""
