"""What an operator decides, read from one YAML file and checked before anything is built."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from image_service.chart_values import merged, value_of
from image_service.config_values import (
    AdminArn,
    Bucket,
    BucketOrPrefix,
    Cidr,
    Folder,
    Name,
    Region,
    RoleArn,
    RuntimeName,
    Zone,
)
from image_service.timings import RuntimeTimes, has_spot, timings
from queue_agent.cloud.queue_times import LONGEST_HOLD
from queue_agent.wire.capacity import (
    CAPACITY_ATTRIBUTE,
    MOST_LOST,
    ON_DEMAND,
    SPOT,
    CapacityType,
)
from queue_agent.wire.layout import DEFAULT_PREFIX
from queue_agent.wire.priorities import NORMAL, PRIORITY_ATTRIBUTE, Priority, Urgency, filter_of


class ConfigError(Exception):
    """The configuration cannot be used; the message has one line per mistake."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageConfig(_Section):
    """A container image."""

    repository: str = ""
    tag: str = ""


class RuntimeConfig(_Section):
    """One runtime with queue, pods and rights of its own."""

    name: RuntimeName = Field(description="The `runtime` that jobs name.")
    preset: Literal["webui", "comfyui", "diffusers", "cog", "triton", "custom"]
    model: str = ""
    image: ImageConfig = ImageConfig()
    http_adapter: str = Field(
        default="",
        description="With the preset custom, for a server that a YAML file describes: the name of "
        "a shipped description, or the text of one's own (`http_adapter: |`).",
    )
    job_seconds: int = Field(default=30, ge=1, le=21_600, description="Expected length of a job.")
    max_receives: int = Field(default=3, ge=1, le=1000, description="Then: dead-letter queue.")
    visibility_seconds: int | None = Field(
        default=None,
        ge=30,
        le=LONGEST_HOLD,
        description="A lost pod keeps its job from others; none: from `job_seconds`.",
    )
    retention_days: int | None = Field(
        default=None, ge=1, description="The queue keeps a job; none: from `job_seconds`."
    )
    priorities: tuple[Urgency, ...] = Field(
        default=(), description="Each has a queue of its own beside the usual one: high, low."
    )
    queue_rule: Literal["strict", "reserved", "weighted"] | None = Field(
        default=None,
        description="By which the same pods serve all these queues; none: each has its own pods.",
    )
    queue_shares: dict[Priority, Annotated[int, Field(ge=1, le=100)]] = Field(
        default_factory=dict,
        description="By priority, normal included: what is reserved in percent, or the weight.",
    )
    prefixes: tuple[Folder, ...] = Field(
        default=(),
        description="Folders that jobs may name as `prefix`, beside the default one that all "
        "runtimes share; none: the runtime's name.",
    )
    inputs: tuple[BucketOrPrefix, ...] = Field(
        default=(), description="Other buckets (or bucket/prefix) that jobs' inputs may lie in."
    )
    min_pods: int = Field(default=0, ge=0)
    max_pods: int = Field(default=10, ge=1)
    on_demand_pods: int | None = Field(
        default=None,
        ge=0,
        description="Its queues are for spot, and each has one for on demand beside it, to which "
        "near deadlines go; so many pods of that stay. None: its queues are for both.",
    )
    gpus: int = Field(default=1, ge=1, le=16, description="GPUs of one pod.")
    models: Literal["s3", "download", "scratch", "none"] = "scratch"
    models_prefix: str = Field(default="", pattern=r"^([^/].*/)?$")
    image_snapshot: str = Field(default="", pattern=r"^(snap-[0-9a-f]+)?$")
    values: dict[str, JsonValue] = Field(
        default_factory=dict, description="Values of the chart, laid over what is derived here."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.preset != "diffusers" and not self.image.repository:
            raise ValueError(f"image.repository: the preset {self.preset} has no image of its own")
        if self.http_adapter and self.preset != "custom":
            raise ValueError("http_adapter: has a meaning with the preset custom")
        if self.preset == "diffusers" and not self.model:
            raise ValueError("model: the preset diffusers needs one")
        if self.preset == "diffusers" and not self.model.startswith("/"):
            if self.models in {"s3", "download"}:
                raise ValueError(
                    f"model: {self.model} is fetched by the runtime, and models: {self.models} "
                    "brings those of the bucket: a path such as /models/NAME, or models: scratch"
                )
        elif self.preset == "diffusers" and self.models == "scratch":
            raise ValueError(
                f"model: {self.model} is not in the empty volume of models: scratch; download or "
                "s3 bring models of the bucket, none leaves them to the image"
            )
        if self.min_pods > self.max_pods:
            raise ValueError("min_pods is more than max_pods")
        if self.on_demand_pods is not None:
            self._check_capacities()
        self._check_queues()
        for lane in self.lanes:
            _ = lane.runtime.timings
        return self

    def _check_queues(self) -> None:
        if len(set(self.priorities)) < len(self.priorities):
            raise ValueError("priorities: name each once")
        if self.queue_rule is not None and not self.priorities:
            raise ValueError("queue_rule: there are several queues only with priorities")
        if self.queue_shares and self.queue_rule in {None, "strict"}:
            raise ValueError("queue_shares: have a meaning with queue_rule reserved or weighted")
        if strangers := set(self.queue_shares) - {NORMAL, *self.priorities}:
            raise ValueError(f"queue_shares: no queue is for {', '.join(sorted(strangers))}")
        if self.queue_rule == "reserved" and sum(self.queue_shares.values()) > 100:
            raise ValueError("queue_shares: more than 100 % together cannot be reserved")

    def _check_capacities(self) -> None:
        if (self.on_demand_pods or 0) > self.max_pods:
            raise ValueError("on_demand_pods is more than max_pods")
        if value_of(self.values, "karpenter", "capacityTypes") is not None:
            raise ValueError("on_demand_pods: values.karpenter.capacityTypes says another thing")
        if self.max_receives <= MOST_LOST:
            raise ValueError(
                f"on_demand_pods: max_receives must be {MOST_LOST + 1} or more, since the "
                f"delivery after {MOST_LOST} lost ones sends a job there"
            )

    @property
    def timings(self) -> RuntimeTimes:
        """All that follows from `job_seconds`."""
        return timings(
            self.job_seconds,
            self.max_receives,
            self.values,
            visibility=self.visibility_seconds,
            retention_days=self.retention_days,
        )

    @property
    def has_spot(self) -> bool:
        """Whether its nodes may be spot instances."""
        return has_spot(self.values)

    @property
    def has_services(self) -> bool:
        """Whether the agent's image runs on nodes without a GPU, too: as scaler or gateway."""
        gateway = value_of(self.values, "gateway", "enabled")
        return bool(gateway) or value_of(self.values, "scaling", "by") != "length"

    @property
    def folders(self) -> tuple[str, ...]:
        """Where its results may lie; the first is for jobs that name no prefix."""
        return tuple(dict.fromkeys((DEFAULT_PREFIX, *(self.prefixes or (self.name,)))))

    @property
    def lanes(self) -> "tuple[Lane, ...]":
        """Its queues: the usual one, then one per priority; each for spot and for on demand."""
        capacities = (None,) if self.on_demand_pods is None else (SPOT, ON_DEMAND)
        return tuple(
            Lane(self._on(capacity), priority, capacity)
            for priority in (None, *self.priorities)
            for capacity in capacities
        )

    @property
    def releases(self) -> "tuple[tuple[Lane, ...], ...]":
        """Its queues by the pods that serve them; the first is the one that those are called by."""
        if self.queue_rule is None:
            return tuple((lane,) for lane in self.lanes)
        capacities = dict.fromkeys(lane.capacity for lane in self.lanes)
        return tuple(
            tuple(lane for lane in self.lanes if lane.capacity == capacity)
            for capacity in capacities
        )

    def _on(self, capacity: CapacityType | None) -> Self:
        """The same on nodes of one capacity type."""
        if capacity is None:
            return self
        nodes = {
            "karpenter": {"capacityTypes": [capacity]},
            "pod": {"nodeSelector": {"karpenter.sh/capacity-type": capacity}},
        }
        pods = self.min_pods if capacity == SPOT else self.on_demand_pods
        return self.model_copy(update={"values": merged(nodes, self.values), "min_pods": pods})


@dataclass(frozen=True)
class Lane:
    """One queue of a runtime and the pods that serve it."""

    runtime: RuntimeConfig
    priority: Urgency | None
    capacity: CapacityType | None = None
    """Of its nodes; None: of both types."""

    @property
    def name(self) -> str:
        on_demand = ON_DEMAND if self.capacity == ON_DEMAND else None
        parts = (self.runtime.name, self.priority, on_demand)
        return "-".join(part for part in parts if part is not None)

    @property
    def urgency(self) -> Priority:
        """The priority of its jobs."""
        return self.priority or NORMAL

    @property
    def on_demand(self) -> str | None:
        """The name of that for the jobs which have lost their attempts here."""
        return f"{self.name}-{ON_DEMAND}" if self.capacity == SPOT else None

    @property
    def filter_policy(self) -> dict[str, list[JsonValue]]:
        """Message attributes of the jobs that belong here, as SNS filters by them."""
        policy: dict[str, list[JsonValue]] = {"runtime": [self.runtime.name]}
        of_priority = filter_of(self.urgency, self.runtime.priorities)
        if of_priority is not None:
            policy[PRIORITY_ATTRIBUTE] = of_priority
        if self.capacity == ON_DEMAND:
            policy[CAPACITY_ATTRIBUTE] = [ON_DEMAND]
        elif self.capacity == SPOT:
            policy[CAPACITY_ATTRIBUTE] = [{"exists": False}, {"anything-but": [ON_DEMAND]}]
        return policy


class StorageConfig(_Section):
    """The buckets."""

    keep_days: int = Field(default=0, ge=0, description="Results are deleted then; 0: never.")
    cors_origins: tuple[str, ...] = Field(
        default=(), description="Web pages that may read results by presigned links."
    )
    models_bucket: Bucket | None = Field(default=None, description="An existing one.")


class ApiConfig(_Section):
    """The HTTP front."""

    enabled: bool = True
    rate: int = Field(default=50, ge=1, description="Requests per second.")
    burst: int = Field(default=100, ge=1)
    monthly_quota: int = Field(default=0, ge=0, description="Requests per key; 0: no limit.")
    fair: bool = Field(
        default=True,
        description="Whether queues are told whose jobs are: `metadata.tenant`, else the key's id.",
    )
    waf: bool = False


class ExistingVpc(_Section):
    """A VPC that is there already."""

    vpc_id: str = Field(pattern=r"^vpc-[0-9a-f]+$")
    cidr: Cidr
    availability_zones: tuple[str, ...] = Field(min_length=2)
    private_subnets: tuple[Annotated[str, Field(pattern=r"^subnet-[0-9a-f]+$")], ...] = Field(
        min_length=2
    )
    private_route_tables: tuple[Annotated[str, Field(pattern=r"^rtb-[0-9a-f]+$")], ...] = Field(
        default=(), description="Those that shall have an endpoint for S3; none: it exists."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        count = len(self.private_subnets)
        if count % len(self.availability_zones):
            raise ValueError("private_subnets: name as many as zones, or a multiple")
        if self.private_route_tables and len(self.private_route_tables) != count:
            raise ValueError("private_route_tables: name one per private subnet, or none")
        return self


class NetworkConfig(_Section):
    """The network that pods run in."""

    cidr: Cidr = "10.0.0.0/16"
    zones: tuple[Zone, ...] = Field(
        default=(), description="Names of two zones or more; none: the region's first three."
    )
    nat_gateways: int = Field(default=1, ge=1, description="One, or one per zone.")
    existing: ExistingVpc | None = None

    @property
    def zone_count(self) -> int:
        return len(self.zones) or 3

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.zones) == 1 or len(set(self.zones)) < len(self.zones):
            raise ValueError("zones: name two or more, each once")
        if self.nat_gateways > self.zone_count:
            raise ValueError(f"nat_gateways: more than the {self.zone_count} zones")
        return self


class ExistingCluster(_Section):
    """An EKS cluster with KEDA, Karpenter and the Pod Identity agent."""

    name: str
    kubectl_role: RoleArn = Field(
        description="Trusts Lambda; an admin of the cluster, to install charts."
    )
    security_group: str = Field(pattern=r"^sg-[0-9a-f]+$")
    node_role: str = Field(description="Name of the role that Karpenter's nodes have.")
    keda_role: RoleArn = Field(description="The KEDA operator's; gets the right to read queues.")
    s3_csi_role: RoleArn | None = Field(
        default=None, description="The S3 CSI driver's; gets the right to read the models."
    )


class ChartSource(_Section):
    """Where a cluster component's chart comes from, if not from its project."""

    repository: str = ""
    values: dict[str, JsonValue] = Field(default_factory=dict)


class ClusterConfig(_Section):
    """The EKS cluster."""

    existing: ExistingCluster | None = None
    namespace: Name = "images"
    public_access: tuple[Cidr, ...] = Field(
        default=(), description="Networks that reach the Kubernetes API; none: only the VPC."
    )
    admins: tuple[AdminArn, ...] = Field(
        default=(), description="Roles and users that may use kubectl and Helm: you, for one."
    )
    spot_role: bool = Field(
        default=True,
        description="Make the account's role for spot instances, where it is not there yet.",
    )
    system_instance: str = "m7g.large"
    container_insights: bool = True
    karpenter: ChartSource = ChartSource()
    keda: ChartSource = ChartSource()


class ObservabilityConfig(_Section):
    """When someone is told."""

    alarm_email: str | None = Field(default=None, pattern=r"^[^@\s]+@[^@\s]+$")
    oldest_message_seconds: int | None = Field(
        default=None, ge=60, description="None: a quarter of an hour and the length of a job."
    )
    failed_percent: int = Field(default=5, ge=1, le=100)


class Config(_Section):
    """A whole deployment."""

    name: Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,22}[a-z0-9])?$")] = "images"
    region: Region
    image_registry: str = Field(
        default="",
        description="Where `make images` pushed the project's images; empty: `cdk deploy` builds "
        "and pushes them, for which Docker is needed.",
    )
    runtimes: tuple[RuntimeConfig, ...]
    storage: StorageConfig = StorageConfig()
    api: ApiConfig = ApiConfig()
    network: NetworkConfig = NetworkConfig()
    cluster: ClusterConfig = ClusterConfig()
    observability: ObservabilityConfig = ObservabilityConfig()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.runtimes:
            raise ValueError("runtimes: there must be at least one")
        names = [lane.name for lane in self.lanes]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"runtimes: more than one queue is called {', '.join(doubled)}")
        for one, folder, other, other_folder in _folder_pairs(self.runtimes):
            shared = folder == other_folder == DEFAULT_PREFIX
            if f"{other_folder}/".startswith(f"{folder}/") and not shared:
                raise ValueError(
                    f"runtimes: {one.name} could write to the folder {other_folder} of {other.name}"
                )
        if strangers := [it for it in self.network.zones if not it.startswith(self.region)]:
            raise ValueError(f"network.zones: {', '.join(strangers)} not in {self.region}")
        if len(set(self.cluster.admins)) < len(self.cluster.admins):
            raise ValueError("cluster.admins: name each once")
        if self.cluster.existing and not self.network.existing:
            raise ValueError("network.existing: an existing cluster has an existing VPC")
        if not self.image_registry:
            self._check_built_images()
        return self

    def _check_built_images(self) -> None:
        for runtime in self.runtimes:
            repository = runtime.image.repository
            if repository and not re.match(r"(localhost|[^/]*[.:][^/]*)/", repository):
                raise ValueError(
                    f"image_registry: which holds {repository}? (or name its host in `image`)"
                )
            if runtime.has_services and self.cluster.existing:
                raise ValueError(
                    "image_registry: scaler and gateway may land on nodes of any architecture; "
                    "push images for all by `make images`, and say where (or values: "
                    "{scaling: {by: length}} without a gateway)"
                )

    @property
    def lanes(self) -> tuple[Lane, ...]:
        return tuple(lane for runtime in self.runtimes for lane in runtime.lanes)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a configuration.

        Raises:
            ConfigError: the file is missing, is no YAML, or says something wrong.
        """
        try:
            return cls.model_validate(yaml.safe_load(path.read_text()))
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"{path}: {error}") from error
        except ValidationError as error:
            raise ConfigError("\n".join(_explain(path, error))) from error


def _folder_pairs(
    runtimes: Sequence[RuntimeConfig],
) -> Iterator[tuple[RuntimeConfig, str, RuntimeConfig, str]]:
    for one in runtimes:
        for other in runtimes:
            if one is not other:
                for folder in one.folders:
                    for other_folder in other.folders:
                        yield one, folder, other, other_folder


def _explain(path: Path, error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False):
        where = ".".join(str(part) for part in fault["loc"])
        problem = re.sub(r"^(Value|Assertion) error, ", "", fault["msg"])
        yield f"{path}: {where}: {problem}" if where else f"{path}: {problem}"
