"""Values of a wrong form are refused before an installation; odd ones keep their meaning."""

import re
import sys
from collections.abc import Iterator
from typing import Any

import helm_python
import kubernetes_validate
import pytest
from chart_rendering import (
    BASE,
    CHART,
    Manifest,
    Values,
    containers,
    example,
    merged,
    only,
    pod_templates,
    render,
    render_files,
)
from test_chart_validity import custom

sys.path.insert(0, str(CHART.parent))
import chart_docs

WHOLE: Values = {
    "gateway": {
        "enabled": True,
        "jobTopicArn": "arn:aws:sns:us-west-2:111122223333:jobs",
        "keys": {"secretName": "keys"},
        "hpa": {"enabled": True},
    },
    "scaling": {"by": "work"},
    "telemetry": {"traces": "xray", "collector": {"enabled": True}},
    "models": {"source": "s3", "bucket": "models"},
    "karpenter": {"enabled": True, "nodeClass": {"role": "r", "discovery": "c"}},
    "podDisruptionBudget": {"enabled": True},
}
"""Values that bring nearly every object."""
SCENES: dict[str, Values] = {
    "whole": merged(example(BASE), WHOLE),
    "jobs": merged(example(BASE), {"scaling": {"mode": "scaledjob"}}),
    "fixed": merged(
        example(BASE),
        {"scaling": {"mode": "none"}, "gateway": {**WHOLE["gateway"], "hpa": {"enabled": False}}},
    ),
    "knative": example("knative"),
    "nats": merged(example("nats"), {"cloud": {"nats": {"setup": {"enabled": True}}}}),
}
VALUES = chart_docs.read_values((CHART / "values.yaml").read_text())


def leaves(values: tuple[chart_docs.Value, ...] = VALUES) -> Iterator[chart_docs.Value]:
    for value in values:
        if value.children:
            yield from leaves(value.children)
        else:
            yield value


def at(path: tuple[str, ...], value: object) -> Values:
    """The value below its keys."""
    for key in reversed(path):
        value = {key: value}
    assert isinstance(value, dict)
    return value


def refused(values: Values, words: str, *, below: Values = SCENES["whole"]) -> None:
    with pytest.raises(helm_python.HelmError, match=words):
        render(merged(below, values))


@pytest.mark.parametrize("wrong", ["10GB", "1.5.2Gi", "-1Gi", "100 m", "", "1Gib", "ten", "1e", -1])
def test_what_is_no_quantity_is_refused_in_words(wrong: Any) -> None:
    words = rf"runtime.*limits\.memory: \"{wrong}\" is no quantity that Kubernetes knows"
    refused({"runtime": {"resources": {"limits": {"memory": wrong}}}}, words)


@pytest.mark.parametrize(
    ("path", "below"),
    [
        ("agent.resources.requests.cpu", "whole"),
        ("gateway.resources.requests.memory", "whole"),
        ("scaling.work.resources.limits.memory", "whole"),
        ("telemetry.collector.resources.limits.memory", "whole"),
        ("runtime.scratchSize", "whole"),
        ("runtime.shmSize", "whole"),
        ("agent.scratchSize", "whole"),
        ("models.size", "whole"),
        ("models.size", "jobs"),
        ("models.s3.cacheSize", "whole"),
        ("karpenter.limits.cpu", "whole"),
        ("runtime.resources.requests.memory", "knative"),
        ("runtime.resources.requests.memory", "jobs"),
    ],
)
def test_so_it_is_wherever_quantities_stand(path: str, below: str) -> None:
    own = at(tuple(path.split(".")), "10GB")
    if below == "jobs":
        own = merged(own, {"models": {"source": "scratch"}})
    refused(own, '"10GB" is no quantity', below=SCENES[below])


def test_so_it_is_with_volumes_of_ones_own() -> None:
    volume = {"name": "own", "emptyDir": {"sizeLimit": "1GB"}}
    refused({"pod": {"extraVolumes": [volume]}}, 'pod.extraVolumes: sizeLimit: "1GB" is no')
    claim = {"spec": {"resources": {"requests": {"storage": "1 Gi"}}}}
    volume = {"name": "own", "ephemeral": {"volumeClaimTemplate": claim}}
    refused({"gateway": {"extraVolumes": [volume]}}, 'requests.storage: "1 Gi" is no')


