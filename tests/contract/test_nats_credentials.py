"""Who we are to servers of NATS, by files that are right, wrong, or change while an agent works."""

import base64
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nkeys
import pytest

from queue_agent.cloud.nats import NatsCloud
from queue_agent.cloud.refusals import remedy_of
from queue_agent.testing.nats import NatsServer, deploy
from queue_agent.wire.errors import SettingsError, Unavailable
from tls_servers import certified

WITHOUT_LIMITS = {
    **dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1),
    **dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1),
    "wildcards": True,
}
NO_JETSTREAM = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), 0)


class Identity:
    """A key of NATS, and what it says of others: https://docs.nats.io/running-a-nats-service/
    configuration/securing_nats/auth_intro/jwt
    """

    def __init__(self, kind: int = nkeys.PREFIX_BYTE_USER) -> None:
        self.seed: str = nkeys.encode_seed(os.urandom(32), kind).decode()
        self._key = nkeys.from_seed(bytearray(self.seed, "ascii"))
        self.name: str = self._key.public_key.decode()

    def says(self, of: "Identity", **claims: Any) -> str:
        body = {"jti": "one", "iat": 1, "iss": self.name, "sub": of.name, "name": "one"}
        body["nats"] = {"version": 2, **claims}
        parts = [_encoded(json.dumps(each).encode()) for each in (HEADER, body)]
        return ".".join([*parts, _encoded(self._key.sign(".".join(parts).encode()))])


HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}


