"""The EKS cluster: a new one with all that the chart needs, or one that is there already."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aws_cdk import Acknowledgment, Annotations, CfnOutput, CfnResource, Stack, Validations
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from image_service import versions
from image_service.acknowledgements import (
    acknowledge,
    acknowledge_managed_policies,
)
from image_service.addons import Addons, NodeAddons, reading_models
from image_service.config import ClusterConfig, ExistingCluster
from image_service.karpenter import Karpenter
from image_service.keda import Keda, reading_queues
from image_service.kubectl import acknowledge_kubectl, acknowledge_reading_charts, kubectl
from image_service.network import Network
from image_service.rights import give

SERVICE_CIDR: Final = "172.20.0.0/16"

_NODE_POLICIES: Final = (
    "AmazonEKSWorkerNodePolicy",
    "AmazonEKS_CNI_Policy",
    "AmazonEC2ContainerRegistryReadOnly",
    "AmazonSSMManagedInstanceCore",
)

_SYSTEM_AMIS: Final = {
    ec2.InstanceArchitecture.ARM_64: eks.NodegroupAmiType.BOTTLEROCKET_ARM_64,
    ec2.InstanceArchitecture.X86_64: eks.NodegroupAmiType.BOTTLEROCKET_X86_64,
}


def system_architecture(config: ClusterConfig) -> ec2.InstanceArchitecture:
    """Of a new cluster's nodes that are not for GPUs."""
    return ec2.InstanceType(config.system_instance).architecture


@dataclass(frozen=True)
class Platform:
    """What the runtimes' releases need to know of the cluster."""

    cluster: eks.ICluster
    node_role_name: str
    security_group_id: str
    pod_subnet_ids: Sequence[str]
    private_cidrs: Sequence[str]
    """Networks of the VPC's endpoints and of the Kubernetes API; none: the chart's guess."""


class NewCluster(Construct):
    """Managed nodes for the system, and on them Karpenter, KEDA and the add-ons."""

    def __init__(
        self, scope: Construct, construct_id: str, *, name: str, config: ClusterConfig,
        network: Network, queues: Sequence[sqs.IQueue], models_bucket: str,
    ) -> None:  # fmt: skip
        super().__init__(scope, construct_id)
        node_role = self._node_role()
        cluster = self._cluster(name, config, network)
        nodes = cluster.add_nodegroup_capacity(
            "System",
            ami_type=_SYSTEM_AMIS[system_architecture(config)],
            instance_types=[ec2.InstanceType(config.system_instance)],
            min_size=2,
            max_size=4,
            desired_size=2,
            node_role=node_role,
            subnets=ec2.SubnetSelection(subnets=network.vpc.private_subnets),
        )
        nodes.node.add_dependency(NodeAddons(self, "NodeAddons", cluster=cluster))
        addons = Addons(
            self,
            "Addons",
            cluster=cluster,
            models_bucket=models_bucket,
            container_insights=config.container_insights,
        )
        addons.node.add_dependency(nodes)
        karpenter = Karpenter(
            self,
            "Nodes",
            cluster=cluster,
            cluster_name=name,
            node_role=node_role,
            source=config.karpenter,
        )
        keda = Keda(self, "Scaling", cluster=cluster, queues=queues, source=config.keda)
        for chart in (karpenter.chart, keda.chart):
            chart.node.add_dependency(addons)
        self.platform = Platform(
            cluster=cluster,
            node_role_name=node_role.role_name,
            security_group_id=cluster.cluster_security_group_id,
            pod_subnet_ids=network.pod_subnet_ids,
            private_cidrs=[network.cidr, SERVICE_CIDR],
        )

    def _cluster(self, name: str, config: ClusterConfig, network: Network) -> eks.Cluster:
        reachable = config.public_access
        cluster = eks.Cluster(
            self,
            "Cluster",
            cluster_name=name,
            version=versions.KUBERNETES,
            vpc=network.vpc,
            vpc_subnets=[ec2.SubnetSelection(subnets=network.vpc.private_subnets)],
            service_ipv4_cidr=SERVICE_CIDR,
            endpoint_access=eks.EndpointAccess.PUBLIC_AND_PRIVATE.only_from(*reachable)
            if reachable
            else eks.EndpointAccess.PRIVATE,
            cluster_logging=list(eks.ClusterLoggingTypes),
            default_capacity_type=eks.DefaultCapacityType.NODEGROUP,
            default_capacity=0,
            bootstrap_self_managed_addons=False,
            bootstrap_cluster_creator_admin_permissions=False,
            kubectl_provider_options=kubectl(self, network.vpc),
        )
        control_plane = cluster.node.default_child
        if isinstance(control_plane, CfnResource):
            control_plane.add_property_override("UpgradePolicy.SupportType", versions.SUPPORT)
        scope = eks.AccessPolicy.from_access_policy_name(
            "AmazonEKSClusterAdminPolicy", access_scope_type=eks.AccessScopeType.CLUSTER
        )
        for number, arn in enumerate(config.admins):
            cluster.grant_access(f"Admin{number}", arn, [scope])
        if not config.admins:
            nobody = "cluster.admins is empty: nobody will be able to use kubectl or Helm."
            Annotations.of(cluster).add_warning_v2("image-service:no-admins", nobody)
        region = Stack.of(self).region
        command = f"aws eks update-kubeconfig --name {name} --region {region}"
        CfnOutput(Stack.of(self), "Kubeconfig", value=command, description="Then kubectl works.")
        acknowledge(
            cluster,
            {
                "EKS1": "Only the networks that the configuration lists get in.",
            },
        )
        acknowledge_managed_policies(
            cluster,
            ["AmazonEKSClusterPolicy"],
            "The control plane's role has the policy that EKS documents for it.",
        )
        acknowledge_kubectl(cluster.node.find_child("KubectlProvider"))
        return cluster

    def _node_role(self) -> iam.Role:
        """One role for all nodes; pods have their own and do not reach it."""
        policies = [iam.ManagedPolicy.from_aws_managed_policy_name(it) for it in _NODE_POLICIES]
        role = iam.Role(
            self,
            "NodeRole",
            assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"),
            managed_policies=policies,
        )
        acknowledge_managed_policies(
            role, _NODE_POLICIES, "EKS documents AWS's own policies for nodes."
        )
        return role


