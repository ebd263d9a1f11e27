"""KEDA: as many pods as the queues ask for, down to none."""

from collections.abc import Sequence
from typing import Final

from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from image_service import versions
from image_service.charts import public_chart
from image_service.config import ChartSource
from image_service.pod_identity import PodRole
from image_service.rights import Right, give

_NAMESPACE: Final = "keda"
_SERVICE_ACCOUNT: Final = "keda-operator"


class Keda(Construct):
    """The operator, which may ask the runtimes' queues how long they are and nothing else."""

    def __init__(
        self, scope: Construct, construct_id: str, *, cluster: eks.ICluster,
        queues: Sequence[sqs.IQueue], source: ChartSource,
    ) -> None:  # fmt: skip
        super().__init__(scope, construct_id)
        identity = PodRole(
            self,
            "Identity",
            cluster=cluster,
            namespace=_NAMESPACE,
            service_account=_SERVICE_ACCOUNT,
        )
        policy = give(identity, identity.role, [reading_queues(queues)])
        self.chart = public_chart(
            self,
            "Keda",
            cluster=cluster,
            source=source,
            repository="https://kedacore.github.io/charts",
            chart="keda",
            version=versions.KEDA,
            namespace=_NAMESPACE,
            values={"serviceAccount": {"operator": {"name": _SERVICE_ACCOUNT}}},
        )
        self.chart.node.add_dependency(identity, policy)


def reading_queues(queues: Sequence[sqs.IQueue]) -> Right:
    """What KEDA's scaler asks: https://keda.sh/docs/2.21/scalers/aws-sqs/"""
    return Right(
        "ReadQueueLengths", ["sqs:GetQueueAttributes"], [queue.queue_arn for queue in queues]
    )
