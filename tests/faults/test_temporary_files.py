"""The agent's temporary folder after kill -9: a container that starts again finds it empty."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import asyncio, sys
from contextlib import ExitStack
from queue_agent.cloud.memory import MemoryCloud
from queue_agent.inputs.references import ReferenceFetcher, ReferencePolicy
from queue_agent.media.asset import Spools
from queue_agent.runtime import Reference

async def main():
    bucket = MemoryCloud().bucket("inputs")
    film = b"\\0\\0\\0\\x18ftypmp42" + bytes(3 * 2**20)
    await bucket.write("a.mp4", film, media_type="video/mp4")
    policy = ReferencePolicy(buckets=frozenset({"inputs"}))
    fetcher = ReferenceFetcher(policy, {"inputs": bucket}.__getitem__)
    with ExitStack() as keep, Spools() as spools:
        found = await fetcher.fetch([Reference("s3://inputs/a.mp4", ("x",), "file")], keep)
        assert all(asset.is_a_file for asset in found.values())
        output, under_way = spools.new(), spools.new()
        for spool in (output, under_way):
            await spool.write(bytes(3 * 2**20))
        assert (await output.asset()).is_a_file
        print("written", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def test_nothing_is_left_of_inputs_and_outputs_when_the_agent_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM]
    environment = {"TMPDIR": str(tmp_path), "PYTHONPATH": ":".join(filter(None, sys.path))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as agent:
        assert agent.stdout is not None
        said, before = agent.stdout.readline(), list(tmp_path.iterdir())
        agent.kill()
    assert said == b"written\n"
    assert before == [], "they have no names, though they are there"
    assert list(tmp_path.iterdir()) == []
