"""Every version that a deployment is made of.

The add-ons of a Kubernetes version: ``aws eks describe-addon-versions --kubernetes-version 1.36``.
They are assumed to fit each other: run that command for your region before the first deployment,
and raise them together, with the extra `cdk`'s layer of kubectl and Helm.
"""

import sys
from typing import Final

from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_lambda as lambda_

KUBERNETES: Final = eks.KubernetesVersion.V1_36
"""Together with the layer that holds kubectl and Helm: ``aws-cdk.lambda-layer-kubectl-v36``.

In standard support until August 2027:
https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-versions.html
"""

SUPPORT: Final = "STANDARD"
"""At its end EKS raises the version itself, instead of asking six times the price for the old one:
https://docs.aws.amazon.com/eks/latest/userguide/view-upgrade-policy.html
"""

ADDONS: Final = {
    "vpc-cni": "v1.22.4-eksbuild.3",
    "kube-proxy": "v1.36.0-eksbuild.21",
    "coredns": "v1.14.3-eksbuild.16",
    "eks-pod-identity-agent": "v1.3.10-eksbuild.3",
    "metrics-server": "v0.9.0-eksbuild.11",
    "aws-mountpoint-s3-csi-driver": "v2.5.0-eksbuild.1",
    "amazon-cloudwatch-observability": "v6.7.0-eksbuild.1",
}

KARPENTER: Final = "1.14.0"
"""https://karpenter.sh/v1.14/: Kubernetes 1.36 takes 1.13 or newer."""

KEDA: Final = "2.21.0"
"""https://keda.sh/docs/2.21/, tested with Kubernetes 1.34 to 1.36."""

LAMBDA_PYTHON: Final = min(sys.version_info[:2], (3, 14))
"""The Python that synthesises, so that the function's package can hold bytecode."""

LAMBDA_ARCHITECTURE: Final = lambda_.Architecture.ARM_64
LAMBDA_WHEELS: Final = "manylinux2014_aarch64"
"""The platform of wheels that run there."""
