"""What one runtime needs of a cloud, by the names that its ports are opened with."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Deployment:
    """Jobs by topic to a runtime's queue, a bucket for results, a topic for notifications."""

    runtime_name: str
    job_topic: str
    queue_url: str
    dead_letter_queue_url: str | None
    notification_topic: str
    bucket: str

    def environment(self) -> Mapping[str, str]:
        """The agent's settings for this deployment, by environment names."""
        return {
            "QUEUE_AGENT_QUEUE_URL": self.queue_url,
            "QUEUE_AGENT_TOPIC_ARN": self.notification_topic,
            "QUEUE_AGENT_BUCKET": self.bucket,
            "QUEUE_AGENT_RUNTIME_NAME": self.runtime_name,
        }
