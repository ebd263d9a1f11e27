"""What a publisher or subscriber must know of the deployment."""

from queue_agent.settings.queues import QUEUES, NamedQueues, named_queues
from queue_agent.settings.reader import Reader, setting
from queue_agent.settings.shared import (
    BUCKET,
    JOB_TOPIC,
    NOTIFICATION_TOPIC,
    QUEUE_URL,
    REGION,
    RUNTIME_NAME,
)
from queue_agent.settings.values import BucketName, QueueUrl, RuntimeName, TopicArn
from queue_agent.wire.capacity import SpotEstimate
from queue_agent.wire.estimate import USUAL_JOB_SECONDS, USUAL_POD_START


class ClientSettings(Reader):
    """Where jobs go and where answers come from; a part may be missing if it is not used."""

    job_topic: TopicArn | None = JOB_TOPIC.field(None)
    notification_topic: TopicArn | None = NOTIFICATION_TOPIC.field(None)
    bucket: BucketName | None = BUCKET.field(None)
    runtime: RuntimeName | None = RUNTIME_NAME.field(None)
    region: str | None = REGION.field(None)
    queue_url: QueueUrl | None = QUEUE_URL.field(None)
    named_queues: NamedQueues = QUEUES.field(())
    job_seconds: float = setting(
        "JOB_SECONDS",
        default=USUAL_JOB_SECONDS,
        gt=0,
        description="What a job takes on a GPU, for estimates where nothing is known of such jobs, "
        "and for the choice between spot and on demand; gateways learn it.",
    )
    pod_start: float = setting(
        "POD_START",
        default=USUAL_POD_START,
        ge=0,
        description="From the wish for a pod to its first job, for the same.",
    )
    on_demand_stays: bool = setting(
        "ON_DEMAND_STAYS",
        default=False,
        description="Whether there are on-demand pods without work, too, for the same choice.",
    )

    tenant: str | None = setting(
        "TENANT",
        default=None,
        max_length=128,
        description="Whose jobs are that name no `metadata.tenant`, among whom a queue may share "
        "its agents fairly; of a gateway without API keys, too.",
    )
    fair: bool = setting(
        "FAIR",
        default=True,
        description="Whether queues are told whose jobs are, and so may share fairly among "
        "tenants; `metadata.tenant` goes with the job in any case.",
    )

    @property
    def counted(self) -> tuple[str, ...]:
        """The URLs of the queues whose lengths count, as far as they are named."""
        named = (one.url for one in named_queues(self.named_queues))
        return tuple(filter(None, dict.fromkeys((self.queue_url, *named))))

    @property
    def spot(self) -> SpotEstimate:
        """What is said of spot capacity."""
        return SpotEstimate(self.job_seconds, self.pod_start, on_demand_stays=self.on_demand_stays)