@pytest.mark.parametrize(
    "right", ["10Gi", "1.5Gi", ".5Gi", "500M", "1e9", "12E6", 12884901888, "2."]
)
def test_what_kubernetes_reads_is_taken_as_it_stands(right: Any) -> None:
    limits = {"requests": {"memory": None}, "limits": {"memory": right}}
    (template,) = pod_templates(
        render(merged(example("knative"), {"runtime": {"resources": limits}}))
    )
    assert containers(template)["runtime"]["resources"]["limits"]["memory"] == right


@pytest.mark.parametrize(
    ("asked", "most"),
    [("13Gi", "12Gi"), ("12289Mi", "12Gi"), ("13e9", "12G"), ("2", "1500m"), (2, "1.5")],
)
def test_a_request_beyond_its_limit_is_refused(asked: Any, most: Any) -> None:
    """Kubernetes would refuse each pod, of which the Deployment tells in its events alone."""
    for path in ("runtime", "agent", "gateway", "scaling.work", "models.download"):
        resources = {"requests": {"memory": asked}, "limits": {"memory": most}}
        own = at((*path.split("."), "resources"), resources)
        if path.startswith("models"):
            own["models"]["source"] = "download"
        refused(own, rf"memory: the request \({asked}\) is larger than the limit \({most}\)")


@pytest.mark.parametrize("count", ["0.5", "500m", 1.5])
def test_a_part_of_a_device_is_refused(count: Any) -> None:
    gpus = {"nvidia.com/gpu": count}
    own = {"runtime": {"resources": {"requests": gpus, "limits": gpus}}}
    refused(own, rf"nvidia\.com/gpu: {count} is no whole number of devices")


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"pod": {"extraSpec": {"scheduler": "volcano"}}}, "/pod/extraSpec"),
        ({"pod": {"extraSpec": {"hostNetwork": "false"}}}, "/pod/extraSpec/hostNetwork"),
        ({"pod": {"extraSpec": {"dnsConfig": {"searches": "a"}}}}, "dnsConfig/searches"),
        ({"gateway": {"extraSpec": {"hostname": 1}}}, "/gateway/extraSpec/hostname"),
        ({"pod": {"extraContainers": [{"name": "a", "image": "r.example/a", "arg": []}]}}, "arg"),
        ({"pod": {"extraContainers": [{"name": "a", "image": "b", "tty": "no"}]}}, "tty"),
        ({"pod": {"extraVolumes": [{"name": "a", "configmap": {"name": "b"}}]}}, "configmap"),
        ({"pod": {"securityContext": {"runAsUser": "1000"}}}, "runAsUser"),
        ({"pod": {"affinity": {"nodeAffinty": {}}}}, "nodeAffinty"),
        ({"pod": {"tolerations": [{"key": "a", "tolerationSeconds": "5"}]}}, "tolerationSeconds"),
        ({"runtime": {"resources": {"limit": {"cpu": 1}}}}, "limit"),
        ({"runtime": {"resources": {"limits": "8Gi"}}}, "limits"),
        ({"runtime": {"securityContext": {"privileged": "false"}}}, "privileged"),
        ({"runtime": {"envFrom": [{"secretref": {"name": "a"}}]}}, "secretref"),
        ({"runtime": {"extraVolumeMounts": [{"name": "a"}]}}, "mountPath"),
        ({"runtime": {"lifecycle": {"preStop": {"exec": {"command": "x"}}}}}, "command"),
        ({"runtime": {"startupProbe": {"period": 5}}}, "period"),
        ({"runtime": {"startupProbe": {"httpGet": {"path": "/"}}}}, "httpGet"),
        ({"agent": {"readinessProbe": {"periodSeconds": 0}}}, "periodSeconds"),
        ({"deployment": {"strategy": {"maxSurge": 1}}}, "maxSurge"),
        ({"scaling": {"behavior": {"scaleup": {}}}}, "scaleup"),
        ({"scaling": {"hpa": {"metrics": [{"type": "Pods", "pod": {}}]}}}, "pod"),
        ({"scaling": {"extraTriggers": [{"type": "cpu", "metadata": {"value": 5}}]}}, "value"),
        ({"networkPolicy": {"extraEgress": [{"to": [{"ipblock": {}}]}]}}, "ipblock"),
        ({"networkPolicy": {"metricsFrom": [{}]}}, "/networkPolicy/metricsFrom/0"),
        ({"karpenter": {"taints": [{"key": "a", "effect": "NoSchedul"}]}}, "effect"),
        ({"karpenter": {"extraRequirements": [{"key": "a", "operator": "in"}]}}, "operator"),
        ({"karpenter": {"consolidateAfter": "60"}}, "consolidateAfter"),
        ({"karpenter": {"nodeClass": {"dataVolume": {"size": "100GB"}}}}, "dataVolume/size"),
        ({"helmTest": {"enabled": "false"}}, "/helmTest/enabled"),
        ({"agent": {"nativeSidecar": "false"}}, "/agent/nativeSidecar"),
    ],
)
def test_a_field_or_a_kind_that_kubernetes_does_not_know_is_refused(
    values: Values, place: str
) -> None:
    refused(values, place)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"extraContainers": [{"name": "My_Helper", "image": "b/c:1"}]}, "My_Helper is no name"),
        ({"extraVolumes": [{"name": "a.b", "emptyDir": {}}]}, "a.b is no name"),
        (
            {
                "extraContainers": [
                    {"name": "a", "image": "b/c:1", "ports": [{"containerPort": 70000}]}
                ]
            },
            "the container a: 70000 is no port",
        ),
    ],
)
def test_names_and_ports_that_no_pod_can_have_are_refused(part: Values, words: str) -> None:
    refused({"pod": part}, words)


