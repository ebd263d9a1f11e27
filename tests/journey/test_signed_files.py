"""What an agent as a process signs, read back from the bucket by the command line."""

import asyncio
import os
import sys
from pathlib import Path

import kms_server
from harness import Scene
from provenance_samples import SigningFiles, usual_files


async def verified(stage: Scene, url: str, anchor: Path) -> tuple[int | None, str]:
    """The exit code and the words of `queue-agent verify`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "queue_agent", "verify", url, "--trust", str(anchor)),
        env={**os.environ, **stage.embedded.environment()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    words, _ = await process.communicate()
    return process.returncode, words.decode()


async def signed_and_verified(stage: Scene, files: SigningFiles, **settings: str) -> None:
    certificate, _ = files.written(stage.folder)
    anchor = stage.folder / "anchor.pem"
    anchor.write_bytes(files.anchor)
    stage.start_agent(QUEUE_AGENT_PROVENANCE_CERTIFICATE=str(certificate), **settings)
    await stage.publish(stage.job("signed-1", output={"format": "webp"}))
    answer = await stage.answer("signed-1")
    assert answer["status"] == "completed", answer
    (image,) = answer["images"]
    code, words = await verified(stage, image["url"], anchor)
    assert code == 0, words
    for told in (
        "C2PA: the manifest holds",
        "signer: A signer, Tests",
        "software: webui",
        "Result: the file is the one that was delivered",
    ):
        assert told in words


async def test_a_delivered_file_is_signed_and_verifies(stage: Scene) -> None:
    files = usual_files()
    _, key = files.written(stage.folder)
    await signed_and_verified(stage, files, QUEUE_AGENT_PROVENANCE_KEY=str(key))


async def test_a_delivered_file_is_signed_by_a_key_in_kms(stage: Scene) -> None:
    with kms_server.kms_server() as server:
        arn, files = kms_server.made_key(server)
        await signed_and_verified(
            stage, files, QUEUE_AGENT_PROVENANCE_KMS_KEY=arn, AWS_ENDPOINT_URL_KMS=server.url
        )
