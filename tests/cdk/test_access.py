"""Who may do what: as little as possible, and never without TLS."""

from fnmatch import fnmatchcase

import pytest
from assembly import EXAMPLES, Found, JsonObject, synthesised
from iam import identity_statements, listed
from intrinsics import Resolver

from queue_agent.wire.layout import DEFAULT_PREFIX, PAYLOADS, QUARANTINE, RESERVED

POLICIES = {
    "AWS::SQS::Queue": ("AWS::SQS::QueuePolicy", "Queues", "sqs:*"),
    "AWS::SNS::Topic": ("AWS::SNS::TopicPolicy", "Topics", "sns:Publish"),
    "AWS::S3::Bucket": ("AWS::S3::BucketPolicy", "Bucket", "s3:*"),
}


def reasons(resource: Found) -> str:
    """What the resource's metadata says of wildcards."""
    rules = resource.body.get("Metadata", {}).get("cdk_nag", {}).get("rules_to_suppress", ())
    return "\n".join(rule["id"] for rule in rules if rule["reason"])


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_statement_has_a_wildcard_without_a_written_reason(name: str) -> None:
    assembly = synthesised(name)
    resolver = Resolver(region="us-east-1")
    walked = 0
    for resource, statement in identity_statements(assembly):
        assert "NotAction" not in statement, resource.place
        assert "NotResource" not in statement, resource.place
        for action in listed(statement["Action"]):
            walked += 1
            if "*" in action:
                assert f"[Action::{action}]" in reasons(resource), (resource.place, action)
        for place in listed(resolver.resolve(statement["Resource"])):
            walked += 1
            if place == "*":
                assert "[Resource::*]" in reasons(resource), (resource.place, statement)
            elif "*" in place:
                assert "[Resource::" in reasons(resource), (resource.place, place)
                assert place.rstrip("*").count(":") >= 5, (resource.place, place)
    assert walked > 20


@pytest.mark.parametrize("name", EXAMPLES)
def test_only_descriptions_prices_and_traces_have_no_resource(name: str) -> None:
    free = {"pricing:GetProducts", "iam:ListInstanceProfiles", "logs:CreateLogDelivery"}
    for resource, statement in identity_statements(synthesised(name)):
        if "*" in listed(statement["Resource"]):
            for action in listed(statement["Action"]):
                service, _, verb = action.partition(":")
                harmless = service == "xray" or action in free or verb.startswith("Describe")
                assert harmless, (resource.place, action)


@pytest.mark.parametrize("name", EXAMPLES)
def test_roles_are_assumed_by_named_services_only(name: str) -> None:
    for role in synthesised(name).resources("AWS::IAM::Role"):
        for statement in role.properties["AssumeRolePolicyDocument"]["Statement"]:
            assert set(statement["Principal"]) == {"Service"}, role.place
            if statement["Principal"]["Service"] == "pods.eks.amazonaws.com":
                bound = statement["Condition"]["StringEquals"]
                assert {
                    "aws:SourceAccount",
                    "aws:RequestTag/kubernetes-namespace",
                    "aws:RequestTag/kubernetes-service-account",
                } == set(bound), role.place


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_pod_may_keep_the_results_of_jobs_without_a_prefix(name: str) -> None:
    assembly = synthesised(name)
    resolver = Resolver(region="us-east-1")
    keepers = [
        listed(resolver.resolve(statement["Resource"]))
        for _, statement in identity_statements(assembly)
        if statement.get("Sid") == "KeepResults"
    ]
    assert len(keepers) == sum(len(runtime.releases) for runtime in assembly.config.runtimes)
    for places in keepers:
        assert any(place.endswith(f"/{DEFAULT_PREFIX}/*") for place in places), places
        for folder in set(RESERVED) - {QUARANTINE}:
            assert not any(
                fnmatchcase(f"{folder}/order-1", place.partition("/")[2]) for place in places
            ), "no pod forges what gateways and publishers write"


