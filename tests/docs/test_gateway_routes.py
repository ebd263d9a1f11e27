"""docs/gateway.md names the gateway's routes: all of them, and no others."""

import re
from pathlib import Path
from typing import Final

from starlette.routing import Route

from queue_agent.gateway.app import create_app
from queue_agent.settings.gateway import GatewaySettings

PAGE: Final = Path(__file__).parents[2] / "docs" / "gateway.md"
ROUTE: Final = re.compile(r"`(GET|POST|PUT|PATCH|DELETE) (/[^`\s?]*)")


def documented() -> set[tuple[str, str]]:
    """What the tables of the section of routes name."""
    section = PAGE.read_text().partition("\n## Routes\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]
    return {(method, path) for row in rows for method, path in ROUTE.findall(row)}


def served() -> set[tuple[str, str]]:
    """What the application answers: by its own description, and what that leaves out."""
    settings = GatewaySettings.model_construct(
        job_topic="jobs", notification_topic="news", bucket="results", runtimes=("a",)
    )
    app = create_app(settings)
    described = {
        (method.upper(), path)
        for path, operations in app.openapi()["paths"].items()
        for method in operations
    }
    return described | {
        (method, route.path)
        for route in app.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }


def anonymous(routes: set[tuple[str, str]]) -> set[tuple[str, str]]:
    return {(method, re.sub(r"\{[^}]*\}", "{}", path)) for method, path in routes}


def test_every_route_is_documented() -> None:
    assert anonymous(served()) - anonymous(documented()) == set()


def test_every_documented_route_is_served() -> None:
    assert len(documented()) > 30
    assert anonymous(documented()) - anonymous(served()) == set()
