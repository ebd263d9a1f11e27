"""One runtime in the cluster: a release of `charts/queue-agent` for each of its queues."""

from aws_cdk import Duration
from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_s3_assets as assets
from aws_cdk import aws_sns as sns
from constructs import Construct

from image_service.chart_values import Values, merged
from image_service.cluster import Platform
from image_service.config import Config
from image_service.messaging import LaneQueue
from image_service.pod_identity import PodRole
from image_service.release_values import release_values
from image_service.rights import give
from image_service.runtime_policy import model_rights, runtime_rights
from image_service.storage import Storage


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
        on_demand: LaneQueue | None,
        notifications: sns.ITopic,
        storage: Storage,
        chart: assets.Asset,
        images: Values,
    ) -> None:
        """`on_demand`: where the pods send what has lost its attempts. `images`: the chart's
        values for those that this app builds."""
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
            on_demand=on_demand and on_demand.queue,
            topic=notifications,
            results=storage.results_name,
        )
        if lane.runtime.models == "download":
            rights += model_rights(storage.models_name, lane.runtime.models_prefix)
        policy = give(identity, identity.role, rights)
        values = release_values(config, platform, lane_queue, notifications, storage, images)
        if on_demand is not None:
            sent = {"onDemandQueueUrl": on_demand.queue.queue_url}
            values = merged({"agent": {"settings": sent}}, values)
        release = eks.HelmChart(
            self,
            "Release",
            cluster=platform.cluster,
            release=lane.name,
            chart_asset=chart,
            namespace=config.cluster.namespace,
            values=values,
            timeout=Duration.minutes(5),
        )
        release.node.add_dependency(identity, policy)
