"""What of that which servers acknowledged may be lost is told, of whatever holds it."""

from pathlib import Path

from nats.js.api import StorageType, StreamConfig

from queue_agent.cloud.nats import NatsCloud
from queue_agent.testing.nats import NatsServer, deploy

USERS = """
authorization {
  users: [
    {user: all, password: secret}
    {user: blind, password: secret, permissions: {
      publish: {deny: ["$JS.API.STREAM.INFO.>"]}
    }}
  ]
}
"""


async def test_each_stream_on_one_server_or_in_memory_is_told_of(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats") as server:
        cloud = server.connect()
        deployed = await deploy(cloud, server.address, "dep")
        on_disk = ["dep-jobs", "dep-notifications", "KV_dep-results", "OBJ_dep-results"]
        addresses = [deployed.queue_url, deployed.queue_url, deployed.notification_topic]
        told = await cloud.durability(addresses, bucket=deployed.bucket)
        assert f"fewer than three servers: the streams {', '.join(on_disk)}." in told
        assert "memory" not in told
        assert "the stream dep-jobs." in await cloud.durability([deployed.job_topic])
        async with cloud.connection.using("make anew") as js:
            await js.delete_stream("OBJ_dep-results")
            await js.add_stream(
                StreamConfig(
                    name="OBJ_dep-results",
                    subjects=["$O.dep-results.>"],
                    storage=StorageType.MEMORY,
                )
            )
        told = await cloud.durability(addresses, bucket=deployed.bucket)
        assert "In memory, and gone with the server: the stream OBJ_dep-results." in told
        assert f"the streams {', '.join(on_disk[:-1])}." in told
        await cloud.aclose()


async def test_where_it_may_not_be_looked_at_that_is_told(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats", configuration=USERS) as server:
        everything = NatsCloud([server.address], {"NATS_USER": "all", "NATS_PASSWORD": "secret"})
        deployed = await deploy(everything, server.address, "dep")
        blind = NatsCloud([server.address], {"NATS_USER": "blind", "NATS_PASSWORD": "secret"})
        told = await blind.durability([deployed.queue_url], bucket=deployed.bucket)
        assert told.startswith("Whether what was acknowledged can be lost cannot be told: ")
        assert "dep-jobs" in told
        await everything.aclose()
        await blind.aclose()
