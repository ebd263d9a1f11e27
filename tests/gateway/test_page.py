"""What the page consists of and allows itself."""

import re
from pathlib import Path
from typing import Final

import queue_agent.gateway
from gateway_site import client_of
from queue_agent.testing.process import ServerProcess

STATIC: Final = Path(queue_agent.gateway.__file__).with_name("static")


async def test_the_page_allows_itself_nothing_from_elsewhere(gateway: ServerProcess) -> None:
    async with client_of(gateway) as client:
        page = await client.get("/")
        parts = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)
        for part in parts:  # it grows by what modules import
            answer = await client.get(part)
            assert answer.status_code == 200, part
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-cache", "parts of one version only"
            if part.endswith(".js"):
                assert answer.headers["content-type"].startswith("text/javascript")
                imported = re.findall(r'from "\./([^"]+)"', answer.text)
                parts += [found for name in imported if (found := f"/static/{name}") not in parts]
    shipped = {f"/static/{file.name}" for file in STATIC.iterdir()}
    assert {*parts, "/static/index.html"} == shipped, "the page uses all there is, nothing else"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "<style" not in page.text
    assert not re.search(r"<script(?![^>]*src=)", page.text)
    assert not re.search(r'\s(on\w+|style)="', page.text)
