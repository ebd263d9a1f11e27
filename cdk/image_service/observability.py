"""A dashboard, and alarms that tell someone."""

from collections.abc import Sequence

from aws_cdk import Duration
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from image_service.config import Config
from image_service.messaging import LaneQueue, Messaging

_MINUTE = Duration.minutes(1)
_FIVE_MINUTES = Duration.minutes(5)


class Observability(Construct):
    """Queues, answers and the HTTP front at a glance."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        config: Config,
        messaging: Messaging,
        rest_api: apigateway.RestApi | None,
    ) -> None:
        super().__init__(scope, construct_id)
        self._config = config.observability
        self._topic = sns.Topic(
            self, "Alarms", topic_name=f"{config.name}-alarms", enforce_ssl=True
        )
        if self._config.alarm_email:
            self._topic.add_subscription(subscriptions.EmailSubscription(self._config.alarm_email))
        rows = [self._queues(list(messaging.lanes.values())), self._answers(messaging)]
        if rest_api is not None:
            rows.append(self._http(rest_api))
        cloudwatch.Dashboard(self, "Dashboard", dashboard_name=config.name, widgets=rows)

    def _queues(self, lanes: Sequence[LaneQueue]) -> list[cloudwatch.IWidget]:
        for lane in lanes:
            self._alarm(
                f"Waiting-{lane.lane.name}",
                lane.queue.metric_approximate_age_of_oldest_message(
                    period=_MINUTE, statistic="Maximum"
                ),
                above=self._config.oldest_message_seconds or 900 + lane.lane.runtime.job_seconds,
                periods=5,
                text="Jobs wait too long: no pods, no nodes, or not enough of them.",
            )
            self._alarm(
                f"DeadLetters-{lane.lane.name}",
                lane.dead_letters.metric_approximate_number_of_messages_visible(
                    period=_MINUTE, statistic="Maximum"
                ),
                above=0,
                periods=1,
                text="Jobs were given up after too many attempts: see `queue-agent redrive`.",
            )
        return [
            _graph("Jobs waiting", [
                lane.queue.metric_approximate_number_of_messages_visible(period=_MINUTE)
                for lane in lanes
            ]),
            _graph("Jobs in work", [
                lane.queue.metric_approximate_number_of_messages_not_visible(period=_MINUTE)
                for lane in lanes
            ]),
            _graph("Longest wait (s)", [
                lane.queue.metric_approximate_age_of_oldest_message(period=_MINUTE)
                for lane in lanes
            ]),
            _graph("Dead letters", [
                lane.dead_letters.metric_approximate_number_of_messages_visible(period=_MINUTE)
                for lane in lanes
            ]),
        ]  # fmt: skip

    def _answers(self, messaging: Messaging) -> list[cloudwatch.IWidget]:
        failed = messaging.failures.metric_number_of_messages_sent(
            period=_FIVE_MINUTES, statistic="Sum"
        )
        answered = messaging.notification_topic.metric_number_of_messages_published(
            period=_FIVE_MINUTES, statistic="Sum"
        )
        rate = cloudwatch.MathExpression(
            expression="IF(answered > 0, 100 * failed / answered, 0)",
            using_metrics={"failed": failed, "answered": answered},
            label="Failed jobs (%)",
            period=_FIVE_MINUTES,
        )
        self._alarm(
            "FailedJobs",
            rate,
            above=self._config.failed_percent,
            periods=3,
            text="Too many jobs end as failures; the failures queue holds their notifications.",
        )
        unrouted = messaging.job_topic.metric(
            "NumberOfNotificationsFilteredOut-NoMessageAttributes",
            period=_FIVE_MINUTES,
            statistic="Sum",
        )
        self._alarm(
            "UnroutedJobs",
            unrouted,
            above=0,
            periods=1,
            text="Jobs are published without the attribute `runtime`: no queue gets them.",
        )
        return [
            _graph("Notifications", [answered, failed]),
            _graph("Failed jobs (%)", [rate]),
            _graph("Jobs without a runtime", [unrouted]),
        ]

    def _http(self, rest_api: apigateway.RestApi) -> list[cloudwatch.IWidget]:
        errors = rest_api.metric_server_error(period=_FIVE_MINUTES, statistic="Sum")
        self._alarm(
            "ServerErrors", errors, above=0, periods=2, text="The HTTP front answers with 5xx."
        )
        return [
            _graph("Requests", [rest_api.metric_count(period=_MINUTE, statistic="Sum")]),
            _graph("Answers 4xx and 5xx", [rest_api.metric_client_error(statistic="Sum"), errors]),
            _graph("Latency (ms)", [rest_api.metric_latency(statistic="p95")]),
        ]

    def _alarm(
        self, name: str, metric: cloudwatch.IMetric, *, above: float, periods: int, text: str
    ) -> None:
        alarm = cloudwatch.Alarm(
            self,
            name,
            metric=metric,
            threshold=above,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            evaluation_periods=periods,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
            alarm_description=text,
        )
        alarm.add_alarm_action(actions.SnsAction(self._topic))


def _graph(title: str, metrics: Sequence[cloudwatch.IMetric]) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(title=title, left=list(metrics), width=6, height=6)
