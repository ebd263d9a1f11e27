"""What the operator says of a scaler."""

from queue_agent.settings.queues import QueueSettings
from queue_agent.settings.reader import setting
from queue_agent.settings.shared import (
    BUCKET,
    REGION,
    RUNTIME_NAME,
    SCALER_HOST,
    SCALER_PORT,
    LogSettings,
)
from queue_agent.settings.values import BucketName, Port, Prefixes, RuntimeName
from queue_agent.wire.layout import DEFAULT_PREFIX


class ScalerSettings(QueueSettings, LogSettings):
    """Of the queues of one runtime, and the pods that work on it."""

    bucket: BucketName | None = BUCKET.field(None)
    runtime: RuntimeName = RUNTIME_NAME.field()
    region: str | None = REGION.field(None)
    host: str = SCALER_HOST.field("0.0.0.0")  # noqa: S104  KEDA asks from outside
    port: Port = SCALER_PORT.field(9200)
    wait: float = setting(
        "SCALER_WAIT",
        default=30.0,
        gt=0,
        description="95 % of the jobs that come steadily are to wait no longer.",
    )
    start: float = setting(
        "SCALER_START",
        default=120.0,
        ge=0,
        description="From the wish for a pod to its first job: node, image and model.",
    )
    max_pods: int = setting(
        "SCALER_MAX_PODS", default=1000, ge=1, description="More are never asked for."
    )
    job_seconds: float = setting(
        "SCALER_JOB_SECONDS",
        default=6.0,
        gt=0,
        description="What a job takes, until the bucket's manifests tell it.",
    )
    prefixes: Prefixes = setting(
        "SCALER_PREFIXES",
        default=(DEFAULT_PREFIX,),
        description="Folders of the bucket in which manifests are looked for.",
    )
    poll: float = setting(
        "SCALER_POLL", default=5.0, gt=0, description="Seconds between two looks at the queue."
    )
    settle: float = setting(
        "SCALER_SETTLE",
        default=60.0,
        ge=0,
        description="For so long after its start the scaler only looks, since how much comes is "
        "not known yet; KEDA then keeps the pods that there are.",
    )
