"""The routes of the OpenAI API for images and videos: https://platform.openai.com/docs."""

from typing import Final

from queue_agent.gateway.compatibility.openai import images, models, videos

ROUTERS: Final = (images.router, models.router, videos.router)
