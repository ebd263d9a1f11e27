"""Images that the app builds, and nodes that can run what lands on them."""

import json
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from assembly import CDK, EXAMPLES, Assembly, synthesised, synthesised_from
from image_service.chart_values import merged
from image_service.config import Config, ConfigError
from releases import own_releases, rendered, values_of

MINIMAL: Final[dict[str, Any]] = yaml.safe_load(EXAMPLES["minimal"].read_text())
ARCHITECTURE: Final = "kubernetes.io/arch"
BUILT: Final = "cdk-hnb659fds-container-assets-"
"""In the names of the bootstrap's repositories."""
GATEWAY: Final = {
    "gateway": {
        "enabled": True,
        "jobTopicArn": "arn:aws:sns:us-west-2:111122223333:jobs",
        "settings": {"open": True},
    }
}


def with_values(tmp_path: Path, values: dict[str, Any], **config: Any) -> Config:
    (runtime,) = MINIMAL["runtimes"]
    path = tmp_path / "config.yaml"
    path.write_text(
        yaml.safe_dump({**MINIMAL, **config, "runtimes": [{**runtime, "values": values}]})
    )
    return Config.load(path)


def built(assembly: Assembly) -> dict[str, tuple[str, str]]:
    """Target and platform of the images of an assembly, by their tags."""
    return {
        tag: (image["source"]["dockerBuildTarget"], image["source"]["platform"])
        for path in assembly.folder.glob("*-runtime-*.assets.json")
        for tag, image in json.loads(path.read_text())["dockerImages"].items()
    }


def workloads(assembly: Assembly) -> list[dict[str, Any]]:
    return [
        manifest
        for release in own_releases(assembly)
        for manifest in yaml.safe_load_all(rendered(assembly, release))
        if manifest
    ]


def pods(assembly: Assembly) -> dict[str, dict[str, Any]]:
    """Pods of the Deployments, and that of `helm test`, by their names."""
    return {
        manifest["metadata"]["name"]: manifest["spec"]
        if manifest["kind"] == "Pod"
        else manifest["spec"]["template"]["spec"]
        for manifest in workloads(assembly)
        if manifest["kind"] in {"Deployment", "Pod"}
    }


def system_nodes(assembly: Assembly) -> str:
    (nodes,) = assembly.resources("AWS::EKS::Nodegroup")
    return "arm64" if nodes.properties["AmiType"].endswith("_ARM_64") else "amd64"


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def check_architectures(assembly: Assembly) -> None:
    """Every image that is built here is for the nodes that its pod may land on."""
    platforms = built(assembly)
    for pod in pods(assembly).values():
        nodes = pod.get("nodeSelector", {}).get(ARCHITECTURE) or system_nodes(assembly)
        for container in containers(pod):
            if BUILT in container["image"]:
                tag = container["image"].rpartition(":")[2]
                assert platforms[tag][1] == f"linux/{nodes}", container["name"]


def test_the_first_deployment_pushes_the_images_that_its_pods_ask_for() -> None:
    assert not yaml.safe_load((CDK / "config.yaml").read_text()).get("image_registry")
    assembly = synthesised("minimal")
    images = {it["name"]: it["image"] for it in containers(pods(assembly)["sdruntime"])}
    targets = {
        name: built(assembly)[images[name].rpartition(":")[2]][0] for name in ("agent", "runtime")
    }
    assert targets == {"agent": "agent", "runtime": "diffusers"}
    for image in images.values():
        assert "." in image.partition("/")[0], "Helm refuses what names no host"
    check_architectures(assembly)


def test_what_is_built_is_the_project_and_nothing_beside_it() -> None:
    assembly = synthesised("minimal")
    for path in assembly.folder.glob("*-runtime-*.assets.json"):
        for image in json.loads(path.read_text())["dockerImages"].values():
            folder = assembly.folder / image["source"]["directory"]
            assert {it.name for it in folder.iterdir()} == {
                ".dockerignore", "Dockerfile", "LICENSE", "README.md", "pyproject.toml",
                "queue_agent", "requirements", "runtimes",
            }  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - {"minimal"}))
def test_with_a_registry_nothing_is_built_and_all_of_it_comes_from_there(name: str) -> None:
    assembly = synthesised(name)
    assert built(assembly) == {}
    for release in own_releases(assembly):
        assert values_of(assembly, release)["imageRegistry"] == assembly.config.image_registry
    ours = [it["image"] for pod in pods(assembly).values() for it in containers(pod)]
    assert any(image.startswith(f"{assembly.config.image_registry}/") for image in ours)


