"""Roles for pods: https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html"""

from aws_cdk import Aws, Stack
from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_iam as iam
from constructs import Construct


class PodRole(Construct):
    """A role that the pods of one service account have, and nobody else."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        cluster: eks.ICluster,
        namespace: str,
        service_account: str,
    ) -> None:
        super().__init__(scope, construct_id)
        arn = Stack.of(self).format_arn(
            service="eks", resource="cluster", resource_name=cluster.cluster_name
        )
        only_them = {
            "StringEquals": {
                "aws:SourceAccount": Aws.ACCOUNT_ID,
                "aws:RequestTag/kubernetes-namespace": namespace,
                "aws:RequestTag/kubernetes-service-account": service_account,
            },
            "ArnEquals": {"aws:SourceArn": arn},
        }
        service = iam.ServicePrincipal("pods.eks.amazonaws.com", conditions=only_them)
        self.role = iam.Role(self, "Role", assumed_by=iam.SessionTagsPrincipal(service))
        self.association = eks.CfnPodIdentityAssociation(
            self,
            "Association",
            cluster_name=cluster.cluster_name,
            namespace=namespace,
            service_account=service_account,
            role_arn=self.role.role_arn,
        )
