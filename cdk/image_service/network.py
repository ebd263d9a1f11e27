"""The network that pods run in: a new one, or one that is there already."""

from collections.abc import Sequence

from aws_cdk import Fn
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from image_service.config import ExistingVpc, NetworkConfig


class Network(Construct):
    """A VPC whose pods reach S3 without a NAT gateway."""

    def __init__(self, scope: Construct, construct_id: str, *, config: NetworkConfig) -> None:
        super().__init__(scope, construct_id)
        existing = config.existing
        self.vpc = self._existing(existing) if existing else self._new(config)
        self.cidr = existing.cidr if existing else config.cidr
        if existing is None or existing.private_route_tables:
            self.vpc.add_gateway_endpoint("S3", service=ec2.GatewayVpcEndpointAwsService.S3)

    @property
    def pod_subnet_ids(self) -> Sequence[str]:
        return [subnet.subnet_id for subnet in self.vpc.private_subnets]

    def _existing(self, config: ExistingVpc) -> ec2.IVpc:
        return ec2.Vpc.from_vpc_attributes(
            self,
            "Vpc",
            vpc_id=config.vpc_id,
            vpc_cidr_block=config.cidr,
            availability_zones=list(config.availability_zones),
            private_subnet_ids=list(config.private_subnets),
            private_subnet_route_table_ids=list(config.private_route_tables) or None,
        )

    def _new(self, config: NetworkConfig) -> ec2.Vpc:
        vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(config.cidr),
            # By numbers, because CDK knows the zones' names only with an account at hand.
            availability_zones=list(config.zones) or [Fn.select(i, Fn.get_azs()) for i in range(3)],
            nat_gateways=config.nat_gateways,
            subnet_configuration=[
                ec2.SubnetConfiguration(
                    name="Public",
                    subnet_type=ec2.SubnetType.PUBLIC,
                    cidr_mask=24,
                    map_public_ip_on_launch=False,
                ),
                ec2.SubnetConfiguration(
                    name="Pods", subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS, cidr_mask=19
                ),
            ],
            restrict_default_security_group=False,
        )
        vpc.add_flow_log("Rejected", traffic_type=ec2.FlowLogTrafficType.REJECT)
        return vpc
