"""The OpenAI Images API's routes: https://platform.openai.com/docs/api-reference/images."""

from typing import Final

from queue_agent.gateway.compatibility.openai import images, models

ROUTERS: Final = (images.router, models.router)