class BorrowedCluster(Construct):
    """An existing cluster: only rights for what runs there already."""

    def __init__(
        self, scope: Construct, construct_id: str, *, config: ExistingCluster,
        network: Network, queues: Sequence[sqs.IQueue], models_bucket: str,
    ) -> None:  # fmt: skip
        super().__init__(scope, construct_id)
        keda = iam.Role.from_role_arn(self, "Keda", config.keda_role)
        give(Construct(self, "KedaRights"), keda, [reading_queues(queues)])
        if config.s3_csi_role:
            driver = iam.Role.from_role_arn(self, "S3Driver", config.s3_csi_role)
            give(Construct(self, "S3DriverRights"), driver, reading_models(models_bucket))
        cluster = self._cluster("Bare", config, network)
        role = iam.Role.from_role_arn(self, "Kubectl", config.kubectl_role)
        options = kubectl(self, network.vpc, role)
        provider = eks.KubectlProvider(
            self,
            "KubectlProvider",
            cluster=cluster,
            kubectl_layer=options.kubectl_layer,
            private_subnets=options.private_subnets,
            role=options.role,
        )
        acknowledge_kubectl(provider)
        acknowledge_reading_charts(role)
        unused = Acknowledgment(
            id="CloudFormation-Validate::W8001",
            reason="CDK's provider makes a condition for its own role, which is not made here.",
        )
        Validations.of(Stack.of(self)).acknowledge(unused)
        self.platform = Platform(
            cluster=self._cluster("Cluster", config, network, provider),
            node_role_name=config.node_role,
            security_group_id=config.security_group,
            pod_subnet_ids=network.pod_subnet_ids,
            private_cidrs=[],
        )

    def _cluster(
        self,
        construct_id: str,
        config: ExistingCluster,
        network: Network,
        provider: eks.IKubectlProvider | None = None,
    ) -> eks.ICluster:
        return eks.Cluster.from_cluster_attributes(
            self,
            construct_id,
            cluster_name=config.name,
            vpc=network.vpc,
            cluster_security_group_id=config.security_group,
            security_group_ids=[config.security_group],
            kubectl_provider=provider,
        )
