"""Karpenter: brings nodes when pods wait, and drains those that are about to be taken away."""

from typing import Final

from aws_cdk import Duration
from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from image_service import versions
from image_service.acknowledgements import acknowledge
from image_service.charts import public_chart
from image_service.config import ChartSource
from image_service.karpenter_policy import controller_rights
from image_service.pod_identity import PodRole
from image_service.rights import give

_NAMESPACE: Final = "kube-system"
_SERVICE_ACCOUNT: Final = "karpenter"

_NOTICES: Final = {
    "SpotInterruption": ("aws.ec2", "EC2 Spot Instance Interruption Warning"),
    "Rebalance": ("aws.ec2", "EC2 Instance Rebalance Recommendation"),
    "StateChange": ("aws.ec2", "EC2 Instance State-change Notification"),
    "ScheduledChange": ("aws.health", "AWS Health Event"),
}
"""https://karpenter.sh/v1.14/reference/cloudformation/#interruption-handling"""


class Karpenter(Construct):
    """The controller, and the queue by which it hears that nodes will go."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        cluster: eks.ICluster,
        cluster_name: str,
        node_role: iam.IRole,
        source: ChartSource,
    ) -> None:
        """`cluster_name`: the name itself, because it becomes part of tag names."""
        super().__init__(scope, construct_id)
        queue = self._interruption_queue(cluster_name)
        identity = PodRole(
            self,
            "Identity",
            cluster=cluster,
            namespace=_NAMESPACE,
            service_account=_SERVICE_ACCOUNT,
        )
        rights = controller_rights(cluster_name, node_role.role_arn, queue.queue_arn)
        policy = give(identity, identity.role, rights)
        self.chart = public_chart(
            self,
            "Karpenter",
            cluster=cluster,
            source=source,
            repository="oci://public.ecr.aws/karpenter/karpenter",
            chart="karpenter",
            version=versions.KARPENTER,
            namespace=_NAMESPACE,
            values={
                "settings": {"clusterName": cluster_name, "interruptionQueue": queue.queue_name},
                "serviceAccount": {"name": _SERVICE_ACCOUNT},
                "dnsPolicy": "Default",
            },
        )
        self.chart.node.add_dependency(identity, policy)

    def _interruption_queue(self, cluster_name: str) -> sqs.Queue:
        queue = sqs.Queue(
            self,
            "Interruptions",
            queue_name=f"{cluster_name}-interruptions",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.minutes(5),
        )
        for name, (source, detail_type) in _NOTICES.items():
            events.Rule(
                self,
                name,
                event_pattern=events.EventPattern(source=[source], detail_type=[detail_type]),
                targets=[targets.SqsQueue(queue)],
            )
        acknowledge(queue, {"SQS3": "Notices of two minutes ago are of no use to anybody."})
        return queue
