"""What must hold of everything the chart renders, whatever the values."""

import re
from collections.abc import Iterator

import pytest
import yaml
from chart_rendering import (
    BASE,
    CHART,
    EXAMPLES,
    FEATURES,
    NAMESPACE,
    RELEASE,
    Manifest,
    containers,
    environment,
    example,
    kinds,
    manifests_of,
    merged,
    only,
    pod_templates,
    render,
    render_files,
    values_of,
)

from queue_agent.cloud.addresses import NatsAddress
from queue_agent.settings.agent import Settings

ALL = [*EXAMPLES, *FEATURES]
DEPLOYMENTS = [name for name in ALL if not name.startswith(("knative", "job-"))]
AGENTS = [name for name in ALL if not name.startswith("knative")]
CLUSTER_WIDE = {
    "ClusterRole",
    "ClusterRoleBinding",
    "EC2NodeClass",
    "NodePool",
    "PersistentVolume",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}
PRESETS = ("webui", "comfyui", "diffusers", "cog", "triton", "custom")
NAME = f"{RELEASE}-queue-agent"


def templates(name: str) -> list[Manifest]:
    found = list(pod_templates(manifests_of(name)))
    assert found
    return found


def images(manifests: list[Manifest]) -> Iterator[str]:
    for template in pod_templates(manifests):
        yield from (container["image"] for container in containers(template).values())


def seconds_of(template: Manifest) -> int:
    return int(template["spec"]["terminationGracePeriodSeconds"])


@pytest.mark.parametrize("release", ["a", "an-ordinary-release", "x" * 53])
@pytest.mark.parametrize("name", ["webui", "gateway-ingress", "monitoring", "traces-by-otlp"])
def test_names_fit_into_63_characters(name: str, release: str) -> None:
    for manifest in render(values_of(name), release=release):
        assert len(manifest["metadata"]["name"]) <= 63
        assert not manifest["metadata"]["name"].endswith("-")
        if manifest["kind"] == "ScaledObject":
            assert len(f"keda-hpa-{manifest['metadata']['name']}") <= 63
        labels = manifest["metadata"]["labels"].values()
        assert all(len(label) <= 63 for label in labels)


@pytest.mark.parametrize("name", ALL)
def test_objects_stand_in_the_releases_namespace_and_carry_its_labels(name: str) -> None:
    for manifest in manifests_of(name):
        metadata = manifest["metadata"]
        expected = None if manifest["kind"] in CLUSTER_WIDE else NAMESPACE
        assert metadata.get("namespace") == expected, manifest["kind"]
        assert metadata["labels"]["app.kubernetes.io/instance"] == RELEASE


def test_objects_outside_namespaces_are_told_apart_by_namespace() -> None:
    names = {
        item["metadata"]["name"]
        for item in manifests_of("webui")
        if item["kind"] in CLUSTER_WIDE - {"PersistentVolume"}
    }
    assert names == {f"{NAME}-{NAMESPACE}"}
    volume = only(manifests_of("webui"), "PersistentVolume")
    assert re.fullmatch(rf"{NAME}-{NAMESPACE}-[0-9a-f]{{8}}", volume["metadata"]["name"])


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_selectors_hold_nothing_that_changes_with_a_release(name: str) -> None:
    for manifest in manifests_of(name):
        if manifest["kind"] == "Deployment":
            selector = manifest["spec"]["selector"]["matchLabels"]
            assert set(selector) == {
                "app.kubernetes.io/name",
                "app.kubernetes.io/instance",
                "app.kubernetes.io/component",
            }
            assert selector.items() <= manifest["spec"]["template"]["metadata"]["labels"].items()


def test_the_gateway_and_the_runtime_select_different_pods() -> None:
    manifests = manifests_of("gateway-ingress")
    runtime = only(manifests, "Deployment", NAME)
    gateway = only(manifests, "Deployment", f"{NAME}-gateway")
    assert runtime["spec"]["selector"] != gateway["spec"]["selector"]
    service = only(manifests, "Service", f"{NAME}-gateway")
    assert service["spec"]["selector"] == gateway["spec"]["selector"]["matchLabels"]


