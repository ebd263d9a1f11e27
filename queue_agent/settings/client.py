"""What a publisher or subscriber must know of the deployment."""

from queue_agent.settings.reader import Reader
from queue_agent.settings.shared import BUCKET, JOB_TOPIC, NOTIFICATION_TOPIC, REGION, RUNTIME_NAME
from queue_agent.settings.values import BucketName, RuntimeName, TopicArn


class ClientSettings(Reader):
    """Where jobs go and where answers come from; a part may be missing if it is not used."""

    job_topic: TopicArn | None = JOB_TOPIC.field(None)
    notification_topic: TopicArn | None = NOTIFICATION_TOPIC.field(None)
    bucket: BucketName | None = BUCKET.field(None)
    runtime: RuntimeName | None = RUNTIME_NAME.field(None)
    region: str | None = REGION.field(None)