def test_a_variable_has_a_value_or_a_source() -> None:
    both = [{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]
    refused({"scaling": {"work": {"extraEnv": both}}}, "A: value or valueFrom, not both")


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"extraEnv": [{"name": "A", "value": 1}]}, "A: a value is a text"),
        ({"extraEnv": [{"name": "A"}, {"name": "A"}]}, "the container scaler has A twice"),
    ],
)
def test_the_scalers_pod_keeps_the_rules_of_pods(own: Values, words: str) -> None:
    refused({"scaling": {"work": own}}, words)


def test_every_pod_of_the_chart_keeps_the_rules_of_pods() -> None:
    specs = [
        line
        for path in (CHART / "templates").rglob("*.yaml")
        for line in path.read_text().splitlines()
        if re.search(r'include "\w+\.spec"', line)
    ]
    assert len(specs) == 7
    assert all('include "chart.podRules"' in line for line in specs)
    for path in (CHART / "templates").rglob("*.yaml"):
        assert "containers:" not in path.read_text(), f"{path.name}: pods are made by a .spec"


REFUSES_LARGE = {
    "runtime.port",
    "pod.stopSeconds",
    "gateway.podDisruptionBudget.minAvailable",
    "podDisruptionBudget.minAvailable",
}


@pytest.mark.parametrize("scene", SCENES)
def test_no_number_is_written_with_an_exponent(scene: str) -> None:
    """KEDA, Mountpoint and fields for whole numbers do not read 1.2096e+06."""
    own = SCENES[scene]
    for value in leaves():
        numeric = type(value.default) in (int, float) or value.schema.get("type") == [
            "integer",
            "string",
        ]
        most = value.schema.get("maximum", 1209600)
        assert isinstance(most, int)
        if numeric and value.key not in REFUSES_LARGE:
            own = merged(own, at(value.path, min(most, 1209600)))
    files = render_files(merged(own, {"karpenter": {"limits": {"nvidia.com/gpu": 10000000}}}))
    assert not re.findall(r".*[0-9]e\+[0-9].*", "\n".join(files.values()))


NO_TEXT = re.compile(
    r"quote|toJson|toYaml|nindent|int64|sha256sum|chart\.(quantity|text|image|serviceImage"
    r"|agentImage)|[pP]ort\b|throughput|cpuUtilization|readOnly|pullPolicy|\.behavior\b"
    r"|service\.type|authenticationSource|ternary|\breference\b|containerConcurrency|\.weight"
    r"|consolidationPolicy|\$empty|object\.metadata|\$least|\$away|pod\.grace|\bint\b|^\.$"
)
"""Numbers, switches, words from a list, and what has a slash or a dash in any case."""


