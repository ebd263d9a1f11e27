"""One runtime in the cluster: releases of `charts/queue-agent` for its queues."""

from collections.abc import Sequence

from aws_cdk import Duration
from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_s3_assets as assets
from aws_cdk import aws_sns as sns
from constructs import Construct

from image_service.chart_values import Values
from image_service.cluster import Platform
from image_service.config import Config
from image_service.messaging import LaneQueue
from image_service.pod_identity import PodRole
from image_service.release_values import release_values
from image_service.rights import give
from image_service.runtime_policy import model_rights, runtime_rights
from image_service.storage import Storage


class RuntimeRelease(Construct):
    """The pods of one queue or of several, with rights of their own."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        config: Config,
        platform: Platform,
        lane_queues: Sequence[LaneQueue],
        on_demand: Sequence[LaneQueue],
        notifications: sns.ITopic,
        storage: Storage,
        chart: assets.Asset,
        images: Values,
    ) -> None:
        """`lane_queues`: the first is the one that the pods are called by. `on_demand`: where the
        pods send what has lost its attempts, in the same order. `images`: the chart's values for
        those that this app builds."""
        super().__init__(scope, construct_id)
        lane = lane_queues[0].lane
        identity = PodRole(
            self,
            "Identity",
            cluster=platform.cluster,
            namespace=config.cluster.namespace,
            service_account=lane.name,
        )
        rights = runtime_rights(
            lane.runtime,
            queues=[it.queue for it in lane_queues],
            on_demand=[it.queue for it in on_demand],
            topic=notifications,
            results=storage.results_name,
        )
        rights += model_rights(lane.runtime, storage.models_name)
        policy = give(identity, identity.role, rights)
        values = release_values(
            config, platform, lane_queues, on_demand, notifications, storage, images
        )
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
