"""The stacks, and who needs whom: data ← api, cluster ← runtimes, observability."""

from dataclasses import dataclass

from aws_cdk import App, CfnOutput, Environment, Stack, Validations
from aws_cdk import aws_s3_assets as assets
from cdk_nag import AwsSolutionsChecks

from image_service.api import Api
from image_service.built_images import BuiltImages
from image_service.chart_values import CHART, Values
from image_service.cluster import BorrowedCluster, NewCluster, Platform, system_architecture
from image_service.config import Config, RuntimeConfig
from image_service.intake_package import Libraries
from image_service.messaging import Messaging
from image_service.network import Network
from image_service.observability import Observability
from image_service.runtime import RuntimeRelease
from image_service.spot_role import SpotRole
from image_service.storage import Storage


@dataclass(frozen=True)
class ImageService:
    """All stacks of a deployment."""

    app: App
    config: Config

    def build(self, libraries: Libraries) -> None:
        """Fill the app; `libraries`: see `intake_package`."""
        checks = AwsSolutionsChecks(self.app, write_suppressions_to_cloud_formation=True)
        Validations.of(self.app).add_plugins(checks)
        data = self._stack("data", "Topics, queues and buckets.")
        messaging = Messaging(data, "Messaging", config=self.config)
        storage = Storage(data, "Storage", name=self.config.name, config=self.config.storage)
        for name, value in (
            ("JobTopic", messaging.job_topic.topic_arn),
            ("NotificationTopic", messaging.notification_topic.topic_arn),
            ("ResultsBucket", storage.results_name),
            ("ModelsBucket", storage.models_name),
        ):
            CfnOutput(data, name, value=value)
        api = self._api(messaging, storage, libraries)
        platform = self._platform(messaging, storage)
        for runtime in self.config.runtimes:
            self._runtime(runtime, platform, messaging, storage)
        Observability(
            self._stack("observability", "Dashboard and alarms."),
            "Observability",
            config=self.config,
            messaging=messaging,
            rest_api=api.rest_api if api else None,
        )

    def _stack(self, part: str, description: str) -> Stack:
        return Stack(
            self.app,
            f"{self.config.name}-{part}",
            env=Environment(region=self.config.region),
            description=description,
        )

    def _api(self, messaging: Messaging, storage: Storage, libraries: Libraries) -> Api | None:
        if not self.config.api.enabled:
            return None
        return Api(
            self._stack("api", "The HTTP front that takes jobs."),
            "Api",
            config=self.config,
            messaging=messaging,
            results=storage.results_name,
            libraries=libraries,
        )

    def _platform(self, messaging: Messaging, storage: Storage) -> Platform:
        stack = self._stack("cluster", "The cluster that runtimes run in.")
        network = Network(stack, "Network", config=self.config.network)
        if self.config.cluster.spot_role and any(it.has_spot for it in self.config.runtimes):
            SpotRole(stack, "SpotRole")
        queues = [lane.queue for lane in messaging.lanes.values()]
        existing = self.config.cluster.existing
        if existing is not None:
            return BorrowedCluster(
                stack, "Eks", config=existing, network=network, queues=queues,
                models_bucket=storage.models_name,
            ).platform  # fmt: skip
        return NewCluster(
            stack, "Eks", name=self.config.name, config=self.config.cluster, network=network,
            queues=queues, models_bucket=storage.models_name,
        ).platform  # fmt: skip

    def _runtime(
        self, runtime: RuntimeConfig, platform: Platform, messaging: Messaging, storage: Storage
    ) -> None:
        stack = self._stack(f"runtime-{runtime.name}", f"Pods of the runtime {runtime.name}.")
        chart = assets.Asset(stack, "Chart", path=str(CHART))
        images: Values = {}
        if not self.config.image_registry:
            cluster = self.config.cluster
            system = None if cluster.existing else system_architecture(cluster)
            images = BuiltImages(stack, "Images", runtime=runtime, system=system).values
        for lanes in runtime.releases:
            RuntimeRelease(
                stack,
                f"Lane-{lanes[0].name}",
                config=self.config,
                platform=platform,
                lane_queues=[messaging.lanes[lane.name] for lane in lanes],
                on_demand=[messaging.lanes[it.on_demand] for it in lanes if it.on_demand],
                notifications=messaging.notification_topic,
                storage=storage,
                chart=chart,
                images=images,
            )
