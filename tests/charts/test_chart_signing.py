"""What files are signed with, as the chart brings it to the agent."""

from typing import Any

import pytest
from chart_rendering import (
    containers,
    environment,
    example,
    merged,
    pod_templates,
    render,
    values_of,
)
from helm_python import errors

from queue_agent.settings.agent import Settings

KMS_KEY = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def agent_of(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The agent's container, and the volume that it mounts for signing."""
    (pod,) = pod_templates(render(values))
    agent = containers(pod)["agent"]
    (volume,) = [one for one in pod["spec"]["volumes"] if one["name"] == "provenance"]
    assert {one["name"]: one["mountPath"] for one in agent["volumeMounts"]}["provenance"] == (
        "/etc/queue-agent/provenance"
    )
    return agent, volume


def test_a_secret_is_mounted_whole_so_that_a_renewed_one_is_read() -> None:
    agent, volume = agent_of(values_of("signed-files"))
    settings = Settings.load(environment(agent))
    assert str(settings.provenance_certificate) == "/etc/queue-agent/provenance/tls.crt"
    assert str(settings.provenance_key) == "/etc/queue-agent/provenance/tls.key"
    assert settings.provenance_timestamp_url == "http://timestamps.example.com:8080/"
    assert volume["secret"]["secretName"] == "signer"
    assert {item["path"] for item in volume["secret"]["items"]} == {"tls.crt", "tls.key"}
    (mount,) = [one for one in agent["volumeMounts"] if one["name"] == "provenance"]
    assert "subPath" not in mount, "by which nothing is ever updated"


def test_with_a_key_in_kms_no_private_key_is_mounted() -> None:
    secret = {"agent": {"provenance": {"secretName": "signer", "kmsKey": KMS_KEY}}}
    agent, volume = agent_of(merged(example("diffusers"), secret))
    settings = Settings.load(environment(agent))
    assert (settings.provenance_kms_key, settings.provenance_key) == (KMS_KEY, None)
    assert [item["key"] for item in volume["secret"]["items"]] == ["tls.crt"]


def test_certificates_alone_need_no_secret() -> None:
    values = values_of("signed-by-kms")
    agent, volume = agent_of(values)
    (made,) = [
        one
        for one in render(values)
        if one["kind"] == "ConfigMap" and one["metadata"]["name"] == volume["configMap"]["name"]
    ]
    settings = Settings.load(environment(agent))
    assert settings.provenance_certificate is not None
    assert made["data"][settings.provenance_certificate.name].startswith("-----BEGIN CERT")
    assert settings.provenance_kms_key == KMS_KEY


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ({"provenance": {"kmsKey": KMS_KEY}}, "needs its certificates"),
        ({"provenance": {"certificate": "a"}}, "needs kmsKey"),
        (
            {"provenance": {"certificate": "a", "secretName": "b", "kmsKey": KMS_KEY}},
            "not both",
        ),
        (
            {"provenance": {"secretName": "a"}, "settings": {"provenanceCertificate": "/b"}},
            "not both",
        ),
        ({"provenance": {"secretName": "a", "kmsKey": "alias/a"}}, "kmsKey"),
    ],
)
def test_what_cannot_sign_is_not_rendered(agent: dict[str, Any], words: str) -> None:
    with pytest.raises(errors.HelmError, match=words):
        render(merged(example("diffusers"), {"agent": agent}))


def test_nothing_is_mounted_where_nothing_is_signed() -> None:
    (pod,) = pod_templates(render(example("diffusers")))
    assert "provenance" not in {one["name"] for one in pod["spec"]["volumes"]}
    assert not [name for name in environment(containers(pod)["agent"]) if "PROVENANCE" in name]
