"""The account's role for spot instances, without which EC2 refuses them all."""

from typing import Final

from aws_cdk import Aws, Duration, Stack
from aws_cdk import custom_resources as custom
from constructs import Construct

from image_service.acknowledgements import acknowledge, acknowledge_managed_policies
from image_service.rights import Right

_SERVICE: Final = "spot.amazonaws.com"


class SpotRole(Construct):
    """Made unless it is there; it stays when the stack goes, because others may use it.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/service-linked-roles-spot-instance-requests.html
    """

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        arn = (
            f"arn:{Aws.PARTITION}:iam::{Aws.ACCOUNT_ID}:role/aws-service-role/{_SERVICE}/"
            "AWSServiceRoleForEC2Spot"
        )
        right = Right(
            "MakeSpotRole",
            ["iam:CreateServiceLinkedRole"],
            [arn],
            conditions={"StringEquals": {"iam:AWSServiceName": _SERVICE}},
        )
        custom.AwsCustomResource(
            self,
            "Call",
            on_create=custom.AwsSdkCall(
                service="IAM",
                action="createServiceLinkedRole",
                parameters={"AWSServiceName": _SERVICE},
                physical_resource_id=custom.PhysicalResourceId.of("AWSServiceRoleForEC2Spot"),
                # What IAM answers where it is there: "has been taken in this account".
                ignore_error_codes_matching="InvalidInput",
            ),
            policy=custom.AwsCustomResourcePolicy.from_statements([right.statement()]),
            install_latest_aws_sdk=False,
            timeout=Duration.minutes(2),
        )
        uuid = custom.AwsCustomResource.PROVIDER_FUNCTION_UUID.replace("-", "")
        function = Stack.of(self).node.find_child(f"AWS{uuid}")
        acknowledge_managed_policies(
            function,
            ["service-role/AWSLambdaBasicExecutionRole"],
            "CDK writes the role of its function that calls AWS.",
        )
        acknowledge(function, {"L1": "CDK chooses the Node.js of its functions."})