@pytest.mark.parametrize("name", ALL)
def test_every_image_is_pinned(name: str) -> None:
    for image in images(manifests_of(name)):
        assert re.search(r"(:[\w][\w.-]*|@sha256:[0-9a-f]{64})$", image), image
        assert not image.endswith(":latest")


def test_a_digest_wins_over_a_tag_and_a_registry_is_not_put_before_another() -> None:
    own = {
        "runtime": {
            "image": {
                "repository": "other.example.com/r",
                "tag": "1",
                "digest": f"sha256:{'0' * 64}",
            }
        }
    }
    found = set(images(render(merged(example(BASE), own))))
    assert found == {
        f"other.example.com/r@sha256:{'0' * 64}",
        "registry.example.com/images/sd-queue-agent:0.1.0",
    }


DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("name", "path", "container"),
    [
        (BASE, ("runtime", "image"), "runtime"),
        (BASE, ("agent", "image"), "agent"),
        ("gateway-ingress", ("agent", "image"), "gateway"),
        ("comfyui", ("models", "download", "image"), "models"),
        ("traces-by-otlp", ("telemetry", "collector", "image"), "collector"),
    ],
)
def test_every_image_can_be_given_by_its_digest(
    name: str, path: tuple[str, ...], container: str
) -> None:
    own: Manifest = {"digest": DIGEST}
    for part in reversed(path):
        own = {part: own}
    found = [
        containers(template)[container]["image"]
        for template in pod_templates(render(merged(values_of(name), own)))
        if container in containers(template)
    ]
    assert found
    assert all(image.endswith(f"@{DIGEST}") for image in found)


@pytest.mark.parametrize("name", ALL)
def test_probes_ask_ports_that_exist(name: str) -> None:
    for template in templates(name):
        found = containers(template).values()
        numbers = {port["containerPort"] for one in found for port in one.get("ports", [])}
        for container in found:
            ports = {port["name"] for port in container.get("ports", [])} | numbers
            for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
                probe = container.get(kind, {})
                asked = probe.get("httpGet") or probe.get("tcpSocket") or {}
                assert asked.get("port", 0) in {*ports, 0}


@pytest.mark.parametrize(
    "own",
    [
        {"runtime": {"preset": "webui", "image": {"repository": "a", "tag": "1"}}},
        {"runtime": {"preset": "custom", "adapter": "webui", "probeBy": "tcp"}},
        {"mode": "knative", "runtime": {"probeBy": "tcp"}},
    ],
)
def test_a_server_that_dies_when_it_is_asked_while_it_starts_is_only_connected_to(
    own: Manifest,
) -> None:
    image = {"runtime": {"image": {"repository": "a", "tag": "1"}, "port": 7860}}
    values = merged(merged(example(BASE), own), image)
    runtime = containers(next(pod_templates(render(values))))["runtime"]
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = runtime.get(kind, {})
        assert "httpGet" not in probe or probe["httpGet"]["path"] == "/runtimez"
    assert runtime["startupProbe"]["tcpSocket"]["port"] in {"runtime", 0}


def test_the_agent_says_whether_the_runtime_is_to_be_restarted() -> None:
    pod = containers(next(pod_templates(render(example(BASE)))))
    probe = pod["runtime"]["livenessProbe"]
    assert probe["httpGet"] == {"path": "/runtimez", "port": 9100}
    assert pod["agent"]["ports"][0]["containerPort"] == 9100
    patience = probe["periodSeconds"] * probe["failureThreshold"]
    own = pod["agent"]["livenessProbe"]
    silent = own["periodSeconds"] * own["failureThreshold"]
    assert patience >= 2 * silent, "an agent that is restarted takes no runtime with it"


@pytest.mark.parametrize(
    "own", [{"runtime": {"livenessBy": "runtime"}}, {"scaling": {"mode": "scaledjob"}}]
)
def test_a_runtime_without_an_agent_beside_it_answers_for_itself(own: Manifest) -> None:
    pod = containers(next(pod_templates(render(merged(example(BASE), own)))))
    assert pod["runtime"]["livenessProbe"]["httpGet"] == {"path": "/health", "port": "runtime"}


