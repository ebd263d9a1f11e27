"""Topics and queues: jobs in by runtime and priority, notifications out."""

from collections.abc import Mapping
from typing import Final

from aws_cdk import Duration, Stack
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from image_service.acknowledgements import acknowledge
from image_service.config import Config, Lane
from queue_agent.cloud.queue_times import LONGEST_KEPT

RETENTION: Final = Duration.days(LONGEST_KEPT)
"""How long any queue keeps a message: those with dead letters do."""
_FAILURES_RETENTION: Final = Duration.days(4)


class LaneQueue(Construct):
    """One queue with its dead letters, fed by the job topic."""

    def __init__(
        self, scope: Construct, construct_id: str, *, name: str, lane: Lane, job_topic: sns.ITopic
    ) -> None:
        super().__init__(scope, construct_id)
        self.lane = lane
        timings = lane.runtime.timings
        # By name, because a reference would make a circle of the queue and its dead letters.
        arn = Stack.of(self).format_arn(service="sqs", resource=f"{name}-{lane.name}")
        self.dead_letters = sqs.Queue(
            self,
            "DeadLetters",
            queue_name=f"{name}-{lane.name}-dead",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=RETENTION,
            redrive_allow_policy=sqs.RedriveAllowPolicy(
                redrive_permission=sqs.RedrivePermission.BY_QUEUE,
                source_queues=[sqs.Queue.from_queue_arn(self, "Source", arn)],
            ),
        )
        self.queue = sqs.Queue(
            self,
            "Queue",
            queue_name=f"{name}-{lane.name}",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.seconds(timings.retention),
            visibility_timeout=Duration.seconds(timings.visibility),
            receive_message_wait_time=Duration.seconds(20),
            dead_letter_queue=sqs.DeadLetterQueue(
                queue=self.dead_letters, max_receive_count=lane.runtime.max_receives
            ),
        )
        job_topic.add_subscription(
            subscriptions.SqsSubscription(
                self.queue,
                raw_message_delivery=True,
                filter_policy={
                    attribute: sns.SubscriptionFilter(conditions)
                    for attribute, conditions in lane.filter_policy.items()
                },
            )
        )


class Messaging(Construct):
    """The job topic, the queues behind it, the notification topic."""

    def __init__(self, scope: Construct, construct_id: str, *, config: Config) -> None:
        super().__init__(scope, construct_id)
        self.job_topic = sns.Topic(self, "Jobs", topic_name=f"{config.name}-jobs", enforce_ssl=True)
        self.notification_topic = sns.Topic(
            self, "Notifications", topic_name=f"{config.name}-notifications", enforce_ssl=True
        )
        self.lanes: Mapping[str, LaneQueue] = {
            lane.name: LaneQueue(
                self, f"Lane-{lane.name}", name=config.name, lane=lane, job_topic=self.job_topic
            )
            for lane in config.lanes
        }
        self.failures = self._failures(config)

    def _failures(self, config: Config) -> sqs.Queue:
        """Failed jobs of the last days: counted by an alarm, there for people to look at."""
        queue = sqs.Queue(
            self,
            "Failures",
            queue_name=f"{config.name}-failures",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=_FAILURES_RETENTION,
        )
        failed = sns.SubscriptionFilter.string_filter(allowlist=["failed"])
        self.notification_topic.add_subscription(
            subscriptions.SqsSubscription(
                queue, raw_message_delivery=True, filter_policy={"status": failed}
            )
        )
        acknowledge(
            queue,
            {"SQS3": "Copies of notifications that nobody consumes: they expire."},
        )
        return queue