@pytest.mark.parametrize("name", EXAMPLES)
def test_queues_topics_and_buckets_refuse_plain_connections(name: str) -> None:
    assembly = synthesised(name)
    for kind, (policy_kind, owner, action) in POLICIES.items():
        guarded = {
            guarded_id
            for policy in assembly.resources(policy_kind)
            if any(_denies_plain(statement, action) for statement in _statements(policy))
            for guarded_id in _owners(policy, owner)
        }
        for resource in assembly.resources(kind):
            assert resource.logical_id in guarded, resource.place


@pytest.mark.parametrize("name", EXAMPLES)
def test_nothing_is_open_to_everybody(name: str) -> None:
    assembly = synthesised(name)
    for kind, _, _ in POLICIES.values():
        for policy in assembly.resources(kind):
            for statement in _statements(policy):
                everybody = statement["Principal"] in ("*", {"AWS": "*"})
                assert not (everybody and statement["Effect"] == "Allow"), policy.place
    for bucket in assembly.resources("AWS::S3::Bucket"):
        assert set(bucket.properties["PublicAccessBlockConfiguration"].values()) == {True}
        assert bucket.properties["BucketEncryption"]
    for cluster in assembly.resources("AWS::EKS::Cluster"):
        reach = cluster.properties["ResourcesVpcConfig"]
        assert reach["EndpointPrivateAccess"] is True
        assert not reach.get("EndpointPublicAccess") or "0.0.0.0/0" not in str(reach)


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_people_made_outlives_the_stacks(name: str) -> None:
    for bucket in synthesised(name).resources("AWS::S3::Bucket"):
        assert bucket.body["DeletionPolicy"] == "Retain", bucket.place
        assert bucket.body["UpdateReplacePolicy"] == "Retain", bucket.place


@pytest.mark.parametrize("name", ["china", "minimal", "two-runtimes"])
def test_every_request_needs_a_key_and_is_logged_traced_and_limited(name: str) -> None:
    assembly = synthesised(name)
    methods = list(assembly.resources("AWS::ApiGateway::Method"))
    assert {method.properties["HttpMethod"] for method in methods} == {"POST"}
    assert all(method.properties["ApiKeyRequired"] for method in methods)
    (stage,) = assembly.resources("AWS::ApiGateway::Stage")
    assert stage.properties["TracingEnabled"] is True
    assert stage.properties["AccessLogSetting"]["DestinationArn"]
    (plan,) = assembly.resources("AWS::ApiGateway::UsagePlan")
    assert plan.properties["Throttle"]["RateLimit"] == assembly.config.api.rate


def test_the_function_may_publish_offload_log_and_trace_and_nothing_else() -> None:
    assembly = synthesised("minimal")
    function = assembly.named("AWS::Lambda::Function", Handler="intake.handler.handle")
    role = {"Ref": function.properties["Role"]["Fn::GetAtt"][0]}
    resolver = Resolver(region="us-east-1")
    granted = {
        action: resolver.resolve(statement["Resource"])
        for policy, statement in identity_statements(assembly)
        if role in policy.properties.get("Roles", ())
        for action in listed(statement["Action"])
    }
    topic = function.properties["Environment"]["Variables"]["JOB_TOPIC_ARN"]
    results = resolver.resolve(function.properties["Environment"]["Variables"]["RESULTS_BUCKET"])
    group = function.properties["LoggingConfig"]["LogGroup"]["Ref"]
    assert granted == {
        "sns:Publish": resolver.resolve(topic),
        "s3:PutObject": f"arn:aws:s3:::{results}/{PAYLOADS}/*",
        "logs:CreateLogStream": f"arn:aws:unknown:::{group}",
        "logs:PutLogEvents": f"arn:aws:unknown:::{group}",
        "xray:PutTelemetryRecords": "*",
        "xray:PutTraceSegments": "*",
    }


def _statements(policy: Found) -> list[JsonObject]:
    found: list[JsonObject] = policy.properties["PolicyDocument"]["Statement"]
    return found


def _denies_plain(statement: JsonObject, action: str) -> bool:
    return (
        statement["Effect"] == "Deny"
        and statement["Action"] == action
        and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        and statement["Principal"] in ("*", {"AWS": "*"})
    )


def _owners(policy: Found, owner: str) -> set[str]:
    return {reference["Ref"] for reference in listed(policy.properties[owner])}