@pytest.mark.parametrize("name", AGENTS)
def test_both_containers_have_all_three_probes(name: str) -> None:
    found = containers(templates(name)[0])
    for container in (found["runtime"], found["agent"]):
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_runtime_listens_where_the_probes_and_the_agent_look(preset: str) -> None:
    image = {"repository": "runtime", "tag": "1"}
    own = {"runtime": {"preset": preset, "port": 4321, "image": image}}
    pod = containers(next(pod_templates(render(merged(example(BASE), own)))))
    assert pod["runtime"]["ports"][0]["containerPort"] == 4321
    assert environment(pod["agent"])["QUEUE_AGENT_RUNTIME_URL"] == "http://127.0.0.1:4321"
    if preset == "cog":
        assert environment(pod["runtime"])["PORT"] == "4321"
    elif preset != "custom":
        assert {"--port=4321", "--http-port=4321"} & {*pod["runtime"]["args"]}


@pytest.mark.parametrize("name", AGENTS)
def test_the_agents_environment_covers_every_required_setting(name: str) -> None:
    template = templates(name)[0]
    settings = Settings.load(environment(containers(template)["agent"]))
    values = values_of(name)
    several = values["cloud"].get("queues")
    urls = [it["url"] for it in several] if several else [values["cloud"]["queueUrl"]]
    assert [*settings.served.values()] == urls
    assert settings.region == values["cloud"].get("region")
    assert settings.health_port == containers(template)["agent"]["ports"][0]["containerPort"]
    assert settings.shutdown_grace < seconds_of(template)


def test_the_agents_settings_reach_it_as_they_were_meant() -> None:
    agent = containers(templates("own-runtime")[0])["agent"]
    settings = Settings.load(environment(agent))
    assert settings.runtime == "openai"
    assert settings.reference_max_bytes == 64 * 2**20
    assert settings.reference_buckets == ("inputs", "more-inputs")
    assert settings.run_timeout == 600
    assert settings.notify_running is True


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_the_grace_period_holds_the_drain_and_the_runtimes_end(name: str) -> None:
    template = templates(name)[0]
    found = containers(template)
    drain = float(environment(found["agent"])["QUEUE_AGENT_SHUTDOWN_GRACE"])
    wait = found["runtime"]["lifecycle"]["preStop"]["exec"]["command"][-1]
    waited = float(re.search(r"monotonic\(\) \+ ([\d.]+)", wait)[1])  # type: ignore[index]  # a miss fails the test
    assert waited >= drain
    assert seconds_of(template) >= waited + 5


def test_a_longer_drain_gets_a_longer_grace_period() -> None:
    own = {"agent": {"shutdownGrace": 100}, "pod": {"stopSeconds": 20}}
    assert seconds_of(next(pod_templates(render(merged(example(BASE), own))))) == 120


@pytest.mark.parametrize("name", ALL)
def test_every_container_has_requests_and_a_memory_limit(name: str) -> None:
    for template in templates(name):
        for container in containers(template).values():
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("name", ALL)
def test_every_mount_has_its_volume_and_every_volume_its_mount(name: str) -> None:
    for template in templates(name):
        volumes = {volume["name"] for volume in template["spec"].get("volumes", [])}
        mounted = {
            mount["name"]
            for container in containers(template).values()
            for mount in container.get("volumeMounts", [])
        }
        assert mounted == volumes


@pytest.mark.parametrize("name", ALL)
def test_config_maps_and_claims_that_pods_name_are_rendered(name: str) -> None:
    manifests = manifests_of(name)
    own = {item["metadata"]["name"] for item in manifests if item["kind"] == "ConfigMap"}
    for template in pod_templates(manifests):
        for volume in template["spec"].get("volumes", []):
            if "configMap" in volume:
                assert volume["configMap"]["name"] in own
    if values_of(name).get("models", {}).get("source") == "s3":
        claim = only(manifests, "PersistentVolumeClaim")
        volume = only(manifests, "PersistentVolume")
        assert claim["spec"]["volumeName"] == volume["metadata"]["name"]
        assert volume["spec"]["claimRef"]["name"] == claim["metadata"]["name"]


