"""Whether what agents write comes back to them as messages."""

from functools import partial
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
        ("notifications", partial(topic.reaches, settings.queue_url, publication)),
        ("events of the bucket", partial(bucket.tells, settings.queue_url)),
    ):
        try:
            comes_back = await looking()
        except QueueAgentError:
            unseen.append(writes)
            continue
        if comes_back:
            raise QueueAgentError(f"{writes} reach the job queue")
    if unseen:
        return f"whether {' and '.join(unseen)} reach the job queue, the role may not see"
    return "neither notifications nor events of the bucket reach the job queue"
