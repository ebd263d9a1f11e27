"""Buckets: results, and models where there is no bucket for them yet."""

from collections.abc import Sequence

from aws_cdk import Aws, Duration, RemovalPolicy, Stack
from aws_cdk import aws_s3 as s3
from constructs import Construct

from image_service.acknowledgements import acknowledge
from image_service.config import StorageConfig
from image_service.messaging import RETENTION
from queue_agent.wire.layout import AS_LONG_AS_MESSAGES


class Storage(Construct):
    """Private buckets that outlive the stack."""

    def __init__(
        self, scope: Construct, construct_id: str, *, name: str, config: StorageConfig
    ) -> None:
        super().__init__(scope, construct_id)
        place = f"{Aws.ACCOUNT_ID}-{Stack.of(self).region}"
        # By names of their own, which policies in other stacks can spell out.
        self.results_name = f"{name}-results-{place}"
        self.models_name = config.models_bucket or f"{name}-models-{place}"
        self.results = self._bucket(
            "Results",
            self.results_name,
            cors=_reading_by_link(config.cors_origins),
            lifecycle_rules=_lifecycle(config.keep_days),
        )
        if not config.models_bucket:
            self._bucket("Models", self.models_name, lifecycle_rules=[])

    def _bucket(
        self,
        construct_id: str,
        name: str,
        *,
        lifecycle_rules: Sequence[s3.LifecycleRule],
        cors: Sequence[s3.CorsRule] = (),
    ) -> s3.Bucket:
        bucket = s3.Bucket(
            self,
            construct_id,
            bucket_name=name,
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            removal_policy=RemovalPolicy.RETAIN,
            lifecycle_rules=[
                s3.LifecycleRule(abort_incomplete_multipart_upload_after=Duration.days(7)),
                *lifecycle_rules,
            ],
            cors=cors or None,
        )
        acknowledge(
            bucket,
            {
                "S1": "Access logs would need a bucket of their own; where they are "
                "wanted, CloudTrail's data events have the same and the caller's identity."
            },
        )
        return bucket


def _lifecycle(keep_days: int) -> list[s3.LifecycleRule]:
    rules = [
        s3.LifecycleRule(prefix=f"{folder}/", expiration=RETENTION)
        for folder in AS_LONG_AS_MESSAGES
    ]
    if keep_days:
        rules.append(s3.LifecycleRule(expiration=Duration.days(keep_days)))
    return rules


def _reading_by_link(origins: Sequence[str]) -> list[s3.CorsRule]:
    if not origins:
        return []
    return [
        s3.CorsRule(
            allowed_methods=[s3.HttpMethods.GET, s3.HttpMethods.HEAD],
            allowed_origins=list(origins),
            allowed_headers=["*"],
            exposed_headers=["ETag"],
            max_age=3000,
        )
    ]
