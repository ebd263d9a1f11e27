"""Secrets in URLs end at the logs, whatever stands in or around them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queue_agent.telemetry.logs import _blanked, without_url_secrets

SECRET = "s3cr3t"
ODD = st.text(
    alphabet=st.sampled_from("aZ0\"'<>=&?#@:/\\%,;()[]{}|`~+-._*\u00e9\u00a0\u2028"), max_size=12
)
SECRETS = st.builds(lambda begin, end: f"{begin}{SECRET}{end}", ODD, ODD)
SCHEMES = st.sampled_from(["https", "s3", "redis", "postgres+ssl", "HTTP", "nats"])
AROUND = st.sampled_from(
    ["{}", '"{}"', "'{}'", "<{}>", "({})", "GET {} failed", '{{"url":"{}"}}', "url={},", "[{}]: no"]
)


@given(SCHEMES, SECRETS, AROUND)
def test_no_query_is_told(scheme: str, secret: str, around: str) -> None:
    assert SECRET not in without_url_secrets(around.format(f"{scheme}://host/a?x={secret}"))


@given(SCHEMES, SECRETS, ODD, AROUND)
def test_no_later_parameter_is_told(scheme: str, secret: str, first: str, around: str) -> None:
    url = f"{scheme}://host/a?x={first}&X-Amz-Signature={secret}&y={first}"
    assert SECRET not in without_url_secrets(around.format(url))


@given(SCHEMES, SECRETS, AROUND)
def test_no_query_or_fragment_without_a_name_is_told(scheme: str, secret: str, around: str) -> None:
    for mark in "?#":
        assert SECRET not in without_url_secrets(around.format(f"{scheme}://host/a{mark}{secret}"))


@given(SCHEMES, SECRETS, SECRETS, AROUND)
def test_no_credentials_are_told(scheme: str, user: str, password: str, around: str) -> None:
    url = f"{scheme}://{user}:{password}@host:6379/0"
    assert SECRET not in without_url_secrets(around.format(url))


@given(st.lists(st.one_of(SECRETS, st.just("x")), min_size=1, max_size=5))
def test_no_query_without_a_host_is_told(values: list[str]) -> None:
    query = "&".join(f"p={value}" for value in values)
    assert SECRET not in without_url_secrets(f"GET /a/b?{query} HTTP/1.1")


@pytest.mark.parametrize("size", [999, 1000, 1001, 5000, 1_000_000])
def test_no_secret_is_told_for_its_length(size: int) -> None:
    long = "x" * size + SECRET
    for url in (f"https://{long}@host/a", f"https://u:{long}@host", f"https://host/?{long}=1"):
        assert without_url_secrets(url).count("*") == 3
        assert SECRET not in without_url_secrets(url)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("GET https://host/a.png?sig=1 failed", "GET https://host/a.png?*** failed"),
        ('"https://host/a?b=c", then', '"https://host/a?***", then'),
        ("https://user:word@host:80/a", "https://***@host:80/a"),
        ("s3://bucket/key is no image.", "s3://bucket/key is no image."),
        ("https:\\/\\/u:p@host\\/a?b=c", "https:\\/\\/***@host\\/a?***"),
        ("/a?b=c&d=e and more", "/a?*** and more"),
        ("what? a=b", "what? a=b"),
        ("a@b.example asks why?", "a@b.example asks why?"),
    ],
)
def test_what_is_no_secret_is_told(text: str, told: str) -> None:
    assert without_url_secrets(text) == told


class _Quoting:
    def __repr__(self) -> str:
        return f"<Request https://host/?sig={SECRET}>"


URL = f"https://u:{SECRET}@host/"


@pytest.mark.parametrize(
    "value",
    [
        URL,
        [URL],
        (URL, [URL]),
        {"a": {"b": URL}},
        {URL: 1},
        {URL},
        URL.encode(),
        ValueError(URL),
        _Quoting(),
        [_Quoting()],
    ],
)
def test_secrets_are_blanked_in_whatever_is_logged(value: Any) -> None:
    assert SECRET not in repr(_blanked(value))


def test_numbers_and_nothing_are_logged_as_they_are() -> None:
    values = {"a": 1, "b": 1.5, "c": None, "d": True, "e": "text"}
    assert _blanked(values) == values
