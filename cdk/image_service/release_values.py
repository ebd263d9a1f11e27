"""Values of the chart for the release of one queue."""

from collections.abc import Sequence
from typing import Final

from aws_cdk import Aws
from aws_cdk import aws_sns as sns

from image_service.chart_values import Values, defaults, merged, value_of
from image_service.cluster import Platform
from image_service.config import Config, Lane
from image_service.messaging import LaneQueue
from image_service.runtime_policy import readable_places
from image_service.storage import Storage
from queue_agent.wire.priorities import PRIORITIES

_SIZES: Final = (1, 4, 8, 16)
"""GPUs of the nodes that the chart lets Karpenter bring."""


def release_values(
    config: Config,
    platform: Platform,
    lane_queues: Sequence[LaneQueue],
    on_demand: Sequence[LaneQueue],
    notifications: sns.ITopic,
    storage: Storage,
    images: Values,
) -> Values:
    """The chart's values: what follows from what is built here, and over it the runtime's own."""
    lane = lane_queues[0].lane
    runtime = lane.runtime
    values: Values = {
        # Also the service account's name, which the pods' role is bound to.
        "fullnameOverride": lane.name,
        "imageRegistry": config.image_registry,
        "cloud": {
            "region": Aws.REGION,
            **_queues(lane_queues),
            "topicArn": notifications.topic_arn,
            "bucket": storage.results_name,
        },
        "runtime": {
            "preset": runtime.preset,
            "name": runtime.name,
            "model": runtime.model,
            "image": runtime.image.model_dump(),
        },
        "agent": {
            "shutdownGrace": runtime.timings.shutdown_grace,
            "settings": {
                "runTimeout": runtime.timings.run_timeout,
                "referenceBuckets": readable_places(runtime, storage.results_name),
                **_of_queues(lane_queues, on_demand),
            },
        },
        "scaling": {
            "minReplicas": runtime.min_pods,
            "maxReplicas": runtime.max_pods,
            "jobSeconds": runtime.job_seconds,
            "by": "work",
            "work": {"prefixes": list(runtime.folders)},
        },
        "karpenter": {"enabled": True, "nodeClass": _node_class(platform, lane)},
        "models": {"source": runtime.models, "prefix": runtime.models_prefix},
        "telemetry": {"traces": "xray", "collector": {"enabled": True}},
    }
    if runtime.http_adapter:
        told = runtime.http_adapter.strip()
        values["runtime"]["adapter"] = "http"
        values["agent"]["httpAdapter"] = {"file" if "\n" in told else "name": told}
    if runtime.models in {"s3", "download"}:
        values["models"]["bucket"] = storage.models_name
    if runtime.gpus > 1:
        gpus = {"nvidia.com/gpu": runtime.gpus}
        values["runtime"]["resources"] = {"requests": gpus, "limits": gpus}
    if platform.private_cidrs:
        values["networkPolicy"] = {"privateCidrs": list(platform.private_cidrs)}
    own = merged(merged(values, images), runtime.values)
    limits = {"karpenter": {"limits": {"nvidia.com/gpu": gpu_limit(own)}}}
    return merged(limits, own)


def _queues(lane_queues: Sequence[LaneQueue]) -> Values:
    """Where jobs come from, the most urgent first."""
    if len(lane_queues) == 1:
        return {"queueUrl": lane_queues[0].queue.queue_url}
    shares = lane_queues[0].lane.runtime.queue_shares
    named = sorted(lane_queues, key=lambda it: PRIORITIES.index(it.lane.urgency))
    return {
        "queues": [
            {"name": name, "url": it.queue.queue_url}
            | ({"share": shares[name]} if name in shares else {})
            for it in named
            for name in (it.lane.urgency,)
        ]
    }


def _of_queues(lane_queues: Sequence[LaneQueue], on_demand: Sequence[LaneQueue]) -> Values:
    """The agent's settings of several queues, and of those on demand."""
    if len(lane_queues) == 1:
        return {"onDemandQueueUrl": on_demand[0].queue.queue_url} if on_demand else {}
    settings: Values = {"queueRule": lane_queues[0].lane.runtime.queue_rule}
    if on_demand:
        settings["onDemandQueues"] = [f"{it.lane.urgency}={it.queue.queue_url}" for it in on_demand]
    return settings


def gpu_limit(values: Values) -> int:
    """GPUs that nodes for `scaling.maxReplicas` pods have, which are whole nodes."""
    both = merged(defaults(), values)
    resources = value_of(both, "runtime", "resources")
    gpus = int(max(value_of(resources, kind, "nvidia.com/gpu") or 0 for kind in resources))
    sizes = value_of(both, "karpenter", "gpusPerNode") or [next(it for it in _SIZES if it >= gpus)]
    pods_on_one = max(1, max(sizes) // max(1, gpus))
    return int(max(sizes) * -(-value_of(both, "scaling", "maxReplicas") // pods_on_one))


def _node_class(platform: Platform, lane: Lane) -> Values:
    node_class: Values = {
        "role": platform.node_role_name,
        "subnetSelectorTerms": [{"id": subnet} for subnet in platform.pod_subnet_ids],
        "securityGroupSelectorTerms": [{"id": platform.security_group_id}],
    }
    if lane.runtime.image_snapshot:
        node_class |= {
            "instanceStore": False,
            "imagePull": "default",
            "dataVolume": {"snapshotID": lane.runtime.image_snapshot},
        }
    return node_class