def test_the_agent_is_a_native_sidecar_that_drains_before_the_runtime_ends() -> None:
    spec = templates(BASE)[0]["spec"]
    agent = spec["initContainers"][-1]
    assert (agent["name"], agent["restartPolicy"]) == ("agent", "Always")
    assert agent["lifecycle"]["preStop"]["exec"]["command"][-1] == "kill -TERM 1"
    assert [item["name"] for item in spec["containers"]] == ["runtime"]


def test_without_native_sidecars_the_agent_is_a_plain_container() -> None:
    spec = templates("plain-container")[0]["spec"]
    assert "initContainers" not in spec
    assert [item["name"] for item in spec["containers"]] == ["runtime", "agent", "collector"]
    assert not any("restartPolicy" in item for item in spec["containers"])
    assert "lifecycle" not in spec["containers"][1]


def test_in_a_job_the_agent_is_the_main_container_and_ends_it() -> None:
    manifests = manifests_of("job-per-pod")
    spec = only(manifests, "ScaledJob")["spec"]["jobTargetRef"]["template"]["spec"]
    assert [item["name"] for item in spec["containers"]] == ["agent"]
    runtime = spec["initContainers"][-1]
    assert (runtime["name"], runtime["restartPolicy"]) == ("runtime", "Always")
    assert environment(spec["containers"][0])["QUEUE_AGENT_MAX_JOBS"] == "1"
    assert "Deployment" not in kinds(manifests)


def test_a_job_without_native_sidecars_is_refused() -> None:
    own = {"agent": {"nativeSidecar": False}}
    with pytest.raises(Exception, match=r"scaledjob needs agent\.nativeSidecar"):
        render(merged(values_of("job-per-pod"), own))


@pytest.mark.parametrize(
    "name", [name for name in DEPLOYMENTS if name not in {"plain-hpa", "fixed-size"}]
)
def test_the_scaled_object_points_at_the_deployment_and_the_queue(name: str) -> None:
    manifests = manifests_of(name)
    scaled = only(manifests, "ScaledObject")["spec"]
    target = only(manifests, "Deployment", scaled["scaleTargetRef"]["name"])
    assert "replicas" not in target["spec"], "an upgrade would undo the scaling"
    queues = {"aws-sqs-queue", "nats-jetstream"}
    triggers = [item for item in scaled["triggers"] if item["type"] in queues]
    agent = Settings.load(environment(containers(target["spec"]["template"])["agent"]))
    if triggers[0]["type"] == "nats-jetstream":
        told = [trigger["metadata"] for trigger in triggers]
        served = [NatsAddress.parse(address) for address in agent.served.values()]
        counted = {(it.stream, name) for it in served for name in (it.consumer, it.turns)}
        assert {(it["stream"], it["consumer"]) for it in told} == counted
        needed = {"account", "natsServerMonitoringEndpoint", "lagThreshold"}
        assert all(it.keys() >= needed for it in told)
        return
    for queue, address in zip(triggers, agent.served.values(), strict=True):
        told = queue["metadata"]
        assert told["queueURL"] == address
        assert told.keys() >= {"queueLength", "activationQueueLength", "scaleOnInFlight"}
        if not values_of(name).get("scaling", {}).get("authentication"):
            only(manifests, "TriggerAuthentication", queue["authenticationRef"]["name"])


def test_the_plain_hpa_points_at_the_deployment_and_keeps_one_pod() -> None:
    manifests = manifests_of("plain-hpa")
    hpa = only(manifests, "HorizontalPodAutoscaler")["spec"]
    only(manifests, "Deployment", hpa["scaleTargetRef"]["name"])
    assert hpa["minReplicas"] == 1
    assert not kinds(manifests) & {"ScaledObject", "TriggerAuthentication"}


