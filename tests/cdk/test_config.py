"""A configuration is understood, or every mistake in it is told at once."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from assembly import CDK, EXAMPLES
from image_service.config import Config, ConfigError

MINIMAL: dict[str, Any] = yaml.safe_load(EXAMPLES["minimal"].read_text())
RUNTIME: dict[str, Any] = MINIMAL["runtimes"][0]
SEVERAL = {**RUNTIME, "priorities": ["low"], "queue_rule": "reserved"}
NAMELESS = {**RUNTIME, "prefixes": []}
VPC = {
    "vpc_id": "vpc-0123456789abcdef0",
    "cidr": "10.0.0.0/16",
    "availability_zones": ["us-west-2a", "us-west-2b"],
    "private_subnets": ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
}
ADMIN = "arn:aws:iam::111122223333:user/me"
CLUSTER = {
    "name": "example",
    "kubectl_role": "arn:aws:iam::111122223333:role/kubectl",
    "security_group": "sg-0123456789abcdef0",
    "node_role": "nodes",
    "keda_role": "arn:aws:iam::111122223333:role/keda",
}


def load(tmp_path: Path, content: object) -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return Config.load(path)


def test_the_configuration_in_the_repository_can_be_used() -> None:
    assert Config.load(CDK / "config.yaml").runtimes


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"region": "Frankfurt"}, "region: String should match"),
        ({"runtimes": []}, "runtimes: there must be at least one"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"runtimes": [{**RUNTIME, "name": "No Name"}]}, "runtimes.0.name: "),
        ({"runtimes": [{**RUNTIME, "preset": "webui"}]}, "runtimes.0: image.repository: "),
        ({"runtimes": [{**RUNTIME, "model": ""}]}, "runtimes.0: model: "),
        ({"runtimes": [{**RUNTIME, "min_pods": 11}]}, "runtimes.0: min_pods is more than"),
        (
            {"runtimes": [{**RUNTIME, "prefixes": ["inputs"]}]},
            "prefixes.0: must not begin with",
        ),
        ({"runtimes": [{**RUNTIME, "name": "runtimes"}]}, "runtimes.0.name: must be none of"),
        *(
            ({"runtimes": [{**RUNTIME, "prefixes": [wild]}]}, "runtimes.0.prefixes.0: must not")
            for wild in ("*", "g*", "gatewa?", "a/*/b", "${aws:username}")
        ),
        ({"runtimes": [{**RUNTIME, "prefixes": ["a/../b"]}]}, "runtimes.0.prefixes.0: must not"),
        ({"runtimes": [{**RUNTIME, "inputs": ["bucket/*"]}]}, "runtimes.0.inputs.0: "),
        ({"runtimes": [RUNTIME, RUNTIME]}, "more than one queue is called sdruntime"),
        (
            {
                "runtimes": [
                    {**RUNTIME, "priorities": ["high"]},
                    {**RUNTIME, "name": "sdruntime-high"},
                ]
            },
            "more than one queue is called sdruntime-high",
        ),
        ({"runtimes": [{**RUNTIME, "priorities": ["urgent"]}]}, "runtimes.0.priorities.0: "),
        ({"runtimes": [{**RUNTIME, "queue_rule": "strict"}]}, "queue_rule: there are several"),
        (
            {"runtimes": [{**RUNTIME, "priorities": ["low"], "queue_shares": {"low": 5}}]},
            "queue_shares: have a meaning with",
        ),
        ({"runtimes": [{**SEVERAL, "queue_shares": {"high": 5}}]}, "no queue is for high"),
        (
            {"runtimes": [{**SEVERAL, "queue_shares": {"low": 60, "normal": 60}}]},
            "more than 100 % together",
        ),
        (
            {"runtimes": [NAMELESS, {**RUNTIME, "name": "b", "prefixes": ["output/b"]}]},
            "sdruntime could write to the folder output/b of b",
        ),
        (
            {"runtimes": [{**RUNTIME, "model": "stabilityai/sdxl-turbo"}]},
            "runtimes.0: model: stabilityai/sdxl-turbo is fetched by the runtime",
        ),
        (
            {"runtimes": [{**RUNTIME, "models": "scratch"}]},
            "runtimes.0: model: /models/stable-diffusion-xl-base-1.0 is not in the empty volume",
        ),
        ({"cluster": {"admins": ["me"]}}, "cluster.admins.0: must be the ARN of a role or user"),
        (
            {"cluster": {"admins": ["arn:aws:sts::111122223333:assumed-role/Admin/me"]}},
            "cluster.admins.0: names a session; EKS takes the role itself",
        ),
        ({"cluster": {"admins": [ADMIN, ADMIN]}}, "cluster.admins: name each once"),
        ({"network": {"zones": ["us-west-2a"]}}, "network: zones: name two or more"),
        (
            {"network": {"zones": ["us-west-2a", "us-east-1a"]}},
            "network.zones: us-east-1a not in us-west-2",
        ),
        ({"network": {"nat_gateways": 4}}, "network: nat_gateways: more than the 3 zones"),
        ({"runtimes": [{**RUNTIME, "gpus": 0}]}, "runtimes.0.gpus: "),
        (
            {"runtimes": [{**RUNTIME, "http_adapter": "torchserve"}]},
            "runtimes.0: http_adapter: has a meaning with the preset custom",
        ),
        (
            {"runtimes": [{**RUNTIME, "values": {"agent": {"shutdownGrace": 200}}}]},
            "runtimes.0: values.agent.shutdownGrace: spot nodes are gone",
        ),
        ({"network": {"cidr": "10.0.0.0/99"}}, "network.cidr: "),
        ({"cluster": {"existing": CLUSTER}}, "network.existing: an existing cluster"),
        (
            {"network": {"existing": {**VPC, "private_subnets": ["x", "y"]}}},
            "network.existing.private_subnets.0: ",
        ),
        (
            {"network": {"existing": {**VPC, "private_route_tables": ["rtb-0"]}}},
            "network.existing: private_route_tables: ",
        ),
    ],
)
def test_a_mistake_is_a_line_with_the_place_and_the_reason(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, {**MINIMAL, **change})
    line = str(error.value).splitlines()[0]
    assert line.startswith(f"{tmp_path}/config.yaml: ")
    assert told in line


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, {"name": "Images", "region": "x", "runtimes": [{"name": "a b"}]})
    assert len(str(error.value).splitlines()) == 4


@pytest.mark.parametrize("content", ["", "a: [", "- 1"])
def test_what_is_no_mapping_is_refused_in_words(tmp_path: Path, content: str) -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml: "):
        load(tmp_path, content)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="absent"):
        Config.load(tmp_path / "absent.yaml")


def test_models_of_the_hub_stay_possible(tmp_path: Path) -> None:
    hub = {**RUNTIME, "model": "stabilityai/sdxl-turbo", "models": "scratch", "models_prefix": ""}
    config = load(tmp_path, {**MINIMAL, "runtimes": [hub]})
    assert config.runtimes[0].model == "stabilityai/sdxl-turbo"


def test_users_may_be_admins_too(tmp_path: Path) -> None:
    config = load(tmp_path, {**MINIMAL, "cluster": {"admins": [ADMIN]}})
    assert config.cluster.admins == (ADMIN,)
