"""A KMS on this machine: moto's, whose keys really sign, and which is taught to sign digests.

    python tests/kms_server.py PORT

moto takes a digest for a message, and hashes it again; and for RSA it takes the longest salt, where
KMS takes one of the digest's length:
https://docs.aws.amazon.com/kms/latest/developerguide/symm-asymm-choose-key-spec.html
"""

import json
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from botocore.session import get_session
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from provenance_samples import SigningFiles, signing_files
from queue_agent.testing.aws import REGION
from queue_agent.testing.process import HOST, ServerProcess


@contextmanager
def kms_server() -> Iterator[ServerProcess]:
    """The server, as long as the block lasts."""
    folder = Path(__file__).parent
    path = f"{folder}:{folder.parent}"
    command = [sys.executable, __file__, "{port}"]
    with ServerProcess(command, env={"PYTHONPATH": path}) as server:
        yield server


def environment(server: ServerProcess) -> dict[str, str]:
    """By which the SDK finds it, and no other service of AWS."""
    return {
        "AWS_ENDPOINT_URL_KMS": server.url,
        "AWS_ACCESS_KEY_ID": "embedded",
        "AWS_SECRET_ACCESS_KEY": "embedded",
    }


def client(server: ServerProcess) -> Any:
    """A client of it."""
    return get_session().create_client(
        "kms",
        region_name=REGION,
        endpoint_url=server.url,
        aws_access_key_id="embedded",
        aws_secret_access_key="embedded",
    )


def made_key(server: ServerProcess, spec: str = "ECC_NIST_P256") -> tuple[str, SigningFiles]:
    """The ARN of a new key, and a certificate of it."""
    kms = client(server)
    arn = kms.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"]
    public = serialization.load_der_public_key(kms.get_public_key(KeyId=arn)["PublicKey"])
    assert isinstance(public, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey))
    return arn, signing_files(public)


@cache
def _by_moto() -> Any:
    from moto.kms.responses import KmsResponse  # noqa: PLC0415  only in the server

    return KmsResponse.sign


def _sign(self: Any) -> str:
    if self._get_param("MessageType") != "DIGEST":
        raise NotImplementedError("only digests are signed here")
    answer = json.loads(_by_moto()(self))  # which refuses what KMS refuses
    algorithm, digest = answer["SigningAlgorithm"], self._get_param("Message")
    key = self.kms_backend.describe_key(answer["KeyId"]).private_key.private_key
    kinds = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
    kind = kinds[algorithm[-3:]]
    if isinstance(key, ec.EllipticCurvePrivateKey):
        signature = key.sign(digest, ec.ECDSA(Prehashed(kind)))
    else:
        salted = padding.PSS(padding.MGF1(kind), padding.PSS.DIGEST_LENGTH)
        signature = key.sign(digest, salted, Prehashed(kind))
    return json.dumps({**answer, "Signature": b64encode(signature).decode()})


def _main() -> None:
    from moto.kms.responses import KmsResponse  # noqa: PLC0415
    from moto.server import main  # noqa: PLC0415

    _by_moto()
    setattr(KmsResponse, KmsResponse.sign.__name__, _sign)
    main(["-H", HOST, "-p", sys.argv[1]])


if __name__ == "__main__":
    _main()
