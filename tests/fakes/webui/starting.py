"""The first seconds of a Web UI whose port is open, as startup.json of the recordings has them."""

import os
import time

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class Starting:
    """Knows no route at first, then ends the process with any request, then is complete."""

    def __init__(self, app: ASGIApp, incomplete: float, deadly: float) -> None:
        self._app = app
        self._deadly_from = time.monotonic() + incomplete
        self._complete_from = self._deadly_from + deadly

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        now = time.monotonic()
        if scope["type"] != "http" or now >= self._complete_from:
            await self._app(scope, receive, send)
        elif now < self._deadly_from:
            await JSONResponse({"detail": "Not Found"}, 404)(scope, receive, send)
        else:  # "Cannot add middleware after an application has started"
            os._exit(1)
