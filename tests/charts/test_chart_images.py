"""Where images come from, and whether the nodes that pods may land on can run them."""

import re
from collections.abc import Iterator
from typing import Final

import pytest
from chart_rendering import (
    BASE,
    EXAMPLES,
    FEATURES,
    Manifest,
    Values,
    containers,
    example,
    kinds,
    manifests_of,
    merged,
    only,
    pod_templates,
    render,
    values_of,
)

ALL = [*EXAMPLES, *FEATURES]
OURS: Final = "registry.example.com/images"
COLLECTOR: Final = "public.ecr.aws/aws-observability/aws-otel-collector"
COPIES_MODELS: Final = "public.ecr.aws/aws-cli/aws-cli"
ARCHITECTURE: Final = "kubernetes.io/arch"
EVERY: Final = frozenset({"amd64", "arm64"})
"""Of the nodes that a cluster may have."""


def images(manifests: list[Manifest]) -> Iterator[str]:
    for template in pod_templates(manifests):
        yield from (container["image"] for container in containers(template).values())


def repository(image: str) -> str:
    return re.sub(r"(@sha256:\w+|:[\w.-]+)$", "", image)


def runs_on(image: str) -> frozenset[str]:
    """As `make images` builds ours, and publishers theirs; other runtimes are for GPU nodes."""
    agent = image.startswith(f"{OURS}/sd-queue-agent:") and not image.endswith("-diffusers")
    others = repository(image) in {COLLECTOR, COPIES_MODELS}
    return EVERY if agent or others else frozenset({"amd64"})


def may_land_on(template: Manifest) -> frozenset[str]:
    wanted = template["spec"].get("nodeSelector", {}).get(ARCHITECTURE)
    return EVERY if wanted is None else frozenset({wanted})


@pytest.mark.parametrize("name", ALL)
def test_every_image_names_its_host(name: str) -> None:
    for image in images(manifests_of(name)):
        host = image.partition("/")[0]
        assert "." in host, image


@pytest.mark.parametrize("registry", [OURS, f"{OURS}/", "localhost", "localhost:5000/a/b"])
def test_the_registry_is_that_of_the_projects_images_and_of_no_others(registry: str) -> None:
    own: Values = {
        "imageRegistry": registry,
        "models": {"source": "download", "bucket": "models"},
        "telemetry": {"collector": {"enabled": True}},
    }
    found = {repository(image) for image in images(render(merged(example(BASE), own)))}
    mine = f"{registry.rstrip('/')}/sd-queue-agent"
    assert found == {mine, COLLECTOR, COPIES_MODELS}


def test_a_mirror_of_other_images_is_asked_for_by_naming_them_without_a_host() -> None:
    own: Values = {
        "models": {
            "source": "download",
            "bucket": "models",
            "download": {"image": {"repository": "mirror/aws-cli"}},
        },
        "telemetry": {"collector": {"enabled": True, "image": {"repository": "collector"}}},
    }
    found = {repository(image) for image in images(render(merged(example(BASE), own)))}
    assert found >= {f"{OURS}/mirror/aws-cli", f"{OURS}/collector"}


@pytest.mark.parametrize(
    "host", ["registry.example.com", "localhost", "registry:5000", "10.0.0.1:5000"]
)
def test_a_repository_that_names_its_host_is_left_alone(host: str) -> None:
    own = {"runtime": {"image": {"repository": f"{host}/mine", "tag": "1"}}}
    assert f"{host}/mine:1" in set(images(render(merged(example(BASE), own))))


@pytest.mark.parametrize("name", ["sd-queue-agent", "team/sd-queue-agent", "with.dot"])
def test_an_image_that_nobody_has_pushed_is_not_rendered(name: str) -> None:
    own: Values = {"imageRegistry": "", "agent": {"image": {"repository": name}}}
    bundled = {"runtime": {"image": {"repository": f"{OURS}/sd-queue-agent", "tag": "1"}}}
    with pytest.raises(Exception, match=f"which registry holds {re.escape(name)}"):
        render(merged(merged(example(BASE), own), bundled))


@pytest.mark.parametrize("name", ALL)
def test_no_pod_lands_on_a_node_that_cannot_run_one_of_its_images(name: str) -> None:
    manifests = manifests_of(name)
    hooks = [item for item in manifests if item["kind"] == "Pod"]
    for template in [*pod_templates(manifests), *hooks]:
        for container in containers(template).values():
            assert may_land_on(template) <= runs_on(container["image"]), container["name"]


@pytest.mark.parametrize("name", ALL)
def test_nodes_that_are_made_for_pods_have_the_architecture_that_these_ask_for(name: str) -> None:
    manifests = manifests_of(name)
    if "NodePool" not in kinds(manifests):
        return
    pool = only(manifests, "NodePool")
    for template in pod_templates(manifests):
        selector = template["spec"].get("nodeSelector", {})
        if selector.get("karpenter.sh/nodepool") == pool["metadata"]["name"]:
            assert made(pool) == {selector[ARCHITECTURE]}


def made(pool: Manifest) -> set[str]:
    """Architectures of a pool's nodes."""
    (wanted,) = [
        requirement
        for requirement in pool["spec"]["template"]["spec"]["requirements"]
        if requirement["key"] == ARCHITECTURE
    ]
    assert wanted["operator"] == "In"
    return set(wanted["values"])


def test_an_image_for_arm64_has_its_pods_and_their_nodes_there() -> None:
    own = {"pod": {"nodeSelector": {ARCHITECTURE: "arm64"}}}
    manifests = render(merged(example("comfyui"), own))
    assert made(only(manifests, "NodePool")) == {"arm64"}
    assert may_land_on(next(pod_templates(manifests))) == {"arm64"}


def test_a_selector_of_ones_own_keeps_the_architecture() -> None:
    own = {"pod": {"nodeSelector": {"gpu": "yes"}}}
    template = next(pod_templates(render(merged(example(BASE), own))))
    assert template["spec"]["nodeSelector"] == {"gpu": "yes", ARCHITECTURE: "amd64"}


@pytest.mark.parametrize(
    ("own", "reference"),
    [
        ({"tag": "2"}, f"{OURS}/services:2"),
        ({"digest": f"sha256:{'1' * 64}"}, f"{OURS}/services@sha256:{'1' * 64}"),
    ],
)
def test_nodes_without_a_gpu_may_have_an_image_of_the_agent_of_their_own(
    own: Values, reference: str
) -> None:
    service = {"agent": {"serviceImage": {"repository": "services", **own}}}
    manifests = render(merged(values_of("gateway-ingress"), service))
    found = {
        name: container["image"]
        for template in [*pod_templates(manifests), only(manifests, "Pod")]
        for name, container in containers(template).items()
    }
    assert found["gateway"] == found["check"] == reference
    assert found["agent"].startswith(f"{OURS}/sd-queue-agent:")


@pytest.mark.parametrize("name", ALL)
def test_only_pods_with_a_runtime_have_the_image_for_gpu_nodes(name: str) -> None:
    own = {"agent": {"serviceImage": {"repository": "services", "tag": "1"}}}
    manifests = render(merged(values_of(name), own))
    hooks = [item for item in manifests if item["kind"] == "Pod"]
    for template in [*pod_templates(manifests), *hooks]:
        if "runtime" not in containers(template):
            for container in containers(template).values():
                assert container["image"] == f"{OURS}/services:1", container["name"]


def test_the_gateway_may_stand_on_system_nodes_of_either_architecture() -> None:
    gateway = only(manifests_of("gateway-ingress"), "Deployment", "demo-queue-agent-gateway")
    assert may_land_on(gateway["spec"]["template"]) == EVERY
