"""EKS add-ons: network, DNS, credentials, models from S3, metrics and logs."""

import json

from aws_cdk import Aws
from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_iam as iam
from constructs import Construct, IDependable
from pydantic import JsonValue

from image_service import versions
from image_service.acknowledgements import acknowledge_managed_policies
from image_service.pod_identity import PodRole
from image_service.rights import Right, give


class NodeAddons(Construct):
    """What nodes need before they are ready."""

    def __init__(self, scope: Construct, construct_id: str, *, cluster: eks.ICluster) -> None:
        super().__init__(scope, construct_id)
        # Policies of pods (NetworkPolicy) are enforced only where the plugin is told to.
        _addon(self, cluster, "vpc-cni", {"enableNetworkPolicy": "true"})
        _addon(self, cluster, "kube-proxy")


class Addons(Construct):
    """What needs nodes, each with no more rights than it needs."""

    def __init__(
        self, scope: Construct, construct_id: str, *, cluster: eks.ICluster, models_bucket: str,
        container_insights: bool,
    ) -> None:  # fmt: skip
        super().__init__(scope, construct_id)
        self._cluster = cluster
        self._add("coredns")
        agent = self._add("eks-pod-identity-agent")
        self._add("metrics-server")
        self._add("aws-mountpoint-s3-csi-driver", agent, self._reading(models_bucket))
        if container_insights:
            self._add("amazon-cloudwatch-observability", agent, self._reporting())

    def _add(self, name: str, *after: IDependable) -> eks.CfnAddon:
        addon = _addon(self, self._cluster, name)
        addon.node.add_dependency(*after)
        return addon

    def _reading(self, models_bucket: str) -> PodRole:
        """The CSI driver's role."""
        identity = PodRole(
            self,
            "S3Driver",
            cluster=self._cluster,
            namespace="kube-system",
            service_account="s3-csi-driver-sa",
        )
        give(identity, identity.role, reading_models(models_bucket))
        return identity

    def _reporting(self) -> PodRole:
        """The CloudWatch agent's role: metrics, logs, and traces that reach it by OTLP."""
        identity = PodRole(
            self,
            "CloudWatchAgent",
            cluster=self._cluster,
            namespace="amazon-cloudwatch",
            service_account="cloudwatch-agent",
        )
        policies = ("CloudWatchAgentServerPolicy", "AWSXrayWriteOnlyAccess")
        for policy in policies:
            identity.role.add_managed_policy(iam.ManagedPolicy.from_aws_managed_policy_name(policy))
        acknowledge_managed_policies(
            identity.role, policies, "The add-on's documentation asks for AWS's own two policies."
        )
        return identity


def _addon(
    scope: Construct, cluster: eks.ICluster, name: str, configuration: JsonValue = None
) -> eks.CfnAddon:
    return eks.CfnAddon(
        scope,
        name,
        addon_name=name,
        addon_version=versions.ADDONS[name],
        cluster_name=cluster.cluster_name,
        configuration_values=json.dumps(configuration) if configuration else None,
        resolve_conflicts="OVERWRITE",
    )


def reading_models(bucket: str) -> list[Right]:
    """What mounting a bucket read-only takes."""
    arn = f"arn:{Aws.PARTITION}:s3:::{bucket}"
    why = "Whatever the models' bucket holds is a model."
    return [
        Right("ListModels", ["s3:ListBucket"], [arn]),
        Right("ReadModels", ["s3:GetObject"], [f"{arn}/*"], why),
    ]
