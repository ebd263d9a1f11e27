"""The HTTP front: API Gateway, and a function that checks jobs as agents do."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from aws_cdk import Aws, CfnOutput, Duration, RemovalPolicy, Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_wafv2 as waf
from constructs import Construct

from image_service import intake_package, versions
from image_service.acknowledgements import (
    acknowledge,
    acknowledge_managed_policies,
    acknowledge_wildcards,
)
from image_service.chart_values import defaults, value_of
from image_service.config import ApiConfig, Config
from image_service.messaging import Messaging
from image_service.rights import Right, give
from queue_agent.wire.capacity import SPOT
from queue_agent.wire.layout import PAYLOADS
from queue_agent.wire.problems import MEDIA_TYPE, Problem

_PROBLEMS: Final = {
    "Throttled": (apigateway.ResponseType.THROTTLED, 429, "too_many_requests"),
    "Quota": (apigateway.ResponseType.QUOTA_EXCEEDED, 429, "quota_exceeded"),
    "NoKey": (apigateway.ResponseType.INVALID_API_KEY, 403, "invalid_api_key"),
    "Large": (apigateway.ResponseType.REQUEST_TOO_LARGE, 413, "too_large"),
    "Timeout": (apigateway.ResponseType.INTEGRATION_TIMEOUT, 504, "timeout"),
    "Failure": (apigateway.ResponseType.INTEGRATION_FAILURE, 503, "unavailable"),
}
"""What API Gateway answers itself, in the function's form."""


