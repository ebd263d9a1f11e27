"""Whether Helm, Kubernetes, the operators and checkov accept what the chart renders."""

import json
import os
import subprocess
import sys
from pathlib import Path

import helm_python
import jsonschema
import kubernetes_validate
import pytest
import yaml
from chart_rendering import (
    CHART,
    EXAMPLES,
    FEATURES,
    HERE,
    NAMESPACE,
    Manifest,
    manifests_of,
    pod_templates,
    values_of,
)

PROJECT = HERE.parents[1]
CHECKOV = Path(sys.prefix, "checkov", "bin", "python")
"""The interpreter of the virtual environment that has checkov."""
KUBERNETES_VERSIONS = ("1.35", "1.36", "1.37")
CRDS = Path(os.environ.get("CRD_SCHEMAS") or PROJECT.parent / "shared" / "crds")
CUSTOM_GROUPS = (
    "gateway.networking.k8s.io/",
    "karpenter.k8s.aws/",
    "karpenter.sh/",
    "keda.sh/",
    "monitoring.coreos.com/",
    "serving.knative.dev/",
)
ACCEPTED_BY_REVIEW = {
    "CKV_K8S_11": "a CPU limit throttles the agent, and the GPU waits",
    "CKV_K8S_15": "images are pinned, so they need not be pulled again",
    "CKV_K8S_35": "what runtime and gateway take as secrets are settings of the environment",
    "CKV_K8S_43": "digests are the operator's to give",
}
ACCEPTED_OF_WHAT_ENDS = {
    "CKV_K8S_8": "no liveness probe: the check ends by itself, or by its deadline",
    "CKV_K8S_9": "no readiness probe: nobody calls it",
}
"""Of the pod of `helm test`."""
ALL = [*EXAMPLES, *FEATURES]


def custom(manifest: Manifest) -> bool:
    return str(manifest["apiVersion"]).startswith(CUSTOM_GROUPS)


@pytest.mark.parametrize("name", ALL)
def test_helm_lint_finds_nothing_in_strict_mode(name: str) -> None:
    report = helm_python.lint(CHART, values_of(name), strict=True)
    assert report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] > 1] == []


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_core_objects_are_valid_in_each_supported_kubernetes(version: str) -> None:
    distinct = {json.dumps(item): item for name in ALL for item in manifests_of(name)}
    for manifest in distinct.values():
        if not custom(manifest):
            kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.skipif(not CRDS.is_dir(), reason=f"no schemas of custom resources in {CRDS}")
@pytest.mark.parametrize("name", ALL)
def test_custom_resources_are_valid(name: str) -> None:
    for manifest in filter(custom, manifests_of(name)):
        group, version = manifest["apiVersion"].split("/")
        schema = json.loads(
            (CRDS / group / f"{manifest['kind'].lower()}_{version}.json").read_text()
        )
        errors = jsonschema.Draft7Validator(schema).iter_errors(manifest)
        assert [f"{error.json_path}: {error.message}" for error in errors] == []


@pytest.mark.skipif(not CRDS.is_dir(), reason=f"no schemas of custom resources in {CRDS}")
def test_each_kind_of_custom_resource_is_rendered_by_some_example() -> None:
    rendered = {item["kind"].lower() for name in ALL for item in manifests_of(name)}
    schemas = {path.stem.split("_")[0] for path in CRDS.glob("*/*.json")}
    assert schemas - rendered <= {"prometheusrule"}, "rendered where files/rules has rules"


def as_pod(template: Manifest) -> Manifest:
    """A pod that checkov looks into, as it does not look into custom resources."""
    metadata = {**template["metadata"], "name": "pod", "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


@pytest.mark.skipif(not CHECKOV.exists(), reason="checkov is not installed; `make test` does it")
def test_checkov_finds_nothing_that_was_not_accepted_by_review(tmp_path: Path) -> None:
    for name in ALL:
        manifests = manifests_of(name)
        jobs = [item for item in manifests if item["kind"] == "ScaledJob"]
        pods = [as_pod(template) for template in pod_templates(jobs)]
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump_all([*manifests, *pods]))
    command = [str(CHECKOV), "-m", "checkov.main", "--framework", "kubernetes"]
    # without --skip-download it asks its maker's servers for severities and guidelines
    options = ["--directory", str(tmp_path), "--output", "json", "--quiet", "--skip-download"]
    run = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    report = json.loads(run.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 1000
    found = {
        f"{item['check_id']} {item['check_name']}: {item['resource']}"
        for item in report["results"]["failed_checks"]
        if item["check_id"] not in ACCEPTED_BY_REVIEW
        and not (item["resource"].endswith("-check") and item["check_id"] in ACCEPTED_OF_WHAT_ENDS)
    }
    assert sorted(found) == []
