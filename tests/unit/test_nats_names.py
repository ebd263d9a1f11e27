"""How things are called on NATS: addresses, subjects, keys, headers."""

import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queue_agent.cloud import addresses
from queue_agent.cloud.connect import connect
from queue_agent.cloud.nats import NatsCloud
from queue_agent.cloud.nats.addresses import NatsAddress
from queue_agent.cloud.nats.buckets import NatsBucket
from queue_agent.cloud.nats.queues import NatsQueue
from queue_agent.cloud.nats.subjects import (
    attributes_of,
    headers_of,
    key_of,
    key_subject,
    subject_of,
    subjects_of,
    tenants_subject,
    text_of,
    token,
)
from queue_agent.settings.agent import Settings
from queue_agent.wire.errors import SettingsError

TEXTS = st.text(st.characters(codec="utf-8"))
GIVEN = {
    "QUEUE_AGENT_RUNTIME": "webui",
    "QUEUE_AGENT_QUEUE_URL": "nats://a:4222,b/jobs/sdruntime",
    "QUEUE_AGENT_TOPIC_ARN": "nats://b,a/notifications",
    "QUEUE_AGENT_BUCKET": "nats://a,b/results/",
}


@pytest.mark.parametrize(
    ("text", "servers", "stream", "name"),
    [
        ("nats://host/jobs", ("nats://host:4222",), "jobs", ""),
        ("nats://host:1/jobs/", ("nats://host:1",), "jobs", ""),
        ("tls://a,b:5/jobs/sdxl-1.0", ("tls://a:4222", "tls://b:5"), "jobs", "sdxl-1.0"),
        ("nats://[::1]:4222/jobs", ("nats://[::1]:4222",), "jobs", ""),
        ("nats://[::1]/jobs", ("nats://[::1]:4222",), "jobs", ""),
    ],
)
def test_an_address_names_servers_a_stream_and_a_consumer(
    text: str, servers: tuple[str, ...], stream: str, name: str
) -> None:
    assert NatsAddress.parse(text) == NatsAddress(servers, stream, name)