def test_pods_fit_onto_the_nodes_that_are_made_for_them() -> None:
    own = merged(values_of("large-gpus"), {"karpenter": {"nodeClass": {"existing": ""}}})
    own = merged(own, {"karpenter": {"nodeClass": {"role": "gpu", "discovery": "c"}}})
    manifests = render(own)
    pool = only(manifests, "NodePool")
    node_class = only(manifests, "EC2NodeClass")
    node = pool["spec"]["template"]["spec"]
    assert node["nodeClassRef"]["name"] == node_class["metadata"]["name"]
    spec = next(pod_templates(manifests))["spec"]
    assert spec["nodeSelector"]["karpenter.sh/nodepool"] == pool["metadata"]["name"]
    tolerated = {(item["key"], item.get("value"), item["effect"]) for item in spec["tolerations"]}
    assert {
        (item["key"], item.get("value"), item["effect"]) for item in node["taints"]
    } <= tolerated


@pytest.mark.parametrize("preset", ["webui", "comfyui", "cog", "triton", "custom"])
def test_a_runtime_without_a_published_image_asks_for_one(preset: str) -> None:
    own = {"runtime": {"preset": preset}}
    with pytest.raises(Exception, match=f"the {preset} preset needs an image"):
        render(merged(example(BASE), own))


@pytest.mark.parametrize("key", ["queueUrl", "topicArn", "bucket", "region"])
def test_a_missing_cloud_value_is_named(key: str) -> None:
    with pytest.raises(Exception, match=rf"cloud\.{key}"):
        render(merged(example(BASE), {"cloud": {key: ""}}))


def test_a_change_of_configuration_makes_new_pods() -> None:
    def checksum(depth: str) -> str:
        files = {"runtime": {"configFiles": {"more.yaml": depth}}}
        template = next(pod_templates(render(merged(example("comfyui"), files))))
        return str(template["metadata"]["annotations"]["checksum/runtime-files"])

    assert checksum("a") != checksum("b")


def test_extra_containers_volumes_and_manifests_are_passed_through() -> None:
    own = {
        "pod": {
            "extraContainers": [{"name": "helper", "image": "helper:1"}],
            "extraInitContainers": [{"name": "before", "image": "helper:1"}],
            "extraVolumes": [{"name": "shared", "emptyDir": {}}],
        },
        "extraManifests": [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "{{ .Release.Name }}-o"},
            },
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}-t'}",
        ],
    }
    manifests = render(merged(example(BASE), own))
    assert {"helper", "before"} <= set(containers(next(pod_templates(manifests))))
    assert {f"{RELEASE}-o", f"{RELEASE}-t"} <= {item["metadata"]["name"] for item in manifests}


@pytest.mark.parametrize("name", ["webui", "comfyui", "diffusers"])
def test_ten_lines_of_values_are_enough(name: str) -> None:
    lines = [line for line in EXAMPLES[name].read_text().splitlines() if not line.startswith("#")]
    assert len(lines) <= 10


def test_the_notes_name_commands_for_what_was_installed() -> None:
    def notes(name: str) -> str:
        return render_files(values_of(name))["queue-agent/templates/NOTES.txt"]

    assert f"deploy/{NAME} -c agent" in notes(BASE)
    assert "get scaledjob,jobs" in notes("job-per-pod")
    assert "get ksvc" in notes("knative")
    assert f"svc/{NAME}-gateway" in notes("gateway-ingress")


def test_the_presets_differ_only_in_their_one_table() -> None:
    text = re.sub(r"(?m)^ *\{\{-.*\}\}$", "", (CHART / "presets.yaml").read_text())
    rows = yaml.safe_load(re.sub(r"\{\{.*?\}\}", "x", text))
    assert set(rows) == set(PRESETS)
    columns = {frozenset(row) for row in rows.values()}
    assert len(columns) == 1
    for template in CHART.rglob("templates/**/*.*"):
        assert not re.search(r'"(webui|comfyui|diffusers)"', template.read_text()), template.name