class Api(Construct):
    """`POST /task` and `POST /v1/jobs`, with keys, limits, logs and traces."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        config: Config,
        messaging: Messaging,
        results: str,
        libraries: intake_package.Libraries,
    ) -> None:
        super().__init__(scope, construct_id)
        self.function = self._function(config, messaging, results, libraries)
        self.rest_api = self._rest_api(config)
        self._limits(config.api)
        if config.api.waf:
            self._firewall()
        else:
            acknowledge(
                self.rest_api,
                {"APIG3": "The configuration leaves the web firewall out."},
            )

    def _function(
        self,
        config: Config,
        messaging: Messaging,
        results: str,
        libraries: intake_package.Libraries,
    ) -> lambda_.Function:
        folders = {runtime.name: list(runtime.folders) for runtime in config.runtimes}
        log_group = self._log_group("IntakeLogs")
        with TemporaryDirectory() as folder:
            intake_package.build(Path(folder), libraries)
            function = lambda_.Function(
                self,
                "Intake",
                code=lambda_.Code.from_asset(folder),
                handler="intake.handler.handle",
                runtime=lambda_.Runtime("python{}.{}".format(*versions.LAMBDA_PYTHON)),
                architecture=versions.LAMBDA_ARCHITECTURE,
                memory_size=512,
                timeout=Duration.seconds(15),
                role=self._role(messaging, results, log_group),
                tracing=lambda_.Tracing.ACTIVE,
                logging_format=lambda_.LoggingFormat.JSON,
                log_group=log_group,
                environment={
                    "JOB_TOPIC_ARN": messaging.job_topic.topic_arn,
                    "RESULTS_BUCKET": results,
                    "RUNTIMES": json.dumps(folders),
                    # Looking for plugins of pydantic costs time at each cold start.
                    "PYDANTIC_DISABLE_PLUGINS": "__all__",
                    **({} if config.api.fair else {"FAIR": "false"}),
                    **self._spot(config, messaging),
                },
            )
        acknowledge(
            function,
            {"L1": "The Python that synthesises, so that bytecode can be packaged."},
        )
        return function

    def _spot(self, config: Config, messaging: Messaging) -> dict[str, str]:
        """What the choice between spot and on demand takes, where a runtime has queues for both."""
        start = value_of(defaults(), "scaling", "work", "start")
        found = {
            runtime.name: {
                "job": runtime.job_seconds,
                "start": start,
                "on_demand_stays": bool(runtime.on_demand_pods),
                "queues": {
                    lane.priority or "": messaging.lanes[lane.name].queue.queue_url
                    for lane in runtime.lanes
                    if lane.capacity == SPOT
                },
            }
            for runtime in config.runtimes
            if runtime.on_demand_pods is not None
        }
        return {"SPOT": Stack.of(self).to_json_string(found)} if found else {}

    def _role(self, messaging: Messaging, results: str, log_group: logs.ILogGroup) -> iam.Role:
        role = iam.Role(self, "IntakeRole", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        writing = ["logs:CreateLogStream", "logs:PutLogEvents"]
        rights = [
            Right("Publish", ["sns:Publish"], [messaging.job_topic.topic_arn]),
            Right(
                "OffloadLargeJobs",
                ["s3:PutObject"],
                [f"arn:{Aws.PARTITION}:s3:::{results}/{PAYLOADS}/*"],
                "Large jobs are kept by their ids.",
            ),
            Right("Log", writing, [log_group.log_group_arn]),
        ]
        spot = [it.queue.queue_arn for it in messaging.lanes.values() if it.lane.capacity == SPOT]
        if spot:
            rights.append(Right("SeeSpotQueues", ["sqs:GetQueueAttributes"], spot))
        give(role, role, rights)
        acknowledge_wildcards(role, ["Resource::*"], "X-Ray's calls have no resources to name.")
        return role

    def _rest_api(self, config: Config) -> apigateway.RestApi:
        api = apigateway.RestApi(
            self,
            "Rest",
            rest_api_name=config.name,
            description="Takes jobs for image runtimes.",
            endpoint_types=[apigateway.EndpointType.REGIONAL],
            cloud_watch_role=True,
            cloud_watch_role_removal_policy=RemovalPolicy.RETAIN,
            deploy_options=apigateway.StageOptions(
                stage_name="prod",
                tracing_enabled=True,
                metrics_enabled=True,
                throttling_rate_limit=config.api.rate,
                throttling_burst_limit=config.api.burst,
                logging_level=apigateway.MethodLoggingLevel.ERROR,
                access_log_destination=apigateway.LogGroupLogDestination(
                    self._log_group("AccessLogs")
                ),
                access_log_format=apigateway.AccessLogFormat.json_with_standard_fields(
                    caller=False, http_method=True, ip=True, protocol=True, request_time=True,
                    resource_path=True, response_length=True, status=True, user=False,
                ),
            ),
        )  # fmt: skip
        jobs = apigateway.LambdaIntegration(self.function, timeout=Duration.seconds(16))
        for resource in (
            api.root.add_resource("task"),
            api.root.add_resource("v1").add_resource("jobs"),
        ):
            resource.add_method("POST", jobs, api_key_required=True)
        for name, (kind, status, word) in _PROBLEMS.items():
            api.add_gateway_response(
                name,
                type=kind,
                status_code=str(status),
                templates={MEDIA_TYPE: _problem_template(status, word)},
                response_headers={"Retry-After": "'1'"} if status == 429 else None,
            )
        acknowledge(
            api,
            {
                "APIG2": "The function validates with the agent's own models, and "
                "names the field that is wrong.",
                "APIG4": "Callers are programs with API keys, bound to a usage plan.",
                "COG4": "Callers are programs with API keys; there are no users.",
            },
        )
        acknowledge_managed_policies(
            api,
            ["service-role/AmazonAPIGatewayPushToCloudWatchLogs"],
            "API Gateway documents AWS's own policy for writing logs.",
        )
        return api

    def _limits(self, config: ApiConfig) -> None:
        quota = apigateway.QuotaSettings(limit=config.monthly_quota, period=apigateway.Period.MONTH)
        plan = self.rest_api.add_usage_plan(
            "Usage",
            throttle=apigateway.ThrottleSettings(rate_limit=config.rate, burst_limit=config.burst),
            quota=quota if config.monthly_quota else None,
        )
        plan.add_api_stage(stage=self.rest_api.deployment_stage)
        key = self.rest_api.add_api_key("Key")
        plan.add_api_key(key)
        CfnOutput(self, "KeyId", value=key.key_id, description="aws apigateway get-api-key")

    def _firewall(self) -> None:
        acl = waf.CfnWebACL(
            self,
            "Firewall",
            scope="REGIONAL",
            default_action=waf.CfnWebACL.DefaultActionProperty(allow={}),
            visibility_config=_visibility("Firewall"),
            rules=[
                _managed_rules(0, "AWSManagedRulesAmazonIpReputationList", count=()),
                # Prompts and workflows are long, and may well look like code.
                _managed_rules(
                    1,
                    "AWSManagedRulesCommonRuleSet",
                    count=("SizeRestrictions_BODY", "CrossSiteScripting_BODY"),
                ),
            ],
        )
        waf.CfnWebACLAssociation(
            self,
            "Protected",
            web_acl_arn=acl.attr_arn,
            resource_arn=self.rest_api.deployment_stage.stage_arn,
        )

    def _log_group(self, construct_id: str) -> logs.LogGroup:
        return logs.LogGroup(
            self,
            construct_id,
            retention=logs.RetentionDays.THREE_MONTHS,
            removal_policy=RemovalPolicy.DESTROY,
        )


def _problem_template(status: int, word: str) -> str:
    problem = Problem(status, word, "DETAIL").details("$context.requestId")
    return problem.model_dump_json().replace('"DETAIL"', "$context.error.messageString")


def _managed_rules(
    priority: int, name: str, *, count: tuple[str, ...]
) -> waf.CfnWebACL.RuleProperty:
    only_counted = [
        waf.CfnWebACL.RuleActionOverrideProperty(
            name=rule, action_to_use=waf.CfnWebACL.RuleActionProperty(count={})
        )
        for rule in count
    ]
    return waf.CfnWebACL.RuleProperty(
        name=name,
        priority=priority,
        override_action=waf.CfnWebACL.OverrideActionProperty(none={}),
        visibility_config=_visibility(name),
        statement=waf.CfnWebACL.StatementProperty(
            managed_rule_group_statement=waf.CfnWebACL.ManagedRuleGroupStatementProperty(
                vendor_name="AWS", name=name, rule_action_overrides=only_counted
            )
        ),
    )


def _visibility(name: str) -> waf.CfnWebACL.VisibilityConfigProperty:
    return waf.CfnWebACL.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=True, sampled_requests_enabled=True, metric_name=name
    )
