"""What the pods of one queue may do in the cloud, by name."""

from collections.abc import Iterator, Sequence
from typing import Final

from aws_cdk import Aws
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs

from image_service.chart_values import value_of
from image_service.config import RuntimeConfig
from image_service.rights import Right
from queue_agent.wire import layout

_S3: Final = "s3://"


def runtime_rights(
    runtime: RuntimeConfig,
    *,
    queues: Sequence[sqs.IQueue],
    on_demand: Sequence[sqs.IQueue] = (),
    topic: sns.ITopic,
    results: str,
) -> list[Right]:
    """The rights of the pods that serve the queues, see docs/deploying.md.

    `on_demand`: where they send what has lost its attempts. `results`: the name of the bucket.
    """
    bucket = f"arn:{Aws.PARTITION}:s3:::{results}"
    served = [queue.queue_arn for queue in queues]
    moved = [queue.queue_arn for queue in on_demand]
    moving = [Right("SendOnDemand", ["sqs:SendMessage"], moved)] if moved else []
    key = value_of(runtime.values, "agent", "provenance", "kmsKey")
    signing = [Right("SignFiles", ["kms:Sign"], [key])] if key else []
    return [
        *moving,
        *signing,
        Right(
            "TakeJobs",
            [
                "sqs:ReceiveMessage",
                "sqs:DeleteMessage",
                "sqs:ChangeMessageVisibility",
                "sqs:GetQueueAttributes",
            ],
            served,
        ),
        Right("PutOff", ["sqs:SendMessage"], served),
        Right("Notify", ["sns:Publish", "sns:GetTopicAttributes"], [topic.topic_arn]),
        Right(
            "KeepResults",
            ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:DeleteObject"],
            [f"{bucket}/{folder}/*" for folder in runtime.folders],
            "Jobs give the names of results under the runtime's folders.",
        ),
        Right(
            "Quarantine",
            ["s3:PutObject"],
            [f"{bucket}/{layout.QUARANTINE}/*"],
            "Messages that nobody understands are kept by their ids.",
        ),
        Right("TellOffer", ["s3:PutObject"], [f"{bucket}/{layout.offer_key(runtime.name)}"]),
        Right(
            "TellRuns",
            ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
            [f"{bucket}/{layout.seen_runs_folder(runtime.name)}*"],
            "What the runtime's jobs took lies in numbered files.",
        ),
        Right(
            "TellLoadedModels",
            ["s3:PutObject", "s3:DeleteObject"],
            [f"{bucket}/{layout.agents_folder(runtime.name)}*"],
            "Each agent has an object of its own there.",
        ),
        Right(
            "KeepCheckpoints",
            ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
            [f"{bucket}/{layout.checkpoints_of(runtime.name)}*"],
            "What runs have done lies by the jobs' ids.",
        ),
        Right(
            "ReadInputs",
            ["s3:GetObject"],
            [
                *(f"{bucket}/{folder}/*" for folder in layout.WRITTEN_BY_PUBLISHERS),
                f"{bucket}/{layout.pauses_key(runtime.name)}",
                *(f"arn:{Aws.PARTITION}:s3:::{place}/*" for place in runtime.inputs),
            ],
            "Publishers name what they put there: inputs, large jobs, cancel markers.",
        ),
        # Without it, S3 answers 403 instead of 404 for objects that are not there yet; a condition
        # on the prefix, which would do for listing cancel markers, does not match such questions.
        Right("NoticeAbsence", ["s3:ListBucket"], [bucket]),
        Right(
            "Trace",
            ["xray:PutTraceSegments", "xray:PutTelemetryRecords"],
            ["*"],
            "X-Ray's calls have no resources to name.",
        ),
    ]


def model_rights(runtime: RuntimeConfig, models: str) -> list[Right]:
    """What having models from buckets takes: copied at the start, or fetched by the runtime.

    `models`: the name of the bucket that copies are made of.
    """
    places = [(models, runtime.models_prefix)] if runtime.models == "download" else []
    places += _stored_models(runtime)
    rights = []
    for number, (bucket, prefix) in enumerate(dict.fromkeys(places), start=1):
        arn = f"arn:{Aws.PARTITION}:s3:::{bucket}"
        only = {"StringLike": {"s3:prefix": f"{prefix}*"}} if prefix else {}
        whole = prefix.endswith("/") or not prefix
        files = [f"{arn}/{prefix}*"] if whole else [f"{arn}/{prefix}", f"{arn}/{prefix}/*"]
        nth = str(number) if number > 1 else ""
        rights += [
            Right(f"ListModels{nth}", ["s3:ListBucket"], [arn], conditions=only),
            Right(f"ReadModels{nth}", ["s3:GetObject"], files, "What the folder holds is a model."),
        ]
    return rights


def _stored_models(runtime: RuntimeConfig) -> Iterator[tuple[str, str]]:
    """Buckets and prefixes of the models that the bundled runtime fetches by itself."""
    options = value_of(runtime.values, "runtime", "options") or {}
    upscalers = [source.partition("=")[2] for source in options.get("upscaler", ())]
    for address in (runtime.model, *options.get("model", ()), *upscalers):
        if address.startswith(_S3):
            bucket, _, prefix = address.removeprefix(_S3).partition("/")
            yield bucket, prefix


def readable_places(runtime: RuntimeConfig, results: str) -> list[str]:
    """The same in the agent's words: its setting for buckets that references may name."""
    folders = (*runtime.folders, layout.INPUTS, layout.PAYLOADS)
    return [f"{results}/{folder}/" for folder in folders] + [
        f"{place}/" if "/" in place else place for place in runtime.inputs
    ]
