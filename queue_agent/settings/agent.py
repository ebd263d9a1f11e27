"""Every setting of the agent, once, with its environment names.

Each has a name of its own (``QUEUE_AGENT_…``); those of AWS's guidance for asynchronous
image generation are accepted beside it, so that its ConfigMap works unchanged. What the
AWS SDK reads itself (credentials, ``AWS_ENDPOINT_URL``, ``AWS_PROFILE``, …) is left to it.
"""

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, SecretStr, ValidationInfo, model_validator

from queue_agent.cloud.addresses import bare_bucket_name
from queue_agent.settings.content_check import ContentCheckSettings
from queue_agent.settings.outputs import OutputSettings
from queue_agent.settings.provenance import ProvenanceSettings
from queue_agent.settings.queues import NamedQueues, QueueSettings, named_queues
from queue_agent.settings.reader import setting
from queue_agent.settings.shared import (
    BUCKET,
    NOTIFICATION_TOPIC,
    REGION,
    RUNTIME_NAME,
    WORKFLOWS,
    LogSettings,
)
from queue_agent.settings.tracing import TracingSettings
from queue_agent.settings.values import (
    BaseUrl,
    BucketName,
    Credentials,
    Headers,
    Hosts,
    JsonObjectText,
    LinkSeconds,
    Names,
    QueueUrl,
    RuntimeName,
    RuntimeType,
    SecondsByTaskType,
    Token,
    TopicArn,
    seconds_by_task_type,
)
from queue_agent.telemetry.options import MetricExport
from queue_agent.wire.job import OnLate
from queue_agent.wire.signing import SigningSecret
from queue_agent.worker.queue_order import QueueRule


