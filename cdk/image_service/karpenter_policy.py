"""What Karpenter's controller may do: launch nodes for one cluster, touch no others.

After https://karpenter.sh/v1.14/reference/cloudformation/: everything that writes is bound to
the tags by which Karpenter marks what is the cluster's.
"""

from typing import Final

from aws_cdk import Aws

from image_service.rights import Conditions, Right

_UNSCOPED: Final = (
    "Descriptions, prices and lists have no resources to name; the regional ones are bound to "
    "this region."
)
_SCOPED_BY_TAG: Final = (
    "Karpenter makes instances, launch templates, volumes and instance profiles under names of "
    "its own; each statement is bound to the tags that mark this cluster's."
)

_LAUNCHED: Final = (
    "fleet", "instance", "volume", "network-interface", "launch-template",
    "spot-instances-request",
)  # fmt: skip


def controller_rights(
    cluster_name: str, node_role_arn: str, interruption_queue_arn: str
) -> list[Right]:
    """The rights of the controller's role."""
    return [
        *_launching(cluster_name),
        *_ending(cluster_name),
        *_instance_profiles(cluster_name),
        *_reading(),
        _right(
            "PassNodeRole",
            ["iam:PassRole"],
            [node_role_arn],
            {
                "StringEquals": {
                    "iam:PassedToService": ["ec2.amazonaws.com", "ec2.amazonaws.com.cn"]
                }
            },
        ),
        _right(
            "FindCluster",
            ["eks:DescribeCluster"],
            [f"arn:{Aws.PARTITION}:eks:{Aws.REGION}:{Aws.ACCOUNT_ID}:cluster/{cluster_name}"],
        ),
        _right(
            "HearOfInterruptions",
            ["sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"],
            [interruption_queue_arn],
        ),
    ]


def _launching(cluster: str) -> list[Right]:
    marked: Conditions = {
        "StringEquals": {
            f"aws:RequestTag/kubernetes.io/cluster/{cluster}": "owned",
            "aws:RequestTag/eks:eks-cluster-name": cluster,
        },
        "StringLike": {"aws:RequestTag/karpenter.sh/nodepool": "*"},
    }
    from_calls = {"ec2:CreateAction": ["RunInstances", "CreateFleet", "CreateLaunchTemplate"]}
    return [
        _right(
            "LaunchFrom",
            ["ec2:RunInstances", "ec2:CreateFleet"],
            [
                *(
                    f"arn:{Aws.PARTITION}:ec2:{Aws.REGION}::{kind}/*"
                    for kind in ("image", "snapshot")
                ),
                *_ec2("security-group", "subnet", "capacity-reservation"),
            ],
        ),
        _right(
            "LaunchFromTemplates",
            ["ec2:RunInstances", "ec2:CreateFleet"],
            _ec2("launch-template"),
            _owned(cluster),
        ),
        _right(
            "Launch",
            ["ec2:RunInstances", "ec2:CreateFleet", "ec2:CreateLaunchTemplate"],
            _ec2(*_LAUNCHED, "capacity-reservation"),
            marked,
        ),
        _right(
            "TagWhatIsLaunched",
            ["ec2:CreateTags"],
            _ec2(*_LAUNCHED),
            {**marked, "StringEquals": {**marked["StringEquals"], **from_calls}},
        ),
    ]


def _ending(cluster: str) -> list[Right]:
    tags = ["eks:eks-cluster-name", "karpenter.sh/nodeclaim", "Name"]
    return [
        _right(
            "TagNodes",
            ["ec2:CreateTags"],
            _ec2("instance"),
            {
                **_owned(cluster),
                "StringEqualsIfExists": {"aws:RequestTag/eks:eks-cluster-name": cluster},
                "ForAllValues:StringEquals": {"aws:TagKeys": tags},
            },
        ),
        _right(
            "End",
            ["ec2:TerminateInstances", "ec2:DeleteLaunchTemplate"],
            _ec2("instance", "launch-template"),
            _owned(cluster),
        ),
    ]


def _instance_profiles(cluster: str) -> list[Right]:
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
        _right(
            "MakeInstanceProfiles",
            ["iam:CreateInstanceProfile"],
            profiles,
            {"StringEquals": marked, "StringLike": for_marked},
        ),
        _right(
            "TagInstanceProfiles",
            ["iam:TagInstanceProfile"],
            profiles,
            {"StringEquals": {**owned, **marked}, "StringLike": {**for_owned, **for_marked}},
        ),
        _right(
            "UseInstanceProfiles",
            [
                "iam:AddRoleToInstanceProfile",
                "iam:RemoveRoleFromInstanceProfile",
                "iam:DeleteInstanceProfile",
            ],
            profiles,
            {"StringEquals": owned, "StringLike": for_owned},
        ),
        _right("ReadInstanceProfiles", ["iam:GetInstanceProfile"], profiles),
        _right("ListInstanceProfiles", ["iam:ListInstanceProfiles"], ["*"]),
    ]


def _reading() -> list[Right]:
    kinds = (
        "CapacityReservations", "Images", "Instances", "InstanceTypeOfferings", "InstanceTypes",
        "LaunchTemplates", "SecurityGroups", "SpotPriceHistory", "Subnets",
    )  # fmt: skip
    return [
        _right(
            "DescribeInRegion",
            [f"ec2:Describe{kind}" for kind in kinds],
            ["*"],
            {"StringEquals": {"aws:RequestedRegion": Aws.REGION}},
        ),
        _right("ReadPrices", ["pricing:GetProducts"], ["*"]),
        _right(
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


def _right(
    name: str, actions: list[str], resources: list[str], conditions: Conditions | None = None
) -> Right:
    why = _UNSCOPED if "*" in resources else _SCOPED_BY_TAG
    return Right(name, actions, resources, why, conditions or {})
