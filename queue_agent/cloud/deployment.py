"""What one runtime needs of a cloud, by the names that its ports are opened with."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from queue_agent.wire.priorities import NORMAL, PRIORITIES


@dataclass(frozen=True)
class Deployment:
    """Jobs by topic to a runtime's queue, a bucket for results, a topic for notifications."""

    runtime_name: str
    job_topic: str
    queue_url: str
    dead_letter_queue_url: str | None
    notification_topic: str
    bucket: str
    urgent: Mapping[str, str] = field(default_factory=dict)
    """The URLs of the queues by priority that there are beside the usual one."""

    @property
    def queues(self) -> Mapping[str, str]:
        """The URLs of all queues by priority, the most urgent first."""
        known = {**self.urgent, NORMAL: self.queue_url}
        return {name: known[name] for name in PRIORITIES if name in known}

    def environment(self) -> Mapping[str, str]:
        """The agent's settings for this deployment, by environment names."""
        several = ",".join(f"{name}={url}" for name, url in self.queues.items())
        queues = {"QUEUE_AGENT_QUEUES": several} if self.urgent else {}
        return {
            **(queues or {"QUEUE_AGENT_QUEUE_URL": self.queue_url}),
            "QUEUE_AGENT_TOPIC_ARN": self.notification_topic,
            "QUEUE_AGENT_BUCKET": self.bucket,
            "QUEUE_AGENT_RUNTIME_NAME": self.runtime_name,
        }
