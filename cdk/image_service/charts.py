"""Charts of others, installed as the configuration says."""

from aws_cdk import Duration
from aws_cdk import aws_eks_v2 as eks
from constructs import Construct

from image_service.chart_values import Values, merged
from image_service.config import ChartSource


def public_chart(
    scope: Construct,
    construct_id: str,
    *,
    cluster: eks.ICluster,
    source: ChartSource,
    repository: str,
    chart: str,
    version: str,
    namespace: str,
    values: Values,
) -> eks.HelmChart:
    """A release named like the construct; an OCI repository names its chart, too."""
    return eks.HelmChart(
        scope,
        construct_id,
        cluster=cluster,
        release=construct_id.lower(),
        repository=source.repository or repository,
        chart=chart,
        version=version,
        namespace=namespace,
        values=merged(values, source.values),
        timeout=Duration.minutes(10),
        wait=True,
    )
