"""Every version that a deployment is made of.

The add-ons of a Kubernetes version: ``aws eks describe-addon-versions --kubernetes-version 1.34``.
They are assumed to fit each other: run that command for your region before the first deployment,
and raise them together.
"""

import sys
from typing import Final

from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_lambda as lambda_

KUBERNETES: Final = eks.KubernetesVersion.V1_34
"""Together with the layer that holds kubectl and Helm: ``aws-cdk.lambda-layer-kubectl-v34``."""

ADDONS: Final = {
    "vpc-cni": "v1.20.4-eksbuild.1",
    "kube-proxy": "v1.34.1-eksbuild.2",
    "coredns": "v1.12.4-eksbuild.1",
    "eks-pod-identity-agent": "v1.3.9-eksbuild.3",
    "metrics-server": "v0.8.0-eksbuild.2",
    "aws-mountpoint-s3-csi-driver": "v2.2.0-eksbuild.1",
    "amazon-cloudwatch-observability": "v6.2.0-eksbuild.1",
}

KARPENTER: Final = "1.14.0"
"""https://karpenter.sh/v1.14/"""

KEDA: Final = "2.19.0"
"""https://keda.sh/docs/2.19/"""

LAMBDA_PYTHON: Final = min(sys.version_info[:2], (3, 14))
"""The Python that synthesises, so that the function's package can hold bytecode."""

LAMBDA_ARCHITECTURE: Final = lambda_.Architecture.ARM_64
LAMBDA_WHEELS: Final = "manylinux2014_aarch64"
"""The platform of wheels that run there."""
