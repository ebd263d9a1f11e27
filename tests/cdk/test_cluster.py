"""The cluster, and the releases of the chart in it."""

import json
import re
import tomllib
from typing import Any

import pytest
import yaml
from assembly import CDK, EXAMPLES, synthesised
from aws_cdk import Stack
from image_service import versions
from image_service.config import NetworkConfig
from image_service.network import Network
from image_service.release_values import gpu_limit
from releases import own_releases, rendered, values_of


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_queue_is_served_by_a_release_whose_values_the_chart_accepts(name: str) -> None:
    assembly = synthesised(name)
    releases = own_releases(assembly)
    assert {found.properties["Release"] for found in releases} == {
        lanes[0].name for runtime in assembly.config.runtimes for lanes in runtime.releases
    }
    for release in releases:
        text = rendered(assembly, release)
        assert "kind: Deployment" in text
        assert "kind: ScaledObject" in text
        assert "kind: NodePool" in text
        assert "key: karpenter.k8s.aws/instance-gpu-count" in text


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_pods_service_account_is_the_one_that_the_role_is_bound_to(name: str) -> None:
    assembly = synthesised(name)
    for release in own_releases(assembly):
        account = release.properties["Release"]
        association = assembly.named("AWS::EKS::PodIdentityAssociation", ServiceAccount=account)
        assert association.properties["Namespace"] == release.properties["Namespace"]
        assert f'serviceAccountName: "{account}"\n' in rendered(assembly, release)


def test_values_of_the_configuration_are_laid_over_what_is_derived() -> None:
    assembly = synthesised("two-runtimes")
    release = assembly.named("Custom::AWSCDK-EKS-HelmChart", Release="webui")
    values = values_of(assembly, release)
    assert values["scaling"] == {
        "minReplicas": 0, "maxReplicas": 6, "jobSeconds": 20, "queue": {"queueLength": 10},
        "by": "work", "work": {"prefixes": ["output", "webui"]},
    }  # fmt: skip
    assert values["karpenter"]["nodeClass"]["dataVolume"] == {
        "snapshotID": "snap-0123456789abcdef0"
    }


def test_versions_are_those_of_the_one_file() -> None:
    assembly = synthesised("minimal")
    (cluster,) = assembly.resources("AWS::EKS::Cluster")
    assert cluster.properties["Version"] == versions.KUBERNETES.version
    addons = {
        addon.properties["AddonName"]: addon.properties["AddonVersion"]
        for addon in assembly.resources("AWS::EKS::Addon")
    }
    assert addons == versions.ADDONS
    charts = {
        found.properties["Release"]: found.properties["Version"]
        for found in assembly.resources("Custom::AWSCDK-EKS-HelmChart")
        if "Version" in found.properties
    }
    assert charts == {"karpenter": versions.KARPENTER, "keda": versions.KEDA}


def test_the_kubernetes_version_is_in_standard_support_and_never_in_the_extended_one() -> None:
    """https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-versions.html"""
    (cluster,) = synthesised("minimal").resources("AWS::EKS::Cluster")
    assert cluster.properties["UpgradePolicy"] == {"SupportType": "STANDARD"}
    minor = int(cluster.properties["Version"].removeprefix("1."))
    assert minor >= 35
    assert versions.ADDONS["kube-proxy"].startswith(f"v1.{minor}.")
    project = tomllib.loads((CDK.parent / "pyproject.toml").read_text())["project"]
    layers = re.findall(r"kubectl-v(\d+)", " ".join(project["optional-dependencies"]["cdk"]))
    assert layers == [str(minor)], "kubectl of another version than the cluster's"


def test_karpenter_hears_of_everything_that_takes_nodes_away() -> None:
    assembly = synthesised("minimal")
    queue = assembly.named("AWS::SQS::Queue", QueueName="images-interruptions")
    heard = {
        (
            *rule.properties["EventPattern"]["source"],
            *rule.properties["EventPattern"]["detail-type"],
        )
        for rule in assembly.resources("AWS::Events::Rule")
        for pattern in [rule.properties["EventPattern"]]
        if rule.properties["Targets"][0]["Arn"] == {"Fn::GetAtt": [queue.logical_id, "Arn"]}
    }
    assert heard == {
        ("aws.ec2", "EC2 Spot Instance Interruption Warning"),
        ("aws.ec2", "EC2 Instance Rebalance Recommendation"),
        ("aws.ec2", "EC2 Instance State-change Notification"),
        ("aws.health", "AWS Health Event"),
    }


def test_an_existing_cluster_is_left_as_it_is() -> None:
    assembly = synthesised("existing-cluster")
    for kind in ("AWS::EC2::VPC", "AWS::EKS::Cluster", "AWS::EKS::Addon", "AWS::EKS::Nodegroup"):
        assert not list(assembly.resources(kind))


def test_pods_reach_the_bucket_without_a_nat_gateway() -> None:
    (endpoint,) = synthesised("minimal").resources("AWS::EC2::VPCEndpoint")
    assert endpoint.properties["VpcEndpointType"] == "Gateway"
    tables = list(synthesised("minimal").resources("AWS::EC2::RouteTable"))
    assert len(tables) == 2 * 3
    assert len(endpoint.properties["RouteTableIds"]) == len(tables)


