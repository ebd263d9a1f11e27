"""What the pods of one queue may do in the cloud, by name."""

from collections.abc import Sequence
from typing import Final

from aws_cdk import Aws
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs

from image_service.config import RuntimeConfig

REASONS: Final = (
    "Object names under the runtime's own folders, and under those that all share, are only known "
    "when jobs come; X-Ray's calls have no resources to name."
)


def statements(
    runtime: RuntimeConfig, *, queue: sqs.IQueue, topic: sns.ITopic, results: s3.IBucket
) -> list[iam.PolicyStatement]:
    """The rights of the pods that serve the queue, see docs/deploying.md."""
    bucket = results.bucket_arn
    own = [f"{bucket}/{folder}/*" for folder in runtime.folders]
    shared = [f"{bucket}/{folder}/*" for folder in ("cancelled", "inputs", "payloads")]
    others = [f"arn:{Aws.PARTITION}:s3:::{_objects(place)}" for place in runtime.inputs]
    return [
        _allow(
            "TakeJobs",
            [
                "sqs:ReceiveMessage",
                "sqs:DeleteMessage",
                "sqs:ChangeMessageVisibility",
                "sqs:GetQueueAttributes",
            ],
            [queue.queue_arn],
        ),
        _allow("Notify", ["sns:Publish", "sns:GetTopicAttributes"], [topic.topic_arn]),
        _allow("KeepResults", ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], own),
        _allow("Quarantine", ["s3:PutObject"], [f"{bucket}/quarantine/*"]),
        _allow("ReadInputs", ["s3:GetObject"], [*shared, *others]),
        # Without it, S3 answers 403 instead of 404 for objects that are not there yet.
        _allow("NoticeAbsence", ["s3:ListBucket"], [bucket]),
        _allow("Trace", ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], ["*"]),
    ]


def model_statements(models: s3.IBucket, prefix: str) -> list[iam.PolicyStatement]:
    """What copying a folder of models at the start takes."""
    arn = f"arn:{Aws.PARTITION}:s3:::{models.bucket_name}"
    listing = _allow("ListModels", ["s3:ListBucket"], [arn])
    if prefix:
        listing.add_condition("StringLike", {"s3:prefix": f"{prefix}*"})
    return [listing, _allow("ReadModels", ["s3:GetObject"], [f"{arn}/{prefix}*"])]


def readable_places(runtime: RuntimeConfig, results: s3.IBucket) -> list[str]:
    """The same in the agent's words: its setting for buckets that references may name."""
    folders = (*runtime.folders, "inputs", "payloads")
    return [f"{results.bucket_name}/{folder}/" for folder in folders] + [
        f"{place}/" if "/" in place else place for place in runtime.inputs
    ]


def _objects(place: str) -> str:
    return f"{place}/*"


def _allow(sid: str, actions: Sequence[str], resources: Sequence[str]) -> iam.PolicyStatement:
    return iam.PolicyStatement(sid=sid, actions=list(actions), resources=list(resources))
