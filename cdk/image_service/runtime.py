"""One runtime in the cluster: a release of `charts/queue-agent` for each of its queues."""

from pathlib import Path
from typing import Final

from aws_cdk import Aws, Duration
from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_s3_assets as assets
from aws_cdk import aws_sns as sns
from constructs import Construct

from image_service.charts import Values, merged
from image_service.cluster import Platform
from image_service.config import Config, Lane
from image_service.messaging import LaneQueue
from image_service.pod_identity import PodRole
from image_service.rights import give
from image_service.runtime_policy import model_rights, readable_places, runtime_rights
from image_service.storage import Storage

CHART: Final = Path(__file__).resolve().parents[2] / "charts" / "queue-agent"


class RuntimeRelease(Construct):
    """The pods of one queue, with rights of their own."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        config: Config,
        platform: Platform,
        lane_queue: LaneQueue,
        notifications: sns.ITopic,
        storage: Storage,
        chart: assets.Asset,
    ) -> None:
        super().__init__(scope, construct_id)
        lane = lane_queue.lane
        identity = PodRole(
            self,
            "Identity",
            cluster=platform.cluster,
            namespace=config.cluster.namespace,
            service_account=lane.name,
        )
        rights = runtime_rights(
            lane.runtime,
            queue=lane_queue.queue,
            topic=notifications,
            results=storage.results_name,
        )
        if lane.runtime.models == "download":
            rights += model_rights(storage.models_name, lane.runtime.models_prefix)
        policy = give(identity, identity.role, rights)
        values = _values(config, platform, lane_queue, notifications, storage)
        release = eks.HelmChart(
            self,
            "Release",
            cluster=platform.cluster,
            release=lane.name,
            chart_asset=chart,
            namespace=config.cluster.namespace,
            values=merged(values, lane.runtime.values),
            timeout=Duration.minutes(5),
        )
        release.node.add_dependency(identity, policy)


def _values(
    config: Config,
    platform: Platform,
    lane_queue: LaneQueue,
    notifications: sns.ITopic,
    storage: Storage,
) -> Values:
    """The chart's values, as far as they follow from what is built here."""
    lane = lane_queue.lane
    runtime = lane.runtime
    values: Values = {
        # Also the service account's name, which the pods' role is bound to.
        "fullnameOverride": lane.name,
        "imageRegistry": config.image_registry,
        "cloud": {
            "region": Aws.REGION,
            "queueUrl": lane_queue.queue.queue_url,
            "topicArn": notifications.topic_arn,
            "bucket": storage.results_name,
        },
        "runtime": {
            "preset": runtime.preset,
            "name": runtime.name,
            "model": runtime.model,
            "image": runtime.image.model_dump(),
        },
        "agent": {"settings": {"referenceBuckets": readable_places(runtime, storage.results_name)}},
        "scaling": {
            "minReplicas": runtime.min_pods,
            "maxReplicas": runtime.max_pods,
            "jobSeconds": runtime.job_seconds,
        },
        "karpenter": {"enabled": True, "nodeClass": _node_class(platform, lane)},
        "models": {"source": runtime.models, "prefix": runtime.models_prefix},
        "telemetry": {"traces": "xray", "collector": {"enabled": True}},
    }
    if runtime.models in {"s3", "download"}:
        values["models"]["bucket"] = storage.models_name
    if platform.private_cidrs:
        values["networkPolicy"] = {"privateCidrs": list(platform.private_cidrs)}
    return values


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
