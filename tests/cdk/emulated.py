"""A synthesised deployment in the emulated cloud: made of its own templates."""

import json
from dataclasses import dataclass
from typing import Any

from assembly import Assembly, JsonObject
from intrinsics import Resolver

from queue_agent.cloud.aws import AwsCloud
from queue_agent.testing.aws import REGION


@dataclass(frozen=True)
class Emulated:
    """What was deployed, and how its templates' functions are resolved there."""

    assembly: Assembly
    cloud: AwsCloud
    outputs: dict[str, str]
    resolver: Resolver

    async def depth(self, lane: str) -> int:
        """Messages in a queue, in work or not."""
        sqs = await self.cloud.client("sqs")
        name = f"{self.assembly.config.name}-{lane}"
        url = (await sqs.get_queue_url(QueueName=name))["QueueUrl"]
        backlog = await self.cloud.queue(url).backlog()
        return backlog.waiting + backlog.in_flight

    def function_environment(self) -> dict[str, str]:
        """The environment that the template gives the function."""
        function = self.assembly.named("AWS::Lambda::Function", Handler="intake.handler.handle")
        variables: dict[str, str] = self.resolver.resolve(
            function.properties["Environment"]["Variables"]
        )
        return variables

    def chart_values(self, release: str) -> JsonObject:
        """The values that the template gives a release of the chart."""
        found = self.assembly.named("Custom::AWSCDK-EKS-HelmChart", Release=release)
        values: JsonObject = json.loads(self.resolver.resolve(found.properties["Values"]))
        return values

    def pod_rights(self, service_account: str) -> list[JsonObject]:
        """The statements of the role that the service account's pods have."""
        association = self.assembly.named(
            "AWS::EKS::PodIdentityAssociation", ServiceAccount=service_account
        )
        role = association.properties["RoleArn"]["Fn::GetAtt"][0]
        return [
            self.resolver.resolve(statement)
            for policy in self.assembly.resources("AWS::IAM::Policy")
            if policy.stack == association.stack and {"Ref": role} in policy.properties["Roles"]
            for statement in policy.properties["PolicyDocument"]["Statement"]
        ]


async def deploy(assembly: Assembly, cloud: AwsCloud) -> Emulated:
    """Make the data stack by the emulator's own CloudFormation.

    It knows no subscriptions: they are made of the template's properties here.
    """
    template = {
        name: part
        for name, part in assembly.templates["data"].items()
        if name not in {"Parameters", "Rules"}
    }
    formation = await cloud.client("cloudformation")
    stack = f"{assembly.config.name}-data"
    await formation.create_stack(StackName=stack, TemplateBody=json.dumps(template))
    (made,) = (await formation.describe_stacks(StackName=stack))["Stacks"]
    assert made["StackStatus"] == "CREATE_COMPLETE"
    outputs = {output["OutputKey"]: output["OutputValue"] for output in made["Outputs"]}
    exports = {f"{stack}:{key}": value for key, value in outputs.items()}
    resolver = Resolver(region=REGION, exports=exports)
    for resource in assembly.resources():
        if resource.stack == "data":
            _name(resolver, resource.logical_id, resource.body)
    for subscription in assembly.resources("AWS::SNS::Subscription"):
        if subscription.stack == "data":
            await _subscribe(cloud, resolver.resolve(subscription.properties))
    return Emulated(assembly, cloud, outputs, resolver)


def _name(resolver: Resolver, logical_id: str, body: JsonObject) -> None:
    """What the emulator calls a queue or a topic."""
    properties = body.get("Properties", {})
    account = resolver.resolve({"Ref": "AWS::AccountId"})
    if body["Type"] == "AWS::SQS::Queue":
        arn = f"arn:aws:sqs:{REGION}:{account}:{properties['QueueName']}"
        resolver.name(f"{logical_id}.Arn", arn)
    elif body["Type"] == "AWS::SNS::Topic":
        resolver.name(logical_id, f"arn:aws:sns:{REGION}:{account}:{properties['TopicName']}")


async def _subscribe(cloud: AwsCloud, properties: dict[str, Any]) -> None:
    sns = await cloud.client("sns")
    await sns.subscribe(
        TopicArn=properties["TopicArn"],
        Protocol=properties["Protocol"],
        Endpoint=properties["Endpoint"],
        Attributes={
            "FilterPolicy": json.dumps(properties["FilterPolicy"]),
            "RawMessageDelivery": str(properties["RawMessageDelivery"]).lower(),
        },
    )