def _webhook_secret(value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
    if value is not None:
        SigningSecret.parse(value.get_secret_value())
    elif info.data.get("webhook_hosts"):
        raise ValueError("must be set where QUEUE_AGENT_WEBHOOK_HOSTS names hosts")
    return value


class Settings(
    ContentCheckSettings,
    OutputSettings,
    ProvenanceSettings,
    QueueSettings,
    TracingSettings,
    LogSettings,
):
    """What the operator decides. Durations are in seconds, sizes in bytes."""

    topic_arn: TopicArn = NOTIFICATION_TOPIC.field()
    bucket: BucketName = BUCKET.field()
    region: str | None = REGION.field(None)

    runtime: RuntimeType = setting(
        "RUNTIME", "RUNTIME_TYPE", description="Adapter: see `queue-agent runtimes`."
    )
    runtime_name: RuntimeName | None = RUNTIME_NAME.field(None)
    runtime_url: BaseUrl | None = setting(
        "RUNTIME_URL",
        "API_BASE_URL",
        default=None,
        description="Where the runtime listens; else the adapter's default on this host.",
    )
    runtime_auth: Credentials | None = setting(
        "RUNTIME_AUTH",
        default=None,
        description="USER:PASSWORD of the runtime's API (the Web UI's --api-auth).",
    )
    runtime_api_key: Token | None = setting(
        "RUNTIME_API_KEY", default=None, description="Bearer token of the runtime's API."
    )
    runtime_headers: Headers | None = setting(
        "RUNTIME_HEADERS",
        default=None,
        description="Header fields for each request to the runtime, such as a cookie for a proxy "
        "before it: a JSON object, or lines `Name: value`. One of the credentials' name replaces "
        "them.",
    )
    runtime_headers_file: Path | None = setting(
        "RUNTIME_HEADERS_FILE",
        default=None,
        description="File that holds such header fields; read at the start. Its own win.",
    )
    runtime_ca_file: Path | None = setting(
        "RUNTIME_CA_FILE",
        default=None,
        description="File with the certificates (PEM) of authorities to trust, beside the "
        "system's, where the runtime's address is https; read at the start.",
    )
    runtime_files: Path | None = setting(
        "RUNTIME_FILES",
        default=None,
        description="Folder that the agent shares with ComfyUI and that holds its `output`, "
        "`temp` and `input`: what a job has left there is removed once its result is stored. "
        "Else it stays. Of a server of the OpenAI dialect: where the images lie that it names by "
        "a path.",
    )
    runtime_options: JsonObjectText | None = setting(
        "RUNTIME_OPTIONS",
        default=None,
        description="What only the adapter understands, as a JSON object, for adapters that have "
        "such options: `queue-agent runtimes` names them.",
    )
    switch_models: bool = setting(
        "SWITCH_MODELS",
        "DYNAMIC_SD_MODEL",
        default=True,
        description="Whether a job may make the runtime load another model.",
    )
    workflows: Path | None = WORKFLOWS.field(None)

    warm_up: str | None = setting(
        "WARM_UP",
        default=None,
        description="A job that runs after each start of the runtime, before the agent is ready: "
        "its body as JSON (`metadata.tasktype` and `content`; without a task type what the fields "
        "ask for), a file that holds it, or `default`: a small one that the adapter knows. "
        "Nothing of it is stored or told.",
    )

    keep_warm: float = setting(
        "KEEP_WARM",
        default=0.0,
        ge=0,
        description="With a warm-up: it runs again after so long without a message, for runtimes "
        "that unload what they do not use; a message that comes ends it. 0: it does not.",
    )
    notify_running: bool = setting(
        "NOTIFY_RUNNING",
        "EXP_CALLBACK_WHEN_RUNNING",
        default=False,
        description="Also publish `running` notifications with the progress.",
    )
    progress_interval: float = setting(
        "PROGRESS_INTERVAL",
        default=1.0,
        ge=0,
        description="At least so long between two `running` notifications of a job.",
    )
    preview_interval: float = setting(
        "PREVIEW_INTERVAL",
        default=2.0,
        ge=0,
        description="At least so long between two previews of a job that asks for them "
        "(`metadata.previews`); 0: jobs get none.",
    )
    checkpoint_limit: int = setting(
        "CHECKPOINT_LIMIT",
        default=64 * 1024 * 1024,
        ge=0,
        description="At most so many bytes are kept in the bucket of what a run has done when its "
        "agent must end, for the next attempt to go on with, where the runtime can; 0: nothing is.",
    )
    checkpoint_every: int = setting(
        "CHECKPOINT_EVERY",
        default=0,
        ge=0,
        description="Keep that every so many steps, too, for pods that are killed; 0: only when "
        "the agent is told to end.",
    )
    presign: LinkSeconds = setting(
        "PRESIGN",
        default=0.0,
        description="Add links to the images that work for so long, or until the credentials end "
        "that sign them; 0: none.",
    )

    visibility_timeout: float | None = setting(
        "VISIBILITY_TIMEOUT",
        default=None,
        ge=3,
        le=43_200,
        description="Length of a lease, renewed each third of it; else the queue's own.",
    )
    max_receives: int = setting(
        "MAX_RECEIVES",
        default=5,
        ge=1,
        description="Attempts at a job where the queue has no redrive policy.",
    )
    receive_wait: float = setting(
        "RECEIVE_WAIT", default=20.0, ge=0, le=20, description="Length of a long poll."
    )
    prefetch: int = setting(
        "PREFETCH",
        default=20,
        ge=0,
        le=100,
        description="At most so many messages are held ahead of the GPU; how many are needed "
        "for it never to wait is forecast.",
    )
    max_jobs: int | None = setting(
        "MAX_JOBS",
        default=None,
        ge=1,
        description="End after so many messages, as a Kubernetes Job does; else never.",
    )
    idle_limit: float | None = setting(
        "IDLE_LIMIT",
        default=None,
        ge=0,
        description="End when no message came for so long, as a Kubernetes Job does for which "
        "there is none; else never.",
    )
    pod_deletion_cost: bool = setting(
        "POD_DELETION_COST",
        default=False,
        description="Mark the agent's own pod while it is busy, so that a scale-in takes others.",
    )
    pod_do_not_disrupt: bool = setting(
        "POD_DO_NOT_DISRUPT",
        default=True,
        description="Let that mark hold up Karpenter, too; not on spot nodes: it would keep the "
        "pod from being told to stop before its node is taken away.",
    )
    pod_watch_node: bool = setting(
        "POD_WATCH_NODE",
        default=False,
        description="Watch the agent's own node (`NODE_NAME`), and take that mark away while it is "
        "drained, or nothing is known of it; then it may be set on spot nodes, too.",
    )
    hold_limit: float = setting(
        "HOLD_LIMIT",
        default=60.0,
        gt=0,
        description="A message for which the runtime has no place, or is away, is given back after "
        "so long, unless half of the queue's allowance is used up; then it waits.",
    )
    by_deadline: bool = setting(
        "BY_DEADLINE",
        default=True,
        description="Whether earlier deadlines go first among the jobs that the agent holds; else "
        "who is ready first.",
    )
    look_ahead: int = setting(
        "LOOK_AHEAD",
        default=1,
        ge=1,
        le=32,
        description="So many messages are held ahead of the GPU, and of them those go first whose "
        "model is loaded: a job is overtaken by so many that came later at most, or by four. None "
        "are held beyond what begins within the hold limit. 1: none is chosen by its model.",
    )
    tenant_in_flight: int | None = setting(
        "TENANT_IN_FLIGHT",
        default=None,
        ge=1,
        description="No more jobs of one tenant go to the runtime than make so many there, while "
        "another's waits at this agent; else there is no limit.",
    )
    tenant_strict: bool = setting(
        "TENANT_STRICT",
        default=False,
        description="Whether that limit also holds where nobody else waits, so that the GPU may "
        "idle: what is beyond it is put off.",
    )
    on_late: OnLate = setting(
        "ON_LATE",
        default="run",
        description="What becomes of a job that the agent expects to miss its deadline, unless it "
        "says so itself: run, fail, or notify (and run).",
    )
    estimates: bool = setting(
        "ESTIMATES",
        default=True,
        description="Whether agents tell in the bucket what their jobs took and that they are "
        "there, by which jobs are estimated when they are submitted.",
    )
    gpu_price: float | None = setting(
        "GPU_PRICE",
        default=None,
        ge=0,
        description="What an hour of the runtime's GPU costs, in a currency of your choice: by it "
        "results tell the `cost` of each job, and estimates what it will be.",
    )
    queue_rule: QueueRule = setting(
        "QUEUE_RULE",
        default="strict",
        description="From which of QUEUE_AGENT_QUEUES the next message is taken: strict (the first "
        "that has one; each that waits after 20 others at the latest), reserved (the same, with "
        "SHARE percent of all messages for the queue that says so), or weighted (in proportion to "
        "SHARE, which is 1 unless it is said).",
    )
    on_demand_queue_url: QueueUrl | None = setting(
        "ON_DEMAND_QUEUE_URL",
        default=None,
        description="On spot nodes: URL of the queue of the same runtime for on-demand capacity, "
        "to which a job goes at its third delivery; else it stays.",
    )
    on_demand_queues: NamedQueues = setting(
        "ON_DEMAND_QUEUES",
        default=(),
        description="The same beside QUEUE_AGENT_QUEUES, as NAME=QUEUE_URL by commas, by the names "
        "that stand there.",
    )
    run_timeout: float = setting(
        "RUN_TIMEOUT",
        default=900.0,
        gt=0,
        description="A run that takes longer is interrupted and left to another pod.",
    )
    run_timeouts: SecondsByTaskType = setting(
        "RUN_TIMEOUTS",
        default=(),
        description="The same for some task types: text-to-video=3600,image-to-video=3600.",
    )
    store_patience: float = setting(
        "STORE_PATIENCE",
        default=300.0,
        ge=0,
        description="How long finished work is kept and retried while the cloud fails.",
    )
    retry_delay: float = setting(
        "RETRY_DELAY",
        default=2.0,
        gt=0,
        description="Delay before a released message returns; doubled with each delivery.",
    )
    cancel_poll: float = setting(
        "CANCEL_POLL",
        default=2.0,
        ge=0,
        description="Cancel markers are noticed within so long while jobs wait and run; "
        "0: each job looks only once, by a request of its own.",
    )
    pause_poll: float = setting(
        "PAUSE_POLL",
        default=5.0,
        ge=0,
        le=300,
        description="What operators pause (`queue-agent pause`) is noticed within about so long; "
        "0: it is not looked for.",
    )
    shutdown_grace: float = setting(
        "SHUTDOWN_GRACE",
        default=50.0,
        ge=0,
        description="After SIGTERM: so long to finish what runs.",
    )

    reference_allow: Hosts = setting(
        "REFERENCE_ALLOW",
        default=(),
        description="Private networks and hosts that references may name, and from which outputs "
        "are fetched that a runtime names by URL.",
    )
    reference_buckets: Names = setting(
        "REFERENCE_BUCKETS",
        default=(),
        description="Buckets (or bucket/prefix/) that references and offloaded payloads may name "
        "beside the results bucket; prefixes of the results bucket restrict it.",
    )
    reference_max_bytes: int = setting(
        "REFERENCE_MAX_BYTES",
        default=64 * 2**20,
        gt=0,
        description="Largest input file. Beyond 1 MiB it lies in the temporary folder (`TMPDIR`) "
        "until its job's run is over; all inputs of a job together are at most 256 MiB, and those "
        "of all jobs held 2 GiB.",
    )
    reference_max_pixels: int = setting(
        "REFERENCE_MAX_PIXELS", default=64_000_000, gt=0, description="Largest input image."
    )
    reference_timeout: float = setting(
        "REFERENCE_TIMEOUT", default=30.0, gt=0, description="Time limit for fetching one input."
    )

    models_folder: Path | None = setting(
        "MODELS_FOLDER",
        default=None,
        description="The runtime's folder of models, as the agent sees it: models that jobs need "
        "and that are missing are fetched into it, from QUEUE_AGENT_MODEL_HOSTS, and those of "
        "QUEUE_AGENT_MODELS; else none are.",
    )
    models: Path | None = setting(
        "MODELS",
        default=None,
        description="File with the operator's own list of models, as JSON: "
        '`[{"name", "url", "directory", "sha256", "size"}]`; read at the start. What jobs call '
        "the same is this.",
    )
    model_hosts: Hosts = setting(
        "MODEL_HOSTS",
        default=(),
        description="Hosts that models of jobs may come from, and be redirected to, such as "
        "`huggingface.co, *.hf.co`; none: only the operator's list is fetched.",
    )
    model_credentials: Path | None = setting(
        "MODEL_CREDENTIALS",
        default=None,
        description="File with credentials for hosts of models, as JSON by the host's name: a "
        "bearer token, or an object of header fields; read at the start.",
    )
    models_limit: int = setting(
        "MODELS_LIMIT",
        default=100 * 2**30,
        gt=0,
        description="All fetched models together: what was not used for the longest time makes "
        "room. What was not fetched is not counted, and never removed.",
    )
    model_largest: int = setting(
        "MODEL_LARGEST", default=64 * 2**30, gt=0, description="Largest file of a model."
    )
    model_pickles: bool = setting(
        "MODEL_PICKLES",
        default=False,
        description="Whether jobs may bring models that may hold code (.ckpt, .pt, .pth, .bin); "
        "else such come from the operator's list only, and with their SHA-256.",
    )
    model_timeout: float = setting(
        "MODEL_TIMEOUT",
        default=3600.0,
        gt=0,
        description="Time limit for fetching one model.",
    )

    webhook_hosts: Hosts = setting(
        "WEBHOOK_HOSTS",
        default=(),
        description="Hosts that `metadata.callback_url` may name; none: no webhooks.",
    )
    webhook_secret: Annotated[SecretStr | None, AfterValidator(_webhook_secret)] = setting(
        "WEBHOOK_SECRET",
        default=None,
        validate_default=True,
        description="What webhooks are signed with: whsec_ and base64 of 24 to 64 random bytes.",
    )

    health_host: str = setting(
        "HEALTH_HOST",
        default="0.0.0.0",  # noqa: S104  a pod's probes come from outside
        description="Address of the health endpoints.",
    )
    health_port: int = setting(
        "HEALTH_PORT",
        default=9100,
        ge=0,
        le=65_535,
        description="Port of /healthz and /readyz; 0: off.",
    )
    metrics: MetricExport = setting(
        "METRICS",
        default="prometheus",
        description="off, prometheus (/metrics on the health port), otlp (pushed), or both.",
    )

    @model_validator(mode="after")
    def _has_queues_that_fit(self) -> Self:
        if self.queue_rule == "reserved" and sum(self.shares.values()) > 100:
            raise ValueError("QUEUE_AGENT_QUEUES: reserved shares are more than 100 % together")
        if self.queues and self.on_demand_queue_url:
            raise ValueError(
                "QUEUE_AGENT_ON_DEMAND_QUEUE_URL: beside QUEUE_AGENT_QUEUES set "
                "QUEUE_AGENT_ON_DEMAND_QUEUES"
            )
        for name in self.on_demand:
            if name not in self.served:
                raise ValueError(
                    f"QUEUE_AGENT_ON_DEMAND_QUEUES: {name!r} is none of QUEUE_AGENT_QUEUES"
                )
        return self

    @property
    def on_demand(self) -> dict[str, str]:
        """The URLs of the queues for on-demand capacity, by the queues that jobs come from."""
        if self.on_demand_queue_url:
            return {"": self.on_demand_queue_url}
        return {one.name: one.url for one in named_queues(self.on_demand_queues)}

    @property
    def name(self) -> str:
        """What notifications call the runtime."""
        return self.runtime_name or self.runtime

    @property
    def run_timeout_by_type(self) -> dict[str, float]:
        """Seconds that a run may take, of task types for which it is not `run_timeout`."""
        return seconds_by_task_type(self.run_timeouts)

    @property
    def readable_buckets(self) -> frozenset[str]:
        """Where inputs and offloaded payloads may lie: ``bucket`` or ``bucket/prefix/``.

        The results bucket is open as a whole unless prefixes of it are named.
        """
        named, own = frozenset(self.reference_buckets), bare_bucket_name(self.bucket)
        restricted = any(entry.startswith(f"{own}/") for entry in named)
        return named if restricted else named | {own}
