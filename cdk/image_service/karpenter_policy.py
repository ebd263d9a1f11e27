"""What Karpenter's controller may do: launch nodes for one cluster, touch no others.

After https://karpenter.sh/v1.14/reference/cloudformation/: everything that writes is bound to
the tags by which Karpenter marks what is the cluster's.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from aws_cdk import Aws
from aws_cdk import aws_iam as iam

Conditions = Mapping[str, Mapping[str, str | list[str]]]

UNSCOPED: Final = (
    "Descriptions, prices and lists have no resources to name; the regional ones are bound to "
    "this region."
)
SCOPED_BY_TAG: Final = (
    "Karpenter makes instances, launch templates, volumes and instance profiles under names of "
    "its own; each statement is bound to the tags that mark this cluster's."
)

_LAUNCHED: Final = (
    "fleet", "instance", "volume", "network-interface", "launch-template",
    "spot-instances-request",
)  # fmt: skip


def controller_statements(
    cluster_name: str, node_role_arn: str, interruption_queue_arn: str
) -> list[iam.PolicyStatement]:
    """The statements of the controller's role."""
    return [
        *_launching(cluster_name),
        *_ending(cluster_name),
        *_instance_profiles(cluster_name),
        *_reading(),
        _allow(
            "PassNodeRole",
            ["iam:PassRole"],
            [node_role_arn],
            {"StringEquals": {"iam:PassedToService": ["ec2.amazonaws.com", "ec2.amazonaws.com.cn"]}},
        ),
        _allow(
            "FindCluster",
            ["eks:DescribeCluster"],
            [f"arn:{Aws.PARTITION}:eks:{Aws.REGION}:{Aws.ACCOUNT_ID}:cluster/{cluster_name}"],
        ),
        _allow(
            "HearOfInterruptions",
            ["sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"],
            [interruption_queue_arn],
        ),
    ]


def _launching(cluster: str) -> list[iam.PolicyStatement]:
    marked: Conditions = {
        "StringEquals": {
            f"aws:RequestTag/kubernetes.io/cluster/{cluster}": "owned",
            "aws:RequestTag/eks:eks-cluster-name": cluster,
        },
        "StringLike": {"aws:RequestTag/karpenter.sh/nodepool": "*"},
    }
    from_calls = {
        "ec2:CreateAction": ["RunInstances", "CreateFleet", "CreateLaunchTemplate"]
    }
    return [
        _allow(
            "LaunchFrom",
            ["ec2:RunInstances", "ec2:CreateFleet"],
            [
                *(f"arn:{Aws.PARTITION}:ec2:{Aws.REGION}::{kind}/*" for kind in ("image", "snapshot")),
                *_ec2("security-group", "subnet", "capacity-reservation"),
            ],
        ),
        _allow(
            "LaunchFromTemplates",
            ["ec2:RunInstances", "ec2:CreateFleet"],
            _ec2("launch-template"),
            _owned(cluster),
        ),
        _allow(
            "Launch",
            ["ec2:RunInstances", "ec2:CreateFleet", "ec2:CreateLaunchTemplate"],
            _ec2(*_LAUNCHED, "capacity-reservation"),
            marked,
        ),
        _allow(
            "TagWhatIsLaunched",
            ["ec2:CreateTags"],
            _ec2(*_LAUNCHED),
            {**marked, "StringEquals": {**marked["StringEquals"], **from_calls}},
        ),
    ]


def _ending(cluster: str) -> list[iam.PolicyStatement]:
    tags = ["eks:eks-cluster-name", "karpenter.sh/nodeclaim", "Name"]
    return [
        _allow(
            "TagNodes",
            ["ec2:CreateTags"],
            _ec2("instance"),
            {
                **_owned(cluster),
                "StringEqualsIfExists": {"aws:RequestTag/eks:eks-cluster-name": cluster},
                "ForAllValues:StringEquals": {"aws:TagKeys": tags},
            },
        ),
        _allow(
            "End",
            ["ec2:TerminateInstances", "ec2:DeleteLaunchTemplate"],
            _ec2("instance", "launch-template"),
            _owned(cluster),
        ),
    ]


def _instance_profiles(cluster: str) -> list[iam.PolicyStatement]:
    profiles = [f"arn:{Aws.PARTITION}:iam::{Aws.ACCOUNT_ID}:instance-profile/*"]
    marked, owned = (
        {
            f"aws:{kind}/kubernetes.io/cluster/{cluster}": "owned",
            f"aws:{kind}/topology.kubernetes.io/region": Aws.REGION,
        }
        for kind in ("RequestTag", "ResourceTag")
    )
    marked["aws:RequestTag/eks:eks-cluster-name"] = cluster
    for_marked = {"aws:RequestTag/karpenter.k8s.aws/ec2nodeclass": "*"}
    for_owned = {"aws:ResourceTag/karpenter.k8s.aws/ec2nodeclass": "*"}
    return [
        _allow(
            "MakeInstanceProfiles",
            ["iam:CreateInstanceProfile"],
            profiles,
            {"StringEquals": marked, "StringLike": for_marked},
        ),
        _allow(
            "TagInstanceProfiles",
            ["iam:TagInstanceProfile"],
            profiles,
            {"StringEquals": {**owned, **marked}, "StringLike": {**for_owned, **for_marked}},
        ),
        _allow(
            "UseInstanceProfiles",
            [
                "iam:AddRoleToInstanceProfile",
                "iam:RemoveRoleFromInstanceProfile",
                "iam:DeleteInstanceProfile",
            ],
            profiles,
            {"StringEquals": owned, "StringLike": for_owned},
        ),
        _allow("ReadInstanceProfiles", ["iam:GetInstanceProfile"], profiles),
        _allow("ListInstanceProfiles", ["iam:ListInstanceProfiles"], ["*"]),
    ]


def _reading() -> list[iam.PolicyStatement]:
    kinds = (
        "CapacityReservations", "Images", "Instances", "InstanceTypeOfferings", "InstanceTypes",
        "LaunchTemplates", "SecurityGroups", "SpotPriceHistory", "Subnets",
    )  # fmt: skip
    return [
        _allow(
            "DescribeInRegion",
            [f"ec2:Describe{kind}" for kind in kinds],
            ["*"],
            {"StringEquals": {"aws:RequestedRegion": Aws.REGION}},
        ),
        _allow("ReadPrices", ["pricing:GetProducts"], ["*"]),
        _allow(
            "FindImages",
            ["ssm:GetParameter"],
            [f"arn:{Aws.PARTITION}:ssm:{Aws.REGION}::parameter/aws/service/*"],
        ),
    ]


def _owned(cluster: str) -> Conditions:
    return {
        "StringEquals": {f"aws:ResourceTag/kubernetes.io/cluster/{cluster}": "owned"},
        "StringLike": {"aws:ResourceTag/karpenter.sh/nodepool": "*"},
    }


def _ec2(*kinds: str) -> list[str]:
    return [f"arn:{Aws.PARTITION}:ec2:{Aws.REGION}:*:{kind}/*" for kind in kinds]


def _allow(
    sid: str, actions: Sequence[str], resources: Sequence[str], conditions: Conditions | None = None
) -> iam.PolicyStatement:
    return iam.PolicyStatement(
        sid=sid, actions=list(actions), resources=list(resources), conditions=conditions
    )
