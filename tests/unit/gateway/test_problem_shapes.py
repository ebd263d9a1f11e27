"""In whose shape the gateway tells what is wrong: its own, or that of the server it stands for."""

import pytest
from fastapi.routing import APIRoute

from queue_agent.gateway import jobs
from queue_agent.gateway.compatibility.openai import images, models, videos
from queue_agent.gateway.problems import render
from queue_agent.wire.problems import MEDIA_TYPE, Problem

OWN = {route.path for route in jobs.router.routes if isinstance(route, APIRoute)}
OPENAI = {
    route.path
    for module in (images, models, videos)
    for route in module.router.routes
    if isinstance(route, APIRoute)
}


def media_type(path: str) -> str | None:
    problem = Problem(415, "unsupported_media_type", "It is no JSON.")
    return render(problem, path=path, request_id="request-1").media_type


@pytest.mark.parametrize("path", sorted(OWN))
def test_each_path_of_our_own_tells_problems_in_our_own_shape(path: str) -> None:
    assert media_type(path) == MEDIA_TYPE


@pytest.mark.parametrize("path", [*sorted(OPENAI), "/v1/chat/completions", "/v1"])
def test_each_other_path_of_the_first_version_tells_them_as_openai_does(path: str) -> None:
    assert media_type(path) == "application/json"