def test_in_china_no_image_comes_from_afar() -> None:
    for pod in pods(synthesised("china")).values():
        for container in containers(pod):
            assert ".amazonaws.com.cn/" in container["image"]


@pytest.mark.parametrize("instance", ["m7g.large", "m7i.large", "t4g.large", "c6a.large"])
def test_system_nodes_have_an_image_of_their_instances_architecture(
    tmp_path: Path, instance: str
) -> None:
    config = with_values(tmp_path, GATEWAY, cluster={"system_instance": instance})
    assembly = synthesised_from(config, tmp_path / "out")
    arm = instance.split(".", maxsplit=1)[0].endswith("g")
    assert system_nodes(assembly) == ("arm64" if arm else "amd64")
    check_architectures(assembly)
    platforms = {platform for target, platform in built(assembly).values() if target == "agent"}
    assert platforms == ({"linux/amd64", "linux/arm64"} if arm else {"linux/amd64"})


@pytest.mark.parametrize("name", EXAMPLES)
def test_gpu_pods_ask_for_the_architecture_of_the_nodes_that_are_made_for_them(name: str) -> None:
    assembly = synthesised(name)
    (made,) = {
        tuple(requirement["values"])
        for manifest in workloads(assembly)
        if manifest["kind"] == "NodePool"
        for requirement in manifest["spec"]["template"]["spec"]["requirements"]
        if requirement["key"] == ARCHITECTURE
    }
    for pod in pods(assembly).values():
        selector = pod.get("nodeSelector", {})
        if "karpenter.sh/nodepool" in selector:
            assert (selector[ARCHITECTURE],) == made == ("amd64",)


@pytest.mark.parametrize("name", ["minimal", "existing-cluster"])
def test_without_services_helm_test_runs_on_gpu_nodes(tmp_path: Path, name: str) -> None:
    config = yaml.safe_load(EXAMPLES[name].read_text())
    config.pop("image_registry", None)
    config["runtimes"][0]["values"] = {"scaling": {"by": "length"}}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    assembly = synthesised_from(Config.load(path), tmp_path / "out")
    (check,) = [pod for name, pod in pods(assembly).items() if name.endswith("-check")]
    (image,) = [container["image"] for container in containers(check)]
    architecture = check["nodeSelector"][ARCHITECTURE]
    assert built(assembly)[image.rpartition(":")[2]] == ("agent", f"linux/{architecture}")
    (taint,) = [
        taint
        for manifest in workloads(assembly)
        if manifest["kind"] == "NodePool"
        for taint in manifest["spec"]["template"]["spec"]["taints"]
    ]
    (tolerated,) = check["tolerations"]
    assert (tolerated["key"], tolerated["effect"]) == (taint["key"], taint["effect"])


@pytest.mark.parametrize(
    "services", [{}, {"scaling": {"by": "work"}}, merged(GATEWAY, {"scaling": {"by": "length"}})]
)
def test_in_a_cluster_of_others_services_need_images_of_all_architectures(
    tmp_path: Path, services: dict[str, Any]
) -> None:
    existing = yaml.safe_load(EXAMPLES["existing-cluster"].read_text())
    sections = {name: existing[name] for name in ("region", "network", "cluster")}
    with pytest.raises(ConfigError, match=r"image_registry: .*`make images`"):
        with_values(tmp_path, services, **sections)
    assert with_values(
        tmp_path, services, **sections, image_registry="registry.example.com"
    ).runtimes


@pytest.mark.parametrize("repository", ["webui", "team/webui"])
def test_an_image_without_a_host_needs_a_registry(tmp_path: Path, repository: str) -> None:
    (runtime,) = MINIMAL["runtimes"]
    own = {**runtime, "preset": "webui", "image": {"repository": repository, "tag": "1"}}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({**MINIMAL, "runtimes": [own]}))
    with pytest.raises(ConfigError, match=f"image_registry: which holds {repository}"):
        Config.load(path)
    own["image"]["repository"] = f"registry.example.com/{repository}"
    path.write_text(yaml.safe_dump({**MINIMAL, "runtimes": [own]}))
    assert Config.load(path).runtimes
