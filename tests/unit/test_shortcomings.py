"""What operators are told of their store and of the credentials for it."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from odd_cloud import OddCloud
from queue_agent.cli.check import check
from queue_agent.cloud import Bucket, shortcomings
from queue_agent.cloud.aws import AwsCloud
from queue_agent.cloud.memory import MemoryBucket
from queue_agent.settings.agent import Settings

pytestmark = pytest.mark.usefixtures("sdk_loaded_once")

KEY = "output/queue-agent-check/x"
HOUR = 3600.0


@pytest.fixture
async def odd(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OddCloud]:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    async with OddCloud().serving() as odd:
        monkeypatch.setenv("AWS_ENDPOINT_URL", odd.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield odd


@pytest.fixture
async def bucket(odd: OddCloud) -> AsyncIterator[Bucket]:
    cloud = AwsCloud("us-east-1")
    yield cloud.bucket("results")
    await cloud.aclose()


@pytest.fixture
def role(odd: OddCloud, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets the credentials be those of a role, as a pod gets them, that end in so many seconds."""

    def lend(seconds: float) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{odd.url}/credentials")
        end = datetime.now(UTC) + timedelta(seconds=seconds)
        odd.credentials = {
            "AccessKeyId": "id",
            "SecretAccessKey": "secret",
            "Token": "token",
            "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    return lend


async def warned(bucket: Bucket, links: float = 0.0) -> list[Any]:
    structlog.reset_defaults()
    with capture_logs() as logs:
        await shortcomings.warn(bucket, KEY, links=links)
    return [entry["reason"] for entry in logs if entry["log_level"] == "warning"]


async def test_of_a_store_like_s3_nothing_is_said(bucket: Bucket) -> None:
    assert await warned(bucket, links=HOUR) == []
    assert await warned(MemoryBucket("results"), links=HOUR) == []


@pytest.mark.parametrize("oddity", ["ignores_conditions", "knows_no_conditions"])
async def test_a_store_whose_creates_overwrite_is_warned_of(
    odd: OddCloud, bucket: Bucket, oddity: str
) -> None:
    setattr(odd, oddity, True)
    assert await warned(bucket) == [shortcomings.CREATES]
    assert odd.objects == {}


async def test_links_that_outlive_the_credentials_of_a_role_are_warned_of(
    bucket: Bucket, role: Callable[[float], None]
) -> None:
    role(HOUR)
    (reason,) = await warned(bucket, links=24 * HOUR)
    assert "86400 s" in reason
    assert "credentials of a role" in reason


async def test_of_links_that_end_before_the_credentials_nothing_is_said_at_the_start(
    bucket: Bucket, role: Callable[[float], None]
) -> None:
    role(6 * HOUR)
    assert await warned(bucket, links=HOUR) == []
    assert await warned(bucket, links=0) == []


async def test_a_token_from_the_environment_is_one_of_a_role(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    assert len(await warned(bucket, links=7 * 24 * HOUR)) == 1


async def test_a_link_says_of_itself_when_it_ends(
    bucket: Bucket, role: Callable[[float], None]
) -> None:
    link = await bucket.presign("a", seconds=24 * HOUR)
    assert link is not None
    assert "X-Amz-Expires=86400&" in link
    role(HOUR)
    cloud = AwsCloud("us-east-1")
    link = await cloud.bucket("results").presign("a", seconds=24 * HOUR)
    await cloud.aclose()
    (seconds,) = [part[14:] for part in link.split("&") if part.startswith("X-Amz-Expires=")]
    assert HOUR - 60 < float(seconds) <= HOUR


def settings(odd: OddCloud, **more: str) -> Settings:
    return Settings.load(
        given={
            "QUEUE_AGENT_QUEUE_URL": f"{odd.url}/1/jobs",
            "QUEUE_AGENT_TOPIC_ARN": "arn:aws:sns:us-east-1:1:news",
            "QUEUE_AGENT_BUCKET": "results",
            "QUEUE_AGENT_RUNTIME": "webui",
            "QUEUE_AGENT_RUNTIME_URL": "http://127.0.0.1:1",
            **more,
        }
    )


@pytest.mark.parametrize(
    ("oddity", "mark"), [("", "✓"), ("ignores_conditions", "✗"), ("knows_no_conditions", "✗")]
)
async def test_check_fails_where_a_second_create_is_not_refused(
    odd: OddCloud, capsys: pytest.CaptureFixture[str], oddity: str, mark: str
) -> None:
    if oddity:
        setattr(odd, oddity, True)
    assert not await check(settings(odd))  # there is no runtime
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{mark} bucket:" in shown
    assert (shortcomings.CREATES in shown) == (mark == "✗")
    assert ("Stores other than S3" in shown) == (mark == "✗")
    assert odd.objects == {}


@pytest.mark.parametrize(
    ("presign", "said"),
    [
        ("604800", "! links: Links are to work for 604800 s, and end with the credentials of"),
        ("1800", "! links: Links end with the credentials of a role"),
        ("600", None),
        ("0", None),
    ],
)
async def test_check_tells_that_links_end_with_a_role(
    odd: OddCloud,
    role: Callable[[float], None],
    capsys: pytest.CaptureFixture[str],
    presign: str,
    said: str | None,
) -> None:
    role(HOUR)
    await check(settings(odd, QUEUE_AGENT_PRESIGN=presign))
    shown = " ".join(capsys.readouterr().out.split())
    assert said is None or said in shown
    assert ("! links" in shown) == (said is not None)