def test_pods_have_three_zones_to_find_spot_nodes_in() -> None:
    subnets = [it.properties for it in synthesised("minimal").resources("AWS::EC2::Subnet")]
    zones = {json.dumps(it["AvailabilityZone"]) for it in subnets}
    assert zones == {
        json.dumps({"Fn::Select": [number, {"Fn::GetAZs": ""}]}) for number in range(3)
    }
    values = values_of(synthesised("minimal"), own_releases(synthesised("minimal"))[0])
    assert len(values["karpenter"]["nodeClass"]["subnetSelectorTerms"]) == 3
    assert len(list(synthesised("two-runtimes").resources("AWS::EC2::NatGateway"))) == 3


def test_zones_may_be_named() -> None:
    zones = ["us-east-1a", "us-east-1d"]
    network = Network(Stack(), "N", config=NetworkConfig(zones=zones)).vpc
    assert network.availability_zones == zones


@pytest.mark.parametrize(
    ("values", "limit"),
    [
        ({}, 10),
        ({"scaling": {"maxReplicas": 7}}, 7),
        ({"runtime": {"resources": {"limits": {"nvidia.com/gpu": 4}}}}, 40),
        ({"runtime": {"resources": {"limits": {"nvidia.com/gpu": 2}}}}, 20),
        ({"runtime": {"resources": {"limits": {"nvidia.com/gpu": 3}}}}, 40),
        ({"runtime": {"resources": {"limits": {"nvidia.com/gpu": 8}}}}, 80),
        ({"karpenter": {"gpusPerNode": [8]}}, 16),
        ({"karpenter": {"gpusPerNode": [8]}, "scaling": {"maxReplicas": 8}}, 8),
    ],
)
def test_nodes_are_limited_to_those_that_all_pods_need(values: dict[str, Any], limit: int) -> None:
    assert gpu_limit(values) == limit


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_limit_of_nodes_follows_the_most_pods(name: str) -> None:
    assembly = synthesised(name)
    for runtime in assembly.config.runtimes:
        release = assembly.named("Custom::AWSCDK-EKS-HelmChart", Release=runtime.name)
        values = values_of(assembly, release)
        assert values["karpenter"]["limits"] == {"nvidia.com/gpu": runtime.max_pods}
        assert f"limits:\n    nvidia.com/gpu: {runtime.max_pods}\n" in rendered(assembly, release)


def test_times_that_follow_from_the_jobs_length_reach_the_pods() -> None:
    assembly = synthesised("two-runtimes")
    values = values_of(assembly, assembly.named("Custom::AWSCDK-EKS-HelmChart", Release="comfyui"))
    assert values["scaling"]["jobSeconds"] == 300
    assert values["agent"]["shutdownGrace"] == 100
    assert values["agent"]["settings"]["runTimeout"] == 900


def test_the_deployer_is_let_in_by_entries_of_their_own() -> None:
    assembly = synthesised("minimal")
    (admin,) = assembly.config.cluster.admins
    entry = assembly.named("AWS::EKS::AccessEntry", PrincipalArn=admin)
    (policy,) = entry.properties["AccessPolicies"]
    assert policy["AccessScope"] == {"Type": "cluster"}
    assert "AmazonEKSClusterAdminPolicy" in json.dumps(policy["PolicyArn"])
    template = assembly.templates["cluster"]
    assert template["Outputs"]["Kubeconfig"]["Value"] == (
        "aws eks update-kubeconfig --name images --region us-west-2"
    )


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_accounts_role_for_spot_is_made_unless_it_is_there(name: str) -> None:
    assembly = synthesised(name)
    (call,) = assembly.resources("Custom::AWS")
    create = json.loads(call.properties["Create"])
    assert create["action"] == "createServiceLinkedRole"
    assert create["parameters"] == {"AWSServiceName": "spot.amazonaws.com"}
    assert create["ignoreErrorCodesMatching"] == "InvalidInput"
    assert "Delete" not in call.properties, "others may use it"
    assert not list(assembly.resources("AWS::IAM::ServiceLinkedRole")), "fails where it is there"


def test_models_of_the_bucket_come_past_the_nat_gateway_to_each_pod() -> None:
    assembly = synthesised("minimal")
    release = own_releases(assembly)[0]
    values = values_of(assembly, release)
    assert values["models"]["source"] == "download"
    documents = yaml.safe_load_all(rendered(assembly, release))
    pods = [it["spec"]["template"]["spec"] for it in documents if it and it["kind"] == "Deployment"]
    (pod,) = [it for it in pods if "initContainers" in it]
    containers = {it["name"]: it for it in pod["initContainers"]}
    source = f"s3://{values['models']['bucket']}/sdruntime/"
    assert containers["models"]["command"][-2:] == [source, "/models"]
    assert values["runtime"]["model"].startswith("/models/")


def test_nodes_come_after_their_network_and_everything_else_after_them() -> None:
    assembly = synthesised("minimal")
    (nodes,) = assembly.resources("AWS::EKS::Nodegroup")
    first = {
        addon.logical_id: addon.properties["AddonName"]
        for addon in assembly.resources("AWS::EKS::Addon")
        if addon.logical_id in nodes.body["DependsOn"]
    }
    assert set(first.values()) == {"vpc-cni", "kube-proxy"}
    for addon in assembly.resources("AWS::EKS::Addon"):
        if addon.logical_id not in first:
            assert nodes.logical_id in addon.body["DependsOn"], addon.place
