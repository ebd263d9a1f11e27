"""Whether what agents write comes back to them as messages."""

from typing import Final

from queue_agent.cloud import Cloud, Publication
from queue_agent.settings.agent import Settings
from queue_agent.wire.errors import QueueAgentError
from queue_agent.wire.notification import Notification

HINT: Final = (
    "Publish notifications to another topic, or let the filter policy of the queue's "
    """subscription demand what they lack: "status": [{"exists": false}]. """
    "Send a bucket's events to a queue of their own."
)


async def no_loop(settings: Settings, cloud: Cloud) -> str:
    """What feeds the job queue, as far as it may be looked at.

    Raises:
        QueueAgentError: what agents write does.
    """
    unseen = []
    told = Notification(runtime=settings.name, id="a", status="completed", result=True)
    publication = Publication(told.to_json(), told.attributes())
    topic, bucket = cloud.topic(settings.topic_arn), cloud.bucket(settings.bucket)
    for writes, looking in (
        ("notifications", lambda url: topic.reaches(url, publication)),
        ("events of the bucket", bucket.tells),
    ):
        try:
            reached = [name for name, url in settings.served.items() if await looking(url)]
        except QueueAgentError:
            unseen.append(writes)
            continue
        if reached:
            raise QueueAgentError(f"{writes} reach the job queue {' '.join(reached)}".strip())
    if unseen:
        return f"whether {' and '.join(unseen)} reach the job queue, the role may not see"
    return "neither notifications nor events of the bucket reach the job queue"
