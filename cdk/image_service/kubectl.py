"""CDK's function that runs kubectl and Helm while stacks are deployed."""

import json
from typing import Final

from aws_cdk import Aws, CfnElement, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_iam as iam
from aws_cdk.lambda_layer_kubectl_v36 import KubectlV36Layer
from constructs import Construct, IConstruct

from image_service.acknowledgements import (
    acknowledge,
    acknowledge_managed_policies,
    acknowledge_wildcards,
)

_REASON: Final = "CDK writes the roles of its function for kubectl and Helm."


def kubectl(
    scope: Construct, vpc: ec2.IVpc, role: iam.IRole | None = None
) -> eks.KubectlProviderOptions:
    """The function, in the VPC, so that the Kubernetes API need not be public."""
    return eks.KubectlProviderOptions(
        kubectl_layer=KubectlV36Layer(scope, "KubectlLayer"),
        private_subnets=vpc.private_subnets,
        role=role,
    )


def acknowledge_kubectl(provider: IConstruct) -> None:
    """Accept what the function is given, which is not ours to narrow."""
    stack = Stack.of(provider)
    acknowledge(provider, {"L1": "CDK chooses the Python and the Node.js of its functions."})
    acknowledge_managed_policies(
        provider,
        [
            "service-role/AWSLambdaBasicExecutionRole",
            "service-role/AWSLambdaVPCAccessExecutionRole",
            "AmazonEC2ContainerRegistryReadOnly",
        ],
        _REASON,
    )
    acknowledge_reading_charts(provider)
    handler = provider.node.find_child("Handler")
    function = handler.node.default_child
    if isinstance(function, CfnElement):
        name = stack.get_logical_id(function)
        versions = f"Resource::<{name}.Arn>:*"
        acknowledge_wildcards(provider, [versions], "CDK lets its framework call every version.")
    registry = handler.node.try_find_child("HasEcrPublic")  # only where CDK makes the role
    if isinstance(registry, CfnElement):
        name = stack.get_logical_id(registry)
        acknowledge(provider, {f"IAM4[Policy::{_public_registry(name)}]": _REASON})


def acknowledge_reading_charts(construct: IConstruct) -> None:
    """Accept how CDK lets its function read charts from the bucket that it stages assets in."""
    region = Stack.of(construct).region
    staged = f"arn:{Aws.PARTITION}:s3:::cdk-hnb659fds-assets-{Aws.ACCOUNT_ID}-{region}/*"
    actions = [f"Action::s3:{action}*" for action in ("GetObject", "GetBucket", "List")]
    acknowledge_wildcards(construct, [*actions, f"Resource::{staged}"], _REASON)


def _public_registry(condition: str) -> str:
    """The policy for the public registry, which not every partition has, in cdk-nag's spelling."""
    policy = ":iam::aws:policy/AmazonElasticContainerRegistryPublicReadOnly"
    arn = {"Fn::Join": ["", ["arn:", {"Ref": "AWS::Partition"}, policy]]}
    choice = {"Fn::If": [condition, arn, {"Ref": "AWS::NoValue"}]}
    return json.dumps(choice, separators=(",", ":"))