def test_texts_of_values_are_quoted_in_templates() -> None:
    """Unquoted, a Secret called 123 or a class called true would be no text for Kubernetes."""
    bare = [
        f"{path.name}: {line.strip()}"
        for path in (CHART / "templates").rglob("*")
        if path.suffix in {".tpl", ".yaml"}
        for line in path.read_text().splitlines()
        if not line.lstrip().startswith("{{-") and "protocol: TCP, port:" not in line
        for found in re.findall(r"[\w./-]+: \{\{ ([^{}]+) \}\}(?:[},]|$)", line)
        if not NO_TEXT.search(found)
    ]
    assert bare == []


@pytest.mark.parametrize("odd", ["123", "true", "null", "1e3"])
def test_names_that_look_like_numbers_or_switches_stay_texts(odd: str) -> None:
    own: Values = {
        "nameOverride": odd,
        "pod": {"priorityClassName": odd, "runtimeClassName": odd},
        "models": {"bucket": f"{odd}00"[:4]},
        "serviceAccount": {"name": odd},
        "gateway": {"keys": {"secretName": odd}, "priorityClassName": odd},
        "agent": {"runtimeAuth": {"secretName": odd, "key": odd}},
    }
    for manifest in render(merged(SCENES["whole"], own), release=odd):
        labels = manifest["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == odd
        if not custom(manifest):
            kubernetes_validate.validate(manifest, "1.37", strict=True)


def test_a_service_account_of_openshifts_range_keeps_its_number() -> None:
    own: Values = {"pod": {"securityContext": {"runAsUser": 1000660000}}}
    for template in pod_templates(render(merged(SCENES["whole"], own))):
        assert template["spec"]["securityContext"]["runAsUser"] == 1000660000


@pytest.mark.parametrize("release", ["2024", "7-days-of.images", "0"])
def test_a_release_may_begin_with_a_digit(release: str) -> None:
    manifests = render(SCENES["whole"], release=release)
    services = [item["metadata"]["name"] for item in manifests if item["kind"] == "Service"]
    assert services
    assert all(re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", name) for name in services)


def names(manifests: list[Manifest]) -> set[tuple[str, str]]:
    return {(item["kind"], item["metadata"]["name"]) for item in manifests}


def test_releases_whose_names_differ_at_their_ends_share_no_object() -> None:
    long = "a-release-with-a-name-as-long-as-helm-lets-it-be"
    ones, others = (names(render(SCENES["whole"], release=f"{long}-{end}")) for end in "ab")
    assert len(ones) == len(others)
    assert not ones & others
    assert all(len(name) <= 63 for _, name in ones | others)


def test_a_short_name_is_not_changed() -> None:
    assert only(render(SCENES["jobs"], release="b" * 38), "ScaledJob", f"{'b' * 38}-queue-agent")


@pytest.mark.parametrize("scene", SCENES)
def test_null_is_as_good_as_an_empty_map_or_list(scene: str) -> None:
    """Keys without a value are usual in values files, and Helm takes the default away for them."""
    needed = {"scaling.hpa.metrics"}
    empty = null = SCENES[scene]
    for value in leaves():
        if chart_docs.may_be_null(value) and value.key not in needed:
            assert type(value.default) in (dict, list)
            keys = dict.fromkeys(value.default) if isinstance(value.default, dict) else []
            empty = merged(empty, at(value.path, keys))
            null = merged(null, at(value.path, None))
    null = merged(null, {"models": {"s3": {"mountOptions": []}}})
    assert [_without_null(item) for item in render(null)] == [
        _without_null(item) for item in render(empty)
    ]


def _without_null(value: Any) -> Any:
    """Kubernetes takes null, and an empty map, for nothing."""
    if isinstance(value, dict):
        return {key: _without_null(part) for key, part in value.items() if part not in (None, {})}
    return [_without_null(part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "path",
    ["runtime", "scaling.queue", "runtime.port", "agent.settings", "models.size", "cloud.bucket"],
)
def test_null_for_anything_else_is_refused_with_its_name(path: str) -> None:
    keys = tuple(path.split("."))
    refused(at(keys, None), f"missing property '{keys[-1]}'")