def _encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def credentials(jwt: str, seed: str) -> str:
    """A file of credentials as NATS's own tool writes it."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        "************************* IMPORTANT *************************\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[NatsServer, str]]:
    """One that believes the JWTs of an operator, and a file of credentials for it."""
    operator, user = Identity(nkeys.PREFIX_BYTE_OPERATOR), Identity()
    account, system = (Identity(nkeys.PREFIX_BYTE_ACCOUNT) for _ in range(2))
    trusted = {
        one.name: operator.says(one, type="account", limits=limits)
        for one, limits in ((account, WITHOUT_LIMITS), (system, {**WITHOUT_LIMITS, **NO_JETSTREAM}))
    }
    configuration = (
        f"operator: {operator.says(operator, type='operator')}\nsystem_account: {system.name}\n"
        f"resolver: MEMORY\nresolver_preload: {json.dumps(trusted)}\n"
    )
    jwt = account.says(user, type="user", subs=-1, data=-1, payload=-1)
    with NatsServer(tmp_path / "nats", configuration=configuration) as running:
        yield running, credentials(jwt, user.seed)


async def test_a_file_of_credentials_says_who_asks(
    server: tuple[NatsServer, str], tmp_path: Path
) -> None:
    running, text = server
    file = tmp_path / "agent.creds"
    file.write_text(text.replace("\n", "\r\n"))
    cloud = NatsCloud([running.address], {"NATS_CREDS": str(file)})
    deployed = await deploy(cloud, running.address, "dep")
    await cloud.topic(deployed.job_topic).check()
    await cloud.aclose()


async def test_a_file_of_credentials_is_read_anew_for_each_connection(
    server: tuple[NatsServer, str], tmp_path: Path
) -> None:
    running, text = server
    file = tmp_path / "agent.creds"
    file.write_text(text)
    cloud = NatsCloud([running.address], {"NATS_CREDS": str(file)})
    topic = cloud.topic(f"{running.address}/dep-jobs")
    await deploy(cloud, running.address, "dep")
    file.write_text(text.partition("**")[0])
    await cloud.aclose()  # a connection that is lost
    with pytest.raises(Unavailable, match="holds no seed") as raised:
        await topic.check()
    assert raised.value.type == "cloud_unauthenticated"
    file.write_text(text)
    await topic.check()
    await cloud.aclose()


async def test_a_seed_says_who_asks(tmp_path: Path) -> None:
    user, stranger = Identity(), Identity()
    configuration = f"authorization {{ users: [ {{ nkey: {user.name} }} ] }}"
    with NatsServer(tmp_path / "nats", configuration=configuration) as running:
        for identity in (user, stranger):
            file = tmp_path / "agent.nk"
            file.write_text(f"{identity.seed}\n")
            cloud = NatsCloud([running.address], {"NATS_NKEY": str(file)})
            if identity is user:
                await deploy(cloud, running.address, "dep")
            else:
                with pytest.raises(Unavailable) as raised:
                    await cloud.topic(f"{running.address}/dep-jobs").check()
                assert raised.value.type == "cloud_unauthenticated"
                assert "NATS_NKEY" in remedy_of(raised.value)
            await cloud.aclose()


async def test_who_says_nothing_to_servers_that_ask_is_told_how(
    server: tuple[NatsServer, str],
) -> None:
    running, _ = server
    cloud = NatsCloud([running.address], {})
    with pytest.raises(Unavailable) as raised:
        await cloud.topic(f"{running.address}/dep-jobs").check()
    assert "NATS_CREDS" in remedy_of(raised.value)
    assert "AWS" not in remedy_of(raised.value)
    await cloud.aclose()


SEED = Identity().seed
WRONG = {
    "a folder": ("NATS_CREDS", None, "cannot be read"),
    "an empty file": ("NATS_CREDS", "", "holds no seed"),
    "a seed alone": ("NATS_CREDS", SEED, "holds no JWT"),
    "a JWT alone": ("NATS_CREDS", credentials("a.b.c", SEED).partition("**")[0], "holds no seed"),
    "a seed with a slip": ("NATS_NKEY", SEED[:-1] + "2" * (SEED[-1] != "2") + "3", "no seed"),
    "an empty seed": ("NATS_NKEY", "", "holds no seed"),
    "bytes": ("NATS_NKEY", "\x00ü", "holds no seed"),
}


@pytest.mark.parametrize(("name", "text", "says"), WRONG.values(), ids=WRONG)
def test_a_file_that_says_not_who_asks_is_refused_with_its_name(
    tmp_path: Path, name: str, text: str | None, says: str
) -> None:
    file = tmp_path / "file"
    if text is None:
        file.mkdir()
    else:
        file.write_text(text)
    with pytest.raises(SettingsError, match=says) as raised:
        NatsCloud(["nats://localhost:4222"], {name: str(file)})
    assert raised.value.message.startswith(f"{name}: {file}")
    assert SEED not in raised.value.message


@pytest.mark.parametrize(
    ("given", "lacks"),
    [
        ({"NATS_USER": "agent"}, "NATS_PASSWORD"),
        ({"NATS_PASSWORD": "secret", "NATS_USER": ""}, "NATS_USER"),
        ({"NATS_KEY": "/etc/key.pem"}, "NATS_CERT"),
    ],
)
def test_half_of_a_pair_is_refused_with_what_is_missing(
    given: Mapping[str, str], lacks: str
) -> None:
    with pytest.raises(SettingsError, match=rf"^{lacks} is not set"):
        NatsCloud(["tls://localhost:4222"], given)


async def test_an_authority_that_is_named_is_trusted_where_only_the_server_asks_for_tls(
    tmp_path: Path,
) -> None:
    _, pem = certified("localhost", tmp_path)
    secured = f'tls {{ cert_file: "{pem}", key_file: "{pem}" }}'
    with NatsServer(tmp_path / "nats", configuration=secured) as running:
        address = f"nats://localhost:{running.port}"
        cloud = NatsCloud([address], {"NATS_CA": str(pem)})
        await deploy(cloud, address, "dep")
        await cloud.aclose()
        for elsewhere in (
            NatsCloud([address], {}),
            NatsCloud([running.address], {"NATS_CA": str(pem)}),
        ):
            with pytest.raises(Unavailable) as raised:
                await elsewhere.topic(f"{address}/dep-jobs").check()
            assert "NATS_CA" in remedy_of(raised.value)
            await elsewhere.aclose()
