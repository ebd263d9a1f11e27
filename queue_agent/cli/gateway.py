"""`queue-agent gateway` and `gateway-key`: the HTTP front and its keys."""

import sys

from queue_agent.gateway.app import serve as serve_gateway
from queue_agent.gateway.keys import new_key
from queue_agent.settings.gateway import GatewaySettings


def serve(*, host: str, port: int) -> None:
    """Serve the gateway with the settings of the environment."""
    serve_gateway(GatewaySettings.load(), host=host, port=port)


def make_key(name: str) -> None:
    """Print a new key, and what the keys file must say of it."""
    key, entry = new_key(name)
    sys.stderr.write(f"{key}\n")
    print(entry.model_dump_json(exclude_defaults=True))