@pytest.mark.parametrize(
    ("read", "text", "reason"),
    [
        (addresses.topic, "nats://host", "names no stream"),
        (addresses.topic, "nats:///jobs", "names no servers"),
        (addresses.topic, "nats://a,,b/jobs", "names no servers"),
        (addresses.topic, "nats://a b/jobs", "names no servers"),
        (addresses.topic, "nats://host/jobs.all", "names no stream"),
        (addresses.topic, "nats://host/jobs/one", "is no topic"),
        (addresses.topic, "nats://me:secret@host/jobs", "NATS_USER"),
        (addresses.queue_url, "nats://host/jobs", "names no queue"),
        (addresses.bucket_name, "nats://host/results/one", "is no bucket"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(
    read: Callable[[str], str], text: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason) as raised:
        read(text)
    assert "secret" not in str(raised.value)


def test_settings_with_addresses_of_nats_need_no_region_and_open_nats() -> None:
    settings = Settings.load(GIVEN)
    cloud = connect(settings.queue_url, settings.topic_arn, bucket=settings.bucket)
    assert isinstance(cloud, NatsCloud)
    assert isinstance(cloud.queue(settings.served[""]), NatsQueue)
    assert cloud.bucket(settings.bucket).name == cloud.bucket("results").name == "results"
    assert settings.readable_buckets == {"results"}


def test_results_may_lie_in_s3_while_jobs_come_by_nats() -> None:
    settings = Settings.load(GIVEN | {"QUEUE_AGENT_BUCKET": "my-results"})
    with pytest.raises(SettingsError, match="REGION"):
        connect(settings.queue_url, bucket=settings.bucket)
    cloud = connect(settings.queue_url, bucket=settings.bucket, region="eu-west-1")
    assert isinstance(cloud.queue(settings.served[""]), NatsQueue)
    for name in (settings.bucket, "inputs"):
        assert not isinstance(cloud.bucket(name), NatsBucket)


def test_other_servers_for_the_bucket_are_refused() -> None:
    with pytest.raises(SettingsError, match="different servers"):
        connect("nats://a/jobs", bucket="nats://b/results")


def test_a_missing_extra_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("queue_agent.cloud.nats.")]:
        if not name.endswith(".addresses"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nats", None)
    with pytest.raises(SettingsError, match=r"sd-queue-agent\[nats\]") as raised:
        connect("nats://a/jobs")
    assert "\n" not in raised.value.message


def test_a_file_with_credentials_that_is_not_there_is_said(tmp_path: object) -> None:
    with pytest.raises(SettingsError, match="NATS_CREDS"):
        NatsCloud(["nats://a:4222"], {"NATS_CREDS": f"{tmp_path}/none.creds"})
    with pytest.raises(SettingsError, match="NATS_CA"):
        NatsCloud(["tls://a:4222"], {"NATS_CA": f"{tmp_path}/none.pem"})


@given(TEXTS)
def test_any_text_is_one_token_and_comes_back(text: str) -> None:
    assert text_of(token(text)) == text
    assert not set(token(text)) & set(". *>\t\r\n")
    assert token(text)


@given(TEXTS)
def test_any_key_is_a_subject_and_comes_back(key: str) -> None:
    subject = key_subject(key)
    assert key_of(subject) == key
    assert all(subject.split("."))


@given(st.dictionaries(st.from_regex(r"[a-z_-]{1,9}", fullmatch=True), TEXTS))
def test_attributes_come_back_from_headers_that_hold_ascii_on_a_line(
    attributes: dict[str, str],
) -> None:
    headers = headers_of(attributes)
    assert attributes_of(headers) == attributes
    for value in headers.values():
        assert value.isascii()
        assert value.isprintable()
        assert value == value.strip()


def test_the_servers_own_headers_are_no_attributes() -> None:
    assert attributes_of({"Nats-Msg-Id": "1", "nats-expected-stream": "x", "id": "a"}) == {
        "id": "a"
    }


@pytest.mark.parametrize(
    ("attributes", "subject"),
    [
        ({"runtime": "sdruntime"}, "s.sdruntime"),
        ({"runtime": "sdxl-1.0", "priority": "high"}, "s.sdxl-1=2E0"),
        ({"runtime": "r", "status": "completed", "id": "a.b"}, "s.r.completed.a=2Eb"),
        ({"id": "a"}, "s.=.=.a"),
        ({}, "s.="),
    ],
)
def test_a_publication_goes_where_its_attributes_say(
    attributes: dict[str, str], subject: str
) -> None:
    assert subject_of("s", attributes) == subject


@pytest.mark.parametrize(
    ("wanted", "subjects"),
    [
        ({}, ["s.>"]),
        ({"priority": ["high"]}, ["s.>"]),
        ({"id": ["a", "b"]}, ["s.*.*.a", "s.*.*.b"]),
        ({"status": ["failed"], "runtime": ["r"]}, ["s.r.failed.*"]),
        ({"runtime": ["r"]}, ["s.r.*.*", "s.r"]),
    ],
)
def test_a_filter_asks_for_the_subjects_of_what_it_lets_through(
    wanted: dict[str, list[str]], subjects: list[str]
) -> None:
    assert subjects_of("s", wanted) == subjects


@given(TEXTS.filter(bool), TEXTS.filter(bool))
def test_each_tenant_has_a_place_of_its_own_whatever_its_name(one: str, other: str) -> None:
    places = [tenants_subject("jobs.sd", name) for name in (one, other)]
    assert (places[0] == places[1]) == (one == other)
    for place in places:
        assert place.startswith("jobs.sd.tenants.")
        written = place.split(".")[3:]
        assert len(written) == 1
        assert 0 < len(written[0]) <= 128
        assert not set(written[0]) & set(" .*>\t\r\n")


def test_a_long_name_of_a_tenant_is_no_other_ones() -> None:
    names = ["x" * 128, "x" * 129, "x" * 5000, "é" * 43, "é" * 42]
    assert len({tenants_subject("jobs.sd", name) for name in names}) == len(names)
