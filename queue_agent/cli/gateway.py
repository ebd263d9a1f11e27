"""`queue-agent gateway` and `gateway-key`: the HTTP front and its keys."""

import sys
from collections.abc import Mapping

from queue_agent.cli.environment import load, warn_of_unknown_names
from queue_agent.gateway.app import serve as serve_gateway
from queue_agent.gateway.keys import new_key
from queue_agent.settings.gateway import GatewaySettings
from queue_agent.telemetry.logs import configure_logs


def serve(given: Mapping[str, str | None]) -> None:
    """Serve the gateway with the settings of the environment, and those given by its names."""
    settings = load(GatewaySettings, given)
    configure_logs(settings.log_level, settings.log_format)
    warn_of_unknown_names()
    serve_gateway(settings)


def make_key(name: str) -> None:
    """Print a new key, and what the keys file must say of it."""
    key, entry = new_key(name)
    sys.stderr.write(f"{key}\n")
    print(entry.model_dump_json(exclude_defaults=True))
